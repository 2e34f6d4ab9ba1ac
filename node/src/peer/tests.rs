//! Whole connections on virtual time, from the first check to the end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use rtc_dtls::extension::extension_use_srtp::SrtpProtectionProfile;

use super::message::{EndReason, PeerInput, PeerOutput};
use super::test_client::{ClientCertificate, ClientOptions, Session, Way, perfect, udp};
use crate::media::keys::SrtpProfile;
use crate::media::negotiated::{DtlsRole, FingerprintAlgorithm};

const SECOND: Duration = Duration::from_secs(1);

/// Joins over a perfect network and asserts that it worked.
fn connected(options: ClientOptions) -> Session {
    let mut session = Session::new(options);
    session.join();
    session.settle(&mut perfect);
    session.assert_connected();
    session
}

#[test]
fn a_client_with_an_ecdsa_certificate_joins_without_waiting_for_a_timer() {
    let session = connected(ClientOptions::default());
    assert_eq!(session.keys().unwrap().profile, SrtpProfile::AeadAes128Gcm);
    assert_eq!(session.ended(), None);
}

#[test]
fn a_client_with_an_rsa_certificate_joins() {
    connected(ClientOptions { certificate: ClientCertificate::rsa(), ..ClientOptions::default() });
}

#[test]
fn a_client_that_wants_to_be_the_dtls_server_joins() {
    for certificate in [ClientCertificate::ecdsa(), ClientCertificate::rsa()] {
        let options = ClientOptions { role: DtlsRole::Server, certificate, ..ClientOptions::default() };
        connected(options);
    }
}

#[test]
fn our_order_of_profiles_decides_and_not_the_clients() {
    use SrtpProtectionProfile::{
        Srtp_Aead_Aes_128_Gcm as Gcm128, Srtp_Aead_Aes_256_Gcm as Gcm256,
        Srtp_Aes128_Cm_Hmac_Sha1_32 as Sha1_32, Srtp_Aes128_Cm_Hmac_Sha1_80 as Sha1_80,
    };
    let cases = [
        (vec![Sha1_80, Gcm256, Gcm128], SrtpProfile::AeadAes128Gcm),
        (vec![Sha1_80, Gcm256], SrtpProfile::AeadAes256Gcm),
        (vec![Sha1_32, Sha1_80], SrtpProfile::Aes128CmHmacSha1_80),
    ];
    for (profiles, expected) in cases {
        let session = connected(ClientOptions { profiles, ..ClientOptions::default() });
        assert_eq!(session.keys().unwrap().profile, expected);
    }
}

#[test]
fn a_client_without_a_common_profile_is_refused() {
    for profiles in [vec![SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_32], vec![]] {
        let mut session = Session::new(ClientOptions { profiles, ..ClientOptions::default() });
        session.join();
        session.settle(&mut perfect);
        assert_eq!(session.ended(), Some(EndReason::DtlsFailed));
        assert!(session.client_failed, "the client was not told");
    }
}

#[test]
fn any_of_the_announced_fingerprints_will_do() {
    for algorithm in
        [FingerprintAlgorithm::Sha256, FingerprintAlgorithm::Sha384, FingerprintAlgorithm::Sha512]
    {
        let certificate = ClientCertificate::ecdsa();
        let other = ClientCertificate::ecdsa().fingerprint(FingerprintAlgorithm::Sha256);
        let announced = Some(vec![other, certificate.fingerprint(algorithm)]);
        connected(ClientOptions { certificate, announced, ..ClientOptions::default() });
    }
}

#[test]
fn a_certificate_other_than_announced_never_connects() {
    for role in [DtlsRole::Client, DtlsRole::Server] {
        let announced = Some(vec![ClientCertificate::ecdsa().fingerprint(FingerprintAlgorithm::Sha256)]);
        let mut session = Session::new(ClientOptions { announced, role, ..ClientOptions::default() });
        session.join();
        session.settle(&mut perfect);
        assert_eq!(session.ended(), Some(EndReason::DtlsFailed));
        assert!(session.keys().is_none());
        assert!(role == DtlsRole::Server || !session.complete, "the client believes to be connected");
    }
}

/// Every handshake flight of the session is cut into datagrams of `mtu` bytes at most.
fn split(mtu: usize) -> Session {
    let mut session = Session::new(ClientOptions { mtu, ..ClientOptions::default() });
    session.join();
    session
}

