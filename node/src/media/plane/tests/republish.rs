//! Publishers that follow one another on the same tracks.

use super::*;
use crate::media::rtcp::{self, Packet, SenderInfo};
use crate::media::rtp::RtpHeader;

fn sound() -> Setup {
    Setup { audio: true, ..Setup::default() }
}

/// Sends 30 frames a second from `first` on, with sound beside each, until `viewer` has had `frames` of them.
fn broadcast(rig: &mut Rig, publisher: &mut Publisher, viewer: &mut Viewer, first: u16, frames: u16) {
    for number in 0..frames {
        let sequence = first.wrapping_add(number);
        let video = publisher.video(&Sent::frame(sequence, number == 2));
        rig.publish(publisher, &video, &mut [viewer]);
        let audio = publisher.audio(sequence, &[0x78, number as u8]);
        rig.publish(publisher, &audio, &mut [viewer]);
        rig.wait(Duration::from_millis(33), &mut [publisher], &mut [viewer]);
    }
}

fn of(packets: &[(RtpHeader, Vec<u8>)], ssrc: u32) -> Vec<(u16, u32)> {
    let own = packets.iter().filter(|(header, _)| header.ssrc == ssrc);
    own.map(|(header, _)| (header.sequence, header.timestamp)).collect()
}

fn picture_losses(publisher: &Publisher) -> usize {
    let packets = publisher.client.rtcp.iter().flat_map(|compound| rtcp::packets(compound));
    packets.flatten().filter(|packet| matches!(packet, Packet::PictureLoss(_))).count()
}

#[test]
fn viewers_play_on_with_the_time_that_passed() {
    for away in [Duration::from_millis(200), Duration::from_secs(5), Duration::from_secs(59)] {
        let setup = sound();
        let mut rig = Rig::new();
        let mut first = rig.publisher(0, &setup);
        let mut viewer = rig.viewer(1, &setup);
        broadcast(&mut rig, &mut first, &mut viewer, 500, 10);
        let before = viewer.client.packets();
        rig.plane.remove_peer(rig.now, first.client.peer);
        let left_at = rig.now;
        rig.wait(away, &mut [], &mut [&mut viewer]);
        let mut second = rig.publisher(5, &setup);
        rig.flush(&mut [&mut second], &mut []);
        assert_eq!(picture_losses(&second), 1, "a keyframe is asked for at once");
        let sound_at = rig.now;
        broadcast(&mut rig, &mut second, &mut viewer, 60_000, 10);
        let after = viewer.client.packets();
        for (ssrc, clock_rate_hz, begins_at) in [
            // The picture begins with the keyframe, the third frame.
            (viewer.ssrc, 90_000, sound_at + Duration::from_millis(66)),
            (viewer.audio_ssrc, 48_000, sound_at),
        ] {
            let (old, new) = (of(&before, ssrc), of(&after, ssrc));
            let (last, next) = (old[old.len() - 1], new[0]);
            assert_eq!(next.0, last.0.wrapping_add(1), "numbers go on");
            assert!(new.windows(2).all(|pair| pair[1].0 == pair[0].0.wrapping_add(1)));
            // The last frame of the first publisher came 33 ms before it left.
            let passed = begins_at - (left_at - Duration::from_millis(33));
            let units = (passed.as_secs_f64() * f64::from(clock_rate_hz)) as i64;
            let moved = i64::from(next.1.wrapping_sub(last.1) as i32);
            let slack = i64::from(clock_rate_hz) / 100;
            assert!((moved - units).abs() <= slack, "{away:?}: moved by {moved}, {units} passed");
        }
        assert_eq!(viewer.client.refused, 0, "no nonce came twice");
        let transport: Vec<u16> = [before, after]
            .concat()
            .iter()
            .map(|(header, packet)| {
                u16::from_be_bytes(header.extension(packet, 5).unwrap().try_into().unwrap())
            })
            .collect();
        assert!(transport.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "{transport:?}");
    }
}

