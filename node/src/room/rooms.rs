//! The root of all rooms: finds them by name, opens and forgets them, places sessions, cleans up after a room that died.
//!
//! Every request to a room passes through here, so a room that closes and one that opens under the same name never
//! mix. A room that died is not rebuilt by itself: its peers are ended, and the publisher's return opens it anew.

mod admission;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::dev::{MessageResponse, ToEnvelope};
use actix::{Actor, ActorFutureExt, Addr, AsyncContext, Context, Message, ResponseFuture, WrapFuture};
use aforo_cluster::control::{PlacementAnswer, PlacementRefusal, PlacementRequest, Role};
use aforo_cluster::id::{NodeId, RoomName, StreamName};
use aforo_cluster::metric::Metrics;
use futures_util::future::join_all;
use tracing::error;

use super::actor::{DEADLINE, Room, ShardLink, Surroundings};
use super::directory::{Directory, Reservation};
use super::error::RoomError;
use super::ledger::Ledger;
use super::message::{
    CheckFree, CloseAll, CloseEvents, EndSession, GetReport, Home, IsBearer, ListenToEvents, OpenEvents,
    PatchSession, Place, Publish, SelectLayer, TellToLeave,
};
use super::report::RoomReport;
use crate::actor::instruments::{Handler, Instruments, instrumented, measure};
use crate::actor::lane::{AskError, ask};
use crate::actor::supervise::{Exit, Lifeline, lifeline};
use crate::cluster_agent::{ClusterAgent, GetPlacement, ReleaseStream};
use crate::media::path::PeerKey;
use crate::peer::message::EndReason;
use crate::shard::message::ClosePeers;

/// Requests of HTTP workers that wait for the root. Full means: they wait in their workers up to their deadline.
const ROOMS_MAILBOX_CAPACITY: usize = 4096;

/// A request to the room of this name.
#[derive(Debug, Clone)]
pub struct InRoom<M> {
    /// The room.
    pub room: RoomName,
    /// The request.
    pub message: M,
}

impl<M: Message> Message for InRoom<M> {
    type Result = M::Result;
}

/// What the root must know of a request before it hands it to a room.
pub trait RoomMessage: Message + Send + 'static {
    /// Whether it brings a session into the room: refused while the node drains.
    const ENTERS: bool = false;
    /// Whether the room is opened for it.
    const OPENS: bool = false;

    /// The answer where there is no room.
    fn refused(error: RoomError) -> Self::Result;
    /// What a missing room means to it.
    fn missing() -> RoomError;
}

macro_rules! room_message {
    ($message:ty, enters: $enters:literal, opens: $opens:literal, missing: $missing:expr) => {
        impl RoomMessage for $message {
            const ENTERS: bool = $enters;
            const OPENS: bool = $opens;

            fn refused(error: RoomError) -> Self::Result {
                Err(error)
            }

            fn missing() -> RoomError {
                $missing
            }
        }
    };
}

room_message!(Publish, enters: true, opens: true, missing: RoomError::Closed);
room_message!(PatchSession, enters: false, opens: false, missing: RoomError::NoSession);
room_message!(IsBearer, enters: false, opens: false, missing: RoomError::NoSession);
room_message!(EndSession, enters: false, opens: false, missing: RoomError::NoSession);
room_message!(OpenEvents, enters: false, opens: false, missing: RoomError::NoSession);
room_message!(ListenToEvents, enters: false, opens: false, missing: RoomError::NoSession);
room_message!(CloseEvents, enters: false, opens: false, missing: RoomError::NoSession);
room_message!(SelectLayer, enters: false, opens: false, missing: RoomError::NoSession);
room_message!(GetReport, enters: false, opens: false, missing: RoomError::NotLive);

/// What is in all rooms? Answered by name, without figures of tracks.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Vec<RoomReport>")]
pub struct GetRooms;

/// Does the control arbiter run its tasks? Answered without a look at any room.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Ping;

/// A room has no session any more and takes none: forget it.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub(super) struct RoomEmptied(pub RoomName);

/// The room is forgotten: end.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(super) struct End;

/// What is configured of rooms.
#[derive(Debug, Clone, Copy)]
pub struct RoomRules {
    /// Rooms at most.
    pub room_limit: u32,
    /// How long viewers wait for a publisher that left; zero ends them with it.
    pub republish_grace: Duration,
}

/// The root actor of the control arbiter.
pub struct Rooms {
    rooms: HashMap<RoomName, Opened>,
    /// Rooms opened so far.
    opened: u64,
    around: Surroundings,
    node: NodeId,
    room_limit: u32,
    draining: bool,
    /// Viewers that wait for a room's full mailbox; see [`admission::ADMITS_WAITING_CAPACITY`].
    waiting: usize,
    instruments: Instruments,
    /// Never finished: the root lives as long as the process.
    _lifeline: Lifeline,
}

/// An open room. Its number tells it from others that had its name before.
struct Opened {
    number: u64,
    room: Addr<Room>,
}

instrumented!(Rooms in instruments: CloseAll, GetRooms, Ping, Place, RoomEmptied, TellToLeave);

