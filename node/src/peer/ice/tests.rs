//! Checks against the responder: who is believed, what is answered, which path carries the session.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use rtc_dtls::crypto_provider::RTCCryptoProvider;
use rtc_dtls::crypto_provider::providers::AwsLcRsProvider;
use rtc_stun::attributes::{
    ATTR_ICE_CONTROLLED, ATTR_MESSAGE_INTEGRITY, ATTR_PRIORITY, ATTR_UNKNOWN_ATTRIBUTES, ATTR_USERNAME,
    AttrType,
};
use rtc_stun::error_code::ErrorCodeAttribute;
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_ERROR, BINDING_SUCCESS, Getter, Message};
use rtc_stun::xoraddr::XorMappedAddress;

use super::core::{CONSENT_TIMEOUT, PATHS_CAPACITY};
use super::{IceLite, Verdict, credentials, shard_of_ufrag, ufrag_of_check, verdict_of_answer};
use crate::media::negotiated::IceCredentials;
use crate::media::path::{Path, ShardId, TcpConnection};
use crate::peer::message::{PeerInput, PeerOutput};
use crate::peer::test_client::{ClientOptions, Session, answer_to, udp};

fn session() -> Session {
    Session::new(ClientOptions::default())
}

/// The paths that were validated, forgotten and selected, in order, since the last call.
fn paths(session: &mut Session) -> Vec<(&'static str, Path)> {
    let said = std::mem::take(&mut session.said);
    said.into_iter()
        .map(|output| match output {
            PeerOutput::PathValidated(path) => ("validated", path),
            PeerOutput::PathForgotten(path) => ("forgotten", path),
            PeerOutput::PathSelected(path) => ("selected", path),
            other => panic!("{other:?}"),
        })
        .collect()
}

/// The one STUN answer that is on its way, decoded, with its fingerprint checked.
fn answer(session: &mut Session) -> Message {
    let (_, bytes) = session.to_client.pop_front().expect("no answer");
    assert!(session.to_client.is_empty());
    let mut message = Message::new();
    message.unmarshal_binary(&bytes).unwrap();
    FINGERPRINT.check(&message).unwrap();
    message
}

/// Asserts an error answer with `code`; signed says whether it must prove to know the password.
fn assert_error(session: &mut Session, code: u16, signed: bool) {
    assert_eq!(verdict_of_answer(&session.to_client[0].1), Some(Verdict::Refused));
    let message = answer(session);
    assert_eq!(message.typ, BINDING_ERROR);
    let mut error = ErrorCodeAttribute::default();
    error.get_from(&message).unwrap();
    assert_eq!(error.code.0, code);
    assert_eq!(message.contains(ATTR_MESSAGE_INTEGRITY), signed);
}

#[test]
fn a_good_check_is_answered_with_the_address_it_came_from() {
    let provider = AwsLcRsProvider::new();
    let v6: SocketAddr = "[2001:db8::17]:5004".parse().unwrap();
    let v4 = udp(5004).remote();
    let mapped: SocketAddr = "[::ffff:198.51.100.7]:5004".parse().unwrap();
    let tcp = Path::Tcp(TcpConnection { id: 1, remote: v4 });
    let cases = [(Path::Udp(v6), v6), (Path::Udp(v4), v4), (Path::Udp(mapped), v4), (tcp, v4)];
    for (path, expected) in cases {
        let mut session = session();
        session.checks(path, false);
        let transaction = {
            let mut request = Message::new();
            request.unmarshal_binary(&session.check(false)).unwrap();
            request.transaction_id
        };
        let mut message = answer(&mut session);
        assert_ne!(message.transaction_id, transaction, "ids are random");
        assert_eq!(message.typ, BINDING_SUCCESS);
        MessageIntegrity::check(&mut message, session.local.password.as_bytes(), provider.crypto()).unwrap();
        let mut address = XorMappedAddress::default();
        address.get_from(&message).unwrap();
        assert_eq!(SocketAddr::new(address.ip, address.port), expected);
        assert_eq!(paths(&mut session), [("validated", path), ("selected", path)]);
    }
}

