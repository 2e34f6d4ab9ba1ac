//! Turns what the shard, its plane and its sockets have counted into metrics, once a second.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use aforo_cluster::metric::Metrics;
use prometheus::{IntCounter, IntCounterVec};

use crate::media::codec::CodecKind;
use crate::media::counters::{Counters, Feedback, Flows};
use crate::media::path::ShardId;
use crate::media::plane::Plane;
use crate::media::plane::quality::{Legs, Quality, Suffering};
use crate::media::selection::{Place, Switch};
use crate::shard::counters::{ConnectedPeers, ShardCounters};
use crate::shard::lanes::Losses;
use crate::shard::pump::Pump;
use crate::shard::socket::counters::{ReceiveCounters, SendCounters, SendErrorKind};
use crate::shard::socket::tcp::connections::TcpCounters;

/// The counters as they were reported last.
#[derive(Default)]
struct Reported {
    plane: Counters,
    shard: ShardCounters,
    received: ReceiveCounters,
    sent: SendCounters,
    tcp: TcpCounters,
    losses: Losses,
    read_errors: u64,
    connected: ConnectedPeers,
    legs: Legs,
}

/// Reports one shard.
pub(super) struct Telemetry {
    shard: String,
    metrics: Arc<Metrics>,
    last: Reported,
    /// When that was.
    last_at: Instant,
}

impl Telemetry {
    pub(super) fn new(shard: ShardId, metrics: Arc<Metrics>) -> Self {
        Self { shard: shard.0.to_string(), metrics, last: Reported::default(), last_at: Instant::now() }
    }

    /// Adds what has been counted since the last report.
    pub(super) fn report(&mut self, pump: &Pump, busy_ratio: f64) {
        let now = Reported {
            plane: *pump.core.plane().counters(),
            shard: pump.core.counters(),
            received: pump.receiver().counters(),
            sent: pump.wire.sender.counters(),
            tcp: pump.wire.tcp.counters(),
            losses: pump.lanes.losses(),
            read_errors: pump.read_errors(),
            connected: pump.core.connected(),
            legs: pump.core.plane().legs(),
        };
        self.metrics.shard_busy_ratio.with_label_values(&[&self.shard]).set(busy_ratio);
        let last = std::mem::replace(&mut self.last, now);
        self.report_media(&last.plane);
        self.report_refused_media(&last.plane);
        self.report_sockets(&last);
        self.report_shard(&last);
        self.report_lanes(&last.losses);
        self.report_peers(&last);
        let now = Instant::now();
        let last = std::mem::replace(&mut self.last_at, now);
        self.report_quality(pump.core.plane(), last..now);
        self.report_degraded(pump.core.plane());
    }

    fn report_media(&self, last: &Counters) {
        let (now, metrics) = (&self.last.plane, &*self.metrics);
        self.report_flows("received", &now.taken_in, &last.taken_in);
        self.report_flows("sent", &now.sent, &last.sent);
        let repaired = &metrics.rtp_retransmitted_packets_total;
        add(repaired, &["received"], now.rtx_received_packets, last.rtx_received_packets);
        add(repaired, &["sent"], now.rtx_sent_packets, last.rtx_sent_packets);
        let lost = &metrics.rtp_packets_lost_total;
        add(lost, &["sent"], now.viewers_lost_packets, last.viewers_lost_packets);
        add(lost, &["received"], now.rtp_missed_packets, last.rtp_missed_packets);
        let unrepaired = &metrics.rtp_packets_unrepaired_total;
        add_one(unrepaired, now.rtp_unrepaired_packets, last.rtp_unrepaired_packets);
        let abandoned = &metrics.rtp_packets_abandoned_total;
        add_one(abandoned, now.rtp_abandoned_packets, last.rtp_abandoned_packets);
        let requests = &metrics.repair_requests_total;
        add(requests, &["sent"], now.rtx_sent_packets, last.rtx_sent_packets);
        add(requests, &["refused"], now.rtx_refused, last.rtx_refused);
        add(requests, &["gone"], now.rtx_gone, last.rtx_gone);
        self.report_feedback("received", &now.feedback_received, &last.feedback_received);
        self.report_feedback("sent", &now.feedback_sent, &last.feedback_sent);
        let redundant = &metrics.redundant_audio_packets_total;
        add_one(redundant, now.red_received_packets, last.red_received_packets);
        let changes = &metrics.redundancy_changes_total;
        add(changes, &["on"], now.redundancy_changes.on, last.redundancy_changes.on);
        add(changes, &["off"], now.redundancy_changes.off, last.redundancy_changes.off);
        let keyframes = &metrics.keyframe_requests_total;
        add(keyframes, &["sent"], now.keyframe_requests_sent, last.keyframe_requests_sent);
        add(keyframes, &["cached"], now.keyframe_requests_cached, last.keyframe_requests_cached);
        add(keyframes, &["throttled"], now.keyframe_requests_throttled, last.keyframe_requests_throttled);
        let probes = &metrics.probes_total;
        add(probes, &["proved"], now.probes_proved, last.probes_proved);
        add(probes, &["failed"], now.probes_failed, last.probes_failed);
    }

