//! Everything that can be configured, its defaults, and where each value came from.
//!
//! `layer` reads one source (file, environment, flags) into keys and values, `load` stacks the layers and reports every
//! problem at once, `show` prints the result. Sections are one level deep: `http.listen` is `AFORO__HTTP__LISTEN`.

mod advice;
mod auth;
mod contradictions;
mod layer;
mod listen;
mod load;
mod log;
mod network;
mod rooms;
mod secret;
mod show;
mod telemetry;
#[cfg(test)]
mod tests;
mod turn;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use aforo_cluster::id::NodeId;
use garde::Validate;
use serde::{Deserialize, Serialize};

pub use auth::Auth;
pub use layer::{Layer, Origin};
pub use load::{ConfigError, Loaded, Problem, Sources, stack};
pub use log::{Log, LogFormat};
pub use network::Network;
pub use rooms::Rooms;
pub use secret::Secret;
pub use telemetry::Telemetry;
pub use turn::Turn;

/// The whole configuration of a node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who this node is.
    #[garde(skip)]
    pub node: Node,
    /// The public HTTP listener.
    #[garde(dive)]
    pub http: Http,
    /// The listener for operators.
    #[garde(skip)]
    pub admin: Admin,
    /// Sockets that carry media.
    #[garde(dive)]
    pub media: Media,
    /// What one node and one client may use.
    #[garde(dive)]
    pub limits: Limits,
    /// What holds for all rooms.
    #[garde(dive)]
    pub rooms: Rooms,
    /// Who may publish and who may play.
    #[garde(dive)]
    pub auth: Auth,
    /// TURN servers that clients are told of.
    #[garde(dive)]
    pub turn: Turn,
    /// Logs.
    #[garde(dive)]
    pub log: Log,
    /// Traces.
    #[garde(dive)]
    pub telemetry: Telemetry,
    /// How the node stops.
    #[garde(dive)]
    pub drain: Drain,
}

/// Who this node is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// Its name in the cluster; drawn at start if not set.
    pub name: Option<NodeId>,
}

/// The public HTTP listener.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Where it listens: `address:port`, or a port of the loopback address.
    #[serde(deserialize_with = "listen::on_loopback")]
    #[garde(skip)]
    pub listen: SocketAddr,
    /// Scheme and authority that session addresses start with, such as `https://live.example`. Without it they are the
    /// listener's scheme and each request's `Host`, or what a proxy says with `trust_forwarded`.
    #[garde(pattern(r"^https?://[A-Za-z0-9.\-\[\]:_]+$"))]
    pub public_url: Option<String>,
    /// Certificate chain for HTTPS, as PEM. Without it the listener speaks plain HTTP. Changes count at once.
    #[garde(skip)]
    pub tls_certificate: Option<PathBuf>,
    /// The certificate's private key, as PEM.
    #[garde(skip)]
    pub tls_key: Option<PathBuf>,
    /// Threads that serve HTTP; 0 means one per core, at most 4.
    #[garde(range(max = 64))]
    pub workers: u16,
    /// Networks of the proxies in front, such as `10.0.0.0/8`. They set `X-Forwarded-For`, `X-Forwarded-Proto` and
    /// `X-Forwarded-Host` (or `Forwarded`, and then take the others off), so that rate limits count their clients instead of them, and
    /// session addresses are those that clients can reach. From anybody else these headers are nothing. With several proxies in
    /// a row, name all of them: the client is the last one that none of them is.
    #[garde(skip)]
    pub trusted_proxies: Vec<Network>,
    /// Whether whoever connects is such a proxy, where `trusted_proxies` names none: for one proxy that alone can reach the
    /// listener.
    #[garde(skip)]
    pub trust_forwarded: bool,
    /// Origins whose pages may use the API beside the node's own; `*` is every origin. If none is named it is every origin where
    /// publishing wants a token, and none where it does not: a page in a browser reaches what its author cannot.
    #[garde(inner(pattern(r"^(\*|https?://[^/ ]+)$")))]
    pub cors_origins: Vec<String>,
}

/// The listener for operators: metrics and health.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Where it listens: `address:port`, or a port of the loopback address.
    #[serde(deserialize_with = "listen::on_loopback")]
    pub listen: SocketAddr,
}

/// Sockets that carry media.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Media {
    /// Where the first shard listens for UDP, and for ICE over TCP; shard n has the port n higher. A port alone means
    /// every IPv4 address. Port 0 takes free ports; answers tell which.
    #[serde(deserialize_with = "listen::on_every_address")]
    #[garde(skip)]
    pub udp: SocketAddr,
    /// Media arbiters; 0 means one per core.
    #[garde(range(max = 64))]
    pub shards: u16,
    /// Addresses that clients are told to send media to; empty means loopback and the host's primary addresses.
    #[garde(skip)]
    pub advertise: Vec<IpAddr>,
    /// Whether ICE over TCP is offered, for networks that drop UDP.
    #[garde(skip)]
    pub tcp: bool,
}

