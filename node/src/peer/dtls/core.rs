//! One DTLS association: which flight is awaited, which is repeated, and what is kept once the handshake is done.
//!
//! In: datagrams, time, the wish to close. Out: datagrams, then keys, then the end. `rtc-dtls` is handed each flight of
//! the peer in one piece, because part of one stops its timer; and when a flight is repeated is decided here, because
//! its interval is fixed and a repetition by the peer means nothing to it.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::state::State;
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error;

use super::error::DtlsError;
use super::inbound::Inbound;
use super::record::{ALERT, CHANGE_CIPHER_SPEC, HANDSHAKE, Record, Records, write_record};
use super::repetition::LastFlight;
use super::{DtlsIdentity, export, hello};
use crate::media::keys::SrtpKeys;
use crate::media::negotiated::{DtlsRole, Fingerprint};

/// The library keys associations by address; ours outlives changes of address, so it gets one that never changes (from
/// the documentation prefix, RFC 5737).
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 1);

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
    /// The library's state, serialised: an association that only waits for `close_notify` needs no more. It is brought to
    /// life for each record that must be opened and dropped again, so that a forged one leaves nothing behind.
    Parked(Box<[u8]>),
    Over,
}

struct Handshake {
    endpoint: Option<Endpoint>,
    announced: Vec<Fingerprint>,
    inbound: Inbound,
}

impl Dtls {
    /// An association that has not begun. `announced` is what the peer's certificate must hash to, at least one.
    pub fn new(role: DtlsRole, identity: Arc<DtlsIdentity>, announced: Vec<Fingerprint>) -> Self {
        let handshake = Handshake { endpoint: None, announced, inbound: Inbound::default() };
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
        if self.role == DtlsRole::Server || handshake.endpoint.is_some() {
            return Ok(());
        }
        let mut endpoint = Endpoint::new(PEER, TransportProtocol::UDP, None);
        endpoint.connect(now, PEER, self.identity.client(), None).map_err(DtlsError::handshake)?;
        let flight = drain(&mut endpoint);
        handshake.endpoint = Some(endpoint);
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
            Phase::Parked(_) => Ok(self.handle_connected(now, datagram)),
            Phase::Over => Ok(None),
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.transmits.pop_front()
    }

