//! Whether a path has become far narrower, by the first packets that find it so: they left together and arrive one by one.
//!
//! A queue has to grow before its trend says anything, and after a cut to a fraction of the rate that takes longer than the
//! path's buffer lasts. But the gaps between packets of one frame say at once how fast the path is: evenly slow ones are a
//! limit of its rate, while a radio that stalls and a machine that is busy hand over what came meanwhile in one go. Packets
//! that did not leave together say nothing, however far apart they arrive: that may be how they were sent, or what others
//! sent came between them.

/// Packets smaller than this are no end of a pair: what a radio's slots or a machine's rounds add to their gap, as with sound,
/// would look like a rate.
const PACKET_BYTES_MIN: u32 = 500;

/// A path that carries less than this share of what is known to arrive has become another. What is known is at most half
/// again of what did arrive, so a path that is as it was is never below two thirds.
const COLLAPSED: f64 = 0.5;

/// How long slow pairs have to last, in µs: longer than a radio takes for any one packet that it has to send again.
const SLOW_MICROS: i64 = 40_000;

/// How many pairs make a rate: few if they are even, that is if the slowest took not much longer per byte than the
/// fastest, else more.
const PAIRS_EVEN: u32 = 2;
const PAIRS_UNEVEN: u32 = 4;
const EVEN: f64 = 1.5;

/// Pairs farther apart than this do not belong together, in µs: three frames at 30 per second.
const FORGOTTEN_MICROS: i64 = 100_000;

/// What is sent already must come to a queue this long at the rate that was found, in µs: as much as is overuse at once
/// when it is seen.
const QUEUE_MICROS: i64 = 150_000;

#[derive(Debug, Clone, Copy)]
struct Last {
    sent: i64,
    arrived: i64,
    /// Of packets after it that did not arrive or are small.
    bytes_after: u32,
}

/// Slow pairs without a fast one between them.
#[derive(Debug, Clone, Copy, Default)]
struct Run {
    pairs: u32,
    bytes: u32,
    micros: i64,
    /// µs per byte of the fastest and the slowest.
    fastest: f64,
    slowest: f64,
    newest: i64,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Collapse {
    last: Option<Last>,
    run: Run,
}

impl Collapse {
    /// The next packet in the order of sending arrived. `at`: when it was sent and when it arrived, each in µs on a clock of
    /// its own; `known_bps`: what is known to arrive.
    #[inline]
    pub(super) fn arrived(&mut self, bytes: u32, at: (i64, i64), known_bps: f64) {
        let (sent, arrived) = at;
        // Whatever it is: without this, a run would wait for hours where no two packets of a frame are large.
        if arrived - self.run.newest > FORGOTTEN_MICROS {
            self.run = Run::default();
        }
        if bytes < PACKET_BYTES_MIN {
            return self.lost(bytes);
        }
        let Some(last) = self.last.replace(Last { sent, arrived, bytes_after: 0 }) else { return };
        // Those of one flush have one time.
        if sent != last.sent {
            return;
        }
        let (bytes, gap) = (bytes.saturating_add(last.bytes_after), arrived - last.arrived);
        if gap <= 0 || f64::from(bytes) * 8e6 > gap as f64 * known_bps * COLLAPSED {
            self.run = Run::default();
        } else {
            self.run.add(bytes, gap, arrived);
        }
    }

    /// The next packet was lost.
    #[inline]
    pub(super) fn lost(&mut self, bytes: u32) {
        if let Some(last) = &mut self.last {
            last.bytes_after = last.bytes_after.saturating_add(bytes);
        }
    }

    /// All of a feedback was read: what the path carries, in bits per second, if that is far less than before. The newest
    /// packet waited for `queue_micros`, and `waiting_bytes` are behind it in the queue. Said once for what says it.
    pub(super) fn bps(
        &mut self,
        known_bps: f64,
        queue_micros: i64,
        waiting_bytes: impl FnOnce() -> u64,
    ) -> Option<f64> {
        let bps = self.run.bps()?;
        let collapsed = bps < known_bps * COLLAPSED;
        let micros = || queue_micros as f64 + waiting_bytes() as f64 * 8e6 / bps;
        let found = (collapsed && micros() >= QUEUE_MICROS as f64).then_some(bps);
        found.inspect(|_| self.run = Run::default())
    }
}

impl Run {
    fn add(&mut self, bytes: u32, gap: i64, arrived: i64) {
        let per_byte = gap as f64 / f64::from(bytes.max(1));
        self.fastest = if self.pairs == 0 { per_byte } else { self.fastest.min(per_byte) };
        self.slowest = self.slowest.max(per_byte);
        self.pairs += 1;
        self.bytes += bytes;
        self.micros += gap;
        self.newest = arrived;
    }

