//! What publishers say of their layers, as browsers do when their own path becomes narrow.

use super::simulcast::{played, setup};
use super::*;
use crate::media::rtcp;

/// Only the first of the two layers is sent, says a packet of it.
const FIRST_ONLY: [u8; 3] = [0b0000_0001, 0, 100];

/// Both are, says a packet of the first one.
const BOTH: [u8; 5] = [0b0001_0001, 0, 100, 0xF4, 0x03];

/// A frame at 30 frames a second.
const FRAME: Duration = Duration::from_millis(33);

/// A publisher of a small and a large layer, and a viewer that plays the large one.
struct Scene {
    rig: Rig,
    publisher: Publisher,
    viewer: Viewer,
    /// How many frames there were.
    step: u16,
    /// Sequence numbers that were left out so far, by layer.
    skipped: [u16; 2],
}

impl Scene {
    fn new() -> Self {
        let mut rig = Rig::new();
        let (publisher, viewer) = (rig.publisher(0, &setup()), rig.viewer(1, &setup()));
        let mut scene = Self { rig, publisher, viewer, step: 0, skipped: [0; 2] };
        for step in 0..60 {
            scene.frame(&[0, 1], step % 20 == 0, &[]);
        }
        assert_eq!(played(&mut scene.rig), [0, 1]);
        assert_eq!(scene.sizes().last(), Some(&1_000));
        scene.publisher.client.rtcp.clear();
        scene
    }

    /// What is sent of `layer` next.
    fn next(&self, layer: usize, keyframe: bool) -> Sent {
        let size = if layer == 0 { 200 } else { 1_000 };
        let sequence = (self.step + 10_000 * layer as u16).wrapping_add(self.skipped[layer]);
        Sent { sequence, timestamp: u32::from(self.step) * 3_000, keyframe, layer, size }
    }

    /// One frame of these layers; the first layer's packet says `allocation`.
    fn frame(&mut self, layers: &[usize], keyframe: bool, allocation: &[u8]) {
        for layer in layers {
            self.publisher.allocation = if *layer == 0 { allocation.to_vec() } else { Vec::new() };
            let packet = self.publisher.video(&self.next(*layer, keyframe));
            self.rig.publish(&mut self.publisher, &packet, &mut [&mut self.viewer]);
        }
        self.publisher.allocation.clear();
        self.rig.wait(FRAME, &mut [&mut self.publisher], &mut [&mut self.viewer]);
        self.step += 1;
    }

    fn frames(&mut self, count: usize, layers: &[usize]) {
        (0..count).for_each(|_| self.frame(layers, false, &[]));
    }

    /// Sizes of the pictures that came to the viewer since the last call.
    fn sizes(&mut self) -> Vec<usize> {
        self.viewer.client.packets().iter().map(|(header, _)| header.payload().len()).collect()
    }

    /// Whether a keyframe of the small layer was asked for, and which packets of the large one were, since the last call.
    fn asked(&mut self) -> (bool, Vec<u16>) {
        let (mut keyframe, mut again) = (false, Vec::new());
        let large = PUBLISHER_VIDEO_SSRC + 0x100;
        for compound in std::mem::take(&mut self.publisher.client.rtcp) {
            for packet in rtcp::packets(&compound) {
                match packet {
                    Ok(rtcp::Packet::PictureLoss(loss)) => {
                        keyframe |= loss.media_ssrc == PUBLISHER_VIDEO_SSRC
                    }
                    Ok(rtcp::Packet::Nack(nack)) if nack.media_ssrc == large => {
                        again.extend(nack.sequences())
                    }
                    _ => {}
                }
            }
        }
        (keyframe, again)
    }

    fn active(&self) -> Vec<bool> {
        let report = self.rig.plane.track_report(self.rig.now, VIDEO).unwrap();
        report.layers.iter().map(|layer| layer.active).collect()
    }

