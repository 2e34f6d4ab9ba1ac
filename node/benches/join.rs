//! What one viewer's join costs the node: ICE and DTLS on the server's side, in microseconds of CPU and bytes kept.
//!
//! Run with `cargo bench --bench join`. Beside it stands what the handshake's public-key operations alone cost with the
//! same library in the same run: that is the floor.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::VecDeque;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aforo_node::media::negotiated::{
    Direction, DtlsRole, Fingerprint, FingerprintAlgorithm, IceCredentials, Negotiated,
};
use aforo_node::media::path::{Path, ShardId};
use aforo_node::peer::core::PeerCore;
use aforo_node::peer::dtls::DtlsIdentity;
use aforo_node::peer::ice;
use aforo_node::peer::message::{PeerConfig, PeerInput, PeerOutput};
use aws_lc_rs::{agreement, digest, rand, signature, signature::KeyPair};
use bytes::{Bytes, BytesMut};
use rtc_dtls::config::{ConfigBuilder, HandshakeConfig};
use rtc_dtls::crypto::Certificate;
use rtc_dtls::crypto_provider::RTCCryptoProvider;
use rtc_dtls::crypto_provider::providers::AwsLcRsProvider;
use rtc_dtls::endpoint::{Endpoint, EndpointEvent};
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use rtc_shared::TransportProtocol;
use rtc_stun::attributes::{ATTR_ICE_CONTROLLING, ATTR_PRIORITY, ATTR_USE_CANDIDATE, ATTR_USERNAME};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, Message, Setter, TransactionId};
use rtc_stun::textattrs::TextAttribute;

/// Joins that are measured; a client's certificate is made for each.
const JOINS: usize = 2_000;

/// Checks that browsers send until they have nominated a path and the handshake is over.
const CHECKS_PER_JOIN: usize = 4;

const REMOTE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9)), 443);
const PATH: Path = Path::Udp(REMOTE);

fn main() {
    let identity = DtlsIdentity::generate().unwrap();
    let clients: Vec<Client> = (0..64).map(|_| Client::new()).collect();
    for client in clients.iter().cycle().take(200) {
        join(client, &identity);
    }
    let before = allocated_bytes();
    let mut cores = Vec::with_capacity(JOINS);
    let mut spent: Vec<Duration> = Vec::with_capacity(JOINS);
    let mut checks = Duration::ZERO;
    for client in clients.iter().cycle().take(JOINS) {
        let (core, dtls, ice) = join(client, &identity);
        spent.push(dtls + ice);
        checks += ice;
        cores.push(core);
    }
    let kept = (allocated_bytes() - before) / JOINS;
    spent.sort();
    let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
    let mean = spent.iter().sum::<Duration>() / JOINS as u32;
    println!("join, server side   {:7.1} us mean, {:.1} us median", micros(mean), micros(spent[JOINS / 2]));
    println!("  of which ICE      {:7.1} us for {CHECKS_PER_JOIN} checks", micros(checks) / JOINS as f64);
    let floor = floor();
    println!(
        "public-key floor    {:7.1} us; join / floor = {:.2}",
        micros(floor),
        micros(mean) / micros(floor)
    );
    println!("kept per peer       {kept:7} bytes ({} of them the core itself)", size_of::<PeerCore>());
    assert!(cores.iter().all(PeerCore::is_connected));
}

