//! The shell of one room: carries what its core decides to the shards, the cluster and the journal.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{
    Actor, ActorFutureExt, Addr, AsyncContext, Context, Handler, Recipient, ResponseActFuture,
    ResponseFuture, WrapFuture,
};
use aforo_cluster::control::Role;
use aforo_cluster::id::{RoomName, SessionId, StreamName, TrackId};
use aforo_cluster::metric::Metrics;
use rand::RngExt;
use tracing::error;

use super::core::{Entrant, LiveStream, PatchKind, RoomCore, RoomOutput, StreamTrack};
use super::error::RoomError;
use super::journal::Journal;
use super::ledger::Ledger;
use super::message::{
    CheckFree, CloseAll, EndSession, FindStream, GetReport, PatchSession, Patched, Play, Publish,
};
use super::report::{self, RoomReport};
use super::rooms::RoomEmptied;
use crate::actor::lane::{AskError, NoticeLane, ask};
use crate::actor::supervise::Lifeline;
use crate::actor::timer::{Timed, Timer, arm};
use crate::cluster_agent::{ClaimStream, ClusterAgent, ClusterError, ReleaseStream};
use crate::media::path::{PeerKey, ShardId};
use crate::media::spec::{EgressTrack, IngestTrack};
use crate::peer::ice;
use crate::peer::message::{PeerConfig, PeerInput, PeerNotice};
use crate::shard;
use crate::shard::message::{AddPeer, AddPeerError, PeerMedia, TellPeer};

/// Notices of peers and requests of clients that wait for a room. Full means: peers keep their notices and try again,
/// requests wait in their HTTP worker up to [`DEADLINE`].
const ROOM_MAILBOX_CAPACITY: usize = 1024;

/// How long a shard or the cluster may take to answer: a client that waits longer has given up.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// What a room needs of a shard.
#[derive(Debug, Clone)]
pub struct ShardLink {
    /// Takes new peers.
    pub add_peer: Recipient<AddPeer>,
    /// Takes what peers are to be told.
    pub tell_peer: Recipient<TellPeer>,
    /// Knows the figures of tracks.
    pub report: Recipient<shard::message::GetReport>,
}

/// What all rooms of a node share.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub shards: Rc<[ShardLink]>,
    pub agent: Addr<ClusterAgent>,
    pub metrics: Arc<Metrics>,
    pub ledger: Rc<RefCell<Ledger>>,
}

/// One room.
pub struct Room {
    pub(super) name: RoomName,
    pub(super) core: RoomCore,
    pub(super) around: Surroundings,
    journal: Journal,
    lanes: Vec<NoticeLane<TellPeer>>,
    rooms: Recipient<RoomEmptied>,
    /// The room is empty and has said so: its root forgets it, and whoever still comes must ask again.
    closed: bool,
    lifeline: Lifeline,
    timer: Timer,
}

impl Room {
    pub(super) fn new(
        name: RoomName,
        around: Surroundings,
        rooms: Recipient<RoomEmptied>,
        lifeline: Lifeline,
    ) -> Self {
        let lanes = around.shards.iter().map(|shard| NoticeLane::new(shard.tell_peer.clone())).collect();
        let journal = Journal::open(name.clone(), Arc::clone(&around.metrics));
        let (core, timer) = (RoomCore::default(), Timer::default());
        Self { name, core, around, journal, lanes, rooms, closed: false, lifeline, timer }
    }

    /// Does what the core wants done. The last session to end closes the room.
    fn drain(&mut self, context: &mut Context<Self>) {
        let now = crate::actor::now();
        while let Some(output) = self.core.poll_output() {
            self.journal.record(&output);
            match output {
                RoomOutput::TellPeer { shard, peer, input } => self.tell(now, shard, peer, input),
                RoomOutput::SessionEnded { session, .. } => self.around.ledger.borrow_mut().leave(session),
                RoomOutput::StreamEnded { stream, .. } => self.release(stream, context),
                RoomOutput::Stage { .. } => {}
            }
        }
        if self.core.is_empty() && !self.closed {
            self.closed = self.rooms.try_send(RoomEmptied(self.name.clone())).is_ok();
        }
        let at = self.lanes.iter().filter_map(NoticeLane::poll_timeout).min();
        arm(self, context, at);
    }

