//! Rates over about a second, from totals.

use std::time::{Duration, Instant};

/// How long a rate is measured over: long enough for a keyframe not to look like a jump, short enough for a live figure.
const WINDOW: Duration = Duration::from_secs(1);

/// What flowed per second, over the last whole window.
#[derive(Debug, Clone, Copy)]
pub(super) struct RateMeter {
    since: Instant,
    amount: u64,
    per_second: f64,
}

impl RateMeter {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, amount: 0, per_second: 0.0 }
    }

    /// Counts `amount` at `now`.
    pub(super) fn add(&mut self, now: Instant, amount: u64) {
        self.roll(now);
        self.amount += amount;
    }

    /// The rate at `now`; 0 once nothing flowed for two windows.
    pub(super) fn per_second(&self, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= 2 * WINDOW {
            return 0.0;
        }
        let mut settled = *self;
        settled.roll(now);
        settled.per_second
    }

    /// As it stood when something was last counted.
    pub(super) fn last_per_second(&self) -> f64 {
        self.per_second
    }

    fn roll(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= WINDOW {
            self.per_second = self.amount as f64 / elapsed.as_secs_f64();
            self.amount = 0;
            self.since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_what_flows_and_forgets_it() {
        let start = Instant::now();
        let mut meter = RateMeter::new(start);
        (0..300).for_each(|step| meter.add(start + Duration::from_millis(step * 10), 5));
        let at = |ms| start + Duration::from_millis(ms);
        assert!((meter.per_second(at(3_000)) - 500.0).abs() < 1.0);
        assert!(meter.per_second(at(5_000)) < f64::EPSILON);
    }
}