#[test]
fn an_answer_has_the_transaction_of_its_check() {
    let mut session = session();
    let check = session.check(true);
    session.input(udp(1), check.clone());
    assert_eq!(verdict_of_answer(&session.to_client[0].1), Some(Verdict::Answered));
    assert_eq!(verdict_of_answer(&check), None);
    assert_eq!(answer(&mut session).transaction_id.0, check[8..20]);
}

#[test]
fn wrong_passwords_and_names_are_unauthorized_and_change_nothing() {
    let mut session = session();
    let (local, remote) = (session.local.clone(), session.remote.clone());
    let wrong = |ufrag: &str, password: &str| IceCredentials {
        ufrag: ufrag.to_owned(),
        password: password.to_owned(),
    };
    let checks = [
        session.check_with(&wrong(&local.ufrag, "not the password 12345"), &remote, true, &[]),
        session.check_with(&wrong("someoneelse", &local.password), &remote, true, &[]),
        session.check_with(&local, &wrong("other", ""), true, &[]),
    ];
    for check in checks {
        session.input(udp(1), check);
        assert_error(&mut session, 401, false);
    }
    assert!(session.said.is_empty());
    assert_eq!(session.core.selected_path(), None);
}

#[test]
fn a_check_without_name_or_signature_is_a_bad_request() {
    let mut session = session();
    let mut message = Message::new();
    message.build(&[Box::new(rtc_stun::message::BINDING_REQUEST), Box::new(FINGERPRINT)]).unwrap();
    session.input(udp(1), Bytes::from(message.raw));
    assert_error(&mut session, 400, false);
    assert!(session.said.is_empty());
}

#[test]
fn all_attributes_that_must_be_understood_are_named_in_the_refusal() {
    let mut session = session();
    let strange: [(AttrType, &[u8]); 3] =
        [(AttrType(0x0fed), &[1, 2, 3]), (AttrType(0xc057), &[0; 4]), (AttrType(0x7000), &[])];
    let check = session.check_with(&session.local, &session.remote, true, &strange);
    session.input(udp(1), check);
    let message = session.to_client.front().unwrap().1.clone();
    assert_error(&mut session, 420, true);
    let mut decoded = Message::new();
    decoded.unmarshal_binary(&message).unwrap();
    assert_eq!(decoded.get(ATTR_UNKNOWN_ATTRIBUTES).unwrap(), [0x0f, 0xed, 0x70, 0x00]);
    assert!(session.said.is_empty());
    // Optional ones are ignored.
    let check = session.check_with(&session.local, &session.remote, true, &[(AttrType(0xc057), &[0; 4])]);
    session.input(udp(1), check);
    assert_eq!(answer(&mut session).typ, BINDING_SUCCESS);
}

#[test]
fn a_client_that_thinks_we_control_is_told_of_the_conflict() {
    let mut session = session();
    let check = session.check_with(&session.local, &session.remote, false, &[(ATTR_ICE_CONTROLLED, &[0; 8])]);
    session.input(udp(1), check);
    assert_error(&mut session, 487, true);
    assert!(session.said.is_empty());
}

#[test]
fn damaged_checks_are_dropped_without_an_answer() {
    let mut session = session();
    let good = session.check(true);
    for index in 0..good.len() {
        let mut bytes = good.to_vec();
        bytes[index] ^= 1;
        session.input(udp(1), Bytes::from(bytes));
    }
    for length in 0..good.len() {
        session.input(udp(1), good.slice(..length));
    }
    session.input(udp(1), Bytes::from([&good[..], &[0; 4]].concat()));
    assert!(session.said.is_empty() && session.to_client.is_empty());
}

