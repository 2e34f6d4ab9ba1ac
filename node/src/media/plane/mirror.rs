//! A track on a shard where it does not enter: its packets come in one batch per flush and shard, its clock by message.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use super::Plane;
use super::clock::SenderClock;
use super::told_loss::ToldLoss;
use super::track::{Arrived, Layer, Source, Track};
use super::viewer::LegPlace;
use crate::media::batch::{BatchPacket, GroupOf, PacketBatch};
use crate::media::codec::CodecKind;
use crate::media::fast_start::{Terms, pace};
use crate::media::gather;
use crate::media::leg::Leg;
use crate::media::path::ShardId;
use crate::media::spec::{Layers, ShardMessage};
use crate::media::subscription::Subscription;
use smallvec::SmallVec;

/// Where RTP headers have their timestamp (RFC 3550 §5.1).
const RTP_TIMESTAMP: Range<usize> = 4..8;

/// Puts the window of `track` into batches for the shards that mirror it: one batch for all that want the same.
pub(super) fn export(track: &Track, messages: &mut VecDeque<(ShardId, ShardMessage)>) {
    let mut made: SmallVec<[(Subscription, Option<Arc<PacketBatch>>); 4]> = SmallVec::new();
    for (shard, wanted) in &track.subscribers {
        let known = made.iter().find(|(others, _)| others == wanted).map(|(_, batch)| batch.clone());
        let batch = known.unwrap_or_else(|| {
            let batch = gather_batch(track, *wanted).map(Arc::new);
            made.push((*wanted, batch.clone()));
            batch
        });
        if let Some(batch) = batch {
            messages.push_back((*shard, ShardMessage::Packets(batch)));
        }
    }
}

/// What is wanted of the window; `None` if nothing is in it.
fn gather_batch(track: &Track, wanted: Subscription) -> Option<PacketBatch> {
    let layers = || track.layers.iter().zip(0_u8..).filter(|(_, index)| wanted.layers().contains(*index));
    let count = layers().map(|(layer, _)| layer.window.len()).sum();
    let size = |layer: &Layer| -> usize {
        layer.window.iter().map(|packet| packet.header.header_len() + packet.payload_len as usize).sum()
    };
    let bytes = layers().map(|(layer, _)| size(layer)).sum();
    let arrival = track.opened.filter(|_| count > 0)?;
    let mut batch = PacketBatch {
        track: track.id,
        arrival,
        group: None,
        points: wanted,
        packets: Vec::with_capacity(count),
        bytes: Vec::with_capacity(bytes),
    };
    for (layer, index) in layers() {
        let Some(ring) = &layer.ring else { continue };
        for packet in &layer.window {
            let left_out = !layer.is_in(wanted.points(index), packet);
            let part = |whole| if left_out { <[u8]>::get(whole, RTP_TIMESTAMP) } else { Some(whole) };
            let Some(whole) = ring.get(packet.index).and_then(part) else { continue };
            let start = batch.bytes.len() as u32;
            batch.bytes.extend_from_slice(whole);
            batch.packets.push(BatchPacket {
                layer: index,
                index: packet.index,
                late: packet.late,
                left_out,
                active: packet.active,
                start,
                len: whole.len() as u16,
            });
        }
    }
    Some(batch)
}

/// Whether a viewer of `layer` that joined now would begin with the group in its ring.
pub(super) fn begins_with_group(now: Instant, track: &Track, layer: u8) -> bool {
    let group = track.layers.get(usize::from(layer)).and_then(|layer| track.group(now, layer));
    let terms = Terms { unheard: track.is_unheard(now, layer), ..Terms::default() };
    track.is_video() && group.is_some_and(|(group, _)| pace(&group, &terms).is_some())
}

/// What the ring of `layer` has of the group that is shown now.
pub(super) fn group_batch(now: Instant, track: &Track, layer: u8) -> Option<PacketBatch> {
    let known = track.layers.get(usize::from(layer)).filter(|_| track.is_video())?;
    let (group, keyframe) = track.group(now, known)?;
    let ring = known.ring.as_ref()?;
    let mut batch = PacketBatch {
        track: track.id,
        arrival: keyframe.at,
        group: Some(GroupOf { deaf: track.is_unheard(now, layer) }),
        points: Subscription::ALL,
        packets: Vec::with_capacity(group.packets as usize),
        bytes: Vec::with_capacity(group.bytes as usize),
    };
    // What is sent now: who begins with the keyframe shall be sent that of it.
    let active = known.active_targets();
    for (index, whole) in
        (keyframe.index..=ring.highest()?).filter_map(|index| Some((index, ring.get(index)?)))
    {
        let (start, len) = (batch.bytes.len() as u32, whole.len() as u16);
        batch.bytes.extend_from_slice(whole);
        batch.packets.push(BatchPacket { layer, index, late: false, left_out: false, active, start, len });
    }
    Some(batch)
}

