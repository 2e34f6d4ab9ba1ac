//! The shell of one room: carries what its core decides to the shards, the cluster and the journal.

mod join;
mod listeners;
mod requests;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, AsyncContext, Context, Recipient, WrapFuture};
use aforo_cluster::control::Role;
use aforo_cluster::id::{RoomName, StreamName};
use aforo_cluster::metric::Metrics;
use tracing::error;

use super::core::{Entrant, RoomCore, RoomOutput};
use super::directory::{Directory, Reservation};
use super::error::RoomError;
use super::events::EventStreams;
use super::journal::Journal;
use super::ledger::Ledger;
use super::message::{
    Admit, CheckFree, CloseAll, CloseEvents, EndSession, GetReport, IsBearer, ListenToEvents, OpenEvents,
    PatchSession, Publish, SelectLayer, TellToLeave,
};
use super::rooms::{End, RoomEmptied};
use super::seats::Seats;
use super::silence::Silence;
use super::traces::Traces;
use crate::actor::instruments::{Handler, Instruments, instrumented};
use crate::actor::lane::{NoticeLane, ask};
use crate::actor::supervise::Lifeline;
use crate::actor::timer::{Timed, Timer, arm};
use crate::cluster_agent::{ClusterAgent, ReleaseStream};
use crate::media::codec::MediaKind;
use crate::peer::message::{PeerEvent, PeerNotices};
use crate::shard;
use crate::shard::message::{AddPeer, AdmitPeer, ClosePeers, TellPeer, WishLayer};
use crate::telemetry::JoinTrace;

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
    /// Takes new peers of viewers, and answers somebody else.
    pub admit_peer: Recipient<AdmitPeer>,
    /// Takes what peers are to be told.
    pub tell_peer: Recipient<TellPeer>,
    /// Ends peers.
    pub close_peers: Recipient<ClosePeers>,
    /// Takes wishes for layers.
    pub wish_layer: Recipient<WishLayer>,
    /// Knows the figures of tracks.
    pub report: Recipient<shard::message::GetReport>,
}

/// What a room has to say to one shard.
struct ShardLanes {
    admit: NoticeLane<AdmitPeer>,
    tell: NoticeLane<TellPeer>,
    close: NoticeLane<ClosePeers>,
    wish: NoticeLane<WishLayer>,
}

impl ShardLanes {
    fn new(shard: &ShardLink) -> Self {
        Self {
            admit: NoticeLane::new(shard.admit_peer.clone()),
            tell: NoticeLane::new(shard.tell_peer.clone()),
            close: NoticeLane::new(shard.close_peers.clone()),
            wish: NoticeLane::new(shard.wish_layer.clone()),
        }
    }

    fn has_room(&self) -> bool {
        self.tell.has_room() && self.close.has_room() && self.wish.has_room()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let peers = [self.admit.poll_timeout(), self.tell.poll_timeout(), self.close.poll_timeout()];
        peers.into_iter().chain([self.wish.poll_timeout()]).flatten().min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.admit.handle_timeout(now);
        self.tell.handle_timeout(now);
        self.close.handle_timeout(now);
        self.wish.handle_timeout(now);
    }
}

/// What all rooms of a node share.
#[derive(Clone)]
pub(super) struct Surroundings {
    pub shards: Rc<[ShardLink]>,
    pub agent: Addr<ClusterAgent>,
    pub metrics: Arc<Metrics>,
    pub ledger: Rc<RefCell<Ledger>>,
    pub directory: Arc<Directory>,
    /// How long viewers wait for a publisher that left.
    pub republish_grace: Duration,
}

/// One room.
pub struct Room {
    pub(super) name: RoomName,
    pub(super) core: RoomCore,
    pub(super) around: Surroundings,
    journal: Journal,
    lanes: Vec<ShardLanes>,
    rooms: NoticeLane<RoomEmptied>,
    /// The room is empty and has said so: its root forgets it, and whoever still comes must ask again.
    closed: bool,
    silence: Silence,
    pub(super) seats: Seats,
    traces: Traces,
    events: EventStreams,
    /// Finished by `End` and nowhere else: actix calls `stopped` on an actor that panicked, too.
    lifeline: Lifeline,
    timer: Timer,
    instruments: Instruments,
}

