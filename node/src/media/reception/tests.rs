#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const SSRC: u32 = 0xA0;

fn video() -> ReceptionConfig {
    ReceptionConfig { clock_rate_hz: 90_000, nack: true, rtx: true, keyframes: true }
}

/// A reception and its clock.
struct Setup {
    reception: Reception,
    start: Instant,
    now: Instant,
}

impl Setup {
    fn new(config: ReceptionConfig) -> Self {
        let start = Instant::now();
        Self { reception: Reception::new(config, start), start, now: start }
    }

    fn after(&mut self, ms: u64) -> &mut Self {
        self.now += Duration::from_millis(ms);
        self
    }

    fn receive(&mut self, sequence: u16) -> Received {
        self.reception.receive(self.now, SSRC, sequence, 0)
    }

    fn freshness(&mut self, sequence: u16) -> Freshness {
        self.receive(sequence).freshness
    }

    fn asked(&mut self) -> Vec<u16> {
        self.reception.handle_timeout(self.now).to_vec()
    }

    /// Makes it known that the sender answers, after 100 ms; the clock starts anew.
    fn answers(&mut self) {
        self.receive(6);
        self.receive(8);
        assert_eq!(self.after(5).asked(), [7]);
        self.after(100).receive(9);
        assert!(self.reception.receive_repaired(self.now, 7).is_some());
        self.start = self.now;
    }

    /// Runs on virtual time until nothing is due any more; what was asked for, and when in ms.
    fn run(&mut self) -> Vec<(u64, u16)> {
        let mut all = Vec::new();
        while let Some(due) = self.reception.poll_timeout() {
            self.now = self.now.max(due);
            let at = (self.now - self.start).as_millis() as u64;
            let asked = self.asked();
            all.extend(asked.into_iter().map(|sequence| (at, sequence)));
            assert!(all.len() < 10_000, "it never ends");
        }
        all
    }
}

#[test]
fn packets_are_fresh_late_duplicate_or_too_old() {
    let mut s = Setup::new(video());
    assert_eq!(s.freshness(65_534), Freshness::Fresh);
    assert_eq!(s.freshness(1), Freshness::Fresh);
    assert_eq!(s.freshness(65_535), Freshness::Late);
    assert_eq!(s.freshness(65_535), Freshness::Duplicate);
    assert_eq!(s.freshness(1), Freshness::Duplicate);
    assert_eq!(s.freshness(2_000), Freshness::Fresh);
    assert_eq!(s.freshness(0), Freshness::TooOld);
    assert_eq!(s.reception.receive_repaired(s.now, 1_999).unwrap().freshness, Freshness::Late);
    assert_eq!(s.reception.receive_repaired(s.now, 1_999).unwrap().freshness, Freshness::Duplicate);
}

#[test]
fn a_gap_is_asked_for_at_once_unless_it_may_be_reordering() {
    let mut s = Setup::new(video());
    s.receive(10);
    s.receive(12);
    assert!(s.asked().is_empty(), "12 may have overtaken 11");
    s.after(4).receive(11);
    assert_eq!(s.reception.poll_timeout(), None);
    s.receive(14);
    s.receive(16);
    assert_eq!(s.asked(), [13], "three packets behind");
    assert_eq!(s.after(5).asked(), [15]);
    assert!(s.asked().is_empty());
}

#[test]
fn asking_backs_off_and_ends_with_a_wish_for_a_keyframe() {
    let mut s = Setup::new(video());
    s.answers();
    s.receive(10);
    s.receive(12);
    let asked = s.run();
    let times: Vec<u64> = asked.iter().map(|(at, _)| *at).collect();
    assert!(asked.iter().all(|(_, sequence)| *sequence == 11));
    assert_eq!(times[..6], [5, 130, 150, 255, 275, 442], "twice from the second round on");
    assert!(times.last().unwrap() < &1_600, "it does not go on for ever: {times:?}");
    assert!(s.reception.take_keyframe_wanted());
    assert!(!s.reception.take_keyframe_wanted());
    let totals = s.reception.totals();
    assert_eq!(
        (totals.missed_packets, totals.lost_packets),
        (2, 1),
        "one was repaired before, and one is one however often it was asked for"
    );
}

