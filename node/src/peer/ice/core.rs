//! Which paths belong to the client, which one is in use, and whether it still wants to hear from us.
//!
//! In: datagrams that look like STUN, an ICE restart, time. Out: answers, paths validated, forgotten and selected.
//! Only a check that is signed with our password changes anything; its sender may come from any address.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::stun::{Check, CheckError, integrity_key};
use crate::media::negotiated::IceCredentials;
use crate::media::path::Path;
use crate::peer::message::PeerOutput;

/// How long a client may go without an authenticated check (RFC 7675 §5.1).
pub const CONSENT_TIMEOUT: Duration = Duration::from_secs(30);

/// Validated paths of one client: its interfaces times our addresses and protocols, with room for those it had before it
/// moved. Full means: the path that was checked longest ago is forgotten.
pub const PATHS_CAPACITY: usize = 8;

/// After this time without a check the path in use no longer holds the session: browsers check it every 0.5 to 2.5 s.
const SILENT_AFTER: Duration = Duration::from_secs(3);

/// After this time without any datagram the path in use has perhaps lost its client to an address that shows up only now
/// (a NAT that gave it another port, another network). Below the 0.9 s and more between two checks of a browser's
/// selected pair, so that the first check or the second from the new address moves the session even if it nominates
/// nothing, and above the 250 ms at most between two RTCP reports of a client that receives video.
const UNHEARD_AFTER: Duration = Duration::from_millis(500);

/// What checks must be signed with.
struct Generation {
    /// Ours.
    ufrag: String,
    /// `ours:theirs`.
    username: String,
    /// Our password.
    password: String,
}

struct KnownPath {
    path: Path,
    /// When its first check came.
    first: Instant,
    checked: Instant,
    /// When anything last came by it that the peer knows of.
    heard: Instant,
    /// Whether its last check nominated it.
    nominated: bool,
}

/// ICE state of one session.
pub struct IceLite {
    current: Generation,
    /// Set from an ICE restart until the first good check under the new credentials.
    restarted: Option<Generation>,
    paths: Vec<KnownPath>,
    selected: Option<Path>,
    last_check: Option<Instant>,
}

impl IceLite {
    /// A session that waits for its first check.
    pub fn new(local: &IceCredentials, remote: &IceCredentials) -> Self {
        Self {
            current: Generation::new(local, remote),
            restarted: None,
            paths: Vec::new(),
            selected: None,
            last_check: None,
        }
    }

    /// From now on checks under these credentials are good too, and the first of them makes them the only ones.
    pub fn restart(&mut self, local: &IceCredentials, remote: &IceCredentials) {
        self.restarted = Some(Generation::new(local, remote));
    }

    /// The path in use.
    pub fn selected(&self) -> Option<Path> {
        self.selected
    }

    /// Whether `path` has carried an authenticated check and is still remembered.
    pub fn is_validated(&self, path: Path) -> bool {
        self.paths.iter().any(|known| known.path == path)
    }

    /// Something other than a check came by `path`, at `at`. It need not be authentic: a stranger who pretends to be at the
    /// path in use can only delay a move that the client does not ask for.
    pub fn heard(&mut self, at: Instant, path: Path) {
        if let Some(known) = self.paths.iter_mut().find(|known| known.path == path) {
            known.heard = known.heard.max(at);
        }
    }

    /// When consent ends unless another check comes; `None` before the first check.
    pub fn consent_deadline(&self) -> Option<Instant> {
        self.last_check.map(|at| at + CONSENT_TIMEOUT)
    }

    /// Takes a datagram that looks like STUN.
    pub fn handle(&mut self, now: Instant, path: Path, datagram: &[u8], outputs: &mut VecDeque<PeerOutput>) {
        let Some(check) = Check::parse(datagram) else { return };
        let bytes = match self.authenticate(&check) {
            Ok((key, restarted)) => match check.acceptable() {
                Ok(()) => {
                    let bytes = check.success(path.remote(), &key);
                    // Before the answer: the router must know the path when the client's next datagram comes.
                    self.accept(now, path, check.nominates(), restarted, outputs);
                    bytes
                }
                Err(error) => check.error(error, Some(&key)),
            },
            Err(error) => check.error(error, None),
        };
        outputs.push_back(PeerOutput::Transmit { path, bytes });
    }

