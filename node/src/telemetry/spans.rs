//! Spans that are kept instead of sent.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::{SpanId, TracerProvider as _};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, Span, SpanData, SpanProcessor};

use super::JoinTracer;

/// The spans that have ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl Kept {
    /// A tracer that records this share of joins, and where their spans are kept.
    pub(crate) fn tracer(ratio: f64) -> (JoinTracer, Self) {
        let kept = Self::default();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(kept.clone())
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))))
            .build();
        (JoinTracer::new(provider.tracer("test")), kept)
    }

    /// Their names, in the order in which they ended.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|span| span.name.to_string()).collect()
    }

    /// Keeps none of those that have ended.
    pub(crate) fn forget(&self) {
        self.0.lock().unwrap().clear();
    }

    /// The one span of this name.
    pub(crate) fn named(&self, name: &str) -> SpanData {
        let spans = self.0.lock().unwrap();
        let mut found = spans.iter().filter(|span| span.name == name);
        let span = found.next().unwrap_or_else(|| panic!("no {name} in {spans:?}")).clone();
        assert!(found.next().is_none(), "more than one {name} in {spans:?}");
        span
    }

    /// The id of the one span of this name.
    pub(crate) fn id(&self, name: &str) -> SpanId {
        self.named(name).span_context.span_id()
    }
}

impl SpanProcessor for Kept {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.lock().unwrap().push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
