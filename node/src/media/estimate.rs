//! How many bits per second the path to a viewer carries, by what the viewer says of the packets that it got.
//!
//! - In: what was sent ([`SentLog`]), transport-wide feedback, or receiver reports and REMB of viewers that send none.
//! - Out: an estimate, a limit once something said that there is one, and wishes to probe: to send more than there is media,
//!   for some 50 ms, to prove that more would arrive.
//!
//! ```text
//! feedback -+-> DelayTrend: does the queue grow? -+-> RateControl --+
//!           +-> Collapse: is it far narrower? ----+
//!           +-> DeliveredRate: what arrives ------+                 +-> Estimator -> limit of the viewer's layers
//!           +-> LossControl: is much of it lost? -------------------+
//!           +-> Prober: what arrived of a burst ----> raises -------+
//! ```

mod collapse;
mod core;
mod delay_trend;
mod delivered;
mod distress;
mod loss;
mod probe;
mod rate_control;
mod report_based;
mod route;
mod sent_log;
mod trial;

pub use self::core::{Conditions, Estimator, ProbeEnd, Reading};
pub use distress::Distress;
pub use probe::PROBE_STEP;
pub use report_based::ReportEstimator;
pub use sent_log::SentLog;

/// The least that is ever estimated, in bits per second: sound, and a little. What is lost below it is not to be saved by
/// sending less.
pub const ESTIMATE_MIN_BPS: f64 = 50_000.0;

/// The most that is ever estimated, in bits per second: more than any viewer is sent.
pub const ESTIMATE_MAX_BPS: f64 = 100_000_000.0;

#[cfg(test)]
mod tests;