    fn tell(&mut self, now: Instant, shard: ShardId, peer: PeerKey, input: PeerInput) {
        if let Some(lane) = self.lanes.get_mut(usize::from(shard.0)) {
            lane.send(now, TellPeer { peer, input });
        }
    }

    /// Gives the stream's name back to the cluster.
    fn release(&self, stream: StreamName, context: &mut Context<Self>) {
        let (agent, room) = (self.around.agent.clone(), self.name.clone());
        let released = async move {
            if let Err(error) = ask(&agent, ReleaseStream { room, stream }, DEADLINE).await {
                error!(%error, "a stream could not be given back to the cluster");
            }
        };
        context.spawn(released.into_actor(self));
    }

    /// Enters the session into core, ledger and journal. `enter` is the core's own rule.
    fn enter(
        &mut self,
        entrant: Entrant,
        role: Role,
        enter: impl FnOnce(&mut RoomCore, Instant, Entrant) -> Result<(), RoomError>,
    ) -> Result<(), RoomError> {
        if self.closed {
            return Err(RoomError::Closed);
        }
        let (session, stream, shard) = (entrant.session, entrant.stream.clone(), entrant.shard);
        enter(&mut self.core, crate::actor::now(), entrant)?;
        self.around.ledger.borrow_mut().enter(session, self.name.clone(), shard);
        self.journal.entered(session, &stream, role);
        Ok(())
    }

