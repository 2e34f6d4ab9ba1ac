//! The operating points of one scalable layer: what each would cost, and how the packets of those that legs play are numbered.

use std::time::Instant;

use smallvec::SmallVec;

use super::super::report::PartReport;
use super::Track;
use super::layer::{WINDOW_PACKETS, WindowPacket};
use crate::media::codec::{Point, Position, Reader, Targets, Way};
use crate::media::numbering::{Numbering, Place};
use crate::media::rate::RateMeter;
use crate::media::selection::{Pick, Rung};
use crate::media::subscription::{LAYERS_APART, POINTS_APART, PointSet, Subscription, all_points, place_of};

/// Points of a layer that are played at a time: all there are, as bounds beyond the stream's own are none. So full cannot
/// happen. Each costs some 30 KiB for as long as a leg has to do with it.
const POINTS_CAPACITY: usize = POINTS_APART;

/// See the module. Made with the first packet that is not of the lowest layers, or says that there are others.
pub(in super::super) struct Points {
    /// Of each spatial and temporal layer.
    rates: [[RateMeter; LAYERS_APART]; LAYERS_APART],
    /// Of each point, by [`place_of`].
    costs: [RateMeter; POINTS_APART],
    /// The decode target of each point now, by [`place_of`].
    targets: [Option<u8>; POINTS_APART],
    /// Of the reader, when it told these.
    state: Option<(u32, u32)>,
    /// Whether some frames are left out for those who play all of it.
    lean: bool,
    /// Of a mirror: whether some packets were kept back where the track enters.
    partial: bool,
    /// Highest spatial and temporal layer so far.
    highest: (u8, u8),
    sizes: [(u16, u16); LAYERS_APART],
    /// Every point of this publisher that was ever on a rung: what is there no more must be said to be.
    offered: SmallVec<[Point; 8]>,
    played: SmallVec<[Played; 1]>,
}

/// A point that legs play.
struct Played {
    point: Point,
    /// The decode target that is sent. Another one is once those who play the point can decode it.
    target: Option<u8>,
    /// The highest spatial layer of that, if it has a bound.
    top: Option<u8>,
    numbering: Numbering,
    /// Of the window's packets.
    places: Vec<Place>,
    /// Timestamp of the picture that was left out last.
    left_out: Option<u32>,
}

