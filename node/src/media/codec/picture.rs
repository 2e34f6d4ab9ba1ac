//! Picture numbers in payload descriptors: where they are, and how they go on when a viewer is moved to another encoder.

use super::{CodecKind, vp8, vp9};

/// Where a packet's picture numbers are, and what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureNumbers {
    /// The picture id: 15 bits, or 7.
    pub id: u16,
    /// TL0PICIDX; 0 without one.
    pub base: u8,
    pub(super) id_at: u8,
    pub(super) long: bool,
    /// 0 without one: it never is the first octet.
    pub(super) base_at: u8,
}

/// What is added to picture numbers, wrapping.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PictureShift {
    /// To the picture id.
    pub id: u16,
    /// To TL0PICIDX.
    pub base: u8,
}

impl PictureShift {
    /// Whether it changes nothing.
    #[inline]
    pub fn is_none(self) -> bool {
        self == Self::default()
    }

    /// The shift by which `next`, of another encoder, follows on `last` as it was sent.
    pub fn following(last: PictureNumbers, next: PictureNumbers) -> Self {
        Self {
            id: last.id.wrapping_add(1).wrapping_sub(next.id),
            base: last.base.wrapping_add(1).wrapping_sub(next.base),
        }
    }
}

impl PictureNumbers {
    /// The numbers after `shift`.
    pub fn shifted(self, shift: PictureShift) -> Self {
        let mask = if self.long { 0x7FFF } else { 0x7F };
        let base = if self.base_at == 0 { 0 } else { self.base.wrapping_add(shift.base) };
        Self { id: self.id.wrapping_add(shift.id) & mask, base, ..self }
    }

    /// Writes the numbers after `shift` into `payload`, which is, or begins like, the one they were read from.
    #[inline]
    pub fn rewrite(self, shift: PictureShift, payload: &mut [u8]) {
        let shifted = self.shifted(shift);
        let at = usize::from(self.id_at);
        if self.long {
            if let Some(place) = payload.get_mut(at..at + 2) {
                place.copy_from_slice(&(shifted.id | 0x8000).to_be_bytes());
            }
        } else if let Some(place) = payload.get_mut(at) {
            *place = shifted.id as u8;
        }
        if let Some(place) = payload.get_mut(usize::from(self.base_at)).filter(|_| self.base_at != 0) {
            *place = shifted.base;
        }
    }
}

/// The picture numbers of a payload (header and padding taken off), if its codec has them.
pub fn picture_numbers(kind: CodecKind, payload: &[u8]) -> Option<PictureNumbers> {
    match kind {
        CodecKind::Vp8 => vp8::picture_numbers(payload),
        CodecKind::Vp9 => vp9::picture_numbers(payload),
        _ => None,
    }
}

/// A picture id at `at` of `payload`: itself, whether it has 15 bits, and where it ends (RFC 7741 §4.2, RFC 9628 §4.2).
pub(super) fn read_id(payload: &[u8], at: usize) -> Option<(u16, bool, usize)> {
    let first = *payload.get(at)?;
    if first & 0x80 == 0 {
        return Some((first.into(), false, at + 1));
    }
    let id = u16::from_be_bytes([first & 0x7F, *payload.get(at + 1)?]);
    Some((id, true, at + 2))
}