    fn bps(&self) -> Option<f64> {
        let even = self.slowest <= self.fastest * EVEN;
        let enough = self.pairs >= if even { PAIRS_EVEN } else { PAIRS_UNEVEN };
        (enough && self.micros >= SLOW_MICROS).then(|| f64::from(self.bytes) * 8e6 / self.micros as f64)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What packets of 1,000 bytes say that were sent and arrived at these times in ms, where 2 Mbit/s are known and
    /// `waiting_bytes` wait.
    fn found(packets: &[(i64, i64)], waiting_bytes: u64) -> Option<f64> {
        let mut collapse = Collapse::default();
        packets
            .iter()
            .for_each(|(sent, arrived)| collapse.arrived(1_000, (sent * 1_000, arrived * 1_000), 2e6));
        collapse.bps(2e6, 50_000, || waiting_bytes)
    }

    #[test]
    fn three_packets_of_a_frame_that_arrive_one_by_one_say_how_fast_the_path_is() {
        let bps = found(&[(0, 30), (0, 50), (0, 70)], 8_000).unwrap();
        assert!((bps - 4e5).abs() < 1.0, "{bps}");
        assert_eq!(found(&[(0, 30), (0, 50), (0, 70)], 4_000), None, "what is on its way is a short queue");
        assert_eq!(found(&[(0, 30), (0, 50)], 8_000), None, "two may be chance");
        assert_eq!(found(&[(0, 30), (0, 36), (0, 42), (0, 48)], 80_000), None, "two thirds of what is known");
        let frames = [(0, 20), (0, 40), (33, 60), (33, 80), (66, 100), (66, 120)];
        assert!(found(&frames, 8_000).is_some(), "small frames add up");
    }

    #[test]
    fn a_stall_and_what_was_sent_apart_say_nothing() {
        assert_eq!(found(&[(0, 20), (0, 100), (0, 100), (0, 101)], 80_000), None, "held back, then let go");
        assert_eq!(found(&[(0, 20), (0, 60), (0, 120), (0, 121)], 80_000), None);
        assert_eq!(found(&[(0, 20), (0, 30), (0, 55)], 80_000), None, "uneven, so few do not do");
        assert_eq!(
            found(&[(0, 80), (33, 113), (66, 146), (100, 180)], 80_000),
            None,
            "small frames on a long way"
        );
        assert_eq!(found(&[(0, 20), (5, 28), (10, 36), (15, 44), (20, 52), (25, 60)], 80_000), None, "paced");
        assert_eq!(found(&[(0, 20), (0, 50), (300, 320), (300, 350)], 80_000), None, "too far apart");
        let mut sound = Collapse::default();
        (0..40).for_each(|at| sound.arrived(130, (at * 4_000, at * 10_000), 2e6));
        assert_eq!(sound.bps(2e6, 200_000, || 80_000), None, "small packets by slots of 10 ms");
    }

    #[test]
    fn what_was_slow_long_ago_or_was_said_already_says_nothing() {
        let slow = |collapse: &mut Collapse| {
            [30, 50, 70].iter().for_each(|ms| collapse.arrived(1_000, (0, ms * 1_000), 2e6));
        };
        let mut collapse = Collapse::default();
        slow(&mut collapse);
        // Frames of one packet, and sound: no pairs.
        for second in 1..7_200 {
            collapse.arrived(1_000, (second * 1_000_000, second * 1_000_000), 2e6);
            collapse.arrived(130, (second * 1_000_000, second * 1_000_000), 2e6);
        }
        assert_eq!(collapse.bps(1.6e6, 150_000, || 0), None);
        let mut collapse = Collapse::default();
        slow(&mut collapse);
        assert!(collapse.bps(2e6, 150_000, || 0).is_some());
        assert_eq!(collapse.bps(2e6, 150_000, || 0), None);
    }

    #[test]
    fn a_lost_packet_took_its_time_too() {
        let mut collapse = Collapse::default();
        collapse.arrived(1_000, (0, 20_000), 2e6);
        collapse.lost(1_000);
        collapse.arrived(1_000, (0, 60_000), 2e6);
        collapse.arrived(1_000, (0, 80_000), 2e6);
        assert!((collapse.bps(2e6, 200_000, || 0).unwrap() - 4e5).abs() < 1.0);
    }
}
