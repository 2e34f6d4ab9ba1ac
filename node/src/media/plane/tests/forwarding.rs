use proptest::prelude::*;

use super::*;
use crate::media::codec::Point;
use crate::media::extension::ExtensionKind;
use crate::media::keys::SrtpProfile;

fn value(kind: ExtensionKind, (header, packet): &(rtp::RtpHeader, Vec<u8>)) -> Option<Vec<u8>> {
    let id = VIEWER_IDS.iter().find(|(known, _)| *known == kind).unwrap().1;
    header.extension(packet, id).map(<[u8]>::to_vec)
}

#[test]
fn a_viewer_gets_what_the_publisher_sent_under_its_own_numbers_in_every_profile() {
    for profile in SrtpProfile::PREFERRED {
        let setup = Setup { profile, ..Setup::default() };
        let mut rig = Rig::new();
        let mut publisher = rig.publisher(0, &setup);
        let (mut near, mut far) = (rig.viewer(1, &setup), rig.viewer(2, &setup));
        for sequence in 65_530..65_560_u32 {
            let sent = Sent::frame(sequence as u16, sequence == 65_530);
            let packet = publisher.video(&sent);
            rig.publish(&mut publisher, &packet, &mut [&mut near, &mut far]);
        }
        for viewer in [&mut near, &mut far] {
            let packets = viewer.client.packets();
            assert_eq!(packets.len(), 30, "{profile:?}");
            assert!(packets[0].0.sequence <= 0x8000, "a start above 2^15 confuses receivers that miss it");
            for ((source, step), (header, packet)) in (65_530..).zip(0..).zip(&packets) {
                assert_eq!((header.ssrc, header.payload_type, header.marker), (viewer.ssrc, 101, true));
                assert_eq!(header.sequence, packets[0].0.sequence.wrapping_add(step));
                let sent = Sent::frame(source as u16, source == 65_530);
                assert_eq!(header.timestamp, sent.timestamp);
                assert_eq!(&packet[header.payload()], &vp8(&sent)[..]);
            }
            let transport = |at: usize| value(ExtensionKind::TransportWideCc, &packets[at]).unwrap();
            let numbers = [transport(0), transport(1)].map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
            assert_eq!(numbers[1], numbers[0].wrapping_add(1));
            assert_eq!(value(ExtensionKind::Mid, &packets[0]), Some(b"1".to_vec()));
            assert_eq!(value(ExtensionKind::VideoOrientation, &packets[0]), Some(vec![2]));
            assert_eq!(value(ExtensionKind::AudioLevel, &packets[0]), None);
        }
        let counters = rig.plane.counters();
        assert_eq!((counters.rtp_received_packets, counters.rtp_sent_packets), (30, 60));
        assert_eq!(counters.seal_failed, 0);
    }
}

#[test]
fn video_begins_with_a_keyframe_and_sound_at_once_on_one_transport_numbering() {
    let setup = Setup { audio: true, ..Setup::default() };
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup);
    let mut viewer = rig.viewer(1, &setup);
    for (sequence, keyframe) in [(1, false), (2, false), (3, true), (4, false)] {
        let packet = publisher.video(&Sent::frame(sequence, keyframe));
        rig.publish(&mut publisher, &packet, &mut [&mut viewer]);
        let packet = publisher.audio(sequence, &[0x78, sequence as u8]);
        rig.publish(&mut publisher, &packet, &mut [&mut viewer]);
    }
    let packets = viewer.client.packets();
    let of = |ssrc| packets.iter().filter(move |(header, _)| header.ssrc == ssrc);
    assert_eq!(of(viewer.audio_ssrc).count(), 4);
    assert_eq!(of(viewer.ssrc).map(|(header, _)| header.timestamp).collect::<Vec<_>>(), [9_000, 12_000]);
    let numbers: Vec<_> = packets
        .iter()
        .map(|packet| value(ExtensionKind::TransportWideCc, packet).unwrap())
        .map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
        .collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "{numbers:?}");
    let (publisher, viewer) = (publisher.client.peer, viewer.client.peer);
    assert_eq!(
        rig.events(),
        [
            PlaneEvent::FirstMedia(publisher),
            PlaneEvent::FirstMedia(viewer),
            PlaneEvent::KeyframeWaited(Duration::ZERO),
            PlaneEvent::FirstKeyframe(publisher),
            PlaneEvent::FirstKeyframe(viewer),
            PlaneEvent::LayerPlayed {
                peer: viewer,
                track: VIDEO,
                layer: 0,
                point: Point::WHOLE,
                switch: None
            },
        ]
    );
}

