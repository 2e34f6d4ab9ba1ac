//! Synthetic H264 and Opus: payloads that say of themselves which they are, so that a viewer can check each bit.

use aforo_node::media::codec::MediaKind;

/// Payload bytes of a full video packet.
pub const VIDEO_PACKET_BYTES: usize = 1_100;

/// Bytes in front of the filler: two that the codec defines, then the number of the packet.
const HEAD_BYTES: usize = 6;

/// How a video packet looks to one who searches for keyframes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A sequence parameter set: here a decoder can begin.
    KeyframeStart,
    /// A fragment of an IDR picture, not its first.
    KeyframeRest,
    /// Anything else.
    Delta,
    Sound,
}

impl Shape {
    fn head(self) -> [u8; 2] {
        match self {
            Self::KeyframeStart => [0x67, 0x42],
            Self::KeyframeRest => [0x7C, 0x05],
            Self::Delta => [0x41, 0x9A],
            Self::Sound => [0x78, 0x00],
        }
    }
}

/// The payload of packet `number`.
pub fn payload(shape: Shape, number: u32, len: usize) -> Vec<u8> {
    let mut bytes = shape.head().to_vec();
    bytes.extend(number.to_be_bytes());
    bytes.extend((HEAD_BYTES..len).map(|place| filler(number, place)));
    bytes
}

/// Number and shape of a payload; an error says which byte is not as it was sent.
pub fn recognise(kind: MediaKind, payload: &[u8]) -> Result<(u32, Shape), String> {
    let shapes: &[Shape] = match kind {
        MediaKind::Video => &[Shape::KeyframeStart, Shape::KeyframeRest, Shape::Delta],
        MediaKind::Audio => &[Shape::Sound],
    };
    let Some((head, filling)) = payload.split_first_chunk::<HEAD_BYTES>() else {
        return Err(format!("a payload of {} bytes", payload.len()));
    };
    let shape = shapes.iter().find(|shape| head.starts_with(&shape.head()));
    let shape = *shape.ok_or_else(|| format!("a payload that begins with {head:?}"))?;
    let number = u32::from_be_bytes([head[2], head[3], head[4], head[5]]);
    match (HEAD_BYTES..).zip(filling).find(|(place, byte)| **byte != filler(number, *place)) {
        Some((place, _)) => Err(format!("byte {place} of payload {number} was changed")),
        None => Ok((number, shape)),
    }
}

fn filler(number: u32, place: usize) -> u8 {
    (number.wrapping_mul(0x9E37_79B1) >> 13) as u8 ^ place as u8
}
