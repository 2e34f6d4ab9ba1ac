//! Which streams are ours: a claim of each in `aforo_rooms`, from before it starts until after it has ended.

use std::sync::Arc;

use actix::{ActorFutureExt, AsyncContext, Context, ResponseActFuture, ResponseFuture, WrapFuture, fut};
use aforo_cluster::bus::{Answer, Bucket, BusError};
use aforo_cluster::id::NodeId;
use bytes::Bytes;
use serde::Serialize;
use tracing::warn;

use super::super::message::{ClaimStream, ClusterError, ReleaseStream};
use super::{ClusterAgent, timed};
use crate::actor::instruments::Handler;

/// What a node writes into `aforo_rooms` for a stream that enters at it.
#[derive(Debug, Serialize)]
struct OriginClaim {
    node: NodeId,
}

/// A stream of ours in `aforo_rooms`.
#[derive(Debug, Clone, Copy)]
pub(super) enum Claim {
    /// The bus has not answered yet. The stream may end before it does: then the claim goes as soon as it stands.
    Pending { released: bool },
    /// It stands, with this revision.
    Held(u64),
}

impl ClusterAgent {
    /// The bus has answered a claim.
    fn claimed(&mut self, key: String, created: Answer<u64>, context: &mut Context<Self>) {
        let released = matches!(self.claims.remove(&key), Some(Claim::Pending { released: true }));
        match created {
            Ok(revision) if released => {
                context.spawn(self.unclaim(key, revision).into_actor(self));
            }
            Ok(revision) => {
                self.claims.insert(key, Claim::Held(revision));
            }
            Err(_) => {}
        }
    }

    /// Gives a claim back.
    fn unclaim(&self, key: String, revision: u64) -> impl Future<Output = ()> + use<> {
        let (bus, metrics) = (Arc::clone(&self.bus), Arc::clone(&self.metrics));
        async move {
            let released = bus.delete(Bucket::Rooms.key(&key), revision);
            if let Err(error) = timed(&metrics, "release", released).await {
                warn!(%error, "a stream's claim cannot be released");
            }
        }
    }
}

impl Handler<ClaimStream> for ClusterAgent {
    type Result = ResponseActFuture<Self, Result<(), ClusterError>>;

    fn handle(&mut self, ClaimStream { room, stream }: ClaimStream, _: &mut Context<Self>) -> Self::Result {
        let key = format!("{room}/{stream}");
        let value = match serde_json::to_vec(&OriginClaim { node: self.lease.node().clone() }) {
            Ok(value) => Bytes::from(value),
            Err(error) => return Box::pin(fut::ready(Err(error.into()))),
        };
        if self.claims.contains_key(&key) {
            return Box::pin(fut::ready(Err(ClusterError::Claimed { room, stream })));
        }
        self.claims.insert(key.clone(), Claim::Pending { released: false });
        let (bus, metrics, of) = (Arc::clone(&self.bus), Arc::clone(&self.metrics), key.clone());
        let created =
            async move { timed(&metrics, "claim", bus.create(Bucket::Rooms.key(&of), value, None)).await };
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
                return Box::pin(self.unclaim(key, revision));
            }
            None => {}
        }
        Box::pin(std::future::ready(()))
    }
}
