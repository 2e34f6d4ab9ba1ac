//! Whether a viewer loses so much that its sound is worth sending more than once: at once when it does, no more when it has not
//! for a while.
//!
//! Inputs: what its feedback or its reports say. Output: whether that has changed.

/// Loss from which sound is worth it: what listeners begin to hear, as concealment hides less (2 %).
const LOSSY_FROM: f64 = 0.02;

/// Loss below which the path is calm.
const CALM_BELOW: f64 = 0.01;

/// How long it must be calm, in ms: bursts on radio links come every few seconds.
const CALM_FOR_MS: u32 = 10_000;

/// Time and packets that one look at feedback covers: with fewer packets a single one would be 2 %.
const LOOK_MS: u32 = 1_000;
const LOOK_PACKETS: u32 = 100;

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct LossWatch {
    is_lossy: bool,
    /// Of feedback since the last look; `None` before the first.
    since_ms: Option<u32>,
    packets: u32,
    lost: u32,
    calm_since_ms: Option<u32>,
}

impl LossWatch {
    /// Transport-wide feedback on `packets`, of which `lost` have not come. `Some` if the answer is another from now on.
    pub fn feedback(&mut self, now_ms: u32, packets: u32, lost: u32) -> Option<bool> {
        let since_ms = *self.since_ms.get_or_insert(now_ms);
        self.packets = self.packets.saturating_add(packets);
        self.lost = self.lost.saturating_add(lost);
        if now_ms.wrapping_sub(since_ms) < LOOK_MS || self.packets < LOOK_PACKETS {
            return None;
        }
        let ratio = f64::from(self.lost) / f64::from(self.packets);
        (self.since_ms, self.packets, self.lost) = (Some(now_ms), 0, 0);
        self.look(now_ms, ratio)
    }

    /// A receiver report on the sound (RFC 3550 §6.4.1): `ratio` of it has not come since the last one. Who sends feedback is
    /// judged by that, which comes sooner.
    pub fn report(&mut self, now_ms: u32, ratio: f64) -> Option<bool> {
        if self.since_ms.is_some() { None } else { self.look(now_ms, ratio) }
    }

    fn look(&mut self, now_ms: u32, ratio: f64) -> Option<bool> {
        if ratio >= CALM_BELOW {
            self.calm_since_ms = None;
        }
        let lossy = if ratio >= LOSSY_FROM {
            true
        } else if self.is_lossy && ratio < CALM_BELOW {
            now_ms.wrapping_sub(*self.calm_since_ms.get_or_insert(now_ms)) < CALM_FOR_MS
        } else {
            self.is_lossy
        };
        (std::mem::replace(&mut self.is_lossy, lossy) != lossy).then_some(lossy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_percent_turn_it_on_and_ten_calm_seconds_off() {
        let mut watch = LossWatch::default();
        assert_eq!(watch.feedback(0, 60, 0), None);
        assert_eq!(watch.feedback(500, 60, 50), None, "the look is not over");
        assert_eq!(watch.feedback(1_000, 60, 0), Some(true));
        assert_eq!(watch.feedback(2_000, 90, 9), None, "too few packets");
        assert_eq!(watch.feedback(2_100, 60, 0), None, "on already");
        for second in 3..13 {
            assert_eq!(watch.feedback(second * 1_000 + 200, 200, 1), None, "{second}");
        }
        assert_eq!(watch.feedback(13_300, 200, 1), Some(false));
        assert_eq!(watch.feedback(14_400, 200, 3), None, "between the two nothing changes");
    }

    #[test]
    fn what_is_neither_begins_the_calm_anew() {
        let mut watch = LossWatch::default();
        assert_eq!(watch.report(0, 0.03), Some(true));
        assert_eq!(watch.report(5_000, 0.0), None);
        assert_eq!(watch.report(10_000, 0.015), None);
        assert_eq!(watch.report(15_000, 0.0), None);
        assert_eq!(watch.report(20_000, 0.0), None);
        assert_eq!(watch.report(25_000, 0.0), Some(false));
    }

    #[test]
    fn feedback_counts_where_there_is_some() {
        let mut watch = LossWatch::default();
        assert_eq!(watch.feedback(0, 1, 0), None);
        assert_eq!(watch.report(100, 0.5), None);
    }
}