#[test]
fn a_lost_packet_leaves_a_gap_that_its_repair_fills() {
    let setup = Setup::default();
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup);
    let mut viewer = rig.viewer(1, &setup);
    for sequence in [10, 11, 13, 14] {
        let packet = publisher.video(&Sent::frame(sequence, sequence == 10));
        rig.publish(&mut publisher, &packet, &mut [&mut viewer]);
    }
    let repair = publisher.video_rtx(&Sent::frame(12, false), 500);
    rig.publish(&mut publisher, &repair, &mut [&mut viewer]);
    // The original comes after its repair: nobody needs it.
    let late = publisher.video(&Sent::frame(12, false));
    rig.publish(&mut publisher, &late, &mut [&mut viewer]);
    let packets = viewer.client.packets();
    let first = packets[0].0.sequence;
    let steps: Vec<_> = packets.iter().map(|(header, _)| header.sequence.wrapping_sub(first)).collect();
    assert_eq!(steps, [0, 1, 3, 4, 2]);
    let (header, packet) = &packets[4];
    assert_eq!(&packet[header.payload()], &vp8(&Sent::frame(12, false))[..]);
    assert_eq!((header.timestamp, header.payload_type), (36_000, 101));
    assert_eq!((rig.plane.counters().rtp_duplicate, viewer.client.refused), (1, 0));
}

#[test]
fn padding_is_taken_off_and_a_packet_of_padding_alone_keeps_its_number() {
    let setup = Setup::default();
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup);
    let mut viewer = rig.viewer(1, &setup);
    let whole = publisher.video(&Sent::frame(1, true));
    let mut padded = publisher.video(&Sent::frame(2, false));
    padded[0] |= 0x20;
    padded.extend([0, 0, 3]);
    let mut empty = publisher.video(&Sent { size: 0, ..Sent::frame(3, false) });
    let header = rtp::RtpHeader::parse(&empty).unwrap();
    empty.truncate(header.header_len());
    empty[0] |= 0x20;
    empty.extend([0; 199]);
    empty.push(200);
    for packet in [whole, padded, empty] {
        rig.publish(&mut publisher, &packet, &mut [&mut viewer]);
    }
    let packets = viewer.client.packets();
    assert_eq!(packets.len(), 3);
    assert_eq!((packets[1].0.padding_len, packets[1].0.payload().len()), (0, 900));
    assert_eq!((packets[2].0.padding_len, packets[2].0.payload().len()), (1, 0));
}

/// A plane with a viewer that has seen the frames 10 to 14.
fn watched() -> (Rig, Publisher, Viewer) {
    let setup = Setup::default();
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup);
    let mut viewer = rig.viewer(1, &setup);
    for sequence in 10..15 {
        let packet = publisher.video(&Sent::frame(sequence, sequence == 10));
        rig.publish(&mut publisher, &packet, &mut [&mut viewer]);
    }
    (rig, publisher, viewer)
}

#[test]
fn a_publisher_that_begins_anew_is_played_on_from_its_next_keyframe() {
    let (mut rig, publisher, mut viewer) = watched();
    // The same track from another connection, as after a reload of the page.
    rig.plane.remove_peer(rig.now, publisher.client.peer);
    let mut again = rig.publisher(5, &Setup::default());
    for sequence in 40_000..40_005 {
        let packet = again.video(&Sent::frame(sequence, sequence == 40_002));
        rig.publish(&mut again, &packet, &mut [&mut viewer]);
    }
    let packets = viewer.client.packets();
    let first = packets[0].0.sequence;
    let steps: Vec<_> = packets.iter().map(|(header, _)| header.sequence.wrapping_sub(first)).collect();
    assert_eq!(steps, [0, 1, 2, 3, 4, 5, 6, 7]);
    let times: Vec<_> = packets.iter().map(|(header, _)| header.timestamp).collect();
    assert!(times.windows(2).all(|pair| (1..=90_000).contains(&pair[1].wrapping_sub(pair[0]))), "{times:?}");
    assert_eq!(viewer.client.refused, 0);
}

#[test]
fn an_encoder_that_begins_anew_within_a_connection_is_played_on_too() {
    let (mut rig, mut publisher, mut viewer) = watched();
    rig.wait(Duration::from_millis(600), &mut [&mut publisher], &mut []);
    publisher.client.rtcp.clear();
    for sequence in 300..310 {
        let mut packet = publisher.video(&Sent::frame(sequence, sequence == 305));
        packet[8..12].copy_from_slice(&0xD00D_u32.to_be_bytes());
        rig.publish(&mut publisher, &packet, &mut [&mut viewer]);
    }
    let asked = publisher.client.rtcp.iter().flat_map(|compound| crate::media::rtcp::packets(compound));
    assert!(asked.flatten().any(|packet| {
        matches!(packet, crate::media::rtcp::Packet::PictureLoss(loss) if loss.media_ssrc == 0xD00D)
    }));
    let packets = viewer.client.packets();
    assert_eq!((packets.len(), viewer.client.refused), (10, 0));
    let sequences: Vec<_> = packets.iter().map(|(header, _)| header.sequence).collect();
    assert!(sequences.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)), "{sequences:?}");
}

