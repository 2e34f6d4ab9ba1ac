//! How sessions come into a room: the core lets them in, the cluster and the shard agree, or they are withdrawn. A
//! publisher's room waits for the shard and answers; of a viewer it learns by a notice what became of it.

use actix::{ActorFutureExt, AsyncContext, Context, ResponseActFuture, WrapFuture};
use aforo_cluster::control::Role;
use aforo_cluster::id::{SessionId, StreamName, TrackId};

use super::{DEADLINE, Room};
use crate::actor::instruments::Handler;
use crate::actor::lane::{AskError, ask};
use crate::cluster_agent::{ClaimStream, ClusterError};
use crate::media::path::{PeerKey, ShardId};
use crate::media::spec::{EgressTrack, IngestTrack};
use crate::peer::message::PeerConfig;
use crate::room::core::{Entrant, LiveStream, Published, RoomCore, StreamTrack};
use crate::room::error::RoomError;
use crate::room::message::{Admit, Play, Publish};
use crate::shard::message::{AddPeer, AddPeerError, AdmitPeer, PeerMedia};
use crate::telemetry::JoinTrace;

impl Room {
    /// Asks the shard to take the peer.
    fn add_peer(
        &self,
        shard: ShardId,
        add: AddPeer,
    ) -> impl Future<Output = Result<PeerKey, RoomError>> + use<> {
        let link = self.around.shards.get(usize::from(shard.0)).cloned();
        async move {
            let link = link.ok_or(RoomError::Shard(AddPeerError::Stopping))?;
            let asked = link.add_peer.send(add);
            match actix_rt::time::timeout(DEADLINE, asked).await {
                Ok(Ok(added)) => added.map_err(RoomError::Shard),
                Ok(Err(_)) => Err(RoomError::Unanswered(AskError::Closed)),
                Err(_) => Err(RoomError::Unanswered(AskError::Timeout)),
            }
        }
    }

    /// The shard has answered: the session has its peer, or is withdrawn.
    fn peer_added(
        &mut self,
        session: SessionId,
        shard: ShardId,
        added: Result<PeerKey, RoomError>,
        context: &mut Context<Self>,
    ) -> Result<(), RoomError> {
        match &added {
            Ok(peer) => {
                self.around.ledger.borrow_mut().added(session, *peer);
                self.core.peer_added(session, shard, *peer);
            }
            Err(_) => self.core.withdraw(crate::actor::now(), session),
        }
        self.drain(context);
        added.map(|_| ())
    }

    /// The tracks that a publisher's agreement makes, for the room and for the shard. Those of a stream that is here
    /// already are gone on with, as far as they have the same codec: legs that play them then need not be touched.
    fn new_tracks(
        &self,
        stream: &StreamName,
        shard: ShardId,
        config: &PeerConfig,
    ) -> (Vec<StreamTrack>, Vec<IngestTrack>) {
        let mut ledger = self.around.ledger.borrow_mut();
        let media = &config.negotiated.media;
        let before = self.core.tracks_on(stream, shard);
        let tracks = media.iter().map(|media| {
            let known = before.iter().find(|track| track.codec.kind == media.codec.kind);
            let id = known.map_or_else(|| TrackId(ledger.next_track()), |track| track.id);
            let (codec, rids) = (media.codec.clone(), media.rids.clone());
            (StreamTrack { id, codec, rids }, IngestTrack { id, media: media.clone() })
        });
        tracks.unzip()
    }
}

fn entrant(
    session: SessionId,
    stream: StreamName,
    shard: ShardId,
    etag: u64,
    config: &PeerConfig,
) -> Entrant {
    let (ufrag, media) = (config.negotiated.remote_ice.ufrag.clone(), config.negotiated.media.clone());
    Entrant { session, stream, shard, ufrag, etag, media, video_section: None, token: None }
}

/// The tracks of `live` that a viewer's agreement has.
fn played_tracks(live: &LiveStream, config: &PeerConfig) -> Vec<EgressTrack> {
    let media = config.negotiated.media.iter();
    let played = media.filter_map(|media| {
        let track = live.tracks.iter().find(|track| track.kind() == media.kind)?;
        Some(EgressTrack { id: track.id, origin: live.origin, media: media.clone() })
    });
    played.collect()
}