#[test]
fn the_one_before_is_not_heard_once_it_was_taken_over() {
    let setup = sound();
    let mut rig = Rig::new();
    let mut first = rig.publisher(0, &setup);
    let mut viewer = rig.viewer(1, &setup);
    broadcast(&mut rig, &mut first, &mut viewer, 500, 10);
    let last = of(&viewer.client.packets(), viewer.ssrc).last().copied().unwrap();
    let mut second = rig.publisher(5, &setup);
    broadcast(&mut rig, &mut second, &mut viewer, 3, 10);
    let stray = first.video(&Sent::frame(510, true));
    let before = viewer.client.rtp.len();
    rig.publish(&mut first, &stray, &mut [&mut viewer]);
    assert_eq!(viewer.client.rtp.len(), before);
    assert_eq!(rig.plane.counters().rtp_unmapped, 1);
    rig.plane.remove_peer(rig.now, first.client.peer);
    broadcast(&mut rig, &mut second, &mut viewer, 13, 10);
    let after = of(&viewer.client.packets(), viewer.ssrc);
    assert_eq!((after[0].0, after.len()), (last.0.wrapping_add(1), 18), "its end ends nothing");
    assert!(after.windows(2).all(|pair| pair[1].1.wrapping_sub(pair[0].1) == 3_000));
    assert_eq!(viewer.client.refused, 0);
}

#[test]
fn a_publisher_without_layers_follows_one_with_them() {
    let layered = Setup { rids: vec!["a".to_owned(), "b".to_owned()], ..Setup::default() };
    let mut rig = Rig::new();
    let mut first = rig.publisher(0, &layered);
    let mut viewer = rig.viewer(1, &layered);
    for number in 0..60 {
        for layer in 0..2 {
            let sent = Sent { layer, size: 300 + 600 * layer, ..Sent::frame(number, number % 30 == 0) };
            let packet = first.video(&sent);
            rig.publish(&mut first, &packet, &mut [&mut viewer]);
        }
        rig.wait(Duration::from_millis(33), &mut [&mut first], &mut [&mut viewer]);
    }
    let before = of(&viewer.client.packets(), viewer.ssrc);
    let setup = Setup::default();
    let mut second = rig.publisher(5, &setup);
    for number in 0..10 {
        let packet = second.video(&Sent::frame(9_000 + number, number == 0));
        rig.publish(&mut second, &packet, &mut [&mut viewer]);
    }
    let after = of(&viewer.client.packets(), viewer.ssrc);
    assert_eq!(after.len(), 10, "from the first keyframe on");
    assert_eq!(after[0].0, before.last().unwrap().0.wrapping_add(1));
    let ahead = after[0].1.wrapping_sub(before.last().unwrap().1) as i32;
    assert!((1..=9_000).contains(&ahead), "{ahead}");
}

#[test]
fn the_wall_clock_of_another_machine_does_not_part_sound_and_picture() {
    let setup = sound();
    let mut rig = Rig::new();
    let mut first = rig.publisher(0, &setup);
    let mut viewer = rig.viewer(1, &setup);
    let report = |publisher: &mut Publisher, ssrc, seconds: u64, rtp_timestamp| {
        let info = SenderInfo { ntp: seconds << 32, rtp_timestamp, packet_count: 1, octet_count: 1 };
        publisher.client.rtcp(|writer| writer.sender_report(ssrc, &info, &[]).unwrap())
    };
    for (ssrc, timestamp) in [(PUBLISHER_VIDEO_SSRC, 512 * 3_000), (PUBLISHER_AUDIO_SSRC, 512 * 960)] {
        let packet = first.video(&Sent::frame(511, true));
        rig.publish(&mut first, &packet, &mut [&mut viewer]);
        let packet = first.audio(511, &[0x78]);
        rig.publish(&mut first, &packet, &mut [&mut viewer]);
        let compound = report(&mut first, ssrc, 1_000, timestamp);
        rig.receive(&first.client, compound);
    }
    rig.plane.remove_peer(rig.now, first.client.peer);
    rig.wait(Duration::from_secs(3), &mut [], &mut [&mut viewer]);
    let mut second = rig.publisher(5, &setup);
    let compound = report(&mut second, PUBLISHER_AUDIO_SSRC, 70_000, 2 * 960);
    rig.receive(&second.client, compound);
    broadcast(&mut rig, &mut second, &mut viewer, 0, 3);
    // Both say that frame 2 was taken at the same time, on a clock that is 19 hours ahead.
    for (ssrc, timestamp) in [(PUBLISHER_AUDIO_SSRC, 2 * 960), (PUBLISHER_VIDEO_SSRC, 2 * 3_000)] {
        let compound = report(&mut second, ssrc, 70_000, timestamp);
        rig.receive(&second.client, compound);
    }
    viewer.client.rtcp.clear();
    rig.wait(Duration::from_millis(1_100), &mut [&mut second], &mut [&mut viewer]);
    let mut told = std::collections::HashMap::new();
    for packet in viewer.client.rtcp.iter().flat_map(|compound| rtcp::packets(compound)) {
        if let Packet::SenderReport(report) = packet.unwrap() {
            told.insert(report.ssrc, report.info);
        }
    }
    let (picture, sound) = (told[&viewer.ssrc], told[&viewer.audio_ssrc]);
    assert_eq!(picture.ntp >> 32, sound.ntp >> 32);
    assert!(
        (1_003..1_006).contains(&(picture.ntp >> 32)),
        "the viewer's clock went on: {}",
        picture.ntp >> 32
    );
}

