//! The other end of a connection for tests: an ICE client built with `rtc-stun` and a DTLS peer built with `rtc-dtls`,
//! joined to a [`PeerCore`] by a network on virtual time that a test can lose, split and reorder datagrams on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod answer;
mod certificate;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rtc_dtls::config::{ClientAuthType, ConfigBuilder};
use rtc_dtls::crypto_provider::RTCCryptoProvider;
use rtc_dtls::crypto_provider::providers::AwsLcRsProvider;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use rtc_stun::attributes::{
    ATTR_ICE_CONTROLLED, ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME, AttrType,
};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, Message, Setter, TransactionId};
use rtc_stun::textattrs::TextAttribute;

use super::core::PeerCore;
use super::dtls::DtlsIdentity;
use super::ice;
use super::message::{EndReason, PeerConfig, PeerInput, PeerOutput};
use crate::media::keys::SrtpKeys;
use crate::media::negotiated::{
    Direction, DtlsRole, Fingerprint, FingerprintAlgorithm, IceCredentials, Negotiated,
};
use crate::media::path::{Path, ShardId};
pub use answer::answer_to;
pub use certificate::ClientCertificate;

/// How a client behaves.
#[derive(Clone)]
pub struct ClientOptions {
    pub certificate: ClientCertificate,
    /// The client's own role.
    pub role: DtlsRole,
    pub profiles: Vec<SrtpProtectionProfile>,
    /// Longest handshake record; a small one splits messages.
    pub mtu: usize,
    pub announced: Option<Vec<Fingerprint>>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            certificate: ClientCertificate::ecdsa(),
            role: DtlsRole::Client,
            profiles: vec![SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm],
            mtu: 1_200,
            announced: None,
        }
    }
}

pub fn udp(port: u16) -> Path {
    Path::Udp(SocketAddr::from(([198, 51, 100, 7], port)))
}

/// The node's address, as the client's DTLS sees it.
pub const REMOTE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9)), 443);

/// A client and the node's end of its connection.
pub struct Session {
    pub now: Instant,
    pub core: PeerCore,
    peer_config: PeerConfig,
    identity: Arc<DtlsIdentity>,
    pub path: Path,
    pub local: IceCredentials,
    pub remote: IceCredentials,
    pub role: DtlsRole,
    pub dtls: Endpoint,
    config: Arc<rtc_dtls::config::HandshakeConfig>,
    /// What the node said besides datagrams.
    pub said: Vec<PeerOutput>,
    /// Where the client has shown that it is.
    pub proved: Vec<Path>,
    /// STUN answers that reached the client.
    pub answers: Vec<(Path, Bytes)>,
    /// Checks of the node's own, and whether the client answers them.
    pub questions: Vec<(Path, Bytes)>,
    pub is_there: bool,
    pub to_client: VecDeque<(Path, Bytes)>,
    pub to_node: VecDeque<Bytes>,
    /// The client's handshake is done.
    pub complete: bool,
    /// The node told the client goodbye.
    pub closed: bool,
    pub client_failed: bool,
}

/// Which way a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    ToNode,
    ToClient,
}

impl Session {
    pub fn new(options: ClientOptions) -> Self {
        Self::with_identity(options, DtlsIdentity::generate().unwrap())
    }

    pub fn with_identity(options: ClientOptions, identity: Arc<DtlsIdentity>) -> Self {
        let now = Instant::now();
        let local = ice::credentials(ShardId(3)).unwrap();
        let remote =
            IceCredentials { ufrag: "clie".to_owned(), password: "0123456789012345678901".to_owned() };
        let announced = options
            .announced
            .clone()
            .unwrap_or_else(|| vec![options.certificate.fingerprint(FingerprintAlgorithm::Sha256)]);
        let negotiated = Negotiated {
            direction: Direction::Play,
            remote_ice: remote.clone(),
            dtls_role: match options.role {
                DtlsRole::Client => DtlsRole::Server,
                DtlsRole::Server => DtlsRole::Client,
            },
            remote_fingerprints: announced,
            media: Vec::new(),
        };
        let peer_config = PeerConfig { local_ice: local.clone(), negotiated };
        let client = options.role == DtlsRole::Client;
        let provider: Arc<dyn RTCCryptoProvider> = Arc::new(AwsLcRsProvider::new());
        let dtls_config = ConfigBuilder::default()
            .with_crypto_provider(provider)
            .with_certificates(vec![options.certificate.0.clone()])
            .with_srtp_protection_profiles(options.profiles.clone())
            .with_insecure_skip_verify(true)
            .with_client_auth(ClientAuthType::RequireAnyClientCert)
            .with_mtu(options.mtu)
            .build(client, Some(REMOTE))
            .unwrap();
        let dtls_config = Arc::new(dtls_config);
        let server_config = (!client).then(|| Arc::clone(&dtls_config));
        Self {
            now,
            core: PeerCore::new(peer_config.clone(), Arc::clone(&identity), now),
            peer_config,
            identity,
            path: udp(5000),
            local,
            remote,
            role: options.role,
            dtls: Endpoint::new(REMOTE, TransportProtocol::UDP, server_config),
            config: dtls_config,
            said: Vec::new(),
            proved: Vec::new(),
            answers: Vec::new(),
            questions: Vec::new(),
            is_there: true,
            to_client: VecDeque::new(),
            to_node: VecDeque::new(),
            complete: false,
            closed: false,
            client_failed: false,
        }
    }