impl Handler<Publish> for Room {
    type Result = ResponseActFuture<Self, Result<(), RoomError>>;

    fn handle(&mut self, publish: Publish, context: &mut Context<Self>) -> Self::Result {
        let Publish { session, stream, claimant, place, etag, config, trace } = publish;
        let shard = place.shard();
        let entrant =
            Entrant { token: claimant.token, ..entrant(session, stream.clone(), shard, etag, &config) };
        let (tracks, ingest) = self.new_tracks(&stream, shard, &config);
        let publish = |core: &mut RoomCore, now, entrant| core.publish(now, entrant, claimant, tracks);
        let (trace_id, role) = (trace.as_ref().map(JoinTrace::trace_id), Role::Publisher);
        let published = match self.enter(entrant, place, role, trace, publish) {
            Ok(published) => published,
            Err(error) => return Box::pin(actix::fut::ready(Err(error))),
        };
        // A stream that waits for a publisher, or has one, is ours already.
        let claim = (published == Published::First).then(|| {
            let room = self.name.clone();
            self.around.ledger.borrow_mut().claim(room.clone(), stream.clone());
            ClaimStream { room, stream }
        });
        let agent = self.around.agent.clone();
        let (media, notices) = (PeerMedia::Ingest(ingest), context.address().recipient());
        let added = self.add_peer(shard, AddPeer { session, config, media, notices, trace_id });
        let claimed = async move {
            let Some(claim) = claim else { return Ok(()) };
            match ask(&agent, claim, DEADLINE).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(ClusterError::Claimed { .. })) => Err(RoomError::Taken),
                Ok(Err(error)) => Err(RoomError::Cluster(error)),
                Err(error) => Err(RoomError::Unanswered(error)),
            }
        };
        let claimed = claimed.into_actor(self).map(move |claimed, room: &mut Self, context| {
            room.core.claim_answered(crate::actor::now(), session, claimed.is_ok());
            room.drain(context);
            claimed
        });
        let added = claimed.then(move |claimed, room: &mut Self, _| {
            let added = async move {
                claimed?;
                added.await
            };
            added.into_actor(room)
        });
        Box::pin(added.map(move |added, room, context| room.peer_added(session, shard, added, context)))
    }
}

impl Room {
    /// Lets a viewer in. Returns what its shard is to be told.
    fn admit(&mut self, play: Play, context: &Context<Self>) -> Result<(ShardId, AddPeer), RoomError> {
        let Play { session, stream, publisher, video_section, place, token, etag, config, trace } = play;
        let shard = place.shard();
        let lanes = self.lanes.get(usize::from(shard.0)).filter(|lanes| !lanes.admit.is_closed());
        if !lanes.ok_or(RoomError::Shard(AddPeerError::Stopping))?.admit.has_room() {
            return Err(RoomError::Unanswered(AskError::Timeout));
        }
        let tracks = self.core.find(&stream).map(|live| played_tracks(live, &config))?;
        let entrant = Entrant { video_section, token, ..entrant(session, stream, shard, etag, &config) };
        let play = |core: &mut RoomCore, now, entrant| core.play(now, entrant, publisher);
        let trace_id = trace.as_ref().map(JoinTrace::trace_id);
        self.enter(entrant, place, Role::Viewer, trace, play)?;
        let (media, notices) = (PeerMedia::Egress(tracks), context.address().recipient());
        Ok((shard, AddPeer { session, config, media, notices, trace_id }))
    }
}

impl Handler<Admit> for Room {
    type Result = ();

    fn handle(&mut self, Admit { play, answer }: Admit, context: &mut Context<Self>) {
        // Who no longer waits for the answer has gone: there is nobody to tell.
        let answer = |result| drop(answer.send(result));
        match self.admit(play, context) {
            Err(error) => answer(Err(error)),
            Ok((shard, add)) => {
                let answer = Box::new(|added: Result<(), _>| answer(added.map_err(RoomError::Shard)));
                if let Some(lanes) = self.lanes.get_mut(usize::from(shard.0)) {
                    lanes.admit.send(crate::actor::now(), AdmitPeer { add, answer });
                }
            }
        }
        self.drain(context);
    }
}
