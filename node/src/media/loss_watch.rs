//! Whether a viewer loses so much that its sound is worth sending more than once: at once when it does, no more when it has not
//! for a while.
//!
//! More of the sound is a cure for loss by chance and a poison for loss by a path that is full. So it ends where it has made the
//! loss no smaller but larger, and where so much is lost that it cannot be chance.
//!
//! Inputs: what its feedback or its reports say. Output: whether that has changed.

/// Loss from which sound is worth it: what listeners begin to hear, as concealment hides less (2 %).
const LOSSY_FROM: f64 = 0.02;

/// Loss below which the path is calm.
const CALM_BELOW: f64 = 0.01;

/// Loss from which a path is full rather than bad (20 %).
const FULL_FROM: f64 = 0.20;

/// Loss that is more than chance makes of what it began with: twice as much, and three of a hundred.
fn worse_than(before: f64) -> f64 {
    (2.0 * before + 0.03).min(FULL_FROM)
}

/// Looks in a row that must say so, and how long nothing is tried then, in ms: twice as long each time.
const WORSE_LOOKS: u32 = 2;
const BACK_OFF_MS: u32 = 30_000;
const BACK_OFF_MAX_MS: u32 = 480_000;

/// How long it must be calm, in ms: bursts on radio links come every few seconds.
const CALM_FOR_MS: u32 = 10_000;

/// Time that one look at feedback covers, and packets that any look does: with fewer a single one would be 2 %.
const LOOK_MS: u32 = 1_000;
const LOOK_PACKETS: u32 = 100;

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct LossWatch {
    /// The loss that it was turned on for, while it is on.
    begun: Option<f64>,
    /// Looks in a row by which it is worse since.
    worse_looks: u32,
    /// When it was turned off for that the last time, and for how long.
    backed_off: Option<(u32, u32)>,
    /// When feedback was looked at last; `None` before the first.
    since_ms: Option<u32>,
    /// Since the last look.
    packets: u32,
    lost: f64,
    /// The highest sequence number of the last report.
    reported: Option<u32>,
    calm_since_ms: Option<u32>,
}

impl LossWatch {
    /// Transport-wide feedback on `packets`, of which `lost` have not come. `Some` if the answer is another from now on.
    pub fn feedback(&mut self, now_ms: u32, packets: u32, lost: u32) -> Option<bool> {
        let Some(since_ms) = self.since_ms else {
            (self.packets, self.lost) = (0, 0.0);
            self.since_ms = Some(now_ms);
            return self.feedback(now_ms, packets, lost);
        };
        self.note(packets, f64::from(lost));
        if now_ms.wrapping_sub(since_ms) < LOOK_MS {
            return None;
        }
        let ratio = self.take_ratio()?;
        self.since_ms = Some(now_ms);
        self.look(now_ms, ratio)
    }

    /// A receiver report on the sound (RFC 3550 §6.4.1): `ratio` of it has not come since the last one, and this is the highest
    /// sequence number now. Who sends feedback is judged by that, which comes sooner.
    pub fn report(&mut self, now_ms: u32, highest_sequence: u32, ratio: f64) -> Option<bool> {
        if self.since_ms.is_some() {
            return None;
        }
        let before = self.reported.replace(highest_sequence).unwrap_or(highest_sequence);
        // Below zero where somebody's numbers went back.
        let packets = highest_sequence.wrapping_sub(before).cast_signed().max(0).cast_unsigned();
        self.note(packets, ratio * f64::from(packets));
        let ratio = self.take_ratio()?;
        self.look(now_ms, ratio)
    }

    fn note(&mut self, packets: u32, lost: f64) {
        self.packets = self.packets.saturating_add(packets);
        self.lost += lost;
    }

    /// What part was lost since the last look, if there was enough to look at.
    fn take_ratio(&mut self) -> Option<f64> {
        let (packets, lost) = (self.packets, self.lost);
        if packets < LOOK_PACKETS {
            return None;
        }
        (self.packets, self.lost) = (0, 0.0);
        Some(lost / f64::from(packets))
    }

