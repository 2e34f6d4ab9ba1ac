//! What a peer is told and what it says.
//!
//! Inputs: datagrams of STUN and DTLS that the shard demultiplexed, commands of the room, time.
//! Outputs: datagrams to send, the path that ICE chose, keys, its end.

use std::time::Instant;

use actix::Message;
use aforo_cluster::id::SessionId;
use bytes::Bytes;

use crate::media::keys::SrtpKeys;
use crate::media::negotiated::{IceCredentials, Negotiated};
use crate::media::path::{Path, PeerKey, ShardId};

/// What a peer is made of; all of it is known when the offer has been answered.
#[derive(Debug, Clone)]
pub struct PeerConfig {
    /// Our ICE credentials, as the answer gave them.
    pub local_ice: IceCredentials,
    /// What the offer and our answer agreed on.
    pub negotiated: Negotiated,
}

/// What a peer is told.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub enum PeerInput {
    /// A STUN or DTLS datagram that was routed to this peer by ufrag or by path.
    Datagram {
        /// Where it came from.
        path: Path,
        /// The whole datagram.
        bytes: Bytes,
    },
    /// Media or RTCP that authenticates last came from this path, which is in use, at this time; said before a check from another.
    PathHeard {
        /// The path.
        path: Path,
        /// When.
        at: Instant,
    },
    /// Media or RTCP that authenticates came by this path at this time, and another is in use; said now and then.
    SendsElsewhere {
        /// The path.
        path: Path,
        /// When.
        at: Instant,
    },
    /// The client restarts ICE (RFC 9725 §4.3.3): from now on checks use these credentials; the old path keeps
    /// carrying media until a check under the new ones succeeds.
    RestartIce {
        /// Ours, new.
        local: IceCredentials,
        /// The client's, new.
        remote: IceCredentials,
    },
    /// End the connection; the client is told by a DTLS `close_notify`.
    Close(EndReason),
}

/// What a peer says.
#[derive(Debug, Clone)]
pub enum PeerOutput {
    /// Send this datagram.
    Transmit {
        /// Where to.
        path: Path,
        /// STUN or DTLS.
        bytes: Bytes,
    },
    /// An authenticated check came from this path: datagrams from it belong to this peer from now on.
    PathValidated(Path),
    /// The client has answered a question from this path, or read the whole handshake there: so it is there and nobody else.
    PathProved(Path),
    /// A path that was validated before is not this peer's any more: the client stopped checking it, or checked too
    /// many others since. Never the selected one.
    PathForgotten(Path),
    /// ICE chose this path; media goes there from now on. The first validated path is chosen at once, then each that the
    /// client nominates (first authenticated USE-CANDIDATE check on it), or that it checks when the one in use is silent.
    PathSelected(Path),
    /// The first good check under the credentials of an ICE restart came: this ufrag of ours is the one in use, and no
    /// check under the one before will be good.
    UfragInUse(String),
    /// The DTLS handshake is done and the peer's certificate is the one it announced.
    Connected {
        /// The path in use.
        path: Path,
        /// For the plane.
        keys: SrtpKeys,
    },
    /// The connection is over; nothing follows.
    Ended(EndReason),
    /// The peer's actor died of a fault of ours; nothing follows. Never said by a core.
    Died,
}

/// What a peer actor says to the shard it lives on.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct PeerSaid {
    /// Which peer.
    pub peer: PeerKey,
    /// What it says.
    pub output: PeerOutput,
}

/// Why a connection ended. The labels of `session_ends_total{reason}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// The client sent DELETE.
    Deleted,
    /// The client closed DTLS.
    ClosedByPeer,
    /// No authenticated check came in time.
    IceTimeout,
    /// DTLS did not finish in time.
    DtlsTimeout,
    /// DTLS failed: no common profile, or a certificate other than announced.
    DtlsFailed,
    /// Consent expired: no authenticated check for 30 s (RFC 7675 §5.1).
    ConsentExpired,
    /// A publisher was connected and sent no media for 30 s.
    NoMedia,
    /// A publisher that was to take a live stream over sent no keyframe in time: the other one plays on.
    NoKeyframe,
    /// The publisher left and its grace time ended.
    StreamEnded,
    /// Another publisher, who may, has taken the stream over.
    TakenOver,
    /// The publisher returned with other codecs than the viewer negotiated.
    StreamChanged,
    /// The client was at an address where another session's client is for sure, and nowhere else.
    PathTaken,
    /// The node is stopping.
    Shutdown,
    /// Our own fault; the log says which.
    Internal,
}

impl EndReason {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Deleted,
        Self::ClosedByPeer,
        Self::IceTimeout,
        Self::DtlsTimeout,
        Self::DtlsFailed,
        Self::ConsentExpired,
        Self::NoMedia,
        Self::NoKeyframe,
        Self::StreamEnded,
        Self::TakenOver,
        Self::StreamChanged,
        Self::PathTaken,
        Self::Shutdown,
        Self::Internal,
    ];

    /// The metric label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::ClosedByPeer => "closed_by_peer",
            Self::IceTimeout => "ice_timeout",
            Self::DtlsTimeout => "dtls_timeout",
            Self::DtlsFailed => "dtls_failed",
            Self::ConsentExpired => "consent_expired",
            Self::NoMedia => "no_media",
            Self::NoKeyframe => "no_keyframe",
            Self::StreamEnded => "stream_ended",
            Self::TakenOver => "taken_over",
            Self::StreamChanged => "stream_changed",
            Self::PathTaken => "path_taken",
            Self::Shutdown => "shutdown",
            Self::Internal => "internal",
        }
    }
}

/// What a room hears of its peers on one shard, oldest first.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct PeerNotices(pub Vec<PeerNotice>);

/// What the room of a session hears of its peer.
#[derive(Debug, Clone)]
pub struct PeerNotice {
    /// Whose peer.
    pub session: SessionId,
    /// What happened.
    pub event: PeerEvent,
    /// When, by the node's monotonic clock.
    pub at: Instant,
}

/// The steps of a peer's life that a room cares about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerEvent {
    /// ICE has found a path.
    PathFound,
    /// The shard has taken a viewer's peer in. Of a publisher's peer its room is told in answer to its question.
    Added {
        /// Which shard.
        shard: ShardId,
        /// The peer's key there.
        peer: PeerKey,
    },
    /// ICE and DTLS are done.
    Connected,
    /// The first packet was opened (publisher) or sealed for it (viewer).
    FirstMedia,
    /// The first keyframe came (publisher) or was sealed for it (viewer).
    FirstKeyframe,
    /// The publisher is connected and sends no media any more, or none yet.
    MediaPaused {
        /// When its last media came, or it was connected.
        since: Instant,
    },
    /// Media comes from it again.
    MediaResumed,
    /// The viewer's path carries no picture beside the sound: it is held back from now on, or not any more.
    PictureHeld(bool),
    /// The connection is over; nothing follows.
    Ended(EndReason),
}
