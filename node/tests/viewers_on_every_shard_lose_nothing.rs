//! A wire test: the built server with three shards, publishers of the `webrtc` crate, and viewers that throw packets away.
//!
//! Each stream enters at one shard and is watched on all of them, so that packets cross the lanes between shards; what
//! the viewers drop must come back by retransmission, whichever shard they are on. Afterwards the metrics must tell of it.
#![cfg(feature = "loadtest")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aforo_cluster::metric::labels::is_declared;
use aforo_loadtest::clip::ClipCodec;
use aforo_loadtest::publisher::schedule::StreamShape;
use aforo_loadtest::scenario::{Plan, Progress, run_blocking};

const PUBLISHERS: usize = 2;
const VIEWERS: usize = 18;

/// How old what shards say of themselves may be.
const METRICS_AGE: Duration = Duration::from_secs(1);

/// A running `aforo dev`, killed with the test.
struct Server {
    child: Child,
    base: String,
    /// Host and port of metrics.
    operators: String,
}

impl Server {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aforo"));
        command.args(["dev", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--udp", "127.0.0.1:0"]);
        command.args(["--shards", "3"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut after = |name: &str| {
            let found =
                lines.find_map(|line| line.trim().strip_prefix(name).map(|rest| rest.trim().to_owned()));
            found.expect("the server says where it listens")
        };
        let (home, metrics) = (after("Home"), after("Metrics"));
        let operators = metrics.trim_start_matches("http://").trim_end_matches("/metrics").to_owned();
        Self { child, base: home.trim_end_matches('/').to_owned(), operators }
    }

    /// What it says about itself.
    fn metrics(&self) -> Exposition {
        let mut connection = TcpStream::connect(&self.operators).unwrap();
        let request =
            format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.operators);
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        Exposition(answer)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// What `/metrics` answered.
struct Exposition(String);

impl Exposition {
    /// The series of this name and these labels, without the prefix of all names; 0 if there is none.
    fn value(&self, series: &str) -> f64 {
        let start = format!("aforo_{series} ");
        let value = self.0.lines().find_map(|line| line.strip_prefix(&start));
        value.map_or(0.0, |value| value.trim().parse().unwrap())
    }

    /// No series has a label that is not declared: what is declared is counted, and makes under 2,000 series.
    fn assert_declared(&self) {
        let series = self.0.lines().filter(|line| line.starts_with("aforo_"));
        for line in series {
            let (series, _) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
            let labels: Vec<_> = labels.map(|(name, value)| (name, value.trim_matches('"'))).collect();
            let labels: Vec<_> = labels.into_iter().filter(|(name, _)| *name != "le").collect();
            let parts = ["", "_bucket", "_sum", "_count"];
            let declared = parts.iter().filter_map(|part| name.strip_suffix(part));
            assert!(declared.into_iter().any(|name| is_declared(name, &labels)), "{line} is not declared");
        }
    }

    /// Count and mean of a histogram with these labels.
    fn histogram(&self, name: &str, labels: &str) -> (f64, f64) {
        let count = self.value(&format!("{name}_count{labels}"));
        (count, self.value(&format!("{name}_sum{labels}")) / count)
    }
}

/// Each step of a join was counted once a session, and steps come in their order.
fn assert_joins(metrics: &Exposition) {
    for (protocol, sessions) in [("whip", PUBLISHERS), ("whep", VIEWERS)] {
        let mut before = 0.0;
        for stage in ["ice", "dtls", "first_rtp", "first_keyframe"] {
            let labels = format!("{{protocol=\"{protocol}\",stage=\"{stage}\"}}");
            let (count, mean) = metrics.histogram("join_duration_seconds", &labels);
            assert_eq!(count, sessions as f64, "{protocol} {stage}");
            assert!(mean >= before, "{protocol} {stage}: {mean} s, the stage before {before} s");
            before = mean;
        }
        let answered = format!("join_duration_seconds_count{{protocol=\"{protocol}\",stage=\"answer\"}}");
        assert!(metrics.value(&answered) >= sessions as f64);
    }
}

/// Every actor tells how much waits for it and how long its messages take.
fn assert_actors(metrics: &Exposition) {
    for actor in ["shard", "peer", "room", "rooms", "cluster_agent"] {
        let (turns, mean) = metrics.histogram("actor_mailbox_depth", &format!("{{actor=\"{actor}\"}}"));
        assert!(turns > 0.0 && mean >= 1.0, "{actor}: {turns} turns of {mean} messages");
    }
    let sessions = PUBLISHERS + VIEWERS;
    for (actor, message, count) in [
        ("shard", "AddPeer", PUBLISHERS),
        ("shard", "AdmitPeer", VIEWERS),
        ("room", "Admit", VIEWERS),
        ("room", "Publish", PUBLISHERS),
        ("cluster_agent", "ClaimStream", PUBLISHERS),
    ] {
        let labels = format!("{{actor=\"{actor}\",message=\"{message}\"}}");
        let (handled, mean) = metrics.histogram("actor_message_duration_seconds", &labels);
        assert_eq!(handled, count as f64, "{actor} {message}");
        assert!(mean > 0.0 && mean < 0.5, "{actor} {message}: {mean} s");
    }
    let inputs = metrics.value("actor_message_duration_seconds_count{actor=\"peer\",message=\"PeerInput\"}");
    assert!(inputs >= sessions as f64 * 3.0, "checks and a handshake each: {inputs}");
    assert_eq!(metrics.value("actor_active{actor=\"shard\"}"), 3.0);
    assert_eq!(metrics.value("actor_active{actor=\"cluster_agent\"}"), 1.0);
}

/// Streams of 1 Mbit/s, in layers with `simulcast`.
fn plan(server: &Server, simulcast: bool, loss: f64) -> Plan {
    Plan {
        target: server.base.clone(),
        publishers: PUBLISHERS,
        viewers: VIEWERS,
        rooms: PUBLISHERS,
        room_prefix: "wire".to_owned(),
        shape: StreamShape {
            codec: ClipCodec::H264,
            bitrate_bps: 1_000_000,
            frames_per_second: 30,
            keyframe_interval: Duration::from_secs(2),
            silent: false,
            simulcast,
            deaf: false,
        },
        joins_per_second: 50.0,
        duration: Duration::from_secs(3),
        loss,
        server_pid: Some(server.child.id()),
    }
}

#[test]
fn viewers_of_simulcast_get_the_best_layer_on_every_shard() {
    let server = Server::start();
    let plan = Plan { duration: METRICS_AGE * 6, ..plan(&server, true, 0.0) };
    let (tell, told) = std::sync::mpsc::channel();
    let run = std::thread::spawn(move || tell.send(run_blocking(plan, Progress::hidden()).unwrap()).unwrap());
    // They begin with the best. A busy machine may well have them leave it again, which is no matter here.
    let mut most = 0.0_f64;
    let report = loop {
        match told.recv_timeout(METRICS_AGE / 4) {
            Ok(report) => break report,
            Err(_) => most = most.max(server.metrics().value("legs{kind=\"video\",layer=\"best\"}")),
        }
    };
    run.join().unwrap();
    let table = report.table();
    assert_eq!(most, VIEWERS as f64, "{table}");
    assert_eq!(report.joins.ok, VIEWERS as u64, "{table}");
    assert_eq!(report.packets_missing, 0, "{table}");
    assert!(report.packets_verified > 0 && report.packets_refused == 0, "{table}");
}

#[test]
fn viewers_on_every_shard_lose_nothing() {
    let server = Server::start();
    let plan = plan(&server, false, 0.03);
    let report = run_blocking(plan, Progress::hidden()).unwrap();
    let table = report.table();
    assert_eq!(report.joins.ok, VIEWERS as u64, "{table}");
    assert!(report.packets > VIEWERS as u64 * 3 * 100, "media flowed to everyone:\n{table}");
    assert!(report.packets_verified > 0 && report.packets_refused == 0, "{table}");
    assert!(report.loss_before_repair > 0.0, "packets were thrown away:\n{table}");
    assert_eq!(report.packets_missing, 0, "all of them were repaired:\n{table}");
    // On a busy machine many a packet comes by itself after it was asked for: its repair has none.
    let measured = report.latency.count + report.repairs_needless;
    assert_eq!(measured, report.packets, "every other repair has a latency, too:\n{table}");

    let metrics = server.metrics();
    assert_joins(&metrics);
    assert_actors(&metrics);
    for kind in ["audio", "video", "rtx"] {
        let (rounds, mean) = metrics.histogram("forward_duration_seconds", &format!("{{kind=\"{kind}\"}}"));
        assert!(rounds > 0.0 && mean > 0.0 && mean < 1.0, "{kind}: {rounds} rounds of {mean} s");
    }
    let (keyframes, wait) = metrics.histogram("keyframe_wait_seconds", "");
    let cached = metrics.value("keyframe_requests_total{result=\"cached\"}");
    assert!(keyframes + cached >= 1.0, "viewers began with keyframes: {keyframes} waited for, {cached} kept");
    assert!(keyframes == 0.0 || wait < 10.0, "{keyframes} keyframes after {wait} s");
    assert!(metrics.0.contains("aforo_node_info{node=\""), "{}", metrics.0);
    metrics.assert_declared();
}
