//! CPU time and memory of a process, from /proc.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

/// What a process has used so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProcessUsage {
    /// CPU time of all its threads.
    pub cpu: Duration,
    /// Resident memory, bytes.
    pub resident_bytes: u64,
}

/// Reads the usage of `pid`.
///
/// CPU time is the scheduler's own, in nanoseconds (`/proc/PID/task/*/schedstat`); `/proc/PID/stat` counts in ticks of
/// 10 ms and is only the fallback for kernels without it. Threads that ended in between are missed: ours do not end.
///
/// # Errors
///
/// There is no such process, or it may not be looked at.
pub fn usage(pid: u32) -> Result<ProcessUsage> {
    let root = PathBuf::from(format!("/proc/{pid}"));
    let status = fs::read_to_string(root.join("status"))
        .with_context(|| format!("cannot look at process {pid}: is it running, and yours?"))?;
    let resident_kib: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|value| value.trim().trim_end_matches("kB").trim().parse().ok())
        .unwrap_or(0);
    let mut cpu_ns = 0;
    for task in fs::read_dir(root.join("task"))?.flatten() {
        if let Ok(statistics) = fs::read_to_string(task.path().join("schedstat")) {
            cpu_ns += statistics.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    let cpu = if cpu_ns > 0 { Duration::from_nanos(cpu_ns) } else { stat_cpu(&root)? };
    Ok(ProcessUsage { cpu, resident_bytes: resident_kib * 1024 })
}

/// User and system time in clock ticks, fields 14 and 15 of `/proc/PID/stat` (proc(5)).
fn stat_cpu(root: &std::path::Path) -> Result<Duration> {
    const TICK_MS: u64 = 10;
    let stat = fs::read_to_string(root.join("stat"))?;
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * TICK_MS))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn our_own_usage_grows_with_work() {
        let pid = std::process::id();
        let before = usage(pid).unwrap();
        let mut sum = 0u64;
        while usage(pid).unwrap().cpu < before.cpu + Duration::from_millis(5) {
            sum = sum.wrapping_add((0..10_000u64).sum::<u64>());
        }
        assert!(sum > 0);
        assert!(before.resident_bytes > 100_000);
    }

    #[test]
    fn a_missing_process_is_named() {
        assert!(usage(u32::MAX).unwrap_err().to_string().contains("4294967295"));
    }
}
