//! One DTLS association: which flight is awaited, which is repeated, and what is kept once the handshake is done.
//!
//! In: datagrams, time, the wish to close. Out: datagrams, then keys, then the end. `rtc-dtls` is handed each flight of
//! the peer in one piece, because part of one stops its timer; and when a flight is repeated is decided here, because
//! its interval is fixed and a repetition by the peer means nothing to it.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::state::State;
use rtc_shared::TransportProtocol;
use smallvec::SmallVec;

use super::error::DtlsError;
use super::reassembly::{Inserted, Reassembly};
use super::record::{ALERT, CHANGE_CIPHER_SPEC, Fragments, HANDSHAKE, Record, Records, write_record};
use super::{DtlsIdentity, export, hello};
use crate::media::keys::SrtpKeys;
use crate::media::negotiated::{DtlsRole, Fingerprint};

/// The library keys associations by address; ours outlives changes of address, so it gets one that never changes (from
/// the documentation prefix, RFC 5737).
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 1);

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

/// Records (cipher change and Finished) that may wait for the rest of their flight. Full means: dropped, as if lost.
const EARLY_CAPACITY: usize = 4;

/// Bytes of the longest Finished record that may wait: real ones have some 60.
const EARLY_MAX_BYTES: usize = 256;

/// Encrypted records handed on while the handshake lasts; each may be a guess. Full means: dropped, the handshake times out.
const FINISHED_TRIES: u16 = 64;

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
    /// Our last flight.
    flight: Vec<Bytes>,
    flight_sent: Option<Instant>,
    repeat_at: Option<Instant>,
    repeat_interval: Duration,
    repeats: u32,
    transmits: VecDeque<Bytes>,
}

enum Phase {
    Handshaking(Box<Handshake>),
    /// The library's state, serialised: an association that only waits for `close_notify` needs no more.
    Parked(Box<[u8]>),
    /// Unparked by a record that had to be opened.
    Open(Box<Endpoint>),
    Over,
}

struct Handshake {
    endpoint: Option<Endpoint>,
    announced: Vec<Fingerprint>,
    reassembly: Reassembly,
    /// Whole messages of the peer's current flight.
    held: Vec<Vec<u8>>,
    /// Records that came before the flight they belong to was whole.
    early: SmallVec<[Bytes; EARLY_CAPACITY]>,
    /// The keys are agreed on; the peer's Finished is awaited.
    keyed: bool,
    /// Sequence number of the next plain-text record that the library sees.
    next_record: u64,
    finished_tries: u16,
}

