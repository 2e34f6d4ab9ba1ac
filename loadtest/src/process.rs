//! CPU time and memory of a process, from the kernel's CPU clocks and /proc.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

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
/// CPU time is the process's own clock (`clock_getcpuclockid`): exact to the nanosecond and with the threads that have
/// ended, where `/proc/PID/stat` counts ticks of 10 ms.
///
/// # Errors
///
/// There is no such process, or it may not be looked at.
pub fn usage(pid: u32) -> Result<ProcessUsage> {
    let cannot_look = || format!("cannot look at process {pid}: is it running, and yours?");
    let clock = i32::try_from(pid).map_err(anyhow::Error::from);
    let clock = clock.and_then(|pid| Ok(clock_getcpuclockid(Pid::from_raw(pid))?));
    let cpu = read(clock.with_context(cannot_look)?)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(cannot_look)?;
    // A process that has ended and was not waited for has clocks, but no memory.
    let resident_kib: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|value| value.trim().trim_end_matches("kB").trim().parse().ok())
        .with_context(cannot_look)?;
    Ok(ProcessUsage { cpu, resident_bytes: resident_kib * 1024 })
}

/// CPU time of the calling thread so far, which no other thread of the process disturbs.
///
/// # Errors
///
/// The kernel has no such clock; not seen in practice.
pub fn thread_cpu() -> Result<Duration> {
    read(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

fn read(clock: ClockId) -> Result<Duration> {
    Ok(clock_gettime(clock).context("cannot read a CPU clock")?.into())
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
    fn the_clock_of_a_thread_moves_with_its_work_alone() {
        let before = thread_cpu().unwrap();
        std::thread::spawn(|| {
            let start = thread_cpu().unwrap();
            while thread_cpu().unwrap() < start + Duration::from_millis(20) {}
        })
        .join()
        .unwrap();
        let spent = thread_cpu().unwrap() - before;
        assert!(spent > Duration::ZERO);
        assert!(spent < Duration::from_millis(10), "{spent:?}");
    }

    #[test]
    fn a_thread_that_has_ended_is_counted() {
        let pid = std::process::id();
        let before = usage(pid).unwrap().cpu;
        std::thread::spawn(|| {
            let start = thread_cpu().unwrap();
            while thread_cpu().unwrap() < start + Duration::from_millis(20) {}
        })
        .join()
        .unwrap();
        assert!(usage(pid).unwrap().cpu - before >= Duration::from_millis(20));
    }

    #[test]
    fn a_process_that_has_ended_is_none_even_before_it_was_waited_for() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let status = format!("/proc/{}/status", child.id());
        while !fs::read_to_string(&status).unwrap().contains("State:\tZ") {}
        assert!(usage(child.id()).is_err());
        child.wait().unwrap();
        assert!(usage(child.id()).is_err());
    }

    #[test]
    fn a_missing_process_is_named() {
        assert!(usage(u32::MAX).unwrap_err().to_string().contains("4294967295"));
    }
}