#[test]
fn what_is_repaired_was_missed_and_what_was_only_overtaken_was_not() {
    let mut s = Setup::new(video());
    s.receive(10);
    s.receive(12);
    s.after(4).receive(11);
    s.receive(14);
    assert_eq!(s.after(5).asked(), [13]);
    assert!(s.reception.receive_repaired(s.now, 13).is_some());
    let totals = s.reception.totals();
    assert_eq!((totals.missed_packets, totals.lost_packets), (1, 0));
    s.receive(16);
    s.receive(1_000);
    let totals = s.reception.totals();
    assert_eq!((totals.missed_packets, totals.lost_packets), (985, 984), "too many to ask for");
}

#[test]
fn what_is_missing_when_the_sender_stops_is_given_up_and_says_nothing_of_it() {
    let mut s = Setup::new(video());
    s.reception.stop();
    assert!(!s.reception.is_stopped(), "nothing has come yet");
    s.receive(10);
    s.receive(14);
    assert_eq!(s.after(5).asked(), [11, 12, 13]);
    s.receive(16);
    s.reception.stop();
    assert!(s.reception.is_stopped());
    assert_eq!(s.run(), []);
    let counted = |s: &Setup| {
        let totals = s.reception.totals();
        (totals.missed_packets, totals.lost_packets, totals.abandoned_packets)
    };
    assert_eq!(counted(&s), (4, 0, 4));
    assert!(!s.reception.take_keyframe_wanted());
    // One that was overtaken on the way shows what is missing before it, which is over too.
    s.receive(18);
    assert_eq!(s.run(), []);
    s.after(2_000).reception.resume(false);
    assert_eq!(counted(&s), (5, 0, 5));
    let keyframe = s.receive(21).index;
    assert!(s.asked().is_empty(), "19 and 20 may have been overtaken");
    s.reception.keyframe_started(keyframe);
    assert_eq!(counted(&s), (7, 0, 7), "they were from before the stop");
    let keyframe = s.receive(23).index;
    assert_eq!(s.after(5).asked(), [22]);
    s.reception.keyframe_started(keyframe);
    assert_eq!(counted(&s), (8, 0, 7), "it is still asked for, as ever");
}

#[test]
fn what_is_missing_when_a_packet_says_that_the_sender_is_back_is_asked_for() {
    let mut s = Setup::new(video());
    s.receive(10);
    s.reception.stop();
    s.after(5_000).receive(12);
    s.reception.resume(true);
    assert_eq!(s.after(5).asked(), [11]);
    assert_eq!(s.run().len(), 2);
    let totals = s.reception.totals();
    assert_eq!((totals.missed_packets, totals.lost_packets, totals.abandoned_packets), (1, 1, 0));
}

#[test]
fn a_sender_that_never_answers_is_asked_for_a_keyframe_after_two_rounds_and_then_first() {
    let mut s = Setup::new(video());
    s.receive(10);
    s.receive(12);
    while !s.reception.take_keyframe_wanted() {
        s.now = s.reception.poll_timeout().unwrap();
        s.asked();
    }
    assert_eq!((s.now - s.start).as_millis(), 255, "two rounds");
    let next = s.receive(13).index;
    s.reception.keyframe_started(next);
    s.receive(15);
    assert_eq!(s.after(15).asked(), [14], "it may answer yet");
    assert!(s.reception.take_keyframe_wanted(), "but nobody waits for it");
    assert_eq!(s.run(), [], "it is asked for once");
    assert_eq!(s.reception.totals().lost_packets, 2);
    s.reception.take_keyframe_wanted();
    s.receive(17);
    assert_eq!(s.after(15).asked(), [16]);
    s.reception.take_keyframe_wanted();
    assert!(s.reception.receive_repaired(s.now, 16).is_some(), "an answer");
    s.receive(19);
    assert_eq!(s.after(5).asked(), [18]);
    assert!(!s.reception.take_keyframe_wanted(), "it is trusted again");
}

#[test]
fn one_that_falls_silent_after_it_answered_is_found_out_when_the_second_packet_is_given_up() {
    let mut s = Setup::new(video());
    s.answers();
    for (next, asked) in [(12, 11), (14, 13)] {
        s.receive(next - 2);
        s.receive(next);
        let asked_for = s.run();
        assert!(asked_for.len() > 5 && asked_for.iter().all(|(_, sequence)| *sequence == asked));
        assert!(s.reception.take_keyframe_wanted());
    }
    s.receive(16);
    assert_eq!(s.after(15).asked(), [15]);
    assert!(s.reception.take_keyframe_wanted());
}