    /// Asks the shard to take the peer.
    fn add_peer(
        &self,
        shard: ShardId,
        session: SessionId,
        config: PeerConfig,
        media: PeerMedia,
        context: &Context<Self>,
    ) -> impl Future<Output = Result<PeerKey, RoomError>> + use<> {
        let notices = context.address().recipient();
        let link = self.around.shards.get(usize::from(shard.0)).cloned();
        async move {
            let link = link.ok_or(RoomError::Shard(AddPeerError::Stopping))?;
            let asked = link.add_peer.send(AddPeer { session, config, media, notices });
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

    /// The tracks that a publisher's agreement makes, for the room and for the shard.
    fn new_tracks(&self, config: &PeerConfig) -> (Vec<StreamTrack>, Vec<IngestTrack>) {
        let mut ledger = self.around.ledger.borrow_mut();
        let media = &config.negotiated.media;
        let tracks = media.iter().map(|media| {
            let id = TrackId(ledger.next_track());
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
    Entrant { session, stream, shard, ufrag, etag, media }
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

impl Actor for Room {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        context.set_mailbox_capacity(ROOM_MAILBOX_CAPACITY);
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.lifeline.finish();
    }
}

impl Timed for Room {
    fn timer(&mut self) -> &mut Timer {
        &mut self.timer
    }

    fn handle_timeout(&mut self, now: Instant, context: &mut Context<Self>) {
        for lane in &mut self.lanes {
            lane.handle_timeout(now);
        }
        self.drain(context);
    }
}

impl Handler<PeerNotice> for Room {
    type Result = ();

    fn handle(&mut self, notice: PeerNotice, context: &mut Context<Self>) {
        self.core.handle_notice(notice);
        self.drain(context);
    }
}

impl Handler<FindStream> for Room {
    type Result = Result<LiveStream, RoomError>;

    fn handle(&mut self, FindStream { stream }: FindStream, _: &mut Context<Self>) -> Self::Result {
        self.core.find(&stream).cloned()
    }
}

impl Handler<CheckFree> for Room {
    type Result = Result<(), RoomError>;

    fn handle(&mut self, CheckFree { stream }: CheckFree, _: &mut Context<Self>) -> Self::Result {
        if self.core.is_free(&stream) { Ok(()) } else { Err(RoomError::Taken) }
    }
}

impl Handler<Publish> for Room {
    type Result = ResponseActFuture<Self, Result<(), RoomError>>;

    fn handle(&mut self, publish: Publish, context: &mut Context<Self>) -> Self::Result {
        let Publish { session, stream, shard, etag, config } = publish;
        let entrant = entrant(session, stream.clone(), shard, etag, &config);
        let (tracks, ingest) = self.new_tracks(&config);
        let claimed = tracks.clone();
        let entered =
            self.enter(entrant, Role::Publisher, |core, now, entrant| core.publish(now, entrant, tracks));
        if let Err(error) = entered {
            return Box::pin(actix::fut::ready(Err(error)));
        }
        self.journal.claimed(&claimed);
        let claim = ClaimStream { room: self.name.clone(), stream };
        let agent = self.around.agent.clone();
        let added = self.add_peer(shard, session, config, PeerMedia::Ingest(ingest), context);
        let claimed_and_added = async move {
            match ask(&agent, claim, DEADLINE).await {
                Ok(Ok(())) => added.await,
                Ok(Err(ClusterError::Claimed { .. })) => Err(RoomError::Taken),
                Ok(Err(error)) => Err(RoomError::Cluster(error)),
                Err(error) => Err(RoomError::Unanswered(error)),
            }
        };
        Box::pin(
            claimed_and_added
                .into_actor(self)
                .map(move |added, room, context| room.peer_added(session, shard, added, context)),
        )
    }
}

impl Handler<Play> for Room {
    type Result = ResponseActFuture<Self, Result<(), RoomError>>;

    fn handle(&mut self, play: Play, context: &mut Context<Self>) -> Self::Result {
        let Play { session, stream, publisher, shard, etag, config } = play;
        let tracks = self.core.find(&stream).map(|live| played_tracks(live, &config));
        let entrant = entrant(session, stream, shard, etag, &config);
        let entered =
            self.enter(entrant, Role::Viewer, |core, now, entrant| core.play(now, entrant, publisher));
        let tracks = match entered.and(tracks) {
            Ok(tracks) => tracks,
            Err(error) => return Box::pin(actix::fut::ready(Err(error))),
        };
        let added = self.add_peer(shard, session, config, PeerMedia::Egress(tracks), context);
        Box::pin(
            added
                .into_actor(self)
                .map(move |added, room, context| room.peer_added(session, shard, added, context)),
        )
    }
}

impl Handler<PatchSession> for Room {
    type Result = Result<Patched, RoomError>;

    fn handle(&mut self, patch: PatchSession, context: &mut Context<Self>) -> Self::Result {
        let PatchSession { session, if_match, remote } = patch;
        let kind = self.core.patch(session, &if_match, remote.as_ref())?;
        let (PatchKind::Restart(shard), Some(remote)) = (kind, remote) else { return Ok(Patched::Trickled) };
        let local = ice::credentials(shard).map_err(|_| RoomError::Randomness)?;
        let etag = rand::rng().random();
        let restarted = self.core.restart(session, local.clone(), remote, etag);
        let result = if restarted.is_ok() { "ok" } else { "failed" };
        self.around.metrics.ice_restarts_total.with_label_values(&[result]).inc();
        self.drain(context);
        restarted.map(|media| Patched::Restarted { shard, local, etag, media })
    }
}

impl Handler<EndSession> for Room {
    type Result = Result<(), RoomError>;

    fn handle(&mut self, EndSession { session }: EndSession, context: &mut Context<Self>) -> Self::Result {
        let ended = self.core.delete(crate::actor::now(), session);
        self.drain(context);
        ended
    }
}

impl Handler<CloseAll> for Room {
    type Result = ();

    fn handle(&mut self, CloseAll(reason): CloseAll, context: &mut Context<Self>) {
        self.core.close_all(crate::actor::now(), reason);
        self.drain(context);
    }
}

impl Handler<GetReport> for Room {
    type Result = ResponseFuture<Result<RoomReport, RoomError>>;

    fn handle(&mut self, question: GetReport, _: &mut Context<Self>) -> Self::Result {
        let report = report::of_room(&self.name, &self.core, crate::actor::now());
        let origins = if question.with_figures { report::origins(&self.core) } else { Vec::new() };
        let links = Rc::clone(&self.around.shards);
        Box::pin(async move {
            let mut report = report;
            for (shard, tracks) in origins {
                let Some(link) = links.get(usize::from(shard.0)) else { continue };
                let asked = link.report.send(shard::message::GetReport { tracks });
                // A shard that does not answer leaves its figures out; the rest of the report is good.
                if let Ok(Ok(answer)) = actix_rt::time::timeout(DEADLINE, asked).await {
                    report.fill(&answer);
                }
            }
            Ok(report)
        })
    }
}
