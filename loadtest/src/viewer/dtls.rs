//! The viewers' side of DTLS-SRTP (RFC 5764): one certificate for all, AES-GCM first, the server's fingerprint checked.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use aws_lc_rs::digest::{SHA256, digest};
use bytes::BytesMut;
use rtc_dtls::config::{ConfigBuilder, ExtendedMasterSecretType, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::crypto_provider::RTCCryptoProvider;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;

use super::srtp::{Profile, ViewerKeys};

/// The label of RFC 5764 §4.2.
const EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";

/// The certificate that all viewers show, and ready configurations per server fingerprint.
pub struct Identity {
    provider: Arc<dyn RTCCryptoProvider>,
    certificate: Certificate,
    fingerprint: [u8; 32],
    configurations: HashMap<[u8; 32], Arc<HandshakeConfig>>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    /// A fresh self-signed ECDSA certificate.
    ///
    /// # Errors
    ///
    /// The crypto provider cannot make one.
    pub fn generate() -> Result<Self> {
        let provider = rtc_dtls::crypto_provider::default_provider()?;
        let certificate = Certificate::generate_self_signed(vec!["loadtest".to_owned()], provider.crypto())
            .map_err(|error| anyhow!("cannot make a certificate: {error}"))?;
        let der = certificate.certificate.first().context("the new certificate is empty")?;
        let fingerprint = sha256(der.as_ref());
        Ok(Self { provider, certificate, fingerprint, configurations: HashMap::new() })
    }

    /// SHA-256 of the certificate, for the offers.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// The provider of all primitives.
    pub fn provider(&self) -> &Arc<dyn RTCCryptoProvider> {
        &self.provider
    }

    /// The configuration that accepts only a server with this fingerprint; built once per fingerprint.
    ///
    /// # Errors
    ///
    /// The DTLS crate refuses it.
    pub fn configuration(&mut self, server: [u8; 32]) -> Result<Arc<HandshakeConfig>> {
        if let Some(known) = self.configurations.get(&server) {
            return Ok(known.clone());
        }
        let verify = move |raw: &[Vec<u8>], _: &[_]| match raw.first() {
            Some(certificate) if sha256(certificate) == server => Ok(()),
            _ => Err(rtc_shared::error::Error::Other("the certificate is not the answer's".to_owned())),
        };
        let configuration = ConfigBuilder::default()
            .with_crypto_provider(self.provider.clone())
            .with_certificates(vec![self.certificate.clone()])
            .with_srtp_protection_profiles(vec![
                SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
                SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm,
            ])
            .with_extended_master_secret(ExtendedMasterSecretType::Require)
            .with_insecure_skip_verify(true)
            .with_server_name("loadtest".to_owned())
            .with_verify_peer_certificate(Some(Arc::new(verify)))
            .build(true, None)
            .map_err(|error| anyhow!("cannot configure DTLS: {error}"))?;
        let configuration = Arc::new(configuration);
        self.configurations.insert(server, configuration.clone());
        Ok(configuration)
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().unwrap_or_default()
}

/// What a datagram did to a handshake.
#[derive(Debug)]
pub enum HandshakeStep {
    /// Nothing that a viewer must know of.
    Nothing,
    /// It is complete; these are the keys.
    Keys(ViewerKeys),
    /// The server closed the connection.
    Closed,
}

/// One viewer's handshake.
pub struct Handshake {
    endpoint: Endpoint,
    remote: SocketAddr,
    done: bool,
}

impl std::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshake").field("done", &self.done).finish_non_exhaustive()
    }
}

impl Handshake {
    /// Starts as client towards `remote`.
    ///
    /// # Errors
    ///
    /// The DTLS crate refuses to start.
    pub fn start(now: Instant, remote: SocketAddrV4, configuration: Arc<HandshakeConfig>) -> Result<Self> {
        let local = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let mut endpoint = Endpoint::new(local, TransportProtocol::UDP, None);
        let remote = SocketAddr::V4(remote);
        endpoint
            .connect(now, remote, configuration, None)
            .map_err(|error| anyhow!("cannot start DTLS: {error}"))?;
        Ok(Self { endpoint, remote, done: false })
    }

    /// Takes a datagram from the server.
    ///
    /// # Errors
    ///
    /// The server broke the protocol, has another certificate, or chose no GCM profile.
    pub fn receive(&mut self, now: Instant, datagram: &[u8]) -> Result<HandshakeStep> {
        let events = self
            .endpoint
            .read(now, self.remote, None, BytesMut::from(datagram))
            .map_err(|error| anyhow!("DTLS failed: {error}"))?;
        if events.iter().any(|event| matches!(event, EndpointEvent::PeerClosed)) {
            return Ok(HandshakeStep::Closed);
        }
        let completed = events.iter().any(|event| matches!(event, EndpointEvent::HandshakeComplete));
        if !completed || self.done {
            return Ok(HandshakeStep::Nothing);
        }
        self.done = true;
        let state = self.endpoint.get_connection_state(self.remote).context("the DTLS connection is gone")?;
        let profile = match state.srtp_protection_profile() {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => Profile::Aes128Gcm,
            SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm => Profile::Aes256Gcm,
            other => return Err(anyhow!("the server chose SRTP profile {other:?}, which was not offered")),
        };
        let material = state
            .export_keying_material(EXPORTER_LABEL, &[], profile.material_bytes())
            .map_err(|error| anyhow!("no keying material: {error}"))?;
        Ok(HandshakeStep::Keys(ViewerKeys::from_client_material(profile, &material.into_bytes())?))
    }

    /// Sends again what is overdue.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = self.endpoint.poll_timeout(&self.remote).is_some_and(|at| at <= now);
        if due {
            let _ = self.endpoint.handle_timeout(self.remote, now);
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<BytesMut> {
        self.endpoint.poll_transmit().map(|transmit| transmit.message)
    }
}
