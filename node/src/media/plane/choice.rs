//! Which layer each leg plays: looked at when a viewer's wish or budget changes, when layers come and go, and twice a second.

use std::time::{Duration, Instant};

use super::fan_out::change::Material;
use super::track::{Layer, Source, Track};
use super::viewer::LegPlace;
use super::{Plane, Role};
use crate::media::path::PeerKey;
use crate::media::selection::{Ladder, LayerWish, Pick, Selection};
use crate::media::spec::{Layers, ShardMessage};
use crate::media::subscription::Subscription;

/// How often layers are measured: a layer that its publisher turned off is noticed within this time of being silent.
pub(super) const MEASURE_INTERVAL: Duration = Duration::from_millis(100);

/// How often the choice of all legs is looked at again. Each look costs some 20 ns per leg.
const CHOICE_INTERVAL: Duration = Duration::from_millis(500);

impl Plane {
    /// The viewer asked for another layer of its video.
    pub fn wish_layer(&mut self, now: Instant, peer: PeerKey, wish: LayerWish) {
        self.select(now, peer, |selection| selection.wish(wish));
    }

    /// What the estimate leaves for the viewer's video, in bit/s; `None` while nothing limits it. May be called for each
    /// report of the viewer.
    pub fn limit_bitrate(&mut self, now: Instant, peer: PeerKey, video_bps: Option<u64>) {
        self.select(now, peer, |selection| selection.limit(video_bps));
    }

    pub(super) fn select(&mut self, now: Instant, peer: PeerKey, change: impl Fn(&mut Selection)) {
        if !self.is_known(peer) {
            return;
        }
        let Some(Role::Viewer(viewer)) = self.roles.get(peer.index) else { return };
        let legs = viewer.legs.clone();
        for known in legs {
            let LegPlace { track: place, leg, .. } = known;
            let now_ms = self.since_epoch_ms(now);
            let Some(track) = self.tracks.get_mut(place).filter(|track| track.is_video()) else { continue };
            if let Some(leg) = track.legs.get_mut(leg) {
                change(&mut leg.selection);
            }
            let needed = track.choose_for(leg, now_ms);
            self.want_keyframes(now, place, needed);
            self.subscribe_to_wanted(now, place);
            self.go_down_from_ring(now, peer, known);
        }
    }

    /// Measures the layers of the track at `place` and chooses for its legs, if it is time for that.
    pub(super) fn look_at_layers(&mut self, now: Instant, place: usize) {
        let Some(track) = self.tracks.get_mut(place) else { return };
        let enters_here = !matches!(track.source, Source::Shard(_));
        let has_choice = track.layers.len() > 1 || track.layers.iter().any(Layer::is_scalable);
        let is_due = track.has_news || now >= track.measured_at + MEASURE_INTERVAL;
        if !has_choice || !enters_here || !is_due {
            return;
        }
        let changed = track.measure(now) || !track.ended_within().is_empty();
        if changed || now >= track.chosen_at + CHOICE_INTERVAL {
            self.tell_layers(place);
            self.choose_for_all(now, place);
        }
    }

    /// Chooses for every leg of the track at `place`.
    pub(super) fn choose_for_all(&mut self, now: Instant, place: usize) {
        let now_ms = self.since_epoch_ms(now);
        let Some(track) = self.tracks.get_mut(place) else { return };
        track.chosen_at = now;
        let needed =
            (0..track.legs.len()).fold(track.ended_within(), |all, leg| all | track.choose_for(leg, now_ms));
        track.forget_unused_points();
        if now >= track.settled_at {
            self.want_keyframes(now, place, needed);
        }
        self.subscribe_to_wanted(now, place);
        self.all_go_down_from_ring(now, place);
    }

    /// Tells the shards that mirror the track at `place` how its layers flow.
    pub(super) fn tell_layers(&mut self, place: usize) {
        let Some(track) = self.tracks.get(place) else { return };
        for (shard, _) in &track.subscribers {
            let message = ShardMessage::Layers { track: track.id, ladder: track.ladder };
            self.shard_messages.push_back((*shard, message));
        }
    }

