//! Who is here: publishers and viewers come and go, and tracks with them.

use std::time::{Duration, Instant};

use aforo_cluster::id::TrackId;
use rand::RngExt;

use super::publisher::Publisher;
use super::schedule::Task;
use super::sender_report::SENDER_REPORT_INTERVAL;
use super::told_loss::ToldLoss;
use super::track::{Source, Track};
use super::transport::Transport;
use super::viewer::{LegPlace, Viewer};
use super::{Plane, PlaneError, Role};
use crate::media::codec::{CodecKind, Point, reach};
use crate::media::extension::ExtensionKind;
use crate::media::keys::SrtpKeys;
use crate::media::leg::Leg;
use crate::media::loss_watch::LossWatch;
use crate::media::path::{Path, PeerKey, ShardId};
use crate::media::selection::{LayerWish, Pick, Selection};
use crate::media::spec::{EgressSpec, EgressTrack, IngestSpec, Layers, ShardMessage};
use crate::media::srtp::{RtcpOpener, RtcpSealer, RtpSealer};
use crate::media::subscription::Subscription;
use crate::media::template::LegClass;

/// Peers of one shard at most; a key beyond it is a fault of its maker, and must not make the tables grow.
const PEERS_CAPACITY: u32 = 1 << 20;

/// Tracks of one peer at most: one audio and one video.
const PEER_TRACKS_MAX: usize = 2;

impl Plane {
    /// Adds a publisher. Viewers of its tracks may be here already, and another publisher too: once the one that was added has
    /// a picture to show, or at once if the other is silent, its packets count and the other's do not, and
    /// [`FirstMedia`](crate::media::spec::PlaneEvent::FirstMedia) says so. Who may do that is the room's business.
    pub fn add_ingest(&mut self, now: Instant, spec: IngestSpec) -> Result<(), PlaneError> {
        self.check_place(spec.peer, spec.tracks.len())?;
        for track in &spec.tracks {
            let known = self.places.get(&track.id).and_then(|place| self.tracks.get(*place));
            if known.is_some_and(|known| matches!(known.source, Source::Shard(_))) {
                return Err(PlaneError::TrackTaken(track.id));
            }
        }
        let transport = self.transport(spec.peer, spec.path, &spec.keys)?;
        let mut publisher = Publisher::new(now, &spec, self.random.random())?;
        let follows = self.are_on_air(spec.tracks.iter().map(|track| track.id));
        if follows {
            publisher.wait();
        }
        for (number, track) in (0_u8..).zip(&spec.tracks) {
            let place = self.track_place(now, track.id, track.media.codec.kind);
            if let Some(known) = self.tracks.get_mut(place) {
                publisher.attach(now, place, track, known);
                let source = Source::Publisher { place: spec.peer.index, number };
                if !follows {
                    known.begin_anew(now, source, &track.media.rids);
                }
            }
        }
        self.install(spec.peer, transport, Role::Publisher(Box::new(publisher)));
        self.schedule.add(now + super::publisher::RECEIVER_REPORT_INTERVAL, Task::ReceiverReports(spec.peer));
        if follows {
            self.ask_successor(now, spec.peer);
        } else {
            spec.tracks.iter().for_each(|track| self.publisher_begins(now, track.id));
        }
        Ok(())
    }

    /// Another publisher has the track `id` from now on.
    pub(super) fn publisher_begins(&mut self, now: Instant, id: TrackId) {
        let Some(place) = self.places.get(&id).copied() else { return };
        self.tell_of_new_publisher(place);
        self.choose_for_all(now, place);
        let Some(known) = self.tracks.get(place) else { return };
        // Before its first packet a track has one layer that we know of.
        let watched = known.watched() & Layers::first(known.layers.len());
        self.want_keyframes(now, place, watched);
    }

    /// Adds a viewer. A track that does not enter at this shard is mirrored from where it does.
    pub fn add_egress(&mut self, now: Instant, spec: EgressSpec) -> Result<(), PlaneError> {
        self.check_place(spec.peer, spec.tracks.len())?;
        if let Some(track) = spec.tracks.iter().find(|track| track.media.local_ssrc.is_none()) {
            return Err(PlaneError::NoLocalSsrc(track.id));
        }
        let transport = self.transport(spec.peer, spec.path, &spec.keys)?;
        let rtcp_in = RtcpOpener::new(spec.keys.profile, &spec.keys.remote).map_err(PlaneError::Keys)?;
        let rtcp_out = RtcpSealer::new(spec.keys.profile, &spec.keys.local).map_err(PlaneError::Keys)?;
        let mut viewer = Viewer::new(rtcp_in, rtcp_out);
        let may_add = |track: &EgressTrack| LegClass::of(&track.media).with_added(true).is_some();
        viewer.loss_watch = spec.tracks.iter().any(may_add).then(|| Box::new(LossWatch::default()));
        for track in &spec.tracks {
            if let Some(leg) = self.add_leg(now, spec.peer, track, spec.wish) {
                viewer.legs.push(leg);
            }
        }
        let legs = viewer.legs.clone();
        self.install(spec.peer, transport, Role::Viewer(Box::new(viewer)));
        let phase =
            Duration::from_millis(self.random.random_range(0..SENDER_REPORT_INTERVAL.as_millis() as u64));
        self.schedule.add(now + phase, Task::SenderReports(spec.peer));
        for leg in legs {
            self.begin_leg(now, spec.peer, leg);
            self.subscribe_to_wanted(now, leg.track);
        }
        Ok(())
    }

