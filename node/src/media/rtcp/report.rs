//! Sender and receiver reports (RFC 3550 §6.4).

/// Bytes of one report block.
const BLOCK_BYTES: usize = 24;

/// What a sender says of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// When the report was made: NTP, seconds in the high and their 2^-32 in the low half.
    pub ntp: u64,
    /// The same instant on the stream's RTP clock.
    pub rtp_timestamp: u32,
    /// Packets sent since the stream began; wraps.
    pub packet_count: u32,
    /// Payload bytes sent since the stream began; wraps.
    pub octet_count: u32,
}

impl SenderInfo {
    /// The middle 32 bits of the NTP time: what receivers return as [`ReportBlock::last_sender_report`].
    pub fn middle_ntp(&self) -> u32 {
        (self.ntp >> 16) as u32
    }
}

/// What a receiver says of one stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReportBlock {
    /// The stream.
    pub ssrc: u32,
    /// Lost since the report before, in 256ths of what was expected.
    pub fraction_lost: u8,
    /// Lost since the stream began: expected minus received, negative if there were duplicates; 24 bits on the wire.
    pub cumulative_lost: i32,
    /// The highest sequence number received, with the count of its wraps in the upper half.
    pub highest_sequence: u32,
    /// Interarrival jitter in timestamp units.
    pub jitter: u32,
    /// Middle bits of the NTP time of the last sender report; 0 if there was none.
    pub last_sender_report: u32,
    /// Time since that report arrived, in 1/65536 s; 0 if there was none.
    pub delay_since_last_sender_report: u32,
}

impl ReportBlock {
    fn parse(bytes: &[u8; BLOCK_BYTES]) -> Self {
        let word =
            |index: usize| bytes.as_chunks::<4>().0.get(index).map_or(0, |word| u32::from_be_bytes(*word));
        let lost = word(1);
        Self {
            ssrc: word(0),
            fraction_lost: (lost >> 24) as u8,
            // Sign-extends the 24 bits.
            cumulative_lost: (lost << 8) as i32 >> 8,
            highest_sequence: word(2),
            jitter: word(3),
            last_sender_report: word(4),
            delay_since_last_sender_report: word(5),
        }
    }

    pub(super) fn words(&self) -> [u32; 6] {
        let lost = self.cumulative_lost.clamp(-0x80_0000, 0x7F_FFFF) as u32 & 0xFF_FFFF;
        [
            self.ssrc,
            u32::from(self.fraction_lost) << 24 | lost,
            self.highest_sequence,
            self.jitter,
            self.last_sender_report,
            self.delay_since_last_sender_report,
        ]
    }
}

/// A sender report.
#[derive(Debug, Clone, Copy)]
pub struct SenderReport<'a> {
    /// The sender.
    pub ssrc: u32,
    /// What it sent.
    pub info: SenderInfo,
    blocks: &'a [[u8; BLOCK_BYTES]],
}

impl<'a> SenderReport<'a> {
    pub(super) fn parse(body: &'a [u8], count: u8) -> Option<Self> {
        let (ssrc, rest) = body.split_first_chunk()?;
        let (ntp, rest) = rest.split_first_chunk()?;
        let (rtp_timestamp, rest) = rest.split_first_chunk()?;
        let (packet_count, rest) = rest.split_first_chunk()?;
        let (octet_count, rest) = rest.split_first_chunk()?;
        Some(Self {
            ssrc: u32::from_be_bytes(*ssrc),
            info: SenderInfo {
                ntp: u64::from_be_bytes(*ntp),
                rtp_timestamp: u32::from_be_bytes(*rtp_timestamp),
                packet_count: u32::from_be_bytes(*packet_count),
                octet_count: u32::from_be_bytes(*octet_count),
            },
            blocks: rest.as_chunks().0.get(..usize::from(count))?,
        })
    }

    /// What the sender receives, one block per stream.
    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> + 'a {
        self.blocks.iter().map(ReportBlock::parse)
    }
}

/// A receiver report.
#[derive(Debug, Clone, Copy)]
pub struct ReceiverReport<'a> {
    /// The receiver.
    pub ssrc: u32,
    blocks: &'a [[u8; BLOCK_BYTES]],
}

impl<'a> ReceiverReport<'a> {
    pub(super) fn parse(body: &'a [u8], count: u8) -> Option<Self> {
        let (ssrc, rest) = body.split_first_chunk()?;
        let blocks = rest.as_chunks().0.get(..usize::from(count))?;
        Some(Self { ssrc: u32::from_be_bytes(*ssrc), blocks })
    }

    /// One block per stream.
    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> + 'a {
        self.blocks.iter().map(ReportBlock::parse)
    }
}
