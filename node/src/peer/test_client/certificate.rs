//! A certificate for a client of tests.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use aws_lc_rs::digest;
use rtc_dtls::crypto::Certificate;
use rtc_dtls::crypto_provider::RTCCryptoProvider;
use rtc_dtls::crypto_provider::providers::AwsLcRsProvider;

use crate::media::negotiated::{Fingerprint, FingerprintAlgorithm};

/// A client's certificate.
#[derive(Clone)]
pub struct ClientCertificate(pub Certificate);

impl ClientCertificate {
    pub fn ecdsa() -> Self {
        let provider = AwsLcRsProvider::new();
        Self(Certificate::generate_self_signed(vec!["client".to_owned()], provider.crypto()).unwrap())
    }

    pub fn rsa() -> Self {
        let provider = AwsLcRsProvider::new();
        let certificate = Certificate::generate_self_signed_with_alg(
            vec!["client".to_owned()],
            &rcgen::PKCS_RSA_SHA256,
            provider.crypto(),
        );
        Self(certificate.unwrap())
    }

    pub fn fingerprint(&self, algorithm: FingerprintAlgorithm) -> Fingerprint {
        let hash = match algorithm {
            FingerprintAlgorithm::Sha256 => &digest::SHA256,
            FingerprintAlgorithm::Sha384 => &digest::SHA384,
            FingerprintAlgorithm::Sha512 => &digest::SHA512,
        };
        let digest = digest::digest(hash, self.0.certificate[0].as_ref()).as_ref().to_vec();
        Fingerprint { algorithm, digest }
    }
}
