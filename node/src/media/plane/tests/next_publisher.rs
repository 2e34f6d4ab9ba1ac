//! What viewers of several layers are shown when another publisher goes on.

use super::shards::exchange;
use super::*;
use crate::media::rtcp::{self, Packet, SenderInfo};
use crate::media::rtp::RtpHeader;

fn picture_losses(publisher: &Publisher) -> usize {
    let packets = publisher.client.rtcp.iter().flat_map(|compound| rtcp::packets(compound));
    packets.flatten().filter(|packet| matches!(packet, Packet::PictureLoss(_))).count()
}

fn layered() -> Setup {
    Setup { rids: vec!["a".to_owned(), "b".to_owned()], ..Setup::default() }
}

/// Layers have clocks that begin anywhere, as those of libwebrtc do.
fn layer_timestamp(publisher: &Publisher, step: u16, layer: usize) -> u32 {
    let begins = 1_234_567_890_u32.wrapping_mul(1 + publisher.client.peer.index + 10 * layer as u32);
    begins.wrapping_add(u32::from(step) * 3_000)
}

/// One frame of each of `layers`, of which layer 0 is the small one.
fn simulcast(publisher: &mut Publisher, step: u16, keyframe: bool, layers: &[usize]) -> Vec<Vec<u8>> {
    let packet = |layer: &usize| {
        let (sequence, size) = (step + 500 * *layer as u16, if *layer == 0 { 200 } else { 1_000 });
        let timestamp = layer_timestamp(publisher, step, *layer);
        let sent = Sent { sequence, timestamp, keyframe, layer: *layer, size };
        let mut payload = vp8(&sent);
        // The width, as a keyframe says it.
        payload[8] = 1 + *layer as u8;
        publisher.video_payload(&sent, &payload)
    };
    layers.iter().map(packet).collect()
}

fn sizes(viewer: &mut Viewer) -> Vec<usize> {
    viewer.client.packets().iter().map(|(header, _)| header.payload().len()).collect()
}

#[test]
fn viewers_begin_with_what_the_next_publisher_sends_first_and_get_the_rest_as_it_comes() {
    for reports in [false, true] {
        let mut rig = Rig::new();
        let mut first = rig.publisher(0, &layered());
        let mut viewer = rig.viewer(1, &layered());
        for step in 0..60 {
            for packet in simulcast(&mut first, step, step % 20 == 0, &[0, 1]) {
                rig.publish(&mut first, &packet, &mut [&mut viewer]);
            }
            if reports && step == 30 {
                report_layers(&mut rig, &mut first, step);
            }
            rig.wait(Duration::from_millis(33), &mut [&mut first], &mut [&mut viewer]);
        }
        let before = viewer.client.packets().pop().unwrap().0;
        assert_eq!(before.payload().len(), 1_000);
        rig.plane.remove_peer(rig.now, first.client.peer);
        rig.wait(Duration::from_secs(2), &mut [], &mut [&mut viewer]);
        // It sends the best layer once it has found out that its own path carries it.
        let mut second = rig.publisher(5, &layered());
        for step in 0..60 {
            let layers: &[usize] = if step < 30 { &[0] } else { &[0, 1] };
            for packet in simulcast(&mut second, step, step == 0 || step == 30, layers) {
                rig.publish(&mut second, &packet, &mut [&mut viewer]);
            }
            rig.wait(Duration::from_millis(33), &mut [&mut second], &mut [&mut viewer]);
        }
        let after: Vec<RtpHeader> = viewer.client.packets().into_iter().map(|(header, _)| header).collect();
        let sizes: Vec<usize> = after.iter().map(|header| header.payload().len()).collect();
        assert_eq!(sizes, [[200; 31].as_slice(), [1_000; 30].as_slice()].concat());
        assert_eq!(picture_losses(&second), 0, "each layer began with a keyframe");
        // 2 s and a frame's time: a player takes what is not said to have passed for delay.
        let passed = after[0].timestamp.wrapping_sub(before.timestamp);
        assert!((2_033 * 90 - 450..2_033 * 90 + 450).contains(&passed), "{} ms", passed / 90);
        // The first frame of the better layer is that of the last one of the other.
        let steps = after.windows(2).map(|pair| pair[1].timestamp.wrapping_sub(pair[0].timestamp));
        assert!(steps.enumerate().all(|(place, step)| step == 3_000 || (place == 30 && step <= 3_000)));
    }
}