#[test]
fn what_follows_the_signature_is_not_believed() {
    // USE-CANDIDATE smuggled in between MESSAGE-INTEGRITY and FINGERPRINT.
    let mut session = session();
    session.checks(udp(1), true);
    let check = session.check(false);
    let mut forged = check[..check.len() - 8].to_vec();
    forged.extend_from_slice(&[0, 0x25, 0, 0]);
    let length = (forged.len() - 20 + 8) as u16;
    forged[2..4].copy_from_slice(&length.to_be_bytes());
    let fingerprint = rtc_stun::fingerprint::fingerprint_value(&forged);
    forged.extend_from_slice(&[0x80, 0x28, 0, 4]);
    forged.extend_from_slice(&fingerprint.to_be_bytes());
    session.input(udp(2), Bytes::from(forged));
    assert_eq!(verdict_of_answer(&session.to_client.back().unwrap().1), Some(Verdict::Answered));
    assert_eq!(session.core.selected_path(), Some(udp(1)));
}

#[test]
fn the_first_path_is_used_at_once_and_each_first_nomination_moves_the_session() {
    let mut session = session();
    session.checks(udp(1), false);
    assert_eq!(paths(&mut session), [("validated", udp(1)), ("selected", udp(1))]);
    session.checks(udp(2), false);
    assert_eq!(paths(&mut session), [("validated", udp(2))]);
    session.checks(udp(2), true);
    assert_eq!(paths(&mut session), [("selected", udp(2))]);
    session.checks(udp(2), true);
    assert_eq!(paths(&mut session), []);
    session.checks(udp(1), false);
    assert_eq!(paths(&mut session), []);
    // Back again: the plain check above ended the first path's nomination.
    session.checks(udp(1), true);
    assert_eq!(paths(&mut session), [("selected", udp(1))]);
}

/// A session in use at the first path, whose client is not where its further checks seem to come from.
fn with_a_forger() -> Session {
    let mut session = session();
    session.checks(udp(1), true);
    session.is_there = false;
    paths(&mut session);
    session.to_client.clear();
    session
}

#[test]
fn the_first_check_from_a_new_address_moves_the_session_and_the_client_is_asked_there() {
    let mut session = with_a_forger();
    session.checks(udp(2), true);
    assert_eq!(paths(&mut session), [("validated", udp(2)), ("selected", udp(2))]);
    let (to, question) = session.questions[0].clone();
    assert_eq!((to, session.questions.len()), (udp(2), 1));

    let provider = AwsLcRsProvider::new();
    let mut message = Message::new();
    message.unmarshal_binary(&question).unwrap();
    let password = session.remote.password.clone();
    MessageIntegrity::check(&mut message, password.as_bytes(), provider.crypto()).unwrap();
    FINGERPRINT.check(&message).unwrap();
    let name = format!("{}:{}", session.remote.ufrag, session.local.ufrag);
    assert_eq!(message.get(ATTR_USERNAME).unwrap(), name.as_bytes());
    assert!(message.contains(ATTR_PRIORITY) && message.contains(ATTR_ICE_CONTROLLED));

    session.input(udp(2), answer_to(&question, &password));
    session.idle(Duration::from_secs(2));
    session.checks(udp(1), true);
    assert_eq!(paths(&mut session), [], "it answered: it is there");
}

#[test]
fn a_session_goes_back_where_the_client_is_unless_it_answers_from_where_it_went() {
    let mut session = with_a_forger();
    session.checks(udp(2), true);
    let (_, question) = session.questions[0].clone();
    let password = session.remote.password.clone();
    let answer = answer_to(&question, &password);
    let mut of_another = answer.to_vec();
    of_another[19] ^= 1;
    let wrong = [
        (udp(1), answer.clone()),
        (udp(3), answer),
        // A STUN server at that address echoes whatever it is sent.
        (udp(2), answer_to(&question, "of somebody who does not know it")),
        (udp(2), Bytes::from(of_another)),
        (udp(2), question.clone()),
    ];
    for (path, bytes) in wrong {
        session.input(path, bytes);
    }
    session.idle(Duration::from_millis(1_000));
    session.checks(udp(1), true);
    assert_eq!(session.core.selected_path(), Some(udp(2)), "an answer may still come");
    session.idle(Duration::from_millis(500));
    assert_eq!(session.core.selected_path(), Some(udp(1)));

    // Once bitten, it asks first.
    paths(&mut session);
    session.checks(udp(3), true);
    assert_eq!(paths(&mut session), [("validated", udp(3))]);
    session.is_there = true;
    session.idle(Duration::from_millis(200));
    assert_eq!(paths(&mut session), [("selected", udp(3))]);
}

