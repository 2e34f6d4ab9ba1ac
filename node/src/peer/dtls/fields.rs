//! Reads the fields of a TLS structure one after the other (RFC 5246 §4), in place; `None` once they do not fit.

/// What has not been read yet.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    /// Whether all was read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `count` bytes.
    pub fn skip(&mut self, count: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(field)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.skip(N)?.try_into().ok()
    }

    /// A number of two bytes.
    pub fn uint_16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// Bytes after their count, which has one byte.
    pub fn vector_8(&mut self) -> Option<&'a [u8]> {
        let [length] = self.array()?;
        self.skip(usize::from(length))
    }

    /// Bytes after their count, which has two bytes.
    pub fn vector_16(&mut self) -> Option<&'a [u8]> {
        let length = self.uint_16()?;
        self.skip(usize::from(length))
    }

    /// Bytes after their count, which has three bytes.
    pub fn vector_24(&mut self) -> Option<&'a [u8]> {
        let [high, middle, low] = self.array()?;
        let length = u32::from_be_bytes([0, high, middle, low]);
        self.skip(usize::try_from(length).ok()?)
    }
}