    fn look(&mut self, now_ms: u32, ratio: f64) -> Option<bool> {
        let Some(before) = self.begun else {
            let begins = (LOSSY_FROM..FULL_FROM).contains(&ratio) && !self.is_backing_off(now_ms);
            (self.calm_since_ms, self.worse_looks) = (None, 0);
            self.begun = begins.then_some(ratio);
            return begins.then_some(true);
        };
        self.worse_looks = if ratio >= worse_than(before) { self.worse_looks + 1 } else { 0 };
        let is_worse = self.worse_looks >= WORSE_LOOKS;
        if is_worse {
            let last = self.backed_off.map_or(0, |(_, length)| length);
            self.backed_off = Some((now_ms, (last * 2).clamp(BACK_OFF_MS, BACK_OFF_MAX_MS)));
        }
        let ends = is_worse || self.is_calm(now_ms, ratio);
        self.begun = self.begun.filter(|_| !ends);
        ends.then_some(false)
    }

    fn is_backing_off(&self, now_ms: u32) -> bool {
        self.backed_off.is_some_and(|(since, length)| now_ms.wrapping_sub(since) < length)
    }

    fn is_calm(&mut self, now_ms: u32, ratio: f64) -> bool {
        if ratio >= CALM_BELOW {
            self.calm_since_ms = None;
            return false;
        }
        now_ms.wrapping_sub(*self.calm_since_ms.get_or_insert(now_ms)) >= CALM_FOR_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl LossWatch {
        /// As [`Self::report`], once a second and 250 packets later than the one before.
        fn reports(&mut self, now_ms: u32, ratio: f64) -> Option<bool> {
            let before = *self.reported.get_or_insert(7);
            self.report(now_ms, before + 250, ratio)
        }
    }

    #[test]
    fn two_percent_turn_it_on_and_ten_calm_seconds_off() {
        let mut watch = LossWatch::default();
        assert_eq!(watch.feedback(0, 60, 0), None);
        assert_eq!(watch.feedback(500, 60, 5), None, "the look is not over");
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
        assert_eq!(watch.reports(0, 0.03), Some(true));
        assert_eq!(watch.reports(5_000, 0.0), None);
        assert_eq!(watch.reports(10_000, 0.015), None);
        assert_eq!(watch.reports(15_000, 0.0), None);
        assert_eq!(watch.reports(20_000, 0.0), None);
        assert_eq!(watch.reports(25_000, 0.0), Some(false));
    }

    #[test]
    fn feedback_counts_where_there_is_some() {
        let mut watch = LossWatch::default();
        assert_eq!(watch.feedback(0, 1, 0), None);
        assert_eq!(watch.reports(100, 0.5), None);
    }

    #[test]
    fn a_path_that_is_full_is_not_made_fuller() {
        let mut watch = LossWatch::default();
        for second in 0..10 {
            assert_eq!(watch.reports(second * 1_000, 0.3), None, "as many are lost as a full path loses");
        }
        // A burst turns it on, three times the sound is more than fits, and so nothing would ever turn it off.
        let (mut on, mut changes) = (false, 0);
        for second in 10..610 {
            let loss = if on {
                0.15
            } else if second % 100 == 10 {
                0.05
            } else {
                0.0
            };
            if let Some(change) = watch.reports(second * 1_000, loss) {
                (on, changes) = (change, changes + 1);
            }
        }
        assert!(!on && changes == 8, "{changes} changes: at four of the six bursts, for two looks");
    }

    #[test]
    fn one_packet_of_a_few_is_no_loss_to_speak_of() {
        let mut watch = LossWatch::default();
        let mut said: Vec<bool> = Vec::new();
        for second in 0..60 {
            let one_in_forty = if second % 10 == 3 { 1.0 / 40.0 } else { 0.0 };
            said.extend(watch.report(second * 1_000, 65_000 + second * 40, one_in_forty));
        }
        assert!(said.is_empty(), "{said:?}");
        for second in 60..70 {
            said.extend(watch.report(second * 1_000, 65_000 + second * 40, 1.0 / 40.0));
        }
        assert_eq!(said, [true]);
        assert_eq!(watch.report(71_000, 12, 0.0), None, "numbers that went back say nothing");
    }

    #[test]
    fn chance_does_not_turn_it_off() {
        let mut watch = LossWatch::default();
        assert_eq!(watch.reports(0, 0.05), Some(true));
        for (second, loss) in (1..).zip([0.03, 0.09, 0.05, 0.15, 0.02, 0.07, 0.14, 0.1]) {
            assert_eq!(watch.reports(second * 1_000, loss), None, "{loss}");
        }
    }
}
