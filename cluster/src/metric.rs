//! Every metric of Aforo, declared once: its name, its labels, its help text and, for histograms, its buckets.
//!
//! Labels have few values by construction: never a room, stream, peer, SSRC, address or token. Seconds, bytes and
//! ratios; `_total` only on counters. Whoever measures holds an `Arc<Metrics>` and touches the field.

pub mod exemplar;
pub mod labels;
pub mod open_metrics;

use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use exemplar::Exemplars;

/// Times of HTTP requests: 1 ms is a warm answer, 25 ms a join in a crowd, 2.5 s is when clients ask again. Six bounds, as
/// there is one histogram for each method of each route.
const HTTP_SECONDS: &[f64] = &[0.001, 0.005, 0.025, 0.1, 0.5, 2.5];

/// Join times: 1 ms is a warm answer, 10 s is when people have left.
const JOIN_SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Time of a packet inside the node: 50 µs is an idle shard, 5 ms the gather window, 100 ms an incident.
const FORWARD_SECONDS: &[f64] =
    &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1];

/// Lag of an event loop: 1 ms is the timer's grain, beyond 100 ms audio breaks up.
const LAG_SECONDS: &[f64] = &[0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5];

/// How long a message keeps its actor: 10 µs is bookkeeping, 1 ms delays audio on a media arbiter, 1 s stops a node.
const MESSAGE_SECONDS: &[f64] = &[0.000_01, 0.000_1, 0.001, 0.005, 0.025, 0.1, 1.0];

/// Messages that wait together: powers of four up to the largest mailbox.
const MAILBOX_MESSAGES: &[f64] = &[1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0];

/// Network times: a LAN, a city, a continent, the world, a satellite.
const NETWORK_SECONDS: &[f64] = &[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8];

/// Questions to the rest of the cluster: 100 µs is within the process, 5 ms a busy network, 2 s is when a join gives up.
const CLUSTER_SECONDS: &[f64] = &[0.000_1, 0.001, 0.005, 0.025, 0.1, 0.5, 2.0];

/// Length of sessions: a reload, a look, a song, a match, an evening.
const SESSION_SECONDS: &[f64] = &[1.0, 10.0, 60.0, 300.0, 1_800.0, 7_200.0, 21_600.0];

/// Shares of lost packets: 2 % is where audio suffers, 10 % where video does.
const LOSS_RATIO: &[f64] = &[0.0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5];

/// What a viewer's path carries: sound, the usual simulcast layers (0.15, 0.5, 1.5 and 2.5 Mbit/s) with some room, and plenty.
const ESTIMATE_BITS_PER_SECOND: &[f64] = &[100e3, 200e3, 400e3, 700e3, 1.2e6, 2e6, 3.5e6, 6e6, 12e6];

/// Datagrams in one system call: powers of two up to a full batch.
const BATCH_DATAGRAMS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Turns one line of the table below into a registered metric.
macro_rules! build {
    (counter, $name:expr, $help:expr, [], []) => {
        IntCounter::with_opts(Opts::new($name, $help))
    };
    (counter, $name:expr, $help:expr, [$($label:expr),+], []) => {
        IntCounterVec::new(Opts::new($name, $help), &[$($label),+])
    };
    (gauge, $name:expr, $help:expr, [], []) => {
        IntGauge::with_opts(Opts::new($name, $help))
    };
    (gauge, $name:expr, $help:expr, [$($label:expr),+], []) => {
        IntGaugeVec::new(Opts::new($name, $help), &[$($label),+])
    };
    (ratio, $name:expr, $help:expr, [], []) => {
        Gauge::with_opts(Opts::new($name, $help))
    };
    (ratio, $name:expr, $help:expr, [$($label:expr),+], []) => {
        GaugeVec::new(Opts::new($name, $help), &[$($label),+])
    };
    (histogram, $name:expr, $help:expr, [], [$buckets:expr]) => {
        Histogram::with_opts(HistogramOpts::new($name, $help).buckets($buckets.to_vec()))
    };
    (histogram, $name:expr, $help:expr, [$($label:expr),+], [$buckets:expr]) => {
        HistogramVec::new(HistogramOpts::new($name, $help).buckets($buckets.to_vec()), &[$($label),+])
    };
}

/// How many lines one set of label values of a metric takes in the exposition.
macro_rules! lines {
    () => {
        1
    };
    // One for each bucket, the endless one included, the sum and the count.
    ($buckets:ident) => {
        $buckets.len() + 3
    };
}

