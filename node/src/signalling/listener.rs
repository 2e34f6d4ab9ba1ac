//! The two HTTP servers: bound before the node says that it is ready, with limits against slow and endless clients.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::web::Data;
use actix_web::{App as WebApp, HttpServer};

use super::admin::Operations;
use super::app::App;
use super::connection::Connections;
use super::tls::{self, TlsError};
use super::{guard, routes};
use crate::config::Config;

/// How long an idle connection is kept: longer than a page polls, shorter than a proxy's own limit.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// How long a client may take to take note of a closed connection.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Connections of one worker; more wait in the kernel. A node's limit of open files is the next to be reached.
const CONNECTIONS_PER_WORKER: usize = 8_192;

/// The share of all connections that event streams may hold, as a divisor: the rest is for requests, joins above all.
const EVENT_STREAMS_SHARE: u32 = 2;

/// Connections that wait to be accepted: a burst of joins, all of which come within one round of the event loop.
const BACKLOG: u32 = 4_096;

/// A server that could not listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct ListenError {
    /// Where it should have.
    pub address: SocketAddr,
    /// Why it could not.
    #[source]
    pub source: io::Error,
}

/// Why the public listener does not listen.
#[derive(Debug, thiserror::Error)]
pub enum PublicError {
    /// The address.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// How many event streams may be open together: as many as configured, as long as joins can still connect.
pub fn event_streams(config: &Config) -> u32 {
    let connections = u32::from(config.http_workers()).saturating_mul(CONNECTIONS_PER_WORKER as u32);
    config.limits.event_streams.min(connections / EVENT_STREAMS_SHARE)
}

/// The public server, bound and ready to be awaited, and where it listens.
pub fn serve_public(config: &Config, app: Data<App>) -> Result<(Server, SocketAddr), PublicError> {
    let tls = tls::server_config(&config.http, Arc::clone(&app.metrics))?;
    let address = config.http.listen;
    let connections = Arc::new(Connections::new(config, Arc::clone(&app.metrics)));
    let timeout = Duration::from_secs(config.limits.request_timeout_seconds.into());
    let server = HttpServer::new(move || {
        WebApp::new().app_data(app.clone()).wrap(from_fn(guard::public)).configure(routes::public)
    });
    let server = server
        .on_connect(move |stream, known| connections.begin(stream, known))
        .workers(config.http_workers().into())
        .backlog(BACKLOG)
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(timeout)
        .client_disconnect_timeout(DISCONNECT_TIMEOUT)
        .max_connections(CONNECTIONS_PER_WORKER)
        .disable_signals()
        .shutdown_timeout(config.drain.timeout_seconds.into());
    let server = match tls {
        Some(tls) => server.bind_rustls_0_23(address, tls),
        None => server.bind(address),
    };
    let server = server.map_err(|source| ListenError { address, source })?;
    let bound = server.addrs().first().copied().unwrap_or(address);
    Ok((server.run(), bound))
}

/// The server for operators, bound and ready to be awaited, and where it listens.
pub fn serve_operators(
    config: &Config,
    operations: Data<Operations>,
) -> Result<(Server, SocketAddr), ListenError> {
    let address = config.admin.listen;
    let server =
        HttpServer::new(move || WebApp::new().app_data(operations.clone()).configure(routes::operators))
            .workers(1)
            .keep_alive(KEEP_ALIVE)
            .client_disconnect_timeout(DISCONNECT_TIMEOUT)
            .disable_signals()
            .shutdown_timeout(1)
            .bind(address)
            .map_err(|source| ListenError { address, source })?;
    let bound = server.addrs().first().copied().unwrap_or(address);
    Ok((server.run(), bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_streams_leave_connections_for_joins() {
        let mut config = Config::default();
        config.limits.event_streams = 10_000;
        for (workers, streams) in [(1, 4_096), (2, 8_192), (3, 10_000)] {
            config.http.workers = workers;
            assert_eq!(event_streams(&config), streams);
        }
    }
}