impl Points {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            rates: [[RateMeter::new(now); LAYERS_APART]; LAYERS_APART],
            costs: [RateMeter::new(now); POINTS_APART],
            targets: [None; POINTS_APART],
            state: None,
            lean: false,
            partial: false,
            highest: (0, 0),
            sizes: [(0, 0); LAYERS_APART],
            offered: SmallVec::new(),
            played: SmallVec::new(),
        }
    }

    /// Counts a packet.
    pub(super) fn take(&mut self, now: Instant, reader: &Reader, position: &Position, bytes: u64) {
        self.look_at_targets(reader);
        let top = LAYERS_APART as u8 - 1;
        let (spatial, temporal) = (position.spatial.min(top), position.temporal.min(top));
        self.highest = (self.highest.0.max(spatial), self.highest.1.max(temporal));
        let rate =
            self.rates.get_mut(usize::from(spatial)).and_then(|rates| rates.get_mut(usize::from(temporal)));
        if let Some(rate) = rate {
            rate.add(now, bytes);
        }
        let costs = self.costs.iter_mut().zip(&self.targets);
        for ((cost, target), point) in costs.zip(all_points()) {
            if position.is_part_of(point, *target) {
                cost.add(now, bytes);
            }
        }
    }

    /// Learns which decode targets the points are.
    fn look_at_targets(&mut self, reader: &Reader) {
        let state = reader.state();
        let before = self.state.replace(state);
        if before == Some(state) {
            return;
        }
        for (target, point) in self.targets.iter_mut().zip(all_points()) {
            *target = reader.target(point);
        }
        let top = LAYERS_APART as u8 - 1;
        if let Some((spatial, temporal)) = reader.highest() {
            // Layers may be there that another shard keeps to itself.
            self.highest = (self.highest.0.max(spatial.min(top)), self.highest.1.max(temporal.min(top)));
        }
        self.lean = self.target(Point::WHOLE).is_some_and(|target| reader.leaves_out(target));
        if self.lean {
            self.play(Point::WHOLE, reader, &[]);
        }
        if before.is_none_or(|before| before.0 != state.0) {
            // After a structure, what came before is depended on by nobody, and targets may have other numbers.
            let targets = &self.targets;
            for played in &mut self.played {
                played.set_target(of_point(targets, played.point), reader);
            }
        }
    }

    /// The decode target that `point` is now.
    fn target(&self, point: Point) -> Option<u8> {
        of_point(&self.targets, point)
    }

    /// The decode target that those who play `point` are sent.
    pub(super) fn sent_target(&self, point: Point) -> Option<u8> {
        self.played(point).map_or_else(|| self.target(point), |played| played.target)
    }

    /// The way from one point to another, as they are sent.
    pub(super) fn way(&self, reader: &Reader, from: Point, to: Point) -> Way {
        reader.way((from, self.sent_target(from)), (to, self.sent_target(to)))
    }

    /// Whether some who play it wait for a keyframe, as the encoder has ended what they were sent, or begun what they shall
    /// be sent. Numbers of points that nobody plays are kept too: `is_watched` tells them apart.
    pub(super) fn needs_keyframe(&self, is_watched: impl Fn(Point) -> bool) -> bool {
        let waits = |played: &Played| played.target != self.target(played.point);
        self.played.iter().any(|played| waits(played) && is_watched(played.point))
    }

    /// The decode targets that the encoder goes on with, as far as they were looked at.
    pub(super) fn active_targets(&self) -> Targets {
        self.state.map_or(Targets::MAX, |(_, active)| active)
    }

    /// What descriptors said is of another encoder: until one comes again, layer ids tell.
    pub(super) fn forget_targets(&mut self) {
        (self.state, self.lean, self.targets) = (None, false, [None; POINTS_APART]);
        self.played
            .iter_mut()
            .for_each(|played| (played.target, played.top) = (None, played.point.spatial()));
    }

    /// A keyframe says how large the spatial layers are.
    pub(super) fn set_sizes(&mut self, size: impl Fn(u8) -> Option<(u16, u16)>) {
        for (known, spatial) in self.sizes.iter_mut().zip(0_u8..) {
            *known = size(spatial).unwrap_or(*known);
        }
    }

    /// The publisher is another one, whose stream may have other layers.
    pub(super) fn begin_anew(&mut self) {
        self.highest = (0, 0);
        self.sizes = [(0, 0); LAYERS_APART];
        self.offered.clear();
    }

    /// The points that are worth playing: fewer temporal layers of the lowest picture only, then larger pictures. A small
    /// picture that moves smoothly is better than a larger one that does not.
    fn worthwhile(&self) -> impl Iterator<Item = Point> + use<> {
        let (spatial, temporal) = self.highest;
        let lowest = (spatial > 0).then_some(0);
        let slower = (0..temporal).map(move |temporal| Point::new(lowest, Some(temporal)));
        slower.chain((0..spatial).map(|spatial| Point::new(Some(spatial), None)))
    }

    /// A rung for each point but the whole; `whole` is that one's. Beside other layers (not `alone`) none is worth playing,
    /// and those that were offered before are not any more.
    pub(super) fn measure(&mut self, now: Instant, whole: Rung, alone: bool) -> SmallVec<[Rung; 8]> {
        for point in self.worthwhile().filter(|_| alone) {
            if !self.offered.contains(&point) && self.offered.len() < POINTS_CAPACITY {
                self.offered.push(point);
            }
        }
        let offered = self.offered.iter().map(|point| {
            let (width, height) = self.size(*point);
            let active = whole.active && alone && self.worthwhile().any(|other| other == *point);
            Rung { point: *point, active, width, height, bitrate_bps: self.bitrate_bps(now, *point), ..whole }
        });
        // In their first second they seem to cost nothing.
        offered.filter(|rung| rung.bitrate_bps > 0 || !rung.active).collect()
    }

    fn bitrate_bps(&self, now: Instant, point: Point) -> u64 {
        self.costs.get(place_of(point)).map_or(0, |cost| (cost.per_second(now) * 8.0) as u64)
    }

    /// What all of it takes, where that is not all that the encoder sends.
    pub(super) fn lean_bitrate_bps(&self, now: Instant) -> Option<u64> {
        Some(self.bitrate_bps(now, Point::WHOLE)).filter(|bitrate_bps| self.lean && *bitrate_bps > 0)
    }

    fn size(&self, point: Point) -> (u16, u16) {
        let spatial = point.spatial().unwrap_or(self.highest.0).min(self.highest.0);
        self.sizes.get(usize::from(spatial)).copied().unwrap_or_default()
    }

    /// Highest spatial and temporal layer so far.
    pub(super) fn highest(&self) -> (u8, u8) {
        self.highest
    }

    /// Every part that can be played, best first; none where there is but one layer of each kind, and in the first second,
    /// when nothing is known of what they take.
    pub(super) fn report(&self, now: Instant, active: bool) -> Vec<PartReport> {
        let top = LAYERS_APART as u8 - 1;
        let (spatial, temporal) = (self.highest.0.min(top), self.highest.1.min(top));
        let all = (0..=spatial)
            .rev()
            .flat_map(|spatial| (0..=temporal).rev().map(move |temporal| (spatial, temporal)));
        let parts: Vec<PartReport> = all
            .map(|(spatial, temporal)| {
                let point = Point::new(Some(spatial), Some(temporal));
                let own =
                    self.rates.get(usize::from(spatial)).and_then(|rates| rates.get(usize::from(temporal)));
                let flows = own.is_some_and(|rate| rate.per_second(now) > 0.0);
                let size = Some(self.size(point)).filter(|(width, height)| *width > 0 && *height > 0);
                let bitrate_bps = self.bitrate_bps(now, point);
                PartReport { spatial, temporal, active: active && flows, bitrate_bps, size }
            })
            .collect();
        let known = parts.len() > 1 && parts.iter().any(|part| part.bitrate_bps > 0);
        if known { parts } else { Vec::new() }
    }

    /// Whether a leg can play `point` from now on. `window`: what came already and has not left.
    pub(super) fn play(&mut self, point: Point, reader: &Reader, window: &[WindowPacket]) -> bool {
        if self.played(point).is_some() {
            return true;
        }
        let room = self.played.len() < POINTS_CAPACITY;
        if room {
            let mut played = Played {
                point,
                target: None,
                top: None,
                numbering: Numbering::default(),
                places: Vec::with_capacity(WINDOW_PACKETS),
                left_out: None,
            };
            played.set_target(self.target(point), reader);
            window.iter().for_each(|packet| played.number(packet));
            self.played.push(played);
        }
        room
    }

    /// Forgets the numbers of points that nobody has anything to do with. Numbers of one that is played again later begin anew,
    /// so `is_used` must know of every leg that could ask for what it was sent.
    pub(super) fn forget_unused(&mut self, is_used: impl Fn(Point) -> bool) {
        // Who joins plays all of it.
        let kept = self.lean || self.partial;
        self.played.retain(|played| (kept && played.point == Point::WHOLE) || is_used(played.point));
    }

    /// Numbers a packet that came, at every point that is played.
    pub(super) fn number(&mut self, reader: &Reader, packet: &WindowPacket) {
        let targets = &self.targets;
        for played in &mut self.played {
            played.follow(of_point(targets, played.point), reader, packet);
            played.number(packet);
        }
    }

    /// Of a mirror: the packet of `index` is of no point that this shard asked for, and stays where it came in. `closes_up`:
    /// see [`Position`].
    pub(super) fn leave_out(&mut self, reader: &Reader, index: u64, timestamp: u32, closes_up: bool) {
        self.partial = true;
        self.look_at_targets(reader);
        self.play(Point::WHOLE, reader, &[]);
        self.played.iter_mut().for_each(|played| played.leave_out(index, timestamp, closes_up));
    }

    /// Whether the packet of `index` is of one of these points.
    pub(super) fn is_in(&self, points: PointSet, index: u64) -> bool {
        points.iter().any(|point| {
            let place = self.numbering(point).and_then(|numbering| numbering.place(index));
            place.is_none_or(|place| place.kept)
        })
    }

    /// Looks up the numbers of the window's packets.
    pub(super) fn place(&mut self, window: &[WindowPacket]) {
        for Played { places, numbering, .. } in &mut self.played {
            places.clear();
            places.extend(window.iter().map(|packet| numbering.place(packet.index).unwrap_or_default()));
        }
    }

    fn played(&self, point: Point) -> Option<&Played> {
        self.played.iter().find(|played| played.point == point)
    }

    /// Where the window's packets stand for legs at `point`.
    pub(super) fn places(&self, point: Point) -> Option<&[Place]> {
        Some(&self.played(point)?.places)
    }

    /// How packets of `point` are numbered.
    pub(super) fn numbering(&self, point: Point) -> Option<&Numbering> {
        Some(&self.played(point)?.numbering)
    }
}

