//! One layer of a track: its ring, the window of packets that are not fanned out yet, and what is known of its encoder.

use std::time::{Duration, Instant};

use super::super::clock::SenderClock;
use super::super::keyframe::KeyframeRequests;
use super::super::report::PartReport;
use super::allocation::Told;
use super::endings::Endings;
use super::feed::Feed;
use super::last_numbers::LastNumbers;
use super::points::Points;
use crate::media::canonical::canonical_id;
use crate::media::codec::red::Redundancy;
use crate::media::codec::{CodecKind, PictureNumbers, Point, Position, Reader, Targets, spatial_size};
use crate::media::extension::ExtensionKind;
use crate::media::rate::RateMeter;
use crate::media::ring::Ring;
use crate::media::rtp::RtpHeader;
use crate::media::selection::Rung;
use smallvec::SmallVec;

/// How long a publisher may take to its first sender report (RFC 3550 §6.2: 5 s between two of them at most) before viewers
/// get reports on our clock: they need some for their round trip.
const CLOCK_PATIENCE: Duration = Duration::from_secs(6);

/// Packets that a window is made for: 5 ms of 40 Mbit/s. More only means that it grows once.
pub(in super::super) const WINDOW_PACKETS: usize = 32;

/// A layer that is silent for so many frames of the others does not flow any more: with two others at 30 frames a second,
/// [`SILENCE_MIN`] is longer; at one frame a second it is some seconds.
const SILENT_FRAMES: u32 = 8;

/// The least time that it must be silent: a large keyframe of another layer holds it up for as long.
const SILENCE_MIN: Duration = Duration::from_millis(400);

/// Layers of one publisher whose timestamps are nearer than this share a clock; clocks that have nothing to do with each
/// other come so close once in 5,000 times.
const SHARED_CLOCK_SECONDS: u32 = 5;

/// A layer without a packet for so long does not flow: its encoder has nothing to encode, and cannot answer a request either.
const IDLE: Duration = Duration::from_secs(1);

/// Before a whole second has passed since a layer's first packet, its rate is taken over at least this long.
const FIRST_RATE_MIN: Duration = Duration::from_millis(250);

/// A packet that came since the last fan-out.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct WindowPacket {
    pub(in super::super) index: u64,
    pub(in super::super) header: RtpHeader,
    /// The part after the header, in the ring's arena.
    pub(in super::super) payload_start: u32,
    pub(in super::super) payload_len: u32,
    /// Whether a leg can begin with it.
    pub(in super::super) starts_keyframe: bool,
    /// Whether it fills a gap.
    pub(in super::super) late: bool,
    /// Whether it is the first of a picture, as far as can be told.
    pub(in super::super) begins_picture: bool,
    /// Where it stands in a scalable stream.
    pub(in super::super) position: Option<Position>,
    /// The decode targets that the encoder goes on with.
    pub(in super::super) active: Targets,
    /// What a leg that changed layers has to rewrite.
    pub(in super::super) picture: Option<PictureNumbers>,
    /// What stands before the packet's own frame, where sound is redundant.
    pub(in super::super) redundancy: Option<Redundancy>,
}

/// Where a keyframe begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Keyframe {
    /// Of its first packet that a leg can begin with.
    pub(in super::super) index: u64,
    pub(in super::super) timestamp: u32,
    /// When that packet came.
    pub(in super::super) at: Instant,
}