instrumented! {
    Room in instruments:
        Admit, CheckFree, CloseAll, CloseEvents, End, EndSession, GetReport, IsBearer, ListenToEvents,
        OpenEvents, PatchSession, PeerNotices, Publish, SelectLayer, TellToLeave,
}

impl Room {
    pub(super) fn new(
        name: RoomName,
        around: Surroundings,
        rooms: Recipient<RoomEmptied>,
        lifeline: Lifeline,
    ) -> Self {
        let lanes = around.shards.iter().map(ShardLanes::new).collect();
        let journal = Journal::open(name.clone(), Arc::clone(&around.metrics));
        let instruments = Instruments::new(&around.metrics, "room");
        let (core, silence) = (RoomCore::new(around.republish_grace), Silence::default());
        let (rooms, timer, events) = (NoticeLane::new(rooms), Timer::default(), EventStreams::default());
        Self {
            name,
            core,
            around,
            journal,
            lanes,
            rooms,
            closed: false,
            silence,
            seats: Seats::default(),
            traces: Traces::default(),
            events,
            lifeline,
            timer,
            instruments,
        }
    }

    /// Does what the core wants done. The last session to end closes the room. What is more than a lane takes stays
    /// in the core until there is room again.
    fn drain(&mut self, context: &mut Context<Self>) {
        let now = crate::actor::now();
        let mut left = Vec::new();
        while self.lanes.iter().all(ShardLanes::has_room) {
            let Some(output) = self.core.poll_output() else {
                self.seats.settle();
                break;
            };
            let trace = self.traces.record(&output);
            self.journal.record(&output, trace);
            self.seats.record(&output);
            match output {
                RoomOutput::TellPeer { shard, peer, input } => {
                    if let Some(lanes) = self.lanes.get_mut(usize::from(shard.0)) {
                        lanes.tell.send(now, TellPeer { peer, input });
                    }
                }
                RoomOutput::WishLayer { shard, peer, wish } => {
                    if let Some(lanes) = self.lanes.get_mut(usize::from(shard.0)) {
                        lanes.wish.send(now, WishLayer { peer, wish });
                    }
                }
                RoomOutput::ClosePeers { shard, peers, reason } => {
                    if let Some(lanes) = self.lanes.get_mut(usize::from(shard.0)) {
                        lanes.close.send(now, ClosePeers { peers, reason });
                    }
                }
                RoomOutput::SessionEnded { session, role, .. } => {
                    self.silence.forget(session);
                    let place = self.around.ledger.borrow_mut().leave(session);
                    self.seats.left(place.filter(|_| role == Role::Publisher));
                    left.push(session);
                }
                RoomOutput::PictureHeld { session, held } => self.events.hold_picture(session, held),
                RoomOutput::StreamEnded { stream, .. } => self.release(stream, context),
                RoomOutput::StreamPaused { stream, .. }
                | RoomOutput::PublisherChanged { stream, goes_on: false, .. } => {
                    self.around.directory.withdraw(&self.name, &stream);
                }
                RoomOutput::Stage { session, role: Role::Publisher, event: PeerEvent::Connected, .. } => {
                    self.silence.connected(now, session);
                }
                RoomOutput::Stage {
                    session,
                    stream,
                    role: Role::Publisher,
                    event: PeerEvent::FirstMedia,
                    ..
                } => {
                    self.silence.forget(session);
                    self.announce(&stream);
                }
                RoomOutput::StreamResumed { stream, .. } => self.announce(&stream),
                RoomOutput::StreamClaimed { .. }
                | RoomOutput::PublisherChanged { .. }
                | RoomOutput::Stage { .. } => {}
            }
        }
        self.tell_listeners(now, &left, context);
        let lanes = self.lanes.iter().filter_map(ShardLanes::poll_timeout).min();
        // A room that ends takes its lanes with it, so nothing may wait in them.
        if self.core.is_empty() && lanes.is_none() && !self.closed {
            self.closed = true;
            self.rooms.send(now, RoomEmptied(self.name.clone()));
        }
        let others = [self.rooms.poll_timeout(), self.silence.poll_timeout(), self.core.poll_timeout()];
        let more = [lanes, self.traces.poll_timeout(), self.events.poll_timeout()];
        let at = others.into_iter().chain(more).flatten().min();
        arm(self, context, at);
    }

