//! One run from start to end: publishers up, viewers in at the asked pace, a steady window that is measured, all out.

pub mod garbage;
mod joining;
mod progress;
mod stage;
mod stop;
pub mod storm;
mod window;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reqwest::Url;

use crate::process::ProcessUsage;
use crate::publisher::schedule::StreamShape;
use crate::report::{JoinReport, Percentiles, Report};
use crate::signalling::Unreachable;
use crate::viewer::fleet::Fleet;
use crate::viewer::totals::Totals;
use joining::Joins;
pub use progress::Progress;
use stage::Stage;
pub use stop::Stop;
use window::Window;

/// Threads of the runtime that publishes and joins; viewers have their own.
const RUNTIME_THREADS: usize = 2;

/// Between the last join and the steady window: joins' keyframe requests and handshakes have settled by then.
const SETTLE: Duration = Duration::from_secs(2);

/// Receive buffers below this lose bursts to a thousand viewers.
const SMALL_BUFFER_BYTES: usize = 8 << 20;

/// Pictures in a clip, of which only the first is a keyframe.
const LONGEST_GROUP_PICTURES: f64 = 300.0;

/// What to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Base address of the server, without a slash at the end.
    pub target: String,
    /// Publishers to start; with none, viewers go to streams that are there.
    pub publishers: usize,
    /// Viewers to start.
    pub viewers: usize,
    /// Rooms that the publishers share.
    pub rooms: usize,
    /// Room names start with this.
    pub room_prefix: String,
    /// What publishers send.
    pub shape: StreamShape,
    /// Joins per second.
    pub joins_per_second: f64,
    /// Length of the steady window.
    pub duration: Duration,
    /// Share of packets that viewers drop.
    pub loss: f64,
    /// The server's process.
    pub server_pid: Option<u32>,
}

impl Plan {
    /// `room` or `room/stream` of a publisher: the first of a room is its main stream.
    fn stream_path(&self, publisher: usize) -> String {
        let room = format!("{}-{}", self.room_prefix, publisher % self.rooms.max(1));
        match publisher / self.rooms.max(1) {
            0 => room,
            extra => format!("{room}/stream-{extra}"),
        }
    }

    /// The publisher of a room or stream that viewers with this number watch.
    fn stream_of(&self, viewer: usize) -> usize {
        viewer % self.publishers.max(self.rooms).max(1)
    }
}

/// Runs `plan` on a new runtime.
///
/// # Errors
///
/// As [`run_until`].
pub fn run_blocking(plan: Plan, progress: Progress) -> Result<Report> {
    let report = block_on(run_until(plan, progress, Stop::never()))?;
    report.context("nothing stops this run before its end")
}

/// Runs `plan` on a new runtime until it is through or this process is asked to end; then there is no report.
///
/// # Errors
///
/// As [`run_until`], or signals cannot be listened for.
pub fn run_blocking_until_signal(plan: Plan, progress: Progress) -> Result<Option<Report>> {
    block_on(async move { run_until(plan, progress, Stop::on_signals()?).await })
}

/// Runs `scenario` on a new runtime.
fn block_on<T>(scenario: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(RUNTIME_THREADS).enable_all().build()?;
    let report = runtime.block_on(scenario);
    runtime.shutdown_timeout(Duration::from_secs(1));
    report
}

/// Runs `plan`, and ends its sessions, also when it fails or is stopped: then there is no report.
///
/// # Errors
///
/// The server cannot be reached ([`Unreachable`]), a publisher is refused, or
/// `server_pid` is no process.
pub async fn run_until(plan: Plan, progress: Progress, mut stop: Stop) -> Result<Option<Report>> {
    let plan = Arc::new(plan);
    let mut stage = tokio::select! {
        stage = Stage::new(&plan, plan.viewers) => stage?,
        () = stop.asked() => return Ok(None),
    };
    let acts = tokio::select! {
        acts = act(&plan, &mut stage, &progress) => Some(acts),
        () = stop.asked() => None,
    };
    let fleet = stage.fleet.clone();
    tokio::select! {
        () = stage.clear(&progress) => {}
        () = stop.asked() => {}
    }
    let acts = acts.transpose()?;
    Ok(acts.map(|(joins, ramp, run)| report(&plan, &fleet, &joins, &ramp, &run)))
}

