//! The part of a join's trace in which its HTTP request is answered.

use std::time::Instant;

use actix_web::HttpRequest;
use aforo_cluster::control::Role;
use opentelemetry::trace::{Span as _, SpanKind, Status, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::Span;

use super::join::{JoinTrace, JoinTracer};

/// A request that asks to join; all of it does nothing where the join is not traced.
pub(crate) struct RequestTrace(Option<Traced>);

struct Traced {
    join: JoinTrace,
    /// The request's span, as parent of its steps.
    request: Context,
}

/// A step of the request: its span ends when this is dropped.
#[must_use = "the step ends when this is dropped"]
pub(crate) struct Step(#[expect(dead_code, reason = "is there to be dropped")] Option<Span>);

impl RequestTrace {
    /// Begins the trace of `request`, whose route is `route`.
    pub fn begin(
        tracer: Option<&JoinTracer>,
        role: Role,
        route: &'static str,
        request: &HttpRequest,
        now: Instant,
    ) -> Self {
        let traced = tracer.and_then(|tracer| tracer.begin(role, request.headers(), now)).map(|join| {
            let method = request.method().as_str().to_owned();
            let mut span = join.first_span(format!("{method} {route}"), SpanKind::Server);
            span.set_attribute(KeyValue::new("http.request.method", method));
            span.set_attribute(KeyValue::new("http.route", route));
            Traced { request: Context::new().with_span(span), join }
        });
        Self(traced)
    }

    /// The trace, for those that the join goes on to.
    pub fn join(&self) -> Option<JoinTrace> {
        self.0.as_ref().map(|traced| traced.join.clone())
    }

    /// Begins a step.
    pub fn step(&self, name: &'static str) -> Step {
        let span = self.0.as_ref();
        Step(span.map(|traced| traced.join.span(name, SpanKind::Internal, Some(&traced.request))))
    }

    /// Says which session joins what.
    pub fn describe(&self, attributes: impl FnOnce() -> [KeyValue; 3]) {
        if let Some(traced) = &self.0 {
            traced.join.describe(attributes());
        }
    }

    /// The request was answered; with a `refusal`, the join ends here.
    pub fn answered(self, status: u16, refusal: Option<&'static str>) {
        let Some(Traced { join, request }) = self.0 else { return };
        let span = request.span();
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status)));
        if let Some(reason) = refusal {
            span.set_attribute(KeyValue::new("error.type", reason));
            // A refusal of what a client did wrong is no fault of the server (HTTP semantic conventions, status).
            if status >= 500 {
                span.set_status(Status::error(reason));
            }
            join.abandon(Instant::now(), Some(reason));
        }
        span.end();
    }
}
