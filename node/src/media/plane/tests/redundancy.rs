//! Redundant sound (RFC 2198): kept for who agreed on it, taken off for others, added for who loses much.

use std::collections::BTreeMap;

use super::shards::exchange;
use super::*;
use crate::media::codec::red::{self, Redundancy};
use crate::media::rtcp::ReportBlock;
use crate::media::rtp::RtpHeader;
use proptest::prelude::*;

fn with_red(audio_type: u8) -> Setup {
    Setup { audio: true, red: true, audio_type, ..Setup::default() }
}

fn plain() -> Setup {
    Setup { audio: true, ..Setup::default() }
}

/// The frame that the packet of this number is about.
fn frame(sequence: u16) -> Vec<u8> {
    let mut frame = vec![0x78, sequence as u8];
    frame.resize(60 + usize::from(sequence % 7), sequence as u8);
    frame
}

/// As Chromium sends it: the frame before, and its own.
fn payload(sequence: u16) -> Vec<u8> {
    let older = frame(sequence.wrapping_sub(1));
    let word = 960_u32 << 10 | older.len() as u32;
    [&[0x80 | OPUS], &word.to_be_bytes()[1..], &[OPUS], &older[..], &frame(sequence)].concat()
}

/// What the viewer got of sound since the last call.
fn sound(viewer: &mut Viewer) -> Vec<(RtpHeader, Vec<u8>)> {
    let packets = viewer.client.packets().into_iter();
    let packets = packets.filter(|(header, _)| header.ssrc == viewer.audio_ssrc);
    packets.map(|(header, packet)| (header, packet[header.payload()].to_vec())).collect()
}

/// Every frame that can be played, by timestamp.
fn frames(packets: &[(RtpHeader, Vec<u8>)]) -> BTreeMap<u32, Vec<u8>> {
    let mut frames = BTreeMap::new();
    for (header, payload) in packets {
        let redundancy = (header.payload_type == RED).then(|| Redundancy::parse(payload).unwrap());
        for older in redundancy.iter().flat_map(|redundancy| redundancy.older_frames(payload)) {
            frames.insert(header.timestamp.wrapping_sub(older.age.into()), older.frame.to_vec());
        }
        let own = redundancy.map_or(0, |redundancy| usize::from(redundancy.bytes));
        frames.insert(header.timestamp, payload[own..].to_vec());
    }
    frames
}

#[test]
fn who_agreed_on_it_gets_it_as_it_came_and_others_the_frame_alone() {
    let (mut near, mut far) = (Rig::new(), Rig::on_shard(1));
    let mut publisher = near.publisher(0, &with_red(OPUS));
    let (mut same, mut other) = (near.viewer(1, &with_red(OPUS)), near.viewer(2, &with_red(109)));
    let mut without = near.viewer(3, &plain());
    let (mut far_same, mut far_without) = (far.viewer(4, &with_red(OPUS)), far.viewer(5, &plain()));
    exchange(&mut near, &mut far);
    for sequence in 1..30 {
        let packet = publisher.sound(RED, sequence, &payload(sequence));
        near.publish(&mut publisher, &packet, &mut [&mut same, &mut other, &mut without]);
        exchange(&mut near, &mut far);
        far.flush(&mut [], &mut [&mut far_same, &mut far_without]);
    }
    for (viewer, wanted_type) in [(&mut same, OPUS), (&mut other, 109), (&mut far_same, OPUS)] {
        let packets = sound(viewer);
        assert_eq!(packets.len(), 29);
        for ((header, got), sequence) in packets.iter().zip(1_u16..) {
            let mut wanted = payload(sequence);
            red::renumber(&mut wanted, wanted_type);
            assert_eq!((header.payload_type, header.timestamp), (RED, u32::from(sequence) * 960));
            assert_eq!(got, &wanted);
        }
    }
    for viewer in [&mut without, &mut far_without] {
        let packets = sound(viewer);
        assert_eq!(packets.len(), 29);
        for ((header, got), sequence) in packets.iter().zip(1_u16..) {
            assert_eq!((header.payload_type, header.timestamp), (109, u32::from(sequence) * 960));
            assert_eq!(header.sequence, packets[0].0.sequence.wrapping_add(sequence - 1));
            assert_eq!(got, &frame(sequence));
        }
    }
}

