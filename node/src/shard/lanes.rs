//! The shard's ways to its peers, to their rooms and to the other shards, each with its bound.

use std::time::Instant;

use actix::Recipient;
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::mpsc;

use crate::actor::lane::{LaneLosses, MediaLane, NoticeLane};
use crate::media::path::{PeerKey, ShardId};
use crate::media::spec::ShardMessage;
use crate::peer::message::{PeerInput, PeerNotice, PeerNotices};
use crate::shard::message::FromShard;
use crate::shard::room_lanes::{Haste, RoomLanes};

/// Batches of packets on their way from one shard to another: at one batch per track and gather window, some hundred
/// tracks behind schedule. Full means that the receiving shard is overloaded: the newest batch is dropped and counted,
/// and what viewers miss of it they ask for again.
pub const PACKETS_CAPACITY: usize = 1024;

/// Where another shard takes messages.
#[derive(Debug, Clone)]
pub struct ShardLink {
    /// Which shard.
    pub id: ShardId,
    /// Takes packets, into its event loop.
    pub packets: mpsc::Sender<ShardMessage>,
    /// Takes everything else, into its mailbox.
    pub notices: Recipient<FromShard>,
}

/// What the lanes lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Losses {
    /// STUN and DTLS datagrams that a peer did not take, and commands.
    pub(super) peer: LaneLosses,
    /// Notices that a room did not take.
    pub(super) room: LaneLosses,
    /// Batches and notices that another shard did not take.
    pub(super) shard: LaneLosses,
}

/// The ways to and from one peer.
pub(super) struct PeerLanes {
    actor: Recipient<PeerInput>,
    datagrams: MediaLane<PeerInput>,
    commands: NoticeLane<PeerInput>,
    room: Recipient<PeerNotices>,
    /// How soon its room hears of it.
    haste: Haste,
}

impl PeerLanes {
    pub(super) fn new(actor: Recipient<PeerInput>, room: Recipient<PeerNotices>, haste: Haste) -> Self {
        Self {
            datagrams: MediaLane::new(actor.clone()),
            commands: NoticeLane::new(actor.clone()),
            actor,
            room,
            haste,
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.commands.poll_timeout()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.commands.handle_timeout(now);
    }

    fn add_losses(&self, losses: &mut Losses) {
        add(&mut losses.peer, self.datagrams.losses());
        add(&mut losses.peer, self.commands.losses());
    }
}

struct LinkLanes {
    packets: mpsc::Sender<ShardMessage>,
    notices: NoticeLane<FromShard>,
    losses: LaneLosses,
}

/// All lanes of one shard.
#[derive(Default)]
pub(super) struct Lanes {
    peers: FxHashMap<PeerKey, PeerLanes>,
    rooms: RoomLanes,
    links: FxHashMap<ShardId, LinkLanes>,
    /// Peers with something that waits for a second try: nearly always none.
    waiting: FxHashSet<PeerKey>,
    /// Losses of lanes that are no more.
    past: Losses,
}

impl Lanes {
    pub(super) fn add(&mut self, peer: PeerKey, lanes: PeerLanes) {
        self.peers.insert(peer, lanes);
    }

    pub(super) fn link(&mut self, link: ShardLink) {
        let lanes = LinkLanes {
            packets: link.packets,
            notices: NoticeLane::new(link.notices),
            losses: LaneLosses::default(),
        };
        self.links.insert(link.id, lanes);
    }

    /// Forgets a peer; what waits for its room is still delivered.
    pub(super) fn remove(&mut self, peer: PeerKey) {
        self.waiting.remove(&peer);
        let Some(lanes) = self.peers.remove(&peer) else {
            return;
        };
        lanes.add_losses(&mut self.past);
    }

    pub(super) fn tell_peer(&mut self, now: Instant, peer: PeerKey, input: PeerInput) {
        let Some(lanes) = self.peers.get_mut(&peer) else {
            return;
        };
        match input {
            // STUN and DTLS repeat what is lost; nothing of a flood may wait.
            PeerInput::Datagram { .. } | PeerInput::PathHeard { .. } => {
                lanes.datagrams.send(input);
            }
            PeerInput::RestartIce { .. } | PeerInput::Close(_) => {
                lanes.commands.send(now, input);
                self.note_waiting(peer);
            }
        }
    }

    pub(super) fn tell_room(&mut self, now: Instant, peer: PeerKey, notice: PeerNotice) {
        if let Some(lanes) = self.peers.get(&peer) {
            self.rooms.send(now, &lanes.room, notice, lanes.haste);
        }
    }

    /// Tells the room of a viewer that has just become a peer, or has not.
    pub(super) fn tell_room_of_viewer(
        &mut self,
        now: Instant,
        room: &Recipient<PeerNotices>,
        notice: PeerNotice,
    ) {
        self.rooms.send(now, room, notice, Haste::Gathered);
    }

    /// Tells rooms what waits for others of its kind.
    pub(super) fn flush_rooms(&mut self, now: Instant) {
        self.rooms.flush(now);
    }

    /// Forgets the ways to rooms that are no more.
    pub(super) fn forget_closed_rooms(&mut self) {
        self.rooms.forget_closed();
    }

    fn note_waiting(&mut self, peer: PeerKey) {
        if self.peers.get(&peer).is_some_and(|lanes| lanes.poll_timeout().is_some()) {
            self.waiting.insert(peer);
        }
    }

    pub(super) fn tell_shard(&mut self, now: Instant, shard: ShardId, message: ShardMessage) {
        let Some(link) = self.links.get_mut(&shard) else {
            self.past.shard.closed += 1;
            return;
        };
        if !matches!(message, ShardMessage::Packets(_)) {
            link.notices.send(now, FromShard(message));
            return;
        }
        match link.packets.try_send(message) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => link.losses.full += 1,
            Err(mpsc::error::TrySendError::Closed(_)) => link.losses.closed += 1,
        }
    }

    /// When something that waits is to be tried again.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let peers = self.waiting.iter().filter_map(|peer| self.peers.get(peer)?.poll_timeout());
        let links = self.links.values().filter_map(|link| link.notices.poll_timeout());
        peers.chain(links).chain(self.rooms.poll_timeout()).min()
    }

    /// Tries what waits again.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.links.values_mut().for_each(|link| link.notices.handle_timeout(now));
        self.rooms.handle_timeout(now);
        if self.waiting.is_empty() {
            return;
        }
        let peers = &mut self.peers;
        self.waiting.retain(|peer| {
            peers.get_mut(peer).is_some_and(|lanes| {
                lanes.handle_timeout(now);
                lanes.poll_timeout().is_some()
            })
        });
    }

    /// Peers whose actor is no more.
    pub(super) fn dead(&self) -> impl Iterator<Item = PeerKey> {
        self.peers.iter().filter(|(_, lanes)| !lanes.actor.connected()).map(|(peer, _)| *peer)
    }

    /// Peers whose room is no more.
    pub(super) fn orphans(&self) -> impl Iterator<Item = PeerKey> {
        self.peers.iter().filter(|(_, lanes)| !lanes.room.connected()).map(|(peer, _)| *peer)
    }

    /// What was lost so far.
    pub(super) fn losses(&self) -> Losses {
        let mut losses = self.past;
        add(&mut losses.room, self.rooms.losses());
        self.peers.values().for_each(|lanes| lanes.add_losses(&mut losses));
        for link in self.links.values() {
            add(&mut losses.shard, link.losses);
            add(&mut losses.shard, link.notices.losses());
        }
        losses
    }
}

fn add(total: &mut LaneLosses, more: LaneLosses) {
    total.full += more.full;
    total.closed += more.closed;
}
