//! A leg: what the plane keeps for one viewer and one track that it plays.
//!
//! A leg owns the index space of its SSRC. Source and leg are tied by one addition, so a gap stays a gap that a late packet
//! can still fill, and the same source packet always has the same number.

mod mapping;

use std::time::Duration;

use crate::media::codec::{PictureNumbers, PictureShift, Point};
use crate::media::fast_start::Squeeze;
use crate::media::negotiated::SsrcPair;
use crate::media::numbering::Place;
use crate::media::selection::{Pick, Selection};
use mapping::Flow;
pub use mapping::{Mapping, Start};

/// Layers whose timestamps lie this far apart at a switch still share a clock: a switch that waits for a keyframe takes
/// less, and clocks that have nothing to do with each other come so close once in 5,000 times.
const SHARED_CLOCK_STEP: Duration = Duration::from_secs(10);

/// The packets of a leg that it caught up with; as new, none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct CaughtUp {
    first_out: u64,
    /// One beyond the last; nothing is known of it while the leg catches up.
    end_out: u64,
    squeeze: Squeeze,
}

/// The last sender report on a leg: what a receiver report's round trip is counted from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SentReport {
    /// The middle bits of its NTP time; 0 before the first.
    pub middle_ntp: u32,
    /// When it was sent, in ms since the plane began.
    pub at_ms: u32,
}

/// What the last packet that a leg was sent calls its picture, as it was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SentNumbers {
    /// Of the payload descriptor.
    pub picture: Option<PictureNumbers>,
    /// Of the dependency descriptor.
    pub frame: Option<u16>,
}

/// See the module. Everything that a packet needs lies in the first cache line, the rest in the second.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub struct Leg {
    mapping: Mapping,
    highest_out: u64,
    /// Place of the peer in the plane's tables.
    pub peer: u32,
    /// SSRC of its media.
    pub ssrc: u32,
    last_timestamp: u32,
    /// Packets sent, for sender reports; wraps.
    pub packets: u32,
    /// Payload bytes sent, for sender reports; wraps.
    pub octets: u32,
    /// Place of its class in the track's list.
    pub class: u16,
    /// What it shall play: something else than it plays until a packet comes that lets it. The track counts it, so it is
    /// changed by `Track::want` alone.
    pub wanted: Pick,
    /// The one before the last switch: what a NACK for an older packet is answered by.
    previous: Option<Mapping>,
    /// SSRC of its retransmissions.
    pub rtx_ssrc: Option<u32>,
    /// Index of the next retransmission.
    rtx_next: u64,
    /// See [`SentReport`].
    pub sent_report: SentReport,
    /// What the wanted layer follows from.
    pub selection: Selection,
    /// What the selection chose last; what the viewer does not want is taken off it.
    pub chosen: Pick,
    /// What the viewer said last: lost since the report before, in 256ths.
    pub fraction_lost: u8,
    /// Whether it was told that its picture is held back.
    pub held_told: bool,
    /// When it said what was lost, in ms since the plane began; `None` before its first report.
    pub reported_ms: Option<u32>,
    /// Of a leg that is paused: rings forget the packet.
    numbers: SentNumbers,
    caught_up: CaughtUp,
    /// The source index from which on its class says whether it gets redundancy that the node added; before, it may have been
    /// otherwise.
    pub classed_from: u64,
}

impl Leg {
    /// A leg that waits for its first packet. `first_out` and `first_rtx` are the sequence numbers that it starts with, below
    /// 2^15 so that a receiver which misses the first packets does not miscount wraps (RFC 3711 §3.3.1).
    pub fn new(peer: u32, class: u16, ssrcs: SsrcPair, first_out: u16, first_rtx: u16) -> Self {
        Self {
            peer,
            class,
            ssrc: ssrcs.primary,
            rtx_ssrc: ssrcs.rtx,
            mapping: Mapping {
                offset: 0,
                first_source: 0,
                timestamp_offset: 0,
                picture: PictureShift::default(),
                frame_shift: 0,
                pick: Pick::whole(0),
                flow: Flow::Waiting,
            },
            previous: None,
            highest_out: u64::from(first_out & 0x7FFF),
            last_timestamp: 0,
            rtx_next: u64::from(first_rtx & 0x7FFF),
            packets: 0,
            octets: 0,
            sent_report: SentReport::default(),
            wanted: Pick::whole(0),
            chosen: Pick::whole(0),
            selection: Selection::default(),
            fraction_lost: 0,
            reported_ms: None,
            held_told: false,
            numbers: SentNumbers::default(),
            caught_up: CaughtUp::default(),
            classed_from: 0,
        }
    }

    /// Whether a layer is played.
    #[inline]
    pub fn is_live(&self) -> bool {
        self.mapping.flow != Flow::Waiting
    }

