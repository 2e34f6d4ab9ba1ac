//! One track on this shard: its layers' rings, the window of packets that are not fanned out yet, and its legs.

mod succession;

use std::time::{Duration, Instant};

use aforo_cluster::id::TrackId;
use smallvec::SmallVec;

use super::clock::SenderClock;
use super::departure::Company;
use super::keyframe::KeyframeRequests;
use crate::media::codec::{CodecKind, MediaKind, starts_keyframe};
use crate::media::leg::Leg;
use crate::media::path::ShardId;
use crate::media::rate::RateMeter;
use crate::media::ring::{Ring, Stored};
use crate::media::rtp::RtpHeader;
use crate::media::template::{HeaderTemplate, LegClass};

/// Layers of one track at most: what a browser sends is 3; a mirror believes no larger number either.
pub(super) const LAYERS_MAX: usize = 8;

/// How often the layer that viewers get is chosen anew.
const CHOICE_INTERVAL: Duration = Duration::from_secs(1);

/// How long a publisher may take to its first sender report (RFC 3550 §6.2: 5 s between two of them at most) before viewers
/// get reports on our clock: they need some for their round trip.
const CLOCK_PATIENCE: Duration = Duration::from_secs(6);

/// A jump of indices beyond which it is a publisher that began anew. Half the sequence space: a receiver of SRTP would lose
/// count of the wraps if legs took part in it.
const NEW_NUMBERING: u64 = 1 << 15;

/// Packets that the first one of a new numbering may have overtaken.
const REORDER_BEFORE_FIRST: u64 = 64;

/// Packets that a window is made for: 5 ms of 40 Mbit/s. More only means that it grows once.
const WINDOW_PACKETS: usize = 32;

/// Where a track's packets come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Nobody yet, or nobody any more.
    Absent,
    /// The publisher at this place of the plane's tables; the track's number among its tracks.
    Publisher { place: u32, number: u8 },
    /// Another shard.
    Shard(ShardId),
}

/// A packet that came since the last fan-out.
#[derive(Debug, Clone, Copy)]
pub(super) struct WindowPacket {
    pub(super) index: u64,
    pub(super) header: RtpHeader,
    /// The part after the header, in the ring's arena.
    pub(super) payload_start: u32,
    pub(super) payload_len: u32,
    /// Whether a leg can begin with it.
    pub(super) starts_keyframe: bool,
    /// Whether it fills a gap.
    pub(super) late: bool,
}

/// One layer.
pub(super) struct Layer {
    /// Made with the first packet: a layer that never flows costs nothing.
    pub(super) ring: Option<Ring>,
    pub(super) window: Vec<WindowPacket>,
    pub(super) clock: Option<SenderClock>,
    /// When the newest packet came, and its timestamp.
    pub(super) newest: Option<(Instant, u32)>,
    first_at: Option<Instant>,
    bytes_rate: RateMeter,
    last_keyframe_timestamp: Option<u32>,
    /// Indices below it are of a numbering that has ended: legs begin anew at a keyframe above it.
    pub(super) numbering_start: u64,
    /// Of a mirror: the first packet that came in its turn. `None` before it.
    mirror_start: Option<u64>,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    /// As the publisher's side counts them.
    pub(super) lost: u64,
}

impl Layer {
    fn new(now: Instant) -> Self {
        Self {
            ring: None,
            window: Vec::with_capacity(WINDOW_PACKETS),
            clock: None,
            newest: None,
            first_at: None,
            bytes_rate: RateMeter::new(now),
            last_keyframe_timestamp: None,
            numbering_start: 0,
            mirror_start: None,
            packets: 0,
            bytes: 0,
            lost: 0,
        }
    }

    /// The publisher's clocks; ours in their place if it has not told them long after its first packet. `epoch`: from where
    /// our own wall clock counts, the same for all tracks, so that sound and picture still have a common one.
    pub(super) fn clock(&self, now: Instant, epoch: Instant) -> Option<SenderClock> {
        let silent = self.first_at.is_some_and(|at| now >= at + CLOCK_PATIENCE);
        let guess = self.newest.filter(|_| silent).map(|(at, rtp_timestamp)| {
            let since = at.saturating_duration_since(epoch).as_nanos();
            SenderClock { ntp: ((since << 32) / Duration::from_secs(1).as_nanos()) as u64, rtp_timestamp, at }
        });
        self.clock.or(guess)
    }

    /// Bits per second, headers included.
    pub(super) fn bitrate_bps(&self, now: Instant) -> u64 {
        (self.bytes_rate.per_second(now) * 8.0) as u64
    }

    /// Whether a mirror takes this packet. One that fills a gap from before the mirror is of no use: what lies between it
    /// and the mirror's first packet is not here, so a leg that began with it could never be given the rest.
    pub(super) fn mirrors(&mut self, index: u64, late: bool) -> bool {
        if !late {
            self.mirror_start.get_or_insert(index);
        }
        self.mirror_start.is_some_and(|start| index >= start)
    }

    /// The highest packet index so far.
    pub(super) fn highest(&self) -> Option<u64> {
        self.ring.as_ref().and_then(Ring::highest)
    }
}

