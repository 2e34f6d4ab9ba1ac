//! What a mirror's layer gets from where the track enters: from which packet on, and which points of it.

use std::time::Instant;

use super::layer::Layer;
use super::points::Points;
use crate::media::codec::{Point, Targets};
use crate::media::subscription::{POINTS_APART, PointSet, place_of};

/// See the module. Where a track enters, it is as new.
#[derive(Debug, Default)]
pub(super) struct Feed {
    /// The first packet that came in its turn. `None` before it.
    start: Option<u64>,
    /// One beyond the last packet that stayed where it came in.
    passed: u64,
    /// The points that come, and since which packet each does; `None` while all do, and did.
    points: Option<Box<(PointSet, [u64; POINTS_APART])>>,
}

impl Layer {
    /// Whether a mirror takes this packet. One that fills a gap from before the mirror is of no use: what lies between it
    /// and the mirror's first packet is not here, so a leg that began with it could never be given the rest.
    pub(in super::super) fn mirrors(&mut self, index: u64, late: bool) -> bool {
        if !late {
            self.feed.start.get_or_insert(index);
        }
        self.feed.start.is_some_and(|start| index >= start)
    }

    /// Of a mirror: these decode targets the encoder goes on with. Not all of its packets are read here.
    pub(in super::super) fn is_told(&mut self, active: Targets) {
        self.reader.tell(active);
    }

    /// The mirror asks for the layer again: what it had before is not followed by what comes.
    pub(in super::super) fn mirror_anew(&mut self) {
        self.feed.start = None;
        // Keyframes that came meanwhile are not known here: the time to the next one is no period.
        self.requests.hearing.forget_keyframes();
    }

    /// All of the next publisher's packets come, from `first` on, in whatever order.
    pub(in super::super) fn mirrors_from(&mut self, first: u64) {
        self.feed.start = Some(first);
    }

    /// From the packet `first` on, what comes is of these points.
    pub(in super::super) fn is_fed(&mut self, points: PointSet, first: u64) {
        if points == PointSet::ALL && self.feed.points.is_none() {
            return;
        }
        let (known, since) =
            &mut **self.feed.points.get_or_insert_with(|| Box::new((PointSet::ALL, [0; POINTS_APART])));
        let before = std::mem::replace(known, points);
        if before == points {
            return;
        }
        for point in PointSet::ALL.iter() {
            let Some(since) = since.get_mut(place_of(point)) else { continue };
            match (before.contains(point), points.contains(point)) {
                (false, true) => *since = first,
                (_, false) => *since = u64::MAX,
                (true, true) => {}
            }
        }
    }

    /// Whether all packets of `point` are here, or come, from that of `index` on.
    pub(in super::super) fn has_point(&self, point: Point, index: u64) -> bool {
        let known = self.feed.points.as_ref();
        known.is_none_or(|known| known.1.get(place_of(point)).is_some_and(|since| index >= *since))
    }

    /// The packet of `index` is of no point that comes. `closes_up`: whether pictures are numbered without gaps.
    pub(in super::super) fn leave_out(&mut self, now: Instant, index: u64, timestamp: u32, closes_up: bool) {
        if self.highest().is_some_and(|highest| index <= highest) || index < self.feed.passed {
            return;
        }
        self.feed.passed = index + 1;
        let points = self.points.get_or_insert_with(|| Box::new(Points::new(now)));
        points.leave_out(&self.reader, index, timestamp, closes_up);
    }

    /// Whether a packet of this index fills a gap.
    pub(super) fn is_late(&self, index: u64) -> bool {
        index < self.feed.passed || self.highest().is_some_and(|highest| index < highest)
    }

    /// Packets and bytes from `first` on of what those play who play all of it; `None` if one of them is missing.
    pub(in super::super) fn whole_since(&self, first: u64) -> Option<(u64, u64)> {
        let ring = self.ring.as_ref()?;
        let Some(numbering) = self.points.as_ref().and_then(|points| points.numbering(Point::WHOLE)) else {
            return ring.whole_since(first);
        };
        let highest =
            self.highest().filter(|highest| *highest >= first && self.has_point(Point::WHOLE, first))?;
        (first..=highest).try_fold((0, 0), |(packets, bytes), index| match numbering.place(index)?.kept {
            true => Some((packets + 1, bytes + ring.get(index)?.len() as u64)),
            false => Some((packets, bytes)),
        })
    }
}