/// What one node and one client may use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Sessions of all rooms together; more are answered 503.
    #[garde(range(min = 1))]
    pub sessions: u32,
    /// Datagrams sent per second. Close to it, publishers are placed on other nodes or answered 503; at the limit, as a mean
    /// of some seconds, viewers are as well. 0 means no limit.
    #[garde(skip)]
    pub packets_per_second: u32,
    /// Bits sent per second, such as the uplink carries; as above. 0 means no limit.
    #[garde(skip)]
    pub bits_per_second: u64,
    /// Rooms; a publisher that would open one more is answered 503.
    #[garde(range(min = 1))]
    pub rooms: u32,
    /// Event streams that viewers may hold open together, each of which is a connection; more are answered 503, and their
    /// pages ask now and then instead. Never more than half of the connections that the HTTP workers take, 4,096 each.
    #[garde(skip)]
    pub event_streams: u32,
    /// Connections for ICE over TCP, by which clients come whose network drops UDP. More are closed at once, and counted in
    /// `aforo_tcp_frames_dropped_total{reason="connections_full"}`: their clients cannot connect. Each may hold 256 KiB that
    /// its client is slow to read.
    #[garde(range(min = 1))]
    pub tcp_connections: u32,
    /// Of these, connections of one address, or of one /64 of IPv6, to all shards together. Loopback addresses count too: whatever
    /// stands on this machine in front of clients without UDP has so many in all.
    #[garde(range(min = 1))]
    pub tcp_connections_per_address: u32,
    /// Bytes of a request's body; longer ones are answered 413.
    #[garde(range(min = 1_024, max = 1_048_576))]
    pub body_bytes: u32,
    /// Bytes of a request's headers, names and values together; longer ones are answered 431. A token may have 4,096.
    #[garde(range(min = 8_192, max = 65_536))]
    pub header_bytes: u32,
    /// Time for a request's headers, and again for its body, to arrive.
    #[garde(range(min = 1, max = 300))]
    pub request_timeout_seconds: u16,
    /// POST, PATCH and DELETE requests, and listeners to events, per second of one address, on average; 0 means no limit.
    #[garde(skip)]
    pub requests_per_second: u32,
    /// How many of them may come at once.
    #[garde(range(min = 1))]
    pub request_burst: u32,
    /// Connections to the public listener that one address may have open (an IPv6 network of 64 bits counts as one); more
    /// are closed at once. Some hundred people behind one address fit; a balancer that hides its clients' addresses does not.
    /// 0 means no limit, and so does a trusted
    /// proxy for its own.
    #[garde(skip)]
    pub connections_per_address: u32,
    /// Whether loopback addresses are free of the limits of requests and of connections to the public listener, as load tests on
    /// the same machine need.
    #[garde(skip)]
    pub loopback_exempt: bool,
}

/// How the node stops.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// Time for saying goodbye to all peers; then the process ends anyway.
    #[garde(range(min = 1, max = 3_600))]
    pub timeout_seconds: u32,
    /// Of this, time for viewers who are told to reconnect to do so before their sessions end; 0 ends them at once.
    #[garde(range(max = 3_600))]
    pub handover_seconds: u32,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            public_url: None,
            tls_certificate: None,
            tls_key: None,
            workers: 0,
            trusted_proxies: Vec::new(),
            trust_forwarded: false,
            cors_origins: Vec::new(),
        }
    }
}

impl Http {
    /// Whether a proxy stands in front whose headers are believed.
    pub fn is_behind_proxy(&self) -> bool {
        self.trust_forwarded || !self.trusted_proxies.is_empty()
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)) }
    }
}

impl Default for Media {
    fn default() -> Self {
        Self {
            udp: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7800)),
            shards: 0,
            advertise: Vec::new(),
            tcp: true,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // 40 KiB each is under a gibibyte; the network card is full long before.
            sessions: 20_000,
            packets_per_second: 0,
            bits_per_second: 0,
            rooms: 10_000,
            // Half of the open files that Debian gives a process, which sockets of other kinds need too.
            event_streams: 10_000,
            // A gibibyte if nobody reads; one viewer in five of the sessions, where one in ten or twenty has no UDP.
            tcp_connections: 4_096,
            // Generous, because behind one address there may be a company or a proxy.
            tcp_connections_per_address: 256,
            // Offers of browsers with every codec and simulcast have about 10 KiB.
            body_bytes: 65_536,
            // Browsers send one or two KiB, proxies add as much; cookies of other services on the same host can be several.
            header_bytes: 16_384,
            request_timeout_seconds: 10,
            // A household behind one address reloads its pages; a crowd behind one proxy wants `trust_forwarded`.
            requests_per_second: 50,
            request_burst: 200,
            // Six of a browser, for a crowd behind one address; an eighth of what one HTTP worker takes.
            connections_per_address: 1_024,
            loopback_exempt: true,
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        // Twice what a player needs for a new connection over a slow network.
        Self { timeout_seconds: 10, handover_seconds: 2 }
    }
}

impl Config {
    /// Origins whose pages may use the API; `*` is every origin.
    pub fn cors_origins(&self) -> Vec<String> {
        match self.http.cors_origins.as_slice() {
            [] if self.auth.guards_publishing() => vec!["*".to_owned()],
            named => named.to_vec(),
        }
    }

    /// How many shards run: as configured, or one per core.
    pub fn shard_count(&self) -> u16 {
        match self.media.shards {
            0 => cores().clamp(1, 64),
            count => count,
        }
    }

    /// How many threads serve HTTP. More than 4 do not help: a join's cost is in ICE and DTLS, on the shards.
    pub fn http_workers(&self) -> u16 {
        match self.http.workers {
            0 => cores().clamp(1, 4),
            count => count,
        }
    }
}

fn cores() -> u16 {
    std::thread::available_parallelism().map_or(1, |count| u16::try_from(count.get()).unwrap_or(u16::MAX))
}
