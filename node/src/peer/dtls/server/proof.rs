//! Reads what the client says of itself and checks that it signed for it (RFC 5246 §7.4.6 to §7.4.9, RFC 8422 §5.7).

use aws_lc_rs::signature::{self, UnparsedPublicKey, VerificationAlgorithm};

use super::{Failure, VERIFY_DATA_BYTES};
use crate::peer::dtls::alert;
use crate::peer::dtls::fields::Fields;
use crate::peer::dtls::record::HANDSHAKE_HEADER_BYTES;

/// Signatures that we verify, in the order of the CertificateRequest: ECDSA with SHA-256 and more, Ed25519, RSA PKCS #1.
pub const SCHEMES: [u16; 7] = [0x0403, 0x0503, 0x0603, 0x0807, 0x0401, 0x0501, 0x0601];

/// Handshake types (RFC 5246 §7.4).
const CERTIFICATE: u8 = 11;
const CERTIFICATE_VERIFY: u8 = 15;
const CLIENT_KEY_EXCHANGE: u8 = 16;

/// A Finished message up to what it proves, but for its number.
const FINISHED: [u8; 4] = [20, 0, 0, VERIFY_DATA_BYTES as u8];
const IN_ONE_PIECE: [u8; 6] = [0, 0, 0, 0, 0, VERIFY_DATA_BYTES as u8];

/// Bytes of a point on the wire, not compressed.
const P384_POINT_BYTES: usize = 97;
const P521_POINT_BYTES: usize = 133;

/// The client's second flight up to the change of keys.
pub struct Proof<'a> {
    /// As they came, in order.
    pub messages: [&'a [u8]; 3],
    /// The client's certificate, DER.
    pub certificate: &'a [u8],
    /// Its half of the key exchange.
    pub share: &'a [u8],
    scheme: u16,
    signature: &'a [u8],
}

impl<'a> Proof<'a> {
    /// Reads the flight's messages.
    ///
    /// # Errors
    ///
    /// Fails if one is missing, comes in another's place or cannot be read.
    pub fn read(messages: &'a [Vec<u8>]) -> Result<Self, Failure> {
        let kinds = [CERTIFICATE, CLIENT_KEY_EXCHANGE, CERTIFICATE_VERIFY];
        let messages: [&[u8]; 3] = match messages {
            [certificate, key_exchange, verify] => [certificate, key_exchange, verify],
            // It was asked for a certificate and has none.
            [.., key_exchange] if key_exchange.first() == Some(&CLIENT_KEY_EXCHANGE) => {
                return Err(Failure::refused(alert::HANDSHAKE_FAILURE));
            }
            _ => return Err(Failure::refused(alert::UNEXPECTED_MESSAGE)),
        };
        if messages.map(|message| message.first().copied()) != kinds.map(Some) {
            return Err(Failure::refused(alert::UNEXPECTED_MESSAGE));
        }
        Self::fields(messages).ok_or(Failure::refused(alert::DECODE_ERROR))
    }

    fn fields(messages: [&'a [u8]; 3]) -> Option<Self> {
        let [mut certificate_message, mut key_exchange, mut verify] = messages.map(Fields);
        for message in [&mut certificate_message, &mut key_exchange, &mut verify] {
            message.skip(HANDSHAKE_HEADER_BYTES)?;
        }
        let mut chain = Fields(certificate_message.vector_24()?);
        let certificate = chain.vector_24()?;
        let share = key_exchange.vector_8()?;
        let (scheme, signature) = (verify.uint_16()?, verify.vector_16()?);
        let is_read = [certificate_message, key_exchange, verify].iter().all(Fields::is_empty);
        is_read.then_some(Self { messages, certificate, share, scheme, signature })
    }

    /// Whether the client has its certificate's key: it signed `transcript` with it.
    ///
    /// # Errors
    ///
    /// Fails if it does not, or if we cannot tell.
    pub fn verify(&self, transcript: &[u8]) -> Result<(), Failure> {
        let unreadable = |_| Failure::refused(alert::BAD_CERTIFICATE);
        let (_, certificate) = x509_parser::parse_x509_certificate(self.certificate).map_err(unreadable)?;
        let key = certificate.tbs_certificate.subject_pki.subject_public_key.data;
        let algorithm =
            algorithm(self.scheme, key.len()).ok_or(Failure::refused(alert::ILLEGAL_PARAMETER))?;
        UnparsedPublicKey::new(algorithm, key)
            .verify(transcript, self.signature)
            .map_err(|_| Failure::refused(alert::DECRYPT_ERROR))
    }
}

/// How a signature of one of [`SCHEMES`] is verified. In TLS 1.2 the number names no curve (RFC 8422 §5.1.3), but the length
/// of the key tells.
fn algorithm(scheme: u16, key_bytes: usize) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match (scheme, key_bytes) {
        (0x0403, P384_POINT_BYTES) => &signature::ECDSA_P384_SHA256_ASN1,
        (0x0403, P521_POINT_BYTES) => &signature::ECDSA_P521_SHA256_ASN1,
        (0x0403, _) => &signature::ECDSA_P256_SHA256_ASN1,
        (0x0503, P384_POINT_BYTES) => &signature::ECDSA_P384_SHA384_ASN1,
        (0x0503, P521_POINT_BYTES) => &signature::ECDSA_P521_SHA384_ASN1,
        (0x0503, _) => &signature::ECDSA_P256_SHA384_ASN1,
        (0x0603, P384_POINT_BYTES) => &signature::ECDSA_P384_SHA512_ASN1,
        (0x0603, P521_POINT_BYTES) => &signature::ECDSA_P521_SHA512_ASN1,
        (0x0603, _) => &signature::ECDSA_P256_SHA512_ASN1,
        (0x0807, _) => &signature::ED25519,
        (0x0401, _) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (0x0501, _) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (0x0601, _) => &signature::RSA_PKCS1_2048_8192_SHA512,
        _ => return None,
    })
}

/// What a Finished message proves; `None` if it is none.
pub fn verify_data(message: &[u8]) -> Option<&[u8]> {
    let mut fields = Fields(message);
    let (kind, _number, piece) = (fields.array()?, fields.uint_16()?, fields.array()?);
    let is_finished = kind == FINISHED && piece == IN_ONE_PIECE && fields.0.len() == VERIFY_DATA_BYTES;
    is_finished.then_some(fields.0)
}
