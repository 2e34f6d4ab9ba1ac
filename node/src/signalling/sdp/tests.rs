//! Offers of real clients, answered and looked at; and offers that no client should send.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod fragments;
mod play;
mod properties;
mod publish;
mod refusals;

use crate::media::codec::{CodecKind, MediaKind};
use crate::media::negotiated::{
    Codec, Fingerprint, FingerprintAlgorithm, IceCredentials, Negotiated, NegotiatedMedia, SsrcPair,
};
use crate::signalling::sdp::{
    Candidate, CandidateProtocol, Capabilities, LocalTransport, PlayTrack, Refusal, answer,
};

/// What Chromium 156, aiortc 1.16 and FFmpeg 9 sent, and offers after the manner of Firefox, OBS, GStreamer and Safari.
const FIXTURES: [(&str, &str); 15] = [
    ("aiortc-play", include_str!("fixtures/aiortc-play.sdp")),
    ("aiortc-publish", include_str!("fixtures/aiortc-publish.sdp")),
    ("chromium-play", include_str!("fixtures/chromium-play.sdp")),
    ("chromium-play-data-channel", include_str!("fixtures/chromium-play-data-channel.sdp")),
    ("chromium-play-mdns", include_str!("fixtures/chromium-play-mdns.sdp")),
    ("chromium-publish", include_str!("fixtures/chromium-publish.sdp")),
    ("chromium-publish-simulcast", include_str!("fixtures/chromium-publish-simulcast.sdp")),
    ("ffmpeg-publish", include_str!("fixtures/ffmpeg-publish.sdp")),
    ("firefox-play", include_str!("fixtures/firefox-play.sdp")),
    ("firefox-publish", include_str!("fixtures/firefox-publish.sdp")),
    ("gstreamer-publish", include_str!("fixtures/gstreamer-publish.sdp")),
    ("obs-publish", include_str!("fixtures/obs-publish.sdp")),
    ("obs-publish-simulcast", include_str!("fixtures/obs-publish-simulcast.sdp")),
    ("safari-play", include_str!("fixtures/safari-play.sdp")),
    ("safari-publish", include_str!("fixtures/safari-publish.sdp")),
];

/// An offer as it goes over the wire: with CRLF, which the files lack so that no checkout can change them.
fn fixture(name: &str) -> String {
    let (_, text) = FIXTURES.iter().find(|(known, _)| *known == name).expect("a fixture");
    text.replace('\n', "\r\n")
}

fn local() -> LocalTransport {
    let candidate = |protocol, address: &str| Candidate { protocol, address: address.parse().unwrap() };
    LocalTransport {
        ice: IceCredentials {
            ufrag: "Aufrag01".into(),
            password: "a-password-is-checked-elsewhere".replace('-', "+"),
        },
        fingerprint: Fingerprint { algorithm: FingerprintAlgorithm::Sha256, digest: vec![0xAB; 32] },
        candidates: vec![
            candidate(CandidateProtocol::Udp, "192.0.2.1:7800"),
            candidate(CandidateProtocol::Tcp, "192.0.2.1:7800"),
            candidate(CandidateProtocol::Udp, "[2001:db8::1]:7800"),
        ],
        session_id: 4_242,
        session_version: 1,
        cname: "aforo-test".into(),
    }
}

fn track(kind: CodecKind, fmtp: &str) -> PlayTrack {
    let primary = if kind.kind() == MediaKind::Audio { 1_000 } else { 2_000 };
    PlayTrack {
        codec: Codec { kind, payload_type: 100, fmtp: fmtp.into() },
        ssrcs: SsrcPair { primary, rtx: Some(primary + 1) },
    }
}

fn opus() -> PlayTrack {
    track(CodecKind::Opus, "minptime=10;useinbandfec=1")
}

fn publish(offer: &str) -> Result<(String, Negotiated), Refusal> {
    answer(offer, &Capabilities::publish(local())).map(|(answer, negotiated)| (answer.sdp, negotiated))
}

fn play(offer: &str, tracks: &[PlayTrack]) -> Result<(String, Negotiated), Refusal> {
    answer(offer, &Capabilities::play(local(), tracks)).map(|(answer, negotiated)| (answer.sdp, negotiated))
}

/// The text from the `m=` line of `kind` to the next.
fn section<'a>(sdp: &'a str, kind: &str) -> &'a str {
    let start = sdp.find(&format!("m={kind} ")).expect("the section is there");
    let rest = &sdp[start..];
    &rest[..rest[1..].find("\r\nm=").map_or(rest.len(), |end| end + 3)]
}

fn has_line(sdp: &str, line: &str) -> bool {
    sdp.split("\r\n").any(|known| known == line)
}

#[track_caller]
fn assert_lines(sdp: &str, lines: &[&str]) {
    for line in lines {
        assert!(has_line(sdp, line), "no line {line:?} in\n{sdp}");
    }
}

#[track_caller]
fn assert_no_line_with(sdp: &str, text: &str) {
    assert!(!sdp.contains(text), "there is {text:?} in\n{sdp}");
}

fn media(negotiated: &Negotiated, kind: MediaKind) -> &NegotiatedMedia {
    negotiated.media.iter().find(|media| media.kind == kind).expect("the kind was accepted")
}
