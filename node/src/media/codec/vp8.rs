//! VP8 (RFC 7741): a keyframe starts where its first partition does.

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