/// Tells `shard` of all clocks that are known.
pub(super) fn export_clocks(track: &Track, shard: ShardId, messages: &mut VecDeque<(ShardId, ShardMessage)>) {
    for (layer, index) in track.layers.iter().zip(0_u8..) {
        if let Some(clock) = layer.clock {
            let newest = layer.highest().unwrap_or(0);
            messages.push_back((shard, ShardMessage::Clock { track: track.id, layer: index, clock, newest }));
        }
    }
}

impl Plane {
    /// A message of another shard's plane.
    pub fn receive_shard(&mut self, now: Instant, message: ShardMessage) {
        match message {
            ShardMessage::Subscribe { track, from, wanted } => self.subscribe(now, track, from, wanted),
            ShardMessage::Unsubscribe { track, from } => self.unsubscribe(track, from),
            ShardMessage::RequestKeyframe { track, layer } => {
                let Some(place) = self.places.get(&track).copied() else { return };
                let best = self.tracks.get(place).map(Track::best_layer);
                if let Some(layer) = layer.or(best) {
                    self.want_keyframe(now, place, layer);
                }
            }
            ShardMessage::Layers { track, ladder } => {
                let place = self.places.get(&track).copied();
                let mirror = |place: &usize| self.tracks.get(*place).is_some_and(is_mirror);
                if let Some(place) = place.filter(mirror) {
                    self.set_ladder(now, place, ladder);
                }
            }
            ShardMessage::BeganAnew { track, first } => {
                let place = self.places.get(&track).copied();
                let track = place.and_then(|place| self.tracks.get_mut(place));
                if let Some(track) = track.filter(|track| is_mirror(track)) {
                    track.mirror_anew(now, &first);
                }
            }
            ShardMessage::Packets(batch) => self.receive_batch(now, &batch),
            ShardMessage::Clock { track, layer, clock, newest } => {
                let place = self.places.get(&track).copied();
                let track =
                    place.and_then(|place| self.tracks.get_mut(place)).filter(|track| is_mirror(track));
                let layer = track.and_then(|track| track.layer(now, layer));
                // Packets may be quicker than messages: what is said of another numbering is of no use.
                if let Some(layer) = layer.filter(|layer| !layer.is_of_other_numbering(newest)) {
                    layer.clock = Some(clock);
                }
            }
        }
    }

    /// Another publisher sends the track at `place`: shards that mirror it get all of its layers until they know which ones
    /// there are.
    pub(super) fn tell_of_new_publisher(&mut self, place: usize) {
        let Some(track) = self.tracks.get_mut(place) else { return };
        let first: Vec<u64> = track.layers.iter().map(|layer| layer.numbering_start).collect();
        for (shard, wanted) in &mut track.subscribers {
            *wanted = Subscription::ALL;
            let message = ShardMessage::BeganAnew { track: track.id, first: first.clone() };
            self.shard_messages.push_back((*shard, message));
        }
        if track.ladder.rungs().len() > 1 {
            self.tell_layers(place);
        }
    }

    fn receive_batch(&mut self, now: Instant, batch: &PacketBatch) {
        // Packets that were on their way when the last viewer left are of no use.
        let Some(place) = self.places.get(&batch.track).copied() else { return };
        let Some(track) = self.tracks.get_mut(place).filter(|track| is_mirror(track)) else { return };
        if batch.group.is_none() {
            track.note_feed(now, batch);
        } else if let Some(layer) = batch.packets.first().map(|packet| packet.layer) {
            track.make_room(now, layer, batch.bytes.len(), batch.packets.len());
        }
        for packet in &batch.packets {
            let start = packet.start as usize;
            let bytes = batch.bytes.get(start..start + usize::from(packet.len));
            let room = bytes.and_then(|bytes| Some((bytes, self.scratch.get_mut(..bytes.len())?)));
            let Some((bytes, room)) = room else { continue };
            let layer = track.layer(now, packet.layer);
            let takes = |layer: &mut Layer| layer.mirrors(packet.index, packet.late);
            let Some(layer) = layer.and_then(|layer| takes(layer).then_some(layer)) else { continue };
            layer.is_told(packet.active);
            if packet.left_out {
                track.leave_out(now, packet, bytes);
                continue;
            }
            room.copy_from_slice(bytes);
            match track.arrive(now, packet.layer, packet.index, room) {
                Arrived::New { .. } => {
                    self.counters.shard_received_packets += 1;
                    if batch.group.is_some() {
                        track.keep_in_ring(packet.layer);
                    }
                }
                Arrived::Duplicate => self.counters.rtp_duplicate += 1,
                Arrived::Unusable => self.counters.rtp_too_old += 1,
            }
        }
        if let Some(group) = batch.group {
            return self.begin_with_group(now, place, batch, group);
        }
        let has_any = batch.packets.iter().any(|packet| !packet.left_out);
        if has_any && track.open_window(batch.arrival) {
            // What was gathered where it came in has waited already, and leaves at once.
            self.departures.open(
                place,
                batch.arrival.min(now),
                gather::window(self.sent_rate.per_second(now)),
            );
        }
    }

