//! Our own side of a DTLS 1.2 handshake as server, for the clients that practically all are: ECDHE with our ECDSA key,
//! AES-128-GCM, extended master secret, a certificate of the client's.
//!
//! In: the client's flights, whole and once. Out: ours, then keys. Whatever the client proves is checked before anything is
//! taken from it: that its certificate is announced, that it has its key, that it saw the handshake we did.
//!
//! ```text
//! ClientHello                                     -->
//!                                                 <--  ServerHello, Certificate, ServerKeyExchange,
//!                                                      CertificateRequest, ServerHelloDone
//! Certificate, ClientKeyExchange,
//! CertificateVerify, [ChangeCipherSpec], Finished -->
//!                                                 <--  [ChangeCipherSpec], Finished
//! ```
//!
//! There is no HelloVerifyRequest, whose cookie proves that the client receives at its address (RFC 6347 §4.2.1). ICE-lite does
//! not prove that, only that a session's owner named the address: `repetition` bounds what is sent there for nothing.

mod flight;
mod proof;

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use aws_lc_rs::tls_prf::{P_SHA256, Secret};
use bytes::{Bytes, BytesMut};
use subtle::ConstantTimeEq;

use self::flight::Parameters;
use self::proof::Proof;
use super::alert;
use super::error::DtlsError;
use super::export;
use super::hello::{Group, RANDOM_BYTES, Terms};
use super::identity::DtlsIdentity;
use super::record::{CHANGE_CIPHER_SPEC, HANDSHAKE, Record, Records, write_record};
use super::session::{KEY_BLOCK_BYTES, Session};
use crate::media::keys::SrtpKeys;
use crate::media::negotiated::{DtlsRole, Fingerprint};

/// Bytes of a master secret (RFC 5246 §8.1).
const MASTER_SECRET_BYTES: usize = 48;

/// Bytes of what a Finished proves (RFC 5246 §7.4.9).
const VERIFY_DATA_BYTES: usize = 12;

/// The number of our first plain-text record after our flight: the cipher change.
const CHANGE_CIPHER_SPEC_NUMBER: u64 = flight::MESSAGES;

/// Why a handshake ends early, and what the client is told.
#[derive(Debug)]
pub struct Failure {
    /// The description of the fatal alert to send.
    pub alert: u8,
    /// For the log.
    pub error: DtlsError,
}

impl Failure {
    /// The client is told by an alert, which says it all.
    pub fn refused(alert: u8) -> Self {
        Self { alert, error: DtlsError::Refused(alert) }
    }
}

impl From<Unspecified> for Failure {
    fn from(error: Unspecified) -> Self {
        Self { alert: alert::INTERNAL_ERROR, error: DtlsError::handshake(error) }
    }
}

/// A handshake that a ClientHello has begun.
pub struct ServerHandshake {
    terms: Terms,
    random: [u8; RANDOM_BYTES],
    /// Of this handshake only, until it was used.
    private_key: Option<PrivateKey>,
    /// All handshake messages so far, each as if it had come whole (RFC 6347 §4.2.6).
    transcript: Vec<u8>,
    secrets: Option<Secrets>,
}

/// What follows from the key exchange.
struct Secrets {
    master: Secret,
    session: Session,
}

/// A finished handshake.
pub struct Finished {
    /// Our last flight.
    pub flight: Bytes,
    /// For the media.
    pub keys: SrtpKeys,
    /// For what is still said by DTLS.
    pub session: Session,
}

impl ServerHandshake {
    /// Answers `hello`, a whole ClientHello of these terms. The flight fits one datagram.
    ///
    /// # Errors
    ///
    /// Fails if there is no randomness.
    pub fn begin(identity: &DtlsIdentity, hello: &[u8], terms: Terms) -> Result<(Self, Bytes), Failure> {
        let mut random = [0; RANDOM_BYTES];
        rand::fill(&mut random)?;
        let private_key = PrivateKey::generate(algorithm(terms.group))?;
        let share = private_key.compute_public_key()?;
        let parameters = Parameters { terms: &terms, random: &random, share: share.as_ref() };
        let mut transcript = Vec::with_capacity(flight::TRANSCRIPT_BYTES);
        transcript.extend_from_slice(hello);
        let datagram = flight::write(identity, &parameters, &mut transcript)?;
        Ok((Self { terms, random, private_key: Some(private_key), transcript, secrets: None }, datagram))
    }

    /// Whether `hello` is the one that began it.
    pub fn answers(&self, hello: &[u8]) -> bool {
        self.transcript.starts_with(hello)
    }

