//! `aforo loadtest`: flags in, table and exit code out.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use reqwest::Url;

use crate::clip::ClipCodec;
use crate::process;
use crate::publisher::schedule::StreamShape;
use crate::report::Limits;
use crate::scenario::{self, Plan, Progress};
use crate::signalling::Unreachable;
use crate::units::{parse_bitrate, parse_duration, parse_rate, parse_ratio};

/// `EX_UNAVAILABLE` of sysexits.h: the server is down.
const EXIT_UNAVAILABLE: u8 = 69;

/// What clap ends with, too: the command line asks for what cannot be.
const EXIT_USAGE: u8 = 2;

/// What a shell reports of a program that Ctrl-C has ended: 128 and the signal's number.
const EXIT_INTERRUPTED: u8 = 130;

/// The command line asks for what cannot be; why is in the words, or the error's cause.
#[derive(Debug)]
struct Usage(String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Flags of `aforo loadtest`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Server under test
    #[arg(long, default_value = "http://127.0.0.1:8080", value_parser = parse_target)]
    pub target: String,
    /// Synthetic publishers
    #[arg(long, default_value_t = 1)]
    pub publishers: usize,
    /// Synthetic viewers, spread evenly over the publishers' streams
    #[arg(long, default_value_t = 10)]
    pub viewers: usize,
    /// Rooms to spread the publishers over, at most as many as these [default: one per publisher]
    #[arg(long)]
    pub rooms: Option<usize>,
    /// Prefix of the room names; with `--publishers 0`, rooms that already have a stream
    #[arg(long, default_value = "load")]
    pub room_prefix: String,
    /// What publishers send
    #[arg(long, value_enum, default_value = "h264")]
    pub codec: ClipCodec,
    /// Send the video in three layers (RID simulcast): at the bitrate, a third and a tenth of it
    #[arg(long)]
    pub simulcast: bool,
    /// Video bitrate of a publisher, as 1.5M or 800k; with --simulcast that of the best layer
    #[arg(long, default_value = "1.5M", value_parser = parse_bitrate)]
    pub bitrate: u64,
    /// Pictures per second
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=240))]
    pub fps: u32,
    /// Time between keyframes (at most 300 pictures)
    #[arg(long, default_value = "2s", value_parser = parse_duration)]
    pub gop: Duration,
    /// Publishers answer no request for a keyframe, as FFmpeg's and OBS's do not
    #[arg(long)]
    pub ignore_keyframe_requests: bool,
    /// Joins per second
    #[arg(long, default_value = "100/s", value_parser = parse_rate)]
    pub ramp: f64,
    /// Length of the steady measurement after all have joined
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    pub duration: Duration,
    /// Share of arriving video packets that each viewer throws away, as 0.05 or 5%
    #[arg(long, default_value = "0", value_parser = parse_ratio)]
    pub loss: f64,
    /// Process whose CPU and memory are measured; if it ends during the run, these figures are left out
    #[arg(long, value_parser = parse_process)]
    pub server_pid: Option<u32>,
    /// Also write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Exit with 1 if more than this share of the packets that publishers sent is missing after repair
    #[arg(long, value_parser = parse_ratio)]
    pub max_loss: Option<f64>,
    /// Exit with 1 if end-to-end p99 is above
    #[arg(long, value_parser = parse_duration)]
    pub max_p99: Option<Duration>,
    /// Exit with 1 if the server needs more CPU microseconds per delivered packet
    #[arg(long, value_name = "MICROSECONDS")]
    pub max_cpu_us: Option<f64>,
    /// Exit with 1 if the p95 of POST to first keyframe is above
    #[arg(long, value_parser = parse_duration)]
    pub max_join_p95: Option<Duration>,
    /// Exit with 1 if more joins fail
    #[arg(long, default_value_t = 0)]
    pub max_failed_joins: u64,
    /// Exit with 1 if more sessions are closed by the server or have gone silent by the end of the steady measurement
    #[arg(long, default_value_t = 0)]
    pub max_lost_sessions: u64,
}

impl Args {
    /// What to do, without how to report it.
    pub fn plan(&self) -> Plan {
        Plan {
            target: self.target.clone(),
            publishers: self.publishers,
            viewers: self.viewers,
            rooms: self.rooms.unwrap_or(self.publishers).max(1),
            room_prefix: self.room_prefix.clone(),
            shape: StreamShape {
                codec: self.codec,
                bitrate_bps: self.bitrate,
                frames_per_second: self.fps,
                keyframe_interval: self.gop,
                silent: false,
                simulcast: self.simulcast,
                deaf: self.ignore_keyframe_requests,
            },
            joins_per_second: self.ramp,
            duration: self.duration,
            loss: self.loss,
            server_pid: self.server_pid,
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            max_loss: self.max_loss,
            max_p99: self.max_p99,
            max_cpu_us: self.max_cpu_us,
            max_join_p95: self.max_join_p95,
            max_failed_joins: self.max_failed_joins,
            max_lost_sessions: self.max_lost_sessions,
        }
    }
}

