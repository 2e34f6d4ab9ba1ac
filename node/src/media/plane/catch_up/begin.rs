//! How a leg begins with what a ring has: at once when its viewer joins, or as soon as there is room for it.

use std::time::{Duration, Instant};

use aforo_cluster::id::TrackId;

use super::super::Plane;
use super::super::fan_out::change::{HELD_MAX, Material, tell};
use super::super::told_loss::ToldLoss;
use super::super::track::{Keyframe, Layer, Source, Track};
use super::super::viewer::LegPlace;
use super::CatchUp;
use crate::media::codec::Point;
use crate::media::fast_start::{Group, Pace, Squeeze, Terms, pace, time, units};
use crate::media::leg::{Leg, Start};
use crate::media::path::PeerKey;
use crate::media::selection::{Cause, Direction, Pick, Switch};
use crate::media::spec::PlaneEvent;

/// The least time that a group's bytes are spread over to tell what its layer sends: its keyframe is most of a short one.
const MEAN_MIN: Duration = Duration::from_secs(1);

/// A group that a leg can begin with, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Offer {
    pub(super) group: Group,
    pub(super) pace: Pace,
    pub(super) keyframe: Keyframe,
    pub(super) squeeze: Squeeze,
    pub(super) terms: Terms,
}

impl Track {
    /// The group of the newest keyframe of `layer`, and where it begins, if the ring has all of it.
    pub(in super::super) fn group(&self, now: Instant, layer: &Layer) -> Option<(Group, Keyframe)> {
        let keyframe = layer.newest_keyframe.filter(|keyframe| keyframe.index >= layer.numbering_start)?;
        let (_, newest) = layer.newest.filter(|_| layer.is_active(now) && self.source != Source::Absent)?;
        let (packets, bytes) = layer.whole_since(keyframe.index)?;
        let span = newest.wrapping_sub(keyframe.timestamp).cast_signed().max(0).cast_unsigned();
        let (age, span) = (now.saturating_duration_since(keyframe.at), time(span, self.clock_rate_hz()));
        // A mirror that has just been sent the group has measured nothing yet.
        let mean_bps = bytes.saturating_mul(8_000) / age.max(MEAN_MIN).as_millis() as u64;
        let layer_bps = layer.whole_bitrate_bps(now).max(mean_bps);
        Some((Group { age, span, packets, bytes, layer_bps }, keyframe))
    }

    /// Whether what `leg` plays is of a publisher before.
    pub(super) fn is_cut_off(&self, leg: &Leg) -> bool {
        let played = self.layers.get(usize::from(leg.mapping().layer()));
        leg.is_live() && played.is_some_and(|layer| layer.has_ended(leg.mapping().first_source()))
    }

    /// What a leg can begin `layer` with on these terms.
    fn offer(&self, now: Instant, layer: u8, terms: Terms) -> Option<Offer> {
        let (group, keyframe) = self.group(now, self.layers.get(usize::from(layer))?)?;
        let pace = pace(&group, &terms)?;
        let after_keyframe = units(group.span + pace.lasts, self.clock_rate_hz());
        let until = keyframe.timestamp.wrapping_add(after_keyframe);
        Some(Offer { group, pace, keyframe, squeeze: Squeeze { until, factor: pace.factor }, terms })
    }

    /// Whether nothing comes of asking for a keyframe of `layer`: of one that was not asked for yet, the others tell.
    pub(in super::super) fn is_unheard(&self, now: Instant, layer: u8) -> bool {
        let Some(layer) = self.layers.get(usize::from(layer)) else { return false };
        let others_tell =
            || !layer.requests.hearing.has_answered() && self.layers.iter().any(|other| other.is_deaf(now));
        layer.is_unheard(now) || others_tell()
    }

    /// Where `leg` goes on with the group of `offer`: its keyframe is filmed now, as the viewer sees it.
    fn start_in_ring(&self, now: Instant, layer: u8, offer: &Offer, leg: &Leg) -> Option<Start> {
        let Keyframe { index, timestamp, .. } = offer.keyframe;
        let known = self.layers.get(usize::from(layer))?;
        let timestamp = offer.squeeze.timestamp(timestamp);
        let mut start = Start {
            pick: Pick::whole(layer),
            index,
            number: known.place(Point::WHOLE, index)?.number,
            timestamp,
            timestamp_before: timestamp,
            // Nothing was sent meanwhile, and the layer went on.
            pause: if leg.is_paused() { HELD_MAX } else { Duration::ZERO },
        };
        let before = self.layers.get(usize::from(leg.mapping().layer()));
        if let Some(before) = before.filter(|_| leg.is_live()) {
            let clock_rate_hz = self.clock_rate_hz();
            // The clocks of two publishers have nothing to do with each other.
            let one_publisher = Some(before).filter(|_| !self.is_cut_off(leg));
            let shared = one_publisher
                .and_then(|before| known.timestamp_on_clock_of(before, timestamp, clock_rate_hz));
            let by_arrival = || {
                let newest = before.newest_beside(leg.mapping().first_source())?;
                Some(newest.timestamp_after(newest.pause(now), clock_rate_hz))
            };
            let a_frame_later = || leg.a_frame_later(clock_rate_hz);
            start.timestamp_before = shared.or_else(by_arrival).unwrap_or_else(a_frame_later);
        }
        Some(start)
    }
}