/// The Rust type of one line of the table below.
macro_rules! kind {
    (counter, []) => {
        IntCounter
    };
    (counter, [$($label:expr),+]) => {
        IntCounterVec
    };
    (gauge, []) => {
        IntGauge
    };
    (gauge, [$($label:expr),+]) => {
        IntGaugeVec
    };
    (ratio, []) => {
        Gauge
    };
    (ratio, [$($label:expr),+]) => {
        GaugeVec
    };
    (histogram, []) => {
        Histogram
    };
    (histogram, [$($label:expr),+]) => {
        HistogramVec
    };
}

macro_rules! metrics {
    ($($kind:ident $field:ident [$($label:literal),*] $(buckets $buckets:ident)? : $help:literal;)*) => {
        /// All metrics of one node, and the registry that exposes them.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            /// Traces of what `join_duration_seconds` counts.
            pub join_exemplars: Exemplars,
            $(#[doc = $help] pub $field: kind!($kind, [$($label),*]),)*
        }

        impl Metrics {
            /// Registers every metric, and on Linux the process's own (`process_*`).
            ///
            /// # Errors
            ///
            /// A name or label is not one that Prometheus accepts, or stands twice in the table: a fault of this file.
            pub fn new() -> Result<Self, prometheus::Error> {
                let registry = Registry::new();
                $(
                    let $field = build!($kind, concat!("aforo_", stringify!($field)), $help, [$($label),*], [$($buckets)?])?;
                    registry.register(Box::new($field.clone()))?;
                )*
                #[cfg(target_os = "linux")]
                registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
                Ok(Self { registry, join_exemplars: Exemplars::new(JOIN_SECONDS), $($field,)* })
            }
        }

        /// Name and labels of every metric, for tests and documentation.
        pub const METRICS: &[(&str, &[&str])] = &[
            $((concat!("aforo_", stringify!($field)), &[$($label),*]),)*
        ];

        /// Name of every metric, and how many series there are for each set of its label values.
        pub const SERIES: &[(&str, usize)] = &[
            $((concat!("aforo_", stringify!($field)), lines!($($buckets)?)),)*
        ];
    };
}

