//! What of one incoming stream is there, what is missing, and what to ask for again; pure.

use std::time::{Duration, Instant};

/// Sequence numbers remembered: over a second of a stream of 2 Mbit/s; later repairs would come too late to show.
const WINDOW: u64 = 512;

/// Words of the bitmap.
const WORDS: usize = (WINDOW / 64) as usize;

/// Requests per missing packet, as many as libwebrtc makes.
const MOST_REQUESTS: u8 = 10;

/// Least time between two requests for one packet: a loopback round trip is far shorter, a far server's longer one
/// costs a doubled request.
const REQUEST_INTERVAL: Duration = Duration::from_millis(40);

/// A larger jump is a new stream, not a gap to be repaired.
const LARGEST_GAP: u64 = 200;

/// Counts of one stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SequenceCounts {
    /// Packets that the sequence numbers say were sent.
    pub expected: u64,
    /// Packets that came by themselves.
    pub received: u64,
    /// Packets that came by repair, and had not come by themselves.
    pub repaired: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Packets that are missing and still being asked for.
    pub pending: u64,
    /// Packets that the publisher sent in the window that ended, and that no sequence number tells of: a stream that
    /// stops leaves no gap.
    pub untold: u64,
}

impl SequenceCounts {
    /// Packets that should have come: what the sequence numbers say was sent, and what the publisher knows beyond that.
    pub fn due(&self) -> u64 {
        self.expected + self.untold
    }

    /// Packets that are missing for good.
    pub fn missing(&self) -> u64 {
        self.due().saturating_sub(self.received + self.repaired + self.pending)
    }
}

#[derive(Debug)]
struct Missing {
    number: u64,
    requests: u8,
    next_request: Option<Instant>,
}

/// The state of one incoming stream.
#[derive(Debug, Default)]
pub struct SequenceTracker {
    first: Option<u64>,
    highest: u64,
    seen: [u64; WORDS],
    missing: Vec<Missing>,
    asks: bool,
    received: u64,
    repaired: u64,
    duplicates: u64,
}

impl SequenceTracker {
    /// A tracker of a stream whose losses are asked for again; `default` makes one that only counts.
    pub fn asking() -> Self {
        Self { asks: true, ..Self::default() }
    }

    /// Takes a packet that came by itself and returns its number with the wraps counted.
    pub fn receive(&mut self, sequence: u16) -> u64 {
        let number = self.extend(sequence);
        if self.first.is_none() {
            self.first = Some(number);
            self.highest = number;
            self.mark(number);
            self.received += 1;
            return number;
        }
        if number > self.highest {
            let gap = number - self.highest - 1;
            self.advance(number);
            if self.asks && gap > 0 && gap <= LARGEST_GAP {
                let lost = (number - gap)..number;
                self.missing.extend(lost.map(|number| Missing { number, requests: 0, next_request: None }));
            }
            self.mark(number);
            self.received += 1;
        } else if self.is_marked(number) {
            self.duplicates += 1;
        } else {
            self.mark(number);
            self.received += 1;
            self.missing.retain(|missing| missing.number != number);
        }
        number
    }

    /// Takes a packet that a repair brought back, by its original sequence number. Returns whether it had been missing.
    pub fn repair(&mut self, sequence: u16) -> bool {
        let number = self.extend(sequence);
        if self.first.is_none() || number > self.highest {
            return false;
        }
        if self.is_marked(number) {
            self.duplicates += 1;
            return false;
        }
        self.mark(number);
        self.repaired += 1;
        self.missing.retain(|missing| missing.number != number);
        true
    }

    /// The number, wraps counted, that `sequence` stands for now (RFC 3711 §3.3.1's guess, from wrap 0).
    pub fn extend(&self, sequence: u16) -> u64 {
        if self.first.is_none() {
            return u64::from(sequence);
        }
        let difference = i64::from(sequence.wrapping_sub(self.highest as u16) as i16);
        self.highest.saturating_add_signed(difference)
    }

