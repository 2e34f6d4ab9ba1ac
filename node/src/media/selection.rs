//! Which layer a viewer gets, and how much of a scalable one. A budget that shrinks is obeyed at once. One that grows has to
//! leave a margin for a while first, and for longer each time that going up proved wrong, so that a viewer at the edge
//! between two layers does not flap.
//!
//! - In: a [`Ladder`] (all layers of a track as they are sent now, worst first), a [`LayerWish`], a budget in bit/s.
//! - Out: a layer.

mod ladder;
mod sound_first;
mod switch;

use crate::media::codec::Point;

pub use ladder::{LADDER_CAPACITY, Ladder, Place, Rung};
use sound_first::SoundFirst;
pub use switch::{Cause, Direction, Switch, Switches};

/// What a viewer plays, or shall play.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick {
    /// Index of the layer within its track.
    pub layer: u8,
    /// How much of it.
    pub point: Point,
}

impl Pick {
    /// All of a layer.
    pub fn whole(layer: u8) -> Self {
        Self { layer, point: Point::WHOLE }
    }
}

/// What a viewer asked for (WHEP's layer extension).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LayerWish {
    /// The best that there is.
    #[default]
    Best,
    /// The best within these bounds.
    AtMost(LayerLimit),
}

/// Bounds of a wish; what is `None` does not matter. If no layer that flows is within them, the lowest one is played.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LayerLimit {
    /// Nothing better than the layer of this index, which is that of its RID in the offer and of the track's report.
    pub layer: Option<u8>,
    /// Highest spatial layer of a scalable stream.
    pub spatial: Option<u8>,
    /// Highest temporal layer.
    pub temporal: Option<u8>,
    /// In pixels; layers of unknown size are within it.
    pub max_width: Option<u16>,
    /// In pixels; layers of unknown size are within it.
    pub max_height: Option<u16>,
}

/// How much of a layer's bitrate the budget must have for the viewer to go up to it, in percent: encoders overshoot their
/// target by some 10 % for a second or two.
const ROOM_TO_GO_UP_PERCENT: u64 = 115;

/// How much of its bitrate is enough to stay, in percent: less than what estimates waver by on a steady network.
const ENOUGH_TO_STAY_PERCENT: u64 = 95;

/// Below this much of a layer's bitrate nothing of it is of use any more, in percent: a keyframe of a lower layer takes a
/// round trip to the publisher, some 100 ms, and what is sent meanwhile beyond the budget has to be waited for by then.
const OVERRUN_PERCENT: u64 = 70;

/// How long there must be room before the first step up.
const HOLD_MIN_MS: u32 = 1_000;

/// The longest that it must be there, after several steps up that did not last.
const HOLD_MAX_MS: u32 = 8_000;

/// A step up that is taken back within this time did not last.
const PROBATION_MS: u32 = 10_000;

/// One viewer's choice. Times are in ms since any moment, and wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection {
    wish: LayerWish,
    /// What the viewer can make use of.
    reach: Point,
    budget_bps: Option<u64>,
    /// Since when a better layer would have had room.
    room_since_ms: Option<u32>,
    /// When it last went up because there was room.
    raised_at_ms: Option<u32>,
    hold_ms: u32,
    /// The best that flowed within the wish when it last chose.
    top: Option<Pick>,
    /// Whether the wish is another since then.
    asked: bool,
    /// Why there is room for a better layer, while there is.
    room_by: Cause,
    /// Why the last choice was another than the one before.
    cause: Cause,
    sound_first: SoundFirst,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            wish: LayerWish::Best,
            reach: Point::WHOLE,
            budget_bps: None,
            room_since_ms: None,
            raised_at_ms: None,
            hold_ms: HOLD_MIN_MS,
            top: None,
            asked: false,
            room_by: Cause::Start,
            cause: Cause::Start,
            sound_first: SoundFirst::default(),
        }
    }
}

/// What one look over the ladder found, as ranks with their layers.
#[derive(Default)]
struct Survey {
    lowest: Option<(usize, Pick)>,
    top: Option<(usize, Pick)>,
    fits: Option<(usize, Pick)>,
    roomy: Option<(usize, Pick)>,
    /// The rank of the layer that is played, and whether it may go on.
    here: Option<(usize, bool)>,
}