    /// Forgets a peer with all it has here. Unknown peers are none of our business.
    pub fn remove_peer(&mut self, now: Instant, peer: PeerKey) {
        if !self.is_known(peer) {
            return;
        }
        self.transports.remove(peer.index);
        match self.roles.remove(peer.index) {
            Some(Role::Publisher(publisher)) => {
                // One that never took over may have brought tracks that nobody else has.
                publisher.ids().for_each(|id| self.forget_if_abandoned(id));
                for place in publisher.places() {
                    // Another may have taken the track over, or even its place, if it has ended since.
                    let track = self.tracks.get_mut(place).filter(|track| track.comes_from(peer.index));
                    let Some(track) = track else { continue };
                    track.source = Source::Absent;
                    track.layers.iter_mut().for_each(|layer| layer.requests.forget());
                    self.drop_if_abandoned(place);
                }
            }
            Some(Role::Viewer(viewer)) => viewer.legs.iter().for_each(|leg| self.remove_leg(now, *leg)),
            None => {}
        }
    }

    /// A leg that was added begins with what is in the ring, or with a keyframe that is asked for.
    fn begin_leg(&mut self, now: Instant, peer: PeerKey, leg: LegPlace) {
        let known = self.tracks.get(leg.track).and_then(|track| track.legs.get(leg.leg));
        let Some(Pick { layer, point }) = known.map(|leg| leg.wanted) else { return };
        // Who catches up is sent all of a layer.
        if point == Point::WHOLE && self.begin_from_ring(now, peer, leg, layer) {
            return self.recheck_hearing(now, leg.track, layer);
        }
        self.want_keyframe(now, leg.track, layer);
        if let Some(id) = self.tracks.get(leg.track).map(|track| track.id) {
            self.begin_waiting(now, id, layer);
        }
    }

    fn add_leg(
        &mut self,
        now: Instant,
        peer: PeerKey,
        egress: &EgressTrack,
        wish: LayerWish,
    ) -> Option<LegPlace> {
        let now_ms = self.since_epoch_ms(now);
        let ssrcs = egress.media.local_ssrc?;
        let place = self.track_place(now, egress.id, egress.media.codec.kind);
        let (first, first_rtx) = (self.random.random(), self.random.random());
        let track = self.tracks.get_mut(place)?;
        if egress.origin != self.shard && track.source == Source::Absent {
            track.source = Source::Shard(egress.origin);
            track.subscription = Subscription::ALL;
            let subscribe =
                ShardMessage::Subscribe { track: egress.id, from: self.shard, wanted: Subscription::ALL };
            self.shard_messages.push_back((egress.origin, subscribe));
            // The other shard answers with what it has, or asks for a keyframe.
            let best = track.best_layer();
            track.layer(now, best).map(|layer| layer.requests.request(now));
        }
        let best = Pick::whole(track.best_layer());
        let descriptor = egress.media.extensions.id(ExtensionKind::DependencyDescriptor).is_some();
        let mut selection = Selection::within(reach(egress.media.codec.kind, descriptor));
        selection.wish(wish);
        let wanted = selection.choose(now_ms, &track.ladder, Some(best)).unwrap_or(best);
        let leg = track.add_leg(LegClass::of(&egress.media), |class| {
            let mut leg = Leg::new(peer.index, class, ssrcs, first, first_rtx);
            (leg.wanted, leg.chosen, leg.selection) = (wanted, wanted, selection);
            leg
        });
        track.want(leg, selection.within_wish(wanted));
        Some(LegPlace { track: place, leg, ssrc: ssrcs.primary, told: ToldLoss::default() })
    }

