//! Bodies of PATCH.

use super::*;
use crate::signalling::sdp::fragment::{Fragment, FragmentError, MAX_FRAGMENT_BYTES, parse, restart_answer};

const TRICKLE: &str = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
    a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1\r\n\
    a=candidate:2 1 udp 2122260222 5b1d6a3e-0f6a-4b53-8a3c-5d0a3d0c6f11.local 61765 typ host\r\n\
    a=candidate:3471623853 1 sctp 1518280447 192.0.2.1 9 typ host\r\n\
    a=candidate:473322822 1 tcp 1518214911 192.0.2.1 9 typ host tcptype active\r\na=end-of-candidates\r\n";

#[test]
fn a_trickle_fragment_is_read() {
    let fragment = parse(TRICKLE).unwrap();
    assert_eq!(fragment.ice.as_ref().map(|ice| ice.ufrag.as_str()), Some("EsAw"));
    assert_eq!(fragment.candidates.len(), 2, "what cannot be used is dropped silently");
    assert!(fragment.end_of_candidates);
    assert_eq!(fragment.mids, ["0"]);
}

#[test]
fn credentials_may_stand_in_the_section() {
    let moved = "m=audio 9 RTP/AVP 0\na=mid:0\na=ice-ufrag:EsAw\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\n\
        m=video 9 RTP/AVP 0\na=mid:1\na=ice-ufrag:EsAw\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\n";
    let fragment = parse(moved).unwrap();
    assert_eq!(fragment.ice.map(|ice| ice.password), Some("P2uYro0UCOQ4zxjKXaWCBui1".into()));
    assert_eq!(fragment.mids, ["0", "1"]);
    assert_eq!(parse(&moved.replacen("EsAw", "Other", 1)), Err(FragmentError::TwoCredentials));
}

#[test]
fn only_the_end_of_candidates_is_a_fragment() {
    let expected = Fragment { end_of_candidates: true, ..Fragment::default() };
    assert_eq!(parse("a=end-of-candidates\r\n"), Ok(expected.clone()));
    assert_eq!(parse("a=candidate:\r\n"), Ok(expected), "how browsers say it to scripts");
}

#[test]
fn what_is_no_fragment_says_where() {
    assert_eq!(parse(""), Err(FragmentError::Empty));
    assert_eq!(parse("a=mid:0\r\n"), Err(FragmentError::Empty));
    assert_eq!(parse("a=mid:0\r\nnonsense"), Err(FragmentError::Line(2)));
    assert_eq!(parse("{\"candidate\":\"x=y\"}"), Err(FragmentError::Line(1)));
    assert_eq!(parse("a=candidate:1 1 udp\r\n"), Err(FragmentError::Candidate(1)));
    assert_eq!(parse("a=ice-ufrag:EsAw\r\n"), Err(FragmentError::Credentials));
    assert_eq!(
        parse("a=ice-ufrag:E\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n"),
        Err(FragmentError::Credentials)
    );
    assert!(matches!(parse(&"a".repeat(MAX_FRAGMENT_BYTES + 1)), Err(FragmentError::TooLarge(_))));
}

#[test]
fn a_restart_is_answered_with_all_that_a_client_needs() {
    let (_, negotiated) = publish(&fixture("chromium-publish")).unwrap();
    let body = restart_answer(&local(), &negotiated.media);
    assert_lines(
        &body,
        &[
            "a=ice-lite",
            "a=group:BUNDLE 0 1",
            "m=audio 9 UDP/TLS/RTP/SAVPF 111",
            "a=mid:0",
            "a=ice-ufrag:Aufrag01",
            "a=candidate:1 1 udp 2130706431 192.0.2.1 7800 typ host",
            "a=end-of-candidates",
        ],
    );
    assert_eq!(parse(&body).unwrap().ice, Some(local().ice), "it reads back as a fragment");
}
