//! Our own handshakes with one peer: one for each hello that may be the client's, until a client proves itself in one.
//!
//! In: hellos and flights in plain text, which anyone may have sent who knows the path. Out: answers; then the handshake that
//! the client signed for. A forged hello costs a signature and a forged flight a verification for each, so both are counted.

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use super::alert;
use super::hello::{ClientHello, Terms};
use super::identity::DtlsIdentity;
use super::server::{Failure, Finished, ServerHandshake};
use crate::media::negotiated::Fingerprint;

/// Hellos that are answered. Full means: others are ignored.
const HELLOS_CAPACITY: usize = 4;

/// Flights without a proof after which the client is told what is wrong with the last.
const UNPROVED_FLIGHTS: u8 = 8;

/// What a hello leads to.
pub enum Answer {
    /// It has not been heard before: our first flight.
    New(Bytes),
    /// It has: the same flight, which is the one to repeat from now on.
    Known(Bytes),
    /// It is ignored.
    None,
}

/// See the module.
pub struct Candidates {
    /// With our first flight of each.
    handshakes: SmallVec<[(ServerHandshake, Bytes); 1]>,
    unproved_flights: u8,
    refused: Option<u8>,
}

impl Candidates {
    /// Answers the first hello, as [`ServerHandshake::begin`] does.
    ///
    /// # Errors
    ///
    /// Fails if there is no randomness.
    pub fn begin(identity: &DtlsIdentity, hello: &[u8], terms: Terms) -> Result<(Self, Bytes), Failure> {
        let (handshake, flight) = ServerHandshake::begin(identity, hello, terms)?;
        let handshakes = smallvec![(handshake, flight.clone())];
        Ok((Self { handshakes, unproved_flights: 0, refused: None }, flight))
    }

    /// Answers one more first message.
    ///
    /// # Errors
    ///
    /// Fails if there is no randomness.
    pub fn answer(&mut self, identity: &DtlsIdentity, hello: &[u8]) -> Result<Answer, Failure> {
        let known = self.handshakes.iter().find(|(handshake, _)| handshake.answers(hello));
        if let Some((_, flight)) = known {
            return Ok(Answer::Known(flight.clone()));
        }
        let terms = ClientHello::read(hello).ok().and_then(|hello| hello.terms());
        let Some(terms) = terms.filter(|_| self.handshakes.len() < HELLOS_CAPACITY) else {
            return Ok(Answer::None);
        };
        let (handshake, flight) = ServerHandshake::begin(identity, hello, terms)?;
        self.handshakes.push((handshake, flight.clone()));
        Ok(Answer::New(flight))
    }

    /// Takes the client's second flight. Returns whether it proves that the client took part in one of the handshakes; the
    /// others are forgotten then.
    ///
    /// # Errors
    ///
    /// Fails if the client proves to be another one than announced, or if too many flights proved nothing.
    pub fn take_proof(&mut self, messages: &[Vec<u8>], announced: &[Fingerprint]) -> Result<bool, Failure> {
        let mut refusal = Failure::refused(alert::UNEXPECTED_MESSAGE);
        let mut proved = None;
        for (index, (handshake, _)) in self.handshakes.iter_mut().enumerate() {
            match handshake.check(messages) {
                Ok(proof) => {
                    handshake.take_proof(&proof, announced)?;
                    proved = Some(index);
                    break;
                }
                Err(failure) => refusal = failure,
            }
        }
        if let Some(index) = proved {
            self.handshakes.swap(0, index);
            self.handshakes.truncate(1);
            return Ok(true);
        }
        self.refused = Some(refusal.alert);
        self.unproved_flights += 1;
        if self.unproved_flights > UNPROVED_FLIGHTS { Err(refusal) } else { Ok(false) }
    }

    /// What was wrong with the last flight that proved nothing.
    pub fn refused(&self) -> Option<u8> {
        self.refused
    }

    /// As [`ServerHandshake::take_finished`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn take_finished(&mut self, records: &[u8]) -> Result<Option<Finished>, Failure> {
        match self.handshakes.first_mut() {
            Some((handshake, _)) => handshake.take_finished(records),
            None => Ok(None),
        }
    }
}
