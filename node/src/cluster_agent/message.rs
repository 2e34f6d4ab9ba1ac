//! What the cluster agent is told and asked.

use actix::Message;
use aforo_cluster::bus::BusError;
use aforo_cluster::control::{NodeState, PlacementAnswer, PlacementRequest};
use aforo_cluster::id::{RoomName, StreamName};

/// The node takes sessions from now on, or does not any more. The lease says so at once.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct SetState(pub NodeState);

/// The node's load over its limit; the next renewal of the lease carries it.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct SetLoad(pub f64);

/// The node stops: its lease is given back and the agent ends.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct Leave;

/// Asks the coordinator where a session belongs.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<PlacementAnswer, ClusterError>")]
pub struct GetPlacement(pub PlacementRequest);

/// This node is about to be a stream's origin. Fails with [`ClusterError::Claimed`] while another origin has it.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), ClusterError>")]
pub struct ClaimStream {
    /// The room.
    pub room: RoomName,
    /// The stream.
    pub stream: StreamName,
}

/// The stream has ended here.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct ReleaseStream {
    /// The room.
    pub room: RoomName,
    /// The stream.
    pub stream: StreamName,
}

/// Why the cluster did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The stream has an origin already.
    #[error("{room}/{stream} has an origin already")]
    Claimed {
        /// The room.
        room: RoomName,
        /// The stream.
        stream: StreamName,
    },
    /// The bus did not answer.
    #[error("the bus does not answer")]
    Bus(#[from] BusError),
    /// What came over the bus cannot be read: another version speaks there.
    #[error("a message of the bus cannot be read")]
    Message(#[from] serde_json::Error),
}
