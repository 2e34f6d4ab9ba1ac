//! A steady stream, with garbage at the media port and without, in turns: what viewers notice of it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::stage::Stage;
use super::{Plan, Progress, SETTLE, block_on, window};
use crate::garbage::GarbageSource;
use crate::report::Percentiles;
use crate::viewer::totals;

/// How often quiet and garbage take turns: what the machine does beside us then meets both alike.
const TURNS: u32 = 4;

/// After garbage began or ended, before it is measured: a few round trips, and what the sockets hold.
const TURN_SETTLE: Duration = Duration::from_millis(300);

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct GarbageReport {
    /// Viewers that watched.
    pub viewers: u64,
    /// Viewers that were to watch and could not.
    pub failed_joins: u64,
    /// Garbage datagrams asked for per second.
    pub garbage_per_second: u32,
    /// Garbage datagrams that the kernel took.
    pub garbage_sent: u64,
    /// Publisher's stamp → arrival at the viewer, without garbage.
    pub quiet: Percentiles,
    /// The same, with garbage.
    pub noisy: Percentiles,
    /// Packets delivered in the quiet, and under garbage.
    pub packets: [u64; 2],
    /// Packets missing after repair, of both.
    pub packets_missing: u64,
    /// Viewers and publishers whose session ended.
    pub sessions_lost: u64,
    /// Server CPU seconds in the quiet, and under garbage.
    pub server_cpu_seconds: Option<[f64; 2]>,
}

/// Runs `plan` on a new runtime: its duration without garbage, and as long with `per_second` datagrams of it.
///
/// # Errors
///
/// As for [`run`](super::run), or no viewer joined.
pub fn run_blocking(plan: Plan, per_second: u32, progress: Progress) -> Result<GarbageReport> {
    block_on(run(plan, per_second, progress))
}

async fn run(plan: Plan, per_second: u32, progress: Progress) -> Result<GarbageReport> {
    let plan = Arc::new(plan);
    let mut stage = Stage::set(&plan, plan.viewers, &progress).await?;
    let joins = stage.joiner.join(plan.viewers, plan.joins_per_second, &progress).await?;
    tokio::time::sleep(SETTLE).await;
    let mut report = GarbageReport {
        viewers: plan.viewers as u64,
        garbage_per_second: per_second,
        server_cpu_seconds: plan.server_pid.map(|_| [0.0; 2]),
        ..GarbageReport::default()
    };
    let [mut quiet_us, mut noisy_us] = [totals::histogram()?, totals::histogram()?];
    for turn in 0..TURNS * 2 {
        let noisy = turn % 2 == 1;
        let source = noisy.then(|| GarbageSource::start(&joins.doors, per_second)).transpose()?;
        tokio::time::sleep(TURN_SETTLE).await;
        let window = window::measure(&plan, plan.duration / TURNS, &stage.fleet, &progress).await?;
        if let Some(source) = source {
            report.garbage_sent += source.stop()?;
        }
        let (latencies, side) = if noisy { (&mut noisy_us, 1) } else { (&mut quiet_us, 0) };
        latencies.add(&window.end.latency_us).context("histograms of one kind")?;
        if let Some(packets) = report.packets.get_mut(side) {
            *packets += window.packets();
        }
        let cpu_seconds = report.server_cpu_seconds.as_mut().and_then(|sides| sides.get_mut(side));
        if let (Some(sum), Some(spent)) = (cpu_seconds, window.server_cpu()) {
            *sum += spent.as_secs_f64();
        }
        report.packets_missing += window.missing();
        report.sessions_lost = window.end.lost + stage.publishers_lost();
        report.failed_joins = report.viewers.saturating_sub(window.end.complete);
    }
    report.quiet = Percentiles::of(&quiet_us);
    report.noisy = Percentiles::of(&noisy_us);
    stage.clear(&progress).await;
    Ok(report)
}
