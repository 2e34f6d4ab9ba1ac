//! Who plays what: how many legs of a track play each layer and want it, and the layers that a shard asks another for.

use super::LAYERS_MAX;
use crate::media::leg::Leg;
use crate::media::selection::Pick;
use crate::media::spec::Layers;
use crate::media::subscription::{POINTS_APART, PointSet, Subscription, place_of};

/// How many legs there are for each layer. Everything that changes a leg's layer lets it leave before and enter after.
#[derive(Debug, Default)]
pub(in super::super) struct Audience {
    playing: [u32; LAYERS_MAX],
    wanting: [u32; LAYERS_MAX],
    /// How many play or want each point of each layer.
    points: [[u32; POINTS_APART]; LAYERS_MAX],
}

impl Audience {
    pub(in super::super) fn enter(&mut self, leg: &Leg) {
        self.count(leg, |count| *count = count.saturating_add(1));
    }

    pub(in super::super) fn leave(&mut self, leg: &Leg) {
        self.count(leg, |count| *count = count.saturating_sub(1));
    }

    fn count(&mut self, leg: &Leg, change: impl Fn(&mut u32)) {
        let mut count_point = |pick: Pick| {
            let points = self.points.get_mut(usize::from(pick.layer));
            points.and_then(|points| points.get_mut(place_of(pick.point))).map(&change);
        };
        count_point(leg.wanted);
        // One that is paused goes on with the layer that it wants.
        if leg.is_live() && !leg.is_paused() {
            count_point(leg.mapping().pick());
            self.playing.get_mut(usize::from(leg.mapping().layer())).map(&change);
        }
        self.wanting.get_mut(usize::from(leg.wanted.layer)).map(&change);
    }

    /// Legs that play `layer`.
    pub(in super::super) fn players(&self, layer: u8) -> u32 {
        self.playing.get(usize::from(layer)).copied().unwrap_or(0)
    }

    /// Whether a leg plays `layer`.
    pub(in super::super) fn plays(&self, layer: u8) -> bool {
        self.players(layer) > 0
    }

    /// Whether a leg plays or wants it.
    pub(in super::super) fn watches(&self, pick: Pick) -> bool {
        let points = self.points.get(usize::from(pick.layer));
        points.and_then(|points| points.get(place_of(pick.point))).is_some_and(|count| *count > 0)
    }

    /// The layers that legs play or want.
    pub(in super::super) fn layers(&self) -> Layers {
        let counts = self.playing.iter().zip(&self.wanting).zip(0_u8..);
        counts
            .filter(|((playing, wanting), _)| **playing + **wanting > 0)
            .fold(Layers::NONE, |all, (_, layer)| all | Layers::of(layer))
    }

    /// What legs play or want of each layer.
    pub(in super::super) fn subscription(&self) -> Subscription {
        Subscription::new(self.points.iter().map(|points| {
            let mut set = PointSet::default();
            let wanted = (0..).zip(points).filter(|(_, count)| **count > 0);
            wanted.for_each(|(place, _)| set.insert_place(place));
            set
        }))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;
    use crate::media::leg::Start;
    use crate::media::negotiated::SsrcPair;

    #[test]
    fn legs_are_counted_where_they_are_and_where_they_go() {
        let mut audience = Audience::default();
        let mut leg = Leg::new(0, 0, SsrcPair { primary: 1, rtx: None }, 0, 0);
        leg.wanted = Pick::whole(2);
        audience.enter(&leg);
        assert!(!audience.plays(2));
        assert_eq!(audience.layers(), Layers::of(2));
        audience.leave(&leg);
        let pick = Pick::whole(1);
        let start =
            Start { pick, index: 5, number: 5, timestamp: 0, timestamp_before: 0, pause: Duration::ZERO };
        leg.play_from(start, 90_000);
        audience.enter(&leg);
        assert!(audience.plays(1) && !audience.plays(2));
        assert_eq!(audience.layers(), Layers::of(1) | Layers::of(2));
        assert_eq!(audience.subscription().layers(), audience.layers());
        audience.leave(&leg);
        assert_eq!(audience.layers(), Layers::NONE);
    }
}
