//! The RTCP that a viewer sends: receiver reports, NACK, PLI and transport-wide feedback, as bytes.

/// RTCP packet types (RFC 3550 §12.1, RFC 4585 §6.1).
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const TRANSPORT_FEEDBACK: u8 = 205;
const PAYLOAD_FEEDBACK: u8 = 206;

/// Ticks of 250 µs in the 64 ms of a reference time.
const REFERENCE_TICKS: i64 = 256;

/// Nanoseconds of one arrival tick.
const TICK_NS: u64 = 250_000;

/// One stream in a receiver report (RFC 3550 §6.4.1).
#[derive(Debug, Clone, Copy, Default)]
pub struct ReportBlock {
    /// The stream.
    pub ssrc: u32,
    /// Share lost since the last report, in 256ths.
    pub fraction_lost: u8,
    /// Packets lost since the start, 24 bits.
    pub lost: u32,
    /// Highest sequence number, wraps counted.
    pub highest: u32,
    /// Interarrival jitter in clock ticks.
    pub jitter: u32,
    /// Middle 32 bits of the last sender report's time.
    pub last_report: u32,
    /// Time since then in 65,536ths of a second.
    pub delay: u32,
}

fn header(out: &mut Vec<u8>, count: u8, kind: u8, body_bytes: usize) {
    out.extend_from_slice(&[0x80 | count, kind]);
    out.extend_from_slice(&((body_bytes / 4) as u16).to_be_bytes());
}