    fn remove_leg(&mut self, now: Instant, leg: LegPlace) {
        let Some(track) = self.tracks.get_mut(leg.track) else { return };
        let last = track.legs.len().saturating_sub(1);
        let moved = track.remove_leg(leg.leg);
        if let Some(Role::Viewer(owner)) = moved.and_then(|peer| self.roles.get_mut(peer)) {
            // One viewer may hold two legs of a track; only the one that moved has a new place.
            let places = owner.legs.iter_mut().filter(|place| place.track == leg.track && place.leg == last);
            places.for_each(|place| place.leg = leg.leg);
        }
        if let (true, Source::Shard(origin)) = (track.legs.is_empty(), track.source) {
            let unsubscribe = ShardMessage::Unsubscribe { track: track.id, from: self.shard };
            self.shard_messages.push_back((origin, unsubscribe));
            track.source = Source::Absent;
        }
        self.subscribe_to_wanted(now, leg.track);
        self.drop_if_abandoned(leg.track);
    }

    /// The place of track `id`, made if it is new.
    pub(super) fn track_place(&mut self, now: Instant, id: TrackId, codec: CodecKind) -> usize {
        if let Some(place) = self.places.get(&id).copied() {
            if let Some(track) = self.tracks.get_mut(place) {
                track.codec.get_or_insert(codec);
            }
            return place;
        }
        let place = self.tracks.insert(Track::new(now, id, Some(codec)));
        self.places.insert(id, place);
        place
    }

    /// Another shard's wish for layers of a track that may not be here yet.
    pub(super) fn subscribe(&mut self, now: Instant, id: TrackId, from: ShardId, wanted: Subscription) {
        let place = self.places.get(&id).copied().unwrap_or_else(|| {
            let place = self.tracks.insert(Track::new(now, id, None));
            self.places.insert(id, place);
            place
        });
        let Some(track) = self.tracks.get_mut(place) else { return };
        for (layer, index) in track.layers.iter_mut().zip(0_u8..) {
            layer.play_points(wanted.points(index));
        }
        if let Some((_, known)) = track.subscribers.iter_mut().find(|(shard, _)| *shard == from) {
            let more = wanted.layers().without(std::mem::replace(known, wanted).layers());
            // Of the others a keyframe is asked for.
            let unheard = |layer: &u8| track.is_unheard(now, *layer);
            let groups =
                more.iter().filter(unheard).filter_map(|layer| super::mirror::group_batch(now, track, layer));
            let groups = groups.map(|group| (from, ShardMessage::Packets(std::sync::Arc::new(group))));
            self.shard_messages.extend(groups);
            return;
        }
        track.subscribers.push((from, wanted));
        super::mirror::export_clocks(track, from, &mut self.shard_messages);
        let best = track.best_layer();
        let group = super::mirror::group_batch(now, track, best).map(std::sync::Arc::new);
        // One that is too old for a viewer to begin with is too old over there as well, unless a keyframe does not come.
        let is_played = group.is_some() && super::mirror::begins_with_group(now, track, best);
        self.shard_messages.extend(group.map(|group| (from, ShardMessage::Packets(group))));
        if track.ladder.rungs().len() > 1 {
            let message = ShardMessage::Layers { track: id, ladder: track.ladder };
            self.shard_messages.push_back((from, message));
        }
        if !is_played {
            self.want_keyframe(now, place, best);
        }
    }

    pub(super) fn unsubscribe(&mut self, id: TrackId, from: ShardId) {
        let Some(place) = self.places.get(&id).copied() else { return };
        if let Some(track) = self.tracks.get_mut(place) {
            track.subscribers.retain(|(shard, _)| *shard != from);
        }
        self.drop_if_abandoned(place);
    }

    fn forget_if_abandoned(&mut self, id: TrackId) {
        self.places.get(&id).copied().into_iter().for_each(|place| self.drop_if_abandoned(place));
    }

    fn drop_if_abandoned(&mut self, place: usize) {
        if self.tracks.get(place).is_some_and(Track::is_abandoned) {
            let track = self.tracks.remove(place);
            self.places.remove(&track.id);
            self.departures.forget(place);
        }
    }

    fn check_place(&self, peer: PeerKey, tracks: usize) -> Result<(), PlaneError> {
        if peer.index >= PEERS_CAPACITY {
            return Err(PlaneError::PlaceBeyondTable(peer.index));
        }
        if self.transports.get(peer.index).is_some() {
            return Err(PlaneError::PlaceTaken(peer));
        }
        if tracks > PEER_TRACKS_MAX { Err(PlaneError::TooManyTracks(tracks)) } else { Ok(()) }
    }

    fn transport(&mut self, peer: PeerKey, path: Path, keys: &SrtpKeys) -> Result<Transport, PlaneError> {
        let sealer = RtpSealer::new(keys.profile, &keys.local).map_err(PlaneError::Keys)?;
        Ok(Transport::new(peer, path, sealer, self.random.random()))
    }

    fn install(&mut self, peer: PeerKey, transport: Transport, role: Role) {
        self.transports.insert(peer.index, transport);
        self.roles.insert(peer.index, role);
    }
}
