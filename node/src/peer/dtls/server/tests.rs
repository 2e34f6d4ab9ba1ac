//! Our handshake against the library's client: what it answers itself, and what it does not believe.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::media::keys::SrtpProfile;
use crate::peer::dtls::hello::ClientHello;
use crate::peer::dtls::inbound::{Inbound, Input};
use crate::peer::dtls::record::Fragments;
use crate::peer::dtls::{Dtls, DtlsIdentity};

/// A client of the library's and a handshake of ours that its hello has begun.
struct Begun {
    client: Dtls,
    identity: Arc<DtlsIdentity>,
    handshake: ServerHandshake,
    inbound: Inbound,
    now: Instant,
}

impl Begun {
    /// Changes to the hello happen on the way to the server, changes to the terms there.
    fn new(change_hello: impl Fn(&mut [u8]), change_terms: impl Fn(&mut Terms)) -> Self {
        let now = Instant::now();
        let [identity, server] = [0, 1].map(|_| DtlsIdentity::generate().unwrap());
        let mut client = Dtls::new(DtlsRole::Client, Arc::clone(&identity), vec![server.fingerprint()]);
        client.start(now).unwrap();
        let mut hello = client.poll_transmit().unwrap().to_vec();
        change_hello(&mut hello);
        let mut inbound = Inbound::default();
        take(&mut inbound, &hello);
        assert_eq!(inbound.next_input(), Some(Input::Flight));
        let message = &inbound.messages()[0];
        let mut terms = ClientHello::read(message).unwrap().terms().unwrap();
        change_terms(&mut terms);
        let (handshake, answer) = ServerHandshake::begin(&server, message, terms).unwrap();
        inbound.handed_on();
        client.handle(now, &answer).unwrap();
        let mut begun = Self { client, identity, handshake, inbound, now };
        begun.take_flight();
        begun
    }

    fn take_flight(&mut self) {
        while let Some(datagram) = self.client.poll_transmit() {
            take(&mut self.inbound, &datagram);
        }
        assert_eq!(self.inbound.next_input(), Some(Input::Flight));
    }

    fn prove(&mut self) -> Result<(), Failure> {
        let proof = self.handshake.check(self.inbound.messages())?;
        self.handshake.take_proof(&proof, &[self.identity.fingerprint()])
    }

    fn finish(&mut self) -> Result<Option<Finished>, Failure> {
        let Some(Input::Ending(records)) = self.inbound.next_input() else { panic!("no Finished") };
        self.handshake.take_finished(&records)
    }
}

fn take(inbound: &mut Inbound, datagram: &[u8]) {
    for record in Records::of(datagram) {
        match (record.epoch, record.kind) {
            (0, HANDSHAKE) => drop(inbound.take(&record)),
            _ => inbound.keep_early(&record),
        }
    }
}

fn unchanged(_: &mut [u8]) {}

fn begun() -> Begun {
    Begun::new(unchanged, |_| {})
}

/// Types of the handshake messages in a datagram.
fn kinds(datagram: &[u8]) -> Vec<u8> {
    Records::of(datagram)
        .flat_map(|record| Fragments::of(record.body).map(|fragment| fragment.kind).collect::<Vec<_>>())
        .collect()
}

#[test]
fn a_handshake_ends_with_the_same_keys_on_both_sides() {
    let [gcm, gcm_256, sha1] = SrtpProfile::PREFERRED;
    let cases = [(Group::X25519, gcm), (Group::X25519, gcm_256), (Group::P256, gcm), (Group::P256, sha1)];
    for (group, profile) in cases {
        let mut begun = Begun::new(unchanged, |terms| (terms.group, terms.profile) = (group, profile));
        begun.prove().unwrap();
        let finished = begun.finish().unwrap().unwrap();
        assert_eq!(Records::of(&finished.flight).count(), 2);
        let event = begun.client.handle(begun.now, &finished.flight).unwrap();
        let Some(super::super::DtlsEvent::Connected(keys)) = event else { panic!("{event:?}") };
        assert_eq!((keys.profile, finished.keys.profile), (profile, profile));
        assert!(keys.local == finished.keys.remote && keys.remote == finished.keys.local);
    }
}

#[test]
fn a_hello_that_was_changed_on_the_way_is_noticed() {
    // The client's offer of AES-128-GCM becomes one that nobody has: we would take the next best.
    let weaken = |hello: &mut [u8]| {
        let at = hello.windows(4).position(|bytes| bytes == [0, 7, 0, 8]).expect("the offered profiles");
        hello[at..at + 2].copy_from_slice(&[0xfe, 0xfe]);
    };
    let mut begun = Begun::new(weaken, |_| {});
    assert_eq!(begun.handshake.terms.profile, SrtpProfile::AeadAes256Gcm);
    assert_eq!(begun.prove().unwrap_err().alert, alert::DECRYPT_ERROR);
}

