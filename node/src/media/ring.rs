//! The last packets of one layer, opened, shared by all who watch it: what is fanned out and what answers a NACK.
//!
//! A fixed arena of bytes and a table of slots by packet index. The newest packet overwrites the oldest; nothing is
//! allocated after the ring is made. The table outlives the bytes: an index that was ever stored within the table's reach
//! is never stored again, so one index always stands for the same bytes, which is what keeps SRTP nonces safe.

use std::time::Duration;

use crate::media::codec::MediaKind;
use crate::media::rtp::RtpHeader;

/// Bytes kept of a video layer: 2.8 s at 1.5 Mbit/s, 0.5 s at 8 Mbit/s. Repair takes a round trip or two.
pub const VIDEO_RING_CAPACITY_BYTES: usize = 512 * 1024;

/// Packets kept of a video layer at most: 6 s of 1.5 Mbit/s, 0.5 s of 20 Mbit/s.
pub const VIDEO_RING_CAPACITY_PACKETS: usize = 1024;

/// Bytes and packets kept of a video layer whose publisher answers no requests for a keyframe, if its groups of pictures are
/// longer than [`VIDEO_RING_CAPACITY_BYTES`]: viewers begin with what is kept. The first of them is 4.5 s at 1.5 Mbit/s, and with
/// its table and the publisher below a mebibyte; the others are for layers that send more.
const VIDEO_RING_CAPACITIES_GROWN: [(usize, usize); 3] =
    [(832 * 1024, 2_048), (1_664 * 1024, 4_096), (3_328 * 1024, 4_096)];

/// A ring that has grown once grows again if what it keeps is younger than this: it would reach back further than is of use
/// otherwise, or would be that of a layer that had grown enough.
const GROWS_BELOW: Duration = Duration::from_secs(3);

/// How much of a ring is left when it grows, as a divisor of its bytes and packets: more than comes in one window.
const GROWS_BEFORE_FULL: u64 = 8;

/// Bytes kept of an audio track: some 3 s of Opus at 64 kbit/s with its headers.
pub const AUDIO_RING_CAPACITY_BYTES: usize = 32 * 1024;

/// Packets kept of an audio track at most: 5 s at 20 ms.
pub const AUDIO_RING_CAPACITY_PACKETS: usize = 256;

/// What became of a packet that was to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It is new; its bytes begin at this offset of the arena.
    New(u32),
    /// This index was stored before.
    Duplicate,
    /// The index is too far behind the newest to know whether it was stored before.
    TooOld,
    /// The packet is larger than any that the ring takes.
    TooLarge,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    index: u64,
    /// Where the packet begins, in bytes ever written.
    position: u64,
    len: u32,
}

impl Slot {
    const EMPTY: Self = Self { index: u64::MAX, position: 0, len: 0 };
}

/// See the module.
#[derive(Debug)]
pub struct Ring {
    arena: Box<[u8]>,
    slots: Box<[Slot]>,
    /// Bytes ever written, gaps at the arena's end included.
    head: u64,
    highest: Option<u64>,
    /// Indices below it were stored, or not, when the table was smaller: nobody knows any more.
    first_known: u64,
}

impl Ring {
    /// An empty ring for one layer of `kind`.
    pub fn new(kind: MediaKind) -> Self {
        match kind {
            MediaKind::Audio => Self::with_capacity(AUDIO_RING_CAPACITY_BYTES, AUDIO_RING_CAPACITY_PACKETS),
            MediaKind::Video => Self::with_capacity(VIDEO_RING_CAPACITY_BYTES, VIDEO_RING_CAPACITY_PACKETS),
        }
    }

    fn with_capacity(bytes: usize, packets: usize) -> Self {
        Self {
            arena: vec![0; bytes].into_boxed_slice(),
            slots: vec![Slot::EMPTY; packets].into_boxed_slice(),
            head: 0,
            highest: None,
            first_known: 0,
        }
    }