    /// Packets that were missed, that never came, and that nobody waited for any more.
    fn counted(&self) -> (u64, u64, u64) {
        let counters = self.rig.plane.counters();
        assert_eq!(
            self.rig.plane.track_report(self.rig.now, VIDEO).unwrap().lost,
            counters.rtp_unrepaired_packets
        );
        (counters.rtp_missed_packets, counters.rtp_unrepaired_packets, counters.rtp_abandoned_packets)
    }
}

#[test]
fn a_viewer_leaves_a_layer_that_is_said_to_be_off_without_standing_still() {
    let mut scene = Scene::new();
    scene.frame(&[0], false, &FIRST_ONLY);
    assert_eq!(scene.active(), [true, false]);
    assert!(scene.asked().0, "before the next frame");
    assert!(scene.sizes().is_empty());
    scene.frame(&[0], true, &FIRST_ONLY);
    scene.frames(20, &[0]);
    assert_eq!(scene.sizes(), vec![200; 21], "each frame but one");
    assert_eq!(played(&mut scene.rig), [0]);
    // And it comes again.
    scene.frame(&[0, 1], true, &BOTH);
    assert_eq!(scene.active(), [true, true]);
    scene.frames(20, &[0, 1]);
    let sizes = scene.sizes();
    assert_eq!(played(&mut scene.rig), [1]);
    let wanted = [vec![200], vec![1_000; 21]].concat();
    assert_eq!(sizes, wanted, "with its first keyframe, which follows that of the other layer");
    assert_eq!(scene.viewer.client.refused, 0);
}

#[test]
fn where_no_allocation_comes_silence_alone_tells() {
    // None was sent, it was lost with its packet, or it is of no use: cut off, said to be another stream's, or it leaves out
    // the layer that it comes on.
    for allocation in
        [&[][..], &FIRST_ONLY[..2], &[0b0100_0001, 0, 100], &[0b0001_0000, 0b0000_0001, 0, 100], &[0]]
    {
        let mut scene = Scene::new();
        scene.frame(&[0], false, allocation);
        scene.frames(10, &[0]);
        assert_eq!(scene.active(), [true, true], "{allocation:?}");
        assert!(!scene.asked().0);
        scene.frames(4, &[0]);
        assert_eq!(scene.active(), [true, false]);
        assert!(scene.asked().0, "after half a second");
    }
}

#[test]
fn a_layer_whose_pictures_come_is_on_whatever_was_said() {
    let mut scene = Scene::new();
    // What comes of a picture that had begun, and what fills a gap, is from before.
    scene.skipped[1] = 1;
    scene.frame(&[0, 1], false, &[]);
    let last = Sent { timestamp: u32::from(scene.step - 1) * 3_000, ..scene.next(1, false) };
    scene.frame(&[0], false, &FIRST_ONLY);
    let packet = scene.publisher.video(&last);
    scene.rig.publish(&mut scene.publisher, &packet, &mut [&mut scene.viewer]);
    let missing = Sent { sequence: last.sequence - 2, ..last };
    let packet = scene.publisher.video(&missing);
    scene.rig.publish(&mut scene.publisher, &packet, &mut [&mut scene.viewer]);
    assert_eq!(scene.active(), [true, false]);
    scene.frame(&[0, 1], false, &[]);
    assert_eq!(scene.active(), [true, true]);
    scene.frames(5, &[0]);
    assert_eq!(scene.active(), [true, true], "from here on silence tells");
    // It is off and on again before its silence would have been noticed.
    scene.frame(&[0], false, &FIRST_ONLY);
    assert_eq!(scene.active(), [true, false]);
    scene.frame(&[0], false, &BOTH);
    assert_eq!(scene.active(), [true, true]);
}