#[test]
fn what_is_lost_on_the_way_is_there_without_being_asked_for() {
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &with_red(OPUS));
    let mut viewer = rig.viewer(1, &with_red(OPUS));
    let mut got = Vec::new();
    for sequence in 1..200 {
        let packet = publisher.sound(RED, sequence, &payload(sequence));
        rig.publish(&mut publisher, &packet, &mut [&mut viewer]);
        // Every fifth is lost.
        got.extend(sound(&mut viewer).into_iter().filter(|_| sequence % 5 != 0));
    }
    assert_eq!(got.len(), 160);
    let heard = frames(&got);
    assert!((1..199_u16).all(|sequence| heard[&(u32::from(sequence) * 960)] == frame(sequence)));
    assert_eq!(rig.plane.counters().feedback_received.nack, 0);
}

/// The sealer's ledger looks at every nonce.
#[test]
fn what_goes_out_again_under_its_nonce_is_what_it_was() {
    for setup in [with_red(OPUS), with_red(109), plain()].map(|setup| Setup { audio_nack: true, ..setup }) {
        let mut rig = Rig::new();
        let mut publisher = rig.publisher(0, &with_red(OPUS));
        let mut viewer = rig.viewer(1, &setup);
        let mut sealed = Vec::new();
        for sequence in 1..20 {
            let packet = publisher.sound(RED, sequence, &payload(sequence));
            let datagram = publisher.client.seal(&packet);
            rig.receive(&publisher.client, datagram);
            rig.plane.flush(rig.now, &mut rig.batch, &mut rig.sent);
            sealed.extend(rig.sent.0.drain(..).map(|(_, datagram)| datagram));
        }
        let lost = sealed[7].clone();
        let sequence = u16::from_be_bytes([lost[2], lost[3]]);
        let ssrc = viewer.audio_ssrc;
        let nack = viewer.client.rtcp(|writer| writer.nack(1, ssrc, &[sequence]).unwrap());
        rig.receive(&viewer.client, nack);
        rig.plane.flush(rig.now, &mut rig.batch, &mut rig.sent);
        let again: Vec<_> = rig.sent.0.drain(..).map(|(_, datagram)| datagram).collect();
        assert_eq!(again, [lost]);
    }
}

#[test]
fn what_nobody_could_read_is_left_out() {
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &with_red(OPUS));
    let mut viewer = rig.viewer(1, &with_red(109));
    let mut heard = |sequence: u16, payload: &[u8]| {
        let packet = publisher.sound(RED, sequence, payload);
        rig.publish(&mut publisher, &packet, &mut [&mut viewer]);
        let packets = sound(&mut viewer).into_iter();
        let packets: Vec<_> = packets.map(|(header, payload)| (header.payload_type, payload)).collect();
        (packets, rig.plane.counters().rtp_malformed)
    };
    let alone = [&[OPUS], &frame(1)[..]].concat();
    assert_eq!(heard(1, &alone), (vec![(109, frame(1))], 0), "nothing is redundant");
    let mut foreign = payload(2);
    foreign[0] = 0x80 | 13;
    assert_eq!(heard(2, &foreign), (vec![(109, frame(2))], 0), "the older frame is of another codec");
    let mut foreign = payload(3);
    foreign[4] = 13;
    assert_eq!(heard(3, &foreign), (Vec::new(), 1), "the frame itself is");
    assert_eq!(heard(4, &payload(4)[..20]), (Vec::new(), 2), "cut off");
}

