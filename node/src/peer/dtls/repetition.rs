//! Our last flight, and when it is sent again.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::media::negotiated::DtlsRole;

/// When a server's flight is first repeated: above the round trip between neighbouring continents, while a repetition for
/// nothing costs a kilobyte. (RFC 6347's one second is felt by everyone who joins over a lossy network.)
const FIRST_REPEAT_SERVER: Duration = Duration::from_millis(200);

/// When a client's flight is first repeated, as browsers do: nothing else brings a lost hello back, and ffmpeg's muxer
/// loses the first, because it opens its DTLS only once ICE is done.
const FIRST_REPEAT_CLIENT: Duration = Duration::from_millis(50);

/// The interval between repetitions doubles up to this, so that some are left until the join times out.
const LAST_REPEAT: Duration = Duration::from_millis(3_200);

/// Repetitions of one flight that the library makes before it gives up (`DEFAULT_MAXIMUM_RETRANSMIT_NUMBER`).
const LIBRARY_REPEATS: u32 = 7;

/// A peer that repeats itself gets our flight again, but not more often than this: its flight may be several datagrams.
const REPEAT_GUARD: Duration = Duration::from_millis(50);

/// Times that a server's flight is sent again before the client has proved itself: unasked, and because it seems to repeat
/// its own. ICE-lite takes a path on one signed check, whose sender need not be at the address that it names: our first
/// flight is ten times the hello, and nobody shall be sent more than this of what he did not ask for. A client that is there
/// repeats its hello once a second or less.
const UNPROVED_REPEATS: u32 = 4;
const UNPROVED_REQUESTS: u32 = 8;

/// Our last flight.
#[derive(Debug, Default)]
pub struct LastFlight {
    datagrams: Vec<Bytes>,
    sent: Option<Instant>,
    repeat_at: Option<Instant>,
    interval: Duration,
    library_repeats: u32,
    repeats_left: u32,
    requests_left: u32,
}

impl LastFlight {
    /// A new flight, sent now and repeated until it is answered.
    pub fn set(&mut self, now: Instant, role: DtlsRole, datagrams: Vec<Bytes>) {
        let (interval, repeats_left, requests_left) = match role {
            DtlsRole::Client => (FIRST_REPEAT_CLIENT, u32::MAX, u32::MAX),
            DtlsRole::Server => (FIRST_REPEAT_SERVER, UNPROVED_REPEATS, UNPROVED_REQUESTS),
        };
        *self = Self {
            datagrams,
            sent: Some(now),
            repeat_at: Some(now + interval),
            interval,
            library_repeats: 0,
            repeats_left,
            requests_left,
        };
    }

    /// Repeats this from now on instead.
    pub fn exchange(&mut self, datagrams: Vec<Bytes>) {
        self.datagrams = datagrams;
    }

    /// The flight.
    pub fn datagrams(&self) -> &[Bytes] {
        &self.datagrams
    }

    /// The peer has it, or shows it next: it is only repeated on demand from now on.
    pub fn answered(&mut self) {
        self.repeat_at = None;
        self.requests_left = u32::MAX;
    }

    /// When it is to be repeated.
    pub fn repeat_at(&self) -> Option<Instant> {
        self.repeat_at
    }

    /// Whether it is time to repeat it unasked; the next time is set.
    pub fn is_overdue(&mut self, now: Instant) -> bool {
        let overdue = self.repeat_at.is_some_and(|at| at <= now);
        if overdue {
            self.interval = (self.interval * 2).min(LAST_REPEAT);
            self.repeats_left = self.repeats_left.saturating_sub(1);
            self.repeat_at = Some(now + self.interval).filter(|_| self.repeats_left > 0);
        }
        overdue
    }

    /// Whether a peer that repeats itself gets it again now; true counts as one time.
    pub fn takes_request(&mut self, now: Instant) -> bool {
        let takes = self.requests_left > 0
            && self.sent.is_none_or(|at| now.saturating_duration_since(at) >= REPEAT_GUARD);
        self.requests_left = self.requests_left.saturating_sub(takes.into());
        takes
    }

    /// It was sent again.
    pub fn repeated(&mut self, now: Instant) {
        self.sent = Some(now);
    }

    /// Whether the library still repeats it; a call that returns true counts as one repetition.
    pub fn takes_library_repeat(&mut self) -> bool {
        let takes = self.library_repeats < LIBRARY_REPEATS;
        self.library_repeats += u32::from(takes);
        takes
    }
}
