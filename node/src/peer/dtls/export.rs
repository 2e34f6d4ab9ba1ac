//! What a finished handshake tells: whether the peer is who its offer announced, and the SRTP keys.

use aws_lc_rs::digest;
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_dtls::state::State;
use subtle::ConstantTimeEq;

use super::error::DtlsError;
use crate::media::keys::{MasterKey, SrtpKeys, SrtpProfile};
use crate::media::negotiated::{DtlsRole, Fingerprint, FingerprintAlgorithm};

/// The exporter's label (RFC 5764 §4.2).
const EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";

/// Whether the peer's certificate is one that `announced` names (RFC 8122 §6).
///
/// # Errors
///
/// [`DtlsError::Fingerprint`] if it is not, or there is none.
pub fn verify(state: &State, announced: &[Fingerprint]) -> Result<(), DtlsError> {
    let certificate = state.peer_certificates.first().ok_or(DtlsError::Fingerprint)?;
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

/// The SRTP keys of both directions (RFC 5764 §4.2).
///
/// # Errors
///
/// Fails if the peers agreed on no profile of ours, or the exporter fails.
pub fn srtp_keys(state: &State, role: DtlsRole) -> Result<SrtpKeys, DtlsError> {
    let profile = match state.srtp_protection_profile() {
        SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => SrtpProfile::AeadAes128Gcm,
        SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm => SrtpProfile::AeadAes256Gcm,
        SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => SrtpProfile::Aes128CmHmacSha1_80,
        _ => return Err(DtlsError::NoCommonProfile),
    };
    let (key, salt) = (profile.key_bytes(), profile.salt_bytes());
    let secret =
        state.export_keying_material(EXPORTER_LABEL, &[], 2 * (key + salt)).map_err(DtlsError::export)?;
    let mut secret: &[u8] = secret.as_ref();
    let mut take = |count: usize| {
        let (part, rest) = secret.split_at_checked(count).unwrap_or_default();
        secret = rest;
        part.to_vec()
    };
    let (client_key, server_key, client_salt, server_salt) = (take(key), take(key), take(salt), take(salt));
    let client = MasterKey { key: client_key, salt: client_salt };
    let server = MasterKey { key: server_key, salt: server_salt };
    Ok(match role {
        DtlsRole::Client => SrtpKeys { profile, local: client, remote: server },
        DtlsRole::Server => SrtpKeys { profile, local: server, remote: client },
    })
}
