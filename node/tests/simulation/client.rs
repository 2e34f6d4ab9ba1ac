//! A client's end of one connection: a controlling ICE agent from `rtc-stun`, DTLS from `rtc-dtls`, SRTP from `rtc-srtp`.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aforo_node::media::negotiated::{DtlsRole, Fingerprint, FingerprintAlgorithm, IceCredentials};
use aforo_node::media::rtp::is_rtcp;
use aws_lc_rs::digest;
use bytes::{Bytes, BytesMut};
use rtc_dtls::config::{ClientAuthType, ConfigBuilder, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::crypto_provider::RTCCryptoProvider;
use rtc_dtls::crypto_provider::providers::AwsLcRsProvider;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use rtc_srtp::context::Context;
use rtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;
use rtc_stun::attributes::{ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Message, Setter, TransactionId};
use rtc_stun::textattrs::TextAttribute;
use rtc_stun::xoraddr::XorMappedAddress;

use crate::network::Class;

/// The node, as the client's DTLS knows it; where datagrams really go is the network's matter.
pub const NODE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9)), 7800);

/// Until the first answer; what browsers do on a path they have just found.
const EAGER_CHECKS: Duration = Duration::from_millis(50);
/// Afterwards, for consent (Chromium).
const CONSENT_CHECKS: Duration = Duration::from_millis(2_500);
/// A path by which nothing came for so long is checked like a new one (Chromium).
const DEAF_AFTER: Duration = Duration::from_millis(2_500);

/// What came from the node, opened.
#[derive(Debug)]
pub enum Incoming {
    Rtp(BytesMut),
    Rtcp(BytesMut),
}

struct Srtp {
    send: Context,
    receive: Context,
}

/// See the module.
pub struct Client {
    local: IceCredentials,
    remote: IceCredentials,
    role: DtlsRole,
    profile: ProtectionProfile,
    dtls: Endpoint,
    config: Arc<HandshakeConfig>,
    certificate: Certificate,
    srtp: Option<Srtp>,
    next_check: Instant,
    open_checks: BTreeSet<Vec<u8>>,
    path_works: bool,
    /// When anything came last.
    heard: Instant,
    /// Handshake datagrams that were read, without their record numbers.
    handshakes: BTreeSet<Vec<u8>>,
    pub closed: bool,
    /// Media that could not be opened; a duplicate is none.
    pub refused: Vec<String>,
    outbox: Vec<(Class, Bytes)>,
}

impl Client {
    /// A client that begins to check at `now`. `role` is its own.
    pub fn new(
        local: IceCredentials,
        remote: IceCredentials,
        role: DtlsRole,
        profile: SrtpProtectionProfile,
        now: Instant,
    ) -> Self {
        let provider: Arc<dyn RTCCryptoProvider> = Arc::new(AwsLcRsProvider::new());
        let certificate =
            Certificate::generate_self_signed(vec!["client".to_owned()], provider.crypto()).unwrap();
        let is_client = role == DtlsRole::Client;
        let config = ConfigBuilder::default()
            .with_crypto_provider(provider)
            .with_certificates(vec![certificate.clone()])
            .with_srtp_protection_profiles(vec![profile])
            .with_insecure_skip_verify(true)
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            .build(is_client, Some(NODE))
            .unwrap();
        let config = Arc::new(config);
        let server_config = (!is_client).then(|| Arc::clone(&config));
        let profile = match profile {
            SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm => ProtectionProfile::AeadAes128Gcm,
            SrtpProtectionProfile::Srtp_Aead_Aes_256_Gcm => ProtectionProfile::AeadAes256Gcm,
            _ => ProtectionProfile::Aes128CmHmacSha1_80,
        };
        Self {
            local,
            remote,
            role,
            profile,
            dtls: Endpoint::new(NODE, TransportProtocol::UDP, server_config),
            config,
            certificate,
            srtp: None,
            next_check: now,
            open_checks: BTreeSet::new(),
            path_works: false,
            heard: now,
            handshakes: BTreeSet::new(),
            closed: false,
            refused: Vec::new(),
            outbox: Vec::new(),
        }
    }

    pub fn fingerprint(&self) -> Fingerprint {
        let digest = digest::digest(&digest::SHA256, self.certificate.certificate[0].as_ref());
        Fingerprint { algorithm: FingerprintAlgorithm::Sha256, digest: digest.as_ref().to_vec() }
    }

