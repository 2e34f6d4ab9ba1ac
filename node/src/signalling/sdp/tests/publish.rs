//! WHIP.

use super::*;
use crate::media::extension::ExtensionKind;
use crate::media::negotiated::{Direction, DtlsRole};

#[test]
fn chromium_gets_one_codec_with_its_retransmissions() {
    let (sdp, negotiated) = publish(&fixture("chromium-publish")).unwrap();
    assert_eq!(negotiated.direction, Direction::Publish);
    assert_eq!(negotiated.dtls_role, DtlsRole::Server);
    assert_eq!(negotiated.remote_ice.ufrag, "smEz");
    assert_eq!(negotiated.remote_fingerprints.len(), 1);
    let video = media(&negotiated, MediaKind::Video);
    assert_eq!(
        (video.codec.kind, video.codec.payload_type, video.rtx_payload_type),
        (CodecKind::Vp8, 96, Some(97))
    );
    assert_eq!(video.remote_ssrcs, [SsrcPair { primary: 3889857574, rtx: Some(1527337189) }]);
    assert_eq!(video.extensions.id(ExtensionKind::TransportWideCc), Some(3));
    assert_eq!(video.extensions.id(ExtensionKind::AbsSendTime), None, "transport-cc makes it superfluous");
    assert!(video.feedback.nack && video.feedback.pli && video.feedback.fir && video.feedback.transport_cc);
    assert_lines(
        &sdp,
        &[
            "a=group:BUNDLE 0 1",
            "a=ice-lite",
            "a=extmap-allow-mixed",
            "a=end-of-candidates",
            "a=setup:passive",
        ],
    );
    assert_lines(
        section(&sdp, "video"),
        &[
            "m=video 7800 UDP/TLS/RTP/SAVPF 96 97",
            "c=IN IP4 192.0.2.1",
            "a=recvonly",
            "a=rtcp-mux",
            "a=rtcp-mux-only",
            "a=rtcp-rsize",
            "a=rtpmap:96 VP8/90000",
            "a=fmtp:96 x-google-start-bitrate=1000",
            "a=rtcp-fb:96 transport-cc",
            "a=rtcp-fb:96 nack pli",
            "a=fmtp:97 apt=96",
        ],
    );
    assert_no_line_with(&sdp, "goog-remb");
    assert_eq!(sdp.matches("a=candidate:").count(), 3, "candidates stand once, in the section of the BUNDLE");
    assert!(section(&sdp, "audio").contains("a=candidate:"));
    assert_lines(
        section(&sdp, "audio"),
        &[
            "m=audio 7800 UDP/TLS/RTP/SAVPF 111 63",
            "a=fmtp:111 minptime=10;useinbandfec=1",
            "a=rtpmap:63 red/48000/2",
            "a=fmtp:63 111/111",
        ],
    );
    assert_eq!(media(&negotiated, MediaKind::Audio).red_payload_type, Some(63));
}

/// Chromium sends redundant sound where the answer has it before the codec.
#[test]
fn redundant_sound_comes_first_where_the_publisher_has_it_first() {
    let offer = fixture("chromium-publish").replace("SAVPF 111 63", "SAVPF 63 111");
    let (sdp, negotiated) = publish(&offer).unwrap();
    let audio = media(&negotiated, MediaKind::Audio);
    assert_eq!((audio.codec.payload_type, audio.red_payload_type), (111, Some(63)));
    assert_lines(&sdp, &["m=audio 7800 UDP/TLS/RTP/SAVPF 63 111", "a=fmtp:63 111/111"]);
}

#[test]
fn redundant_sound_of_something_else_is_not_taken() {
    for (from, to) in [
        ("a=fmtp:63 111/111", "a=fmtp:63 111/9"),
        ("a=fmtp:63 111/111", "a=fmtp:63 111"),
        ("a=fmtp:63 111/111", "a=x"),
        ("red/48000/2", "red/8000"),
    ] {
        let (sdp, negotiated) = publish(&fixture("chromium-publish").replace(from, to)).unwrap();
        assert_eq!(media(&negotiated, MediaKind::Audio).red_payload_type, None, "{to}");
        assert_lines(&sdp, &["m=audio 7800 UDP/TLS/RTP/SAVPF 111"]);
        assert_no_line_with(&sdp, ":63 ");
    }
    let (_, negotiated) = publish(&fixture("firefox-publish")).unwrap();
    assert_eq!(media(&negotiated, MediaKind::Audio).red_payload_type, None);
}

