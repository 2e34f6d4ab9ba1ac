//! The load that the node tells the cluster, each second: `core` has the rules, this is the task that reads and reports.
//!
//! Inputs: what shards say of themselves, sessions of the directory. Outputs: [`SetLoad`] for the agent, whose lease
//! carries it to the coordinator, the metrics of the node's load, and whether the directory may let anybody in.

mod core;

use std::sync::Arc;
use std::time::Duration;

use actix::Recipient;
use aforo_cluster::control::LEASE_RENEWAL;
use aforo_cluster::metric::Metrics;
use futures_util::future::join_all;
use tokio::time::{MissedTickBehavior, interval, timeout};

use self::core::{LoadCore, NodeLoad, Reading};
use super::message::SetLoad;
use crate::config::Limits;
use crate::room::Directory;
use crate::shard::message::{GetLoad, ShardLoad};

/// How long a shard may take to answer: longer than any round of it, and short of the next reading.
const ANSWER_DEADLINE: Duration = Duration::from_millis(500);

/// Reads the load and reports it.
#[derive(Clone)]
pub struct LoadMeter {
    /// The shards, in the order of their ids.
    pub shards: Vec<Recipient<GetLoad>>,
    /// Knows how many sessions there are.
    pub directory: Arc<Directory>,
    /// How much there may be of everything.
    pub limits: Limits,
    /// Tells the cluster.
    pub agent: Recipient<SetLoad>,
    /// For operators.
    pub metrics: Arc<Metrics>,
}

impl LoadMeter {
    /// Reports as often as the lease is renewed, until the agent has ended.
    pub async fn run(self) {
        let mut core = LoadCore::new(self.limits.clone(), crate::actor::now());
        let mut ticks = interval(LEASE_RENEWAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.agent.connected() {
            ticks.tick().await;
            let reading = self.read().await;
            let load = core.handle(crate::actor::now(), &reading);
            self.directory.set_room_for_viewers(load.room_for_viewers);
            self.report(&load).await;
        }
    }

    async fn read(&self) -> Reading {
        let asked = self.shards.iter().map(|shard| timeout(ANSWER_DEADLINE, shard.send(GetLoad)));
        let answers = join_all(asked).await;
        let shards: Vec<Option<ShardLoad>> = answers.into_iter().map(|answer| answer.ok()?.ok()).collect();
        Reading { shards, sessions: self.directory.sessions(), viewers: self.directory.viewers() }
    }

    async fn report(&self, load: &NodeLoad) {
        for usage in load.usages {
            self.metrics.node_usage.with_label_values(&[usage.resource]).set(usage.used);
            if let Some(limit) = usage.limit {
                self.metrics.node_limit.with_label_values(&[usage.resource]).set(limit);
            }
        }
        self.metrics.node_load_ratio.set(load.ratio);
        // The latest value wins: an agent that is behind gets the next one.
        let _ = timeout(ANSWER_DEADLINE, self.agent.send(SetLoad(load.ratio))).await;
    }
}

#[cfg(test)]
mod tests;
