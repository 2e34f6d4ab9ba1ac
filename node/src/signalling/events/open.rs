//! How many event streams are open, and a bound for them: each is a connection, which joins need too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aforo_cluster::metric::Metrics;
use prometheus::IntGauge;

use crate::signalling::problem::Problem;

/// The open event streams of the node.
#[derive(Debug)]
pub struct OpenStreams {
    count: Arc<AtomicU32>,
    gauge: IntGauge,
    limit: u32,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct OpenStream {
    count: Arc<AtomicU32>,
    gauge: IntGauge,
}

impl OpenStreams {
    /// None yet, and at most `limit`.
    pub fn new(limit: u32, metrics: &Metrics) -> Self {
        Self { count: Arc::default(), gauge: metrics.event_streams.clone(), limit }
    }

    /// One more, unless there are as many as may be.
    pub(super) fn open(&self) -> Result<OpenStream, Problem> {
        let one_more = |count| (count < self.limit).then_some(count + 1);
        self.count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .map_err(|_| Problem::EventStreamsFull(self.limit))?;
        self.gauge.inc();
        Ok(OpenStream { count: Arc::clone(&self.count), gauge: self.gauge.clone() })
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.gauge.dec();
    }
}