impl Rooms {
    /// A root without rooms, for the node `node` with these shards, in the order of their ids.
    pub fn new(
        node: NodeId,
        shards: Vec<ShardLink>,
        agent: Addr<ClusterAgent>,
        metrics: Arc<Metrics>,
        directory: Arc<Directory>,
        rules: RoomRules,
        lifeline: Lifeline,
    ) -> Self {
        let RoomRules { room_limit, republish_grace } = rules;
        let instruments = Instruments::new(&metrics, "rooms");
        let ledger = Rc::new(RefCell::new(Ledger::default()));
        let around =
            Surroundings { shards: shards.into(), agent, metrics, ledger, directory, republish_grace };
        let (rooms, opened, draining, waiting) = (HashMap::new(), 0, false, 0);
        Self { rooms, opened, around, node, room_limit, draining, waiting, instruments, _lifeline: lifeline }
    }

    /// The room for `M`; it is opened if `M` does that.
    fn room<M: RoomMessage>(
        &mut self,
        name: RoomName,
        context: &mut Context<Self>,
    ) -> Result<Addr<Room>, RoomError> {
        if M::ENTERS && self.draining {
            return Err(RoomError::Refused(PlacementRefusal::Draining));
        }
        match self.rooms.get(&name) {
            Some(Opened { room, .. }) => Ok(room.clone()),
            None if M::OPENS => self.open(name, context),
            None => Err(M::missing()),
        }
    }

    fn addresses(&self) -> Vec<Addr<Room>> {
        self.rooms.values().map(|opened| opened.room.clone()).collect()
    }

    fn open(&mut self, name: RoomName, context: &mut Context<Self>) -> Result<Addr<Room>, RoomError> {
        if self.rooms.len() >= self.room_limit as usize {
            return Err(RoomError::RoomLimit(self.room_limit));
        }
        let (line, watch) = lifeline();
        let emptied = context.address().recipient();
        let room = Room::new(name.clone(), self.around.clone(), emptied, line).start();
        self.opened += 1;
        let number = self.opened;
        self.rooms.insert(name.clone(), Opened { number, room: room.clone() });
        context.spawn(watch.exit().into_actor(self).map(move |exit, rooms, context| {
            if exit == Exit::Died {
                rooms.bury(&name, number, context);
            }
        }));
        Ok(room)
    }

    /// A room died of a fault of ours: nobody would ever end its peers or give its streams back, so it is done now. A peer
    /// that its shard had not answered for has no key here; the shard itself ends it, as nobody hears its notices.
    fn bury(&mut self, name: &RoomName, number: u64, context: &mut Context<Self>) {
        self.around.metrics.actor_restarts_total.with_label_values(&["room", "panic"]).inc();
        if self.rooms.get(name).is_none_or(|opened| opened.number != number) {
            // It was empty and forgotten when it died; what has its name now is another.
            error!(room = %name, "room died on its way out");
            return;
        }
        self.rooms.remove(name);
        self.around.directory.withdraw_room(name);
        let orphans = self.around.ledger.borrow().of_room(name);
        error!(room = %name, sessions = orphans.len(), "room died, its sessions are ended");
        let mut peers: BTreeMap<u8, Vec<PeerKey>> = BTreeMap::new();
        let claimed = self.around.ledger.borrow_mut().take_claimed(name);
        for stream in claimed {
            let (agent, room) = (self.around.agent.clone(), name.clone());
            let released = async move { ask(&agent, ReleaseStream { room, stream }, DEADLINE).await };
            // The agent answers, or the node is stopping.
            context.spawn(released.into_actor(self).map(|_, _, _| ()));
        }
        for (session, place) in orphans {
            self.around.ledger.borrow_mut().leave(session);
            if let Some(peer) = place.peer {
                peers.entry(place.reservation.shard().0).or_default().push(peer);
            }
        }
        for (shard, peers) in peers {
            let Some(shard) = self.around.shards.get(usize::from(shard)) else { continue };
            let closed = shard.close_peers.send(ClosePeers { peers, reason: EndReason::Internal });
            // It waits for room in the mailbox; a shard that is gone has no peers.
            context.spawn(closed.into_actor(self).map(|_, _, _| ()));
        }
    }
}

/// Asks the coordinator whether a publisher belongs here.
async fn placed_here(
    agent: Addr<ClusterAgent>,
    here: NodeId,
    room: RoomName,
    stream: StreamName,
) -> Result<(), RoomError> {
    let request = PlacementRequest { room, stream, role: Role::Publisher };
    match ask(&agent, GetPlacement(request), DEADLINE).await {
        Ok(Ok(PlacementAnswer::Node(node))) if node == here => Ok(()),
        Ok(Ok(PlacementAnswer::Node(node))) => Err(RoomError::Elsewhere(node)),
        Ok(Ok(PlacementAnswer::Refused(refusal))) => Err(RoomError::Refused(refusal)),
        Ok(Err(error)) => Err(RoomError::Cluster(error)),
        Err(error) => Err(RoomError::Unanswered(error)),
    }
}