    /// The node's end once more, as it is made at `now`.
    pub fn fresh_core(&self, now: Instant) -> PeerCore {
        PeerCore::new(self.peer_config.clone(), Arc::clone(&self.identity), now)
    }

    /// A check as browsers write it.
    pub fn check(&self, nominate: bool) -> Bytes {
        self.check_with(&self.local, &self.remote, nominate, &[])
    }

    pub fn check_with(
        &self,
        local: &IceCredentials,
        remote: &IceCredentials,
        nominate: bool,
        extra: &[(AttrType, &[u8])],
    ) -> Bytes {
        let provider = AwsLcRsProvider::new();
        let username = format!("{}:{}", local.ufrag, remote.ufrag);
        let mut message = Message::new();
        let controlled = extra.iter().any(|(kind, _)| *kind == ATTR_ICE_CONTROLLED);
        let setters: Vec<Box<dyn Setter>> = vec![
            Box::new(BINDING_REQUEST),
            Box::new(TransactionId::new()),
            Box::new(TextAttribute::new(ATTR_USERNAME, username)),
        ];
        message.build(&setters).unwrap();
        if !controlled {
            message.add(ATTR_ICE_CONTROLLING, &7_u64.to_be_bytes());
        }
        for (kind, value) in extra {
            message.add(*kind, value);
        }
        if nominate {
            message.add(ATTR_USE_CANDIDATE, &[]);
        }
        message.add(ATTR_PRIORITY, &1_862_270_975_u32.to_be_bytes());
        MessageIntegrity::new_short_term_integrity_with_provider(local.password.clone(), provider.crypto())
            .add_to(&mut message)
            .unwrap();
        FINGERPRINT.add_to(&mut message).unwrap();
        Bytes::from(message.raw)
    }

    /// Hands the node a datagram and collects what it says.
    pub fn input(&mut self, path: Path, bytes: Bytes) {
        self.core.handle(self.now, PeerInput::Datagram { path, bytes });
        self.collect();
    }

