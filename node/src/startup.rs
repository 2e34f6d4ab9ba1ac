//! Builds the node once, in the order in which its parts need each other, and runs it until it is told to stop.
//!
//! `advertise` finds the addresses that clients are told of, `banner` says where everything is, `exposure` what strangers
//! may do, `open_files` raises the limit of sockets, `roots` starts what must not die and is no actor of ours. A node starts whole or not at all: every port is bound before anything is announced.

mod advertise;
mod banner;
mod exposure;
mod open_files;
mod roots;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr};
use actix_rt::{Arbiter, ArbiterHandle};
use actix_web::dev::ServerHandle;
use actix_web::web::Data;
use aforo_cluster::bus::Bus;
use aforo_cluster::bus::memory::MemoryBus;
use aforo_cluster::id::NodeId;
use aforo_cluster::metric::Metrics;
use rand::RngExt;
use tracing::{error, info, warn};

use crate::actor::supervise::{Root, first_death, lifeline};
use crate::cluster_agent::{ClusterAgent, LoadMeter};
use crate::config::Config;
use crate::drain;
use crate::lifecycle::{Lifecycle, NodeState};
use crate::peer::dtls::{DtlsError, DtlsIdentity};
use crate::room::{Directory, RoomRules, Rooms, ShardLink};
use crate::shard::socket::tcp::places::PlaceLimits;
use crate::shard::start::{self, ShardHandle, ShardsConfig, start_shards, webrtc_peers};
use crate::signalling::{self, App, ListenError, Operations, Parts, PublicError, TlsError};
use crate::telemetry::{self, Export, ExportError, JoinTracer};
use crate::token::{KeyFileError, KeyRing};

