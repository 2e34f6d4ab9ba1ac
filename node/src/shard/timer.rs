//! A timer that is exact to some microseconds, where the runtime's wheel turns in milliseconds: of a gather window of
//! five, one more or less is a packet more or less per run.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// See the module. Belongs to the runtime that it was made in.
#[derive(Debug)]
pub struct ExactTimer {
    descriptor: AsyncFd<Descriptor>,
    armed: Option<Instant>,
}

#[derive(Debug)]
struct Descriptor(TimerFd);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl ExactTimer {
    /// A timer that is not set.
    ///
    /// # Errors
    ///
    /// No descriptor is left, or there is no runtime.
    pub fn new() -> io::Result<Self> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        // SAFETY: the timer owns its descriptor, which is neither changed nor closed before it is dropped, and the `AsyncFd`
        // owns the timer from here on; `as_raw_fd` always names this one descriptor.
        let descriptor = unsafe { AsyncFd::register_with_interest(Descriptor(timer), Interest::READABLE) }?;
        Ok(Self { descriptor, armed: None })
    }

    /// Waits until `at`; for ever without one.
    ///
    /// # Errors
    ///
    /// The kernel refuses to set the timer, or the runtime is ending.
    pub async fn until(&mut self, at: Option<Instant>) -> io::Result<()> {
        self.set(at)?;
        loop {
            let mut guard = self.descriptor.readable().await?;
            match self.descriptor.get_ref().0.wait() {
                Ok(()) => {
                    self.armed = None;
                    // It fires once: there is nothing more to read, and no need to ask.
                    guard.clear_ready();
                    return Ok(());
                }
                // It was set anew after it had fired.
                Err(Errno::EAGAIN) => guard.clear_ready(),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn set(&mut self, at: Option<Instant>) -> io::Result<()> {
        if at == self.armed {
            return Ok(());
        }
        let timer = &self.descriptor.get_ref().0;
        match at {
            Some(at) => {
                // Zero would mean never.
                let left = at.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
                timer.set(Expiration::OneShot(TimeSpec::from_duration(left)), TimerSetTimeFlags::empty())?;
            }
            None => timer.unset()?,
        }
        self.armed = at;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    /// Turns of the runtime within which it looks at its descriptors some times.
    const TURNS: usize = 512;

    /// Whether nothing is said to have fired, however often it is asked.
    async fn is_pending(waiting: impl Future<Output = io::Result<()>>) -> bool {
        let mut waiting = pin!(waiting);
        for _ in 0..TURNS {
            if waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                return false;
            }
            tokio::task::yield_now().await;
        }
        true
    }

    /// Sets the timer and lets it fire without taking note of it.
    fn fired_unheard(timer: &mut ExactTimer) {
        timer.set(Some(Instant::now() + Duration::from_micros(50))).unwrap();
        while timer.descriptor.get_ref().0.get().unwrap().is_some() {
            std::hint::spin_loop();
        }
    }

    #[actix_rt::test]
    async fn it_fires_at_its_time_and_not_before() {
        let mut timer = ExactTimer::new().unwrap();
        for micros in [0, 1, 300, 2_500] {
            let at = Instant::now() + Duration::from_micros(micros);
            timer.until(Some(at)).await.unwrap();
            assert!(Instant::now() >= at);
        }
    }

    /// A wheel that turns in milliseconds takes ten of them for ten such waits, each of which begins just after a turn.
    #[actix_rt::test]
    async fn ten_waits_of_a_tenth_of_a_millisecond_are_far_from_ten_milliseconds() {
        let mut timer = ExactTimer::new().unwrap();
        let mut quickest = Duration::MAX;
        // A machine that is busy with something else delays some of the rows, never makes one shorter.
        for _ in 0..50 {
            let start = Instant::now();
            for _ in 0..10 {
                timer.until(Some(Instant::now() + Duration::from_micros(100))).await.unwrap();
            }
            quickest = quickest.min(start.elapsed());
        }
        assert!(quickest >= Duration::from_millis(1), "{quickest:?}");
        assert!(quickest < Duration::from_millis(4), "{quickest:?}");
    }

    #[actix_rt::test]
    async fn the_last_setting_counts() {
        let mut timer = ExactTimer::new().unwrap();
        fired_unheard(&mut timer);
        let later = Instant::now() + Duration::from_millis(20);
        timer.until(Some(later)).await.unwrap();
        assert!(Instant::now() >= later);
    }

    #[actix_rt::test]
    async fn without_a_moment_it_never_fires() {
        let mut timer = ExactTimer::new().unwrap();
        fired_unheard(&mut timer);
        assert!(is_pending(timer.until(None)).await, "it was unset");
    }
}
