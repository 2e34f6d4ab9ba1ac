//! Sound and its redundancy as packets come in: what is lost is taken from what repeats it, and viewers that lose much themselves
//! get redundancy that the publisher did not send.
//!
//! Both are done once, before a packet lies in the ring. So what a packet is never depends on who gets it or when, nor on what
//! comes late or has left the ring since.

use std::ops::Range;
use std::time::Instant;

use smallvec::SmallVec;

use super::{Arrived, Class, Layer, Track};
use crate::media::canonical::{PayloadForm, redundancy};
use crate::media::codec::red::{self, Redundancy};
use crate::media::ring::Ring;
use crate::media::rtp::{HeaderFields, RtpHeader, write_header};
use crate::media::template::LegClass;

/// Frames that are added: then two lost in a row leave no gap. More would be of use for long bursts alone, and later than most
/// players wait.
const ADDED_FRAMES: u64 = 2;

/// The largest packet with what is added: what every path takes in one piece, with SRTP's and IP's own bytes.
const PACKET_BYTES_MAX: usize = 1_200;

/// What frames call their codec in what is added: Chromium's number, so that its viewers need no other.
const FRAMES_TYPE: u8 = 111;

impl Track {
    /// Takes in a packet with canonical numbers. `index`: extended sequence number of the layer.
    pub(in super::super) fn arrive(
        &mut self,
        now: Instant,
        layer: u8,
        index: u64,
        packet: &mut [u8],
    ) -> Arrived {
        let header = (!self.is_video()).then(|| RtpHeader::parse(packet).ok()).flatten();
        match header.map(|header| (PayloadForm::of(&header), header)) {
            Some((PayloadForm::Redundant, header)) => self.recover(now, layer, index, packet, &header),
            Some((PayloadForm::Plain, header)) if self.adds_redundancy() => {
                let mut room = [0; PACKET_BYTES_MAX];
                let len = self.add_redundancy(layer, index, packet, &header, &mut room);
                if let Some(packet) = len.and_then(|len| room.get_mut(..len)) {
                    return self.take(now, layer, index, packet);
                }
            }
            _ => {}
        }
        self.take(now, layer, index, packet)
    }

    /// The leg at `place` is of `class` from the next packet on.
    pub(in super::super) fn reclassify(&mut self, place: usize, class: LegClass) {
        let Some(old) = self.legs.get(place).map(|leg| usize::from(leg.class)) else { return };
        let new = self.class_place(class);
        if let Some(old) = self.classes.get_mut(old) {
            old.legs -= 1;
        }
        let next = self.layers.first().and_then(Layer::highest).map_or(0, |highest| highest + 1);
        if let Some(leg) = self.legs.get_mut(place) {
            (leg.class, leg.classed_from) = (new as u16, next);
        }
    }

    /// The packets that were recovered since the last call, for who counts them as missing.
    pub(in super::super) fn take_recovered(&mut self) -> Range<u64> {
        std::mem::take(&mut self.recovered)
    }

    /// Whether somebody here gets what is added.
    fn adds_redundancy(&self) -> bool {
        let takes = |class: &Class| class.legs > 0 && class.class.takes_added();
        self.classes.iter().any(takes)
    }

    /// Writes `packet` to `room` with the frames before its own. Its length; `None` if there is nothing to add.
    fn add_redundancy(
        &self,
        layer: u8,
        index: u64,
        packet: &[u8],
        header: &RtpHeader,
        room: &mut [u8],
    ) -> Option<usize> {
        let primary = packet.get(header.payload()).filter(|primary| !primary.is_empty())?;
        if header.padding_len != 0 {
            return None;
        }
        let ring = self.layers.get(usize::from(layer))?.ring.as_ref()?;
        let older = (1..=ADDED_FRAMES).filter_map(|back| frame(ring, index.checked_sub(back)?));
        let older = older.map(|(timestamp, frame)| (header.timestamp.wrapping_sub(timestamp), frame));
        let mut older: SmallVec<[(u32, &[u8]); ADDED_FRAMES as usize]> = older.collect();
        older.reverse();
        room.get_mut(..header.header_len())?.copy_from_slice(packet.get(..header.header_len())?);
        PayloadForm::Added.mark(room);
        let out = room.get_mut(header.header_len()..)?;
        // What is too old to be named, after a silence, is the oldest first.
        let len =
            (0..older.len()).find_map(|first| red::write(out, FRAMES_TYPE, older.get(first..)?, primary))?;
        Some(header.header_len() + len)
    }

