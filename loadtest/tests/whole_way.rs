//! Publisher and viewers meet without the node: a relay made of the `webrtc` crate stands in for the server.
//!
//! The relay answers one WHIP and many WHEP posts and passes the packets on, slowly and simply; what is tested is that
//! viewers join it, verify its SRTP, see a keyframe, lose nothing, and get repairs for what they throw away.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "whole_way/relay.rs"]
mod relay;

use std::process::ExitCode;
use std::time::Duration;

use aforo_loadtest::clip::ClipCodec;
use aforo_loadtest::command::{self, Args};
use aforo_loadtest::publisher::schedule::StreamShape;
use aforo_loadtest::report::Report;
use aforo_loadtest::scenario::{self, Plan, Progress};
use clap::Parser;
use relay::Fate;
use serde_json::Value;

fn run(codec: ClipCodec, viewers: usize, loss: f64) -> Report {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let target = runtime.block_on(relay::start(Fate::Lasts));
    let plan = Plan {
        target,
        publishers: 1,
        viewers,
        rooms: 1,
        room_prefix: "test".to_owned(),
        shape: StreamShape {
            codec,
            bitrate_bps: 300_000,
            frames_per_second: 30,
            keyframe_interval: Duration::from_millis(500),
            silent: false,
            simulcast: false,
            deaf: false,
        },
        joins_per_second: 50.0,
        duration: Duration::from_secs(2),
        loss,
        server_pid: Some(std::process::id()),
    };
    scenario::run_blocking(plan, Progress::hidden()).unwrap()
}

#[test]
fn viewers_of_an_h264_stream_get_all_of_it() {
    let report = run(ClipCodec::H264, 3, 0.0);
    println!("{}", report.table());
    assert_eq!((report.joins.attempted, report.joins.ok), (3, 3));
    assert_eq!(report.joins.first_keyframe.count, 3);
    assert!(report.packets > 3 * 2 * 70, "{} packets", report.packets);
    assert_eq!(report.packets_missing, 0);
    assert!(report.packets_verified > 100);
    assert_eq!(report.packets_refused, 0);
    assert!(report.latency.count > 100 && report.latency.p99_ms < 1_000.0, "{:?}", report.latency);
}

#[test]
fn viewers_of_a_vp8_stream_ask_again_for_what_they_throw_away() {
    let report = run(ClipCodec::Vp8, 2, 0.05);
    println!("{}", report.table());
    assert_eq!(report.joins.ok, 2);
    assert!(report.loss_before_repair > 0.01, "{}", report.loss_before_repair);
    assert!(report.loss_after_repair < report.loss_before_repair);
}

#[derive(Debug, Parser)]
struct CommandLine {
    #[command(flatten)]
    args: Args,
}

/// Exit status and JSON of the command against a relay with this fate.
fn command_against(fate: Fate, name: &str, viewers: usize) -> (ExitCode, Value) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let target = runtime.block_on(relay::start(fate));
    let json = std::env::temp_dir().join(format!("aforo-loadtest-{name}-{}.json", std::process::id()));
    let line = format!(
        "aforo --target {target} --viewers {viewers} --codec vp8 --bitrate 300k --gop 500ms --ramp 50/s --duration 8s \
         --max-loss 0.001 --json {}",
        json.display()
    );
    let code = command::run(CommandLine::try_parse_from(line.split_whitespace()).unwrap().args).unwrap();
    let report = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    std::fs::remove_file(json).unwrap();
    (code, report)
}

/// Whether a limit was broken whose description has this in it.
fn breaks(report: &Value, what: &str) -> bool {
    report["broken_limits"].as_array().unwrap().iter().any(|limit| limit.as_str().unwrap().contains(what))
}

#[test]
fn a_server_that_falls_silent_is_loss_and_lost_sessions_and_exit_status_1() {
    let (code, report) = command_against(Fate::FallsSilent, "silent", 2);
    assert_eq!(report["joins"]["ok"], 2, "{report}");
    assert!(report["packets"].as_u64().unwrap() > 0, "it was well at first: {report}");
    assert!(report["loss_after_repair"].as_f64().unwrap() > 0.1, "{report}");
    assert!(report["packets_never_announced"].as_u64().unwrap() > 0, "{report}");
    assert_eq!(report["viewers_lost"], 2, "{report}");
    assert!(breaks(&report, "loss after repair") && breaks(&report, "sessions were lost"), "{report}");
    assert_eq!(code, ExitCode::from(1));
}

#[test]
fn a_server_that_closes_its_sessions_is_lost_sessions_and_exit_status_1() {
    let (code, report) = command_against(Fate::ClosesSessions, "closed", 2);
    assert_eq!(report["joins"]["ok"], 2, "{report}");
    assert!(report["packets"].as_u64().unwrap() > 0, "it was well at first: {report}");
    assert_eq!(report["viewers_lost"], 2, "{report}");
    assert!(breaks(&report, "sessions were lost") && breaks(&report, "loss after repair"), "{report}");
    assert_eq!(code, ExitCode::from(1));
}

#[test]
fn a_server_that_loses_its_publisher_is_a_lost_session_and_exit_status_1() {
    let (code, report) = command_against(Fate::LosesPublisher, "unheard", 0);
    assert_eq!((&report["publishers_lost"], &report["viewers_lost"]), (&1.into(), &0.into()), "{report}");
    assert!(breaks(&report, "sessions were lost"), "{report}");
    assert_eq!(code, ExitCode::from(1));
}
