//! WHEP.

use super::*;
use crate::media::extension::ExtensionKind;
use crate::media::negotiated::Direction;

const CONSTRAINED_BASELINE: &str = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";

#[test]
fn chromium_plays_h264_by_the_payload_type_of_its_profile() {
    let tracks = [opus(), track(CodecKind::H264, CONSTRAINED_BASELINE)];
    let (sdp, negotiated) = play(&fixture("chromium-play"), &tracks).unwrap();
    assert_eq!(negotiated.direction, Direction::Play);
    let video = media(&negotiated, MediaKind::Video);
    assert_eq!((video.codec.payload_type, video.rtx_payload_type), (108, Some(109)));
    assert_eq!(video.local_ssrc, Some(SsrcPair { primary: 2_000, rtx: Some(2_001) }));
    assert!(video.feedback.remb && video.feedback.transport_cc);
    assert_eq!(video.extensions.id(ExtensionKind::Mid), Some(4));
    assert_eq!(video.extensions.id(ExtensionKind::Rid), None, "viewers get one layer");
    assert_lines(
        section(&sdp, "video"),
        &[
            "m=video 7800 UDP/TLS/RTP/SAVPF 108 109",
            "a=sendonly",
            "a=msid:aforo-test video",
            "a=ssrc-group:FID 2000 2001",
            "a=ssrc:2000 cname:aforo-test",
            "a=ssrc:2001 cname:aforo-test",
            "a=rtcp-fb:108 goog-remb",
            "a=fmtp:109 apt=108",
        ],
    );
    assert_lines(&sdp, &[&format!("a=fmtp:108 {CONSTRAINED_BASELINE}")]);
    assert_no_line_with(&sdp, "x-google");
    let audio = media(&negotiated, MediaKind::Audio);
    assert_eq!(audio.local_ssrc, Some(SsrcPair { primary: 1_000, rtx: None }));
    assert_lines(
        section(&sdp, "audio"),
        &[
            "m=audio 7800 UDP/TLS/RTP/SAVPF 111 63",
            "a=sendonly",
            "a=msid:aforo-test audio",
            "a=ssrc:1000 cname:aforo-test",
            "a=rtpmap:63 red/48000/2",
            "a=fmtp:63 111/111",
        ],
    );
    assert_eq!(audio.red_payload_type, Some(63));
}

#[test]
fn every_codec_finds_its_payload_type() {
    for (kind, fmtp, payload_type) in [
        (CodecKind::Vp8, "", 96),
        (CodecKind::Vp9, "profile-id=0", 98),
        (CodecKind::Vp9, "profile-id=2", 100),
        (CodecKind::Av1, "level-idx=5;profile=0;tier=0", 45),
        (CodecKind::H264, "packetization-mode=1;profile-level-id=42001f", 102),
        (CodecKind::H264, "packetization-mode=0;profile-level-id=42e01f", 114),
        (CodecKind::H264, "packetization-mode=1;profile-level-id=4d401f", 116),
        (CodecKind::H264, "packetization-mode=1;profile-level-id=640028", 41),
    ] {
        let (_, negotiated) = play(&fixture("chromium-play-mdns"), &[track(kind, fmtp)]).unwrap();
        assert_eq!(media(&negotiated, MediaKind::Video).codec.payload_type, payload_type, "{kind:?} {fmtp}");
    }
}

#[test]
fn a_viewer_without_the_codec_is_told_which_is_there() {
    let stream = track(CodecKind::H264, "profile-level-id=640028;packetization-mode=1");
    let refusal = play(&fixture("firefox-play"), &[opus(), stream]).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "no common video codec: the offer has VP8, VP9, AV1, here is H264 (profile-level-id=640028 packetization-mode=1)"
    );
    let baseline_only = play(
        &fixture("aiortc-play"),
        &[track(CodecKind::H264, "profile-level-id=640028;packetization-mode=1")],
    );
    assert!(
        matches!(baseline_only, Err(Refusal::NoCommonCodec { .. })),
        "a baseline decoder cannot play High"
    );
}

#[test]
fn a_data_channel_is_rejected_inside_a_whole_answer() {
    let tracks = [opus(), track(CodecKind::Vp8, "")];
    let (sdp, negotiated) = play(&fixture("chromium-play-data-channel"), &tracks).unwrap();
    assert_eq!(negotiated.media.len(), 2);
    assert_lines(&sdp, &["a=group:BUNDLE 0 1", "m=application 0 UDP/DTLS/SCTP webrtc-datachannel"]);
    let data = section(&sdp, "application");
    assert_lines(data, &["a=mid:2", "a=inactive"]);
    assert_no_line_with(data, "ice-ufrag");
}

