//! Header extensions and payload types under the node's own numbers, so that rings, mirrors and legs need not know who
//! numbered them.
//!
//! The canonical id of a kind of extension is its number plus one: at most 11, so it fits both forms of RFC 8285. The canonical
//! payload type says what the payload is, as a track has but one codec.

use crate::media::codec::red::Redundancy;
use crate::media::extension::{ExtensionKind, ExtensionMap};
use crate::media::rtp::{ExtensionForm, RtpHeader};

/// The canonical id of `kind`.
pub fn canonical_id(kind: ExtensionKind) -> u8 {
    kind as u8 + 1
}

/// What the payload of a packet is, which its payload type says where packets are canonical.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum PayloadForm {
    /// What the codec says, and nothing else.
    Plain = 0,
    /// Redundant sound (RFC 2198), as its publisher sent it.
    Redundant = 1,
    /// Redundant sound that this node put together, for who loses much.
    Added = 2,
}

impl PayloadForm {
    /// That of a packet with canonical numbers.
    pub fn of(header: &RtpHeader) -> Self {
        let forms = [Self::Redundant, Self::Added];
        forms.into_iter().find(|form| header.payload_type == *form as u8).unwrap_or(Self::Plain)
    }

    /// Writes it to a packet.
    pub fn mark(self, packet: &mut [u8]) {
        if let Some(marker_and_type) = packet.get_mut(1) {
            *marker_and_type = *marker_and_type & 0x80 | self as u8;
        }
    }
}

/// What stands before the frame in the `payload` of a packet with canonical numbers, if anything does.
pub fn redundancy(header: &RtpHeader, payload: &[u8]) -> Option<Redundancy> {
    (PayloadForm::of(header) != PayloadForm::Plain).then(|| Redundancy::parse(payload)).flatten()
}

/// The kind of a canonical id.
#[cfg(test)]
pub fn kind_of(id: u8) -> Option<ExtensionKind> {
    ExtensionKind::ALL.get(usize::from(id.checked_sub(1)?)).copied()
}

/// Renumbers the extensions of `packet` in place, from the ids of the publisher's session to the canonical ones. What was
/// not negotiated becomes padding: a viewer must never see what we do not understand.
pub fn renumber(packet: &mut [u8], header: &RtpHeader, ids: &ExtensionMap) {
    let two_byte = match header.extension_form {
        Some(ExtensionForm::OneByte) => false,
        Some(ExtensionForm::TwoByte) => true,
        Some(ExtensionForm::Other(_)) | None => return,
    };
    let mut rest = packet.get_mut(header.extension_block()).unwrap_or_default();
    while let Some((first, after)) = std::mem::take(&mut rest).split_first_mut() {
        if *first == 0 {
            rest = after;
            continue;
        }
        let (id, len, head_bytes) = match after.first() {
            Some(len) if two_byte => (*first, usize::from(*len), 1),
            None if two_byte => (0, 0, 0),
            _ => (*first >> 4, usize::from(*first & 0x0F) + 1, 0),
        };
        // Reading ends at an id of 15 in the one-byte form and at a value that is cut off (RFC 8285 §4.2).
        let ends = id == 0 || (!two_byte && id == 15) || after.len() < head_bytes + len;
        if ends {
            *first = 0;
            after.fill(0);
            return;
        }
        let Some((element, next)) = after.split_at_mut_checked(head_bytes + len) else { return };
        match ids.kind(id).map(canonical_id) {
            Some(canonical) if two_byte => *first = canonical,
            Some(canonical) => *first = canonical << 4 | *first & 0x0F,
            None => {
                *first = 0;
                element.fill(0);
            }
        }
        rest = next;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::media::rtp::{HeaderFields, write_header};
    use proptest::prelude::*;

    fn packet(extensions: &[(u8, &[u8])]) -> (Vec<u8>, RtpHeader) {
        let fields = HeaderFields {
            marker: true,
            padding: false,
            payload_type: 96,
            sequence: 1,
            timestamp: 2,
            ssrc: 3,
        };
        let mut bytes = vec![0; 200];
        let written = write_header(&mut bytes, &fields, extensions).unwrap();
        bytes.truncate(written.len + 10);
        let header = RtpHeader::parse(&bytes).unwrap();
        (bytes, header)
    }

    fn after(bytes: &mut [u8], header: &RtpHeader, ids: &ExtensionMap) -> Vec<(ExtensionKind, Vec<u8>)> {
        renumber(bytes, header, ids);
        let found = header.extensions(bytes);
        found.map(|(id, value)| (kind_of(id).unwrap(), value.to_vec())).collect()
    }

    #[test]
    fn known_kinds_keep_their_values_and_unknown_ones_vanish() {
        let mut ids = ExtensionMap::default();
        ids.set(ExtensionKind::Mid, 14);
        ids.set(ExtensionKind::AudioLevel, 1);
        for long in [&[7_u8; 3][..], &[7; 20]] {
            let (mut bytes, header) = packet(&[(14, b"0"), (5, long), (1, &[0x85])]);
            let payload = bytes[header.payload()].to_vec();
            assert_eq!(
                after(&mut bytes, &header, &ids),
                [(ExtensionKind::Mid, b"0".to_vec()), (ExtensionKind::AudioLevel, vec![0x85])]
            );
            assert_eq!(&bytes[header.payload()], &payload[..]);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_or_touch_the_payload(mut bytes in prop::collection::vec(any::<u8>(), 20..120), two in any::<bool>()) {
            bytes[0] = 0x90;
            bytes[12..14].copy_from_slice(if two { &[0x10, 0] } else { &[0xBE, 0xDE] });
            bytes[14] = 0;
            if let Ok(header) = RtpHeader::parse(&bytes) {
                let before = bytes.clone();
                let mut ids = ExtensionMap::default();
                ids.set(ExtensionKind::AudioLevel, 3);
                renumber(&mut bytes, &header, &ids);
                prop_assert!(header.extensions(&bytes).all(|(id, _)| kind_of(id).is_some()));
                prop_assert_eq!(&bytes[header.payload()], &before[header.payload()]);
            }
        }
    }
}
