//! Reads one transport-wide feedback message.

use super::{ONE_BIT_SYMBOLS, TICK_MICROS, TICKS_PER_REFERENCE, TWO_BIT_SYMBOLS, symbol};

/// One feedback message: a status for each packet from [`Self::base_sequence`] on.
#[derive(Debug, Clone, Copy)]
pub struct Feedback<'a> {
    /// Who reports.
    pub sender_ssrc: u32,
    /// Any stream of the transport; estimators ignore it.
    pub media_ssrc: u32,
    /// Transport-wide sequence number of the first packet reported.
    pub base_sequence: u16,
    /// How many packets are reported.
    pub status_count: u16,
    /// The receiver's clock at the start of the message, in units of 64 ms; wraps at 24 bits.
    pub reference_time: i32,
    /// Counts the receiver's messages; a gap says that one was lost.
    pub message_count: u8,
    chunks: &'a [[u8; 2]],
    deltas: &'a [u8],
}

/// What became of one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It had not arrived when the message was written.
    Lost,
    /// It arrived.
    Received {
        /// When, in µs on the receiver's clock; only differences mean something.
        at_micros: i64,
    },
    /// It arrived, and the receiver does not say when.
    ReceivedUntimed,
}

impl<'a> Feedback<'a> {
    /// Reads the body of a packet of type 205, format 15. `None` if it is too short for what it announces.
    pub(in crate::media) fn parse(body: &'a [u8]) -> Option<Self> {
        let (head, rest) = body.split_first_chunk::<16>()?;
        let [s0, s1, s2, s3, m0, m1, m2, m3, b0, b1, c0, c1, t0, t1, t2, message_count] = *head;
        let status_count = u16::from_be_bytes([c0, c1]);
        let (all_chunks, _) = rest.as_chunks::<2>();
        let mut covered = 0;
        let mut used = 0;
        for chunk in all_chunks {
            if covered >= usize::from(status_count) {
                break;
            }
            covered += Chunk::of(*chunk).len();
            used += 1;
        }
        if covered < usize::from(status_count) {
            return None;
        }
        Some(Self {
            sender_ssrc: u32::from_be_bytes([s0, s1, s2, s3]),
            media_ssrc: u32::from_be_bytes([m0, m1, m2, m3]),
            base_sequence: u16::from_be_bytes([b0, b1]),
            status_count,
            // Sign-extends the 24 bits.
            reference_time: i32::from_be_bytes([t0, t1, t2, 0]) >> 8,
            message_count,
            chunks: all_chunks.get(..used)?,
            deltas: rest.get(used * 2..)?,
        })
    }

    /// How many packets are reported lost. Looks at chunks, not at packets: two bytes may speak of thousands.
    pub fn lost(&self) -> usize {
        let mut left = usize::from(self.status_count);
        let mut lost = 0;
        for chunk in self.chunks {
            let chunk = Chunk::of(*chunk);
            let len = chunk.len().min(left);
            left -= len;
            lost += match chunk {
                Chunk::Run { symbol, .. } if symbol == symbol::LOST => len,
                Chunk::Run { .. } => 0,
                _ => (0..len).filter(|place| chunk.symbol(*place) == symbol::LOST).count(),
            };
        }
        lost
    }

    /// As [`Self::packets`], but only those of the `count` packets from `oldest` on. Runs before them cost nothing, so that a
    /// message of a few bytes that speaks of all 65,535 packets costs no more than one of `count`.
    pub fn packets_within(&self, oldest: u16, count: u16) -> PacketReports<'a> {
        let mut packets = self.packets();
        let (before, behind) =
            (oldest.wrapping_sub(self.base_sequence), self.base_sequence.wrapping_sub(oldest));
        // Whichever is nearer: the message begins before `oldest` or behind it.
        if before <= behind {
            packets.pass(before);
            packets.left = packets.left.min(count);
        } else {
            packets.left = packets.left.min(count.saturating_sub(behind));
        }
        packets
    }

    /// [`Self::reference_time`] without its wraps (every 12 days), given the unwrapped one of the message before. Wraps at 32
    /// bits, after years, so that no receiver makes it grow without bound.
    pub fn unwrapped_reference(&self, before: i32) -> i32 {
        // Shifted up and down, the difference gets the sign of its 24 bits.
        let step = (self.reference_time.wrapping_sub(before) << 8) >> 8;
        before.wrapping_add(step)
    }

    /// What is to be added to the times that [`Self::packets`] tells, in µs, for them to count from `unwrapped`.
    pub fn micros_to(&self, unwrapped: i32) -> i64 {
        (i64::from(unwrapped) - i64::from(self.reference_time)) * TICKS_PER_REFERENCE * TICK_MICROS
    }

    /// Each packet in order of its sequence number; ends early if receive deltas are missing.
    pub fn packets(&self) -> PacketReports<'a> {
        PacketReports {
            chunks: self.chunks.iter(),
            chunk: Chunk::Run { symbol: symbol::LOST, len: 0 },
            place: 0,
            deltas: self.deltas,
            sequence: self.base_sequence,
            left: self.status_count,
            ticks: i64::from(self.reference_time) * TICKS_PER_REFERENCE,
        }
    }
}

