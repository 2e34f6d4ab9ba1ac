//! What the queue's growth means for the rate: up while it does not grow, down to what arrives when it does
//! (draft-ietf-rmcat-gcc-02 §5.5).

use super::delay_trend::Usage;
use super::{ESTIMATE_MAX_BPS, ESTIMATE_MIN_BPS};

/// What is kept of the arriving rate when the queue grows: enough less for the queue to drain (draft §5.5).
const DECREASE: f64 = 0.85;

/// Growth per second far from what is known to be too much (draft §5.5).
const GROWTH_PER_SECOND: f64 = 1.08;

/// Media may arrive at less than the path carries; how far the estimate may go beyond what arrives (draft §5.5).
const BEYOND_DELIVERED: f64 = 1.5;
const BEYOND_DELIVERED_BPS: f64 = 10_000.0;

/// Least growth close to what was too much, in bits per second and second (libwebrtc's).
const APPROACH_MIN_BPS: f64 = 4_000.0;

/// A datagram as media fills it, in bits.
const PACKET_BITS: f64 = 9_600.0;

/// What a change takes to show, on top of a round trip, in seconds (draft §5.5).
const RESPONSE_SECONDS: f64 = 0.1;

/// Least and longest time between two decreases, in µs: one round trip (libwebrtc's bounds).
const DECREASE_INTERVAL_MICROS: (i64, i64) = (10_000, 200_000);

/// A queue this long is drained before the rate grows again, in µs.
const QUEUE_TO_DRAIN_MICROS: i64 = 60_000;

/// Weight of the newest rate at which the queue grew, in what is known of the path (draft §5.5).
const CAPACITY_WEIGHT: f64 = 0.05;

/// What has been seen when a feedback was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Observation {
    /// In µs.
    pub(super) now: i64,
    pub(super) usage: Usage,
    pub(super) queue_micros: i64,
    /// Bits per second that arrive.
    pub(super) delivered_bps: Option<f64>,
    /// Bits per second that arrived just now.
    pub(super) recent_bps: Option<f64>,
    /// Bits per second that arrived while the path was full: how fast it is.
    pub(super) full_bps: Option<f64>,
    /// Whether anything has said yet that the path carries no more than is known.
    pub(super) limited: bool,
    pub(super) round_trip_micros: i64,
    /// Whether it may go beyond what arrives.
    pub(super) may_grow: bool,
}

/// At which rates the queue grew: their mean, and how far they lie around it in units of its root.
#[derive(Debug, Clone, Copy)]
struct Capacity {
    mean_kbps: f64,
    deviation: f64,
}

impl Capacity {
    fn learn(known: Option<Self>, bps: f64) -> Self {
        let kbps = bps / 1e3;
        let Some(Self { mean_kbps, deviation }) = known else {
            return Self { mean_kbps: kbps, deviation: 0.4 };
        };
        let mean = mean_kbps + CAPACITY_WEIGHT * (kbps - mean_kbps);
        let error = mean - kbps;
        let deviation = (1.0 - CAPACITY_WEIGHT) * deviation + CAPACITY_WEIGHT * error * error / mean.max(1.0);
        Self { mean_kbps: mean, deviation: deviation.clamp(0.4, 2.5) }
    }

    /// Three standard deviations around the mean, in bits per second.
    fn bounds(self) -> (f64, f64) {
        let reach = 3.0 * (self.deviation * self.mean_kbps).sqrt();
        ((self.mean_kbps - reach) * 1e3, (self.mean_kbps + reach) * 1e3)
    }
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct RateControl {
    bps: Option<f64>,
    capacity: Option<Capacity>,
    holds: bool,
    changed_at: i64,
    decreased_at: i64,
}

impl RateControl {
    /// The rate; `None` before there is one.
    pub(super) fn bps(&self) -> Option<f64> {
        self.bps
    }

    /// A probe has shown that `bps` arrive.
    pub(super) fn raise(&mut self, now: i64, bps: f64) {
        if self.bps.is_none_or(|known| bps > known) {
            self.bps = Some(bps.min(ESTIMATE_MAX_BPS));
            self.changed_at = now;
            self.capacity = self.capacity.filter(|capacity| capacity.bounds().1 >= bps);
        }
    }

    /// Something else keeps the rate from being more than `bps`.
    pub(super) fn hold_down(&mut self, bps: f64) {
        self.bps = self.bps.map(|known| known.min(bps.max(ESTIMATE_MIN_BPS)));
    }

    /// Follows what was seen. Whether it was a decrease.
    pub(super) fn update(&mut self, seen: &Observation) -> bool {
        let Some(delivered) = seen.delivered_bps else { return false };
        let Some(bps) = self.bps else {
            self.bps = Some(delivered.max(ESTIMATE_MIN_BPS));
            self.changed_at = seen.now;
            return false;
        };
        // What arrived, the path carries; nothing else is known of it yet.
        let bps = if seen.limited { bps } else { bps.max(delivered) };
        self.bps = Some(bps);
        if seen.usage == Usage::Over {
            let recent = seen.recent_bps.unwrap_or(delivered);
            return self.decrease(seen, bps, seen.full_bps.unwrap_or(recent));
        }
        if seen.usage == Usage::Under || seen.queue_micros > QUEUE_TO_DRAIN_MICROS {
            self.holds = true;
        } else if std::mem::take(&mut self.holds) {
            self.changed_at = seen.now;
        } else {
            self.increase(seen, bps, delivered);
        }
        false
    }

    fn decrease(&mut self, seen: &Observation, bps: f64, delivered: f64) -> bool {
        let (least, longest) = DECREASE_INTERVAL_MICROS;
        let soon = seen.now - self.decreased_at < seen.round_trip_micros.clamp(least, longest);
        if soon && delivered * 2.0 > bps {
            return false;
        }
        if self.capacity.is_some_and(|capacity| delivered < capacity.bounds().0) {
            self.capacity = None;
        }
        self.capacity = Some(Capacity::learn(self.capacity, delivered));
        self.bps = Some((delivered * DECREASE).min(bps).max(ESTIMATE_MIN_BPS));
        self.holds = true;
        (self.changed_at, self.decreased_at) = (seen.now, seen.now);
        true
    }

    fn increase(&mut self, seen: &Observation, bps: f64, delivered: f64) {
        if self.capacity.is_some_and(|capacity| delivered > capacity.bounds().1) {
            self.capacity = None;
        }
        let seconds = (seen.now - self.changed_at).clamp(0, 1_000_000) as f64 / 1e6;
        let near = self.capacity.is_some_and(|capacity| bps >= capacity.bounds().0);
        let grown = if near {
            let response = seen.round_trip_micros as f64 / 1e6 + RESPONSE_SECONDS;
            bps + (PACKET_BITS / response).max(APPROACH_MIN_BPS) * seconds
        } else {
            bps * GROWTH_PER_SECOND.powf(seconds) + 1_000.0 * seconds
        };
        let reach = delivered * BEYOND_DELIVERED + BEYOND_DELIVERED_BPS;
        let proven = if seen.may_grow { reach } else { delivered };
        self.bps = Some(grown.min(proven).max(bps).min(ESTIMATE_MAX_BPS));
        self.changed_at = seen.now;
    }
}
