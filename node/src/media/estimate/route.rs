//! Whether the way to a viewer has become longer for good: a queue of ours comes and goes, another route is as long as it is.
//!
//! Who changes from one radio to another often keeps its address, as seen from here. Until the longer way is taken for what
//! it is, it looks like a queue that does not drain, and nothing better is tried.

/// Length of one window, in µs, and how many say that a way is steady: jitter leaves a packet in each alone, and a queue that
/// drains is shorter by far from one to the next.
const WINDOW_MICROS: i64 = 500_000;
const WINDOWS: usize = 3;

/// What the shortest ways of windows differ by on a steady route, in µs.
const STEADY_MICROS: i64 = 10_000;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Route {
    /// Shortest ways of the last whole windows; a ring.
    whole: [i64; WINDOWS],
    next: usize,
    filled: usize,
    /// When the window that runs began, and the shortest way in it.
    open: Option<(i64, i64)>,
}

impl Route {
    /// A group of packets that arrived at `at` took the `way`, each in µs on the clocks that ways are told by.
    pub(super) fn add(&mut self, at: i64, way: i64) {
        let (since, shortest) = self.open.unwrap_or((at, way));
        let passed = at - since;
        if passed < WINDOW_MICROS {
            self.open = Some((since, shortest.min(way)));
            return;
        }
        self.open = Some((at, way));
        if passed >= 2 * WINDOW_MICROS {
            // Nothing came for so long that nothing is known of the time between.
            (self.next, self.filled) = (0, 0);
            return;
        }
        if let Some(place) = self.whole.get_mut(self.next) {
            *place = shortest;
        }
        self.next = (self.next + 1) % WINDOWS;
        self.filled = (self.filled + 1).min(WINDOWS);
    }

    /// How long the way is, in µs on the clocks that ways are told by, if it has been so for a while.
    pub(super) fn steady_micros(&self) -> Option<i64> {
        let (shortest, longest) = (self.whole.iter().min()?, self.whole.iter().max()?);
        (self.filled == WINDOWS && longest - shortest <= STEADY_MICROS).then_some(*shortest)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_way_is_steady_after_one_and_a_half_seconds_and_a_queue_that_drains_never() {
        let mut route = Route::default();
        (0..31).for_each(|step| route.add(step * 50_000, 100_000 + step % 3 * 10_000));
        assert_eq!(route.steady_micros(), Some(100_000));
        (31..80).for_each(|step| route.add(step * 50_000, 500_000 - step * 2_000));
        assert_eq!(route.steady_micros(), None);
        (80..111).for_each(|step| route.add(step * 50_000, 300_000));
        assert_eq!(route.steady_micros(), Some(300_000));
        route.add(200 * 50_000, 300_000);
        assert_eq!(route.steady_micros(), None, "silence says nothing");
    }
}
