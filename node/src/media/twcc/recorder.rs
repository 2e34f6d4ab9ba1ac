//! When a publisher's packets arrived, and the feedback messages that say so.

use std::time::{Duration, Instant};

use super::{MAX_RUN, ONE_BIT_SYMBOLS, TICK_MICROS, TICKS_PER_REFERENCE, TWO_BIT_SYMBOLS, symbol};
use crate::media::rtcp::{RtcpError, Writer};

/// How long an arrival waits for its feedback. Browsers' own receivers report every 50 to 250 ms; at 100 ms an estimator
/// sees a queue build up within two or three messages, for 10 packets/s of upstream.
pub const FEEDBACK_INTERVAL: Duration = Duration::from_millis(100);

/// Arrivals after which feedback does not wait for the interval: 20 Mbit/s in full packets fill a message in 200 ms.
const FEEDBACK_PACKETS: usize = 200;

/// Packets in one message. At two bytes of delta and two bits of status each it stays below 1,000 bytes.
const MAX_STATUSES: usize = 400;

/// Room that one feedback message needs at most: headers, chunks of two bits per packet, deltas of two bytes, padding.
pub const MAX_FEEDBACK_BYTES: usize = 20 + 2 * MAX_STATUSES.div_ceil(TWO_BIT_SYMBOLS) + 2 * MAX_STATUSES + 3;

/// Packets remembered, 10 KB/ms of media at full packets; a power of two, and a divisor of 2^16 so that the slot follows
/// from the sequence number. Older ones are neither reported nor corrected.
const WINDOW: usize = 1024;

/// How far behind the newest packet an arrival may be and still correct an earlier report. Retransmissions have a
/// transport-wide number of their own, so only reordering is this late.
const MAX_LATE: u64 = 256;

/// Packets in a row that are too late before we believe that the sender began anew.
const RESTART_AFTER: u32 = 8;

/// No arrival: ticks are counted from a base before the first packet, so no packet has this one.
const NOT_RECEIVED: i64 = i64::MIN;

/// Remembers arrivals of one peer by transport-wide sequence number.
#[derive(Debug)]
pub struct ArrivalRecorder {
    base: Instant,
    /// Arrival in ticks of 250 µs since `base`, by sequence number modulo [`WINDOW`].
    arrivals: Box<[i64; WINDOW]>,
    /// The newest sequence number, unwrapped; `None` before the first packet.
    highest: Option<u64>,
    /// The first that no message has reported yet; may be one above `highest`.
    next: u64,
    pending: usize,
    oldest_pending: Option<Instant>,
    message_count: u8,
    too_late_in_a_row: u32,
}

impl ArrivalRecorder {
    /// An empty record; `base` is any instant before the first arrival.
    pub fn new(base: Instant) -> Self {
        Self {
            base,
            arrivals: Box::new([NOT_RECEIVED; WINDOW]),
            highest: None,
            next: 0,
            pending: 0,
            oldest_pending: None,
            message_count: 0,
            too_late_in_a_row: 0,
        }
    }

    /// Notes that the packet with this number arrived at `arrival`. A duplicate changes nothing.
    pub fn record(&mut self, sequence: u16, arrival: Instant) {
        let Some(sequence) = self.unwrap(sequence) else { return };
        let ticks = self.ticks(arrival);
        let Some(slot) = self.slot_mut(sequence) else { return };
        if *slot != NOT_RECEIVED {
            return;
        }
        *slot = ticks;
        // A packet that was reported lost is reported again, with all that follow it, as received.
        self.next = self.next.min(sequence);
        self.pending += 1;
        self.oldest_pending.get_or_insert(arrival);
    }

