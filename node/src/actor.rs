//! The actor kit: the timers, lanes, supervision and instruments that every actor of the node uses in place of raw actix
//! calls.
//!
//! `timer` arms one deadline per actor from its core's `poll_timeout`; `lane` sends notices and media with bounded
//! memory and counted refusals, and asks with a deadline; `supervise` rebuilds children from a factory within a budget;
//! `instruments` measures what messages cost.

#[cfg(test)]
pub(crate) mod fault;
pub mod instruments;
pub mod lane;
pub mod supervise;
pub mod timer;
#[cfg(test)]
pub(crate) mod virtual_time;

use std::time::Instant;

/// The time that shells hand to their cores: the runtime's clock, so that a test with paused time moves it.
pub fn now() -> Instant {
    actix_rt::time::Instant::now().into_std()
}
