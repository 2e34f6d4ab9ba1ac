#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
//! The estimator against a path in virtual time; every figure is printed, and bounded.

mod interceptor;
mod link;
mod noise;

use std::time::Duration;

use proptest::prelude::*;

use crate::media::estimate::{Conditions, Estimator, SentLog};
use crate::media::rtcp::{Packet, packets};
use interceptor::Interceptor;
use link::{Ours, Sample, Setup, run};

/// Share of the path's rate that was used, and the queue that 95 % of the time was not longer, in ms.
fn figures(samples: &[Sample], from_ms: i64) -> (f64, f64) {
    let samples: Vec<_> = samples.iter().filter(|sample| sample.ms >= from_ms).collect();
    let bits: f64 = samples.iter().map(|sample| sample.bits).sum();
    let room: f64 = samples.iter().map(|sample| sample.rate_bps / 1e3).sum();
    let mut queues: Vec<_> = samples.iter().map(|sample| sample.queue_ms).collect();
    queues.sort_by(f64::total_cmp);
    (bits / room, queues[queues.len() * 95 / 100])
}

/// What a second of the run says, for whoever reads a failure.
fn at(samples: &[Sample], ms: i64) -> &Sample {
    samples.iter().find(|sample| sample.ms == ms).unwrap()
}

/// The first time after `from_ms` from which on `holds` holds until `to_ms`, in ms after `from_ms`.
fn settled(samples: &[Sample], from_ms: i64, to_ms: i64, holds: impl Fn(&Sample) -> bool) -> i64 {
    let span = samples.iter().filter(|sample| (from_ms..to_ms).contains(&sample.ms));
    span.filter(|sample| !holds(sample)).map(|sample| sample.ms + 1 - from_ms).max().unwrap_or(0)
}

#[test]
fn a_steady_bottleneck_of_2_mbit_is_used_and_its_queue_is_short() {
    for (feedback_ms, jitter_ms) in [(50, 0.0), (100, 0.0), (250, 0.0), (100, 10.0)] {
        let setup = Setup { feedback_ms, jitter_ms, ..Setup::default() };
        let samples = run(&setup, &mut Ours::new(), 60);
        let (all, _) = figures(&samples, 0);
        let (usage, queue_ms) = figures(&samples, 5_000);
        println!(
            "feedback each {feedback_ms} ms, jitter {jitter_ms} ms: use {usage:.3} ({all:.3} with the first 5 s), queue p95 {queue_ms:.0} ms"
        );
        assert!(usage >= 0.85 && all >= 0.85, "use {usage} {all}");
        assert!(queue_ms <= 100.0, "queue {queue_ms}");
    }
}

#[test]
fn the_estimator_of_rtc_interceptor_fills_the_queue_and_collapses_at_loss() {
    let samples = run(&Setup::default(), &mut Interceptor::new(), 60);
    let (usage, queue_ms) = figures(&samples, 5_000);
    let lossy = run(&Setup { loss: 0.05, ..Setup::default() }, &mut Interceptor::new(), 60);
    let (lossy_usage, _) = figures(&lossy, 5_000);
    println!(
        "rtc-interceptor: use {usage:.3}, queue p95 {queue_ms:.0} ms; with 5 % loss use {lossy_usage:.3}"
    );
    // Once it does better, the decision for our own is to be thought over.
    assert!(queue_ms > 100.0 && lossy_usage < 0.7);
}

#[test]
fn random_loss_does_not_make_the_estimate_collapse() {
    for loss in [0.02, 0.05] {
        for feedback_ms in [50, 250] {
            let setup = Setup { loss, feedback_ms, ..Setup::default() };
            let samples = run(&setup, &mut Ours::new(), 60);
            let (usage, queue_ms) = figures(&samples, 5_000);
            println!(
                "loss {loss}, feedback each {feedback_ms} ms: use {usage:.3}, queue p95 {queue_ms:.0} ms"
            );
            assert!(usage >= 0.8 && queue_ms <= 100.0, "use {usage}, queue {queue_ms}");
        }
    }
}

/// Rates of three simulcast layers, as Chromium sends 720p.
const LAYERS: [f64; 3] = [1.5e5, 5e5, 2.5e6];