impl Plane {
    /// Lets a leg that waits for its first packet begin with what the ring of `layer` has. Whether it does.
    pub(in super::super) fn begin_from_ring(
        &mut self,
        now: Instant,
        peer: PeerKey,
        leg: LegPlace,
        layer: u8,
    ) -> bool {
        let waits = |leg: &Leg| !leg.is_live() && !leg.selection.holds_picture();
        let waits = |track: &Track| track.legs.get(leg.leg).is_some_and(waits);
        let offer = self.offer(now, leg, layer).filter(|_| self.tracks.get(leg.track).is_some_and(waits));
        let begins = offer.is_some_and(|offer| self.catch_up_with(now, peer, leg, layer, &offer).is_some());
        self.counters.keyframe_requests_cached += u64::from(begins);
        begins
    }

    /// Lets a leg go down to what the ring of the layer that it wants has, or one to which nothing flows go on with it, where the
    /// publisher answers no requests: if it is shown that sooner than the next keyframe.
    pub(in super::super) fn go_down_from_ring(&mut self, now: Instant, peer: PeerKey, place: LegPlace) {
        let Some(track) = self.tracks.get(place.track) else { return };
        let Some(leg) = track.legs.get(place.leg).filter(|leg| leg.is_live() && !leg.is_catching_up()) else {
            return;
        };
        let (played, wanted) = (leg.mapping().pick(), leg.wanted);
        let goes_down = played.layer != wanted.layer && !track.ladder.is_better(wanted, played);
        // Who plays what is of a publisher before begins with the next keyframe at the latest, unless nothing flows to it.
        let begins = leg.is_paused() || (goes_down && !track.is_cut_off(leg));
        let whole = wanted.point == Point::WHOLE && !leg.selection.holds_picture();
        if !begins || !whole || !track.is_unheard(now, wanted.layer) {
            return;
        }
        let next = track
            .layers
            .get(usize::from(wanted.layer))
            .and_then(|layer| layer.requests.hearing.next_keyframe(now));
        let wait = next.map(|at| at.saturating_duration_since(now));
        let sooner = |offer: &Offer| wait.is_none_or(|wait| offer.pace.takes < wait);
        if let Some(offer) = self.offer(now, place, wanted.layer).filter(sooner) {
            let begins = self.catch_up_with(now, peer, place, wanted.layer, &offer).is_some();
            self.counters.keyframe_requests_cached += u64::from(begins);
        }
    }

    /// As [`Self::go_down_from_ring`], for all legs of the track at `place`.
    pub(in super::super) fn all_go_down_from_ring(&mut self, now: Instant, place: usize) {
        let Some(track) = self.tracks.get(place) else { return };
        if !(0_u8..).zip(&track.layers).any(|(layer, _)| track.is_unheard(now, layer)) {
            return;
        }
        let changes =
            |leg: &Leg| leg.is_live() && (leg.mapping().layer() != leg.wanted.layer || leg.is_paused());
        let changing = (0..).zip(&track.legs).filter(|(_, leg)| changes(leg));
        let changing: Vec<_> = changing.map(|(leg, known)| (leg, known.peer, known.ssrc)).collect();
        for (leg, peer, ssrc) in changing {
            if let Some(peer) = self.transports.get(peer).map(|transport| transport.key) {
                self.go_down_from_ring(
                    now,
                    peer,
                    LegPlace { track: place, leg, ssrc, told: ToldLoss::default() },
                );
            }
        }
    }

    /// Legs that wait for a keyframe of `layer` begin with what its ring has, as far as there is room for them.
    pub(in super::super) fn begin_waiting(&mut self, now: Instant, track: TrackId, layer: u8) {
        if !self.catch_ups.waiting.contains(&(track, layer)) {
            self.catch_ups.waiting.push((track, layer));
        }
        self.begin_those_who_wait(now);
    }

    /// As [`Self::begin_waiting`], of all layers that somebody waits for.
    pub(super) fn begin_those_who_wait(&mut self, now: Instant) {
        if self.catch_ups.waiting.is_empty() || self.catch_ups.is_full(true) {
            return;
        }
        let mut layers = std::mem::take(&mut self.catch_ups.waiting);
        layers.retain(|(track, layer)| self.begin_those_of(now, *track, *layer));
        self.catch_ups.waiting = layers;
    }

