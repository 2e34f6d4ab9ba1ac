//! What a node's load is made of, pure: how far each resource is used, and which of them is the scarcest.

use std::time::{Duration, Instant};

use crate::shard::message::ShardLoad;

/// Within this time a change of the CPU's use shows by two thirds. A keyframe that a crowd asks for, or a crowd that joins,
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
    /// What there is of it, in the same unit.
    pub limit: f64,
}

impl Usage {
    /// The used share; more than 1 is beyond the limit.
    pub fn ratio(&self) -> f64 {
        if self.limit > 0.0 { self.used / self.limit } else { 1.0 }
    }
}

/// The node's load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct NodeLoad(pub [Usage; 2]);

impl NodeLoad {
    /// The load of the scarcest resource.
    pub fn ratio(&self) -> f64 {
        self.0.iter().map(Usage::ratio).fold(0.0, f64::max)
    }
}

/// Follows the load of one node.
#[derive(Debug)]
pub(super) struct LoadCore {
    session_limit: u32,
    /// Share of its core that each shard uses, smoothed.
    busy: Vec<f64>,
    at: Instant,
}

impl LoadCore {
    /// An idle node that takes at most `session_limit` sessions.
    pub fn new(session_limit: u32, now: Instant) -> Self {
        Self { session_limit, busy: Vec::new(), at: now }
    }

    /// Takes a reading.
    pub fn handle(&mut self, now: Instant, reading: &Reading) -> NodeLoad {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        let weight = 1.0 - (-passed / SMOOTHING.as_secs_f64()).exp();
        self.at = now;
        self.busy.resize(reading.shards.len(), 0.0);
        for (busy, load) in self.busy.iter_mut().zip(&reading.shards) {
            // A shard that has no time to answer has none for another session either.
            let read = load.map_or(1.0, |load| load.busy_ratio);
            *busy += (read - *busy) * weight;
        }
        // Sessions are spread evenly, so a new stream's viewers come to the busiest shard too: it is the first to suffer.
        let busiest = self.busy.iter().copied().fold(0.0, f64::max);
        NodeLoad([
            Usage { resource: "cpu", used: busiest, limit: 1.0 },
            Usage {
                resource: "sessions",
                used: f64::from(reading.sessions),
                limit: f64::from(self.session_limit),
            },
        ])
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
            Self { core: LoadCore::new(100, now), now }
        }

        /// A second passes with shards that are this busy.
        fn second(&mut self, busy: &[f64], sessions: u32) -> f64 {
            self.now += Duration::from_secs(1);
            let load = |busy_ratio: &f64| Some(ShardLoad { busy_ratio: *busy_ratio, ..ShardLoad::default() });
            let reading = Reading { shards: busy.iter().map(load).collect(), sessions };
            self.core.handle(self.now, &reading).ratio()
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
        assert_eq!(Usage { resource: "sessions", used: 0.0, limit: 0.0 }.ratio(), 1.0);
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
