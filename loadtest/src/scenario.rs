//! One run from start to end: publishers up, viewers in at the asked pace, a steady window that is measured, all out.

mod joining;
mod progress;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reqwest::Url;

use crate::process::{self, ProcessUsage};
use crate::publisher::schedule::StreamShape;
use crate::publisher::{PublishTarget, Publisher, PublisherCounters};
use crate::report::{JoinReport, Percentiles, Report, ServerReport};
use crate::signalling::Signaller;
use crate::viewer::fleet::{Addressing, Fleet};
use crate::viewer::totals::Totals;
use joining::{Joiner, Joins};
pub use progress::Progress;

/// Threads of the runtime that publishes and joins; viewers have their own.
const RUNTIME_THREADS: usize = 2;

/// Between the last join and the steady window: joins' keyframe requests and handshakes have settled by then.
const SETTLE: Duration = Duration::from_secs(2);

/// Longer than viewers go on asking for a packet.
const REPAIR_TIME: Duration = Duration::from_millis(600);

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

    fn server_usage(&self) -> Result<Option<ProcessUsage>> {
        self.server_pid.map(process::usage).transpose()
    }
}

/// Runs `plan` on a new runtime.
///
/// # Errors
///
/// As [`run`].
pub fn run_blocking(plan: Plan, progress: Progress) -> Result<Report> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(RUNTIME_THREADS).enable_all().build()?;
    let report = runtime.block_on(run(plan, progress));
    runtime.shutdown_timeout(Duration::from_secs(1));
    report
}

/// Runs `plan`.
///
/// # Errors
///
/// The server cannot be reached, a publisher is refused, or `server_pid` is no process.
pub async fn run(plan: Plan, progress: Progress) -> Result<Report> {
    let plan = Arc::new(plan);
    let local_ip = local_ip_towards(&plan.target)?;
    let signaller = Signaller::new()?;
    let counters = Arc::new(PublisherCounters::default());
    let mut publishers = Vec::new();
    for index in 0..plan.publishers {
        progress.stage(&format!("starting publisher {} of {}", index + 1, plan.publishers));
        let target = PublishTarget {
            endpoint: format!("{}/whip/{}", plan.target, plan.stream_path(index)),
            local_ip: IpAddr::V4(local_ip),
            signaller: signaller.clone(),
        };
        publishers.push(Publisher::start(target, plan.shape, counters.clone()).await?);
    }
    let addressing = if local_ip.is_loopback() { Addressing::Loopback } else { Addressing::OwnSockets };
    let fleet = Fleet::start(addressing, local_ip, plan.viewers, plan.loss)?;
    let before = plan.server_usage()?;
    let ramp_started = Instant::now();
    let mut joiner = Joiner::new(plan.clone(), fleet.clone(), signaller.clone());
    let joins = joiner.run(&progress).await?;
    let ramp = Ramp {
        seconds: ramp_started.elapsed().as_secs_f64(),
        totals: fleet.snapshot().await?,
        before,
        after: plan.server_usage()?,
    };
    tokio::time::sleep(SETTLE).await;
    let window = measure(&plan, &fleet, &progress).await?;
    progress.stage("ending sessions");
    joiner.delete_all().await;
    for publisher in publishers {
        publisher.stop().await;
    }
    progress.clear();
    Ok(report(&plan, &fleet, &joins, &ramp, &window))
}

/// The time in which viewers joined.
struct Ramp {
    seconds: f64,
    totals: Totals,
    before: Option<ProcessUsage>,
    after: Option<ProcessUsage>,
}

/// The steady window's two ends.
struct Window {
    seconds: f64,
    start: Totals,
    end: Totals,
    server_start: Option<ProcessUsage>,
    server_end: Option<ProcessUsage>,
    generator_cpu: Duration,
}