    /// Whether nothing is sent until the next [`Self::play_from`].
    #[inline]
    pub fn is_paused(&self) -> bool {
        self.mapping.flow == Flow::Paused
    }

    /// The path carries far less than the layer that is played. `numbers`: of its last packet, from which it goes on however much
    /// later.
    pub fn pause(&mut self, numbers: SentNumbers) {
        if matches!(self.mapping.flow, Flow::Live | Flow::CatchingUp) {
            (self.mapping.flow, self.numbers) = (Flow::Paused, numbers);
        }
    }

    /// What it was told as it was paused, if it is.
    pub fn paused_at(&self) -> Option<SentNumbers> {
        self.is_paused().then_some(self.numbers)
    }

    /// Whether packets come from the ring: those of the window are not for it yet.
    #[inline]
    pub fn is_catching_up(&self) -> bool {
        self.mapping.flow == Flow::CatchingUp
    }

    /// How source packets become the leg's.
    #[inline]
    pub fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// The one before the last switch.
    pub fn previous(&self) -> Option<&Mapping> {
        self.previous.as_ref()
    }

    /// The highest index that was sent.
    pub fn highest_out(&self) -> u64 {
        self.highest_out
    }

    /// By how many units a packet that has this timestamp on the clock of what is played is ahead of the last one that was sent.
    pub fn ahead(&self, timestamp: u32) -> i32 {
        self.mapping.timestamp(timestamp).wrapping_sub(self.last_timestamp).cast_signed()
    }

    /// From `start` on, its layer is played. Numbers go on where they were; timestamps too, unless the layers share a clock
    /// anyway. `clock_rate_hz`: units of timestamp per second.
    pub fn play_from(&mut self, start: Start, clock_rate_hz: u32) {
        let mut timestamp_offset = self.mapping.timestamp_offset;
        if self.is_live() {
            let wished = self.mapping.timestamp(start.timestamp_before);
            let ahead = i64::from(self.ahead(start.timestamp_before));
            let reach = (start.pause + SHARED_CLOCK_STEP).as_secs().saturating_mul(clock_rate_hz.into());
            let timestamp = if (1..=i64::try_from(reach).unwrap_or(i64::MAX)).contains(&ahead) {
                wished
            } else if (-i64::from(clock_rate_hz)..=0).contains(&ahead) {
                // The same picture, or one that the other layer has shown already: as soon after it as can be.
                self.last_timestamp.wrapping_add(clock_rate_hz / 1_000)
            } else {
                // A frame's time at 30 per second: what a viewer expects between two pictures.
                self.last_timestamp.wrapping_add(clock_rate_hz / 30)
            };
            timestamp_offset = timestamp.wrapping_sub(start.timestamp);
            self.previous = Some(self.mapping);
        }
        let first_out = self.highest_out + 1;
        self.caught_up.end_out = self.caught_up.end_out.min(first_out);
        self.mapping = Mapping {
            offset: first_out.wrapping_sub(start.number),
            first_source: start.index,
            timestamp_offset,
            pick: start.pick,
            flow: Flow::Live,
            ..self.mapping
        };
    }

    /// The timestamp that a packet of what is played would have a frame's time after the last one that was sent.
    pub fn a_frame_later(&self, clock_rate_hz: u32) -> u32 {
        let next = self.last_timestamp.wrapping_add(clock_rate_hz / 30);
        next.wrapping_sub(self.mapping.timestamp_offset)
    }

    /// It goes on with `start`, whose packets lie in the ring, and is behind the others until [`Self::catch_up_ends`].
    /// `start.timestamp` is the squeezed one.
    pub fn catch_up_from(&mut self, start: Start, squeeze: Squeeze, clock_rate_hz: u32) {
        let was_behind = self.caught_up.end_out == u64::MAX;
        self.play_from(start, clock_rate_hz);
        if was_behind {
            // Sent again, its packets would say another time under the same nonce.
            self.previous = None;
        }
        self.caught_up = CaughtUp { first_out: self.highest_out + 1, end_out: u64::MAX, squeeze };
        self.mapping.flow = Flow::CatchingUp;
    }

    /// It goes on with the others from the source packet `live` on, which has this `number` among those of its point. What comes
    /// before is found as that of another mapping, and has the timestamps of those who catch up, whether it was sent or is asked
    /// for now. `ahead`: by how many units those are ahead of the layer's own still, if it fell silent meanwhile: as much later
    /// is all that comes.
    pub fn catch_up_ends(&mut self, live: u64, number: u64, ahead: u32) {
        self.previous = Some(self.mapping);
        self.mapping.first_source = live;
        self.mapping.timestamp_offset = self.mapping.timestamp_offset.wrapping_add(ahead);
        self.caught_up.end_out = number.wrapping_add(self.mapping.offset);
        self.mapping.flow = Flow::Live;
    }

