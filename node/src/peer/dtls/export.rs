//! What a finished handshake tells: whether the peer is who its offer announced, and the SRTP keys.

use aws_lc_rs::digest;
use subtle::ConstantTimeEq;

use super::error::DtlsError;
use crate::media::keys::{MasterKey, SrtpKeys, SrtpProfile};
use crate::media::negotiated::{DtlsRole, Fingerprint, FingerprintAlgorithm};

/// The exporter's label (RFC 5764 §4.2).
pub const LABEL: &str = "EXTRACTOR-dtls_srtp";

/// Whether `certificate`, DER, is one that `announced` names (RFC 8122 §6).
///
/// # Errors
///
/// [`DtlsError::Fingerprint`] if it is not.
pub fn verify(certificate: &[u8], announced: &[Fingerprint]) -> Result<(), DtlsError> {
    let matches = announced.iter().any(|fingerprint| {
        let algorithm = match fingerprint.algorithm {
            FingerprintAlgorithm::Sha256 => &digest::SHA256,
            FingerprintAlgorithm::Sha384 => &digest::SHA384,
            FingerprintAlgorithm::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, certificate).as_ref().ct_eq(&fingerprint.digest).into()
    });
    if matches { Ok(()) } else { Err(DtlsError::Fingerprint) }
}

/// Bytes of keying material that a profile takes.
pub fn material_bytes(profile: SrtpProfile) -> usize {
    2 * (profile.key_bytes() + profile.salt_bytes())
}

/// The SRTP keys of both directions (RFC 5764 §4.2); `material` has [`material_bytes`].
pub fn split(profile: SrtpProfile, role: DtlsRole, material: &[u8]) -> SrtpKeys {
    let (key, salt) = (profile.key_bytes(), profile.salt_bytes());
    let mut rest = material;
    let mut take = |count: usize| {
        let (part, after) = rest.split_at_checked(count).unwrap_or_default();
        rest = after;
        part.to_vec()
    };
    let (client_key, server_key, client_salt, server_salt) = (take(key), take(key), take(salt), take(salt));
    let client = MasterKey { key: client_key, salt: client_salt };
    let server = MasterKey { key: server_key, salt: server_salt };
    match role {
        DtlsRole::Client => SrtpKeys { profile, local: client, remote: server },
        DtlsRole::Server => SrtpKeys { profile, local: server, remote: client },
    }
}
