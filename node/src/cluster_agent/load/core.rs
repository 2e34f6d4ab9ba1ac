//! What a node's load is made of, pure: how far each resource is used, and which of them is the scarcest.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::Limits;
use crate::shard::message::ShardLoad;

/// Within this time a change of what is used shows by two thirds. A keyframe that a crowd asks for, or a crowd that joins,
/// keeps a shard busy for a second or two: that alone must refuse nobody. Twelve seconds from half busy to full do.
const SMOOTHING: Duration = Duration::from_secs(5);

/// Readings after which what a session is sent is in the figures: a join takes up to a second, and then some is of it.
const READINGS_TO_SETTLE: usize = 2;

/// What one viewer will be sent, as long as none is here to tell: a camera of 720 lines with sound.
const VIEWER_PACKETS_PER_SECOND: f64 = 300.0;
const VIEWER_BITS_PER_SECOND: f64 = 2_500_000.0;

/// By how much what a viewer is sent may seem to fall in a reading: a stream that pauses is soon there again.
const FALL_PER_READING: f64 = 0.3;

/// The least that a viewer counts as, as a share of the first guess.
const LEAST_SHARE: f64 = 0.02;

/// What was read at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reading {
    /// What each shard said, in the order of their ids; `None` for one that did not answer in time.
    pub shards: Vec<Option<ShardLoad>>,
    /// Sessions that are here or on their way in.
    pub sessions: u32,
    /// Viewers among them.
    pub viewers: u32,
}

/// How far one resource is used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Usage {
    /// The label `resource` of the metrics.
    pub resource: &'static str,
    /// What is used of it.
    pub used: f64,
    /// What there is of it, in the same unit; `None` if nobody said.
    pub limit: Option<f64>,
}

impl Usage {
    /// The used share; more than 1 is beyond the limit, and what has no limit is never scarce.
    pub fn ratio(&self) -> f64 {
        self.limit.map_or(0.0, |limit| self.used / limit)
    }
}

/// The node's load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct NodeLoad {
    /// What it is made of.
    pub usages: [Usage; 4],
    /// The load of the scarcest resource.
    pub ratio: f64,
    /// Viewers that may come before the next reading. A crowd comes faster than its packets show in any figure, so each viewer
    /// counts from its admission on as what the others are sent on average.
    pub room_for_viewers: u32,
}

/// What is known of one shard, smoothed.
#[derive(Debug, Clone, Copy)]
struct Shard {
    busy_ratio: f64,
    packets_per_second: f64,
    bits_per_second: f64,
    /// Both as they were read last.
    newest: (f64, f64),
    /// When it answered last, and what it had sent by then.
    answered: Instant,
    /// `None` until it has answered: its counter is of its whole life, and only what comes on top is known in time.
    sent_bytes: Option<u64>,
}

impl Shard {
    fn new(now: Instant) -> Self {
        Self {
            busy_ratio: 0.0,
            packets_per_second: 0.0,
            bits_per_second: 0.0,
            newest: (0.0, 0.0),
            answered: now,
            sent_bytes: None,
        }
    }

    /// The shard said this, or nothing, `passed` after it was asked the last time.
    fn handle(&mut self, now: Instant, passed: Duration, load: Option<ShardLoad>) {
        // A shard that has no time to answer has none for another session either. What it sends stays as it was.
        smooth(&mut self.busy_ratio, passed, load.map_or(1.0, |load| load.busy_ratio));
        let passed = now.saturating_duration_since(self.answered);
        let Some(load) = load.filter(|_| !passed.is_zero()) else { return };
        smooth(&mut self.packets_per_second, passed, load.datagrams_per_second);
        self.newest.0 = load.datagrams_per_second;
        if let Some(before) = self.sent_bytes {
            let sent_bits = load.sent_bytes.saturating_sub(before) as f64 * 8.0;
            self.newest.1 = sent_bits / passed.as_secs_f64();
            smooth(&mut self.bits_per_second, passed, self.newest.1);
        }
        (self.answered, self.sent_bytes) = (now, Some(load.sent_bytes));
    }
}