    /// The same if timestamps were squeezed nowhere and of what comes nothing was sent yet: no packet is told from another, and what
    /// was played before is still known.
    pub fn goes_on_live(&mut self) {
        self.caught_up = CaughtUp::default();
        self.mapping.flow = Flow::Live;
    }

    /// The timestamp that the packet `out` of `mapping` has or had, which the layer has at `source`. On the hot path the
    /// mapping says the same.
    pub fn timestamp(&self, out: u64, mapping: &Mapping, source: u32) -> u32 {
        let CaughtUp { first_out, end_out, squeeze } = self.caught_up;
        let caught_up = (first_out..end_out).contains(&out);
        mapping.timestamp(if caught_up { squeeze.timestamp(source) } else { source })
    }

    /// From the last [`Self::play_from`] on, picture numbers are shifted by `picture`.
    pub fn shift_pictures(&mut self, picture: PictureShift) {
        self.mapping.picture = picture;
    }

    /// From the last [`Self::play_from`] on, frame numbers of dependency descriptors are shifted by `shift`.
    pub fn shift_frames(&mut self, shift: u16) {
        self.mapping.frame_shift = shift;
    }

    /// From the source packet `index` on, more or less of the same layer is played. The packet stands at `before` as numbered
    /// so far and at `after` from now on; what is missing before it stays missing.
    pub fn go_over(&mut self, point: Point, index: u64, before: Place, after: Place) {
        let out = before.number.wrapping_add(self.mapping.offset);
        let shift = self.mapping.picture;
        self.previous = Some(self.mapping);
        self.mapping.offset = out.wrapping_sub(after.number);
        self.mapping.first_source = index;
        self.mapping.picture.id = shift.id.wrapping_sub(before.pictures).wrapping_add(after.pictures);
        self.mapping.pick.point = point;
    }

