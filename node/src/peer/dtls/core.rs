//! One DTLS association: which flight is awaited, which is repeated, and what is kept once the handshake is done.
//!
//! In: datagrams, time, the wish to close. Out: datagrams, then keys, then the end. Whoever runs the handshake, our own
//! server or `rtc-dtls`, is handed each flight of the peer whole and once; when a flight is repeated is decided here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::DtlsIdentity;
use super::alert;
use super::association::Association;
use super::error::DtlsError;
use super::hello::ClientHello;
use super::inbound::{Inbound, Input};
use super::library::LibraryHandshake;
use super::record::{ALERT, CHANGE_CIPHER_SPEC, HANDSHAKE, Record, Records};
use super::repetition::LastFlight;
use super::server::{Failure, ServerHandshake};
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
    Ours(ServerHandshake),
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

    /// Alerts and hellos that anyone could have sent and that changed nothing.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Why the handshake has probably not finished: an alert in plain text, which nobody vouches for.
    pub fn suspicion(&self) -> Option<DtlsError> {
        self.alert.map(DtlsError::Alert)
    }

    fn forget(&mut self) {
        self.phase = Phase::Over;
        self.last_flight = LastFlight::default();
    }

    fn continue_handshake(&mut self, now: Instant, datagram: &[u8]) -> Result<Option<DtlsEvent>, DtlsError> {
        let Phase::Handshaking(handshake) = &mut self.phase else { return Ok(None) };
        let mut repeated = false;
        for record in Records::of(datagram) {
            match (record.epoch, record.kind) {
                (0, HANDSHAKE) => repeated |= handshake.inbound.take(&record),
                // Whoever knows the path could have sent it. A client that gave up lets the join time out.
                (0, ALERT) => {
                    self.ignored += 1;
                    self.alert = alert::ending(&record).or(self.alert);
                }
                (0, CHANGE_CIPHER_SPEC) | (1, HANDSHAKE) => handshake.inbound.keep_early(&record),
                _ => {}
            }
        }
        let mut event = None;
        while event.is_none() {
            let Phase::Handshaking(handshake) = &mut self.phase else { break };
            let Some(input) = handshake.inbound.next_input() else { break };
            repeated = false;
            event = self.feed(now, input)?;
        }
        if repeated {
            self.repeat_if_due(now);
        }
        Ok(event)
    }

    /// Goes on with a flight of the peer, or with the records that end the handshake.
    fn feed(&mut self, now: Instant, input: Input) -> Result<Option<DtlsEvent>, DtlsError> {
        let Phase::Handshaking(handshake) = &mut self.phase else { return Ok(None) };
        let Handshake { engine, announced, inbound } = handshake.as_mut();
        match engine {
            Some(_) if input == Input::Excess => {
                let alert = alert::UNEXPECTED_MESSAGE;
                self.or_alert(Err(Failure { alert, error: DtlsError::Refused(alert) }))
            }
            // A client's association exists since `start`, so this is a server's first flight.
            None => self.begin(now),
            Some(Engine::Ours(ours)) => match input {
                Input::Excess => Ok(None),
                Input::Flight => {
                    let taken = ours.take_proof(inbound.messages(), announced);
                    inbound.handed_on();
                    self.last_flight.answered();
                    self.or_alert(taken).map(|()| None)
                }
                Input::Ending(records) => {
                    let taken = ours.take_finished(&records);
                    let Some(finished) = self.or_alert(taken)? else { return Ok(None) };
                    self.connected(now, vec![finished.flight], Association::Ours(finished.session));
                    Ok(Some(DtlsEvent::Connected(finished.keys)))
                }
            },
            Some(Engine::Library(_)) => self.feed_library(now, input),
        }
    }

    /// As server: the first flight decides how the handshake is run.
    fn begin(&mut self, now: Instant) -> Result<Option<DtlsEvent>, DtlsError> {
        let Phase::Handshaking(handshake) = &mut self.phase else { return Ok(None) };
        let Handshake { engine, inbound, .. } = handshake.as_mut();
        let message = inbound.messages().first().map(Vec::as_slice).unwrap_or_default();
        let Ok(hello) = ClientHello::read(message) else {
            self.start_over();
            return Ok(None);
        };
        let refused = |error| Failure { alert: alert::HANDSHAKE_FAILURE, error };
        let profile = match hello.profile() {
            Ok(profile) => profile,
            Err(error) => return self.or_alert(Err(refused(error))),
        };
        let Some(terms) = hello.terms() else {
            let config = self.identity.server(profile);
            *engine = Some(Engine::Library(LibraryHandshake::server(config)));
            return self.feed_library(now, Input::Flight);
        };
        let begun = ServerHandshake::begin(&self.identity, message, terms);
        inbound.handed_on();
        match begun {
            Ok((ours, flight)) => {
                *engine = Some(Engine::Ours(ours));
                self.send_flight(now, vec![flight]);
                Ok(None)
            }
            Err(failure) => self.or_alert(Err(failure)),
        }
    }

    fn feed_library(&mut self, now: Instant, input: Input) -> Result<Option<DtlsEvent>, DtlsError> {
        let Phase::Handshaking(handshake) = &mut self.phase else { return Ok(None) };
        let Handshake { engine, inbound, announced } = handshake.as_mut();
        let Some(Engine::Library(library)) = engine else { return Ok(None) };
        let is_hello = self.role == DtlsRole::Server && self.last_flight.datagrams().is_empty();
        let datagram = match input {
            Input::Flight => inbound.flight(),
            Input::Ending(records) => records,
            Input::Excess => return Ok(None),
        };
        inbound.handed_on();
        let step = library.read(now, datagram);
        let answer = step.answer;
        let complete = match step.result {
            Ok(complete) => complete,
            Err(_) if is_hello && answer.is_empty() => {
                self.start_over();
                return Ok(None);
            }
            Err(error) => {
                self.transmits.extend(answer);
                return Err(error);
            }
        };
        if let Some(alert) = answer.iter().find_map(|datagram| alert::of_datagram(datagram)) {
            self.transmits.extend(answer);
            return Err(DtlsError::Refused(alert));
        }
        if complete {
            return match library.finish(self.role, announced) {
                Ok((keys, parked)) => {
                    self.connected(now, answer, Association::Library(self.role, parked));
                    Ok(Some(DtlsEvent::Connected(keys)))
                }
                Err(error) => {
                    // Without our last flight the peer never believes that it is connected.
                    self.transmits.extend(library.stop(now));
                    Err(error)
                }
            };
        }
        if !answer.is_empty() {
            self.send_flight(now, answer);
        } else if self.is_answered() {
            self.last_flight.answered();
        }
        Ok(None)
    }

    /// As server: the first flight was no hello that anyone would send to join, so the real one is still to come.
    fn start_over(&mut self) {
        self.ignored += 1;
        if let Phase::Handshaking(handshake) = &mut self.phase {
            handshake.engine = None;
            handshake.inbound = Inbound::default();
        }
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
        if !self.is_answered() && self.last_flight.may_repeat(now) {
            self.repeat_flight(now);
        }
    }
}
