//! One viewer's estimate from receiver reports and REMB, for viewers that send no transport-wide feedback.
//!
//! Without times of single packets there is only loss, and what the viewer estimates itself. Nothing limits such a viewer
//! until one of them says so; then the limit grows again by itself, as there is no probe to prove more.

use super::{ESTIMATE_MAX_BPS, ESTIMATE_MIN_BPS};

/// Loss below which there is room, and above which there is too much (draft-ietf-rmcat-gcc-02 §6).
const LOSS_LOW: f64 = 0.02;
const LOSS_HIGH: f64 = 0.10;

/// Growth per second while there is room, as with feedback.
const GROWTH_PER_SECOND: f64 = 1.08;

/// A viewer estimates no more than half again of what it gets (draft-alvestrand-rmcat-remb-03): an estimate this far above
/// that says that nothing is known of a limit.
const UNLIMITED_ABOVE_SENT: f64 = 1.3;

/// Reports farther apart than this grow the limit as if they were not, in seconds.
const PASSED_MAX_SECONDS: f64 = 5.0;

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct ReportEstimator {
    /// By loss, and by what the viewer estimates: the loss of its last second does not take back what it says of the path, nor
    /// the other way round.
    by_loss: Limit,
    by_viewer: Limit,
    reported_at: Option<i64>,
}

/// Bits per second; `None` while nothing limits.
#[derive(Debug, Clone, Copy, Default)]
struct Limit(Option<f64>);

impl Limit {
    fn set(&mut self, bps: f64) {
        self.0 = (bps < ESTIMATE_MAX_BPS).then_some(bps.max(ESTIMATE_MIN_BPS));
    }

    fn grow(&mut self, seconds: f64) {
        if let Some(limit) = self.0 {
            self.set(limit * GROWTH_PER_SECOND.powf(seconds));
        }
    }
}

impl ReportEstimator {
    /// Bits per second that the path carries; `None` while nothing says that there is a limit.
    pub fn bitrate_bps(&self) -> Option<u64> {
        let limits = [self.by_loss, self.by_viewer];
        limits.into_iter().filter_map(|limit| limit.0).reduce(f64::min).map(|bps| bps as u64)
    }

    /// A receiver report (RFC 3550 §6.4.2) says that `loss` (0 to 1) of what was sent, at `sent_bps`, did not arrive.
    pub fn report(&mut self, now_micros: i64, loss: f64, sent_bps: f64) {
        let since = self.reported_at.replace(now_micros).unwrap_or(now_micros);
        let passed = ((now_micros - since) as f64 / 1e6).clamp(0.0, PASSED_MAX_SECONDS);
        if loss > LOSS_HIGH {
            let base = self.bitrate_bps().map_or(sent_bps, |limit| sent_bps.min(limit as f64));
            self.by_loss.set(base * (1.0 - 0.5 * loss));
        } else if loss < LOSS_LOW {
            self.by_loss.grow(passed);
            self.by_viewer.grow(passed);
        }
    }

    /// The viewer estimates `bps` (REMB) while it is sent `sent_bps`. What it says may lower its limit, or raise it: some begin
    /// with little and say more each second.
    pub fn receiver_estimate(&mut self, bps: f64, sent_bps: f64) {
        match self.by_viewer.0 {
            Some(limit) if bps > limit => self.by_viewer.set(bps),
            _ if bps < sent_bps * UNLIMITED_ABOVE_SENT => self.by_viewer.set(bps),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn loss_and_remb_limit_and_time_without_loss_frees() {
        let mut estimator = ReportEstimator::default();
        estimator.report(0, 0.05, 2e6);
        estimator.receiver_estimate(3e6, 2e6);
        assert_eq!(estimator.bitrate_bps(), None, "no more than usual is lost, and more is said to fit");
        estimator.report(1_000_000, 0.2, 2e6);
        assert_eq!(estimator.bitrate_bps(), Some(1_800_000));
        estimator.receiver_estimate(5e5, 6e5);
        assert_eq!(estimator.bitrate_bps(), Some(500_000));
        estimator.report(2_000_000, 0.0, 5e5);
        assert_eq!(estimator.bitrate_bps(), Some(540_000));
        (3..25).for_each(|second| estimator.report(second * 1_000_000, 0.01, 5e5));
        assert!(estimator.bitrate_bps().unwrap() > 2_000_000, "within 20 s back to four times as much");
        (25..120).for_each(|second| estimator.report(second * 1_000_000, 0.0, 5e5));
        assert_eq!(estimator.bitrate_bps(), None);
    }

    #[test]
    fn a_remb_that_rises_raises_the_limit_and_loss_keeps_its_own() {
        let mut estimator = ReportEstimator::default();
        estimator.receiver_estimate(3e5, 2.5e6);
        assert_eq!(estimator.bitrate_bps(), Some(300_000));
        estimator.receiver_estimate(1.7e6, 2e5);
        assert_eq!(estimator.bitrate_bps(), Some(1_700_000));
        estimator.report(0, 0.2, 1e6);
        assert_eq!(estimator.bitrate_bps(), Some(900_000));
        estimator.receiver_estimate(3e6, 1e6);
        assert_eq!(estimator.bitrate_bps(), Some(900_000), "a fifth was lost just now");
    }
}
