//! How long a track's packets wait for more of them before they leave: not at all while the shard is idle, up to
//! [`WINDOW_MAX`] under load.
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

/// The time that datagrams may be gathered for, at a load of `sealed_per_second`.
pub fn window(sealed_per_second: f64) -> Duration {
    let share = (sealed_per_second - IDLE_PER_SECOND) / (BUSY_PER_SECOND - IDLE_PER_SECOND);
    if share.is_nan() { Duration::ZERO } else { WINDOW_MAX.mul_f64(share.clamp(0.0, 1.0)) }
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
    }

    proptest! {
        #[test]
        fn more_load_never_shortens_the_window(a in 0.0..100_000.0f64, b in 0.0..100_000.0f64) {
            prop_assert!(window(a.min(b)) <= window(a.max(b)));
            prop_assert!(window(a) <= WINDOW_MAX);
        }
    }
}