impl Selection {
    /// The choice for a viewer that can make use of so much of each layer.
    pub fn within(reach: Point) -> Self {
        Self { reach, ..Self::default() }
    }

    /// The viewer asks for something else.
    pub fn wish(&mut self, wish: LayerWish) {
        if std::mem::replace(&mut self.wish, wish) != wish {
            // What is taken off the choice may be another part, though the choice stays.
            (self.asked, self.cause) = (true, Cause::Viewer);
        }
    }

    /// Why the viewer plays what it plays, or shall play.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// What the network carries of video; `None` as long as nothing says that it carries less than is wanted.
    pub fn limit(&mut self, budget_bps: Option<u64>) {
        self.budget_bps = budget_bps;
    }

    /// Bits per second that the network carries of video, if anything says that it carries less than is wanted.
    pub fn budget_bps(&self) -> Option<u64> {
        self.budget_bps
    }

    /// Whether the viewer is sent sound, for which its picture gives way while a third of what is sent is lost (`lossy`).
    pub fn protect_sound(&mut self, protects: bool, lossy: bool) {
        self.sound_first.protect(protects, lossy);
    }

    /// Whether no picture is to be sent, as the network carries none beside the sound.
    pub fn holds_picture(&self) -> bool {
        self.sound_first.holds()
    }

    /// What to play from now on, where `current` is what is played or has been chosen already; `None` while no layer is
    /// known. See [`Self::within_wish`] for what is left of it.
    pub fn choose(&mut self, now_ms: u32, ladder: &Ladder, current: Option<Pick>) -> Option<Pick> {
        let survey = self.survey(ladder, current);
        if let Some(lowest) = survey.lowest.and_then(|(rank, _)| ladder.rungs().get(rank)) {
            self.sound_first.look(now_ms, self.budget_bps, lowest.bitrate_bps);
        }
        let pick = |place: Option<(usize, Pick)>| place.map(|(_, pick)| pick);
        let Some((_, top)) = survey.top else {
            self.room_since_ms = None;
            return current.or_else(|| ladder.rungs().first().map(Rung::pick));
        };
        // What there is to choose from is another because the viewer asked for it, or because the publisher sends it.
        let before = self.top.replace(top);
        let by = match (std::mem::take(&mut self.asked), before) {
            (true, _) => Cause::Viewer,
            (false, None) => Cause::Start,
            (false, Some(_)) => Cause::Publisher,
        };
        let shifted = before.is_some_and(|before| before != top);
        if self.budget_bps.is_none() {
            self.room_since_ms = None;
            return self.settle(current, Some(top), by);
        }
        let best = pick(survey.fits.or(survey.lowest));
        let Some((rank, enough)) = survey.here else {
            self.room_since_ms = None;
            return self.settle(current, best, by);
        };
        if !enough {
            self.room_since_ms = None;
            if best != current {
                self.lowered(now_ms);
            }
            return self.settle(current, best, Cause::Network);
        }
        let Some((_, better)) = survey.roomy.filter(|(roomy, _)| *roomy > rank) else {
            self.room_since_ms = None;
            return current;
        };
        if self.room_since_ms.is_none() || shifted {
            self.room_by = if shifted { by } else { Cause::Network };
        }
        let since = *self.room_since_ms.get_or_insert(now_ms);
        if now_ms.wrapping_sub(since) < self.hold_ms {
            return current;
        }
        self.room_since_ms = None;
        self.raised_at_ms = Some(now_ms);
        self.settle(current, Some(better), self.room_by)
    }

    /// Notes why `chosen` is not `current`, if anything is played already.
    fn settle(&mut self, current: Option<Pick>, chosen: Option<Pick>, cause: Cause) -> Option<Pick> {
        if current.is_some() && current != chosen {
            self.cause = cause;
        }
        chosen
    }

    /// Whether the network carries less than the best that flows within the wish.
    pub fn is_held_down(&self, ladder: &Ladder, chosen: Pick) -> bool {
        self.budget_bps.is_some() && self.top.is_some_and(|top| ladder.is_better(top, chosen))
    }

