//! The built program twice: a node, and a load test at it that is ended before its time. It must leave nobody behind whom the
//! node would go on sending to.
#![cfg(feature = "loadtest")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const VIEWERS: u64 = 12;

/// Longer than it takes to start, join and end, shorter than consent lasts: 30 s after the last check.
const PATIENCE: Duration = Duration::from_secs(20);

/// A program of ours, killed with the test.
struct Running(Child);

impl Running {
    fn start(arguments: &[&str], stdout: Stdio) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aforo"));
        command.args(arguments).env_remove("AFORO_CONFIG");
        Self(command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// A node and its HTTP host.
fn start_node() -> (Running, String) {
    let flags =
        ["dev", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--shards", "1"];
    let mut node = Running::start(&flags, Stdio::piped());
    let mut lines = BufReader::new(node.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    let home = lines.find_map(|line| line.trim().strip_prefix("Home").map(|rest| rest.trim().to_owned()));
    let host = home.unwrap().trim_start_matches("http://").trim_end_matches('/').to_owned();
    (node, host)
}

/// The rooms' viewers, by name.
fn rooms(host: &str) -> Vec<(String, u64)> {
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET /v1/rooms HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let rooms = body["rooms"].as_array().unwrap().iter();
    rooms.map(|room| (room["name"].as_str().unwrap().to_owned(), room["viewers"].as_u64().unwrap())).collect()
}

/// Asks until the rooms are as they should be; the node answers each question anew.
fn wait_for(host: &str, what: &str, is_so: impl Fn(&[(String, u64)]) -> bool) {
    let start = Instant::now();
    loop {
        let rooms = rooms(host);
        if is_so(&rooms) {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: {rooms:?}");
    }
}

#[test]
fn an_interrupted_load_test_ends_its_sessions() {
    let (_node, host) = start_node();
    let viewers = VIEWERS.to_string();
    for signal in ["INT", "TERM"] {
        let target = format!("http://{host}");
        let prefix = signal.to_lowercase();
        let flags =
            ["--target", &target, "--viewers", &viewers, "--duration", "1h", "--room-prefix", &prefix];
        let mut load = Running::start(&[&["loadtest"], flags.as_slice()].concat(), Stdio::null());
        wait_for(&host, "all watch", |rooms| {
            rooms.iter().any(|(name, viewers)| name.starts_with(&prefix) && *viewers == VIEWERS)
        });
        let sent = Command::new("kill").args([format!("-{signal}"), load.0.id().to_string()]).status();
        assert!(sent.unwrap().success());
        assert_eq!(load.0.wait().unwrap().code(), Some(130), "{signal}");
        wait_for(&host, "nobody is left", <[_]>::is_empty);
    }
}