#[test]
fn an_allocation_that_was_sent_again_does_not_undo_a_later_one() {
    let mut scene = Scene::new();
    let lost = scene.next(0, false);
    scene.step += 1;
    scene.frame(&[0, 1], false, &BOTH);
    scene.publisher.allocation = FIRST_ONLY.to_vec();
    let repair = scene.publisher.video_rtx(&lost, 1);
    scene.rig.publish(&mut scene.publisher, &repair, &mut [&mut scene.viewer]);
    scene.publisher.allocation.clear();
    assert_eq!(scene.active(), [true, true]);
    // But it counts if none came since.
    let lost = scene.next(0, false);
    scene.step += 1;
    scene.frame(&[0], false, &[]);
    scene.publisher.allocation = FIRST_ONLY.to_vec();
    let repair = scene.publisher.video_rtx(&lost, 2);
    scene.rig.publish(&mut scene.publisher, &repair, &mut [&mut scene.viewer]);
    assert_eq!(scene.active(), [true, false]);
}

#[test]
fn what_is_missing_of_a_layer_that_is_off_is_not_asked_for() {
    let mut scene = Scene::new();
    scene.skipped[1] = 2;
    scene.frame(&[0, 1], false, &[]);
    let (_, again) = scene.asked();
    assert!(again.ends_with(&[10_060, 10_061]), "{again:?}");
    scene.frame(&[0], false, &FIRST_ONLY);
    scene.asked();
    scene.frames(90, &[0]);
    assert!(scene.asked().1.is_empty(), "for three seconds");
    assert_eq!(scene.counted(), (2, 0, 2));
    // The last one before the end was lost, too; that is known when the layer begins again.
    scene.skipped[1] = 3_u16.wrapping_sub(91);
    scene.frame(&[0, 1], true, &BOTH);
    assert_eq!(scene.counted(), (3, 0, 3));
    // What is lost from here on is wanted.
    scene.skipped[1] += 1;
    let lost = Sent { sequence: scene.next(1, false).sequence - 1, ..scene.next(1, false) };
    scene.frame(&[0, 1], false, &[]);
    assert_eq!(scene.asked().1, [lost.sequence]);
    scene.frames(90, &[0, 1]);
    assert_eq!(scene.counted(), (4, 1, 3));
}

#[test]
fn the_first_packets_of_a_layer_that_is_on_again_are_asked_for() {
    for says in [&BOTH[..], &[]] {
        let mut scene = Scene::new();
        scene.frames(1, &[0, 1]);
        scene.frame(&[0], false, &FIRST_ONLY);
        scene.frames(30, &[0]);
        scene.asked();
        // Its keyframe is lost.
        scene.skipped[1] = 0_u16.wrapping_sub(31);
        let keyframe = scene.next(1, true);
        scene.step += 1;
        scene.frame(&[0, 1], false, says);
        assert_eq!(scene.asked().1, [keyframe.sequence]);
        scene.publisher.allocation.clear();
        scene.frames(90, &[0, 1]);
        assert_eq!(scene.counted(), (2, 2, 0), "a frame of each layer");
    }
}

/// What it sent before its pause, and the pause, are no part of what a layer sends: nobody may take it for one that fits.
#[test]
fn a_layer_that_is_on_again_is_as_large_as_before() {
    for on in [&BOTH[..], &[]] {
        let mut scene = Scene::new();
        let peer = scene.viewer.client.peer;
        scene.frame(&[0], false, if on.is_empty() { &[] } else { &FIRST_ONLY });
        scene.frames(20, &[0]);
        scene.frame(&[0], true, &[]);
        // The large one has 247 kbit/s.
        const PATH_BPS: u64 = 200_000;
        scene.rig.plane.limit_bitrate(scene.rig.now, peer, Some(PATH_BPS));
        scene.frames(90, &[0]);
        scene.sizes();
        played(&mut scene.rig);
        scene.frame(&[0, 1], true, on);
        for frame in 1..90 {
            scene.frame(&[0, 1], frame == 40, &[]);
            scene.rig.plane.limit_bitrate(scene.rig.now, peer, Some(PATH_BPS));
        }
        assert_eq!(scene.sizes(), [200; 90]);
        assert!(played(&mut scene.rig).is_empty());
    }
}