/// One layer.
pub(in super::super) struct Layer {
    /// Made with the first packet: a layer that never flows costs nothing.
    pub(in super::super) ring: Option<Ring>,
    /// Whether the ring may have grown for a publisher before.
    pub(super) has_room_of_before: bool,
    pub(in super::super) window: Vec<WindowPacket>,
    pub(in super::super) clock: Option<SenderClock>,
    /// When the newest packet came, and its timestamp.
    pub(in super::super) newest: Option<(Instant, u32)>,
    /// Its index, unless padding has come since.
    pub(super) newest_index: Option<u64>,
    /// When the first packet of the publisher that is here now came.
    pub(super) first_at: Option<Instant>,
    /// Since when its publisher has sent it without a sender report, if it ever does without.
    pub(super) clock_awaited_since: Option<Instant>,
    /// What had come before it.
    bytes_before: u64,
    pub(super) bytes_rate: RateMeter,
    /// The part of it that is redundancy of its publisher's.
    pub(super) redundant_rate: RateMeter,
    /// What this node adds to it.
    pub(super) added_rate: RateMeter,
    /// The newest keyframe: what a viewer that joins may begin with.
    pub(in super::super) newest_keyframe: Option<Keyframe>,
    pub(in super::super) requests: KeyframeRequests,
    /// Frames of other layers since its newest packet.
    pub(super) behind_frames: u32,
    /// Whether the publisher that is here now does not have it.
    pub(super) gone: bool,
    /// Whether nothing of it has come yet from the publisher that is here now, after there was another.
    pub(super) to_come: bool,
    pub(super) told: Told,
    /// In pixels; 0 while unknown.
    pub(in super::super) width: u16,
    /// In pixels; 0 while unknown.
    pub(in super::super) height: u16,
    pub(in super::super) keyframes: u64,
    /// Of the lowest spatial layer, in pixels, as its last keyframe said.
    lowest_size: Option<(u16, u16)>,
    pub(super) reader: Reader,
    /// Of a scalable layer.
    pub(super) points: Option<Box<Points>>,
    /// Indices below it are of a numbering that has ended: legs begin anew at a keyframe above it.
    pub(in super::super) numbering_start: u64,
    pub(super) endings: Endings,
    /// Of a mirror: what is known of its feed.
    pub(super) feed: Feed,
    pub(super) last_numbers: LastNumbers,
    pub(in super::super) packets: u64,
    pub(in super::super) bytes: u64,
    /// As the publisher's side counts them.
    pub(in super::super) lost: u64,
}

