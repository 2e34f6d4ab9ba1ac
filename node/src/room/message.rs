//! What rooms are told and asked. All of it goes through [`super::Rooms`], which finds the room.

use actix::Message;
use aforo_cluster::control::Role;
use aforo_cluster::id::{RoomName, SessionId, StreamName};
use tokio::sync::oneshot;

use super::claimant::{Claimant, TokenDigest};
use super::core::{IfMatch, LayerRequest};
use super::directory::Reservation;
use super::error::RoomError;
use super::events::{EventFeed, EventKinds, StreamNumber};
use super::report::RoomReport;
use crate::media::negotiated::{IceCredentials, NegotiatedMedia};
use crate::media::path::ShardId;
use crate::peer::message::{EndReason, PeerConfig};
use crate::telemetry::JoinTrace;

/// Where on this node does a publisher belong? Asked of [`super::Rooms`] before the offer is answered; viewers belong
/// wherever [`super::Directory`] has a place.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Reservation, RoomError>")]
pub struct Place {
    /// The room.
    pub room: RoomName,
    /// The stream.
    pub stream: StreamName,
    /// Who wants to publish it.
    pub claimant: Claimant,
}

/// Where a stream is that is here already: its next publisher comes in there.
#[derive(Debug)]
pub(super) struct Home {
    pub shard: ShardId,
    /// The place of the publisher that left, kept for the next.
    pub seat: Option<Reservation>,
}

/// May this publisher have the stream? `None` if it may and the stream is new.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Option<Home>, RoomError>")]
pub(super) struct CheckFree {
    pub stream: StreamName,
    pub claimant: Claimant,
}

/// A publisher's offer was answered: take the stream and add the peer.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), RoomError>")]
pub struct Publish {
    /// The new session.
    pub session: SessionId,
    /// The stream.
    pub stream: StreamName,
    /// Who publishes it.
    pub claimant: Claimant,
    /// Its place.
    pub place: Reservation,
    /// The entity tag of the answer.
    pub etag: u64,
    /// What was negotiated.
    pub config: PeerConfig,
    /// The trace of its join, if it is traced.
    pub trace: Option<JoinTrace>,
}

/// A viewer's offer was answered: add the peer.
#[derive(Debug, Clone)]
pub struct Play {
    /// The new session.
    pub session: SessionId,
    /// The stream.
    pub stream: StreamName,
    /// The publication that the answer was made for.
    pub publisher: SessionId,
    /// The place of the video among the sections of the answer, from 0; `None` without one.
    pub video_section: Option<usize>,
    /// Its place.
    pub place: Reservation,
    /// Of the token that it was let in with, if there was one.
    pub token: Option<TokenDigest>,
    /// The entity tag of the answer.
    pub etag: u64,
    /// What was negotiated.
    pub config: PeerConfig,
    /// The trace of its join, if it is traced.
    pub trace: Option<JoinTrace>,
}

/// Let a viewer in. Whoever decides it answers: the root, the room, or, if nothing speaks against it, the shard that takes
/// the peer. The answer then crosses from the shard's thread to the HTTP worker's without a stop at the rooms', and each
/// stop costs some 15 microseconds of CPU for a thread that must be woken.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Admit {
    /// The viewer.
    pub play: Play,
    /// Takes the answer; dropped without one where an actor dies.
    pub answer: oneshot::Sender<Result<(), RoomError>>,
}

/// The client sent a PATCH.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<Patched, RoomError>")]
pub struct PatchSession {
    /// Which session.
    pub session: SessionId,
    /// The stream that its address named, which the request was let in for.
    pub stream: StreamName,
    /// Whose address was used: a publisher's session is unknown to WHEP, a viewer's to WHIP.
    pub role: Role,
    /// Its precondition.
    pub if_match: IfMatch,
    /// The client's ICE credentials in the fragment, if it has them.
    pub remote: Option<IceCredentials>,
}

/// What a PATCH did.
#[derive(Debug, Clone)]
pub enum Patched {
    /// Took note of candidates.
    Trickled,
    /// Restarted ICE.
    Restarted {
        /// The session's shard.
        shard: ShardId,
        /// Our new credentials.
        local: IceCredentials,
        /// The new entity tag.
        etag: u64,
        /// What the session's answer agreed on.
        media: Vec<NegotiatedMedia>,
    },
}

/// Was the session let in with this token? Asked for a token that lets nobody in any more.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<bool, RoomError>")]
pub struct IsBearer {
    /// Which session.
    pub session: SessionId,
    /// As in [`PatchSession`].
    pub stream: StreamName,
    /// As in [`PatchSession`].
    pub role: Role,
    /// Of the token.
    pub token: TokenDigest,
}

/// The client sent DELETE.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), RoomError>")]
pub struct EndSession {
    /// Which session.
    pub session: SessionId,
    /// As in [`PatchSession`].
    pub stream: StreamName,
    /// As in [`PatchSession`].
    pub role: Role,
}

/// A viewer wants to be told of events of its stream.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<StreamNumber, RoomError>")]
pub struct OpenEvents {
    /// Which session's.
    pub session: SessionId,
    /// As in [`PatchSession`].
    pub stream: StreamName,
    /// Of which.
    pub kinds: EventKinds,
}

/// A viewer comes to listen to an event stream that it opened.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<EventFeed, RoomError>")]
pub struct ListenToEvents {
    /// Which session's.
    pub session: SessionId,
    /// As in [`PatchSession`].
    pub stream: StreamName,
    /// Which of its event streams.
    pub number: StreamNumber,
}

/// A viewer wants no more of an event stream.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), RoomError>")]
pub struct CloseEvents {
    /// Which session's.
    pub session: SessionId,
    /// As in [`PatchSession`].
    pub stream: StreamName,
    /// Which of its event streams.
    pub number: StreamNumber,
}

/// A viewer asks for a layer of its video.
#[derive(Debug, Clone, Message)]
#[rtype(result = "Result<(), RoomError>")]
pub struct SelectLayer {
    /// Which session's.
    pub session: SessionId,
    /// As in [`PatchSession`].
    pub stream: StreamName,
    /// Which layer.
    pub request: LayerRequest,
}

/// The node is on its way out: nobody enters any more, and viewers are told to move. Answered with how many were.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "usize")]
pub struct TellToLeave;

/// What is in the room?
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "Result<RoomReport, RoomError>")]
pub struct GetReport {
    /// Whether the figures of tracks are wanted too: they are asked of the shards.
    pub with_figures: bool,
}

/// End every session.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct CloseAll(pub EndReason);
