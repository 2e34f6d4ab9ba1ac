//! What a viewer of simulcast sees when its path gets far narrower all at once, and wide again: over many moments of the cut.

use super::bottleneck::{Says, Scene};
use super::*;

/// As a browser sends 720p.
const LAYERS: [f64; 3] = [1.5e5, 5e5, 1.5e6];

/// The paths: without a limit, and what is left of it with a queue of 500 ms.
const WIDE_BPS: f64 = 1e9;
const NARROW_BPS: f64 = 4e5;
const NARROW_QUEUE_BYTES: usize = 25_000;

/// How often a browser says what arrived.
const FEEDBACK: Duration = Duration::from_millis(62);

/// How long the path is wide before the cut at least, narrow, and looked at afterwards at most, in ms.
const BEFORE_MS: u64 = 3_000;
const NARROW_MS: u64 = 6_000;
const DRAINING_MS: u64 = 2_000;
const AFTER_MS: u64 = 15_000;

/// How long the best layer is played before it is taken for good, in ms.
const SETTLED_MS: u64 = 1_500;

/// What became of one cut.
struct Outcome {
    freezes: usize,
    frozen: Duration,
    /// From the cut until nothing but the fitting layer was shown.
    down: Duration,
    /// From the cut's end until nothing but the best layer was shown.
    up: Duration,
}

/// What is cut, and for whom.
#[derive(Clone, Copy)]
struct Course {
    busy: bool,
    /// What is left of the path's queue.
    queue_bytes: usize,
    /// Of the layer that fits.
    keyframe_bytes: f64,
    /// Before each packet of a keyframe.
    keyframe_gap: Duration,
}

/// Keyframes four times as large as other frames are.
const QUIET: Course = Course {
    busy: false,
    queue_bytes: NARROW_QUEUE_BYTES,
    keyframe_bytes: LAYERS[0] / 60.0,
    keyframe_gap: Duration::ZERO,
};

fn cut(seed: u64, course: Course) -> Outcome {
    let mut scene = Scene::new(&LAYERS, WIDE_BPS, Says::TransportWide);
    (scene.queue_bytes, scene.round_trip) = (1 << 20, Duration::from_millis(20));
    (scene.feedback, scene.keyframe_after) = (FEEDBACK, Duration::from_millis(45));
    scene.keyframe_factor = course.keyframe_bytes * 240.0 / LAYERS[0];
    scene.keyframe_gap = course.keyframe_gap;
    scene.vary(seed);
    if course.busy {
        scene.stall(seed);
    }
    // Every phase of frames and feedback to each other and to the cut.
    let phase_ms = seed * 37 % 1_000;
    (0..BEFORE_MS + phase_ms).for_each(|_| scene.step());
    assert_eq!(scene.layer, 2, "seed {seed}");
    let cut = scene.rig.now;
    (scene.rate_bps, scene.queue_bytes) = (NARROW_BPS, course.queue_bytes);
    let padding = |scene: &Scene| scene.rig.plane.counters().probe_sent_packets;
    let padded = padding(&scene);
    (0..DRAINING_MS).for_each(|_| scene.step());
    assert_eq!(padding(&scene), padded, "seed {seed}: nothing makes a known queue longer");
    (DRAINING_MS..NARROW_MS).for_each(|_| scene.step());
    let wide = scene.rig.now;
    (scene.rate_bps, scene.queue_bytes) = (WIDE_BPS, 1 << 20);
    let mut settled_ms = 0;
    for _ in 0..AFTER_MS {
        scene.step();
        settled_ms = if scene.layer == 2 { settled_ms + 1 } else { 0 };
        if settled_ms >= SETTLED_MS {
            break;
        }
    }
    let shown = || scene.screen.shown.iter().filter(|shown| shown.at >= cut);
    // The picture after the last of another layer, counted from `from`.
    let since = |from: Instant, until: Instant, layer: u8| {
        let within = |at: Instant| (from..until).contains(&at);
        let other = shown().rfind(|shown| within(shown.at) && shown.layer != layer);
        let first = shown().find(|shown| other.is_none_or(|other| shown.at > other.at) && shown.at >= from);
        first.map_or(until, |shown| shown.at) - from
    };
    let freezes: Vec<_> = shown().filter_map(|shown| shown.freeze).collect();
    Outcome {
        freezes: freezes.len(),
        frozen: freezes.iter().sum(),
        down: since(cut, wide, 0),
        up: since(wide, scene.rig.now, 2),
    }
}

