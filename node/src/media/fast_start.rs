//! How a viewer that joins in the middle of a group of pictures begins: with the group that the ring still has, or with a
//! keyframe that is asked for.
//!
//! A group from the ring is there at once, but costs that viewer's network all that was sent since the keyframe; a keyframe
//! costs every viewer's network, and takes a publisher some 100 ms. So a group that is young and small is sent, faster than it
//! was filmed, until the viewer has caught up with the others. Its pictures carry timestamps as if they had been filmed at
//! that pace: a player that took them for late would hold all that follows back as long as they were.

use std::time::Duration;

/// The oldest keyframe that a viewer begins with: older than that, a requested one is there sooner than the viewer has caught
/// up, and is a smaller burst. Twice the time between two requests, so that who comes too soon for one is served.
pub const GROUP_AGE_MAX: Duration = Duration::from_secs(1);

/// Packets of a group at most: 5 Mbit/s for a second.
pub const GROUP_PACKETS_MAX: u64 = 512;

/// Bytes of a group at most: half of what a ring keeps, so that nothing is overwritten before it is sent.
pub const GROUP_BYTES_MAX: u64 = 256 * 1024;

/// How often who catches up is sent the next packets: what gathering may hold live packets back for at most.
pub const STEP: Duration = Duration::from_millis(5);

/// Packets that a shard sends in one step to all who catch up: some 0.3 ms of work, which is what live packets may have to
/// wait for them, and 50,000 a second.
pub const STEP_PACKETS: usize = 256;

/// Packets of groups that may wait on a shard: 200 ms of [`STEP_PACKETS`]. Full means: who joins now waits for a keyframe, which
/// serves all of them at the price of one.
pub const BACKLOG_PACKETS_MAX: u64 = 40 * STEP_PACKETS as u64;

/// Viewers of a shard that catch up at once. While they do, live packets take their share of [`STEP_PACKETS`] too: this many at
/// 5 Mbit/s leave a third of it for groups. Full means the same as above.
pub const CATCH_UPS_MAX: usize = 64;

/// The longest that a viewer catches up: five times as long as it takes when there is room. What it then still lacks it asks for.
pub const CATCH_UP_LIMIT: Duration = Duration::from_secs(1);

/// How many times faster than it was filmed a group is played at least: catching up with 600 ms then takes 200.
const FACTOR_MIN: u32 = 4;

/// The longest that catching up shall take; the speed follows from it.
const CATCH_UP_MAX: Duration = Duration::from_millis(200);

/// In how many steps a group can be sent at the fastest: 100 ms, so that a keyframe of 50 packets, which a publisher spreads over
/// some 50 ms, is not one burst.
const GROUP_STEPS_MIN: u64 = 20;

/// Packets of one viewer in one step at least: a keyframe of 720p is sent in some 30 ms.
const BURST_PACKETS_MIN: u64 = 8;

/// What a layer's ring has from its newest keyframe on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Group {
    /// How long ago the keyframe came.
    pub age: Duration,
    /// From the keyframe's timestamp to the newest one.
    pub span: Duration,
    /// How many packets it has.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// How a group is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How many times faster than filmed.
    pub factor: u32,
    /// When the viewer has caught up, counted from the first packet.
    pub lasts: Duration,
    /// Packets in one [`STEP`] at most.
    pub burst_packets: u32,
}

/// How to send `group` to a viewer that joins, while so many packets of other groups wait; `None` if it had better wait for a
/// keyframe.
pub fn pace(group: &Group, backlog_packets: u64) -> Option<Pace> {
    let small = group.packets <= GROUP_PACKETS_MAX && group.bytes <= GROUP_BYTES_MAX;
    // A publisher whose clock runs away from ours is not believed either.
    let young = group.age <= GROUP_AGE_MAX && group.span <= 2 * GROUP_AGE_MAX;
    if !small || !young || backlog_packets + group.packets > BACKLOG_PACKETS_MAX {
        return None;
    }
    // Behind by the span and going on at `factor`, it meets those who go on at 1 after `span / (factor - 1)`.
    let needed = group.span.as_micros().div_ceil(CATCH_UP_MAX.as_micros()) as u32 + 1;
    let factor = needed.max(FACTOR_MIN);
    Some(Pace {
        factor,
        lasts: group.span / (factor - 1),
        burst_packets: (group.packets / GROUP_STEPS_MIN).max(BURST_PACKETS_MIN) as u32,
    })
}

/// The timestamps of a group that is played faster than it was filmed: `until` and what follows keep theirs, and what comes
/// before it comes nearer. Pictures that are `factor` units apart stay apart, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Squeeze {
    /// In the layer's units.
    pub until: u32,
    /// How much nearer.
    pub factor: u32,
}

