//! Connections to the public listener: how many one address may have, and how each ended.
//!
//! Requests are limited elsewhere; this is about clients that open connections and hold them: each counts from the moment it
//! is accepted, before any TLS, as whoever wants to hold connections need not even begin a handshake. Also what the HTTP
//! library refuses by itself (400, 408 and 431) passes no handler, so this is where it shows.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use actix_rt::net::TcpStream;
use actix_web::dev::{Extensions, ServiceRequest};
use aforo_cluster::metric::Metrics;
use tracing::warn;

use super::forwarded::Proxies;
use super::rate_limit::subject;
use crate::config::Config;

tokio::task_local! {
    /// The connection whose bytes are being looked at. TLS and HTTP have no other place for what is known of one before them.
    static CURRENT: Rc<Connection>;
}

/// All open connections.
pub struct Connections {
    /// Of one address; without, each may have all.
    limit: Option<u32>,
    proxies: Proxies,
    loopback_exempt: bool,
    /// Whether the log has it that some address has had too many.
    told: AtomicBool,
    of_address: Mutex<HashMap<IpAddr, u32>>,
    metrics: Arc<Metrics>,
}

/// One connection, from its begin to its end.
pub struct Connection {
    outcome: Cell<&'static str>,
    counted: Option<IpAddr>,
    all: Arc<Connections>,
}

impl Connections {
    /// None yet, with the configured limit. A trusted proxy has none, as it brings many.
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Self {
        let limit = config.limits.connections_per_address;
        Self {
            limit: (limit > 0).then_some(limit),
            proxies: Proxies::new(&config.http),
            loopback_exempt: config.limits.loopback_exempt,
            told: AtomicBool::new(false),
            of_address: Mutex::default(),
            metrics,
        }
    }

    /// A connection begins, and counts until what is returned is dropped. One too many of its address is `None`, to be closed at
    /// once: an answer would have to wait for a request, which whoever holds connections does not send.
    pub fn begin(self: &Arc<Self>, stream: &TcpStream) -> Option<Connection> {
        let address = stream.peer_addr().ok().map(|address| address.ip());
        let counted = address.and_then(|address| self.subject(address));
        if counted.is_none_or(|subject| self.admit(subject)) {
            self.metrics.http_connections.inc();
            return Some(Connection { outcome: Cell::new("unserved"), counted, all: Arc::clone(self) });
        }
        self.metrics.http_connections_total.with_label_values(&["refused"]).inc();
        if !self.told.swap(true, Ordering::Relaxed) {
            warn!(
                limit = self.limit,
                "an address has all its connections and more are closed (told once): if it is a balancer's, name it in \
                 http.trusted_proxies or raise limits.connections_per_address"
            );
        }
        None
    }

    /// Whom the connections from `address` are counted for, if they are.
    fn subject(&self, address: IpAddr) -> Option<IpAddr> {
        let subject = subject(address);
        let is_free = (self.loopback_exempt && subject.is_loopback()) || self.proxies.has(address);
        (self.limit.is_some() && !is_free).then_some(subject)
    }

    /// Counts a connection. Returns whether it may stay; one that may not is not counted.
    fn admit(&self, subject: IpAddr) -> bool {
        let mut of_address = self.of_address.lock().unwrap_or_else(PoisonError::into_inner);
        let open = of_address.entry(subject).or_default();
        let admitted = self.limit.is_none_or(|limit| *open < limit);
        *open += u32::from(admitted);
        admitted
    }

    fn end(&self, subject: IpAddr) {
        let mut of_address = self.of_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = of_address.get_mut(&subject) {
            *open -= 1;
            if *open == 0 {
                of_address.remove(&subject);
            }
        }
    }
}

impl Connection {
    /// Counts the connection until `served`, which is all that happens on it, ends.
    pub async fn during<T>(self, served: impl Future<Output = T>) -> T {
        CURRENT.scope(Rc::new(self), served).await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(subject) = self.counted {
            self.all.end(subject);
        }
        self.all.metrics.http_connections.dec();
        self.all.metrics.http_connections_total.with_label_values(&[self.outcome.get()]).inc();
    }
}

/// Hands the connection that HTTP begins on to the requests that will come over it.
pub fn hand_on(known: &mut Extensions) {
    // There is none in tests without a listener.
    let _ = CURRENT.try_with(|connection| known.insert(Rc::clone(connection)));
}

/// A request came over its connection that could be read.
pub fn serves(request: &ServiceRequest) {
    if let Some(connection) = request.request().conn_data::<Rc<Connection>>() {
        connection.outcome.set("served");
    }
}