/// Appends a receiver report and the source description that every compound packet must have.
pub fn receiver_report(out: &mut Vec<u8>, sender: u32, blocks: &[ReportBlock]) {
    header(out, blocks.len() as u8, RECEIVER_REPORT, 4 + 24 * blocks.len());
    out.extend_from_slice(&sender.to_be_bytes());
    for block in blocks {
        out.extend_from_slice(&block.ssrc.to_be_bytes());
        let lost = (u32::from(block.fraction_lost) << 24) | (block.lost & 0x00ff_ffff);
        for word in [lost, block.highest, block.jitter, block.last_report, block.delay] {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }
    // A CNAME of four characters, then the end mark, padded to a whole word (RFC 3550 §6.5).
    header(out, 1, SOURCE_DESCRIPTION, 12);
    out.extend_from_slice(&sender.to_be_bytes());
    out.extend_from_slice(&[1, 4, b'l', b'o', b'a', b'd', 0, 0]);
}

/// Appends a NACK for `lost`, which is in rising order (RFC 4585 §6.2.1).
pub fn nack(out: &mut Vec<u8>, sender: u32, media: u32, lost: &[u16]) {
    let mut entries: Vec<(u16, u16)> = Vec::new();
    for sequence in lost {
        let after = entries.last().map(|(first, _)| sequence.wrapping_sub(*first));
        match (entries.last_mut(), after) {
            (Some((_, mask)), Some(distance @ 1..=16)) => *mask |= 1 << (distance - 1),
            _ => entries.push((*sequence, 0)),
        }
    }
    header(out, 1, TRANSPORT_FEEDBACK, 8 + 4 * entries.len());
    out.extend_from_slice(&sender.to_be_bytes());
    out.extend_from_slice(&media.to_be_bytes());
    for (first, mask) in entries {
        out.extend_from_slice(&first.to_be_bytes());
        out.extend_from_slice(&mask.to_be_bytes());
    }
}

/// Appends a picture loss indication (RFC 4585 §6.3.1).
pub fn picture_loss(out: &mut Vec<u8>, sender: u32, media: u32) {
    header(out, 1, PAYLOAD_FEEDBACK, 8);
    out.extend_from_slice(&sender.to_be_bytes());
    out.extend_from_slice(&media.to_be_bytes());
}

/// Collects arrivals for transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01).
#[derive(Debug, Default)]
pub struct TransportFeedback {
    arrivals: Vec<(u16, u64)>,
    next: Option<u16>,
    count: u8,
}

/// Most packets in one feedback; at 100 ms per feedback this is over 20 Mbit/s to one viewer.
const ARRIVALS_CAPACITY: usize = 2_000;

impl TransportFeedback {
    /// Notes a packet's arrival (Unix nanoseconds).
    pub fn arrived(&mut self, sequence: u16, arrival_ns: u64) {
        if self.arrivals.len() < ARRIVALS_CAPACITY {
            self.arrivals.push((sequence, arrival_ns));
        }
    }

    /// Appends one feedback packet for all that was noted since the last; false if nothing was.
    pub fn write(&mut self, out: &mut Vec<u8>, sender: u32, media: u32) -> bool {
        let Some((first_noted, _)) = self.arrivals.first().copied() else { return false };
        let base = self.next.unwrap_or(first_noted);
        self.arrivals.sort_by_key(|(sequence, _)| sequence.wrapping_sub(base) as i16);
        self.arrivals.dedup_by_key(|(sequence, _)| *sequence);
        // What comes later than the feedback that reported it missing cannot be reported again.
        self.arrivals.retain(|(sequence, _)| (sequence.wrapping_sub(base) as i16) >= 0);
        let (Some(first), Some(last)) = (self.arrivals.first().copied(), self.arrivals.last().copied())
        else {
            return false;
        };
        let reference = (first.1 / TICK_NS) as i64 / REFERENCE_TICKS;
        let (symbols, deltas) = self.symbols(base, last.0, reference * REFERENCE_TICKS);
        let chunks = chunks(&symbols);
        let unpadded = 16 + 2 * chunks.len() + deltas.len();
        let padding = unpadded.next_multiple_of(4) - unpadded;
        header(out, 15, TRANSPORT_FEEDBACK, unpadded + padding);
        if padding > 0
            && let Some(first) = out.len().checked_sub(4).and_then(|at| out.get_mut(at))
        {
            *first |= 0x20;
        }
        out.extend_from_slice(&sender.to_be_bytes());
        out.extend_from_slice(&media.to_be_bytes());
        out.extend_from_slice(&base.to_be_bytes());
        out.extend_from_slice(&(symbols.len() as u16).to_be_bytes());
        let reference_and_count = ((reference as u32) << 8) | u32::from(self.count);
        out.extend_from_slice(&reference_and_count.to_be_bytes());
        for chunk in chunks {
            out.extend_from_slice(&chunk.to_be_bytes());
        }
        out.extend_from_slice(&deltas);
        if padding > 0 {
            out.resize(out.len() + padding - 1, 0);
            out.push(padding as u8);
        }
        self.count = self.count.wrapping_add(1);
        self.next = Some(last.0.wrapping_add(1));
        self.arrivals.clear();
        true
    }

    /// The symbol of each sequence number from `base` to `last` (0 missing, 1 small, 2 large delta), and the deltas.
    fn symbols(&self, base: u16, last: u16, mut previous: i64) -> (Vec<u8>, Vec<u8>) {
        let mut symbols = vec![0; usize::from(last.wrapping_sub(base)) + 1];
        let mut deltas = Vec::with_capacity(self.arrivals.len());
        for (sequence, arrival_ns) in &self.arrivals {
            let tick = (arrival_ns / TICK_NS) as i64;
            let delta = tick - previous;
            previous = tick;
            let symbol = match u8::try_from(delta) {
                Ok(small) => {
                    deltas.push(small);
                    1
                }
                Err(_) => {
                    let large = delta.clamp(i64::from(i16::MIN), i64::from(i16::MAX)) as i16;
                    deltas.extend_from_slice(&large.to_be_bytes());
                    2
                }
            };
            if let Some(slot) = symbols.get_mut(usize::from(sequence.wrapping_sub(base))) {
                *slot = symbol;
            }
        }
        (symbols, deltas)
    }
}

/// Run-length chunks for runs of at least seven equal symbols, two-bit vectors of seven for the rest.
fn chunks(symbols: &[u8]) -> Vec<u16> {
    let mut chunks = Vec::new();
    let mut rest = symbols;
    while let Some(first) = rest.first() {
        let run = rest.iter().take(0x1fff).take_while(|symbol| *symbol == first).count();
        let taken = if run >= 7 || run == rest.len() {
            chunks.push((u16::from(*first) << 13) | run as u16);
            run
        } else {
            let taken = rest.len().min(7);
            let bits = rest
                .iter()
                .take(7)
                .enumerate()
                .fold(0, |bits: u16, (index, symbol)| bits | (u16::from(*symbol) << (12 - 2 * index)));
            chunks.push(0xc000 | bits);
            taken
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    chunks
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rtc_rtcp::packet::unmarshal;
    use rtc_rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;
    use rtc_rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;

    use super::*;

    #[test]
    fn nack_reads_back() {
        let mut out = Vec::new();
        nack(&mut out, 1, 2, &[65_535, 0, 5, 100]);
        let packets = unmarshal(&mut out.as_slice()).unwrap();
        let nack = packets.first().unwrap().as_any().downcast_ref::<TransportLayerNack>().unwrap();
        let lost: Vec<u16> = nack.nacks.iter().flat_map(|pair| pair.packet_list()).collect();
        assert_eq!(lost, [65_535, 0, 5, 100]);
    }

    #[test]
    fn report_is_a_valid_compound_packet() {
        let mut out = Vec::new();
        receiver_report(&mut out, 1, &[ReportBlock { ssrc: 7, lost: 3, ..Default::default() }]);
        picture_loss(&mut out, 1, 7);
        assert_eq!(unmarshal(&mut out.as_slice()).unwrap().len(), 3);
    }

    #[test]
    fn transport_feedback_reads_back() {
        let mut feedback = TransportFeedback::default();
        let start = 1_700_000_000_000_000_000;
        for (sequence, after_us) in [(10u16, 0u64), (11, 300), (13, 900), (14, 90_000), (15, 90_000)] {
            feedback.arrived(sequence, start + after_us * 1_000);
        }
        let mut out = Vec::new();
        assert!(feedback.write(&mut out, 1, 2));
        assert_eq!(out.len() % 4, 0);
        let packets = unmarshal(&mut out.as_slice()).unwrap();
        let read = packets.first().unwrap().as_any().downcast_ref::<TransportLayerCc>().unwrap();
        assert_eq!((read.base_sequence_number, read.packet_status_count), (10, 6));
        assert_eq!(read.recv_deltas.len(), 5);
        let total: i64 = read.recv_deltas.iter().skip(1).map(|delta| delta.delta).sum();
        assert_eq!(total, 90_000);
        assert!(!feedback.write(&mut out, 1, 2));
        feedback.arrived(17, start + 200_000_000);
        let mut next = Vec::new();
        assert!(feedback.write(&mut next, 1, 2));
        let packets = unmarshal(&mut next.as_slice()).unwrap();
        let read = packets.first().unwrap().as_any().downcast_ref::<TransportLayerCc>().unwrap();
        assert_eq!((read.base_sequence_number, read.packet_status_count, read.fb_pkt_count), (16, 2, 1));
    }
}