metrics! {
    // Build and node.
    gauge build_info ["version"]: "Always 1; the label has the version that runs.";
    gauge node_info ["node"]: "Always 1; the label has the node's name in the cluster.";
    gauge node_state ["state"]: "1 for the state the node is in (starting, ready, draining), 0 for the others.";
    ratio node_load_ratio []: "Load over limit of the node's scarcest resource: 0 is idle, from 0.95 on it takes no publisher.";
    ratio node_usage ["resource"]: "What the node uses of a resource (cpu, of the busiest media arbiter's core; packets_per_second and bits_per_second sent; sessions); all but sessions smoothed over 5 s.";
    ratio node_limit ["resource"]: "What there is of a resource of node_usage, if it has a limit.";
    ratio shard_busy_ratio ["shard"]: "Share of the last second that a media arbiter spent working.";
    histogram event_loop_lag_seconds [] buckets LAG_SECONDS: "How late a media arbiter's timers fire.";

    counter config_reloads_total ["result"]: "Files that were read again because they changed: used (ok), or not good and the old ones kept (failed).";

    counter key_set_fetches_total ["result"]: "Questions for the keys of auth.jwks_url: new ones came (ok), the same (unchanged), or none and the old ones were kept (failed).";

    gauge tls_certificate_expiry_timestamp_seconds ["listener"]: "When the certificate of a listener with TLS ends, in seconds since 1970.";

    // Actors.
    gauge actor_active ["actor"]: "Actors that are running.";
    histogram actor_mailbox_depth ["actor"] buckets MAILBOX_MESSAGES: "Messages that an actor found waiting when it had its turn.";
    histogram actor_message_duration_seconds ["actor", "message"] buckets MESSAGE_SECONDS: "Time that a message kept its actor from the next one.";
    counter actor_restarts_total ["actor", "reason"]: "Actors that died of a fault: rebuilt by their owner or cleaned up after (panic), or such that the node has to end (fatal).";
    counter actor_dropped_messages_total ["actor", "reason"]: "Messages that a full or closed mailbox refused.";

    // Signalling.
    counter http_requests_total ["method", "route", "status_class"]: "HTTP requests answered; a method that the route does not have is other.";
    histogram http_request_duration_seconds ["method", "route"] buckets HTTP_SECONDS: "Time from request to answer, of methods that the route has.";
    counter http_connections_total ["result"]: "Connections to the public listener that ended: served; unserved, as no request could be read on them (malformed, too long, late, none, or no TLS); or refused, as their address had too many.";
    gauge http_connections []: "Connections to the public listener that are open.";
    counter auth_failures_total ["reason"]: "Requests without a token that was wanted (no_token), with one of no list (unknown_token), with one for something else (no_grant), or with an access token that is not good: malformed, unknown_key, algorithm, signature, claims, audience, expired, not_yet_valid; or with one that nobody can check yet (keys_awaited).";
    counter rate_limited_total ["scope"]: "Requests answered 429: of an address that asks too often (address).";

    gauge drain_remaining_sessions []: "Sessions that a node that drains still has; 0 while it does not drain.";
    gauge event_streams []: "Event streams that viewers hold open.";

    // Sessions.
    gauge sessions ["role", "protocol"]: "Sessions that are connected or connecting.";
    counter session_attempts_total ["role", "protocol", "result"]: "Attempts to publish or play, by their result.";
    histogram join_duration_seconds ["protocol", "stage"] buckets JOIN_SECONDS: "How long joins took: answer is from the request's head to its answer; ice, dtls, first_rtp and first_keyframe are from the session's entry into its room, which comes after the offer was read and answered.";
    histogram session_duration_seconds ["role"] buckets SESSION_SECONDS: "Length of sessions that ended.";
    counter session_ends_total ["role", "reason"]: "Sessions that ended, by why.";
    counter ice_restarts_total ["result"]: "ICE restarts asked for by PATCH.";
    gauge ice_selected ["transport"]: "Connected peers by the transport that ICE chose.";
    gauge rooms []: "Rooms with a stream or a viewer.";
    gauge streams []: "Streams that are being published.";
    gauge tracks ["kind"]: "Tracks that are being published.";

    // Media.
    counter rtp_packets_total ["direction", "kind", "codec"]: "RTP packets received from publishers and sent to viewers.";
    counter rtp_bytes_total ["direction", "kind", "codec"]: "Bytes of these packets, without protection.";
    counter rtp_packets_lost_total ["direction"]: "RTP packets that did not arrive in their turn, those included that were repaired later: from publishers as the node missed them (received), to viewers as their transport-wide feedback says, or their receiver reports where there is none (sent).";
    counter rtp_packets_unrepaired_total []: "RTP packets from publishers that were missed and never came, asked for or not; without those that rtp_packets_abandoned_total counts.";
    counter rtp_packets_abandoned_total []: "RTP packets from publishers that were missing when the publisher said that it had turned their simulcast layer off. They are not sent again any more, and nobody plays on.";
    counter repair_requests_total ["result"]: "Packets that viewers asked for again (NACK): sent, refused as they were asked for too soon, too often or in vain, or gone from what the node keeps.";
    counter rtp_packets_dropped_total ["reason"]: "RTP and RTCP packets that were dropped.";
    counter rtp_retransmitted_packets_total ["direction"]: "Packets that came or left as retransmissions.";
    counter redundant_audio_packets_total []: "Packets of redundant sound (RED, RFC 2198) from publishers.";
    counter redundancy_changes_total ["direction"]: "Times that a viewer that loses much began to get redundancy with plain sound (on), and that it lost nothing for long enough to do without (off).";
    counter rtcp_feedback_total ["direction", "type"]: "RTCP messages of publishers and viewers to us and from us, by type (nack, pli, fir, twcc, rr, sr, remb).";
    counter keyframe_requests_total ["result"]: "Wishes for a keyframe: sent to the publisher, throttled because one is on its way, or cached, as the newest group of pictures was still there.";
    histogram keyframe_wait_seconds [] buckets JOIN_SECONDS: "Time from the first wish for a keyframe to its arrival from the publisher.";
    histogram forward_duration_seconds ["kind"] buckets FORWARD_SECONDS: "Time from a datagram's arrival to its copies being handed to the kernel: the oldest of each kind (audio, video, rtx for answers to NACK) in each round of the event loop.";
    histogram jitter_seconds [] buckets NETWORK_SECONDS: "Interarrival jitter of publishers' tracks (RFC 3550 section 6.4.1), sampled each second.";
    histogram round_trip_seconds ["role"] buckets NETWORK_SECONDS: "Round-trip times: of viewers from their receiver reports, of publishers from their answers to NACK.";
    histogram loss_ratio ["direction"] buckets LOSS_RATIO: "Loss between two reports, before repair: observed once for each report, the newest of each second.";
    histogram estimate_bits_per_second [] buckets ESTIMATE_BITS_PER_SECOND: "What the paths to viewers are known to carry at least, or are estimated to where something limits them, sampled each second; only of viewers that have layers to choose from.";
    counter probes_total ["result"]: "Times that more was sent to a viewer than there was media, to see whether it arrives: all of it in time (proved) or not (failed).";
    gauge legs ["kind", "layer"]: "Tracks being sent to viewers, by the layer of it that each gets: the best that flows (where there is but one, that), the lowest, one between them (middle), or nothing at the moment (none).";
    counter layer_switches_total ["direction", "reason"]: "Changes of viewers to a better layer (up) or a lower one (down): since their path carries it (network), they asked for it (viewer), the publisher sends others (publisher), or they began with what was there first (start).";
    counter degraded_session_seconds_total ["reason"]: "Seconds that viewers had less than they should, each by the worst of these: no picture though one is sent (no_picture), none because their path carries none beside the sound (sound_only), 2 % of sound or 10 % of pictures lost before repair (loss), less than the best layer that they want (bandwidth).";

    // Traces.
    counter trace_spans_total ["result"]: "Spans of traced joins by what became of them: taken by the collector (exported), refused by it or sent in vain (failed), or not kept because too many waited for it (dropped).";

    // Sockets.
    counter udp_datagrams_total ["direction"]: "Datagrams read and sent.";
    counter udp_bytes_total ["direction"]: "Bytes of these datagrams.";
    histogram udp_batch_size ["direction"] buckets BATCH_DATAGRAMS: "Datagrams in one round of the event loop.";
    counter udp_send_errors_total ["kind"]: "Datagrams that the kernel refused.";
    counter udp_receive_buffer_errors_total []: "Datagrams that the kernel dropped because the receive buffer was full.";
    counter tcp_frames_dropped_total ["reason"]: "ICE-TCP frames that were dropped, and connections that were closed or refused.";
    counter srtp_failures_total ["kind"]: "Packets that failed authentication or were replayed.";
    counter stun_requests_total ["result"]: "STUN requests by what became of them: unknown to us, in a flood and forged by somebody without the password, or routed to a peer, which answered, refused or dropped them.";
    counter datagrams_dropped_total ["reason"]: "Datagrams that belong to no peer or no protocol, or that a peer has no use for.";

    // Cluster.
    gauge bus_connected []: "1 while the bus answers.";
    counter placements_total ["result", "reason"]: "Placements asked of the coordinator.";
    histogram placement_duration_seconds [] buckets CLUSTER_SECONDS: "Time that a publisher's join waited for the coordinator to place it, however that ended.";
    histogram bus_request_duration_seconds ["subject_class"] buckets CLUSTER_SECONDS: "Time that the bus took: for a question to the coordinator (place), the node's lease (lease), a stream's claim (claim) and its end (release).";
}