    fn report_feedback(&self, direction: &str, now: &Feedback, last: &Feedback) {
        let types = [
            ("nack", now.nack, last.nack),
            ("pli", now.pli, last.pli),
            ("fir", now.fir, last.fir),
            ("twcc", now.twcc, last.twcc),
            ("rr", now.rr, last.rr),
            ("sr", now.sr, last.sr),
            ("remb", now.remb, last.remb),
        ];
        for (name, now, last) in types {
            add(&self.metrics.rtcp_feedback_total, &[direction, name], now, last);
        }
    }

    fn report_flows(&self, direction: &str, now: &Flows, last: &Flows) {
        for codec in CodecKind::ALL {
            let (now, last) = (now.of(codec), last.of(codec));
            // A codec that nobody used is no series.
            if now.packets > 0 {
                let labels = [direction, codec.kind().as_str(), codec.as_str()];
                add(&self.metrics.rtp_packets_total, &labels, now.packets, last.packets);
                add(&self.metrics.rtp_bytes_total, &labels, now.bytes, last.bytes);
            }
        }
    }

    fn report_quality(&self, plane: &Plane, time: Range<Instant>) {
        let metrics = &*self.metrics;
        let round_trip = |role| metrics.round_trip_seconds.with_label_values(&[role]);
        let loss = |direction| metrics.loss_ratio.with_label_values(&[direction]);
        let (publishers, viewers) = (round_trip("publisher"), round_trip("viewer"));
        let (received, sent) = (loss("received"), loss("sent"));
        plane.sample_quality(time, |quality| match quality {
            Quality::PublisherRoundTrip(time) => publishers.observe(time.as_secs_f64()),
            Quality::ViewerRoundTrip(time) => viewers.observe(time.as_secs_f64()),
            Quality::ReceivedLoss(ratio) => received.observe(ratio),
            Quality::SentLoss(ratio) => sent.observe(ratio),
            Quality::Estimate(bps) => metrics.estimate_bits_per_second.observe(bps as f64),
            Quality::Jitter(time) => metrics.jitter_seconds.observe(time.as_secs_f64()),
        });
    }

    fn report_refused_media(&self, last: &Counters) {
        let now = &self.last.plane;
        let dropped = &self.metrics.rtp_packets_dropped_total;
        add(dropped, &["malformed"], now.rtp_malformed, last.rtp_malformed);
        add(dropped, &["rtcp_malformed"], now.rtcp_malformed, last.rtcp_malformed);
        add(dropped, &["peer_unknown"], now.peer_unknown, last.peer_unknown);
        add(dropped, &["unmapped"], now.rtp_unmapped, last.rtp_unmapped);
        add(dropped, &["duplicate"], now.rtp_duplicate, last.rtp_duplicate);
        add(dropped, &["too_old"], now.rtp_too_old, last.rtp_too_old);
        add(dropped, &["seal_failed"], now.seal_failed, last.seal_failed);
        let failures = &self.metrics.srtp_failures_total;
        add(failures, &["rtp_authentication"], now.rtp_unauthentic, last.rtp_unauthentic);
        add(failures, &["rtcp_authentication"], now.rtcp_unauthentic, last.rtcp_unauthentic);
        add(failures, &["rtp_replay"], now.rtp_replayed, last.rtp_replayed);
        add(failures, &["rtcp_replay"], now.rtcp_replayed, last.rtcp_replayed);
    }

