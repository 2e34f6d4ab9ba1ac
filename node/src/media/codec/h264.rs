//! H264 (RFC 6184): a keyframe starts with a sequence parameter set or the first slice of an IDR picture.

use super::nal::aggregated;

mod size;

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

/// See [`super::starts_unaided`].
pub(super) fn has_parameters(payload: &[u8]) -> bool {
    match payload.split_first() {
        Some((first, rest)) if first & 0x1F == STAP_A => {
            aggregated(rest).any(|([header], _)| header & 0x1F == SEQUENCE_PARAMETERS)
        }
        Some((first, _)) => first & 0x1F == SEQUENCE_PARAMETERS,
        None => false,
    }
}

/// See [`super::dimensions`]. Encoders send a parameter set before each keyframe, in a packet of its own or with the
/// picture's in one.
pub(super) fn dimensions(payload: &[u8]) -> Option<(u16, u16)> {
    let (first, rest) = payload.split_first()?;
    match first & 0x1F {
        STAP_A => {
            let (_, data) = aggregated(rest).find(|([header], _)| header & 0x1F == SEQUENCE_PARAMETERS)?;
            size::of_parameter_set(data)
        }
        SEQUENCE_PARAMETERS => size::of_parameter_set(rest),
        _ => None,
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::dimensions;

    /// A parameter set of 320 by 180 pixels, with its header.
    const SET: [u8; 24] = [
        0x67, 0x42, 0xC0, 0x0B, 0xD9, 0x01, 0x41, 0x9F, 0x9F, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00,
        0x00, 0x03, 0x00, 0xA0, 0xF1, 0x42, 0xA4,
    ];

    #[test]
    fn sizes_are_found_alone_and_among_other_units() {
        assert_eq!(dimensions(&SET), Some((320, 180)));
        let mut aggregate = vec![0x78, 0, 2, 0x09, 0xF0, 0, SET.len() as u8];
        aggregate.extend(SET);
        assert_eq!(dimensions(&aggregate), Some((320, 180)));
        assert_eq!(dimensions(&[0x65, 0x88]), None, "a slice does not tell");
        assert_eq!(dimensions(&[]), None);
    }
}
