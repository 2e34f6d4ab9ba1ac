//! The operating points of one scalable layer: what each would cost, and how the packets of those that legs play are numbered.

use std::time::Instant;

use smallvec::SmallVec;

use super::super::report::PartReport;
use super::layer::{WINDOW_PACKETS, WindowPacket};
use crate::media::codec::{Point, Position};
use crate::media::numbering::{Numbering, Place};
use crate::media::rate::RateMeter;
use crate::media::selection::Rung;

/// Spatial and temporal layers that are told apart: WebRTC's scalability modes have three at most.
const LAYERS_APART: usize = 4;

/// Points of a layer that are played at a time: all there are of three spatial and three temporal layers but the whole, which
/// who wants another one gets. Each costs some 30 KiB.
const POINTS_CAPACITY: usize = 8;

/// See the module. Made with the first packet that is not of the lowest layers, or says that there are others.
pub(in super::super) struct Points {
    /// By spatial and temporal layer.
    rates: [[RateMeter; LAYERS_APART]; LAYERS_APART],
    /// Highest spatial and temporal layer so far.
    highest: (u8, u8),
    sizes: [(u16, u16); LAYERS_APART],
    /// Every point that was ever on a rung: what is there no more must be said to be.
    offered: SmallVec<[Point; 8]>,
    played: SmallVec<[Played; 1]>,
    since: Instant,
}

/// A point that legs play.
struct Played {
    point: Point,
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
            highest: (0, 0),
            sizes: [(0, 0); LAYERS_APART],
            offered: SmallVec::new(),
            played: SmallVec::new(),
            since: now,
        }
    }

    /// Counts a packet.
    pub(super) fn take(&mut self, now: Instant, position: &Position, bytes: u64) {
        let top = LAYERS_APART as u8 - 1;
        let (spatial, temporal) = (position.spatial.min(top), position.temporal.min(top));
        self.highest = (self.highest.0.max(spatial), self.highest.1.max(temporal));
        let rate =
            self.rates.get_mut(usize::from(spatial)).and_then(|rates| rates.get_mut(usize::from(temporal)));
        if let Some(rate) = rate {
            rate.add(now, bytes);
        }
    }

    /// A keyframe says how large the spatial layers are.
    pub(super) fn set_sizes(&mut self, size: impl Fn(u8) -> Option<(u16, u16)>) {
        for (known, spatial) in self.sizes.iter_mut().zip(0_u8..) {
            *known = size(spatial).unwrap_or(*known);
        }
    }

    /// The publisher is another one, whose stream may have other layers.
    pub(super) fn begin_anew(&mut self, now: Instant) {
        self.highest = (0, 0);
        self.since = now;
    }

    /// The points that are worth playing: fewer temporal layers of the lowest picture only, then larger pictures. A small
    /// picture that moves smoothly is better than a larger one that does not.
    fn worthwhile(&self) -> impl Iterator<Item = Point> + use<> {
        let (spatial, temporal) = self.highest;
        let lowest = (spatial > 0).then_some(0);
        let slower = (0..temporal).map(move |temporal| Point::new(lowest, Some(temporal)));
        slower.chain((0..spatial).map(|spatial| Point::new(Some(spatial), None)))
    }

    /// A rung for each point but the whole; `whole` is that one's.
    pub(super) fn measure(&mut self, now: Instant, whole: Rung) -> SmallVec<[Rung; 8]> {
        for point in self.worthwhile() {
            if !self.offered.contains(&point) && self.offered.len() < POINTS_CAPACITY {
                self.offered.push(point);
            }
        }
        let offered = self.offered.iter().map(|point| {
            let (width, height) = self.size(*point);
            let active = whole.active && self.worthwhile().any(|other| other == *point);
            Rung { point: *point, active, width, height, bitrate_bps: self.bitrate_bps(now, *point), ..whole }
        });
        // In their first second they seem to cost nothing.
        offered.filter(|rung| rung.bitrate_bps > 0 || !rung.active).collect()
    }

    fn bitrate_bps(&self, now: Instant, point: Point) -> u64 {
        let top = LAYERS_APART as u8 - 1;
        let spatial = usize::from(point.spatial().unwrap_or(top)) + 1;
        let temporal = usize::from(point.temporal().unwrap_or(top)) + 1;
        let rates = self.rates.iter().take(spatial).flat_map(|rates| rates.iter().take(temporal));
        rates.map(|rate| (rate.per_second(now) * 8.0) as u64).sum()
    }

    fn size(&self, point: Point) -> (u16, u16) {
        let spatial = point.spatial().unwrap_or(self.highest.0).min(self.highest.0);
        self.sizes.get(usize::from(spatial)).copied().unwrap_or_default()
    }

    /// Highest spatial and temporal layer so far.
    pub(super) fn highest(&self) -> (u8, u8) {
        self.highest
    }

    /// Every part that can be played, best first; none in the first second, when nothing is known of what they take.
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
        let known = parts.iter().any(|part| part.bitrate_bps > 0);
        if known { parts } else { Vec::new() }
    }

    /// Whether a leg can play `point` from now on.
    pub(super) fn play(&mut self, point: Point) -> bool {
        if self.played(point).is_some() {
            return true;
        }
        let room = self.played.len() < POINTS_CAPACITY;
        if room {
            self.played.push(Played {
                point,
                numbering: Numbering::default(),
                places: Vec::with_capacity(WINDOW_PACKETS),
                left_out: None,
            });
        }
        room
    }

    /// Numbers the packets of the window.
    pub(super) fn place(&mut self, window: &[WindowPacket]) {
        for played in &mut self.played {
            let in_turn = window.iter().filter(|packet| !packet.late);
            for (packet, position) in in_turn.filter_map(|packet| Some((packet, packet.position?))) {
                if !position.is_part_of(played.point) {
                    let timestamp = Some(packet.header.timestamp);
                    let begins = std::mem::replace(&mut played.left_out, timestamp) != timestamp;
                    played.numbering.leave_out(packet.index, begins && position.closes_up);
                } else if position.ends_layer && Some(position.spatial) == played.point.spatial() {
                    played.numbering.end_picture(packet.index);
                }
            }
            played.places.clear();
            let numbering = &played.numbering;
            played
                .places
                .extend(window.iter().map(|packet| numbering.place(packet.index).unwrap_or_default()));
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