#[test]
fn a_cut_to_400_kbit_is_followed_at_once_and_its_end_found_by_probes() {
    for (seed, cut_ms, end_ms) in [(1, 20_000, 50_000), (2, 20_300, 31_000), (3, 7_777, 65_432)] {
        let rates = vec![(0, 4e6), (cut_ms, 4e5), (end_ms, 4e6)];
        let layers = LAYERS.to_vec();
        let setup = Setup { rates, layers, queue_ms: 150.0, jitter_ms: 3.0, seed, ..Setup::default() };
        let mut ours = Ours::new();
        let samples = run(&setup, &mut ours, end_ms / 1_000 + 30);
        assert_eq!(at(&samples, cut_ms).layer, 2);
        let down_ms = settled(&samples, cut_ms, end_ms, |sample| sample.layer == 0);
        let up_ms = settled(&samples, end_ms, end_ms + 29_000, |sample| sample.layer == 2);
        let calm: Vec<_> =
            samples.iter().filter(|s| (cut_ms + 5_000..end_ms).contains(&s.ms)).copied().collect();
        let (_, queue_ms) = figures(&calm, 0);
        println!(
            "cut to 400 kbit/s: down after {down_ms} ms, up {up_ms} ms after its end, queue p95 {queue_ms:.0} ms meanwhile"
        );
        assert!(down_ms <= 1_500, "down after {down_ms} ms");
        assert!(up_ms <= 6_000, "up after {up_ms} ms: {:?}", ours.ends);
        assert!(queue_ms <= 100.0, "{queue_ms}");
    }
}

#[test]
fn a_path_with_room_is_found_by_probes_and_one_without_is_left_alone() {
    let setup = Setup { rates: vec![(0, 2e7)], layers: LAYERS.to_vec(), ..Setup::default() };
    let mut ours = Ours::new();
    let samples = run(&setup, &mut ours, 60);
    assert!(samples.iter().all(|sample| sample.layer == 2), "it never leaves the best layer");
    let estimate_bps = at(&samples, 59_000).estimate_bps.unwrap();
    assert!((3e6..5e6).contains(&estimate_bps), "half again of what arrives: {estimate_bps}");
    assert!(ours.ends.len() <= 2, "what plays needs no proof: {:?}", ours.ends);
    let narrow =
        Setup { rates: vec![(0, 1e6)], queue_ms: 200.0, layers: LAYERS.to_vec(), ..Setup::default() };
    let mut ours = Ours::new();
    let samples = run(&narrow, &mut ours, 60);
    let on_middle = samples.iter().filter(|sample| sample.ms > 3_000 && sample.layer == 1).count();
    let (_, queue_ms) = figures(&samples, 5_000);
    println!(
        "1 Mbit/s: {:.3} of the time on the middle layer, queue p95 {queue_ms:.0} ms",
        on_middle as f64 / 57e3
    );
    assert!(on_middle >= 56_000 && queue_ms <= 50.0, "{on_middle} ms, queue {queue_ms}");
}

#[test]
fn what_was_sent_so_far_is_no_limit_however_little_it_was() {
    for (seed, age_frames) in (1..).zip([0, 1, 7, 30, 54, 56, 58, 59]) {
        let rates = vec![(0, 2e7)];
        let setup =
            Setup { rates, layers: LAYERS.to_vec(), varies: true, age_frames, seed, ..Setup::default() };
        let mut ours = Ours::new();
        let samples = run(&setup, &mut ours, 20);
        let left = samples.iter().find(|sample| sample.layer != 2);
        assert!(left.is_none(), "{age_frames} frames after a keyframe: {left:?}");
        let known_bps = at(&samples, 19_000).estimate_bps.unwrap();
        assert!(known_bps > 2.5e6 && ours.estimator.limit_bps().is_none(), "{known_bps}");
        assert!(ours.ends.is_empty(), "who has the best is not probed");
    }
}

#[test]
fn the_queue_of_a_keyframe_is_no_reason_to_leave_a_layer_that_fits() {
    for (seed, rate) in (1..).zip([3e6, 3.5e6, 4e6, 5e6]) {
        let rates = vec![(0, rate)];
        let setup = Setup { rates, layers: LAYERS.to_vec(), varies: true, seed, ..Setup::default() };
        let samples = run(&setup, &mut Ours::new(), 60);
        let on_top = samples.iter().filter(|sample| sample.layer == 2).count();
        let (_, queue_ms) = figures(&samples, 0);
        println!("{rate} bit/s: {on_top} ms of 60,000 on the best layer, queue p95 {queue_ms:.0} ms");
        assert!(on_top > 54_000 && queue_ms <= 150.0, "{rate}: {on_top} ms, queue {queue_ms} ms");
    }
}

