//! Exemplars: for each bucket of the join histogram, the trace of the last join that fell into it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// One observation, and the trace that it is part of.
#[derive(Debug, Clone, PartialEq)]
pub struct Exemplar {
    /// The trace's id: 32 hexadecimal digits (W3C Trace Context §3.2.2.3).
    pub trace_id: String,
    /// What was observed, in seconds.
    pub seconds: f64,
    /// When, in seconds since 1970.
    pub unix_seconds: f64,
}

/// Protocol and stage.
type Labels = (&'static str, &'static str);

/// The last exemplar of each bucket that has one, the endless one last.
type Buckets = Vec<Option<Exemplar>>;

/// Exemplars of one histogram with the labels `protocol` and `stage`. Touched by traced joins only, so that others do not
/// wait for its lock.
#[derive(Debug)]
pub struct Exemplars {
    bounds: &'static [f64],
    kept: Mutex<BTreeMap<Labels, Buckets>>,
}

impl Exemplars {
    /// None yet, of a histogram with these upper bounds.
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, kept: Mutex::default() }
    }

    /// Keeps the trace of an observation in place of the one before it in the same bucket.
    pub fn keep(&self, protocol: &'static str, stage: &'static str, seconds: f64, trace_id: String) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let exemplar = Exemplar { trace_id, seconds, unix_seconds: since.as_secs_f64() };
        let bucket = self.bounds.iter().position(|bound| seconds <= *bound).unwrap_or(self.bounds.len());
        // Whoever panicked with the lock left at worst an old exemplar.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let buckets = kept.entry((protocol, stage)).or_insert_with(|| vec![None; self.bounds.len() + 1]);
        if let Some(place) = buckets.get_mut(bucket) {
            *place = Some(exemplar);
        }
    }

    /// The exemplars of one series, one for each bucket, the endless one last.
    pub(super) fn of(&self, protocol: &str, stage: &str) -> Buckets {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().find(|((of, at), _)| *of == protocol && *at == stage);
        found.map(|(_, buckets)| buckets.clone()).unwrap_or_default()
    }
}