    pub fn is_connected(&self) -> bool {
        self.srtp.is_some()
    }

    /// The client's address changed: it checks from the new one at once.
    pub fn moved(&mut self, now: Instant) {
        self.path_works = false;
        self.open_checks.clear();
        self.next_check = now;
    }

    /// Signalling agreed on new credentials (RFC 9725 §4.3.3); the connection stays.
    pub fn restart_ice(&mut self, local: IceCredentials, remote: IceCredentials, now: Instant) {
        (self.local, self.remote) = (local, remote);
        self.moved(now);
    }

    pub fn take_outbox(&mut self) -> Vec<(Class, Bytes)> {
        std::mem::take(&mut self.outbox)
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let check = (!self.closed).then_some(self.due_check());
        [check, self.dtls.poll_timeout(&NODE)].into_iter().flatten().min()
    }

    fn due_check(&self) -> Instant {
        if self.path_works { self.next_check.min(self.heard + DEAF_AFTER) } else { self.next_check }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if !self.closed && self.due_check() <= now {
            self.path_works &= now < self.heard + DEAF_AFTER;
            let check = self.check();
            self.outbox.push((Class::Check, check));
            self.next_check = now + if self.path_works { CONSENT_CHECKS } else { EAGER_CHECKS };
        }
        if self.dtls.poll_timeout(&NODE).is_some_and(|at| at <= now) {
            self.dtls.handle_timeout(NODE, now).unwrap();
            self.drain_dtls();
        }
    }

    /// Takes a datagram of the node.
    pub fn handle(&mut self, now: Instant, datagram: &[u8]) -> Option<Incoming> {
        self.heard = now;
        match Class::of(datagram) {
            Class::Check => {
                self.handle_answer(now, datagram);
                None
            }
            Class::Handshake => {
                self.handle_dtls(now, datagram);
                None
            }
            Class::Media => self.open(datagram),
        }
    }

    pub fn send_rtp(&mut self, packet: &[u8]) {
        let Some(srtp) = &mut self.srtp else { return };
        let sealed = srtp.send.encrypt_rtp(packet).unwrap();
        self.outbox.push((Class::Media, sealed.freeze()));
    }

    pub fn send_rtcp(&mut self, compound: &[u8]) {
        let Some(srtp) = &mut self.srtp else { return };
        let sealed = srtp.send.encrypt_rtcp(compound).unwrap();
        self.outbox.push((Class::Media, sealed.freeze()));
    }

    fn open(&mut self, datagram: &[u8]) -> Option<Incoming> {
        let srtp = self.srtp.as_mut()?;
        let opened = if is_rtcp(datagram) {
            srtp.receive.decrypt_rtcp(datagram).map(Incoming::Rtcp)
        } else {
            srtp.receive.decrypt_rtp(datagram).map(Incoming::Rtp)
        };
        use rtc_shared::error::Error::{SrtcpSsrcDuplicated, SrtpSsrcDuplicated};
        match opened {
            Ok(incoming) => Some(incoming),
            Err(SrtpSsrcDuplicated(..) | SrtcpSsrcDuplicated(..)) => None,
            Err(error) => {
                self.refused.push(error.to_string());
                None
            }
        }
    }

    fn check(&mut self) -> Bytes {
        let provider = AwsLcRsProvider::new();
        let username = format!("{}:{}", self.remote.ufrag, self.local.ufrag);
        let transaction = TransactionId::new();
        self.open_checks.insert(transaction.0.to_vec());
        let setters: Vec<Box<dyn Setter>> = vec![
            Box::new(BINDING_REQUEST),
            Box::new(transaction),
            Box::new(TextAttribute::new(ATTR_USERNAME, username)),
        ];
        let mut message = Message::new();
        message.build(&setters).unwrap();
        message.add(ATTR_ICE_CONTROLLING, &7_u64.to_be_bytes());
        message.add(ATTR_USE_CANDIDATE, &[]);
        message.add(ATTR_PRIORITY, &1_862_270_975_u32.to_be_bytes());
        let key = self.remote.password.clone();
        MessageIntegrity::new_short_term_integrity_with_provider(key, provider.crypto())
            .add_to(&mut message)
            .unwrap();
        FINGERPRINT.add_to(&mut message).unwrap();
        Bytes::from(message.raw)
    }