    /// Notes that a packet was sent.
    #[inline]
    pub fn sent(&mut self, out_index: u64, timestamp: u32, payload_bytes: u32) {
        if out_index > self.highest_out {
            self.highest_out = out_index;
            self.last_timestamp = timestamp;
        }
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload_bytes);
    }

    /// The leg's index, the mapping and the source index of the packet that a viewer calls `sequence`. `find` tells which
    /// packet has a number.
    pub fn find(
        &self,
        sequence: u16,
        find: impl Fn(Pick, u64) -> Option<u64>,
    ) -> Option<(u64, Mapping, u64)> {
        if !self.is_live() {
            return None;
        }
        let distance = i64::from(sequence.wrapping_sub(self.highest_out as u16) as i16);
        let out = self.highest_out.checked_add_signed(distance).filter(|out| *out <= self.highest_out)?;
        let mut mappings = [Some(self.mapping), self.previous].into_iter().flatten();
        mappings.find_map(|mapping| Some((out, mapping, mapping.source(out, &find)?)))
    }

    /// Whether packets of `pick` can be asked for by the numbers that they were sent with.
    pub fn knows(&self, pick: Pick) -> bool {
        let previous = self.previous.as_ref().map(Mapping::pick);
        self.mapping.pick == pick || previous == Some(pick)
    }

    /// Takes the index of the next retransmission.
    pub fn take_rtx_index(&mut self) -> u64 {
        let index = self.rtx_next;
        self.rtx_next += 1;
        index
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn whole(_: Pick, number: u64) -> Option<u64> {
        Some(number)
    }

    fn start(layer: u8, index: u64, timestamp: u32) -> Start {
        Start {
            pick: Pick::whole(layer),
            index,
            number: index,
            timestamp,
            timestamp_before: timestamp,
            pause: Duration::ZERO,
        }
    }

    fn leg(first: u16) -> Leg {
        Leg::new(0, 0, SsrcPair { primary: 1, rtx: Some(2) }, first, 0)
    }

    #[test]
    fn a_leg_is_small() {
        assert!(size_of::<Leg>() <= 256, "{}", size_of::<Leg>());
        assert!(std::mem::offset_of!(Leg, previous) <= 64, "a packet's fields fit one cache line");
    }

    #[test]
    fn gaps_stay_gaps_and_late_packets_fill_them() {
        let mut leg = leg(100);
        leg.play_from(start(0, 5_000, 0), 90_000);
        assert_eq!(leg.mapping().out_index(5_000, 5_000), Some(101));
        assert_eq!(leg.mapping().out_index(5_003, 5_003), Some(104));
        assert_eq!(leg.mapping().out_index(5_001, 5_001), Some(102));
        assert_eq!(leg.mapping().out_index(4_999, 4_999), None);
    }

    /// What a point leaves out has indices and no numbers.
    #[test]
    fn what_comes_after_a_group_keeps_its_time_however_much_was_left_out_before() {
        const LEFT_OUT: u64 = 1_000_000;
        let (index, live) = (LEFT_OUT + 10_000, LEFT_OUT + 10_050);
        let squeeze = Squeeze { until: 90_000, factor: 4 };
        let mut leg = leg(100);
        let group = Start { number: index - LEFT_OUT, ..start(0, index, squeeze.timestamp(0)) };
        leg.catch_up_from(group, squeeze, 90_000);
        let out = |leg: &Leg, index| leg.mapping().out_index(index, index - LEFT_OUT).unwrap();
        let last = out(&leg, live - 1);
        leg.catch_up_ends(live, live - LEFT_OUT, 0);
        let mapping = *leg.mapping();
        assert_eq!(leg.timestamp(last, &mapping, 30_000), mapping.timestamp(squeeze.timestamp(30_000)));
        let first = out(&leg, live);
        assert_eq!(leg.timestamp(first, &mapping, 30_000), mapping.timestamp(30_000));
    }

    #[test]
    fn a_switch_goes_on_in_number_and_time_and_old_packets_are_still_found() {
        let mut leg = leg(0x7FFF);
        leg.play_from(start(0, 10, 1_000), 90_000);
        (10..20).for_each(|source| {
            leg.sent(leg.mapping().out_index(source, source).unwrap(), 1_000 + source as u32, 1)
        });
        let before = leg.find(0x8005, whole).unwrap();
        leg.play_from(start(2, 70_000, 3_000_000_000), 90_000);
        let out = leg.mapping().out_index(70_000, 70_000).unwrap();
        assert_eq!(out, 0x8000 + 10);
        assert_eq!(leg.mapping().timestamp(3_000_000_000), 1_019 + 3_000);
        leg.sent(out, 4_019, 1);
        assert_eq!(leg.find(0x8005, whole), Some(before));
        assert_eq!(
            leg.find(out as u16, whole).map(|(_, mapping, source)| (mapping.layer(), source)),
            Some((2, 70_000))
        );
        assert_eq!(leg.find(out as u16 + 1, whole), None, "not sent yet");
    }

    #[test]
    fn a_clock_of_its_own_is_followed_by_what_reports_say_of_it() {
        let mut leg = leg(0);
        leg.play_from(start(0, 10, 1_000), 90_000);
        leg.sent(1, 1_000, 1);
        let later = Start { timestamp_before: 1_000 + 4_500, ..start(1, 500, 3_000_000_000) };
        leg.play_from(later, 90_000);
        assert_eq!(leg.mapping().timestamp(3_000_000_000), 5_500);
    }

    #[test]
    fn what_was_sent_last_is_found_though_nothing_followed_a_change() {
        let mut leg = leg(0);
        leg.play_from(start(0, 10, 1_000), 90_000);
        leg.sent(1, 1_000, 1);
        let place = |number| Place { number, kept: true, ..Place::default() };
        leg.go_over(Point::new(None, Some(0)), 12, place(12), place(11));
        assert_eq!(leg.mapping().source(leg.highest_out(), whole), None, "of the mapping before");
        let found = leg.find(leg.highest_out() as u16, whole);
        assert_eq!(found.map(|(_, mapping, source)| (mapping.pick(), source)), Some((Pick::whole(0), 10)));
    }

    #[test]
    fn layers_on_one_clock_keep_their_timestamps() {
        let mut leg = leg(0);
        leg.play_from(start(0, 10, 1_000), 90_000);
        leg.sent(1, 1_000, 1);
        leg.play_from(start(1, 500, 4_000), 90_000);
        assert_eq!(leg.mapping().timestamp(4_000), 4_000);
        leg.sent(2, 4_000, 1);
        leg.play_from(start(0, 700, 4_000), 90_000);
        assert_eq!(leg.mapping().timestamp(4_000), 4_090, "the same picture again, a millisecond later");
    }

    proptest! {
        /// Over any course of packets and switches one leg index stands for one source packet, and is found again.
        #[test]
        fn one_index_one_packet(first in 0_u16..0x8000, steps in prop::collection::vec((0_u8..3, 1_u64..50, prop::bool::weighted(0.1)), 1..200)) {
            let mut leg = leg(first);
            let mut sources = [1_u64 << 20, 7, 65_000];
            let mut taken = HashMap::new();
            for (layer, step, switch) in steps {
                let source = sources.get_mut(usize::from(layer)).unwrap();
                *source += step;
                if switch || !leg.is_live() {
                    leg.play_from(start(layer, *source, *source as u32), 90_000);
                }
                if leg.mapping().layer() == layer {
                    let out = leg.mapping().out_index(*source, *source).unwrap();
                    prop_assert!(taken.insert(out, (layer, *source)).is_none());
                    leg.sent(out, *source as u32, 1);
                    let (found, mapping, origin) = leg.find(out as u16, whole).unwrap();
                    prop_assert_eq!((found, mapping.layer(), origin), (out, layer, *source));
                }
            }
        }
    }
}
