#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use aforo_cluster::control::Role;
use aforo_cluster::metric::Metrics;
use opentelemetry::trace::{SpanId, Status, Tracer as _, TracerProvider as _};
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};

use super::export::{Queue, SPANS_CAPACITY};
use super::spans::Kept;
use super::{Export, JoinTracer};
use crate::config::Config;

/// Longer than anything here takes, short enough that a failure does not hang.
const PATIENCE: Duration = Duration::from_secs(20);

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn headers(traceparent: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static("traceparent"), HeaderValue::from_str(traceparent).unwrap());
    headers
}

fn begin(tracer: &JoinTracer, headers: &HeaderMap) -> Option<super::JoinTrace> {
    tracer.begin(Role::Viewer, headers, Instant::now())
}

#[test]
fn the_trace_of_the_request_is_gone_on_with() {
    let (tracer, kept) = Kept::tracer(0.0);
    let trace = begin(&tracer, &headers(&format!("00-{TRACE}-{PARENT}-01"))).unwrap();
    assert_eq!(trace.trace_id().to_string(), TRACE);
    trace.complete(Instant::now());
    let join = kept.named("join");
    assert_eq!((join.parent_span_id.to_string(), join.status), (PARENT.to_owned(), Status::Ok));
    assert!(join.parent_span_is_remote);
}

#[test]
fn a_request_that_says_not_to_be_recorded_is_not() {
    let (tracer, _) = Kept::tracer(1.0);
    assert!(begin(&tracer, &headers(&format!("00-{TRACE}-{PARENT}-00"))).is_none());
}

#[test]
fn without_a_good_traceparent_the_configured_share_is_recorded_under_ids_of_our_own() {
    let (all, kept) = Kept::tracer(1.0);
    let zeros = "0".repeat(32);
    for bad in ["", "00-x-y-01", &format!("00-{zeros}-{PARENT}-01"), &format!("ff-{TRACE}-{PARENT}-01")] {
        let trace = begin(&all, &headers(bad)).unwrap();
        assert_ne!(trace.trace_id().to_string(), TRACE, "{bad}");
    }
    assert_eq!(kept.names(), ["join"; 4], "who holds a trace last ends it");
    let (none, _) = Kept::tracer(0.0);
    assert!(begin(&none, &HeaderMap::new()).is_none());
}

#[test]
fn stages_lie_in_the_join_and_say_where_it_failed() {
    let (tracer, kept) = Kept::tracer(1.0);
    let start = Instant::now();
    let trace = tracer.begin(Role::Publisher, &HeaderMap::new(), start).unwrap();
    let at = |seconds| start + Duration::from_secs(seconds);
    trace.stage("ice", at(1), at(3), None);
    trace.stage("dtls", at(3), at(15), Some("dtls_timeout"));
    trace.abandon(at(15), Some("dtls_timeout"));
    trace.complete(at(16));
    let (join, ice, dtls) = (kept.named("join"), kept.named("ice"), kept.named("dtls"));
    let id = join.span_context.span_id();
    assert_eq!((ice.parent_span_id, dtls.parent_span_id, join.parent_span_id), (id, id, SpanId::INVALID));
    assert_eq!(ice.end_time.duration_since(ice.start_time).unwrap(), Duration::from_secs(2));
    assert_eq!(join.end_time.duration_since(join.start_time).unwrap(), Duration::from_secs(15));
    assert_eq!((dtls.start_time, dtls.end_time), (ice.end_time, join.end_time));
    assert_eq!((ice.status, join.status), (Status::Unset, Status::error("dtls_timeout")));
}

/// A collector that takes a batch, well or not, each time that it is let.
#[derive(Debug)]
struct Collector(Mutex<Receiver<bool>>);

impl SpanExporter for Collector {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        // Whoever holds the other end no longer lets it do anything.
        let good = self.0.lock().unwrap().recv().unwrap_or(true);
        good.then_some(()).ok_or_else(|| OTelSdkError::InternalFailure("refused".to_owned()))
    }
}

#[test]
fn a_collector_that_hangs_costs_spans_and_no_time_and_what_is_lost_is_counted() {
    const TOO_MANY: usize = 10;
    let metrics = Metrics::new().unwrap();
    let (let_it, waits) = channel();
    let queue = Queue::new(Collector(Mutex::new(waits)), &metrics);
    let provider = SdkTracerProvider::builder().with_span_processor(queue).build();
    let tracer = provider.tracer("test");
    for _ in 0..SPANS_CAPACITY + TOO_MANY {
        drop(tracer.start("span"));
    }
    let spans = |result| metrics.trace_spans_total.with_label_values(&[result]).get() as usize;
    assert_eq!((spans("dropped"), spans("exported"), spans("failed")), (TOO_MANY, 0, 0));
    let_it.send(false).unwrap();
    drop(let_it);
    provider.shutdown_with_timeout(PATIENCE).unwrap();
    assert!(spans("failed") > 0, "the first batch was refused");
    assert_eq!(spans("failed") + spans("exported"), SPANS_CAPACITY);
    assert_eq!(spans("dropped"), TOO_MANY);
}

#[test]
fn without_a_collector_nothing_is_started_and_one_that_is_away_is_no_error() {
    let metrics = Metrics::new().unwrap();
    let mut config = Config::default();
    assert!(Export::start(&config, &metrics).unwrap().is_none());
    // Port 1 of this machine: nobody listens there.
    config.telemetry.otlp_endpoint = Some("http://127.0.0.1:1".to_owned());
    let export = Export::start(&config, &metrics).unwrap().unwrap();
    drop(export.tracer().begin(Role::Viewer, &HeaderMap::new(), Instant::now()));
    export.stop();
    assert_eq!(metrics.trace_spans_total.with_label_values(&["failed"]).get(), 1);
}