/// An answer of a room; one that is gone means that the request came too late.
fn flatten<T>(answer: Result<Result<T, RoomError>, AskError>) -> Result<T, RoomError> {
    match answer {
        Ok(answer) => answer,
        Err(AskError::Closed) => Err(RoomError::Closed),
        Err(error @ AskError::Timeout) => Err(RoomError::Unanswered(error)),
    }
}

impl Actor for Rooms {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        context.set_mailbox_capacity(ROOMS_MAILBOX_CAPACITY);
    }
}

impl Handler<Place> for Rooms {
    type Result = ResponseFuture<Result<Reservation, RoomError>>;

    fn handle(
        &mut self,
        Place { room: name, stream, claimant }: Place,
        _: &mut Context<Self>,
    ) -> Self::Result {
        if self.draining {
            let refused = RoomError::Refused(PlacementRefusal::Draining);
            return Box::pin(std::future::ready(Err(refused)));
        }
        let room = self.rooms.get(&name).map(|opened| opened.room.clone());
        let (agent, node) = (self.around.agent.clone(), self.node.clone());
        let (directory, metrics) = (Arc::clone(&self.around.directory), Arc::clone(&self.around.metrics));
        Box::pin(async move {
            if let Some(room) = room {
                let check = CheckFree { stream: stream.clone(), claimant };
                // A stream that is here stays here, wherever the coordinator would put a new one. A publisher that returns
                // finds its place, however full the node is by now; one that takes over brings no load with it.
                match flatten(ask(&room, check, DEADLINE).await)? {
                    Some(Home { seat: Some(seat), .. }) => return Ok(seat),
                    Some(Home { shard, seat: None }) => return directory.reserve_on(shard),
                    None => {}
                }
            }
            let place = directory.reserve()?;
            let asked = crate::actor::now();
            let placed = placed_here(agent, node, name, stream).await;
            let waited = crate::actor::now().saturating_duration_since(asked);
            metrics.placement_duration_seconds.observe(waited.as_secs_f64());
            placed.map(|()| place)
        })
    }
}

impl<M> actix::Handler<InRoom<M>> for Rooms
where
    M: RoomMessage,
    M::Result: MessageResponse<Room, M> + Send,
    Room: actix::Handler<M>,
    Context<Room>: ToEnvelope<Room, M>,
{
    type Result = ResponseFuture<M::Result>;

    fn handle(&mut self, InRoom { room, message }: InRoom<M>, context: &mut Context<Self>) -> Self::Result {
        let room = measure(self, "InRoom", context, |rooms, context| rooms.room::<M>(room, context));
        Box::pin(async move {
            match room {
                Err(error) => M::refused(error),
                Ok(room) => match ask(&room, message, DEADLINE * 2).await {
                    Ok(answer) => answer,
                    Err(AskError::Closed) => M::refused(RoomError::Closed),
                    Err(error) => M::refused(RoomError::Unanswered(error)),
                },
            }
        })
    }
}

impl Handler<RoomEmptied> for Rooms {
    type Result = ();

    /// Whatever was handed to the room before is answered first.
    fn handle(&mut self, RoomEmptied(room): RoomEmptied, context: &mut Context<Self>) {
        if let Some(Opened { room, .. }) = self.rooms.remove(&room) {
            // It waits for room in the mailbox; a room that died meanwhile is told of by its watch.
            context.spawn(async move { room.send(End).await }.into_actor(self).map(|_, _, _| ()));
        }
    }
}

impl Handler<Ping> for Rooms {
    type Result = ();

    fn handle(&mut self, Ping: Ping, _: &mut Context<Self>) {}
}

impl Handler<GetRooms> for Rooms {
    type Result = ResponseFuture<Vec<RoomReport>>;

    fn handle(&mut self, GetRooms: GetRooms, _: &mut Context<Self>) -> Self::Result {
        let rooms = self.addresses();
        Box::pin(async move {
            let asked = rooms.iter().map(|room| ask(room, GetReport { with_figures: false }, DEADLINE));
            let mut reports: Vec<RoomReport> =
                join_all(asked).await.into_iter().filter_map(|report| report.ok()?.ok()).collect();
            reports.sort_by(|a, b| a.name.cmp(&b.name));
            reports
        })
    }
}

impl Handler<CloseAll> for Rooms {
    type Result = ResponseFuture<()>;

    /// From now on no session enters; answered when every peer of every room has been told.
    fn handle(&mut self, close: CloseAll, _: &mut Context<Self>) -> Self::Result {
        self.draining = true;
        let rooms = self.addresses();
        Box::pin(async move {
            // A room that is gone has no session left to close.
            join_all(rooms.iter().map(|room| ask(room, close, DEADLINE))).await;
        })
    }
}

impl Handler<TellToLeave> for Rooms {
    type Result = ResponseFuture<usize>;

    /// From now on no session enters; answered when every room has told its viewers, with how many were.
    fn handle(&mut self, tell: TellToLeave, _: &mut Context<Self>) -> Self::Result {
        self.draining = true;
        let rooms = self.addresses();
        Box::pin(async move {
            let told = join_all(rooms.iter().map(|room| ask(room, tell, DEADLINE))).await;
            // A room that is gone has nobody to tell.
            told.into_iter().filter_map(Result::ok).sum()
        })
    }
}
