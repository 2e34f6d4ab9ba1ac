//! All that the rest of the plane knows of codecs: which there are, and (per codec) where a keyframe starts.

mod av1;
pub mod dependency;
mod h264;
mod h265;
mod nal;
mod picture;
pub mod red;
mod scalability;
mod vp8;
mod vp9;

pub use dependency::Targets;
pub use picture::{PictureNumbers, PictureShift, picture_numbers};
pub use scalability::{Point, Position, Reader, Way};

/// Whether a decoder can begin with the frame whose first packet has this payload (header and padding taken off).
///
/// Never says yes inside a picture, so a stream that is cut there begins with a whole frame. H264 and H265 parameter sets
/// in packets of their own say yes, and so does the first slice after them: one keyframe is one timestamp.
/// Sound can begin anywhere.
pub fn starts_keyframe(kind: CodecKind, payload: &[u8]) -> bool {
    match kind {
        CodecKind::H264 => h264::starts_keyframe(payload),
        CodecKind::H265 => h265::starts_keyframe(payload),
        CodecKind::Vp8 => vp8::starts_keyframe(payload),
        CodecKind::Vp9 => vp9::starts_keyframe(payload),
        CodecKind::Av1 => av1::starts_keyframe(payload),
        CodecKind::Opus => true,
    }
}

/// Whether what [`starts_keyframe`] found is a start whatever was lost before it. The first slice of an H264 or H265 picture is
/// not: its parameter sets may stand before it in packets of their own, and no decoder can do without any of them.
pub fn starts_unaided(kind: CodecKind, payload: &[u8]) -> bool {
    match kind {
        CodecKind::H264 => h264::has_parameters(payload),
        CodecKind::H265 => h265::has_parameters(payload),
        _ => true,
    }
}

/// Width and height in pixels of the keyframe whose first packet has this payload, where the codec says it in plain.
pub fn dimensions(kind: CodecKind, payload: &[u8]) -> Option<(u16, u16)> {
    match kind {
        CodecKind::Vp8 => vp8::dimensions(payload),
        CodecKind::H264 => h264::dimensions(payload),
        CodecKind::Vp9 => vp9::spatial_size(payload, None),
        _ => None,
    }
}

/// Width and height in pixels of one spatial layer, where a keyframe's first packet says it.
pub fn spatial_size(kind: CodecKind, payload: &[u8], spatial: u8) -> Option<(u16, u16)> {
    match kind {
        CodecKind::Vp9 => vp9::spatial_size(payload, Some(spatial)),
        // These have one.
        CodecKind::Vp8 | CodecKind::H264 if spatial == 0 => dimensions(kind, payload),
        _ => None,
    }
}

/// How much of a scalable stream a receiver can make use of. `descriptor`: whether it gets dependency descriptors.
///
/// Without them nothing in AV1's packets tells that the frames of one picture belong together, so browsers hand each to the
/// decoder by itself, which shows none but those of the smallest.
pub fn reach(kind: CodecKind, descriptor: bool) -> Point {
    if kind == CodecKind::Av1 && !descriptor { Point::new(Some(0), None) } else { Point::WHOLE }
}

/// Kind of media of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

impl MediaKind {
    /// The name that SDP, the API and metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
        }
    }
}

/// A codec that passes through the node untouched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CodecKind {
    /// RFC 6184.
    H264,
    /// RFC 7798.
    H265,
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9,
    /// AV1 RTP payload format 1.0.
    Av1,
    /// RFC 7587.
    Opus,
}

impl CodecKind {
    /// Every codec, in the order in which we offer them where the other side does not care.
    pub const ALL: [Self; 6] = [Self::H264, Self::Vp8, Self::Vp9, Self::Av1, Self::H265, Self::Opus];

    /// The encoding name of `a=rtpmap`, matched without case (RFC 8866 §6.6).
    pub fn encoding_name(self) -> &'static str {
        match self {
            Self::H264 => "H264",
            Self::H265 => "H265",
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::Av1 => "AV1",
            Self::Opus => "opus",
        }
    }

    /// The label that metrics and the API use: lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::H265 => "h265",
            Self::Vp8 => "vp8",
            Self::Vp9 => "vp9",
            Self::Av1 => "av1",
            Self::Opus => "opus",
        }
    }

    /// What it encodes.
    pub fn kind(self) -> MediaKind {
        match self {
            Self::Opus => MediaKind::Audio,
            _ => MediaKind::Video,
        }
    }

    /// RTP timestamp units per second.
    pub fn clock_rate_hz(self) -> u32 {
        match self {
            Self::Opus => 48_000,
            _ => 90_000,
        }
    }
}

#[cfg(test)]
mod tests;