impl Dtls {
    /// An association that has not begun. `announced` is what the peer's certificate must hash to, at least one.
    pub fn new(role: DtlsRole, identity: Arc<DtlsIdentity>, announced: Vec<Fingerprint>) -> Self {
        let handshake = Handshake {
            endpoint: None,
            announced,
            reassembly: Reassembly::default(),
            held: Vec::new(),
            early: SmallVec::new(),
            keyed: false,
            next_record: 0,
            finished_tries: 0,
        };
        Self {
            role,
            identity,
            phase: Phase::Handshaking(Box::new(handshake)),
            flight: Vec::new(),
            flight_sent: None,
            repeat_at: None,
            repeat_interval: Duration::ZERO,
            repeats: 0,
            transmits: VecDeque::new(),
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
            Phase::Parked(_) | Phase::Open(_) => Ok(self.handle_connected(now, datagram)),
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
        self.repeat_at
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.repeat_at.is_some_and(|at| at <= now) {
            self.repeat_flight(now);
            self.repeat_interval = (self.repeat_interval * 2).min(LAST_REPEAT);
            self.repeat_at = Some(now + self.repeat_interval);
        }
    }

    /// Says goodbye to a peer that a handshake was finished with, and forgets everything.
    pub fn close(&mut self, now: Instant) {
        self.open(now);
        if let Phase::Open(endpoint) = &mut self.phase {
            endpoint.stop(now, PEER);
            self.transmits.extend(drain(endpoint));
        }
        self.forget();
    }

    fn forget(&mut self) {
        self.phase = Phase::Over;
        self.repeat_at = None;
        self.flight = Vec::new();
    }

    fn continue_handshake(&mut self, now: Instant, datagram: &[u8]) -> Result<Option<DtlsEvent>, DtlsError> {
        let Phase::Handshaking(handshake) = &mut self.phase else { return Ok(None) };
        let mut repeated = false;
        for record in Records::of(datagram) {
            match (record.epoch, record.kind) {
                (0, HANDSHAKE) => {
                    for fragment in Fragments::of(record.body) {
                        repeated |= handshake.reassembly.insert(&fragment) == Inserted::Repeated;
                    }
                }
                (0, ALERT) => check_alert(&record)?,
                (0, CHANGE_CIPHER_SPEC) | (1, HANDSHAKE) => handshake.keep_early(&record),
                _ => {}
            }
        }
        let mut event = None;
        while event.is_none() {
            let Phase::Handshaking(handshake) = &mut self.phase else { break };
            let Some(input) = handshake.next_input() else { break };
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
        let endpoint = match &mut handshake.endpoint {
            Some(endpoint) => endpoint,
            // A client's association exists since `start`, so this is a server's first flight.
            None => {
                let hello = handshake.held.first().map(Vec::as_slice).unwrap_or_default();
                let profile = hello::choose_profile(hello).inspect_err(|_| {
                    let mut alert = BytesMut::new();
                    write_record(&mut alert, ALERT, 0, &[FATAL, HANDSHAKE_FAILURE]);
                    self.transmits.push_back(alert.freeze());
                })?;
                let config = self.identity.server(profile);
                handshake.endpoint.insert(Endpoint::new(PEER, TransportProtocol::UDP, Some(config)))
            }
        };
        handshake.held.clear();
        let result = endpoint.read(now, PEER, None, input);
        let answer = drain(endpoint);
        let events = match result {
            Ok(events) => events,
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
            self.repeat_at = None;
        }
        Ok(None)
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
            self.flight = Vec::new();
        }
        self.repeat_at = None;
        Ok(DtlsEvent::Connected(keys))
    }

    fn handle_connected(&mut self, now: Instant, datagram: &[u8]) -> Option<DtlsEvent> {
        for record in Records::of(datagram) {
            match record.kind {
                // The peer's last flight again: it never got ours.
                HANDSHAKE => self.repeat_if_due(now),
                ALERT if record.epoch > 0 && self.opens_to_alert(now, record.whole) => {
                    self.forget();
                    return Some(DtlsEvent::Closed);
                }
                _ => {}
            }
        }
        None
    }

    /// Whether an encrypted record is an alert that the peer really sent. Any alert ends the association.
    fn opens_to_alert(&mut self, now: Instant, record: &[u8]) -> bool {
        self.open(now);
        let Phase::Open(endpoint) = &mut self.phase else { return false };
        let result = endpoint.read(now, PEER, None, BytesMut::from(record));
        self.transmits.extend(drain(endpoint));
        match result {
            Ok(events) => events.iter().any(|event| matches!(event, EndpointEvent::PeerClosed)),
            // Forged records are dropped by the library without an error.
            Err(_) => true,
        }
    }

    /// Brings a parked association back to life.
    fn open(&mut self, now: Instant) {
        let Phase::Parked(parked) = &self.phase else { return };
        let mut state = State::new(self.identity.provider(), self.role == DtlsRole::Client);
        let mut endpoint = Endpoint::new(PEER, TransportProtocol::UDP, None);
        let restored = state
            .unmarshal_binary(parked)
            .and_then(|()| endpoint.connect(now, PEER, self.identity.client(), Some(state)));
        self.phase = match restored {
            Ok(()) => Phase::Open(Box::new(endpoint)),
            Err(_) => Phase::Over,
        };
    }

    /// Whether the peer has our last flight but its answer is not whole: then only its timer can help.
    fn is_answered(&self) -> bool {
        match &self.phase {
            Phase::Handshaking(handshake) => handshake.keyed && self.role == DtlsRole::Server,
            _ => false,
        }
    }

    fn send_flight(&mut self, now: Instant, flight: Vec<Bytes>) {
        self.transmits.extend(flight.iter().cloned());
        self.flight = flight;
        self.flight_sent = Some(now);
        self.repeats = 0;
        self.repeat_interval = match self.role {
            DtlsRole::Client => FIRST_REPEAT_CLIENT,
            DtlsRole::Server => FIRST_REPEAT_SERVER,
        };
        self.repeat_at = Some(now + self.repeat_interval);
    }

    fn repeat_flight(&mut self, now: Instant) {
        if !self.repeat_with_new_numbers(now) {
            self.transmits.extend(self.flight.iter().cloned());
        }
        self.flight_sent = Some(now);
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
        if self.repeats >= LIBRARY_REPEATS || endpoint.handle_timeout(PEER, now).is_err() {
            return false;
        }
        let flight = drain(endpoint);
        self.repeats += u32::from(!flight.is_empty());
        self.transmits.extend(flight.iter().cloned());
        !flight.is_empty()
    }

    /// The peer repeats itself, so our last flight may be lost.
    fn repeat_if_due(&mut self, now: Instant) {
        if self.is_answered() {
            return;
        }
        let due = self.flight_sent.is_none_or(|at| now.saturating_duration_since(at) >= REPEAT_GUARD);
        if due {
            self.repeat_flight(now);
        }
    }
}

impl Handshake {
    /// Keeps a cipher change or Finished until the flight before it is whole.
    fn keep_early(&mut self, record: &Record<'_>) {
        if record.whole.len() > EARLY_MAX_BYTES {
            return;
        }
        // The newest are kept: a repetition is more likely to be complete than its forerunner.
        if self.early.len() >= EARLY_CAPACITY {
            self.early.remove(0);
        }
        self.early.push(Bytes::copy_from_slice(record.whole));
    }