    /// Whether `rung` is so much more than the network carries that what is sent of it only delays what could be.
    pub fn is_overrun_by(&self, rung: &Rung) -> bool {
        let bearable_bps = rung.bitrate_bps.saturating_mul(OVERRUN_PERCENT) / 100;
        self.budget_bps.is_some_and(|budget_bps| budget_bps < bearable_bps)
    }

    /// Whether `rung` may be played for a moment, until a keyframe of what was chosen comes.
    pub fn bears(&self, rung: &Rung) -> bool {
        self.wish == LayerWish::Best && !self.is_overrun_by(rung)
    }

    /// The layer that it would choose if the network carried everything.
    pub fn best<'a>(&self, ladder: &'a Ladder) -> Option<&'a Rung> {
        let (rank, _) = self.survey(ladder, None).top?;
        ladder.rungs().get(rank)
    }

    /// The least layer that is better than what is played, where `chosen` was chosen, if the wish goes that far.
    pub fn next<'a>(&self, ladder: &'a Ladder, chosen: Pick) -> Option<&'a Rung> {
        if self.holds_picture() {
            return ladder.rungs().iter().find(|rung| rung.active);
        }
        let highest = self.highest_rank(ladder);
        let rank = ladder.rungs().iter().position(|rung| rung.pick() == chosen)?;
        let better =
            ladder.rungs().iter().enumerate().filter(|(other, _)| (rank + 1..=highest).contains(other));
        let more = |rung: &&Rung| self.within_wish(rung.pick()) != self.within_wish(chosen);
        better.map(|(_, rung)| rung).filter(|rung| rung.active && self.is_within(rung)).find(more)
    }

    fn survey(&self, ladder: &Ladder, current: Option<Pick>) -> Survey {
        let mut survey = Survey::default();
        let budget_bps = self.budget_bps.unwrap_or(u64::MAX);
        let highest = self.highest_rank(ladder);
        for (rank, rung) in ladder.rungs().iter().enumerate().filter(|(_, rung)| rung.active) {
            let place = Some((rank, rung.pick()));
            survey.lowest = survey.lowest.or(place);
            if rank > highest || !self.is_within(rung) {
                continue;
            }
            let share_bps = |percent: u64| rung.bitrate_bps.saturating_mul(percent) / 100;
            survey.top = place;
            if rung.bitrate_bps <= budget_bps {
                survey.fits = place;
            }
            if share_bps(ROOM_TO_GO_UP_PERCENT) <= budget_bps {
                survey.roomy = place;
            }
            if current == Some(rung.pick()) {
                survey.here = Some((rank, share_bps(ENOUGH_TO_STAY_PERCENT) <= budget_bps));
            }
        }
        // Nothing within the wish flows: the lowest that does is the nearest to it.
        survey.top = survey.top.or(survey.lowest);
        survey
    }

    fn highest_rank(&self, ladder: &Ladder) -> usize {
        let LayerWish::AtMost(LayerLimit { layer: Some(layer), .. }) = self.wish else { return usize::MAX };
        ladder.rungs().iter().rposition(|rung| rung.layer == layer).unwrap_or(usize::MAX)
    }

    fn is_within(&self, rung: &Rung) -> bool {
        let LayerWish::AtMost(limit) = self.wish else { return true };
        let within = |size: u16, max: Option<u16>| max.is_none_or(|max| size <= max);
        within(rung.width, limit.max_width) && within(rung.height, limit.max_height)
    }

    /// `pick` without the spatial and temporal layers that the viewer does not want or cannot use.
    pub fn within_wish(&self, pick: Pick) -> Pick {
        let wanted = match self.wish {
            LayerWish::Best => Point::WHOLE,
            LayerWish::AtMost(limit) => Point::new(limit.spatial, limit.temporal),
        };
        Pick { point: pick.point.within(wanted).within(self.reach), ..pick }
    }

    fn lowered(&mut self, now_ms: u32) {
        let raised = self.raised_at_ms.take();
        let failed = raised.is_some_and(|at| now_ms.wrapping_sub(at) < PROBATION_MS);
        self.hold_ms = if failed { (self.hold_ms * 2).min(HOLD_MAX_MS) } else { HOLD_MIN_MS };
    }
}

#[cfg(test)]
mod tests;
