//! Why a room does not do what a client asked of it.

use aforo_cluster::control::PlacementRefusal;
use aforo_cluster::id::NodeId;

use crate::actor::lane::AskError;
use crate::cluster_agent::ClusterError;
use crate::shard::message::AddPeerError;

/// Why a room does not do what a client asked of it. `signalling` chooses the HTTP status.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    /// Nobody publishes the stream, or its first packet has not come yet. An unknown room is the same.
    #[error("the stream is not live")]
    NotLive,
    /// Somebody publishes the stream already.
    #[error("the stream has a publisher already")]
    Taken,
    /// Another publisher has taken the stream over from the session.
    #[error("another publisher has taken the stream over")]
    TakenOver,
    /// The session does not exist, or does not any more.
    #[error("there is no such session")]
    NoSession,
    /// The event stream does not exist, or does not any more.
    #[error("there is no such event stream")]
    NoEventStream,
    /// The session has as many event streams as it may have.
    #[error("the session has {0} event streams, its limit")]
    EventStreamLimit(usize),
    /// A wish for a layer of a section in which the session plays no video.
    #[error("the session plays no video in the section with the mediaId {0:?}")]
    UnknownMedia(String),
    /// A wish for a layer that the publisher does not send.
    #[error("the video has no layer with the rid {0:?}")]
    UnknownLayer(String),
    /// A PATCH without `If-Match` (RFC 9725 §4.3.1).
    #[error("the request lacks If-Match")]
    PreconditionMissing,
    /// The `If-Match` of a PATCH is not the session's entity tag.
    #[error("the entity tag is not the session's")]
    PreconditionFailed,
    /// The node has as many sessions as it may have.
    #[error("the node has {0} sessions, its limit")]
    SessionLimit(u32),
    /// The node has as many rooms as it may have.
    #[error("the node has {0} rooms, its limit")]
    RoomLimit(u32),
    /// The node sends as many bits or packets per second as it may.
    #[error("the node sends as much as it may")]
    OutputLimit,
    /// More viewers wait for the room than can be kept waiting.
    #[error("too many come at once")]
    Crowded,
    /// The session belongs on another node.
    #[error("the session belongs on the node {0}")]
    Elsewhere(NodeId),
    /// No node can take the session.
    #[error("no node can take the session")]
    Refused(#[source] PlacementRefusal),
    /// The cluster did not answer.
    #[error("the cluster does not answer")]
    Cluster(#[source] ClusterError),
    /// The shard does not take the peer.
    #[error("the media arbiter does not take the peer")]
    Shard(#[source] AddPeerError),
    /// An actor did not answer.
    #[error("a part of the node does not answer")]
    Unanswered(#[source] AskError),
    /// The room closed while the request was on its way: ask again.
    #[error("the room has closed")]
    Closed,
    /// The node has no randomness for ICE credentials.
    #[error("no randomness for ice credentials")]
    Randomness,
}
