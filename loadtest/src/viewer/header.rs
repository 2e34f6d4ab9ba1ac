//! The clear part of an RTP packet (RFC 3550 §5.1, RFC 8285), read without copying.

/// Fixed header of an RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpHeader {
    /// Marker bit.
    pub marker: bool,
    /// Payload type.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Where the payload starts.
    pub payload_start: usize,
    /// Where the extensions start, and whether they have two-byte headers; none if the packet has none.
    extensions: Option<(usize, bool)>,
}

impl RtpHeader {
    /// Reads the header of `packet`; none if it is not RTP version 2 or ends too early.
    pub fn parse(packet: &[u8]) -> Option<Self> {
        let [first, second, s1, s2, t1, t2, t3, t4, c1, c2, c3, c4] = *packet.first_chunk::<12>()?;
        if first >> 6 != 2 {
            return None;
        }
        let mut at = 12 + 4 * usize::from(first & 0x0f);
        let mut extensions = None;
        if first & 0x10 != 0 {
            let [p1, p2, l1, l2] = *packet.get(at..)?.first_chunk::<4>()?;
            let two_byte = match u16::from_be_bytes([p1, p2]) {
                0xbede => Some(false),
                profile if profile & 0xfff0 == 0x1000 => Some(true),
                _ => None,
            };
            at += 4;
            extensions = two_byte.map(|two_byte| (at, two_byte));
            at += 4 * usize::from(u16::from_be_bytes([l1, l2]));
        }
        if at > packet.len() {
            return None;
        }
        Some(Self {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes([s1, s2]),
            timestamp: u32::from_be_bytes([t1, t2, t3, t4]),
            ssrc: u32::from_be_bytes([c1, c2, c3, c4]),
            payload_start: at,
            extensions,
        })
    }

    /// Calls `each` with the id and the bytes of every extension of `packet`.
    pub fn extensions(&self, packet: &[u8], mut each: impl FnMut(u8, &[u8])) {
        let Some((start, two_byte)) = self.extensions else { return };
        let Some(mut rest) = packet.get(start..self.payload_start) else { return };
        while let Some((first, after)) = rest.split_first() {
            let (id, length, data) = match (two_byte, *first) {
                (_, 0) => {
                    rest = after;
                    continue;
                }
                (false, byte) if byte >> 4 == 15 => return,
                (false, byte) => (byte >> 4, usize::from(byte & 0x0f) + 1, after),
                (true, id) => match after.split_first() {
                    Some((length, data)) => (id, usize::from(*length), data),
                    None => return,
                },
            };
            let Some((value, next)) = data.split_at_checked(length) else { return };
            each(id, value);
            rest = next;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn reads_one_byte_extensions() {
        let mut packet = vec![0x90, 0xe0, 0x12, 0x34, 0, 0, 0, 0, 1, 2, 3, 4, 0xbe, 0xde, 0, 2];
        packet.extend_from_slice(&[0x51, 0xab, 0xcd, 0x20, 0x77, 0, 0, 0, 9, 9]);
        let header = RtpHeader::parse(&packet).unwrap();
        assert_eq!((header.payload_type, header.sequence, header.ssrc), (0x60, 0x1234, 0x0102_0304));
        assert!(header.marker);
        assert_eq!(header.payload_start, 24);
        let mut seen = Vec::new();
        header.extensions(&packet, |id, value| seen.push((id, value.to_vec())));
        assert_eq!(seen, [(5, vec![0xab, 0xcd]), (2, vec![0x77])]);
    }

    #[test]
    fn short_or_foreign_packets_are_refused() {
        assert!(RtpHeader::parse(&[0x80; 11]).is_none());
        assert!(RtpHeader::parse(&[0x40; 12]).is_none());
        assert!(RtpHeader::parse(&[0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xbe, 0xde, 0, 9]).is_none());
    }
}
