//! What happens between publishers in a run, and when paths fail for a while.

use std::time::Duration;

use crate::dice::Dice;
use crate::publisher::{Begins, Mood};
use crate::room::Claim;
use crate::scenario::{Act, Rival, Scenario};

/// How long the outages last that a keyframe must end.
const OUTAGE: Duration = Duration::from_millis(500);

impl Scenario {
    /// Adds what happens between publishers, if anything does: whether so.
    pub fn plot(&mut self, viewers: usize) -> bool {
        let mut dice = Dice::new(self.seed, 2);
        let chosen = dice.between(0, 29);
        self.outages(viewers, &mut dice);
        let begins = dice.pick(&[Begins::Anew, Begins::InTheMidst, Begins::InTheMidst]);
        let hears = dice.chance(0.7);
        let rival = |claim| Rival { claim, begins, hears, mood: Mood::Plays };
        let silent = Mood::Silent { pads: dice.chance(0.5) };
        let gone = dice.pick(&[Mood::Dead, Mood::Dead, silent]);
        let at = dice.millis(3_500, 4_500);
        let soon = at + dice.millis(100, 2_000);
        let mut acts: Vec<(Duration, Act)> = Vec::new();
        let seconds = match chosen {
            // Killed, and another one comes: a stranger has to wait until it is known, one with a right to it does not.
            0..=2 => {
                let claim = dice.pick(&[Claim::Stranger, Claim::Stranger, Claim::Own, Claim::Higher]);
                acts.push((at, Act::Mood(gone)));
                acts.push((soon, Act::Come(rival(claim))));
                if claim == Claim::Stranger { 15 } else { 11 }
            }
            // It comes back by itself; a stranger may have been quicker.
            3..=4 => {
                acts.push((at, Act::Mood(gone)));
                acts.push((at + dice.millis(2_000, 7_500), Act::Mood(Mood::Plays)));
                if dice.chance(0.5) {
                    acts.push((soon, Act::Come(rival(Claim::Stranger))));
                }
                15
            }
            // Muted, which is not silence; a stranger asks in vain.
            5 => {
                acts.push((at, Act::Mood(Mood::Muted { pictures: dice.chance(0.5) })));
                acts.push((at + dice.millis(6_500, 8_000), Act::Mood(Mood::Plays)));
                acts.push((soon, Act::Come(rival(Claim::Stranger))));
                14
            }
            // Taken over from somebody who plays.
            6..=9 => {
                acts.push((at, Act::Come(rival(dice.pick(&[Claim::Own, Claim::Higher])))));
                if dice.chance(0.3) {
                    acts.push((soon, Act::Come(rival(Claim::Higher))));
                }
                10
            }
            // By one that has nothing to show.
            10 => {
                let hangs = Rival { begins: Begins::WithNothing, ..rival(Claim::Higher) };
                acts.push((Duration::from_millis(2_500), Act::Come(hangs)));
                20
            }
            // Two of them are silent, one after the other.
            11 => {
                let silent = Rival { mood: silent, ..rival(Claim::Stranger) };
                acts.push((Duration::from_millis(3_000), Act::Mood(gone)));
                acts.push((Duration::from_millis(3_500), Act::Come(silent)));
                acts.push((Duration::from_millis(12_000), Act::Come(rival(Claim::Stranger))));
                21
            }
            _ => return false,
        };
        self.acts.extend(acts);
        self.duration = self.duration.max(Duration::from_secs(seconds));
        true
    }

    /// What home and mobile networks do beside losing: a NAT forgets a member, and some paths jitter more than others.
    pub fn surprises(&mut self, viewers: usize) {
        let mut dice = Dice::new(self.seed, 6);
        if dice.chance(0.12) {
            let viewer = dice.between(1, viewers as u64) as usize;
            self.acts.push((dice.millis(3_000, 6_000), Act::Rebind(viewer)));
        }
        if dice.chance(0.06) {
            self.acts.push((dice.millis(3_000, 6_000), Act::Rebind(0)));
        }
        let plans = self.acts.iter_mut().filter_map(|(_, act)| match act {
            Act::Join(plan) => Some(plan),
            _ => None,
        });
        let paths = plans.flat_map(|plan| [&mut plan.up, &mut plan.down]);
        for path in [&mut self.publisher_up, &mut self.publisher_down].into_iter().chain(paths) {
            if dice.chance(0.2) {
                path.jitter = dice.millis(10, 50);
            }
        }
    }

    /// Half a second in which nothing comes through: of a publisher, or of a viewer.
    fn outages(&mut self, viewers: usize, dice: &mut Dice) {
        if dice.chance(0.2) {
            let ways = dice.pick(&[[true, false], [false, true], [true, true]]);
            self.acts.push((
                dice.millis(3_000, 7_000),
                Act::Cut(dice.between(1, viewers as u64) as usize, ways, OUTAGE),
            ));
        }
        if dice.chance(0.2) {
            let ways = dice.pick(&[[true, false], [true, true]]);
            self.acts.push((dice.millis(3_000, 7_000), Act::Cut(0, ways, OUTAGE)));
        }
    }
}