    /// When the next feedback is due; `None` if nothing arrived since the last.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let oldest = self.oldest_pending?;
        Some(if self.pending >= FEEDBACK_PACKETS { oldest } else { oldest + FEEDBACK_INTERVAL })
    }

    /// Writes one message about what arrived since the last. `Ok(true)` if there is more to report: call again.
    ///
    /// On an error nothing is forgotten. `media_ssrc` is any stream of the publisher.
    pub fn write_feedback(
        &mut self,
        writer: &mut Writer<'_>,
        sender_ssrc: u32,
        media_ssrc: u32,
    ) -> Result<bool, RtcpError> {
        let Some(highest) = self.highest.filter(|highest| *highest >= self.next) else {
            self.settle();
            return Ok(false);
        };
        let report = Report::gather(self, highest);
        writer.transport_cc(|body| {
            body.u32(sender_ssrc)?;
            body.u32(media_ssrc)?;
            body.u16(self.next as u16)?;
            body.u16(report.count as u16)?;
            body.u32((report.reference_time as u32) << 8 | u32::from(self.message_count))?;
            write_chunks(report.symbols(), |chunk| body.u16(chunk))?;
            report.deltas().try_for_each(|(symbol, delta)| match symbol {
                symbol::SMALL_DELTA => body.bytes(&[delta as u8]),
                _ => body.u16(delta as u16),
            })
        })?;
        self.message_count = self.message_count.wrapping_add(1);
        self.next += report.count as u64;
        if self.next <= highest {
            return Ok(true);
        }
        self.settle();
        Ok(false)
    }

    fn settle(&mut self) {
        self.pending = 0;
        self.oldest_pending = None;
    }

    /// The number without wraps, and room for it in the window; `None` if it is too late to be of use.
    fn unwrap(&mut self, sequence: u16) -> Option<u64> {
        let Some(highest) = self.highest else {
            return Some(self.restart(sequence));
        };
        let distance = i64::from(sequence.wrapping_sub(highest as u16) as i16);
        if distance <= -(MAX_LATE as i64) {
            self.too_late_in_a_row += 1;
            return (self.too_late_in_a_row >= RESTART_AFTER).then(|| self.restart(sequence));
        }
        self.too_late_in_a_row = 0;
        let unwrapped = highest.saturating_add_signed(distance);
        if unwrapped <= highest {
            return Some(unwrapped);
        }
        if unwrapped - highest >= WINDOW as u64 {
            return Some(self.restart(sequence));
        }
        for skipped in highest + 1..=unwrapped {
            if let Some(slot) = self.slot_mut(skipped) {
                *slot = NOT_RECEIVED;
            }
        }
        self.highest = Some(unwrapped);
        // What was not reported before it left the window never will be.
        self.next = self.next.max((unwrapped + 1).saturating_sub(WINDOW as u64));
        Some(unwrapped)
    }

    /// Forgets everything: the sender began anew, or so much was lost that its estimator has noticed.
    fn restart(&mut self, sequence: u16) -> u64 {
        self.arrivals.fill(NOT_RECEIVED);
        // One full wrap up, so that a packet that overtook the first has a number below it.
        let unwrapped = u64::from(sequence) + (1 << 16);
        self.highest = Some(unwrapped);
        self.next = unwrapped;
        self.too_late_in_a_row = 0;
        self.settle();
        unwrapped
    }

    fn ticks(&self, arrival: Instant) -> i64 {
        let since = arrival.saturating_duration_since(self.base);
        i64::try_from(since.as_micros()).unwrap_or(i64::MAX) / TICK_MICROS
    }

    fn slot_mut(&mut self, sequence: u64) -> Option<&mut i64> {
        self.arrivals.get_mut(sequence as usize % WINDOW)
    }

    /// Arrival of a number within the window, in ticks.
    fn arrival(&self, sequence: u64) -> Option<i64> {
        self.arrivals.get(sequence as usize % WINDOW).copied().filter(|ticks| *ticks != NOT_RECEIVED)
    }
}

/// The statuses of one message.
struct Report {
    symbols: [u8; MAX_STATUSES],
    deltas: [i16; MAX_STATUSES],
    count: usize,
    /// In units of 64 ms since the recorder's base.
    reference_time: i64,
}

impl Report {
    /// As many statuses from `recorder.next` on as one message can carry.
    fn gather(recorder: &ArrivalRecorder, highest: u64) -> Self {
        let first = (recorder.next..=highest).find_map(|sequence| recorder.arrival(sequence)).unwrap_or(0);
        let reference_time = first.div_euclid(TICKS_PER_REFERENCE);
        let mut report = Self {
            symbols: [symbol::LOST; MAX_STATUSES],
            deltas: [0; MAX_STATUSES],
            count: 0,
            reference_time,
        };
        let mut ticks = reference_time * TICKS_PER_REFERENCE;
        let statuses = report.symbols.iter_mut().zip(&mut report.deltas);
        for (sequence, (symbol, delta)) in (recorder.next..=highest).zip(statuses) {
            if let Some(arrival) = recorder.arrival(sequence) {
                // A pause of over 8 s does not fit a delta: the next message begins there, with its own reference.
                let Ok(fits) = i16::try_from(arrival - ticks) else { break };
                *delta = fits;
                *symbol = if (0..=255).contains(&fits) { symbol::SMALL_DELTA } else { symbol::LARGE_DELTA };
                ticks = arrival;
            }
            report.count += 1;
        }
        report
    }

    fn symbols(&self) -> &[u8] {
        self.symbols.get(..self.count).unwrap_or_default()
    }

    fn deltas(&self) -> impl Iterator<Item = (u8, i16)> {
        let all = self.symbols().iter().copied().zip(self.deltas);
        all.filter(|(symbol, _)| *symbol != symbol::LOST)
    }
}

/// Packs `symbols` into status chunks: a run where it is no worse than a vector, else the denser vector that can say it.
fn write_chunks(mut symbols: &[u8], mut put: impl FnMut(u16) -> Option<()>) -> Option<()> {
    while let Some(first) = symbols.first() {
        let run = symbols.iter().take(MAX_RUN).take_while(|symbol| *symbol == first).count();
        let ahead = symbols.iter().take(ONE_BIT_SYMBOLS);
        let vector = if ahead.clone().all(|symbol| *symbol < symbol::LARGE_DELTA) {
            ONE_BIT_SYMBOLS
        } else {
            TWO_BIT_SYMBOLS
        };
        let used = if run >= vector.min(symbols.len()) {
            put(u16::from(*first) << 13 | run as u16)?;
            run
        } else if vector == ONE_BIT_SYMBOLS {
            let bits = ahead.zip((0..ONE_BIT_SYMBOLS).rev());
            put(0x8000 | bits.fold(0, |bits, (symbol, place)| bits | u16::from(*symbol) << place))?;
            vector
        } else {
            let bits = ahead.zip((0..TWO_BIT_SYMBOLS).rev());
            put(0xC000 | bits.fold(0, |bits, (symbol, place)| bits | u16::from(*symbol) << (place * 2)))?;
            vector
        };
        symbols = symbols.get(used..).unwrap_or_default();
    }
    Some(())
}
