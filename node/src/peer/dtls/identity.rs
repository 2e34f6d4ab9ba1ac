//! The node's DTLS certificate and the configurations made from it, once per process.
//!
//! Building a configuration costs as much as a handshake, so there is one for each SRTP profile as server (the profile
//! that we chose is the only one that it knows) and one as client.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Signature};
use rtc_dtls::cipher_suite::CipherSuiteId;
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::crypto_provider::RTCCryptoProvider;
use rtc_dtls::crypto_provider::providers::AwsLcRsProvider;
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;

use super::error::DtlsError;
use crate::media::keys::SrtpProfile;
use crate::media::negotiated::{Fingerprint, FingerprintAlgorithm};

/// Bytes of the longest datagram of a handshake: fits through any tunnel on IPv6 (1,280 less headers).
pub(super) const HANDSHAKE_MTU_BYTES: usize = 1_200;

/// The library may repeat a flight from this time on; when it does is up to [`super::core`].
const FLIGHT_INTERVAL: Duration = Duration::from_millis(1);

/// Cipher suites as server, all with our ECDSA key. Every browser, OpenSSL, GnuTLS and mbedTLS has the first.
const SERVER_SUITES: [CipherSuiteId; 2] = [
    CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
    CipherSuiteId::Tls_Ecdhe_Ecdsa_With_ChaCha20_Poly1305_Sha256,
];

/// Cipher suites as client: the server may have an RSA key.
const CLIENT_SUITES: [CipherSuiteId; 4] = [
    CipherSuiteId::Tls_Ecdhe_Ecdsa_With_Aes_128_Gcm_Sha256,
    CipherSuiteId::Tls_Ecdhe_Rsa_With_Aes_128_Gcm_Sha256,
    CipherSuiteId::Tls_Ecdhe_Ecdsa_With_ChaCha20_Poly1305_Sha256,
    CipherSuiteId::Tls_Ecdhe_Rsa_With_ChaCha20_Poly1305_Sha256,
];

/// What the node shows in every DTLS handshake.
pub struct DtlsIdentity {
    fingerprint: Fingerprint,
    /// DER.
    certificate: Vec<u8>,
    key: EcdsaKeyPair,
    provider: Arc<dyn RTCCryptoProvider>,
    aead_aes_128_gcm: Arc<HandshakeConfig>,
    aead_aes_256_gcm: Arc<HandshakeConfig>,
    aes_128_cm_sha1_80: Arc<HandshakeConfig>,
    client: Arc<HandshakeConfig>,
}

impl DtlsIdentity {
    /// A new self-signed ECDSA P-256 certificate.
    ///
    /// # Errors
    ///
    /// Fails if the key cannot be made.
    pub fn generate() -> Result<Arc<Self>, DtlsError> {
        let provider: Arc<dyn RTCCryptoProvider> = Arc::new(AwsLcRsProvider::new());
        let certificate = Certificate::generate_self_signed(vec!["aforo".to_owned()], provider.crypto())
            .map_err(DtlsError::handshake)?;
        Self::with_certificate(certificate, provider)
    }

    /// The identity of a given certificate.
    ///
    /// # Errors
    ///
    /// Fails if the certificate does not do for a server.
    fn with_certificate(
        certificate: Certificate,
        provider: Arc<dyn RTCCryptoProvider>,
    ) -> Result<Arc<Self>, DtlsError> {
        let der = certificate.certificate.first().map(|der| der.as_ref().to_vec()).unwrap_or_default();
        let key = certificate.private_key.signing_key.to_pkcs8_der().map_err(DtlsError::handshake)?;
        let key = key.as_ref().map(AsRef::as_ref).unwrap_or_default();
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, key).map_err(DtlsError::handshake)?;
        let builder = ConfigBuilder::default()
            .with_crypto_provider(Arc::clone(&provider))
            .with_certificates(vec![certificate])
            .with_mtu(HANDSHAKE_MTU_BYTES)
            .with_flight_interval(FLIGHT_INTERVAL)
            // The certificate is compared with the announced fingerprint instead, once the handshake is done.
            .with_insecure_skip_verify(true);
        let server = |profile: SrtpProfile| {
            builder
                .clone()
                .with_cipher_suites(SERVER_SUITES.to_vec())
                .with_client_auth(ClientAuthType::RequireAnyClientCert)
                .with_srtp_protection_profiles(vec![library_profile(profile)])
                .build(false, None)
                .map(Arc::new)
                .map_err(DtlsError::handshake)
        };
        let client = builder
            .clone()
            .with_cipher_suites(CLIENT_SUITES.to_vec())
            .with_server_name("aforo".to_owned())
            .with_srtp_protection_profiles(SrtpProfile::PREFERRED.map(library_profile).to_vec())
            .build(true, None)
            .map_err(DtlsError::handshake)?;
        Ok(Arc::new(Self {
            fingerprint: Fingerprint {
                algorithm: FingerprintAlgorithm::Sha256,
                digest: digest::digest(&digest::SHA256, &der).as_ref().to_vec(),
            },
            aead_aes_128_gcm: server(SrtpProfile::AeadAes128Gcm)?,
            aead_aes_256_gcm: server(SrtpProfile::AeadAes256Gcm)?,
            aes_128_cm_sha1_80: server(SrtpProfile::Aes128CmHmacSha1_80)?,
            client: Arc::new(client),
            certificate: der,
            key,
            provider,
        }))
    }

    /// SHA-256 of the certificate, for `a=fingerprint`.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint.clone()
    }

    /// The certificate, DER.
    pub(super) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// Signs with the certificate's key: ECDSA on P-256 with SHA-256, the signature as DER.
    ///
    /// # Errors
    ///
    /// Fails if there is no randomness.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Signature, Unspecified> {
        self.key.sign(&SystemRandom::new(), message)
    }

    /// The server's configuration that knows no other profile than `profile`.
    pub(super) fn server(&self, profile: SrtpProfile) -> Arc<HandshakeConfig> {
        Arc::clone(match profile {
            SrtpProfile::AeadAes128Gcm => &self.aead_aes_128_gcm,
            SrtpProfile::AeadAes256Gcm => &self.aead_aes_256_gcm,
            SrtpProfile::Aes128CmHmacSha1_80 => &self.aes_128_cm_sha1_80,
        })
    }

    /// The client's configuration: it offers all profiles in our order.
    pub(super) fn client(&self) -> Arc<HandshakeConfig> {
        Arc::clone(&self.client)
    }

    /// What does the cryptography.
    pub(super) fn provider(&self) -> Arc<dyn RTCCryptoProvider> {
        Arc::clone(&self.provider)
    }
}

impl std::fmt::Debug for DtlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DtlsIdentity").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

/// The library's name of a profile.
fn library_profile(profile: SrtpProfile) -> SrtpProtectionProfile {
    match profile {
        SrtpProfile::AeadAes128Gcm => SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
        SrtpProfile::AeadAes256Gcm => SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm,
        SrtpProfile::Aes128CmHmacSha1_80 => SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
    }
}