    /// Another shard told how the layers of a track flow that is mirrored from there.
    pub(super) fn set_ladder(&mut self, now: Instant, place: usize, ladder: Ladder) {
        let Some(track) = self.tracks.get_mut(place) else { return };
        track.ladder = ladder;
        self.choose_for_all(now, place);
    }

    /// Asks the shard that a track is mirrored from for exactly the layers, and the points of them, that legs here play or want.
    pub(super) fn subscribe_to_wanted(&mut self, now: Instant, place: usize) {
        let from = self.shard;
        let Some(track) = self.tracks.get_mut(place) else { return };
        let Source::Shard(origin) = track.source else { return };
        // Until it is known which layers there are, all of them are.
        let known = track.ladder.rungs().len() > 1 && now >= track.settled_at;
        let wanted = if known { track.audience.subscription() } else { Subscription::ALL };
        if wanted.layers().is_empty() || wanted == track.subscription {
            return;
        }
        for layer in wanted.layers().without(track.subscription.layers()).iter() {
            if let Some(layer) = track.layers.get_mut(usize::from(layer)) {
                layer.mirror_anew();
            }
        }
        track.subscription = wanted;
        self.shard_messages.push_back((origin, ShardMessage::Subscribe { track: track.id, from, wanted }));
    }
}

impl Track {
    /// The layers of which other parts are sent now than those who play them can decode.
    fn ended_within(&self) -> Layers {
        let is_watched = |pick: Pick| {
            let subscribed = |(_, wanted): &(_, Subscription)| wanted.points(pick.layer).contains(pick.point);
            self.audience.watches(pick) || self.subscribers.iter().any(subscribed)
        };
        let layers = self.layers.iter().zip(0_u8..);
        let ended = layers
            .filter(|(known, layer)| known.needs_keyframe(|point| is_watched(Pick { layer: *layer, point })));
        ended.fold(Layers::NONE, |all, (_, layer)| all | Layers::of(layer))
    }

    /// Chooses for the leg at `place`. The layer of which it needs a keyframe to go on with.
    fn choose_for(&mut self, place: usize, now_ms: u32) -> Layers {
        let Some(leg) = self.legs.get_mut(place) else { return Layers::NONE };
        let current = leg.is_live().then_some(leg.chosen);
        leg.chosen = leg.selection.choose(now_ms, &self.ladder, current).unwrap_or(leg.chosen);
        let wanted = leg.selection.within_wish(leg.chosen);
        let played = leg.mapping().pick();
        let overrun = self.ladder.rung(played).is_some_and(|rung| leg.selection.is_overrun_by(rung));
        let held = leg.selection.holds_picture();
        let layer = self.layers.get(usize::from(wanted.layer));
        let goes_over = |from: Pick| {
            from.layer == wanted.layer && layer.is_some_and(|layer| layer.goes_over(from.point, wanted.point))
        };
        if held || (played != wanted && overrun && !goes_over(played)) {
            let (id, layers, classes, ladder) = (self.id, &self.layers, &self.classes, &self.ladder);
            let material = Material { id, layers, classes, ladder };
            let sent = self.codec.map(|codec| material.sent_last(codec, leg));
            self.audience.leave(leg);
            leg.pause(sent.unwrap_or_default());
            self.audience.enter(leg);
        }
        let playing = Some(played).filter(|_| leg.is_live() && !leg.is_paused());
        // One that begins in this window needs no other keyframe, and one that gets fewer or only more frequent pictures none.
        let begins = layer.is_some_and(Layer::starts_afresh);
        let needless = begins || held || playing.is_some_and(goes_over);
        self.want(place, wanted);
        if needless { Layers::NONE } else { Layers::of(wanted.layer) }
    }
}
