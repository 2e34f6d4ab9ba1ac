//! The node as a process of its own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A node that has not opened its port by then has failed.
const START_TIMEOUT: Duration = Duration::from_secs(15);

/// The node's metrics are brought up to date once a second.
const METRICS_AGE: Duration = Duration::from_millis(1_500);

/// Datagrams that went no further, by the node's metrics.
#[derive(Debug, Clone, Copy, Default)]
pub struct Dropped {
    pub all: f64,
    /// Among them what the kernel had no room for.
    pub overflowed: f64,
}

/// A running node; ends with the value.
pub struct Server {
    child: Child,
    http_port: u16,
}

/// The repository's root, from where cargo runs benchmarks of a member: its folder's parent.
pub fn root() -> PathBuf {
    let manifest =
        std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("loadtest"), PathBuf::from);
    manifest.parent().map_or_else(|| PathBuf::from("."), PathBuf::from)
}

fn first_port() -> u16 {
    std::env::var("AFORO_BENCH_PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(26_100)
}

impl Server {
    /// Starts `aforo dev` with `shards` shards and waits until it takes connections.
    pub fn start(shards: u8) -> Result<Self> {
        let binary =
            std::env::var_os("AFORO_BIN").map_or_else(|| root().join("target/release/aforo"), PathBuf::from);
        let http_port = first_port();
        let local = |port: u16| format!("127.0.0.1:{port}");
        let child = Command::new(&binary)
            .args(["dev", "--shards", &shards.to_string(), "--advertise", "127.0.0.1"])
            .args([
                "--http",
                &local(http_port),
                "--admin",
                &local(http_port + 1),
                "--udp",
                &local(http_port + 2),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| {
                format!("cannot start {}: build it with cargo build --release", binary.display())
            })?;
        let mut server = Self { child, http_port };
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect(("127.0.0.1", http_port)).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("the node ended at once: {status}");
            }
            if Instant::now() > deadline {
                bail!("the node did not open port {http_port} in {START_TIMEOUT:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has dropped or refused, once its metrics know all of it.
    pub fn dropped_datagrams(&self) -> Result<Dropped> {
        std::thread::sleep(METRICS_AGE);
        let address = ("127.0.0.1", self.http_port + 1);
        let mut connection = TcpStream::connect(address).context("the node has no metrics")?;
        connection.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        let sum = |series: &str| -> f64 {
            let lines = answer.lines().filter(|line| line.starts_with(series));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        let checks = |result: &str| sum(&format!("aforo_stun_requests_total{{result=\"{result}\"}}"));
        let overflowed = sum("aforo_udp_receive_buffer_errors_total");
        // A check that names a peer is either answered, or refused, or dropped by it.
        let forged = checks("unknown") + checks("forged") + checks("routed") - checks("answered");
        Ok(Dropped { all: sum("aforo_datagrams_dropped_total{") + forged + overflowed, overflowed })
    }

    /// Base address of its HTTP.
    pub fn target(&self) -> String {
        format!("http://127.0.0.1:{}", self.http_port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
