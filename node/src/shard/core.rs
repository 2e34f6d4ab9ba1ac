//! The rules of a shard: which datagram belongs to whom, and what follows from what a peer says.
//!
//! - In: datagrams with their path, what peers say, what other shards send, commands, time.
//! - Out: datagrams for peers (STUN, DTLS), notices for rooms, messages for other shards, and a batch to transmit.

mod checks;
mod intake;
mod paths;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use aforo_cluster::id::SessionId;
use bytes::Bytes;
use smallvec::SmallVec;

use crate::media::batch::PacketBatch;
use crate::media::negotiated::IceCredentials;
use crate::media::outbox::{SendBatch, Transmit};
use crate::media::path::{Path, PeerKey, ShardId};
use crate::media::plane::{Forwarded, Plane};
use crate::media::selection::{Cause, Direction, LayerWish, Switch};
use crate::media::spec::{EgressSpec, IngestSpec, PlaneEvent, ShardMessage};
use crate::peer::ice::ufrag_of_check;
use crate::peer::message::{EndReason, PeerEvent, PeerInput, PeerNotice, PeerOutput};
use crate::shard::counters::{ConnectedPeers, ShardCounters};
use crate::shard::demux::{Protocol, protocol};
use crate::shard::message::{AddPeerError, PeerMedia};
use crate::shard::routes::Routes;
use checks::Strangers;
use intake::Intake;
use paths::Hold;

/// STUN and DTLS datagrams that wait for the next flush. Full means that peers answer faster than rounds happen, which
/// only a flood of checks can bring about: further ones are dropped and counted, their protocols send again.
const TRANSMIT_CAPACITY: usize = 8_192;

/// What a shard is made of.
#[derive(Debug, Clone, Copy)]
pub struct ShardCoreConfig {
    /// Its place among the node's shards.
    pub id: ShardId,
    /// What its plane draws SSRCs, sequence numbers and the like from.
    pub seed: u64,
    /// Peers that it takes, connected or not. Full means that a new one is refused.
    pub peers_max: usize,
    /// How long a publisher may send no media before its room hears of it; `None`: as long as it is connected.
    pub silence_limit: Option<Duration>,
}

/// What is left to do for the shell.
#[derive(Debug)]
pub enum ShardOutput {
    /// Give this to a peer.
    ToPeer(PeerKey, PeerInput),
    /// Tell the room of this peer.
    Notice(PeerKey, PeerNotice),
    /// This peer is no more: forget its actor. Nothing follows for it.
    Removed(PeerKey),
    /// Close this connection (ICE-TCP), nobody uses it any more.
    ClosePath(Path),
    /// Give this to another shard.
    ToShard(ShardId, ShardMessage),
    /// A keyframe came that somebody had waited for this long.
    KeyframeWaited(Duration),
}

/// One shard's routes and plane.
pub struct ShardCore {
    id: ShardId,
    routes: Routes<Resident>,
    plane: Plane,
    stopping: bool,
    outputs: VecDeque<ShardOutput>,
    transmits: Vec<(Path, Bytes)>,
    counters: ShardCounters,
    strangers: Strangers,
    /// The latest time that came in, for notices about what happened by then.
    now: Instant,
}

/// What the shard knows of a peer besides its routes.
struct Resident {
    session: SessionId,
    /// Ours: those of the offer, and those of ICE restarts since.
    credentials: SmallVec<[IceCredentials; 1]>,
    /// Handed to the plane when DTLS is done.
    media: Option<PeerMedia>,
    /// The path in use, once DTLS is done.
    connected_by: Option<Path>,
    /// When RTP or RTCP that authenticates last came by it.
    heard: Option<Instant>,
    /// What is known of its paths.
    hold: Hold,
    /// Whether its room knows that ICE has found a path.
    path_told: bool,
    /// What it was given lately of what came by its path.
    intake: Intake,
    /// Which layer it asked for before it was connected.
    wish: LayerWish,
}

impl ShardCore {
    /// A shard without peers.
    pub fn new(config: ShardCoreConfig, now: Instant) -> Self {
        Self {
            id: config.id,
            routes: Routes::new(config.peers_max),
            plane: Plane::new(config.id, config.seed, now).with_silence_limit(config.silence_limit),
            stopping: false,
            outputs: VecDeque::new(),
            transmits: Vec::new(),
            counters: ShardCounters::default(),
            strangers: Strangers::new(now),
            now,
        }
    }

    /// Which shard this is.
    pub fn id(&self) -> ShardId {
        self.id
    }

    /// The plane, to read its counters and reports.
    pub fn plane(&self) -> &Plane {
        &self.plane
    }

