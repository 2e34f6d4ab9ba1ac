//! Connections to the public listener: how many one address may have, and how each ended.
//!
//! Requests are limited elsewhere; this is about clients that open connections and hold them. Also what the HTTP
//! library refuses by itself (400, 408 and 431) passes no handler, so this is where it shows.

use std::any::Any;
use std::cell::Cell;
use std::collections::HashMap;
use std::net::{IpAddr, Shutdown};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use actix_rt::net::TcpStream;
use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::dev::{Extensions, ServiceRequest};
use aforo_cluster::metric::Metrics;
use socket2::SockRef;
use tracing::warn;

use super::forwarded::Proxies;
use super::rate_limit::subject;
use crate::config::Config;

/// How a connection ends that its address had no place for.
const REFUSED: &str = "refused";

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
struct Connection {
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

    /// A connection begins; what is known of it ends with it. One too many of its address is closed at once: an answer would
    /// have to wait for a request, which whoever holds connections does not send.
    pub fn begin(self: &Arc<Self>, stream: &dyn Any, known: &mut Extensions) {
        self.metrics.http_connections.inc();
        let stream = tcp(stream);
        let address = stream.and_then(|stream| stream.peer_addr().ok()).map(|address| address.ip());
        let counted = address.and_then(|address| self.subject(address));
        let admitted = counted.is_none_or(|subject| self.admit(subject));
        if !admitted && !self.told.swap(true, Ordering::Relaxed) {
            warn!(
                limit = self.limit,
                "an address has all its connections and more are closed (told once): if it is a balancer's, name it in \
                 http.trusted_proxies or raise limits.connections_per_address"
            );
        }
        if let (false, Some(stream)) = (admitted, stream) {
            // If that fails, the client has closed it already.
            let _ = SockRef::from(stream).shutdown(Shutdown::Both);
        }
        let outcome = Cell::new(if admitted { "unserved" } else { REFUSED });
        known.insert(Connection { outcome, counted: counted.filter(|_| admitted), all: Arc::clone(self) });
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

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(subject) = self.counted {
            self.all.end(subject);
        }
        self.all.metrics.http_connections.dec();
        self.all.metrics.http_connections_total.with_label_values(&[self.outcome.get()]).inc();
    }
}

/// A request came over its connection that could be read. Returns whether it may be served: what a client sent before its
/// connection was closed is still read, but nobody would hear the answer.
pub fn serves(request: &ServiceRequest) -> bool {
    let Some(connection) = request.request().conn_data::<Connection>() else { return true };
    let admitted = connection.outcome.get() != REFUSED;
    if admitted {
        connection.outcome.set("served");
    }
    admitted
}

/// The TCP connection below HTTP or HTTPS.
fn tcp(stream: &dyn Any) -> Option<&TcpStream> {
    let secured = || stream.downcast_ref::<TlsStream<TcpStream>>().map(|stream| stream.get_ref().0);
    stream.downcast_ref::<TcpStream>().or_else(secured)
}
