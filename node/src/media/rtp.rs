//! RTP packets as bytes: the fixed header, RFC 8285 header extensions, and where the payload lies.
//!
//! Reading borrows and writing fills a buffer of the caller, so neither allocates. Nothing here trusts a length field:
//! whatever the bytes, the answer is a value or an [`RtpError`].

use std::ops::Range;

/// Bytes of the header without CSRCs and extensions (RFC 3550 §5.1).
pub const FIXED_HEADER_BYTES: usize = 12;

/// Header extensions that one packet can be written with: all kinds we know fit with room to spare.
pub const MAX_WRITTEN_EXTENSIONS: usize = 16;

/// `defined by profile` of the one-byte form (RFC 8285 §4.2).
const ONE_BYTE_PROFILE: u16 = 0xBEDE;
/// `defined by profile` of the two-byte form; the low four bits are `appbits` (RFC 8285 §4.3).
const TWO_BYTE_PROFILE: u16 = 0x1000;
/// The largest id and the longest value that the one-byte form can carry (RFC 8285 §4.2).
const ONE_BYTE_MAX_ID: u8 = 14;
const ONE_BYTE_MAX_LEN: usize = 16;

/// Why bytes are not an RTP packet, or a header could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RtpError {
    /// Fewer bytes than the header says there are.
    #[error("the packet ends inside its header")]
    Truncated,
    /// The version is not 2.
    #[error("rtp version {0} is not 2")]
    Version(u8),
    /// The padding count is 0 or larger than what follows the header (RFC 3550 §5.1).
    #[error("padding of {0} bytes does not fit the packet")]
    Padding(u8),
    /// The buffer has no room for the header.
    #[error("no room for the header")]
    NoRoom,
    /// An extension has id 0, or a value over 255 bytes, or there are more than [`MAX_WRITTEN_EXTENSIONS`].
    #[error("the header extensions cannot be written in either form of rfc 8285")]
    Extension,
}

/// Whether a datagram of an RTP/RTCP port is RTCP: its packet type is 192 to 223 (RFC 5761 §4).
pub fn is_rtcp(datagram: &[u8]) -> bool {
    datagram.get(1).is_some_and(|byte| (192..=223).contains(byte))
}

/// The form of a packet's header extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtensionForm {
    /// Ids 1 to 14, values of 1 to 16 bytes.
    OneByte,
    /// Ids 1 to 255, values of up to 255 bytes.
    TwoByte,
    /// Not RFC 8285: its bytes are opaque.
    Other(u16),
}

impl ExtensionForm {
    fn of(profile: u16) -> Self {
        match profile {
            ONE_BYTE_PROFILE => Self::OneByte,
            _ if profile & 0xFFF0 == TWO_BYTE_PROFILE => Self::TwoByte,
            _ => Self::Other(profile),
        }
    }
}

/// What the header of one packet says. Offsets count from the packet's first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpHeader {
    /// The marker bit: for video the last packet of a frame.
    pub marker: bool,
    /// 0 to 127.
    pub payload_type: u8,
    /// Wraps.
    pub sequence: u16,
    /// In units of the codec's clock rate; wraps.
    pub timestamp: u32,
    /// The stream that the packet belongs to.
    pub ssrc: u32,
    /// How many CSRCs follow the fixed header.
    pub csrc_count: u8,
    /// The form of the extensions, if the packet has any.
    pub extension_form: Option<ExtensionForm>,
    /// Bytes at the end that are padding, their count included; 0 if [`Self::parse_protected`] read the header.
    pub padding_len: u8,
    extension_start: u32,
    payload_start: u32,
    payload_end: u32,
}

impl RtpHeader {
    /// Reads the header of an opened packet, its padding included.
    pub fn parse(packet: &[u8]) -> Result<Self, RtpError> {
        let mut header = Self::parse_protected(packet)?;
        if packet.first().is_some_and(|first| first & 0x20 != 0) {
            let count = packet.get(header.payload()).and_then(|rest| rest.last()).copied().unwrap_or(0);
            if count == 0 || usize::from(count) > header.payload().len() {
                return Err(RtpError::Padding(count));
            }
            header.padding_len = count;
            header.payload_end -= u32::from(count);
        }
        Ok(header)
    }

