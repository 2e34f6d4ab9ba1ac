//! Whether a shard's thread still runs its tasks, and how busy it is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// A shard's last sign of life, which other threads may read.
#[derive(Debug)]
pub struct Heartbeat {
    start: Instant,
    /// Milliseconds from `start` to the last beat.
    last_ms: AtomicU64,
}

impl Heartbeat {
    /// Alive at `now`.
    pub fn new(now: Instant) -> Self {
        Self { start: now, last_ms: AtomicU64::new(0) }
    }

    /// The shard is alive at `now`.
    pub fn beat(&self, now: Instant) {
        let since = now.saturating_duration_since(self.start).as_millis();
        self.last_ms.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long ago the last beat was. `/livez` compares it with what it tolerates.
    pub fn age(&self, now: Instant) -> Duration {
        let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        now.saturating_duration_since(self.start + last)
    }
}

/// The share of time that this thread spends on a CPU: the shard, its peers and whatever else shares the thread.
#[derive(Debug)]
pub(super) struct BusyMeter {
    at: Instant,
    cpu: Duration,
    ratio: f64,
}

impl BusyMeter {
    pub(super) fn new(now: Instant) -> Self {
        Self { at: now, cpu: thread_cpu().unwrap_or_default(), ratio: 0.0 }
    }

    /// Takes a measurement. Returns the share since the last one, 0 to 1.
    pub(super) fn measure(&mut self, now: Instant) -> f64 {
        let wall = now.saturating_duration_since(self.at);
        if let Some(cpu) = thread_cpu().filter(|_| !wall.is_zero()) {
            let spent = cpu.saturating_sub(self.cpu);
            self.ratio = (spent.as_secs_f64() / wall.as_secs_f64()).clamp(0.0, 1.0);
            (self.at, self.cpu) = (now, cpu);
        }
        self.ratio
    }

    /// The share that was last measured.
    pub(super) fn ratio(&self) -> f64 {
        self.ratio
    }
}

/// CPU time of this thread, from its own clock.
fn thread_cpu() -> Option<Duration> {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).ok().map(Duration::from)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn a_heartbeat_ages_until_the_next() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let heartbeat = Heartbeat::new(start);
        assert_eq!(heartbeat.age(at(250)), Duration::from_millis(250));
        heartbeat.beat(at(1_000));
        assert_eq!(heartbeat.age(at(1_500)), Duration::from_millis(500));
        assert_eq!(heartbeat.age(at(900)), Duration::ZERO);
    }

    #[test]
    fn work_shows_as_busy() {
        let mut meter = BusyMeter::new(Instant::now());
        let worked = thread_cpu().unwrap() + Duration::from_millis(2);
        while thread_cpu().unwrap() <= worked {
            std::hint::spin_loop();
        }
        let ratio = meter.measure(Instant::now());
        assert!(ratio > 0.0 && ratio <= 1.0, "{ratio}");
        assert!((meter.ratio() - ratio).abs() < f64::EPSILON);
    }
}