#[test]
fn who_leaves_gets_nothing_more_and_the_others_all() {
    let setup = Setup { audio: true, ..Setup::default() };
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup);
    let mut viewers: Vec<_> = (1..6).map(|index| rig.viewer(index, &setup)).collect();
    let mut sequence = 0;
    while viewers.len() > 1 {
        sequence += 1;
        let packet = publisher.video(&Sent::frame(sequence, true));
        rig.publish(&mut publisher, &packet, &mut viewers.iter_mut().collect::<Vec<_>>());
        assert!(viewers.iter_mut().all(|viewer| viewer.client.packets().len() == 1));
        // From the front, so that the last leg moves each time, and must still be found.
        let gone = viewers.remove(0);
        rig.plane.remove_peer(rig.now, gone.client.peer);
        assert_eq!(rig.plane.track_report(rig.now, VIDEO).unwrap().legs, viewers.len());
        let last = viewers.last_mut().unwrap();
        let pli = last.pli();
        let before = rig.plane.counters().keyframe_requests_received;
        rig.receive(&last.client, pli);
        assert_eq!(rig.plane.counters().keyframe_requests_received, before + 1);
    }
    // The key's successor is another peer: datagrams of the old one are nobody's.
    rig.plane.receive(rig.now, rig.now, PeerKey { index: 1, generation: 1 }, &mut [0x80; 50]);
    assert_eq!(rig.plane.counters().peer_unknown, 1);
    rig.plane.remove_peer(rig.now, viewers[0].client.peer);
    rig.plane.remove_peer(rig.now, publisher.client.peer);
    assert_eq!(rig.plane.track_report(rig.now, VIDEO), None, "nothing is left of the track");
}

#[test]
fn media_follows_a_viewer_to_its_new_path() {
    let setup = Setup::default();
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup);
    let mut viewer = rig.viewer(1, &setup);
    viewer.client.path = Path::Udp(std::net::SocketAddr::from(([10, 0, 0, 9], 5)));
    let packet = publisher.video(&Sent::frame(1, true));
    rig.publish(&mut publisher, &packet, &mut [&mut viewer]);
    assert_eq!(viewer.client.packets().len(), 0);
    rig.plane.move_peer(rig.now, viewer.client.peer, viewer.client.path);
    let packet = publisher.video(&Sent::frame(2, false));
    rig.publish(&mut publisher, &packet, &mut [&mut viewer]);
    assert_eq!(viewer.client.packets().len(), 1);
}

#[test]
fn a_window_larger_than_the_ring_loses_packets_and_never_mixes_them_up() {
    let setup = Setup::default();
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &setup);
    let mut viewer = rig.viewer(1, &setup);
    let packet = publisher.video(&Sent::frame(0, true));
    rig.publish(&mut publisher, &packet, &mut [&mut viewer]);
    for sequence in 1..900 {
        let packet = publisher.video(&Sent::frame(sequence, false));
        let sealed = publisher.client.seal(&packet);
        rig.receive(&publisher.client, sealed);
    }
    rig.flush(&mut [], &mut [&mut viewer]);
    let packets = viewer.client.packets();
    assert!((400..900).contains(&packets.len()), "{}", packets.len());
    let first = packets[0].0.sequence;
    for (header, packet) in &packets {
        let step = header.sequence.wrapping_sub(first);
        assert_eq!(&packet[header.payload()], &vp8(&Sent::frame(step, step == 0))[..]);
    }
}

