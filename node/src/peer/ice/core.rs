//! Which paths belong to the client, which one is in use, and whether it still wants to hear from us.
//!
//! In: datagrams that look like STUN, an ICE restart, time. Out: answers, questions, paths validated, forgotten and selected.
//! Only a check that is signed with our password changes anything; its sender may come from any address, and moves the
//! session there at once. It stays there if the client answers a question of ours from it, or is nowhere else.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::known_path::KnownPath;
use super::question::{Move, is_answer, question, transaction};
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

/// How long a session is asked before a nomination moves it, once one has moved it to where the client was not.
const DOUBT: Duration = Duration::from_secs(60);

/// What checks must be signed with.
struct Generation {
    /// Ours.
    ufrag: String,
    /// `ours:theirs`.
    username: String,
    /// Our password.
    password: String,
    /// `theirs:ours`, as checks of ours begin.
    remote_username: String,
    /// The client's password, which signs what it answers.
    remote_password: String,
}

/// ICE state of one session.
pub struct IceLite {
    current: Generation,
    /// Set from an ICE restart until the first good check under the new credentials.
    restarted: Option<Generation>,
    paths: Vec<KnownPath>,
    selected: Option<Path>,
    intended: Option<Move>,
    /// When the session was moved to where the client was not: for some time it is asked before a nomination moves it.
    doubted: Option<Instant>,
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
            intended: None,
            doubted: None,
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

    /// Something other than a check came by `path`, at `at`.
    pub fn heard(&mut self, at: Instant, path: Path) {
        if let Some(known) = self.paths.iter_mut().find(|known| known.path == path) {
            known.heard = known.heard.max(at);
        }
    }

    /// Media or RTCP that authenticates came by `path`, which is not in use, at `at`. Nobody but the client can make any, and
    /// none counts twice, so that is where the client is if nobody has answered from where the session went.
    pub fn sends(&mut self, now: Instant, at: Instant, path: Path, outputs: &mut VecDeque<PeerOutput>) {
        let Some(known) = self.paths.iter_mut().find(|known| known.path == path) else { return };
        known.media = known.media.max(Some(at));
        let sends = self.intended.as_ref().is_some_and(|intended| known.sends_since(intended));
        if sends && self.has_failed(path) {
            self.go_back(now, path, outputs);
        }
    }

    /// When consent ends unless another check comes; `None` before the first check.
    pub fn consent_deadline(&self) -> Option<Instant> {
        self.last_check.map(|at| at + CONSENT_TIMEOUT)
    }

    /// Takes a datagram that looks like STUN.
    pub fn handle(&mut self, now: Instant, path: Path, datagram: &[u8], outputs: &mut VecDeque<PeerOutput>) {
        let Some(check) = Check::parse(datagram) else {
            return self.take_answer(now, path, datagram, outputs);
        };
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
        if self.intended.as_ref().is_some_and(|intended| intended.to == path && intended.since == now) {
            self.ask(outputs);
        }
    }

    /// DTLS is done, and all of it went to the path in use: who finished the handshake has read our part of it there.
    pub fn prove_selected(&mut self) {
        let selected = self.selected;
        self.intended.take_if(|intended| Some(intended.to) == selected);
        self.paths.iter_mut().filter(|known| Some(known.path) == selected).for_each(KnownPath::prove);
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.intended.as_ref().and_then(Move::next_step)
    }

    /// Asks again where nobody has answered, or gives up a move.
    pub fn handle_timeout(&mut self, now: Instant, outputs: &mut VecDeque<PeerOutput>) {
        let is_due = |intended: &&mut Move| intended.next_step().is_some_and(|at| at <= now);
        let Some(intended) = self.intended.as_mut().filter(is_due) else { return };
        intended.repetitions += 1;
        let (to, from) = (intended.to, intended.from);
        if intended.next_step().is_some() {
            return self.ask(outputs);
        }
        let is_there = self.paths.iter().any(|known| known.is_preferred_to(intended));
        if self.selected != Some(to) {
            self.give_up(to);
        } else if is_there {
            self.go_back(now, from, outputs);
        }
    }

