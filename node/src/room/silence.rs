//! Publishers that are connected and have sent no media yet, pure: each holds a name that nobody else can have meanwhile.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use aforo_cluster::id::SessionId;

/// How long a publisher may be connected before its first packet: as long as a session that falls silent later keeps its
/// name (consent, RFC 7675 §5.1). Encoders start within a second or two.
const FIRST_MEDIA_DEADLINE: Duration = Duration::from_secs(30);

/// Publishers that are waited for, in the order of their deadlines.
#[derive(Debug, Default)]
pub(super) struct Silence(VecDeque<(Instant, SessionId)>);

impl Silence {
    /// A publisher is connected from now on.
    pub fn connected(&mut self, now: Instant, session: SessionId) {
        self.0.push_back((now + FIRST_MEDIA_DEADLINE, session));
    }

    /// Its media has come, or it has ended.
    pub fn forget(&mut self, session: SessionId) {
        self.0.retain(|(_, silent)| *silent != session);
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.0.front().map(|(at, _)| *at)
    }

    /// Those that have been silent for too long, at `now`.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<SessionId> {
        let due = self.0.iter().take_while(|(at, _)| *at <= now).count();
        self.0.drain(..due).map(|(_, session)| session).collect()
    }
}
