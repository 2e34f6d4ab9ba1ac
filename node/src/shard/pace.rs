//! When the event loop looks at its socket: at each datagram while the shard is idle, once per gather window under load.
//!
//! A look costs a few system calls and perhaps a wake-up of the thread, whether it finds one datagram or hundreds. What a
//! look finds is sorted by the time at which the kernel had it, so looking late delays no packet that is gathered anyway.

use std::time::{Duration, Instant};

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
}

impl Look {
    /// What to wait for next. `window`: how long packets are gathered now. `departure`: when a window is over.
    /// `deadline`: when anything is due, a departure included; under load only departures are worth a look of their own.
    pub fn next(
        &self,
        now: Instant,
        window: Duration,
        departure: Option<Instant>,
        deadline: Option<Instant>,
    ) -> Wait {
        if !self.drained {
            return Wait::Not;
        }
        if !self.found || window.is_zero() {
            return Wait::Readable(deadline);
        }
        let next_look = self.at + window;
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
    fn an_idle_shard_reads_at_once() {
        let start = Instant::now();
        let look = Look { at: start, found: true, drained: true };
        let deadline = Some(start + Duration::from_secs(1));
        assert_eq!(look.next(start, Duration::ZERO, None, deadline), Wait::Readable(deadline));
    }

    #[test]
    fn a_busy_shard_looks_once_per_window_until_nothing_comes() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let busy = Look { at: start, found: true, drained: true };
        let next = |look: Look, now, departure| look.next(now, WINDOW_MAX, departure, Some(at(1)));
        assert_eq!(next(busy, at(0), None), Wait::Until(at(5)), "a deadline that is no departure waits");
        assert_eq!(next(busy, at(0), Some(at(3))), Wait::Until(at(3)));
        assert_eq!(next(busy, at(7), None), Wait::Not, "the round was longer than the window");
        assert_eq!(next(Look { drained: false, ..busy }, at(0), None), Wait::Not);
        assert_eq!(next(Look { found: false, ..busy }, at(0), None), Wait::Readable(Some(at(1))));
    }

    proptest! {
        /// Datagrams come at any times and rounds take any time: each is read within a window of its arrival, or as soon as
        /// the round is over during which it came.
        #[test]
        fn no_datagram_waits_longer_than_a_window(
            window_us in 0u64..=5_000,
            gaps_us in proptest::collection::vec(0u64..8_000, 1..200),
            rounds_us in proptest::collection::vec(0u64..12_000, 1..10),
        ) {
            let window = Duration::from_micros(window_us);
            let mut now = Instant::now();
            let mut last = now;
            let arrivals: Vec<Instant> = gaps_us.into_iter().map(|gap| { last += Duration::from_micros(gap); last }).collect();
            let mut arrivals = arrivals.into_iter().peekable();
            let mut rounds = rounds_us.into_iter().map(Duration::from_micros).cycle();
            let mut look = Look { at: now, found: false, drained: true };
            while let Some(next) = arrivals.peek().copied() {
                let free = now;
                now = match look.next(now, window, None, None) {
                    Wait::Not => now,
                    Wait::Until(at) => at,
                    Wait::Readable(_) => now.max(next),
                };
                look = Look { at: now, found: false, drained: true };
                while let Some(arrival) = arrivals.next_if(|arrival| *arrival <= now) {
                    look.found = true;
                    prop_assert!(now <= (arrival + window).max(free));
                }
                now += rounds.next().unwrap();
            }
        }
    }
}
