//! When the event loop looks at its socket: at each datagram while the shard is idle, every other millisecond in a storm of joins,
//! once per gather window while much is sent.
//!
//! A look costs a few system calls and perhaps a wake-up of the thread, whether it finds one datagram or hundreds. What a
//! look finds is sorted by the time at which the kernel had it, so looking late delays no packet that is gathered anyway.

use std::time::{Duration, Instant};

/// Datagrams received per second up to which each is worth a look of its own: a few publishers, or a hundred joins.
const CALM_PER_SECOND: f64 = 1_000.0;

/// Datagrams received per second from which the longest pause lies between two looks: a storm of some 300 joins a second.
const STORM_PER_SECOND: f64 = 2_000.0;

/// The longest pause, where no media is gathered: checks and handshakes do not notice it, and each look that a storm of joins
/// is spared saves a wake-up of the thread. At 500 joins a second that is one look for each.
pub const PAUSE_MAX: Duration = Duration::from_millis(2);

/// How long a socket is left alone whose reads all fail: long enough that the thread does not spin while the kernel is out
/// of memory, short enough that media is late and not lost.
const FAILED_PAUSE: Duration = Duration::from_millis(5);

/// How long to leave the socket alone after a look, at `received_per_second` datagrams. That figure is the same however
/// often the shard looks, so the rule cannot swing.
pub fn pause(received_per_second: f64) -> Duration {
    let share = (received_per_second - CALM_PER_SECOND) / (STORM_PER_SECOND - CALM_PER_SECOND);
    if share.is_nan() { Duration::ZERO } else { PAUSE_MAX.mul_f64(share.clamp(0.0, 1.0)) }
}

/// What the loop waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Nothing: other tasks of the thread have a turn, then it reads on.
    Not,
    /// This moment, whatever comes to the socket.
    Until(Instant),
    /// Something to read, or this moment.
    Readable(Option<Instant>),
}

/// The last look at the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// When.
    pub at: Instant,
    /// Whether anything was there.
    pub found: bool,
    /// Whether all of it was read.
    pub drained: bool,
    /// Whether every read failed, so that nobody knows what is there.
    pub failed: bool,
}

impl Look {
    /// What to wait for next. `pause`: how long the socket may be left alone, by [`pause`] or because packets are gathered
    /// anyway. `departure`: when a gather window is over. `deadline`: when anything is due, a departure included; under load
    /// only departures are worth a look of their own.
    pub fn next(
        &self,
        now: Instant,
        pause: Duration,
        departure: Option<Instant>,
        deadline: Option<Instant>,
    ) -> Wait {
        if !self.drained && !self.failed {
            return Wait::Not;
        }
        if !self.failed && (!self.found || pause.is_zero()) {
            return Wait::Readable(deadline);
        }
        let next_look = self.at + if self.failed { FAILED_PAUSE } else { pause };
        let until = departure.map_or(next_look, |departure| departure.min(next_look));
        if until <= now { Wait::Not } else { Wait::Until(until) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;
    use crate::media::gather::WINDOW_MAX;

    #[test]
    fn a_calm_shard_never_pauses_and_a_storm_pauses_for_the_longest_time() {
        assert_eq!(pause(0.0), Duration::ZERO);
        assert_eq!(pause(CALM_PER_SECOND), Duration::ZERO);
        assert_eq!(pause(1_500.0), PAUSE_MAX / 2);
        assert_eq!(pause(1e9), PAUSE_MAX);
    }

    #[test]
    fn an_idle_shard_reads_at_once() {
        let start = Instant::now();
        let look = Look { at: start, found: true, drained: true, failed: false };
        let deadline = Some(start + Duration::from_secs(1));
        assert_eq!(look.next(start, Duration::ZERO, None, deadline), Wait::Readable(deadline));
    }

    #[test]
    fn a_busy_shard_looks_once_per_window_until_nothing_comes() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let busy = Look { at: start, found: true, drained: true, failed: false };
        let next = |look: Look, now, departure| look.next(now, WINDOW_MAX, departure, Some(at(1)));
        assert_eq!(next(busy, at(0), None), Wait::Until(at(5)), "a deadline that is no departure waits");
        assert_eq!(next(busy, at(0), Some(at(3))), Wait::Until(at(3)));
        assert_eq!(next(busy, at(7), None), Wait::Not, "the round was longer than the window");
        assert_eq!(next(Look { drained: false, ..busy }, at(0), None), Wait::Not);
        assert_eq!(next(Look { found: false, ..busy }, at(0), None), Wait::Readable(Some(at(1))));
    }

    #[test]
    fn a_socket_whose_reads_all_fail_is_left_alone_for_a_moment() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let failed = Look { at: start, found: false, drained: false, failed: true };
        let next = |now, departure| failed.next(now, Duration::ZERO, departure, Some(at(1)));
        assert_eq!(next(at(0), None), Wait::Until(at(5)), "it is readable all the time");
        assert_eq!(next(at(0), Some(at(2))), Wait::Until(at(2)), "what is to leave does");
        assert_eq!(next(at(6), None), Wait::Not);
    }

    proptest! {
        /// Packets come at any times, rounds take any time and the window changes: each is read within a pause of its
        /// arrival and leaves within a window of it, or as soon as the round is over during which that came to pass.
        #[test]
        fn no_packet_waits_longer_than_its_window(
            windows_us in proptest::collection::vec(0u64..=5_000, 1..10),
            gaps_us in proptest::collection::vec(0u64..8_000, 1..200),
            rounds_us in proptest::collection::vec(0u64..12_000, 1..10),
        ) {
            let mut now = Instant::now();
            let mut last = now;
            let arrivals = gaps_us.into_iter().map(|gap| { last += Duration::from_micros(gap); last });
            let mut arrivals = arrivals.collect::<Vec<_>>().into_iter().peekable();
            let mut rounds = rounds_us.into_iter().map(Duration::from_micros).cycle();
            let mut windows = windows_us.into_iter().map(Duration::from_micros).cycle();
            let mut look = Look { at: now, found: false, drained: true, failed: false };
            let mut waiting: Option<(Instant, Instant)> = None;
            while arrivals.peek().is_some() || waiting.is_some() {
                let (free, pause) = (now, windows.next().unwrap());
                let departure = waiting.map(|(_, due)| due);
                let next = arrivals.peek().copied();
                (now, look) = match look.next(now, pause, departure, departure) {
                    Wait::Not => (now, Look { at: now, found: false, drained: true, failed: false }),
                    Wait::Until(at) => (at, Look { at, found: false, drained: true, failed: false }),
                    Wait::Readable(until) => {
                        let at = [next, until].into_iter().flatten().min().unwrap().max(now);
                        (at, Look { at, found: false, drained: true, failed: false })
                    }
                };
                while let Some(arrival) = arrivals.next_if(|arrival| *arrival <= now) {
                    look.found = true;
                    prop_assert!(now <= (arrival + WINDOW_MAX).max(free));
                    waiting.get_or_insert((arrival, arrival + pause));
                }
                if let Some((arrival, _)) = waiting.filter(|(_, due)| *due <= now) {
                    prop_assert!(now <= (arrival + WINDOW_MAX).max(free));
                    waiting = None;
                }
                now += rounds.next().unwrap();
            }
        }
    }
}