/// A better layer flows already, so that everybody waits for that one, when the keyframe of the other comes.
#[test]
fn who_begins_below_what_it_shall_have_gets_all_of_that_keyframe() {
    let mut rig = Rig::new();
    let mut first = rig.publisher(0, &layered());
    let mut viewer = rig.viewer(1, &layered());
    for step in 0..60 {
        for packet in simulcast(&mut first, step, step % 20 == 0, &[0, 1]) {
            rig.publish(&mut first, &packet, &mut [&mut viewer]);
        }
        rig.wait(Duration::from_millis(33), &mut [&mut first], &mut [&mut viewer]);
    }
    let before = viewer.client.packets().pop().unwrap().0;
    rig.plane.remove_peer(rig.now, first.client.peer);
    let mut second = rig.publisher(5, &layered());
    for step in 0..20 {
        let larger = simulcast(&mut second, step, false, &[1]);
        let smaller = simulcast(&mut second, step, step == 0, &[0]);
        for packet in larger.into_iter().chain(smaller) {
            let sealed = second.client.seal(&packet);
            rig.receive(&second.client, sealed);
        }
        rig.flush(&mut [&mut second], &mut [&mut viewer]);
        rig.wait(Duration::from_millis(33), &mut [&mut second], &mut [&mut viewer]);
    }
    let after: Vec<RtpHeader> = viewer.client.packets().into_iter().map(|(header, _)| header).collect();
    assert_eq!(after[0].sequence, before.sequence.wrapping_add(1), "its first packet came");
    assert!(after.len() == 20 && after.iter().all(|header| header.payload().len() == 200));
}

/// What the publisher says of the clocks of both its layers.
fn report_layers(rig: &mut Rig, publisher: &mut Publisher, step: u16) {
    for layer in [0, 1] {
        let rtp_timestamp = layer_timestamp(publisher, step, layer);
        let info = SenderInfo { ntp: 9_000 << 32, rtp_timestamp, packet_count: 1, octet_count: 1 };
        let ssrc = PUBLISHER_VIDEO_SSRC + 0x100 * layer as u32;
        let report = publisher.client.rtcp(|writer| writer.sender_report(ssrc, &info, &[]).unwrap());
        rig.receive(&publisher.client, report);
    }
}

#[test]
fn a_mirror_gets_whatever_the_next_publisher_sends_first() {
    let (mut near, mut far) = (Rig::new(), Rig::on_shard(1));
    let mut first = near.publisher(0, &layered());
    let mut viewer = far.viewer(1, &layered());
    let run = |near: &mut Rig,
               far: &mut Rig,
               publisher: &mut Publisher,
               viewer: &mut Viewer,
               (step, keyframe, layers): (u16, bool, &[usize])| {
        for packet in simulcast(publisher, step, keyframe, layers) {
            near.publish(publisher, &packet, &mut []);
            exchange(near, far);
            far.flush(&mut [], &mut [viewer]);
        }
        near.wait(Duration::from_millis(33), &mut [publisher], &mut []);
        exchange(near, far);
        far.wait(Duration::from_millis(33), &mut [], &mut [viewer]);
        exchange(near, far);
    };
    for step in 0..60 {
        run(&mut near, &mut far, &mut first, &mut viewer, (step, step % 20 == 0, &[0, 1]));
    }
    assert_eq!(sizes(&mut viewer).last(), Some(&1_000));
    near.plane.remove_peer(near.now, first.client.peer);
    near.wait(Duration::from_secs(2), &mut [], &mut []);
    far.wait(Duration::from_secs(2), &mut [], &mut [&mut viewer]);
    let mut second = near.publisher(5, &layered());
    exchange(&mut near, &mut far);
    run(&mut near, &mut far, &mut second, &mut viewer, (0, true, &[0]));
    assert_eq!(sizes(&mut viewer), [200], "the only one that there is");
    for step in 1..60 {
        let layers: &[usize] = if step < 30 { &[0] } else { &[0, 1] };
        run(&mut near, &mut far, &mut second, &mut viewer, (step, step == 30 || step == 40, layers));
    }
    let after = sizes(&mut viewer);
    assert!(after.len() >= 58, "nothing is left out: {after:?}");
    assert_eq!(after.last(), Some(&1_000));
    assert_eq!(viewer.client.refused, 0);
}

#[test]
fn packets_that_are_quicker_than_the_word_of_their_publisher_are_kept() {
    let (mut near, mut far) = (Rig::new(), Rig::on_shard(1));
    let mut first = near.publisher(0, &layered());
    let mut viewer = far.viewer(1, &layered());
    for packet in simulcast(&mut first, 0, true, &[0]) {
        near.publish(&mut first, &packet, &mut []);
    }
    exchange(&mut near, &mut far);
    far.flush(&mut [], &mut [&mut viewer]);
    assert_eq!(sizes(&mut viewer), [200]);
    near.plane.remove_peer(near.now, first.client.peer);
    let mut second = near.publisher(5, &layered());
    let told: Vec<_> = std::iter::from_fn(|| near.plane.poll_shard()).collect();
    assert!(!told.is_empty());
    for packet in simulcast(&mut second, 0, true, &[0]) {
        near.publish(&mut second, &packet, &mut []);
    }
    exchange(&mut near, &mut far);
    told.into_iter().for_each(|(_, message)| far.plane.receive_shard(far.now, message));
    far.flush(&mut [], &mut [&mut viewer]);
    assert_eq!(sizes(&mut viewer), [200]);
    for packet in simulcast(&mut second, 1, false, &[0]) {
        near.publish(&mut second, &packet, &mut []);
    }
    exchange(&mut near, &mut far);
    far.flush(&mut [], &mut [&mut viewer]);
    assert_eq!(sizes(&mut viewer), [200], "it goes on");
}