    /// The node asks whether the client is where it seems to be.
    fn answer(&mut self, datagram: &[u8]) {
        let provider = AwsLcRsProvider::new();
        let mut question = Message::new();
        question.unmarshal_binary(datagram).unwrap();
        let password = self.local.password.as_bytes();
        // It may have been on its way since before a restart.
        if MessageIntegrity::check(&mut question, password, provider.crypto()).is_err() {
            return;
        }
        let setters: Vec<Box<dyn Setter>> = vec![
            Box::new(question.transaction_id),
            Box::new(BINDING_SUCCESS),
            Box::new(XorMappedAddress { ip: NODE.ip(), port: NODE.port() }),
        ];
        let mut message = Message::new();
        message.build(&setters).unwrap();
        let key = self.local.password.clone();
        MessageIntegrity::new_short_term_integrity_with_provider(key, provider.crypto())
            .add_to(&mut message)
            .unwrap();
        FINGERPRINT.add_to(&mut message).unwrap();
        self.outbox.push((Class::Check, Bytes::from(message.raw)));
    }

    fn handle_answer(&mut self, now: Instant, datagram: &[u8]) {
        if datagram.starts_with(&[0, 1]) {
            return self.answer(datagram);
        }
        let success = datagram.starts_with(&[0x01, 0x01]);
        let known = datagram.get(8..20).is_some_and(|transaction| self.open_checks.remove(transaction));
        if !success || !known || self.path_works {
            return;
        }
        self.path_works = true;
        self.next_check = now + CONSENT_CHECKS;
        let begun = self.is_connected() || self.dtls.poll_timeout(&NODE).is_some();
        if self.role == DtlsRole::Client && !begun {
            self.dtls.connect(now, NODE, Arc::clone(&self.config), None).unwrap();
            self.drain_dtls();
        }
    }

    fn handle_dtls(&mut self, now: Instant, datagram: &[u8]) {
        // Anything that it cannot use yet stops this library's timer for good, so what it has read before is kept from it
        // until it is connected: its own timer then repeats its flight. Only a hello without a cookie is answered each time.
        let repeated = !self.handshakes.insert(without_record_numbers(datagram));
        // What comes after the goodbye, such as that again, would be the first of a connection that nobody wants.
        if self.closed || (repeated && !self.is_connected() && self.handshakes.len() > 1) {
            return;
        }
        for event in self.dtls.read(now, NODE, None, BytesMut::from(datagram)).unwrap() {
            match event {
                EndpointEvent::HandshakeComplete => self.srtp = Some(self.export()),
                EndpointEvent::PeerClosed => self.closed = true,
                _ => {}
            }
        }
        self.drain_dtls();
    }

    fn drain_dtls(&mut self) {
        while let Some(transmit) = self.dtls.poll_transmit() {
            self.outbox.push((Class::Handshake, transmit.message.freeze()));
        }
    }

    /// RFC 5764 §4.2: client key, server key, client salt, server salt.
    fn export(&self) -> Srtp {
        let (key, salt) = (self.profile.key_len(), self.profile.salt_len());
        let state = self.dtls.get_connection_state(NODE).unwrap();
        let secret = state.export_keying_material("EXTRACTOR-dtls_srtp", &[], 2 * (key + salt)).unwrap();
        let secret: &[u8] = secret.as_ref();
        let (keys, salts) = secret.split_at(2 * key);
        let (client, server) = ((&keys[..key], &salts[..salt]), (&keys[key..], &salts[salt..]));
        let (ours, theirs) = if self.role == DtlsRole::Client { (client, server) } else { (server, client) };
        let provider = AwsLcRsProvider::new();
        let send = Context::new(ours.0, ours.1, self.profile, None, None, provider.crypto()).unwrap();
        let replay = (Some(srtp_replay_protection(1024)), Some(srtcp_replay_protection(64)));
        let receive =
            Context::new(theirs.0, theirs.1, self.profile, replay.0, replay.1, provider.crypto()).unwrap();
        Srtp { send, receive }
    }
}

/// The records of a datagram without their sequence numbers (RFC 6347 §4.1), which alone differ when a flight is repeated.
fn without_record_numbers(datagram: &[u8]) -> Vec<u8> {
    let mut records = datagram.to_vec();
    let mut at = 0;
    while let Some(header) = records.get_mut(at..at + 13) {
        header[5..11].fill(0);
        at += 13 + usize::from(u16::from_be_bytes([header[11], header[12]]));
    }
    records
}
