//! One connection from its first check to its last goodbye: ICE finds a path, DTLS agrees on keys, consent keeps it alive.
//!
//! In: [`PeerInput`], time. Out: [`PeerOutput`]. States: new (no path), joining (DTLS), connected, ended.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::dtls::{Dtls, DtlsError, DtlsEvent, DtlsIdentity};
use super::ice::IceLite;
use super::message::{EndReason, PeerConfig, PeerInput, PeerOutput};
use crate::media::path::Path;

/// How long ICE and DTLS together may take: what browsers give themselves before a connection counts as failed.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(15);

/// Outputs that wait to be polled; one input makes a handful. Full means: the shell is not draining, and datagrams are
/// dropped unread, as if the network had lost them.
pub const OUTPUTS_CAPACITY: usize = 64;

/// One connection.
pub struct PeerCore {
    state: State,
    ice: IceLite,
    dtls: Dtls,
    join_deadline: Instant,
    /// Where all of the handshake went, if it went to one path: who finished it has read it there.
    handshake_at: HandshakeAt,
    outputs: VecDeque<PeerOutput>,
    last_error: Option<DtlsError>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HandshakeAt {
    Nowhere,
    Path(Path),
    /// It began before the session moved, so it says nothing of where the client is now.
    Several,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Waiting for a path, or for DTLS on it.
    Joining,
    Connected,
    Ended,
}

impl PeerCore {
    /// A connection whose offer has just been answered.
    pub fn new(config: PeerConfig, identity: Arc<DtlsIdentity>, now: Instant) -> Self {
        let negotiated = config.negotiated;
        Self {
            state: State::Joining,
            ice: IceLite::new(&config.local_ice, &negotiated.remote_ice),
            dtls: Dtls::new(negotiated.dtls_role, identity, negotiated.remote_fingerprints),
            join_deadline: now + JOIN_TIMEOUT,
            handshake_at: HandshakeAt::Nowhere,
            outputs: VecDeque::new(),
            last_error: None,
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Instant, input: PeerInput) {
        if self.state == State::Ended {
            return;
        }
        match input {
            PeerInput::Datagram { path, bytes } => self.handle_datagram(now, path, &bytes),
            PeerInput::PathHeard { path, at } => self.ice.heard(at, path),
            PeerInput::SendsElsewhere { path, at } => self.ice.sends(now, at, path, &mut self.outputs),
            PeerInput::RestartIce { local, remote } => self.ice.restart(&local, &remote),
            PeerInput::Close(reason) => {
                self.dtls.close(now);
                self.transmit_dtls();
                self.end(reason);
            }
        }
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Option<PeerOutput> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let join = match self.state {
            State::Joining => Some(self.join_deadline),
            State::Connected => None,
            State::Ended => return None,
        };
        let ice = [self.ice.consent_deadline(), self.ice.poll_timeout()];
        ice.into_iter().chain([join, self.dtls.poll_timeout()]).flatten().min()
    }

    /// Time has passed; early calls do nothing.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.state == State::Ended {
            return;
        }
        if self.state == State::Joining && now >= self.join_deadline {
            let reason = match self.ice.selected() {
                None => EndReason::IceTimeout,
                Some(_) => EndReason::DtlsTimeout,
            };
            self.last_error = self.dtls.suspicion();
            self.end(reason);
            return;
        }
        if self.ice.consent_deadline().is_some_and(|at| now >= at) {
            // Without consent nothing may be sent any more, not even a goodbye (RFC 7675 §5.1).
            self.end(EndReason::ConsentExpired);
            return;
        }
        self.ice.handle_timeout(now, &mut self.outputs);
        self.dtls.handle_timeout(now);
        self.transmit_dtls();
    }

    /// The path in use.
    #[cfg(test)]
    pub fn selected_path(&self) -> Option<Path> {
        self.ice.selected()
    }

    /// Whether ICE and DTLS are done and the connection has not ended.
    pub fn is_connected(&self) -> bool {
        self.state == State::Connected
    }

    /// DTLS alerts and hellos that were ignored because anyone could have sent them.
    pub fn dtls_ignored(&self) -> u64 {
        self.dtls.ignored()
    }

    /// Why DTLS failed, for the log; taken once.
    pub fn take_error(&mut self) -> Option<DtlsError> {
        self.last_error.take()
    }

    fn handle_datagram(&mut self, now: Instant, path: Path, bytes: &Bytes) {
        if self.outputs.len() >= OUTPUTS_CAPACITY {
            return;
        }
        // RFC 7983 §7: the first byte tells STUN and DTLS apart.
        match bytes.first() {
            Some(0..=3) => {
                let before = self.ice.selected();
                self.ice.handle(now, path, bytes, &mut self.outputs);
                if before.is_none() && self.ice.selected().is_some() {
                    let started = self.dtls.start(now);
                    self.dtls_step(started.map(|()| None));
                }
            }
            Some(20..=63) if self.ice.is_validated(path) => {
                self.ice.heard(now, path);
                let result = self.dtls.handle(now, bytes);
                self.dtls_step(result);
            }
            _ => {}
        }
    }

    fn dtls_step(&mut self, result: Result<Option<DtlsEvent>, DtlsError>) {
        self.transmit_dtls();
        match result {
            Ok(None) => {}
            Ok(Some(DtlsEvent::Connected(keys))) => {
                let Some(path) = self.ice.selected() else { return };
                self.state = State::Connected;
                self.outputs.push_back(PeerOutput::Connected { path, keys });
                if self.handshake_at == HandshakeAt::Path(path) {
                    self.ice.prove_selected();
                    self.outputs.push_back(PeerOutput::PathProved(path));
                }
            }
            Ok(Some(DtlsEvent::Closed)) => self.end(EndReason::ClosedByPeer),
            Err(error) => {
                self.last_error = Some(error);
                self.end(EndReason::DtlsFailed);
            }
        }
    }

    fn transmit_dtls(&mut self) {
        let Some(path) = self.ice.selected() else { return };
        while let Some(bytes) = self.dtls.poll_transmit() {
            self.handshake_at = match self.handshake_at {
                HandshakeAt::Nowhere => HandshakeAt::Path(path),
                HandshakeAt::Path(before) if before == path => HandshakeAt::Path(path),
                HandshakeAt::Path(_) | HandshakeAt::Several => HandshakeAt::Several,
            };
            self.outputs.push_back(PeerOutput::Transmit { path, bytes });
        }
    }

    fn end(&mut self, reason: EndReason) {
        self.state = State::Ended;
        self.outputs.push_back(PeerOutput::Ended(reason));
    }
}
