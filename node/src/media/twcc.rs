//! Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01), both ways.
//!
//! [`ArrivalRecorder`] remembers when a publisher's packets arrived and writes the feedback that its estimator feeds on;
//! [`Feedback`] reads what a viewer reports of the packets that we sent.

mod feedback;
mod recorder;

pub use feedback::{Arrival, Feedback, PacketReports};
pub use recorder::{ArrivalRecorder, FEEDBACK_INTERVAL, MAX_FEEDBACK_BYTES};

/// Receive deltas count in units of 250 µs (draft §3.1.5).
const TICK_MICROS: i64 = 250;
/// The reference time counts in units of 64 ms (draft §3.1).
const TICKS_PER_REFERENCE: i64 = 256;

/// Status symbols (draft §3.1.1).
mod symbol {
    pub const LOST: u8 = 0;
    pub const SMALL_DELTA: u8 = 1;
    pub const LARGE_DELTA: u8 = 2;
}

/// Symbols in one chunk: the longest run, and what a vector of one or two bits each holds (draft §3.1.3, §3.1.4).
const MAX_RUN: usize = 0x1FFF;
const ONE_BIT_SYMBOLS: usize = 14;
const TWO_BIT_SYMBOLS: usize = 7;

#[cfg(test)]
mod tests;
