//! Leaving in good order: take nothing new, tell viewers to move, say goodbye to every peer, end.
//!
//! Viewers who listen to events hear `reconnect` and get `drain.handover_seconds` to play elsewhere first. While a node
//! drains, POST is answered 503 with `Retry-After`, DELETE still works, and `/readyz` says no. The whole of it is bounded by
//! `drain.timeout_seconds`, and a second signal ends it at once.

use std::io;
use std::time::Duration;

use aforo_cluster::control::NodeState as LeaseState;
use futures_util::future::join_all;
use prometheus::IntGauge;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use crate::actor::lane::ask;
use crate::cluster_agent::{Leave, SetState};
use crate::config::Config;
use crate::lifecycle::NodeState;
use crate::peer::message::EndReason;
use crate::room::{CloseAll, Directory, TellToLeave};
use crate::shard::message::Stop;
use crate::startup::Node;

/// How long the HTTP servers may take to finish what they are answering: handlers have nothing left to wait for then.
const HTTP_STOP: Duration = Duration::from_millis(500);

/// How often a node that drains looks whether its viewers have moved: often enough that nobody notices the wait.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The signals that stop a node.
pub(crate) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Listens for SIGTERM and SIGINT from now on.
    pub fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next signal. Returns its name.
    pub async fn first(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Drains `node`, at most for the configured time or until a further signal.
pub(crate) async fn run(config: &Config, node: Node, mut signals: StopSignals) {
    let limit = Duration::from_secs(config.drain.timeout_seconds.into());
    let handover = Duration::from_secs(config.drain.handover_seconds.into());
    tokio::select! {
        () = drain(&node, limit, handover) => info!("stopped"),
        () = tokio::time::sleep(limit) => warn!("not all peers could be told in time, stopping anyway"),
        signal = signals.first() => warn!(signal, "second signal, stopping at once"),
    }
}

/// Waits until no session is left; `remaining` says how many there are.
async fn all_gone(directory: &Directory, remaining: &IntGauge) {
    loop {
        let sessions = directory.sessions();
        remaining.set(sessions.into());
        if sessions == 0 {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn drain(node: &Node, limit: Duration, handover: Duration) {
    node.lifecycle.set(NodeState::Draining);
    let remaining = &node.metrics.drain_remaining_sessions;
    remaining.set(node.directory.sessions().into());
    // An agent, a room or a shard that does not answer any more has nothing left to be told; the limit above bounds all.
    let _ = ask(&node.agent, SetState(LeaseState::Draining), limit).await;
    let told = ask(&node.rooms, TellToLeave, limit).await.unwrap_or(0);
    if told > 0 {
        info!(listeners = told, "viewers are told to move, and get a moment for it");
        let _ = tokio::time::timeout(handover, all_gone(&node.directory, remaining)).await;
    }
    let _ = ask(&node.rooms, CloseAll(EndReason::Shutdown), limit).await;
    join_all(node.shards.iter().map(|shard| ask(&shard.addr, Stop, limit))).await;
    remaining.set(node.directory.sessions().into());
    let _ = ask(&node.agent, Leave, limit).await;
    join_all(node.http.iter().map(|server| async {
        // Idle connections of browsers would keep a graceful stop waiting.
        if tokio::time::timeout(HTTP_STOP, server.stop(true)).await.is_err() {
            server.stop(false).await;
        }
    }))
    .await;
    for shard in &node.shards {
        shard.end_thread();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use std::sync::Arc;

    use aforo_cluster::metric::Metrics;

    use super::*;
    use crate::actor::virtual_time;

    #[test]
    fn a_node_that_drains_says_how_many_sessions_it_still_has() {
        virtual_time::run(async {
            let (directory, metrics) = (Arc::new(Directory::new(1, 2)), Metrics::new().unwrap());
            let remaining = &metrics.drain_remaining_sessions;
            let (first, second) =
                (directory.reserve_for_viewer().unwrap(), directory.reserve_for_viewer().unwrap());
            let leaving = async {
                virtual_time::pass(LOOK_EVERY / 2).await;
                assert_eq!(remaining.get(), 2);
                drop(first);
                virtual_time::pass(LOOK_EVERY).await;
                assert_eq!(remaining.get(), 1);
                drop(second);
            };
            tokio::join!(all_gone(&directory, remaining), leaving);
            assert_eq!(remaining.get(), 0);
        });
    }
}
