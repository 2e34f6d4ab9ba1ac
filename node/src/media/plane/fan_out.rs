//! The hot path: every packet of the windows that leave, to every leg.
//!
//! The outer loop goes over legs and the inner over packets, so that a viewer's key is fetched once per window and its
//! datagrams lie side by side in the batch, where they form one GSO run. Tracks with the same viewers go together: a
//! viewer's sound is then the last and shorter datagram of the run that carries its picture.

pub(super) mod change;

use std::time::Instant;

use slab::Slab;
use smallvec::SmallVec;

use super::forwarded::Forwarded;
use super::table::Table;
use super::track::{Track, WindowPacket};
use super::transport::{Outgoing, Rewrite, Transport};
use crate::media::codec::{CodecKind, Point};
use crate::media::counters::Counters;
use crate::media::leg::{Leg, Mapping};
use crate::media::numbering::Place;
use crate::media::outbox::{SendBatch, Transmit};
use crate::media::path::PeerKey;
use crate::media::ring::Ring;
use crate::media::spec::{Layers, PlaneEvent};
use crate::media::template::HeaderTemplate;
use change::Material;

/// How many legs ahead a viewer's key and path are fetched: sealing one packet takes longer than the third-level cache, and
/// two legs are time enough for main memory.
const PREFETCH_LEGS: usize = 2;

/// Where a fan-out goes.
pub(super) struct Outlet<'a, T> {
    pub(super) transports: &'a mut Table<Transport>,
    pub(super) events: &'a mut std::collections::VecDeque<PlaneEvent>,
    /// Viewers whose picture is held back from now on.
    pub(super) held: &'a mut Vec<PeerKey>,
    pub(super) forwarded: &'a mut Forwarded,
    pub(super) exit: Exit<'a, T>,
}

/// Where sealed datagrams go, and what counts them.
pub(super) struct Exit<'a, T> {
    pub(super) batch: &'a mut SendBatch,
    pub(super) transmit: &'a mut T,
    pub(super) counters: &'a mut Counters,
    /// Now, in µs on the plane's clock; wraps.
    pub(super) at_micros: u32,
}

/// One track of a fan-out: what is the same for all its legs, and what was sent.
struct Passage {
    place: usize,
    codec: Option<CodecKind>,
    video: bool,
    clock_rate_hz: u32,
    /// The layers that legs can begin with in this window.
    starts: Layers,
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
            starts: track.starts(),
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
        let material =
            Material { id: track.id, layers: &track.layers, classes: &track.classes, ladder: &track.ladder };
        let Some(leg) = track.legs.get_mut(position) else { return };
        let cut_off = material.is_cut_off(leg);
        if !leg.is_live() || leg.mapping().pick() != leg.wanted || leg.is_paused() || cut_off {
            track.audience.leave(leg);
            self.change(leg, cut_off, &material, outlet);
            track.audience.enter(leg);
            if leg.is_paused() || (cut_off && material.is_cut_off(leg)) {
                return;
            }
        }
        let Some(transport) = outlet.transports.get_mut(leg.peer) else { return };
        if leg.is_live() {
            self.send_window(leg, &material, transport, &mut outlet.exit, |_| true);
        }
    }

    /// Sends those packets of what the leg plays that `belongs` says yes to.
    #[inline]
    fn send_window<T: Transmit>(
        &mut self,
        leg: &mut Leg,
        material: &Material<'_>,
        transport: &mut Transport,
        exit: &mut Exit<'_, T>,
        belongs: impl Fn(&WindowPacket) -> bool,
    ) {
        if leg.is_catching_up() {
            return;
        }
        let mapping = *leg.mapping();
        let class = material.classes.get(usize::from(leg.class));
        let headers = class.and_then(|class| class.headers.get(usize::from(mapping.layer())));
        let (Some(layer), Some(headers)) = (material.layers.get(usize::from(mapping.layer())), headers)
        else {
            return;
        };
        let Some(ring) = &layer.ring else { return };
        let mut passing = Passing { leg, mapping, ring, transport, exit, packets: 0, bytes: 0 };
        let packets = layer.window.iter().zip(headers);
        let places = layer.places(mapping.pick().point);
        if places.is_none() && mapping.pick().point == Point::WHOLE {
            for (packet, header) in packets.filter(|(packet, _)| belongs(packet)) {
                let place = Place { number: packet.index, kept: true, ..Place::default() };
                passing.send(packet, header, &place);
            }
        } else {
            for ((packet, header), place) in packets.zip(places.unwrap_or_default()) {
                if place.kept && belongs(packet) {
                    passing.send(packet, header, place);
                }
            }
        }
        let Passing { packets, bytes, .. } = passing;
        self.packets += packets;
        self.bytes += bytes;
    }
}

/// One window on its way to one leg.
struct Passing<'a, 'b, T> {
    leg: &'a mut Leg,
    mapping: Mapping,
    ring: &'a Ring,
    transport: &'a mut Transport,
    exit: &'a mut Exit<'b, T>,
    packets: u64,
    bytes: u64,
}

impl<T: Transmit> Passing<'_, '_, T> {
    #[inline(always)]
    fn send(&mut self, packet: &WindowPacket, header: &HeaderTemplate, place: &Place) {
        let Some(index) = self.mapping.out_index(packet.index, place.number) else { return };
        let timestamp = self.mapping.timestamp(packet.header.timestamp);
        let (start, len) = header.sent_part(packet.payload_start, packet.payload_len);
        let payload = self.ring.bytes(start, len);
        let rewrite = Rewrite::of(&self.mapping, place, packet.picture);
        let (ssrc, at_micros) = (self.leg.ssrc, self.exit.at_micros);
        let outgoing = Outgoing { header, ssrc, index, timestamp, payload, at_micros, rewrite };
        match self.transport.send(&outgoing, self.exit.batch, self.exit.transmit) {
            Some(bytes) => {
                self.leg.sent(index, timestamp, len);
                self.packets += 1;
                self.bytes += bytes as u64;
            }
            None => self.exit.counters.seal_failed += 1,
        }
    }
}
