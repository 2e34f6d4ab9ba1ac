//! VP8 (RFC 7741): a keyframe starts where its first partition does.

use super::picture::{PictureNumbers, read_id};

/// See [`super::starts_keyframe`].
pub(super) fn starts_keyframe(payload: &[u8]) -> bool {
    // S set and partition index 0: this is where a frame begins (RFC 7741 §4.2).
    payload.first().is_some_and(|first| first & 0x17 == 0x10)
        // The inverse key frame flag (RFC 7741 §4.3, RFC 6386 §9.1).
        && after_descriptor(payload).and_then(<[u8]>::first).is_some_and(|header| header & 0x01 == 0)
}

/// What follows the payload descriptor (RFC 7741 §4.2).
fn after_descriptor(payload: &[u8]) -> Option<&[u8]> {
    let (first, rest) = payload.split_first()?;
    if first & 0x80 == 0 {
        return Some(rest);
    }
    let (present, rest) = rest.split_first()?;
    let picture_id = match present & 0x80 {
        0 => 0,
        _ if rest.first()? & 0x80 != 0 => 2,
        _ => 1,
    };
    let layer_zero_index = usize::from(present & 0x40 != 0);
    let layer_or_key_index = usize::from(present & 0x30 != 0);
    rest.get(picture_id + layer_zero_index + layer_or_key_index..)
}

/// See [`super::picture_numbers`].
pub(super) fn picture_numbers(payload: &[u8]) -> Option<PictureNumbers> {
    let (first, present) = (*payload.first()?, *payload.get(1)?);
    if first & 0x80 == 0 || present & 0x80 == 0 {
        return None;
    }
    let (id, long, end) = read_id(payload, 2)?;
    let (base, base_at) = if present & 0x40 != 0 { (*payload.get(end)?, end as u8) } else { (0, 0) };
    Some(PictureNumbers { id, base, id_at: 2, long, base_at })
}

/// See [`super::dimensions`]. After frame tag and start code, 14 bits each and two of scaling (RFC 6386 §9.1).
pub(super) fn dimensions(payload: &[u8]) -> Option<(u16, u16)> {
    if !starts_keyframe(payload) {
        return None;
    }
    let [_, _, _, 0x9D, 0x01, 0x2A, w0, w1, h0, h1] = *after_descriptor(payload)?.first_chunk()? else {
        return None;
    };
    Some((u16::from_le_bytes([w0, w1]) & 0x3FFF, u16::from_le_bytes([h0, h1]) & 0x3FFF))
}

/// The temporal layer, and whether the frame depends on the lowest one only (RFC 7741 §4.2: TID and Y).
pub(super) fn temporal_layer(payload: &[u8]) -> Option<(u8, bool)> {
    let (first, present) = (*payload.first()?, *payload.get(1)?);
    if first & 0x80 == 0 || present & 0x20 == 0 {
        return None;
    }
    let id_end = if present & 0x80 == 0 { 2 } else { read_id(payload, 2)?.2 };
    let layer = payload.get(id_end + usize::from(present & 0x40 != 0))?;
    Some((layer >> 6, layer & 0x20 != 0))
}
