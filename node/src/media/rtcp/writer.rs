//! Writes the RTCP that we send into a buffer of the caller.

use super::description::CNAME;
use super::{ReportBlock, RtcpError, SenderInfo, format, packet_type};

/// Report blocks that one report can carry: its count has five bits (RFC 3550 §6.4.1).
pub const MAX_REPORT_BLOCKS: usize = 31;

/// A compound packet in the making. A packet that does not fit is not begun: what was written before stays good.
#[derive(Debug)]
pub struct Writer<'a> {
    buffer: &'a mut [u8],
    len: usize,
}

impl<'a> Writer<'a> {
    /// A compound at the start of `buffer`.
    pub fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, len: 0 }
    }

    /// Bytes written.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A sender report of `ssrc` (RFC 3550 §6.4.1).
    pub fn sender_report(
        &mut self,
        ssrc: u32,
        info: &SenderInfo,
        blocks: &[ReportBlock],
    ) -> Result<(), RtcpError> {
        let count = block_count(blocks)?;
        self.packet(packet_type::SENDER_REPORT, count, |body| {
            body.u32(ssrc)?;
            body.bytes(&info.ntp.to_be_bytes())?;
            body.u32(info.rtp_timestamp)?;
            body.u32(info.packet_count)?;
            body.u32(info.octet_count)?;
            write_blocks(body, blocks)
        })
    }

    /// A receiver report by `ssrc` (RFC 3550 §6.4.2). Without blocks it only makes a compound well-formed.
    pub fn receiver_report(&mut self, ssrc: u32, blocks: &[ReportBlock]) -> Result<(), RtcpError> {
        let count = block_count(blocks)?;
        self.packet(packet_type::RECEIVER_REPORT, count, |body| {
            body.u32(ssrc)?;
            write_blocks(body, blocks)
        })
    }

    /// A source description that names `ssrc` (RFC 3550 §6.5.1). `cname` has at most 255 bytes.
    pub fn cname(&mut self, ssrc: u32, cname: &str) -> Result<(), RtcpError> {
        let len = u8::try_from(cname.len()).map_err(|_| RtcpError::TooMany)?;
        self.packet(packet_type::SOURCE_DESCRIPTION, 1, |body| {
            body.u32(ssrc)?;
            body.bytes(&[CNAME, len])?;
            body.bytes(cname.as_bytes())?;
            let zeros = 4 - (2 + cname.len()) % 4;
            body.bytes([0; 4].get(..zeros)?)
        })
    }

    /// The end of `ssrc` (RFC 3550 §6.6).
    #[cfg(test)]
    pub fn goodbye(&mut self, ssrc: u32) -> Result<(), RtcpError> {
        self.packet(packet_type::GOODBYE, 1, |body| body.u32(ssrc))
    }

    /// Asks for `sequences` of `media_ssrc` again (RFC 4585 §6.2.1). Ascending order, wraps included, packs best.
    /// Writes nothing for no sequences.
    pub fn nack(&mut self, sender_ssrc: u32, media_ssrc: u32, sequences: &[u16]) -> Result<(), RtcpError> {
        if sequences.is_empty() {
            return Ok(());
        }
        self.packet(packet_type::TRANSPORT_FEEDBACK, format::NACK, |body| {
            body.u32(sender_ssrc)?;
            body.u32(media_ssrc)?;
            let mut pair: Option<(u16, u16)> = None;
            for sequence in sequences {
                if let Some((first, following)) = &mut pair {
                    let distance = sequence.wrapping_sub(*first);
                    if (1..=16).contains(&distance) {
                        *following |= 1 << (distance - 1);
                        continue;
                    }
                    body.u16(*first)?;
                    body.u16(*following)?;
                }
                pair = Some((*sequence, 0));
            }
            let (first, following) = pair?;
            body.u16(first)?;
            body.u16(following)
        })
    }

    /// Asks for a keyframe of `media_ssrc` (RFC 4585 §6.3.1).
    pub fn picture_loss(&mut self, sender_ssrc: u32, media_ssrc: u32) -> Result<(), RtcpError> {
        self.packet(packet_type::PAYLOAD_FEEDBACK, format::PICTURE_LOSS, |body| {
            body.u32(sender_ssrc)?;
            body.u32(media_ssrc)
        })
    }

    /// Asks for a keyframe of `media_ssrc`; every new request has the next `number` (RFC 5104 §4.3.1).
    pub fn full_intra(&mut self, sender_ssrc: u32, media_ssrc: u32, number: u8) -> Result<(), RtcpError> {
        self.packet(packet_type::PAYLOAD_FEEDBACK, format::FULL_INTRA, |body| {
            body.u32(sender_ssrc)?;
            body.u32(0)?;
            body.u32(media_ssrc)?;
            body.bytes(&[number, 0, 0, 0])
        })
    }

    /// Transport-wide feedback whose body `write` fills after the two SSRCs; padded to whole words.
    pub(in crate::media) fn transport_cc(
        &mut self,
        write: impl FnOnce(&mut Body<'_>) -> Option<()>,
    ) -> Result<(), RtcpError> {
        self.packet(packet_type::TRANSPORT_FEEDBACK, format::TRANSPORT_CC, write)
    }

    /// One packet: `write` fills the body, which is then padded, and its length goes into the header.
    fn packet(
        &mut self,
        packet_type: u8,
        format: u8,
        write: impl FnOnce(&mut Body<'_>) -> Option<()>,
    ) -> Result<(), RtcpError> {
        let room = self.buffer.get_mut(self.len..).ok_or(RtcpError::NoRoom)?;
        let (head, rest) = room.split_first_chunk_mut::<4>().ok_or(RtcpError::NoRoom)?;
        let mut body = Body { rest, len: 0 };
        write(&mut body).ok_or(RtcpError::NoRoom)?;
        let padding = (4 - body.len % 4) % 4;
        if padding != 0 {
            let count = padding as u8;
            let tail = [0, 0, 0, count];
            body.bytes(tail.get(4 - padding..).unwrap_or_default()).ok_or(RtcpError::NoRoom)?;
        }
        let [l0, l1] = u16::try_from(body.len / 4).map_err(|_| RtcpError::TooMany)?.to_be_bytes();
        *head = [0x80 | u8::from(padding != 0) << 5 | format & 0x1F, packet_type, l0, l1];
        self.len += 4 + body.len;
        Ok(())
    }
}

fn block_count(blocks: &[ReportBlock]) -> Result<u8, RtcpError> {
    u8::try_from(blocks.len()).ok().filter(|_| blocks.len() <= MAX_REPORT_BLOCKS).ok_or(RtcpError::TooMany)
}

fn write_blocks(body: &mut Body<'_>, blocks: &[ReportBlock]) -> Option<()> {
    blocks.iter().flat_map(ReportBlock::words).try_for_each(|word| body.u32(word))
}

/// What follows the common header of the packet that is being written. `None` once it is full.
pub(in crate::media) struct Body<'a> {
    rest: &'a mut [u8],
    len: usize,
}

impl Body<'_> {
    pub(in crate::media) fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
        self.rest.get_mut(self.len..)?.get_mut(..bytes.len())?.copy_from_slice(bytes);
        self.len += bytes.len();
        Some(())
    }

    pub(in crate::media) fn u16(&mut self, value: u16) -> Option<()> {
        self.bytes(&value.to_be_bytes())
    }

    pub(in crate::media) fn u32(&mut self, value: u32) -> Option<()> {
        self.bytes(&value.to_be_bytes())
    }
}