impl Metrics {
    /// The exposition in Prometheus' text format 0.0.4.
    ///
    /// # Errors
    ///
    /// A metric cannot be encoded: a fault of this file.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        String::from_utf8(text).map_err(|error| prometheus::Error::Msg(error.to_string()))
    }

    /// The exposition in OpenMetrics' text format 1.0, with exemplars.
    ///
    /// # Errors
    ///
    /// As [`Metrics::render`].
    pub fn render_open_metrics(&self) -> Result<String, prometheus::Error> {
        let text = open_metrics::encode(
            &self.registry.gather(),
            "aforo_join_duration_seconds",
            &self.join_exemplars,
        );
        text.map_err(|error| prometheus::Error::Msg(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn every_metric_registers_and_renders() {
        let metrics = Metrics::new().unwrap();
        metrics.rooms.set(3);
        metrics.sessions.with_label_values(&["viewer", "whep"]).inc();
        let text = metrics.render().unwrap();
        assert!(text.contains("aforo_rooms 3"));
        assert!(text.contains("aforo_sessions{protocol=\"whep\",role=\"viewer\"} 1"));
    }

    #[test]
    fn labels_never_name_a_person_or_a_place() {
        for (name, labels) in METRICS {
            for forbidden in ["room", "stream", "peer", "ssrc", "address", "token", "session"] {
                assert!(!labels.contains(&forbidden), "{name} has the label {forbidden}");
            }
        }
    }

    #[test]
    fn only_counters_end_in_total() {
        let text = Metrics::new().unwrap();
        let registered = text.registry.gather();
        for family in registered.iter().filter(|family| family.name().starts_with("aforo_")) {
            let counter = family.get_field_type() == prometheus::proto::MetricType::COUNTER;
            assert_eq!(counter, family.name().ends_with("_total"), "{}", family.name());
        }
    }
}
