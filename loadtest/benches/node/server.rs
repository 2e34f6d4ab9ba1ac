//! The node as a process of its own.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A node that has not opened its port by then has failed.
const START_TIMEOUT: Duration = Duration::from_secs(15);

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
