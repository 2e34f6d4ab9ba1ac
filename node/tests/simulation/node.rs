//! The node without its sockets and actors: shard cores and peer cores, joined as their shells join them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aforo_cluster::id::SessionId;
use aforo_node::media::outbox::{SendBatch, Transmit};
use aforo_node::media::path::{Path, PeerKey, ShardId};
use aforo_node::media::selection::LayerWish;
use aforo_node::peer::core::PeerCore;
use aforo_node::peer::dtls::DtlsIdentity;
use aforo_node::peer::message::{PeerConfig, PeerInput, PeerNotice};
use aforo_node::shard::core::{ShardCore, ShardCoreConfig, ShardOutput};
use aforo_node::shard::message::PeerMedia;

use crate::memory;
use crate::rehearsal;
use crate::room::SILENCE_LIMIT;
use crate::session::TrackPlan;

/// Inputs and outputs that one instant may cause. More means that something feeds itself.
const STEPS_MAX: usize = 100_000;

struct Shard {
    core: ShardCore,
    peers: BTreeMap<(u32, u32), PeerCore>,
    batch: SendBatch,
    /// Datagrams that came since the last flush, with their arrival.
    inbox: Vec<(Instant, Path, Vec<u8>)>,
    flush_at: Option<Instant>,
}

/// See the module.
pub struct Node {
    shards: Vec<Shard>,
    identity: Arc<DtlsIdentity>,
    /// How long datagrams are gathered before they are worked off.
    gather: Duration,
    pub notices: Vec<PeerNotice>,
}

/// A datagram that the node sent.
pub type Sent = (ShardId, Path, Vec<u8>);

struct Collector<'a> {
    shard: ShardId,
    sent: &'a mut Vec<Sent>,
}

impl Transmit for Collector<'_> {
    fn transmit(&mut self, batch: &SendBatch) {
        for run in batch.runs() {
            let datagrams = batch.datagrams(run).map(|bytes| (self.shard, run.path, bytes.to_vec()));
            memory::of_simulation(|| self.sent.extend(datagrams));
        }
    }
}

impl Node {
    pub fn new(shards: u8, gather: Duration, seed: u64, now: Instant) -> Self {
        let shard = |id| {
            let seed = seed ^ u64::from(id);
            let config =
                ShardCoreConfig { id: ShardId(id), seed, peers_max: 64, silence_limit: Some(SILENCE_LIMIT) };
            Shard {
                core: ShardCore::new(config, now),
                peers: BTreeMap::new(),
                batch: SendBatch::new(),
                inbox: Vec::new(),
                flush_at: None,
            }
        };
        let identity = DtlsIdentity::generate().unwrap();
        let shards = memory::of_node(|| (0..shards).map(shard).collect());
        Self { shards, identity, gather, notices: Vec::new() }
    }

    /// Lets the tables grow before a run.
    pub fn rehearse(&mut self, now: Instant, plan: &TrackPlan) {
        memory::of_node(|| {
            self.shards.iter_mut().for_each(|shard| rehearsal::play(&mut shard.core, now, plan))
        });
    }

    pub fn add_peer(
        &mut self,
        now: Instant,
        shard: ShardId,
        session: SessionId,
        config: PeerConfig,
        media: PeerMedia,
    ) -> PeerKey {
        let identity = Arc::clone(&self.identity);
        let shard = &mut self.shards[usize::from(shard.0)];
        memory::of_node(|| {
            let key = shard.core.add_peer(session, &config.local_ice, media).unwrap();
            shard.peers.insert((key.index, key.generation), PeerCore::new(config, identity, now));
            key
        })
    }

    pub fn tell(&mut self, shard: ShardId, peer: PeerKey, input: PeerInput) {
        memory::of_node(|| self.shards[usize::from(shard.0)].core.tell(peer, input));
    }

    /// A viewer asks for another layer.
    pub fn wish(&mut self, now: Instant, shard: ShardId, peer: PeerKey, wish: LayerWish) {
        memory::of_node(|| self.shards[usize::from(shard.0)].core.wish_layer(now, peer, wish));
    }