/// One status chunk.
#[derive(Debug, Clone, Copy)]
enum Chunk {
    Run { symbol: u8, len: usize },
    OneBit(u16),
    TwoBit(u16),
}

impl Chunk {
    fn of(bytes: [u8; 2]) -> Self {
        let bits = u16::from_be_bytes(bytes);
        match bits >> 14 {
            0b10 => Self::OneBit(bits),
            0b11 => Self::TwoBit(bits),
            _ => Self::Run { symbol: (bits >> 13) as u8 & 0x03, len: usize::from(bits & 0x1FFF) },
        }
    }

    fn len(self) -> usize {
        match self {
            Self::Run { len, .. } => len,
            Self::OneBit(_) => ONE_BIT_SYMBOLS,
            Self::TwoBit(_) => TWO_BIT_SYMBOLS,
        }
    }

    /// The symbol at `place`, which is below [`Self::len`].
    fn symbol(self, place: usize) -> u8 {
        match self {
            Self::Run { symbol, .. } => symbol,
            Self::OneBit(bits) => (bits >> (ONE_BIT_SYMBOLS - 1).saturating_sub(place)) as u8 & 0x01,
            Self::TwoBit(bits) => (bits >> ((TWO_BIT_SYMBOLS - 1).saturating_sub(place) * 2)) as u8 & 0x03,
        }
    }
}

/// See [`Feedback::packets`].
#[derive(Debug, Clone)]
pub struct PacketReports<'a> {
    chunks: std::slice::Iter<'a, [u8; 2]>,
    chunk: Chunk,
    place: usize,
    deltas: &'a [u8],
    sequence: u16,
    left: u16,
    ticks: i64,
}

impl PacketReports<'_> {
    /// Leaves out the next `count` packets.
    fn pass(&mut self, mut count: u16) {
        while count > 0 && self.left > 0 {
            let step = match self.chunk() {
                // What takes no delta is passed at once.
                Some(Chunk::Run { symbol, len })
                    if !matches!(symbol, symbol::SMALL_DELTA | symbol::LARGE_DELTA) =>
                {
                    let step = (len - self.place).min(count.min(self.left).into()) as u16;
                    self.place += usize::from(step);
                    self.sequence = self.sequence.wrapping_add(step);
                    self.left -= step;
                    step
                }
                Some(_) => u16::from(self.next().is_some()),
                None => return self.left = 0,
            };
            count -= step;
        }
    }

    /// The chunk that has the next packet's status.
    fn chunk(&mut self) -> Option<Chunk> {
        while self.place >= self.chunk.len() {
            self.chunk = Chunk::of(*self.chunks.next()?);
            self.place = 0;
        }
        Some(self.chunk)
    }

    fn arrival(&mut self, symbol: u8) -> Option<Arrival> {
        let delta = match symbol {
            symbol::LOST => return Some(Arrival::Lost),
            symbol::SMALL_DELTA => {
                let (delta, rest) = self.deltas.split_first()?;
                self.deltas = rest;
                i64::from(*delta)
            }
            symbol::LARGE_DELTA => {
                let (delta, rest) = self.deltas.split_first_chunk()?;
                self.deltas = rest;
                i64::from(i16::from_be_bytes(*delta))
            }
            _ => return Some(Arrival::ReceivedUntimed),
        };
        self.ticks += delta;
        Some(Arrival::Received { at_micros: self.ticks * TICK_MICROS })
    }
}

impl Iterator for PacketReports<'_> {
    type Item = (u16, Arrival);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let symbol = self.chunk()?.symbol(self.place);
        self.place += 1;
        let Some(arrival) = self.arrival(symbol) else {
            self.left = 0;
            return None;
        };
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        Some((sequence, arrival))
    }
}
