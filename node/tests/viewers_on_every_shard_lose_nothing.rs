//! A wire test: the built server with three shards, publishers of the `webrtc` crate, and viewers that throw packets away.
//!
//! Each stream enters at one shard and is watched on all of them, so that packets cross the lanes between shards; what
//! the viewers drop must come back by retransmission, whichever shard they are on.
#![cfg(feature = "loadtest")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aforo_loadtest::clip::ClipCodec;
use aforo_loadtest::publisher::schedule::StreamShape;
use aforo_loadtest::scenario::{Plan, Progress, run_blocking};

const PUBLISHERS: usize = 2;
const VIEWERS: usize = 18;

/// A running `aforo dev`, killed with the test.
struct Server {
    child: Child,
    base: String,
}

impl Server {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aforo"));
        command.args(["dev", "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--udp", "127.0.0.1:0"]);
        command.args(["--shards", "3"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let home = lines.map_while(Result::ok).find_map(|line| {
            line.trim().strip_prefix("Home").map(|address| address.trim().trim_end_matches('/').to_owned())
        });
        Self { child, base: home.expect("the server says where it listens") }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn viewers_on_every_shard_lose_nothing() {
    let server = Server::start();
    let plan = Plan {
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
        },
        joins_per_second: 50.0,
        duration: Duration::from_secs(3),
        loss: 0.03,
        server_pid: Some(server.child.id()),
    };
    let report = run_blocking(plan, Progress::hidden()).unwrap();
    let table = report.table();
    assert_eq!(report.joins.ok, VIEWERS as u64, "{table}");
    assert!(report.packets > VIEWERS as u64 * 3 * 100, "media flowed to everyone:\n{table}");
    assert!(report.packets_verified > 0 && report.packets_refused == 0, "{table}");
    assert!(report.loss_before_repair > 0.0, "packets were thrown away:\n{table}");
    assert_eq!(report.packets_missing, 0, "all of them were repaired:\n{table}");
}