#[test]
fn who_did_not_agree_on_it_does_not_send_it() {
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &plain());
    let mut viewer = rig.viewer(1, &with_red(109));
    let redundant = publisher.sound(RED, 1, &payload(1));
    rig.publish(&mut publisher, &redundant, &mut [&mut viewer]);
    assert_eq!((sound(&mut viewer).len(), rig.plane.counters().rtp_unmapped), (0, 1));
    let packet = publisher.audio(2, &frame(2));
    rig.publish(&mut publisher, &packet, &mut [&mut viewer]);
    let [(header, got)] = &sound(&mut viewer)[..] else { panic!("one packet") };
    assert_eq!((header.payload_type, got), (109, &frame(2)), "sound without redundancy is sound");
}

/// A viewer reports this loss of its sound, in 256ths, of as much as is looked at.
fn report(rig: &mut Rig, viewer: &mut Viewer, fraction_lost: u8) {
    for packets in [0, 250] {
        viewer.reported += packets;
        let (ssrc, highest_sequence) = (viewer.audio_ssrc, viewer.reported);
        let block = ReportBlock { ssrc, fraction_lost, highest_sequence, ..ReportBlock::default() };
        let datagram = viewer.client.rtcp(|writer| writer.receiver_report(1, &[block]).unwrap());
        rig.receive(&viewer.client, datagram);
    }
}

const FIVE_PERCENT: u8 = 13;

/// Frames whose ages do not fall are not in the order of the packets that are missing.
#[test]
fn frames_out_of_order_are_not_taken_for_lost_packets() {
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &with_red(OPUS));
    let mut viewer = rig.viewer(1, &plain());
    let redundant = |ages: [u16; 2]| {
        let frames = ages.map(|age| frame(4 - age));
        let mut payload = Vec::new();
        for (age, frame) in ages.iter().zip(&frames) {
            let word = (u32::from(*age) * 960) << 10 | frame.len() as u32;
            payload.extend([&[0x80 | OPUS], &word.to_be_bytes()[1..]].concat());
        }
        [&payload[..], &[OPUS], &frames[0], &frames[1], &frame(4)].concat()
    };
    let first = publisher.audio(1, &frame(1));
    rig.publish(&mut publisher, &first, &mut [&mut viewer]);
    let packet = publisher.sound(RED, 4, &redundant([1, 2]));
    rig.publish(&mut publisher, &packet, &mut [&mut viewer]);
    let heard = frames(&sound(&mut viewer));
    assert_eq!(heard.into_keys().collect::<Vec<_>>(), [960, 4 * 960]);
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &with_red(OPUS));
    let mut viewer = rig.viewer(1, &plain());
    rig.publish(&mut publisher, &first, &mut [&mut viewer]);
    let packet = publisher.sound(RED, 4, &redundant([2, 1]));
    rig.publish(&mut publisher, &packet, &mut [&mut viewer]);
    let heard = sound(&mut viewer);
    assert!(
        heard
            .iter()
            .zip(1..)
            .all(|((header, got), n)| (header.timestamp, got) == (u32::from(n) * 960, &frame(n)))
    );
    assert_eq!(heard.len(), 4);
}

