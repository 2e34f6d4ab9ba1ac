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

    #[actix_rt::test]
    async fn it_fires_at_its_time_and_not_before() {
        let mut timer = ExactTimer::new().unwrap();
        for micros in [0, 1, 300, 2_500] {
            let at = Instant::now() + Duration::from_micros(micros);
            timer.until(Some(at)).await.unwrap();
            assert!(Instant::now() >= at);
        }
    }

    #[actix_rt::test]
    async fn the_last_setting_counts() {
        let mut timer = ExactTimer::new().unwrap();
        let start = Instant::now();
        let soon = start + Duration::from_micros(50);
        let later = start + Duration::from_millis(20);
        assert!(pin!(timer.until(Some(soon))).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        while Instant::now() < soon + Duration::from_millis(1) {}
        timer.until(Some(later)).await.unwrap();
        assert!(Instant::now() >= later);
    }

    #[actix_rt::test]
    async fn without_a_moment_it_never_fires() {
        let mut timer = ExactTimer::new().unwrap();
        let soon = Instant::now() + Duration::from_micros(50);
        assert!(pin!(timer.until(Some(soon))).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        while Instant::now() < soon + Duration::from_millis(1) {}
        let never = tokio::time::timeout(Duration::from_millis(5), timer.until(None)).await;
        never.expect_err("it was unset");
    }
}
