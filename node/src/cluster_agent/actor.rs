//! The actor that renews the node's lease and carries the node's questions to the bus.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, AsyncContext, Context, ResponseActFuture, ResponseFuture, WrapFuture};
use actix::{ActorFutureExt, fut};
use aforo_cluster::bus::{Bucket, Bus, BusError};
use aforo_cluster::control::{
    LEASE_RENEWAL, LEASE_TTL, NodeLease, NodeState, PLACEMENT_SUBJECT, PlacementAnswer,
};
use aforo_cluster::id::NodeId;
use aforo_cluster::metric::Metrics;
use bytes::Bytes;
use serde::Serialize;
use tracing::warn;

use super::message::{ClaimStream, ClusterError, GetPlacement, Leave, ReleaseStream, SetLoad, SetState};
use crate::actor::instruments::{Handler, Instruments, instrumented};
use crate::actor::supervise::Lifeline;
use crate::actor::timer::{Timed, Timer, arm};

/// How long a client that joins may wait for the coordinator: beyond it, an answer of 503 serves it better.
const PLACEMENT_DEADLINE: Duration = Duration::from_secs(2);

/// What a node writes into `aforo_rooms` for a stream that enters at it.
#[derive(Debug, Serialize)]
struct OriginClaim {
    node: NodeId,
}

/// A stream of ours in `aforo_rooms`.
#[derive(Debug, Clone, Copy)]
enum Claim {
    /// The bus has not answered yet. The stream may end before it does: then the claim goes as soon as it stands.
    Pending { released: bool },
    /// It stands, with this revision.
    Held(u64),
}

/// Our side of the bus.
pub struct ClusterAgent {
    bus: Arc<dyn Bus>,
    metrics: Arc<Metrics>,
    lease: NodeLease,
    /// Revision of the lease on the bus; none before the first, and after it was lost.
    lease_revision: Option<u64>,
    renew_at: Option<Instant>,
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
            lease: NodeLease { node, state: NodeState::Ready, load_ratio: 0.0 },
            lease_revision: None,
            renew_at: None,
            claims: HashMap::new(),
            timer: Timer::default(),
            lifeline,
            instruments,
        }
    }

    /// Writes the lease, and arms the next renewal when the bus has answered.
    fn renew(&mut self, context: &mut Context<Self>) {
        self.renew_at = None;
        let (bus, lease, revision) = (Arc::clone(&self.bus), self.lease.clone(), self.lease_revision);
        let renewal = async move { write_lease(&*bus, &lease, revision).await };
        context.spawn(renewal.into_actor(self).map(|written, agent, context| {
            agent.metrics.bus_connected.set(i64::from(written.is_ok()));
            agent.lease_revision =
                written.inspect_err(|error| warn!(%error, "the node's lease cannot be renewed")).ok();
            agent.renew_at = Some(crate::actor::now() + LEASE_RENEWAL);
            let at = agent.renew_at;
            arm(agent, context, at);
        }));
    }

    /// The bus has answered a claim.
    fn claimed(&mut self, key: String, created: Result<u64, BusError>, context: &mut Context<Self>) {
        let released = matches!(self.claims.remove(&key), Some(Claim::Pending { released: true }));
        match created {
            Ok(revision) if released => {
                context.spawn(unclaim(Arc::clone(&self.bus), key, revision).into_actor(self));
            }
            Ok(revision) => {
                self.claims.insert(key, Claim::Held(revision));
            }
            Err(_) => {}
        }
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

/// Creates the lease, or renews the one of `revision`. A lease that ran out meanwhile is created anew.
async fn write_lease(bus: &dyn Bus, lease: &NodeLease, revision: Option<u64>) -> Result<u64, ClusterError> {
    let (key, value) = (lease.node.as_str(), Bytes::from(serde_json::to_vec(lease)?));
    if let Some(revision) = revision {
        match bus.update(Bucket::Nodes, key, value.clone(), revision, Some(LEASE_TTL)).await {
            Err(BusError::Conflict { .. }) => {}
            written => return Ok(written?),
        }
    }
    Ok(bus.create(Bucket::Nodes, key, value, Some(LEASE_TTL)).await?)
}

/// Gives a claim back.
async fn unclaim(bus: Arc<dyn Bus>, key: String, revision: u64) {
    if let Err(error) = bus.delete(Bucket::Rooms, &key, revision).await {
        warn!(%error, "a stream's claim cannot be released");
    }
}

impl Actor for ClusterAgent {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Context<Self>) {
        self.renew(context);
    }
}

