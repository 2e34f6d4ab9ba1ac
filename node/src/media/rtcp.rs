//! RTCP as bytes: views into the packets of a received compound, and a writer for what we send.
//!
//! Views borrow and their lists are iterators, so nothing is allocated however much a peer packs into one datagram.
//! What we do not know (RFC 8888, APP, XR) is named and stepped over; a broken packet spoils only itself, because the
//! length of its frame still says where the next one begins.

mod description;
mod feedback;
mod report;
mod writer;

pub use description::{Goodbye, SourceDescription};
pub use feedback::{FullIntraRequest, Nack, PictureLossIndication, ReceiverEstimate};
pub use report::{ReceiverReport, ReportBlock, SenderInfo, SenderReport};
pub use writer::{MAX_REPORT_BLOCKS, Writer};

use crate::media::twcc::Feedback;

/// RTCP packet types (RFC 3550 §12.1, RFC 4585 §6.1).
mod packet_type {
    pub const SENDER_REPORT: u8 = 200;
    pub const RECEIVER_REPORT: u8 = 201;
    pub const SOURCE_DESCRIPTION: u8 = 202;
    pub const GOODBYE: u8 = 203;
    pub const TRANSPORT_FEEDBACK: u8 = 205;
    pub const PAYLOAD_FEEDBACK: u8 = 206;
}

/// Feedback formats (RFC 4585 §6.2 and §6.3, RFC 5104 §4.3.1, transport-cc draft §3.1, REMB draft §2.2).
mod format {
    pub const NACK: u8 = 1;
    pub const TRANSPORT_CC: u8 = 15;
    pub const PICTURE_LOSS: u8 = 1;
    pub const FULL_INTRA: u8 = 4;
    pub const APPLICATION: u8 = 15;
}

/// Why RTCP could not be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RtcpError {
    /// A packet is shorter than its type needs, or its frame is longer than the datagram.
    #[error("the packet of type {0} is truncated")]
    Truncated(u8),
    /// The version is not 2.
    #[error("rtcp version {0} is not 2")]
    Version(u8),
    /// The padding count does not fit the packet (RFC 3550 §6.4.1).
    #[error("padding of {0} bytes does not fit the packet")]
    Padding(u8),
    /// The buffer has no room for another packet.
    #[error("no room for another packet")]
    NoRoom,
    /// More report blocks or a longer CNAME than the packet can carry.
    #[error("the packet cannot carry that many values")]
    TooMany,
}

/// One packet of a compound.
#[derive(Debug, Clone, Copy)]
pub enum Packet<'a> {
    /// What a sender sent, and what it receives (RFC 3550 §6.4.1).
    SenderReport(SenderReport<'a>),
    /// What a receiver receives (RFC 3550 §6.4.2).
    ReceiverReport(ReceiverReport<'a>),
    /// Names of streams (RFC 3550 §6.5).
    SourceDescription(SourceDescription<'a>),
    /// Streams that ended (RFC 3550 §6.6).
    Goodbye(Goodbye<'a>),
    /// Packets to send again (RFC 4585 §6.2.1).
    Nack(Nack<'a>),
    /// A decoder lost its picture (RFC 4585 §6.3.1).
    PictureLoss(PictureLossIndication),
    /// Somebody needs a keyframe (RFC 5104 §4.3.1).
    FullIntra(FullIntraRequest<'a>),
    /// The bitrate that a receiver thinks its path carries (REMB).
    ReceiverEstimate(ReceiverEstimate<'a>),
    /// When packets arrived, by transport-wide sequence number.
    TransportCc(Feedback<'a>),
    /// Anything else.
    Other {
        /// The packet type.
        packet_type: u8,
        /// Feedback format, subtype or count.
        format: u8,
    },
}

/// The packets of one compound, in order. Ends at the first frame that does not fit.
pub fn packets(compound: &[u8]) -> Packets<'_> {
    Packets { rest: compound }
}

/// See [`packets`].
#[derive(Debug, Clone)]
pub struct Packets<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, RtcpError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match Frame::split(self.rest) {
            Ok((frame, rest)) => {
                self.rest = rest;
                Some(frame.read())
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

/// One packet by its common header, which every type shares.
struct Frame<'a> {
    padding: bool,
    format: u8,
    packet_type: u8,
    body: &'a [u8],
}

impl<'a> Frame<'a> {
    fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), RtcpError> {
        let kind = bytes.get(1).copied().unwrap_or(0);
        let ([first, packet_type, l0, l1], rest) =
            bytes.split_first_chunk::<4>().ok_or(RtcpError::Truncated(kind))?;
        if first >> 6 != 2 {
            return Err(RtcpError::Version(first >> 6));
        }
        let len = usize::from(u16::from_be_bytes([*l0, *l1])) * 4;
        let (body, rest) = rest.split_at_checked(len).ok_or(RtcpError::Truncated(kind))?;
        let frame =
            Self { padding: first & 0x20 != 0, format: first & 0x1F, packet_type: *packet_type, body };
        Ok((frame, rest))
    }

    fn read(self) -> Result<Packet<'a>, RtcpError> {
        let body = self.unpadded()?;
        let parsed = match (self.packet_type, self.format) {
            (packet_type::SENDER_REPORT, count) => SenderReport::parse(body, count).map(Packet::SenderReport),
            (packet_type::RECEIVER_REPORT, count) => {
                ReceiverReport::parse(body, count).map(Packet::ReceiverReport)
            }
            (packet_type::SOURCE_DESCRIPTION, count) => {
                Some(Packet::SourceDescription(SourceDescription::new(body, count)))
            }
            (packet_type::GOODBYE, count) => Goodbye::parse(body, count).map(Packet::Goodbye),
            (packet_type::TRANSPORT_FEEDBACK, format::NACK) => Nack::parse(body).map(Packet::Nack),
            (packet_type::TRANSPORT_FEEDBACK, format::TRANSPORT_CC) => {
                Feedback::parse(body).map(Packet::TransportCc)
            }
            (packet_type::PAYLOAD_FEEDBACK, format::PICTURE_LOSS) => {
                PictureLossIndication::parse(body).map(Packet::PictureLoss)
            }
            (packet_type::PAYLOAD_FEEDBACK, format::FULL_INTRA) => {
                FullIntraRequest::parse(body).map(Packet::FullIntra)
            }
            (packet_type::PAYLOAD_FEEDBACK, format::APPLICATION) => {
                return Ok(
                    ReceiverEstimate::parse(body).map_or_else(|| self.other(), Packet::ReceiverEstimate)
                );
            }
            _ => return Ok(self.other()),
        };
        parsed.ok_or(RtcpError::Truncated(self.packet_type))
    }

    fn other(&self) -> Packet<'a> {
        Packet::Other { packet_type: self.packet_type, format: self.format }
    }

    fn unpadded(&self) -> Result<&'a [u8], RtcpError> {
        if !self.padding {
            return Ok(self.body);
        }
        let count = self.body.last().copied().unwrap_or(0);
        let len = self.body.len().checked_sub(usize::from(count)).filter(|_| count != 0);
        len.and_then(|len| self.body.get(..len)).ok_or(RtcpError::Padding(count))
    }
}

#[cfg(test)]
mod tests;
