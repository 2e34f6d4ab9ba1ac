//! The hot path: every packet of the windows that leave, to every leg.
//!
//! The outer loop goes over legs and the inner over packets, so that a viewer's key is fetched once per window and its
//! datagrams lie side by side in the batch, where they form one GSO run. Tracks with the same viewers go together: a
//! viewer's sound is then the last and shorter datagram of the run that carries its picture.

use std::time::{Duration, Instant};

use aforo_cluster::id::TrackId;
use slab::Slab;
use smallvec::SmallVec;

use super::forwarded::Forwarded;
use super::table::Table;
use super::track::{Class, Layer, Track, WindowPacket};
use super::transport::{Outgoing, Transport};
use crate::media::codec::{CodecKind, PictureShift, picture_numbers};
use crate::media::counters::Counters;
use crate::media::leg::{Leg, Start};
use crate::media::outbox::{SendBatch, Transmit};
use crate::media::rtp::RtpHeader;
use crate::media::selection::Ladder;
use crate::media::spec::{Layers, PlaneEvent};

/// How many legs ahead a viewer's key and path are fetched: sealing one packet takes longer than the third-level cache, and
/// two legs are time enough for main memory.
const PREFETCH_LEGS: usize = 2;

/// How far back the last picture numbers that a leg was sent are looked for: padding has none.
const LOOK_BACK_PACKETS: u64 = 32;

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
    /// Now, in µs on the plane's clock; wraps.
    pub(super) at_micros: u32,
}

/// One track of a fan-out: what is the same for all its legs, and what was sent.
struct Passage {
    place: usize,
    codec: Option<CodecKind>,
    video: bool,
    clock_rate_hz: u32,
    pause: Duration,
    /// The layers that legs can begin with in this window.
    starts: Layers,
    opened: Option<Instant>,
    packets: u64,
    bytes: u64,
}