async fn measure(plan: &Plan, fleet: &Fleet, progress: &Progress) -> Result<Window> {
    let own_pid = std::process::id();
    let start = fleet.snapshot().await?;
    fleet.reset_latency();
    let started = Instant::now();
    let server_start = plan.server_usage()?;
    let generator_start = process::usage(own_pid)?.cpu;
    let mut last = (Instant::now(), start.packets);
    while let Some(left) = plan.duration.checked_sub(started.elapsed()).filter(|left| !left.is_zero()) {
        tokio::time::sleep(left.min(Duration::from_secs(1))).await;
        if progress.is_shown() {
            let totals = fleet.snapshot().await?;
            let rate = (totals.packets - last.1) as f64 / last.0.elapsed().as_secs_f64();
            last = (Instant::now(), totals.packets);
            progress.steady(started.elapsed(), plan.duration, rate, &totals);
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let server_end = plan.server_usage()?;
    let generator_cpu = process::usage(own_pid)?.cpu.saturating_sub(generator_start);
    let mut end = fleet.snapshot().await?;
    // What was lost at the very end is either repaired or given up by then, and counts as what it became.
    tokio::time::sleep(REPAIR_TIME).await;
    end.sequences = fleet.snapshot().await?.sequences;
    Ok(Window { seconds, start, end, server_start, server_end, generator_cpu })
}

fn report(plan: &Plan, fleet: &Fleet, joins: &Joins, ramp: &Ramp, window: &Window) -> Report {
    let (start, end) = (&window.start, &window.end);
    let packets = end.packets - start.packets;
    let bytes = end.bytes - start.bytes;
    let expected = end.sequences.expected.saturating_sub(start.sequences.expected);
    let received = end.sequences.received.saturating_sub(start.sequences.received);
    let share = |part: u64| if expected == 0 { 0.0 } else { part as f64 / expected as f64 };
    let missing = end.sequences.missing().saturating_sub(start.sequences.missing());
    let server = window.server_start.zip(window.server_end).map(|(first, last)| {
        let cpu_seconds = last.cpu.saturating_sub(first.cpu).as_secs_f64();
        let before = ramp.before.unwrap_or_default().resident_bytes;
        ServerReport {
            cpu_seconds,
            cpu_us_per_packet: if packets == 0 { 0.0 } else { cpu_seconds * 1e6 / packets as f64 },
            resident_before_bytes: before,
            resident_bytes: last.resident_bytes,
            resident_per_viewer_bytes: (last.resident_bytes as f64 - before as f64)
                / (plan.viewers.max(1) as f64),
        }
    });
    let mut warnings = joins.failures.clone();
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
    Report {
        publishers: plan.publishers as u64,
        viewers: plan.viewers as u64,
        joins: JoinReport {
            attempted: joins.attempted,
            ok: end.complete,
            answer: Percentiles::of(&joins.answer_us),
            first_media: Percentiles::of(&end.first_media_us),
            first_keyframe: Percentiles::of(&end.first_keyframe_us),
            seconds: ramp.seconds,
            packets: ramp.totals.packets,
            server_cpu_seconds: ramp
                .before
                .zip(ramp.after)
                .map(|(before, after)| after.cpu.saturating_sub(before.cpu).as_secs_f64()),
        },
        seconds: window.seconds,
        packets,
        packets_per_second: packets as f64 / window.seconds,
        bits_per_second: bytes as f64 * 8.0 / window.seconds,
        bytes_per_packet: if packets == 0 { 0.0 } else { bytes as f64 / packets as f64 },
        loss_before_repair: share(expected.saturating_sub(received)),
        loss_after_repair: share(missing),
        packets_missing: missing,
        packets_verified: end.opened,
        packets_refused: end.unopened,
        latency: Percentiles::of(&end.latency_us),
        server,
        generator_cpu_seconds: window.generator_cpu.as_secs_f64(),
        broken_limits: Vec::new(),
        warnings,
    }
}

/// The address of ours that reaches the target: which interface to use, and whether it is this machine.
fn local_ip_towards(target: &str) -> Result<Ipv4Addr> {
    let url = Url::parse(target).with_context(|| format!("--target {target:?} is no address"))?;
    let host = url.host_str().with_context(|| format!("--target {target:?} names no host"))?;
    let port = url.port_or_known_default().unwrap_or(80);
    let address = (host, port)
        .to_socket_addrs()
        .with_context(|| format!("cannot resolve {host}"))?
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
