//! What was sent to one viewer and when, by transport-wide sequence number, until the viewer has reported it.

/// Packets remembered: 1 s of 8 Mbit/s, 4 s of 2 Mbit/s; feedback comes within a round trip and 250 ms. Full means: the
/// oldest is forgotten, and what is said of it is ignored.
pub const SENT_LOG_CAPACITY_PACKETS: usize = 1024;

/// What is known of a packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Fate {
    /// Nothing is to be learned of it any more.
    #[default]
    Settled,
    /// Not reported yet.
    Unknown,
    /// Reported lost. It may still come late.
    Lost,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    at_micros: u32,
    bytes: u16,
    fate: Fate,
}

/// A packet that was reported on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentPacket {
    /// When it was sent, in µs on the plane's clock; wraps after 71 minutes.
    pub at_micros: u32,
    /// Its bytes as a datagram.
    pub bytes: u16,
    /// Whether it was reported lost before.
    pub was_lost: bool,
}

/// See the module.
#[derive(Debug)]
pub struct SentLog {
    slots: [Slot; SENT_LOG_CAPACITY_PACKETS],
    next: u16,
    /// How many of the newest are here.
    known: u16,
    bytes: u64,
}

impl SentLog {
    /// An empty log. `next`: sequence number of the packet that comes first.
    pub fn new(next: u16) -> Self {
        Self { slots: [Slot::default(); SENT_LOG_CAPACITY_PACKETS], next, known: 0, bytes: 0 }
    }

    /// The next packet of `bytes` was sent.
    #[inline]
    pub fn record(&mut self, at_micros: u32, bytes: usize) {
        let place = usize::from(self.next) % SENT_LOG_CAPACITY_PACKETS;
        if let Some(slot) = self.slots.get_mut(place) {
            *slot = Slot { at_micros, bytes: bytes as u16, fate: Fate::Unknown };
        }
        self.next = self.next.wrapping_add(1);
        self.known = (self.known + 1).min(SENT_LOG_CAPACITY_PACKETS as u16);
        self.bytes += bytes as u64;
    }

    /// Sequence number of the packet that comes next.
    pub fn next(&self) -> u16 {
        self.next
    }

    /// What can be reported: the sequence number of the oldest packet here, and how many there are from it on.
    pub fn reach(&self) -> (u16, u16) {
        (self.next.wrapping_sub(self.known), self.known)
    }

    /// Bytes sent since the log was made.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of the packets after `sequence` that were sent at least `age_micros` before `now_micros`.
    pub(super) fn bytes_after(&self, sequence: u16, now_micros: u32, age_micros: i64) -> u64 {
        let count = self.next.wrapping_sub(sequence).wrapping_sub(1);
        let newest = (0..count.min(self.known)).map(|back| self.next.wrapping_sub(1).wrapping_sub(back));
        let slots =
            newest.filter_map(|number| self.slots.get(usize::from(number) % SENT_LOG_CAPACITY_PACKETS));
        let old = slots.filter(|slot| i64::from(now_micros.wrapping_sub(slot.at_micros)) >= age_micros);
        old.map(|slot| u64::from(slot.bytes)).sum()
    }

    /// A packet was reported: the packet, unless nothing new is said of it.
    pub fn report(&mut self, sequence: u16, received: bool) -> Option<SentPacket> {
        let back = self.next.wrapping_sub(sequence);
        if back == 0 || back > self.known {
            return None;
        }
        let slot = self.slots.get_mut(usize::from(sequence) % SENT_LOG_CAPACITY_PACKETS)?;
        let was_lost = slot.fate == Fate::Lost;
        if slot.fate == Fate::Settled || (was_lost && !received) {
            return None;
        }
        slot.fate = if received { Fate::Settled } else { Fate::Lost };
        Some(SentPacket { at_micros: slot.at_micros, bytes: slot.bytes, was_lost })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_packet_is_reported_once_and_a_lost_one_may_still_come() {
        let mut log = SentLog::new(u16::MAX);
        log.record(100, 1_200);
        log.record(200, 700);
        let packet = SentPacket { at_micros: 200, bytes: 700, was_lost: false };
        assert_eq!(log.report(0, true), Some(packet));
        assert_eq!(log.report(0, true), None);
        assert_eq!(log.report(1, true), None, "not sent yet");
        assert_eq!(log.report(u16::MAX - 1, true), None, "before the log");
        assert!(!log.report(u16::MAX, false).unwrap().was_lost);
        assert_eq!(log.report(u16::MAX, false), None);
        assert!(log.report(u16::MAX, true).unwrap().was_lost);
        assert_eq!((log.next(), log.bytes()), (1, 1_900));
    }

    #[test]
    fn what_was_sent_since_is_counted_by_its_age() {
        let mut log = SentLog::new(u16::MAX);
        (1..6).for_each(|step| log.record(step * 1_000, 100 * step as usize));
        assert_eq!(log.bytes_after(u16::MAX, 10_000, 0), 200 + 300 + 400 + 500);
        assert_eq!(log.bytes_after(u16::MAX, 10_000, 6_500), 200 + 300);
        assert_eq!(log.bytes_after(3, 10_000, 0), 0);
        assert_eq!(SentLog::new(0).bytes_after(9_000, 0, 0), 0);
    }

    #[test]
    fn the_oldest_is_forgotten_and_the_log_is_small() {
        let mut log = SentLog::new(0);
        (0..1_100).for_each(|at| log.record(at, 1));
        assert_eq!(log.report(75, true), None);
        assert_eq!(log.report(76, true).unwrap().at_micros, 76);
        assert!(size_of::<SentLog>() <= 8 * 1024 + 64, "{}", size_of::<SentLog>());
    }
}
