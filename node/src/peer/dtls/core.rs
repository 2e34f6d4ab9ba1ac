//! One DTLS association: which flight is awaited, which is repeated, and what is kept once the handshake is done.
//!
//! In: datagrams, time, the wish to close. Out: datagrams, then keys, then the end. Whoever runs the handshake, our own
//! server or `rtc-dtls`, is handed each flight of the peer whole and once; when a flight is repeated is decided here.

mod handshaking;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::DtlsIdentity;
use super::alert;
use super::association::Association;
use super::candidates::Candidates;
use super::error::DtlsError;
use super::inbound::Inbound;
use super::library::LibraryHandshake;
use super::record::{ALERT, HANDSHAKE, Record, Records};
use super::repetition::LastFlight;
use super::server::Failure;
use crate::media::keys::SrtpKeys;
use crate::media::negotiated::{DtlsRole, Fingerprint};

/// What an association says.
#[derive(Debug)]
pub enum DtlsEvent {
    /// The handshake is done, and the peer is who it announced to be.
    Connected(SrtpKeys),
    /// The peer closed the association.
    Closed,
}

/// One association.
pub struct Dtls {
    role: DtlsRole,
    identity: Arc<DtlsIdentity>,
    phase: Phase,
    last_flight: LastFlight,
    transmits: VecDeque<Bytes>,
    /// Description of the last fatal alert in plain text.
    alert: Option<u8>,
    /// The alert that would have answered the last part of a handshake that nobody vouches for.
    refused: Option<u8>,
    ignored: u64,
}

enum Phase {
    Handshaking(Box<Handshake>),
    Connected(Association),
    Over,
}

struct Handshake {
    engine: Option<Engine>,
    announced: Vec<Fingerprint>,
    inbound: Inbound,
}

/// Who runs the handshake.
enum Engine {
    Ours(Candidates),
    Library(LibraryHandshake),
}

impl Dtls {
    /// An association that has not begun. `announced` is what the peer's certificate must hash to, at least one.
    pub fn new(role: DtlsRole, identity: Arc<DtlsIdentity>, announced: Vec<Fingerprint>) -> Self {
        let handshake = Handshake { engine: None, announced, inbound: Inbound::default() };
        Self {
            role,
            identity,
            phase: Phase::Handshaking(Box::new(handshake)),
            last_flight: LastFlight::default(),
            transmits: VecDeque::new(),
            alert: None,
            refused: None,
            ignored: 0,
        }
    }

    /// There is a path to the peer: as client, say hello. Does nothing if that was done, or as server.
    ///
    /// # Errors
    ///
    /// Fails if the library does.
    pub fn start(&mut self, now: Instant) -> Result<(), DtlsError> {
        let Phase::Handshaking(handshake) = &mut self.phase else { return Ok(()) };
        if self.role == DtlsRole::Server || handshake.engine.is_some() {
            return Ok(());
        }
        let (library, flight) = LibraryHandshake::client(now, &self.identity)?;
        handshake.engine = Some(Engine::Library(library));
        self.send_flight(now, flight);
        Ok(())
    }

