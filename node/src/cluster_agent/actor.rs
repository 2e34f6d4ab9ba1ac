//! The actor that renews the node's lease and carries the node's questions to the bus.

mod claims;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, ResponseActFuture, ResponseFuture, WrapFuture,
};
use aforo_cluster::bus::{Bucket, Bus, BusError};
use aforo_cluster::control::{LEASE_TTL, NodeLease, PLACEMENT_SUBJECT, PlacementAnswer};
use aforo_cluster::id::NodeId;
use aforo_cluster::metric::Metrics;
use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::warn;

use self::claims::Claim;
use super::core::{Input, Lease, Output, Written};
use super::message::{ClaimStream, ClusterError, GetPlacement, Leave, ReleaseStream, SetLoad, SetState};
use crate::actor::instruments::{Handler, Instruments, instrumented};
use crate::actor::supervise::Lifeline;
use crate::actor::timer::{Timed, Timer, arm};

/// Questions of rooms and loads of shards that wait for the agent: one for each stream that is claimed or given back at the
/// moment. Full means that rooms wait for room up to their own deadline.
const AGENT_MAILBOX_CAPACITY: usize = 1024;

/// How long a client that joins may wait for the coordinator: beyond it, an answer of 503 serves it better.
const PLACEMENT_DEADLINE: Duration = Duration::from_secs(2);

/// Our side of the bus.
pub struct ClusterAgent {
    bus: Arc<dyn Bus>,
    metrics: Arc<Metrics>,
    lease: Lease,
    /// Who waits for the lease to go.
    leaves: Vec<oneshot::Sender<()>>,
    /// Our claims, by key.
    claims: HashMap<String, Claim>,
    timer: Timer,
    lifeline: Lifeline,
    instruments: Instruments,
}

instrumented! {
    ClusterAgent in instruments: ClaimStream, GetPlacement, Leave, ReleaseStream, SetLoad, SetState,
}

impl ClusterAgent {
    /// An agent for `node` that takes sessions as soon as it starts.
    pub fn new(bus: Arc<dyn Bus>, metrics: Arc<Metrics>, node: NodeId, lifeline: Lifeline) -> Self {
        let instruments = Instruments::new(&metrics, "cluster_agent");
        Self {
            bus,
            metrics,
            lease: Lease::new(node, crate::actor::now()),
            leaves: Vec::new(),
            claims: HashMap::new(),
            timer: Timer::default(),
            lifeline,
            instruments,
        }
    }

    /// Hands `input` to the lease, asks the bus for what it says then, and arms its next renewal.
    fn tell(&mut self, input: Option<Input>, context: &mut Context<Self>) {
        let now = crate::actor::now();
        if let Some(input) = input {
            self.lease.handle(now, input);
        }
        while let Some(output) = self.lease.poll_output(now) {
            match output {
                Output::Write(lease, revision) => self.write(lease, revision, context),
                Output::Remove(revision) => self.remove(revision, context),
            }
        }
        let at = self.lease.poll_timeout();
        arm(self, context, at);
    }

    fn write(&mut self, lease: NodeLease, revision: Option<u64>, context: &mut Context<Self>) {
        let (bus, metrics) = (Arc::clone(&self.bus), Arc::clone(&self.metrics));
        let writing = async move { timed(&metrics, "lease", write_lease(&*bus, &lease, revision)).await };
        context.spawn(writing.into_actor(self).map(|written, agent, context| {
            let outcome = match &written {
                Ok(revision) => Written::Stands(*revision),
                Err(ClusterError::Bus(BusError::Conflict { .. })) => Written::Conflict,
                Err(_) => Written::Unanswered,
            };
            // The bus does answer then: the lease is created anew, or is another's.
            let connected = written.is_ok() || outcome == Written::Conflict;
            agent.metrics.bus_connected.set(i64::from(connected));
            if let Err(error) = written {
                warn!(%error, "the node's lease cannot be renewed");
            }
            agent.tell(Some(Input::Written(outcome)), context);
        }));
    }

