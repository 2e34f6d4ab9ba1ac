#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use crate::media::rtcp::{Packet, Writer, packets};
use proptest::prelude::*;
use rtc_rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;
use rtc_shared::marshal::Unmarshal;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// All messages that are due, each as the bytes of one packet.
fn feedback(recorder: &mut ArrivalRecorder) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    loop {
        let mut buffer = [0; MAX_FEEDBACK_BYTES];
        let mut writer = Writer::new(&mut buffer);
        let more = recorder.write_feedback(&mut writer, 1, 2).unwrap();
        let len = writer.len();
        if len > 0 {
            messages.push(buffer[..len].to_vec());
        }
        if !more {
            return messages;
        }
    }
}

fn reports(message: &[u8]) -> Vec<(u16, Arrival)> {
    let Some(Ok(Packet::TransportCc(feedback))) = packets(message).next() else { panic!("no feedback") };
    let read: Vec<_> = feedback.packets().collect();
    assert_eq!(read.len(), usize::from(feedback.status_count));
    read
}

/// Arrival in µs of each packet in `messages`, `None` if reported lost.
fn merged(messages: &[Vec<u8>]) -> BTreeMap<u16, Option<i64>> {
    let all = messages.iter().flat_map(|message| reports(message));
    all.map(|(sequence, arrival)| match arrival {
        Arrival::Received { at_micros } => (sequence, Some(at_micros)),
        Arrival::Lost => (sequence, None),
        Arrival::ReceivedUntimed => panic!("never written"),
    })
    .collect()
}

proptest! {
    /// Gaps between packets and between their arrivals of every size, on a number that wraps.
    #[test]
    fn what_was_recorded_is_read_back(
        start: u16,
        steps in proptest::collection::vec((1u16..20, prop_oneof![0u64..2_000, 0u64..100_000, Just(9_000_000)]), 1..40),
    ) {
        let base = Instant::now();
        let mut recorder = ArrivalRecorder::new(base);
        let mut expected = BTreeMap::new();
        let (mut sequence, mut micros) = (start, 5_000);
        for (step, pause) in steps {
            let skipped = if expected.is_empty() { 0 } else { step };
            for lost in 1..skipped {
                expected.insert(sequence.wrapping_add(lost), None);
            }
            sequence = sequence.wrapping_add(skipped);
            micros += pause;
            recorder.record(sequence, base + Duration::from_micros(micros));
            expected.insert(sequence, Some((micros / 250 * 250) as i64));
        }
        let messages = feedback(&mut recorder);
        prop_assert_eq!(merged(&messages), expected);
        prop_assert_eq!(recorder.poll_timeout(), None);
        for message in messages {
            prop_assert!(message.len() <= MAX_FEEDBACK_BYTES);
            let theirs = TransportLayerCc::unmarshal(&mut &message[..]).unwrap();
            let ours = reports(&message);
            prop_assert_eq!(usize::from(theirs.packet_status_count), ours.len());
            prop_assert_eq!(theirs.base_sequence_number, ours[0].0);
            let mut at = i64::from(theirs.reference_time) * 64_000;
            let theirs: Vec<i64> = theirs.recv_deltas.iter().map(|delta| { at += delta.delta; at }).collect();
            let timed = ours.iter().filter_map(|(_, arrival)| match arrival {
                Arrival::Received { at_micros } => Some(*at_micros),
                _ => None,
            });
            prop_assert_eq!(timed.collect::<Vec<_>>(), theirs);
        }
    }

    #[test]
    fn any_order_and_any_jump_is_survived(
        arrivals in proptest::collection::vec((any::<u16>(), 0u64..1_000_000, any::<bool>()), 0..300),
    ) {
        let base = Instant::now();
        let mut recorder = ArrivalRecorder::new(base);
        for (sequence, micros, write) in arrivals {
            recorder.record(sequence, base + Duration::from_micros(micros));
            if write {
                prop_assert!(feedback(&mut recorder).len() <= 8);
            }
        }
        merged(&feedback(&mut recorder));
    }
}

#[test]
fn a_packet_reported_lost_is_corrected_when_it_arrives() {
    let base = Instant::now();
    let mut recorder = ArrivalRecorder::new(base);
    let at = |ms| base + Duration::from_millis(ms);
    recorder.record(10, at(1));
    recorder.record(12, at(2));
    assert_eq!(merged(&feedback(&mut recorder))[&11], None);
    recorder.record(12, at(3));
    assert_eq!(recorder.poll_timeout(), None, "a duplicate is no news");
    recorder.record(11, at(4));
    let corrected = merged(&feedback(&mut recorder));
    assert_eq!(corrected.into_iter().collect::<Vec<_>>(), [(11, Some(4_000)), (12, Some(2_000))]);
}

#[test]
fn feedback_is_due_after_the_interval_or_at_once_when_much_arrived() {
    let base = Instant::now();
    let mut recorder = ArrivalRecorder::new(base);
    assert_eq!(recorder.poll_timeout(), None);
    recorder.record(0, base);
    assert_eq!(recorder.poll_timeout(), Some(base + FEEDBACK_INTERVAL));
    (1..200).for_each(|sequence| recorder.record(sequence, base));
    assert_eq!(recorder.poll_timeout(), Some(base));
}

