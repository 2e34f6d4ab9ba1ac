//! Every value that a label can have, declared once: so that the number of series of a node has a bound that no request
//! can move, and a test can count it.

/// The methods that a route has, for all public routes; a request with another method has the label `other`.
pub const METHODS_OF: &[(&[&str], &[&str])] =
    &[(READ_ROUTES, READS), (ENDPOINTS, OFFERS), (SESSIONS, CHANGES), (EXTENSIONS, WISHES)];

const READS: &[&str] = &["GET", "HEAD", "OPTIONS"];
const OFFERS: &[&str] = &["POST", "GET", "HEAD", "OPTIONS"];
const CHANGES: &[&str] = &["PATCH", "DELETE", "OPTIONS"];
const WISHES: &[&str] = &["POST", "GET", "DELETE", "OPTIONS"];
const READ_ROUTES: &[&str] =
    &["/", "/studio/{room}", "/watch/{room}", "/v1/rooms", "/v1/rooms/{room}", "/assets/{file}"];
const ENDPOINTS: &[&str] = &["/whep/{room}/{stream}", "/whip/{room}/{stream}"];
const SESSIONS: &[&str] = &["/whep/{room}/{stream}/{session}", "/whip/{room}/{stream}/{session}"];
const EXTENSIONS: &[&str] = &["/whep/{room}/{stream}/{session}/{extension}"];
const OTHER: &[&str] = &["other"];
const STATUS_CLASSES: &[&str] = &["2xx", "3xx", "4xx", "5xx"];

/// Stands for any one value: what is fixed from the start of the process on.
pub const FIXED: &str = "*";
/// Stands for the number of a shard.
pub const SHARD: &str = "#";
/// As many shards as a node of our own choosing has: `media.shards: 0` takes no more of a machine's cores.
pub const SHARDS: usize = 64;

const ROLES: &[&str] = &["publisher", "viewer"];
const PROTOCOLS: &[&str] = &["whip", "whep"];
const KINDS: &[&str] = &["audio", "video"];
const WAYS: &[&str] = &["received", "sent"];
const DIRECTIONS: &[&str] = &["receive", "send"];
const RESOURCES: &[&str] = &["cpu", "packets_per_second", "bits_per_second", "sessions"];
const AUDIO_CODECS: &[&str] = &["opus"];
const VIDEO_CODECS: &[&str] = &["h264", "h265", "vp8", "vp9", "av1"];
const ACTORS: &[&str] = &["shard", "peer", "room", "rooms", "cluster_agent"];
const SHARD_MESSAGES: &[&str] = &[
    "AddPeer",
    "AdmitPeer",
    "AdoptTcp",
    "ClosePeers",
    "FromShard",
    "GetLoad",
    "GetReport",
    "Meet",
    "PeerSaid",
    "Stop",
    "TellPeer",
    "WishLayer",
];
const ROOM_MESSAGES: &[&str] = &[
    "Admit",
    "CheckFree",
    "CloseAll",
    "CloseEvents",
    "End",
    "EndSession",
    "GetReport",
    "IsBearer",
    "ListenToEvents",
    "OpenEvents",
    "PatchSession",
    "PeerNotices",
    "Publish",
    "SelectLayer",
    "TellToLeave",
];
const ROOMS_MESSAGES: &[&str] =
    &["CloseAll", "GetRooms", "InRoom", "Ping", "Place", "RoomEmptied", "TellToLeave"];
const AGENT_MESSAGES: &[&str] =
    &["ClaimStream", "GetPlacement", "Leave", "ReleaseStream", "SetLoad", "SetState"];