/// Moves `value` towards what was `read` for the time that `passed`.
fn smooth(value: &mut f64, passed: Duration, read: f64) {
    let weight = 1.0 - (-passed.as_secs_f64() / SMOOTHING.as_secs_f64()).exp();
    *value += (read - *value) * weight;
}

/// Follows the load of one node.
#[derive(Debug)]
pub(super) struct LoadCore {
    limits: Limits,
    shards: Vec<Shard>,
    at: Instant,
    /// How many viewers there were at each of the last readings, the oldest first.
    viewers: VecDeque<u32>,
    /// Packets and bits a second of one viewer.
    each: (f64, f64),
}

impl LoadCore {
    /// An idle node with these limits.
    pub fn new(limits: Limits, now: Instant) -> Self {
        Self {
            limits,
            shards: Vec::new(),
            at: now,
            viewers: VecDeque::new(),
            each: (VIEWER_PACKETS_PER_SECOND, VIEWER_BITS_PER_SECOND),
        }
    }

    /// Takes a reading.
    pub fn handle(&mut self, now: Instant, reading: &Reading) -> NodeLoad {
        let passed = now.saturating_duration_since(self.at);
        self.shards.resize(reading.shards.len(), Shard::new(self.at));
        self.at = now;
        for (shard, load) in self.shards.iter_mut().zip(&reading.shards) {
            shard.handle(now, passed, *load);
        }
        // Sessions are spread evenly, so a new stream's viewers come to the busiest shard too: it is the first to suffer.
        let busiest = self.shards.iter().map(|shard| shard.busy_ratio).fold(0.0, f64::max);
        let packets = self.shards.iter().map(|shard| shard.packets_per_second).sum();
        let bits = self.shards.iter().map(|shard| shard.bits_per_second).sum();
        let configured = |limit: f64| (limit > 0.0).then_some(limit);
        let usage = |resource, used, limit| Usage { resource, used, limit };
        let limits = &self.limits;
        let sessions = |count| usage("sessions", f64::from(count), configured(f64::from(limits.sessions)));
        let others = [
            usage("cpu", busiest, Some(1.0)),
            usage("packets_per_second", packets, configured(f64::from(limits.packets_per_second))),
            usage("bits_per_second", bits, configured(limits.bits_per_second as f64)),
        ];
        // The last place is the node's own to refuse: it counts exactly, and what is said here is a second or two old.
        let counted = sessions(reading.sessions.min(limits.sessions.saturating_sub(1)));
        let ratio = others.iter().chain([&counted]).map(Usage::ratio).fold(0.0, f64::max);
        let [cpu, packets, bits] = others;
        let usages = [cpu, packets, bits, sessions(reading.sessions)];
        let room_for_viewers = self.room_for_viewers(reading.viewers, &packets, &bits);
        NodeLoad { usages, ratio, room_for_viewers }
    }