/// Its next check there may be far off.
#[test]
fn a_session_goes_back_where_the_client_sends_from() {
    for (sends_after_ms, goes_back) in [(400, false), (500, true), (1_499, true), (4_000, true)] {
        let mut session = with_a_forger();
        session.checks(udp(2), true);
        session.idle(Duration::from_millis(sends_after_ms));
        assert_eq!(session.core.selected_path(), Some(udp(2)));
        let at = session.now;
        session.core.handle(at, PeerInput::SendsElsewhere { path: udp(1), at });
        session.collect();
        session.idle(Duration::from_millis(1_500_u64.saturating_sub(sends_after_ms)));
        let expected = if goes_back { udp(1) } else { udp(2) };
        assert_eq!(session.core.selected_path(), Some(expected), "{sends_after_ms}");
    }
    let mut session = with_a_forger();
    session.is_there = true;
    session.checks(udp(2), true);
    session.idle(Duration::from_secs(2));
    session.core.handle(session.now, PeerInput::SendsElsewhere { path: udp(1), at: session.now });
    session.collect();
    assert_eq!(session.core.selected_path(), Some(udp(2)), "it has answered from there");
}

#[test]
fn the_next_check_of_a_client_that_is_slow_takes_the_session_back() {
    let mut session = with_a_forger();
    session.checks(udp(2), true);
    session.idle(Duration::from_millis(2_500));
    assert_eq!(session.core.selected_path(), Some(udp(2)));
    session.checks(udp(1), true);
    assert_eq!(session.core.selected_path(), Some(udp(1)));
}

#[test]
fn a_client_that_answers_no_questions_is_where_its_checks_come_from() {
    let mut session = with_a_forger();
    for _ in 0..4 {
        session.checks(udp(2), false);
        session.idle(Duration::from_secs(1));
    }
    // It has nominated nothing: what moves it is that nothing comes by the old path.
    assert_eq!(session.core.selected_path(), Some(udp(2)));
    for port in [3, 4] {
        session.checks(udp(port), true);
        session.idle(Duration::from_secs(2));
        assert_eq!(session.core.selected_path(), Some(udp(port)));
    }
}

#[test]
fn a_client_that_answers_no_questions_may_look_after_its_other_paths() {
    let mut session = with_a_forger();
    session.checks(udp(2), true);
    for _ in 0..8 {
        session.checks(udp(1), false);
        session.checks(udp(2), false);
        session.idle(Duration::from_secs(1));
    }
    assert_eq!(session.core.selected_path(), Some(udp(2)), "it has nominated that one");
}

#[test]
fn nobody_is_asked_whether_to_leave_a_path_where_nobody_is() {
    let mut session = with_a_forger();
    session.checks(udp(2), true);
    session.idle(Duration::from_millis(1_500));
    session.checks(udp(1), true);
    assert_eq!(session.core.selected_path(), Some(udp(1)));
    session.idle(Duration::from_secs(4));
    session.checks(udp(3), true);
    assert_eq!(session.core.selected_path(), Some(udp(3)));
}

#[test]
fn a_question_that_was_lost_is_asked_again() {
    let mut session = with_a_forger();
    session.checks(udp(2), true);
    session.idle(Duration::from_millis(599));
    assert_eq!(session.questions.len(), 2);
    session.is_there = true;
    session.idle(Duration::from_millis(1));
    session.checks(udp(1), true);
    session.idle(Duration::from_secs(10));
    assert_eq!((session.core.selected_path(), session.questions.len()), (Some(udp(2)), 3));
}

