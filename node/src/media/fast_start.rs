//! How a viewer that joins in the middle of a group of pictures begins: with the group that the ring still has, or with a
//! keyframe that is asked for.
//!
//! A group from the ring is there at once, but costs that viewer's network all that was sent since the keyframe; a keyframe
//! costs every viewer's network, and takes a publisher some 100 ms. So a group that is young and small is sent, faster than it
//! was filmed, until the viewer has caught up with the others; any that is whole is, if the publisher answers no requests. Its
//! pictures carry timestamps as if they had been filmed at that pace: a player that took them for late would hold all that
//! follows back as long as they were.

use std::time::Duration;

/// The oldest keyframe that a viewer begins with: older than that, a requested one is there sooner than the viewer has caught
/// up, and is a smaller burst. Twice the time between two requests, so that who comes too soon for one is served.
pub const GROUP_AGE_MAX: Duration = Duration::from_secs(1);

/// The oldest one of a publisher that answers no requests: x264's own 250 pictures are 8.3 s at 30 a second, and caught up with in
/// 1.7 s.
pub const GROUP_AGE_MAX_UNHEARD: Duration = Duration::from_secs(10);

/// Packets of a group at most, unless nothing else is to come soon: 5 Mbit/s for a second.
pub const GROUP_PACKETS_MAX: u64 = 512;

/// Bytes of a group at most, unless nothing else is to come soon: half of what a ring keeps, so that nothing is overwritten
/// before it is sent.
pub const GROUP_BYTES_MAX: u64 = 256 * 1024;

/// How often who catches up is sent the next packets: what gathering may hold live packets back for at most.
pub const STEP: Duration = Duration::from_millis(5);

/// How many times faster than it was filmed a group is played at least: catching up with 600 ms then takes 200.
const FACTOR_MIN: u32 = 4;

/// And at most: 180 pictures a second of a stream with 30, which a telephone decodes, and 9 Mbit/s of 1.5.
const FACTOR_MAX: u32 = 6;

/// Bits per second that a path of which nothing is known is given, while nothing else would come: six times 1.5 Mbit/s, and a little.
const BURST_BPS_MAX: u64 = 10_000_000;

/// And on a path that carries little: what takes longer than the group did is not worth it.
const FACTOR_MIN_ON_PATH: u32 = 2;

/// The longest that catching up shall take, as far as [`FACTOR_MAX`] lets it; the speed follows from it.
const CATCH_UP_MAX: Duration = Duration::from_millis(200);

/// How much longer than planned a viewer may take because others catch up too. What it then still lacks it asks for.
pub const OVERTIME: Duration = Duration::from_millis(800);

/// In how many steps a group can be sent at the fastest: 100 ms, so that a keyframe of 50 packets, which a publisher spreads over
/// some 50 ms, is not one burst.
const GROUP_STEPS_MIN: u64 = 20;

/// Packets of one viewer in one step at least: a keyframe of 720p is sent in some 30 ms.
const BURST_PACKETS_MIN: u64 = 8;

/// What a shard spends on all who catch up. Full means: who joins now waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Packets in one [`STEP`], for all together: what live packets may have to wait for them.
    pub step_packets: usize,
    /// Packets of groups that may wait.
    pub backlog_packets: u64,
    /// Viewers that catch up at once. While they do, live packets take their share of each step too.
    pub viewers: usize,
}

impl Allowance {
    /// While a requested keyframe would serve all who wait, at the price of one: some 0.3 ms of work per step and 50,000 packets
    /// a second, of which 200 ms may wait; 64 viewers at 5 Mbit/s leave a third of it for groups.
    pub const HEARD: Self = Self { step_packets: 256, backlog_packets: 40 * 256, viewers: 64 };

    /// While waiting takes seconds: 1 ms of work per step, a fifth of a core. A thousand viewers who join within 2 s of a group
    /// of 4 s and 1.5 Mbit/s are served within 4; 192 of them leave three quarters for groups.
    pub const UNHEARD: Self = Self { step_packets: 768, backlog_packets: 60 * 768, viewers: 192 };

    /// That of a layer whose publisher answers requests, or does not.
    pub fn of(unheard: bool) -> Self {
        if unheard { Self::UNHEARD } else { Self::HEARD }
    }
}

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
    /// What its layer sends, in bits per second: what follows while the group is sent.
    pub layer_bps: u64,
}

/// For whom a group would be sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Terms {
    /// Whether nothing comes of asking the publisher for a keyframe.
    pub unheard: bool,
    /// Bits per second that the viewer's path is known to carry; `None` if nothing is known that matters.
    pub path_bps: Option<u64>,
    /// Packets of other groups that wait.
    pub backlog_packets: u64,
}

