//! A wire test: the built server, a publisher of the `webrtc` crate and viewers, and a collector that takes the traces of
//! their joins by OTLP over HTTP.
#![cfg(feature = "loadtest")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

#[path = "traces_reach_a_collector/collector.rs"]
mod collector;
#[path = "traces_reach_a_collector/node.rs"]
mod node;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aforo_loadtest::clip::ClipCodec;
use aforo_loadtest::publisher::schedule::StreamShape;
use aforo_loadtest::scenario::{Plan, Progress, run_blocking};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use collector::{Collector, Export};
use node::Node;

const VIEWERS: usize = 3;

/// Longer than anything here takes, short enough that a failure does not hang.
const PATIENCE: Duration = Duration::from_secs(20);

/// A node waits two seconds for its last traces. Without that bound it would wait for two requests of five seconds each: the
/// one that hangs, and the one for what came meanwhile.
const STOP_AT_MOST: Duration = Duration::from_secs(8);

/// Stages of a join after its request, in their order.
const STAGES: [&str; 4] = ["ice", "dtls", "first_rtp", "first_keyframe"];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn status(span: &Span) -> (StatusCode, String) {
    let status = span.status.clone().unwrap_or_default();
    (status.code(), status.message)
}

fn attribute(span: &Span, key: &str) -> String {
    let found = span.attributes.iter().find(|attribute| attribute.key == key);
    format!("{:?}", found.unwrap_or_else(|| panic!("no {key} in {span:?}")).value)
}

/// The spans of each trace by their names; no trace here has two of one name.
fn traces(exports: &[Export]) -> BTreeMap<String, BTreeMap<String, Span>> {
    let mut traces: BTreeMap<String, BTreeMap<String, Span>> = BTreeMap::new();
    for span in exports.iter().flat_map(Export::spans) {
        let trace = traces.entry(hex(&span.trace_id)).or_default();
        assert!(trace.insert(span.name.clone(), span.clone()).is_none(), "{} came twice", span.name);
    }
    traces
}

/// Looks at the trace of a join that was completed.
fn assert_complete(trace: &BTreeMap<String, Span>, protocol: &str) {
    let request = format!("POST /{protocol}/{{room}}/{{stream}}");
    let names: BTreeSet<&str> = trace.keys().map(String::as_str).collect();
    let expected = ["join", &request, "placement", "sdp", "room"].into_iter().chain(STAGES);
    assert_eq!(names, expected.collect());
    let join = &trace["join"];
    assert!(join.parent_span_id.is_empty(), "nobody asked for a trace");
    assert_eq!(status(join).0, StatusCode::Ok);
    for name in STAGES.into_iter().chain([request.as_str()]) {
        assert_eq!(trace[name].parent_span_id, join.span_id, "{name}");
    }
    for name in ["placement", "sdp", "room"] {
        assert_eq!(trace[name].parent_span_id, trace[&request].span_id, "{name}");
    }
    assert_eq!(trace[&request].kind(), SpanKind::Server);
    assert!(attribute(&trace[&request], "http.response.status_code").contains("201"));
    assert!(attribute(join, "aforo.room").contains("traced-0"));
    assert!(attribute(join, "aforo.session").contains('…'), "who knows a whole id may end the session");
    let mut reached = trace["room"].start_time_unix_nano;
    for name in STAGES {
        let span = &trace[name];
        assert!(span.start_time_unix_nano >= reached && span.end_time_unix_nano >= reached, "{name}");
        reached = span.end_time_unix_nano;
    }
    assert_eq!(join.end_time_unix_nano, reached, "the last stage completes the join");
    assert_eq!(join.start_time_unix_nano, trace[&request].start_time_unix_nano);
}

/// Every line is a JSON object, and those about joins name their traces.
fn assert_logged(log: &str, traces: &[&String]) {
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    assert!(!log.contains("open-sesame"), "no secret is logged: {log}");
    for trace in traces {
        for message in ["session entered", "session connected", "session ended"] {
            let named =
                lines.iter().any(|line| line["message"] == message && line["trace_id"] == trace.as_str());
            assert!(named, "no {message:?} of {trace} in {log}");
        }
    }
}

