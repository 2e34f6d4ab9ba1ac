//! Messages between nodes and the coordinator: leases that nodes keep on the bus, and placements they ask for.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::id::{NodeId, RoomName, StreamName};

/// How long a node counts as alive after its last renewal. Three renewals may be lost.
pub const LEASE_TTL: Duration = Duration::from_secs(3);

/// How often a node renews its lease.
pub const LEASE_RENEWAL: Duration = Duration::from_secs(1);

/// The subject on which coordinators take [`PlacementRequest`]s.
pub const PLACEMENT_SUBJECT: &str = "aforo.coordinator.place";

/// What a node says of itself in `aforo_nodes`, renewed each [`LEASE_RENEWAL`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeLease {
    /// Which node.
    pub node: NodeId,
    /// Whether it takes new sessions.
    pub state: NodeState,
    /// Load over limit of its scarcest resource: 0 is idle, 1 is full.
    pub load_ratio: f64,
}

/// Whether a node takes new sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It does.
    Ready,
    /// It is stopping: what it has goes on, nothing new comes.
    Draining,
}

/// What a client wants to do in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Send a stream.
    Publisher,
    /// Watch a stream.
    Viewer,
}

impl Role {
    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publisher => "publisher",
            Self::Viewer => "viewer",
        }
    }
}

/// Asks where a session belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacementRequest {
    /// The room.
    pub room: RoomName,
    /// The stream.
    pub stream: StreamName,
    /// What the client wants to do.
    pub role: Role,
}

/// The coordinator's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlacementAnswer {
    /// The session belongs on this node.
    Node(NodeId),
    /// No node can take it now.
    Refused(PlacementRefusal),
}

/// Why no node can take a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum PlacementRefusal {
    /// No node holds a lease.
    #[error("no node is up")]
    NoNode,
    /// Every node is draining.
    #[error("every node is draining")]
    Draining,
    /// Every node is at its limit.
    #[error("every node is full")]
    Full,
}

impl PlacementRefusal {
    /// The label of `placements_total{reason}`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoNode => "no_node",
            Self::Draining => "draining",
            Self::Full => "full",
        }
    }
}
