//! What H264 and H265 have in common on the wire: units that travel together in one packet, each behind its length
//! (RFC 6184 §5.7.1, RFC 7798 §4.4.2).

/// Header and data of each aggregated unit; ends at a broken one.
pub(super) fn aggregated<const HEADER_BYTES: usize>(
    mut rest: &[u8],
) -> impl Iterator<Item = (&[u8; HEADER_BYTES], &[u8])> {
    std::iter::from_fn(move || {
        let (len, after) = rest.split_first_chunk()?;
        let (unit, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        rest = after;
        unit.split_first_chunk()
    })
}
