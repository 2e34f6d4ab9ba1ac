//! The control side of a node with shards that only take notes: for tests of rooms and of HTTP.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, Recipient};
use aforo_cluster::bus::Bus;
use aforo_cluster::bus::memory::MemoryBus;
use aforo_cluster::id::{RoomName, SessionId};
use aforo_cluster::metric::Metrics;

use super::{Admit, Directory, InRoom, Play, RoomError, RoomRules, Rooms, ShardLink};
use crate::actor::supervise::{Watch, lifeline};
use crate::cluster_agent::ClusterAgent;
use crate::config::Limits;
use crate::media::path::{PeerKey, ShardId};
use crate::media::selection::LayerWish;
use crate::peer::message::{EndReason, PeerEvent, PeerInput, PeerNotice, PeerNotices};
use crate::shard::message::{
    AddPeer, AddPeerError, AdmitPeer, ClosePeers, GetReport, ShardReport, TellPeer, WishLayer,
};

/// What the rooms did to the shard.
#[derive(Default)]
pub(crate) struct Notes {
    /// Peers that were added, with whom to tell of their life.
    pub(crate) added: Vec<(SessionId, Recipient<PeerNotices>)>,
    /// What peers were told, by index.
    pub(crate) told: Vec<(u32, PeerInput)>,
    /// Which layers viewers asked for, by the index of their peers.
    pub(crate) wishes: Vec<(u32, LayerWish)>,
    /// What the rooms have yet to hear of viewers that were added or refused.
    pub(crate) unsaid: Vec<(Recipient<PeerNotices>, PeerNotice)>,
    /// Whether the shard is full.
    pub(crate) full: bool,
}

struct NotingShard(Arc<Mutex<Notes>>);

impl Actor for NotingShard {
    type Context = Context<Self>;
}

impl NotingShard {
    fn add(&self, add: AddPeer) -> Result<PeerKey, AddPeerError> {
        let mut notes = self.0.lock().unwrap();
        if notes.full {
            return Err(AddPeerError::Full);
        }
        notes.added.push((add.session, add.notices));
        Ok(PeerKey { index: u32::try_from(notes.added.len() - 1).unwrap(), generation: 0 })
    }
}

impl Handler<AddPeer> for NotingShard {
    type Result = Result<PeerKey, AddPeerError>;

    fn handle(&mut self, add: AddPeer, _: &mut Context<Self>) -> Self::Result {
        self.add(add)
    }
}

impl Handler<AdmitPeer> for NotingShard {
    type Result = ();

    /// As the shard does it, but the room hears of it only when the test says so.
    fn handle(&mut self, AdmitPeer { add, answer }: AdmitPeer, _: &mut Context<Self>) {
        let (session, room) = (add.session, add.notices.clone());
        let added = self.add(add);
        let event = match added {
            Ok(peer) => PeerEvent::Added { shard: ShardId(0), peer },
            Err(_) => PeerEvent::Ended(EndReason::Internal),
        };
        let notice = PeerNotice { session, event, at: crate::actor::now() };
        self.0.lock().unwrap().unsaid.push((room, notice));
        answer(added.map(|_| ()));
    }
}

impl Handler<TellPeer> for NotingShard {
    type Result = ();

    fn handle(&mut self, tell: TellPeer, _: &mut Context<Self>) {
        self.0.lock().unwrap().told.push((tell.peer.index, tell.input));
    }
}

impl Handler<ClosePeers> for NotingShard {
    type Result = ();

    fn handle(&mut self, close: ClosePeers, _: &mut Context<Self>) {
        let mut notes = self.0.lock().unwrap();
        let closed = close.peers.iter().map(|peer| (peer.index, PeerInput::Close(close.reason)));
        notes.told.extend(closed);
    }
}

impl Handler<WishLayer> for NotingShard {
    type Result = ();

    fn handle(&mut self, WishLayer { peer, wish }: WishLayer, _: &mut Context<Self>) {
        self.0.lock().unwrap().wishes.push((peer.index, wish));
    }
}

impl Handler<GetReport> for NotingShard {
    type Result = actix::MessageResult<GetReport>;

    fn handle(&mut self, _: GetReport, _: &mut Context<Self>) -> Self::Result {
        actix::MessageResult(ShardReport { tracks: Vec::new() })
    }
}

/// A shard that takes notes.
pub(crate) fn noting_shard(notes: &Arc<Mutex<Notes>>) -> ShardLink {
    let shard = NotingShard(Arc::clone(notes)).start();
    ShardLink {
        add_peer: shard.clone().recipient(),
        admit_peer: shard.clone().recipient(),
        tell_peer: shard.clone().recipient(),
        close_peers: shard.clone().recipient(),
        wish_layer: shard.clone().recipient(),
        report: shard.recipient(),
    }
}

/// Rooms, a cluster of one node, and one shard.
pub(crate) struct Rig {
    pub(crate) rooms: Addr<Rooms>,
    pub(crate) watch: Watch,
    pub(crate) agent: Addr<ClusterAgent>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) notes: Arc<Mutex<Notes>>,
    pub(crate) directory: Arc<Directory>,
}

impl Rig {
    /// Starts all of it on this thread's system. Viewers do not wait for a publisher that left.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self::with_grace(limits, Duration::ZERO)
    }

    /// The same, but viewers wait this long.
    pub(crate) fn with_grace(limits: &Limits, republish_grace: Duration) -> Self {
        let rules = RoomRules { room_limit: limits.rooms, republish_grace };
        let (bus, metrics) = (Arc::new(MemoryBus::new()), Arc::new(Metrics::new().unwrap()));
        actix::spawn({
            let bus: Arc<dyn Bus> = Arc::clone(&bus) as _;
            async move { aforo_coordinator::service::serve(bus).await.unwrap() }
        });
        let node: aforo_cluster::id::NodeId = "here".parse().unwrap();
        let agent = ClusterAgent::new(bus, Arc::clone(&metrics), node.clone(), lifeline().0).start();
        let notes = Arc::new(Mutex::new(Notes::default()));
        let link = noting_shard(&notes);
        let directory = Arc::new(Directory::new(1, limits.sessions));
        let (links, counted, known) = (vec![link], Arc::clone(&metrics), Arc::clone(&directory));
        let (line, watch) = lifeline();
        let rooms = Rooms::new(node, links, agent.clone(), counted, known, rules, line).start();
        Self { rooms, watch, agent, metrics, notes, directory }
    }

    /// Asks for a viewer as an HTTP worker does.
    pub(crate) async fn play(&self, room: RoomName, play: Play) -> Result<(), RoomError> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.rooms.send(InRoom { room, message: Admit { play, answer } }).await.unwrap();
        answered.await.unwrap()
    }

    /// The rooms hear what became of the viewers that the shard was told of.
    pub(crate) async fn shard_notifies(&self) {
        let unsaid = std::mem::take(&mut self.notes.lock().unwrap().unsaid);
        for (room, notice) in unsaid {
            room.send(PeerNotices(vec![notice])).await.unwrap();
        }
    }

    /// The peer that was added last says this.
    pub(crate) async fn last_peer_says(&self, event: PeerEvent) {
        let index = self.notes.lock().unwrap().added.len() - 1;
        self.peer_says(index, event).await;
    }

    /// The peer with this index says this.
    pub(crate) async fn peer_says(&self, index: usize, event: PeerEvent) {
        let (session, notices) = self.notes.lock().unwrap().added[index].clone();
        let notice = PeerNotice { session, event, at: crate::actor::now() };
        notices.send(PeerNotices(vec![notice])).await.unwrap();
    }
}
