//! The actor that renews the node's lease and carries the node's questions to the bus.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{
    Actor, ActorContext, AsyncContext, Context, Handler, ResponseActFuture, ResponseFuture, WrapFuture,
};
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
use crate::actor::timer::{Timed, Timer, arm};

/// How long a client that joins may wait for the coordinator: beyond it, an answer of 503 serves it better.
const PLACEMENT_DEADLINE: Duration = Duration::from_secs(2);

/// What a node writes into `aforo_rooms` for a stream that enters at it.
#[derive(Debug, Serialize)]
struct OriginClaim {
    node: NodeId,
}

/// Our side of the bus.
pub struct ClusterAgent {
    bus: Arc<dyn Bus>,
    metrics: Arc<Metrics>,
    lease: NodeLease,
    /// Revision of the lease on the bus; none before the first, and after it was lost.
    lease_revision: Option<u64>,
    renew_at: Option<Instant>,
    /// Revisions of our claims, by key.
    claims: HashMap<String, u64>,
    timer: Timer,
}

impl ClusterAgent {
    /// An agent for `node` that takes sessions as soon as it starts.
    pub fn new(bus: Arc<dyn Bus>, metrics: Arc<Metrics>, node: NodeId) -> Self {
        Self {
            bus,
            metrics,
            lease: NodeLease { node, state: NodeState::Ready, load_ratio: 0.0 },
            lease_revision: None,
            renew_at: None,
            claims: HashMap::new(),
            timer: Timer::default(),
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
        Box::pin(left.into_actor(self).map(|(), _, context| context.stop()))
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
        let bus = Arc::clone(&self.bus);
        let claim = OriginClaim { node: self.lease.node.clone() };
        let key = format!("{room}/{stream}");
        let claimed = async move {
            let value = Bytes::from(serde_json::to_vec(&claim)?);
            match bus.create(Bucket::Rooms, &key, value, None).await {
                Ok(revision) => Ok((key, revision)),
                Err(BusError::Conflict { .. }) => Err(ClusterError::Claimed { room, stream }),
                Err(error) => Err(error.into()),
            }
        };
        Box::pin(claimed.into_actor(self).then(|claimed, agent, _| {
            fut::ready(claimed.map(|(key, revision)| {
                agent.claims.insert(key, revision);
            }))
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
        let (bus, revision) = (Arc::clone(&self.bus), self.claims.remove(&key));
        Box::pin(async move {
            let Some(revision) = revision else { return };
            if let Err(error) = bus.delete(Bucket::Rooms, &key, revision).await {
                warn!(%error, "a stream's claim cannot be released");
            }
        })
    }
}

#[cfg(test)]
mod tests;
