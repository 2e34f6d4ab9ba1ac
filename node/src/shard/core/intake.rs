//! How much a peer gets to see of what comes by its own path: anybody may forge its address, and its actor has few places
//! for what waits.
//!
//! | sort | beyond the budget |
//! |---|---|
//! | DTLS | is dropped: its sender repeats what is not answered |
//! | checks | only those that are signed go on, up to a budget of their own: a flood does not end consent |

use std::time::{Duration, Instant};

use super::{ShardCore, ShardOutput};
use crate::media::path::{Path, PeerKey};
use crate::peer::dtls::matters_once_connected;
use crate::peer::message::PeerInput;

/// What the budgets are for: as long as a peer may be kept waiting by the other work of its thread, ten times over.
const WINDOW: Duration = Duration::from_millis(100);

/// DTLS datagrams in a window: the longest flight is some ten, of a certificate in pieces.
const DTLS_MAX: u8 = 16;

/// Checks that are passed on unseen, and again as many whose signature was looked at: browsers send one each 50 ms for each
/// pair of addresses as they join, and one in some seconds then.
const CHECKS_MAX: u8 = 12;

/// Answers to the peer's own question: it is asked three times in 600 ms, and an answer may come twice.
const ANSWERS_MAX: u8 = 4;

/// What one peer was given in the window that runs.
#[derive(Debug)]
pub(super) struct Intake {
    since: Instant,
    dtls: u8,
    unseen: u8,
    signed: u8,
    /// Signed ones that came by other paths.
    elsewhere: u8,
    answers: u8,
}

impl Intake {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, dtls: 0, unseen: 0, signed: 0, elsewhere: 0, answers: 0 }
    }

    fn at(&mut self, now: Instant) -> &mut Self {
        if now.saturating_duration_since(self.since) >= WINDOW {
            *self = Self::new(now);
        }
        self
    }

    fn takes_dtls(&mut self, now: Instant) -> bool {
        take(&mut self.at(now).dtls, DTLS_MAX)
    }

    /// Of the peer's own path.
    pub(super) fn takes_check(&mut self, now: Instant, is_signed: impl FnOnce() -> bool) -> bool {
        let given = self.at(now);
        take(&mut given.unseen, CHECKS_MAX)
            || (given.signed < CHECKS_MAX && is_signed() && take(&mut given.signed, CHECKS_MAX))
    }

    /// Answers that have the transaction of the peer's own question, which a flood of checks cannot know.
    pub(super) fn takes_answer(&mut self, now: Instant) -> bool {
        take(&mut self.at(now).answers, ANSWERS_MAX)
    }

    /// Signed, and of another path. Whoever overheard one may send it again from anywhere.
    pub(super) fn takes_signed(&mut self, now: Instant) -> bool {
        take(&mut self.at(now).elsewhere, CHECKS_MAX)
    }
}

fn take(used: &mut u8, most: u8) -> bool {
    let left = *used < most;
    *used += u8::from(left);
    left
}

impl ShardCore {
    /// Takes a datagram of DTLS.
    pub(super) fn take_dtls(&mut self, now: Instant, path: Path, datagram: &[u8]) {
        let Some(peer) = self.routes.by_path(&path) else {
            self.counters.path_unknown += 1;
            return;
        };
        let Some(resident) = self.routes.get_mut(peer) else { return };
        if resident.connected_by.is_some() && !matters_once_connected(datagram) {
            self.counters.dtls_pointless += 1;
        } else if resident.intake.takes_dtls(now) {
            self.pass_on(peer, path, datagram);
        } else {
            self.counters.dtls_flood += 1;
        }
    }

    pub(super) fn pass_on(&mut self, peer: PeerKey, path: Path, datagram: &[u8]) {
        let bytes = bytes::Bytes::copy_from_slice(datagram);
        self.outputs.push_back(ShardOutput::ToPeer(peer, PeerInput::Datagram { path, bytes }));
    }
}
