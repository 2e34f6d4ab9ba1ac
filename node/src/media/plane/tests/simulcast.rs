use super::bottleneck::{Says, Scene};
use super::*;
use crate::media::codec::dependency::frame_number;
use crate::media::codec::{CodecKind, picture_numbers};
use crate::media::keys::SrtpProfile;
use crate::media::rtcp;
use crate::media::rtp::RtpHeader;
use crate::media::selection::{LayerLimit, LayerWish};

pub(super) fn setup() -> Setup {
    Setup { rids: vec!["a".into(), "b".into()], ..Setup::default() }
}

/// One frame of layer 0 (small) and one of layer 1 (large), 33 ms later than the one before.
fn frame(
    rig: &mut Rig,
    publisher: &mut Publisher,
    viewer: &mut Viewer,
    step: u16,
    keyframe: bool,
    layers: &[usize],
) {
    for layer in layers {
        let size = if *layer == 0 { 200 } else { 1_000 };
        let sequence = step.wrapping_add(500 * *layer as u16);
        let sent = Sent { sequence, timestamp: u32::from(step) * 3_000, keyframe, layer: *layer, size };
        let packet = publisher.video(&sent);
        rig.publish(publisher, &packet, &mut [viewer]);
    }
    rig.wait(Duration::from_millis(33), &mut [publisher], &mut [viewer]);
}

/// A publisher and a viewer after 60 frames of both layers, two of them keyframes: the larger layer is played.
fn on_air() -> (Rig, Publisher, Viewer) {
    let mut rig = Rig::new();
    let (mut publisher, mut viewer) = (rig.publisher(0, &setup()), rig.viewer(1, &setup()));
    for step in 0..60 {
        frame(&mut rig, &mut publisher, &mut viewer, step, step % 30 == 0, &[0, 1]);
    }
    (rig, publisher, viewer)
}

/// How many keyframes of `layer` the publisher was asked for since the last call.
fn asked(publisher: &mut Publisher, layer: u32) -> usize {
    let ssrc = PUBLISHER_VIDEO_SSRC + 0x100 * layer;
    let compounds = std::mem::take(&mut publisher.client.rtcp);
    let packets = compounds.iter().flat_map(|compound| rtcp::packets(compound));
    let pli = packets
        .filter(|packet| matches!(packet, Ok(rtcp::Packet::PictureLoss(loss)) if loss.media_ssrc == ssrc));
    pli.count()
}

pub(super) fn played(rig: &mut Rig) -> Vec<u8> {
    let layers = rig.events().into_iter().filter_map(|event| match event {
        PlaneEvent::LayerPlayed { layer, track: VIDEO, .. } => Some(layer),
        _ => None,
    });
    layers.collect()
}

