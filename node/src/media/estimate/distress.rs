//! Whether a viewer of whom nothing is estimated suffers so that it should be: from the counts of its feedback alone, which
//! cost nothing to those who are well.

/// Share of packets that must be lost, as a divisor, over this many packets at least.
const LOSS_DIVISOR: u32 = 10;
const LOOK_PACKETS: u32 = 30;

/// Share that no radio loses for long, in percent.
const HEAVY_PERCENT: u32 = 33;

/// Time of one look, in ms.
const LOOK_MS: u32 = 500;

/// A round trip that is longer than the shortest one by so much is a queue, in ms.
const QUEUE_MS: u32 = 400;

/// After so long without trouble it is well, in ms.
const CALM_MS: u32 = 60_000;

/// See the module. Times are in ms since any moment, and wrap.
#[derive(Debug, Clone, Copy, Default)]
pub struct Distress {
    since_ms: u32,
    packets: u32,
    lost: u32,
    heavy: bool,
    shortest_round_trip_ms: u32,
    trouble_at_ms: Option<u32>,
}

impl Distress {
    /// Transport-wide feedback spoke of `packets`, of which `lost` did not arrive.
    pub fn feedback(&mut self, now_ms: u32, packets: u32, lost: u32) {
        (self.packets, self.lost) = (self.packets.saturating_add(packets), self.lost.saturating_add(lost));
        if now_ms.wrapping_sub(self.since_ms) < LOOK_MS || self.packets < LOOK_PACKETS {
            return;
        }
        self.heavy = self.lost.saturating_mul(100) >= self.packets.saturating_mul(HEAVY_PERCENT);
        if self.lost >= self.packets / LOSS_DIVISOR {
            self.suffers(now_ms);
        }
        (self.since_ms, self.packets, self.lost) = (now_ms, 0, 0);
    }

    /// Receiver reports said that `loss` (0 to 1) of enough packets was lost.
    pub fn report(&mut self, now_ms: u32, loss: f64) {
        self.heavy = loss * 100.0 >= f64::from(HEAVY_PERCENT);
        if loss * f64::from(LOSS_DIVISOR) >= 1.0 {
            self.suffers(now_ms);
        }
    }

    /// A receiver report told the round trip.
    pub fn round_trip(&mut self, now_ms: u32, round_trip_ms: u32) {
        let shortest = if self.shortest_round_trip_ms == 0 { u32::MAX } else { self.shortest_round_trip_ms };
        self.shortest_round_trip_ms = shortest.min(round_trip_ms.max(1));
        if round_trip_ms > self.shortest_round_trip_ms + QUEUE_MS {
            self.suffers(now_ms);
        }
    }

    /// Whether a third was lost when it was looked at last.
    pub fn is_heavy(&self) -> bool {
        self.heavy
    }

    /// What was lost before says nothing of what is sent from now on.
    pub fn forget_loss(&mut self) {
        (self.packets, self.lost, self.heavy) = (0, 0, false);
    }

    /// There is trouble now.
    pub fn suffers(&mut self, now_ms: u32) {
        self.trouble_at_ms = Some(now_ms);
    }

    /// Whether there was trouble lately.
    pub fn is_there(&mut self, now_ms: u32) -> bool {
        self.trouble_at_ms = self.trouble_at_ms.filter(|at| now_ms.wrapping_sub(*at) < CALM_MS);
        self.trouble_at_ms.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn much_loss_and_long_queues_are_trouble_until_a_minute_after() {
        let mut distress = Distress::default();
        distress.feedback(1_000, 20, 10);
        assert!(!distress.is_there(1_000), "too few to tell");
        distress.feedback(1_100, 180, 5);
        assert!(!distress.is_there(1_100), "less than a tenth");
        distress.feedback(1_600, 100, 10);
        assert!(distress.is_there(1_600) && distress.is_there(61_500) && !distress.is_there(61_600));
        distress.report(70_000, 0.09);
        assert!(!distress.is_there(70_000));
        distress.report(70_000, 0.11);
        assert!(distress.is_there(70_000));
        let mut distant = Distress::default();
        distant.round_trip(0, 600);
        distant.round_trip(1_000, 900);
        assert!(!distant.is_there(1_000), "a satellite");
        distant.round_trip(2_000, 1_001);
        assert!(distant.is_there(2_000));
    }
}