#[test]
fn forged_addresses_are_sent_little_and_only_the_first_of_them_gets_media_for_a_moment() {
    let mut session = with_a_forger();
    let check = session.check(true);
    for port in 100..107 {
        session.input(udp(port), check.clone());
        session.idle(Duration::from_millis(1_499));
        // The client itself is where it was.
        session.checks(udp(1), true);
        session.idle(Duration::from_millis(501));
        assert_eq!(session.core.selected_path(), Some(udp(1)));
        let sent: Vec<Bytes> = std::mem::take(&mut session.questions)
            .into_iter()
            .chain(session.to_client.drain(..))
            .filter_map(|(to, bytes)| (to != udp(1)).then_some((to, bytes)))
            .map(|(to, bytes)| {
                assert_eq!(to, udp(port));
                bytes
            })
            .collect();
        let bytes: usize = sent.iter().map(Bytes::len).sum();
        assert!(sent.len() <= 4 && bytes <= 4 * check.len(), "{} of {bytes} bytes", sent.len());
    }
    let selected = paths(&mut session).into_iter().filter(|(what, _)| *what == "selected");
    assert_eq!(selected.collect::<Vec<_>>(), [("selected", udp(100)), ("selected", udp(1))]);
}

#[test]
fn a_client_that_nominates_again_what_did_not_answer_is_asked_again() {
    let mut session = with_a_forger();
    session.checks(udp(9), true);
    session.idle(Duration::from_millis(1_500));
    session.checks(udp(1), true);
    assert_eq!(session.core.selected_path(), Some(udp(1)));
    session.checks(udp(2), true);
    session.idle(Duration::from_millis(1_500));
    assert_eq!(session.core.selected_path(), Some(udp(1)));
    session.is_there = true;
    session.checks(udp(1), false);
    for port in [2, 1] {
        session.checks(udp(port), true);
        assert_eq!(session.core.selected_path(), Some(udp(port)));
        session.checks(udp(port), false);
    }
    // Both are proved now: it comes and goes at once.
    let asked = session.questions.len();
    session.is_there = false;
    for port in [2, 1] {
        session.checks(udp(port), true);
        assert_eq!(session.core.selected_path(), Some(udp(port)));
        session.checks(udp(port), false);
    }
    assert_eq!(session.questions.len(), asked);
}

#[test]
fn a_client_that_changes_its_mind_stays() {
    let mut session = with_a_forger();
    session.checks(udp(1), false);
    session.checks(udp(2), true);
    session.checks(udp(1), true);
    let answer = answer_to(&session.questions[0].1, &session.remote.password);
    session.input(udp(2), answer);
    assert_eq!(session.core.selected_path(), Some(udp(1)));
}

#[test]
fn a_connection_needs_no_question() {
    let mut session = with_a_forger();
    let tcp = Path::Tcp(TcpConnection { id: 1, remote: udp(2).remote() });
    session.checks(tcp, true);
    assert_eq!((session.core.selected_path(), session.questions.len()), (Some(tcp), 0));
}

#[test]
fn a_client_that_nominates_everything_does_not_make_the_session_swing() {
    let mut session = session();
    for _ in 0..3 {
        for port in 1..=3 {
            session.checks(udp(port), true);
        }
    }
    let selected = paths(&mut session).iter().filter(|(what, _)| *what == "selected").count();
    assert_eq!(selected, 3, "once for each path");
    assert_eq!(session.core.selected_path(), Some(udp(3)));
    // When the path in use falls silent, another nominated one takes over.
    session.now += Duration::from_secs(2);
    session.checks(udp(1), true);
    assert_eq!(session.core.selected_path(), Some(udp(3)));
    session.now += Duration::from_secs(1);
    session.checks(udp(1), true);
    assert_eq!(session.core.selected_path(), Some(udp(1)));
}

