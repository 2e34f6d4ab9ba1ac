//! The built server, with the collector that it is to use.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// A running `aforo dev`, killed with the test.
pub struct Node {
    child: Child,
    log: Option<JoinHandle<String>>,
    /// Address of the public listener, with `http://`.
    pub base: String,
    /// Host and port of the listener for operators.
    operators: String,
}

impl Node {
    /// Starts one that sends its traces to `collector`.
    pub fn start(collector: SocketAddr) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_aforo"));
        command.args(["dev", "--http", "0", "--admin", "0", "--udp", "127.0.0.1:0", "--shards", "2"]);
        command.env_remove("AFORO_CONFIG").stdin(Stdio::null());
        command.env("AFORO__TELEMETRY__OTLP_ENDPOINT", format!("http://{collector}"));
        command.env("AFORO__TELEMETRY__OTLP_HEADERS", "x-key=open-sesame");
        command.env("AFORO__TELEMETRY__SERVICE_NAME", "aforo-under-test");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let log = thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut after = |name: &str| {
            let found =
                lines.find_map(|line| line.trim().strip_prefix(name).map(|rest| rest.trim().to_owned()));
            found.expect("the server says where it listens")
        };
        let base = after("Home").trim_end_matches('/').to_owned();
        let operators =
            after("Metrics").trim_start_matches("http://").trim_end_matches("/metrics").to_owned();
        // The rest is read too, so that the server never waits for its reader.
        thread::spawn(move || lines.for_each(drop));
        Self { child, log: Some(log), base, operators }
    }

    /// Posts something that is no offer to `path`. Returns the status line.
    pub fn post(&self, path: &str, headers: &str) -> String {
        let host = self.base.trim_start_matches("http://");
        let mut stream = TcpStream::connect(host).unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}");
        let body = "content-type: application/sdp\r\ncontent-length: 3\r\n\r\nv=0";
        write!(stream, "{head}{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.lines().next().unwrap().to_owned()
    }

    /// Its metrics in OpenMetrics' format, after the head of the answer.
    pub fn open_metrics(&self) -> String {
        let mut stream = TcpStream::connect(&self.operators).unwrap();
        let accept = "accept: application/openmetrics-text; version=1.0.0; q=0.7, text/plain; q=0.3";
        let host = &self.operators;
        write!(stream, "GET /metrics HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{accept}\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Stops it. Returns how long that took, and all that it logged.
    pub fn stop(mut self) -> (Duration, String) {
        let asked = Instant::now();
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        (asked.elapsed(), self.log.take().unwrap().join().unwrap())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}
