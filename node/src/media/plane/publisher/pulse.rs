//! Whether media comes from a publisher: its address may answer for half a minute after its encoder was killed.

use std::time::{Duration, Instant};

use super::super::{Plane, Role};
use super::RECEIVER_REPORT_INTERVAL;
use crate::media::path::PeerKey;
use crate::media::spec::PlaneEvent;

/// When media last came from one publisher. Only packets that a track took count, or would take if it were not
/// another's yet: RTCP and padding go on without an encoder.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pulse {
    last: Instant,
    /// When it was looked at last.
    looked: Instant,
    /// For how long since [`Self::last`] nobody looked, so that what came may lie unread.
    unseen: Duration,
    /// Whether its owners know that media came, and that it fell silent since.
    media_told: bool,
    silence_told: bool,
}

impl Pulse {
    /// Of a publisher that is connected from now on.
    pub(super) fn new(now: Instant) -> Self {
        let (media_told, silence_told) = (false, false);
        Self { last: now, looked: now, unseen: Duration::ZERO, media_told, silence_told }
    }

    /// A track took a packet of `peer` in. What its owners do not know yet of that.
    #[inline]
    pub(super) fn media_came(&mut self, now: Instant, peer: PeerKey) -> Option<PlaneEvent> {
        let resumed = self.heard(now);
        if !std::mem::replace(&mut self.media_told, true) {
            return Some(PlaneEvent::FirstMedia(peer));
        }
        resumed.then_some(PlaneEvent::MediaResumed(peer))
    }

    /// It sends, whether a track takes that in or not yet. Whether its owners know it as silent.
    #[inline]
    pub(super) fn heard(&mut self, now: Instant) -> bool {
        (self.last, self.unseen) = (now, Duration::ZERO);
        std::mem::take(&mut self.silence_told)
    }

    /// Whether its owners were told that it is silent.
    pub(super) fn is_silent(&self) -> bool {
        self.silence_told
    }

    /// Since when it has been silent, if that is for `limit` and nobody was told so far.
    fn stops(&mut self, now: Instant, limit: Duration) -> Option<Instant> {
        let between = now.saturating_duration_since(std::mem::replace(&mut self.looked, now));
        if between >= 2 * RECEIVER_REPORT_INTERVAL {
            self.unseen += between;
        }
        let silent = now.saturating_duration_since(self.last) >= limit + self.unseen;
        (silent && !std::mem::replace(&mut self.silence_told, true)).then_some(self.last)
    }
}

impl Plane {
    /// Publishers of which no media came for so long are told of by [`PlaneEvent::MediaPaused`], up to
    /// [`super::RECEIVER_REPORT_INTERVAL`] later; never, without this.
    #[must_use]
    pub fn with_silence_limit(mut self, limit: Option<Duration>) -> Self {
        self.silence_limit = limit;
        self
    }

    /// Tells once that a publisher fell silent.
    pub(super) fn look_for_silence(&mut self, now: Instant, peer: PeerKey) {
        let Some(limit) = self.silence_limit else { return };
        if let Some(Role::Publisher(publisher)) = self.roles.get_mut(peer.index)
            && let Some(since) = publisher.pulse.stops(now, limit)
        {
            self.events.push_back(PlaneEvent::MediaPaused { peer, since });
        }
    }
}
