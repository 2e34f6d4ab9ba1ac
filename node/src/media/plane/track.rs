//! One track on this shard: its layers' rings, the window of packets that are not fanned out yet, and its legs.

mod allocation;
mod audience;
mod endings;
mod feed;
mod last_numbers;
mod layer;
mod legs;
mod parts;
mod points;
mod redundancy;
mod succession;

use std::ops::Range;
use std::time::{Duration, Instant};

use aforo_cluster::id::TrackId;
use smallvec::SmallVec;

use super::clock::SenderClock;
use super::departure::Company;
use crate::media::canonical::redundancy;
use crate::media::codec::{
    CodecKind, MediaKind, dimensions, picture_numbers, starts_keyframe, starts_unaided,
};
use crate::media::leg::Leg;
use crate::media::path::ShardId;
use crate::media::ring::{Ring, Stored};
use crate::media::rtp::RtpHeader;
use crate::media::selection::{LADDER_CAPACITY, Ladder};
use crate::media::spec::Layers;
use crate::media::subscription::Subscription;
use crate::media::template::{HeaderTemplate, LegClass};
pub(super) use audience::Audience;
pub(super) use last_numbers::LOOK_BACK_PACKETS;
pub(super) use layer::{Keyframe, Layer, WINDOW_PACKETS, WindowPacket};

/// Layers of one track at most: what a browser sends is 3; a mirror believes no larger number either.
pub(super) const LAYERS_MAX: usize = LADDER_CAPACITY;

/// A jump of indices beyond which it is a publisher that began anew. Half the sequence space: a receiver of SRTP would lose
/// count of the wraps if legs took part in it.
const NEW_NUMBERING: u64 = 1 << 15;

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
    /// Names of the layers; empty without simulcast, and on a mirror.
    pub(super) rids: Vec<String>,
    pub(super) layers: SmallVec<[Layer; 1]>,
    pub(super) legs: Vec<Leg>,
    pub(super) classes: Vec<Class>,
    /// How many legs play and want each layer.
    pub(super) audience: Audience,
    /// Shards that mirror the track, with what they want of it.
    pub(super) subscribers: SmallVec<[(ShardId, Subscription); 4]>,
    /// Of a mirror: what it has asked for.
    pub(super) subscription: Subscription,
    /// The layers in the order of their quality; empty before the second one's first packet. A mirror has it from the
    /// track's own shard.
    pub(super) ladder: Ladder,
    pub(super) measured_at: Instant,
    pub(super) chosen_at: Instant,
    /// A clock of the publisher before.
    pub(super) clock_before: Option<SenderClock>,
    /// Whether a layer has begun that was not measured yet.
    pub(super) has_news: bool,
    /// Until then no keyframe is asked for because of what was chosen.
    pub(super) settled_at: Instant,
    /// When the oldest packet of the window came; with one, it stands in the plane's list of departures.
    pub(super) opened: Option<Instant>,
    pub(super) keyframes: u64,
    /// See [`Self::take_recovered`].
    recovered: Range<u64>,
}