    /// The highest index stored.
    pub fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Stores the packet of `index`, the extended sequence number of its layer.
    pub fn store(&mut self, index: u64, packet: &[u8]) -> Stored {
        let reach = self.slots.len() as u64;
        let is_old = |highest| index.saturating_add(reach) <= highest || index < self.first_known;
        if self.highest.is_some_and(is_old) {
            return Stored::TooOld;
        }
        let capacity = self.arena.len() as u64;
        let len = packet.len() as u64;
        if len > capacity / 4 {
            return Stored::TooLarge;
        }
        let Some(slot) = self.slots.get_mut((index % reach) as usize) else { return Stored::TooLarge };
        if slot.index == index {
            return Stored::Duplicate;
        }
        // A packet never wraps around the arena's end, so that it can be sealed from where it lies.
        if self.head % capacity + len > capacity {
            self.head = self.head.next_multiple_of(capacity);
        }
        let start = (self.head % capacity) as usize;
        let Some(place) = self.arena.get_mut(start..start + packet.len()) else { return Stored::TooLarge };
        place.copy_from_slice(packet);
        *slot = Slot { index, position: self.head, len: packet.len() as u32 };
        self.head += len;
        self.highest = Some(self.highest.map_or(index, |highest| highest.max(index)));
        Stored::New(start as u32)
    }

    /// The packet of `index`, if it is still here.
    pub fn get(&self, index: u64) -> Option<&[u8]> {
        let slot = self.slots.get((index % self.slots.len() as u64) as usize)?;
        let capacity = self.arena.len() as u64;
        // What lies more than one arena behind the head, or in the part that the head's packet took, is overwritten.
        if slot.index != index || self.head - slot.position > capacity {
            return None;
        }
        let start = (slot.position % capacity) as usize;
        self.arena.get(start..start + slot.len as usize)
    }

    /// Whether the packet of `index` has not come, though newer ones have; not if that is too long ago to be known.
    pub fn lacks(&self, index: u64) -> bool {
        let reach = self.slots.len() as u64;
        let is_known = |highest| (index..index.saturating_add(reach)).contains(&highest);
        let known = self.highest.is_some_and(is_known) && index >= self.first_known;
        let slot = self.slots.get((index % reach) as usize);
        known && slot.is_some_and(|slot| slot.index != index)
    }

    /// Whether the packet of `index` is there and shows another time than `timestamp`: the next one begins a picture.
    pub fn ends_picture(&self, index: u64, timestamp: u32) -> bool {
        let before = self.get(index).and_then(|packet| RtpHeader::parse(packet).ok());
        before.is_some_and(|header| header.timestamp != timestamp)
    }

    /// Whether what is kept from the packet `first` on, which came `age` ago, is about to be overwritten though it might be kept.
    pub fn is_short_of_room(&self, first: u64, age: Duration) -> bool {
        let Some(oldest) = self.slot(first) else { return false };
        let grown = VIDEO_RING_CAPACITIES_GROWN.first().is_some_and(|(bytes, _)| self.arena.len() >= *bytes);
        let (bytes, packets) = (self.arena.len() as u64, self.slots.len() as u64);
        let used_bytes = self.head - oldest.position;
        let used_packets = self.highest.unwrap_or(first).saturating_sub(first);
        let full = used_bytes + bytes / GROWS_BEFORE_FULL > bytes
            || used_packets + packets / GROWS_BEFORE_FULL > packets;
        full && self.next_capacity().is_some() && (!grown || age < GROWS_BELOW)
    }

    /// Takes the next larger capacity, if there is one. Packets lie elsewhere in the arena afterwards.
    pub fn grow(&mut self) {
        if let Some((bytes, packets)) = self.next_capacity() {
            self.resize(bytes, packets);
        }
    }

    /// Takes the capacity of a new one of video, if it has grown, with the newest packets. They lie elsewhere in the arena afterwards.
    pub fn shrink(&mut self) {
        if self.arena.len() > VIDEO_RING_CAPACITY_BYTES {
            self.resize(VIDEO_RING_CAPACITY_BYTES, VIDEO_RING_CAPACITY_PACKETS);
        }
    }