#[test]
fn a_client_hello_split_over_two_datagrams_is_put_together() {
    let mut session = split(100);
    assert!(session.to_node.len() >= 2, "the hello was not split");
    session.settle(&mut perfect);
    session.assert_connected();
}

#[test]
fn a_split_client_hello_may_come_in_any_order_and_twice() {
    let mut session = split(100);
    let parts: Vec<Bytes> = session.to_node.drain(..).collect();
    let reversed = parts.iter().rev().cloned();
    session.to_node.extend(reversed.clone().chain(reversed));
    session.settle(&mut perfect);
    session.assert_connected();
}

#[test]
fn a_client_hello_whose_second_half_was_lost_is_completed_by_its_repetition() {
    let mut session = split(100);
    session.to_node.truncate(1);
    session.run(3 * SECOND, perfect);
    session.assert_connected();
}

#[test]
fn every_flight_is_recovered_whichever_datagram_is_lost() {
    for mtu in [1_200, 300] {
        for way in [Way::ToNode, Way::ToClient] {
            for lost in 0..16 {
                let mut session = Session::new(ClientOptions { mtu, ..ClientOptions::default() });
                session.join();
                let mut count = 0;
                session.run(8 * SECOND, |to, bytes| {
                    count += usize::from(to == way);
                    if to == way && count == lost + 1 { vec![] } else { vec![bytes] }
                });
                assert!(session.complete, "datagrams of {mtu}: number {lost} {way:?} was lost");
                session.assert_connected();
            }
        }
    }
}

#[test]
fn a_network_that_loses_a_third_and_repeats_a_third_still_connects_most() {
    let mut connected = 0;
    for seed in 1..=20_u64 {
        let mut session = Session::new(ClientOptions::default());
        session.join();
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        session.run(14 * SECOND, |_, bytes| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            match state % 3 {
                0 => vec![],
                1 => vec![bytes.clone(), bytes],
                _ => vec![bytes],
            }
        });
        connected += u32::from(session.keys().is_some() && session.complete);
    }
    assert!(connected >= 18, "only {connected} of 20 connected");
}

#[test]
fn a_session_without_a_check_ends_after_15_seconds() {
    let mut session = Session::new(ClientOptions::default());
    session.idle(Duration::from_millis(14_999));
    assert_eq!(session.ended(), None);
    session.idle(Duration::from_millis(1));
    assert_eq!(session.ended(), Some(EndReason::IceTimeout));
    assert_eq!(session.core.poll_timeout(), None);
}

#[test]
fn a_session_without_dtls_ends_after_15_seconds() {
    for role in [DtlsRole::Client, DtlsRole::Server] {
        let mut session = Session::new(ClientOptions { role, ..ClientOptions::default() });
        session.join();
        session.run(16 * SECOND, |_, _| vec![]);
        assert_eq!(session.ended(), Some(EndReason::DtlsTimeout));
    }
}

#[test]
fn consent_expires_30_seconds_after_the_last_good_check() {
    let mut session = connected(ClientOptions::default());
    session.run(100 * SECOND, perfect);
    assert_eq!(session.ended(), None, "checks keep consent alive");
    session.checks(session.path, true);
    session.to_client.clear();
    session.idle(Duration::from_millis(29_999));
    assert_eq!(session.ended(), None);
    session.idle(Duration::from_millis(1));
    assert_eq!(session.ended(), Some(EndReason::ConsentExpired));
    assert!(session.to_client.is_empty(), "nothing may be sent without consent");
}

#[test]
fn the_clients_goodbye_ends_the_session() {
    let mut session = connected(ClientOptions::default());
    session.client_closes();
    session.settle(&mut perfect);
    assert_eq!(session.ended(), Some(EndReason::ClosedByPeer));
}

#[test]
fn closing_tells_the_client_goodbye_and_is_the_last_thing_said() {
    for role in [DtlsRole::Client, DtlsRole::Server] {
        let mut session = connected(ClientOptions { role, ..ClientOptions::default() });
        session.core.handle(session.now, PeerInput::Close(EndReason::Deleted));
        session.collect();
        session.settle(&mut perfect);
        assert!(session.closed, "no close_notify reached the client");
        assert_eq!(session.ended(), Some(EndReason::Deleted));
        let said = session.said.len();
        session.checks(session.path, true);
        session.core.handle(session.now, PeerInput::Close(EndReason::Shutdown));
        session.collect();
        assert_eq!(session.said.len(), said);
        assert!(session.to_client.is_empty());
    }
}

