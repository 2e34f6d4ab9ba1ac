//! What looks like a path that has become far narrower and is none, and what is one though it is hard to see.

use super::link::{Ours, Setup, run};
use super::{LAYERS, settled};

/// Of the paths that are cut.
const CUTS: u64 = 40;

/// Paths that differ in everything which is no cut, by `seed`.
fn noisy(seed: u64) -> Setup {
    let pick = |salt: u64, count: u64| (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> salt) % count;
    let best_bps = [1.5e6, 2.5e6, 5e6][pick(3, 3) as usize];
    let rate_bps = best_bps * [1.5, 2.0, 4.0, 20.0][pick(7, 4) as usize];
    Setup {
        rates: vec![(0, rate_bps)],
        round_trip_ms: [20, 50, 150][pick(11, 3) as usize],
        queue_ms: [150.0, 500.0][pick(13, 2) as usize],
        loss: [0.0, 0.0, 0.05, 0.1, 0.2][pick(17, 5) as usize],
        jitter_ms: [0.0, 3.0, 10.0, 20.0][pick(19, 4) as usize],
        feedback_ms: [50, 62, 100][pick(23, 3) as usize],
        late_ms: [0, 50][pick(29, 2) as usize],
        stalls: pick(31, 2) == 0,
        grid_ms: [1, 1, 10][pick(37, 3) as usize],
        cross_bps: [0.0, 0.3][pick(41, 2) as usize] * rate_bps,
        spread_ms: [0.0, 4.0, 13.0, 25.0][pick(43, 4) as usize],
        layers: vec![best_bps / 10.0, best_bps / 3.0, best_bps],
        gathers: true,
        varies: true,
        seed,
        ..Setup::default()
    }
}

#[test]
fn jitter_stalls_loss_and_others_are_no_collapse() {
    for seed in 0..60 {
        let mut ours = Ours::new();
        run(&noisy(seed), &mut ours, 20);
        assert!(ours.collapses.is_empty(), "seed {seed}: {:?}", ours.collapses);
    }
}

#[test]
fn a_cut_of_a_noisy_path_is_found_and_its_end_too() {
    let (mut down, mut up, mut early) = (Vec::new(), Vec::new(), 0);
    for seed in 0..CUTS {
        let cut_ms = 10_000 + seed as i64 * 7;
        let wide_ms = cut_ms + 10_000;
        let setup = Setup {
            rates: vec![(0, 2e7), (cut_ms, 4e5), (wide_ms, 2e7)],
            queue_ms: 10.0,
            layers: LAYERS.to_vec(),
            cross_bps: 0.0,
            loss: [0.0, 0.02][seed as usize % 2],
            ..noisy(seed)
        };
        let mut ours = Ours::new();
        let samples = run(&setup, &mut ours, wide_ms / 1_000 + 30);
        let (at_cut, other): (Vec<i64>, Vec<i64>) =
            ours.collapses.iter().partition(|ms| (cut_ms..cut_ms + 1_000).contains(*ms));
        assert!(other.is_empty(), "seed {seed}, cut at {cut_ms} ms: {other:?}");
        early += usize::from(!at_cut.is_empty());
        down.push(settled(&samples, cut_ms, cut_ms + 3_000, |sample| sample.layer == 0));
        up.push(settled(&samples, wide_ms, wide_ms + 29_000, |sample| sample.layer == 2));
    }
    down.sort_unstable();
    up.sort_unstable();
    let (half, most) = (CUTS as usize / 2, CUTS as usize * 9 / 10);
    println!(
        "{CUTS} cuts of noisy paths, {early} seen by single packets: down after {} ms, up after {} ms, nine of ten after {} and {} ms",
        down[half], up[half], down[most], up[most]
    );
    assert!(early >= CUTS as usize * 3 / 4 && down[most] <= 1_500);
    // What takes longer are probes that a stall hides, each 3 s.
    assert!(up[half] <= 3_000 && up[most] <= 10_000, "{up:?}");
}
