//! The traces of joins that have come into a room: each stage that a peer reports becomes a span, and the last one, the
//! session's end or [`JOIN_DEADLINE`] ends the trace.
//!
//! Spans are made here from the times that notices carry, so that no shard makes any while it moves packets.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use aforo_cluster::id::SessionId;
use opentelemetry::KeyValue;
use opentelemetry::trace::TraceId;

use super::core::RoomOutput;
use crate::peer::core::JOIN_TIMEOUT;
use crate::peer::message::{EndReason, PeerEvent};
use crate::telemetry::JoinTrace;

/// How long a join is traced after it came into its room: what ICE and DTLS may take. Whoever has no picture by then has
/// given up, or waits for a publisher that sends nothing.
const JOIN_DEADLINE: Duration = JOIN_TIMEOUT;

/// The stages of a join, in their order; the trace names them as they are named here.
const STAGES: [(PeerEvent, &str); 4] = [
    (PeerEvent::PathFound, "ice"),
    (PeerEvent::Connected, "dtls"),
    (PeerEvent::FirstMedia, "first_rtp"),
    (PeerEvent::FirstKeyframe, "first_keyframe"),
];

/// A traced join.
#[derive(Debug)]
struct Join {
    trace: JoinTrace,
    entered: Instant,
    /// When the last stage was reached that has been.
    reached: Instant,
    /// How many stages have been.
    stages: usize,
    /// How many there are: a session without video has no keyframe.
    stages_total: usize,
}

impl Join {
    /// The stage that is waited for.
    fn awaited(&self) -> &'static str {
        STAGES.get(self.stages).map_or("nothing", |(_, name)| name)
    }

    /// The join ends before its time, with the stage that it is in.
    fn cut_off(self, now: Instant, failure: Option<&str>) {
        self.trace.stage(self.awaited(), self.reached, now, failure);
        self.trace.abandon(now, failure);
    }
}

/// The traced joins of a room.
#[derive(Debug, Default)]
pub(super) struct Traces {
    joins: HashMap<SessionId, Join>,
    /// When joins are given up, oldest first; most of them are complete by then.
    deadlines: VecDeque<(Instant, SessionId)>,
    /// The traces of all sessions that have one, for the log.
    ids: HashMap<SessionId, TraceId>,
}

impl Traces {
    /// A session entered, whose join is traced; `has_video` says whether a keyframe is waited for.
    pub fn entered(&mut self, now: Instant, session: SessionId, trace: JoinTrace, has_video: bool) {
        let stages_total = if has_video { STAGES.len() } else { STAGES.len() - 1 };
        self.ids.insert(session, trace.trace_id());
        self.deadlines.push_back((now + JOIN_DEADLINE, session));
        self.joins.insert(session, Join { trace, entered: now, reached: now, stages: 0, stages_total });
    }

    /// The trace of a session, for the log.
    pub fn id(&self, session: SessionId) -> Option<TraceId> {
        self.ids.get(&session).copied()
    }

    /// Something happened in the room. Returns the trace of whom it happened to.
    pub fn record(&mut self, output: &RoomOutput) -> Option<TraceId> {
        match output {
            RoomOutput::Stage { session, event, elapsed, .. } => {
                self.reached(*session, *event, *elapsed);
                self.id(*session)
            }
            RoomOutput::SessionEnded { session, reason, elapsed, .. } => {
                if let Some(join) = self.joins.remove(session) {
                    let ended = join.entered + *elapsed;
                    join.trace.describe([KeyValue::new("aforo.end_reason", reason.as_str())]);
                    let by_client = matches!(reason, EndReason::Deleted | EndReason::ClosedByPeer);
                    join.cut_off(ended, (!by_client).then(|| reason.as_str()));
                }
                self.ids.remove(session)
            }
            _ => None,
        }
    }