#[test]
fn one_packet_that_its_sender_has_lost_too_does_not_make_it_silent() {
    let mut s = Setup::new(video());
    s.answers();
    s.receive(10);
    // All of one gap.
    s.receive(14);
    s.run();
    assert!(s.reception.take_keyframe_wanted());
    s.receive(16);
    assert_eq!(s.after(5).asked(), [15]);
    assert!(!s.reception.take_keyframe_wanted(), "it is waited for");
    s.after(100);
    assert!(s.reception.receive_repaired(s.now, 15).is_some());
    s.receive(18);
    s.run();
    assert!(s.reception.take_keyframe_wanted());
    s.receive(20);
    assert_eq!(s.after(5).asked(), [19]);
    assert!(!s.reception.take_keyframe_wanted(), "not in a row");
}

#[test]
fn a_packet_that_was_overtaken_is_no_answer() {
    let mut s = Setup::new(ReceptionConfig { rtx: false, ..video() });
    s.receive(10);
    s.receive(12);
    assert_eq!(s.after(5).asked(), [11]);
    s.after(3).receive(11);
    s.receive(14);
    let noticed = s.now;
    while !s.reception.take_keyframe_wanted() {
        s.now = s.reception.poll_timeout().unwrap();
        s.asked();
    }
    assert!(
        (s.now - noticed).as_millis() <= 255,
        "two rounds, as nobody has answered: {:?}",
        s.now - noticed
    );
    let index = s.receive(15).index;
    s.reception.keyframe_started(index);
    s.receive(17);
    assert_eq!(s.after(14).asked(), [0_u16; 0]);
    s.receive(16);
    assert!(!s.reception.take_keyframe_wanted(), "it was overtaken");
    s.receive(19);
    assert_eq!(s.after(15).asked(), [18]);
    assert!(s.reception.take_keyframe_wanted());
    let index = s.after(3).receive(18).index;
    s.reception.keyframe_started(index + 1);
    s.receive(21);
    assert_eq!(s.after(15).asked(), [20]);
    assert!(s.reception.take_keyframe_wanted(), "so was this one, after it was asked for");
    assert_eq!(s.reception.round_trip(), None);
}

#[test]
fn an_answer_on_the_stream_itself_speaks_for_its_sender_for_some_seconds() {
    for (later_ms, waits) in [(3_000, true), (30_000, false)] {
        let mut s = Setup::new(ReceptionConfig { rtx: false, ..video() });
        s.receive(10);
        s.receive(12);
        assert_eq!(s.after(5).asked(), [11]);
        s.after(60).receive(11);
        s.after(later_ms).receive(14);
        let noticed = s.now;
        while !s.reception.take_keyframe_wanted() {
            s.now = s.reception.poll_timeout().unwrap();
            s.asked();
        }
        assert_eq!((s.now - noticed).as_millis() > 1_000, waits, "{:?}", s.now - noticed);
    }
}

#[test]
fn half_a_second_that_was_lost_wants_a_keyframe_at_once_and_a_slow_stream_does_not() {
    let mut s = Setup::new(video());
    s.answers();
    s.receive(10);
    s.after(500).receive(26);
    assert!(s.reception.take_keyframe_wanted());
    assert_eq!(s.after(5).asked().len(), 15, "what comes first is shown");
    let mut s = Setup::new(video());
    s.receive(10);
    s.after(500).receive(12);
    assert!(!s.reception.take_keyframe_wanted(), "one packet of few");
    let mut s = Setup::new(video());
    s.receive(10);
    let index = s.after(500).receive(26).index;
    s.reception.keyframe_started(index);
    assert!(!s.reception.take_keyframe_wanted(), "it has come");
}