#[test]
fn a_publisher_without_a_known_ssrc_is_asked_with_its_first_packet() {
    let setup = Setup::default();
    let mut rig = Rig::new();
    let mut first = rig.publisher(0, &setup);
    let mut viewer = rig.viewer(1, &setup);
    broadcast_video(&mut rig, &mut first, &mut viewer, 500, 3);
    rig.plane.remove_peer(rig.now, first.client.peer);
    rig.wait(Duration::from_secs(3), &mut [], &mut [&mut viewer]);
    let throttled = rig.plane.counters().keyframe_requests_throttled;
    let mut second = Publisher::new(5, &setup);
    let mut spec = second.spec(&setup);
    spec.tracks[0].media.remote_ssrcs.clear();
    rig.plane.add_ingest(rig.now, spec).unwrap();
    rig.wait(Duration::from_millis(40), &mut [&mut second], &mut [&mut viewer]);
    assert_eq!(picture_losses(&second), 0, "nobody knows what its picture is called");
    let packet = second.video(&Sent::frame(9_000, false));
    rig.publish(&mut second, &packet, &mut [&mut viewer]);
    assert_eq!(picture_losses(&second), 1);
    assert_eq!(rig.plane.counters().keyframe_requests_throttled, throttled);
    let packet = second.video(&Sent::frame(9_001, false));
    rig.publish(&mut second, &packet, &mut [&mut viewer]);
    assert_eq!(picture_losses(&second), 1, "once");
}

/// Until its first keyframe a layer is asked for one as often as any publisher is.
#[test]
fn packets_before_the_first_keyframe_are_one_wish() {
    let setup = Setup::default();
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup);
    let mut viewer = rig.viewer(1, &setup);
    let throttled = rig.plane.counters().keyframe_requests_throttled;
    for sequence in 0..60 {
        let packet = publisher.video(&Sent::frame(sequence, false));
        rig.publish(&mut publisher, &packet, &mut [&mut viewer]);
        rig.wait(Duration::from_millis(20), &mut [&mut publisher], &mut [&mut viewer]);
    }
    let counters = rig.plane.counters();
    assert!(counters.keyframe_requests_throttled <= throttled + 1, "one wish of the layer's first packet");
    assert_eq!(picture_losses(&publisher), 3, "at 0, 0.5 and 1 s");
}

