//! H265 (RFC 7798): a keyframe starts with a parameter set or the first slice of an IRAP picture.
//!
//! Streams with decoding order numbers (`sprop-max-don-diff` above 0) are not recognised: no live encoder sends them.

use super::nal::aggregated;

/// NAL unit types (RFC 7798 §4.4, ITU-T H.265 table 7-1).
const IRAP: std::ops::RangeInclusive<u8> = 16..=23;
const VIDEO_PARAMETERS: u8 = 32;
const SEQUENCE_PARAMETERS: u8 = 33;
const AGGREGATION: u8 = 48;
const FRAGMENT: u8 = 49;

/// See [`super::starts_keyframe`].
pub(super) fn starts_keyframe(payload: &[u8]) -> bool {
    let Some(([first, _], rest)) = payload.split_first_chunk() else { return false };
    match unit_type(*first) {
        AGGREGATION => aggregated(rest).any(|([first, _], data)| begins(unit_type(*first), data)),
        FRAGMENT => match rest.split_first() {
            Some((header, data)) => header & 0x80 != 0 && begins(header & 0x3F, data),
            None => false,
        },
        kind => begins(kind, rest),
    }
}

/// See [`super::starts_unaided`]: the first of the sets, which the others follow.
pub(super) fn has_parameters(payload: &[u8]) -> bool {
    let Some(([first, _], rest)) = payload.split_first_chunk() else { return false };
    match unit_type(*first) {
        AGGREGATION => aggregated(rest).any(|([first, _], _)| unit_type(*first) == VIDEO_PARAMETERS),
        kind => kind == VIDEO_PARAMETERS,
    }
}

fn unit_type(first: u8) -> u8 {
    first >> 1 & 0x3F
}

/// Whether a unit of `kind` begins a keyframe; of an IRAP picture only its first slice does.
fn begins(kind: u8, data: &[u8]) -> bool {
    match kind {
        VIDEO_PARAMETERS | SEQUENCE_PARAMETERS => true,
        // `first_slice_segment_in_pic_flag` (ITU-T H.265 §7.3.6.1).
        kind if IRAP.contains(&kind) => data.first().is_some_and(|bits| bits & 0x80 != 0),
        _ => false,
    }
}