    /// What the library is to see next: a whole flight, or once keys are agreed on whatever ends the handshake.
    fn next_input(&mut self) -> Option<BytesMut> {
        while let Some(message) = self.reassembly.pop() {
            let kind = message.first().copied().unwrap_or_default();
            self.held.push(message);
            if self.ends_flight(kind) {
                return Some(self.flight());
            }
        }
        if self.keyed && !self.early.is_empty() {
            return self.finished();
        }
        None
    }

    /// Whether the peer's flight is whole with a message of this type; notes when keys are agreed on with it.
    fn ends_flight(&mut self, kind: u8) -> bool {
        match kind {
            CLIENT_HELLO | HELLO_VERIFY_REQUEST => true,
            SERVER_HELLO_DONE | CERTIFICATE_VERIFY => {
                self.keyed = true;
                true
            }
            CLIENT_KEY_EXCHANGE => {
                let certified = self.held.iter().any(|message| {
                    message.first() == Some(&CERTIFICATE) && message.len() > EMPTY_CERTIFICATE_BYTES
                });
                self.keyed |= !certified;
                !certified
            }
            _ => false,
        }
    }

    /// The held messages as one datagram.
    fn flight(&mut self) -> BytesMut {
        let mut datagram = BytesMut::new();
        for message in &self.held {
            write_record(&mut datagram, HANDSHAKE, self.next_record, message);
            self.next_record += 1;
        }
        datagram
    }

    /// The early records as one datagram; `None` once there were too many.
    fn finished(&mut self) -> Option<BytesMut> {
        let mut datagram = BytesMut::new();
        for early in std::mem::take(&mut self.early) {
            let Some(record) = Records::of(&early).next() else { continue };
            self.finished_tries += 1;
            if record.epoch == 0 {
                write_record(&mut datagram, record.kind, self.next_record, record.body);
                self.next_record += 1;
            } else {
                datagram.extend_from_slice(record.whole);
            }
        }
        Some(datagram).filter(|_| self.finished_tries <= FINISHED_TRIES)
    }
}

/// Handshake types (RFC 5246 §7.4, RFC 6347 §4.3.2).
const CLIENT_HELLO: u8 = 1;
const HELLO_VERIFY_REQUEST: u8 = 3;
const CERTIFICATE: u8 = 11;
const SERVER_HELLO_DONE: u8 = 14;
const CERTIFICATE_VERIFY: u8 = 15;
const CLIENT_KEY_EXCHANGE: u8 = 16;

/// Bytes of a Certificate message without a certificate: header and an empty list.
const EMPTY_CERTIFICATE_BYTES: usize = super::record::HANDSHAKE_HEADER_BYTES + 3;

/// Everything that `endpoint` wants to send.
fn drain(endpoint: &mut Endpoint) -> Vec<Bytes> {
    std::iter::from_fn(|| endpoint.poll_transmit()).map(|transmit| transmit.message.freeze()).collect()
}

/// Refuses to go on after an alert; warnings other than a goodbye are ignored.
fn check_alert(record: &Record<'_>) -> Result<(), DtlsError> {
    match *record.body {
        [level, description] if level == FATAL || description == CLOSE_NOTIFY => {
            Err(DtlsError::Alert(description))
        }
        _ => Ok(()),
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
