//! When the server of a key set is asked next: pure.

use std::time::Duration;

/// Least time between two questions, whatever the server or a token says: whoever invents names of keys must not make
/// a node ask all the time.
pub(in crate::token) const GAP_MIN: Duration = Duration::from_secs(10);

/// How long the first failure is waited out: a server that restarts is back by then.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// Longest wait after a failure while no answer ever came: until one does, nobody is let in, and a node that is not
/// ready for that sees no token that could have it ask earlier.
const FIRST_ANSWER_RETRY_MAX: Duration = GAP_MIN;

/// What came of the questions so far.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refresh {
    longest: Duration,
    answered: bool,
    failures: u32,
}

impl Refresh {
    /// An answer is good for `longest` at most.
    pub fn new(longest: Duration) -> Self {
        Self { longest, answered: false, failures: 0 }
    }

    /// An answer came that is good for `max_age_seconds`, if it says so. Returns when to ask again.
    pub fn succeeded(&mut self, max_age_seconds: Option<u64>) -> Duration {
        (self.answered, self.failures) = (true, 0);
        let good_for = max_age_seconds.map_or(self.longest, Duration::from_secs);
        good_for.clamp(GAP_MIN.min(self.longest), self.longest)
    }

    /// None came. Returns when to ask again: later each time, as a crowd of nodes may be asking, but
    /// soon until the first answer.
    pub fn failed(&mut self) -> Duration {
        let wait = FIRST_RETRY * 2_u32.saturating_pow(self.failures.min(16));
        self.failures += 1;
        let longest = if self.answered { self.longest } else { FIRST_ANSWER_RETRY_MAX };
        wait.min(longest).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_counts_within_bounds() {
        let mut refresh = Refresh::new(Duration::from_secs(300));
        let seconds = |refresh: &mut Refresh, max_age| refresh.succeeded(max_age).as_secs();
        assert_eq!(seconds(&mut refresh, None), 300);
        assert_eq!(seconds(&mut refresh, Some(60)), 60);
        assert_eq!(seconds(&mut refresh, Some(0)), 10);
        assert_eq!(seconds(&mut refresh, Some(u64::MAX)), 300);
        assert_eq!(seconds(&mut Refresh::new(Duration::from_secs(5)), Some(0)), 5);
    }

    #[test]
    fn failures_are_waited_out_longer_each_time_until_one_is_over() {
        let mut refresh = Refresh::new(Duration::from_secs(60));
        refresh.succeeded(None);
        let waits: Vec<u64> = (0..6).map(|_| refresh.failed().as_secs()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 60, 60]);
        refresh.succeeded(None);
        assert_eq!(refresh.failed().as_secs(), 5);
    }

    #[test]
    fn the_first_answer_is_not_waited_for_any_longer_than_need_be() {
        let mut refresh = Refresh::new(Duration::from_secs(300));
        let waits: Vec<u64> = (0..40).map(|_| refresh.failed().as_secs()).collect();
        assert_eq!(waits, [vec![5], vec![10; 39]].concat());
        assert_eq!(Refresh::new(Duration::from_secs(1)).failed().as_secs(), 1);
    }
}