    /// Takes in the packets just before `index` that have not come, as far as this one repeats them.
    fn recover(&mut self, now: Instant, layer: u8, index: u64, packet: &[u8], header: &RtpHeader) {
        let payload = packet.get(header.payload()).unwrap_or_default();
        let ring = self.layers.get(usize::from(layer)).and_then(|layer| layer.ring.as_ref());
        let newest = ring.and_then(|ring| Some((ring.highest()?, frame(ring, ring.highest()?)?.0)));
        let (Some(redundancy), Some((newest, timestamp))) = (Redundancy::parse(payload), newest) else {
            return;
        };
        let missing = index.saturating_sub(newest).saturating_sub(1);
        if missing == 0 || missing > u64::from(redundancy.older_frames) {
            return;
        }
        let passed = header.timestamp.wrapping_sub(timestamp);
        // Each frame was some packet's own, so between the newest packet and this there are no more of them than are missing.
        let lies_between = |age: u16| (1..passed).contains(&age.into()) && passed.cast_signed() > 0;
        let between = redundancy.older_frames(payload).filter(|older| lies_between(older.age));
        let in_order = between.clone().is_sorted_by(|older, newer| older.age > newer.age);
        if !in_order || between.clone().count() as u64 != missing {
            return;
        }
        self.recovered = newest + 1..index;
        for (older, index) in between.zip(newest + 1..index).filter(|(older, _)| !older.frame.is_empty()) {
            let mut room = [0; PACKET_BYTES_MAX];
            let fields = HeaderFields {
                marker: false,
                padding: false,
                payload_type: PayloadForm::Plain as u8,
                sequence: index as u16,
                timestamp: header.timestamp.wrapping_sub(older.age.into()),
                ssrc: header.ssrc,
            };
            let Ok(written) = write_header(&mut room, &fields, &[]) else { continue };
            let Some(packet) = room.get_mut(..written.len + older.frame.len()) else { continue };
            packet.get_mut(written.len..).into_iter().for_each(|place| place.copy_from_slice(older.frame));
            self.take(now, layer, index, packet);
        }
    }
}

impl Layer {
    /// Counts a packet that was taken in, of so many bytes. What this node has added to it did not come.
    pub(super) fn count(
        &mut self,
        now: Instant,
        len: usize,
        header: &RtpHeader,
        redundancy: Option<Redundancy>,
    ) {
        let redundant = redundancy.map_or(0, |redundancy| u64::from(redundancy.bytes));
        let mut bytes = len as u64;
        match PayloadForm::of(header) {
            PayloadForm::Added => {
                self.added_rate.add(now, redundant);
                bytes -= redundant;
            }
            PayloadForm::Redundant => self.redundant_rate.add(now, redundant),
            PayloadForm::Plain => {}
        }
        self.packets += 1;
        self.bytes += bytes;
        self.bytes_rate.add(now, bytes);
    }

    /// Bits per second that viewers of `class` get of it, headers included.
    pub(in super::super) fn sent_bps(&self, now: Instant, class: &LegClass) -> u64 {
        let came = self.bytes_rate.per_second(now);
        let left_out = self.redundant_rate.per_second(now);
        let left_out = if class.takes(PayloadForm::Redundant) { 0.0 } else { left_out };
        let added = if class.takes(PayloadForm::Added) { self.added_rate.per_second(now) } else { 0.0 };
        ((came - left_out + added).max(0.0) * 8.0) as u64
    }
}

/// Timestamp and own frame of a packet in the ring.
fn frame(ring: &Ring, index: u64) -> Option<(u32, &[u8])> {
    let packet = ring.get(index)?;
    let header = RtpHeader::parse(packet).ok()?;
    let payload = packet.get(header.payload())?;
    let before = redundancy(&header, payload).map_or(0, |redundancy| usize::from(redundancy.bytes));
    Some((header.timestamp, payload.get(before..)?))
}
