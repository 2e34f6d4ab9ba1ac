//! VP9 (RFC 9628): a keyframe is not predicted from another picture and starts in the lowest layer.

use super::picture::{PictureNumbers, read_id};

/// Bits of the payload descriptor's first octet (RFC 9628 §4.2).
const HAS_PICTURE_ID: u8 = 0x80;
const PREDICTED: u8 = 0x40;
const HAS_LAYER: u8 = 0x20;
const FLEXIBLE: u8 = 0x10;
const BEGINS_FRAME: u8 = 0x08;

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
