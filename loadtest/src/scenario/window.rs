//! The steady window: its two ends, and what lies between.
//!
//! What was due is held against what came, from the publishers' side where they are ours: see `viewer/shortfall.rs`. A
//! server that pauses a viewer's stream is short of it, for nobody sees what it did not pass on.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Plan, Progress};
use crate::process::{self, ProcessUsage};
use crate::report::{Report, ServerReport};
use crate::viewer::fleet::Fleet;
use crate::viewer::totals::Totals;

/// Longer than viewers go on asking for a packet.
const REPAIR_TIME: Duration = Duration::from_millis(600);

/// Looks at the server's process as long as it is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerProcess(pub(super) Option<u32>);

impl ServerProcess {
    /// None if there is none to look at, or it has ended.
    pub(super) fn usage(self) -> Option<ProcessUsage> {
        self.0.and_then(|pid| process::usage(pid).ok())
    }
}

/// The steady window's two ends.
pub(super) struct Window {
    seconds: f64,
    start: Totals,
    /// Latencies, rates and needless repairs are of the window's end, losses of a repair time later.
    pub(super) end: Totals,
    server: Option<(ProcessUsage, ProcessUsage)>,
    generator_cpu: Duration,
}

/// Waits `duration` and looks at both ends.
pub(super) async fn measure(
    plan: &Plan,
    duration: Duration,
    fleet: &Fleet,
    progress: &Progress,
) -> Result<Window> {
    let own_pid = std::process::id();
    let server = ServerProcess(plan.server_pid);
    let start = fleet.begin_window().await?;
    let started = Instant::now();
    let server_start = server.usage();
    let generator_start = process::usage(own_pid)?.cpu;
    let mut last = (Instant::now(), start.packets);
    while let Some(left) = duration.checked_sub(started.elapsed()).filter(|left| !left.is_zero()) {
        tokio::time::sleep(left.min(Duration::from_secs(1))).await;
        if progress.is_shown() {
            let totals = fleet.snapshot().await?;
            let rate = (totals.packets - last.1) as f64 / last.0.elapsed().as_secs_f64();
            last = (Instant::now(), totals.packets);
            progress.steady(started.elapsed(), duration, rate, &totals);
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let server = server_start.zip(server.usage());
    let generator_cpu = process::usage(own_pid)?.cpu.saturating_sub(generator_start);
    let mut end = fleet.end_window().await?;
    // What was lost at the very end is either repaired or given up by then, and counts as what it became.
    tokio::time::sleep(REPAIR_TIME).await;
    let settled = fleet.snapshot().await?;
    end.sequences = settled.sequences;
    end.lost = settled.lost;
    Ok(Window { seconds, start, end, server, generator_cpu })
}

impl Window {
    /// Packets delivered.
    pub(super) fn packets(&self) -> u64 {
        self.end.packets - self.start.packets
    }

    /// Packets missing after repair.
    pub(super) fn missing(&self) -> u64 {
        self.end.sequences.missing().saturating_sub(self.start.sequences.missing())
    }

    /// CPU time of the server; none if it was not looked at.
    pub(super) fn server_cpu(&self) -> Option<Duration> {
        self.server.map(|(first, last)| last.cpu.saturating_sub(first.cpu))
    }

    /// Puts the window's figures into `report`; `resident_before` are the server's bytes before the viewers came.
    pub(super) fn write(&self, report: &mut Report, resident_before: u64) {
        let (start, end) = (&self.start, &self.end);
        let packets = self.packets();
        let bytes = end.bytes - start.bytes;
        let due = end.sequences.due().saturating_sub(start.sequences.due());
        let received = end.sequences.received.saturating_sub(start.sequences.received);
        let missing = self.missing();
        let share = |part: u64| if due == 0 { 0.0 } else { part as f64 / due as f64 };
        report.seconds = self.seconds;
        report.packets = packets;
        report.packets_per_second = packets as f64 / self.seconds;
        report.bits_per_second = bytes as f64 * 8.0 / self.seconds;
        report.bytes_per_packet = if packets == 0 { 0.0 } else { bytes as f64 / packets as f64 };
        report.packets_due = due;
        report.loss_before_repair = share(due.saturating_sub(received));
        report.loss_after_repair = share(missing);
        report.packets_missing = missing;
        report.repairs_needless = end.repairs_needless - start.repairs_needless;
        report.packets_never_announced = end.sequences.untold;
        report.viewers_lost = end.lost;
        report.generator_cpu_seconds = self.generator_cpu.as_secs_f64();
        report.server = self.server.map(|(first, last)| {
            let cpu_seconds = last.cpu.saturating_sub(first.cpu).as_secs_f64();
            let grown = last.resident_bytes as f64 - resident_before as f64;
            ServerReport {
                cpu_seconds,
                cpu_us_per_packet: if packets == 0 { 0.0 } else { cpu_seconds * 1e6 / packets as f64 },
                resident_before_bytes: resident_before,
                resident_bytes: last.resident_bytes,
                resident_per_viewer_bytes: grown / report.viewers.max(1) as f64,
            }
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn repairs_of_before_the_window_are_not_of_it() {
        let mut start = Totals::new().unwrap();
        (start.packets, start.repairs_needless) = (100, 40);
        let mut end = start.clone();
        (end.packets, end.repairs_needless) = (150, 43);
        let window = Window { seconds: 1.0, start, end, server: None, generator_cpu: Duration::ZERO };
        let mut report = Report::default();
        window.write(&mut report, 0);
        assert_eq!((report.packets, report.repairs_needless), (50, 3));
        assert!(
            report.table().lines().any(|line| line.starts_with("needless repairs") && line.ends_with(" 3"))
        );
    }
}