#[test]
fn a_session_survives_a_move_to_another_address() {
    let mut session = connected(ClientOptions::default());
    let new = udp(6000);
    session.checks(new, true);
    assert!(matches!(session.said.last(), Some(PeerOutput::PathSelected(path)) if *path == new));
    session.path = new;
    session.client_closes();
    session.settle(&mut perfect);
    assert_eq!(session.ended(), Some(EndReason::ClosedByPeer), "dtls goes on over the new path");
}

/// Whoever has a session could finish a handshake where it is, and the last of it with another's address.
#[test]
fn a_handshake_proves_the_path_that_all_of_it_went_to() {
    for moves in [false, true] {
        let mut session = Session::new(ClientOptions::default());
        session.join();
        session.is_there = false;
        for bytes in std::mem::take(&mut session.to_node) {
            session.input(session.path, bytes);
        }
        if moves {
            session.checks(udp(6000), true);
            assert_eq!(session.core.selected_path(), Some(udp(6000)));
        }
        session.settle(&mut perfect);
        assert!(session.core.is_connected());
        let expected = if moves { vec![] } else { vec![session.path] };
        assert_eq!(session.proved, expected);
    }
}

#[test]
fn dtls_from_a_path_without_a_check_is_ignored() {
    let mut session = Session::new(ClientOptions::default());
    session.join();
    let hello: Vec<Bytes> = session.to_node.drain(..).collect();
    let answers = session.to_client.len();
    for bytes in hello {
        session.input(udp(9999), bytes);
    }
    assert_eq!(session.to_client.len(), answers);
}

#[test]
fn forged_datagrams_do_not_end_a_connected_session() {
    let mut session = connected(ClientOptions::default());
    let said = session.said.len();
    // A fatal alert in plain text, one that pretends to be encrypted, a hello, a cipher change.
    let forged: [&[u8]; 4] = [
        &[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 2, 2, 40],
        &[
            21, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 9, 0, 26, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
            16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26,
        ],
        &[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 12, 1, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0],
        &[20, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 1],
    ];
    for bytes in forged {
        session.input(session.path, Bytes::copy_from_slice(bytes));
    }
    assert_eq!(session.said.len(), said);
    session.client_closes();
    session.settle(&mut perfect);
    assert_eq!(session.ended(), Some(EndReason::ClosedByPeer));
}

#[test]
fn outputs_are_bounded_when_nobody_drains() {
    let mut session = connected(ClientOptions::default());
    for _ in 0..10_000 {
        let bytes = session.check(true);
        session.core.handle(session.now, PeerInput::Datagram { path: session.path, bytes });
    }
    let mut count = 0;
    while session.core.poll_output().is_some() {
        count += 1;
    }
    assert!(count <= super::core::OUTPUTS_CAPACITY + 8, "{count} outputs");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A real handshake whose datagrams get damaged, cut, doubled and lost on the way, in both directions and roles.
    #[test]
    fn a_mangled_handshake_never_panics_and_never_ends_with_other_keys(
        harms in proptest::collection::vec((0..8_u8, any::<u16>(), 1..255_u8), 0..40),
        node_is_server in any::<bool>(),
    ) {
        let role = if node_is_server { DtlsRole::Client } else { DtlsRole::Server };
        let mut session = Session::new(ClientOptions { role, ..ClientOptions::default() });
        session.join();
        let mut harms = harms.into_iter();
        session.run(6 * SECOND, |_, bytes| {
            let Some((kind, place, value)) = harms.next() else { return vec![bytes] };
            let place = usize::from(place) % bytes.len();
            let mut harmed = bytes.to_vec();
            match kind {
                0 => harmed[place] ^= value,
                1 => harmed.truncate(place.max(1)),
                2 => harmed.insert(place, value),
                3 => return vec![],
                4 => return vec![bytes.clone(), bytes],
                _ => {}
            }
            vec![Bytes::from(harmed)]
        });
        if session.complete && session.core.is_connected() {
            session.assert_connected();
        }
    }
}