#[test]
fn who_comes_to_a_narrow_path_is_sent_what_fits_soon() {
    for (seed, rate, layer) in [(1, 3e5, 0), (2, 6e5, 0), (3, 1e6, 1), (4, 2e6, 1)] {
        for queue_ms in [150.0, 500.0] {
            let rates = vec![(0, rate)];
            let setup =
                Setup { rates, layers: LAYERS.to_vec(), varies: true, queue_ms, seed, ..Setup::default() };
            let samples = run(&setup, &mut Ours::new(), 10);
            let left = samples.iter().find(|sample| sample.layer <= layer).unwrap();
            let again = samples.iter().filter(|sample| sample.ms > left.ms && sample.layer == 2).count();
            println!("{rate} bit/s, queue of {queue_ms} ms: down after {} ms", left.ms);
            assert!(left.ms <= 1_800 && again == 0, "{rate}: {left:?}, {again} ms on top again");
        }
    }
}

#[test]
fn a_longer_route_is_told_from_a_queue() {
    for (seed, longer_ms, jitter_ms) in [(1, 100, 0.0), (2, 100, 15.0), (3, 160, 10.0), (4, 250, 15.0)] {
        let setup = Setup {
            rates: vec![(0, 2e7)],
            layers: LAYERS.to_vec(),
            varies: true,
            detours: vec![(20_000, longer_ms)],
            jitter_ms,
            seed,
            ..Setup::default()
        };
        let samples = run(&setup, &mut Ours::new(), 60);
        assert!(samples.iter().all(|sample| sample.ms >= 20_000 || sample.layer == 2));
        let back_ms = settled(&samples, 20_000, 60_000, |sample| sample.layer == 2);
        println!("{longer_ms} ms longer, jitter {jitter_ms} ms: back on the best layer after {back_ms} ms");
        assert!(back_ms <= 10_000, "{back_ms} ms");
    }
}

#[test]
fn a_viewer_whose_clock_wraps_is_estimated_as_any_other() {
    // The reference time has 24 bits of 64 ms, whose sign changes after 6.2 days.
    let wraps = Duration::from_millis(64 << 23);
    let runs =
        [Duration::from_secs(64), wraps - Duration::from_secs(19), wraps * 2 - Duration::from_secs(19)];
    let [usual, half, whole] = runs.map(|uptime| {
        // From a whole unit on, so that all runs round alike.
        let uptime = Duration::from_millis(uptime.as_millis() as u64 / 64 * 64);
        let rates = vec![(0, 4e6), (20_000, 4e5), (40_000, 4e6)];
        let layers = LAYERS.to_vec();
        let setup = Setup { rates, layers, queue_ms: 20.0, uptime, varies: true, ..Setup::default() };
        let samples = run(&setup, &mut Ours::new(), 60);
        samples.into_iter().map(|sample| (sample.layer, sample.estimate_bps)).collect::<Vec<_>>()
    });
    assert!(usual.iter().any(|(layer, _)| *layer == 0), "the cut is seen");
    assert!(usual == half && usual == whole, "what a clock is at makes a difference");
}

#[test]
fn a_viewer_costs_little_memory() {
    let bytes = size_of::<Estimator>() + size_of::<SentLog>();
    println!("estimator and log: {bytes} bytes");
    assert!(bytes <= 10 * 1024, "{bytes}");
}

proptest! {
    /// Whatever a viewer says, the estimate stays within its bounds.
    #[test]
    fn no_feedback_breaks_it(
        messages in prop::collection::vec((prop::collection::vec(any::<u8>(), 8..60), 0..400_000_i64, 0_u16..80), 1..60),
    ) {
        let (mut estimator, mut log, mut now) = (Estimator::new(), SentLog::new(0), 0);
        for (body, passed, sent) in messages {
            (0..sent).for_each(|_| log.record(now as u32, 1_200));
            now += passed;
            // A short run of received packets from somewhere among those sent last; then whatever comes.
            let base = log.next().wrapping_sub(sent).to_be_bytes();
            let mut packet = vec![0x8F, 205, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, base[0], base[1], 0, body[0] % 32];
            packet.extend(&body[1..]);
            packet.truncate(packet.len() / 4 * 4);
            packet[3] = (packet.len() / 4 - 1) as u8;
            if let Some(Ok(Packet::TransportCc(feedback))) = packets(&packet).next() {
                let conditions = Conditions { round_trip: None, can_probe: body[1] & 1 == 0, next_bps: None };
                estimator.read(now, &feedback, &mut log, conditions);
            }
            if estimator.begin_probe(now, 5_000_000, &log) {
                estimator.probe_step(now, &log);
            }
            let bps = estimator.bitrate_bps();
            prop_assert!(bps.is_none_or(|bps| (50_000..=100_000_000).contains(&bps)), "{bps:?}");
        }
    }
}