impl Squeeze {
    /// What a packet says that was filmed at `timestamp`.
    pub fn timestamp(&self, timestamp: u32) -> u32 {
        let before = self.until.wrapping_sub(timestamp);
        if before.cast_signed() <= 0 {
            return timestamp;
        }
        self.until.wrapping_sub(before.checked_div(self.factor).unwrap_or(before))
    }

    /// Whether `timestamp` keeps its value, and all after it.
    pub fn ends_before(&self, timestamp: u32) -> bool {
        timestamp.wrapping_sub(self.until).cast_signed() >= 0
    }
}

/// `time` in units of a clock.
pub fn units(time: Duration, clock_rate_hz: u32) -> u32 {
    (time.as_micros() * u128::from(clock_rate_hz) / 1_000_000) as u32
}

/// `units` of a clock as time.
pub fn time(units: u32, clock_rate_hz: u32) -> Duration {
    Duration::from_micros(u64::from(units) * 1_000_000 / u64::from(clock_rate_hz.max(1)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const CLOCK_RATE_HZ: u32 = 90_000;

    fn group(span_ms: u64, packets: u64) -> Group {
        let span = Duration::from_millis(span_ms);
        Group { age: span, span, packets, bytes: packets * 1_000 }
    }

    #[test]
    fn a_young_and_small_group_is_sent() {
        let short = pace(&group(300, 60), 0).unwrap();
        assert_eq!((short.factor, short.lasts, short.burst_packets), (4, Duration::from_millis(100), 8));
        let long = pace(&group(1_000, 240), 0).unwrap();
        assert_eq!((long.factor, long.lasts, long.burst_packets), (6, Duration::from_millis(200), 12));
        assert_eq!(pace(&group(0, 1), 0).unwrap().lasts, Duration::ZERO);
    }

    #[test]
    fn an_old_or_large_one_is_not() {
        assert_eq!(pace(&group(1_001, 60), 0), None);
        assert_eq!(pace(&group(900, 513), 0), None);
        assert_eq!(pace(&Group { bytes: GROUP_BYTES_MAX + 1, ..group(900, 400) }, 0), None);
        assert_eq!(pace(&Group { age: Duration::from_secs(5), ..group(0, 10) }, 0), None);
        assert_eq!(pace(&Group { span: Duration::from_secs(5), ..group(0, 10) }, 0), None);
    }

    #[test]
    fn a_crowd_waits_for_one_keyframe() {
        let (mut backlog, mut served) = (0, 0);
        while pace(&group(500, 100), backlog).is_some() {
            (backlog, served) = (backlog + 100, served + 1);
        }
        assert_eq!(served, 102);
    }

    proptest! {
        /// Whatever is sent is sent within its time: the bursts are large enough for it, and the speed too.
        #[test]
        fn nobody_takes_longer_than_200_ms(span_ms in 0_u64..=1_000, packets in 1_u64..=512) {
            let pace = pace(&Group { bytes: 1_000, ..group(span_ms, packets) }, 0).unwrap();
            prop_assert!(pace.lasts <= CATCH_UP_MAX);
            let steps = packets.div_ceil(pace.burst_packets.into()) as u32;
            prop_assert!(steps * STEP <= CATCH_UP_MAX);
        }

        /// Pictures keep their order and stay apart, the first one is filmed now, and after the group nothing changes.
        #[test]
        fn squeezed_pictures_keep_their_order(
            first in any::<u32>(),
            steps in prop::collection::vec(100_u32..4_000, 1..60),
        ) {
            let mut times = vec![first];
            times.extend(steps.iter().scan(first, |time, step| {
                *time = time.wrapping_add(*step);
                Some(*time)
            }));
            let newest = *times.last().unwrap();
            let span = time(newest.wrapping_sub(first), CLOCK_RATE_HZ);
            let Some(pace) = pace(&Group { age: span, span, packets: 100, bytes: 1_000 }, 0) else { return Ok(()) };
            let until = newest.wrapping_add(units(pace.lasts, CLOCK_RATE_HZ));
            let squeeze = Squeeze { until, factor: pace.factor };
            times.extend((1..20).map(|step| newest.wrapping_add(step * 3_000)));
            let squeezed: Vec<u32> = times.iter().map(|time| squeeze.timestamp(*time)).collect();
            for pair in squeezed.windows(2) {
                let ahead = pair.last().unwrap().wrapping_sub(*pair.first().unwrap()).cast_signed();
                prop_assert!(ahead > 0, "{pair:?}");
            }
            let behind = newest.wrapping_sub(*squeezed.first().unwrap()).cast_signed().unsigned_abs();
            prop_assert!(behind <= 2 * pace.factor, "{behind}");
            for (time, squeezed) in times.iter().zip(&squeezed).filter(|(time, _)| squeeze.ends_before(**time)) {
                prop_assert_eq!(time, squeezed);
            }
        }
    }
}