    /// The ring of a track that is mirrored has a group of pictures now: its viewers begin with it.
    fn begin_with_group(&mut self, now: Instant, place: usize, batch: &PacketBatch, group: GroupOf) {
        let Some(layer) = batch.packets.first().map(|packet| packet.layer) else { return };
        let Some(track) = self.tracks.get_mut(place) else { return };
        let Some(known) = track.layer(now, layer) else { return };
        if let Some(keyframe) = &mut known.newest_keyframe {
            keyframe.at = batch.arrival.min(now);
            known.requests.hearing.came_at(keyframe.at);
        }
        if group.deaf {
            known.requests.hearing.believe_deaf();
        }
        // While nothing is known of the layers, any will do.
        let any = track.ladder.rungs().is_empty();
        let concerned = |leg: &Leg| (any && !leg.is_live()) || leg.wanted.layer == layer;
        let concerned = (0..).zip(&track.legs).filter(|(_, leg)| concerned(leg));
        let concerned: Vec<(usize, u32, u32)> =
            concerned.map(|(leg, known)| (leg, known.peer, known.ssrc)).collect();
        let mut asked = false;
        for (leg, peer, ssrc) in concerned {
            let Some(peer) = self.transports.get(peer).map(|transport| transport.key) else { continue };
            let leg = LegPlace { track: place, leg, ssrc, told: ToldLoss::default() };
            let is_live = |leg: LegPlace| {
                self.tracks.get(leg.track).and_then(|track| track.legs.get(leg.leg)).is_some_and(Leg::is_live)
            };
            if is_live(leg) {
                self.go_down_from_ring(now, peer, leg);
            } else if !self.begin_from_ring(now, peer, leg, layer) {
                // The other shard asks now; this is for what is to be done if that is of no use.
                self.want_keyframe(now, place, layer);
                asked = true;
            }
        }
        let known = self.tracks.get_mut(place).and_then(|track| track.layer(now, layer)).filter(|_| asked);
        known.into_iter().for_each(|known| known.requests.asked_elsewhere(now));
    }

    /// What a publisher said of a layer's clocks.
    pub(super) fn set_clock(&mut self, now: Instant, place: usize, layer: u8, clock: SenderClock) {
        let Some(track) = self.tracks.get_mut(place) else { return };
        let id = track.id;
        let Some(known) = track.layer(now, layer) else { return };
        known.clock = Some(clock);
        let newest = known.highest().unwrap_or(0);
        for (shard, _) in &track.subscribers {
            self.shard_messages.push_back((*shard, ShardMessage::Clock { track: id, layer, clock, newest }));
        }
    }
}

impl Track {
    /// Learns which points a batch has of each layer.
    fn note_feed(&mut self, now: Instant, batch: &PacketBatch) {
        let mut seen = Layers::NONE;
        for packet in batch.packets.iter().filter(|packet| !packet.late) {
            if !seen.contains(packet.layer)
                && let Some(layer) = self.layer(now, packet.layer)
            {
                layer.is_fed(batch.points.points(packet.layer), packet.index);
                seen = seen | Layers::of(packet.layer);
            }
        }
    }

    /// A packet stayed where it came in.
    fn leave_out(&mut self, now: Instant, packet: &BatchPacket, timestamp: &[u8]) {
        let closes_up = self.codec == Some(CodecKind::Vp8);
        let timestamp = timestamp.first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        if let Some((timestamp, layer)) = timestamp.zip(self.layer(now, packet.layer)) {
            layer.leave_out(now, packet.index, timestamp, closes_up);
        }
    }
}

fn is_mirror(track: &Track) -> bool {
    matches!(track.source, Source::Shard(_))
}
