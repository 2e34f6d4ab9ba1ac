//! The pre-encoded clips that publishers loop: real frames, so that any decoder shows pictures, and no encoder runs.
//!
//! `assets/README.md` says how they were made. Only the first frame of a clip is a keyframe: a publisher goes back to
//! it whenever a keyframe is due or asked for.

use anyhow::{Context, Result, bail};
use bytes::Bytes;

/// What a publisher sends besides sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClipCodec {
    /// H264 constrained baseline, and Opus.
    H264,
    /// VP8, and Opus.
    Vp8,
    /// Opus alone.
    Opus,
}

/// In which size the same pictures are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClipSize {
    /// 320 x 180.
    Full,
    /// 160 x 90.
    Half,
    /// 80 x 44.
    Quarter,
}

static H264_CLIPS: [&[u8]; 3] = [
    include_bytes!("../assets/clip.h264"),
    include_bytes!("../assets/clip-160x90.h264"),
    include_bytes!("../assets/clip-80x44.h264"),
];
static VP8_CLIPS: [&[u8]; 3] = [
    include_bytes!("../assets/clip.ivf"),
    include_bytes!("../assets/clip-160x90.ivf"),
    include_bytes!("../assets/clip-80x44.ivf"),
];
static OPUS_TONE: &[u8] = include_bytes!("../assets/tone.ogg");

/// How long one Opus packet of the tone plays, in samples of its 48 kHz clock (20 ms).
pub const OPUS_PACKET_SAMPLES: u32 = 960;

/// One picture: its parts are NAL units (H264), or one compressed frame (VP8).
#[derive(Debug, Clone)]
pub struct Picture {
    /// In decoding order, without start codes.
    pub parts: Vec<Bytes>,
    /// Whether a decoder can start here.
    pub keyframe: bool,
}

impl ClipSize {
    fn of(self, [full, half, quarter]: [&'static [u8]; 3]) -> &'static [u8] {
        match self {
            Self::Full => full,
            Self::Half => half,
            Self::Quarter => quarter,
        }
    }
}

impl Picture {
    /// Bytes of all parts.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }
}

/// All pictures of the H264 clip of a size.
///
/// # Errors
///
/// The embedded file is damaged.
pub fn h264_pictures(size: ClipSize) -> Result<Vec<Picture>> {
    let mut pictures = Vec::new();
    let mut parts = Vec::new();
    for unit in annex_b_units(size.of(H264_CLIPS)) {
        let kind = unit.first().map_or(0, |byte| byte & 0x1f);
        parts.push(unit);
        // Types 1 and 5 are slices (ITU-T H.264 table 7-1); the clip has one slice per picture.
        if kind == 1 || kind == 5 {
            pictures.push(Picture { parts: std::mem::take(&mut parts), keyframe: kind == 5 });
        }
    }
    check(pictures)
}

/// All pictures of the VP8 clip of a size.
///
/// # Errors
///
/// The embedded file is damaged.
pub fn vp8_pictures(size: ClipSize) -> Result<Vec<Picture>> {
    const IVF_HEADER_BYTES: usize = 32;
    const FRAME_HEADER_BYTES: usize = 12;
    let mut pictures = Vec::new();
    let mut rest = size.of(VP8_CLIPS).get(IVF_HEADER_BYTES..).context("the VP8 clip has no header")?;
    while let Some((header, after)) = rest.split_at_checked(FRAME_HEADER_BYTES) {
        let size = header.first_chunk::<4>().map_or(0, |size| u32::from_le_bytes(*size) as usize);
        let (frame, next) = after.split_at_checked(size).context("the VP8 clip ends within a frame")?;
        // RFC 6386 §9.1: the lowest bit of a frame is 0 for a keyframe.
        let keyframe = frame.first().is_some_and(|byte| byte & 1 == 0);
        pictures.push(Picture { parts: vec![Bytes::from_static(frame)], keyframe });
        rest = next;
    }
    check(pictures)
}

fn check(pictures: Vec<Picture>) -> Result<Vec<Picture>> {
    match pictures.first() {
        Some(first) if first.keyframe => Ok(pictures),
        _ => bail!("the clip does not start with a keyframe"),
    }
}

/// NAL units of an Annex B stream (ITU-T H.264 §B.1).
fn annex_b_units(stream: &'static [u8]) -> Vec<Bytes> {
    let starts: Vec<usize> =
        stream.windows(3).enumerate().filter(|(_, window)| *window == [0, 0, 1]).map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([stream.len()]);
    starts
        .iter()
        .zip(ends)
        .filter_map(|(start, end)| stream.get(start + 3..end))
        .map(|unit| {
            let kept = unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            Bytes::from_static(unit.get(..kept).unwrap_or_default())
        })
        .filter(|unit| !unit.is_empty())
        .collect()
}

/// All packets of the tone, without the two Opus header packets.
///
/// # Errors
///
/// The embedded file is damaged.
pub fn opus_packets() -> Result<Vec<Bytes>> {
    let mut packets = Vec::new();
    let mut current = Vec::new();
    let mut rest = OPUS_TONE;
    // RFC 3533 §6: a page is 27 bytes, the lengths of its segments, the segments; 255 means "goes on".
    while let Some((header, after)) = rest.split_at_checked(27) {
        let count = header.last().copied().map_or(0, usize::from);
        let (lengths, mut body) = after.split_at_checked(count).context("the tone ends within a page")?;
        for length in lengths {
            let (segment, next) =
                body.split_at_checked(usize::from(*length)).context("the tone ends within a segment")?;
            current.extend_from_slice(segment);
            body = next;
            if *length < 255 {
                packets.push(Bytes::from(std::mem::take(&mut current)));
            }
        }
        rest = body;
    }
    packets.retain(|packet| !packet.starts_with(b"OpusHead") && !packet.starts_with(b"OpusTags"));
    if packets.is_empty() {
        bail!("the tone has no packet");
    }
    Ok(packets)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn clips_have_one_keyframe_and_ten_seconds() {
        let sizes = [ClipSize::Full, ClipSize::Half, ClipSize::Quarter];
        for pictures in sizes.map(|size| [h264_pictures(size).unwrap(), vp8_pictures(size).unwrap()]).concat()
        {
            assert_eq!(pictures.len(), 300);
            assert_eq!(pictures.iter().filter(|picture| picture.keyframe).count(), 1);
            assert!(pictures.iter().all(|picture| picture.bytes() > 10));
        }
    }

    #[test]
    fn the_tone_is_two_seconds_of_equal_packets() {
        let packets = opus_packets().unwrap();
        assert!((100..=102).contains(&packets.len()), "{}", packets.len());
    }
}