    fn reached(&mut self, session: SessionId, event: PeerEvent, elapsed: Duration) {
        let Some(join) = self.joins.get_mut(&session) else { return };
        let Some(index) = STAGES.iter().position(|(stage, _)| *stage == event) else { return };
        // ICE finds paths again after a restart; that is no stage of the join.
        if index < join.stages || index >= join.stages_total {
            return;
        }
        let at = join.entered + elapsed;
        for (_, name) in STAGES.iter().take(index + 1).skip(join.stages) {
            join.trace.stage(name, join.reached, at, None);
            join.reached = at;
        }
        join.stages = index + 1;
        if join.stages == join.stages_total {
            join.trace.complete(at);
            self.joins.remove(&session);
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.front().map(|(at, _)| *at)
    }

    /// Ends the traces of joins that take too long, at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, session)) = self.deadlines.front().copied().filter(|(at, _)| *at <= now) {
            self.deadlines.pop_front();
            if let Some(join) = self.joins.remove(&session) {
                join.cut_off(at, Some("timeout"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use actix_web::http::header::HeaderMap;
    use aforo_cluster::control::Role;
    use opentelemetry::trace::Status;

    use super::*;
    use crate::telemetry::spans::Kept;

    const MILLISECOND: Duration = Duration::from_millis(1);

    struct Rig {
        traces: Traces,
        kept: Kept,
        session: SessionId,
        start: Instant,
    }

    /// One traced session that has entered.
    fn entered(has_video: bool) -> Rig {
        let (tracer, kept) = Kept::tracer(1.0);
        let (session, start) = (SessionId::random(), Instant::now());
        let mut traces = Traces::default();
        let trace = tracer.begin(Role::Viewer, &HeaderMap::new(), start).unwrap();
        traces.entered(start, session, trace, has_video);
        Rig { traces, kept, session, start }
    }

    impl Rig {
        fn stage(&mut self, event: PeerEvent, after: u32) -> Option<TraceId> {
            let (session, stream, elapsed) = (self.session, "main".parse().unwrap(), MILLISECOND * after);
            self.traces.record(&RoomOutput::Stage { session, stream, role: Role::Viewer, event, elapsed })
        }

        fn end(&mut self, reason: EndReason, after: u32) -> Option<TraceId> {
            self.traces.record(&RoomOutput::SessionEnded {
                session: self.session,
                stream: "main".parse().unwrap(),
                role: Role::Viewer,
                reason,
                elapsed: MILLISECOND * after,
                connected: false,
            })
        }
    }

    #[test]
    fn each_stage_is_a_span_from_the_one_before_and_the_last_ends_the_join() {
        let mut rig = entered(true);
        let id = rig.stage(PeerEvent::PathFound, 10);
        assert!(id.is_some());
        rig.stage(PeerEvent::Connected, 30);
        rig.stage(PeerEvent::PathFound, 35);
        rig.stage(PeerEvent::FirstMedia, 40);
        rig.stage(PeerEvent::FirstKeyframe, 40);
        rig.stage(PeerEvent::Connected, 50);
        assert_eq!(rig.kept.names(), ["ice", "dtls", "first_rtp", "first_keyframe", "join"]);
        let length = |name| {
            let span = rig.kept.named(name);
            span.end_time.duration_since(span.start_time).unwrap().as_millis()
        };
        assert_eq!(["ice", "dtls", "first_rtp", "first_keyframe", "join"].map(length), [10, 20, 10, 0, 40]);
        assert_eq!(rig.kept.named("join").status, Status::Ok);
        assert_eq!(rig.kept.named("dtls").parent_span_id, rig.kept.id("join"));
        assert_eq!(rig.end(EndReason::Deleted, 99), id, "the log names the trace to the end");
        assert_eq!(rig.kept.names().len(), 5);
        assert_eq!(rig.end(EndReason::Deleted, 99), None);
    }

    #[test]
    fn without_video_the_first_packet_completes_the_join() {
        let mut rig = entered(false);
        for event in [PeerEvent::PathFound, PeerEvent::Connected, PeerEvent::FirstMedia] {
            rig.stage(event, 5);
        }
        assert_eq!(rig.kept.named("join").status, Status::Ok);
    }

    #[test]
    fn a_join_that_is_not_complete_in_time_ends_as_an_error_where_it_got_to() {
        let mut rig = entered(true);
        rig.stage(PeerEvent::PathFound, 10);
        let deadline = rig.start + JOIN_DEADLINE;
        assert_eq!(rig.traces.poll_timeout(), Some(deadline));
        rig.traces.handle_timeout(deadline - MILLISECOND);
        assert_eq!(rig.kept.names(), ["ice"]);
        rig.traces.handle_timeout(deadline);
        assert_eq!(rig.kept.names(), ["ice", "dtls", "join"]);
        for name in ["dtls", "join"] {
            assert_eq!(rig.kept.named(name).status, Status::error("timeout"), "{name}");
        }
        assert_eq!(rig.traces.poll_timeout(), None);
        rig.stage(PeerEvent::Connected, 16_000);
        assert_eq!(rig.kept.names().len(), 3, "what comes later is no part of it");
    }

    #[test]
    fn a_session_that_ends_before_says_why_unless_its_client_left() {
        for (reason, status) in [
            (EndReason::DtlsFailed, Status::error("dtls_failed")),
            (EndReason::StreamEnded, Status::error("stream_ended")),
            (EndReason::Deleted, Status::Unset),
            (EndReason::ClosedByPeer, Status::Unset),
        ] {
            let mut rig = entered(true);
            rig.end(reason, 7);
            assert_eq!(rig.kept.names(), ["ice", "join"]);
            assert_eq!(rig.kept.named("join").status, status, "{reason:?}");
            assert!(format!("{:?}", rig.kept.named("join").attributes).contains(reason.as_str()));
        }
    }

    #[test]
    fn a_room_that_dies_leaves_no_join_open() {
        let Rig { traces, kept, .. } = entered(true);
        drop(traces);
        assert_eq!(kept.names(), ["join"]);
    }
}