impl Played {
    fn set_target(&mut self, target: Option<u8>, reader: &Reader) {
        self.target = target;
        let bounded = self.point.spatial();
        self.top = target.filter(|_| bounded.is_some()).and_then(|target| reader.highest_spatial(target));
        self.top = self.top.or(bounded);
    }

    /// Goes over to `target`, if who plays the point can with this packet.
    fn follow(&mut self, target: Option<u8>, reader: &Reader, packet: &WindowPacket) {
        if target == self.target {
            return;
        }
        let way = reader.way((self.point, self.target), (self.point, target));
        let lets_over =
            packet.position.is_some_and(|position| position.lets_over(&way, packet.begins_picture));
        if self.target.is_none() || (!packet.late && (packet.starts_keyframe || lets_over)) {
            self.set_target(target, reader);
        }
    }

    /// Leaves a packet out that is no part of the point. What comes late has a number already.
    fn number(&mut self, packet: &WindowPacket) {
        let Some(position) = packet.position else { return };
        if position.is_part_of(self.point, self.target) {
            if position.ends_layer && Some(position.spatial) == self.top {
                self.numbering.end_picture(packet.index);
            }
        } else if !packet.late {
            self.leave_out(packet.index, packet.header.timestamp, position.closes_up);
        }
    }

    fn leave_out(&mut self, index: u64, timestamp: u32, closes_up: bool) {
        let timestamp = Some(timestamp);
        let begins = std::mem::replace(&mut self.left_out, timestamp) != timestamp;
        self.numbering.leave_out(index, begins && closes_up);
    }
}