    /// The client is not at `to`, or has nothing to say there. If it still wants that path, its next check says so.
    fn give_up(&mut self, to: Path) {
        self.intended = None;
        self.paths.iter_mut().filter(|known| known.path == to).for_each(|known| known.nominated = false);
    }

    /// The client is at `from` still and wants to be, so whoever is where the session went is not the client.
    fn go_back(&mut self, now: Instant, from: Path, outputs: &mut VecDeque<PeerOutput>) {
        if let Some(to) = self.selected {
            self.give_up(to);
        }
        self.doubted = Some(now);
        self.select(from, outputs);
    }

    /// Goes to a path that nobody has answered from.
    fn try_path(&mut self, now: Instant, to: Path, selected: Path, outputs: &mut VecDeque<PeerOutput>) {
        // Of one trial after another the client was for sure where the first began.
        let tried = self.intended.take().filter(|intended| intended.to == selected);
        let from = tried.map_or(selected, |tried| tried.from);
        if from == to {
            return self.select(to, outputs);
        }
        let doubted = self.doubted.is_some_and(|at| now.saturating_duration_since(at) < DOUBT);
        // Nobody needs to be asked whether to leave a path where there is nobody.
        if !doubted || self.is_silent(now, selected) {
            self.select(to, outputs);
        }
        self.intended = Some(Move::new(to, from, now));
    }

    /// Sends the question by which the client can show that it is where the session is to go.
    fn ask(&mut self, outputs: &mut VecDeque<PeerOutput>) {
        let Some(to) = self.intended.as_ref().map(|intended| intended.to) else { return };
        let Some(known) = self.paths.iter_mut().find(|known| known.path == to) else { return };
        // Without randomness nothing can be asked that only the client can answer: it stays where it is.
        let Some(transaction) = known.asked.or_else(|| transaction().ok()) else { return };
        known.asked = Some(transaction);
        let (username, password) = (&self.current.remote_username, &self.current.remote_password);
        let bytes = question(&transaction, username, password);
        outputs.push_back(PeerOutput::Transmit { path: to, bytes });
    }

    /// A datagram that is no check: perhaps the answer to a question of ours.
    fn take_answer(&mut self, now: Instant, path: Path, datagram: &[u8], outputs: &mut VecDeque<PeerOutput>) {
        let Some(known) = self.paths.iter_mut().find(|known| known.path == path) else { return };
        let password = &self.current.remote_password;
        if !known.asked.is_some_and(|asked| is_answer(datagram, &asked, password)) {
            return;
        }
        known.heard = now;
        known.prove();
        outputs.push_back(PeerOutput::PathProved(path));
        let moves = self.intended.take_if(|intended| intended.to == path).is_some();
        if moves && self.selected != Some(path) {
            self.select(path, outputs);
        }
    }

    fn select(&mut self, path: Path, outputs: &mut VecDeque<PeerOutput>) {
        (self.selected, self.intended) = (Some(path), None);
        outputs.push_back(PeerOutput::PathSelected(path));
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
            Some(selected) if selected == path => {
                // The client has changed its mind.
                self.intended.take_if(|intended| intended.to != path && nominates && !was_nominated);
                false
            }
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
        let proved = self.paths.iter().any(|known| known.path == path && known.proved);
        match self.selected {
            _ if nominates && self.has_failed(path) => self.go_back(now, path, outputs),
            Some(selected) if moves && !proved => self.try_path(now, path, selected, outputs),
            _ if moves => self.select(path, outputs),
            _ => {}
        }
        self.forget_silent(now, outputs);
    }

    /// Whether the session was moved away from `path`, and nobody has answered from where it went.
    fn has_failed(&self, path: Path) -> bool {
        let intended = self.intended.as_ref();
        intended.is_some_and(|intended| {
            intended.from == path && self.selected == Some(intended.to) && intended.next_step().is_none()
        })
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
        self.paths.push(KnownPath::new(path, now, nominates));
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
            remote_username: format!("{}:{}", remote.ufrag, local.ufrag),
            remote_password: remote.password.clone(),
        }
    }
}
