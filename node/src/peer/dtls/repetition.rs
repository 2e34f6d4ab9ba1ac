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

/// Our last flight.
#[derive(Debug, Default)]
pub struct LastFlight {
    datagrams: Vec<Bytes>,
    sent: Option<Instant>,
    repeat_at: Option<Instant>,
    interval: Duration,
    library_repeats: u32,
}

impl LastFlight {
    /// A new flight, sent now and repeated until it is answered.
    pub fn set(&mut self, now: Instant, role: DtlsRole, datagrams: Vec<Bytes>) {
        let interval = match role {
            DtlsRole::Client => FIRST_REPEAT_CLIENT,
            DtlsRole::Server => FIRST_REPEAT_SERVER,
        };
        *self = Self {
            datagrams,
            sent: Some(now),
            repeat_at: Some(now + interval),
            interval,
            library_repeats: 0,
        };
    }

    /// The flight.
    pub fn datagrams(&self) -> &[Bytes] {
        &self.datagrams
    }

    /// It is only repeated on demand from now on.
    pub fn answered(&mut self) {
        self.repeat_at = None;
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
            self.repeat_at = Some(now + self.interval);
        }
        overdue
    }

    /// Whether a peer that repeats itself may have it again.
    pub fn may_repeat(&self, now: Instant) -> bool {
        self.sent.is_none_or(|at| now.saturating_duration_since(at) >= REPEAT_GUARD)
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
