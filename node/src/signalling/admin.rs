//! The listener for operators: metrics and the three probes that an orchestrator asks.

use std::time::Duration;

use actix::Recipient;
use actix_web::http::header::{ACCEPT, CACHE_CONTROL, ContentType, HeaderValue};
use actix_web::web::{Data, Query};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use serde::Deserialize;
use std::sync::Arc;

use aforo_cluster::metric::{Metrics, open_metrics};

use crate::lifecycle::{Lifecycle, NodeState};
use crate::room::Ping;
use crate::shard::health::Heartbeat;
use crate::token::AwaitsKeys;

/// How long an arbiter may be without a sign of life before it counts as stuck: eight beats of a shard, and a thousand
/// times what a busy one takes to answer.
const HEARTBEAT_DEADLINE: Duration = Duration::from_secs(2);

/// The content type of Prometheus' text format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The media type that asks for the newer format.
const OPEN_METRICS: &str = "application/openmetrics-text";

/// What the probes look at.
pub struct Operations {
    /// For the exposition.
    pub metrics: Arc<Metrics>,
    /// The node's state.
    pub lifecycle: Arc<Lifecycle>,
    /// The media arbiters' signs of life, in the order of their ids.
    pub shards: Vec<Arc<Heartbeat>>,
    /// The control arbiter.
    pub rooms: Recipient<Ping>,
    /// Whether the keys of access tokens are still to come.
    pub awaits_keys: AwaitsKeys,
}

/// `GET /metrics`; in OpenMetrics' format, which has exemplars, for those who say that they read it.
pub async fn metrics(request: HttpRequest, operations: Data<Operations>) -> HttpResponse {
    let accepted = request.headers().get_all(ACCEPT).filter_map(|value| value.to_str().ok());
    let mut ranges = accepted.flat_map(|value| value.split(','));
    let is_open = ranges.any(|range| range.split(';').next().map(str::trim) == Some(OPEN_METRICS));
    let (text, content_type) = match is_open {
        true => (operations.metrics.render_open_metrics(), open_metrics::CONTENT_TYPE),
        false => (operations.metrics.render(), EXPOSITION),
    };
    match text {
        Ok(text) => HttpResponse::Ok().content_type(content_type).body(text),
        Err(error) => {
            HttpResponse::InternalServerError().body(format!("metrics cannot be written: {error}\n"))
        }
    }
}

/// `GET /`: what there is.
pub async fn index() -> HttpResponse {
    HttpResponse::Ok()
        .content_type(ContentType::plaintext())
        .body("/metrics\n/livez\n/readyz (?verbose)\n/startupz\n")
}

/// `GET /livez`: every arbiter runs its tasks. It costs the same however many rooms and sessions there are, and does not
/// depend on the bus: a node without it serves on.
pub async fn live(operations: Data<Operations>) -> HttpResponse {
    let now = crate::actor::now();
    let beats = operations.shards.iter().map(|heartbeat| heartbeat.age(now) < HEARTBEAT_DEADLINE);
    let shards = beats.enumerate().map(|(index, alive)| (format!("shard {index}"), alive));
    let answer = actix_web::rt::time::timeout(HEARTBEAT_DEADLINE, operations.rooms.send(Ping)).await;
    let control = matches!(answer, Ok(Ok(())));
    let checks: Vec<(String, bool)> = shards.chain([("control".to_owned(), control)]).collect();
    let alive = checks.iter().all(|(_, alive)| *alive);
    let text: String = checks.iter().map(|(name, alive)| line(name, *alive)).collect();
    probe(alive).body(text)
}

/// `?verbose` of `/readyz`.
#[derive(Debug, Deserialize)]
pub struct Verbosity {
    verbose: Option<String>,
}

/// `GET /readyz`: new sessions may come. A node that cannot check any token yet would only send everybody away.
pub async fn ready(operations: Data<Operations>, verbosity: Option<Query<Verbosity>>) -> HttpResponse {
    let state = operations.lifecycle.state();
    let has_keys = !operations.awaits_keys.now();
    let is_ready = state == NodeState::Ready && has_keys;
    let mut text = format!("{}\n", state.as_str());
    if verbosity.is_some_and(|query| query.verbose.is_some()) {
        // A node without the bus keeps serving what it has, so this is told but does not count.
        text.push_str(&line("bus", operations.metrics.bus_connected.get() == 1));
        text.push_str(&line("keys of access tokens are there", has_keys));
        text.push_str(&line("sessions are taken", is_ready));
    }
    probe(is_ready).body(text)
}

/// `GET /startupz`: the node has started, whatever it does since.
pub async fn started(operations: Data<Operations>) -> HttpResponse {
    let state = operations.lifecycle.state();
    probe(state != NodeState::Starting).body(format!("{}\n", state.as_str()))
}

fn line(name: &str, good: bool) -> String {
    format!("[{}] {name}\n", if good { '+' } else { '-' })
}

fn probe(good: bool) -> HttpResponseBuilder {
    let mut response = if good { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    response.insert_header((CACHE_CONTROL, HeaderValue::from_static("no-store")));
    response.insert_header(ContentType::plaintext());
    response
}
