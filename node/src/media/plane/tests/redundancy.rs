//! Redundant sound (RFC 2198): kept for who agreed on it, taken off for others.

use std::collections::BTreeMap;

use super::shards::exchange;
use super::*;
use crate::media::codec::red::{self, Redundancy};
use crate::media::rtp::RtpHeader;

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
    assert_eq!(rig.plane.counters().nack_received_sequences, 0);
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