/// Each stage of each protocol names a trace of ours.
fn assert_exemplars(metrics: &str, traces: &[&String]) {
    assert!(metrics.contains("application/openmetrics-text") && metrics.ends_with("# EOF\n"), "{metrics}");
    for protocol in ["whip", "whep"] {
        for stage in ["answer", "ice", "dtls", "first_rtp", "first_keyframe"] {
            let series = format!("join_duration_seconds_bucket{{protocol=\"{protocol}\",stage=\"{stage}\"");
            let lines = metrics.lines().filter(|line| line.contains(&series));
            let named: Vec<&str> =
                lines.filter_map(|line| line.split("trace_id=\"").nth(1)?.split('"').next()).collect();
            assert!(!named.is_empty(), "{protocol} {stage}");
            assert!(named.iter().all(|name| traces.iter().any(|trace| trace == name)), "{named:?}");
        }
    }
}

#[test]
fn each_join_is_one_trace_from_its_request_to_its_first_keyframe() {
    let collector = Collector::start(true);
    let node = Node::start(collector.address);
    let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let refused = node.post("/whep/nobody", &format!("traceparent: 00-{trace}-{parent}-01\r\n"));
    assert!(refused.contains("409"), "{refused}");
    let unwanted = format!("traceparent: 00-{}-{parent}-00\r\n", trace.replace('0', "1"));
    assert!(node.post("/whep/nobody", &unwanted).contains("409"));
    let plan = Plan {
        target: node.base.clone(),
        publishers: 1,
        viewers: VIEWERS,
        rooms: 1,
        room_prefix: "traced".to_owned(),
        shape: StreamShape {
            codec: ClipCodec::H264,
            bitrate_bps: 500_000,
            frames_per_second: 30,
            keyframe_interval: Duration::from_secs(1),
            silent: false,
            simulcast: false,
            deaf: false,
        },
        joins_per_second: 50.0,
        duration: Duration::from_secs(1),
        loss: 0.0,
        server_pid: None,
    };
    let report = run_blocking(plan, Progress::hidden()).unwrap();
    assert_eq!(report.joins.ok, VIEWERS as u64, "{}", report.table());
    let metrics = node.open_metrics();
    let (_, log) = node.stop();
    let exports: Vec<Export> = collector.exports.try_iter().collect();
    for export in &exports {
        let head = &export.head;
        assert!(head.starts_with("POST /v1/traces ") && head.contains("x-key: open-sesame"), "{head}");
        assert!(export.resource("service.name").contains("aforo-under-test"));
        assert!(export.resource("service.version").contains(env!("CARGO_PKG_VERSION")));
    }
    let mut traces = traces(&exports);
    let asked_for = traces.remove(trace).expect("the trace that the request is part of");
    assert_eq!(hex(&asked_for["join"].parent_span_id), parent);
    assert_eq!(status(&asked_for["join"]), (StatusCode::Error, "not_live".to_owned()));
    assert!(!traces.contains_key(&trace.replace('0', "1")), "the request did not want to be recorded");
    // A viewer that came a moment too early asked again.
    traces.retain(|_, trace| status(&trace["join"]).1 != "not_live");
    let of = |protocol| {
        let found =
            traces.iter().filter(|(_, trace)| attribute(&trace["join"], "aforo.protocol").contains(protocol));
        found.inspect(|(_, trace)| assert_complete(trace, protocol)).count()
    };
    assert_eq!((of("whip"), of("whep")), (1, VIEWERS));
    assert_logged(&log, &traces.keys().collect::<Vec<_>>());
    assert_exemplars(&metrics, &traces.keys().collect::<Vec<_>>());
}

#[test]
fn a_collector_that_hangs_does_not_keep_a_node_from_stopping() {
    let collector = Collector::start(false);
    let node = Node::start(collector.address);
    assert!(node.post("/whep/nobody", "").contains("409"));
    // The node waits for an answer now, and will have more to send.
    collector.exports.recv_timeout(PATIENCE).unwrap();
    assert!(node.post("/whep/nobody", "").contains("409"));
    let (took, log) = node.stop();
    assert!(took < STOP_AT_MOST, "it took {took:?}");
    assert!(log.contains("the last traces may be lost"), "{log}");
}