/// What one viewer gets more of is no business of the others', nor of what the publisher sends.
#[test]
fn each_viewers_sound_is_counted_as_it_gets_it() {
    for redundant in [false, true] {
        let mut rig = Rig::new();
        let mut publisher = rig.publisher(0, &if redundant { with_red(OPUS) } else { plain() });
        let mut lossy = rig.viewer(1, &with_red(OPUS));
        let (mut calm, mut without) = (rig.viewer(2, &with_red(OPUS)), rig.viewer(3, &plain()));
        let mut got = [0_usize; 3];
        let mut came = 0;
        for sequence in 1..400_u16 {
            if sequence == 10 {
                report(&mut rig, &mut lossy, FIVE_PERCENT);
            }
            let packet = match redundant {
                true => publisher.sound(RED, sequence, &payload(sequence)),
                false => publisher.audio(sequence, &frame(sequence)),
            };
            came += packet.len();
            rig.publish(&mut publisher, &packet, &mut [&mut lossy, &mut calm, &mut without]);
            for (viewer, got) in [&mut lossy, &mut calm, &mut without].into_iter().zip(&mut got) {
                let packets = viewer.client.packets();
                *got += packets.iter().map(|(_, packet)| packet.len()).sum::<usize>();
            }
            rig.now += Duration::from_millis(20);
        }
        let per_second = |bytes: usize| (bytes * 8 * 50 / 399) as i64;
        for (viewer, got) in [lossy, calm, without].into_iter().zip(got) {
            let counted = rig.plane.audio_bps(rig.now, viewer.client.peer) as i64;
            // Headers are longer by some bytes here and there.
            assert!((counted - per_second(got)).abs() < 8_000, "{redundant}: {counted} {}", per_second(got));
        }
        let report = rig.plane.track_report(rig.now, AUDIO).unwrap();
        assert!((report.bitrate_bps as i64 - per_second(came)).abs() < 8_000, "{redundant}: {report:?}");
        assert!((report.bytes as i64 - came as i64).abs() < 8_000, "{redundant}: {report:?}");
    }
}

#[test]
fn a_publishers_loss_is_made_good_for_who_did_not_agree() {
    let (mut near, mut far) = (Rig::new(), Rig::on_shard(1));
    let mut publisher = near.publisher(0, &Setup { audio_nack: true, ..with_red(OPUS) });
    let (mut viewer, mut other) = (near.viewer(1, &plain()), far.viewer(2, &plain()));
    exchange(&mut near, &mut far);
    for sequence in (1..100).filter(|sequence| sequence % 4 != 0) {
        let packet = publisher.sound(RED, sequence, &payload(sequence));
        near.publish(&mut publisher, &packet, &mut [&mut viewer]);
        exchange(&mut near, &mut far);
        far.flush(&mut [], &mut [&mut other]);
    }
    // What comes after all came already.
    let late = publisher.sound(RED, 96, &payload(96));
    near.publish(&mut publisher, &late, &mut [&mut viewer]);
    near.wait(Duration::from_secs(3), &mut [&mut publisher], &mut [&mut viewer]);
    let counters = near.plane.counters();
    assert_eq!(
        (counters.rtp_duplicate, counters.nack_sent_sequences, counters.rtp_unrepaired_packets),
        (1, 0, 0)
    );
    for viewer in [&mut viewer, &mut other] {
        let packets = sound(viewer);
        assert_eq!(packets.len(), 99);
        for ((header, got), sequence) in packets.iter().zip(1_u16..) {
            assert_eq!(header.sequence, packets[0].0.sequence.wrapping_add(sequence - 1));
            assert_eq!((header.timestamp, got), (u32::from(sequence) * 960, &frame(sequence)));
        }
    }
}

#[test]
fn who_loses_much_gets_every_frame_three_times_and_others_as_before() {
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &plain());
    let mut lossy = rig.viewer(1, &with_red(OPUS));
    let (mut calm, mut without) = (rig.viewer(2, &with_red(OPUS)), rig.viewer(3, &plain()));
    let mut got = Vec::new();
    for sequence in 1..400_u16 {
        if sequence == 10 {
            report(&mut rig, &mut lossy, FIVE_PERCENT);
            report(&mut rig, &mut calm, 1);
            report(&mut rig, &mut without, FIVE_PERCENT);
        }
        let packet = publisher.audio(sequence, &frame(sequence));
        rig.publish(&mut publisher, &packet, &mut [&mut lossy, &mut calm, &mut without]);
        // Two in a row are lost, and then another.
        let arrives = sequence < 12 || !matches!(sequence % 7, 0 | 1 | 4);
        got.extend(sound(&mut lossy).into_iter().filter(|_| arrives));
    }
    let heard = frames(&got);
    assert!((1..398_u16).all(|sequence| heard[&(u32::from(sequence) * 960)] == frame(sequence)));
    let types: Vec<_> = got.iter().map(|(header, _)| header.payload_type).collect();
    assert!(types[..9].iter().all(|known| *known == OPUS) && types[9..].iter().all(|known| *known == RED));
    let (header, payload) = &got[20];
    let sequence = (header.timestamp / 960) as u16;
    assert_eq!(payload.len(), 9 + (0..3).map(|back| frame(sequence - back).len()).sum::<usize>());
    for (viewer, payload_type) in [(&mut calm, OPUS), (&mut without, 109)] {
        let packets = sound(viewer);
        assert_eq!(packets.len(), 399);
        for ((header, got), sequence) in packets.iter().zip(1_u16..) {
            assert_eq!((header.payload_type, got), (payload_type, &frame(sequence)));
        }
    }
    let changes = rig.plane.counters().redundancy_changes;
    assert_eq!((changes.on, changes.off), (1, 0));
}