    /// A datagram reached the host. When it is worked off.
    pub fn receive(&mut self, now: Instant, shard: ShardId, path: Path, datagram: Vec<u8>) -> Instant {
        let shard = &mut self.shards[usize::from(shard.0)];
        shard.inbox.push((now, path, datagram));
        *shard.flush_at.get_or_insert(now + self.gather)
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let of_shard = |shard: &Shard| {
            let peers = shard.peers.values().filter_map(PeerCore::poll_timeout);
            peers.chain(shard.core.poll_timeout()).chain(shard.flush_at).min()
        };
        self.shards.iter().filter_map(of_shard).min()
    }

    /// Brings everything up to `now` and returns what the node sends.
    pub fn step(&mut self, now: Instant) -> Vec<Sent> {
        memory::of_node(|| self.work(now))
    }

    fn work(&mut self, now: Instant) -> Vec<Sent> {
        let mut sent = Vec::new();
        let mut between = VecDeque::new();
        for place in 0..self.shards.len() {
            let shard = &mut self.shards[place];
            if shard.flush_at.is_some_and(|at| at <= now) {
                shard.flush_at = None;
                for (arrival, path, mut datagram) in std::mem::take(&mut shard.inbox) {
                    shard.core.handle_datagram(now, arrival, path, &mut datagram);
                }
            }
            if shard.core.poll_timeout().is_some_and(|at| at <= now) {
                shard.core.handle_timeout(now);
            }
            let due = shard.peers.iter().filter(|(_, peer)| peer.poll_timeout().is_some_and(|at| at <= now));
            let due: Vec<(u32, u32)> = due.map(|(key, _)| *key).collect();
            for key in due {
                shard.peers.get_mut(&key).unwrap().handle_timeout(now);
                shard.relay(now, key);
            }
        }
        for _ in 0..STEPS_MAX {
            for shard in &mut self.shards {
                shard.drain(now, &mut between, &mut self.notices);
                let mut collector = Collector { shard: shard.core.id(), sent: &mut sent };
                shard.core.flush(now, &mut shard.batch, &mut collector);
                shard.drain(now, &mut between, &mut self.notices);
            }
            if between.is_empty() {
                return sent;
            }
            for (to, message) in between.drain(..) {
                let to: ShardId = to;
                self.shards[usize::from(to.0)].core.handle_shard(now, message);
            }
        }
        panic!("the shards never come to rest");
    }

    /// Peers that the shards know, and peers that live.
    pub fn peers(&self) -> (usize, usize) {
        let known = self.shards.iter().map(|shard| shard.core.peers()).sum();
        let live = self.shards.iter().map(|shard| shard.peers.len()).sum();
        (known, live)
    }

    pub fn shards(&self) -> impl Iterator<Item = &ShardCore> {
        self.shards.iter().map(|shard| &shard.core)
    }
}

impl Shard {
    /// Carries what a peer says to the shard.
    fn relay(&mut self, now: Instant, key: (u32, u32)) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        while let Some(output) = peer.poll_output() {
            self.core.handle_peer(now, PeerKey { index: key.0, generation: key.1 }, output);
        }
    }

    fn drain(
        &mut self,
        now: Instant,
        between: &mut VecDeque<(ShardId, aforo_node::media::spec::ShardMessage)>,
        notices: &mut Vec<PeerNotice>,
    ) {
        for _ in 0..STEPS_MAX {
            match self.core.poll_output() {
                None => return,
                Some(ShardOutput::ToPeer(key, input)) => {
                    let key = (key.index, key.generation);
                    if let Some(peer) = self.peers.get_mut(&key) {
                        peer.handle(now, input);
                        self.relay(now, key);
                    }
                }
                Some(ShardOutput::Notice(_, notice)) => memory::of_simulation(|| notices.push(notice)),
                Some(ShardOutput::Removed(key)) => {
                    self.peers.remove(&(key.index, key.generation));
                }
                Some(ShardOutput::ClosePath(path)) => panic!("{path:?} is no connection"),
                Some(ShardOutput::KeyframeWaited(_)) => {}
                Some(ShardOutput::ToShard(shard, message)) => between.push_back((shard, message)),
            }
        }
        panic!("the shard never comes to rest");
    }
}