#[test]
fn the_first_codec_of_the_offer_wins_and_its_best_format() {
    // Browsers put what a page prefers first in the m= line; the formats of H264 keep their order.
    let offer = fixture("chromium-publish")
        .replace("SAVPF 96 97 102", "SAVPF 102")
        .replace("118 119 120", "96 97 118 119 120");
    let (sdp, negotiated) = publish(&offer).unwrap();
    let video = media(&negotiated, MediaKind::Video);
    assert_eq!(
        (video.codec.kind, video.codec.payload_type, video.rtx_payload_type),
        (CodecKind::H264, 108, Some(109))
    );
    assert_eq!(video.codec.fmtp, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f");
    let fmtp = "a=fmtp:108 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f;x-google-start-bitrate=1000";
    assert_lines(&sdp, &["m=video 7800 UDP/TLS/RTP/SAVPF 108 109", fmtp]);
}

#[test]
fn simulcast_is_taken_with_every_layer() {
    for (name, rids) in [
        ("chromium-publish-simulcast", ["l", "m", "h"]),
        ("firefox-publish", ["hi", "mid", "lo"]),
        ("obs-publish-simulcast", ["2", "1", "0"]),
    ] {
        let (sdp, negotiated) = publish(&fixture(name)).unwrap();
        let video = media(&negotiated, MediaKind::Video);
        assert_eq!(video.rids, rids, "{name}");
        assert_lines(section(&sdp, "video"), &[&format!("a=simulcast:recv {}", rids.join(";"))]);
        for rid in rids {
            assert_lines(&sdp, &[&format!("a=rid:{rid} recv")]);
        }
        let rtx = if name.starts_with("obs") { None } else { video.rtx_payload_type };
        assert_eq!(video.rtx_payload_type, rtx, "OBS has none");
    }
}

#[test]
fn layers_that_cannot_use_the_codec_are_left_out() {
    let offer = fixture("chromium-publish-simulcast")
        .replace("a=rid:l send", "a=rid:l send pt=96,98;max-width=320")
        .replace("a=rid:m send", "a=rid:m send pt=98")
        .replace("send l;m;h", "send ~l,m;m;h;x");
    let (sdp, negotiated) = publish(&offer).unwrap();
    assert_eq!(media(&negotiated, MediaKind::Video).rids, ["l", "h"]);
    assert_lines(&sdp, &["a=rid:l recv pt=96;max-width=320", "a=rid:h recv", "a=simulcast:recv l;h"]);
}

#[test]
fn without_the_rid_extension_there_is_no_simulcast() {
    let offer = fixture("chromium-publish-simulcast").replace("sdes:rtp-stream-id", "something-else");
    let (sdp, negotiated) = publish(&offer).unwrap();
    assert!(media(&negotiated, MediaKind::Video).rids.is_empty());
    assert_no_line_with(&sdp, "a=simulcast");
}

#[test]
fn firefox_bundles_a_section_with_port_0() {
    let (sdp, negotiated) = publish(&fixture("firefox-publish")).unwrap();
    assert_eq!(negotiated.remote_ice.ufrag, "8f21c7a0");
    assert_eq!(negotiated.media.len(), 2);
    assert_lines(&sdp, &["m=video 7800 UDP/TLS/RTP/SAVPF 120 124"]);
    let video = media(&negotiated, MediaKind::Video);
    assert_eq!(video.extensions.id(ExtensionKind::PlayoutDelay), None, "it is recvonly");
    assert_eq!(video.extensions.id(ExtensionKind::RepairedRid), None, "it is recvonly");
    assert_lines(&sdp, &["a=fmtp:120 max-fs=12288;max-fr=60;x-google-start-bitrate=1000"]);
}

#[test]
fn ffmpeg_is_the_dtls_server_and_reads_udp_first() {
    let (sdp, negotiated) = publish(&fixture("ffmpeg-publish")).unwrap();
    assert_eq!(negotiated.dtls_role, DtlsRole::Client);
    assert_lines(&sdp, &["a=setup:active", "m=video 7800 UDP/TLS/RTP/SAVPF 106 105"]);
    assert_no_line_with(&sdp, "x-google-start-bitrate");
    assert!(sdp.find("typ host").unwrap() < sdp.find(" tcp ").unwrap());
    let video = media(&negotiated, MediaKind::Video);
    assert_eq!(video.remote_ssrcs, [SsrcPair { primary: 2590855734, rtx: Some(2590855735) }]);
    assert!(video.feedback.nack && !video.feedback.pli);
}

#[test]
fn obs_has_its_fingerprint_in_the_session_and_no_rtx() {
    let (sdp, negotiated) = publish(&fixture("obs-publish")).unwrap();
    assert_eq!(negotiated.remote_fingerprints.len(), 1);
    assert_lines(&sdp, &["m=video 7800 UDP/TLS/RTP/SAVPF 96"]);
    assert_lines(
        &sdp,
        &["a=fmtp:111 minptime=10;maxaveragebitrate=96000;stereo=1;sprop-stereo=1;useinbandfec=1"],
    );
    assert_eq!(
        media(&negotiated, MediaKind::Audio).remote_ssrcs,
        [SsrcPair { primary: 1870423001, rtx: None }]
    );
}

#[test]
fn gstreamer_names_its_sections_and_writes_opus_in_capitals() {
    let (sdp, negotiated) = publish(&fixture("gstreamer-publish")).unwrap();
    assert_lines(&sdp, &["a=group:BUNDLE video0 audio1", "a=rtpmap:98 OPUS/48000/2"]);
    assert_eq!(media(&negotiated, MediaKind::Audio).mid, "audio1");
    assert!(section(&sdp, "video").contains("a=candidate:"), "the first of the group has the candidates");
}

#[test]
fn aiortc_announces_three_hashes() {
    let (_, negotiated) = publish(&fixture("aiortc-publish")).unwrap();
    let lengths: Vec<usize> = negotiated.remote_fingerprints.iter().map(|known| known.digest.len()).collect();
    assert_eq!(lengths, [32, 48, 64]);
}

#[test]
fn credentials_and_direction_may_stand_in_the_session() {
    let offer = fixture("ffmpeg-publish")
        .replace("a=sendonly\r\n", "")
        .replace("a=ice-ufrag:37108939\r\na=ice-pwd:6144bb0763175f49e9b8ead60ae79442\r\n", "")
        .replace(
            "a=msid-semantic: WMS\r\n",
            "a=ice-ufrag:37108939\r\na=ice-pwd:6144bb0763175f49e9b8ead60ae79442\r\na=sendonly\r\n",
        );
    assert_eq!(publish(&offer).unwrap().1.remote_ice.ufrag, "37108939");
}

#[test]
fn one_section_needs_no_bundle() {
    let offer = fixture("ffmpeg-publish");
    let audio = &offer[..offer.find("m=video").unwrap()];
    let (sdp, _) = publish(&audio.replace("a=group:BUNDLE 0 1\r\n", "")).unwrap();
    assert_no_line_with(&sdp, "a=group");
    let (sdp, _) = publish(&audio.replace("BUNDLE 0 1", "BUNDLE 0")).unwrap();
    assert_lines(&sdp, &["a=group:BUNDLE 0"]);
    assert!(
        matches!(publish(audio), Err(Refusal::Malformed(_))),
        "an offer that was cut off is no good offer"
    );
}

#[test]
fn lines_that_nobody_knows_are_no_matter() {
    let offer = fixture("chromium-publish")
        .replace("a=mid:1\r\n", "a=mid:1\r\na=x-unheard-of\r\na=x-new:thing with words\r\nb=AS:2500\r\n");
    assert!(publish(&offer.replace("b=AS:2500\r\n", "")).is_ok());
    let in_place =
        fixture("chromium-publish").replacen("c=IN IP4 0.0.0.0\r\n", "c=IN IP4 0.0.0.0\r\nb=AS:2500\r\n", 1);
    assert!(publish(&in_place).is_ok());
    assert!(publish(&fixture("chromium-publish").replace("\r\n", "\n")).is_ok(), "LF alone ends a line too");
}

#[test]
fn payload_types_that_rtcp_would_be_taken_for_are_passed_over() {
    let offer = fixture("obs-publish").replace("SAVPF 96", "SAVPF 72").replace(":96 ", ":72 ");
    assert!(matches!(publish(&offer), Err(Refusal::NoCommonCodec { kind: MediaKind::Video, .. })));
}