/// A server's address, without a slash at the end.
fn parse_target(text: &str) -> Result<String, String> {
    let url = Url::parse(text).map_err(|error| format!("{error}: write it as http://127.0.0.1:8080"))?;
    match url.scheme() {
        "http" | "https" => Ok(text.trim_end_matches('/').to_owned()),
        scheme => Err(format!("{scheme}: is neither http: nor https:")),
    }
}

/// The id of a process that can be looked at.
fn parse_process(text: &str) -> Result<u32, String> {
    let pid = text.parse().map_err(|error| format!("{error}"))?;
    process::usage(pid).map(|_| pid).map_err(|error| format!("{error:#}"))
}

/// Runs the load test on a runtime of its own; callable from any thread, also one that already has a runtime.
///
/// Exit code 0: every limit kept; 1: one was broken; 130: ended by Ctrl-C or SIGTERM, its sessions too. [`exit_code`] has
/// those of errors.
///
/// # Errors
///
/// The test could not be run: the command line asks for what cannot be, the server cannot be reached, no publisher connects.
pub fn run(args: Args) -> Result<ExitCode> {
    let plan = args.plan();
    if plan.publishers > 0 && plan.rooms > plan.publishers {
        let (rooms, publishers) = (plan.rooms, plan.publishers);
        bail!(Usage(format!("--rooms {rooms}: {publishers} publishers fill at most {publishers} of them")));
    }
    let json = args.json.as_deref().map(|path| {
        let unwritable = || Usage(format!("--json: cannot write {}", path.display()));
        File::create(path).with_context(unwritable)
    });
    let json = json.transpose()?;
    let report = std::thread::Builder::new()
        .name("loadtest".to_owned())
        .spawn(move || scenario::run_blocking_until_signal(plan, Progress::on_terminal()))?
        .join()
        .map_err(|_| anyhow::anyhow!("the load test panicked"))??;
    let Some(mut report) = report else {
        eprintln!("ended before its time: there is nothing to report");
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    };
    report.broken_limits = args.limits().broken(&report);
    print!("{}", report.table());
    if let Some(mut file) = json {
        writeln!(file, "{}", serde_json::to_string_pretty(&report)?).context("cannot write the JSON")?;
    }
    Ok(if report.broken_limits.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// The exit code of an error of [`run`]: 2 if the command line is wrong, 69 if the server does not answer, else 1.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    if error.is::<Usage>() {
        ExitCode::from(EXIT_USAGE)
    } else if error.is::<Unreachable>() {
        ExitCode::from(EXIT_UNAVAILABLE)
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn the_contract_of_flags() {
        let line = "x --target http://127.0.0.1:8080 --publishers 2 --viewers 30 --rooms 2 --codec vp8 --bitrate 1.5M \
                    --simulcast --ignore-keyframe-requests --fps 30 --gop 2s --ramp 100/s --duration 30s --loss 0.05 --server-pid 1 --json out.json \
                    --max-loss 0.001 --max-p99 30ms --max-cpu-us 1.5 --max-join-p95 500ms \
                    --max-failed-joins 1 --max-lost-sessions 2";
        let args = Cli::try_parse_from(line.split_whitespace()).unwrap().args;
        assert_eq!((args.limits().max_failed_joins, args.limits().max_lost_sessions), (1, 2));
        let plan = args.plan();
        let shape = plan.shape;
        assert_eq!((shape.bitrate_bps, shape.simulcast, shape.deaf), (1_500_000, true, true));
        assert_eq!((plan.publishers, plan.viewers, plan.rooms), (2, 30, 2));
        assert!((plan.joins_per_second - 100.0).abs() < f64::EPSILON);
    }

    #[test]
    fn what_cannot_be_is_a_wrong_command_line() {
        for [flag, value] in [
            ["--bitrate", "fast"],
            ["--target", "foo"],
            ["--target", "ftp://127.0.0.1"],
            ["--server-pid", "999999999"],
        ] {
            let error = Cli::try_parse_from(["x", flag, value]).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{error}");
        }
        for (line, complaint) in [
            ("x --publishers 2 --rooms 5", "2 publishers fill at most 2"),
            ("x --json /nonexistent/x.json", "cannot write /nonexistent/x.json"),
        ] {
            let error = run(Cli::try_parse_from(line.split_whitespace()).unwrap().args).unwrap_err();
            assert_eq!(exit_code(&error), ExitCode::from(2), "{error:#}");
            assert!(format!("{error:#}").contains(complaint), "{error:#}");
        }
        let slash = Cli::try_parse_from(["x", "--target", "http://127.0.0.1:8080/"]).unwrap().args;
        assert_eq!(slash.plan().target, "http://127.0.0.1:8080");
    }

    #[test]
    fn a_server_that_is_down_is_69_with_publishers_and_without() {
        for publishers in ["0", "1"] {
            // A port that was free a moment ago.
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let target = format!("http://{free}");
            let line = ["x", "--target", &target, "--publishers", publishers, "--viewers", "1"];
            let error = run(Cli::try_parse_from(line).unwrap().args).unwrap_err();
            assert_eq!(exit_code(&error), ExitCode::from(69), "{error:#}");
            assert!(format!("{error:#}").contains("is the server running?"));
        }
        assert_eq!(exit_code(&anyhow::anyhow!("else")), ExitCode::from(1));
    }
}
