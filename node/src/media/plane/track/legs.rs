//! The legs of a track: they come, go, and want something else.

use super::{Class, Layer, Track, WINDOW_PACKETS};
use crate::media::codec::Point;
use crate::media::leg::Leg;
use crate::media::selection::Pick;
use crate::media::template::LegClass;

impl Track {
    /// Adds a leg of `class`; returns its place.
    pub(in super::super) fn add_leg(&mut self, class: LegClass, leg: impl FnOnce(u16) -> Leg) -> usize {
        let leg = leg(self.class_place(class) as u16);
        self.audience.enter(&leg);
        self.legs.push(leg);
        self.legs.len() - 1
    }

    /// The place of `class` among the classes, with one leg more.
    pub(super) fn class_place(&mut self, class: LegClass) -> usize {
        let equal = self.classes.iter().position(|known| known.class == class);
        // A class without legs is free for the taking.
        let place = equal.or_else(|| self.classes.iter().position(|known| known.legs == 0));
        match place.and_then(|place| Some((place, self.classes.get_mut(place)?))) {
            Some((place, known)) => {
                known.class = class;
                known.legs += 1;
                place
            }
            None => {
                let headers = self.layers.iter().map(|_| Vec::with_capacity(WINDOW_PACKETS)).collect();
                self.classes.push(Class { class, legs: 1, headers });
                self.classes.len() - 1
            }
        }
    }

    /// The leg at `place` shall play `pick` from the next packet on that lets it.
    pub(in super::super) fn want(&mut self, place: usize, mut pick: Pick) {
        let layer = self.layers.get_mut(usize::from(pick.layer));
        pick.point = match layer {
            Some(Layer { points: Some(points), reader, window, .. }) => {
                let point = pick.point.of_stream(points.highest());
                let plays = point == Point::WHOLE || points.play(point, reader, window);
                if plays { point } else { Point::WHOLE }
            }
            _ => Point::WHOLE,
        };
        if let Some(leg) = self.legs.get_mut(place).filter(|leg| leg.wanted != pick) {
            self.audience.leave(leg);
            leg.wanted = pick;
            self.audience.enter(leg);
        }
    }

    /// Removes the leg at `place`; the last one moves there. Returns the peer of the leg that moved, if one did.
    pub(in super::super) fn remove_leg(&mut self, place: usize) -> Option<u32> {
        if place >= self.legs.len() {
            return None;
        }
        let leg = self.legs.swap_remove(place);
        self.audience.leave(&leg);
        if let Some(class) = self.classes.get_mut(usize::from(leg.class)) {
            class.legs = class.legs.saturating_sub(1);
        }
        self.legs.get(place).map(|moved| moved.peer)
    }
}
