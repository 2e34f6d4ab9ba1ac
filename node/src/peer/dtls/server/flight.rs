//! Writes the server's messages (RFC 5246 §7.4, RFC 8422 §5).

use aws_lc_rs::error::Unspecified;
use bytes::{BufMut, Bytes, BytesMut};

use crate::peer::dtls::hello::{
    CIPHER_SUITE, RANDOM_BYTES, SIGNATURE_SCHEME, Terms, VERSION, extension, profile_number,
};
use crate::peer::dtls::identity::{DtlsIdentity, HANDSHAKE_MTU_BYTES};
use crate::peer::dtls::record::{HANDSHAKE, write_record};

use super::proof::SCHEMES;

/// Messages of our first flight, each in a record of its own.
pub const MESSAGES: u64 = 5;

/// Bytes of a whole handshake's messages, so that they are written down without moving them: some 300 of the ClientHello
/// (1,600 with post-quantum key shares), 700 of ours, 700 of the client's with an ECDSA key.
pub const TRANSCRIPT_BYTES: usize = 2_048;

/// Handshake types (RFC 5246 §7.4).
const SERVER_HELLO: u8 = 2;
const CERTIFICATE: u8 = 11;
const SERVER_KEY_EXCHANGE: u8 = 12;
const CERTIFICATE_REQUEST: u8 = 13;
const SERVER_HELLO_DONE: u8 = 14;
const FINISHED: u8 = 20;

/// `named_curve` (RFC 8422 §5.4).
const NAMED_CURVE: u8 = 3;

/// Kinds of certificates that we ask for, `ecdsa_sign` and `rsa_sign` (RFC 8422 §5.5, RFC 5246 §7.4.4).
const CERTIFICATE_TYPES: [u8; 2] = [64, 1];

/// What a first flight says.
pub struct Parameters<'a> {
    /// What the client's hello led to.
    pub terms: &'a Terms,
    /// Ours.
    pub random: &'a [u8; RANDOM_BYTES],
    /// Our half of the key exchange.
    pub share: &'a [u8],
}

/// Writes our first flight as one datagram, and its messages to `transcript`.
///
/// # Errors
///
/// Fails if our key does not sign.
pub fn write(
    identity: &DtlsIdentity,
    parameters: &Parameters<'_>,
    transcript: &mut Vec<u8>,
) -> Result<Bytes, Unspecified> {
    let mut flight =
        Flight { datagram: BytesMut::with_capacity(HANDSHAKE_MTU_BYTES), transcript, messages: 0 };
    flight.message(SERVER_HELLO, &server_hello(parameters));
    flight.message(CERTIFICATE, &certificate(identity.certificate()));
    flight.message(SERVER_KEY_EXCHANGE, &key_exchange(identity, parameters)?);
    flight.message(CERTIFICATE_REQUEST, &certificate_request());
    flight.message(SERVER_HELLO_DONE, &[]);
    Ok(flight.datagram.freeze())
}

/// Our Finished.
pub fn finished(verify_data: &[u8]) -> Vec<u8> {
    message(FINISHED, MESSAGES as u16, verify_data)
}

struct Flight<'a> {
    datagram: BytesMut,
    transcript: &'a mut Vec<u8>,
    messages: u16,
}

impl Flight<'_> {
    fn message(&mut self, kind: u8, body: &[u8]) {
        let message = message(kind, self.messages, body);
        write_record(&mut self.datagram, HANDSHAKE, u64::from(self.messages), &message);
        self.transcript.extend_from_slice(&message);
        self.messages += 1;
    }
}

/// A handshake message in one piece (RFC 6347 §4.2.2).
fn message(kind: u8, sequence: u16, body: &[u8]) -> Vec<u8> {
    let length = body.len() as u64;
    let mut message = Vec::with_capacity(12 + body.len());
    message.put_u8(kind);
    message.put_uint(length, 3);
    message.put_u16(sequence);
    message.put_uint(0, 3);
    message.put_uint(length, 3);
    message.put_slice(body);
    message
}

fn server_hello(parameters: &Parameters<'_>) -> Vec<u8> {
    let terms = parameters.terms;
    let mut extensions = Vec::with_capacity(32);
    if terms.renegotiation_info {
        put_extension(&mut extensions, extension::RENEGOTIATION_INFO, &[0]);
    }
    put_extension(&mut extensions, extension::EXTENDED_MASTER_SECRET, &[]);
    let [high, low] = profile_number(terms.profile).to_be_bytes();
    // One profile and no MKI (RFC 5764 §4.1.1).
    put_extension(&mut extensions, extension::USE_SRTP, &[0, 2, high, low, 0]);
    if terms.point_formats {
        put_extension(&mut extensions, extension::EC_POINT_FORMATS, &[1, 0]);
    }
    let mut body = Vec::with_capacity(80);
    body.put_slice(&VERSION);
    body.put_slice(parameters.random);
    // Sessions are not resumed, so they have no id.
    body.put_u8(0);
    body.put_u16(CIPHER_SUITE);
    body.put_u8(0);
    body.put_u16(extensions.len() as u16);
    body.put_slice(&extensions);
    body
}

fn put_extension(extensions: &mut Vec<u8>, number: u16, value: &[u8]) {
    extensions.put_u16(number);
    extensions.put_u16(value.len() as u16);
    extensions.put_slice(value);
}

fn certificate(der: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(6 + der.len());
    body.put_uint(der.len() as u64 + 3, 3);
    body.put_uint(der.len() as u64, 3);
    body.put_slice(der);
    body
}

fn key_exchange(identity: &DtlsIdentity, parameters: &Parameters<'_>) -> Result<Vec<u8>, Unspecified> {
    let Parameters { terms, random, share } = parameters;
    let mut ours = Vec::with_capacity(4 + share.len());
    ours.put_u8(NAMED_CURVE);
    ours.put_u16(terms.group.number());
    ours.put_u8(share.len() as u8);
    ours.put_slice(share);
    let signature = identity.sign(&[&terms.random[..], &random[..], &ours].concat())?;
    let mut body = ours;
    body.put_u16(SIGNATURE_SCHEME);
    body.put_u16(signature.as_ref().len() as u16);
    body.put_slice(signature.as_ref());
    Ok(body)
}

fn certificate_request() -> Vec<u8> {
    let mut body = Vec::with_capacity(32);
    body.put_u8(CERTIFICATE_TYPES.len() as u8);
    body.put_slice(&CERTIFICATE_TYPES);
    body.put_u16(2 * SCHEMES.len() as u16);
    for scheme in SCHEMES {
        body.put_u16(scheme);
    }
    // No names of authorities: certificates are self-signed.
    body.put_u16(0);
    body
}