/// Legs that share headers, and the headers of the window, by layer.
pub(super) struct Class {
    pub(super) class: LegClass,
    pub(super) legs: u32,
    pub(super) headers: SmallVec<[Vec<HeaderTemplate>; 1]>,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrived {
    /// It will be fanned out. `keyframe`: it is the first of one.
    New {
        keyframe: bool,
        /// How long a keyframe had been wished for when this one came.
        waited: Option<Duration>,
    },
    /// It was there already.
    Duplicate,
    /// Too late, or larger than a packet can be.
    Unusable,
}

/// See the module.
pub(super) struct Track {
    pub(super) id: TrackId,
    /// `None` until somebody who knows it comes: another shard may subscribe before the publisher is there.
    pub(super) codec: Option<CodecKind>,
    pub(super) source: Source,
    pub(super) layers: SmallVec<[Layer; 1]>,
    pub(super) legs: Vec<Leg>,
    pub(super) classes: Vec<Class>,
    /// Shards that mirror the track.
    pub(super) subscribers: SmallVec<[ShardId; 4]>,
    pub(super) requests: KeyframeRequests,
    /// Index of the layer that viewers get: the one seam for a choice per viewer.
    pub(super) target: u8,
    chosen_at: Instant,
    /// How long nothing came before the numbering that is in use.
    pub(super) pause: Duration,
    /// When the oldest packet of the window came; with one, it stands in the plane's list of departures.
    pub(super) opened: Option<Instant>,
    pub(super) keyframes: u64,
}

impl Track {
    pub(super) fn new(now: Instant, id: TrackId, codec: Option<CodecKind>) -> Self {
        Self {
            id,
            codec,
            source: Source::Absent,
            layers: SmallVec::from_iter([Layer::new(now)]),
            legs: Vec::new(),
            classes: Vec::new(),
            subscribers: SmallVec::new(),
            requests: KeyframeRequests::default(),
            target: 0,
            chosen_at: now,
            pause: Duration::ZERO,
            opened: None,
            keyframes: 0,
        }
    }

    pub(super) fn is_video(&self) -> bool {
        self.codec.is_some_and(|codec| codec.kind() == MediaKind::Video)
    }

    /// Units of timestamp per second.
    pub(super) fn clock_rate_hz(&self) -> u32 {
        self.codec.map_or(90_000, CodecKind::clock_rate_hz)
    }

    /// Whether nobody has any use for it.
    pub(super) fn is_abandoned(&self) -> bool {
        self.legs.is_empty() && self.subscribers.is_empty() && self.source == Source::Absent
    }

    /// Whose tracks have the same viewers.
    pub(super) fn company(&self) -> Company {
        match self.source {
            Source::Publisher { place, .. } => Company::Publisher(place),
            Source::Shard(_) | Source::Absent => Company::FirstViewer(self.legs.first().map(|leg| leg.peer)),
        }
    }

    /// Whether anybody waits for its packets.
    pub(super) fn is_watched(&self) -> bool {
        !self.legs.is_empty() || !self.subscribers.is_empty()
    }

    /// The layer `index`, made if it is new.
    pub(super) fn layer(&mut self, now: Instant, index: u8) -> Option<&mut Layer> {
        let index = usize::from(index);
        if index >= LAYERS_MAX {
            return None;
        }
        while self.layers.len() <= index {
            self.layers.push(Layer::new(now));
            self.classes.iter_mut().for_each(|class| class.headers.push(Vec::with_capacity(WINDOW_PACKETS)));
        }
        self.layers.get_mut(index)
    }

    /// Takes in a packet with canonical extension ids. `index`: extended sequence number of the layer.
    pub(super) fn arrive(&mut self, now: Instant, layer: u8, index: u64, packet: &mut [u8]) -> Arrived {
        let Some(codec) = self.codec else { return Arrived::Unusable };
        let Some((packet, header)) = RtpHeader::parse(packet).ok().and_then(|header| trim(packet, header))
        else {
            return Arrived::Unusable;
        };
        let Some(layer) = self.layer(now, layer) else { return Arrived::Unusable };
        let ring = layer.ring.get_or_insert_with(|| Ring::new(codec.kind()));
        let mut begun_after = None;
        if ring.highest().is_some_and(|highest| index > highest + NEW_NUMBERING) {
            layer.numbering_start = index - REORDER_BEFORE_FIRST;
            begun_after = Some(layer.newest);
        }
        let late = ring.highest().is_some_and(|highest| index < highest);
        let start = match ring.store(index, packet) {
            Stored::New(start) => start,
            Stored::Duplicate => return Arrived::Duplicate,
            Stored::TooOld | Stored::TooLarge => return Arrived::Unusable,
        };
        let header_bytes = header.header_len();
        let starts_keyframe = starts_keyframe(codec, packet.get(header.payload()).unwrap_or_default());
        layer.window.push(WindowPacket {
            index,
            header,
            payload_start: start + header_bytes as u32,
            payload_len: packet.len().saturating_sub(header_bytes) as u32,
            starts_keyframe,
            late,
        });
        if !late {
            layer.newest = Some((now, header.timestamp));
        }
        layer.first_at.get_or_insert(now);
        layer.packets += 1;
        layer.bytes += packet.len() as u64;
        layer.bytes_rate.add(now, packet.len() as u64);
        let video = codec.kind() == MediaKind::Video;
        let keyframe = video && starts_keyframe && layer.last_keyframe_timestamp != Some(header.timestamp);
        let mut waited = None;
        if keyframe {
            layer.last_keyframe_timestamp = Some(header.timestamp);
        }
        self.pause = begun_after.map_or(self.pause, |newest| succession::silence(now, newest));
        if keyframe {
            self.keyframes += 1;
            waited = self.requests.arrived(now);
        }
        Arrived::New { keyframe, waited }
    }

