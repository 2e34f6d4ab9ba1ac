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
use aforo_loadtest::scenario::garbage::{self, GarbageReport};
use aforo_loadtest::scenario::storm::{self, Storm, StormReport};
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

/// Who is there before the storm, at the same stream.
const STORM_WITNESSES: usize = 100;

/// The storm: its pace is [`STORM_JOINS_PER_SECOND`].
const STORM: Storm = Storm { viewers: 1_000, within: Duration::from_secs(2) };

/// Datagrams that nobody asked for, per second, and who watches meanwhile.
const GARBAGE_PER_SECOND: u32 = 50_000;
const GARBAGE_WITNESSES: usize = 200;

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
    /// Viewers who come as fast as in the storm scenario, into pictures.
    pub picture_joins: Option<Report>,
    pub one_by_100: Option<Report>,
    pub one_by_300: Option<Report>,
    pub thirty_by_10: Option<Report>,
    pub one_by_1000: Option<Report>,
    pub one_by_2000: Option<Report>,
    /// One publisher, 2,000 viewers, two shards.
    pub on_two_shards: Option<Report>,
    /// By the name of the plain run that it is held against: the same with publishers of simulcast.
    pub simulcast: BTreeMap<&'static str, Report>,
    pub garbage: Option<Garbage>,
    pub storm: Option<StormReport>,
    /// The storm into a stream of simulcast.
    pub simulcast_storm: Option<StormReport>,
}

/// Garbage, as the viewers and the server have seen it.
#[derive(Debug, Serialize)]
pub struct Garbage {
    pub seen: GarbageReport,
    /// Datagrams that the server's metrics say were dropped or refused.
    pub counted: f64,
    /// Those among them that its sockets had no room for.
    pub overflowed: f64,
}

/// A run of the speed table: its name, publishers, viewers and joins per second.
type Shape = (&'static str, usize, usize, f64);

/// Those that are run with simulcast too.
const SPEED: [Shape; 5] = [
    ("100", 1, 100, 100.0),
    ("300", 1, 300, 100.0),
    ("30x10", 30, 300, 100.0),
    ("1000", 1, 1_000, 150.0),
    ("2000", 1, 2_000, 150.0),
];

impl Found {
    fn speed(&mut self, name: &str) -> Option<&mut Option<Report>> {
        match name {
            "100" => Some(&mut self.one_by_100),
            "300" => Some(&mut self.one_by_300),
            "30x10" => Some(&mut self.thirty_by_10),
            "1000" => Some(&mut self.one_by_1000),
            "2000" => Some(&mut self.one_by_2000),
            _ => None,
        }
    }
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
        deaf: false,
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
        let pictures = load("joins into pictures", ClipCodec::H264, (1, 1_000), STORM_JOINS_PER_SECOND)?;
        found.picture_joins = Some(pictures);
    }
    if is_wanted("floor") {
        for receivers in FLOOR_RECEIVERS {
            eprintln!("floor with {receivers} receivers");
            found.floors.insert(receivers, measure_floor(receivers)?);
        }
    }
    for (name, publishers, viewers, ramp) in SPEED {
        // Side by side, so that both meet the same machine.
        let layered = is_wanted("simulcast") || is_wanted(&format!("simulcast-{name}"));
        if layered || is_wanted(name) {
            let report = load(name, ClipCodec::H264, (publishers, viewers), ramp)?;
            if let Some(place) = found.speed(name) {
                *place = Some(report);
            }
        }
        if layered {
            found.simulcast.insert(name, simulcast(name, (publishers, viewers), ramp)?);
        }
    }
    if is_wanted("two-shards") {
        let sizes = (1, 2_000);
        found.on_two_shards = Some(load_on(TWO_SHARDS, "two-shards", stream(ClipCodec::H264), sizes, 150.0)?);
    }
    if is_wanted("garbage") {
        found.garbage = Some(receive_garbage()?);
    }
    if is_wanted("storm") {
        found.storm = Some(stand_storm("storm", stream(ClipCodec::H264))?);
        found.simulcast_storm = Some(stand_storm("storm into simulcast", layered_stream())?);
    }
    Ok(found)
}

/// [`stream`] as simulcast, with lower layers at 500 and 150 kbit/s.
fn layered_stream() -> StreamShape {
    StreamShape { simulcast: true, ..stream(ClipCodec::H264) }
}

fn simulcast(name: &str, sizes: (usize, usize), ramp: f64) -> Result<Report> {
    load_on(ONE_SHARD, &format!("simulcast {name}"), layered_stream(), sizes, ramp)
}

fn receive_garbage() -> Result<Garbage> {
    eprintln!("garbage");
    let server = Server::start(ONE_SHARD)?;
    let plan = plan(&server, stream(ClipCodec::H264), (1, GARBAGE_WITNESSES), 100.0);
    let before = server.dropped_datagrams()?;
    let seen = garbage::run_blocking(plan, GARBAGE_PER_SECOND, Progress::on_terminal())?;
    let after = server.dropped_datagrams()?;
    let (counted, overflowed) = (after.all - before.all, after.overflowed - before.overflowed);
    let garbage = Garbage { seen, counted, overflowed };
    eprintln!("{garbage:#?}");
    Ok(garbage)
}

fn stand_storm(name: &str, shape: StreamShape) -> Result<StormReport> {
    eprintln!("{name}");
    let server = Server::start(ONE_SHARD)?;
    let plan = plan(&server, shape, (1, STORM_WITNESSES), 100.0);
    let report = storm::run_blocking(plan, STORM, Progress::on_terminal())?;
    eprintln!("{report:#?}");
    Ok(report)
}

fn load(name: &str, codec: ClipCodec, sizes: (usize, usize), ramp: f64) -> Result<Report> {
    load_on(ONE_SHARD, name, stream(codec), sizes, ramp)
}

fn load_on(shards: u8, name: &str, shape: StreamShape, sizes: (usize, usize), ramp: f64) -> Result<Report> {
    eprintln!("{name}");
    let server = Server::start(shards)?;
    let report = scenario::run_blocking(plan(&server, shape, sizes, ramp), Progress::on_terminal())?;
    eprintln!("{}", report.table());
    Ok(report)
}

fn plan(server: &Server, shape: StreamShape, (publishers, viewers): (usize, usize), ramp: f64) -> Plan {
    Plan {
        target: server.target(),
        publishers,
        viewers,
        rooms: publishers,
        room_prefix: "bench".to_owned(),
        shape,
        joins_per_second: ramp,
        duration: steady(),
        loss: 0.0,
        server_pid: Some(server.pid()),
    }
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