/// The parts of a track that sending to a leg needs beside the leg.
struct Material<'a> {
    id: TrackId,
    layers: &'a [Layer],
    classes: &'a [Class],
    ladder: &'a Ladder,
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
        let layer = material.layers.get(usize::from(leg.mapping().layer()));
        let cut_off = layer.is_some_and(|layer| leg.mapping().first_source() < layer.numbering_start);
        if !leg.is_live() || leg.mapping().layer() != leg.wanted || leg.is_paused() || cut_off {
            if let Some(start) = self.start_for(leg, cut_off, &material) {
                track.audience.leave(leg);
                self.change(leg, start, cut_off, &material, outlet);
                track.audience.enter(leg);
            } else if cut_off || leg.is_paused() {
                return;
            }
        }
        let Some(transport) = outlet.transports.get_mut(leg.peer) else { return };
        if leg.is_live() {
            self.send_window(leg, &material, transport, &mut outlet.exit, |_| true);
        }
    }

    /// Where a leg that shall play another layer begins with one, if it can in this window. One to which nothing flows
    /// takes a lower layer than it shall have rather than wait.
    #[cold]
    fn start_for(&self, leg: &Leg, cut_off: bool, material: &Material<'_>) -> Option<Start> {
        let waits = !leg.is_live() || cut_off;
        let layer = if self.starts.contains(leg.wanted) {
            leg.wanted
        } else if (waits || leg.is_paused()) && !self.starts.is_empty() {
            let rungs = material.ladder.rungs();
            let wanted = rungs.iter().position(|rung| rung.layer == leg.wanted);
            let lower = rungs.get(..wanted.unwrap_or(0)).unwrap_or_default();
            let lower = lower.iter().rev().map(|rung| rung.layer);
            // While nothing is known of the layers, any will do.
            let any = self.starts.iter().filter(|_| wanted.is_none());
            lower.chain(any).find(|layer| self.starts.contains(*layer))?
        } else {
            return None;
        };
        let known = material.layers.get(usize::from(layer))?;
        let (packet, before) = (known.start()?, material.layers.get(usize::from(leg.mapping().layer())));
        let timestamp = packet.header.timestamp;
        let timestamp_before = before
            .filter(|_| !waits)
            .and_then(|before| known.timestamp_on_clock_of(before, timestamp, self.clock_rate_hz));
        let timestamp_before = timestamp_before.unwrap_or(timestamp);
        Some(Start { layer, index: packet.index, timestamp, timestamp_before })
    }

    /// Lets a leg go on with another layer.
    #[cold]
    fn change<T: Transmit>(
        &mut self,
        leg: &mut Leg,
        start: Start,
        cut_off: bool,
        material: &Material<'_>,
        outlet: &mut Outlet<'_, T>,
    ) {
        let Some(transport) = outlet.transports.get_mut(leg.peer) else { return };
        let before = leg.is_live().then(|| *leg.mapping());
        if before.is_some() && !cut_off && !leg.is_paused() {
            // What the old layer shows before the new one's keyframe still goes out; numbers follow on it.
            let is_before = |packet: &WindowPacket| {
                start.timestamp_before.wrapping_sub(packet.header.timestamp) as i32 > 0
            };
            self.send_window(leg, material, transport, &mut outlet.exit, is_before);
        }
        let shift = self.codec.and_then(|codec| material.picture_shift(codec, leg, &start));
        leg.play_from(start, self.clock_rate_hz, self.pause);
        if let Some(shift) = shift {
            leg.shift_pictures(shift);
        }
        tell(transport, self.video, outlet.events);
        if self.video && before.is_none_or(|before| before.layer() != start.layer) {
            let (peer, track, layer) = (transport.key, material.id, start.layer);
            outlet.events.push_back(PlaneEvent::LayerPlayed { peer, track, layer });
        }
    }

    /// Sends those packets of the leg's layer that `belongs` says yes to.
    #[inline]
    fn send_window<T: Transmit>(
        &mut self,
        leg: &mut Leg,
        material: &Material<'_>,
        transport: &mut Transport,
        exit: &mut Exit<'_, T>,
        belongs: impl Fn(&WindowPacket) -> bool,
    ) {
        let layer = usize::from(leg.mapping().layer());
        let class = material.classes.get(usize::from(leg.class));
        let headers = class.and_then(|class| class.headers.get(layer));
        let (Some(layer), Some(headers)) = (material.layers.get(layer), headers) else { return };
        let Some(ring) = &layer.ring else { return };
        let mapping = *leg.mapping();
        let rewrites = !mapping.picture().is_none();
        for (packet, header) in layer.window.iter().zip(headers).filter(|(packet, _)| belongs(packet)) {
            let Some(index) = mapping.out_index(packet.index) else { continue };
            let timestamp = mapping.timestamp(packet.header.timestamp);
            let payload = ring.bytes(packet.payload_start, packet.payload_len);
            let numbers = packet.picture.filter(|_| rewrites);
            let picture = numbers.map(|numbers| (numbers, mapping.picture()));
            let (ssrc, at_micros) = (leg.ssrc, exit.at_micros);
            let outgoing = Outgoing { header, ssrc, index, timestamp, payload, at_micros, picture };
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

impl Material<'_> {
    /// How picture numbers of the layer that a leg begins follow on the last ones that it was sent.
    fn picture_shift(&self, codec: CodecKind, leg: &Leg, start: &Start) -> Option<PictureShift> {
        let mapping = leg.mapping();
        let next = self.layers.get(usize::from(start.layer))?.start()?.picture?;
        let ring = self.layers.get(usize::from(mapping.layer()))?.ring.as_ref()?;
        let newest = mapping.source(leg.highest_out()).filter(|_| leg.is_live())?;
        let sent = (0..LOOK_BACK_PACKETS).find_map(|back| {
            let packet = ring.get(newest.checked_sub(back)?)?;
            let payload = packet.get(RtpHeader::parse(packet).ok()?.header_len()..)?;
            picture_numbers(codec, payload)
        })?;
        Some(PictureShift::following(sent.shifted(mapping.picture()), next))
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