#[test]
fn who_waits_through_more_publishers_than_are_remembered_goes_on_a_frame_later() {
    let setup = Setup::default();
    let mut rig = Rig::new();
    let mut first = rig.publisher(0, &setup);
    let mut viewer = rig.viewer(1, &setup);
    broadcast_video(&mut rig, &mut first, &mut viewer, 500, 10);
    let last = of(&viewer.client.packets(), viewer.ssrc).pop().unwrap();
    rig.plane.remove_peer(rig.now, first.client.peer);
    // Each sends something, and none a keyframe.
    for index in 5..11 {
        let mut other = rig.publisher(index, &setup);
        let sent = Sent { timestamp: 77_000 * index, ..Sent::frame(7, false) };
        let packet = other.video(&sent);
        rig.publish(&mut other, &packet, &mut [&mut viewer]);
        rig.wait(Duration::from_secs(20), &mut [&mut other], &mut [&mut viewer]);
        rig.plane.remove_peer(rig.now, other.client.peer);
    }
    assert_eq!(viewer.client.packets().len(), 0);
    let mut newest = rig.publisher(20, &setup);
    // On the clock of the first publisher it would be some seconds later, and those have nothing to do with it.
    let sent = Sent { timestamp: 510 * 3_000 + 500_000, ..Sent::frame(7, true) };
    let packet = newest.video(&sent);
    rig.publish(&mut newest, &packet, &mut [&mut viewer]);
    let next = of(&viewer.client.packets(), viewer.ssrc)[0];
    assert_eq!((next.0, next.1.wrapping_sub(last.1)), (last.0.wrapping_add(1), 3_000));
}

fn broadcast_video(rig: &mut Rig, publisher: &mut Publisher, viewer: &mut Viewer, first: u16, frames: u16) {
    for number in 0..frames {
        let video = publisher.video(&Sent::frame(first + number, number == 0));
        rig.publish(publisher, &video, &mut [viewer]);
        rig.wait(Duration::from_millis(33), &mut [publisher], &mut [viewer]);
    }
}

/// What it had not had of the last group it has caught up with since the pictures ended.
#[test]
fn who_has_had_all_that_there_was_goes_on_with_the_time_that_passed() {
    let mut rig = Rig::new();
    let mut first = rig.publisher(0, &sound());
    for step in 0..15 {
        let packet = first.video(&Sent::frame(step, step == 0));
        rig.publish(&mut first, &packet, &mut []);
        rig.wait(Duration::from_millis(33), &mut [&mut first], &mut []);
    }
    let mut viewer = rig.viewer(1, &sound());
    for step in 0..100 {
        let packet = first.audio(step, &[0x78, 1]);
        rig.publish(&mut first, &packet, &mut [&mut viewer]);
        rig.wait(Duration::from_millis(20), &mut [&mut first], &mut [&mut viewer]);
    }
    let pictures = of(&viewer.client.packets(), viewer.ssrc);
    assert_eq!(pictures.len(), 15, "from the ring");
    rig.plane.remove_peer(rig.now, first.client.peer);
    rig.wait(Duration::from_secs(3), &mut [], &mut [&mut viewer]);
    let mut second = rig.publisher(5, &sound());
    let packet = second.video(&Sent { timestamp: 3_000_000_000, ..Sent::frame(700, true) });
    rig.publish(&mut second, &packet, &mut [&mut viewer]);
    rig.wait(Duration::from_millis(33), &mut [&mut second], &mut [&mut viewer]);
    let next = of(&viewer.client.packets(), viewer.ssrc)[0];
    let (sequence, timestamp) = pictures[14];
    assert_eq!(next.0, sequence.wrapping_add(1));
    // 5 s, less what the last picture was ahead while it was played faster.
    let passed_ms = next.1.wrapping_sub(timestamp) / 90;
    assert!((4_500..5_100).contains(&passed_ms), "{passed_ms} ms");
}

#[test]
fn what_was_lost_of_the_one_before_stays_lost() {
    let setup = Setup::default();
    let mut rig = Rig::new();
    let mut viewer = rig.viewer(1, &setup);
    for (index, lost) in [(0, 2), (5, 4)] {
        let mut publisher = rig.publisher(index, &setup);
        let first = 100 * index as u16;
        broadcast_video(&mut rig, &mut publisher, &mut viewer, first, 3);
        assert_eq!(rig.plane.track_report(rig.now, VIDEO).unwrap().lost, lost - 2);
        // Two are missing in between, for longer than anybody would still play them.
        broadcast_video(&mut rig, &mut publisher, &mut viewer, first + 5, 200);
        assert_eq!(rig.plane.track_report(rig.now, VIDEO).unwrap().lost, lost);
        let counters = rig.plane.counters();
        assert_eq!((counters.rtp_missed_packets, counters.rtp_unrepaired_packets), (lost, lost));
        rig.plane.remove_peer(rig.now, publisher.client.peer);
    }
}