#[test]
fn what_a_retransmission_brought_is_not_asked_for_again() {
    let mut s = Setup::new(video());
    s.receive(10);
    s.receive(12);
    assert_eq!(s.after(5).asked(), [11]);
    assert_eq!(s.reception.round_trip(), None, "nothing has measured it");
    let arrival = s.now + Duration::from_millis(60);
    assert_eq!(s.reception.receive_repaired(arrival, 11).unwrap().freshness, Freshness::Late);
    assert_eq!(s.run(), []);
    assert_eq!(s.reception.round_trip(), Some(Duration::from_millis(95)), "7/8 of 100 and 1/8 of 60");
    assert!(!s.reception.take_keyframe_wanted());
    assert_eq!(s.reception.totals().repaired_packets, 1);
}

#[test]
fn a_round_trip_longer_than_believed_is_learned_from_answers_to_earlier_requests() {
    let mut s = Setup::new(video());
    s.receive(0);
    for round in 1..60 {
        s.after(1_000).receive(round * 2);
        let missing = round * 2 - 1;
        let answer = s.now + Duration::from_millis(5 + 300);
        while s.reception.poll_timeout().is_some_and(|due| due < answer) {
            s.now = s.now.max(s.reception.poll_timeout().unwrap());
            // The third round of the first comes before its answer: it is taken for one that does not answer.
            let asked = s.asked();
            assert!(asked == [missing] || (round == 1 && asked.is_empty()));
        }
        s.now = answer;
        assert!(s.reception.receive_repaired(answer, missing).is_some());
    }
    let learned = s.reception.round_trip().unwrap().as_millis();
    assert!((250..=350).contains(&learned), "300 ms and not {learned}");
}

#[test]
fn a_loss_before_the_last_keyframe_needs_no_other() {
    let mut s = Setup::new(video());
    s.receive(10);
    s.receive(12);
    let index = s.receive(13).index;
    s.reception.keyframe_started(index);
    s.run();
    assert!(!s.reception.take_keyframe_wanted());
}

#[test]
fn a_burst_too_large_to_repair_wants_a_keyframe_at_once() {
    let mut s = Setup::new(video());
    s.receive(10);
    s.receive(400);
    assert_eq!(s.run(), []);
    assert!(s.reception.take_keyframe_wanted());
    assert_eq!(s.reception.totals().lost_packets, 389);
}

#[test]
fn without_nack_a_loss_wants_a_keyframe_and_sound_wants_nothing() {
    let mut s = Setup::new(ReceptionConfig { nack: false, ..video() });
    s.receive(10);
    s.receive(12);
    assert_eq!(s.run(), []);
    assert!(s.reception.take_keyframe_wanted());
    let mut s = Setup::new(ReceptionConfig { nack: false, keyframes: false, ..video() });
    s.receive(10);
    s.receive(12);
    assert_eq!(s.run(), []);
    assert!(!s.reception.take_keyframe_wanted());
}

#[test]
fn a_jump_is_believed_when_the_next_packet_confirms_it() {
    let mut s = Setup::new(video());
    let first = s.receive(100).index;
    assert_eq!(s.freshness(30_000), Freshness::TooOld);
    assert_eq!(s.freshness(101), Freshness::Fresh, "a single stray packet changes nothing");
    assert_eq!(s.freshness(30_000), Freshness::TooOld);
    let restarted = s.receive(30_001);
    assert!(restarted.restarted && restarted.freshness == Freshness::Fresh && restarted.index > first);
    assert_eq!(s.freshness(30_002), Freshness::Fresh);
    assert_eq!(s.run(), [], "what lies between is not missing");
}

#[test]
fn another_ssrc_begins_anew() {
    let mut s = Setup::new(video());
    let before = s.receive(100).index;
    s.receive(103);
    let restarted = s.reception.receive(s.now, SSRC + 1, 99, 0);
    assert!(restarted.restarted && restarted.index > before);
    assert_eq!(restarted.index as u16, 99);
    assert_eq!(s.run(), []);
    let block = s.reception.report_block(s.now).unwrap();
    assert_eq!((block.ssrc, block.cumulative_lost, block.highest_sequence), (SSRC + 1, 0, 99));
}

