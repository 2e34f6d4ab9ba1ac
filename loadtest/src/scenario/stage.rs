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
    publishers: Vec<Publisher>,
}

impl Stage {
    /// Starts the plan's publishers, and a fleet with room for `viewers`.
    pub(super) async fn set(plan: &Arc<Plan>, viewers: usize, progress: &Progress) -> Result<Self> {
        let local_ip = local_ip_towards(&plan.target)?;
        let signaller = Signaller::new()?;
        signaller.reach(&plan.target).await?;
        let before = plan.server_pid.map(process::usage).transpose()?;
        let counters: Vec<Arc<PublisherCounters>> =
            std::iter::repeat_with(Arc::default).take(plan.publishers).collect();
        let mut publishers = Vec::new();
        for (index, counters) in counters.iter().enumerate() {
            progress.stage(&format!("starting publisher {} of {}", index + 1, plan.publishers));
            let target = PublishTarget {
                endpoint: format!("{}/whip/{}", plan.target, plan.stream_path(index)),
                local_ip: IpAddr::V4(local_ip),
                signaller: signaller.clone(),
            };
            publishers.push(Publisher::start(target, plan.shape, counters.clone()).await?);
        }
        let addressing = if local_ip.is_loopback() { Addressing::Loopback } else { Addressing::OwnSockets };
        let fleet = Fleet::start(addressing, local_ip, viewers, plan.loss)?;
        let server = ServerProcess(plan.server_pid);
        let joiner = Joiner::new(plan.clone(), fleet.clone(), signaller, &counters);
        Ok(Self { fleet, joiner, counters, server, before: server.usage().or(before), publishers })
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
