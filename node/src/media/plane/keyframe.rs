//! When to ask a publisher for a keyframe: at once if nothing was asked lately, at most twice a second however many ask.

use std::time::{Duration, Instant};

/// Least time between two requests for one track. A keyframe of 720p takes a publisher some 300 ms to encode, pace and send;
/// asking faster only makes it encode another.
pub(super) const KEYFRAME_REQUEST_INTERVAL: Duration = Duration::from_millis(500);

/// The requests for one track.
#[derive(Debug, Default)]
pub(super) struct KeyframeRequests {
    sent_at: Option<Instant>,
    wanted: bool,
    /// Whether a look at [`Self::next_look`] is on the schedule.
    scheduled: bool,
}

impl KeyframeRequests {
    /// Somebody needs a keyframe. Whether to ask the publisher now.
    pub(super) fn request(&mut self, now: Instant) -> bool {
        self.wanted = true;
        let may_send = self.sent_at.is_none_or(|at| now >= at + KEYFRAME_REQUEST_INTERVAL);
        if may_send {
            self.sent_at = Some(now);
        }
        may_send
    }

    /// A keyframe came: everybody who asked before has it.
    pub(super) fn arrived(&mut self) {
        self.wanted = false;
    }

    /// When to look again, if that is to be put on the schedule now.
    pub(super) fn schedule(&mut self) -> Option<Instant> {
        if self.scheduled || !self.wanted {
            return None;
        }
        self.scheduled = true;
        self.sent_at.map(|at| at + KEYFRAME_REQUEST_INTERVAL)
    }

    /// The scheduled look: whether to ask (again) now.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        self.scheduled = false;
        self.wanted && self.request(now)
    }

    /// Nobody needs it any more.
    pub(super) fn forget(&mut self) {
        self.wanted = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_requests_are_one_until_the_interval_is_over() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut requests = KeyframeRequests::default();
        assert!(requests.request(at(0)), "at once");
        assert!((1..500).all(|ms| !requests.request(at(ms))));
        assert_eq!(requests.schedule(), Some(at(500)));
        assert_eq!(requests.schedule(), None, "scheduled already");
        assert!(requests.look(at(500)), "it did not come: again");
        assert_eq!(requests.schedule(), Some(at(1_000)));
        requests.arrived();
        assert!(!requests.look(at(1_000)), "it came");
        assert_eq!(requests.schedule(), None);
        assert!(requests.request(at(1_001)));
    }

    #[test]
    fn a_request_after_the_keyframe_is_a_new_one_and_waits_its_turn() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut requests = KeyframeRequests::default();
        assert!(requests.request(at(0)));
        requests.arrived();
        assert!(!requests.request(at(100)));
        assert_eq!(requests.schedule(), Some(at(500)));
        assert!(requests.look(at(500)));
    }
}
