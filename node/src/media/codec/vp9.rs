//! VP9 (RFC 9628): a keyframe is not predicted from another picture and starts in the lowest layer.

/// Bits of the payload descriptor's first octet (RFC 9628 §4.2).
const HAS_PICTURE_ID: u8 = 0x80;
const PREDICTED: u8 = 0x40;
const HAS_LAYER: u8 = 0x20;
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
