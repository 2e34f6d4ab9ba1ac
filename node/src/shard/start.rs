//! Starting the node's shards: all ports are bound before the first thread runs, so a node starts whole or not at all.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Addr};
use actix_rt::{Arbiter, ArbiterHandle};
use aforo_cluster::metric::Metrics;
use tokio::sync::mpsc;

use crate::actor::lane::MediaLane;
use crate::actor::supervise::{Watch, lifeline};
use crate::media::path::ShardId;
use crate::peer::actor::Peer;
use crate::peer::core::PeerCore;
use crate::peer::dtls::DtlsIdentity;
use crate::shard::actor::{PeerFactory, PeerStart, Shard, ShardSetup};
use crate::shard::core::ShardCoreConfig;
use crate::shard::health::Heartbeat;
use crate::shard::lanes::{PACKETS_CAPACITY, ShardLink};
use crate::shard::message::{AdoptTcp, Meet};
use crate::shard::socket::tcp::accept::{self, Accepted};
use crate::shard::socket::tcp::places::PlaceLimits;
use crate::shard::socket::udp::{BindError, UdpSocket};

/// What the shards are made of.
#[derive(Clone)]
pub struct ShardsConfig {
    /// The first shard's address; the others take the following ports. With port 0 the kernel chooses each, ICE-TCP's too
    /// (tests).
    pub udp: SocketAddr,
    /// How many shards: one per core.
    pub count: u8,
    /// Whether to take ICE-TCP connections on the first port number.
    pub tcp: bool,
    /// How many of these there may be at once, of all shards together.
    pub tcp_places: PlaceLimits,
    /// Peers of one shard. Full means that it refuses more.
    pub peers_max: usize,
    /// How long a publisher may send no media before its stream counts as paused; `None`: as long as it is connected.
    pub silence_limit: Option<Duration>,
    /// What the planes' random choices start from.
    pub seed: u64,
    /// Starts peers; see [`webrtc_peers`].
    pub peers: PeerFactory,
    /// Where everything is counted.
    pub metrics: Arc<Metrics>,
}

/// Starts WebRTC peers that show the node's certificate and are counted in `metrics`.
pub fn webrtc_peers(identity: Arc<DtlsIdentity>, metrics: Arc<Metrics>) -> PeerFactory {
    Arc::new(move |start: PeerStart| {
        let core = PeerCore::new(start.config, Arc::clone(&identity), crate::actor::now());
        Peer::new(start.peer, core, start.shard, &metrics).traced(start.trace_id).start().recipient()
    })
}

/// A running shard.
#[derive(Clone)]
pub struct ShardHandle {
    /// Which shard.
    pub id: ShardId,
    /// Its actor.
    pub addr: Addr<Shard>,
    /// What its socket is bound to.
    pub udp: SocketAddr,
    /// Where ICE-TCP connections for it are taken; the same for all shards.
    pub tcp: Option<SocketAddr>,
    /// Its sign of life.
    pub heartbeat: Arc<Heartbeat>,
    arbiter: ArbiterHandle,
    watch: Watch,
}

impl ShardHandle {
    /// Says when the shard ends: on purpose after `Stop`, otherwise by a panic of its actor or its event loop, or with its
    /// thread.
    pub fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// Ends the shard's thread. Ask it to `Stop` first, or its peers are not told.
    pub fn end_thread(&self) {
        self.arbiter.stop();
    }
}

/// Why the shards do not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A UDP socket could not be opened.
    #[error(transparent)]
    Udp(#[from] BindError),
    /// There are not enough ports after the first.
    #[error("{count} shards do not fit after port {port}: choose a lower first port with --udp")]
    Ports {
        /// The first port.
        port: u16,
        /// How many are needed.
        count: u8,
    },
    /// The ICE-TCP listener could not be opened.
    #[error(
        "cannot listen for ICE-TCP on {address}: stop the other server, choose another port with --udp, or switch ICE-TCP off"
    )]
    Tcp {
        /// Where.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The runtime could not take a socket over.
    #[error("shard {id} cannot watch its socket")]
    Watch {
        /// Which shard.
        id: u8,
        /// What the runtime said.
        source: io::Error,
    },
    /// A shard's thread ended while it started.
    #[error("shard {id} died while it started")]
    Died {
        /// Which shard.
        id: u8,
    },
}