    /// Viewers may come from now on.
    fn announce(&self, stream: &StreamName) {
        if let Ok(live) = self.core.find(stream) {
            self.around.directory.announce(&self.name, stream, live.clone());
        }
    }

    /// Lets no viewer come any more, and gives the stream's name back to the cluster.
    fn release(&self, stream: StreamName, context: &mut Context<Self>) {
        self.around.directory.withdraw(&self.name, &stream);
        self.around.ledger.borrow_mut().release(&self.name, &stream);
        let (agent, room) = (self.around.agent.clone(), self.name.clone());
        let released = async move {
            if let Err(error) = ask(&agent, ReleaseStream { room, stream }, DEADLINE).await {
                error!(%error, "a stream could not be given back to the cluster");
            }
        };
        context.spawn(released.into_actor(self));
    }

    /// Enters the session into core, ledger and journal. `enter` is the core's own rule.
    fn enter<T>(
        &mut self,
        entrant: Entrant,
        place: Reservation,
        role: Role,
        trace: Option<JoinTrace>,
        enter: impl FnOnce(&mut RoomCore, Instant, Entrant) -> Result<T, RoomError>,
    ) -> Result<T, RoomError> {
        if self.closed {
            return Err(RoomError::Closed);
        }
        let (session, stream, now) = (entrant.session, entrant.stream.clone(), crate::actor::now());
        let has_video = entrant.media.iter().any(|media| media.kind == MediaKind::Video);
        let entered = enter(&mut self.core, now, entrant)?;
        if let Some(trace) = trace {
            self.traces.entered(now, session, trace, has_video);
        }
        self.around.ledger.borrow_mut().enter(session, self.name.clone(), place);
        self.journal.entered(session, &stream, role, self.traces.id(session));
        Ok(entered)
    }
}

impl Actor for Room {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        context.set_mailbox_capacity(ROOM_MAILBOX_CAPACITY);
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
        self.core.handle_timeout(now);
        self.rooms.handle_timeout(now);
        self.traces.handle_timeout(now);
        for session in self.silence.handle_timeout(now) {
            self.core.end_silent(now, session);
        }
        self.drain(context);
    }
}

impl Handler<PeerNotices> for Room {
    type Result = ();

    fn handle(&mut self, PeerNotices(notices): PeerNotices, context: &mut Context<Self>) {
        for notice in notices {
            if let PeerEvent::Added { peer, .. } = notice.event {
                self.around.ledger.borrow_mut().added(notice.session, peer);
            }
            self.core.handle_notice(notice);
        }
        self.drain(context);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use std::sync::Mutex;

    use super::*;
    use crate::actor::virtual_time;
    use crate::media::path::PeerKey;
    use crate::media::selection::LayerWish;
    use crate::peer::message::{EndReason, PeerInput};
    use crate::room::rig::{Notes, noting_shard};

    #[test]
    fn what_a_full_shard_did_not_take_is_tried_again_on_every_lane() {
        virtual_time::run(async {
            for lane in 0..3 {
                let notes = Arc::new(Mutex::new(Notes::default()));
                let mut lanes = ShardLanes::new(&noting_shard(&notes));
                // Nothing is taken before the shard runs for the first time, so its mailbox fills.
                for index in 0..64 {
                    let (now, peer) = (crate::actor::now(), PeerKey { index, generation: 0 });
                    let reason = EndReason::Deleted;
                    match lane {
                        0 => lanes.wish.send(now, WishLayer { peer, wish: LayerWish::Best }),
                        1 => lanes.tell.send(now, TellPeer { peer, input: PeerInput::Close(reason) }),
                        _ => lanes.close.send(now, ClosePeers { peers: vec![peer], reason }),
                    }
                }
                assert!(lanes.poll_timeout().is_some(), "lane {lane} is full");
                while let Some(at) = lanes.poll_timeout() {
                    virtual_time::pass(at - crate::actor::now()).await;
                    lanes.handle_timeout(at);
                }
                virtual_time::pass(Duration::from_millis(100)).await;
                let notes = notes.lock().unwrap();
                assert_eq!(notes.wishes.len() + notes.told.len(), 64, "lane {lane}");
            }
        });
    }
}
