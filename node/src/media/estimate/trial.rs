//! When a viewer whose path cannot be probed may be sent more than is known to arrive: the better layer itself is the probe,
//! so each one that fails costs its viewer a second of loss, and the next waits twice as long.

/// Time from a decrease to the first trial, in µs.
const PAUSE_MIN_MICROS: i64 = 15_000_000;

/// The longest pause, after several trials that failed, in µs: a path that has become wide is used again within it and the time
/// that a choice takes.
const PAUSE_MAX_MICROS: i64 = 120_000_000;

/// A decrease so soon after a trial says that it failed, in µs: two receiver reports at the interval of RFC 3550 §6.2, the
/// layer's keyframe, and the queue until it is full.
const PROBATION_MICROS: i64 = 20_000_000;

/// Least time between two trials that go well, in µs: longer than a choice takes at most.
const STEP_MICROS: i64 = 10_000_000;

/// See the module. Times are in µs on the plane's clock.
#[derive(Debug, Clone)]
pub(super) struct Trials {
    pause: i64,
    next_at: i64,
    begun_at: Option<i64>,
}

impl Default for Trials {
    fn default() -> Self {
        Self { pause: PAUSE_MIN_MICROS, next_at: i64::MIN, begun_at: None }
    }
}

impl Trials {
    /// Whether nothing beyond what arrives is to be sent yet.
    pub(super) fn pauses(&self, now: i64) -> bool {
        now < self.next_at
    }

    /// Whether the last trial is so young that what is said of the path was measured before it.
    pub(super) fn has_just_begun(&self, now: i64) -> bool {
        self.begun_at.is_some_and(|at| now - at < STEP_MICROS)
    }

    /// Begins a trial, if it is time for one.
    pub(super) fn begin(&mut self, now: i64) -> bool {
        if self.pauses(now) {
            return false;
        }
        (self.begun_at, self.next_at) = (Some(now), now + STEP_MICROS);
        true
    }

    /// The path carries less than it is sent.
    pub(super) fn decreased(&mut self, now: i64) {
        match self.begun_at.take() {
            Some(at) if now - at < PROBATION_MICROS => self.pause = (self.pause * 2).min(PAUSE_MAX_MICROS),
            Some(_) => self.pause = PAUSE_MIN_MICROS,
            None => {}
        }
        self.next_at = now + self.pause;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn trials_that_fail_become_rare_and_one_that_lasts_forgives() {
        let mut trials = Trials::default();
        let (mut now, mut begun) = (0, Vec::new());
        trials.decreased(now);
        while begun.len() < 7 {
            now += 1_000_000;
            if trials.begin(now) {
                begun.push(now / 1_000_000);
                now += 2_000_000;
                trials.decreased(now);
                trials.decreased(now + 1);
            }
        }
        let pauses: Vec<_> = begun.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!((begun[0], pauses), (15, vec![33, 63, 123, 123, 123, 123]));
        now += 200_000_000;
        assert!(trials.begin(now) && !trials.begin(now + 9_000_000) && trials.begin(now + 10_000_000));
        trials.decreased(now + 60_000_000);
        assert!(!trials.begin(now + 74_000_000) && trials.begin(now + 75_000_000), "it went well for long");
    }
}
