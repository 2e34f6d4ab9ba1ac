//! What is run, and what it found.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use aforo_loadtest::clip::ClipCodec;
use aforo_loadtest::floor::{self, FloorReport};
use aforo_loadtest::publisher::schedule::StreamShape;
use aforo_loadtest::report::{Percentiles, Report};
use aforo_loadtest::scenario::{self, Plan, Progress};

use crate::server::Server;

/// Tells a child process which side of the floor program it is.
pub const ROLE_VARIABLE: &str = "AFORO_BENCH_ROLE";

/// Shards of the runs that measure what a packet costs: with one there is no other shard's work in the figure.
const ONE_SHARD: u8 = 1;

/// Shards of the run that measures how many viewers two cores serve: what `aforo dev` starts there.
const TWO_SHARDS: u8 = 2;

/// Receivers of the floor program: as many as the viewers of the runs it is compared with.
const FLOOR_RECEIVERS: [usize; 3] = [100, 1_000, 2_000];

/// Datagrams through the plain relay, one each 5 ms.
const RELAY_DATAGRAMS: u32 = 1_000;

/// Pace of the storm that a node must stand: a stream that begins finds 1,000 viewers within 2 s.
const STORM_JOINS_PER_SECOND: f64 = 500.0;

/// Handshakes whose bare crypto is measured; a fraction of a second.
const HANDSHAKES: u32 = 2_000;

/// Everything that was found; what was not asked for is none.
#[derive(Debug, Default, Serialize)]
pub struct Found {
    /// By number of receivers.
    pub floors: BTreeMap<usize, FloorReport>,
    pub relay: Option<Percentiles>,
    pub handshake_crypto_us: Option<f64>,
    pub light: Option<Report>,
    /// Viewers who come as fast as in the storm scenario.
    pub joins: Option<Report>,
    /// The same viewers at half that pace: the server's threads fall asleep between them.
    pub paced_joins: Option<Report>,
    pub one_by_100: Option<Report>,
    pub one_by_300: Option<Report>,
    pub thirty_by_10: Option<Report>,
    pub one_by_1000: Option<Report>,
    pub one_by_2000: Option<Report>,
    /// One publisher, 2,000 viewers, two shards.
    pub on_two_shards: Option<Report>,
}

fn steady() -> Duration {
    let seconds = std::env::var("AFORO_BENCH_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(10);
    Duration::from_secs(seconds)
}

/// The stream of the speed table: 1.5 Mbit/s at 30 pictures a second, and Opus.
fn stream(codec: ClipCodec) -> StreamShape {
    StreamShape {
        codec,
        bitrate_bps: 1_500_000,
        frames_per_second: 30,
        keyframe_interval: Duration::from_secs(2),
        // Joins are measured on a stream of sound that hardly sends, so that hardly any forwarding must be deducted.
        silent: codec == ClipCodec::Opus,
        simulcast: false,
    }
}

/// Runs what `wanted` names, or all.
pub fn all(wanted: &[String]) -> Result<Found> {
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|word| word == name);
    let mut found = Found::default();
    if is_wanted("light") {
        eprintln!("relay");
        found.relay =
            Some(Percentiles::of(&floor::relay_latency(RELAY_DATAGRAMS, Duration::from_millis(5))?));
        found.light = Some(load("light", ClipCodec::H264, (1, 3), 10.0)?);
    }
    if is_wanted("joins") {
        found.handshake_crypto_us = Some(floor::handshake_crypto_us(HANDSHAKES)?);
        found.joins = Some(load("joins", ClipCodec::Opus, (1, 1_000), STORM_JOINS_PER_SECOND)?);
        let paced = STORM_JOINS_PER_SECOND / 2.0;
        found.paced_joins = Some(load("paced joins", ClipCodec::Opus, (1, 1_000), paced)?);
    }
    if is_wanted("100") {
        found.one_by_100 = Some(load("100", ClipCodec::H264, (1, 100), 100.0)?);
    }
    if is_wanted("300") {
        found.one_by_300 = Some(load("300", ClipCodec::H264, (1, 300), 100.0)?);
    }
    if is_wanted("30x10") {
        found.thirty_by_10 = Some(load("30x10", ClipCodec::H264, (30, 300), 100.0)?);
    }
    if is_wanted("floor") {
        for receivers in FLOOR_RECEIVERS {
            eprintln!("floor with {receivers} receivers");
            found.floors.insert(receivers, measure_floor(receivers)?);
        }
    }
    if is_wanted("1000") {
        found.one_by_1000 = Some(load("1000", ClipCodec::H264, (1, 1_000), 150.0)?);
    }
    if is_wanted("2000") {
        found.one_by_2000 = Some(load("2000", ClipCodec::H264, (1, 2_000), 150.0)?);
    }
    if is_wanted("two-shards") {
        let sizes = (1, 2_000);
        found.on_two_shards = Some(load_on(TWO_SHARDS, "two-shards", ClipCodec::H264, sizes, 150.0)?);
    }
    Ok(found)
}

fn load(name: &str, codec: ClipCodec, sizes: (usize, usize), ramp: f64) -> Result<Report> {
    load_on(ONE_SHARD, name, codec, sizes, ramp)
}

fn load_on(
    shards: u8,
    name: &str,
    codec: ClipCodec,
    (publishers, viewers): (usize, usize),
    ramp: f64,
) -> Result<Report> {
    eprintln!("{name}");
    let server = Server::start(shards)?;
    let plan = Plan {
        target: server.target(),
        publishers,
        viewers,
        rooms: publishers,
        room_prefix: "bench".to_owned(),
        shape: stream(codec),
        joins_per_second: ramp,
        duration: steady(),
        loss: 0.0,
        server_pid: Some(server.pid()),
    };
    let report = scenario::run_blocking(plan, Progress::on_terminal())?;
    eprintln!("{}", report.table());
    Ok(report)
}

fn spawn_role(role: &str) -> Result<Child> {
    Command::new(std::env::current_exe()?)
        .env(ROLE_VARIABLE, role)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start a side of the floor program")
}

fn first_line(child: &mut Child) -> Result<String> {
    let output = child.stdout.as_mut().context("the child has no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

fn measure_floor(receivers: usize) -> Result<FloorReport> {
    let mut receiver = spawn_role("receive")?;
    let port = first_line(&mut receiver)?;
    let mut sender = spawn_role(&format!("send {receivers} {port}"))?;
    let report: FloorReport =
        serde_json::from_str(&first_line(&mut sender)?).context("the floor program printed no report")?;
    sender.wait()?;
    receiver.wait()?;
    eprintln!("{report:?}");
    Ok(report)
}

/// The child processes' side.
pub fn play_role(role: &str) -> Result<()> {
    match role.split_once(' ') {
        None if role == "receive" => {
            floor::receive(Duration::from_secs(1), |port| {
                println!("{port}");
                let _ = std::io::stdout().flush();
            })?;
        }
        Some(("send", target)) => {
            let (receivers, port) = target.split_once(' ').context("whom to send to?")?;
            let report = floor::send(stream(ClipCodec::H264), receivers.parse()?, port.parse()?, steady())?;
            println!("{}", serde_json::to_string(&report)?);
        }
        _ => bail!("unknown role {role:?}"),
    }
    Ok(())
}