/// How a group is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How many times faster than filmed.
    pub factor: u32,
    /// When the viewer has caught up, counted from the first packet, as the timestamps have it.
    pub lasts: Duration,
    /// How long sending takes: not less, but more where the path is slow and the keyframe most of it.
    pub takes: Duration,
    /// When it goes on with the others whatever it lacks.
    pub limit: Duration,
    /// Packets in one [`STEP`] at most.
    pub burst_packets: u32,
}

/// How to send `group` on these terms; `None` if the viewer had better wait for a keyframe.
pub fn pace(group: &Group, terms: &Terms) -> Option<Pace> {
    let backlog_max = Allowance::of(terms.unheard).backlog_packets;
    // A publisher whose clock runs away from ours is not believed either.
    let fits = if terms.unheard {
        group.age <= GROUP_AGE_MAX_UNHEARD
            && group.span <= 2 * group.age.max(GROUP_AGE_MAX)
            && terms.backlog_packets < backlog_max
    } else {
        let small = group.packets <= GROUP_PACKETS_MAX && group.bytes <= GROUP_BYTES_MAX;
        let young = group.age <= GROUP_AGE_MAX && group.span <= 2 * GROUP_AGE_MAX;
        small && young && terms.backlog_packets + group.packets <= backlog_max
    };
    let on_path = match terms.path_bps {
        Some(path_bps) => time_on_path(group.bytes, group.layer_bps, path_bps)
            .filter(|time| *time <= group.age.max(GROUP_AGE_MAX))?,
        None => Duration::ZERO,
    };
    if !fits {
        return None;
    }
    // Behind by the span and going on at `factor`, it meets those who go on at 1 after `span / (factor - 1)`.
    let needed = group.span.as_micros().div_ceil(CATCH_UP_MAX.as_micros()) as u32 + 1;
    let wished = needed.clamp(FACTOR_MIN, FACTOR_MAX);
    let bearable = BURST_BPS_MAX.checked_div(group.layer_bps).and_then(|times| u32::try_from(times).ok());
    let is_burst = terms.unheard && terms.path_bps.is_none();
    let bearable = bearable.filter(|_| is_burst).map_or(wished, |times| times.max(FACTOR_MIN_ON_PATH));
    let wished = wished.min(bearable);
    let carried = group.span.as_micros().checked_div(on_path.as_micros()).map(|times| times as u32 + 1);
    let factor = carried.map_or(wished, |carried| carried.clamp(FACTOR_MIN_ON_PATH, wished));
    let lasts = group.span / (factor - 1);
    let takes = lasts.max(on_path);
    let steps = (lasts.as_micros() / STEP.as_micros()) as u64;
    Some(Pace {
        factor,
        lasts,
        takes,
        limit: takes + OVERTIME,
        burst_packets: (group.packets / (steps / 2).max(GROUP_STEPS_MIN)).max(BURST_PACKETS_MIN) as u32,
    })
}

/// How a keyframe that comes just now is sent to who is given no more than its path carries, with what follows until all of it
/// is sent.
pub fn live_pace() -> Pace {
    Pace {
        factor: 1,
        lasts: Duration::ZERO,
        takes: GROUP_AGE_MAX,
        limit: GROUP_AGE_MAX + OVERTIME,
        burst_packets: BURST_PACKETS_MIN as u32,
    }
}

/// How long `path_bps` take for `bytes` of a group and what its layer sends meanwhile; `None` if that never ends.
pub fn time_on_path(bytes: u64, layer_bps: u64, path_bps: u64) -> Option<Duration> {
    let spare_bps = path_bps.checked_sub(layer_bps).filter(|spare| *spare > 0)?;
    Some(Duration::from_micros(bytes.saturating_mul(8_000_000) / spare_bps))
}

