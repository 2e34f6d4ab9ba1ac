//! The built server, started on free ports and stopped with the test.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail, ensure};

use crate::report::Report;

static CONFIGURATIONS: AtomicU32 = AtomicU32::new(0);

/// A running node.
pub struct Server {
    child: Child,
    base: String,
    log: Arc<Mutex<String>>,
    /// Reads what is logged.
    reader: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server with a configuration file of this text, and waits until it says where it listens.
    pub fn start(configuration: &str) -> Result<Self> {
        Self::start_with(configuration, &[])
    }

    /// Does so with these variables in its environment.
    pub fn start_with(configuration: &str, variables: &[(&str, &str)]) -> Result<Self> {
        Self::start_as("dev", configuration, variables)
    }

    /// Does so with this command, of those that run a node.
    pub fn start_as(command: &str, configuration: &str, variables: &[(&str, &str)]) -> Result<Self> {
        let name = command;
        let mut command = Command::new(env!("CARGO_BIN_EXE_aforo"));
        command.args([name, "--http", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--udp", "127.0.0.1:0"]);
        command.arg("--config").arg(file(configuration)?);
        // What is said about CORS is about pages that may use the API, as any may where tokens are wanted.
        command.env("AFORO__HTTP__CORS_ORIGINS", "*").envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("the server has no stdout")?;
        let stderr = child.stderr.take().context("the server has no stderr")?;
        let log = Arc::new(Mutex::new(String::new()));
        let reader = Some(collect(stderr, Arc::clone(&log)));
        let mut lines = BufReader::new(stdout);
        let mut line = String::new();
        while lines.read_line(&mut line)? > 0 {
            if let Some(base) = line.trim().strip_prefix("Home").map(str::trim) {
                let base = base.trim_end_matches('/').to_owned();
                collect(lines, Arc::clone(&log));
                return Ok(Self { child, base, log, reader });
            }
            line.clear();
        }
        let _exit = child.wait();
        bail!("the server did not start: {}", log.lock().expect("the log"))
    }

    /// Scheme and authority of its public listener.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Tells it to stop, as an operator does.
    pub fn terminate(&self) -> Result<()> {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status()?;
        ensure!(status.success(), "the server cannot be told to stop");
        Ok(())
    }

    /// Stops it. Returns all that it has logged.
    fn stop(mut self) -> Result<String> {
        self.terminate()?;
        self.child.wait()?;
        if let Some(reader) = self.reader.take() {
            ensure!(reader.join().is_ok(), "the log could not be read");
        }
        Ok(std::mem::take(&mut *self.log.lock().expect("the log")))
    }

    /// Stops it: whatever was sent to it, nothing of it panicked.
    pub fn check_no_panic(self, report: &mut Report) -> Result<()> {
        self.check_log(report, None)
    }

    /// The same, and that `secrets` stand nowhere in its log. `line`: number and text of that requirement.
    pub fn check_log(self, report: &mut Report, secrets: Option<(&str, &str, &[&str])>) -> Result<()> {
        let log = self.stop()?;
        if let Some((number, text, secrets)) = secrets {
            let silent = !secrets.iter().any(|secret| log.contains(secret));
            report.line(number, text, silent, "a token in the log");
        }
        // As `telemetry::log` writes it; a check that could not see that would prove nothing.
        ensure!(
            panics(r#"{"level":"ERROR","message":"a thread panicked"}"#).count() == 1,
            "panics go unseen"
        );
        ensure!(log.contains("\"message\":\"stopped\""), "the log is cut off: {log}");
        let panics: Vec<&str> = panics(&log).collect();
        report.line(
            "0.9",
            "nothing that was sent made the server panic",
            panics.is_empty(),
            panics.join("; "),
        );
        Ok(())
    }
}

/// Lines of a log by which something panicked: ours, or Rust's own before the log was there.
fn panics(log: &str) -> impl Iterator<Item = &str> {
    log.lines().filter(|line| line.contains("a thread panicked") || line.contains("panicked at"))
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn file(configuration: &str) -> Result<PathBuf> {
    let number = CONFIGURATIONS.fetch_add(1, Ordering::Relaxed);
    let name = format!("conformance-{}-{number}.yaml", std::process::id());
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let text = if configuration.is_empty() { "{}\n" } else { configuration };
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// Reads a pipe to its end, so that the server never waits for us.
fn collect(pipe: impl Read + Send + 'static, log: Arc<Mutex<String>>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut log = log.lock().expect("the log");
            log.push_str(&line);
            log.push('\n');
        }
    })
}
