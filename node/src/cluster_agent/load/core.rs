//! What a node's load is made of, pure: how far each resource is used, and which of them is the scarcest.

use std::time::{Duration, Instant};

use crate::config::Limits;
use crate::shard::message::ShardLoad;

/// Within this time a change of what is used shows by two thirds. A keyframe that a crowd asks for, or a crowd that joins,
/// keeps a shard busy for a second or two: that alone must refuse nobody. Twelve seconds from half busy to full do.
const SMOOTHING: Duration = Duration::from_secs(5);

/// What was read at one moment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Reading {
    /// What each shard said, in the order of their ids; `None` for one that did not answer in time.
    pub shards: Vec<Option<ShardLoad>>,
    /// Sessions that are here or on their way in.
    pub sessions: u32,
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
}

/// What is known of one shard, smoothed.
#[derive(Debug, Clone, Copy)]
struct Shard {
    busy_ratio: f64,
    packets_per_second: f64,
    bits_per_second: f64,
    /// When it answered last, and what it had sent by then.
    answered: Instant,
    /// `None` until it has answered: its counter is of its whole life, and only what comes on top is known in time.
    sent_bytes: Option<u64>,
}

impl NodeLoad {
    /// Whether the node sends as much as its limits allow, so that one viewer more would be at the cost of the others.
    pub fn is_output_full(&self) -> bool {
        let sent = ["packets_per_second", "bits_per_second"];
        self.usages.iter().any(|usage| sent.contains(&usage.resource) && usage.ratio() >= 1.0)
    }
}

impl Shard {
    fn new(now: Instant) -> Self {
        Self {
            busy_ratio: 0.0,
            packets_per_second: 0.0,
            bits_per_second: 0.0,
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
        if let Some(before) = self.sent_bytes {
            let sent_bits = load.sent_bytes.saturating_sub(before) as f64 * 8.0;
            smooth(&mut self.bits_per_second, passed, sent_bits / passed.as_secs_f64());
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
}

impl LoadCore {
    /// An idle node with these limits.
    pub fn new(limits: Limits, now: Instant) -> Self {
        Self { limits, shards: Vec::new(), at: now }
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
        NodeLoad { usages: [cpu, packets, bits, sessions(reading.sessions)], ratio }
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
            let reading = Reading { shards: busy.iter().map(load).collect(), sessions };
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
            node.core.handle(node.now, &Reading { shards: vec![], sessions: 1_000 });
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
                let busy = Reading { shards: vec![sends(second), other], sessions: 0 };
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
        let output = |packets, bits| {
            let usage = |resource, used| Usage { resource, used, limit: Some(1.0) };
            let usages = [
                usage("cpu", 1.0),
                usage("packets_per_second", packets),
                usage("bits_per_second", bits),
                usage("sessions", 1.0),
            ];
            NodeLoad { usages, ratio: 1.0 }.is_output_full()
        };
        assert!(!output(0.99, 0.99), "a busy node with all its sessions may send more");
        assert!(output(1.0, 0.0) && output(0.0, 1.0));
    }

    #[test]
    fn what_was_sent_before_the_first_reading_is_no_load() {
        let mut node = Node::new();
        node.core.limits.bits_per_second = 1_000_000;
        let sent = |sent_bytes| Reading {
            shards: vec![Some(ShardLoad { sent_bytes, ..ShardLoad::default() })],
            sessions: 0,
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
            node.core.handle(node.now, &Reading { shards: vec![None], sessions: 0 });
        }
        assert!(node.second(&[1.0], 0) >= FULL);
    }
}
