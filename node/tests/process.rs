//! The binary as an operator meets it: ports, signals, exit codes and what it says when something is wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

#[path = "process/doors.rs"]
mod doors;

/// A running node on ports that the system chose; killed when the test fails.
struct Node {
    child: Child,
    stdout: BufReader<ChildStdout>,
    http: String,
    admin: String,
    banner: String,
    /// Reads what is logged, so that the node never waits for us.
    log: Option<JoinHandle<String>>,
}

/// A node on ports that the system chooses.
const DEV: [&str; 9] = ["dev", "--http", "0", "--admin", "0", "--udp", "127.0.0.1:0", "--shards", "1"];

/// An offer to publish.
const OFFER: &str = include_str!("../src/signalling/sdp/fixtures/chromium-publish.sdp");

/// Longer than anything here takes, short enough that a failure does not hang.
const PATIENCE: Duration = Duration::from_secs(20);

fn aforo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aforo"));
    command.args(arguments).env_remove("AFORO_CONFIG").stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } = aforo(arguments).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
}

impl Node {
    /// Starts a node and reads from its banner where it is.
    fn start() -> Self {
        Self::start_with(&[])
    }

    /// Does so with these variables in its environment.
    fn start_with(variables: &[(&str, &str)]) -> Self {
        let mut command = aforo(&DEV);
        command.envs(variables.iter().copied());
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let log = std::thread::spawn(move || std::io::read_to_string(stderr).unwrap());
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (mut http, mut admin, mut banner) = (String::new(), String::new(), String::new());
        let mut line = String::new();
        while !line.contains("Ctrl-C") {
            banner.push_str(&line);
            line.clear();
            assert_ne!(stdout.read_line(&mut line).unwrap(), 0, "the node ended before it was ready");
            let host = |line: &str| line.split("://").nth(1).unwrap().split('/').next().unwrap().to_owned();
            if line.contains("Home") {
                http = host(&line);
            } else if line.contains("Metrics") {
                admin = host(&line);
            }
        }
        Self { child, stdout, http, admin, banner, log: Some(log) }
    }

    /// The metrics, as soon as this line is among them.
    fn metrics_with(&self, line: &str) -> String {
        let start = Instant::now();
        loop {
            let (_, metrics) = get(&self.admin, "/metrics");
            if metrics.lines().any(|found| found == line) {
                return metrics;
            }
            assert!(start.elapsed() < PATIENCE, "{line} is missing in {metrics}");
        }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }

    /// Ends the node, which must be in good order. Returns what it has logged.
    fn stop(mut self) -> String {
        self.signal("TERM");
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        self.log.take().unwrap().join().unwrap()
    }

