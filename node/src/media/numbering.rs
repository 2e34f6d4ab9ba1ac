//! Numbers of the packets of one operating point of a scalable layer: those that are left out leave no gap.
//!
//! Shared by all legs of the point, so that a leg still is one addition away from it. A packet that has not come yet may
//! turn out to belong to the point, so it keeps a number; if it comes late, it is sent whatever it is. So the same packet
//! always has the same number.

use std::collections::VecDeque;

/// Packets left out that are remembered: all of a ring's that has not grown. What lies behind the oldest of them has no number any
/// more: of a longer group that parts were left out of, nobody begins in the ring, and who has not caught up by then misses the rest.
const LOG_CAPACITY: usize = crate::media::ring::VIDEO_RING_CAPACITY_PACKETS;

/// A packet that was left out.
#[derive(Debug, Clone, Copy)]
struct LeftOut {
    index: u64,
    /// Packets left out before it.
    before: u64,
    /// Pictures left out before it.
    pictures_before: u16,
    /// The same with its own.
    pictures: u16,
}

/// Where a packet stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// Its number; of one that is left out, that of the next that is not.
    pub number: u64,
    /// Pictures left out before it; wraps.
    pub pictures: u16,
    /// Whether it belongs to the point.
    pub kept: bool,
    /// Whether it is the last of its picture, though others follow that are left out.
    pub ends_picture: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Numbering {
    log: VecDeque<LeftOut>,
    /// Packets that end their picture within the point.
    ends: VecDeque<u64>,
    /// What was forgotten at the front of the log: packets below this index have no number.
    horizon: u64,
    left_out: u64,
    pictures: u16,
}

impl Default for Numbering {
    fn default() -> Self {
        Self {
            log: VecDeque::with_capacity(LOG_CAPACITY),
            ends: VecDeque::with_capacity(LOG_CAPACITY + 1),
            horizon: 0,
            left_out: 0,
            pictures: 0,
        }
    }
}

impl Numbering {
    /// Leaves out the packet of `index`, which is above all before. `begins_picture`: and with it a picture, whose number
    /// is not to be missed.
    pub fn leave_out(&mut self, index: u64, begins_picture: bool) {
        if self.log.len() >= LOG_CAPACITY {
            self.horizon = self.log.pop_front().map_or(self.horizon, |oldest| oldest.index + 1);
        }
        let pictures_before = self.pictures;
        self.pictures = self.pictures.wrapping_add(u16::from(begins_picture));
        let (before, pictures) = (self.left_out, self.pictures);
        self.log.push_back(LeftOut { index, before, pictures_before, pictures });
        self.left_out += 1;
    }

    /// The packet of `index` is the last of its picture that belongs to the point. It may have come late.
    pub fn end_picture(&mut self, index: u64) {
        let place = self.ends.partition_point(|end| *end < index);
        if self.ends.get(place) == Some(&index) {
            return;
        }
        self.ends.insert(place, index);
        if self.ends.len() > LOG_CAPACITY {
            self.ends.pop_front();
        }
    }

    /// Where the packet of `index` stands; `None` if that is forgotten.
    pub fn place(&self, index: u64) -> Option<Place> {
        if index < self.horizon {
            return None;
        }
        let before = self.log.partition_point(|left_out| left_out.index < index);
        let next = self.log.get(before);
        let (left_out, pictures) = self.totals_before(before);
        Some(Place {
            number: index.wrapping_sub(left_out),
            pictures,
            kept: next.is_none_or(|next| next.index != index),
            ends_picture: self.ends.binary_search(&index).is_ok(),
        })
    }

    /// The packet of `number`, and where it stands; `None` if that is forgotten.
    pub fn find(&self, number: u64) -> Option<(u64, Place)> {
        let before =
            self.log.partition_point(|left_out| left_out.index.wrapping_sub(left_out.before) <= number);
        let index = number.wrapping_add(self.totals_before(before).0);
        Some((index, self.place(index)?)).filter(|(_, place)| place.kept)
    }

    /// Packets and pictures left out before the entry at `place` of the log.
    fn totals_before(&self, place: usize) -> (u64, u16) {
        match (place.checked_sub(1).and_then(|last| self.log.get(last)), self.log.front()) {
            (Some(last), _) => (last.before + 1, last.pictures),
            (None, Some(first)) => (first.before, first.pictures_before),
            (None, None) => (self.left_out, self.pictures),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_left_out_leaves_no_gap_and_what_is_missing_does() {
        let mut numbering = Numbering::default();
        // 100 kept, 101 and 102 left out, 103 missing, 104 kept.
        numbering.leave_out(101, true);
        numbering.leave_out(102, false);
        numbering.end_picture(104);
        let place = |index| numbering.place(index).unwrap();
        assert_eq!([100, 103, 104].map(|index| place(index).number), [100, 101, 102]);
        assert!(!place(101).kept && place(103).kept && place(104).ends_picture && !place(103).ends_picture);
        assert_eq!(place(104).pictures, 1);
        assert_eq!(numbering.find(101).unwrap().0, 103);
        assert_eq!(numbering.find(100).unwrap().0, 100);
    }

    proptest! {
        /// Kept packets have consecutive numbers, found again by them, however long it goes on.
        #[test]
        fn numbers_are_dense_and_lead_back(start in any::<u32>(), kept in prop::collection::vec(any::<bool>(), 1..4_000)) {
            let mut numbering = Numbering::default();
            let start = u64::from(start);
            let mut next = start;
            for (index, kept) in (start..).zip(&kept) {
                if !kept {
                    numbering.leave_out(index, true);
                }
                let place = numbering.place(index).unwrap();
                prop_assert_eq!((place.number, place.kept), (next, *kept));
                if *kept {
                    prop_assert_eq!(numbering.find(next), Some((index, place)));
                    next += 1;
                }
            }
            // A repair finds what it finds, and that is right.
            for (index, kept) in (start..).zip(&kept) {
                let place = numbering.place(index);
                if let Some(place) = place.filter(|_| *kept) {
                    prop_assert_eq!(numbering.find(place.number).map(|(found, _)| found), Some(index));
                }
            }
        }
    }
}