    /// Takes a datagram from a validated path.
    ///
    /// # Errors
    ///
    /// Fails if the handshake cannot be finished; the association is over then.
    pub fn handle(&mut self, now: Instant, datagram: &[u8]) -> Result<Option<DtlsEvent>, DtlsError> {
        match &mut self.phase {
            Phase::Handshaking(_) => {
                let result = self.continue_handshake(now, datagram);
                if result.is_err() {
                    self.forget();
                }
                result
            }
            Phase::Connected(_) => Ok(self.handle_connected(now, datagram)),
            Phase::Over => Ok(None),
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.transmits.pop_front()
    }

    /// Whether there is nothing to send.
    #[cfg(test)]
    pub fn is_quiet(&self) -> bool {
        self.transmits.is_empty()
    }

    /// When the last flight is to be repeated.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.last_flight.repeat_at()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.last_flight.is_overdue(now) {
            self.repeat_flight(now);
        }
    }

    /// Says goodbye to a peer that a handshake was finished with, and forgets everything.
    pub fn close(&mut self, now: Instant) {
        if let Phase::Connected(association) = &mut self.phase {
            self.transmits.extend(association.goodbye(now, &self.identity));
        }
        self.forget();
    }

    /// Alerts, hellos and flights that anyone could have sent and that changed nothing.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Why the handshake has probably not finished: an alert in plain text or a part of the handshake, which nobody vouches
    /// for.
    pub fn suspicion(&self) -> Option<DtlsError> {
        self.alert.map(DtlsError::Alert).or(self.refused.map(DtlsError::Refused))
    }

    fn forget(&mut self) {
        self.phase = Phase::Over;
        self.last_flight = LastFlight::default();
    }

    /// Tells the peer of a failure.
    fn or_alert<T>(&mut self, result: Result<T, Failure>) -> Result<T, DtlsError> {
        result.map_err(|Failure { alert, error }| {
            self.transmits.push_back(alert::fatal(alert));
            error
        })
    }

    /// The handshake is done.
    fn connected(&mut self, now: Instant, last_flight: Vec<Bytes>, association: Association) {
        self.phase = Phase::Connected(association);
        if self.role == DtlsRole::Server {
            self.send_flight(now, last_flight);
        } else {
            // The peer's Finished says that it has our last flight; it is never asked for again.
            self.last_flight = LastFlight::default();
        }
        self.last_flight.answered();
    }

    fn handle_connected(&mut self, now: Instant, datagram: &[u8]) -> Option<DtlsEvent> {
        for record in Records::of(datagram) {
            match record.kind {
                // The peer's last flight again: it never got ours.
                HANDSHAKE => self.repeat_if_due(now),
                ALERT if record.epoch == 0 => self.ignored += 1,
                ALERT if self.opens_to_alert(now, &record) => {
                    self.forget();
                    return Some(DtlsEvent::Closed);
                }
                _ => {}
            }
        }
        None
    }

    /// Whether an encrypted record ends the association.
    fn opens_to_alert(&mut self, now: Instant, record: &Record<'_>) -> bool {
        let Phase::Connected(association) = &mut self.phase else { return false };
        let answer = association.end(now, &self.identity, record);
        let ends = answer.is_some();
        self.ignored += u64::from(!ends);
        self.transmits.extend(answer.into_iter().flatten());
        ends
    }

    /// Whether the peer has our last flight but its answer is not whole: then only its timer can help.
    fn is_answered(&self) -> bool {
        match &self.phase {
            Phase::Handshaking(handshake) => handshake.inbound.is_keyed() && self.role == DtlsRole::Server,
            _ => false,
        }
    }

    fn send_flight(&mut self, now: Instant, flight: Vec<Bytes>) {
        self.transmits.extend(flight.iter().cloned());
        self.last_flight.set(now, self.role, flight);
    }

    fn repeat_flight(&mut self, now: Instant) {
        if !self.repeat_with_new_numbers(now) {
            self.transmits.extend(self.last_flight.datagrams().iter().cloned());
        }
        self.last_flight.repeated(now);
    }

    /// As client, lets the library repeat its flight: the records get new numbers, so a server that answered the first
    /// ones (and whose answer was lost) does not take them for a replay. Only the client needs that: every client repeats
    /// a flight that is not answered by itself, a server only answers. As server the very same records go out again: a
    /// client that had them all drops them, where new ones would stop the timer of a client that uses our library.
    fn repeat_with_new_numbers(&mut self, now: Instant) -> bool {
        if self.role == DtlsRole::Server {
            return false;
        }
        let Phase::Handshaking(handshake) = &mut self.phase else { return false };
        let Some(Engine::Library(library)) = &mut handshake.engine else { return false };
        if !self.last_flight.takes_library_repeat() {
            return false;
        }
        let flight = library.repeat(now);
        let repeats = flight.is_some();
        self.transmits.extend(flight.into_iter().flatten());
        repeats
    }

    /// The peer repeats itself, so our last flight may be lost.
    fn repeat_if_due(&mut self, now: Instant) {
        if !self.is_answered() && self.last_flight.takes_request(now) {
            self.repeat_flight(now);
        }
    }
}