impl Track {
    pub(super) fn new(now: Instant, id: TrackId, codec: Option<CodecKind>) -> Self {
        Self {
            id,
            codec,
            source: Source::Absent,
            rids: Vec::new(),
            layers: SmallVec::from_iter([Layer::new(now)]),
            legs: Vec::new(),
            classes: Vec::new(),
            audience: Audience::default(),
            subscribers: SmallVec::new(),
            subscription: Subscription::ALL,
            ladder: Ladder::default(),
            measured_at: now,
            chosen_at: now,
            clock_before: None,
            has_news: false,
            settled_at: now,
            opened: None,
            keyframes: 0,
            recovered: 0..0,
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

    /// The layers that legs can begin with in this window.
    pub(super) fn starts(&self) -> Layers {
        let starts = self.layers.iter().zip(0_u8..).filter(|(layer, _)| layer.start().is_some());
        starts.fold(Layers::NONE, |all, (_, index)| all | Layers::of(index))
    }

    /// The layers that somebody plays or wants, here or on another shard.
    pub(super) fn watched(&self) -> Layers {
        self.subscribers.iter().fold(self.audience.layers(), |all, (_, wanted)| all | wanted.layers())
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

    /// As [`Self::arrive`], of a packet as it shall lie in the ring.
    fn take(&mut self, now: Instant, layer_index: u8, index: u64, packet: &mut [u8]) -> Arrived {
        let Some(codec) = self.codec else { return Arrived::Unusable };
        let Some((packet, header)) = RtpHeader::parse(packet).ok().and_then(|header| trim(packet, header))
        else {
            return Arrived::Unusable;
        };
        let Some(layer) = self.layer(now, layer_index) else { return Arrived::Unusable };
        layer.begin_anew_if_far(codec, index);
        let late = layer.is_late(index);
        let ring = layer.ring.get_or_insert_with(|| Ring::new(codec.kind()));
        let start = match ring.store(index, packet) {
            Stored::New(start) => start,
            Stored::Duplicate => return Arrived::Duplicate,
            Stored::TooOld | Stored::TooLarge => return Arrived::Unusable,
        };
        let header_bytes = header.header_len();
        let payload = packet.get(header.payload()).unwrap_or_default();
        let starts_keyframe = starts_keyframe(codec, payload)
            && (starts_unaided(codec, payload) || ring.ends_picture(index.wrapping_sub(1), header.timestamp));
        let flows = header.padding_len == 0;
        let begins_picture = !late && layer.newest.is_none_or(|(_, newest)| newest != header.timestamp);
        let position = layer.position(now, codec, index, (packet, &header), starts_keyframe);
        let redundancy = redundancy(&header, payload);
        layer.window.push(WindowPacket {
            index,
            header,
            payload_start: start + header_bytes as u32,
            payload_len: packet.len().saturating_sub(header_bytes) as u32,
            starts_keyframe,
            late,
            begins_picture,
            position,
            active: layer.active_targets(),
            picture: picture_numbers(codec, payload),
            redundancy,
        });
        layer.number_newest();
        let flowed = starts_keyframe && layer.flows(now);
        if !late {
            layer.flows_again(now, &header);
            layer.note_newest(now, codec, index, &header);
        }
        layer.first_at.get_or_insert(now);
        layer.clock_awaited_since.get_or_insert(now);
        layer.count(now, packet.len(), &header, redundancy);
        let keyframe = codec.kind() == MediaKind::Video
            && starts_keyframe
            && layer.note_keyframe(Keyframe { index, timestamp: header.timestamp, at: now });
        let mut waited = None;
        if keyframe {
            layer.keyframes += 1;
            waited = layer.requests.arrived(now);
            layer.requests.hearing.keyframe_came(now, header.timestamp, codec.clock_rate_hz(), flowed);
            if let Some(size) = dimensions(codec, payload).or_else(|| layer.reader.largest_size()) {
                (layer.width, layer.height) = size;
            }
        }
        layer.gone &= !flows;
        let begins = flows && std::mem::take(&mut layer.to_come);
        self.keyframes += u64::from(keyframe);
        if begins {
            self.layer_begins(now);
        }
        if flows && self.layers.len() > 1 {
            self.note_frame(layer_index, begins_picture);
        }
        self.read_allocation(layer_index, index, &header, packet);
        Arrived::New { keyframe, waited }
    }

    /// The packet that came last on `layer` is not for the window: legs get it from the ring. It was sent a while ago.
    pub(super) fn keep_in_ring(&mut self, layer: u8) {
        let Some(layer) = self.layers.get_mut(usize::from(layer)) else { return };
        if let Some(packet) = layer.window.pop() {
            layer.came_before(packet.header.header_len() as u64 + u64::from(packet.payload_len));
        }
    }

    /// A packet of `layer` came; whether it is the first of a frame.
    fn note_frame(&mut self, layer: u8, begins_frame: bool) {
        for (other, index) in self.layers.iter_mut().zip(0_u8..) {
            if index == layer {
                other.behind_frames = 0;
                self.has_news |= begins_frame && other.shows_again();
            } else if begins_frame {
                other.behind_frames = other.behind_frames.saturating_add(1);
            }
        }
    }

    /// Takes stock of the layers that flow. Whether the order or what flows has changed.
    pub(super) fn measure(&mut self, now: Instant) -> bool {
        (self.measured_at, self.has_news) = (now, false);
        let alone = self.layers.iter().filter(|layer| !layer.gone).count() == 1;
        let layers = self.layers.iter_mut().zip(0_u8..);
        let measured = layers.flat_map(|(layer, index)| layer.measure(now, index, alone));
        self.ladder.update(measured)
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

    /// Writes the headers of every class for the windows of the layers that legs play or may begin with: to whom nothing flows
    /// that is any layer that begins, whichever it waits for. `send_time`: abs-send-time.
    pub(super) fn prepare(&mut self, send_time: u32) {
        let audience = &self.audience;
        for (layer, index) in self.layers.iter_mut().zip(0_u8..) {
            let needed = audience.plays(index) || layer.can_begin();
            if let Some(points) = layer.points.as_mut().filter(|_| needed) {
                points.place(&layer.window);
            }
        }
        for class in self.classes.iter_mut().filter(|class| class.legs > 0) {
            for ((headers, layer), index) in class.headers.iter_mut().zip(&self.layers).zip(0_u8..) {
                headers.clear();
                let needed = audience.plays(index) || layer.can_begin();
                let Some(ring) = layer.ring.as_ref().filter(|_| needed) else { continue };
                for packet in &layer.window {
                    let bytes = ring.bytes(
                        packet.payload_start - packet.header.header_len() as u32,
                        packet.header.header_len() as u32,
                    );
                    headers.push(class.class.header_of_form(
                        bytes,
                        &packet.header,
                        packet.redundancy,
                        send_time,
                    ));
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
        self.is_video() && self.audience.plays(layer) && newest.is_some_and(|packet| packet.header.marker)
    }

    /// Forgets the window.
    pub(super) fn clear_window(&mut self) {
        self.opened = None;
        self.layers.iter_mut().for_each(|layer| layer.window.clear());
    }

    /// Of a mirror: a group of so many bytes and packets of `layer` is to be kept. Not while packets wait in its window.
    pub(super) fn make_room(&mut self, now: Instant, layer: u8, bytes: usize, packets: usize) {
        let Some(codec) = self.codec.filter(|codec| codec.kind() == MediaKind::Video) else { return };
        if let Some(layer) = self.layer(now, layer).filter(|layer| layer.window.is_empty()) {
            let grown_before = std::mem::take(&mut layer.has_room_of_before);
            let ring = layer.ring.get_or_insert_with(|| Ring::new(codec.kind()));
            if grown_before {
                ring.shrink();
            }
            ring.make_room(bytes, packets);
        }
    }

    /// While no packet waits in a window, rings may grow: those of layers whose publisher answers no requests, so that they
    /// keep the group that is shown.
    pub(super) fn grow_rings(&mut self, now: Instant) {
        self.layers
            .iter_mut()
            .filter(|layer| layer.window.is_empty())
            .for_each(|layer| layer.keep_group(now));
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
