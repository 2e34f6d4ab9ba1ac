//! What arrives at a viewer, in bits per second on the viewer's clock.

/// Length of one bucket, in µs: one and a half frames at 30 per second.
const BUCKET_MICROS: i64 = 50_000;

/// Whole buckets that a rate is taken over: 400 ms evens out a dozen frames, and follows a cut within half a second.
const BUCKETS: usize = 8;

/// Whole buckets from which there is a rate at all.
const BUCKETS_MIN: usize = 4;

/// Whole buckets of the recent rate.
const BUCKETS_RECENT: usize = 3;

/// Buckets that an overtaken packet may be late by. What is farther back comes from a clock that was set.
const LATE_BUCKETS: i64 = -2;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct DeliveredRate {
    /// Bytes of the last whole buckets; a ring.
    whole: [u32; BUCKETS],
    next: usize,
    filled: usize,
    /// Start and bytes of the bucket that is filling.
    open: Option<(i64, u32)>,
}

impl DeliveredRate {
    /// `bytes` arrived at `at`, in µs on the viewer's clock.
    pub(super) fn add(&mut self, at: i64, bytes: u32) {
        let (start, sum) = self.open.unwrap_or((at, 0));
        let passed = (at - start) / BUCKET_MICROS;
        match passed {
            // A little back in time is a packet that was overtaken.
            LATE_BUCKETS..=0 => self.open = Some((start, sum.saturating_add(bytes))),
            _ if passed < 0 || passed > BUCKETS as i64 => {
                *self = Self { open: Some((at, bytes)), ..Self::default() };
            }
            _ => {
                self.close(sum);
                (1..passed).for_each(|_| self.close(0));
                self.open = Some((start + passed * BUCKET_MICROS, bytes));
            }
        }
    }

    /// The rate, once enough arrived.
    pub(super) fn bps(&self) -> Option<f64> {
        let sum: f64 = self.whole.iter().copied().map(f64::from).sum();
        (self.filled >= BUCKETS_MIN).then(|| sum * 8e6 / (self.filled as f64 * BUCKET_MICROS as f64))
    }

    /// The rate over the last 150 ms: what a path that is full delivers, where the longer view still has what it carried
    /// before it became narrower. `None` without that much.
    pub(super) fn recent_bps(&self) -> Option<f64> {
        let newest = (1..=BUCKETS_RECENT).map(|back| (self.next + BUCKETS - back) % BUCKETS);
        let sum: f64 = newest.filter_map(|place| self.whole.get(place)).copied().map(f64::from).sum();
        (self.filled >= BUCKETS_RECENT).then(|| sum * 8e6 / (BUCKETS_RECENT as f64 * BUCKET_MICROS as f64))
    }

    fn close(&mut self, bytes: u32) {
        if let Some(bucket) = self.whole.get_mut(self.next) {
            *bucket = bytes;
        }
        self.next = (self.next + 1) % BUCKETS;
        self.filled = (self.filled + 1).min(BUCKETS);
    }
}

/// A packet that waited this long, in µs, found the path full, and the path has been full since the one before it.
const FULL_QUEUE_MICROS: i64 = 50_000;

/// The least time and packets that say how fast a full path is.
const FULL_MICROS: i64 = 30_000;
const FULL_PACKETS: u32 = 3;

/// What arrived of one feedback's packets while the path was full: how fast the path is now, whatever it was just before.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct FullPath {
    packets: u32,
    bytes: u32,
    first: i64,
    newest: i64,
}

impl FullPath {
    /// `bytes` arrived `at`, in µs on the viewer's clock, after waiting for `queue_micros`.
    pub(super) fn add(&mut self, at: i64, bytes: u32, queue_micros: i64) {
        if queue_micros < FULL_QUEUE_MICROS {
            *self = Self::default();
            return;
        }
        if self.packets == 0 {
            self.first = at;
        } else {
            self.bytes += bytes;
        }
        self.packets += 1;
        self.newest = self.newest.max(at);
    }

    /// What the path carries, in bits per second, if it was full until the last packet.
    pub(super) fn bps(&self) -> Option<f64> {
        let passed = self.newest - self.first;
        (self.packets >= FULL_PACKETS && passed >= FULL_MICROS)
            .then(|| f64::from(self.bytes) * 8e6 / passed as f64)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_full_path_says_how_fast_it_is() {
        let mut path = FullPath::default();
        path.add(0, 9_000, 10_000);
        assert_eq!(path.bps(), None);
        (0..5).for_each(|step| path.add(100_000 + step * 20_000, 1_000, 60_000));
        assert!((path.bps().unwrap() - 4e5).abs() < 1.0);
        path.add(210_000, 1_000, 20_000);
        assert_eq!(path.bps(), None, "it is not full any more");
    }

    #[test]
    fn follows_what_arrives_and_begins_anew_after_silence() {
        let mut rate = DeliveredRate::default();
        (0..15).for_each(|step| rate.add(step * 10_000, 1_250));
        assert_eq!(rate.bps(), None, "too early to say");
        (15..100).for_each(|step| rate.add(step * 10_000, 1_250));
        assert!((rate.bps().unwrap() - 1e6).abs() < 1.0);
        (100..116).for_each(|step| rate.add(step * 10_000, 250));
        assert!((rate.recent_bps().unwrap() - 2e5).abs() < 1.0 && rate.bps().unwrap() > 6e5);
        (116..150).for_each(|step| rate.add(step * 10_000, 250));
        assert!((rate.bps().unwrap() - 2e5).abs() < 1.0);
        rate.add(9_000_000, 1_250);
        assert_eq!(rate.bps(), None);
        (0..40).for_each(|step| rate.add(step * 10_000, 1_250));
        assert!((rate.bps().unwrap() - 1e6).abs() < 1.0, "a clock that was set back");
    }
}
