//! What the peer sent of its current flight, until it is whole.
//!
//! In: plain-text handshake records, and the cipher change and Finished that end a handshake. Out: each flight
//! whole, in order and once; `rtc-dtls` takes it as one datagram.

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::reassembly::{Inserted, Reassembly};
use super::record::{Fragments, HANDSHAKE, HANDSHAKE_HEADER_BYTES, Record, Records, write_record};

/// Records (cipher change and Finished) that may wait for the rest of their flight. Full means: the oldest is dropped, as
/// if lost; a repetition is more likely to be complete than its forerunner.
const EARLY_CAPACITY: usize = 4;

/// Bytes of the longest Finished record that may wait: real ones have some 60.
const EARLY_MAX_BYTES: usize = 256;

/// Encrypted records handed to the library while the handshake lasts; each may be a guess. Full means: dropped, the handshake
/// times out. Our own handshake takes any number: a wrong one costs it a block of AES.
const FINISHED_TRIES: u16 = 64;

/// Messages of one flight; the longest has six. Full means: the peer wants no handshake, [`Input::Excess`].
const FLIGHT_CAPACITY_MESSAGES: usize = 8;

/// Bytes of one flight: room for a certificate with a chain of RSA keys. Full means the same.
const FLIGHT_CAPACITY_BYTES: usize = 24 * 1024;

/// Handshake types (RFC 5246 §7.4, RFC 6347 §4.3.2).
const CLIENT_HELLO: u8 = 1;
const HELLO_VERIFY_REQUEST: u8 = 3;
const CERTIFICATE: u8 = 11;
const SERVER_HELLO_DONE: u8 = 14;
const CERTIFICATE_VERIFY: u8 = 15;
const CLIENT_KEY_EXCHANGE: u8 = 16;

/// Bytes of a Certificate message without a certificate: header and an empty list.
const EMPTY_CERTIFICATE_BYTES: usize = HANDSHAKE_HEADER_BYTES + 3;

/// What a handshake goes on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The peer's flight is whole: [`Inbound::messages`].
    Flight,
    /// Records that may end the handshake, as one datagram.
    Ending(BytesMut),
    /// More came than any flight has, without an end of it.
    Excess,
}

/// The peer's side of a handshake.
#[derive(Debug, Default)]
pub struct Inbound {
    reassembly: Reassembly,
    /// Whole messages of the current flight.
    held: Vec<Vec<u8>>,
    held_bytes: usize,
    /// Whether there is a certificate among them.
    certified: bool,
    /// Records that came before the flight they belong to was whole.
    early: SmallVec<[Bytes; EARLY_CAPACITY]>,
    keyed: bool,
    /// Sequence number of the next plain-text record that the library sees.
    next_record: u64,
    finished_tries: u16,
    /// A hello after the first, if it is of interest.
    other_hello: Option<Reassembly>,
    /// Whether nothing in plain text is of interest any more.
    proved: bool,
}

impl Inbound {
    /// Takes a plain-text handshake record. Returns whether the peer repeats what was handed on before.
    pub fn take(&mut self, record: &Record<'_>) -> bool {
        let mut repeated = false;
        for fragment in Fragments::of(record.body).filter(|_| !self.proved) {
            if let Some(other) = self.other_hello.as_mut().filter(|_| fragment.sequence == 0) {
                other.insert(&fragment);
                continue;
            }
            repeated |= self.reassembly.insert(&fragment) == Inserted::Repeated;
        }
        repeated
    }

    /// Whether keys are agreed on: only the peer's Finished is awaited.
    pub fn is_keyed(&self) -> bool {
        self.keyed
    }

    /// The messages of a whole flight, each in one piece.
    pub fn messages(&self) -> &[Vec<u8>] {
        &self.held
    }

    /// The flight was handed on: forgets it.
    pub fn handed_on(&mut self) {
        self.held.clear();
        self.held_bytes = 0;
        self.certified = false;
    }

    /// A hello was handed on that may not be the client's: others are told from now on.
    pub fn begun(&mut self) {
        self.handed_on();
        self.other_hello = Some(Reassembly::default());
    }

    /// A whole first message after the first hello; the same one if the client repeats it.
    pub fn other_hello(&mut self) -> Option<Vec<u8>> {
        let other = self.other_hello.as_mut()?;
        let message = other.pop()?;
        *other = Reassembly::default();
        Some(message)
    }

    /// The flight was not the peer's: whatever follows the hello is awaited anew.
    pub fn rewind(&mut self) {
        self.handed_on();
        self.reassembly = Reassembly::after(0);
        self.keyed = false;
    }

    /// The peer has proved who it is; nothing but its Finished is awaited.
    pub fn proved(&mut self) {
        self.handed_on();
        self.reassembly = Reassembly::default();
        self.other_hello = None;
        self.keyed = true;
        self.proved = true;
    }

    /// Keeps a cipher change or Finished until the flight before it is whole.
    pub fn keep_early(&mut self, record: &Record<'_>) {
        if record.whole.len() > EARLY_MAX_BYTES {
            return;
        }
        if self.early.len() >= EARLY_CAPACITY {
            self.early.remove(0);
        }
        self.early.push(Bytes::copy_from_slice(record.whole));
    }

    /// What the library is to see next: a whole flight, or once keys are agreed on whatever ends the handshake.
    pub fn next_input(&mut self) -> Option<Input> {
        while let Some(message) = self.reassembly.pop() {
            let kind = message.first().copied().unwrap_or_default();
            self.held_bytes += message.len();
            self.certified |= kind == CERTIFICATE && message.len() > EMPTY_CERTIFICATE_BYTES;
            self.held.push(message);
            if self.ends_flight(kind) {
                return Some(Input::Flight);
            }
            if self.held.len() >= FLIGHT_CAPACITY_MESSAGES || self.held_bytes > FLIGHT_CAPACITY_BYTES {
                return Some(Input::Excess);
            }
        }
        if self.keyed && !self.early.is_empty() {
            return self.finished().map(Input::Ending);
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
                self.keyed |= !self.certified;
                !self.certified
            }
            _ => false,
        }
    }

    /// The messages of a whole flight as one datagram.
    pub fn flight(&mut self) -> BytesMut {
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
            self.finished_tries = self.finished_tries.saturating_add(1);
            if record.epoch == 0 {
                write_record(&mut datagram, record.kind, self.next_record, record.body);
                self.next_record += 1;
            } else {
                datagram.extend_from_slice(record.whole);
            }
        }
        Some(datagram).filter(|_| self.proved || self.finished_tries <= FINISHED_TRIES)
    }
}