/// Binds all sockets, starts a thread and an actor for each shard, and makes them known to each other.
///
/// # Errors
///
/// See [`StartError`]; nothing runs then.
pub fn start_shards(config: &ShardsConfig) -> Result<Vec<ShardHandle>, StartError> {
    let sockets = bind(config)?;
    let listener = if config.tcp { Some(listen(config.udp)?) } else { None };
    let tcp = listener.as_ref().map(|listener| listener.local_addr().unwrap_or(config.udp));
    let mut shards = Vec::new();
    let mut links = Vec::new();
    for (index, socket) in (0..).zip(sockets) {
        let (packets, inbox) = mpsc::channel(PACKETS_CAPACITY);
        let shard = start_one(config, ShardId(index), socket, tcp, inbox)?;
        links.push(ShardLink { id: shard.id, packets, notices: shard.addr.clone().recipient() });
        shards.push(shard);
    }
    for shard in &shards {
        let others = links.iter().filter(|link| link.id != shard.id).cloned().collect();
        MediaLane::new(shard.addr.clone().recipient()).send(Meet(others));
    }
    if let Some((listener, shard)) = listener.zip(shards.first()) {
        let shards: Vec<_> = shards.iter().map(|shard| (shard.id, shard.addr.clone())).collect();
        let metrics = Arc::clone(&config.metrics);
        shard.arbiter.spawn(serve_tcp(listener, config.tcp_places, shards, metrics));
    }
    Ok(shards)
}

fn bind(config: &ShardsConfig) -> Result<Vec<UdpSocket>, StartError> {
    let port = config.udp.port();
    let ports = StartError::Ports { port, count: config.count };
    if port != 0 && u16::MAX - port < u16::from(config.count).saturating_sub(1) {
        return Err(ports);
    }
    let address = |index: u8| {
        let port = if port == 0 { 0 } else { port.saturating_add(u16::from(index)) };
        SocketAddr::new(config.udp.ip(), port)
    };
    (0..config.count).map(|index| UdpSocket::bind(address(index)).map_err(StartError::from)).collect()
}

fn listen(address: SocketAddr) -> Result<std::net::TcpListener, StartError> {
    accept::listen(address).map_err(|source| StartError::Tcp { address, source })
}

fn start_one(
    config: &ShardsConfig,
    id: ShardId,
    udp: UdpSocket,
    tcp: Option<SocketAddr>,
    packets: mpsc::Receiver<crate::media::spec::ShardMessage>,
) -> Result<ShardHandle, StartError> {
    let local = udp.local();
    let sizes = udp.buffer_sizes();
    let heartbeat = Arc::new(Heartbeat::new(Instant::now()));
    let (line, watch) = lifeline();
    let seed = config.seed.wrapping_add(u64::from(id.0));
    let setup = ShardSetup {
        core: ShardCoreConfig { id, seed, peers_max: config.peers_max, silence_limit: config.silence_limit },
        udp,
        packets,
        peers: Arc::clone(&config.peers),
        metrics: Arc::clone(&config.metrics),
        heartbeat: Arc::clone(&heartbeat),
        lifeline: line,
    };
    let arbiter = Arbiter::new().handle();
    let (started, start) = std::sync::mpsc::sync_channel(1);
    arbiter.spawn(async move {
        // Nobody waits any more only if this process is already failing to start.
        let _ = started.send(Shard::new(setup).map(Actor::start));
    });
    let addr = match start.recv() {
        Ok(Ok(addr)) => addr,
        Ok(Err(source)) => return Err(StartError::Watch { id: id.0, source }),
        Err(_) => return Err(StartError::Died { id: id.0 }),
    };
    tracing::info!(
        shard = id.0,
        port = local.port(),
        receive_buffer_bytes = sizes.receive,
        send_buffer_bytes = sizes.send,
        "shard started"
    );
    Ok(ShardHandle { id, addr, udp: local, tcp, heartbeat, arbiter, watch })
}

/// Accepts ICE-TCP connections on the first shard's thread and hands each to the shard that it names.
async fn serve_tcp(
    listener: std::net::TcpListener,
    places: PlaceLimits,
    shards: Vec<(ShardId, Addr<Shard>)>,
    metrics: Arc<Metrics>,
) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        tracing::error!("the runtime cannot watch the ICE-TCP listener, clients connect over UDP only");
        return;
    };
    let dropped = metrics.tcp_frames_dropped_total.clone();
    let accepted = move |accepted| {
        let reason = match accepted {
            Accepted::Crowded => "crowded",
            Accepted::Full => "connections_full",
            Accepted::Unidentified => "unidentified",
            Accepted::Identified(identified) => {
                let shard = shards.iter().find(|(id, _)| *id == identified.shard);
                let adopt = |(_, addr): &(ShardId, Addr<Shard>)| {
                    MediaLane::new(addr.clone().recipient()).send(AdoptTcp(identified))
                };
                if shard.is_some_and(adopt) {
                    return;
                }
                "shard_unknown"
            }
        };
        dropped.with_label_values(&[reason]).inc();
    };
    accept::serve(listener, places, accepted).await;
}
