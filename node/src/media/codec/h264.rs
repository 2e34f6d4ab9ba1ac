//! H264 (RFC 6184): a keyframe starts with a sequence parameter set or the first slice of an IDR picture.

use super::nal::aggregated;

/// NAL unit types (RFC 6184 §5.2, ITU-T H.264 table 7-1).
const IDR_SLICE: u8 = 5;
const SEQUENCE_PARAMETERS: u8 = 7;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// See [`super::starts_keyframe`].
pub(super) fn starts_keyframe(payload: &[u8]) -> bool {
    let Some((first, rest)) = payload.split_first() else { return false };
    match first & 0x1F {
        STAP_A => aggregated(rest).any(|([header], data)| begins(header & 0x1F, data)),
        FU_A => match rest.split_first() {
            Some((header, data)) => header & 0x80 != 0 && begins(header & 0x1F, data),
            None => false,
        },
        kind => begins(kind, rest),
    }
}

/// Whether a unit of `kind` begins a keyframe; of an IDR picture only its first slice does.
fn begins(kind: u8, data: &[u8]) -> bool {
    match kind {
        SEQUENCE_PARAMETERS => true,
        // `first_mb_in_slice` is an Exp-Golomb code, whose 0 is a single 1 bit (ITU-T H.264 §7.3.3, §9.1).
        IDR_SLICE => data.first().is_some_and(|bits| bits & 0x80 != 0),
        _ => false,
    }
}
