//! The shard's ways to its peers, to their rooms and to the other shards, each with its bound.

use std::sync::Arc;
use std::time::Instant;

use actix::Recipient;
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::mpsc;

use crate::actor::lane::{LaneLosses, MediaLane, NoticeLane};
use crate::media::batch::PacketBatch;
use crate::media::path::{PeerKey, ShardId};
use crate::media::spec::ShardMessage;
use crate::peer::message::{PeerInput, PeerNotice, PeerNotices};
use crate::shard::demux::{Protocol, protocol};
use crate::shard::message::FromShard;
use crate::shard::room_lanes::{Haste, RoomLanes};

/// Batches of packets on their way from one shard to another: at one batch per track and gather window, some hundred
/// tracks behind schedule. Full means that the receiving shard is overloaded: the newest batch is dropped and counted,
/// and a keyframe of its layers is asked for: what viewers over there miss of it, no ring of theirs has.
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
    /// Checks, of which the core lets few through: junk in the mailbox must not end a session's consent.
    checks: NoticeLane<PeerInput>,
    commands: NoticeLane<PeerInput>,
    room: Recipient<PeerNotices>,
    /// How soon its room hears of it.
    haste: Haste,
}

impl PeerLanes {
    pub(super) fn new(actor: Recipient<PeerInput>, room: Recipient<PeerNotices>, haste: Haste) -> Self {
        Self {
            datagrams: MediaLane::new(actor.clone()),
            checks: NoticeLane::new(actor.clone()),
            commands: NoticeLane::new(actor.clone()),
            actor,
            room,
            haste,
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        [self.commands.poll_timeout(), self.checks.poll_timeout()].into_iter().flatten().min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.commands.handle_timeout(now);
        self.checks.handle_timeout(now);
    }

    /// A peer whose actor is no more has ended, and nothing was lost on it, or has died, which is counted by itself.
    fn add_losses(&self, losses: &mut Losses) {
        let repeated = self.checks.losses().full + self.commands.losses().full;
        losses.peer.full += self.datagrams.losses().full + repeated;
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
            PeerInput::Datagram { ref bytes, .. } if protocol(bytes) == Protocol::Stun => {
                lanes.checks.send(now, input);
                self.note_waiting(peer);
            }
            PeerInput::PathHeard { .. } | PeerInput::SendsElsewhere { .. } => {
                lanes.checks.send(now, input);
                self.note_waiting(peer);
            }
            // DTLS repeats what is lost; nothing of a flood may wait.
            PeerInput::Datagram { .. } => {
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

    /// See [`RoomLanes::take_closed`].
    pub(super) fn take_closed_room(&mut self) -> bool {
        self.rooms.take_closed()
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

    /// Tells another shard. Returns packets that it did not take because it is behind.
    pub(super) fn tell_shard(
        &mut self,
        now: Instant,
        shard: ShardId,
        message: ShardMessage,
    ) -> Option<Arc<PacketBatch>> {
        let Some(link) = self.links.get_mut(&shard) else {
            self.past.shard.closed += 1;
            return None;
        };
        if !matches!(message, ShardMessage::Packets(_)) {
            link.notices.send(now, FromShard(message));
            return None;
        }
        match link.packets.try_send(message) {
            Ok(()) => None,
            Err(mpsc::error::TrySendError::Full(message)) => {
                link.losses.full += 1;
                let ShardMessage::Packets(batch) = message else { return None };
                Some(batch)
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                link.losses.closed += 1;
                None
            }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use actix::{Actor, ActorContext, Context, Handler};
    use aforo_cluster::id::TrackId;

    use super::*;
    use crate::actor::{now, virtual_time};
    use crate::media::path::Path;
    use crate::peer::message::EndReason;

    /// Takes everything, or has ended.
    struct Sink {
        ended: bool,
    }

    impl Actor for Sink {
        type Context = Context<Self>;

        fn started(&mut self, context: &mut Context<Self>) {
            if self.ended {
                context.terminate();
            }
        }
    }

    macro_rules! takes {
        ($($message:ty),+) => {$(
            impl Handler<$message> for Sink {
                type Result = ();

                fn handle(&mut self, _: $message, _: &mut Context<Self>) {}
            }
        )+};
    }

    takes!(PeerInput, PeerNotices, FromShard);

    #[test]
    fn packets_that_a_shard_did_not_take_come_back() {
        virtual_time::run(async {
            let (packets, mut receiver) = mpsc::channel(1);
            let notices = Sink { ended: false }.start().recipient();
            let mut lanes = Lanes::default();
            lanes.link(ShardLink { id: ShardId(1), packets, notices });
            let batch = |id| PacketBatch {
                track: TrackId(id),
                arrival: now(),
                group: None,
                points: crate::media::subscription::Subscription::ALL,
                packets: Vec::new(),
                bytes: Vec::new(),
            };
            let send = |lanes: &mut Lanes, id| {
                let message = ShardMessage::Packets(Arc::new(batch(id)));
                lanes.tell_shard(now(), ShardId(1), message).map(|lost| lost.track)
            };
            assert_eq!([send(&mut lanes, 1), send(&mut lanes, 2)], [None, Some(TrackId(2))]);
            assert_eq!(lanes.losses().shard, LaneLosses { full: 1, closed: 0 });
            assert!(receiver.recv().await.is_some());
            drop(receiver);
            assert_eq!(send(&mut lanes, 3), None, "nobody watches there");
            assert_eq!(lanes.losses().shard, LaneLosses { full: 1, closed: 1 });
        });
    }

    /// Notes what it was told.
    struct Ear(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);

    impl Actor for Ear {
        type Context = Context<Self>;

        fn started(&mut self, context: &mut Context<Self>) {
            context.set_mailbox_capacity(crate::peer::actor::PEER_MAILBOX_CAPACITY);
        }
    }

    impl Handler<PeerInput> for Ear {
        type Result = ();

        fn handle(&mut self, input: PeerInput, _: &mut Context<Self>) {
            if let PeerInput::Datagram { bytes, .. } = input {
                self.0.borrow_mut().push(bytes[0]);
            }
        }
    }

    #[test]
    fn a_check_comes_through_a_mailbox_full_of_junk() {
        virtual_time::run(async {
            let heard = std::rc::Rc::default();
            let actor = Ear(std::rc::Rc::clone(&heard)).start();
            tokio::task::yield_now().await;
            let room = Sink { ended: false }.start().recipient();
            let peer = PeerKey { index: 0, generation: 0 };
            let mut lanes = Lanes::default();
            lanes.add(peer, PeerLanes::new(actor.recipient(), room, Haste::AtOnce));
            let path = Path::Udp(([192, 0, 2, 1], 1).into());
            let datagram =
                |first: u8| PeerInput::Datagram { path, bytes: bytes::Bytes::from(vec![first; 20]) };
            for _ in 0..100 {
                lanes.tell_peer(now(), peer, datagram(22));
            }
            lanes.tell_peer(now(), peer, datagram(0));
            assert!(lanes.losses().peer.full > 0, "the mailbox is full");
            while let Some(at) = lanes.poll_timeout() {
                virtual_time::pass(at.saturating_duration_since(now())).await;
                lanes.handle_timeout(now());
            }
            tokio::task::yield_now().await;
            assert_eq!(heard.borrow().last(), Some(&0));
        });
    }

    #[test]
    fn what_comes_for_a_peer_that_has_just_ended_is_no_loss() {
        virtual_time::run(async {
            let actor = Sink { ended: true }.start();
            let room = Sink { ended: false }.start().recipient();
            while actor.connected() {
                tokio::task::yield_now().await;
            }
            let peer = PeerKey { index: 0, generation: 0 };
            let mut lanes = Lanes::default();
            lanes.add(peer, PeerLanes::new(actor.recipient(), room, Haste::AtOnce));
            let path = Path::Udp(([192, 0, 2, 1], 1).into());
            lanes.tell_peer(now(), peer, PeerInput::Datagram { path, bytes: bytes::Bytes::new() });
            lanes.tell_peer(now(), peer, PeerInput::Close(EndReason::Deleted));
            assert_eq!(lanes.losses().peer, LaneLosses::default());
            lanes.remove(peer);
            assert_eq!(lanes.losses().peer, LaneLosses::default());
        });
    }
}