    fn remove(&mut self, revision: Option<u64>, context: &mut Context<Self>) {
        let (bus, metrics) = (Arc::clone(&self.bus), Arc::clone(&self.metrics));
        let node = self.lease.node().clone();
        let removal = async move {
            let Some(revision) = revision else { return };
            let removed = bus.delete(Bucket::Nodes.key(node.as_str()), revision);
            if let Err(error) = timed(&metrics, "lease", removed).await {
                warn!(%error, "the node's lease is left to run out");
            }
        };
        context.spawn(removal.into_actor(self).map(|(), agent, context| {
            agent.lifeline.finish();
            for left in agent.leaves.drain(..) {
                // Who has stopped waiting need not know.
                let _ = left.send(());
            }
            context.stop();
        }));
    }

    fn count_placement(&self, answer: &Result<PlacementAnswer, ClusterError>) {
        let (result, reason) = match answer {
            Ok(PlacementAnswer::Node(_)) => ("placed", "least_loaded"),
            Ok(PlacementAnswer::Refused(refusal)) => ("refused", refusal.as_str()),
            Err(_) => ("failed", "bus"),
        };
        self.metrics.placements_total.with_label_values(&[result, reason]).inc();
    }
}

/// Creates the lease, or renews the one of `revision`. Beyond [`LEASE_TTL`] it has run out, whatever the answer is.
async fn write_lease(bus: &dyn Bus, lease: &NodeLease, revision: Option<u64>) -> Result<u64, ClusterError> {
    let (key, value) = (Bucket::Nodes.key(lease.node.as_str()), Bytes::from(serde_json::to_vec(lease)?));
    let writing = async {
        match revision {
            Some(revision) => bus.update(key, revision, value, Some(LEASE_TTL)).await,
            None => bus.create(key, value, Some(LEASE_TTL)).await,
        }
    };
    let late = |_| BusError::Timeout { subject: Bucket::Nodes.name().to_owned(), deadline: LEASE_TTL };
    Ok(timeout(LEASE_TTL, writing).await.map_err(late)??)
}

/// Measures how long the bus takes.
async fn timed<T>(metrics: &Metrics, class: &str, request: impl Future<Output = T>) -> T {
    let duration = metrics.bus_request_duration_seconds.with_label_values(&[class]);
    let started = crate::actor::now();
    let answer = request.await;
    duration.observe(crate::actor::now().saturating_duration_since(started).as_secs_f64());
    answer
}

impl Actor for ClusterAgent {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        context.set_mailbox_capacity(AGENT_MAILBOX_CAPACITY);
        self.tell(None, context);
    }
}

impl Timed for ClusterAgent {
    fn timer(&mut self) -> &mut Timer {
        &mut self.timer
    }

    fn handle_timeout(&mut self, _: Instant, context: &mut Context<Self>) {
        self.tell(None, context);
    }
}

impl Handler<SetState> for ClusterAgent {
    type Result = ();

    fn handle(&mut self, SetState(state): SetState, context: &mut Context<Self>) {
        self.tell(Some(Input::State(state)), context);
    }
}

impl Handler<SetLoad> for ClusterAgent {
    type Result = ();

    fn handle(&mut self, SetLoad(ratio): SetLoad, context: &mut Context<Self>) {
        self.tell(Some(Input::Load(ratio)), context);
    }
}

impl Handler<Leave> for ClusterAgent {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, Leave: Leave, context: &mut Context<Self>) -> Self::Result {
        let (leave, left) = oneshot::channel();
        self.leaves.push(leave);
        self.tell(Some(Input::Leave), context);
        // Dropped with the agent, it is gone as well.
        Box::pin(left.map(|_| ()))
    }
}

impl Handler<GetPlacement> for ClusterAgent {
    type Result = ResponseActFuture<Self, Result<PlacementAnswer, ClusterError>>;

    fn handle(&mut self, GetPlacement(request): GetPlacement, _: &mut Context<Self>) -> Self::Result {
        let (bus, metrics) = (Arc::clone(&self.bus), Arc::clone(&self.metrics));
        let asked = async move {
            let question = Bytes::from(serde_json::to_vec(&request)?);
            let answer = bus.request(PLACEMENT_SUBJECT, question, PLACEMENT_DEADLINE);
            Ok(serde_json::from_slice(&timed(&metrics, "place", answer).await?)?)
        };
        Box::pin(asked.into_actor(self).map(|answer, agent, _| {
            agent.count_placement(&answer);
            answer
        }))
    }
}

#[cfg(test)]
mod tests;
