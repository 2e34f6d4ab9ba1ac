//! How long a shard waits for more before it sends: nothing while it is idle, up to [`WINDOW_MAX`] under load.
//!
//! A publisher paces its packets, so a frame's come one by one over some 13 ms. Sent at once, each costs every viewer a
//! run of its own; gathered, a viewer's packets leave as one run at a third of the cost. The rule looks at the datagrams
//! that were sealed per second, which do not depend on the window, and not at the CPU, which does: so it cannot swing.

use std::time::{Duration, Instant};

/// Sealed datagrams per second up to which everything is sent at once: about 30 viewers of one stream, or half a percent
/// of a core.
const IDLE_PER_SECOND: f64 = 5_000.0;

/// Sealed datagrams per second from which the whole window is used: about 130 viewers of one stream.
const BUSY_PER_SECOND: f64 = 20_000.0;

/// The most that gathering may add to a packet's way: a third of a frame at 60 fps, and less than a jitter buffer's step.
pub const WINDOW_MAX: Duration = Duration::from_millis(5);

/// What the runtime's timers may be late by: their wheel turns in milliseconds, and rounds up.
const TIMER_GRAIN: Duration = Duration::from_millis(1);

/// A wait shorter than this found packets that were there already: they came while the last round ran.
const PENDING: Duration = Duration::from_micros(200);

/// The time that datagrams may be gathered for, at a load of `sealed_per_second`.
pub fn window(sealed_per_second: f64) -> Duration {
    let share = (sealed_per_second - IDLE_PER_SECOND) / (BUSY_PER_SECOND - IDLE_PER_SECOND);
    if share.is_nan() { Duration::ZERO } else { WINDOW_MAX.mul_f64(share.clamp(0.0, 1.0)) }
}

/// The moments of one wait of the event loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// When the socket was last read.
    pub last_read: Instant,
    /// When the loop began to wait.
    pub since: Instant,
    /// When something came.
    pub until: Instant,
}

impl Wait {
    /// How long to sleep before reading, so that nothing waits for longer than `window`; `None` means not at all.
    ///
    /// What comes to a loop that waits opens a window. What was there before the loop waited may be as old as the last
    /// reading, so its window opened then: after a long round it is over, and the loop goes on at once.
    pub fn gather(&self, window: Duration) -> Option<Duration> {
        let pending = self.until.saturating_duration_since(self.since) < PENDING;
        let opened = if pending { self.last_read } else { self.until };
        let left = (opened + window).saturating_duration_since(self.until);
        left.checked_sub(TIMER_GRAIN).filter(|sleep| !sleep.is_zero())
    }
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

    #[test]
    fn a_window_opens_when_the_first_came_or_when_the_socket_was_last_read() {
        let read = Instant::now();
        let at = |us| read + Duration::from_micros(us);
        let sleep = |since, until| {
            let wait = Wait { last_read: read, since: at(since), until: at(until) };
            wait.gather(WINDOW_MAX).map(|sleep| sleep.as_micros())
        };
        assert_eq!(sleep(500, 9_000), Some(4_000), "it came to an idle loop");
        assert_eq!(sleep(1_500, 1_550), Some(2_450), "it was there: since the last reading");
        assert_eq!(sleep(7_000, 7_050), None, "the round was longer than the window");
        let idle = Wait { last_read: read, since: at(0), until: at(9_000) };
        assert_eq!(idle.gather(Duration::ZERO), None, "an idle shard never gathers");
    }

    proptest! {
        /// Rounds take any time and datagrams come at any times: each is read within a window of its arrival, or as soon
        /// as the round is over during which it came.
        #[test]
        fn no_datagram_waits_longer_than_the_bound(
            load in prop_oneof![any::<f64>(), 0.0..50_000.0f64],
            gaps_us in proptest::collection::vec(0u64..8_000, 1..200),
            rounds_us in proptest::collection::vec(0u64..12_000, 1..10),
            late_us in 0u64..=1_000,
        ) {
            let start = Instant::now();
            let mut arrivals = Vec::new();
            let mut last = start;
            for gap in gaps_us {
                last += Duration::from_micros(gap);
                arrivals.push(last);
            }
            let mut arrivals = arrivals.into_iter().peekable();
            let mut rounds = rounds_us.into_iter().map(Duration::from_micros).cycle();
            let (mut last_read, mut since) = (start, start);
            while let Some(next) = arrivals.peek().copied() {
                let until = next.max(since);
                let sleep = Wait { last_read, since, until }.gather(window(load));
                last_read = until + sleep.map_or(Duration::ZERO, |sleep| sleep + Duration::from_micros(late_us));
                while let Some(arrival) = arrivals.next_if(|arrival| *arrival <= last_read) {
                    let bound = (arrival + WINDOW_MAX).max(since + PENDING);
                    prop_assert!(last_read <= bound);
                }
                since = last_read + rounds.next().unwrap();
            }
        }

        #[test]
        fn more_load_never_shortens_the_window(a in 0.0..100_000.0f64, b in 0.0..100_000.0f64) {
            prop_assert!(window(a.min(b)) <= window(a.max(b)));
            prop_assert!(window(a) <= WINDOW_MAX);
        }
    }
}