impl Layer {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            ring: None,
            has_room_of_before: false,
            window: Vec::with_capacity(WINDOW_PACKETS),
            clock: None,
            newest: None,
            newest_index: None,
            first_at: None,
            clock_awaited_since: None,
            bytes_before: 0,
            bytes_rate: RateMeter::new(now),
            redundant_rate: RateMeter::new(now),
            added_rate: RateMeter::new(now),
            newest_keyframe: None,
            requests: KeyframeRequests::default(),
            behind_frames: 0,
            gone: false,
            to_come: false,
            told: Told::default(),
            width: 0,
            height: 0,
            keyframes: 0,
            lowest_size: None,
            reader: Reader::default(),
            points: None,
            numbering_start: 0,
            endings: Endings::default(),
            feed: Feed::default(),
            last_numbers: LastNumbers::default(),
            packets: 0,
            bytes: 0,
            lost: 0,
        }
    }

    /// The publisher's clocks; ours in their place if it has not told them long after its first packet. `epoch`: from where
    /// our own wall clock counts, the same for all tracks, so that sound and picture still have a common one.
    pub(in super::super) fn clock(&self, now: Instant, epoch: Instant) -> Option<SenderClock> {
        let silent = self.clock_awaited_since.is_some_and(|at| now >= at + CLOCK_PATIENCE);
        let guess = self.newest.filter(|_| silent).map(|(at, rtp_timestamp)| {
            let since = at.saturating_duration_since(epoch).as_nanos();
            SenderClock { ntp: ((since << 32) / Duration::from_secs(1).as_nanos()) as u64, rtp_timestamp, at }
        });
        self.clock.or(guess)
    }

    /// What `timestamp` of this layer would be on the clock of `other`: itself if the two share a clock, otherwise what both
    /// layers' sender reports say; `None` without those.
    pub(in super::super) fn timestamp_on_clock_of(
        &self,
        other: &Self,
        timestamp: u32,
        clock_rate_hz: u32,
    ) -> Option<u32> {
        let (at, newest) = other.newest?;
        if timestamp.wrapping_sub(newest).cast_signed().unsigned_abs() < SHARED_CLOCK_SECONDS * clock_rate_hz
        {
            return Some(timestamp);
        }
        let (own, others) = (self.clock?.at(at, clock_rate_hz), other.clock?.at(at, clock_rate_hz));
        let ahead_ntp = i128::from(own.0.wrapping_sub(others.0).cast_signed());
        let ahead = (ahead_ntp * i128::from(clock_rate_hz)) >> 32;
        Some(timestamp.wrapping_sub(own.1).wrapping_add(others.1).wrapping_add(ahead as u32))
    }

    /// So many bytes of what was counted last came to another shard, and earlier.
    pub(super) fn came_before(&mut self, bytes: u64) {
        self.bytes_rate.take_back(bytes);
        self.bytes_before += bytes;
    }

    /// A packet comes in its turn, after a pause or not.
    pub(super) fn flows_again(&mut self, now: Instant, header: &RtpHeader) {
        if self.newest.is_some() && header.padding_len == 0 && !self.is_active(now) {
            self.measures_anew();
        }
    }

    /// A pause is no part of what it sends: after one it is measured as a layer that begins.
    pub(super) fn measures_anew(&mut self) {
        (self.first_at, self.bytes_before) = (None, self.bytes);
    }

    /// Bits per second that come, headers included.
    pub(in super::super) fn bitrate_bps(&self, now: Instant) -> u64 {
        (self.bytes_rate.per_second(now) * 8.0) as u64
    }

    /// The same of what they are sent who play all of it.
    pub(in super::super) fn whole_bitrate_bps(&self, now: Instant) -> u64 {
        let lean_bps = self.points.as_ref().and_then(|points| points.lean_bitrate_bps(now));
        lean_bps.unwrap_or_else(|| self.bitrate_bps(now))
    }

    /// Whether its encoder sends. One that is silent while the others are not was turned off by its publisher, even if that
    /// does not say so.
    pub(in super::super) fn is_active(&self, now: Instant) -> bool {
        let silent = |(at, _)| self.behind_frames >= SILENT_FRAMES && now >= at + SILENCE_MIN;
        let off = self.gone || self.to_come || self.is_told_off();
        !off && self.newest.is_some_and(|newest| !silent(newest))
    }

    /// Whether its encoder has something to send.
    pub(in super::super) fn flows(&self, now: Instant) -> bool {
        self.is_active(now) && self.newest.is_some_and(|(at, _)| now.saturating_duration_since(at) < IDLE)
    }

    /// Whether its publisher answers no requests for a keyframe.
    pub(in super::super) fn is_deaf(&self, now: Instant) -> bool {
        self.requests.hearing.is_deaf(now, self.flows(now))
    }

    /// Whether a viewer had better not wait for a keyframe that is asked for.
    pub(in super::super) fn is_unheard(&self, now: Instant) -> bool {
        self.requests.hearing.is_in_doubt(now, self.flows(now))
    }

    /// What the choice of layers needs to know; nothing before the first packet. `alone`: whether the publisher has no other
    /// layer, so that parts of this one are worth playing.
    pub(super) fn measure(&mut self, now: Instant, index: u8, alone: bool) -> SmallVec<[Rung; 8]> {
        if self.packets == 0 {
            return SmallVec::new();
        }
        let lived = self.first_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        let bitrate_bps = if lived < Duration::from_secs(1) {
            let bytes = self.bytes.saturating_sub(self.bytes_before);
            (bytes as f64 * 8.0 / lived.max(FIRST_RATE_MIN).as_secs_f64()) as u64
        } else {
            self.bitrate_bps(now)
        };
        let Self { width, height, .. } = *self;
        let active = self.is_active(now);
        let parts = self.points.as_mut();
        let lean_bps = parts.as_ref().and_then(|points| points.lean_bitrate_bps(now));
        let bitrate_bps = lean_bps.unwrap_or(bitrate_bps);
        let whole = Rung { layer: index, point: Point::WHOLE, active, width, height, bitrate_bps };
        let mut rungs = parts.map(|points| points.measure(now, whole, alone)).unwrap_or_default();
        rungs.push(whole);
        rungs
    }

    /// Reads where a packet stands in a scalable stream. `keyframe`: whether one starts with it.
    pub(super) fn position(
        &mut self,
        now: Instant,
        codec: CodecKind,
        index: u64,
        (packet, header): (&[u8], &RtpHeader),
        keyframe: bool,
    ) -> Option<Position> {
        let payload = packet.get(header.payload()).unwrap_or_default();
        let descriptor = header.extension(packet, canonical_id(ExtensionKind::DependencyDescriptor));
        let position = self.reader.read(codec, index, payload, descriptor)?;
        let reader = &self.reader;
        let size = |spatial| spatial_size(codec, payload, spatial).or_else(|| reader.size(spatial));
        if keyframe {
            self.lowest_size = size(0).or(self.lowest_size);
        }
        // The first packet of a keyframe is of the lowest layers; it says how large the others are, and no other packet does.
        let announces = keyframe && size(1).is_some();
        if self.points.is_none() && position.spatial == 0 && position.temporal == 0 && !announces {
            return Some(position);
        }
        let lowest_size = self.lowest_size;
        let points = self.points.get_or_insert_with(|| {
            let mut points = Box::new(Points::new(now));
            // Temporal layers come after the keyframe that said how large they are, and there may be no other for long.
            points.set_sizes(|spatial| lowest_size.filter(|_| spatial == 0));
            points
        });
        points.take(now, reader, &position, packet.len() as u64);
        if keyframe {
            points.set_sizes(size);
        }
        Some(position)
    }

    /// Whether parts of it can be played.
    pub(in super::super) fn is_scalable(&self) -> bool {
        self.points.is_some()
    }

    /// What can be played of it alone, best first. `active`: whether it flows.
    pub(in super::super) fn parts(&self, now: Instant, active: bool) -> Vec<PartReport> {
        self.points.as_ref().map(|points| points.report(now, active)).unwrap_or_default()
    }

    /// The first packet that a leg gets with the others that has been sent, or has missed, all before `next`: what is in the
    /// window already is sent to everybody, what is not has left without it.
    pub(in super::super) fn first_live(&self, next: u64) -> u64 {
        let in_window = self.window.iter().filter(|packet| !packet.late && packet.index >= next);
        let left = self.highest().map_or(next, |highest| highest + 1);
        in_window.map(|packet| packet.index).min().unwrap_or(left)
    }

    /// The first packet of the window that a leg can begin with: rather a fresh one than one that comes late, which shows what is
    /// over.
    pub(in super::super) fn start(&self) -> Option<&WindowPacket> {
        let begins = |packet: &&WindowPacket| packet.starts_keyframe && packet.index >= self.numbering_start;
        let starts = || self.window.iter().filter(begins);
        starts().find(|packet| !packet.late).or_else(|| starts().next())
    }

    /// Whether every leg can begin in this window: with what comes late some cannot.
    pub(in super::super) fn starts_afresh(&self) -> bool {
        self.start().is_some_and(|packet| !packet.late)
    }

    /// Whether a leg can begin in this window.
    pub(super) fn can_begin(&self) -> bool {
        self.start().is_some()
    }

    /// A packet came that a leg can begin with. Whether it is the first one of its keyframe that came, and that keyframe the newest:
    /// one that comes after a newer one answers nobody.
    pub(super) fn note_keyframe(&mut self, found: Keyframe) -> bool {
        match &mut self.newest_keyframe {
            Some(known) if known.timestamp == found.timestamp => {
                known.index = known.index.min(found.index);
                false
            }
            Some(known) if found.index < known.index => false,
            known => {
                *known = Some(found);
                true
            }
        }
    }

    /// Another publisher sends it from the index `first` on, if it sends it at all: what was there before is over for every
    /// leg, whichever layer it begins with now. Who waited for this one would wait until the publisher turns its encoder on.
    pub(super) fn begin_anew(&mut self, first: u64) {
        self.requests = self.requests.begin_anew();
        self.points.iter_mut().for_each(|points| points.begin_anew());
        self.newest_keyframe = None;
        self.forget_targets();
        self.begin_numbering(first);
        (self.first_at, self.bytes_before, self.to_come) = (None, self.bytes, true);
        self.has_room_of_before = true;
    }

    /// Makes room for the group that is shown, if viewers have to begin with it, or gives it back.
    pub(super) fn keep_group(&mut self, now: Instant) {
        if std::mem::take(&mut self.has_room_of_before) {
            self.ring.iter_mut().for_each(Ring::shrink);
        }
        let Some((ring, keyframe)) = self.ring.as_mut().zip(self.newest_keyframe) else { return };
        if ring.is_short_of_room(keyframe.index, now.saturating_duration_since(keyframe.at))
            && self.requests.hearing.may_be_deaf(now, self.flows(now))
        {
            self.ring.iter_mut().for_each(Ring::grow);
        }
    }

    /// The highest packet index so far.
    pub(in super::super) fn highest(&self) -> Option<u64> {
        self.ring.as_ref().and_then(Ring::highest)
    }
}