#[test]
fn when_nothing_was_lost_for_a_while_nothing_is_added_any_more() {
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &plain());
    let mut viewer = rig.viewer(1, &with_red(109));
    let mut sequence = 1_u16;
    let mut next = |rig: &mut Rig, viewer: &mut Viewer| {
        let packet = publisher.audio(sequence, &frame(sequence));
        sequence += 1;
        rig.publish(&mut publisher, &packet, &mut [viewer]);
        sound(viewer)[0].0.payload_type
    };
    assert_eq!(next(&mut rig, &mut viewer), 109);
    report(&mut rig, &mut viewer, FIVE_PERCENT);
    assert_eq!(next(&mut rig, &mut viewer), RED);
    for _ in 0..3 {
        assert_eq!(next(&mut rig, &mut viewer), RED);
        rig.now += Duration::from_secs(5);
        report(&mut rig, &mut viewer, 0);
    }
    assert_eq!(next(&mut rig, &mut viewer), 109);
    assert_eq!(rig.plane.counters().redundancy_changes.off, 1);
}

/// Its frames would name a time further back than a header can, and after a silence nobody needs them.
#[test]
fn frames_from_before_a_silence_are_not_added() {
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &plain());
    let mut viewer = rig.viewer(1, &with_red(109));
    let mut send = |rig: &mut Rig, viewer: &mut Viewer, sequence: u16, timestamp: u32| {
        let mut packet = publisher.audio(sequence, &frame(sequence));
        packet[4..8].copy_from_slice(&timestamp.to_be_bytes());
        rig.publish(&mut publisher, &packet, &mut [viewer]);
        let [(header, payload)] = &sound(viewer)[..] else { panic!("one packet") };
        let redundancy = (header.payload_type == RED).then(|| Redundancy::parse(payload).unwrap());
        redundancy.map_or(0, |redundancy| redundancy.older_frames)
    };
    send(&mut rig, &mut viewer, 1, 0);
    report(&mut rig, &mut viewer, FIVE_PERCENT);
    let added = [(2, 960), (3, 1_920), (4, 48_000), (5, 48_960), (6, 49_920), (8, 51_840)]
        .map(|(sequence, timestamp)| send(&mut rig, &mut viewer, sequence, timestamp));
    assert_eq!(added, [1, 2, 0, 1, 2, 1]);
}

