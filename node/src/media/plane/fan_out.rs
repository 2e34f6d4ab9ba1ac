//! The hot path: every packet of a track's window, to every leg.
//!
//! The outer loop goes over legs and the inner over packets, so that a viewer's key is fetched once per window and its
//! datagrams lie side by side in the batch, where they form one GSO run.

use super::table::Table;
use super::track::{Class, Layer, Track, WindowPacket};
use super::transport::{Outgoing, Transport};
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
    pub(super) batch: &'a mut SendBatch,
    pub(super) transmit: &'a mut T,
    pub(super) counters: &'a mut Counters,
    pub(super) events: &'a mut std::collections::VecDeque<PlaneEvent>,
}

/// Sends the window of `track` to all its legs. [`Track::prepare`] has written the headers.
pub(super) fn fan_out<T: Transmit>(track: &mut Track, outlet: &mut Outlet<'_, T>) {
    let video = track.is_video();
    let clock_rate_hz = track.clock_rate_hz();
    let target = track.target;
    let (layers, classes) = (&track.layers, &track.classes);
    let start = StartPoint::in_window(layers, target);
    let before = (outlet.counters.rtp_sent_packets, outlet.counters.rtp_sent_bytes);
    for place in 0..track.legs.len() {
        if let Some(ahead) = track.legs.get(place + PREFETCH_LEGS) {
            outlet.transports.prefetch(ahead.peer);
        }
        let Some(leg) = track.legs.get_mut(place) else { break };
        let Some(transport) = outlet.transports.get_mut(leg.peer) else { continue };
        let layer = layers.get(usize::from(leg.mapping().layer()));
        let cut_off = layer.is_some_and(|layer| leg.mapping().first_source() < layer.numbering_start);
        if !leg.is_live() || leg.mapping().layer() != target || cut_off {
            match &start {
                Some(start) => {
                    leg.play_from(target, start.index, start.timestamp, clock_rate_hz);
                    tell(transport, video, outlet.events);
                }
                None if cut_off => continue,
                None => {}
            }
        }
        if leg.is_live() {
            send_window(leg, layers, classes, transport, outlet.batch, outlet.transmit, outlet.counters);
        }
    }
    if let Some(codec) = track.codec {
        let counters = &mut *outlet.counters;
        let packets = counters.rtp_sent_packets - before.0;
        counters.sent.add(codec, packets, counters.rtp_sent_bytes - before.1);
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

#[inline]
fn send_window<T: Transmit>(
    leg: &mut Leg,
    layers: &[Layer],
    classes: &[Class],
    transport: &mut Transport,
    batch: &mut SendBatch,
    transmit: &mut T,
    counters: &mut Counters,
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
        match transport.send(&outgoing, batch, transmit) {
            Some(bytes) => {
                leg.sent(index, timestamp, packet.payload_len);
                counters.rtp_sent_packets += 1;
                counters.rtp_sent_bytes += bytes as u64;
            }
            None => counters.seal_failed += 1,
        }
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