fn of_point(targets: &[Option<u8>; POINTS_APART], point: Point) -> Option<u8> {
    targets.get(place_of(point)).copied().flatten()
}

impl Track {
    /// Forgets how parts of layers are numbered that no leg plays, shall play or played last, and no other shard wants.
    pub(in super::super) fn forget_unused_points(&mut self) {
        let (legs, subscribers) = (&self.legs, &self.subscribers);
        for (layer, index) in self.layers.iter_mut().zip(0_u8..) {
            let is_used = |point| {
                let pick = Pick { layer: index, point };
                let wants = |wanted: &Subscription| {
                    wanted.points(index) != PointSet::ALL && wanted.points(index).contains(point)
                };
                legs.iter().any(|leg| leg.wanted == pick || leg.knows(pick))
                    || subscribers.iter().any(|(_, wanted)| wants(wanted))
            };
            layer.points.iter_mut().for_each(|points| points.forget_unused(is_used));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use std::time::Duration;

    use aforo_cluster::id::TrackId;

    use super::*;
    use crate::media::codec::CodecKind;
    use crate::media::leg::{Leg, Start};
    use crate::media::negotiated::SsrcPair;

    /// A packet of VP9 of these layers.
    fn position(spatial: u8, temporal: u8) -> Position {
        let payload = [0xA0 | 0x08, 1, temporal << 5 | spatial << 1, 0];
        Reader::default().read(CodecKind::Vp9, 0, &payload, None).unwrap()
    }

    /// As many layers as are told apart, and more.
    fn points(now: Instant) -> Points {
        let mut points = Points::new(now);
        for (spatial, temporal) in (0..5).flat_map(|spatial| (0..5).map(move |temporal| (spatial, temporal)))
        {
            points.take(now, &Reader::default(), &position(spatial, temporal), 1_000);
        }
        points
    }

    #[test]
    fn wishes_for_every_layer_there_may_be_leave_room_for_all() {
        let mut points = points(Instant::now());
        for (spatial, temporal) in (0..8).flat_map(|spatial| (0..8).map(move |temporal| (spatial, temporal)))
        {
            let point = Point::new(Some(spatial), Some(temporal)).of_stream(points.highest());
            assert!(
                point == Point::WHOLE || points.play(point, &Reader::default(), &[]),
                "{spatial} {temporal}"
            );
        }
        let worthwhile: Vec<_> = points.worthwhile().collect();
        assert!(
            worthwhile.into_iter().all(|point| points.play(point, &Reader::default(), &[])),
            "those on the ladder"
        );
    }

    #[test]
    fn numbers_are_kept_while_a_leg_may_ask_by_them() {
        let now = Instant::now();
        let mut track = Track::new(now, TrackId(1), Some(CodecKind::Vp9));
        track.layers[0].points = Some(Box::new(points(now)));
        track.legs.push(Leg::new(0, 0, SsrcPair { primary: 1, rtx: None }, 0, 0));
        let [first, second, third, fourth] =
            [0, 1, 2, 3].map(|temporal| Point::new(Some(0), Some(temporal).filter(|t| *t < 3)));
        let pick = |point| Pick { layer: 0, point };
        let start = |point, index| Start {
            pick: pick(point),
            index,
            number: index,
            timestamp: 0,
            timestamp_before: 0,
            pause: Duration::ZERO,
        };
        for (point, index) in [(first, 10), (second, 20), (third, 30)] {
            track.want(0, pick(point));
            track.legs[0].play_from(start(point, index), 90_000);
        }
        track.want(0, pick(fourth));
        track.forget_unused_points();
        let known = track.layers[0].points.as_ref().unwrap();
        let numbered = [first, second, third, fourth].map(|point| known.numbering(point).is_some());
        assert_eq!(numbered, [false, true, true, true], "what was played before, is played and shall be");
        track.remove_leg(0);
        track.forget_unused_points();
        assert!(track.layers[0].points.as_ref().unwrap().played.is_empty());
    }
}