/// One that is repaired under the nonces of the first packets gets redundancy too, and repairs are what it got.
#[test]
fn repairs_of_what_was_added_to_are_what_went_out() {
    let mut rig = Rig::new();
    let mut publisher = rig.publisher(0, &plain());
    let mut viewer = rig.viewer(1, &Setup { audio_nack: true, ..with_red(OPUS) });
    let mut other = rig.viewer(2, &with_red(OPUS));
    let mut sealed = BTreeMap::new();
    for sequence in 1..40 {
        match sequence {
            // From now on what lies in the ring has redundancy, but it is not for the viewer.
            10 => report(&mut rig, &mut other, FIVE_PERCENT),
            20 => report(&mut rig, &mut viewer, FIVE_PERCENT),
            _ => {}
        }
        let packet = publisher.audio(sequence, &frame(sequence));
        let datagram = publisher.client.seal(&packet);
        rig.receive(&publisher.client, datagram);
        rig.plane.flush(rig.now, &mut rig.batch, &mut rig.sent);
        let path = viewer.client.path;
        sealed.extend(rig.sent.0.drain(..).filter(|sent| sent.0 == path).map(|sent| (sequence, sent.1)));
    }
    assert_eq!([15, 25].map(|sequence| sealed[&sequence][1] & 0x7F), [OPUS, RED]);
    for (sequence, answered) in [(5_u16, true), (15, false), (25, true)] {
        let lost = &sealed[&sequence];
        let (ssrc, number) = (viewer.audio_ssrc, u16::from_be_bytes([lost[2], lost[3]]));
        let nack = viewer.client.rtcp(|writer| writer.nack(1, ssrc, &[number]).unwrap());
        rig.receive(&viewer.client, nack);
        rig.plane.flush(rig.now, &mut rig.batch, &mut rig.sent);
        let again: Vec<_> = rig.sent.0.drain(..).map(|(_, datagram)| datagram).collect();
        let wanted: Vec<_> = Some(lost.clone()).filter(|_| answered).into_iter().collect();
        assert_eq!(again, wanted, "{sequence}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever comes late, is lost or asked for again, and whoever begins to lose when: everybody hears what was said, and the
    /// sealers' ledgers find no nonce that was used for two things.
    #[test]
    fn what_was_said_is_what_is_heard(
        order in prop::collection::vec((0_u16..4, any::<bool>(), 0_u8..40), 40..120),
        redundant in any::<bool>(),
    ) {
        let mut rig = Rig::new();
        let publishes = if redundant { with_red(OPUS) } else { plain() };
        let mut publisher = rig.publisher(0, &publishes);
        let verbatim = Setup { audio_nack: true, ..with_red(OPUS) };
        let setups = [with_red(OPUS), with_red(109), verbatim, plain()];
        let mut viewers: Vec<_> = (1..).zip(&setups).map(|(index, setup)| rig.viewer(index, setup)).collect();
        let mut order: Vec<_> = (10_u16..).zip(order).map(|(at, (delay, lost, what))| (at + delay, at, lost, what)).collect();
        order.sort();
        let mut got = [const { Vec::new() }; 4];
        for (_, sequence, lost, what) in order {
            if !(lost && what % 3 == 0) {
                let (payload_type, payload) =
                    if redundant { (RED, payload(sequence)) } else { (OPUS, frame(sequence)) };
                let packet = publisher.sound(payload_type, sequence, &payload);
                let [a, b, c, d] = &mut viewers[..] else { unreachable!() };
                rig.publish(&mut publisher, &packet, &mut [a, b, c, d]);
            }
            let viewer = &mut viewers[usize::from(what % 4)];
            match what {
                0..8 => report(&mut rig, viewer, FIVE_PERCENT),
                8..12 => {
                    rig.now += Duration::from_secs(8);
                    report(&mut rig, viewer, 0);
                }
                12..24 => {
                    let (ssrc, newest) = (viewer.audio_ssrc, viewer.client.rtp.last());
                    let newest = newest.map_or(0, |packet| u16::from_be_bytes([packet[2], packet[3]]));
                    let asked: Vec<_> = (0..4).map(|back| newest.wrapping_sub(back)).collect();
                    let nack = viewer.client.rtcp(|writer| writer.nack(1, ssrc, &asked).unwrap());
                    rig.receive(&viewer.client, nack);
                }
                _ => {}
            }
        }
        for (viewer, got) in viewers.iter_mut().zip(&mut got) {
            *got = sound(viewer);
            prop_assert!(got.len() > 10);
            for (timestamp, heard) in frames(got) {
                prop_assert_eq!(&heard, &frame((timestamp / 960) as u16));
            }
        }
        prop_assert!(got[3].iter().all(|(header, _)| header.payload_type == 109));
        prop_assert_eq!(rig.plane.counters().seal_failed, 0);
    }
}