    /// Reads the client's second flight and checks that the owner of its certificate has signed it in this handshake. Whose
    /// that is stays open.
    ///
    /// # Errors
    ///
    /// Fails if not; nothing is changed then, as anyone could have sent it.
    pub fn check<'a>(&mut self, messages: &'a [Vec<u8>]) -> Result<Proof<'a>, Failure> {
        let proof = Proof::read(messages)?;
        let before = self.transcript.len();
        let [certificate, key_exchange, _] = proof.messages;
        self.transcript.extend_from_slice(certificate);
        self.transcript.extend_from_slice(key_exchange);
        let verified = proof.verify(&self.transcript);
        if verified.is_err() {
            self.transcript.truncate(before);
        }
        verified.map(|()| proof)
    }

    /// Takes what [`Self::check`] read: the client's certificate and its share.
    ///
    /// # Errors
    ///
    /// Fails if they are not what they should be; the handshake is over then.
    pub fn take_proof(&mut self, proof: &Proof<'_>, announced: &[Fingerprint]) -> Result<(), Failure> {
        export::verify(proof.certificate, announced)
            .map_err(|error| Failure { alert: alert::BAD_CERTIFICATE, error })?;
        let [_, _, certificate_verify] = proof.messages;
        let private_key = self.private_key.take().ok_or(Failure::refused(alert::UNEXPECTED_MESSAGE))?;
        if !self.terms.group.has_form_of(proof.share) {
            return Err(Failure::refused(alert::ILLEGAL_PARAMETER));
        }
        let session_hash = digest::digest(&SHA256, &self.transcript);
        let share = UnparsedPublicKey::new(algorithm(self.terms.group), proof.share);
        let master =
            agreement::agree(&private_key, share, Failure::refused(alert::ILLEGAL_PARAMETER), |secret| {
                let label = b"extended master secret";
                Ok(derive(secret, label, session_hash.as_ref(), &[], MASTER_SECRET_BYTES)?)
            })?;
        let (client, server) = (&self.terms.random, &self.random);
        let key_block = derive(master.as_ref(), b"key expansion", server, client, KEY_BLOCK_BYTES)?;
        self.secrets = Some(Secrets { master, session: Session::new(key_block) });
        self.transcript.extend_from_slice(certificate_verify);
        Ok(())
    }

    /// Takes what may be the client's Finished; `None` if none of the records is from the client.
    ///
    /// # Errors
    ///
    /// Fails if the client saw another handshake than we did; ours is over then.
    pub fn take_finished(&mut self, records: &[u8]) -> Result<Option<Finished>, Failure> {
        let Some(secrets) = &mut self.secrets else { return Ok(None) };
        let is_sealed = |record: &Record<'_>| record.epoch != 0 && record.kind == HANDSHAKE;
        // What is sealed with the new keys says by itself that they are in use: the cipher change may be lost.
        let opened = Records::of(records).filter(is_sealed).find_map(|record| secrets.session.open(&record));
        let Some(message) = opened else { return Ok(None) };
        let master = secrets.master.as_ref();
        let expected = verify_data(master, b"client finished", &self.transcript)?;
        let proved = proof::verify_data(&message).ok_or(Failure::refused(alert::UNEXPECTED_MESSAGE))?;
        if !bool::from(expected.as_ref().ct_eq(proved)) {
            return Err(Failure::refused(alert::DECRYPT_ERROR));
        }
        self.transcript.extend_from_slice(&message);
        let proves = verify_data(master, b"server finished", &self.transcript)?;
        let (client, server, profile) = (&self.terms.random, &self.random, self.terms.profile);
        let length = export::material_bytes(profile);
        let material = derive(master, export::LABEL.as_bytes(), client, server, length)?;
        let keys = export::split(profile, DtlsRole::Server, material.as_ref());
        let mut flight = BytesMut::new();
        write_record(&mut flight, CHANGE_CIPHER_SPEC, CHANGE_CIPHER_SPEC_NUMBER, &[1]);
        let Some(Secrets { mut session, .. }) = self.secrets.take() else { return Ok(None) };
        session.seal(&mut flight, HANDSHAKE, &flight::finished(proves.as_ref()))?;
        Ok(Some(Finished { flight: flight.freeze(), keys, session }))
    }
}

/// The key exchange of a group.
fn algorithm(group: Group) -> &'static agreement::Algorithm {
    match group {
        Group::X25519 => &agreement::X25519,
        Group::P256 => &agreement::ECDH_P256,
    }
}

/// The pseudo-random function of TLS 1.2 (RFC 5246 §5) over two seeds, one after the other.
fn derive(
    secret: &[u8],
    label: &[u8],
    first: &[u8],
    second: &[u8],
    bytes: usize,
) -> Result<Secret, Unspecified> {
    Secret::new(&P_SHA256, secret)?.derive_with_seed_concatination(label, first, second, bytes)
}

/// What a Finished after `transcript` proves.
fn verify_data(master: &[u8], label: &[u8], transcript: &[u8]) -> Result<Secret, Unspecified> {
    let hash = digest::digest(&SHA256, transcript);
    derive(master, label, hash.as_ref(), &[], VERIFY_DATA_BYTES)
}

#[cfg(test)]
mod tests;
