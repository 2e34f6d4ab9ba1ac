//! Many viewers who join a live stream at once, while others watch: when all play, and what the others lose.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use super::stage::Stage;
use super::{Plan, Progress, SETTLE, block_on};
use crate::report::Percentiles;

/// The viewers who were there are looked at for so long after the storm began, or until all play if that is later.
const WATCHED: Duration = Duration::from_secs(4);

/// Who comes, and how fast.
#[derive(Debug, Clone, Copy)]
pub struct Storm {
    /// Viewers beside those of the plan.
    pub viewers: usize,
    /// Their POSTs are spread over this time.
    pub within: Duration,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct StormReport {
    /// Viewers that watched before.
    pub earlier: u64,
    /// Viewers that came in the storm.
    pub joined: u64,
    /// How many of all have a whole keyframe in the end.
    pub playing: u64,
    /// From the storm's first POST until the last of these had it; none if nobody did.
    pub playing_after_seconds: Option<f64>,
    /// POST → 201, in the storm.
    pub answer: Percentiles,
    /// POST → last packet of the first whole keyframe, of all viewers.
    pub first_picture: Percentiles,
    /// Packets of the earlier viewers in the storm that did not come by themselves.
    pub earlier_missing_before_repair: u64,
    /// Packets of the earlier viewers in the storm that are missing after repair.
    pub earlier_missing: u64,
    /// Packets of the earlier viewers in the storm.
    pub earlier_packets: u64,
    /// Keyframe requests that the publishers got in the storm, of all layers.
    pub keyframe_requests: u64,
    /// The shortest time between two requests for one layer, over the whole run.
    pub shortest_request_interval_ms: Option<f64>,
    /// Viewers and publishers whose session ended.
    pub sessions_lost: u64,
    /// Refusals, in words.
    pub failures: Vec<String>,
}

/// Runs `plan` on a new runtime, and the storm into its stream.
///
/// # Errors
///
/// As for [`run`](super::run).
pub fn run_blocking(plan: Plan, storm: Storm, progress: Progress) -> Result<StormReport> {
    block_on(run(plan, storm, progress))
}

async fn run(plan: Plan, storm: Storm, progress: Progress) -> Result<StormReport> {
    let plan = Arc::new(plan);
    let mut stage = Stage::set(&plan, plan.viewers + storm.viewers, &progress).await?;
    stage.joiner.join(plan.viewers, plan.joins_per_second, &progress).await?;
    tokio::time::sleep(SETTLE).await;
    let requests = |stage: &Stage| -> u64 {
        let counts = stage.counters.iter().map(|publisher| publisher.keyframe_requests());
        counts.sum()
    };
    let requests_before = requests(&stage);
    let before = stage.fleet.begin_window().await?;
    let started = Instant::now();
    let per_second = storm.viewers as f64 / storm.within.as_secs_f64().max(f64::MIN_POSITIVE);
    let joins = stage.joiner.join(storm.viewers, per_second, &progress).await?;
    tokio::time::sleep(WATCHED.saturating_sub(started.elapsed())).await;
    let end = stage.fleet.end_window().await?;
    // Not only repairs: on a machine that the storm overloads, viewers read what came a second late.
    tokio::time::sleep(SETTLE).await;
    let earlier = stage.fleet.snapshot_of_first(plan.viewers).await?;
    let all = stage.fleet.snapshot().await?;
    let due = earlier.sequences.due() - before.sequences.due();
    let received = earlier.sequences.received - before.sequences.received;
    let completed_at = end.completed_at.filter(|at| *at > started);
    let shortest = stage.counters.iter().filter_map(|publisher| publisher.shortest_request_interval()).min();
    let report = StormReport {
        earlier: plan.viewers as u64,
        joined: storm.viewers as u64,
        playing: all.complete,
        playing_after_seconds: completed_at.map(|at| (at - started).as_secs_f64()),
        answer: Percentiles::of(&joins.answer_us),
        first_picture: Percentiles::of(&all.first_picture_us),
        earlier_missing_before_repair: due.saturating_sub(received),
        earlier_missing: earlier.sequences.missing().saturating_sub(before.sequences.missing()),
        earlier_packets: received,
        keyframe_requests: requests(&stage) - requests_before,
        shortest_request_interval_ms: shortest.map(|interval| interval.as_secs_f64() * 1e3),
        sessions_lost: all.lost + stage.publishers_lost(),
        failures: joins.failures,
    };
    stage.clear(&progress).await;
    Ok(report)
}