/// Chromium with max-bundle takes no answer that rejects the section whose transport the others share.
#[test]
fn what_the_stream_lacks_is_inactive() {
    let (sdp, negotiated) = play(&fixture("chromium-play"), &[track(CodecKind::Vp8, "")]).unwrap();
    assert_eq!(negotiated.media.iter().map(|media| media.kind).collect::<Vec<_>>(), [MediaKind::Video]);
    let audio = section(&sdp, "audio");
    assert_lines(&sdp, &["a=group:BUNDLE 0 1"]);
    assert_lines(
        audio,
        &["m=audio 7800 UDP/TLS/RTP/SAVPF 111", "a=inactive", "a=rtcp-mux", "a=setup:passive"],
    );
    assert_no_line_with(audio, "a=ssrc");
    assert!(audio.contains("a=candidate:") && !section(&sdp, "video").contains("a=candidate:"));
    assert_lines(section(&sdp, "video"), &["a=sendonly"]);

    let (sdp, _) = play(&fixture("chromium-play"), &[opus()]).unwrap();
    assert_lines(section(&sdp, "video"), &["m=video 7800 UDP/TLS/RTP/SAVPF 96", "a=inactive"]);
}

#[test]
fn what_the_stream_lacks_in_codecs_of_others_is_rejected() {
    let offer = fixture("chromium-play").replace("opus/48000", "speex/16000");
    let (sdp, _) = play(&offer, &[track(CodecKind::Vp8, "")]).unwrap();
    assert_lines(&sdp, &["a=group:BUNDLE 1", "m=audio 0 UDP/TLS/RTP/SAVPF 111 63 9 0 8 13 110 126"]);
}

#[test]
fn what_the_viewer_did_not_offer_is_not_sent() {
    let (_, negotiated) = play(&fixture("chromium-play-mdns"), &[opus(), track(CodecKind::Vp8, "")]).unwrap();
    assert_eq!(negotiated.media.len(), 1);
    let refusal = play(&fixture("chromium-play-mdns"), &[opus()]).unwrap_err();
    assert!(matches!(refusal, Refusal::NoCommonCodec { kind: MediaKind::Audio, .. }), "{refusal}");
    assert!(refusal.to_string().ends_with("here is opus"), "{refusal}");
}

#[test]
fn retransmissions_need_both_sides() {
    let plain = fixture("chromium-play").replace("apt=96\r\n", "apt=1\r\n");
    let (sdp, negotiated) = play(&plain, &[track(CodecKind::Vp8, "")]).unwrap();
    assert_eq!(media(&negotiated, MediaKind::Video).local_ssrc, Some(SsrcPair { primary: 2_000, rtx: None }));
    assert_no_line_with(&sdp, "FID");
    let ours = PlayTrack { ssrcs: SsrcPair { primary: 7, rtx: None }, ..track(CodecKind::Vp8, "") };
    let (_, negotiated) = play(&fixture("chromium-play"), &[ours]).unwrap();
    assert_eq!(media(&negotiated, MediaKind::Video).rtx_payload_type, None);
}

#[test]
fn aiortc_without_transport_cc_keeps_absolute_send_time() {
    let (sdp, negotiated) = play(&fixture("aiortc-play"), &[track(CodecKind::Vp8, "")]).unwrap();
    let video = media(&negotiated, MediaKind::Video);
    assert!(!video.feedback.transport_cc && video.feedback.remb);
    assert_eq!(video.extensions.id(ExtensionKind::AbsSendTime), Some(3));
    assert_lines(&sdp, &["a=extmap:3 http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"]);
}

#[test]
fn an_extension_for_receiving_only_is_turned_round() {
    let (sdp, _) = play(&fixture("firefox-play"), &[track(CodecKind::Vp8, "")]).unwrap();
    assert_lines(&sdp, &["a=extmap:6/sendonly http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"]);
}

#[test]
fn safari_plays_h265_by_the_payload_type_of_its_profile() {
    for (profile, payload_type) in [(1, 100), (2, 102)] {
        let stream = track(CodecKind::H265, &format!("level-id=120;profile-id={profile};tx-mode=SRST"));
        let (sdp, negotiated) = play(&fixture("safari-play"), &[opus(), stream]).unwrap();
        let video = media(&negotiated, MediaKind::Video);
        assert_eq!(
            (video.codec.payload_type, video.rtx_payload_type),
            (payload_type, Some(payload_type + 1))
        );
        assert_lines(section(&sdp, "video"), &[&format!("a=rtpmap:{payload_type} H265/90000"), "a=sendonly"]);
    }
}