    /// The key that `check` is signed with, and whether it is that of a restart.
    fn authenticate(&self, check: &Check<'_>) -> Result<(aws_lc_rs::hmac::Key, bool), CheckError> {
        let username = check.username()?;
        let restarted = self.restarted.as_ref().filter(|new| new.username.as_bytes() == username);
        let generation = restarted
            .or(Some(&self.current).filter(|current| current.username.as_bytes() == username))
            .ok_or(CheckError::Unauthorized)?;
        let key = integrity_key(&generation.password);
        if check.is_signed_with(&key) {
            Ok((key, restarted.is_some()))
        } else {
            Err(CheckError::Unauthorized)
        }
    }

    /// An authenticated check came on `path`.
    fn accept(
        &mut self,
        now: Instant,
        path: Path,
        nominates: bool,
        restarted: bool,
        outputs: &mut VecDeque<PeerOutput>,
    ) {
        if let Some(new) = self.restarted.take_if(|_| restarted) {
            outputs.push_back(PeerOutput::UfragInUse(new.ufrag.clone()));
            self.current = new;
            self.paths.iter_mut().for_each(|known| known.nominated = false);
        }
        self.last_check = Some(now);
        let was_nominated = self.note(now, path, nominates, outputs);
        let moves = match self.selected {
            None => true,
            Some(selected) if selected == path => false,
            Some(selected) => {
                // The first nomination moves the session at once. A client that nominates every path with every check
                // (RFC 5245's aggressive nomination) must not make it swing between them, so a path that never lost its
                // nomination has to wait until the one in use falls silent.
                restarted
                    || (nominates && !was_nominated)
                    || self.is_silent(now, selected)
                    || self.replaces(now, path, selected)
            }
        };
        if moves {
            self.selected = Some(path);
            outputs.push_back(PeerOutput::PathSelected(path));
        }
        self.forget_silent(now, outputs);
    }

    /// Remembers the check. Returns whether the path's check before this one nominated it too.
    fn note(
        &mut self,
        now: Instant,
        path: Path,
        nominates: bool,
        outputs: &mut VecDeque<PeerOutput>,
    ) -> bool {
        if let Some(known) = self.paths.iter_mut().find(|known| known.path == path) {
            (known.checked, known.heard) = (now, now);
            return std::mem::replace(&mut known.nominated, nominates);
        }
        if self.paths.len() >= PATHS_CAPACITY {
            self.forget_oldest(outputs);
        }
        self.paths.push(KnownPath { path, first: now, checked: now, heard: now, nominated: nominates });
        outputs.push_back(PeerOutput::PathValidated(path));
        false
    }

    /// Whether the client seems to have gone from `selected` to `path`: nothing came by the one since the other appeared,
    /// nor for [`UNHEARD_AFTER`]. Of two paths that live this is never true again in either direction, so it cannot make
    /// the session swing. It also ends the other's nomination: if the client still wants it, its next check says so.
    fn replaces(&mut self, now: Instant, path: Path, selected: Path) -> bool {
        let Some(first) = self.paths.iter().find(|known| known.path == path).map(|known| known.first) else {
            return false;
        };
        let Some(old) = self.paths.iter_mut().find(|known| known.path == selected) else {
            return true;
        };
        let replaces = first > old.heard && now.saturating_duration_since(old.heard) >= UNHEARD_AFTER;
        old.nominated &= !replaces;
        replaces
    }

    fn is_silent(&self, now: Instant, path: Path) -> bool {
        let checked = self.paths.iter().find(|known| known.path == path).map(|known| known.checked);
        checked.is_none_or(|at| now.saturating_duration_since(at) >= SILENT_AFTER)
    }

    fn forget_oldest(&mut self, outputs: &mut VecDeque<PeerOutput>) {
        let selected = self.selected;
        let oldest = self
            .paths
            .iter()
            .enumerate()
            .filter(|(_, known)| Some(known.path) != selected)
            .min_by_key(|(_, known)| known.checked)
            .map(|(index, _)| index);
        if let Some(index) = oldest {
            outputs.push_back(PeerOutput::PathForgotten(self.paths.swap_remove(index).path));
        }
    }

    fn forget_silent(&mut self, now: Instant, outputs: &mut VecDeque<PeerOutput>) {
        let selected = self.selected;
        self.paths.retain(|known| {
            let keep = Some(known.path) == selected
                || now.saturating_duration_since(known.checked) < CONSENT_TIMEOUT;
            if !keep {
                outputs.push_back(PeerOutput::PathForgotten(known.path));
            }
            keep
        });
    }
}

impl Generation {
    fn new(local: &IceCredentials, remote: &IceCredentials) -> Self {
        Self {
            ufrag: local.ufrag.clone(),
            username: format!("{}:{}", local.ufrag, remote.ufrag),
            password: local.password.clone(),
        }
    }
}
