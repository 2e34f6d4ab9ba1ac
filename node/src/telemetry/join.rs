//! The trace of one join: from the head of its HTTP request to its first keyframe, or to whatever ended it before.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use actix_web::http::header::HeaderMap;
use aforo_cluster::control::Role;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{Span as _, SpanBuilder, SpanKind, Status, TraceContextExt, TraceId, Tracer as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, Span};

use crate::room::protocol;

/// Makes traces of joins.
#[derive(Debug, Clone)]
pub struct JoinTracer(SdkTracer);

/// The trace of one join, which all who work on the join may hold. Its root span ends once; if nobody ends it, then with
/// the last of those who hold it.
#[derive(Clone)]
pub struct JoinTrace(Arc<Inner>);

struct Inner {
    tracer: SdkTracer,
    /// The root span, as parent of the others.
    root: Context,
    trace_id: TraceId,
    /// One moment by both clocks: actors tell when something happened by the monotonic one.
    began: (Instant, SystemTime),
}

impl JoinTracer {
    pub(super) fn new(tracer: SdkTracer) -> Self {
        Self(tracer)
    }

    /// Begins the trace of a request with these headers. The request's `traceparent` (W3C Trace Context §3.2) is its
    /// parent and decides whether it is recorded; without one the configured share of joins is. `None` if it is not.
    pub fn begin(&self, role: Role, headers: &HeaderMap, now: Instant) -> Option<JoinTrace> {
        let parent = TraceContextPropagator::new().extract_with_context(&Context::new(), &Carrier(headers));
        let began = SystemTime::now();
        let attributes =
            vec![KeyValue::new("aforo.role", role.as_str()), KeyValue::new("aforo.protocol", protocol(role))];
        let builder = SpanBuilder::from_name("join").with_start_time(began).with_attributes(attributes);
        let span = self.0.build_with_context(builder, &parent);
        let trace_id = span.span_context().trace_id();
        span.is_recording().then(|| {
            // Without what the request's own context may hold besides.
            let root = Context::new().with_span(span);
            JoinTrace(Arc::new(Inner { tracer: self.0.clone(), root, trace_id, began: (now, began) }))
        })
    }
}

impl JoinTrace {
    /// What all its spans have in common.
    pub fn trace_id(&self) -> TraceId {
        self.0.trace_id
    }

    /// Says more about the join.
    pub fn describe(&self, attributes: impl IntoIterator<Item = KeyValue>) {
        self.0.root.span().set_attributes(attributes);
    }

    /// Begins a span below the root, or below another one of this trace.
    pub(super) fn span(&self, name: &'static str, kind: SpanKind, parent: Option<&Context>) -> Span {
        let builder = SpanBuilder::from_name(name).with_kind(kind);
        self.0.tracer.build_with_context(builder, parent.unwrap_or(&self.0.root))
    }

    /// The same, from the beginning of the trace on.
    pub(super) fn first_span(&self, name: impl Into<Cow<'static, str>>, kind: SpanKind) -> Span {
        let builder = SpanBuilder::from_name(name).with_kind(kind).with_start_time(self.0.began.1);
        self.0.tracer.build_with_context(builder, &self.0.root)
    }

    /// The join went through a stage, as a span below the root; `failure` says why it did not get to the stage's end.
    pub fn stage(&self, name: &'static str, from: Instant, to: Instant, failure: Option<&str>) {
        let builder = SpanBuilder::from_name(name).with_start_time(self.time(from));
        let mut span = self.0.tracer.build_with_context(builder, &self.0.root);
        if let Some(reason) = failure {
            span.set_status(Status::error(reason.to_owned()));
        }
        span.end_with_timestamp(self.time(to));
    }

    /// The join is complete.
    pub fn complete(&self, now: Instant) {
        let root = self.0.root.span();
        root.set_status(Status::Ok);
        root.end_with_timestamp(self.time(now));
    }

    /// The join will not be completed. A client that leaves on its own is no error: `failure` then is `None`.
    pub fn abandon(&self, now: Instant, failure: Option<&str>) {
        let root = self.0.root.span();
        if let Some(reason) = failure {
            root.set_status(Status::error(reason.to_owned()));
        }
        root.end_with_timestamp(self.time(now));
    }

    fn time(&self, at: Instant) -> SystemTime {
        let (instant, time) = self.0.began;
        time + at.saturating_duration_since(instant)
    }
}

impl fmt::Debug for JoinTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinTrace({})", self.0.trace_id)
    }
}

/// Reads a request's headers for the propagator.
struct Carrier<'a>(&'a HeaderMap);

impl Extractor for Carrier<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|name| name.as_str()).collect()
    }
}