#[test]
fn reports_say_what_was_lost_since_the_last_and_since_the_beginning() {
    let mut s = Setup::new(video());
    assert_eq!(s.reception.report_block(s.now), None);
    (65_530..=65_535).chain([0, 2]).for_each(|sequence| assert!(!s.receive(sequence).restarted));
    let info = SenderInfo { ntp: 0x1234_5678_9ABC_DEF0, rtp_timestamp: 0, packet_count: 0, octet_count: 0 };
    s.reception.sender_report(s.now, &info);
    s.after(500);
    let block = s.reception.report_block(s.now).unwrap();
    assert_eq!(block.highest_sequence, 0x1_0002);
    assert_eq!((block.cumulative_lost, block.fraction_lost), (1, 28));
    assert_eq!((block.last_sender_report, block.delay_since_last_sender_report), (0x5678_9ABC, 32_768));
    s.reception.receive_repaired(s.now, 1);
    s.receive(3);
    s.receive(3);
    let block = s.reception.report_block(s.now).unwrap();
    assert_eq!((block.cumulative_lost, block.fraction_lost), (0, 0), "duplicates count as received");
}

#[test]
fn jitter_follows_the_spread_of_transit_times() {
    let mut s = Setup::new(video());
    for sequence in 0..400u16 {
        s.after(if sequence % 2 == 0 { 18 } else { 22 });
        s.reception.receive(s.now, SSRC, sequence, u32::from(sequence) * 1_800);
    }
    let jitter = s.reception.report_block(s.now).unwrap().jitter;
    assert!((170..=190).contains(&jitter), "2 ms are 180 units, not {jitter}");
}

proptest! {
    /// Reordered within bounds, duplicated and lost, then asked for until it came: in the end all is there, once.
    #[test]
    fn every_packet_is_new_exactly_once(
        start: u16, order in proptest::collection::vec((0u64..8, 0u8..10), 50..400),
    ) {
        let mut s = Setup::new(video());
        // What was sent before the first packet that came is not missing, so the first one comes first.
        let delay = |place: usize| if place == 0 { 0 } else { order[place].0 };
        let mut sent: Vec<_> = (0..order.len()).map(|place| (place as u64 + delay(place), place)).collect();
        sent.sort_unstable();
        let sequence = |place: usize| start.wrapping_add(place as u16);
        let mut fresh = BTreeSet::new();
        let last = sent.len() - 1;
        for (round, (_, place)) in sent.iter().enumerate() {
            s.after(1);
            if order[*place].1 == 0 && place % 3 == 0 && round != 0 && round != last {
                continue;
            }
            for _ in 0..1 + order[*place].1 / 9 {
                let received = s.receive(sequence(*place));
                let new = matches!(received.freshness, Freshness::Fresh | Freshness::Late);
                prop_assert_eq!(new, fresh.insert(received.index));
                prop_assert_eq!(received.index as u16, sequence(*place));
            }
            for asked in s.asked() {
                let received = s.reception.receive_repaired(s.now, asked).unwrap();
                prop_assert!(received.freshness == Freshness::Late && fresh.insert(received.index));
            }
        }
        for (_, asked) in s.run() {
            let received = s.reception.receive_repaired(s.now, asked).unwrap();
            if received.freshness != Freshness::Duplicate { fresh.insert(received.index); }
        }
        let (first, highest) = (*fresh.first().unwrap(), *fresh.last().unwrap());
        prop_assert_eq!(fresh.len() as u64, highest - first + 1, "a hole is left");
        prop_assert!(!s.reception.take_keyframe_wanted() || s.reception.totals().lost_packets > 0);
    }

    #[test]
    fn any_numbers_are_survived(packets in proptest::collection::vec((any::<u16>(), any::<u32>(), 0u64..200, 0u8..4), 0..300)) {
        let mut s = Setup::new(video());
        let mut newest = 0;
        for (sequence, timestamp, pause, kind) in packets {
            s.after(pause);
            let received = match kind {
                0 => s.reception.receive_repaired(s.now, sequence),
                1 => Some(s.reception.receive(s.now, SSRC + u32::from(timestamp % 8 == 0), sequence, timestamp)),
                _ => Some(s.reception.receive(s.now, SSRC, sequence, timestamp)),
            };
            if let Some(received) = received.filter(|received| received.freshness == Freshness::Fresh) {
                prop_assert!(received.index > newest, "indexes only grow");
                newest = received.index;
            }
            prop_assert!(s.asked().len() <= 256);
            let _ = s.reception.report_block(s.now);
        }
        s.run();
    }
}