/// The timestamps of a group that is played faster than it was filmed: `until` and what follows keep theirs, and what comes
/// before it comes nearer. Pictures that are `factor` units apart stay apart, in their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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

    /// Whether nothing comes nearer.
    pub fn keeps_time(&self) -> bool {
        self.factor == 1
    }

    /// By how many units it is ahead of `timestamp` then.
    pub fn ahead(&self, timestamp: u32) -> u32 {
        self.timestamp(timestamp).wrapping_sub(timestamp)
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

    const UNHEARD: Terms = Terms { unheard: true, path_bps: None, backlog_packets: 0 };
    const CLOCK_RATE_HZ: u32 = 90_000;

    fn group(span_ms: u64, packets: u64) -> Group {
        let span = Duration::from_millis(span_ms);
        Group { age: span, span, packets, bytes: packets * 1_000, layer_bps: 1_500_000 }
    }

    #[test]
    fn a_young_and_small_group_is_sent() {
        let short = pace(&group(300, 60), &Terms::default()).unwrap();
        assert_eq!((short.factor, short.lasts, short.burst_packets), (4, Duration::from_millis(100), 8));
        let long = pace(&group(1_000, 240), &Terms::default()).unwrap();
        assert_eq!((long.factor, long.lasts, long.burst_packets), (6, Duration::from_millis(200), 12));
        assert_eq!(pace(&group(0, 1), &Terms::default()).unwrap().lasts, Duration::ZERO);
    }

    #[test]
    fn an_old_or_large_one_is_not() {
        assert_eq!(pace(&group(1_001, 60), &Terms::default()), None);
        assert_eq!(pace(&group(900, 513), &Terms::default()), None);
        assert_eq!(pace(&Group { bytes: GROUP_BYTES_MAX + 1, ..group(900, 400) }, &Terms::default()), None);
        assert_eq!(pace(&Group { age: Duration::from_secs(5), ..group(0, 10) }, &Terms::default()), None);
        assert_eq!(pace(&Group { span: Duration::from_secs(5), ..group(0, 10) }, &Terms::default()), None);
    }

    #[test]
    fn a_crowd_waits_for_one_keyframe() {
        let (mut backlog, mut served) = (0, 0);
        while pace(&group(500, 100), &Terms { backlog_packets: backlog, ..Terms::default() }).is_some() {
            (backlog, served) = (backlog + 100, served + 1);
        }
        assert_eq!(served, 102);
    }

    #[test]
    fn all_of_a_long_one_is_sent_where_nothing_else_comes() {
        let four = pace(&group(4_000, 720), &UNHEARD).unwrap();
        assert_eq!((four.factor, four.lasts, four.burst_packets), (6, Duration::from_millis(800), 9));
        assert_eq!(four.limit, Duration::from_millis(1_600));
        let eight = pace(&group(8_300, 1_500), &UNHEARD).unwrap();
        assert_eq!((eight.factor, eight.lasts), (6, Duration::from_millis(1_660)));
        assert_eq!(pace(&group(10_001, 100), &UNHEARD), None);
        assert_eq!(pace(&Group { span: Duration::from_secs(9), ..group(4_000, 10) }, &UNHEARD), None);
        let full = Terms { backlog_packets: Allowance::UNHEARD.backlog_packets, ..UNHEARD };
        assert_eq!(pace(&group(100, 10), &full), None);
    }

    #[test]
    fn a_path_of_which_nothing_is_known_is_not_flooded() {
        let of = |layer_bps| Group { layer_bps, ..group(2_000, 1_200) };
        let factor = |layer_bps| pace(&of(layer_bps), &UNHEARD).unwrap().factor;
        assert_eq!([0, 300_000, 1_600_000].map(factor), [FACTOR_MAX; 3]);
        assert_eq!([2_500_000, 4_000_000, 6_000_000, 20_000_000].map(factor), [4, 2, 2, 2]);
        let slow = pace(&of(6_000_000), &UNHEARD).unwrap();
        assert_eq!((slow.lasts, slow.limit), (Duration::from_secs(2), Duration::from_millis(2_800)));
        let known = Terms { path_bps: Some(50_000_000), ..UNHEARD };
        assert_eq!(pace(&of(6_000_000), &known).unwrap().factor, FACTOR_MAX);
    }

    #[test]
    fn a_path_is_given_what_it_carries() {
        let on = |path_bps| Terms { path_bps: Some(path_bps), ..UNHEARD };
        let layer = Group { bytes: 75_000, layer_bps: 150_000, ..group(4_000, 120) };
        // 600,000 bits beside what goes on coming.
        let slow = pace(&layer, &on(450_000)).unwrap();
        assert_eq!((slow.factor, slow.lasts, slow.takes.as_millis()), (3, Duration::from_secs(2), 2_000));
        assert_eq!(pace(&layer, &on(10_000_000)).unwrap().factor, FACTOR_MAX);
        assert_eq!(pace(&layer, &on(250_000)), None, "longer than it took to film");
        assert_eq!(pace(&layer, &on(150_000)), None, "for ever");
        let keyframe = pace(&Group { bytes: 15_000, ..group(33, 15) }, &on(1_650_000)).unwrap();
        assert_eq!((keyframe.factor, keyframe.takes), (2, Duration::from_millis(800)));
    }

    proptest! {
        /// Whatever is sent is sent within its time: the bursts are large enough for it, and the speed too.
        #[test]
        fn nobody_takes_longer_than_200_ms(span_ms in 0_u64..=1_000, packets in 1_u64..=512) {
            let pace = pace(&Group { bytes: 1_000, ..group(span_ms, packets) }, &Terms::default()).unwrap();
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
            let Some(pace) = pace(&Group { age: span, span, bytes: 1_000, ..group(0, 100) }, &Terms::default()) else { return Ok(()) };
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
