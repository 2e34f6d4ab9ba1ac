//! Legs that began with the group of pictures that their layer's ring had ([`begin`]): they are sent it in steps, faster than it
//! came, and then go on with the others.
//!
//! A leg that catches up is no part of any fan-out. The list names it by its peer and SSRC, so that legs may move and tracks
//! end meanwhile. Live packets go first in each flush, and a step is bounded for all legs together, so that a thousand who
//! join delay nobody who watches.

mod begin;
mod narrow;

use std::time::{Duration, Instant};

use aforo_cluster::id::TrackId;
use smallvec::SmallVec;

use super::track::Layer;
use super::transport::{Outgoing, Rewrite, SendTime, Transport};
use super::{Plane, Role};
use crate::media::codec::{CodecKind, Point, picture_numbers};
use crate::media::counters::Counters;
use crate::media::fast_start::{
    Allowance, GROUP_AGE_MAX, GROUP_AGE_MAX_UNHEARD, OVERTIME, STEP, Squeeze, time_on_path, units,
};
use crate::media::leg::Leg;
use crate::media::numbering::Place;
use crate::media::outbox::{SendBatch, Transmit};
use crate::media::path::PeerKey;
use crate::media::ring::Ring;
use crate::media::rtp::RtpHeader;
use crate::media::template::LegClass;

/// Bytes that a path whose rate is known is sent at once beyond it: two packets.
const PATH_BURST_BYTES: u64 = 2_400;

/// A leg that catches up.
#[derive(Debug, Clone, Copy)]
struct CatchUp {
    peer: PeerKey,
    ssrc: u32,
    squeeze: Squeeze,
    /// When its first packet was due, and what timestamp that has, squeezed.
    begun: (Instant, u32),
    /// The next packet, in the layer's numbers.
    next: u64,
    /// Packets in one step at most.
    burst_packets: u32,
    /// Packets of the group that were not sent yet.
    left: u64,
    /// Whether nothing else would come soon.
    unheard: bool,
    /// When it goes on with the others whatever it lacks, counted from the first packet.
    limit: Duration,
    /// The group's bytes, and those that were sent, of it and of what came meanwhile.
    group_bytes: u64,
    sent_bytes: u64,
    /// Bits per second that its path is known to carry, if that matters, as was last looked at.
    budget_bps: Option<u64>,
    /// Bits per second that it is sent at most, and when its path has carried what was sent so far.
    path_bps: Option<u64>,
    carried_at: Instant,
}

impl CatchUp {
    /// Goes on at what its path is known to carry `now`, as far as it is still done in the longest time that is worth it: what
    /// does not fit a path at all is not for the pace to mend.
    fn follow_path(&mut self, now: Instant, budget_bps: Option<u64>, layer: &Layer) {
        if self.budget_bps == budget_bps {
            return;
        }
        let layer_bps = layer.whole_bitrate_bps(now);
        let since = now.saturating_duration_since(self.begun.0);
        let longest = if self.unheard { GROUP_AGE_MAX_UNHEARD } else { GROUP_AGE_MAX };
        let left = longest.saturating_sub(since).max(STEP);
        let came = (u128::from(layer_bps) * since.as_micros() / 8_000_000) as u64;
        let behind_bytes = (self.group_bytes + came).saturating_sub(self.sent_bytes);
        let least_bps = layer_bps + behind_bytes.saturating_mul(8_000) / left.as_millis() as u64;
        self.budget_bps = budget_bps;
        self.path_bps = budget_bps.map(|bps| bps.max(least_bps));
        let takes = self.path_bps.and_then(|bps| time_on_path(behind_bytes, layer_bps, bps));
        let limit = |takes: Duration| (since + takes).min(longest) + OVERTIME;
        self.limit = takes.map_or(self.limit, |takes| self.limit.max(limit(takes)));
    }

    /// Whether the path has carried what was sent so far, but for a small burst. What a layer sends is measured too low while it is
    /// young, so the pace may be too slow for it: at the end it is not kept to, as a gap for want of it would be worse than a burst.
    fn has_path(&self, now: Instant) -> bool {
        let in_time = now + OVERTIME / 2 < self.begun.0 + self.limit;
        let path_bps = self.path_bps.filter(|_| in_time);
        path_bps.is_none_or(|bps| self.carried_at <= now + on_path(PATH_BURST_BYTES, bps).max(STEP))
    }

    /// A packet of so many bytes was sent.
    fn sent(&mut self, now: Instant, bytes: u64) {
        self.left = self.left.saturating_sub(1);
        self.sent_bytes += bytes;
        if let Some(bps) = self.path_bps {
            self.carried_at = self.carried_at.max(now) + on_path(bytes, bps);
        }
    }
}

