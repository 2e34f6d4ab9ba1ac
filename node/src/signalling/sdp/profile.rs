//! Which offered format fits a codec best: profiles, packetization modes, and who can decode whom.
//!
//! Levels are not compared. Browsers announce level 3.1 for whatever their decoder can do, so a level says nothing
//! about what plays.

use crate::media::codec::CodecKind;
use crate::signalling::sdp::format::parameter;

/// How well a publisher's format suits us, the lowest is the best; none if we cannot take it.
///
/// Constrained Baseline comes first since every H.264 decoder plays it, and packetization mode 1 since a frame then
/// needs no slice for each packet (RFC 6184 §6.3).
pub(super) fn publish_rank(codec: CodecKind, fmtp: &str) -> Option<u8> {
    match codec {
        CodecKind::H264 => {
            let mode = match packetization_mode(fmtp) {
                1 => 0,
                0 => 3,
                _ => return None,
            };
            let profile = match H264Profile::of(fmtp)? {
                H264Profile::ConstrainedBaseline => 0,
                H264Profile::Baseline => 1,
                _ => 2,
            };
            Some(mode + profile)
        }
        CodecKind::H265 => single_stream(fmtp).then(|| u8::from(number(fmtp, "profile-id", 1) != 1)),
        CodecKind::Vp9 => Some(u8::from(number(fmtp, "profile-id", 0) != 0)),
        CodecKind::Av1 => Some(u8::from(number(fmtp, "profile", 0) != 0)),
        CodecKind::Vp8 | CodecKind::Opus => Some(0),
    }
}

/// How well a viewer's format of the same codec plays a stream, the lowest is the best; none if it cannot.
pub(super) fn play_rank(codec: CodecKind, stream: &str, viewer: &str) -> Option<u8> {
    match codec {
        CodecKind::H264 => {
            let (sent, taken) = (packetization_mode(stream), packetization_mode(viewer));
            // Whoever takes mode 1 also takes the single NAL units of mode 0 (RFC 6184 §6.3).
            let fits = taken == sent || (sent == 0 && taken == 1);
            let (stream, viewer) = (H264Profile::of(stream)?, H264Profile::of(viewer)?);
            (fits && viewer.decodes(stream)).then(|| u8::from(taken != sent) + 2 * u8::from(viewer != stream))
        }
        CodecKind::H265 => {
            let (sent, taken) = (number(stream, "profile-id", 1), number(viewer, "profile-id", 1));
            // A Main 10 decoder decodes Main (ITU-T H.265 §A.3.3).
            let fits = taken == sent || (sent == 1 && taken == 2);
            (fits && single_stream(viewer)).then(|| u8::from(taken != sent))
        }
        CodecKind::Vp9 => {
            let (sent, taken) = (number(stream, "profile-id", 0), number(viewer, "profile-id", 0));
            (taken == sent).then_some(0)
        }
        CodecKind::Av1 => {
            // Each AV1 profile contains the ones below it (AV1 specification, annex A.2).
            let (sent, taken) = (number(stream, "profile", 0), number(viewer, "profile", 0));
            (taken >= sent).then(|| u8::from(taken != sent))
        }
        CodecKind::Vp8 | CodecKind::Opus => Some(0),
    }
}

/// A parameter that is a small number; `absent` where it is missing, and no profile at all where it is none.
fn number(fmtp: &str, name: &str, absent: u32) -> u32 {
    parameter(fmtp, name).map_or(absent, |value| value.parse().unwrap_or(u32::MAX))
}

fn packetization_mode(fmtp: &str) -> u32 {
    number(fmtp, "packetization-mode", 0)
}

/// H.265 over one RTP stream, the only way that anybody sends it (RFC 7798 §7.1, `tx-mode`).
fn single_stream(fmtp: &str) -> bool {
    parameter(fmtp, "tx-mode").is_none_or(|mode| mode.eq_ignore_ascii_case("SRST"))
}

/// Profiles of H.264 that `profile-level-id` can name (RFC 6184 §8.1, table 5), and Constrained High (RFC 7742 §6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum H264Profile {
    ConstrainedBaseline,
    Baseline,
    Main,
    Extended,
    ConstrainedHigh,
    High,
    High10,
    High422,
    High444,
    Other(u8, u8),
}

impl H264Profile {
    /// The profile of an `a=fmtp` value; Baseline where it names none (RFC 6184 §8.1), none where it is no hexadecimal.
    fn of(fmtp: &str) -> Option<Self> {
        let Some(text) = parameter(fmtp, "profile-level-id") else { return Some(Self::Baseline) };
        if text.len() != 6 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let [_, idc, flags, _level] = u32::from_str_radix(text, 16).ok()?.to_be_bytes();
        Some(Self::from_bytes(idc, flags))
    }