    /// Reads the header of a packet whose payload is still encrypted: padding and authentication tag count as payload.
    pub fn parse_protected(packet: &[u8]) -> Result<Self, RtpError> {
        let (fixed, rest) = packet.split_first_chunk::<FIXED_HEADER_BYTES>().ok_or(RtpError::Truncated)?;
        let [first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *fixed;
        if first >> 6 != 2 {
            return Err(RtpError::Version(first >> 6));
        }
        let csrc_count = first & 0x0F;
        let csrc_bytes = usize::from(csrc_count) * 4;
        let rest = rest.get(csrc_bytes..).ok_or(RtpError::Truncated)?;
        let mut payload_start = FIXED_HEADER_BYTES + csrc_bytes;
        let mut extension_form = None;
        let mut extension_start = payload_start;
        if first & 0x10 != 0 {
            let ([p0, p1, l0, l1], rest) = rest.split_first_chunk::<4>().ok_or(RtpError::Truncated)?;
            let len = usize::from(u16::from_be_bytes([*l0, *l1])) * 4;
            if rest.len() < len {
                return Err(RtpError::Truncated);
            }
            extension_form = Some(ExtensionForm::of(u16::from_be_bytes([*p0, *p1])));
            extension_start = payload_start + 4;
            payload_start = extension_start + len;
        }
        let place = |offset: usize| u32::try_from(offset).map_err(|_| RtpError::Truncated);
        Ok(Self {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7F,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            csrc_count,
            extension_form,
            padding_len: 0,
            extension_start: place(extension_start)?,
            payload_start: place(payload_start)?,
            payload_end: place(packet.len())?,
        })
    }

    /// Bytes before the payload: what SRTP authenticates but does not encrypt (RFC 3711 §3.1).
    pub fn header_len(&self) -> usize {
        self.payload_start as usize
    }

    /// Where the payload lies, without padding; empty for a packet of padding alone.
    pub fn payload(&self) -> Range<usize> {
        self.payload_start as usize..self.payload_end as usize
    }

    /// Where the elements of the header extension lie; empty without one.
    pub fn extension_block(&self) -> Range<usize> {
        let end = if self.extension_form.is_some() { self.payload_start } else { self.extension_start };
        self.extension_start as usize..end as usize
    }

    /// The header extensions of `packet`, the bytes that this header was read from. A broken element ends them.
    pub fn extensions<'a>(&self, packet: &'a [u8]) -> Extensions<'a> {
        let rest = packet.get(self.extension_block()).unwrap_or_default();
        match self.extension_form {
            Some(ExtensionForm::OneByte) => Extensions { rest, two_byte: false },
            Some(ExtensionForm::TwoByte) => Extensions { rest, two_byte: true },
            Some(ExtensionForm::Other(_)) | None => Extensions { rest: &[], two_byte: false },
        }
    }

    /// The value of the header extension `id`.
    pub fn extension<'a>(&self, packet: &'a [u8], id: u8) -> Option<&'a [u8]> {
        self.extensions(packet).find(|(found, _)| *found == id).map(|(_, value)| value)
    }
}

/// The header extensions of one packet, as id and value.
#[derive(Debug, Clone)]
pub struct Extensions<'a> {
    rest: &'a [u8],
    two_byte: bool,
}

impl<'a> Extensions<'a> {
    /// Id, length and rest of the next element; `None` where RFC 8285 says that reading ends.
    fn element(&self, first: u8, after: &'a [u8]) -> Option<(u8, usize, &'a [u8])> {
        if self.two_byte {
            let (len, after) = after.split_first()?;
            return Some((first, usize::from(*len), after));
        }
        // Id 0 with a length ends the list, and so does id 15 (RFC 8285 §4.2).
        let id = first >> 4;
        (1..=ONE_BYTE_MAX_ID).contains(&id).then_some((id, usize::from(first & 0x0F) + 1, after))
    }
}

impl<'a> Iterator for Extensions<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (first, after) = self.rest.split_first()?;
            if *first == 0 {
                self.rest = after;
                continue;
            }
            let found = self
                .element(*first, after)
                .and_then(|(id, len, after)| Some((id, after.split_at_checked(len)?)));
            let Some((id, (value, rest))) = found else {
                self.rest = &[];
                return None;
            };
            self.rest = rest;
            return Some((id, value));
        }
    }
}

/// The fields that a written header carries; CSRCs are never written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderFields {
    /// The marker bit.
    pub marker: bool,
    /// Whether the payload ends in padding.
    pub padding: bool,
    /// 0 to 127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp in units of the codec's clock rate.
    pub timestamp: u32,
    /// The stream.
    pub ssrc: u32,
}