#[test]
fn much_traffic_makes_several_messages_with_consecutive_counts() {
    let base = Instant::now();
    let mut recorder = ArrivalRecorder::new(base);
    for sequence in 0..1000u16 {
        recorder.record(sequence, base + Duration::from_micros(u64::from(sequence) * 70));
    }
    let messages = feedback(&mut recorder);
    assert_eq!(messages.len(), 3);
    assert_eq!(merged(&messages).values().flatten().count(), 1000);
    let counts = messages.iter().map(|message| message[19]);
    assert_eq!(counts.collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn a_sender_that_begins_anew_is_believed_after_a_few_packets() {
    let base = Instant::now();
    let mut recorder = ArrivalRecorder::new(base);
    recorder.record(30_000, base);
    feedback(&mut recorder);
    (0..20).for_each(|sequence| recorder.record(sequence, base));
    let restarted = merged(&feedback(&mut recorder));
    assert_eq!(restarted.keys().copied().collect::<Vec<_>>(), (7..20).collect::<Vec<_>>());
}

#[test]
fn a_full_buffer_forgets_nothing() {
    let base = Instant::now();
    let mut recorder = ArrivalRecorder::new(base);
    recorder.record(1, base);
    let mut small = [0; 16];
    assert!(recorder.write_feedback(&mut Writer::new(&mut small), 1, 2).is_err());
    assert_eq!(merged(&feedback(&mut recorder)).len(), 1);
}

#[test]
fn a_report_without_its_deltas_ends_early() {
    let mut message = vec![0x8F, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 9, 0, 5, 0, 0, 1, 0];
    message.extend([0x20, 5, 1, 2]);
    let Some(Ok(Packet::TransportCc(feedback))) = packets(&message).next() else { panic!("no feedback") };
    assert_eq!(feedback.packets().count(), 2);
    (message[15], message[22], message[23]) = (6, 0, 0);
    assert!(packets(&message).next().unwrap().is_err(), "the chunks do not cover six packets");
}

/// A message of `count` packets from `base` on: `chunks`, then receive deltas.
fn message(base: u16, count: u16, chunks: &[u16], deltas: &[u8]) -> Vec<u8> {
    let mut message = vec![0x8F, 205, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2];
    message.extend([base.to_be_bytes(), count.to_be_bytes()].concat());
    message.extend([0, 0, 1, 0]);
    chunks.iter().for_each(|chunk| message.extend(chunk.to_be_bytes()));
    message.extend(deltas);
    message.resize(message.len().next_multiple_of(4), 0);
    message[3] = (message.len() / 4 - 1) as u8;
    message
}

#[test]
fn a_few_bytes_that_speak_of_all_packets_cost_no_more_than_those_that_were_sent() {
    let message = message(9, u16::MAX, &[MAX_RUN as u16; 9], &[]);
    let Some(Ok(Packet::TransportCc(feedback))) = packets(&message).next() else { panic!("no feedback") };
    assert_eq!((message.len(), feedback.lost()), (40, 65_535));
    let within: Vec<_> = feedback.packets_within(20_000, 3).collect();
    assert_eq!(within, [20_000, 20_001, 20_002].map(|sequence| (sequence, Arrival::Lost)));
    assert_eq!(feedback.packets_within(7, 4).map(|(sequence, _)| sequence).collect::<Vec<_>>(), [9, 10]);
    assert_eq!(feedback.packets_within(7, 0).count(), 0);
}

proptest! {
    #[test]
    fn a_part_of_a_report_is_what_the_whole_says_of_it(
        base: u16,
        chunks in proptest::collection::vec(
            prop_oneof![0x8000..=u16::MAX, (0..4_u16, 0..600_u16).prop_map(|(symbol, len)| symbol << 13 | len)],
            1..30,
        ),
        deltas in proptest::collection::vec(any::<u8>(), 0..800),
        count in 1..18_000_u16,
        oldest in -2_000..18_000_i32,
        known in 0..1_025_u16,
    ) {
        let message = message(base, count, &chunks, &deltas);
        if let Some(Ok(Packet::TransportCc(feedback))) = packets(&message).next() {
            let oldest = base.wrapping_add(oldest as u16);
            let expected: Vec<_> =
                feedback.packets().filter(|(sequence, _)| sequence.wrapping_sub(oldest) < known).collect();
            prop_assert_eq!(feedback.packets_within(oldest, known).collect::<Vec<_>>(), expected);
            let lost = feedback.packets().filter(|(_, arrival)| *arrival == Arrival::Lost).count();
            let is_whole = feedback.packets().count() == usize::from(count);
            prop_assert!(feedback.lost() == lost || !is_whole);
        }
    }
}

#[test]
fn a_reference_time_that_wraps_goes_on() {
    let read = |reference: i32| {
        let [_, time @ ..] = reference.to_be_bytes();
        let mut body = vec![0; 16];
        body[12..15].copy_from_slice(&time);
        let body = body.leak();
        Feedback::parse(body).unwrap()
    };
    let mut unwrapped = read(0x7F_FFFE).unwrapped_reference(0x7F_FFFE);
    for (reference, expected) in [(0x80_0001, 0x80_0001), (0x80_0000, 0x80_0000), (0xFF_FFFF, 0xFF_FFFF)] {
        unwrapped = read(reference).unwrapped_reference(unwrapped);
        assert_eq!(unwrapped, expected);
    }
    let wrapped = read(3);
    unwrapped = wrapped.unwrapped_reference(unwrapped);
    assert_eq!(unwrapped, 0x100_0003);
    assert_eq!(wrapped.micros_to(unwrapped), 64_000 << 24);
    assert_eq!(read(5).unwrapped_reference(i32::MAX - 2), i32::MIN + 5, "after years");
}