#[test]
fn a_finished_over_another_handshake_is_refused() {
    let mut begun = begun();
    begun.prove().unwrap();
    *begun.handshake.transcript.last_mut().unwrap() ^= 1;
    let failure = begun.finish().err().unwrap();
    assert_eq!(failure.alert, alert::DECRYPT_ERROR);
}

#[test]
fn a_finished_that_is_not_the_clients_changes_nothing() {
    let mut begun = begun();
    begun.prove().unwrap();
    let Some(Input::Ending(records)) = begun.inbound.next_input() else { panic!("no Finished") };
    let mut forged = records.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    assert!(begun.handshake.take_finished(&forged).unwrap().is_none());
    assert!(begun.handshake.take_finished(&[]).unwrap().is_none());
    assert!(begun.handshake.take_finished(&records).unwrap().is_some());
    assert!(begun.handshake.take_finished(&records).unwrap().is_none(), "it is over");
}

fn alert_for(begun: &mut Begun, messages: &[Vec<u8>]) -> u8 {
    begun.handshake.check(messages).err().expect("a refusal").alert
}

#[test]
fn flights_that_prove_nothing_are_refused_and_change_nothing() {
    let mut begun = begun();
    let messages = begun.inbound.messages().to_vec();
    let [certificate, key_exchange, verify] = messages.as_slice() else { panic!("three messages") };
    let empty = [&certificate[..12], &[0, 0, 0]].concat();
    let cases = [
        (vec![empty, key_exchange.clone()], alert::HANDSHAKE_FAILURE),
        (vec![key_exchange.clone()], alert::HANDSHAKE_FAILURE),
        (vec![key_exchange.clone(), certificate.clone(), verify.clone()], alert::UNEXPECTED_MESSAGE),
        (vec![certificate.clone()], alert::UNEXPECTED_MESSAGE),
        (vec![certificate[..20].to_vec(), key_exchange.clone(), verify.clone()], alert::DECODE_ERROR),
    ];
    for (messages, expected) in cases {
        assert_eq!(alert_for(&mut begun, &messages), expected);
    }
    for longer in 0..3 {
        let mut messages = messages.clone();
        messages[longer].push(0);
        assert_eq!(alert_for(&mut begun, &messages), alert::DECODE_ERROR, "a byte behind message {longer}");
    }
    let stolen = DtlsIdentity::generate().unwrap();
    let messages = [certificate_message(stolen.certificate()), key_exchange.clone(), verify.clone()];
    assert_eq!(alert_for(&mut begun, &messages), alert::DECRYPT_ERROR, "with the key of another");
    begun.prove().unwrap();
    assert!(begun.prove().is_err(), "a second one");
}

#[test]
fn a_proof_by_another_certificate_than_the_announced_is_refused() {
    let mut begun = begun();
    let other = DtlsIdentity::generate().unwrap();
    let proof = begun.handshake.check(begun.inbound.messages()).unwrap();
    let failure = begun.handshake.take_proof(&proof, &[other.fingerprint()]).unwrap_err();
    assert!(matches!(failure.error, DtlsError::Fingerprint));
}

fn certificate_message(der: &[u8]) -> Vec<u8> {
    let length = |count: usize| [0, (count >> 8) as u8, count as u8];
    [&[11; 12][..], &length(der.len() + 3), &length(der.len()), der].concat()
}

/// The second flight of a client with another kind of key, and its fingerprint.
fn flight_of(
    begun: &Begun,
    scheme: u16,
    kind: &'static rcgen::SignatureAlgorithm,
    share: Option<Vec<u8>>,
) -> (Vec<Vec<u8>>, Fingerprint) {
    let key = rcgen::KeyPair::generate_for(kind).unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    let mut messages = begun.inbound.messages().to_vec();
    messages[0] = certificate_message(certificate.der());
    if let Some(share) = share {
        messages[1].truncate(12);
        messages[1].push(share.len() as u8);
        messages[1].extend(share);
    }
    let transcript = [&begun.handshake.transcript, &messages[0], &messages[1]].map(|part| &part[..]).concat();
    let signature = rcgen::SigningKey::sign(&key, &transcript).unwrap();
    let length = (signature.len() as u16).to_be_bytes();
    messages[2] = [&[15; 12][..], &scheme.to_be_bytes(), &length, &signature].concat();
    let digest = digest::digest(&SHA256, certificate.der()).as_ref().to_vec();
    (messages, Fingerprint { algorithm: crate::media::negotiated::FingerprintAlgorithm::Sha256, digest })
}

