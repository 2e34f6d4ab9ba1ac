//! The viewer's offer, and what it needs of the answer; text in, values out.

use std::fmt::Write;
use std::net::SocketAddrV4;

use anyhow::{Context, Result, bail};

use crate::signalling::ABS_CAPTURE_TIME_URI;

const TRANSPORT_CC_URI: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
const MID_URI: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";

/// ICE user fragment and password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// `a=ice-ufrag`
    pub ufrag: String,
    /// `a=ice-pwd`
    pub password: String,
}

/// A video codec that viewers can tell keyframes of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VideoCodec {
    /// RFC 6184.
    H264,
    /// RFC 7741.
    Vp8,
}

/// What one answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The server's ICE credentials.
    pub ice: IceCredentials,
    /// SHA-256 of the server's certificate.
    pub fingerprint: [u8; 32],
    /// The server's UDP addresses, best first.
    pub candidates: Vec<SocketAddrV4>,
    /// What media it sends.
    pub media: AnsweredMedia,
}

/// Payload types and extension ids of an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AnsweredMedia {
    /// H264 payload type.
    pub h264: Option<u8>,
    /// VP8 payload type.
    pub vp8: Option<u8>,
    /// Payload types of video repairs (RFC 4588), as many as there are video codecs.
    pub repairs: [Option<u8>; 2],
    /// Opus payload type.
    pub audio: Option<u8>,
    /// Id of the transport-wide sequence number.
    pub transport_cc_id: Option<u8>,
    /// Id of the capture time.
    pub capture_time_id: Option<u8>,
}

/// One m-section of an answer while it is read.
#[derive(Debug, Default)]
struct Section {
    media: AnsweredMedia,
    /// Rejected (port 0) or inactive.
    silent: bool,
}

/// An offer to receive H264 or VP8, and Opus, as DTLS client.
pub fn offer(ice: &IceCredentials, fingerprint: &[u8; 32], candidate: SocketAddrV4) -> String {
    let mut printed = String::new();
    for byte in fingerprint {
        let separator = if printed.is_empty() { "" } else { ":" };
        let _ = write!(printed, "{separator}{byte:02X}");
    }
    let mut sdp = String::from("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n");
    sdp.push_str("a=msid-semantic: WMS\r\n");
    let transport = format!(
        "c=IN IP4 0.0.0.0\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=fingerprint:sha-256 {printed}\r\na=setup:active\r\n\
         a=rtcp-mux\r\na=rtcp-rsize\r\na=recvonly\r\na=extmap:1 {MID_URI}\r\na=extmap:2 {TRANSPORT_CC_URI}\r\n\
         a=extmap:3 {ABS_CAPTURE_TIME_URI}\r\na=candidate:1 1 udp 2130706431 {} {} typ host\r\n\
         a=end-of-candidates\r\n",
        ice.ufrag,
        ice.password,
        candidate.ip(),
        candidate.port(),
    );
    sdp.push_str("m=video 9 UDP/TLS/RTP/SAVPF 102 103 96 97\r\na=mid:0\r\n");
    sdp.push_str(&transport);
    sdp.push_str("a=rtpmap:102 H264/90000\r\n");
    sdp.push_str("a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n");
    sdp.push_str("a=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\n");
    sdp.push_str("a=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n");
    for payload_type in [102, 96] {
        for feedback in ["nack", "nack pli", "ccm fir", "transport-cc"] {
            let _ = write!(sdp, "a=rtcp-fb:{payload_type} {feedback}\r\n");
        }
    }
    sdp.push_str("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:1\r\n");
    sdp.push_str(&transport);
    sdp.push_str("a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n");
    sdp.push_str("a=rtcp-fb:111 transport-cc\r\n");
    sdp
}

impl Answer {
    /// Reads an answer to `offer`.
    ///
    /// # Errors
    ///
    /// It lacks credentials, fingerprint or a UDP candidate, or wants to be DTLS client itself.
    pub fn parse(sdp: &str) -> Result<Self> {
        let mut ufrag = None;
        let mut password = None;
        let mut fingerprint = None;
        let mut candidates = Vec::new();
        let mut media = AnsweredMedia::default();
        let mut section = Section::default();
        for line in sdp.lines().map(str::trim_end) {
            if let Some(opening) = line.strip_prefix("m=") {
                media.merge(&std::mem::take(&mut section));
                section.silent = opening.split(' ').nth(1) == Some("0");
            } else if line == "a=inactive" {
                section.silent = true;
            } else if let Some(value) = line.strip_prefix("a=ice-ufrag:") {
                ufrag.get_or_insert_with(|| value.to_owned());
            } else if let Some(value) = line.strip_prefix("a=ice-pwd:") {
                password.get_or_insert_with(|| value.to_owned());
            } else if let Some(value) = line.strip_prefix("a=fingerprint:sha-256 ") {
                fingerprint = Some(parse_fingerprint(value)?);
            } else if line == "a=setup:active" {
                bail!("the server wants to be DTLS client, which a viewer that offers setup:active excludes");
            } else if let Some(value) = line.strip_prefix("a=candidate:") {
                candidates.extend(parse_candidate(value));
            } else {
                section.media.read_line(line);
            }
        }
        media.merge(&section);
        candidates.sort_by_key(|address: &SocketAddrV4| !address.ip().is_loopback());
        candidates.dedup();
        if candidates.is_empty() {
            bail!("the answer has no IPv4 UDP candidate");
        }
        let ufrag = ufrag.context("the answer has no ice-ufrag")?;
        let password = password.context("the answer has no ice-pwd")?;
        let fingerprint = fingerprint.context("the answer has no sha-256 fingerprint")?;
        Ok(Self { ice: IceCredentials { ufrag, password }, fingerprint, candidates, media })
    }
}

