//! Answers to NACK: from the ring that all legs share, sealed anew for the one that asked.

use std::time::{Duration, Instant};

use super::resend_budget::{PICTURE_BITS, Place, ResendBudget, SOUND_BITS, resend_share_bps};
use super::track::Track;
use super::transport::{Outgoing, Rewrite, SendTime};
use super::viewer::Resend;
use super::{Plane, Role};
use crate::media::canonical::{PayloadForm, redundancy};
use crate::media::codec::picture_numbers;
use crate::media::outbox::{SendBatch, Transmit};
use crate::media::path::PeerKey;
use crate::media::rtp::RtpHeader;
use crate::media::selection::Pick;
use crate::media::template::HeaderTemplate;

/// Bytes of the original sequence number before the payload of a retransmission (RFC 4588 §4).
const OSN_BYTES: usize = 2;

/// How fast a viewer is sent pictures again.
#[derive(Clone, Copy)]
struct Pace {
    bps: u64,
    /// At which its path's queue is taken to drain meanwhile; `None` where nothing says what it carries.
    drains_bps: Option<u64>,
    /// Whether its path carries less than its layer.
    overrun: bool,
}

/// What goes out again.
struct Prepared {
    header: HeaderTemplate,
    ssrc: u32,
    index: u64,
    timestamp: u32,
    payload_bytes: usize,
    /// But for the payload, in which it is done.
    rewrite: Rewrite,
}

/// How often more of what waits is sent.
const STEP: Duration = Duration::from_millis(5);

/// A viewer is sent lost pictures again at this share of what its path carries, in percent, or of its layer where nothing says
/// what it carries. That is more than a path bears whose rate is known, and no picture goes on before all of it is there: what is missing of
/// one frame comes within a frame's time. For how long it lasts is the budget's business.
pub(super) const PACE_PERCENT: u64 = 250;

/// What a layer is taken to have at least for that: repairs of a small one need not wait.
const LAYER_MIN_BPS: u64 = 1_000_000;

/// The same where the path carries less than the layer, in percent: what is repaired there is lost of something new. What is
/// more does not wait, as there is never room for it.
const OVERRUN_PERCENT: u64 = 20;

impl Plane {
    /// At which pace the packet's viewer is sent pictures again; `None` for sound, which never waits.
    fn resend_pace(&self, now: Instant, resend: &Resend) -> Option<Pace> {
        let Role::Viewer(viewer) = self.roles.get(resend.peer.index)? else { return None };
        let place = viewer.leg(resend.ssrc)?;
        let track = self.tracks.get(place.track).filter(|track| track.is_video())?;
        let played = track.legs.get(place.leg)?.mapping().pick();
        // Of a scalable layer it is sent a part; without a choice the ladder may be old.
        let part = track.ladder.rung(played).filter(|_| track.ladder.rungs().len() > 1);
        let sent_bps = part.map(|rung| rung.bitrate_bps).or_else(|| {
            let layer = track.layers.get(usize::from(played.layer));
            layer.map(|layer| layer.bitrate_bps(now))
        });
        let sent_bps = sent_bps.unwrap_or_default();
        let limit_bps = viewer.estimate.limit_bps();
        let less = limit_bps.is_some_and(|limit_bps| limit_bps < sent_bps);
        let overrun = less && viewer.estimate.distress.is_heavy();
        let carried_bps = limit_bps.unwrap_or_else(|| sent_bps.max(LAYER_MIN_BPS));
        let percent = if overrun { OVERRUN_PERCENT } else { self.resend_pace_percent };
        let drains_bps = limit_bps.map(|limit_bps| resend_share_bps(Some(limit_bps)).unsigned_abs());
        Some(Pace { bps: carried_bps * percent / 100, drains_bps, overrun })
    }

    /// Sends more of what waits for its viewers' pace, if it is time.
    pub(super) fn send_waiting_resends(
        &mut self,
        now: Instant,
        send_time: SendTime,
        batch: &mut SendBatch,
        transmit: &mut impl Transmit,
    ) {
        if self.resends_due.is_none_or(|due| due > now) {
            return;
        }
        let mut waiting = std::mem::take(&mut self.resends_waiting);
        waiting.retain(|peer| {
            self.is_known(*peer) && self.send_what_waits(now, *peer, send_time, batch, transmit)
        });
        self.resends_due = (!waiting.is_empty()).then(|| now + STEP);
        self.resends_waiting = waiting;
    }

