//! The parts of a layer as legs play them: how packets are numbered, and where a leg can go from one part to another.

use super::layer::{Layer, WindowPacket};
use crate::media::codec::{Point, Targets, Way};
use crate::media::leg::{Leg, Mapping};
use crate::media::numbering::Place;
use crate::media::subscription::PointSet;

impl Layer {
    /// Numbers the packet that came last, where parts of the layer are played.
    pub(super) fn number_newest(&mut self) {
        if let (Some(points), Some(packet)) = (&mut self.points, self.window.last()) {
            points.number(&self.reader, packet);
        }
    }

    /// Where the window's packets stand for legs at `point`; `None` for all as they are.
    #[inline]
    pub(in super::super) fn places(&self, point: Point) -> Option<&[Place]> {
        self.points.as_ref()?.places(point)
    }

    /// Where the packet of `index` stands at `point`.
    pub(in super::super) fn place(&self, point: Point, index: u64) -> Option<Place> {
        match self.points.as_ref().and_then(|points| points.numbering(point)) {
            Some(numbering) => numbering.place(index),
            None => (point == Point::WHOLE).then(|| Place { number: index, kept: true, ..Place::default() }),
        }
    }

    /// The packet that legs at `point` know by `number`.
    pub(in super::super) fn find(&self, point: Point, number: u64) -> Option<u64> {
        match self.points.as_ref().and_then(|points| points.numbering(point)) {
            Some(numbering) => Some(numbering.find(number)?.0),
            None => (point == Point::WHOLE).then_some(number),
        }
    }

    /// The way from one point to another.
    fn way(&self, from: Point, to: Point) -> Way {
        let without_targets = || self.reader.way((from, None), (to, None));
        self.points.as_ref().map_or_else(without_targets, |points| points.way(&self.reader, from, to))
    }

    /// Whether a leg goes over from one point to another without a keyframe, sooner or later.
    pub(in super::super) fn goes_over(&self, from: Point, to: Point) -> bool {
        let way = self.way(from, to);
        !to.is_larger_than(from) && (way.targets.is_none() || way.covers || to.spatial() == from.spatial())
    }

    /// Whether the encoder goes on with other layers than those were sent who play one of the points of which `is_watched` says
    /// so.
    pub(in super::super) fn needs_keyframe(&self, is_watched: impl Fn(Point) -> bool) -> bool {
        self.points.as_ref().is_some_and(|points| points.needs_keyframe(is_watched))
    }

    /// The decode targets that the encoder goes on with, one bit each; all where that is of no account.
    pub(in super::super) fn active_targets(&self) -> Targets {
        self.points.as_ref().map_or(Targets::MAX, |points| points.active_targets())
    }

    /// What comes is another encoder's: what descriptors said of the one before is over.
    pub(super) fn forget_targets(&mut self) {
        self.reader.begin_anew();
        self.points.iter_mut().for_each(|points| points.forget_targets());
    }

    /// The first packet of the window with which `leg` can go over to another point, by its place in the window.
    pub(in super::super) fn crossing(&self, leg: &Leg, to: Point) -> Option<usize> {
        let way = self.way(leg.mapping().pick().point, to);
        // What came before a keyframe may be of other decode targets.
        let keyframe = self.window.iter().rposition(|packet| packet.starts_keyframe && packet.begins_picture);
        let window = self.window.iter().enumerate().skip(keyframe.unwrap_or(0));
        let mut ways = window.filter(|(_, packet)| {
            let begins = packet.begins_picture;
            let lets_over = match &packet.position {
                _ if begins && packet.starts_keyframe => true,
                Some(position) => position.lets_over(&way, begins) && (way.covers || self.has(leg, packet)),
                None => begins,
            };
            lets_over
                && !packet.late
                && packet.index >= leg.mapping().first_source()
                && self.has_point(to, packet.index)
        });
        ways.next().map(|(place, _)| place)
    }

    /// Whether `leg` was sent what this packet's frame depends on, also where that is from before its last change.
    fn has(&self, leg: &Leg, packet: &WindowPacket) -> bool {
        let points = self.points.as_ref();
        let sent_by = |mapping: &Mapping| {
            let target = points?.sent_target(mapping.pick().point)?;
            let (back, held) = packet.position?.depends_on(target)?;
            Some((packet.index.saturating_sub(back.into()) >= mapping.first_source(), held))
        };
        match sent_by(leg.mapping()) {
            None => true,
            Some((reaches, held)) => {
                held && (reaches || leg.previous().and_then(sent_by) == Some((true, true)))
            }
        }
    }

    /// Makes it known to which of these points a packet belongs, from now on.
    pub(in super::super) fn play_points(&mut self, points: PointSet) {
        let Some(known) = self.points.as_mut().filter(|_| points != PointSet::ALL) else { return };
        for point in points.iter().filter(|point| *point != Point::WHOLE) {
            known.play(point, &self.reader, &self.window);
        }
    }

    /// Whether the packet is of one of these points, or may be.
    pub(in super::super) fn is_in(&self, points: PointSet, packet: &WindowPacket) -> bool {
        let known = self.points.as_ref().filter(|_| points != PointSet::ALL && !packet.late);
        known.is_none_or(|known| known.is_in(points, packet.index))
    }
}
