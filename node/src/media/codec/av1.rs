//! AV1 (RTP payload format 1.0 §4): a keyframe starts a coded video sequence, with its sequence header.

/// `OBU_SEQUENCE_HEADER` (AV1 specification §6.2.2).
const SEQUENCE_HEADER: u8 = 1;

/// See [`super::starts_keyframe`].
pub(super) fn starts_keyframe(payload: &[u8]) -> bool {
    let Some((aggregation, elements)) = payload.split_first() else { return false };
    let continues = aggregation & 0x80 != 0;
    let count = usize::from(aggregation >> 4 & 0x03);
    let begins_sequence = aggregation & 0x08 != 0;
    if continues || elements.is_empty() {
        return false;
    }
    // Senders must set the N bit here; the sequence header tells even of those that do not.
    begins_sequence || has_sequence_header(elements, count)
}

/// Walks the OBU elements; the last of `count` has no length in front, and with a count of 0 every one has.
fn has_sequence_header(mut rest: &[u8], count: usize) -> bool {
    let mut index = 0usize;
    while !rest.is_empty() {
        index += 1;
        let element = if index == count {
            std::mem::take(&mut rest)
        } else {
            let Some((element, after)) = sized_element(rest) else { return false };
            rest = after;
            element
        };
        if element.first().is_some_and(|header| header >> 3 & 0x0F == SEQUENCE_HEADER) {
            return true;
        }
    }
    false
}

/// An element with its length in front as leb128, and what follows it.
fn sized_element(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut len = 0usize;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        len |= usize::from(byte & 0x7F) << (index * 7);
        if byte & 0x80 == 0 {
            return bytes.get(index + 1..)?.split_at_checked(len);
        }
    }
    // Four bytes of length name over 2 MB: no packet holds that.
    None
}