/// Values of one label after the other, in the order in which the metric names its labels: each goes with each.
pub type Product = &'static [&'static [&'static str]];

/// What labels the metric of this name can have: every set of its products. Metrics without labels are not here.
pub const LABELS: &[(&str, &[Product])] = &[
    ("aforo_build_info", &[&[&[FIXED]]]),
    ("aforo_node_info", &[&[&[FIXED]]]),
    ("aforo_node_state", &[&[&["starting", "ready", "draining"]]]),
    ("aforo_node_usage", &[&[RESOURCES]]),
    ("aforo_node_limit", &[&[RESOURCES]]),
    ("aforo_shard_busy_ratio", &[&[&[SHARD]]]),
    ("aforo_config_reloads_total", &[&[&["ok", "failed"]]]),
    ("aforo_key_set_fetches_total", &[&[&["ok", "unchanged", "failed"]]]),
    ("aforo_tls_certificate_expiry_timestamp_seconds", &[&[&["public"]]]),
    ("aforo_actor_active", &[&[ACTORS]]),
    ("aforo_actor_mailbox_depth", &[&[ACTORS]]),
    (
        "aforo_actor_message_duration_seconds",
        &[
            &[&["shard"], SHARD_MESSAGES],
            &[&["peer"], &["PeerInput"]],
            &[&["room"], ROOM_MESSAGES],
            &[&["rooms"], ROOMS_MESSAGES],
            &[&["cluster_agent"], AGENT_MESSAGES],
        ],
    ),
    (
        "aforo_actor_restarts_total",
        &[
            &[&["peer", "room", "coordinator", "load_meter", "key_server"], &["panic"]],
            &[
                &["shard", "rooms", "cluster_agent", "coordinator", "load_meter", "key_server", "listener"],
                &["fatal"],
            ],
        ],
    ),
    ("aforo_actor_dropped_messages_total", &[&[&["peer", "room", "shard"], &["full", "closed"]]]),
    (
        "aforo_http_requests_total",
        &[
            &[READS, READ_ROUTES, STATUS_CLASSES],
            &[OFFERS, ENDPOINTS, STATUS_CLASSES],
            &[CHANGES, SESSIONS, STATUS_CLASSES],
            &[WISHES, EXTENSIONS, STATUS_CLASSES],
            &[OTHER, READ_ROUTES, STATUS_CLASSES],
            &[OTHER, ENDPOINTS, STATUS_CLASSES],
            &[OTHER, SESSIONS, STATUS_CLASSES],
            &[OTHER, EXTENSIONS, STATUS_CLASSES],
            &[OTHER, OTHER, STATUS_CLASSES],
        ],
    ),
    (
        "aforo_http_request_duration_seconds",
        &[&[READS, READ_ROUTES], &[OFFERS, ENDPOINTS], &[CHANGES, SESSIONS], &[WISHES, EXTENSIONS]],
    ),
    ("aforo_http_connections_total", &[&[&["served", "unserved", "refused"]]]),
    (
        "aforo_auth_failures_total",
        &[&[&[
            "no_token",
            "unknown_token",
            "no_grant",
            "malformed",
            "unknown_key",
            "algorithm",
            "signature",
            "claims",
            "audience",
            "expired",
            "not_yet_valid",
            "keys_awaited",
        ]]],
    ),
    ("aforo_rate_limited_total", &[&[&["address"]]]),
    ("aforo_sessions", &[&[ROLES, PROTOCOLS]]),
    (
        "aforo_session_attempts_total",
        &[&[
            ROLES,
            PROTOCOLS,
            &[
                "ok",
                "not_live",
                "taken",
                "no_common_codec",
                "unauthorized",
                "limited",
                "draining",
                "unavailable",
                "bad_request",
            ],
        ]],
    ),
    (
        "aforo_join_duration_seconds",
        &[&[PROTOCOLS, &["answer", "ice", "dtls", "first_rtp", "first_keyframe"]]],
    ),
    ("aforo_session_duration_seconds", &[&[ROLES]]),
    (
        "aforo_session_ends_total",
        &[&[
            ROLES,
            &[
                "deleted",
                "closed_by_peer",
                "ice_timeout",
                "dtls_timeout",
                "dtls_failed",
                "consent_expired",
                "no_media",
                "no_keyframe",
                "stream_ended",
                "taken_over",
                "stream_changed",
                "path_taken",
                "shutdown",
                "internal",
            ],
        ]],
    ),
    ("aforo_ice_restarts_total", &[&[&["ok", "failed"]]]),
    ("aforo_ice_selected", &[&[&["udp", "tcp"]]]),
    ("aforo_tracks", &[&[KINDS]]),
    ("aforo_rtp_packets_total", &[&[WAYS, &["audio"], AUDIO_CODECS], &[WAYS, &["video"], VIDEO_CODECS]]),
    ("aforo_rtp_bytes_total", &[&[WAYS, &["audio"], AUDIO_CODECS], &[WAYS, &["video"], VIDEO_CODECS]]),
    ("aforo_rtp_packets_lost_total", &[&[WAYS]]),
    ("aforo_repair_requests_total", &[&[&["sent", "refused", "gone"]]]),
    (
        "aforo_rtp_packets_dropped_total",
        &[&[&[
            "malformed",
            "rtcp_malformed",
            "peer_unknown",
            "unmapped",
            "duplicate",
            "too_old",
            "seal_failed",
        ]]],
    ),
    ("aforo_rtp_retransmitted_packets_total", &[&[WAYS]]),
    ("aforo_rtcp_feedback_total", &[&[WAYS, &["nack", "pli", "fir", "twcc", "rr", "sr", "remb"]]]),
    ("aforo_keyframe_requests_total", &[&[&["sent", "throttled", "cached"]]]),
    ("aforo_probes_total", &[&[&["proved", "failed"]]]),
    ("aforo_redundancy_changes_total", &[&[&["on", "off"]]]),
    ("aforo_forward_duration_seconds", &[&[&["audio", "video", "rtx"]]]),
    ("aforo_round_trip_seconds", &[&[ROLES]]),
    ("aforo_loss_ratio", &[&[WAYS]]),
    ("aforo_legs", &[&[KINDS, &["best", "middle", "lowest", "none"]]]),
    ("aforo_layer_switches_total", &[&[&["up", "down"], &["start", "network", "viewer", "publisher"]]]),
    ("aforo_degraded_session_seconds_total", &[&[&["no_picture", "sound_only", "loss", "bandwidth"]]]),
    ("aforo_trace_spans_total", &[&[&["exported", "failed", "dropped"]]]),
    ("aforo_udp_datagrams_total", &[&[DIRECTIONS]]),
    ("aforo_udp_bytes_total", &[&[DIRECTIONS]]),
    ("aforo_udp_batch_size", &[&[DIRECTIONS]]),
    (
        "aforo_udp_send_errors_total",
        &[&[&["buffer_full", "unreachable", "refused", "too_large", "denied", "other"]]],
    ),
    (
        "aforo_tcp_frames_dropped_total",
        &[&[&[
            "full",
            "closed",
            "bad_frame",
            "connections_full",
            "ufrag_unknown",
            "unproved",
            "crowded",
            "unidentified",
            "shard_unknown",
        ]]],
    ),
    (
        "aforo_srtp_failures_total",
        &[&[&["rtp_authentication", "rtcp_authentication", "rtp_replay", "rtcp_replay"]]],
    ),
    ("aforo_stun_requests_total", &[&[&["routed", "unknown", "forged", "answered", "refused"]]]),
    (
        "aforo_datagrams_dropped_total",
        &[&[&[
            "cut_off",
            "read_error",
            "protocol_unknown",
            "path_unknown",
            "transmit_full",
            "dtls_ignored",
            "dtls_pointless",
            "dtls_flood",
        ]]],
    ),
    ("aforo_bus_request_duration_seconds", &[&[&["place", "lease", "claim", "release"]]]),
    (
        "aforo_placements_total",
        &[
            &[&["placed"], &["least_loaded"]],
            &[&["refused"], &["no_node", "draining", "full"]],
            &[&["failed"], &["bus"]],
        ],
    ),
];

/// Whether a metric may have these labels, by name and value, in any order.
pub fn is_declared(metric: &str, labels: &[(&str, &str)]) -> bool {
    let Some((_, names)) = super::METRICS.iter().find(|(name, _)| *name == metric) else { return false };
    let products = LABELS.iter().find(|(name, _)| *name == metric).map_or(&[][..], |(_, products)| *products);
    let has = |name: &str, values: &[&str]| {
        let value = labels.iter().find(|(label, _)| *label == name).map(|(_, value)| *value);
        value.is_some_and(|value| {
            let number = || values.contains(&SHARD) && value.parse::<u8>().is_ok();
            values.contains(&value) || values.contains(&FIXED) || number()
        })
    };
    labels.len() == names.len()
        && (names.is_empty()
            || products
                .iter()
                .any(|product| names.iter().zip(*product).all(|(name, values)| has(name, values))))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::super::{METRICS, Metrics, SERIES};
    use super::*;

    /// What a node exposes of itself as a process.
    const PROCESS_SERIES: usize = 16;

    fn series(metric: &str, labels: &[&str], lines: usize) -> usize {
        if labels.is_empty() {
            return lines;
        }
        let (_, products) = LABELS.iter().find(|(name, _)| *name == metric).expect(metric);
        let values = |values: &&[&str]| if **values == [SHARD] { SHARDS } else { values.len() };
        let sets = products.iter().map(|product| {
            assert_eq!(product.len(), labels.len(), "{metric}");
            product.iter().map(values).product::<usize>()
        });
        sets.sum::<usize>() * lines
    }

    #[test]
    fn a_node_has_under_two_thousand_series_whatever_is_asked_of_it() {
        let counts = METRICS
            .iter()
            .zip(SERIES)
            .map(|((name, labels), (_, lines))| (series(name, labels, *lines), *name));
        let mut counts: Vec<_> = counts.collect();
        counts.sort_unstable();
        let total = PROCESS_SERIES + counts.iter().map(|(count, _)| count).sum::<usize>();
        assert!(total < 2_000, "{total} series: {counts:?}");
    }

    #[test]
    fn every_declaration_is_of_a_metric_with_labels() {
        for (metric, _) in LABELS {
            let (_, labels) = METRICS.iter().find(|(name, _)| name == metric).expect(metric);
            assert!(!labels.is_empty(), "{metric}");
        }
    }

    #[test]
    fn the_lines_of_a_metric_are_counted_as_prometheus_has_them() {
        let metrics = Metrics::new().unwrap();
        metrics.http_request_duration_seconds.with_label_values(&["GET", "/"]).observe(0.1);
        metrics.rate_limited_total.with_label_values(&["address"]).inc();
        let text = metrics.render().unwrap();
        for name in
            ["aforo_http_request_duration_seconds", "aforo_rate_limited_total", "aforo_jitter_seconds"]
        {
            let (_, lines) = SERIES.iter().find(|(metric, _)| *metric == name).unwrap();
            assert_eq!(text.lines().filter(|line| line.starts_with(name)).count(), *lines, "{name}");
        }
    }

    #[test]
    fn only_what_is_declared_is_declared() {
        let request = |method, route| {
            is_declared(
                "aforo_http_requests_total",
                &[("method", method), ("route", route), ("status_class", "4xx")],
            )
        };
        assert!(request("GET", "/") && request("other", "other") && request("other", "/"));
        assert!(!request("PATCH", "/") && !request("GET", "other"));
        assert!(is_declared("aforo_shard_busy_ratio", &[("shard", "17")]));
        assert!(!is_declared("aforo_shard_busy_ratio", &[("shard", "x")]));
        assert!(is_declared("aforo_rooms", &[]) && !is_declared("aforo_rooms", &[("room", "a")]));
    }
}