#[test]
fn every_kind_of_key_that_is_asked_for_proves_its_certificate() {
    let kinds = [
        (0x0403, &rcgen::PKCS_ECDSA_P256_SHA256),
        (0x0503, &rcgen::PKCS_ECDSA_P384_SHA384),
        (0x0603, &rcgen::PKCS_ECDSA_P521_SHA512),
        (0x0807, &rcgen::PKCS_ED25519),
    ];
    for (scheme, kind) in kinds {
        let mut begun = begun();
        let (messages, fingerprint) = flight_of(&begun, scheme, kind, None);
        let mut forged = messages.clone();
        *forged[2].last_mut().unwrap() ^= 1;
        assert_eq!(alert_for(&mut begun, &forged), alert::DECRYPT_ERROR, "{scheme:x}");
        let proof = begun.handshake.check(&messages).unwrap_or_else(|_| panic!("{scheme:x}"));
        begun.handshake.take_proof(&proof, &[fingerprint]).unwrap();
    }
}

#[test]
fn shares_of_another_form_or_of_small_order_are_refused() {
    let point = rcgen::KeyPair::generate().unwrap().public_key_raw().to_vec();
    let odd = point[64] & 1;
    let mut one = vec![0; 32];
    one[0] = 1;
    let cases = [
        (Group::X25519, vec![0; 32]),
        (Group::X25519, one),
        (Group::X25519, vec![9; 31]),
        (Group::P256, vec![0]),
        (Group::P256, [&[4][..], &[1; 64]].concat()),
        (Group::P256, [&[2 + odd], &point[1..33]].concat()),
        (Group::P256, [&[6 + odd], &point[1..]].concat()),
    ];
    for (group, share) in cases.iter().chain([&(Group::P256, point.clone())]) {
        let mut begun = Begun::new(unchanged, |terms| terms.group = *group);
        let kind = &rcgen::PKCS_ECDSA_P256_SHA256;
        let (messages, fingerprint) = flight_of(&begun, 0x0403, kind, Some(share.clone()));
        let proof = begun.handshake.check(&messages).unwrap_or_else(|_| panic!("{share:?}"));
        let taken = begun.handshake.take_proof(&proof, &[fingerprint]).map_err(|failure| failure.alert);
        let expected = if *share == point { Ok(()) } else { Err(alert::ILLEGAL_PARAMETER) };
        assert_eq!(taken, expected, "{share:?}");
    }
}

#[test]
fn the_first_flight_is_one_datagram_and_has_no_cookie() {
    let identity = DtlsIdentity::generate().unwrap();
    let mut server = Dtls::new(DtlsRole::Server, Arc::clone(&identity), vec![]);
    let mut client = Dtls::new(DtlsRole::Client, Arc::clone(&identity), vec![]);
    let now = Instant::now();
    client.start(now).unwrap();
    server.handle(now, &client.poll_transmit().unwrap()).unwrap();
    let answer = server.poll_transmit().unwrap();
    assert_eq!(kinds(&answer), [2, 11, 12, 13, 14]);
    assert!(answer.len() <= crate::peer::dtls::identity::HANDSHAKE_MTU_BYTES);
    assert!(server.is_quiet());
}

/// Where the extension of this type stands in a ClientHello that is one record: its random bytes may look like any.
fn extension(hello: &[u8], wanted: u16) -> Option<usize> {
    let number = |at: usize| u16::from_be_bytes([hello[at], hello[at + 1]]);
    // Both headers, version and random; then session id, cookie, cipher suites and compression methods.
    let mut at = 13 + 12 + 2 + 32;
    at += 1 + usize::from(hello[at]);
    at += 1 + usize::from(hello[at]);
    at += 2 + usize::from(number(at));
    at += 1 + usize::from(hello[at]);
    at += 2;
    while at + 4 <= hello.len() {
        if number(at) == wanted {
            return Some(at);
        }
        at += 4 + usize::from(number(at + 2));
    }
    None
}

#[test]
fn a_hello_without_extended_master_secret_is_left_to_the_library() {
    let identity = DtlsIdentity::generate().unwrap();
    let mut client = Dtls::new(DtlsRole::Client, Arc::clone(&identity), vec![]);
    let now = Instant::now();
    client.start(now).unwrap();
    let mut hello = client.poll_transmit().unwrap().to_vec();
    let at = extension(&hello, 23).expect("the extension");
    hello[at..at + 2].copy_from_slice(&[0xfe, 0xfe]);
    let mut server = Dtls::new(DtlsRole::Server, identity, vec![]);
    server.handle(now, &hello).unwrap();
    assert_eq!(kinds(&server.poll_transmit().unwrap()), [3], "the library asks for a cookie");
}