    /// Whether some had no room.
    fn begin_those_of(&mut self, now: Instant, track: TrackId, layer: u8) -> bool {
        let Some(place) = self.places.get(&track).copied() else { return false };
        let Some(track) = self.tracks.get(place).filter(|track| track.is_unheard(now, layer)) else {
            return false;
        };
        // While nothing is known of the layers, any will do.
        let any = track.ladder.rungs().is_empty();
        let waits = |wanted: Pick| any || wanted == Pick::whole(layer);
        let waiting = (0..)
            .zip(&track.legs)
            .filter(|(_, leg)| !leg.is_live() && !leg.selection.holds_picture() && waits(leg.wanted));
        let waiting: Vec<(usize, u32, u32)> =
            waiting.map(|(leg, known)| (leg, known.peer, known.ssrc)).collect();
        for (leg, peer, ssrc) in waiting {
            if self.catch_ups.is_full(true) {
                return true;
            }
            let Some(peer) = self.transports.get(peer).map(|transport| transport.key) else { continue };
            let leg = LegPlace { track: place, leg, ssrc, told: ToldLoss::default() };
            if !self.begin_from_ring(now, peer, leg, layer) && self.budget_bps(leg).is_none() {
                // What is not for a path of which nothing is known is for none.
                return false;
            }
        }
        false
    }

    /// What `leg` can begin `layer` with, if there is room for one more.
    fn offer(&self, now: Instant, leg: LegPlace, layer: u8) -> Option<Offer> {
        let track = self.tracks.get(leg.track).filter(|track| track.is_video())?;
        let unheard = track.is_unheard(now, layer);
        if self.catch_ups.is_full(unheard) {
            return None;
        }
        let (path_bps, backlog_packets) = (self.budget_bps(leg), self.catch_ups.backlog_packets());
        track.offer(now, layer, Terms { unheard, path_bps, backlog_packets })
    }

    /// What sound leaves of a leg's path, if that is known.
    fn budget_bps(&self, leg: LegPlace) -> Option<u64> {
        self.tracks.get(leg.track)?.legs.get(leg.leg)?.selection.budget_bps()
    }

    /// Lets a leg go on with the group of `offer`.
    pub(super) fn catch_up_with(
        &mut self,
        now: Instant,
        peer: PeerKey,
        place: LegPlace,
        layer: u8,
        offer: &Offer,
    ) -> Option<()> {
        let track = self.tracks.get_mut(place.track)?;
        let leg = track.legs.get(place.leg)?;
        let switches = leg.is_live();
        let (before, cut_off) = (switches.then(|| leg.mapping().pick()), track.is_cut_off(leg));
        let start = track.start_in_ring(now, layer, offer, leg)?;
        let (codec, clock_rate_hz) = (track.codec?, track.clock_rate_hz());
        let material =
            Material { id: track.id, layers: &track.layers, classes: &track.classes, ladder: &track.ladder };
        let (pictures, frames) = if switches { material.shifts(codec, leg, &start) } else { (None, None) };
        let leg = track.legs.get_mut(place.leg)?;
        track.audience.leave(leg);
        leg.catch_up_from(start, offer.squeeze, clock_rate_hz);
        pictures.into_iter().for_each(|shift| leg.shift_pictures(shift));
        frames.into_iter().for_each(|shift| leg.shift_frames(shift));
        track.audience.enter(leg);
        let (held, after) = (std::mem::take(&mut leg.held_told), leg.mapping().pick());
        let switch = before.map(|before| {
            let up = track.ladder.is_better(after, before);
            let direction = if up { Direction::Up } else { Direction::Down };
            Switch { direction, cause: if cut_off { Cause::Publisher } else { leg.selection.cause() } }
        });
        let id = track.id;
        self.catch_ups.add(
            now,
            CatchUp {
                peer,
                ssrc: place.ssrc,
                squeeze: offer.squeeze,
                begun: (now, start.timestamp),
                next: start.index,
                burst_packets: offer.pace.burst_packets,
                left: offer.group.packets,
                unheard: offer.terms.unheard,
                limit: offer.pace.limit,
                group_bytes: offer.group.bytes,
                sent_bytes: 0,
                budget_bps: offer.terms.path_bps,
                path_bps: offer.terms.path_bps,
                carried_at: now,
            },
        );
        if let Some(transport) = self.transports.get_mut(peer.index) {
            tell(transport, true, &mut self.events);
        }
        if held {
            self.events.push_back(PlaneEvent::PictureHeld { peer, track: id, held: false });
        }
        if before != Some(after) {
            let Pick { layer, point } = after;
            self.events.push_back(PlaneEvent::LayerPlayed { peer, track: id, layer, point, switch });
        }
        Some(())
    }
}