impl Timed for ClusterAgent {
    fn timer(&mut self) -> &mut Timer {
        &mut self.timer
    }

    fn handle_timeout(&mut self, now: Instant, context: &mut Context<Self>) {
        match self.renew_at {
            Some(at) if at <= now => self.renew(context),
            at => arm(self, context, at),
        }
    }
}

impl Handler<SetState> for ClusterAgent {
    type Result = ();

    fn handle(&mut self, SetState(state): SetState, context: &mut Context<Self>) {
        self.lease.state = state;
        self.renew(context);
    }
}

impl Handler<SetLoad> for ClusterAgent {
    type Result = ();

    fn handle(&mut self, SetLoad(ratio): SetLoad, _: &mut Context<Self>) {
        self.lease.load_ratio = ratio;
    }
}

impl Handler<Leave> for ClusterAgent {
    type Result = ResponseActFuture<Self, ()>;

    fn handle(&mut self, Leave: Leave, _: &mut Context<Self>) -> Self::Result {
        let (bus, node, revision) =
            (Arc::clone(&self.bus), self.lease.node.clone(), self.lease_revision.take());
        let left = async move {
            let Some(revision) = revision else { return };
            if let Err(error) = bus.delete(Bucket::Nodes, node.as_str(), revision).await {
                warn!(%error, "the node's lease is left to run out");
            }
        };
        Box::pin(left.into_actor(self).map(|(), agent, context| {
            agent.lifeline.finish();
            context.stop();
        }))
    }
}

impl Handler<GetPlacement> for ClusterAgent {
    type Result = ResponseActFuture<Self, Result<PlacementAnswer, ClusterError>>;

    fn handle(&mut self, GetPlacement(request): GetPlacement, _: &mut Context<Self>) -> Self::Result {
        let bus = Arc::clone(&self.bus);
        let asked = async move {
            let question = Bytes::from(serde_json::to_vec(&request)?);
            let answer = bus.request(PLACEMENT_SUBJECT, question, PLACEMENT_DEADLINE).await?;
            Ok(serde_json::from_slice(&answer)?)
        };
        Box::pin(asked.into_actor(self).map(|answer, agent, _| {
            agent.count_placement(&answer);
            answer
        }))
    }
}

impl Handler<ClaimStream> for ClusterAgent {
    type Result = ResponseActFuture<Self, Result<(), ClusterError>>;

    fn handle(&mut self, ClaimStream { room, stream }: ClaimStream, _: &mut Context<Self>) -> Self::Result {
        let key = format!("{room}/{stream}");
        let value = match serde_json::to_vec(&OriginClaim { node: self.lease.node.clone() }) {
            Ok(value) => Bytes::from(value),
            Err(error) => return Box::pin(fut::ready(Err(error.into()))),
        };
        if self.claims.contains_key(&key) {
            return Box::pin(fut::ready(Err(ClusterError::Claimed { room, stream })));
        }
        self.claims.insert(key.clone(), Claim::Pending { released: false });
        let (bus, of) = (Arc::clone(&self.bus), key.clone());
        let created = async move { bus.create(Bucket::Rooms, &of, value, None).await };
        Box::pin(created.into_actor(self).map(move |created, agent, context| {
            agent.claimed(key, created.clone(), context);
            match created {
                Ok(_) => Ok(()),
                Err(BusError::Conflict { .. }) => Err(ClusterError::Claimed { room, stream }),
                Err(error) => Err(error.into()),
            }
        }))
    }
}

impl Handler<ReleaseStream> for ClusterAgent {
    type Result = ResponseFuture<()>;

    fn handle(
        &mut self,
        ReleaseStream { room, stream }: ReleaseStream,
        _: &mut Context<Self>,
    ) -> Self::Result {
        let key = format!("{room}/{stream}");
        match self.claims.get_mut(&key) {
            Some(Claim::Pending { released }) => *released = true,
            Some(Claim::Held(revision)) => {
                let revision = *revision;
                self.claims.remove(&key);
                return Box::pin(unclaim(Arc::clone(&self.bus), key, revision));
            }
            None => {}
        }
        Box::pin(std::future::ready(()))
    }
}

#[cfg(test)]
mod tests;
