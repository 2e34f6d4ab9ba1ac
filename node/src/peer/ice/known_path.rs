//! What is known of one path of a client.

use std::time::{Duration, Instant};

use super::question::{Move, Transaction};
use crate::media::path::Path;

/// Media of a client that has moved comes by its old path for less than this, if it was under way.
const UNDER_WAY: Duration = Duration::from_millis(500);

/// One path that has carried a good check.
pub(super) struct KnownPath {
    pub path: Path,
    /// When its first check came.
    pub first: Instant,
    pub checked: Instant,
    /// When anything last came by it that the peer knows of.
    pub heard: Instant,
    /// When media or RTCP that authenticates last came by it while another path was in use.
    pub media: Option<Instant>,
    /// Whether its last check nominated it.
    pub nominated: bool,
    /// Whether the client has shown that it is there.
    pub proved: bool,
    /// What it was asked, if it has not answered yet.
    pub asked: Option<Transaction>,
}

impl KnownPath {
    /// One whose first check has just come.
    pub fn new(path: Path, now: Instant, nominated: bool) -> Self {
        Self {
            path,
            first: now,
            checked: now,
            heard: now,
            media: None,
            nominated,
            // A connection was made with whoever is there.
            proved: matches!(path, Path::Tcp(_)),
            asked: None,
        }
    }

    pub fn prove(&mut self) {
        (self.proved, self.asked) = (true, None);
    }

    /// Whether the client has shown since `intended` that it is still where that has left, and wants to be.
    pub fn is_preferred_to(&self, intended: &Move) -> bool {
        let nominated = self.nominated && self.checked > intended.since;
        self.path == intended.from && (nominated || self.sends_since(intended))
    }

    /// Whether media came by it for longer than what was under way.
    pub fn sends_since(&self, intended: &Move) -> bool {
        self.media.is_some_and(|at| at >= intended.since + UNDER_WAY)
    }
}