#[test]
fn viewers_get_the_best_layer_that_flows_and_switch_at_keyframes_without_a_seam() {
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup());
    let mut viewer = rig.viewer(1, &setup());
    for step in 0..40 {
        frame(&mut rig, &mut publisher, &mut viewer, step, step == 0, &[0, 1]);
    }
    let low = viewer.client.packets();
    assert!(low.iter().all(|(header, _)| header.payload().len() == 200), "the first layer seen");
    assert_eq!(played(&mut rig), [0]);
    let report = rig.plane.track_report(rig.now, VIDEO).unwrap();
    assert_eq!(report.layers.iter().map(|layer| layer.viewers).collect::<Vec<_>>(), [1, 0]);
    assert_eq!(report.layers.iter().map(|layer| layer.rid.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert!(report.layers.iter().all(|layer| layer.active && layer.size == Some((1_280, 720))));
    assert!(report.layers[1].bitrate_bps > 3 * report.layers[0].bitrate_bps);
    // A keyframe of the better layer is asked for, twice a second and of no other; nothing changes before it comes.
    let compounds = publisher.client.rtcp.clone();
    assert!((1..=4).contains(&asked(&mut publisher, 1)));
    publisher.client.rtcp = compounds;
    assert_eq!(asked(&mut publisher, 0), 0);
    for step in 40..80 {
        frame(&mut rig, &mut publisher, &mut viewer, step, step == 41, &[0, 1]);
    }
    let high = viewer.client.packets();
    // The small frames up to the one beside the large keyframe, and from then on large ones only.
    assert_eq!(high.iter().filter(|(header, _)| header.payload().len() == 200).count(), 2);
    assert_eq!(high.len(), 41);
    assert_eq!(played(&mut rig), [1]);
    publisher.client.rtcp.clear();
    // The better layer ends: back to the other as soon as its absence is noticed, with its group, as nobody answers requests.
    for step in 80..100 {
        frame(&mut rig, &mut publisher, &mut viewer, step, step == 99, &[0]);
    }
    assert!(asked(&mut publisher, 0) >= 1, "within half a second");
    let back = viewer.client.packets();
    assert!(back.len() > 40 && back.iter().all(|(header, _)| header.payload().len() == 200));
    assert_eq!(played(&mut rig), [0]);
    assert!(!rig.plane.track_report(rig.now, VIDEO).unwrap().layers[1].active);
    // And it comes again.
    for step in 100..140 {
        frame(&mut rig, &mut publisher, &mut viewer, step, step == 120, &[0, 1]);
    }
    let again = viewer.client.packets();
    assert_eq!(played(&mut rig), [1]);
    let all: Vec<_> = low.iter().chain(&high).chain(&back).chain(&again).map(|(header, _)| header).collect();
    assert!(all.windows(2).all(|pair| pair[1].sequence == pair[0].sequence.wrapping_add(1)));
    assert!(all.windows(2).all(|pair| pair[1].timestamp.wrapping_sub(pair[0].timestamp).cast_signed() > 0));
    assert_eq!(viewer.client.refused, 0);
}

#[test]
fn each_viewer_has_a_layer_of_its_own() {
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup());
    let mut viewers: Vec<_> = (1..4).map(|index| rig.viewer(index, &setup())).collect();
    let [plain, modest, poor] = &mut viewers[..] else { panic!("three") };
    let limit = LayerLimit { layer: Some(0), ..LayerLimit::default() };
    rig.plane.wish_layer(rig.now, modest.client.peer, LayerWish::AtMost(limit));
    let mut run = |rig: &mut Rig, viewers: &mut [&mut Viewer], steps: std::ops::Range<u16>| {
        for step in steps {
            for layer in [0, 1] {
                let size = if layer == 0 { 200 } else { 1_000 };
                let sequence = step + 500 * layer as u16;
                let timestamp = u32::from(step) * 3_000;
                let sent = Sent { sequence, timestamp, keyframe: step % 10 == 0, layer, size };
                let packet = publisher.video(&sent);
                rig.publish(&mut publisher, &packet, viewers);
            }
            rig.wait(Duration::from_millis(33), &mut [&mut publisher], viewers);
        }
    };
    let sizes = |viewer: &mut Viewer| {
        let mut sizes: Vec<_> =
            viewer.client.packets().iter().map(|(header, _)| header.payload().len()).collect();
        assert!(sizes.len() >= 60);
        sizes.dedup();
        sizes
    };
    run(&mut rig, &mut [plain, modest, poor], 0..60);
    assert_eq!(sizes(plain), vec![200, 1_000]);
    assert_eq!(sizes(modest), vec![200]);
    assert_eq!(sizes(poor), vec![200, 1_000]);
    rig.plane.limit_bitrate(rig.now, poor.client.peer, Some(120_000));
    run(&mut rig, &mut [plain, modest, poor], 60..120);
    assert_eq!(sizes(poor), vec![200], "the step at 60 is a keyframe");
    rig.plane.limit_bitrate(rig.now, poor.client.peer, Some(2_000_000));
    run(&mut rig, &mut [plain, modest, poor], 120..180);
    assert_eq!(sizes(poor), vec![200, 1_000]);
    assert_eq!(sizes(plain), vec![1_000]);
    assert_eq!(sizes(modest), vec![200]);
    let report = rig.plane.track_report(rig.now, VIDEO).unwrap();
    assert_eq!(report.layers.iter().map(|layer| layer.viewers).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_viewer_without_a_picture_takes_a_better_layer_than_it_shall_have_unless_its_path_cannot_bear_it() {
    for (limit_bps, plays) in [(220_000, true), (120_000, false)] {
        let mut rig = Rig::new();
        let mut publisher = rig.publisher(0, &setup());
        let mut first = rig.viewer(1, &setup());
        for step in 0..60 {
            // The second one is an answer.
            frame(&mut rig, &mut publisher, &mut first, step, step == 0 || step == 20, &[0, 1]);
        }
        let mut late = rig.viewer(2, &setup());
        rig.plane.limit_bitrate(rig.now, late.client.peer, Some(limit_bps));
        for step in 60..70 {
            for (layer, size) in [(0, 200), (1, 1_000)] {
                let sequence = step + 500 * layer as u16;
                let timestamp = u32::from(step) * 3_000;
                let keyframe = step == 61 && layer == 1;
                let packet = publisher.video(&Sent { sequence, timestamp, keyframe, layer, size });
                rig.publish(&mut publisher, &packet, &mut [&mut first, &mut late]);
            }
            rig.wait(Duration::from_millis(33), &mut [&mut publisher], &mut [&mut first, &mut late]);
        }
        let got = late.client.packets();
        assert_eq!(!got.is_empty(), plays, "{limit_bps} bit/s");
        assert!(got.iter().all(|(header, _)| header.payload().len() == 1_000));
        assert!(asked(&mut publisher, 0) >= 1, "it waits for the lower one");
    }
}

/// A VP8 frame with picture id and TL0PICIDX, as the encoder of `layer` counts them.
pub(super) fn numbered(publisher: &mut Publisher, step: u16, layer: usize, keyframe: bool) -> Vec<u8> {
    let id = (0x7FF0 + step + 1_000 * layer as u16) & 0x7FFF;
    let [high, low] = id.to_be_bytes();
    let mut payload = vec![0x90, 0xE0, high | 0x80, low, (250 + step + 50 * layer as u16) as u8, 0x20];
    payload.extend([u8::from(!keyframe), 0, 0, 0x9D, 0x01, 0x2A, 0, 5, 0xD0, 2]);
    payload.resize(if layer == 0 { 200 } else { 1_000 }, step as u8);
    let sequence = step + 500 * layer as u16;
    let sent = Sent { sequence, timestamp: u32::from(step) * 3_000, keyframe, layer, size: 0 };
    let [high, low] = (step + 7_000 * layer as u16).to_be_bytes();
    publisher.descriptor = vec![0xC0, high, low];
    publisher.video_payload(&sent, &payload)
}

#[test]
fn picture_numbers_go_on_over_switches_and_repairs_repeat_them() {
    for profile in [SrtpProfile::AeadAes128Gcm, SrtpProfile::Aes128CmHmacSha1_80] {
        let mut rig = Rig::new();
        let setup = Setup { profile, ..setup() };
        let mut publisher = rig.publisher(0, &setup);
        let mut viewer = rig.viewer(1, &setup);
        let mut packets = Vec::new();
        for step in 0..120 {
            if step == 60 {
                // Less than the layer has, but not so little that it is given up at once.
                rig.plane.limit_bitrate(rig.now, viewer.client.peer, Some(200_000));
            }
            for layer in [0, 1] {
                let packet = numbered(&mut publisher, step, layer, step % 20 == 0);
                rig.publish(&mut publisher, &packet, &mut [&mut viewer]);
            }
            rig.wait(Duration::from_millis(33), &mut [&mut publisher], &mut [&mut viewer]);
            packets.extend(viewer.client.packets());
        }
        assert_eq!(played(&mut rig), [0, 1, 0]);
        let numbers = |(header, packet): &(RtpHeader, Vec<u8>)| {
            let numbers = picture_numbers(CodecKind::Vp8, &packet[header.payload()]).unwrap();
            (numbers.id, numbers.base)
        };
        let all: Vec<_> = packets.iter().map(numbers).collect();
        assert!(all.len() >= 120);
        assert!(
            all.windows(2).all(|pair| pair[1] == ((pair[0].0 + 1) & 0x7FFF, pair[0].1.wrapping_add(1))),
            "{all:?}"
        );
        let frame =
            |(header, packet): &(RtpHeader, Vec<u8>)| frame_number(header.extension(packet, 6).unwrap());
        let frames: Vec<_> = packets.iter().map(|packet| frame(packet).unwrap()).collect();
        assert!(frames.windows(2).all(|pair| pair[1] == pair[0] + 1), "{frames:?}");
        // A repair is the packet that was sent, whichever layer it is of. What was left for lack of room is not repaired.
        rig.plane.limit_bitrate(rig.now, viewer.client.peer, None);
        let newest = packets.len() - 1;
        let switch = packets.iter().rposition(|(header, _)| header.payload().len() == 1_000).unwrap();
        for place in [switch, newest] {
            let (header, packet) = &packets[place];
            let nack = viewer.nack(&[header.sequence]);
            rig.receive(&viewer.client, nack);
            rig.flush(&mut [], &mut [&mut viewer]);
            let repair = viewer.client.packets().remove(0);
            assert_eq!(repair.1[repair.0.payload()][2..], packet[header.payload()]);
        }
    }
}

#[test]
fn what_was_left_for_lack_of_room_is_not_sent_again_and_takes_nothing_from_what_is() {
    // Less than the layer has so that a keyframe is waited for, and so little that it is given up at once.
    for limit_bps in [200_000, 60_000] {
        let mut rig = Rig::new();
        let mut publisher = rig.publisher(0, &setup());
        let mut viewer = rig.viewer(1, &setup());
        for step in 0..640 {
            if step == 600 {
                rig.plane.limit_bitrate(rig.now, viewer.client.peer, Some(limit_bps));
            }
            frame(&mut rig, &mut publisher, &mut viewer, step, step % 30 == 0, &[0, 1]);
        }
        let packets = viewer.client.packets();
        let of_size = |size: usize| {
            let all = packets.iter().filter(move |(header, _)| header.payload().len() == size);
            all.map(|(header, _)| header.sequence).collect::<Vec<_>>()
        };
        let (left, played) = (of_size(1_000), of_size(200));
        assert!(left.len() > 550 && played.len() > 5);
        for chunk in left[left.len() - 550..].chunks(110) {
            let nack = viewer.nack(chunk);
            rig.receive(&viewer.client, nack);
            rig.flush(&mut [], &mut [&mut viewer]);
        }
        assert!(viewer.client.packets().is_empty(), "{limit_bps} bit/s");
        assert_eq!(rig.plane.counters().rtx_refused, 550);
        let nack = viewer.nack(&played[played.len() - 5..]);
        rig.receive(&viewer.client, nack);
        rig.flush(&mut [], &mut [&mut viewer]);
        assert_eq!(viewer.client.packets().len(), 5, "within a second's budget");
    }
}

#[test]
fn who_is_paused_needs_no_keyframe_of_what_it_is_not_sent() {
    let (mut rig, mut publisher, mut viewer) = on_air();
    rig.plane.limit_bitrate(rig.now, viewer.client.peer, Some(60_000));
    viewer.client.packets();
    publisher.client.rtcp.clear();
    for step in 60..80 {
        let pli = viewer.pli();
        rig.receive(&viewer.client, pli);
        frame(&mut rig, &mut publisher, &mut viewer, step, false, &[0, 1]);
    }
    assert!(viewer.client.packets().is_empty(), "paused");
    let compounds = publisher.client.rtcp.clone();
    assert_eq!(asked(&mut publisher, 1), 0);
    publisher.client.rtcp = compounds;
    assert!(asked(&mut publisher, 0) > 0);
}

/// Frames of both layers but for a keyframe of `layer` at step `lost`, which comes with the frames of step `at`, if it does, and for the
/// frame after it, so that it begins no whole group. What came at the viewer, with the size of its payload.
fn with_late_keyframe(
    rig: &mut Rig,
    (publisher, viewer): (&mut Publisher, &mut Viewer),
    steps: std::ops::Range<u16>,
    (layer, lost, at): (usize, u16, u16),
) -> Vec<(RtpHeader, usize)> {
    for step in steps {
        let is_lost = |other: usize| other == layer && (lost..lost + 2).contains(&step);
        let others: Vec<usize> = [0, 1].into_iter().filter(|other| !is_lost(*other)).collect();
        if step == at {
            let sequence = lost + 500 * layer as u16;
            let size = if layer == 0 { 200 } else { 1_000 };
            let sent = Sent { sequence, timestamp: u32::from(lost) * 3_000, keyframe: true, layer, size };
            let packet = publisher.video(&sent);
            rig.publish(publisher, &packet, &mut [viewer]);
        }
        frame(rig, publisher, viewer, step, false, &others);
    }
    let packets = viewer.client.packets().into_iter();
    packets.map(|(header, _)| (header, header.payload().len())).collect()
}

#[test]
fn a_keyframe_that_shows_what_is_long_over_is_not_gone_on_with() {
    for (late, changes) in [(3, true), (15, false)] {
        let (mut rig, mut publisher, mut viewer) = on_air();
        // Less than the layer has, but not so little that it is given up at once.
        rig.plane.limit_bitrate(rig.now, viewer.client.peer, Some(200_000));
        assert_eq!(viewer.client.packets().last().map(|(header, _)| header.payload().len()), Some(1_000));
        let clients = (&mut publisher, &mut viewer);
        let shown = with_late_keyframe(&mut rig, clients, 60..90, (0, 61, 61 + late));
        let small = shown.iter().filter(|(_, size)| *size == 200).count();
        assert_eq!(small > 0, changes, "{late} frames late");
        frame(&mut rig, &mut publisher, &mut viewer, 90, true, &[0, 1]);
        frame(&mut rig, &mut publisher, &mut viewer, 91, false, &[0, 1]);
        let shown = viewer.client.packets();
        assert!(shown.iter().any(|(header, _)| header.payload().len() == 200), "the next one is in time");
        let newest = shown.last().unwrap().0.timestamp;
        // A millisecond later than it was filmed, as the same picture was shown of the other layer.
        assert!(changes || newest == 91 * 3_000 + 90, "{newest}");
    }
}

/// A keyframe of layer 0 that was lost long ago, and one of now, in one window.
#[test]
fn a_keyframe_that_comes_late_hides_none_that_comes_with_it() {
    let (mut rig, mut publisher, mut viewer) = on_air();
    rig.plane.limit_bitrate(rig.now, viewer.client.peer, Some(200_000));
    viewer.client.packets();
    let shown = with_late_keyframe(&mut rig, (&mut publisher, &mut viewer), 60..90, (0, 61, 99));
    assert!(shown.iter().all(|(_, size)| *size == 1_000));
    for step in [61, 90] {
        let sent =
            Sent { sequence: step, timestamp: u32::from(step) * 3_000, keyframe: true, layer: 0, size: 200 };
        let packet = publisher.video(&sent);
        let sealed = publisher.client.seal(&packet);
        rig.receive(&publisher.client, sealed);
    }
    rig.wait(Duration::from_millis(33), &mut [&mut publisher], &mut [&mut viewer]);
    let sizes: Vec<_> = viewer.client.packets().iter().map(|(header, _)| header.payload().len()).collect();
    assert_eq!(sizes, [200], "the one of now");
}

/// Who wants another layer while one of its keyframes comes that is long over needs one more.
#[test]
fn a_keyframe_that_comes_late_is_nothing_to_choose_a_layer_by() {
    let (mut rig, mut publisher, mut viewer) = on_air();
    with_late_keyframe(&mut rig, (&mut publisher, &mut viewer), 60..90, (0, 61, 99));
    publisher.client.rtcp.clear();
    let sent = Sent { sequence: 61, timestamp: 61 * 3_000, keyframe: true, layer: 0, size: 200 };
    let packet = publisher.video(&sent);
    let sealed = publisher.client.seal(&packet);
    rig.receive(&publisher.client, sealed);
    rig.plane.limit_bitrate(rig.now, viewer.client.peer, Some(200_000));
    rig.wait(Duration::from_millis(33), &mut [&mut publisher], &mut [&mut viewer]);
    assert_eq!(asked(&mut publisher, 0), 1, "at once");
}

/// Who asks for a keyframe is not served by one that shows what is long over.
#[test]
fn a_keyframe_that_comes_after_a_newer_one_answers_nobody() {
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &Setup::default());
    let mut viewer = rig.viewer(1, &Setup::default());
    let mut run = |rig: &mut Rig, publisher: &mut Publisher, sequence: u16, keyframe: bool| {
        let packet = publisher.video(&Sent::frame(sequence, keyframe));
        rig.publish(publisher, &packet, &mut [&mut viewer]);
        rig.wait(Duration::from_millis(33), &mut [publisher], &mut [&mut viewer]);
    };
    for sequence in (100..160).filter(|sequence| *sequence != 120) {
        run(&mut rig, &mut publisher, sequence, [100, 130].contains(&sequence));
    }
    let keyframes = rig.plane.track_report(rig.now, VIDEO).unwrap().keyframes;
    publisher.client.rtcp.clear();
    rig.plane.want_keyframe(rig.now, rig.plane.places[&VIDEO], 0);
    rig.flush(&mut [&mut publisher], &mut []);
    assert_eq!(asked(&mut publisher, 0), 1);
    run(&mut rig, &mut publisher, 120, true);
    (160..180).for_each(|sequence| run(&mut rig, &mut publisher, sequence, false));
    assert_eq!(asked(&mut publisher, 0), 1, "again, as it was not answered");
    assert_eq!(rig.plane.track_report(rig.now, VIDEO).unwrap().keyframes, keyframes);
}

#[test]
fn who_was_paused_does_not_go_back_to_a_keyframe_before_what_it_was_sent() {
    let (mut rig, mut publisher, mut viewer) = on_air();
    viewer.client.packets();
    let shown = with_late_keyframe(&mut rig, (&mut publisher, &mut viewer), 60..64, (1, 61, 99));
    assert_eq!(shown.len(), 2, "all but what is lost");
    // Far too little for a moment, and all of it again.
    rig.plane.limit_bitrate(rig.now, viewer.client.peer, Some(60_000));
    rig.plane.limit_bitrate(rig.now, viewer.client.peer, None);
    let shown = with_late_keyframe(&mut rig, (&mut publisher, &mut viewer), 64..70, (1, 61, 64));
    assert!(shown.is_empty(), "{shown:?}");
    frame(&mut rig, &mut publisher, &mut viewer, 70, true, &[0, 1]);
    let shown = viewer.client.packets();
    assert!(shown.iter().any(|(header, _)| header.timestamp >= 70 * 3_000), "the next one is in time");
}

#[test]
fn who_was_paused_for_longer_than_rings_reach_goes_on_in_picture_and_frame_numbers() {
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup());
    let mut viewer = rig.viewer(1, &setup());
    let mut packets = Vec::new();
    for step in 0..1_300 {
        if step == 60 {
            rig.plane.limit_bitrate(rig.now, viewer.client.peer, Some(60_000));
        }
        let keyframe = step < 60 && step % 20 == 0 || step == 1_290;
        // The lower layer has no whole group to begin with.
        for layer in [0, 1].into_iter().filter(|layer| (step, *layer) != (50, 0)) {
            let packet = numbered(&mut publisher, step, layer, keyframe);
            rig.publish(&mut publisher, &packet, &mut [&mut viewer]);
        }
        rig.wait(Duration::from_millis(33), &mut [&mut publisher], &mut [&mut viewer]);
        packets.extend(viewer.client.packets());
    }
    let resumed = packets.iter().rposition(|(header, _)| header.payload().len() == 1_000).unwrap() + 1;
    assert_eq!(packets.len() - resumed, 10, "of the lower layer, since its keyframe");
    let numbers = |(header, packet): &(RtpHeader, Vec<u8>)| {
        let numbers = picture_numbers(CodecKind::Vp8, &packet[header.payload()]).unwrap();
        (numbers.id, numbers.base, frame_number(header.extension(packet, 6).unwrap()).unwrap())
    };
    let (id, base, frame) = numbers(&packets[resumed - 1]);
    let follows = ((id + 1) & 0x7FFF, base.wrapping_add(1), frame.wrapping_add(1));
    assert_eq!(numbers(&packets[resumed]), follows);
}