    fn resize(&mut self, bytes: usize, packets: usize) {
        let mut resized = Self::with_capacity(bytes, packets);
        resized.highest = self.highest;
        let reach = self.slots.len().min(packets) as u64;
        resized.first_known =
            self.first_known.max(self.highest.map_or(0, |highest| (highest + 1).saturating_sub(reach)));
        // Those whose bytes are gone are still known, and lie more than one arena behind.
        for slot in
            self.slots.iter().filter(|slot| slot.index != u64::MAX && slot.index >= resized.first_known)
        {
            if let Some(place) = resized.slots.get_mut((slot.index % packets as u64) as usize) {
                *place = Slot { position: 0, ..*slot };
            }
        }
        resized.head = 2 * bytes as u64;
        for slot in self.newest(bytes, packets) {
            let Some(packet) = self.get(slot.index) else { continue };
            let start = (resized.head % bytes as u64) as usize;
            let Some(place) = resized.arena.get_mut(start..start + packet.len()) else { continue };
            place.copy_from_slice(packet);
            if let Some(place) = resized.slots.get_mut((slot.index % packets as u64) as usize) {
                *place = Slot { position: resized.head, ..slot };
            }
            resized.head += packet.len() as u64;
        }
        *self = resized;
    }

    /// The packets that are here, in the order in which they came, as far as the newest fit into so many bytes and places.
    fn newest(&self, bytes: usize, packets: usize) -> Vec<Slot> {
        let reach = packets as u64;
        let first = self.highest.map_or(0, |highest| (highest + 1).saturating_sub(reach));
        let here = |slot: &Slot| (first..u64::MAX).contains(&slot.index) && self.get(slot.index).is_some();
        let mut slots: Vec<Slot> = self.slots.iter().copied().filter(here).collect();
        slots.sort_unstable_by_key(|slot| slot.position);
        let sums = slots.iter().rev().scan(0, |sum, slot| {
            *sum += slot.len as usize;
            Some(*sum)
        });
        let fitting = sums.take_while(|sum| *sum <= bytes).count();
        slots.split_off(slots.len().saturating_sub(fitting))
    }

    /// Takes a capacity that holds as much, if there is one.
    pub fn make_room(&mut self, bytes: usize, packets: usize) {
        while (self.arena.len() < bytes || self.slots.len() < packets) && self.next_capacity().is_some() {
            self.grow();
        }
    }

    fn next_capacity(&self) -> Option<(usize, usize)> {
        // Rings of sound are smaller than any of these, and are never short of room.
        VIDEO_RING_CAPACITIES_GROWN.into_iter().find(|(bytes, _)| *bytes > self.arena.len())
    }

    fn slot(&self, index: u64) -> Option<&Slot> {
        self.get(index)?;
        self.slots.get((index % self.slots.len() as u64) as usize)
    }

    /// Packets and bytes from `first` to the highest index; `None` if one of them is not here.
    pub fn whole_since(&self, first: u64) -> Option<(u64, u64)> {
        let highest =
            self.highest.filter(|highest| *highest >= first && highest - first < self.slots.len() as u64)?;
        let bytes =
            (first..=highest).try_fold(0, |bytes, index| Some(bytes + self.get(index)?.len() as u64))?;
        Some((highest - first + 1, bytes))
    }

