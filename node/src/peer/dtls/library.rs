//! `rtc-dtls` for one association: every handshake in which we are the client, and as server those that our own does not
//! answer.
//!
//! It is handed each flight of the peer in one piece, because part of one stops its timer; and it never decides when a
//! flight is repeated, because its interval is fixed and a repetition by the peer means nothing to it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use rtc_dtls::config::HandshakeConfig;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_dtls::state::State;
use rtc_shared::TransportProtocol;
use rtc_shared::error::Error;

use super::error::DtlsError;
use super::export;
use super::identity::DtlsIdentity;
use crate::media::keys::{SrtpKeys, SrtpProfile};
use crate::media::negotiated::{DtlsRole, Fingerprint};

/// The library keys associations by address; ours outlives changes of address, so it gets one that never changes (from
/// the documentation prefix, RFC 5737).
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 1);

/// A handshake.
pub struct LibraryHandshake(Endpoint);

/// What became of a flight.
#[derive(Debug)]
pub struct Step {
    /// Datagrams to send.
    pub answer: Vec<Bytes>,
    /// Whether the handshake is done.
    pub result: Result<bool, DtlsError>,
}

impl LibraryHandshake {
    /// As client; it says hello at once.
    ///
    /// # Errors
    ///
    /// Fails if the library does.
    pub fn client(now: Instant, identity: &DtlsIdentity) -> Result<(Self, Vec<Bytes>), DtlsError> {
        let mut endpoint = Endpoint::new(PEER, TransportProtocol::UDP, None);
        endpoint.connect(now, PEER, identity.client(), None).map_err(DtlsError::handshake)?;
        let flight = drain(&mut endpoint);
        Ok((Self(endpoint), flight))
    }

    /// As server.
    pub fn server(config: Arc<HandshakeConfig>) -> Self {
        Self(Endpoint::new(PEER, TransportProtocol::UDP, Some(config)))
    }

    /// Hands on a whole flight, or what ends the handshake.
    pub fn read(&mut self, now: Instant, datagram: BytesMut) -> Step {
        let result = self.0.read(now, PEER, None, datagram).map_err(DtlsError::handshake);
        let is_complete = |event: &EndpointEvent| matches!(event, EndpointEvent::HandshakeComplete);
        Step { answer: drain(&mut self.0), result: result.map(|events| events.iter().any(is_complete)) }
    }

    /// Its last flight again, in records with new numbers; `None` if there is none.
    pub fn repeat(&mut self, now: Instant) -> Option<Vec<Bytes>> {
        self.0.handle_timeout(PEER, now).ok()?;
        Some(drain(&mut self.0)).filter(|flight| !flight.is_empty())
    }

    /// The handshake is done: checks the peer, takes the keys, keeps only what a connected peer needs.
    ///
    /// # Errors
    ///
    /// Fails if the peer is not who it announced to be.
    pub fn finish(&self, role: DtlsRole, announced: &[Fingerprint]) -> Result<(SrtpKeys, Parked), DtlsError> {
        let state = self.0.get_connection_state(PEER).ok_or(DtlsError::Fingerprint)?;
        export::verify(state.peer_certificates.first().ok_or(DtlsError::Fingerprint)?, announced)?;
        let profile = match state.srtp_protection_profile() {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => SrtpProfile::AeadAes128Gcm,
            SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm => SrtpProfile::AeadAes256Gcm,
            SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80 => SrtpProfile::Aes128CmHmacSha1_80,
            _ => return Err(DtlsError::NoCommonProfile),
        };
        let material = state
            .export_keying_material(export::LABEL, &[], export::material_bytes(profile))
            .map_err(DtlsError::export)?;
        let keys = export::split(profile, role, material.as_ref());
        let state = state.marshal_binary().map_err(DtlsError::export)?;
        Ok((keys, Parked(state.into_boxed_slice())))
    }

    /// Says goodbye, encrypted if keys are agreed on.
    pub fn stop(&mut self, now: Instant) -> Vec<Bytes> {
        self.0.stop(now, PEER);
        drain(&mut self.0)
    }
}

/// The library's state, serialised: an association that only waits for `close_notify` needs no more. It is brought to life
/// for each record that must be opened and dropped again, so that a forged one leaves nothing behind.
pub struct Parked(Box<[u8]>);

impl Parked {
    /// Whether a record is a fatal alert or a goodbye that the peer really sent; then what to answer.
    pub fn end(
        &self,
        now: Instant,
        role: DtlsRole,
        identity: &DtlsIdentity,
        record: &[u8],
    ) -> Option<Vec<Bytes>> {
        let mut endpoint = self.unparked(now, role, identity)?;
        let ends = match endpoint.read(now, PEER, None, BytesMut::from(record)) {
            Ok(events) => events.iter().any(|event| matches!(event, EndpointEvent::PeerClosed)),
            // Only what was decrypted can be fatal; other errors are about the form of a record that anyone can write.
            Err(error) => matches!(error, Error::ErrAlertFatalOrClose),
        };
        // If not, the parked state stays as it was, and nothing was sent from this copy of it: no record number is used
        // twice.
        ends.then(|| drain(&mut endpoint))
    }

    /// Our goodbye.
    pub fn goodbye(&self, now: Instant, role: DtlsRole, identity: &DtlsIdentity) -> Vec<Bytes> {
        let Some(mut endpoint) = self.unparked(now, role, identity) else { return Vec::new() };
        endpoint.stop(now, PEER);
        drain(&mut endpoint)
    }

    fn unparked(&self, now: Instant, role: DtlsRole, identity: &DtlsIdentity) -> Option<Endpoint> {
        let mut state = State::new(identity.provider(), role == DtlsRole::Client);
        let mut endpoint = Endpoint::new(PEER, TransportProtocol::UDP, None);
        state.unmarshal_binary(&self.0).ok()?;
        endpoint.connect(now, PEER, identity.client(), Some(state)).ok()?;
        Some(endpoint)
    }
}

/// Everything that `endpoint` wants to send.
fn drain(endpoint: &mut Endpoint) -> Vec<Bytes> {
    std::iter::from_fn(|| endpoint.poll_transmit()).map(|transmit| transmit.message.freeze()).collect()
}
