//! Whether a viewer's path carries any picture beside the sound. Where even the lowest layer is far beyond it, what is sent of
//! the picture is of no use to anybody and takes the sound down with it: then sound goes alone for a while.

/// Below this much of the lowest layer's bitrate there is no picture to speak of, in percent: about a third of it would be lost, as
/// is a condition beside this one. What is less than that is the business of repairs, and of the publisher.
const BEARABLE_PERCENT: u64 = 70;

/// How much of it there must be for the picture to come back, in percent.
const ROOM_PERCENT: u64 = 115;

/// How long it must be so before the picture is held back, in ms; and where it is less than half of what is bearable. One that
/// has only just come back is held back at once.
const PATIENCE_MS: u32 = 2_000;
const PATIENCE_SHORT_MS: u32 = 600;

/// How long there must be room before the picture comes back, in ms, and the longest after several times that it did not
/// stay: what is tried less and less often then are probes and trials, of which the estimate comes.
const HOLD_MIN_MS: u32 = 2_000;
const HOLD_MAX_MS: u32 = 8_000;

/// After so long it comes back in any case, in ms, and after twice that where it did not stay: whatever kept those who could
/// have said that there is room from saying so. Longer than the longest pause between two trials.
const HOLD_END_MS: u32 = 150_000;

/// A picture that is held back again within this time did not stay, in ms.
const PROBATION_MS: u32 = 10_000;

/// See the module. Times are in ms since any moment, and wrap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SoundFirst {
    /// Whether there is sound to protect.
    protects: bool,
    /// Whether a third of what is sent is lost at the moment.
    lossy: bool,
    held: bool,
    /// Whether [`Self::since_ms`] counts: of too little while the picture is sent, of enough while it is held back.
    counting: bool,
    since_ms: u32,
    /// When the picture came back, or was held back, if it ever was.
    changed: Option<u32>,
    /// How often in a row it did not stay.
    failures: u8,
}

impl SoundFirst {
    pub(super) fn protect(&mut self, protects: bool, lossy: bool) {
        (self.protects, self.lossy) = (protects, lossy);
    }

    /// Whether the picture is held back.
    pub(super) fn holds(self) -> bool {
        self.held
    }

    /// Looks at what there is for the picture, of which the lowest layer takes `lowest_bps`.
    pub(super) fn look(&mut self, now_ms: u32, budget_bps: Option<u64>, lowest_bps: u64) {
        let Some(budget_bps) = budget_bps.filter(|_| self.protects) else {
            if std::mem::take(&mut self.held) {
                self.changed = None;
            }
            self.counting = false;
            return;
        };
        let share_bps = |percent: u64| lowest_bps.saturating_mul(percent) / 100;
        let (far, wants_change) = if self.held {
            (false, budget_bps >= share_bps(ROOM_PERCENT))
        } else {
            let too_little = self.lossy && budget_bps < share_bps(BEARABLE_PERCENT);
            (budget_bps < share_bps(BEARABLE_PERCENT) / 2, too_little)
        };
        if !std::mem::replace(&mut self.counting, wants_change) {
            self.since_ms = now_ms;
        }
        let on_probation = self.changed.is_some_and(|at| now_ms.wrapping_sub(at) < PROBATION_MS);
        let patience_ms = match self.held {
            true => (HOLD_MIN_MS << self.failures.min(8)).min(HOLD_MAX_MS),
            false if on_probation => 0,
            false if far => PATIENCE_SHORT_MS,
            false => PATIENCE_MS,
        };
        let end_ms = HOLD_END_MS << self.failures.min(1);
        let ends = self.held && self.changed.is_some_and(|at| now_ms.wrapping_sub(at) >= end_ms);
        if !ends && (!wants_change || now_ms.wrapping_sub(self.since_ms) < patience_ms) {
            return;
        }
        self.counting = false;
        self.held = !self.held;
        self.changed = Some(now_ms);
        // What was lost before is no reason to hold back again what nobody has tried since.
        self.lossy &= !ends;
        if self.held {
            self.failures = if on_probation { self.failures.saturating_add(1) } else { 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_little_too_much_is_borne_and_far_too_much_is_held_back_soon() {
        let mut sound = SoundFirst::default();
        let mut held_after = |budget_bps: u64, for_ms: u32| {
            sound = SoundFirst { protects: true, lossy: true, ..SoundFirst::default() };
            (0..for_ms).step_by(100).find(|at_ms| {
                sound.look(*at_ms, Some(budget_bps), 1_500_000);
                sound.holds()
            })
        };
        assert_eq!(held_after(1_150_000, 60_000), None, "a tenth is lost: that is repaired");
        assert_eq!(held_after(1_000_000, 60_000), Some(2_000));
        assert_eq!(held_after(300_000, 60_000), Some(600));
        sound = SoundFirst::default();
        (0..100).for_each(|step| sound.look(step * 100, Some(10_000), 1_500_000));
        assert!(!sound.holds(), "without sound a bad picture is better than none");
    }

    #[test]
    fn a_picture_that_does_not_stay_comes_back_later_each_time() {
        let mut sound = SoundFirst { protects: true, lossy: true, ..SoundFirst::default() };
        let (mut back, mut now_ms) = (Vec::new(), u32::MAX - 5_000);
        for _ in 0..4 {
            let mut until = |held: bool, budget_bps: u64| {
                let start_ms = now_ms;
                while sound.holds() != held {
                    now_ms = now_ms.wrapping_add(100);
                    sound.look(now_ms, Some(budget_bps), 150_000);
                }
                now_ms.wrapping_sub(start_ms) / 1_000
            };
            until(true, 40_000);
            back.push(until(false, 200_000));
        }
        assert_eq!(back, [2, 4, 8, 8]);
        sound.look(now_ms, None, 150_000);
        assert!(!sound.holds());
    }

    #[test]
    fn a_hold_of_which_nobody_says_anything_ends_and_lasts_longer_where_it_was_right() {
        let mut sound = SoundFirst { protects: true, lossy: true, ..SoundFirst::default() };
        let (mut lasted, mut now_ms) = (Vec::new(), u32::MAX - 5_000);
        for _ in 0..3 {
            let mut until = |held: bool| {
                let start_ms = now_ms;
                while sound.holds() != held {
                    now_ms = now_ms.wrapping_add(1_000);
                    sound.look(now_ms, Some(50_000), 1_500_000);
                }
                now_ms.wrapping_sub(start_ms) / 1_000
            };
            until(true);
            lasted.push(until(false));
            (0..5).for_each(|_| sound.look(now_ms, Some(50_000), 1_500_000));
            assert!(!sound.holds(), "it takes a loss that is seen then");
            sound.protect(true, true);
        }
        assert_eq!(lasted, [150, 300, 300]);
    }
}