    fn from_bytes(idc: u8, flags: u8) -> Self {
        let matches = |mask: u8, value: u8| flags & mask == value;
        match idc {
            0x42 if matches(0b0100_1111, 0b0100_0000) => Self::ConstrainedBaseline,
            0x4D if matches(0b1000_1111, 0b1000_0000) => Self::ConstrainedBaseline,
            0x58 if matches(0b1100_1111, 0b1100_0000) => Self::ConstrainedBaseline,
            0x42 if matches(0b0100_1111, 0) => Self::Baseline,
            0x58 if matches(0b1100_1111, 0b1000_0000) => Self::Baseline,
            0x4D if matches(0b1010_1111, 0) => Self::Main,
            0x58 if matches(0b1100_1111, 0) => Self::Extended,
            0x64 if flags == 0 => Self::High,
            0x64 if flags == 0b0000_1100 => Self::ConstrainedHigh,
            0x6E if flags == 0 => Self::High10,
            0x7A if flags == 0 => Self::High422,
            0xF4 if flags == 0 => Self::High444,
            _ => Self::Other(idc, flags),
        }
    }

    /// Whether a decoder of this profile decodes a stream of `stream`.
    ///
    /// Two liberties, taken because no live encoder uses what they overlook: Baseline's slice groups and redundant
    /// slices (browsers and FFmpeg say 4200xx and mean Constrained Baseline), and interlaced High.
    fn decodes(self, stream: Self) -> bool {
        match (self.height(), stream.height()) {
            (Some(own), Some(wanted)) => own >= wanted,
            _ => self == stream,
        }
    }

    /// Place in the chain in which each decodes all before it; none for profiles beside it.
    fn height(self) -> Option<u8> {
        match self {
            Self::ConstrainedBaseline | Self::Baseline => Some(0),
            Self::Main => Some(1),
            Self::ConstrainedHigh | Self::High => Some(2),
            Self::High10 => Some(3),
            Self::High422 => Some(4),
            Self::High444 => Some(5),
            Self::Extended | Self::Other(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn h264(profile_level_id: &str) -> String {
        format!("packetization-mode=1;profile-level-id={profile_level_id}")
    }

    fn plays(stream: &str, viewer: &str) -> bool {
        play_rank(CodecKind::H264, &h264(stream), &h264(viewer)).is_some()
    }

    #[test]
    fn profiles_follow_table_5() {
        use H264Profile::*;
        for (text, profile) in [
            ("42e01f", ConstrainedBaseline),
            ("42C01E", ConstrainedBaseline),
            ("4d801f", ConstrainedBaseline),
            ("58c01f", ConstrainedBaseline),
            ("42001f", Baseline),
            ("58a01f", Baseline),
            ("4d001f", Main),
            ("4d401f", Main),
            ("58001f", Extended),
            ("640028", High),
            ("640c1f", ConstrainedHigh),
            ("6e0028", High10),
            ("f4001f", High444),
        ] {
            assert_eq!(H264Profile::of(&h264(text)), Some(profile), "{text}");
        }
        assert_eq!(H264Profile::of(""), Some(Baseline));
        assert_eq!(H264Profile::of("profile-level-id=xyz"), None);
        assert_eq!(H264Profile::of("profile-level-id=+2e01f"), None, "a sign is no hexadecimal digit");
    }

    #[test]
    fn a_decoder_plays_its_own_profile_and_those_below() {
        for viewer in ["42e01f", "42001f", "4d001f", "640c1f", "64001f", "f4001f"] {
            assert!(plays("42e01f", viewer), "constrained baseline at {viewer}");
            assert!(plays("42000d", viewer), "baseline at {viewer}");
        }
        assert!(plays("640028", "640c1f") && plays("640028", "f4001f"));
        assert!(!plays("4d001f", "42e01f") && !plays("640028", "4d001f") && !plays("640028", "42e01f"));
        assert!(plays("4d001f", "64001f"));
    }

    #[test]
    fn packetization_modes_have_a_direction() {
        let rank = |stream, viewer| play_rank(CodecKind::H264, stream, viewer);
        assert_eq!(rank("packetization-mode=1", "packetization-mode=1"), Some(0));
        assert_eq!(rank("packetization-mode=0", "packetization-mode=1"), Some(1));
        assert_eq!(rank("packetization-mode=1", "packetization-mode=0"), None);
        assert_eq!(publish_rank(CodecKind::H264, "packetization-mode=2"), None);
    }

    #[test]
    fn other_codecs_compare_their_profile() {
        assert_eq!(play_rank(CodecKind::Vp9, "", "profile-id=0"), Some(0));
        assert_eq!(play_rank(CodecKind::Vp9, "profile-id=2", "profile-id=0"), None);
        assert_eq!(play_rank(CodecKind::Av1, "profile=0", "profile=1"), Some(1));
        assert_eq!(play_rank(CodecKind::Av1, "profile=1", ""), None);
        assert_eq!(play_rank(CodecKind::H265, "", "profile-id=2"), Some(1));
        assert_eq!(play_rank(CodecKind::H265, "", "profile-id=1;tx-mode=MRST"), None);
        assert_eq!(play_rank(CodecKind::Vp8, "max-fr=30", ""), Some(0));
    }
}