    /// `len` bytes of the arena from `start`: a packet, or a part of one, that [`Self::store`] placed since the last
    /// fan-out.
    #[inline]
    pub fn bytes(&self, start: u32, len: u32) -> &[u8] {
        self.arena.get(start as usize..start as usize + len as usize).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_layer_of_video_stays_within_a_mebibyte() {
        let ring = Ring::new(MediaKind::Video);
        let bytes = ring.arena.len() + ring.slots.len() * size_of::<Slot>() + size_of::<Ring>();
        assert!(bytes <= 1024 * 1024, "{bytes}");
    }

    #[test]
    fn one_that_has_grown_stays_within_it_too_and_only_a_fast_layer_has_more() {
        let mut ring = Ring::new(MediaKind::Video);
        let fill = |ring: &mut Ring, packets: std::ops::Range<u64>| {
            packets.for_each(|index| assert!(matches!(ring.store(index, &[1; 1_100]), Stored::New(_))));
        };
        fill(&mut ring, 0..400);
        assert!(!ring.is_short_of_room(0, Duration::from_secs(2)));
        fill(&mut ring, 400..430);
        assert!(ring.is_short_of_room(0, Duration::from_secs(2)));
        ring.grow();
        assert!(!ring.is_short_of_room(0, Duration::from_secs(2)));
        assert_eq!(ring.whole_since(0), Some((430, 430 * 1_100)));
        let bytes = ring.arena.len() + ring.slots.len() * size_of::<Slot>() + size_of::<Ring>();
        assert!(bytes <= 900 * 1024, "{bytes}");
        fill(&mut ring, 430..700);
        assert!(!ring.is_short_of_room(0, Duration::from_secs(4)), "it reaches back far enough");
        assert!(ring.is_short_of_room(0, Duration::from_secs(2)));
        ring.make_room(3_000_000, 2_700);
        assert_eq!(ring.whole_since(0), Some((700, 700 * 1_100)));
        fill(&mut ring, 700..2_900);
        assert!(ring.whole_since(0).is_some());
        assert!(!ring.is_short_of_room(0, Duration::from_secs(1)), "there is nothing larger");
    }

    #[test]
    fn one_that_shrinks_keeps_the_newest_and_stores_nothing_again() {
        let mut ring = Ring::new(MediaKind::Video);
        ring.shrink();
        ring.make_room(3_000_000, 2_700);
        (0..2_000).for_each(|index| assert!(matches!(ring.store(index, &[1; 1_100]), Stored::New(_))));
        ring.shrink();
        let bytes = ring.arena.len() + ring.slots.len() * size_of::<Slot>() + size_of::<Ring>();
        assert!(bytes <= 600 * 1024, "{bytes}");
        let kept = VIDEO_RING_CAPACITY_BYTES as u64 / 1_100;
        assert_eq!(ring.whole_since(2_000 - kept), Some((kept, kept * 1_100)));
        assert_eq!(ring.get(1_999 - kept), None);
        assert_eq!(ring.store(1_999 - kept, &[1; 10]), Stored::Duplicate, "its bytes are gone");
        assert_eq!(ring.store(900, &[1; 10]), Stored::TooOld);
        (2_000..3_000).for_each(|index| assert!(matches!(ring.store(index, &[2; 300]), Stored::New(_))));
        assert_eq!(ring.get(2_999), Some(&[2; 300][..]));
        assert_eq!(ring.get(1_999 - kept), None);
    }

    #[test]
    fn a_group_that_fits_is_given_no_larger_ring() {
        let mut ring = Ring::new(MediaKind::Video);
        ring.make_room(800_000, 750);
        let bytes = ring.arena.len() + ring.slots.len() * size_of::<Slot>() + size_of::<Ring>();
        assert!(bytes <= 900 * 1024, "{bytes}");
        (0..750).for_each(|index| assert!(matches!(ring.store(index, &[1; 1_066]), Stored::New(_))));
        assert!(ring.whole_since(0).is_some());
    }

    #[test]
    fn an_index_is_stored_once_even_after_its_bytes_are_gone() {
        let mut ring = Ring::with_capacity(1_000, 64);
        assert!(matches!(ring.store(5, &[1; 200]), Stored::New(_)));
        (6..12).for_each(|index| assert!(matches!(ring.store(index, &[2; 200]), Stored::New(_))));
        assert_eq!(ring.get(5), None);
        assert_eq!(ring.store(5, &[3; 200]), Stored::Duplicate);
        assert!(matches!(ring.store(80, &[4; 10]), Stored::New(_)));
        assert_eq!(ring.store(16, &[4; 10]), Stored::TooOld);
        assert!(matches!(ring.store(17, &[4; 10]), Stored::New(_)));
        assert_eq!(
            [5, 16, 17, 18, 79, 80, 81].map(|index| ring.lacks(index)),
            [false, false, false, true, true, false, false]
        );
        assert_eq!(ring.store(90, &[0; 251]), Stored::TooLarge);
    }

    #[test]
    fn a_group_is_whole_only_without_holes() {
        let mut ring = Ring::with_capacity(1_000, 64);
        assert_eq!(ring.whole_since(5), None);
        [5, 6, 8]
            .into_iter()
            .for_each(|index| assert!(matches!(ring.store(index, &[1; 100]), Stored::New(_))));
        assert_eq!(ring.whole_since(5), None, "7 is missing");
        assert_eq!(ring.whole_since(8), Some((1, 100)));
        ring.store(7, &[1; 50]);
        assert_eq!(ring.whole_since(5), Some((4, 350)));
        assert_eq!(ring.whole_since(9), None, "not there yet");
        (9..16).for_each(|index| assert!(matches!(ring.store(index, &[2; 100]), Stored::New(_))));
        assert_eq!(ring.whole_since(5), None, "overwritten");
    }

    proptest! {
        /// Growing forgets nothing that was there; neither that nor shrinking stores anything a second time, or other bytes.
        #[test]
        fn another_size_forgets_no_index(shrinks in any::<bool>(), steps in prop::collection::vec((0_u64..40, 1_usize..250), 1..200), later in 0_u64..200) {
            let mut ring = Ring::with_capacity(2_000, 32);
            let mut stored = std::collections::HashSet::new();
            let mut base = 0;
            for (step, (offset, len)) in steps.into_iter().enumerate() {
                base += u64::from(step % 3 == 0);
                let index = base + offset;
                if let Stored::New(_) = ring.store(index, &vec![step as u8; len]) {
                    stored.insert(index);
                }
            }
            let before: Vec<_> = (0..300).map(|index| ring.get(index).map(<[u8]>::to_vec)).collect();
            ring.grow();
            for (index, before) in (0_u64..).zip(&before) {
                prop_assert_eq!(ring.get(index).map(<[u8]>::to_vec), before.clone());
            }
            if shrinks {
                ring.resize(1_000, 16);
                let kept = (0_u64..).zip(&before).filter(|(index, _)| ring.get(*index).is_some());
                let kept = kept.map(|(index, before)| (ring.get(index).map(<[u8]>::to_vec), before.clone()));
                for (after, before) in kept {
                    prop_assert_eq!(after, before);
                }
            }
            let highest = ring.highest().unwrap();
            ring.store(highest + later, &[7; 10]);
            stored.insert(highest + later);
            for index in 0..highest + later {
                let again = matches!(ring.store(index, &[9; 10]), Stored::New(_));
                prop_assert!(!again || !stored.contains(&index), "{index}");
            }
        }

        /// What the ring returns is what was stored, and the newest packets are always there.
        #[test]
        fn returns_what_was_stored(steps in prop::collection::vec((0_u64..40, 1_usize..250), 1..400)) {
            let mut ring = Ring::with_capacity(2_000, 32);
            let mut stored = std::collections::HashMap::new();
            let (mut base, mut order) = (0, Vec::new());
            for (step, (offset, len)) in steps.into_iter().enumerate() {
                base += u64::from(step % 3 == 0);
                let index = base + offset;
                let packet = vec![(step % 251) as u8; len];
                if let Stored::New(start) = ring.store(index, &packet) {
                    prop_assert!(stored.insert(index, packet.clone()).is_none());
                    prop_assert_eq!(ring.bytes(start, len as u32), &packet[..]);
                    order.push(index);
                }
                for (index, packet) in &stored {
                    prop_assert!(ring.get(*index).is_none_or(|found| found == &packet[..]));
                }
                // Seven packets of at most 249 bytes fit beside what one wrap may waste.
                let highest = ring.highest().unwrap();
                for index in order.iter().rev().take(6).filter(|index| **index + 32 > highest) {
                    prop_assert_eq!(ring.get(*index), stored.get(index).map(|packet| &packet[..]));
                }
            }
        }
    }
}
