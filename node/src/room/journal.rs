//! What a room's core reports, as log lines and metrics.

use std::sync::Arc;

use aforo_cluster::control::Role;
use aforo_cluster::id::{RoomName, SessionId, StreamName};
use aforo_cluster::metric::Metrics;
use opentelemetry::trace::TraceId;
use tracing::field::display;
use tracing::{debug, info};

use super::core::RoomOutput;
use crate::media::codec::MediaKind;
use crate::peer::message::{EndReason, PeerEvent};

/// The label `protocol` of a role's sessions.
pub(crate) fn protocol(role: Role) -> &'static str {
    match role {
        Role::Publisher => "whip",
        Role::Viewer => "whep",
    }
}

/// Writes what happens in one room. Takes its share out of the gauges when it is dropped, also when the room dies.
pub(super) struct Journal {
    room: RoomName,
    metrics: Arc<Metrics>,
    publishers: i64,
    viewers: i64,
    streams: i64,
    audio_tracks: i64,
    video_tracks: i64,
}

impl Journal {
    /// The journal of `room`, which is open from now on.
    pub fn open(room: RoomName, metrics: Arc<Metrics>) -> Self {
        metrics.rooms.inc();
        Self { room, metrics, publishers: 0, viewers: 0, streams: 0, audio_tracks: 0, video_tracks: 0 }
    }

    /// A session entered.
    pub fn entered(&mut self, session: SessionId, stream: &StreamName, role: Role, trace: Option<TraceId>) {
        self.count_session(role, 1);
        let (room, role, trace_id) = (&self.room, role.as_str(), trace.map(display));
        info!(%room, %stream, role, ?session, trace_id, "session entered");
    }

    /// Something happened, to a session whose join has this trace.
    pub fn record(&mut self, output: &RoomOutput, trace: Option<TraceId>) {
        let trace_id = trace.map(display);
        match output {
            RoomOutput::TellPeer { .. }
            | RoomOutput::WishLayer { .. }
            | RoomOutput::PictureHeld { .. }
            | RoomOutput::ClosePeers { .. } => {}
            RoomOutput::Stage { session, stream, role, event, elapsed } => {
                let Some(stage) = stage(*event) else { return };
                let seconds = elapsed.as_secs_f64();
                let duration = &self.metrics.join_duration_seconds;
                duration.with_label_values(&[protocol(*role), stage]).observe(seconds);
                if let Some(trace) = trace {
                    self.metrics.join_exemplars.keep(protocol(*role), stage, seconds, trace.to_string());
                }
                let (room, role_of, elapsed_ms) = (&self.room, *role, elapsed.as_millis());
                let role = role_of.as_str();
                match (role_of, event) {
                    (Role::Publisher, PeerEvent::FirstMedia) => {
                        info!(%room, %stream, elapsed_ms, trace_id, "stream is live");
                    }
                    (_, PeerEvent::Connected) => {
                        info!(%room, %stream, role, ?session, elapsed_ms, trace_id, "session connected");
                    }
                    // A crowd that joins is no reason for further lines: the histograms have these steps.
                    _ => {
                        debug!(%room, %stream, role, ?session, stage, elapsed_ms, trace_id, "session progressed");
                    }
                }
            }
            RoomOutput::SessionEnded { session, stream, role, reason, elapsed, connected } => {
                self.ended(*role, *reason, elapsed.as_secs_f64());
                let (room, role, reason) = (&self.room, role.as_str(), reason.as_str());
                let (seconds, connected) = (elapsed.as_secs(), *connected);
                info!(%room, %stream, role, ?session, reason, seconds, connected, trace_id, "session ended");
            }
            RoomOutput::StreamClaimed { tracks } => {
                self.count_streams(1);
                self.count_tracks(1, tracks);
            }
            RoomOutput::StreamPaused { stream, viewers, left: true } => {
                info!(room = %self.room, %stream, viewers, "stream paused, its publisher left");
            }
            RoomOutput::StreamPaused { stream, viewers, left: false } => {
                info!(room = %self.room, %stream, viewers, "stream paused, its publisher sends no media");
            }
            RoomOutput::StreamResumed { stream, away } => {
                let away_ms = away.as_millis();
                info!(room = %self.room, %stream, away_ms, "stream goes on, its publisher sends media again");
            }
            RoomOutput::PublisherChanged { stream, tracks_before, tracks, away, goes_on } => {
                self.count_tracks(-1, tracks_before);
                self.count_tracks(1, tracks);
                let (room, plays_on, taken_over) = (&self.room, *goes_on, away.is_none());
                let away_ms = away.unwrap_or_default().as_millis();
                info!(%room, %stream, away_ms, taken_over, plays_on, "stream has another publisher");
            }
            RoomOutput::StreamEnded { stream, tracks } => {
                self.count_streams(-1);
                self.count_tracks(-1, tracks);
                info!(room = %self.room, %stream, "stream ended");
            }
        }
    }

    fn ended(&mut self, role: Role, reason: EndReason, seconds: f64) {
        self.count_session(role, -1);
        self.metrics.session_duration_seconds.with_label_values(&[role.as_str()]).observe(seconds);
        self.metrics.session_ends_total.with_label_values(&[role.as_str(), reason.as_str()]).inc();
    }

    fn count_session(&mut self, role: Role, change: i64) {
        match role {
            Role::Publisher => self.publishers += change,
            Role::Viewer => self.viewers += change,
        }
        self.metrics.sessions.with_label_values(&[role.as_str(), protocol(role)]).add(change);
    }

    fn count_streams(&mut self, change: i64) {
        self.streams += change;
        self.metrics.streams.add(change);
    }

    fn count_tracks(&mut self, change: i64, kinds: &[MediaKind]) {
        for kind in kinds {
            match kind {
                MediaKind::Audio => self.audio_tracks += change,
                MediaKind::Video => self.video_tracks += change,
            }
            self.metrics.tracks.with_label_values(&[kind.as_str()]).add(change);
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        for (role, count) in [(Role::Publisher, self.publishers), (Role::Viewer, self.viewers)] {
            self.metrics.sessions.with_label_values(&[role.as_str(), protocol(role)]).sub(count);
        }
        for (kind, count) in [(MediaKind::Audio, self.audio_tracks), (MediaKind::Video, self.video_tracks)] {
            self.metrics.tracks.with_label_values(&[kind.as_str()]).sub(count);
        }
        self.metrics.streams.sub(self.streams);
        self.metrics.rooms.dec();
    }
}

/// The label `stage` of the join metric.
fn stage(event: PeerEvent) -> Option<&'static str> {
    match event {
        PeerEvent::PathFound => Some("ice"),
        PeerEvent::Connected => Some("dtls"),
        PeerEvent::FirstMedia => Some("first_rtp"),
        PeerEvent::FirstKeyframe => Some("first_keyframe"),
        PeerEvent::Added { .. }
        | PeerEvent::MediaPaused { .. }
        | PeerEvent::MediaResumed
        | PeerEvent::PictureHeld(_)
        | PeerEvent::Ended(_) => None,
    }
}