/// Why the node does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartupError {
    /// `log.level` is no filter.
    #[error("log.level {text:?} is not a level and not a filter")]
    LogFilter {
        /// What was configured.
        text: String,
        /// What is wrong with it.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// The public listener.
    #[error("{0}: {advice} --http", advice = advice(.0))]
    Http(ListenError),
    /// The public listener's certificate.
    #[error(transparent)]
    Tls(TlsError),
    /// The listener for operators.
    #[error("{0}: {advice} --admin", advice = advice(.0))]
    Admin(ListenError),
    /// The shards.
    #[error(transparent)]
    Media(#[from] start::StartError),
    /// The DTLS certificate.
    #[error("the node's DTLS certificate cannot be made")]
    Identity(#[from] DtlsError),
    /// A metric is declared wrongly.
    #[error("metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
    /// The keys of access tokens.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// Traces cannot be sent.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// Signals cannot be received.
    #[error("signals cannot be received")]
    Signals(#[source] io::Error),
    /// An actor died that nobody rebuilds. The node ran until then, and has drained.
    #[error("{actor} died of a fault of ours: the log has the panic. The node has drained; start it again")]
    Died {
        /// Which.
        actor: String,
    },
}

impl From<PublicError> for StartupError {
    fn from(error: PublicError) -> Self {
        match error {
            PublicError::Listen(error) => Self::Http(error),
            PublicError::Tls(error) => Self::Tls(error),
        }
    }
}

/// What happened and what to do about it, up to the flag to do it with.
fn advice(error: &ListenError) -> String {
    match error.source.kind() {
        io::ErrorKind::AddrInUse => {
            "the port is in use. Stop the other program, or choose another port with".to_owned()
        }
        io::ErrorKind::AddrNotAvailable => {
            "the address is not one of this machine's. Choose one that is, or 0.0.0.0 for all of them, with"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied => {
            "this user may not listen there. Choose a port from 1024 on with".to_owned()
        }
        _ => format!("{}. Choose another address with", error.source),
    }
}

/// A running node.
pub(crate) struct Node {
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) rooms: Addr<Rooms>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) agent: Addr<ClusterAgent>,
    pub(crate) shards: Vec<ShardHandle>,
    pub(crate) http: [ServerHandle; 2],
    /// Who must not die.
    roots: Vec<Root>,
    pub(crate) metrics: Arc<Metrics>,
    public: SocketAddr,
    operators: SocketAddr,
}

/// Runs node and coordinator in this process, until a signal stops it.
///
/// # Errors
///
/// See [`StartupError`]; nothing runs then.
pub fn one_process(config: &Config) -> Result<(), StartupError> {
    // Drawn here, as traces name it too.
    let mut config = config.clone();
    config.node.name.get_or_insert_with(NodeId::random);
    let config = &config;
    telemetry::start(&config.log)?;
    open_files::raise_limit();
    let metrics = Arc::new(Metrics::new()?);
    let export = Export::start(config, &metrics)?;
    let ended = in_one_process(config, metrics, export.as_ref().map(Export::tracer));
    // All sessions have ended by now, so their traces have too.
    if let Some(export) = export {
        export.stop();
    }
    ended
}

fn in_one_process(
    config: &Config,
    metrics: Arc<Metrics>,
    tracer: Option<JoinTracer>,
) -> Result<(), StartupError> {
    actix::System::new().block_on(async {
        let stop = drain::StopSignals::new().map_err(StartupError::Signals)?;
        let bus = Arc::new(MemoryBus::new());
        let control = Arbiter::new().handle();
        let coordinator = roots::coordinator(bus.clone(), &metrics, &control);
        let mut node = start(config, bus, metrics, tracer, &control)?;
        node.roots.push(coordinator);
        announce(config, &node);
        run(config, node, stop).await
    })
}

/// Runs until a signal comes, or until an actor dies that nobody rebuilds: what is left then is no node. Drains it.
async fn run(config: &Config, node: Node, mut stop: drain::StopSignals) -> Result<(), StartupError> {
    let metrics = Arc::clone(&node.metrics);
    let died = tokio::select! {
        signal = stop.first() => {
            info!(signal, "stopping");
            None
        }
        actor = first_death(node.roots.clone()) => {
            error!(actor = actor.name, "died and cannot be rebuilt, the node drains");
            metrics.actor_restarts_total.with_label_values(&[actor.actor, "fatal"]).inc();
            Some(actor.name)
        }
    };
    drain::run(config, node, stop).await;
    died.map_or(Ok(()), |actor| Err(StartupError::Died { actor }))
}

/// Builds the object graph.
fn start(
    config: &Config,
    bus: Arc<dyn Bus>,
    metrics: Arc<Metrics>,
    tracer: Option<JoinTracer>,
    control: &ArbiterHandle,
) -> Result<Node, StartupError> {
    metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    let lifecycle = Arc::new(Lifecycle::new(Arc::clone(&metrics)));
    let identity = DtlsIdentity::generate()?;
    let keys = KeyRing::configured(&config.auth, &metrics)?;
    let key_server = keys.as_ref().and_then(|keys| roots::key_server(keys, control, &metrics));
    let awaits_keys = keys.as_ref().map(KeyRing::awaits_keys).unwrap_or_default();
    let fingerprint = identity.fingerprint();
    let shards = start_shards(&ShardsConfig {
        udp: config.media.udp,
        count: u8::try_from(config.shard_count()).unwrap_or(u8::MAX),
        tcp: config.media.tcp,
        tcp_places: PlaceLimits {
            total: config.limits.tcp_connections as usize,
            per_address: config.limits.tcp_connections_per_address as usize,
        },
        peers_max: config.limits.sessions as usize,
        silence_limit: config.rooms.silence_limit(),
        seed: rand::rng().random(),
        peers: webrtc_peers(identity, Arc::clone(&metrics)),
        metrics: Arc::clone(&metrics),
    })?;
    let directory = Arc::new(Directory::new(shards.len(), config.limits.sessions));
    let Control { rooms, agent, mut roots } =
        start_control(config, &shards, bus, &metrics, &directory, control);
    roots.extend(key_server);
    roots.extend(shards.iter().map(|shard| {
        let name = format!("shard {}", shard.id.0);
        Root { name, actor: "shard", watch: shard.watch() }
    }));
    let advertise = advertise::addresses(&config.media);
    let candidate = |shard: &ShardHandle| {
        let tcp = shard.tcp.map(|address| address.port());
        signalling::candidates(&advertise, shard.udp.port(), tcp)
    };
    let parts = Parts {
        rooms: rooms.clone(),
        directory: Arc::clone(&directory),
        candidates: shards.iter().map(candidate).collect(),
        fingerprint,
        metrics: Arc::clone(&metrics),
        lifecycle: Arc::clone(&lifecycle),
        keys,
        tracer,
    };
    let operations = Operations {
        metrics: Arc::clone(&metrics),
        lifecycle: Arc::clone(&lifecycle),
        shards: shards.iter().map(|shard| Arc::clone(&shard.heartbeat)).collect(),
        rooms: rooms.clone().recipient(),
        awaits_keys,
    };
    let (admin, operators) =
        signalling::serve_operators(config, Data::new(operations)).map_err(StartupError::Admin)?;
    let (public, public_address) = signalling::serve_public(config, Data::new(App::new(config, parts)))?;
    let http = [public.handle(), admin.handle()];
    roots.push(roots::serve("the public listener", public));
    roots.push(roots::serve("the operators' listener", admin));
    lifecycle.set(NodeState::Ready);
    let public = public_address;
    Ok(Node { lifecycle, rooms, directory, agent, shards, http, roots, metrics, public, operators })
}

/// The actors of the control arbiter.
struct Control {
    rooms: Addr<Rooms>,
    agent: Addr<ClusterAgent>,
    roots: Vec<Root>,
}

fn start_control(
    config: &Config,
    shards: &[ShardHandle],
    bus: Arc<dyn Bus>,
    metrics: &Arc<Metrics>,
    directory: &Arc<Directory>,
    control: &ArbiterHandle,
) -> Control {
    let node = config.node.name.clone().unwrap_or_else(NodeId::random);
    metrics.node_info.with_label_values(&[node.as_str()]).set(1);
    info!(%node, version = env!("CARGO_PKG_VERSION"), "node starts");
    let (of_agent, agent_watch) = lifeline();
    let (of_rooms, rooms_watch) = lifeline();
    let agent = ClusterAgent::new(bus, Arc::clone(metrics), node.clone(), of_agent);
    let agent = ClusterAgent::start_in_arbiter(control, move |_| agent);
    let links: Vec<ShardLink> = shards
        .iter()
        .map(|shard| ShardLink {
            add_peer: shard.addr.clone().recipient(),
            admit_peer: shard.addr.clone().recipient(),
            tell_peer: shard.addr.clone().recipient(),
            close_peers: shard.addr.clone().recipient(),
            wish_layer: shard.addr.clone().recipient(),
            report: shard.addr.clone().recipient(),
        })
        .collect();
    let rules = RoomRules {
        room_limit: config.limits.rooms,
        republish_grace: Duration::from_secs(config.rooms.republish_grace_seconds.into()),
    };
    let asked = agent.clone();
    let meter = LoadMeter {
        shards: shards.iter().map(|shard| shard.addr.clone().recipient()).collect(),
        directory: Arc::clone(directory),
        limits: config.limits.clone(),
        agent: agent.clone().recipient(),
        metrics: Arc::clone(metrics),
    };
    let meter =
        roots::keep_running("the load meter", "load_meter", control, metrics, move || meter.clone().run());
    let (metrics, directory) = (Arc::clone(metrics), Arc::clone(directory));
    let rooms = Rooms::start_in_arbiter(control, move |_| {
        Rooms::new(node, links, asked, metrics, directory, rules, of_rooms)
    });
    let roots = vec![
        Root { name: "the cluster agent".to_owned(), actor: "cluster_agent", watch: agent_watch },
        Root { name: "the root of rooms".to_owned(), actor: "rooms", watch: rooms_watch },
        meter,
    ];
    Control { rooms, agent, roots }
}

/// Says that the node is ready, and how to use it.
fn announce(config: &Config, node: &Node) {
    let ports: Vec<u16> = node.shards.iter().map(|shard| shard.udp.port()).collect();
    info!(http = %node.public, admin = %node.operators, ?ports, "node is ready");
    let unguarded = exposure::unguarded(config, node.public);
    if let Some(what) = unguarded {
        warn!(http = %node.public, may = what, "strangers need no token here: `aforo node` asks for one, or set `auth`");
    }
    if let Some(address) = exposure::led_astray(config) {
        let udp = config.media.udp;
        warn!(%address, %udp, "media.advertise leads to media.udp only if this host forwards it: else use 0.0.0.0");
    }
    let scheme = if config.http.tls_certificate.is_some() { "https" } else { "http" };
    let addresses = banner::Addresses {
        base: config.http.public_url.clone().unwrap_or_else(|| banner::base_of(scheme, node.public)),
        operators: banner::base_of("http", node.operators),
        udp: ports,
        tcp: node.shards.first().and_then(|shard| shard.tcp).map(|address| address.port()),
        advertise: advertise::addresses(&config.media),
        guarded: config.auth.guards_publishing(),
        private: config.auth.guards_playing(),
        unguarded,
    };
    print!("{}", banner::text(&addresses));
}

#[cfg(test)]
mod tests;
