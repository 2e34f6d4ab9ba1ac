//! One viewer's estimate from receiver reports and REMB, for viewers that send no transport-wide feedback.
//!
//! Without times of single packets there is only loss, and what the viewer estimates itself. Nothing limits such a viewer
//! until one of them says so; then the limit follows what arrives, and what lies beyond is found out by [`Trials`].

use super::trial::Trials;
use super::{ESTIMATE_MAX_BPS, ESTIMATE_MIN_BPS};

/// Loss below which there is room, and above which there is too much (draft-ietf-rmcat-gcc-02 §6).
const LOSS_LOW: f64 = 0.02;
const LOSS_HIGH: f64 = 0.10;

/// Loss that no radio makes: what arrives is what the path carries.
const LOSS_EXTREME: f64 = 0.25;

/// What is kept of what arrives: at least, and where loss is extreme.
const KEPT_OF_ARRIVED: f64 = 0.9;
const KEPT_AT_EXTREME: f64 = 0.95;

/// Growth per second while there is room, as with feedback, and how far it goes beyond what arrives (the draft's §5.5).
const GROWTH_PER_SECOND: f64 = 1.08;
const BEYOND_ARRIVED: f64 = 1.5;
const BEYOND_ARRIVED_BPS: f64 = 10_000.0;

/// A viewer estimates no more than half again of what it gets (draft-alvestrand-rmcat-remb-03): an estimate this far above
/// that says that nothing is known of a limit.
const UNLIMITED_ABOVE_SENT: f64 = 1.3;

/// Reports farther apart than this grow the limit as if they were not, in seconds.
const PASSED_MAX_SECONDS: f64 = 5.0;

/// Without a report for so long nobody will say that nothing is lost, in µs: two of the interval of RFC 3550 §6.2.
const UNREPORTED_MICROS: i64 = 10_000_000;

/// A viewer that has had the best for so long without loss has no limit any more, in µs.
const CALM_MICROS: i64 = 60_000_000;

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct ReportEstimator {
    /// By loss, and by what the viewer estimates: the loss of its last second does not take back what it says of the path, nor
    /// the other way round.
    by_loss: Limit,
    by_viewer: Limit,
    /// Whether the viewer's last estimate is one of its path, and not only of what it is sent.
    viewer_knows: bool,
    trials: Trials,
    reported_at: Option<i64>,
    /// Since when it has had the best without loss.
    calm_since: Option<i64>,
}

/// Bits per second; `None` while nothing limits.
#[derive(Debug, Clone, Copy, Default)]
struct Limit(Option<f64>);

impl Limit {
    fn set(&mut self, bps: f64) {
        self.0 = (bps < ESTIMATE_MAX_BPS).then_some(bps.max(ESTIMATE_MIN_BPS));
    }

    fn grow(&mut self, seconds: f64, most_bps: f64) {
        if let Some(limit) = self.0 {
            self.set((limit * GROWTH_PER_SECOND.powf(seconds)).min(most_bps).max(limit));
        }
    }

    fn raise(&mut self, bps: f64) {
        if let Some(limit) = self.0 {
            self.set(limit.max(bps));
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
    /// `wanted_bps`: what the next better layer takes with all else, if there is one to go up to.
    pub fn report(&mut self, now_micros: i64, loss: f64, sent_bps: f64, wanted_bps: Option<u64>) {
        let since = self.reported_at.replace(now_micros).unwrap_or(now_micros);
        let passed = ((now_micros - since) as f64 / 1e6).clamp(0.0, PASSED_MAX_SECONDS);
        let arrived = sent_bps * (1.0 - loss);
        if loss > LOSS_HIGH {
            let base = self.bitrate_bps().map_or(sent_bps, |limit| sent_bps.min(limit as f64));
            let less = if loss > LOSS_EXTREME {
                base.min(arrived * KEPT_AT_EXTREME)
            } else {
                (base * (1.0 - 0.5 * loss)).max(arrived * KEPT_OF_ARRIVED)
            };
            self.by_loss.set(less);
            self.trials.decreased(now_micros);
        } else if loss < LOSS_LOW {
            self.has_room(now_micros, passed, arrived, wanted_bps);
        }
        let calm = loss < LOSS_LOW && wanted_bps.is_none() && !self.viewer_knows;
        self.calm_since = calm.then(|| self.calm_since.unwrap_or(now_micros));
        if self.calm_since.is_some_and(|since| now_micros - since >= CALM_MICROS) {
            (self.by_loss, self.by_viewer) = Default::default();
        }
    }

    /// Nothing is lost of what is sent.
    fn has_room(&mut self, now: i64, passed: f64, arrived_bps: f64, wanted_bps: Option<u64>) {
        let Some(limit) = self.bitrate_bps() else { return };
        if self.trials.pauses(now) && !self.trials.has_just_begun(now) {
            return;
        }
        let wanted = wanted_bps.filter(|wanted| *wanted > limit && !self.viewer_knows);
        if let Some(wanted) = wanted.filter(|_| self.trials.begin(now)) {
            self.by_loss.raise(wanted as f64);
            self.by_viewer.raise(wanted as f64);
        }
        let reach = arrived_bps * BEYOND_ARRIVED + BEYOND_ARRIVED_BPS;
        self.by_loss.grow(passed, reach);
        self.by_viewer.grow(passed, reach);
    }

    /// So little is sent, `sent_bps`, that what the viewer estimates says nothing of its path, and reports may not come.
    pub fn unreported(&mut self, now_micros: i64, sent_bps: f64, wanted_bps: Option<u64>) {
        self.viewer_knows = false;
        if self.reported_at.is_none_or(|at| now_micros - at >= UNREPORTED_MICROS) {
            self.has_room(now_micros, 0.0, sent_bps, wanted_bps);
        }
    }

    /// The viewer estimates `bps` (REMB) of so little that only more than is known says anything.
    pub fn receiver_knows_more(&mut self, bps: f64) {
        self.by_viewer.raise(bps);
    }

    /// The viewer estimates `bps` (REMB) while it is sent `sent_bps`. What it says may lower its limit, or raise it: some begin
    /// with little and say more each second.
    pub fn receiver_estimate(&mut self, now_micros: i64, bps: f64, sent_bps: f64) {
        self.viewer_knows = bps < sent_bps * UNLIMITED_ABOVE_SENT;
        if bps < sent_bps {
            self.trials.decreased(now_micros);
        }
        match self.by_viewer.0 {
            _ if self.viewer_knows => self.by_viewer.set(bps),
            // What it said before the trial that runs says nothing of it.
            Some(limit) if bps > limit || !self.trials.has_just_begun(now_micros) => self.by_viewer.set(bps),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
