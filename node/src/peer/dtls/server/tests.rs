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
    /// Changes to the hello happen on the way to the server, changes to the answer on the way back.
    fn new(change_hello: impl Fn(&mut [u8]), change_answer: impl Fn(&mut Vec<u8>)) -> Self {
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
        let terms = ClientHello::read(message).unwrap().terms().unwrap();
        let (handshake, answer) = ServerHandshake::begin(&server, message, terms).unwrap();
        inbound.handed_on();
        let mut answer = answer.to_vec();
        change_answer(&mut answer);
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
        self.handshake.take_proof(self.inbound.messages(), &[self.identity.fingerprint()])
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
    let mut begun = begun();
    begun.prove().unwrap();
    let finished = begun.finish().unwrap().unwrap();
    assert_eq!(Records::of(&finished.flight).count(), 2);
    let event = begun.client.handle(begun.now, &finished.flight).unwrap();
    let Some(super::super::DtlsEvent::Connected(keys)) = event else { panic!("{event:?}") };
    assert_eq!(keys.profile, SrtpProfile::AeadAes128Gcm);
    assert!(keys.local == finished.keys.remote && keys.remote == finished.keys.local);
}

#[test]
fn both_curves_lead_to_the_same_keys() {
    for group in [Group::X25519, Group::P256] {
        // The other one's number is overwritten in the client's list, with a number that nobody has; the client does not
        // know, so its signature is over another hello: only the exchange itself is looked at.
        let other = if group == Group::X25519 { Group::P256 } else { Group::X25519 };
        let forget = |hello: &mut [u8]| {
            let list = [0, 10, 0, 8, 0, 6, 0, 23, 0, 29, 0, 24];
            let at = hello.windows(list.len()).position(|bytes| bytes == list).expect("the library's groups");
            let numbers = &mut hello[at + 6..at + 12];
            for number in numbers.chunks_exact_mut(2) {
                if number == other.number().to_be_bytes() {
                    number.copy_from_slice(&[0xfe, 0xfe]);
                }
            }
        };
        let begun = Begun::new(forget, |_| {});
        assert_eq!(begun.handshake.terms.group, group);
        let proof = Proof::read(begun.inbound.messages()).unwrap();
        let share = UnparsedPublicKey::new(algorithm(group), proof.share);
        agreement::agree(&begun.handshake.private_key, share, (), |_| Ok(())).unwrap();
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

#[test]
fn a_proof_by_another_certificate_or_without_one_is_refused() {
    let mut begun = begun();
    let other = DtlsIdentity::generate().unwrap();
    let failure = begun.handshake.take_proof(begun.inbound.messages(), &[other.fingerprint()]).unwrap_err();
    assert!(matches!(failure.error, DtlsError::Fingerprint));
    let [certificate, key_exchange, verify] = begun.inbound.messages() else { panic!("three messages") };
    let empty = [&certificate[..12], &[0, 0, 0]].concat();
    let cases = [
        (vec![empty, key_exchange.clone()], alert::HANDSHAKE_FAILURE),
        (vec![key_exchange.clone()], alert::HANDSHAKE_FAILURE),
        (vec![key_exchange.clone(), certificate.clone(), verify.clone()], alert::UNEXPECTED_MESSAGE),
        (vec![certificate.clone()], alert::UNEXPECTED_MESSAGE),
        (vec![certificate[..20].to_vec(), key_exchange.clone(), verify.clone()], alert::DECODE_ERROR),
    ];
    for (messages, expected) in cases {
        let failure = begun.handshake.take_proof(&messages, &[begun.identity.fingerprint()]).unwrap_err();
        assert_eq!(failure.alert, expected);
    }
    begun.prove().unwrap();
    assert_eq!(begun.prove().unwrap_err().alert, alert::UNEXPECTED_MESSAGE, "a second one");
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

#[test]
fn a_hello_without_extended_master_secret_is_left_to_the_library() {
    let identity = DtlsIdentity::generate().unwrap();
    let mut client = Dtls::new(DtlsRole::Client, Arc::clone(&identity), vec![]);
    let now = Instant::now();
    client.start(now).unwrap();
    let mut hello = client.poll_transmit().unwrap().to_vec();
    let at = hello.windows(4).position(|bytes| bytes == [0, 23, 0, 0]).expect("the extension");
    hello[at..at + 2].copy_from_slice(&[0xfe, 0xfe]);
    let mut server = Dtls::new(DtlsRole::Server, identity, vec![]);
    server.handle(now, &hello).unwrap();
    assert_eq!(kinds(&server.poll_transmit().unwrap()), [3], "the library asks for a cookie");
}
