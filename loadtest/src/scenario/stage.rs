//! What every run needs and ends: publishers that send, a fleet for viewers, and the server's process to look at.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::joining::Joiner;
use super::window::ServerProcess;
use super::{Plan, Progress, local_ip_towards};
use crate::process::{self, ProcessUsage};
use crate::publisher::{PublishTarget, Publisher, PublisherCounters};
use crate::signalling::Signaller;
use crate::viewer::fleet::{Addressing, Fleet};

/// Thousands of sessions are ended in far less.
const END_TIMEOUT: Duration = Duration::from_secs(20);

/// See the module.
pub(super) struct Stage {
    pub(super) fleet: Arc<Fleet>,
    pub(super) joiner: Joiner,
    pub(super) counters: Vec<Arc<PublisherCounters>>,
    pub(super) server: ServerProcess,
    /// The server before viewers came, but with the publishers.
    pub(super) before: Option<ProcessUsage>,
    plan: Arc<Plan>,
    signaller: Signaller,
    local_ip: IpAddr,
    publishers: Vec<Publisher>,
}

impl Stage {
    /// A fleet with room for `viewers`, at a server that answers; nobody publishes yet.
    pub(super) async fn new(plan: &Arc<Plan>, viewers: usize) -> Result<Self> {
        let local_ip = local_ip_towards(&plan.target)?;
        let signaller = Signaller::new()?;
        signaller.reach(&plan.target).await?;
        let before = plan.server_pid.map(process::usage).transpose()?;
        let counters: Vec<Arc<PublisherCounters>> =
            std::iter::repeat_with(Arc::default).take(plan.publishers).collect();
        let addressing = if local_ip.is_loopback() { Addressing::Loopback } else { Addressing::OwnSockets };
        let fleet = Fleet::start(addressing, local_ip, viewers, plan.loss)?;
        let joiner = Joiner::new(plan.clone(), fleet.clone(), signaller.clone(), &counters);
        Ok(Self {
            fleet,
            joiner,
            counters,
            server: ServerProcess(plan.server_pid),
            before,
            plan: plan.clone(),
            signaller,
            local_ip: IpAddr::V4(local_ip),
            publishers: Vec::new(),
        })
    }

    /// Starts the plan's publishers.
    pub(super) async fn publish(&mut self, progress: &Progress) -> Result<()> {
        let plan = &self.plan;
        for (index, counters) in self.counters.iter().enumerate() {
            progress.stage(&format!("starting publisher {} of {}", index + 1, plan.publishers));
            let target = PublishTarget {
                endpoint: format!("{}/whip/{}", plan.target, plan.stream_path(index)),
                local_ip: self.local_ip,
                signaller: self.signaller.clone(),
            };
            self.publishers.push(Publisher::start(target, plan.shape, counters.clone()).await?);
        }
        self.before = self.server.usage().or(self.before);
        Ok(())
    }

    /// Does both.
    pub(super) async fn set(plan: &Arc<Plan>, viewers: usize, progress: &Progress) -> Result<Self> {
        let mut stage = Self::new(plan, viewers).await?;
        stage.publish(progress).await?;
        Ok(stage)
    }

    /// Publishers that were cut off so far.
    pub(super) fn publishers_lost(&self) -> u64 {
        self.counters.iter().filter(|counters| counters.is_cut_off()).count() as u64
    }

    /// Ends all sessions; a server that no longer answers does not keep the caller for long.
    pub(super) async fn clear(mut self, progress: &Progress) {
        progress.stage("ending sessions");
        let ending = async {
            self.joiner.delete_all().await;
            for publisher in self.publishers {
                publisher.stop().await;
            }
        };
        let _ = tokio::time::timeout(END_TIMEOUT, ending).await;
        progress.clear();
    }
}