    pub fn collect(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                PeerOutput::Transmit { path, bytes } if bytes.starts_with(&[0, 1]) => {
                    if self.is_there {
                        let answer = answer_to(&bytes, &self.remote.password);
                        self.core.handle(self.now, PeerInput::Datagram { path, bytes: answer });
                    }
                    self.questions.push((path, bytes));
                }
                PeerOutput::Transmit { path, bytes } => self.to_client.push_back((path, bytes)),
                PeerOutput::PathProved(path) => self.proved.push(path),
                output => self.said.push(output),
            }
        }
    }

    /// Sends a check on `path` and takes the answer off the network.
    pub fn checks(&mut self, path: Path, nominate: bool) {
        let check = self.check(nominate);
        self.input(path, check);
    }

    /// ICE is done on the session's path, and the client starts its handshake if it is the DTLS client.
    pub fn join(&mut self) {
        self.checks(self.path, true);
        if self.role == DtlsRole::Client {
            self.connect();
        }
    }

    /// The client starts its handshake.
    pub fn connect(&mut self) {
        self.dtls.connect(self.now, REMOTE, Arc::clone(&self.config), None).unwrap();
        self.drain_client();
    }

    pub fn drain_client(&mut self) {
        while let Some(transmit) = self.dtls.poll_transmit() {
            self.to_node.push_back(transmit.message.freeze());
        }
    }

    /// Lets datagrams flow through `network` until nothing is under way.
    pub fn settle(&mut self, network: &mut impl FnMut(Way, Bytes) -> Vec<Bytes>) {
        while !self.to_client.is_empty() || !self.to_node.is_empty() {
            let to_node: Vec<Bytes> = std::mem::take(&mut self.to_node).into();
            for bytes in to_node.into_iter().flat_map(|bytes| network(Way::ToNode, bytes)).collect::<Vec<_>>()
            {
                self.input(self.path, bytes);
            }
            let to_client: Vec<(Path, Bytes)> = std::mem::take(&mut self.to_client).into();
            for (path, bytes) in to_client {
                if bytes[0] < 4 {
                    self.answers.push((path, bytes));
                    continue;
                }
                for bytes in network(Way::ToClient, bytes) {
                    self.deliver_to_client(bytes);
                }
            }
        }
    }

    fn deliver_to_client(&mut self, bytes: Bytes) {
        match self.dtls.read(self.now, REMOTE, None, BytesMut::from(&bytes[..])) {
            Ok(events) => {
                for event in events {
                    match event {
                        EndpointEvent::HandshakeComplete => self.complete = true,
                        EndpointEvent::PeerClosed => self.closed = true,
                        _ => {}
                    }
                }
            }
            Err(_) => self.client_failed = true,
        }
        self.drain_client();
    }

    /// Runs for `time` of virtual time, both timers included, checking every 2.5 s as Chromium does.
    pub fn run(&mut self, time: Duration, mut network: impl FnMut(Way, Bytes) -> Vec<Bytes>) {
        let end = self.now + time;
        let mut next_check = self.now + Duration::from_millis(2_500);
        loop {
            self.settle(&mut network);
            let deadlines =
                [self.core.poll_timeout(), self.dtls.poll_timeout(&REMOTE), Some(next_check), Some(end)];
            let next = deadlines.into_iter().flatten().min().unwrap().max(self.now);
            self.now = next;
            if next >= end {
                return;
            }
            self.core.handle_timeout(next);
            self.collect();
            if self.dtls.poll_timeout(&REMOTE).is_some_and(|at| at <= next) {
                self.client_failed |= self.dtls.handle_timeout(REMOTE, next).is_err();
                self.drain_client();
            }
            if next_check <= next {
                next_check += Duration::from_millis(2_500);
                self.checks(self.path, true);
            }
        }
    }

    /// Lets time pass without the client doing anything.
    pub fn idle(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.core.poll_timeout().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            self.core.handle_timeout(self.now);
            self.collect();
        }
        self.now = end;
    }

    /// The client's `close_notify`, as it sends it.
    pub fn client_closes(&mut self) {
        self.dtls.stop(self.now, REMOTE);
        self.drain_client();
    }

    /// The keys that the node's side has.
    pub fn keys(&self) -> Option<SrtpKeys> {
        self.said.iter().find_map(|output| match output {
            PeerOutput::Connected { keys, .. } => Some(keys.clone()),
            _ => None,
        })
    }

    /// What the client's exporter gives: client key, server key, client salt, server salt, one after the other.
    pub fn client_secret(&self) -> Vec<u8> {
        let keys = self.keys().unwrap();
        let length = 2 * (keys.profile.key_bytes() + keys.profile.salt_bytes());
        let state = self.dtls.get_connection_state(REMOTE).unwrap();
        let secret = state.export_keying_material("EXTRACTOR-dtls_srtp", &[], length).unwrap();
        AsRef::<[u8]>::as_ref(&secret).to_vec()
    }

    /// Asserts that both ends are connected and have the same keys, and returns them.
    pub fn assert_connected(&self) -> SrtpKeys {
        assert!(self.complete, "the client's handshake is not done");
        let keys = self.keys().expect("the node is not connected");
        let (client, server) = match self.role {
            DtlsRole::Client => (&keys.remote, &keys.local),
            DtlsRole::Server => (&keys.local, &keys.remote),
        };
        let ours = [&client.key[..], &server.key, &client.salt, &server.salt].concat();
        assert_eq!(ours, self.client_secret());
        assert!(self.core.is_connected());
        keys
    }

    pub fn ended(&self) -> Option<EndReason> {
        self.said.iter().find_map(|output| match output {
            PeerOutput::Ended(reason) => Some(*reason),
            _ => None,
        })
    }
}

/// A network that loses nothing.
pub fn perfect(_: Way, bytes: Bytes) -> Vec<Bytes> {
    vec![bytes]
}
