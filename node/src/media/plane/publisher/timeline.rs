//! Where the clocks of a publisher stand on those of the one before it, so that viewers' clocks go on.
//!
//! A track's timestamps move by the time that passed between the last packet of one publisher and the first of the next,
//! and all of a publisher's wall clock by the same amount, so that its sound and picture stay together. Both are done
//! where packets come in: legs, and shards that mirror the track, then see one publisher with a pause.

use std::time::{Duration, Instant};

/// How the timestamps of a publisher's track become the track's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeline {
    clock_rate_hz: u32,
    /// When the newest packet of the publisher before came, and its timestamp.
    before: Option<(Instant, u32)>,
    /// The track's timestamp minus the publisher's, wrapping; `None` before the first packet.
    offset: Option<u32>,
}

impl Timeline {
    /// A timeline that goes on after the packet that came at this time with this timestamp, if there was one.
    pub(super) fn after(before: Option<(Instant, u32)>, clock_rate_hz: u32) -> Self {
        Self { clock_rate_hz, before, offset: None }
    }

    /// Whether another publisher was there before.
    pub(super) fn follows(&self) -> bool {
        self.before.is_some()
    }

    /// Puts the timestamp of `packet`, which came at `now`, on the track's timeline.
    pub(super) fn carry_on(&mut self, now: Instant, packet: &mut [u8]) {
        let Some(place) = packet.get_mut(4..8).and_then(<[u8]>::first_chunk_mut::<4>) else { return };
        let timestamp = u32::from_be_bytes(*place);
        let (before, clock_rate_hz) = (self.before, self.clock_rate_hz);
        let offset = *self.offset.get_or_insert_with(|| {
            let Some((at, last)) = before else { return 0 };
            let units = units(now.saturating_duration_since(at), clock_rate_hz);
            // Frames of two encoders that come in one instant are still two frames: a fiftieth of a second apart, as
            // frames of sound are.
            let goes_on = last.wrapping_add(units.max(clock_rate_hz / 50));
            goes_on.wrapping_sub(timestamp)
        });
        *place = timestamp.wrapping_add(offset).to_be_bytes();
    }

    /// The same for the timestamp of a sender report; `None` as long as that cannot be known.
    pub(super) fn of_report(&self, timestamp: u32) -> Option<u32> {
        match self.offset {
            Some(offset) => Some(timestamp.wrapping_add(offset)),
            None => self.before.is_none().then_some(timestamp),
        }
    }
}

fn units(time: Duration, clock_rate_hz: u32) -> u32 {
    (time.as_nanos() * u128::from(clock_rate_hz) / Duration::from_secs(1).as_nanos()) as u32
}

/// How a publisher's wall clock becomes that of its stream: the machine of the next publisher has another.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct WallClock {
    /// The stream's NTP time minus the publisher's, wrapping; `None` before its first report.
    offset: Option<u64>,
}

impl WallClock {
    /// The stream's NTP time for the publisher's. `before`: what the clock of the publisher before shows now.
    pub(super) fn carry_on(&mut self, ntp: u64, before: impl FnOnce() -> Option<u64>) -> u64 {
        let offset = self.offset.get_or_insert_with(|| before().map_or(0, |before| before.wrapping_sub(ntp)));
        ntp.wrapping_add(*offset)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn carried(timeline: &mut Timeline, now: Instant, timestamp: u32) -> u32 {
        let mut packet = [0; 12];
        packet[4..8].copy_from_slice(&timestamp.to_be_bytes());
        timeline.carry_on(now, &mut packet);
        u32::from_be_bytes(packet[4..8].try_into().unwrap())
    }

    #[test]
    fn time_moves_by_what_passed_between_two_publishers() {
        let start = Instant::now();
        let mut first = Timeline::after(None, 90_000);
        assert_eq!(carried(&mut first, start, 7), 7, "the first one's timestamps stay");
        assert_eq!(first.of_report(9), Some(9));
        let mut next = Timeline::after(Some((start, u32::MAX - 10)), 90_000);
        assert_eq!(next.of_report(5), None, "nothing came yet that it could be compared with");
        let now = start + Duration::from_secs(2);
        assert_eq!(carried(&mut next, now, 4_000_000_000), 180_000 - 11);
        assert_eq!(carried(&mut next, now, 4_000_003_000), 183_000 - 11);
        assert_eq!(next.of_report(4_000_003_000), Some(183_000 - 11));
    }

    #[test]
    fn two_publishers_in_one_instant_do_not_share_a_timestamp() {
        let start = Instant::now();
        let mut next = Timeline::after(Some((start, 1_000)), 48_000);
        assert_eq!(carried(&mut next, start, 77), 1_960);
    }

    #[test]
    fn the_wall_clock_goes_on_and_is_set_once() {
        let mut clock = WallClock::default();
        assert_eq!(clock.carry_on(100, || Some(5_000)), 5_000);
        assert_eq!(clock.carry_on(160, || Some(9_999)), 5_060);
        assert_eq!(WallClock::default().carry_on(100, || None), 100);
    }
}
