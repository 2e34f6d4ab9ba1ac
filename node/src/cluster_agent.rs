//! Our side of the bus: the node's lease, its claims of streams, and its questions to the coordinator.
//!
//! Inputs: state and load of this node, streams that start and end here, sessions that look for a place.
//! Outputs: one lease in `aforo_nodes`, one claim per stream in `aforo_rooms`, placements.

mod actor;
mod core;
mod load;
mod message;

pub use actor::ClusterAgent;
pub use load::LoadMeter;
pub use message::{ClaimStream, ClusterError, GetPlacement, Leave, ReleaseStream, SetLoad, SetState};
