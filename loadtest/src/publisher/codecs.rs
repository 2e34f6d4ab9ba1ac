//! What publishers offer: codecs with their retransmissions, and header extensions.

use anyhow::Result;
use rtc::peer_connection::configuration::media_engine::{
    MIME_TYPE_H264, MIME_TYPE_OPUS, MIME_TYPE_RTX, MIME_TYPE_VP8, MediaEngine,
};
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpHeaderExtensionCapability, RtpCodecKind,
};

use crate::clip::ClipCodec;
use crate::signalling::ABS_CAPTURE_TIME_URI;

/// RFC 9143.
pub const MID_URI: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
/// RFC 8852.
pub const RID_URI: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
/// RFC 8852.
pub const REPAIRED_RID_URI: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";

const H264_PAYLOAD_TYPE: u8 = 102;
const VP8_PAYLOAD_TYPE: u8 = 96;
const OPUS_PAYLOAD_TYPE: u8 = 111;

/// Stereo Opus.
pub fn opus_codec() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_OPUS.to_owned(),
        clock_rate: 48_000,
        channels: 2,
        sdp_fmtp_line: "minptime=10;useinbandfec=1".to_owned(),
        rtcp_feedback: vec![],
    }
}

/// The codec of a clip with its payload type; none for sound alone.
pub fn video_codec(codec: ClipCodec) -> Option<(RTCRtpCodec, u8)> {
    let (mime, fmtp, payload_type) = match codec {
        ClipCodec::H264 => (
            MIME_TYPE_H264,
            "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
            H264_PAYLOAD_TYPE,
        ),
        ClipCodec::Vp8 => (MIME_TYPE_VP8, "", VP8_PAYLOAD_TYPE),
        ClipCodec::Opus => return None,
    };
    let codec = RTCRtpCodec {
        mime_type: mime.to_owned(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: fmtp.to_owned(),
        rtcp_feedback: vec![],
    };
    Some((codec, payload_type))
}

/// The crate's engine with our three codecs, the extension that carries the capture time, and with `simulcast` those
/// that name layers.
///
/// # Errors
///
/// The crate refuses one of them.
pub fn media_engine(simulcast: bool) -> Result<MediaEngine> {
    let mut engine = MediaEngine::default();
    let opus = RTCRtpCodecParameters { rtp_codec: opus_codec(), payload_type: OPUS_PAYLOAD_TYPE };
    engine.register_codec(opus, RtpCodecKind::Audio)?;
    for (rtp_codec, payload_type) in [ClipCodec::H264, ClipCodec::Vp8].into_iter().filter_map(video_codec) {
        engine.register_codec(RTCRtpCodecParameters { rtp_codec, payload_type }, RtpCodecKind::Video)?;
        let rtx = RTCRtpCodec {
            mime_type: MIME_TYPE_RTX.to_owned(),
            clock_rate: 90_000,
            channels: 0,
            sdp_fmtp_line: format!("apt={payload_type}"),
            rtcp_feedback: vec![],
        };
        let rtx = RTCRtpCodecParameters { rtp_codec: rtx, payload_type: payload_type + 1 };
        engine.register_codec(rtx, RtpCodecKind::Video)?;
    }
    for uri in [MID_URI, RID_URI, REPAIRED_RID_URI].into_iter().filter(|_| simulcast) {
        let extension = RTCRtpHeaderExtensionCapability { uri: uri.to_owned() };
        engine.register_header_extension(extension, RtpCodecKind::Video, None)?;
    }
    for kind in [RtpCodecKind::Video, RtpCodecKind::Audio] {
        let extension = RTCRtpHeaderExtensionCapability { uri: ABS_CAPTURE_TIME_URI.to_owned() };
        engine.register_header_extension(extension, kind, None)?;
    }
    Ok(engine)
}