#[test]
fn a_client_that_never_nominates_follows_the_path_that_still_works() {
    let mut session = session();
    session.checks(udp(1), false);
    session.checks(udp(2), false);
    assert_eq!(session.core.selected_path(), Some(udp(1)));
    session.now += Duration::from_secs(3);
    session.checks(udp(2), false);
    assert_eq!(session.core.selected_path(), Some(udp(2)));
}

#[test]
fn a_client_behind_a_new_address_is_followed_at_its_first_check_once_the_old_one_is_unheard() {
    let after = |unheard: u64, nominates| {
        let mut session = session();
        session.checks(udp(1), true);
        session.now += Duration::from_millis(unheard);
        session.checks(udp(2), nominates);
        session.core.selected_path()
    };
    assert_eq!(after(0, true), Some(udp(2)), "a nomination never waits");
    assert_eq!(after(499, false), Some(udp(1)));
    assert_eq!(after(500, false), Some(udp(2)));
}

#[test]
fn two_living_paths_do_not_make_the_session_swing_however_seldom_they_are_checked() {
    for (nominates_1, nominates_2) in [(false, false), (true, false), (true, true)] {
        let mut session = session();
        session.checks(udp(1), nominates_1);
        for _ in 0..40 {
            session.now += Duration::from_millis(1_250);
            session.checks(udp(2), nominates_2);
            session.now += Duration::from_millis(1_250);
            session.checks(udp(1), nominates_1);
        }
        let selected = paths(&mut session).iter().filter(|(what, _)| *what == "selected").count();
        assert!(selected <= 3, "{selected} moves");
        if nominates_1 && !nominates_2 {
            assert_eq!(session.core.selected_path(), Some(udp(1)), "the client's choice wins");
        }
    }
}

#[test]
fn media_on_the_path_in_use_keeps_a_check_elsewhere_from_moving_the_session() {
    let mut session = session();
    session.checks(udp(1), true);
    session.now += Duration::from_secs(1);
    session.core.handle(session.now, PeerInput::PathHeard { path: udp(1), at: session.now });
    session.now += Duration::from_millis(499);
    session.checks(udp(2), false);
    assert_eq!(session.core.selected_path(), Some(udp(1)));
    session.now += Duration::from_millis(1);
    session.checks(udp(2), false);
    assert_eq!(session.core.selected_path(), Some(udp(2)), "nothing came since");
}

#[test]
fn the_list_of_paths_is_bounded_and_never_loses_the_one_in_use() {
    let mut session = session();
    session.checks(udp(1), true);
    for port in 2..100 {
        session.checks(udp(port), false);
        session.now += Duration::from_millis(1);
    }
    let said = paths(&mut session);
    let count = |what| said.iter().filter(|(said, _)| *said == what).count();
    assert_eq!(count("validated"), 99);
    assert_eq!(count("forgotten"), 99 - PATHS_CAPACITY);
    assert!(!said.contains(&("forgotten", udp(1))));
    // Paths that are not checked any more go too.
    session.now += CONSENT_TIMEOUT;
    session.checks(udp(1), true);
    assert_eq!(paths(&mut session).len(), PATHS_CAPACITY - 1);
}