impl AnsweredMedia {
    /// Whether the server sends pictures at all.
    pub fn has_video(&self) -> bool {
        self.h264.is_some() || self.vp8.is_some()
    }

    /// The video codec that `payload_type` stands for.
    pub fn video_codec(&self, payload_type: u8) -> Option<VideoCodec> {
        match Some(payload_type) {
            h264 if h264 == self.h264 => Some(VideoCodec::H264),
            vp8 if vp8 == self.vp8 => Some(VideoCodec::Vp8),
            _ => None,
        }
    }

    /// The codec of repairs: the answer's, if it has but one.
    pub fn repaired_codec(&self) -> Option<VideoCodec> {
        match (self.h264, self.vp8) {
            (Some(_), None) => Some(VideoCodec::H264),
            (None, Some(_)) => Some(VideoCodec::Vp8),
            _ => None,
        }
    }

    /// Whether `payload_type` carries repairs.
    pub fn is_repair(&self, payload_type: u8) -> bool {
        self.repairs.contains(&Some(payload_type))
    }

    /// Takes what a section answers, unless nothing will be sent in it.
    fn merge(&mut self, section: &Section) {
        if section.silent {
            return;
        }
        let from = section.media;
        self.h264 = self.h264.or(from.h264);
        self.vp8 = self.vp8.or(from.vp8);
        self.audio = self.audio.or(from.audio);
        self.transport_cc_id = self.transport_cc_id.or(from.transport_cc_id);
        self.capture_time_id = self.capture_time_id.or(from.capture_time_id);
        if from.has_video() {
            self.repairs = from.repairs;
        }
    }

    fn read_line(&mut self, line: &str) {
        let parsed = line.split_once(':').and_then(|(name, value)| {
            let (number, rest) = value.split_once(' ')?;
            let number = number.split('/').next()?.parse::<u8>().ok()?;
            Some((name, number, rest))
        });
        match parsed {
            Some(("a=rtpmap", payload_type, encoding)) => {
                let name = encoding.split('/').next().unwrap_or_default().to_ascii_lowercase();
                match name.as_str() {
                    "h264" => self.h264 = Some(payload_type),
                    "vp8" => self.vp8 = Some(payload_type),
                    "rtx" => {
                        if let Some(free) = self.repairs.iter_mut().find(|repair| repair.is_none()) {
                            *free = Some(payload_type);
                        }
                    }
                    "opus" => self.audio = Some(payload_type),
                    _ => {}
                }
            }
            Some(("a=extmap", id, uri)) => match uri.split(' ').next() {
                Some(TRANSPORT_CC_URI) => self.transport_cc_id = Some(id),
                Some(ABS_CAPTURE_TIME_URI) => self.capture_time_id = Some(id),
                _ => {}
            },
            _ => {}
        }
    }
}

fn parse_fingerprint(value: &str) -> Result<[u8; 32]> {
    let bytes: Vec<u8> =
        value.trim().split(':').filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes.try_into().ok().with_context(|| format!("{value:?} is no SHA-256 fingerprint"))
}

fn parse_candidate(value: &str) -> Option<SocketAddrV4> {
    let mut words = value.split(' ');
    let (component, protocol) = (words.nth(1)?, words.next()?);
    let (address, port) = (words.nth(1)?, words.next()?);
    if component != "1" || !protocol.eq_ignore_ascii_case("udp") {
        return None;
    }
    Some(SocketAddrV4::new(address.parse().ok()?, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    const ANSWER: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-lite\r\na=group:BUNDLE 0 1\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:abcd\r\na=ice-pwd:secret\r\n\
        a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:1F\r\n\
        a=setup:passive\r\na=mid:0\r\na=extmap:2 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
        a=sendonly\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
        a=candidate:1 1 udp 2130706431 10.0.0.1 7800 typ host\r\na=candidate:1 1 udp 2130706430 127.0.0.1 7800 typ host\r\n\
        a=candidate:2 1 tcp 1671430143 127.0.0.1 7800 typ host tcptype passive\r\n\
        m=audio 0 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\n";

    #[test]
    fn reads_what_matters_of_an_answer() {
        let answer = Answer::parse(ANSWER).unwrap();
        assert_eq!(answer.ice.ufrag, "abcd");
        assert_eq!(answer.candidates.first().unwrap(), &"127.0.0.1:7800".parse::<SocketAddrV4>().unwrap());
        assert_eq!(answer.candidates.len(), 2);
        assert_eq!(answer.media.video_codec(96), Some(VideoCodec::Vp8));
        assert!(answer.media.has_video() && answer.media.is_repair(97));
        assert_eq!((answer.media.h264, answer.media.audio), (None, None));
        assert_eq!((answer.media.transport_cc_id, answer.media.capture_time_id), (Some(2), None));
    }

    #[test]
    fn an_inactive_section_promises_nothing() {
        let answer = Answer::parse(&ANSWER.replace("a=sendonly", "a=inactive")).unwrap();
        assert!(!answer.media.has_video());
        assert_eq!(answer.fingerprint[31], 0x1f);
    }

    #[test]
    fn an_incomplete_answer_says_what_is_missing() {
        let error = Answer::parse(&ANSWER.replace("a=ice-pwd", "a=x")).unwrap_err();
        assert!(error.to_string().contains("ice-pwd"));
        assert!(Answer::parse(&ANSWER.replace("passive\r\na=mid", "active\r\na=mid")).is_err());
    }
}
