//! VP9 (RFC 9628): a keyframe is not predicted from another picture and starts in the lowest layer.

use super::picture::{PictureNumbers, read_id};

/// Bits of the payload descriptor's first octet (RFC 9628 §4.2).
const HAS_PICTURE_ID: u8 = 0x80;
const PREDICTED: u8 = 0x40;
const HAS_LAYER: u8 = 0x20;
const FLEXIBLE: u8 = 0x10;
const BEGINS_FRAME: u8 = 0x08;
const ENDS_FRAME: u8 = 0x04;
const HAS_STRUCTURE: u8 = 0x02;

/// Reference differences of a frame in flexible mode at most.
const DIFFERENCES_MAX: usize = 3;

/// See [`super::starts_keyframe`].
pub(super) fn starts_keyframe(payload: &[u8]) -> bool {
    let Some((first, rest)) = payload.split_first() else { return false };
    if first & PREDICTED != 0 || first & BEGINS_FRAME == 0 || rest.is_empty() {
        return false;
    }
    if first & HAS_LAYER == 0 {
        return true;
    }
    let picture_id = match first & HAS_PICTURE_ID {
        0 => 0,
        _ if rest.first().is_some_and(|id| id & 0x80 != 0) => 2,
        _ => 1,
    };
    // Temporal id in the upper three bits, spatial id above the last. Upper spatial layers of a key picture are
    // predicted from the lower one, so they carry no "predicted" bit either.
    rest.get(picture_id).is_some_and(|layer| layer & 0xEE == 0)
}

/// See [`super::picture_numbers`]. TL0PICIDX is there outside of the flexible mode only.
pub(super) fn picture_numbers(payload: &[u8]) -> Option<PictureNumbers> {
    let first = *payload.first()?;
    if first & HAS_PICTURE_ID == 0 {
        return None;
    }
    let (id, long, end) = read_id(payload, 1)?;
    let has_base = first & HAS_LAYER != 0 && first & FLEXIBLE == 0;
    let (base, base_at) = if has_base { (*payload.get(end + 1)?, end as u8 + 1) } else { (0, 0) };
    Some(PictureNumbers { id, base, id_at: 1, long, base_at })
}

/// The layer of a packet's frame.
pub(super) struct Layer {
    pub(super) spatial: u8,
    pub(super) temporal: u8,
    /// Whether the packet is the last of its frame.
    pub(super) ends: bool,
    /// Whether later frames of higher temporal layers depend on none of them from before this one.
    pub(super) switching_up: bool,
    /// Offset of what follows the layer indices.
    end: usize,
}

/// The layer indices (RFC 9628 §4.2), if there are any.
pub(super) fn layer(payload: &[u8]) -> Option<Layer> {
    let first = *payload.first()?;
    if first & HAS_LAYER == 0 {
        return None;
    }
    let at = if first & HAS_PICTURE_ID == 0 { 1 } else { read_id(payload, 1)?.2 };
    let indices = *payload.get(at)?;
    Some(Layer {
        spatial: indices >> 1 & 0x07,
        temporal: indices >> 5,
        ends: first & ENDS_FRAME != 0,
        switching_up: indices & 0x10 != 0,
        end: at + 1 + usize::from(first & FLEXIBLE == 0),
    })
}

/// The size of a spatial layer, or of the highest, from the scalability structure (RFC 9628 §4.2.1).
pub(super) fn spatial_size(payload: &[u8], spatial: Option<u8>) -> Option<(u16, u16)> {
    let first = *payload.first()?;
    if first & HAS_STRUCTURE == 0 {
        return None;
    }
    let mut at = match layer(payload) {
        Some(layer) => layer.end,
        None if first & HAS_PICTURE_ID == 0 => 1,
        None => read_id(payload, 1)?.2,
    };
    if first & FLEXIBLE != 0 && first & PREDICTED != 0 {
        let more =
            payload.iter().skip(at).take(DIFFERENCES_MAX).take_while(|difference| *difference & 1 == 1);
        at += (more.count() + 1).min(DIFFERENCES_MAX);
    }
    let head = *payload.get(at)?;
    let highest = head >> 5;
    let has_sizes = head & 0x10 != 0;
    let spatial = spatial.unwrap_or(highest);
    if !has_sizes || spatial > highest {
        return None;
    }
    let sizes = payload.get(at + 1 + 4 * usize::from(spatial)..)?;
    let [w0, w1, h0, h1] = *sizes.first_chunk()?;
    Some((u16::from_be_bytes([w0, w1]), u16::from_be_bytes([h0, h1])))
}
