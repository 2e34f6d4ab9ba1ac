//! Bits of a descriptor, most significant first.

use super::DependencyError;

pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    /// Of the next bit.
    at: usize,
}

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next `count` bits, at most 32.
    pub(super) fn take(&mut self, count: u32) -> Result<u32, DependencyError> {
        let mut value = 0;
        for _ in 0..count.min(32) {
            let byte = self.bytes.get(self.at / 8).ok_or(DependencyError::CutOff)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Ok(value)
    }

    pub(super) fn flag(&mut self) -> Result<bool, DependencyError> {
        Ok(self.take(1)? == 1)
    }

    /// A value below `count` as `ns(n)` writes it: the smaller ones take a bit less (AV1 specification §4.10.7).
    pub(super) fn non_symmetric(&mut self, count: u32) -> Result<u32, DependencyError> {
        let width = u32::BITS - count.leading_zeros();
        if width == 0 {
            return Ok(0);
        }
        let short = (1 << width) - count;
        let value = self.take(width - 1)?;
        if value < short { Ok(value) } else { Ok((value << 1) - short + self.take(1)?) }
    }
}
