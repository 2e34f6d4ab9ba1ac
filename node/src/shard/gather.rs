//! How long a shard waits for more before it sends: nothing while it is idle, up to [`WINDOW_MAX`] under load.
//!
//! A publisher paces its packets, so a frame's come one by one over some 13 ms. Sent at once, each costs every viewer a
//! run of its own; gathered, a viewer's packets leave as one run at a third of the cost. The rule looks at the datagrams
//! that were sealed per second, which do not depend on the window, and not at the CPU, which does: so it cannot swing.

use std::time::Duration;

/// Sealed datagrams per second up to which everything is sent at once: about 30 viewers of one stream, or half a percent
/// of a core.
const IDLE_PER_SECOND: f64 = 5_000.0;

/// Sealed datagrams per second from which the whole window is used: about 130 viewers of one stream.
const BUSY_PER_SECOND: f64 = 20_000.0;

/// The most that gathering may add to a packet's way: a third of a frame at 60 fps, and less than a jitter buffer's step.
pub const WINDOW_MAX: Duration = Duration::from_millis(5);

/// What the runtime's timers may be late by: their wheel turns in milliseconds, and rounds up.
const TIMER_GRAIN: Duration = Duration::from_millis(1);

/// The time from the first datagram of a round to its sending, at a load of `sealed_per_second`.
pub fn window(sealed_per_second: f64) -> Duration {
    let share = (sealed_per_second - IDLE_PER_SECOND) / (BUSY_PER_SECOND - IDLE_PER_SECOND);
    if share.is_nan() { Duration::ZERO } else { WINDOW_MAX.mul_f64(share.clamp(0.0, 1.0)) }
}

/// What to set a timer to so that it fires within `window`; `None` if the window is too short for one.
pub fn timer(window: Duration) -> Option<Duration> {
    window.checked_sub(TIMER_GRAIN).filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_idle_shard_sends_at_once_and_a_busy_one_gathers() {
        assert_eq!(window(0.0), Duration::ZERO);
        assert_eq!(window(IDLE_PER_SECOND), Duration::ZERO);
        assert_eq!(window(12_500.0), WINDOW_MAX / 2);
        assert_eq!(window(BUSY_PER_SECOND), WINDOW_MAX);
        assert_eq!(window(1e9), WINDOW_MAX);
        assert_eq!(timer(Duration::ZERO), None);
        assert_eq!(timer(WINDOW_MAX), Some(Duration::from_millis(4)));
    }

    proptest! {
        /// Datagrams come at any times; a round opens with the first and ends when its timer fires, up to a grain late.
        #[test]
        fn no_datagram_waits_longer_than_the_bound(
            load in prop_oneof![any::<f64>(), 0.0..50_000.0f64],
            gaps_us in proptest::collection::vec(0u64..8_000, 1..200),
            late_us in 0u64..=1_000,
        ) {
            let wait = timer(window(load));
            let mut now = Duration::ZERO;
            let mut leaves_at: Option<Duration> = None;
            for gap in gaps_us {
                now += Duration::from_micros(gap);
                let open = leaves_at.filter(|at| *at >= now);
                let late = Duration::from_micros(late_us);
                let leaves = open.unwrap_or_else(|| now + wait.map_or(Duration::ZERO, |wait| wait + late));
                leaves_at = Some(leaves);
                prop_assert!(leaves - now <= WINDOW_MAX);
            }
        }

        #[test]
        fn more_load_never_shortens_the_window(a in 0.0..100_000.0f64, b in 0.0..100_000.0f64) {
            prop_assert!(window(a.min(b)) <= window(a.max(b)));
            prop_assert!(window(a) <= WINDOW_MAX);
        }
    }
}