#[test]
fn a_publisher_whose_encoder_is_gone_is_told_of_once_and_again_when_it_is_back() {
    const LIMIT: Duration = Duration::from_secs(5);
    let setup = sound();
    let mut rig = Rig::new();
    rig.plane = Plane::new(ShardId(0), 7, rig.now).with_silence_limit(Some(LIMIT));
    let mut publisher = rig.publisher(0, &setup);
    let peer = publisher.client.peer;
    let told = |rig: &mut Rig| {
        let events = rig.events().into_iter();
        let told = events.filter(|event| {
            let none = [PlaneEvent::FirstKeyframe(peer), PlaneEvent::KeyframeWaited(Duration::ZERO)];
            !none.contains(event)
        });
        told.collect::<Vec<_>>()
    };
    let second = Duration::from_secs(1);
    let mut since = rig.now;
    rig.wait(LIMIT + second, &mut [&mut publisher], &mut []);
    assert_eq!(told(&mut rig), [PlaneEvent::MediaPaused { peer, since }], "connected, and no encoder yet");
    for sequence in 0..12 {
        // The sound of one who says nothing is a packet now and then.
        let packet = publisher.audio(sequence, &[0x78]);
        since = rig.now;
        rig.publish(&mut publisher, &packet, &mut []);
        rig.wait(LIMIT - second / 10, &mut [&mut publisher], &mut []);
    }
    assert_eq!(told(&mut rig), [PlaneEvent::FirstMedia(peer)]);
    for _ in 0..100 {
        let compound = publisher.client.rtcp(|writer| {
            writer.receiver_report(PUBLISHER_AUDIO_SSRC, &[]).unwrap();
        });
        rig.receive(&publisher.client, compound);
        rig.receive(&publisher.client, vec![0x80; 40]);
        rig.wait(second / 10, &mut [&mut publisher], &mut []);
    }
    assert_eq!(told(&mut rig), [PlaneEvent::MediaPaused { peer, since }], "RTCP and garbage are no media");
    for sequence in 0..100 {
        let packet = padding(&mut publisher, sequence);
        rig.publish(&mut publisher, &packet, &mut []);
        rig.wait(second / 10, &mut [&mut publisher], &mut []);
    }
    assert_eq!(told(&mut rig), [], "nor is padding");
    for sequence in 20..23 {
        let packet = publisher.audio(sequence, &[0x78]);
        rig.publish(&mut publisher, &packet, &mut []);
    }
    assert_eq!(told(&mut rig), [PlaneEvent::MediaResumed(peer)]);
}

/// Video of nothing but padding, as probes of a sender without retransmissions are.
fn padding(publisher: &mut Publisher, sequence: u16) -> Vec<u8> {
    let mut packet = publisher.video_payload(&Sent::frame(sequence, false), &[0; 200]);
    packet[0] |= 0x20;
    *packet.last_mut().unwrap() = 200;
    packet
}

#[test]
fn a_publisher_that_only_probes_falls_silent() {
    const LIMIT: Duration = Duration::from_secs(5);
    let setup = sound();
    let mut rig = Rig::new();
    rig.plane = Plane::new(ShardId(0), 7, rig.now).with_silence_limit(Some(LIMIT));
    let mut publisher = rig.publisher(0, &setup);
    let (peer, since) = (publisher.client.peer, rig.now);
    let packet = publisher.audio(0, &[0x78]);
    rig.publish(&mut publisher, &packet, &mut []);
    for sequence in 0..70 {
        let packet = padding(&mut publisher, sequence);
        rig.publish(&mut publisher, &packet, &mut []);
        rig.wait(Duration::from_millis(100), &mut [&mut publisher], &mut []);
    }
    assert_eq!(rig.plane.counters().rtp_received_packets, 71);
    assert_eq!(rig.events(), [PlaneEvent::FirstMedia(peer), PlaneEvent::MediaPaused { peer, since }]);
}

