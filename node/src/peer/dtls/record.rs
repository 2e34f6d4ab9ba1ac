//! DTLS 1.2 records and handshake fragments on the wire (RFC 6347 §4.1, §4.2.2), read in place and never trusted.

use bytes::{BufMut, BytesMut};

/// Bytes of a record header.
pub const RECORD_HEADER_BYTES: usize = 13;
/// Bytes of a handshake header.
pub const HANDSHAKE_HEADER_BYTES: usize = 12;

/// Content type of a cipher change.
pub const CHANGE_CIPHER_SPEC: u8 = 20;
/// Content type of an alert.
pub const ALERT: u8 = 21;
/// Content type of handshake messages.
pub const HANDSHAKE: u8 = 22;

/// One record of a datagram.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// Content type.
    pub kind: u8,
    /// Counts key changes; 0 is plain text.
    pub epoch: u16,
    /// What follows the header.
    pub body: &'a [u8],
    /// The record with its header.
    pub whole: &'a [u8],
}

/// The records of a datagram, in order; ends early at the first that does not fit or is not DTLS 1.x.
pub struct Records<'a>(&'a [u8]);

impl<'a> Records<'a> {
    /// The records of `datagram`.
    pub fn of(datagram: &'a [u8]) -> Self {
        Self(datagram)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let [kind, major, _, epoch_0, epoch_1, _, _, _, _, _, _, length_0, length_1] =
            *self.0.first_chunk::<RECORD_HEADER_BYTES>()?;
        let length = usize::from(u16::from_be_bytes([length_0, length_1]));
        let (whole, rest) = self.0.split_at_checked(RECORD_HEADER_BYTES + length)?;
        self.0 = rest;
        let body = whole.get(RECORD_HEADER_BYTES..)?;
        let is_dtls = major == 0xfe && !body.is_empty();
        is_dtls.then_some(Record { kind, epoch: u16::from_be_bytes([epoch_0, epoch_1]), body, whole })
    }
}

/// Whether a datagram may mean something to an association whose handshake is done: the peer's last flight again, or a record
/// under its keys. Whether they are good is not looked at.
pub fn matters_once_connected(datagram: &[u8]) -> bool {
    Records::of(datagram).any(|record| record.kind == HANDSHAKE || record.epoch != 0)
}

/// One fragment of a handshake message; most messages are one fragment.
#[derive(Debug, Clone, Copy)]
pub struct Fragment<'a> {
    /// Handshake type.
    pub kind: u8,
    /// Bytes of the whole message without its header.
    pub length: usize,
    /// The message's place in the handshake.
    pub sequence: u16,
    /// Where in the message this fragment starts.
    pub offset: usize,
    /// The fragment.
    pub bytes: &'a [u8],
}

/// The fragments of a handshake record, in order; ends early at the first that does not fit.
pub struct Fragments<'a>(&'a [u8]);

impl<'a> Fragments<'a> {
    /// The fragments in the body of a handshake record.
    pub fn of(body: &'a [u8]) -> Self {
        Self(body)
    }
}

impl<'a> Iterator for Fragments<'a> {
    type Item = Fragment<'a>;

    fn next(&mut self) -> Option<Fragment<'a>> {
        let (header, rest) = self.0.split_first_chunk::<HANDSHAKE_HEADER_BYTES>()?;
        let [kind, l_0, l_1, l_2, sequence_0, sequence_1, o_0, o_1, o_2, f_0, f_1, f_2] = *header;
        let (bytes, rest) = rest.split_at_checked(uint24(f_0, f_1, f_2))?;
        self.0 = rest;
        let (length, offset) = (uint24(l_0, l_1, l_2), uint24(o_0, o_1, o_2));
        let sequence = u16::from_be_bytes([sequence_0, sequence_1]);
        (offset + bytes.len() <= length).then_some(Fragment { kind, length, sequence, offset, bytes })
    }
}

fn uint24(high: u8, middle: u8, low: u8) -> usize {
    usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low)
}

/// Appends a plain-text record.
pub fn write_record(datagram: &mut BytesMut, kind: u8, sequence: u64, body: &[u8]) {
    datagram.put_u8(kind);
    datagram.put_slice(&[0xfe, 0xfd, 0, 0]);
    datagram.put_uint(sequence, 6);
    datagram.put_u16(u16::try_from(body.len()).unwrap_or(u16::MAX));
    datagram.put_slice(body);
}
