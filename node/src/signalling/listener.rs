//! The two HTTP servers: bound before the node says that it is ready, with limits against slow and endless clients.
//!
//! The public one is put together here from the parts of actix-web's own, which tells of a connection only when its TLS
//! handshake is over (decision 41):
//!
//! ```text
//! accept ── count per address ── TLS, if configured ── HTTP ── App
//! ```

use std::fmt::Debug;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_http::{HttpServiceBuilder, Request, TlsAcceptorConfig};
use actix_rt::net::TcpStream;
use actix_service::{IntoServiceFactory as _, ServiceFactoryExt as _, apply_fn_factory, map_config};
use actix_tls::accept::max_concurrent_tls_connect;
use actix_web::body::BoxBody;
use actix_web::dev::{AppConfig, Response, Server, Service, ServiceFactory, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::web::Data;
use actix_web::{App as WebApp, HttpResponse, HttpServer};
use socket2::{Domain, Protocol, Socket, Type};

use super::admin::Operations;
use super::app::App;
use super::connection::{self, Connections};
use super::tls::{self, TlsError};
use super::{guard, routes};
use crate::config::Config;

/// How long an idle connection is kept: longer than a page polls, shorter than a proxy's own limit.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// How long a client may take to take note of a closed connection.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a client may take for its TLS handshake: two round trips of a slow network, one of which is lost and repeated.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);

/// Connections of one worker, those in their handshake included; more wait in the kernel. A node's limit of open files is the next to be reached.
const CONNECTIONS_PER_WORKER: usize = 8_192;

/// The share of all connections that event streams may hold, as a divisor: the rest is for requests, joins above all.
const EVENT_STREAMS_SHARE: u32 = 2;

/// Connections that wait to be accepted: a burst of joins, all of which come within one round of the event loop.
const BACKLOG: i32 = 4_096;

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
    let failed = |source| ListenError { address, source };
    let listener = listen(address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let server = Server::build()
        .workers(config.http_workers().into())
        .max_concurrent_connections(CONNECTIONS_PER_WORKER)
        .disable_signals()
        .shutdown_timeout(config.drain.timeout_seconds.into());
    let stops = server.graceful_shutdown_signal();
    let http = move || {
        let stops = stops.clone();
        (timeout, move || {
            let stops = stops.clone();
            async move { stops.notified().await }
        })
    };
    // Its own limit, 256 for a worker, is one that two clients without a word would reach.
    max_concurrent_tls_connect(CONNECTIONS_PER_WORKER);
    let server = match tls {
        Some(tls) => server.listen("https", listener, move || {
            let secured = TlsAcceptorConfig::default().handshake_timeout(HANDSHAKE_TIMEOUT);
            let http = with_limits(http()).finish(web(&app, true, bound));
            counted(http.rustls_0_23_with_config(tls.clone(), secured), &connections)
        }),
        None => server.listen("http", listener, move || {
            counted(with_limits(http()).finish(web(&app, false, bound)).tcp(), &connections)
        }),
    };
    Ok((server.map_err(failed)?.run(), bound))
}

/// A socket that clients can connect to. One whose connections of before are not yet forgotten can be had again.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// HTTP over connections of type `T`, with the limits of requests, until `stops` says that no next one is to be waited for.
fn with_limits<T, S, W>((timeout, stops): (Duration, impl Fn() -> W + 'static)) -> HttpServiceBuilder<T, S>
where
    S: ServiceFactory<Request, Config = ()>,
    S::Error: Into<Response<BoxBody>> + 'static,
    S::InitError: Debug,
    <S::Service as Service<Request>>::Future: 'static,
    W: Future<Output = ()> + 'static,
{
    HttpServiceBuilder::default()
        .graceful_shutdown_signal(stops)
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(timeout)
        .client_disconnect_timeout(DISCONNECT_TIMEOUT)
        .on_connect_ext(|_, known| connection::hand_on(known))
}

/// What requests are answered by. It knows whether they come by HTTPS, and where to.
fn web(
    app: &Data<App>,
    is_secure: bool,
    bound: SocketAddr,
) -> impl ServiceFactory<Request, Config = (), Response = ServiceResponse, Error = HttpResponse, InitError = ()>
+ use<> {
    let web = WebApp::new().app_data(app.clone()).wrap(from_fn(guard::public)).configure(routes::public);
    let web = web.into_factory().map_err(|error: actix_web::Error| error.error_response());
    // The one way to say so that is open to others than actix-web itself; it is there for its crate of tests.
    map_config(web, move |()| AppConfig::__priv_test_new(is_secure, bound.to_string(), bound))
}

/// Counts each connection before `service` sees its first byte, until it ends. One too many is closed unseen.
fn counted<S>(
    service: S,
    connections: &Arc<Connections>,
) -> impl ServiceFactory<TcpStream, Config = (), Response = (), Error = S::Error, InitError = ()> + use<S>
where
    S: ServiceFactory<TcpStream, Config = (), Response = (), InitError = ()>,
{
    let connections = Arc::clone(connections);
    apply_fn_factory(service, move |stream: TcpStream, service: &S::Service| {
        let served = connections.begin(&stream).map(|connection| connection.during(service.call(stream)));
        async move {
            match served {
                Some(served) => served.await,
                None => Ok(()),
            }
        }
    })
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