    /// What was counted so far.
    pub fn counters(&self) -> ShardCounters {
        self.counters
    }

    /// Peers that are there, connected or not.
    pub fn peers(&self) -> usize {
        self.routes.len()
    }

    /// Peers that are connected, counted anew.
    pub fn connected(&self) -> ConnectedPeers {
        self.routes.values().filter_map(|resident| resident.connected_by).collect()
    }

    /// Takes a peer in and routes the ufrag of `local` to it.
    ///
    /// # Errors
    ///
    /// See [`AddPeerError`].
    pub fn add_peer(
        &mut self,
        session: SessionId,
        local: &IceCredentials,
        media: PeerMedia,
    ) -> Result<PeerKey, AddPeerError> {
        if self.stopping {
            return Err(AddPeerError::Stopping);
        }
        let credentials = SmallVec::from_iter([local.clone()]);
        let resident = Resident {
            session,
            credentials,
            media: Some(media),
            connected_by: None,
            heard: None,
            hold: Hold::default(),
            path_told: false,
            intake: Intake::new(self.now),
            wish: LayerWish::Best,
        };
        self.routes.add(&local.ufrag, resident)
    }

    /// Gives a command to a peer.
    pub fn tell(&mut self, peer: PeerKey, input: PeerInput) {
        if let PeerInput::RestartIce { local, .. } = &input {
            self.routes.add_ufrag(peer, &local.ufrag);
            self.note_restart(peer, local);
        }
        if self.routes.get(peer).is_some() {
            self.outputs.push_back(ShardOutput::ToPeer(peer, input));
        }
    }

    /// A viewer asks for a layer. If it is not connected yet, it gets that one from the start.
    pub fn wish_layer(&mut self, now: Instant, peer: PeerKey, wish: LayerWish) {
        match self.routes.get_mut(peer) {
            Some(resident) if resident.connected_by.is_none() => resident.wish = wish,
            _ => self.plane.wish_layer(now, peer, wish),
        }
    }

    /// Ends every peer, and takes no new one.
    pub fn stop(&mut self) {
        self.stopping = true;
        let peers: Vec<_> = self.routes.keys().collect();
        for peer in peers {
            self.tell(peer, PeerInput::Close(EndReason::Shutdown));
        }
    }

    /// Takes a datagram that came by `path` and reached the host at `arrival`. Media is opened in place.
    pub fn handle_datagram(&mut self, now: Instant, arrival: Instant, path: Path, datagram: &mut [u8]) {
        self.now = now;
        match protocol(datagram) {
            Protocol::Media => match self.routes.by_path(&path) {
                Some(peer) => self.take_media(now, arrival, (peer, path), datagram),
                None => self.counters.path_unknown += 1,
            },
            Protocol::Stun => self.take_check(now, path, datagram),
            Protocol::Dtls => self.take_dtls(now, path, datagram),
            Protocol::Unknown => self.counters.protocol_unknown += 1,
        }
    }

    /// Does what follows from what a peer says.
    pub fn handle_peer(&mut self, now: Instant, peer: PeerKey, output: PeerOutput) {
        self.now = now;
        if self.routes.get(peer).is_none() {
            return;
        }
        match output {
            PeerOutput::Transmit { path, bytes } => self.transmit(peer, path, bytes),
            PeerOutput::PathValidated(path) => {
                self.claim(peer, path);
            }
            PeerOutput::PathProved(path) => self.prove(peer, path),
            PeerOutput::PathForgotten(path) => self.forget_path(peer, path),
            PeerOutput::PathSelected(path) => self.select(peer, path),
            PeerOutput::UfragInUse(ufrag) => self.routes.use_ufrag(peer, &ufrag),
            PeerOutput::Connected { path, keys } => self.connect(peer, path, keys),
            PeerOutput::Ended(reason) => self.remove(peer, reason),
            PeerOutput::Died => {
                self.counters.peers_died += 1;
                self.remove(peer, EndReason::Internal);
            }
        }
    }

    /// Whether a check names a peer of this shard; it may still be forged.
    pub fn knows_check(&self, datagram: &[u8]) -> bool {
        ufrag_of_check(datagram).is_some_and(|ufrag| self.routes.by_ufrag(ufrag).is_some())
    }

    /// Whether a peer has proved that `path` is its own.
    pub fn knows_path(&self, path: &Path) -> bool {
        self.routes.by_path(path).is_some()
    }

    /// The connection behind `path` (ICE-TCP) is closed.
    pub fn handle_closed(&mut self, path: Path) {
        if let Some(peer) = self.routes.by_path(&path) {
            self.routes.remove_path(peer, &path);
        }
    }

