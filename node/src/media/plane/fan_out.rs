//! The hot path: every packet of the windows that leave, to every leg.
//!
//! The outer loop goes over legs and the inner over packets, so that a viewer's key is fetched once per window and its
//! datagrams lie side by side in the batch, where they form one GSO run. Tracks with the same viewers go together: a
//! viewer's sound is then the last and shorter datagram of the run that carries its picture.

use std::time::{Duration, Instant};

use slab::Slab;
use smallvec::SmallVec;

use super::forwarded::Forwarded;
use super::table::Table;
use super::track::{Class, Layer, Track, WindowPacket};
use super::transport::{Outgoing, Transport};
use crate::media::codec::CodecKind;
use crate::media::counters::Counters;
use crate::media::leg::Leg;
use crate::media::outbox::{SendBatch, Transmit};
use crate::media::spec::PlaneEvent;

/// How many legs ahead a viewer's key and path are fetched: sealing one packet takes longer than the third-level cache, and
/// two legs are time enough for main memory.
const PREFETCH_LEGS: usize = 2;

/// Where a fan-out goes.
pub(super) struct Outlet<'a, T> {
    pub(super) transports: &'a mut Table<Transport>,
    pub(super) events: &'a mut std::collections::VecDeque<PlaneEvent>,
    pub(super) forwarded: &'a mut Forwarded,
    pub(super) exit: Exit<'a, T>,
}

/// Where sealed datagrams go, and what counts them.
pub(super) struct Exit<'a, T> {
    pub(super) batch: &'a mut SendBatch,
    pub(super) transmit: &'a mut T,
    pub(super) counters: &'a mut Counters,
}

/// One track of a fan-out: what is the same for all its legs, and what was sent.
struct Passage {
    place: usize,
    codec: Option<CodecKind>,
    video: bool,
    clock_rate_hz: u32,
    pause: Duration,
    target: u8,
    start: Option<StartPoint>,
    opened: Option<Instant>,
    packets: u64,
    bytes: u64,
}

/// Sends the windows of the tracks at `places` to all their legs; [`Track::prepare`] has written the headers. The tracks
/// have the same viewers, in the same order as far as they came together; where they did not, a viewer gets a run more.
pub(super) fn fan_out<T: Transmit>(
    tracks: &mut Slab<Track>,
    places: impl Iterator<Item = usize>,
    outlet: &mut Outlet<'_, T>,
) {
    let passage = |place| Some(Passage::of(place, tracks.get(place)?));
    let mut passages: SmallVec<[Passage; 4]> = places.filter_map(passage).collect();
    let legs = passages.iter().filter_map(|passage| Some(tracks.get(passage.place)?.legs.len())).max();
    for position in 0..legs.unwrap_or(0) {
        for passage in &mut passages {
            if let Some(track) = tracks.get_mut(passage.place) {
                passage.send(track, position, outlet);
            }
        }
    }
    for passage in passages {
        outlet.exit.counters.rtp_sent_packets += passage.packets;
        outlet.exit.counters.rtp_sent_bytes += passage.bytes;
        let Some(codec) = passage.codec else { continue };
        outlet.exit.counters.sent.add(codec, passage.packets, passage.bytes);
        if let Some(opened) = passage.opened.filter(|_| passage.packets > 0) {
            outlet.forwarded.note(codec.kind(), opened);
        }
    }
}

impl Passage {
    fn of(place: usize, track: &Track) -> Self {
        Self {
            place,
            codec: track.codec,
            video: track.is_video(),
            clock_rate_hz: track.clock_rate_hz(),
            pause: track.pause,
            target: track.target,
            start: StartPoint::in_window(&track.layers, track.target),
            opened: track.opened,
            packets: 0,
            bytes: 0,
        }
    }

    /// Sends the window to the leg at `position`, if there is one.
    #[inline]
    fn send<T: Transmit>(&mut self, track: &mut Track, position: usize, outlet: &mut Outlet<'_, T>) {
        if let Some(ahead) = track.legs.get(position + PREFETCH_LEGS) {
            outlet.transports.prefetch(ahead.peer);
        }
        let (layers, classes) = (&track.layers, &track.classes);
        let Some(leg) = track.legs.get_mut(position) else { return };
        let Some(transport) = outlet.transports.get_mut(leg.peer) else { return };
        let layer = layers.get(usize::from(leg.mapping().layer()));
        let cut_off = layer.is_some_and(|layer| leg.mapping().first_source() < layer.numbering_start);
        if !leg.is_live() || leg.mapping().layer() != self.target || cut_off {
            match &self.start {
                Some(start) => {
                    let StartPoint { index, timestamp } = *start;
                    leg.play_from(self.target, index, timestamp, self.clock_rate_hz, self.pause);
                    tell(transport, self.video, outlet.events);
                }
                None if cut_off => return,
                None => {}
            }
        }
        if leg.is_live() {
            self.send_window(leg, layers, classes, transport, &mut outlet.exit);
        }
    }

    #[inline]
    fn send_window<T: Transmit>(
        &mut self,
        leg: &mut Leg,
        layers: &[Layer],
        classes: &[Class],
        transport: &mut Transport,
        exit: &mut Exit<'_, T>,
    ) {
        let layer = usize::from(leg.mapping().layer());
        let class = classes.get(usize::from(leg.class));
        let headers = class.and_then(|class| class.headers.get(layer));
        let (Some(layer), Some(headers)) = (layers.get(layer), headers) else { return };
        let Some(ring) = &layer.ring else { return };
        let mapping = *leg.mapping();
        for (packet, header) in layer.window.iter().zip(headers) {
            let Some(index) = mapping.out_index(packet.index) else { continue };
            let timestamp = mapping.timestamp(packet.header.timestamp);
            let payload = ring.bytes(packet.payload_start, packet.payload_len);
            let outgoing = Outgoing { header, ssrc: leg.ssrc, index, timestamp, payload };
            match transport.send(&outgoing, exit.batch, exit.transmit) {
                Some(bytes) => {
                    leg.sent(index, timestamp, packet.payload_len);
                    self.packets += 1;
                    self.bytes += bytes as u64;
                }
                None => exit.counters.seal_failed += 1,
            }
        }
    }
}

/// Where legs can begin in this window.
struct StartPoint {
    index: u64,
    timestamp: u32,
}

impl StartPoint {
    fn in_window(layers: &[Layer], target: u8) -> Option<Self> {
        let layer = layers.get(usize::from(target))?;
        let begins = |packet: &&WindowPacket| packet.starts_keyframe && packet.index >= layer.numbering_start;
        let packet = layer.window.iter().find(begins)?;
        Some(Self { index: packet.index, timestamp: packet.header.timestamp })
    }
}

#[cold]
fn tell(transport: &mut Transport, video: bool, events: &mut std::collections::VecDeque<PlaneEvent>) {
    if !std::mem::replace(&mut transport.media_told, true) {
        events.push_back(PlaneEvent::FirstMedia(transport.key));
    }
    if video && !std::mem::replace(&mut transport.keyframe_told, true) {
        events.push_back(PlaneEvent::FirstKeyframe(transport.key));
    }
}