/// CPU time of this thread: other work on the machine must not count.
fn cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes the struct that is handed to it, and nothing else.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Bytes that are allocated now, by Rust and by C. The benchmark runs on glibc's allocator.
fn allocated_bytes() -> usize {
    // SAFETY: reads counters of the allocator; no other thread is running.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}

struct Client {
    config: Arc<HandshakeConfig>,
    fingerprint: Fingerprint,
    credentials: IceCredentials,
}

impl Client {
    fn new() -> Self {
        let provider: Arc<dyn RTCCryptoProvider> = Arc::new(AwsLcRsProvider::new());
        let certificate =
            Certificate::generate_self_signed(vec!["client".to_owned()], provider.crypto()).unwrap();
        let digest = digest::digest(&digest::SHA256, certificate.certificate[0].as_ref()).as_ref().to_vec();
        let config = ConfigBuilder::default()
            .with_crypto_provider(provider)
            .with_certificates(vec![certificate])
            .with_srtp_protection_profiles(vec![
                SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
                SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
            ])
            .with_insecure_skip_verify(true)
            .build(true, Some(REMOTE))
            .unwrap();
        Self {
            config: Arc::new(config),
            fingerprint: Fingerprint { algorithm: FingerprintAlgorithm::Sha256, digest },
            credentials: IceCredentials { ufrag: "clie".to_owned(), password: "p".repeat(24) },
        }
    }

    fn check(&self, local: &IceCredentials) -> Bytes {
        let provider = AwsLcRsProvider::new();
        let username = format!("{}:{}", local.ufrag, self.credentials.ufrag);
        let mut message = Message::new();
        let setters: Vec<Box<dyn Setter>> = vec![
            Box::new(BINDING_REQUEST),
            Box::new(TransactionId::new()),
            Box::new(TextAttribute::new(ATTR_USERNAME, username)),
        ];
        message.build(&setters).unwrap();
        message.add(ATTR_ICE_CONTROLLING, &7_u64.to_be_bytes());
        message.add(ATTR_USE_CANDIDATE, &[]);
        message.add(ATTR_PRIORITY, &1_862_270_975_u32.to_be_bytes());
        MessageIntegrity::new_short_term_integrity_with_provider(local.password.clone(), provider.crypto())
            .add_to(&mut message)
            .unwrap();
        FINGERPRINT.add_to(&mut message).unwrap();
        Bytes::from(message.raw)
    }
}

/// One join. Returns the connected core and what it took: for everything but checks, and for the checks.
fn join(client: &Client, identity: &Arc<DtlsIdentity>) -> (PeerCore, Duration, Duration) {
    let now = Instant::now();
    let local_ice = ice::credentials(ShardId(0)).unwrap();
    let checks: Vec<Bytes> = (0..CHECKS_PER_JOIN).map(|_| client.check(&local_ice)).collect();
    let config = PeerConfig {
        local_ice,
        negotiated: Negotiated {
            direction: Direction::Play,
            remote_ice: client.credentials.clone(),
            dtls_role: DtlsRole::Server,
            remote_fingerprints: vec![client.fingerprint.clone()],
            media: Vec::new(),
        },
    };
    let identity = Arc::clone(identity);
    let started = cpu();
    let mut core = PeerCore::new(config, identity, now);
    let mut spent = cpu() - started;
    let mut outputs = VecDeque::new();
    let started = cpu();
    for bytes in checks {
        give(&mut core, now, bytes, &mut outputs);
    }
    let ice = cpu() - started;
    outputs.clear();
    let mut endpoint = Endpoint::new(REMOTE, TransportProtocol::UDP, None);
    endpoint.connect(now, REMOTE, Arc::clone(&client.config), None).unwrap();
    let mut complete = false;
    while !complete {
        while let Some(transmit) = endpoint.poll_transmit() {
            let bytes = transmit.message.freeze();
            let started = cpu();
            give(&mut core, now, bytes, &mut outputs);
            spent += cpu() - started;
        }
        assert!(!outputs.is_empty(), "the handshake is stuck");
        for output in outputs.drain(..) {
            if let PeerOutput::Transmit { bytes, .. } = output {
                let events = endpoint.read(now, REMOTE, None, BytesMut::from(&bytes[..])).unwrap();
                complete |= events.iter().any(|event| matches!(event, EndpointEvent::HandshakeComplete));
            }
        }
    }
    (core, spent, ice)
}

fn give(core: &mut PeerCore, now: Instant, bytes: Bytes, outputs: &mut VecDeque<PeerOutput>) {
    core.handle(now, PeerInput::Datagram { path: PATH, bytes });
    outputs.extend(std::iter::from_fn(|| core.poll_output()));
}

/// The public-key operations of one handshake as server, on the curve that this client prefers: sign the key exchange,
/// make a key pair, agree, verify the client's signature. Each round has another peer and finds cold caches, as joins do.
fn floor() -> Duration {
    let random = rand::SystemRandom::new();
    let algorithm = &signature::ECDSA_P256_SHA256_ASN1_SIGNING;
    let new_key = || {
        let document = signature::EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        signature::EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref()).unwrap()
    };
    let key = new_key();
    let message = [7; 1_500];
    let peers: Vec<_> = (0..64)
        .map(|_| {
            let share = agreement::EphemeralPrivateKey::generate(&agreement::ECDH_P256, &random).unwrap();
            let key = new_key();
            let signed = key.sign(&random, &message).unwrap();
            (share.compute_public_key().unwrap(), key.public_key().as_ref().to_vec(), signed)
        })
        .collect();
    let mut noise = vec![0_u8; 4 << 20];
    let mut spent = Duration::ZERO;
    for (share, public, signed) in peers.iter().cycle().take(JOINS) {
        noise.iter_mut().step_by(64).for_each(|byte| *byte = byte.wrapping_add(1));
        black_box(&noise);
        let started = cpu();
        black_box(key.sign(&random, &message).unwrap());
        let own = agreement::EphemeralPrivateKey::generate(&agreement::ECDH_P256, &random).unwrap();
        black_box(own.compute_public_key().unwrap());
        let share = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, share.as_ref());
        agreement::agree_ephemeral(own, share, (), |secret| {
            black_box(secret);
            Ok(())
        })
        .unwrap();
        signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_ASN1, public)
            .verify(&message, signed.as_ref())
            .unwrap();
        spent += cpu() - started;
    }
    spent / JOINS as u32
}