/// Everything between an empty stage and its clearing.
async fn act(plan: &Arc<Plan>, stage: &mut Stage, progress: &Progress) -> Result<(Joins, Ramp, Run)> {
    stage.publish(progress).await?;
    let ramp_started = Instant::now();
    let joins = stage.joiner.join(plan.viewers, plan.joins_per_second, progress).await?;
    let ramp = Ramp {
        seconds: ramp_started.elapsed().as_secs_f64(),
        totals: stage.fleet.snapshot().await?,
        before: stage.before,
        after: stage.server.usage(),
    };
    tokio::time::sleep(SETTLE).await;
    let window = window::measure(plan, plan.duration, &stage.fleet, progress).await?;
    Ok((joins, ramp, Run { window, publishers_lost: stage.publishers_lost() }))
}

/// What came after the joins.
struct Run {
    window: Window,
    publishers_lost: u64,
}

/// The time in which viewers joined.
struct Ramp {
    seconds: f64,
    totals: Totals,
    before: Option<ProcessUsage>,
    after: Option<ProcessUsage>,
}

fn report(plan: &Plan, fleet: &Fleet, joins: &Joins, ramp: &Ramp, run: &Run) -> Report {
    let end = &run.window.end;
    let mut report = Report {
        publishers: plan.publishers as u64,
        viewers: plan.viewers as u64,
        joins: JoinReport {
            attempted: joins.attempted,
            ok: end.complete,
            answer: Percentiles::of(&joins.answer_us),
            first_media: Percentiles::of(&end.first_media_us),
            first_keyframe: Percentiles::of(&end.first_keyframe_us),
            first_picture: Percentiles::of(&end.first_picture_us),
            seconds: ramp.seconds,
            packets: ramp.totals.packets,
            server_cpu_seconds: ramp
                .before
                .zip(ramp.after)
                .map(|(before, after)| after.cpu.saturating_sub(before.cpu).as_secs_f64()),
        },
        publishers_lost: run.publishers_lost,
        packets_verified: end.opened,
        packets_refused: end.unopened,
        latency: Percentiles::of(&end.latency_us),
        warnings: joins.failures.clone(),
        ..Report::default()
    };
    run.window.write(&mut report, ramp.before.unwrap_or_default().resident_bytes);
    let more = warnings(plan, fleet, &report);
    report.warnings.extend(more);
    report
}

/// What a person should know beside the figures.
fn warnings(plan: &Plan, fleet: &Fleet, report: &Report) -> Vec<String> {
    let mut warnings = Vec::new();
    let pictures = plan.shape.keyframe_interval.as_secs_f64() * f64::from(plan.shape.frames_per_second);
    if pictures > LONGEST_GROUP_PICTURES {
        warnings
            .push(format!("keyframes came every {LONGEST_GROUP_PICTURES} pictures: the clip is no longer"));
    }
    if fleet.receive_buffer_bytes() < SMALL_BUFFER_BYTES {
        warnings.push(format!(
            "the kernel gave the viewers a receive buffer of only {} KiB: loss may be the generator's own; run as \
             root or raise net.core.rmem_max",
            fleet.receive_buffer_bytes() / 1024
        ));
    }
    if report.sessions_lost() > 0 {
        warnings.push(format!(
            "{} viewers and {} publishers lost their sessions: closed by the server, or without media at the end of \
             the steady window; is the server still up?",
            report.viewers_lost, report.publishers_lost
        ));
    }
    if report.packets_never_announced > 0 {
        warnings.push(format!(
            "{} of the missing packets were sent by the publishers and left no gap at the viewers: the server stopped \
             passing on whole streams",
            report.packets_never_announced
        ));
    }
    if let (Some(pid), None) = (plan.server_pid, report.server) {
        warnings.push(format!("process {pid} ended during the run: its CPU and memory are left out"));
    }
    warnings
}

/// The address of ours that reaches the target: which interface to use, and whether it is this machine.
fn local_ip_towards(target: &str) -> Result<Ipv4Addr> {
    let url = Url::parse(target).with_context(|| format!("--target {target:?} is no address"))?;
    let host = url.host_str().with_context(|| format!("--target {target:?} names no host"))?;
    let port = url.port_or_known_default().unwrap_or(80);
    let address = (host, port)
        .to_socket_addrs()
        .with_context(|| Unreachable { address: target.to_owned() })?
        .find(SocketAddr::is_ipv4)
        .with_context(|| format!("{host} has no IPv4 address, which viewers need"))?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(address)?;
    match socket.local_addr()?.ip() {
        IpAddr::V4(ip) => Ok(ip),
        IpAddr::V6(ip) => bail!("{ip} is no IPv4 address"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_way_to_this_machine_is_loopback() {
        assert!(local_ip_towards("http://127.0.0.1:8080").unwrap().is_loopback());
        assert!(local_ip_towards("not an address").is_err());
    }
}
