//! Rates over a while, from totals.

use std::time::{Duration, Instant};

/// How long a rate of media is measured over: long enough for a keyframe not to look like a jump, short enough for a live
/// figure.
const SECOND: Duration = Duration::from_secs(1);

/// What flowed per second, over the last whole window.
#[derive(Debug, Clone, Copy)]
pub struct RateMeter {
    window: Duration,
    since: Instant,
    amount: u64,
    per_second: f64,
}

impl RateMeter {
    /// A meter that looks back over about a second.
    pub fn new(now: Instant) -> Self {
        Self::over(SECOND, now)
    }

    /// A meter that looks back over `window`.
    pub fn over(window: Duration, now: Instant) -> Self {
        Self { window, since: now, amount: 0, per_second: 0.0 }
    }

    /// Counts `amount` at `now`.
    pub fn add(&mut self, now: Instant, amount: u64) {
        self.roll(now);
        self.amount += amount;
    }

    /// So much of what was counted last did not flow now.
    pub fn take_back(&mut self, amount: u64) {
        self.amount = self.amount.saturating_sub(amount);
    }

    /// The rate at `now`; 0 once nothing flowed for two windows.
    pub fn per_second(&self, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= 2 * self.window {
            return 0.0;
        }
        let mut settled = *self;
        settled.roll(now);
        settled.per_second
    }

    fn roll(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= self.window {
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
