//! That the labels which enums write are those that are declared: no more, as nobody would count the series, and no fewer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use aforo_cluster::metric::METRICS;
use aforo_cluster::metric::labels::LABELS;

use crate::lifecycle::NodeState;
use crate::media::codec::CodecKind;
use crate::media::plane::quality::Suffering;
use crate::media::selection::{Cause, Direction, Place};
use crate::peer::message::EndReason;
use crate::shard::socket::counters::SendErrorKind;

/// What `metric` may have as its label `name`.
fn declared(metric: &str, name: &str) -> BTreeSet<&'static str> {
    let (_, names) = METRICS.iter().find(|(known, _)| *known == metric).expect(metric);
    let (_, products) = LABELS.iter().find(|(known, _)| *known == metric).expect(metric);
    let place = names.iter().position(|known| *known == name).expect(name);
    products.iter().flat_map(|product| product[place].iter().copied()).collect()
}

#[test]
fn each_value_of_an_enum_is_declared_and_nothing_else() {
    let ends = EndReason::ALL.map(EndReason::as_str).to_vec();
    let codecs = CodecKind::ALL.map(CodecKind::as_str).to_vec();
    let suffering = Suffering::ALL.map(Suffering::as_str).to_vec();
    let places = Place::ALL.map(Place::as_str).to_vec();
    let (directions, causes) = (Direction::ALL.map(Direction::as_str), Cause::ALL.map(Cause::as_str));
    let send_errors = SendErrorKind::ALL.map(SendErrorKind::as_str).to_vec();
    let states = NodeState::ALL.map(NodeState::as_str).to_vec();
    for (metric, label, values) in [
        ("aforo_session_ends_total", "reason", ends),
        ("aforo_rtp_packets_total", "codec", codecs),
        ("aforo_degraded_session_seconds_total", "reason", suffering),
        ("aforo_legs", "layer", places),
        ("aforo_layer_switches_total", "direction", directions.to_vec()),
        ("aforo_layer_switches_total", "reason", causes.to_vec()),
        ("aforo_udp_send_errors_total", "kind", send_errors),
        ("aforo_node_state", "state", states),
    ] {
        assert_eq!(declared(metric, label), values.into_iter().collect(), "{label} of {metric}");
    }
}