#[test]
fn specs_that_cannot_be_are_refused_and_leave_nothing() {
    let setup = Setup::default();
    let mut rig = Rig::new();
    let publisher = rig.publisher(0, &setup);
    let again = rig.plane.add_ingest(rig.now, publisher.spec(&setup));
    assert_eq!(again, Err(PlaneError::PlaceTaken(publisher.client.peer)));
    let elsewhere = Setup { origin: 1, ..Setup::default() };
    let mut mirror = Rig::new();
    mirror.viewer(2, &elsewhere);
    let taken = mirror.plane.add_ingest(mirror.now, Publisher::new(1, &setup).spec(&setup));
    assert_eq!(taken, Err(PlaneError::TrackTaken(VIDEO)), "it enters at another shard");
    let mut spec = Viewer::new(2, &setup).spec(&setup);
    spec.tracks[0].media.local_ssrc = None;
    assert_eq!(rig.plane.add_egress(rig.now, spec), Err(PlaneError::NoLocalSsrc(VIDEO)));
    let mut spec = Viewer::new(2, &setup).spec(&setup);
    spec.keys.local.key.pop();
    assert!(matches!(rig.plane.add_egress(rig.now, spec), Err(PlaneError::Keys(_))));
    let far = Viewer::new(1 << 20, &setup);
    assert_eq!(rig.plane.add_egress(rig.now, far.spec(&setup)), Err(PlaneError::PlaceBeyondTable(1 << 20)));
    assert_eq!(rig.plane.track_report(rig.now, VIDEO).unwrap().legs, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Loss, reordering and duplicates between publisher and plane: each viewer gets each packet that came exactly once,
    /// under the number that its place in the stream gives it. The sealer's ledger checks every nonce on the way.
    #[test]
    fn every_packet_that_came_goes_out_once_under_its_number(
        start in 60_000_u16..65_535,
        fates in prop::collection::vec((0_u8..10, 0_usize..8), 20..200),
    ) {
        let setup = Setup::default();
        let mut rig = Rig::new();
        let mut publisher = rig.publisher(0, &setup);
        let mut viewer = rig.viewer(1, &setup);
        let mut wire: Vec<(usize, u16, Vec<u8>)> = Vec::new();
        for (step, (fate, delay)) in fates.iter().enumerate() {
            let sequence = start.wrapping_add(step as u16);
            let packet = publisher.video(&Sent { size: 60, ..Sent::frame(sequence, step == 0) });
            let sealed = publisher.client.seal(&packet);
            let lost = step > 0 && *fate == 0;
            let copies = if lost { 0 } else if *fate == 1 { 2 } else { 1 };
            let delay = if step == 0 { 0 } else { *delay };
            (0..copies).for_each(|copy| wire.push((step * 2 + delay * (copy + 1), sequence, sealed.clone())));
        }
        wire.sort_by_key(|(at, ..)| *at);
        for group in wire.chunks(5) {
            group.iter().for_each(|(_, _, sealed)| rig.receive(&publisher.client, sealed.clone()));
            rig.flush(&mut [], &mut [&mut viewer]);
        }
        let mut expected: Vec<_> = wire.iter().map(|(_, sequence, _)| sequence.wrapping_sub(start)).collect();
        expected.sort_unstable();
        expected.dedup();
        prop_assert_eq!(viewer.client.refused, 0);
        let packets = viewer.client.packets();
        let first = packets[0].0.sequence;
        let mut steps: Vec<_> = packets.iter().map(|(header, _)| header.sequence.wrapping_sub(first)).collect();
        steps.sort_unstable();
        prop_assert_eq!(steps, expected);
        for (header, packet) in &packets {
            let source = start.wrapping_add(header.sequence.wrapping_sub(first));
            let sent = Sent { size: 60, ..Sent::frame(source, source == start) };
            prop_assert_eq!(&packet[header.payload()], &vp8(&sent)[..]);
        }
    }
}

#[test]
fn what_leaves_is_as_old_as_the_oldest_of_its_kind() {
    let setup = Setup { audio: true, ..Setup::default() };
    let mut rig = Rig::new();
    let start = rig.now;
    let at = |ms| start + Duration::from_millis(ms);
    let mut publisher = rig.publisher(0, &setup);
    let video = publisher.video(&Sent::frame(1, false));
    let unwatched = rig.publish(&mut publisher, &video, &mut []);
    assert_eq!(unwatched, Forwarded::default(), "nobody watches");
    let mut viewer = rig.viewer(1, &setup);
    for (ms, sequence) in [(1, 2), (2, 3)] {
        rig.now = at(ms);
        let packet = publisher.video(&Sent::frame(sequence, sequence == 2));
        let sealed = publisher.client.seal(&packet);
        rig.receive(&publisher.client, sealed);
    }
    rig.now = at(4);
    let audio = publisher.audio(1, &[0x78]);
    let sent = rig.publish(&mut publisher, &audio, &mut [&mut viewer]);
    assert_eq!(sent, Forwarded { audio: Some(at(4)), video: Some(at(1)), rtx: None });
    let number =
        viewer.client.packets().iter().find(|(header, _)| header.ssrc == viewer.ssrc).unwrap().0.sequence;
    rig.now = at(90);
    let nack = viewer.nack(&[number]);
    rig.receive(&viewer.client, nack);
    rig.now = at(91);
    let sent = rig.flush(&mut [&mut publisher], &mut [&mut viewer]);
    assert_eq!(sent, Forwarded { audio: None, video: None, rtx: Some(at(90)) });
    assert_eq!(rig.flush(&mut [], &mut []), Forwarded::default());
}