/// How long a path takes for so many bytes.
fn on_path(bytes: u64, bps: u64) -> Duration {
    Duration::from_micros(bytes.saturating_mul(8_000_000) / bps.max(1))
}

/// What became of a leg's step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// More is there to be sent later.
    Goes,
    /// Everything that came is sent, and its timestamps are still ahead of the others'.
    Waits,
    /// It goes on with the others, or is no more.
    Over,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct CatchUps {
    legs: Vec<CatchUp>,
    /// Layers with legs that are to begin as soon as there is room.
    waiting: SmallVec<[(TrackId, u8); 4]>,
    /// Whose turn is next, so that those at the end of the list get theirs when a step is not enough for all.
    turn: usize,
    due: Option<Instant>,
    stepped_at: Option<Instant>,
}

impl CatchUps {
    /// When the next step is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due
    }

    /// Packets have come.
    pub(super) fn more_came(&mut self, now: Instant) {
        if !self.legs.is_empty() {
            let next = self.stepped_at.map_or(now, |at| at + STEP);
            self.due = Some(self.due.map_or(next, |due| due.min(next)));
        }
    }

    fn add(&mut self, now: Instant, leg: CatchUp) {
        // It may have been given up in the middle of another group just now.
        self.legs.retain(|known| (known.peer, known.ssrc) != (leg.peer, leg.ssrc));
        self.legs.push(leg);
        self.more_came(now);
    }

    /// Whether there is room for nobody more: among those who could wait for a keyframe, or who could not.
    fn is_full(&self, unheard: bool) -> bool {
        let allowance = Allowance::of(unheard);
        self.legs.len() >= allowance.viewers || self.backlog_packets() >= allowance.backlog_packets
    }

    /// Packets in one step for all of them.
    fn step_packets(&self) -> usize {
        Allowance::of(self.legs.iter().any(|leg| leg.unheard)).step_packets
    }

    /// Packets of groups that were not sent yet.
    fn backlog_packets(&self) -> u64 {
        self.legs.iter().map(|leg| leg.left).sum()
    }
}

impl Plane {
    /// Sends the next step, if it is due, to all who catch up.
    pub(super) fn send_catch_ups(
        &mut self,
        now: Instant,
        send_time: SendTime,
        batch: &mut SendBatch,
        transmit: &mut impl Transmit,
    ) {
        if self.catch_ups.due.is_none_or(|due| due > now) {
            return;
        }
        let mut catch_ups = std::mem::take(&mut self.catch_ups);
        catch_ups.stepped_at = Some(now);
        let (mut left, mut goes_on) = (catch_ups.step_packets(), false);
        for _ in 0..catch_ups.legs.len() {
            if left == 0 {
                goes_on = true;
                break;
            }
            catch_ups.turn = catch_ups.turn.checked_rem(catch_ups.legs.len()).unwrap_or(0);
            let Some(leg) = catch_ups.legs.get_mut(catch_ups.turn) else { break };
            match self.catch_up(now, leg, &mut left, send_time, batch, transmit) {
                Some(Step::Over) | None => {
                    catch_ups.legs.swap_remove(catch_ups.turn);
                    continue;
                }
                Some(Step::Goes) => goes_on = true,
                Some(Step::Waits) => {}
            }
            catch_ups.turn += 1;
        }
        // Who waits is woken by the next packets.
        catch_ups.due = goes_on.then(|| now + STEP);
        self.catch_ups = catch_ups;
        self.begin_those_who_wait(now);
    }