/// What many cuts came to.
struct Outcomes(Vec<Outcome>);

impl Outcomes {
    /// Runs a cut for each seed and prints its figures.
    fn of(name: &str, seeds: std::ops::Range<u64>, course: Course) -> Self {
        let all = Self(seeds.map(|seed| cut(seed, course)).collect());
        let without = all.0.iter().filter(|outcome| outcome.freezes == 0).count();
        println!(
            "{name}, {} cuts: {:.2} freezes, none in {without}; mean and longest in ms: frozen {:?}, fitting layer {:?}, best again {:?}",
            all.0.len(),
            all.freezes(),
            all.mean_and_longest_ms(|outcome| outcome.frozen),
            all.mean_and_longest_ms(|outcome| outcome.down),
            all.mean_and_longest_ms(|outcome| outcome.up),
        );
        all
    }

    /// On average.
    fn freezes(&self) -> f64 {
        self.0.iter().map(|outcome| outcome.freezes as f64).sum::<f64>() / self.0.len() as f64
    }

    fn mean_and_longest_ms(&self, of: fn(&Outcome) -> Duration) -> (u128, u128) {
        let all = || self.0.iter().map(|outcome| of(outcome).as_millis());
        (all().sum::<u128>() / self.0.len() as u128, all().max().unwrap())
    }

    /// At most: freezes of a cut at the mean, how long it was frozen at the mean and at the longest, and the longest until a layer
    /// that fits was shown, in ms. The best one is back within 10 s.
    fn are_within(&self, freezes: f64, frozen_ms: (u128, u128), down_ms: u128) {
        let (frozen, longest_frozen) = self.mean_and_longest_ms(|outcome| outcome.frozen);
        let bearable = self.freezes() <= freezes && frozen <= frozen_ms.0 && longest_frozen <= frozen_ms.1;
        assert!(bearable, "{} {frozen} {longest_frozen}", self.freezes());
        let (_, down) = self.mean_and_longest_ms(|outcome| outcome.down);
        let (_, up) = self.mean_and_longest_ms(|outcome| outcome.up);
        assert!(down <= down_ms && up <= 10_000, "{down} {up}");
    }
}

#[test]
fn a_path_that_is_cut_to_400_kbit_freezes_for_single_large_frames_at_most() {
    // Before anything looked at single packets it was 1.1, 290 and 800 ms, and what was left behind was asked for again in
    // vain, up to 1.7 s in all.
    Outcomes::of("quiet", 0..60, QUIET).are_within(0.75, (180, 700), 1_000);
}

#[test]
fn a_viewer_whose_machine_is_busy_is_back_on_top_in_time() {
    let course = Course { busy: true, ..QUIET };
    Outcomes::of("busy", 100..130, course).are_within(1.1, (280, 900), 1_500);
}

#[test]
fn the_keyframe_after_a_cut_is_sent_no_faster_than_the_path_carries() {
    // At once it was 0.92, 304 and 991 ms; 1.25, 486 and 1,086; with half the queue 1.02, 368 and 626; 1.53, 615 and 1,062.
    let courses = [
        (25_000, 5_000.0, 0.75, (200, 750)),
        (25_000, 9_000.0, 0.9, (250, 850)),
        (12_500, 5_000.0, 0.9, (270, 520)),
        (12_500, 9_000.0, 1.1, (380, 600)),
    ];
    for (queue_bytes, keyframe_bytes, freezes, frozen_ms) in courses {
        let course = Course { queue_bytes, keyframe_bytes, ..QUIET };
        let name = format!("{keyframe_bytes} of {queue_bytes} bytes");
        Outcomes::of(&name, 0..60, course).are_within(freezes, frozen_ms, 1_100);
    }
}

#[test]
fn a_keyframe_that_comes_bit_by_bit_is_kept_to_the_path_too() {
    let course = Course { keyframe_bytes: 9_000.0, keyframe_gap: Duration::from_millis(3), ..QUIET };
    let outcomes = Outcomes::of("bit by bit", 0..30, course);
    let (frozen, longest_frozen) = outcomes.mean_and_longest_ms(|outcome| outcome.frozen);
    // At once it was 722 and 1,211 ms.
    assert!(frozen <= 500 && longest_frozen <= 1_000, "{frozen} {longest_frozen}");
}