    /// Returns whether some has to wait on.
    fn send_what_waits(
        &mut self,
        now: Instant,
        peer: PeerKey,
        send_time: SendTime,
        batch: &mut SendBatch,
        transmit: &mut impl Transmit,
    ) -> bool {
        while let Some(wanted) = self.resend_budget(peer).and_then(|budget| budget.next()) {
            if !self.send_at_pace(now, &Resend::of(peer, wanted), true, send_time, batch, transmit) {
                return true;
            }
            if let Some(budget) = self.resend_budget(peer) {
                budget.pass();
            }
        }
        false
    }

    /// Returns when the first NACK came that was answered.
    pub(super) fn send_resends(
        &mut self,
        now: Instant,
        send_time: SendTime,
        batch: &mut SendBatch,
        transmit: &mut impl Transmit,
    ) -> Option<Instant> {
        let sent_before = self.counters.rtx_sent_packets;
        let mut resends = std::mem::take(&mut self.resends);
        for resend in resends.drain(..) {
            if !self.send_at_pace(now, &resend, false, send_time, batch, transmit) {
                self.send_later(now, &resend);
            }
        }
        self.resends = resends;
        self.resends_since.take().filter(|_| self.counters.rtx_sent_packets > sent_before)
    }

    /// Sends a packet again unless it has to wait for its viewer's pace; `has_waited`: it is the first of those that do.
    /// Returns whether it is done with.
    fn send_at_pace(
        &mut self,
        now: Instant,
        resend: &Resend,
        has_waited: bool,
        send_time: SendTime,
        batch: &mut SendBatch,
        transmit: &mut impl Transmit,
    ) -> bool {
        if self.is_left_behind(resend) {
            self.refuse_resend(resend);
            return true;
        }
        let (now_micros, now_ms) = (self.since_epoch_micros(now), self.since_epoch_ms(now));
        let pace = self.resend_pace(now, resend);
        let waits = |budget: &mut ResendBudget| {
            budget.is_spent(now_micros) || (!has_waited && budget.next().is_some())
        };
        if let Some(pace) = pace
            && self.resend_budget(resend.peer).is_some_and(waits)
        {
            if pace.overrun {
                self.refuse_resend(resend);
            }
            return pace.overrun;
        }
        let Some(bytes) = self.resend(resend, send_time, batch, transmit) else {
            self.counters.rtx_gone += 1;
            self.give_back(resend);
            return true;
        };
        self.counters.rtx_sent_packets += 1;
        if let Some(budget) = self.resend_budget(resend.peer) {
            // Who asks before it can have arrived asks for the first loss, however long this took.
            budget.note(resend.wanted(), now_ms);
            if let Some(pace) = pace {
                budget.spend(now_micros, bytes, pace.bps, pace.drains_bps);
            }
        }
        true
    }

    /// Keeps a retransmission for a later step, if there is room.
    fn send_later(&mut self, now: Instant, resend: &Resend) {
        let place =
            self.resend_budget(resend.peer).map_or(Place::None, |budget| budget.wait(resend.wanted()));
        match place {
            Place::First => self.resends_waiting.push(resend.peer),
            Place::Behind => {}
            Place::None => return self.refuse_resend(resend),
        }
        self.resends_due.get_or_insert(now + STEP);
    }

    /// What a retransmission counts as, in bits.
    pub(super) fn resend_bits(&self, resend: &Resend) -> i64 {
        let place = match self.roles.get(resend.peer.index) {
            Some(Role::Viewer(viewer)) => viewer.leg(resend.ssrc),
            _ => None,
        };
        let track = place.and_then(|place| self.tracks.get(place.track));
        if track.is_some_and(Track::is_video) { PICTURE_BITS } else { SOUND_BITS }
    }

    /// A packet is not sent again after all.
    pub(super) fn refuse_resend(&mut self, resend: &Resend) {
        self.counters.rtx_refused += 1;
        self.give_back(resend);
    }