    /// Sends one leg what is due of its group, at most `left` packets; `None` if there is no such leg any more.
    fn catch_up(
        &mut self,
        now: Instant,
        catch_up: &mut CatchUp,
        left: &mut usize,
        send_time: SendTime,
        batch: &mut SendBatch,
        transmit: &mut impl Transmit,
    ) -> Option<Step> {
        let transport = self.transports.get_mut(catch_up.peer.index);
        let transport = transport.filter(|known| known.key == catch_up.peer)?;
        let Role::Viewer(viewer) = self.roles.get(catch_up.peer.index)? else { return None };
        let place = viewer.leg(catch_up.ssrc)?;
        let track = self.tracks.get_mut(place.track)?;
        let (codec, clock_rate_hz) = (track.codec?, track.clock_rate_hz());
        let leg = track.legs.get_mut(place.leg).filter(|leg| leg.is_catching_up())?;
        let layer = track.layers.get(usize::from(leg.mapping().layer()))?;
        if layer.has_ended(leg.mapping().first_source()) {
            // Its publisher began anew: it waits for a keyframe, as all others do.
            return None;
        }
        let class = &track.classes.get(usize::from(leg.class))?.class;
        let (ring, counters) = (layer.ring.as_ref()?, &mut self.counters);
        catch_up.follow_path(now, leg.selection.budget_bps(), layer);
        let mut feed = Feed { catch_up, leg, class, layer, ring, transport, counters, codec, send_time };
        let since = now.saturating_duration_since(feed.catch_up.begun.0);
        let all_sent = feed.send_due((now, units(since, clock_rate_hz)), left, batch, transmit)?;
        // Where there is no room for all, nobody would ever be done.
        let overdue = since >= catch_up.limit;
        if !all_sent && !overdue {
            return Some(Step::Goes);
        }
        let (_, newest) = layer.newest?;
        // Of a layer that has fallen silent nothing may ever come that ends it, and other layers can be played.
        let silent = !layer.is_active(now);
        if !silent && !overdue && !catch_up.squeeze.ends_before(newest) {
            return Some(Step::Waits);
        }
        if catch_up.squeeze.keeps_time() && !overdue {
            // What is in the window and was sent must not be sent again with the others.
            if layer.window.iter().any(|packet| packet.index < catch_up.next) {
                return Some(Step::Waits);
            }
            leg.goes_on_live();
            return Some(Step::Over);
        }
        let live = layer.first_live(catch_up.next);
        leg.catch_up_ends(live, layer.place(Point::WHOLE, live)?.number, catch_up.squeeze.ahead(newest));
        Some(Step::Over)
    }
}

/// One leg, and what its packets are made of.
struct Feed<'a> {
    catch_up: &'a mut CatchUp,
    leg: &'a mut Leg,
    class: &'a LegClass,
    layer: &'a Layer,
    ring: &'a Ring,
    transport: &'a mut Transport,
    counters: &'a mut Counters,
    codec: CodecKind,
    send_time: SendTime,
}

impl Feed<'_> {
    /// Sends what is due now, so many units of timestamp after the first packet. Whether that is all there is.
    fn send_due(
        &mut self,
        (now, passed): (Instant, u32),
        left: &mut usize,
        batch: &mut SendBatch,
        transmit: &mut impl Transmit,
    ) -> Option<bool> {
        let highest = self.ring.highest()?;
        let mut burst = self.catch_up.burst_packets as usize;
        while self.catch_up.next <= highest {
            // What is missing is a gap in the viewer's numbers too, and is asked for. What is left out is none.
            let place = self.layer.place(Point::WHOLE, self.catch_up.next).filter(|place| place.kept);
            if let Some((place, packet)) = place.zip(self.ring.get(self.catch_up.next)) {
                let header = RtpHeader::parse(packet).ok()?;
                let room = burst > 0 && *left > 0 && self.catch_up.has_path(now);
                if !room || !self.is_due(header.timestamp, passed) {
                    return Some(false);
                }
                (burst, *left) = (burst - 1, *left - 1);
                self.send(&place, packet, &header, batch, transmit)?;
                self.catch_up.sent(now, packet.len() as u64);
            }
            self.catch_up.next += 1;
        }
        Some(true)
    }

    /// Beyond the group, what has come is due.
    fn is_due(&self, timestamp: u32, passed: u32) -> bool {
        let CatchUp { squeeze, begun, .. } = &*self.catch_up;
        let after_first = squeeze.timestamp(timestamp).wrapping_sub(begun.1);
        squeeze.ends_before(timestamp) || after_first.cast_signed() <= passed.cast_signed()
    }

    fn send(
        &mut self,
        place: &Place,
        packet: &[u8],
        header: &RtpHeader,
        batch: &mut SendBatch,
        transmit: &mut impl Transmit,
    ) -> Option<()> {
        let mapping = *self.leg.mapping();
        let index = mapping.out_index(self.catch_up.next, place.number)?;
        let timestamp = self.leg.timestamp(index, &mapping, header.timestamp);
        let payload = packet.get(header.header_len()..)?;
        let outgoing = Outgoing {
            header: &self.class.header(packet, header, self.send_time.fixed_point),
            ssrc: self.leg.ssrc,
            index,
            timestamp,
            payload,
            at_micros: self.send_time.micros,
            rewrite: Rewrite::of(&mapping, place, picture_numbers(self.codec, payload)),
        };
        match self.transport.send(&outgoing, batch, transmit) {
            Some(bytes) => {
                self.leg.sent(index, timestamp, payload.len() as u32);
                self.counters.rtp_sent_packets += 1;
                self.counters.rtp_sent_bytes += bytes as u64;
                self.counters.sent.add(self.codec, 1, bytes as u64);
            }
            None => self.counters.seal_failed += 1,
        }
        Some(())
    }
}
