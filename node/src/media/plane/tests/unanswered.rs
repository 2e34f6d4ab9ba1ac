//! Publishers that agree to send packets again and do not, as OBS does for the lower layers of its simulcast.

use super::*;
use crate::media::rtcp::{self, Packet};
use crate::media::selection::{LayerLimit, LayerWish};

/// Between two frames.
const FRAME: Duration = Duration::from_millis(33);

/// From a request to the keyframe that answers it.
const ROUND_TRIP: Duration = Duration::from_millis(60);

/// What passes between an answer and the viewer at most: two frames, and the time in which a gap may be reordering.
const SLACK: Duration = Duration::from_millis(75);

/// A publisher of two layers and a viewer of the lower one.
struct Broadcast {
    rig: Rig,
    publisher: Publisher,
    viewer: Viewer,
    step: u16,
    /// When a keyframe of the lower layer was asked for that it has not sent yet.
    asked: Option<Instant>,
    /// When the viewer was sent keyframes.
    keyframes: Vec<Instant>,
    /// How often it was asked for lost packets.
    nacks: usize,
}

impl Broadcast {
    fn new() -> Self {
        let setup = Setup { rids: vec!["a".to_owned(), "b".to_owned()], ..Setup::default() };
        let mut rig = Rig::new();
        let publisher = rig.publisher(0, &setup);
        let viewer = rig.viewer(1, &setup);
        let lower = LayerLimit { layer: Some(0), ..Default::default() };
        rig.plane.wish_layer(rig.now, viewer.client.peer, LayerWish::AtMost(lower));
        let (keyframes, nacks) = (Vec::new(), 0);
        let mut it = Self { rig, publisher, viewer, step: 0, asked: None, keyframes, nacks };
        it.frame(true, false);
        (0..60).for_each(|_| it.frame(false, false));
        it
    }

    /// One frame of each layer, a keyframe if `keyframe` or if one was asked for a round trip ago, which arrives unless it is
    /// `lost`; and the time until the next.
    fn frame(&mut self, keyframe: bool, lost: bool) {
        let answers = self.asked.is_some_and(|at| self.rig.now >= at + ROUND_TRIP);
        for layer in [0, 1] {
            let size = if layer == 0 { 200 } else { 1_000 };
            let keyframe = keyframe || (answers && layer == 0);
            let sent = Sent { layer, size, ..Sent::frame(self.step, keyframe) };
            let packet = self.publisher.video(&sent);
            if !lost {
                self.rig.publish(&mut self.publisher, &packet, &mut [&mut self.viewer]);
            }
        }
        if answers && !lost {
            self.asked = None;
        }
        self.step += 1;
        for _ in 0..FRAME.as_millis() {
            self.hear();
            let (publishers, viewers) = (&mut [&mut self.publisher], &mut [&mut self.viewer]);
            self.rig.wait(Duration::from_millis(1), publishers, viewers);
        }
    }

    fn hear(&mut self) {
        for (header, packet) in self.viewer.client.packets() {
            if packet[header.payload()][1] == 0 {
                self.keyframes.push(self.rig.now);
            }
        }
        for compound in self.publisher.client.rtcp.drain(..) {
            for packet in rtcp::packets(&compound) {
                match packet.unwrap() {
                    Packet::PictureLoss(loss) if loss.media_ssrc == PUBLISHER_VIDEO_SSRC => {
                        self.asked.get_or_insert(self.rig.now);
                    }
                    Packet::Nack(nack) if nack.media_ssrc == PUBLISHER_VIDEO_SSRC => self.nacks += 1,
                    _ => {}
                }
            }
        }
    }

    /// So many frames are lost; how long after the next one the viewer is sent a keyframe.
    fn lose(&mut self, frames: u16) -> Duration {
        (0..frames).for_each(|_| self.frame(false, true));
        let (since, before) = (self.rig.now, self.keyframes.len());
        (0..90).for_each(|_| self.frame(false, false));
        assert_eq!(self.keyframes.len(), before + 1, "one keyframe for one loss");
        self.keyframes[before] - since
    }
}

#[test]
fn who_does_not_send_again_is_asked_for_a_keyframe_after_two_rounds_and_then_at_once() {
    let mut it = Broadcast::new();
    let first = it.lose(1);
    // A round is 125 ms, as long as the round trip is not known.
    assert!(first < Duration::from_millis(255) + ROUND_TRIP + SLACK, "{first:?}");
    for _ in 0..3 {
        it.nacks = 0;
        let next = it.lose(1);
        assert!(next < ROUND_TRIP + SLACK, "{next:?}");
        assert_eq!(it.nacks, 1, "it may answer yet");
    }
}

#[test]
fn half_a_second_that_was_lost_is_over_a_round_trip_later() {
    let mut it = Broadcast::new();
    let first = it.lose(15);
    assert!(first < ROUND_TRIP + SLACK, "of a publisher that nothing is known of: {first:?}");
    let next = it.lose(15);
    assert!(next < ROUND_TRIP + SLACK, "{next:?}");
}

#[test]
fn one_that_sends_again_is_not_asked_for_keyframes() {
    let mut it = Broadcast::new();
    let before = it.keyframes.len();
    for _ in 0..5 {
        let lost = it.step;
        it.frame(false, true);
        it.frame(false, false);
        let sent = Sent { size: 200, ..Sent::frame(lost, false) };
        let answer = it.publisher.video_rtx(&sent, lost);
        it.rig.publish(&mut it.publisher, &answer, &mut [&mut it.viewer]);
        (0..60).for_each(|_| it.frame(false, false));
    }
    assert!(it.nacks >= 5);
    assert_eq!((it.keyframes.len(), it.asked), (before, None));
}
