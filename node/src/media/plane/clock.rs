//! What a publisher's sender reports say of its clocks, carried on to the viewers so that sound and picture stay together.

use std::time::{Duration, Instant};

/// One instant on a publisher's wall clock and on one layer's RTP clock (RFC 3550 §6.4.1), and when we learned it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderClock {
    /// NTP time: seconds in the high and their 2^-32 in the low half.
    pub ntp: u64,
    /// The same instant in RTP units.
    pub rtp_timestamp: u32,
    /// When the report arrived.
    pub at: Instant,
}

impl SenderClock {
    /// The same clocks at `now`: NTP time and RTP timestamp.
    pub(super) fn at(&self, now: Instant, clock_rate_hz: u32) -> (u64, u32) {
        let elapsed = now.saturating_duration_since(self.at);
        let units = elapsed.as_nanos() * u128::from(clock_rate_hz) / Duration::from_secs(1).as_nanos();
        let fraction = elapsed.as_nanos() * (1 << 32) / Duration::from_secs(1).as_nanos();
        (self.ntp.wrapping_add(fraction as u64), self.rtp_timestamp.wrapping_add(units as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_go_on() {
        let start = Instant::now();
        let clock = SenderClock { ntp: 7 << 32, rtp_timestamp: u32::MAX, at: start };
        assert_eq!(clock.at(start + Duration::from_millis(1_500), 90_000), ((8 << 32) | (1 << 31), 134_999));
    }
}
