//! Which tracks have packets that are not fanned out yet, and when each track's must leave.
//!
//! Every track has a window of its own, which opens with its first packet: a frame that a publisher spreads over 13 ms
//! then leaves in two runs, where windows that begin anywhere would cut it into three.

use std::time::{Duration, Instant};

/// A track with packets in its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Departure {
    /// The track's place in the plane.
    pub(super) place: usize,
    /// When it leaves.
    pub(super) due: Instant,
}

/// How many runs cost as much as a round of the shard: two turns of the event loop, a timer and a look at the socket, some
/// 15 µs, against a microsecond for a run of its own.
const RUNS_PER_ROUND: u32 = 16;

impl Departure {
    /// Whether it is cheaper to leave at `now`, as something else does, than in a round of its own. What waits for the rest
    /// of its `window` saves each of its `viewers` a run as often as a packet comes in that rest.
    pub(super) fn gains_little(&self, now: Instant, window: Duration, viewers: u32) -> bool {
        self.due.saturating_duration_since(now) * viewers <= window * RUNS_PER_ROUND
    }
}

/// What tracks with the same viewers have in common, so that a viewer's packets of all of them leave in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Company {
    /// The publisher at this place.
    Publisher(u32),
    /// Of a mirror, which does not know its publisher: the peer of its first leg.
    FirstViewer(Option<u32>),
}

/// All of them: one per track at most.
#[derive(Debug)]
pub(super) struct Departures {
    waiting: Vec<Departure>,
}

impl Departures {
    pub(super) fn new() -> Self {
        Self { waiting: Vec::with_capacity(64) }
    }

    /// The track at `place`, of which nothing waits yet, has its first packet: it leaves `window` after its arrival.
    pub(super) fn open(&mut self, place: usize, arrived: Instant, window: Duration) {
        self.waiting.push(Departure { place, due: arrived + window });
    }

    /// The frame of the track at `place` is whole: there is nothing to wait for.
    pub(super) fn hasten(&mut self, place: usize, now: Instant) {
        for departure in self.waiting.iter_mut().filter(|departure| departure.place == place) {
            departure.due = departure.due.min(now);
        }
    }

    /// The track at `place` is no more.
    pub(super) fn forget(&mut self, place: usize) {
        self.waiting.retain(|departure| departure.place != place);
    }

    /// When the next one is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.waiting.iter().map(|departure| departure.due).min()
    }

    /// Moves all that `leaves` says yes to over to `leaving`.
    pub(super) fn take(&mut self, leaving: &mut Vec<Departure>, mut leaves: impl FnMut(&Departure) -> bool) {
        self.waiting.retain(|departure| {
            let takes = leaves(departure);
            if takes {
                leaving.push(*departure);
            }
            !takes
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const WINDOW: Duration = Duration::from_millis(5);

    #[test]
    fn the_more_viewers_the_longer_a_track_waits_for_its_own_time() {
        let now = Instant::now();
        let due_in = |ms| Departure { place: 0, due: now + Duration::from_millis(ms) };
        assert!(due_in(5).gains_little(now, WINDOW, RUNS_PER_ROUND));
        assert!(!due_in(5).gains_little(now, WINDOW, RUNS_PER_ROUND + 1));
        assert!(due_in(1).gains_little(now, WINDOW, 5 * RUNS_PER_ROUND));
        assert!(!due_in(1).gains_little(now, WINDOW, 1_000));
    }

    #[test]
    fn each_track_leaves_a_window_after_its_first_packet() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut departures = Departures::new();
        assert_eq!(departures.next_due(), None);
        departures.open(7, at(2), WINDOW);
        departures.open(8, at(0), WINDOW);
        departures.open(9, at(4), WINDOW);
        departures.hasten(9, at(5));
        assert_eq!(departures.next_due(), Some(at(5)));
        let mut leaving = Vec::new();
        departures.take(&mut leaving, |departure| departure.due <= at(5));
        let places: Vec<usize> = leaving.iter().map(|departure| departure.place).collect();
        assert_eq!(places, [8, 9]);
        assert_eq!(departures.next_due(), Some(at(7)));
        departures.forget(7);
        assert_eq!(departures.next_due(), None);
    }
}