#[test]
fn a_restart_keeps_the_old_credentials_until_the_new_ones_are_used() {
    let mut session = session();
    session.checks(udp(1), true);
    paths(&mut session);
    let (old_local, old_remote) = (session.local.clone(), session.remote.clone());
    let new_local = credentials(ShardId(3)).unwrap();
    let new_remote = IceCredentials { ufrag: "newone".to_owned(), password: "x".repeat(22) };
    session
        .core
        .handle(session.now, PeerInput::RestartIce { local: new_local.clone(), remote: new_remote.clone() });
    session.to_client.clear();
    session.checks(udp(1), true);
    assert_eq!(answer(&mut session).typ, BINDING_SUCCESS, "old credentials still work");
    // Old name with new password and the other way round: neither.
    for (name, password) in [(&old_local, &new_local), (&new_local, &old_local)] {
        let mixed = IceCredentials { ufrag: name.ufrag.clone(), password: password.password.clone() };
        let remote = if name.ufrag == old_local.ufrag { &old_remote } else { &new_remote };
        let check = session.check_with(&mixed, remote, true, &[]);
        session.input(udp(2), check);
        assert_error(&mut session, 401, false);
    }
    assert_eq!(session.core.selected_path(), Some(udp(1)), "the old path keeps carrying media");
    let check = session.check_with(&new_local, &new_remote, false, &[]);
    session.remote = new_remote;
    session.input(udp(2), check);
    session.remote = old_remote;
    assert_eq!(answer(&mut session).typ, BINDING_SUCCESS);
    assert!(matches!(session.said.remove(0), PeerOutput::UfragInUse(ufrag) if ufrag == new_local.ufrag));
    assert_eq!(paths(&mut session), [("validated", udp(2)), ("selected", udp(2))]);
    session.checks(udp(1), true);
    assert_error(&mut session, 401, false);
    assert_eq!(session.core.selected_path(), Some(udp(2)));
}

#[test]
fn refused_checks_do_not_keep_consent_alive() {
    let mut session = session();
    let (local, remote) = (session.local.clone(), session.remote.clone());
    let mut ice = IceLite::new(&local, &remote);
    let mut outputs = VecDeque::new();
    ice.handle(session.now, udp(1), &session.check(true), &mut outputs);
    let deadline = ice.consent_deadline().unwrap();
    assert_eq!(deadline, session.now + CONSENT_TIMEOUT);
    session.now += Duration::from_secs(10);
    let wrong = IceCredentials { password: "y".repeat(24), ..local };
    ice.handle(session.now, udp(1), &session.check_with(&wrong, &remote, true, &[]), &mut outputs);
    assert_eq!(ice.consent_deadline(), Some(deadline));
}

#[test]
fn a_ufrag_names_its_shard_and_a_check_its_ufrag() {
    for shard in [0, 1, 17, 63] {
        let made = credentials(ShardId(shard)).unwrap();
        assert_eq!(shard_of_ufrag(&made.ufrag), Some(ShardId(shard)));
        assert!(made.ufrag.len() >= 4 && made.password.len() >= 22);
        assert_ne!(made, credentials(ShardId(shard)).unwrap());
    }
    assert_eq!(shard_of_ufrag("A"), None);
    assert_eq!(shard_of_ufrag("-0000000"), None);
    let session = session();
    assert_eq!(ufrag_of_check(&session.check(true)), Some(session.local.ufrag.as_str()));
    assert_eq!(ufrag_of_check(b"\x16\xfe\xfd"), None);
}

proptest! {
    #[test]
    fn datagrams_of_strangers_never_change_anything(
        datagrams in proptest::collection::vec(
            (any::<bool>(), 0..64_u8, proptest::collection::vec(any::<u8>(), 0..200)),
            1..20,
        ),
    ) {
        let mut session = session();
        for (stun, first, mut bytes) in datagrams {
            bytes.insert(0, first);
            if stun && bytes.len() >= 20 {
                // With a good header and fingerprint it gets as far as it can.
                bytes.truncate(bytes.len() & !3);
                bytes[..2].copy_from_slice(&[0, 1]);
                let length = (bytes.len() - 20 + 8) as u16;
                bytes[2..4].copy_from_slice(&length.to_be_bytes());
                bytes[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
                let fingerprint = rtc_stun::fingerprint::fingerprint_value(&bytes);
                bytes.extend_from_slice(&[0x80, 0x28, 0, 4]);
                bytes.extend_from_slice(&fingerprint.to_be_bytes());
            }
            let _ = ufrag_of_check(&bytes);
            session.input(udp(1), Bytes::from(bytes));
        }
        prop_assert!(session.said.is_empty());
        prop_assert_eq!(session.core.selected_path(), None);
        // Still able to do its work.
        session.to_client.clear();
        session.join();
        session.settle(&mut crate::peer::test_client::perfect);
        prop_assert!(session.keys().is_some());
    }
}