/// What [`write_header`] wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrittenHeader {
    /// Bytes of the header; the payload follows.
    pub len: usize,
    /// Whether the two-byte form was needed.
    pub two_byte: bool,
    value_offsets: [u16; MAX_WRITTEN_EXTENSIONS],
    extension_count: usize,
}

impl WrittenHeader {
    /// Where the value of the extension at `index` of the caller's list begins, so that it can be patched later.
    pub fn value_offset(&self, index: usize) -> Option<usize> {
        self.value_offsets.get(..self.extension_count)?.get(index).map(|offset| usize::from(*offset))
    }
}

/// Writes a header with `extensions` (id and value) to the start of `buffer`.
///
/// The one-byte form of RFC 8285 if every id is at most 14 and every value has 1 to 16 bytes, else the two-byte form.
pub fn write_header(
    buffer: &mut [u8],
    fields: &HeaderFields,
    extensions: &[(u8, &[u8])],
) -> Result<WrittenHeader, RtpError> {
    if extensions.len() > MAX_WRITTEN_EXTENSIONS
        || extensions.iter().any(|(id, value)| *id == 0 || value.len() > usize::from(u8::MAX))
    {
        return Err(RtpError::Extension);
    }
    let two_byte = extensions
        .iter()
        .any(|(id, value)| *id > ONE_BYTE_MAX_ID || value.is_empty() || value.len() > ONE_BYTE_MAX_LEN);
    let (fixed, rest) = buffer.split_first_chunk_mut::<FIXED_HEADER_BYTES>().ok_or(RtpError::NoRoom)?;
    *fixed = fixed_header(fields, !extensions.is_empty());
    let mut written = WrittenHeader {
        len: FIXED_HEADER_BYTES,
        two_byte,
        value_offsets: [0; MAX_WRITTEN_EXTENSIONS],
        extension_count: extensions.len(),
    };
    if extensions.is_empty() {
        return Ok(written);
    }
    let element_head = if two_byte { 2 } else { 1 };
    let used: usize = extensions.iter().map(|(_, value)| element_head + value.len()).sum();
    let words = used.div_ceil(4);
    let (block_head, rest) = rest.split_first_chunk_mut::<4>().ok_or(RtpError::NoRoom)?;
    let profile = if two_byte { TWO_BYTE_PROFILE } else { ONE_BYTE_PROFILE };
    let [p0, p1] = profile.to_be_bytes();
    let [l0, l1] = u16::try_from(words).map_err(|_| RtpError::Extension)?.to_be_bytes();
    *block_head = [p0, p1, l0, l1];
    let mut block = rest.get_mut(..words * 4).ok_or(RtpError::NoRoom)?;
    let mut offset = FIXED_HEADER_BYTES + 4;
    for ((id, value), place) in extensions.iter().zip(&mut written.value_offsets) {
        // The sum above made the block large enough, so none of these can fail.
        let (head, after) = block.split_at_mut_checked(element_head).ok_or(RtpError::NoRoom)?;
        let len = value.len() as u8;
        match head {
            [one] => *one = id << 4 | len.wrapping_sub(1) & 0x0F,
            [first, second] => (*first, *second) = (*id, len),
            _ => return Err(RtpError::NoRoom),
        }
        let (target, after) = after.split_at_mut_checked(value.len()).ok_or(RtpError::NoRoom)?;
        target.copy_from_slice(value);
        *place = u16::try_from(offset + element_head).map_err(|_| RtpError::Extension)?;
        offset += element_head + value.len();
        block = after;
    }
    block.fill(0);
    written.len = FIXED_HEADER_BYTES + 4 + words * 4;
    Ok(written)
}

fn fixed_header(fields: &HeaderFields, has_extensions: bool) -> [u8; FIXED_HEADER_BYTES] {
    let first = 0x80 | u8::from(fields.padding) << 5 | u8::from(has_extensions) << 4;
    let second = u8::from(fields.marker) << 7 | fields.payload_type & 0x7F;
    let [s0, s1] = fields.sequence.to_be_bytes();
    let [t0, t1, t2, t3] = fields.timestamp.to_be_bytes();
    let [c0, c1, c2, c3] = fields.ssrc.to_be_bytes();
    [first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3]
}

#[cfg(test)]
mod tests;
