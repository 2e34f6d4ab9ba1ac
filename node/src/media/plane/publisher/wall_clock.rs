//! How a publisher's wall clock becomes that of its stream: the machine of the next publisher has another.
//!
//! All of a publisher's wall clock moves by the same amount, so that its sound and picture stay together. It is done where
//! packets come in: shards that mirror the track know no other clock. Timestamps stay as they are; see `track::endings`.

/// See the module.
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
    use super::*;

    #[test]
    fn the_wall_clock_goes_on_and_is_set_once() {
        let mut clock = WallClock::default();
        assert_eq!(clock.carry_on(100, || Some(5_000)), 5_000);
        assert_eq!(clock.carry_on(160, || Some(9_999)), 5_060);
        assert_eq!(WallClock::default().carry_on(100, || None), 100);
    }
}
