//! What loss means for the rate: little is the radio's, much is a queue that is full (draft-ietf-rmcat-gcc-02 §6).

use super::{ESTIMATE_MAX_BPS, ESTIMATE_MIN_BPS};

/// Loss below which there is room, and above which there is too much (draft §6).
const LOSS_LOW: f64 = 0.02;
const LOSS_HIGH: f64 = 0.10;

/// Growth per second while there is room (draft §6: 5 % per second or so; libwebrtc 8 %).
const GROWTH_PER_SECOND: f64 = 1.08;

/// Time and packets that one look covers. With fewer packets a single loss is 10 % and random loss of 5 % would look like
/// congestion again and again.
const LOOK_MICROS: i64 = 500_000;
const LOOK_PACKETS: u32 = 30;

/// Loss so high that a look need not be so long: somebody who has just come to a path that carries a fraction of the best
/// layer.
const LOSS_EXTREME: f64 = 0.25;
const LOOK_SHORT_MICROS: i64 = 200_000;

/// After so long few packets must do, in µs.
const LOOK_MAX_MICROS: i64 = 2_000_000;

/// Loss never takes more than this from what arrives: a policer drops what is too much and delivers the rest in time.
const KEPT_OF_DELIVERED: f64 = 0.85;

/// A limit this far above the estimate limits nothing.
const FORGOTTEN_AT: f64 = 2.0;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct LossControl {
    since: Option<i64>,
    lost: i32,
    packets: u32,
    ratio: f64,
    limit_bps: Option<f64>,
}

impl LossControl {
    /// The most that may be sent, if loss limits it.
    pub(super) fn limit_bps(&self) -> Option<f64> {
        self.limit_bps
    }

    /// Share of packets lost at the last look.
    pub(super) fn ratio(&self) -> f64 {
        self.ratio
    }

    /// One feedback reported on `packets`, of which `lost` are lost; what came late is taken off `lost`.
    pub(super) fn add(&mut self, packets: u32, lost: i32) {
        self.packets += packets;
        self.lost += lost;
    }

    /// Looks, if it is time. `bps`: the estimate so far.
    pub(super) fn update(&mut self, now: i64, bps: f64, delivered_bps: Option<f64>) {
        let since = *self.since.get_or_insert(now);
        let passed = now - since;
        let enough = self.packets >= LOOK_PACKETS || passed >= LOOK_MAX_MICROS;
        let ratio = (f64::from(self.lost) / f64::from(self.packets.max(1))).clamp(0.0, 1.0);
        let least = if ratio > LOSS_EXTREME { LOOK_SHORT_MICROS } else { LOOK_MICROS };
        if passed < least || !enough || self.packets == 0 {
            return;
        }
        self.ratio = ratio;
        (self.since, self.lost, self.packets) = (Some(now), 0, 0);
        if self.ratio > LOSS_HIGH {
            let floor = delivered_bps.map_or(ESTIMATE_MIN_BPS, |bps| bps * KEPT_OF_DELIVERED);
            let base = self.limit_bps.map_or(bps, |limit| limit.min(bps));
            self.limit_bps = Some((base * (1.0 - 0.5 * self.ratio)).max(floor).max(ESTIMATE_MIN_BPS));
        } else if self.ratio < LOSS_LOW {
            let grown = self.limit_bps.map(|limit| limit * GROWTH_PER_SECOND.powf(passed as f64 / 1e6));
            self.limit_bps = grown.filter(|limit| *limit < (bps * FORGOTTEN_AT).min(ESTIMATE_MAX_BPS));
        }
    }

    /// More than the limit was shown to arrive.
    pub(super) fn raise(&mut self, bps: f64) {
        self.limit_bps = self.limit_bps.map(|limit| limit.max(bps));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_little_is_nothing_and_much_is_less() {
        let mut loss = LossControl::default();
        let mut look = |packets, lost| {
            let now = loss.since.unwrap_or(0) + 600_000;
            loss.since.get_or_insert(0);
            loss.add(packets, lost);
            loss.update(now, 1e6, Some(5e5));
            loss.limit_bps()
        };
        assert_eq!(look(100, 5), None);
        let limit = look(100, 20).unwrap();
        assert!((limit - 9e5).abs() < 1.0, "{limit}");
        assert_eq!(look(100, 5), Some(limit), "neither much nor little");
        assert!(look(100, 0).unwrap() > limit);
        assert!(look(100, 100).unwrap() >= 425_000.0);
        assert_eq!((0..80).map(|_| look(100, 0)).last(), Some(None), "forgotten");
    }

    #[test]
    fn extreme_loss_is_seen_at_once() {
        let mut loss = LossControl::default();
        loss.update(0, 2e6, Some(4e5));
        loss.add(60, 12);
        loss.update(250_000, 2e6, Some(4e5));
        assert_eq!(loss.limit_bps(), None, "a fifth is looked at for longer");
        loss.add(20, 20);
        loss.update(260_000, 2e6, Some(4e5));
        assert!((loss.limit_bps().unwrap() - 1.6e6).abs() < 1.0);
    }
}