    /// Whether there is nothing to send.
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
        if let Some(mut endpoint) = self.unparked(now) {
            endpoint.stop(now, PEER);
            self.transmits.extend(drain(&mut endpoint));
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
                    self.alert = fatal_alert(&record).or(self.alert);
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

    /// Hands the library a flight, or the records that end the handshake.
    fn feed(&mut self, now: Instant, input: BytesMut) -> Result<Option<DtlsEvent>, DtlsError> {
        let Phase::Handshaking(handshake) = &mut self.phase else { return Ok(None) };
        let first = handshake.endpoint.is_none();
        let endpoint = match &mut handshake.endpoint {
            Some(endpoint) => endpoint,
            // A client's association exists since `start`, so this is a server's first flight.
            None => {
                let hello = handshake.inbound.first_message();
                let profile = match hello::choose_profile(hello) {
                    Ok(profile) => profile,
                    Err(DtlsError::MalformedHello) => {
                        self.start_over();
                        return Ok(None);
                    }
                    Err(error) => {
                        let mut alert = BytesMut::new();
                        write_record(&mut alert, ALERT, 0, &[FATAL, HANDSHAKE_FAILURE]);
                        self.transmits.push_back(alert.freeze());
                        return Err(error);
                    }
                };
                let config = self.identity.server(profile);
                handshake.endpoint.insert(Endpoint::new(PEER, TransportProtocol::UDP, Some(config)))
            }
        };
        handshake.inbound.handed_on();
        let result = endpoint.read(now, PEER, None, input);
        let answer = drain(endpoint);
        let events = match result {
            Ok(events) => events,
            Err(_) if first && answer.is_empty() => {
                self.start_over();
                return Ok(None);
            }
            Err(error) => {
                self.transmits.extend(answer);
                return Err(DtlsError::handshake(error));
            }
        };
        if let Some(alert) = answer.iter().find_map(|datagram| alert_of(datagram)) {
            self.transmits.extend(answer);
            return Err(DtlsError::Refused(alert));
        }
        if events.iter().any(|event| matches!(event, EndpointEvent::HandshakeComplete)) {
            return self.finish(now, answer).map(Some);
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
            handshake.endpoint = None;
            handshake.inbound = Inbound::default();
        }
    }

    /// The library is done: check the peer, take the keys, keep only what a connected peer needs.
    fn finish(&mut self, now: Instant, last_flight: Vec<Bytes>) -> Result<DtlsEvent, DtlsError> {
        let Phase::Handshaking(handshake) = &mut self.phase else { return Err(DtlsError::Fingerprint) };
        let Some(mut endpoint) = handshake.endpoint.take() else { return Err(DtlsError::Fingerprint) };
        let state = endpoint.get_connection_state(PEER).ok_or(DtlsError::Fingerprint)?;
        let keys = export::verify(state, &handshake.announced)
            .and_then(|()| export::srtp_keys(state, self.role))
            .and_then(|keys| Ok((keys, state.marshal_binary().map_err(DtlsError::export)?)));
        let (keys, state) = match keys {
            Ok(done) => done,
            Err(error) => {
                // Without our last flight the peer never believes that it is connected.
                endpoint.stop(now, PEER);
                self.transmits.extend(drain(&mut endpoint));
                return Err(error);
            }
        };
        self.phase = Phase::Parked(state.into_boxed_slice());
        if self.role == DtlsRole::Server {
            self.send_flight(now, last_flight);
        } else {
            // The peer's Finished says that it has our last flight; it is never asked for again.
            self.last_flight = LastFlight::default();
        }
        self.last_flight.answered();
        Ok(DtlsEvent::Connected(keys))
    }

    fn handle_connected(&mut self, now: Instant, datagram: &[u8]) -> Option<DtlsEvent> {
        for record in Records::of(datagram) {
            match record.kind {
                // The peer's last flight again: it never got ours.
                HANDSHAKE => self.repeat_if_due(now),
                ALERT if record.epoch == 0 => self.ignored += 1,
                ALERT if self.opens_to_alert(now, record.whole) => {
                    self.forget();
                    return Some(DtlsEvent::Closed);
                }
                _ => {}
            }
        }
        None
    }

    /// Whether an encrypted record is a fatal alert or a goodbye that the peer really sent.
    fn opens_to_alert(&mut self, now: Instant, record: &[u8]) -> bool {
        let Some(mut endpoint) = self.unparked(now) else { return false };
        let ends = match endpoint.read(now, PEER, None, BytesMut::from(record)) {
            Ok(events) => events.iter().any(|event| matches!(event, EndpointEvent::PeerClosed)),
            // Only what was decrypted can be fatal; other errors are about the form of a record that anyone can write.
            Err(error) => matches!(error, Error::ErrAlertFatalOrClose),
        };
        if ends {
            self.transmits.extend(drain(&mut endpoint));
        } else {
            // The parked state stays as it was, and nothing was sent from this copy of it: no record number is used twice.
            self.ignored += 1;
        }
        ends
    }

    /// A parked association brought back to life for one record; it stays parked.
    fn unparked(&self, now: Instant) -> Option<Endpoint> {
        let Phase::Parked(parked) = &self.phase else { return None };
        let mut state = State::new(self.identity.provider(), self.role == DtlsRole::Client);
        let mut endpoint = Endpoint::new(PEER, TransportProtocol::UDP, None);
        state.unmarshal_binary(parked).ok()?;
        endpoint.connect(now, PEER, self.identity.client(), Some(state)).ok()?;
        Some(endpoint)
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
        let Some(endpoint) = &mut handshake.endpoint else { return false };
        if !self.last_flight.takes_library_repeat() || endpoint.handle_timeout(PEER, now).is_err() {
            return false;
        }
        let flight = drain(endpoint);
        let repeats = !flight.is_empty();
        self.transmits.extend(flight);
        repeats
    }

    /// The peer repeats itself, so our last flight may be lost.
    fn repeat_if_due(&mut self, now: Instant) {
        if !self.is_answered() && self.last_flight.may_repeat(now) {
            self.repeat_flight(now);
        }
    }
}

/// Everything that `endpoint` wants to send.
fn drain(endpoint: &mut Endpoint) -> Vec<Bytes> {
    std::iter::from_fn(|| endpoint.poll_transmit()).map(|transmit| transmit.message.freeze()).collect()
}

/// The description of an alert that would end the handshake if it were signed.
fn fatal_alert(record: &Record<'_>) -> Option<u8> {
    match *record.body {
        [level, description] if level == FATAL || description == CLOSE_NOTIFY => Some(description),
        _ => None,
    }
}

/// Alert levels and descriptions (RFC 5246 §7.2).
const FATAL: u8 = 2;
const CLOSE_NOTIFY: u8 = 0;
const HANDSHAKE_FAILURE: u8 = 40;

/// The description of a fatal alert that our own datagram carries in plain text.
fn alert_of(datagram: &[u8]) -> Option<u8> {
    Records::of(datagram).filter(|record| record.kind == ALERT && record.epoch == 0).find_map(|record| {
        match *record.body {
            [FATAL, description] => Some(description),
            _ => None,
        }
    })
}