    fn room_for_viewers(&mut self, viewers: u32, packets: &Usage, bits: &Usage) -> u32 {
        let settled = self.viewers.front().copied().unwrap_or(0).min(viewers);
        self.viewers.push_back(viewers);
        if self.viewers.len() > READINGS_TO_SETTLE {
            self.viewers.pop_front();
        }
        let newest = |of: fn(&Shard) -> f64| self.shards.iter().map(of).sum::<f64>();
        let room = |usage: &Usage, newest: f64, guess: f64, each: &mut f64| {
            let Some(limit) = usage.limit else { return u32::MAX };
            // What was sent in the last second went to more than were there two readings ago, and to fewer than are now.
            let least = (newest / f64::from(viewers)).max(*each * (1.0 - FALL_PER_READING));
            let most = (newest / f64::from(settled)).max(least);
            if viewers > 0 && newest > 0.0 {
                *each = each.clamp(least, most).max(guess * LEAST_SHARE);
            }
            let each = *each;
            let used = usage.used.max(newest).max(each * f64::from(viewers));
            ((limit - used) / each).max(0.0).ceil() as u32
        };
        let (packets_sent, bits_sent) = (newest(|shard| shard.newest.0), newest(|shard| shard.newest.1));
        let for_packets = room(packets, packets_sent, VIEWER_PACKETS_PER_SECOND, &mut self.each.0);
        for_packets.min(room(bits, bits_sent, VIEWER_BITS_PER_SECOND, &mut self.each.1))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    /// Where the coordinator stops placing publishers.
    const FULL: f64 = 0.95;

    struct Node {
        core: LoadCore,
        now: Instant,
    }

    impl Node {
        fn new() -> Self {
            let now = Instant::now();
            let limits = Limits { sessions: 100, ..Limits::default() };
            Self { core: LoadCore::new(limits, now), now }
        }

        /// A second passes with shards that are this busy.
        fn second(&mut self, busy: &[f64], sessions: u32) -> f64 {
            self.now += Duration::from_secs(1);
            let load = |busy_ratio: &f64| Some(ShardLoad { busy_ratio: *busy_ratio, ..ShardLoad::default() });
            let reading = Reading { shards: busy.iter().map(load).collect(), sessions, viewers: 0 };
            self.core.handle(self.now, &reading).ratio
        }
    }

    #[test]
    fn the_scarcest_resource_counts() {
        let mut node = Node::new();
        assert_eq!(node.second(&[0.0, 0.0], 40), 0.4);
        for _ in 0..60 {
            node.second(&[0.1, 0.7], 40);
        }
        let ratio = node.second(&[0.1, 0.7], 40);
        assert!((ratio - 0.7).abs() < 0.001, "the busiest shard's, not their mean: {ratio}");
        assert_eq!(node.second(&[0.1, 0.7], 98), 0.98, "sessions are not smoothed: their limit is hard");
    }

    #[test]
    fn a_node_that_gave_its_only_place_back_is_free_at_once() {
        let mut node = Node::new();
        node.core.limits.sessions = 1;
        assert!(node.second(&[0.0], 1) < FULL, "the node itself refuses the second");
        node.core.limits.sessions = 1_000;
        assert!(node.second(&[0.0], 1_000) >= FULL);
        let NodeLoad { usages, .. } =
            node.core.handle(node.now, &Reading { shards: vec![], sessions: 1_000, viewers: 0 });
        assert_eq!(usages[3].used, 1_000.0, "operators see the true figure");
    }

    #[test]
    fn what_is_sent_counts_against_its_limits_if_there_are_any() {
        let load = |packets_per_second, bits_per_second| {
            let mut node = Node::new();
            (node.core.limits.packets_per_second, node.core.limits.bits_per_second) =
                (packets_per_second, bits_per_second);
            let sends = |second: u64| {
                let sent_bytes = second * 1_000_000;
                Some(ShardLoad { datagrams_per_second: 1_000.0, sent_bytes, ..ShardLoad::default() })
            };
            let mut ratio = 0.0;
            for second in 1..=60 {
                node.now += Duration::from_secs(1);
                // What a shard sent while it did not answer shows when it does.
                let other = (second % 2 == 0).then(|| sends(second)).flatten();
                let busy = Reading { shards: vec![sends(second), other], sessions: 0, viewers: 0 };
                let [_, packets, bits, _] = node.core.handle(node.now, &busy).usages;
                ratio = packets.ratio().max(bits.ratio());
            }
            ratio
        };
        assert_eq!(load(0, 0), 0.0);
        let packets = load(4_000, 0);
        assert!((packets - 0.5).abs() < 0.001, "{packets}");
        let bits = load(0, 20_000_000);
        assert!((bits - 0.8).abs() < 0.001, "{bits}");
    }

    /// How many of a crowd come in, at `joins` a second on a node that may send `limit` bit/s, if each is sent `each` from the
    /// second after its join on; and how many viewers it has room for in the end.
    fn crowd(first: u32, limit: f64, each: f64, joins: u32) -> (u32, u32) {
        let mut node = Node::new();
        node.core.limits = Limits { bits_per_second: limit as u64, ..Limits::default() };
        let (mut inside, mut before, mut sent_bytes) = (first, first, 0.0);
        let mut room = u32::MAX;
        for second in 0..60 {
            node.now += Duration::from_secs(1);
            sent_bytes += f64::from(before) * each / 8.0;
            before = inside;
            let load = ShardLoad { sent_bytes: sent_bytes as u64, ..ShardLoad::default() };
            let reading = Reading { shards: vec![Some(load)], sessions: inside + 1, viewers: inside };
            room = node.core.handle(node.now, &reading).room_for_viewers;
            if second >= 5 {
                let used = f64::from(inside + joins) * each;
                assert!(
                    room >= joins || used > limit * 0.6 || each < 2e6,
                    "{room} for {joins} at {used} of {limit}"
                );
                inside += joins.min(room);
            }
        }
        (inside, room)
    }

    #[test]
    fn a_crowd_is_let_in_as_far_as_what_it_will_be_sent_fits() {
        // Bitrates around what is guessed while nobody is there, slow crowds and fast ones.
        for (limit, each) in [(1e10, 2.5e6), (1e9, 2.5e6), (2e8, 2.5e6), (1e9, 6e5), (1e9, 4e6)] {
            for (first, joins) in [(0, 5), (1, 20), (0, 100), (1, 100), (10, 300), (0, 500), (0, 5_000)] {
                let (inside, room) = crowd(first, limit, each, joins);
                let share = f64::from(inside) * each / limit;
                let most = (each / VIEWER_BITS_PER_SECOND).max(1.0) + 0.02;
                let least = (f64::from(joins) * 50.0 * each / limit).min(1.0) - 0.02;
                assert!(share <= most && share >= least, "{limit} {each} {joins}: {inside} are {share}");
                assert!(share < 0.98 || room == 0, "{limit} {each} {joins}: {room}");
            }
        }
        assert_eq!(crowd(0, 0.0, 2.5e6, 500).1, u32::MAX, "without a limit");
    }

    #[test]
    fn what_was_sent_before_the_first_reading_is_no_load() {
        let mut node = Node::new();
        node.core.limits.bits_per_second = 1_000_000;
        let sent = |sent_bytes| Reading {
            shards: vec![Some(ShardLoad { sent_bytes, ..ShardLoad::default() })],
            sessions: 0,
            viewers: 0,
        };
        let terabyte = 1_000_000_000_000;
        for second in 1..=5 {
            node.now += Duration::from_secs(1);
            let ratio = node.core.handle(node.now, &sent(terabyte + second * 12_500)).ratio;
            assert!(ratio < 0.1, "a meter that was rebuilt says {ratio}");
        }
    }

    #[test]
    fn a_busy_second_refuses_nobody_and_a_busy_quarter_of_a_minute_does() {
        let mut node = Node::new();
        for _ in 0..60 {
            assert!(node.second(&[0.9], 0) < FULL);
        }
        assert!(node.second(&[1.0], 0) < FULL, "one busy second");
        for _ in 0..60 {
            node.second(&[0.5], 0);
        }
        let seconds = (1..).find(|_| node.second(&[0.99], 0) >= FULL).unwrap();
        assert!((10..=15).contains(&seconds), "{seconds}");
        let seconds = (1..).find(|_| node.second(&[0.5], 0) < FULL).unwrap();
        assert_eq!(seconds, 1, "as soon as there is headroom it is used");
    }

    #[test]
    fn a_reading_that_comes_late_weighs_as_much_as_the_time_that_it_covers() {
        let (mut often, mut once) = (Node::new(), Node::new());
        for _ in 0..9 {
            often.second(&[0.8], 0);
        }
        once.now += Duration::from_secs(8);
        let difference = often.second(&[0.8], 0) - once.second(&[0.8], 0);
        assert!(difference.abs() < 0.03, "{difference}");
    }

    #[test]
    fn a_shard_that_does_not_answer_counts_as_full() {
        let mut node = Node::new();
        for _ in 0..60 {
            node.now += Duration::from_secs(1);
            node.core.handle(node.now, &Reading { shards: vec![None], sessions: 0, viewers: 0 });
        }
        assert!(node.second(&[1.0], 0) >= FULL);
    }
}