    /// Waits for the end of the process, however long its own limit lets it take.
    fn exit_code(mut self) -> i32 {
        self.stdout.read_to_end(&mut Vec::new()).unwrap();
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Status line and body of a GET.
fn get(host: &str, path: &str) -> (String, String) {
    get_with(host, path, "")
}

/// The same with more header lines.
fn get_with(host: &str, path: &str, headers: &str) -> (String, String) {
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

/// Offers to publish, with these header lines. Returns the answer.
fn offer(stream: &mut (impl Read + Write), host: &str, headers: &str) -> String {
    let length = OFFER.len();
    write!(
        stream,
        "POST /whip/demo HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/sdp\r\n\
         connection: close\r\ncontent-length: {length}\r\n{headers}\r\n{OFFER}"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_node_serves_on_the_ports_that_it_prints_and_stops_with_0_on_sigterm() {
    let node = Node::start();
    assert_eq!(get(&node.http, "/v1/rooms"), ("HTTP/1.1 200 OK".to_owned(), "{\"rooms\":[]}".to_owned()));
    for probe in ["/livez", "/readyz?verbose", "/startupz"] {
        assert_eq!(get(&node.admin, probe).0, "HTTP/1.1 200 OK", "{probe}");
    }
    let (_, metrics) = get(&node.admin, "/metrics");
    for name in [
        "aforo_build_info{",
        "aforo_node_info{",
        "aforo_node_state{state=\"ready\"} 1",
        "process_resident_memory_bytes",
    ] {
        assert!(metrics.contains(name), "{name} is missing");
    }
    assert!(get(&node.http, "/metrics").0.contains("404"), "metrics are not for everybody");
    node.signal("TERM");
    assert_eq!(node.exit_code(), 0);
}

#[test]
fn the_log_of_a_start_has_our_lines_and_not_those_of_the_http_library() {
    let mut child = aforo(&DEV).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut log = String::new();
    while !log.contains("node is ready") {
        log.push_str(&lines.next().expect("the node ended before it was ready").unwrap());
        log.push('\n');
    }
    child.kill().unwrap();
    child.wait().unwrap();
    log.extend(lines.map(Result::unwrap));
    assert!(log.contains("node starts"), "{log}");
    for noise in ["actix_server", "starting service", "runtime found"] {
        assert!(!log.contains(noise), "{noise} in {log}");
    }
}

/// Starts a node with these variables, lets it stop once it is ready, and returns the lines of its log.
fn log_of_a_run(variables: &[(&str, &str)]) -> Vec<String> {
    log_of_a_visit(variables, |_| {})
}

/// The same, with a visit before it stops to the line that says where it serves.
fn log_of_a_visit(variables: &[(&str, &str)], visit: impl Fn(&str)) -> Vec<String> {
    let mut command = aforo(&DEV);
    command.envs(variables.iter().copied()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut log = Vec::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let line = line.unwrap();
        if line.contains("node is ready") {
            visit(&line);
            let stop = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
            assert!(stop.unwrap().success());
        }
        log.push(line);
    }
    assert_eq!(child.wait().unwrap().code(), Some(0), "{log:?}");
    log
}

#[test]
fn off_a_terminal_each_line_of_the_log_is_a_json_object_with_a_constant_message() {
    let lines = log_of_a_run(&[]);
    let log: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).expect(line)).collect();
    for line in &log {
        for field in ["timestamp", "level", "target", "message"] {
            assert!(line[field].is_string(), "{field} of {line}");
        }
    }
    let said = |message: &str| log.iter().find(|line| line["message"] == message).expect(message);
    assert!(said("node starts")["version"].is_string());
    let ready = said("node is ready");
    assert!(ready["http"].as_str().unwrap().starts_with("127.0.0.1:"), "values are fields: {ready}");
    assert_eq!(said("stopping")["signal"], "SIGTERM");
}

#[test]
fn strangers_who_send_nonsense_do_not_fill_the_log() {
    let log = log_of_a_visit(&[], |ready| {
        let ready: Value = serde_json::from_str(ready).unwrap();
        let mut stream = TcpStream::connect(ready["http"].as_str().unwrap()).unwrap();
        stream.write_all(b"nonsense\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    });
    assert!(log.iter().all(|line| !line.contains("ERROR") && !line.contains("actix_http")), "{log:#?}");
}

#[test]
fn a_log_can_be_text_wherever_it_goes() {
    let log = log_of_a_run(&[("AFORO__LOG__FORMAT", "text")]);
    assert!(log.iter().any(|line| line.contains("INFO node is ready http=127.0.0.1:")), "{log:?}");
    assert!(!log.iter().any(|line| line.contains('\u{1b}')), "no colours off a terminal: {log:?}");
}

#[test]
fn who_was_refused_and_what_is_used_is_in_the_metrics() {
    let token = "publish-0123456789";
    let node = Node::start_with(&[
        ("AFORO__AUTH__PUBLISH_TOKENS", token),
        ("AFORO__LIMITS__SESSIONS", "7"),
        ("AFORO__LIMITS__PACKETS_PER_SECOND", "1000"),
    ]);
    let publish = |headers: &str| offer(&mut TcpStream::connect(&node.http).unwrap(), &node.http, headers);
    assert!(publish("").starts_with("HTTP/1.1 401"));
    assert!(publish("authorization: Bearer somebody-9876543210\r\n").starts_with("HTTP/1.1 401"));
    let metrics = node.metrics_with("aforo_node_usage{resource=\"sessions\"} 0");
    for line in [
        "aforo_auth_failures_total{reason=\"no_token\"} 1",
        "aforo_auth_failures_total{reason=\"unknown_token\"} 1",
        "aforo_session_attempts_total{protocol=\"whip\",result=\"unauthorized\",role=\"publisher\"} 2",
        "aforo_node_limit{resource=\"sessions\"} 7",
        "aforo_node_limit{resource=\"packets_per_second\"} 1000",
        "aforo_node_usage{resource=\"packets_per_second\"} 0",
        "aforo_node_usage{resource=\"bits_per_second\"} 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is missing in {metrics}");
    }
    assert!(publish(&format!("authorization: Bearer {token}\r\n")).starts_with("HTTP/1.1 201"));
    let metrics = node.metrics_with("aforo_node_usage{resource=\"sessions\"} 1");
    let used = |line: &str| line.strip_prefix("aforo_node_usage{resource=\"cpu\"} ")?.parse::<f64>().ok();
    let cpu = metrics.lines().find_map(used).expect("the processors are measured");
    assert!((0.0..=1.0).contains(&cpu), "{cpu}");
    node.signal("TERM");
    assert_eq!(node.exit_code(), 0);
}

#[test]
fn requests_that_cannot_be_read_are_a_4xx_and_their_connections_are_counted() {
    let node = Node::start();
    let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    let refused: [(&str, &[u8]); 8] = [
        ("400", b"nonsense\r\n\r\n"),
        ("400", b"GET / HTTP/9.9\r\nhost: a\r\n\r\n"),
        ("400", b"G\0T / HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("400", "GET /\u{e9} HTTP/1.1\r\nhost: a\r\n\r\n".as_bytes()),
        ("400", b"GET / HTTP/1.1\r\nno colon\r\n\r\n"),
        (
            "400",
            b"POST /whip/a HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        ),
        ("400", b"POST /whip/a HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n"),
        ("431", long.as_bytes()),
    ];
    for (status, request) in refused {
        let shown = String::from_utf8_lossy(&request[..request.len().min(60)]).into_owned();
        let mut stream = TcpStream::connect(&node.http).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = vec![0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(String::from_utf8(answer).unwrap(), format!("HTTP/1.1 {status}"), "{shown}");
    }
    assert!(get(&node.http, "/v1/rooms").0.contains("200"), "others are served");
    let all = format!("aforo_http_connections_total{{result=\"unserved\"}} {}", refused.len());
    node.metrics_with(&all);
    // A client sees the end of its connection a moment before it is counted.
    let metrics = node.metrics_with("aforo_http_connections_total{result=\"served\"} 1");
    assert!(metrics.lines().any(|line| line == all), "{metrics}");
    node.signal("TERM");
    assert_eq!(node.exit_code(), 0);
}

#[test]
fn one_address_cannot_hold_all_connections() {
    let limits =
        [("AFORO__LIMITS__CONNECTIONS_PER_ADDRESS", "3"), ("AFORO__LIMITS__LOOPBACK_EXEMPT", "false")];
    let node = Node::start_with(&limits);
    let mut held: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(&node.http).unwrap()).collect();
    node.metrics_with("aforo_http_connections 3");
    let request = format!(
        "POST /whip/a HTTP/1.1\r\nhost: a\r\ncontent-type: application/sdp\r\ncontent-length: {}\r\n\r\n{OFFER}",
        OFFER.len()
    );
    for _ in 0..20 {
        let mut refused = TcpStream::connect(&node.http).unwrap();
        refused.set_read_timeout(Some(PATIENCE)).unwrap();
        // What is written is read by nobody, or for nothing: it must not make a session that nobody knows of.
        let _broken = refused.write_all(request.as_bytes());
        let end = refused.read(&mut [0; 1]);
        let reset = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
        assert!(
            matches!(&end, Ok(0)) || end.as_ref().is_err_and(reset),
            "one too many is closed at once: {end:?}"
        );
    }
    let metrics = node.metrics_with("aforo_http_connections_total{result=\"refused\"} 20");
    assert!(
        !metrics.contains("aforo_session_attempts_total{protocol=\"whip\",result=\"ok\",role=\"publisher\"}")
    );
    assert!(metrics.contains("aforo_streams 0"), "{metrics}");
    drop(held.pop());
    node.metrics_with("aforo_http_connections 2");
    assert!(get(&node.http, "/v1/rooms").0.contains("200"), "whoever leaves makes room");
    node.signal("TERM");
    assert_eq!(node.exit_code(), 0);
}

#[test]
fn a_body_that_says_it_is_too_long_is_not_waited_for() {
    let node = Node::start();
    let mut stream = TcpStream::connect(&node.http).unwrap();
    let head = "POST /whip/a HTTP/1.1\r\nhost: a\r\ncontent-type: application/sdp\r\ncontent-length: 99999999\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, b"HTTP/1.1 413");
}

#[test]
fn ctrl_c_stops_it_too() {
    let node = Node::start();
    node.signal("INT");
    assert_eq!(node.exit_code(), 0);
}

#[test]
fn a_port_that_is_taken_is_69_and_names_port_and_flag() {
    let node = Node::start();
    let (code, said) = run(&["dev", "--http", &node.http, "--admin", "0", "--udp", "127.0.0.1:0"]);
    let port = node.http.rsplit(':').next().unwrap();
    assert_eq!(code, 69, "{said}");
    let said: Value = serde_json::from_str(said.lines().last().unwrap()).expect(&said);
    assert_eq!((&said["level"], &said["message"]), (&"ERROR".into(), &"node ends".into()), "off a terminal");
    let reason = said["reason"].as_str().unwrap();
    assert!(reason.contains(port) && reason.contains("--http"), "{said}");
    let (code, said) = run(&["dev", "--http", "0", "--admin", &node.admin, "--udp", "127.0.0.1:0"]);
    assert_eq!(code, 69, "{said}");
    assert!(said.contains("--admin"), "{said}");
}

#[test]
fn a_udp_port_that_is_taken_is_69_and_names_port_and_flag() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said) = run(&["dev", "--http", "0", "--admin", "0", "--shards", "1", "--udp", &address]);
    let port = address.rsplit(':').next().unwrap();
    assert_eq!(code, 69, "{said}");
    assert!(said.contains(port) && said.contains("--udp"), "{said}");
}

#[test]
fn a_wrong_configuration_is_78_and_names_every_problem() {
    let file = std::env::temp_dir().join(format!("aforo-process-test-{}.yaml", std::process::id()));
    std::fs::write(&file, "http:\n  lisen: 1\nmedia:\n  shards: many\nlog:\n  level: \"a=b=c\"\n").unwrap();
    let path = file.to_str().unwrap();
    for command in [&["config", "check", "--config", path][..], &["dev", "--config", path][..]] {
        let (code, said) = run(command);
        assert_eq!(code, 78, "{said}");
        for expected in ["did you mean http.listen?", "media.shards", "log.level"] {
            assert!(said.contains(expected), "{expected} is missing in {said}");
        }
    }
    std::fs::remove_file(file).unwrap();
}

#[test]
fn the_configuration_says_where_it_comes_from() {
    let shown = aforo(&["config", "show", "--origin", "--http", "9000"])
        .env("AFORO__LIMITS__ROOMS", "7")
        .output()
        .unwrap();
    let text = String::from_utf8(shown.stdout).unwrap();
    let line = |key: &str| text.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    assert!(line("http.listen: \"127.0.0.1:9000\"").ends_with("# flag --http"), "{text}");
    assert!(line("limits.rooms: 7").ends_with("# environment AFORO__LIMITS__ROOMS"), "{text}");
    assert!(line("media.udp").ends_with("# default"), "{text}");
}

#[test]
fn a_wrong_command_line_is_2_and_the_version_is_told() {
    assert_eq!(run(&["dev", "--htp", "1"]).0, 2);
    assert_eq!(run(&[]).0, 2);
    assert_eq!(run(&["--version"]), (0, format!("aforo {}\n", env!("CARGO_PKG_VERSION"))));
}