#[test]
fn picture_and_frame_numbers_go_on_though_only_padding_came_since_the_last_picture() {
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup());
    let mut viewer = rig.viewer(1, &setup());
    let mut packets = Vec::new();
    for step in 0..160 {
        let keyframe = step < 60 && step % 20 == 0 || step == 150;
        // The lower layer has no whole group to begin with.
        for layer in [0, 1].into_iter().filter(|layer| (step, *layer) != (50, 0)) {
            let mut packet = numbered(&mut publisher, step, layer, keyframe);
            if layer == 1 && step >= 60 {
                publisher.descriptor.clear();
                let timestamp = 59 * 3_000;
                let sent = Sent { sequence: step + 500, timestamp, keyframe: false, layer, size: 0 };
                packet = publisher.video_payload(&sent, &[1]);
                packet[0] |= 0x20;
            }
            rig.publish(&mut publisher, &packet, &mut [&mut viewer]);
        }
        rig.wait(Duration::from_millis(33), &mut [&mut publisher], &mut [&mut viewer]);
        packets.extend(viewer.client.packets());
    }
    let padding = packets.iter().filter(|(header, _)| header.payload().is_empty()).count();
    assert!(padding > 60, "{padding}");
    let numbers = packets.iter().filter_map(|(header, packet)| {
        let numbers = picture_numbers(CodecKind::Vp8, &packet[header.payload()])?;
        Some((numbers.id, numbers.base, frame_number(header.extension(packet, 6)?)?))
    });
    let numbers: Vec<_> = numbers.collect();
    assert_eq!(packets.last().map(|(header, _)| header.payload().len()), Some(200), "it has changed");
    let follows = |pair: &[(u16, u8, u16)]| {
        let (id, base, frame) = pair[0];
        pair[1] == ((id + 1) & 0x7FFF, base.wrapping_add(1), frame.wrapping_add(1))
    };
    assert!(numbers.windows(2).all(follows), "{numbers:?}");
}

#[test]
fn who_joins_simulcast_sees_pictures_without_a_pause_from_the_first_one_on() {
    for age_ms in (20..1_100).step_by(90) {
        let mut scene = Scene::before_viewer(&[1.5e5, 5e5, 1.5e6], 1e9, Says::TransportWide, false);
        (0..2_000).for_each(|_| scene.step());
        scene.begin_group();
        (0..age_ms).for_each(|_| scene.step());
        let joined = scene.rig.now;
        scene.join();
        (0..1_000).for_each(|_| scene.step());
        let shown = &scene.screen.shown;
        let pause = shown.windows(2).map(|pair| pair[1].at - pair[0].at).max().unwrap();
        assert!(pause <= Duration::from_millis(40), "{age_ms} ms after a keyframe: {pause:?}");
        assert!(shown[0].at - joined <= Duration::from_millis(160), "{age_ms} ms after a keyframe");
        assert_eq!(shown.last().map(|shown| shown.layer), Some(2));
    }
}