    /// Whether something is missing that may still be asked for.
    pub fn has_missing(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Sequence numbers to ask for now; remembers that they were asked for, and forgets what is hopeless.
    pub fn requests(&mut self, now: Instant) -> Vec<u16> {
        let oldest = self.highest.saturating_sub(WINDOW - 1);
        self.missing.retain(|missing| missing.requests < MOST_REQUESTS && missing.number >= oldest);
        let mut wanted = Vec::new();
        for missing in &mut self.missing {
            if missing.next_request.is_none_or(|at| at <= now) {
                missing.requests += 1;
                missing.next_request = Some(now + REQUEST_INTERVAL);
                wanted.push(missing.number as u16);
            }
        }
        wanted
    }

    /// The highest number, wraps counted.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// What was counted so far.
    pub fn counts(&self) -> SequenceCounts {
        SequenceCounts {
            expected: self.first.map_or(0, |first| self.highest - first + 1),
            received: self.received,
            repaired: self.repaired,
            duplicates: self.duplicates,
            pending: self.missing.len() as u64,
            untold: 0,
        }
    }

    fn advance(&mut self, to: u64) {
        if to - self.highest >= WINDOW {
            self.seen = [0; WORDS];
        } else {
            for number in self.highest + 1..=to {
                let (word, bit) = place(number);
                if let Some(word) = self.seen.get_mut(word) {
                    *word &= !bit;
                }
            }
        }
        self.highest = to;
    }

    fn mark(&mut self, number: u64) {
        let (word, bit) = place(number);
        if let Some(word) = self.seen.get_mut(word) {
            *word |= bit;
        }
    }

    /// Numbers before the window or before the first packet count as seen: it is too late for them.
    fn is_marked(&self, number: u64) -> bool {
        if self.highest - number >= WINDOW || self.first.is_some_and(|first| number < first) {
            return true;
        }
        let (word, bit) = place(number);
        self.seen.get(word).is_some_and(|word| word & bit != 0)
    }
}

fn place(number: u64) -> (usize, u64) {
    let at = number % WINDOW;
    ((at / 64) as usize, 1 << (at % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_asked_for_once_per_interval_and_repaired() {
        let mut tracker = SequenceTracker::asking();
        let start = Instant::now();
        for sequence in [10, 11, 14] {
            tracker.receive(sequence);
        }
        assert_eq!(tracker.requests(start), [12, 13]);
        assert!(tracker.requests(start + Duration::from_millis(10)).is_empty());
        tracker.repair(12);
        tracker.repair(12);
        assert_eq!(tracker.requests(start + REQUEST_INTERVAL), [13]);
        let counts = tracker.counts();
        assert_eq!((counts.expected, counts.received, counts.repaired, counts.duplicates), (5, 3, 1, 1));
    }

    #[test]
    fn reordering_is_no_loss_and_wraps_are_counted() {
        let mut tracker = SequenceTracker::asking();
        for sequence in [65_533, 65_535, 65_534, 0, 1] {
            tracker.receive(sequence);
        }
        assert!(!tracker.has_missing());
        assert_eq!(tracker.highest(), 65_537);
        let counts = tracker.counts();
        assert_eq!((counts.expected, counts.received, counts.duplicates), (5, 5, 0));
    }

    #[test]
    fn what_stays_missing_is_given_up_after_ten_requests() {
        let mut tracker = SequenceTracker::asking();
        let mut now = Instant::now();
        tracker.receive(1);
        tracker.receive(3);
        let mut requests = 0;
        while tracker.has_missing() {
            requests += tracker.requests(now).len();
            now += REQUEST_INTERVAL;
        }
        assert_eq!(requests, usize::from(MOST_REQUESTS));
        assert_eq!(tracker.counts().missing(), 1);
    }

    #[test]
    fn a_stream_without_repair_misses_at_once() {
        let mut tracker = SequenceTracker::default();
        tracker.receive(1);
        tracker.receive(3);
        assert!(!tracker.has_missing());
        assert_eq!(tracker.counts().missing(), 1);
    }
}
