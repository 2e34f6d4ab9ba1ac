//! Offers that get no answer.

use super::*;
use crate::signalling::sdp::refusal::MAX_OFFER_BYTES;

fn refused(offer: &str) -> Refusal {
    publish(offer).expect_err("the offer must be refused")
}

#[test]
fn the_wrong_direction_is_refused_both_ways() {
    for direction in ["recvonly", "inactive"] {
        let offer = fixture("chromium-publish").replacen("a=sendonly", &format!("a={direction}"), 1);
        let expected = Refusal::Direction { mid: "0".into(), offered: direction, expected: "sendonly" };
        assert_eq!(refused(&offer), expected);
    }
    for direction in ["sendonly", "inactive"] {
        let offer = fixture("chromium-play").replace("a=recvonly", &format!("a={direction}"));
        let refusal = play(&offer, &[opus()]).unwrap_err();
        assert_eq!(refusal, Refusal::Direction { mid: "0".into(), offered: direction, expected: "recvonly" });
    }
    let both = fixture("chromium-publish").replace("a=sendonly", "a=sendrecv");
    assert_lines(&publish(&both).unwrap().0, &["a=recvonly"]);
}

#[test]
fn sections_without_multiplexing_or_bundle_are_refused() {
    let offer = fixture("chromium-publish");
    let (start, video) = offer.split_at(offer.find("m=video").unwrap());
    let apart = format!("{start}{}", video.replace("a=rtcp-mux\r\n", ""));
    assert_eq!(refused(&apart), Refusal::NoRtcpMux { mid: "1".into() });
    assert_eq!(refused(&offer.replace("BUNDLE 0 1", "BUNDLE 0")), Refusal::NotBundled { mid: "1".into() });
    assert_eq!(
        refused(&offer.replace("a=group:BUNDLE 0 1\r\n", "")),
        Refusal::NotBundled { mid: "0".into() }
    );
    let two_groups = offer.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 0\r\na=group:BUNDLE 1");
    assert_eq!(refused(&two_groups), Refusal::NotBundled { mid: "1".into() });
    let only = format!("{start}{}", video.replace("a=rtcp-mux\r\n", "a=rtcp-mux-only\r\n"));
    assert!(publish(&only).is_ok(), "RFC 8858: rtcp-mux-only says it too");
}

#[test]
fn more_than_one_stream_is_refused() {
    let offer = fixture("chromium-publish");
    let video = offer[offer.find("m=video").unwrap()..].replace("a=mid:1", "a=mid:2");
    let three = format!("{}{video}", offer.replace("BUNDLE 0 1", "BUNDLE 0 1 2"));
    assert_eq!(refused(&three), Refusal::TooManyTracks(MediaKind::Video));
    let streams = offer.replacen("a=msid:278eca26", "a=msid:00000000", 1);
    assert_eq!(refused(&streams), Refusal::TooManyMediaStreams(2));
}

#[test]
fn a_second_video_section_that_the_offer_rejects_does_not_count() {
    let offer = fixture("chromium-publish");
    let video = offer[offer.find("m=video").unwrap()..]
        .replace("a=mid:1", "a=mid:2")
        .replace("m=video 9", "m=video 0");
    let (sdp, _) = publish(&format!("{offer}{video}")).unwrap();
    assert_eq!(sdp.matches("m=video 0 ").count(), 1);
}

#[test]
fn an_offer_without_media_is_refused() {
    let offer = fixture("chromium-play-data-channel");
    let session = &offer[..offer.find("m=audio").unwrap()].replace("a=group:BUNDLE 0 1 2\r\n", "");
    let data = &offer[offer.find("m=application").unwrap()..];
    assert_eq!(refused(&format!("{session}{data}")), Refusal::NoMedia);
    assert_eq!(refused(session), Refusal::NoMedia);
}

#[test]
fn media_that_no_stream_has_is_refused_and_not_dropped() {
    let offer = fixture("chromium-publish");
    let text = |direction: &str, port| {
        let lines = ["a=mid:9", direction, "a=rtcp-mux", "a=rtpmap:99 t140/1000"].join("\r\n");
        format!("{offer}m=text {port} UDP/TLS/RTP/SAVPF 99\r\nc=IN IP4 0.0.0.0\r\n{lines}\r\n")
    };
    let expected = Refusal::OtherMedia { mid: "9".to_owned(), media: "text".to_owned() };
    assert_eq!(refused(&text("a=sendonly", 9)), expected);
    assert_eq!(refused(&text("a=sendrecv", 9)), expected);
    for idle in [text("a=recvonly", 9), text("a=inactive", 9), text("a=sendonly", 0)] {
        let (sdp, _) = publish(&idle).unwrap();
        assert!(sdp.contains("m=text 0 "), "{sdp}");
    }
}

#[test]
fn unprotected_media_is_refused() {
    let offer = fixture("ffmpeg-publish").replace("UDP/TLS/RTP/SAVPF", "RTP/AVP");
    assert!(matches!(refused(&offer), Refusal::Protocol { .. }));
    let lines: Vec<&str> = ["a=fingerprint"].to_vec();
    let without = |name: &str| -> String {
        fixture("ffmpeg-publish").split_inclusive("\r\n").filter(|line| !line.starts_with(name)).collect()
    };
    assert_eq!(refused(&without(lines[0])), Refusal::NoFingerprint);
    assert_eq!(refused(&without("a=ice-pwd")), Refusal::NoIceCredentials);
    let weak = fixture("ffmpeg-publish").replace("sha-256", "sha-1");
    assert_eq!(refused(&weak), Refusal::NoFingerprint);
}

#[test]
fn two_lite_agents_and_held_connections_are_refused() {
    let lite = fixture("ffmpeg-publish").replace("a=extmap-allow-mixed", "a=ice-lite");
    assert_eq!(refused(&lite), Refusal::IceLite);
    let held = fixture("ffmpeg-publish").replace("setup:passive", "setup:holdconn");
    assert_eq!(refused(&held), Refusal::Setup("holdconn".into()));
}

#[test]
fn a_codec_that_is_not_ours_refuses_all_of_it() {
    let offer = fixture("ffmpeg-publish").replace("opus/48000/2", "PCMU/8000");
    assert_eq!(
        refused(&offer).to_string(),
        "no common audio codec: the offer has PCMU, here is opus",
        "video alone would be a partly successful answer"
    );
}

#[test]
fn what_is_not_sdp_is_malformed() {
    let offer = fixture("chromium-publish");
    for text in [
        String::new(),
        "v=0".into(),
        "hello".into(),
        "{\"sdp\":\"v=0\"}".into(),
        offer.replace("a=mid:0\r\n", "a=mid:0\rm=video 9\r\n"),
        offer.replace("a=mid:0", "a=mid:\u{0}"),
        offer.replace("a=mid:1", "a=mid:0"),
        offer.replace("a=mid:0", "a=mid:seventeen-letters"),
        offer.replace("m=audio", "m=smell"),
        offer.replace("m=audio 60048", "m=audio 70000"),
        offer.replace("SAVPF 111", "SAVPF 96").replace("rtpmap:111", "rtpmap:96"),
    ] {
        assert!(matches!(publish(&text), Err(Refusal::Malformed(_) | Refusal::NoMedia)), "{text}");
    }
    let long = format!("{offer}a=x:{}\r\n", "y".repeat(MAX_OFFER_BYTES));
    assert!(matches!(refused(&long), Refusal::TooLarge(_)));
}

#[test]
fn a_parser_error_does_not_echo_the_whole_body() {
    let refusal = refused(&"z".repeat(60_000));
    assert!(refusal.to_string().len() < 300, "{refusal}");
}