    /// Chooses the layer that viewers get: the one with the most bits, as long as it flows. Whether it is another one now.
    pub(super) fn choose_layer(&mut self, now: Instant) -> bool {
        if self.layers.len() < 2 || now < self.chosen_at + CHOICE_INTERVAL {
            return false;
        }
        self.chosen_at = now;
        let best = (0_u8..).zip(&self.layers).max_by_key(|(_, layer)| layer.bitrate_bps(now));
        let Some((best, _)) = best.filter(|(_, layer)| layer.bitrate_bps(now) > 0) else { return false };
        std::mem::replace(&mut self.target, best) != best
    }

    /// Takes out of the window what the ring has overwritten already: when far more came in one window than it is made for,
    /// the newest half second goes out and the rest counts as lost.
    pub(super) fn drop_overwritten(&mut self) {
        for layer in &mut self.layers {
            if let Some(ring) = &layer.ring {
                layer.window.retain(|packet| ring.get(packet.index).is_some());
            }
        }
    }

    /// Writes the headers of every class for the window. `send_time`: abs-send-time.
    pub(super) fn prepare(&mut self, send_time: u32) {
        for class in self.classes.iter_mut().filter(|class| class.legs > 0) {
            for (headers, layer) in class.headers.iter_mut().zip(&self.layers) {
                headers.clear();
                let Some(ring) = &layer.ring else { continue };
                for packet in &layer.window {
                    let bytes = ring.bytes(
                        packet.payload_start - packet.header.header_len() as u32,
                        packet.header.header_len() as u32,
                    );
                    headers.push(class.class.header(bytes, &packet.header, send_time));
                }
            }
        }
    }

    /// A packet came at `arrival`. Whether it is the first of its window.
    pub(super) fn open_window(&mut self, arrival: Instant) -> bool {
        let first = self.opened.is_none();
        self.opened.get_or_insert(arrival);
        first
    }

    /// Whether the packet that came last on `layer` is a frame's last one, as the viewers see it (RFC 3550 §5.1: the marker
    /// bit; all our video codecs use it so).
    pub(super) fn ends_frame(&self, layer: u8) -> bool {
        let newest = self.layers.get(usize::from(layer)).and_then(|layer| layer.window.last());
        self.is_video() && layer == self.target && newest.is_some_and(|packet| packet.header.marker)
    }

    /// Forgets the window.
    pub(super) fn clear_window(&mut self) {
        self.opened = None;
        self.layers.iter_mut().for_each(|layer| layer.window.clear());
    }

    /// Adds a leg of `class`; returns its place.
    pub(super) fn add_leg(&mut self, class: LegClass, leg: impl FnOnce(u16) -> Leg) -> usize {
        let equal = self.classes.iter().position(|known| known.class == class);
        // A class without legs is free for the taking.
        let place = equal.or_else(|| self.classes.iter().position(|known| known.legs == 0));
        let place = match place.and_then(|place| Some((place, self.classes.get_mut(place)?))) {
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
        };
        self.legs.push(leg(place as u16));
        self.legs.len() - 1
    }

    /// Removes the leg at `place`; the last one moves there. Returns the peer of the leg that moved, if one did.
    pub(super) fn remove_leg(&mut self, place: usize) -> Option<u32> {
        if place >= self.legs.len() {
            return None;
        }
        let leg = self.legs.swap_remove(place);
        if let Some(class) = self.classes.get_mut(usize::from(leg.class)) {
            class.legs = class.legs.saturating_sub(1);
        }
        self.legs.get(place).map(|moved| moved.peer)
    }
}

/// Takes the padding off. A packet of nothing but padding keeps one byte of it: its sequence number must reach the viewers,
/// or they would take it for lost.
fn trim(packet: &mut [u8], mut header: RtpHeader) -> Option<(&mut [u8], RtpHeader)> {
    let payload = header.payload();
    if header.padding_len == 0 {
        return Some((packet, header));
    }
    if payload.is_empty() {
        let packet = packet.get_mut(..payload.start + 1)?;
        *packet.last_mut()? = 1;
        header.padding_len = 1;
        return Some((packet, header));
    }
    let packet = packet.get_mut(..payload.end)?;
    *packet.first_mut()? &= !0x20;
    header.padding_len = 0;
    Some((packet, header))
}