    /// What it was to take of what may be sent again is left for others.
    fn give_back(&mut self, resend: &Resend) {
        let bits = self.resend_bits(resend);
        self.resend_budget(resend.peer).into_iter().for_each(|budget| budget.give_back(bits));
    }

    fn resend_budget(&mut self, peer: PeerKey) -> Option<&mut ResendBudget> {
        self.viewer(peer)?.resends.as_deref_mut()
    }

    /// Whether the packet is of a layer that the viewer leaves because its path carries far less, or has left for a lower one
    /// because it carries less: repairing it would take the room from the layer that fits, and the keyframe that is shown in
    /// its place is on its way. Not so with parts of one scalable layer that need each other.
    pub(super) fn is_left_behind(&self, resend: &Resend) -> bool {
        let Some(Role::Viewer(viewer)) = self.roles.get(resend.peer.index) else { return false };
        let Some(place) = viewer.leg(resend.ssrc) else { return false };
        let Some(track) = self.tracks.get(place.track) else { return false };
        let Some(leg) = track.legs.get(place.leg) else { return false };
        if track.is_video() && leg.selection.holds_picture() {
            return true;
        }
        let find = |pick: Pick, number| track.layers.get(usize::from(pick.layer))?.find(pick.point, number);
        let pick = leg.find(resend.sequence, find).map(|(_, mapping, _)| mapping.pick());
        let leaves = |pick: &Pick| pick.layer != leg.wanted.layer || leg.is_paused();
        let Some(pick) = pick.filter(leaves) else { return false };
        let played = leg.mapping().pick();
        let is_over = pick.layer != played.layer && track.ladder.is_better(pick, played);
        is_over && leg.selection.is_held_down(&track.ladder, leg.chosen)
            || track.ladder.rung(pick).is_some_and(|rung| leg.selection.is_overrun_by(rung))
    }

    /// Sends a packet again. Returns the datagram's bytes; `None` if it is not there any more.
    pub(super) fn resend(
        &mut self,
        resend: &Resend,
        send_time: SendTime,
        batch: &mut SendBatch,
        transmit: &mut impl Transmit,
    ) -> Option<usize> {
        self.send_once_more(resend, send_time, batch, transmit, |track, leg, time, scratch| {
            prepare(track, leg, resend.sequence, time, scratch)
        })
    }

    /// Sends a packet of nothing but padding, for a probe of a viewer whose picture is held back: what it was sent last is not
    /// there any more. Returns the datagram's bytes; `None` without RTX.
    pub(super) fn send_filler(
        &mut self,
        leg: &Resend,
        send_time: SendTime,
        batch: &mut SendBatch,
        transmit: &mut impl Transmit,
    ) -> Option<usize> {
        self.send_once_more(leg, send_time, batch, transmit, prepare_filler)
    }

    fn send_once_more(
        &mut self,
        resend: &Resend,
        send_time: SendTime,
        batch: &mut SendBatch,
        transmit: &mut impl Transmit,
        prepare: impl FnOnce(&mut Track, usize, u32, &mut [u8]) -> Option<Prepared>,
    ) -> Option<usize> {
        let place = resend.peer.index;
        let transport = self.transports.get_mut(place).filter(|known| known.key == resend.peer)?;
        let Role::Viewer(viewer) = self.roles.get(place)? else { return None };
        let leg = viewer.leg(resend.ssrc)?;
        let track = self.tracks.get_mut(leg.track)?;
        let codec = track.codec?;
        let prepared = prepare(track, leg.leg, send_time.fixed_point, self.scratch.as_mut_slice())?;
        let outgoing = Outgoing {
            header: &prepared.header,
            ssrc: prepared.ssrc,
            index: prepared.index,
            timestamp: prepared.timestamp,
            payload: self.scratch.get(..prepared.payload_bytes)?,
            rewrite: prepared.rewrite,
            at_micros: send_time.micros,
        };
        let Some(bytes) = transport.send(&outgoing, batch, transmit) else {
            self.counters.seal_failed += 1;
            return None;
        };
        self.counters.rtp_sent_packets += 1;
        self.counters.rtp_sent_bytes += bytes as u64;
        self.counters.sent.add(codec, 1, bytes as u64);
        Some(bytes)
    }
}

