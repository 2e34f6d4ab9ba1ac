//! Runs in which a link becomes narrower and wider and little else happens, so that it is known what must be shown when.

use std::time::Duration;

use crate::dice::Dice;
use crate::network::Weather;
use crate::scenario::{Act, Scenario};

/// Time in which a viewer must have gone down before its link is wide again, and must have gone up before the run ends.
const DOWN: Duration = Duration::from_secs(6);
const UP: Duration = Duration::from_secs(12);

impl Scenario {
    /// In a share of the runs with layers to choose from, nothing happens to one viewer but that its link becomes narrow; in others a
    /// publisher's does for a while.
    pub fn steps(&mut self, viewers: usize) {
        let mut dice = Dice::new(self.seed, 5);
        if self.show.has_choice() && dice.chance(0.35) {
            let viewer = dice.between(1, viewers as u64) as usize;
            self.leave_in_peace(viewer, &mut dice);
            let at = dice.millis(4_000, 4_500);
            self.acts.push((at, Act::Throttle(viewer, dice.between(300, 1_000) * 1_000)));
            self.acts.push((at + DOWN, Act::Throttle(viewer, 50_000_000)));
            let rest = if dice.chance(0.5) { UP } else { Duration::ZERO };
            self.duration = at + DOWN + rest;
        } else if dice.chance(0.1) {
            let at = dice.millis(3_000, 5_000);
            self.acts.push((at, Act::Throttle(0, dice.between(800, 2_500) * 1_000)));
            self.acts.push((at + dice.millis(500, 2_000), Act::Throttle(0, 50_000_000)));
        }
    }

    /// Nothing is lost on a viewer's paths, and nothing happens to it or to the publisher.
    fn leave_in_peace(&mut self, viewer: usize, dice: &mut Dice) {
        [self.publisher_up, self.publisher_down] = [Weather::clear(dice), Weather::clear(dice)];
        let troubles = |number: usize| number == 0 || number == viewer;
        self.acts.retain(|(_, act)| match act {
            Act::Leave(number)
            | Act::Move(number)
            | Act::Rebind(number)
            | Act::RestartIce(number)
            | Act::Throttle(number, _)
            | Act::Wish(number, _)
            | Act::Cut(number, ..)
            | Act::Vanish(number) => !troubles(*number),
            Act::Republish(_) | Act::Come(_) | Act::Mood(_) => false,
            Act::Join(_) | Act::Mischief(_) | Act::Garbage(_) => true,
        });
        // They are numbered in the order in which they come.
        let mut joins: Vec<_> = self.acts.iter_mut().filter(|(_, act)| matches!(act, Act::Join(_))).collect();
        joins.sort_by_key(|(at, _)| *at);
        if let Some((_, Act::Join(plan))) = joins.into_iter().nth(viewer - 1) {
            [plan.up, plan.down] = [Weather::clear(dice), Weather::clear(dice)];
            plan.transport_cc = true;
            plan.rtx = true;
        }
    }
}