    fn report_sockets(&self, last: &Reported) {
        let (now, metrics) = (&self.last, &*self.metrics);
        let datagrams = &metrics.udp_datagrams_total;
        add(datagrams, &["receive"], now.received.datagrams, last.received.datagrams);
        add(datagrams, &["send"], now.sent.datagrams, last.sent.datagrams);
        add(&metrics.udp_bytes_total, &["receive"], now.received.bytes, last.received.bytes);
        add(&metrics.udp_bytes_total, &["send"], now.sent.bytes, last.sent.bytes);
        let overflowed = &metrics.udp_receive_buffer_errors_total;
        add_one(overflowed, now.received.overflowed, last.received.overflowed);
        for (kind, (now, last)) in
            SendErrorKind::ALL.iter().zip(now.sent.errors.iter().zip(&last.sent.errors))
        {
            add(&metrics.udp_send_errors_total, &[kind.as_str()], *now, *last);
        }
        let frames = &metrics.tcp_frames_dropped_total;
        add(frames, &["full"], now.tcp.dropped_full, last.tcp.dropped_full);
        add(frames, &["closed"], now.tcp.dropped_closed, last.tcp.dropped_closed);
        add(frames, &["bad_frame"], now.tcp.bad_frames, last.tcp.bad_frames);
        add(frames, &["ufrag_unknown"], now.tcp.strangers, last.tcp.strangers);
        add(frames, &["unproved"], now.tcp.unproved, last.tcp.unproved);
        let dropped = &metrics.datagrams_dropped_total;
        add(dropped, &["cut_off"], now.received.malformed, last.received.malformed);
        add(dropped, &["read_error"], now.read_errors, last.read_errors);
    }

    fn report_shard(&self, last: &Reported) {
        let (now, last, metrics) = (&self.last.shard, &last.shard, &*self.metrics);
        add(&metrics.stun_requests_total, &["routed"], now.stun_routed, last.stun_routed);
        add(&metrics.stun_requests_total, &["unknown"], now.stun_unknown, last.stun_unknown);
        add(&metrics.stun_requests_total, &["forged"], now.stun_forged, last.stun_forged);
        add(&metrics.stun_requests_total, &["answered"], now.stun_answered, last.stun_answered);
        add(&metrics.stun_requests_total, &["refused"], now.stun_refused, last.stun_refused);
        add(&metrics.actor_restarts_total, &["peer", "panic"], now.peers_died, last.peers_died);
        let sorts = now.layer_switches.iter().zip(last.layer_switches.iter());
        for ((Switch { direction, cause }, now), (_, last)) in sorts {
            add(&metrics.layer_switches_total, &[direction.as_str(), cause.as_str()], now, last);
        }
        let dropped = &metrics.datagrams_dropped_total;
        add(dropped, &["protocol_unknown"], now.protocol_unknown, last.protocol_unknown);
        add(dropped, &["path_unknown"], now.path_unknown, last.path_unknown);
        add(dropped, &["dtls_pointless"], now.dtls_pointless, last.dtls_pointless);
        add(dropped, &["dtls_flood"], now.dtls_flood, last.dtls_flood);
        add(dropped, &["transmit_full"], now.transmit_full, last.transmit_full);
    }

    /// Several shards share these gauges, so each adds its own change.
    fn report_peers(&self, last: &Reported) {
        let (now, metrics) = (&self.last, &*self.metrics);
        let change = |now: usize, last: usize| now as i64 - last as i64;
        let selected = |transport| metrics.ice_selected.with_label_values(&[transport]);
        selected("udp").add(change(now.connected.udp, last.connected.udp));
        selected("tcp").add(change(now.connected.tcp, last.connected.tcp));
        let kinds = [("audio", now.legs.audio, last.legs.audio), ("video", now.legs.video, last.legs.video)];
        for (kind, now, last) in kinds {
            for (place, (now, last)) in Place::ALL.into_iter().zip(now.into_iter().zip(last)) {
                let legs = metrics.legs.with_label_values(&[kind, place.as_str()]);
                legs.add(i64::from(now) - i64::from(last));
            }
        }
    }

    /// Called once a second, so each viewer stands for a second of its session.
    fn report_degraded(&self, plane: &Plane) {
        let viewers = Suffering::ALL.into_iter().zip(plane.degraded(Instant::now()).0);
        for (suffering, count) in viewers {
            let seconds = &self.metrics.degraded_session_seconds_total;
            seconds.with_label_values(&[suffering.as_str()]).inc_by(count.into());
        }
    }

    fn report_lanes(&self, last: &Losses) {
        let (now, dropped) = (&self.last.losses, &self.metrics.actor_dropped_messages_total);
        let lanes =
            [("peer", now.peer, last.peer), ("room", now.room, last.room), ("shard", now.shard, last.shard)];
        for (actor, now, last) in lanes {
            add(dropped, &[actor, "full"], now.full, last.full);
            add(dropped, &[actor, "closed"], now.closed, last.closed);
        }
    }
}

fn add(counter: &IntCounterVec, labels: &[&str], now: u64, last: u64) {
    add_one(&counter.with_label_values(labels), now, last);
}

fn add_one(counter: &IntCounter, now: u64, last: u64) {
    counter.inc_by(now.saturating_sub(last));
}