/// Puts padding into `scratch` (RFC 3550 §5.1), as a retransmission that repairs nothing.
fn prepare_filler(track: &mut Track, place: usize, send_time: u32, scratch: &mut [u8]) -> Option<Prepared> {
    let leg = track.legs.get_mut(place)?;
    let ssrc = leg.rtx_ssrc?;
    let ring = track.layers.get(usize::from(leg.wanted.layer))?.ring.as_ref()?;
    let packet = ring.get(ring.highest()?)?;
    let header = RtpHeader::parse(packet).ok()?;
    let class = &track.classes.get(usize::from(leg.class))?.class;
    let mut template = class.rtx_header(packet, &header, send_time)?;
    template.announce_padding();
    let payload = scratch.get_mut(..usize::from(u8::MAX))?;
    payload.fill(0);
    *payload.last_mut()? = u8::MAX;
    Some(Prepared {
        header: template,
        ssrc,
        index: leg.take_rtx_index(),
        timestamp: leg.mapping().timestamp(header.timestamp),
        payload_bytes: payload.len(),
        rewrite: Rewrite::default(),
    })
}

/// Puts the payload of what the leg at `place` calls `sequence` into `scratch`. With RTX, as a retransmission of its own
/// number; without, exactly as it went out the first time, which is the one case where a nonce may come again.
fn prepare(
    track: &mut Track,
    place: usize,
    sequence: u16,
    send_time: u32,
    scratch: &mut [u8],
) -> Option<Prepared> {
    let codec = track.codec?;
    let leg = track.legs.get_mut(place)?;
    let layers = &track.layers;
    let find = |pick: Pick, number| layers.get(usize::from(pick.layer))?.find(pick.point, number);
    let (out, mapping, source) = leg.find(sequence, find)?;
    let layer = layers.get(usize::from(mapping.layer()))?;
    let packet = layer.ring.as_ref()?.get(source)?;
    let place = layer.place(mapping.pick().point, source)?;
    let header = RtpHeader::parse(packet).ok()?;
    let payload = packet.get(header.header_len()..)?;
    let whole = Rewrite::of(&mapping, &place, picture_numbers(codec, payload));
    let rewrite = Rewrite { picture: None, ..whole };
    let class = &track.classes.get(usize::from(leg.class))?.class;
    let timestamp = leg.timestamp(out, &mapping, header.timestamp);
    let redundancy = redundancy(&header, packet.get(header.payload())?);
    let skipped = redundancy.map_or(0, |redundancy| usize::from(redundancy.bytes));
    match (leg.rtx_ssrc, class.rtx_header(packet, &header, send_time)) {
        (Some(ssrc), Some(rtx)) => {
            // Its payload type stands for the plain codec (RFC 4588 §8.6), and one frame is what is missing.
            let payload = payload.get(skipped..)?;
            let (osn, rest) = scratch.split_first_chunk_mut::<OSN_BYTES>()?;
            *osn = (out as u16).to_be_bytes();
            copy_as_sent(&whole, payload, rest)?;
            let payload_bytes = OSN_BYTES + payload.len();
            Some(Prepared {
                header: rtx,
                ssrc,
                index: leg.take_rtx_index(),
                timestamp,
                payload_bytes,
                rewrite,
            })
        }
        _ if class.is_verbatim() => {
            let unknown = source < leg.classed_from;
            if unknown && PayloadForm::of(&header) == PayloadForm::Added {
                // With its redundancy or without, the one that it was not would be other bytes under the same nonce.
                return None;
            }
            let header = class.header_of_form(packet, &header, redundancy, send_time);
            let (start, _) = header.sent_part(0, 0);
            let payload = payload.get(start as usize..)?;
            copy_as_sent(&whole, payload, scratch)?;
            Some(Prepared {
                header,
                ssrc: leg.ssrc,
                index: out,
                timestamp,
                payload_bytes: payload.len(),
                rewrite,
            })
        }
        _ => None,
    }
}

/// Puts `payload` at the start of `out`, with the picture numbers that it went out with.
fn copy_as_sent(rewrite: &Rewrite, payload: &[u8], out: &mut [u8]) -> Option<()> {
    let out = out.get_mut(..payload.len())?;
    out.copy_from_slice(payload);
    if let Some((numbers, shift)) = rewrite.picture {
        numbers.rewrite(shift, out);
    }
    Some(())
}
