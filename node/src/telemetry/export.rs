//! Sends finished spans to a collector, by OTLP over HTTP, from a thread of its own.
//!
//! Whoever ends a span puts it into a bounded queue and goes on: a collector that is slow, gone or hangs costs spans,
//! never time. What became of them is counted in `trace_spans_total`.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aforo_cluster::metric::Metrics;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, Span, SpanData, SpanExporter,
    SpanProcessor,
};
use prometheus::IntCounter;
use reqwest::blocking::Client;
use reqwest::redirect::Policy;
use tracing::{info, warn};

use super::join::JoinTracer;
use crate::config::Config;

/// Spans that wait for the collector or are being sent to it: two seconds of five hundred joins each, or some 5 MB. Full
/// means that the collector takes less than comes: further spans are dropped and counted.
pub(super) const SPANS_CAPACITY: usize = 8_192;

/// Spans of one request: what collectors take by default, some 200 KiB.
const BATCH_SPANS: usize = 512;

/// A trace is to be seen a second after its join, as whoever looks for it has just seen the join.
const SEND_EVERY: Duration = Duration::from_secs(1);

/// A collector that takes longer for a request is as good as gone; what it was sent is lost.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a node that stops waits for its last spans to be sent.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// Where traces are taken below a collector's address (OTLP 1.x, OTLP/HTTP request).
const TRACES_PATH: &str = "/v1/traces";

/// Why nothing can be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The HTTP client, which reads the system's root certificates.
    #[error("the client for telemetry.otlp_endpoint cannot be made")]
    Client(#[from] reqwest::Error),
    /// The address or a header.
    #[error("telemetry.otlp_endpoint cannot be used")]
    Exporter(#[from] ExporterBuildError),
}

/// The running export.
pub(crate) struct Export(SdkTracerProvider);

impl Export {
    /// Starts it, if a collector is configured.
    ///
    /// # Errors
    ///
    /// See [`ExportError`]. A collector that is not there is none: it may come.
    pub fn start(config: &Config, metrics: &Metrics) -> Result<Option<Self>, ExportError> {
        let telemetry = &config.telemetry;
        let Some(endpoint) = &telemetry.otlp_endpoint else { return Ok(None) };
        // Collectors' keys must not follow a redirection to another host.
        let client = Client::builder().timeout(REQUEST_TIMEOUT).redirect(Policy::none()).build()?;
        let headers = telemetry.headers().flatten();
        let headers: HashMap<String, String> =
            headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_endpoint(format!("{}{TRACES_PATH}", endpoint.trim_end_matches('/')))
            .with_headers(headers)
            .with_timeout(REQUEST_TIMEOUT)
            .build()?;
        let name = config.node.name.iter().map(|name| KeyValue::new("service.instance.id", name.to_string()));
        let resource = Resource::builder()
            .with_service_name(telemetry.service_name.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attributes(name)
            .build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Queue::new(exporter, metrics))
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
                telemetry.sampling_ratio,
            ))))
            .with_resource(resource)
            .build();
        info!(endpoint, sampling_ratio = telemetry.sampling_ratio, "joins are traced");
        Ok(Some(Self(provider)))
    }

    /// What makes traces.
    pub fn tracer(&self) -> JoinTracer {
        JoinTracer::new(self.0.tracer("aforo"))
    }

    /// Sends what waits, as far as the collector takes it in time. Blocks up to two seconds.
    pub fn stop(self) {
        if let Err(error) = self.0.shutdown_with_timeout(STOP_PATIENCE) {
            warn!(%error, "the last traces may be lost");
        }
    }
}

/// A batch processor that says what it drops: the library's own counts it for itself alone.
#[derive(Debug)]
pub(super) struct Queue {
    inner: BatchSpanProcessor,
    /// Spans that wait or are being sent.
    waiting: Arc<AtomicUsize>,
    dropped: IntCounter,
}

impl Queue {
    pub fn new<E: SpanExporter + 'static>(exporter: E, metrics: &Metrics) -> Self {
        let waiting = Arc::new(AtomicUsize::new(0));
        let spans = |result| metrics.trace_spans_total.with_label_values(&[result]);
        let sender = Sender {
            inner: exporter,
            waiting: Arc::clone(&waiting),
            sent: spans("exported"),
            failed: spans("failed"),
            is_failing: AtomicBool::new(false),
        };
        // Its own queue has room for all that this one lets in.
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(SPANS_CAPACITY)
            .with_max_export_batch_size(BATCH_SPANS)
            .with_scheduled_delay(SEND_EVERY)
            .build();
        let inner = BatchSpanProcessor::builder(sender).with_batch_config(batches).build();
        Self { inner, waiting, dropped: spans("dropped") }
    }
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= SPANS_CAPACITY {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.dropped.inc();
            return;
        }
        self.inner.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// An exporter that counts, on the queue's thread.
#[derive(Debug)]
struct Sender<E> {
    inner: E,
    waiting: Arc<AtomicUsize>,
    sent: IntCounter,
    failed: IntCounter,
    is_failing: AtomicBool,
}

impl<E: SpanExporter> SpanExporter for Sender<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let result = self.inner.export(batch).await;
        self.waiting.fetch_sub(count, Ordering::Relaxed);
        let counter = if result.is_ok() { &self.sent } else { &self.failed };
        counter.inc_by(count as u64);
        // One line when it begins and one when it ends: the counters have the rest.
        match (&result, self.is_failing.swap(result.is_err(), Ordering::Relaxed)) {
            (Err(error), false) => warn!(%error, "the collector takes no traces"),
            (Ok(()), true) => info!("the collector takes traces again"),
            _ => {}
        }
        result
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
