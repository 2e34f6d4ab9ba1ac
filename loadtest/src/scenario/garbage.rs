//! A steady stream in the quiet, beside garbage for somebody else, and with garbage at the media port, in turns: what viewers
//! notice of it.
//!
//! The source of garbage has to run somewhere: on this machine it takes CPU from publisher, server and viewers alike. Sent
//! to a socket that nobody reads, it takes as much, so that what lies between the two is what the server makes of it.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::stage::Stage;
use super::{Plan, Progress, SETTLE, block_on, window};
use crate::garbage::{Door, GarbageSource};
use crate::report::Percentiles;
use crate::socket::WildcardSocket;
use crate::viewer::totals;

/// How often the three take turns: what the machine does beside us then meets all alike.
const TURNS: u32 = 4;

/// After garbage began or ended, before it is measured: a few round trips, and what the sockets hold.
const TURN_SETTLE: Duration = Duration::from_millis(300);

/// Where garbage goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Quiet,
    Elsewhere,
    Server,
}

const SIDES: [Side; 3] = [Side::Quiet, Side::Elsewhere, Side::Server];

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct GarbageReport {
    /// Viewers that watched.
    pub viewers: u64,
    /// Viewers that were to watch and could not.
    pub failed_joins: u64,
    /// Garbage datagrams asked for per second.
    pub garbage_per_second: u32,
    /// Garbage datagrams to the server that the kernel took.
    pub garbage_sent: u64,
    /// Publisher's stamp → arrival at the viewer, without garbage.
    pub quiet: Percentiles,
    /// The same, with garbage that goes elsewhere.
    pub elsewhere: Percentiles,
    /// The same, with garbage for the server.
    pub noisy: Percentiles,
    /// Packets delivered in the quiet, with garbage elsewhere, and under garbage.
    pub packets: [u64; 3],
    /// Packets missing after repair, of all.
    pub packets_missing: u64,
    /// Viewers and publishers whose session ended.
    pub sessions_lost: u64,
    /// Server CPU seconds in the quiet, with garbage elsewhere, and under garbage.
    pub server_cpu_seconds: Option<[f64; 3]>,
}

/// Runs `plan` on a new runtime: its duration without garbage, as long with
/// `per_second` datagrams of it elsewhere, and as long with them at the server.
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
        server_cpu_seconds: plan.server_pid.map(|_| [0.0; 3]),
        ..GarbageReport::default()
    };
    // Never read: full after a moment, it drops what comes, as a host does for a port that is closed.
    let sink = WildcardSocket::bind(0)?;
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, sink.port()?);
    let elsewhere: Vec<Door> = joins.doors.iter().map(|door| Door { address, ..door.clone() }).collect();
    let mut latencies_us = [totals::histogram()?, totals::histogram()?, totals::histogram()?];
    for side in SIDES.into_iter().cycle().take(SIDES.len() * TURNS as usize) {
        let doors = match side {
            Side::Quiet => None,
            Side::Elsewhere => Some(&elsewhere),
            Side::Server => Some(&joins.doors),
        };
        let source = doors.map(|doors| GarbageSource::start(doors, per_second)).transpose()?;
        tokio::time::sleep(TURN_SETTLE).await;
        let window = window::measure(&plan, plan.duration / TURNS, &stage.fleet, &progress).await?;
        let sent = source.map(GarbageSource::stop).transpose()?.unwrap_or(0);
        report.garbage_sent += if side == Side::Server { sent } else { 0 };
        if let Some(latencies_us) = latencies_us.get_mut(side as usize) {
            latencies_us.add(&window.end.latency_us).context("histograms of one kind")?;
        }
        if let Some(packets) = report.packets.get_mut(side as usize) {
            *packets += window.packets();
        }
        let cpu_seconds = report.server_cpu_seconds.as_mut().and_then(|sides| sides.get_mut(side as usize));
        if let (Some(sum), Some(spent)) = (cpu_seconds, window.server_cpu()) {
            *sum += spent.as_secs_f64();
        }
        report.packets_missing += window.missing();
        report.sessions_lost = window.end.lost + stage.publishers_lost();
        report.failed_joins = report.viewers.saturating_sub(window.end.complete);
    }
    let [quiet, elsewhere, noisy] = latencies_us.each_ref().map(Percentiles::of);
    (report.quiet, report.elsewhere, report.noisy) = (quiet, elsewhere, noisy);
    stage.clear(&progress).await;
    Ok(report)
}