    /// Takes what another shard's plane says.
    pub fn handle_shard(&mut self, now: Instant, message: ShardMessage) {
        self.now = now;
        self.plane.receive_shard(now, message);
    }

    /// Another shard did not take these packets.
    pub fn lost_between_shards(&mut self, now: Instant, batch: &PacketBatch) {
        self.now = now;
        self.plane.lost_between_shards(now, batch);
    }

    /// What is to be done now; `None` when nothing is left.
    pub fn poll_output(&mut self) -> Option<ShardOutput> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        while let Some(event) = self.plane.poll_event() {
            let (peer, event) = match event {
                PlaneEvent::FirstMedia(peer) => (peer, PeerEvent::FirstMedia),
                PlaneEvent::MediaPaused { peer, since } => (peer, PeerEvent::MediaPaused { since }),
                PlaneEvent::MediaResumed(peer) => (peer, PeerEvent::MediaResumed),
                PlaneEvent::FirstKeyframe(peer) => (peer, PeerEvent::FirstKeyframe),
                PlaneEvent::LayerPlayed { switch, .. } => {
                    switch.into_iter().for_each(|switch| self.counters.layer_switches.count(switch));
                    continue;
                }
                PlaneEvent::PictureHeld { peer, held, .. } => {
                    let direction = if held { Direction::Down } else { Direction::Up };
                    self.counters.layer_switches.count(Switch { direction, cause: Cause::Network });
                    (peer, PeerEvent::PictureHeld(held))
                }
                PlaneEvent::KeyframeWaited(time) => return Some(ShardOutput::KeyframeWaited(time)),
            };
            if let Some(notice) = self.notice(peer, event) {
                return Some(notice);
            }
        }
        self.plane.poll_shard().map(|(shard, message)| ShardOutput::ToShard(shard, message))
    }

    /// Writes everything that is to leave into `batch` and transmits it. Returns how old the media of it is.
    pub fn flush(&mut self, now: Instant, batch: &mut SendBatch, transmit: &mut impl Transmit) -> Forwarded {
        self.now = now;
        for (path, bytes) in self.transmits.drain(..) {
            if let Some(space) = batch.datagram(path, bytes.len(), transmit) {
                space.copy_from_slice(&bytes);
            }
        }
        // It transmits whatever the batch has.
        self.plane.flush(now, batch, transmit)
    }

    /// When [`Self::handle_timeout`] and [`Self::flush`] want to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.plane.poll_timeout()
    }

    /// Does what is due at `now`; what is to leave does so with the next flush.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.plane.handle_timeout(now);
    }

    fn connect(&mut self, peer: PeerKey, path: Path, keys: crate::media::keys::SrtpKeys) {
        let Some(resident) = self.routes.get_mut(peer) else { return };
        let (Some(media), wish) = (resident.media.take(), resident.wish) else { return };
        let Some(path) = self.path_to_connect(peer, path) else {
            return self.tell(peer, PeerInput::Close(EndReason::PathTaken));
        };
        let added = match media {
            PeerMedia::Ingest(tracks) => {
                self.plane.add_ingest(self.now, IngestSpec { peer, path, keys, tracks })
            }
            PeerMedia::Egress(tracks) => {
                self.plane.add_egress(self.now, EgressSpec { peer, path, keys, tracks, wish })
            }
        };
        match added {
            Ok(()) => {
                if let Some(resident) = self.routes.get_mut(peer) {
                    resident.connected_by = Some(path);
                }
                let notice = self.notice(peer, PeerEvent::Connected);
                self.outputs.extend(notice);
            }
            Err(_) => self.tell(peer, PeerInput::Close(EndReason::Internal)),
        }
    }

    fn remove(&mut self, peer: PeerKey, reason: EndReason) {
        let notice = self.notice(peer, PeerEvent::Ended(reason));
        self.outputs.extend(notice);
        self.plane.remove_peer(self.now, peer);
        for path in self.routes.remove(peer) {
            self.close(path);
        }
        self.outputs.push_back(ShardOutput::Removed(peer));
    }

    fn close(&mut self, path: Path) {
        if matches!(path, Path::Tcp(_)) {
            self.outputs.push_back(ShardOutput::ClosePath(path));
        }
    }

    fn notice(&self, peer: PeerKey, event: PeerEvent) -> Option<ShardOutput> {
        let session = self.routes.get(peer)?.session;
        Some(ShardOutput::Notice(peer, PeerNotice { session, event, at: self.now }))
    }
}

#[cfg(test)]
mod tests;