/// What came while the process stood still lies unread when its timers run.
#[test]
fn a_shard_that_stood_still_calls_nobody_silent() {
    const LIMIT: Duration = Duration::from_secs(5);
    let setup = sound();
    for is_gone in [false, true] {
        let mut rig = Rig::new();
        rig.plane = Plane::new(ShardId(0), 7, rig.now).with_silence_limit(Some(LIMIT));
        let mut publisher = rig.publisher(0, &setup);
        let peer = publisher.client.peer;
        let packet = publisher.audio(0, &[0x78]);
        rig.publish(&mut publisher, &packet, &mut []);
        let mut since = rig.now;
        rig.events();
        rig.now += Duration::from_secs(60);
        rig.plane.handle_timeout(rig.now);
        if !is_gone {
            let packet = publisher.audio(1, &[0x78]);
            rig.publish(&mut publisher, &packet, &mut []);
            since = rig.now;
        }
        rig.wait(Duration::from_millis(4_500), &mut [&mut publisher], &mut []);
        assert_eq!(rig.events(), [], "{is_gone}");
        rig.wait(Duration::from_secs(2), &mut [&mut publisher], &mut []);
        assert_eq!(rig.events(), [PlaneEvent::MediaPaused { peer, since }], "{is_gone}");
    }
}

/// A VP8 frame with a picture id and TL0PICIDX.
fn numbered(publisher: &mut Publisher, sequence: u16, keyframe: bool, picture: u8) -> Vec<u8> {
    let payload = [
        &[0x90, 0xC0, picture, picture, u8::from(!keyframe), 0, 0, 0x9D, 0x01, 0x2A, 0, 5, 0xD0, 2][..],
        &[7; 80],
    ]
    .concat();
    publisher.video_payload(&Sent::frame(sequence, keyframe), &payload)
}

#[test]
fn picture_numbers_go_on_however_long_the_next_keyframe_takes() {
    let setup = Setup::default();
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup);
    let mut viewer = rig.viewer(1, &setup);
    for step in 0..20 {
        let packet = numbered(&mut publisher, 100 + step, step == 0, 40 + step as u8);
        rig.publish(&mut publisher, &packet, &mut [&mut viewer]);
    }
    rig.plane.remove_peer(rig.now, publisher.client.peer);
    let mut publisher = rig.publisher(2, &setup);
    // As many as take the places of all that came before.
    for step in 0..40 {
        let packet = numbered(&mut publisher, 90 + step, step == 39, 3 + step as u8);
        rig.publish(&mut publisher, &packet, &mut [&mut viewer]);
    }
    let packets = viewer.client.packets();
    let pictures: Vec<(u8, u8)> = packets
        .iter()
        .map(|(header, packet)| &packet[header.payload()])
        .map(|payload| (payload[2], payload[3]))
        .collect();
    assert_eq!(pictures.len(), 21);
    assert_eq!(pictures[19..], [(59, 59), (60, 60)]);
}

#[test]
fn picture_numbers_go_on_however_much_padding_lies_between() {
    let setup = Setup::default();
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup);
    let mut viewer = rig.viewer(1, &setup);
    for step in 0..80 {
        let packet = match step {
            0..20 => numbered(&mut publisher, 100 + step, step == 0, 40 + step as u8),
            _ => padding(&mut publisher, 100 + step),
        };
        rig.publish(&mut publisher, &packet, &mut [&mut viewer]);
    }
    rig.plane.remove_peer(rig.now, publisher.client.peer);
    let mut publisher = rig.publisher(2, &setup);
    for step in 0..3 {
        let packet = numbered(&mut publisher, 90 + step, step == 2, 3 + step as u8);
        rig.publish(&mut publisher, &packet, &mut [&mut viewer]);
    }
    let packets = viewer.client.packets();
    let last = packets.last().map(|(header, packet)| &packet[header.payload()]).unwrap();
    assert_eq!((last[2], last[3]), (60, 60));
}
