//! The rules of one room, pure: who may publish, who may watch, what a PATCH means, what ends with whom.
//!
//! Inputs: sessions that come and go, notices of their peers. Outputs, by [`RoomCore::poll_output`]: what to tell peers,
//! and each step of a session for logs and metrics. Nothing here has a deadline: peers end themselves when a client
//! never connects or falls silent, and say so.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use aforo_cluster::control::Role;
use aforo_cluster::id::{SessionId, StreamName, TrackId};

use super::error::RoomError;
use crate::media::codec::MediaKind;
use crate::media::negotiated::{Codec, IceCredentials, NegotiatedMedia};
use crate::media::path::{PeerKey, ShardId};
use crate::peer::message::{EndReason, PeerEvent, PeerInput, PeerNotice};

/// Former ICE user fragments that a session remembers: a PATCH that names one is late, not a restart. More restarts
/// than this within the life of one stray request do not happen.
const FORMER_UFRAGS: usize = 8;

/// A track of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamTrack {
    /// Its id on this node.
    pub id: TrackId,
    /// The codec as the publisher negotiated it.
    pub codec: Codec,
    /// Names of its simulcast layers, best first; empty without simulcast.
    pub rids: Vec<String>,
}

impl StreamTrack {
    /// Audio or video.
    pub fn kind(&self) -> MediaKind {
        self.codec.kind.kind()
    }
}

/// A stream that can be played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveStream {
    /// Its publisher's session; it tells this publication from the next under the same name.
    pub publisher: SessionId,
    /// The shard where it enters.
    pub origin: ShardId,
    /// Its tracks: at most one audio and one video.
    pub tracks: Vec<StreamTrack>,
}

/// A session that wants in.
#[derive(Debug, Clone)]
pub(super) struct Entrant {
    pub session: SessionId,
    pub stream: StreamName,
    pub shard: ShardId,
    /// The client's ICE user fragment.
    pub ufrag: String,
    /// The entity tag that its answer carries.
    pub etag: u64,
    /// What its answer agreed on; the answer to an ICE restart names it again.
    pub media: Vec<NegotiatedMedia>,
}

/// The `If-Match` of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IfMatch {
    /// There is none.
    Missing,
    /// `*` or `"*"`.
    Any,
    /// Strong entity tags of ours among those that it lists.
    Tags(Vec<u64>),
}

/// What a PATCH turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PatchKind {
    /// Candidates, or nothing new: as an ICE-lite agent we have nothing to do with them.
    Trickle,
    /// New ICE credentials of the client; ours are to be drawn for this shard.
    Restart(ShardId),
}

/// What the room wants done, and what happened in it.
#[derive(Debug, Clone)]
pub(super) enum RoomOutput {
    /// Tell a peer.
    TellPeer { shard: ShardId, peer: PeerKey, input: PeerInput },
    /// Close peers of one shard: all that leave it for the same reason at once.
    ClosePeers { shard: ShardId, peers: Vec<PeerKey>, reason: EndReason },
    /// A session came to a further stage of its join, `elapsed` after it entered.
    Stage { session: SessionId, stream: StreamName, role: Role, event: PeerEvent, elapsed: Duration },
    /// A session is over.
    SessionEnded {
        session: SessionId,
        stream: StreamName,
        role: Role,
        reason: EndReason,
        /// Time since it entered.
        elapsed: Duration,
        /// Whether it was connected before.
        connected: bool,
    },
    /// A stream is over, these kinds of tracks with it.
    StreamEnded { stream: StreamName, tracks: Vec<MediaKind> },
}

/// One stream, from its claim on.
#[derive(Debug)]
pub(super) struct Stream {
    pub live: LiveStream,
    /// Since when media flows.
    pub live_since: Option<Instant>,
    pub viewers: usize,
}

#[derive(Debug)]
struct Session {
    stream: StreamName,
    role: Role,
    shard: ShardId,
    peer: Option<PeerKey>,
    etag: u64,
    ufrag: String,
    former_ufrags: VecDeque<String>,
    media: Vec<NegotiatedMedia>,
    entered: Instant,
    connected: bool,
    /// What its peer is to be told once the room knows its key.
    untold: Option<PeerInput>,
}

/// One room.
#[derive(Debug, Default)]
pub(super) struct RoomCore {
    streams: BTreeMap<StreamName, Stream>,
    sessions: HashMap<SessionId, Session>,
    outputs: VecDeque<RoomOutput>,
    /// Peers to close, few entries of many: one for each shard and reason.
    closing: Vec<(ShardId, EndReason, Vec<PeerKey>)>,
}

impl RoomCore {
    /// The stream, if it can be played now.
    pub fn find(&self, stream: &StreamName) -> Result<&LiveStream, RoomError> {
        let stream = self.streams.get(stream).filter(|stream| stream.live_since.is_some());
        stream.map(|stream| &stream.live).ok_or(RoomError::NotLive)
    }

    /// Whether a publisher may have the stream.
    pub fn is_free(&self, stream: &StreamName) -> bool {
        !self.streams.contains_key(stream)
    }

    /// A publisher takes a stream. It is live from its first packet on.
    pub fn publish(
        &mut self,
        now: Instant,
        entrant: Entrant,
        tracks: Vec<StreamTrack>,
    ) -> Result<(), RoomError> {
        if !self.is_free(&entrant.stream) {
            return Err(RoomError::Taken);
        }
        let live = LiveStream { publisher: entrant.session, origin: entrant.shard, tracks };
        let stream = Stream { live, live_since: None, viewers: 0 };
        self.streams.insert(entrant.stream.clone(), stream);
        self.enter(now, entrant, Role::Publisher);
        Ok(())
    }

    /// A viewer comes to the publication of `publisher`, whose tracks its answer was made for.
    pub fn play(&mut self, now: Instant, entrant: Entrant, publisher: SessionId) -> Result<(), RoomError> {
        let stream = self.streams.get_mut(&entrant.stream);
        let stream =
            stream.filter(|stream| stream.live_since.is_some() && stream.live.publisher == publisher);
        stream.ok_or(RoomError::NotLive)?.viewers += 1;
        self.enter(now, entrant, Role::Viewer);
        Ok(())
    }

    fn enter(&mut self, now: Instant, entrant: Entrant, role: Role) {
        let session = Session {
            stream: entrant.stream,
            role,
            shard: entrant.shard,
            peer: None,
            etag: entrant.etag,
            ufrag: entrant.ufrag,
            former_ufrags: VecDeque::new(),
            media: entrant.media,
            entered: now,
            connected: false,
            untold: None,
        };
        self.sessions.insert(entrant.session, session);
    }

    /// The shard took the session's peer. If the session ended meanwhile, the peer is closed; what it was to be told
    /// meanwhile, it is told now.
    pub fn peer_added(&mut self, session: SessionId, shard: ShardId, peer: PeerKey) {
        match self.sessions.get_mut(&session) {
            Some(session) => {
                session.peer = Some(peer);
                let input = session.untold.take();
                self.outputs.extend(input.map(|input| RoomOutput::TellPeer { shard, peer, input }));
            }
            None => self.close_peer(shard, peer, EndReason::Deleted),
        }
    }

    /// A peer has something to say. Notices of sessions that are over are late and mean nothing.
    pub fn handle_notice(&mut self, notice: PeerNotice) {
        let PeerNotice { session: id, event, at } = notice;
        match event {
            PeerEvent::Added { shard, peer } => return self.peer_added(id, shard, peer),
            PeerEvent::Ended(reason) => {
                self.end(at, id, reason, false);
                return;
            }
            PeerEvent::PathFound
            | PeerEvent::Connected
            | PeerEvent::FirstMedia
            | PeerEvent::FirstKeyframe => {}
        }
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.connected |= event != PeerEvent::PathFound;
        let (role, stream) = (session.role, session.stream.clone());
        let elapsed = at.saturating_duration_since(session.entered);
        if role == Role::Publisher
            && event == PeerEvent::FirstMedia
            && let Some(stream) = self.streams.get_mut(&stream)
        {
            stream.live_since = Some(at);
        }
        self.outputs.push_back(RoomOutput::Stage { session: id, stream, role, event, elapsed });
    }

    /// Whether there is such a session of this role. Rights to publish and to watch are given apart, so the address of
    /// one must not reach the sessions of the other.
    pub fn require_role(&self, session: SessionId, role: Role) -> Result<(), RoomError> {
        let session = self.sessions.get(&session).filter(|session| session.role == role);
        session.map(|_| ()).ok_or(RoomError::NoSession)
    }

    /// The client ends its session.
    pub fn delete(&mut self, now: Instant, session: SessionId) -> Result<(), RoomError> {
        self.end(now, session, EndReason::Deleted, true).then_some(()).ok_or(RoomError::NoSession)
    }

    /// The session never came to be: its peer could not be added, or the cluster gave the stream to another.
    pub fn withdraw(&mut self, now: Instant, session: SessionId) {
        self.end(now, session, EndReason::Internal, true);
    }

    /// Ends every session.
    pub fn close_all(&mut self, now: Instant, reason: EndReason) {
        // Viewers first: they leave for this reason, not because their publisher does.
        let mut sessions: Vec<(bool, SessionId)> =
            self.sessions.iter().map(|(id, session)| (session.role == Role::Publisher, *id)).collect();
        sessions.sort_by_key(|(publishes, _)| *publishes);
        for (_, session) in sessions {
            self.end(now, session, reason, true);
        }
    }

    /// Ends a session, and with a publisher its stream and all who watch it. Returns whether the session existed.
    fn end(&mut self, now: Instant, id: SessionId, reason: EndReason, tell_peer: bool) -> bool {
        let Some(session) = self.sessions.remove(&id) else { return false };
        if tell_peer && let Some(peer) = session.peer {
            self.close_peer(session.shard, peer, reason);
        }
        let name = session.stream.clone();
        self.outputs.push_back(RoomOutput::SessionEnded {
            session: id,
            stream: session.stream,
            role: session.role,
            reason,
            elapsed: now.saturating_duration_since(session.entered),
            connected: session.connected,
        });
        match session.role {
            Role::Publisher => self.end_stream(now, name),
            Role::Viewer => {
                if let Some(stream) = self.streams.get_mut(&name) {
                    stream.viewers = stream.viewers.saturating_sub(1);
                }
            }
        }
        true
    }

    fn end_stream(&mut self, now: Instant, name: StreamName) {
        let Some(stream) = self.streams.remove(&name) else { return };
        let viewers = self.sessions.iter().filter(|(_, session)| session.stream == name);
        let viewers: Vec<SessionId> = viewers.map(|(id, _)| *id).collect();
        for viewer in viewers {
            self.end(now, viewer, EndReason::StreamEnded, true);
        }
        let tracks = stream.live.tracks.iter().map(StreamTrack::kind).collect();
        self.outputs.push_back(RoomOutput::StreamEnded { stream: name, tracks });
    }

    fn close_peer(&mut self, shard: ShardId, peer: PeerKey, reason: EndReason) {
        let same = self.closing.iter_mut().find(|(of, why, _)| (*of, *why) == (shard, reason));
        match same {
            Some((_, _, peers)) => peers.push(peer),
            None => self.closing.push((shard, reason, vec![peer])),
        }
    }

    /// Decides what a PATCH with these ICE credentials of the client is (RFC 9725 §4.3.2, §4.3.3).
    ///
    /// A restart comes with `*`, as the client cannot know the tag that it will get. A matching tag with new credentials
    /// is a restart too: the client means the session as it is. Credentials of an earlier time are late whatever the tag.
    pub fn patch(
        &self,
        session: SessionId,
        if_match: &IfMatch,
        remote: Option<&IceCredentials>,
    ) -> Result<PatchKind, RoomError> {
        let session = self.sessions.get(&session).ok_or(RoomError::NoSession)?;
        match if_match {
            IfMatch::Missing => return Err(RoomError::PreconditionMissing),
            IfMatch::Tags(tags) if !tags.contains(&session.etag) => {
                return Err(RoomError::PreconditionFailed);
            }
            IfMatch::Tags(_) | IfMatch::Any => {}
        }
        match remote {
            Some(remote) if session.former_ufrags.contains(&remote.ufrag) => {
                Err(RoomError::PreconditionFailed)
            }
            Some(remote) if session.ufrag != remote.ufrag => Ok(PatchKind::Restart(session.shard)),
            _ => Ok(PatchKind::Trickle),
        }
    }

    /// Restarts a session's ICE; from now on `etag` is its entity tag. Returns what its answer agreed on.
    pub fn restart(
        &mut self,
        id: SessionId,
        local: IceCredentials,
        remote: IceCredentials,
        etag: u64,
    ) -> Result<Vec<NegotiatedMedia>, RoomError> {
        let session = self.sessions.get_mut(&id).ok_or(RoomError::NoSession)?;
        if session.former_ufrags.len() == FORMER_UFRAGS {
            session.former_ufrags.pop_front();
        }
        let former = std::mem::replace(&mut session.ufrag, remote.ufrag.clone());
        session.former_ufrags.push_back(former);
        session.etag = etag;
        let (shard, input) = (session.shard, PeerInput::RestartIce { local, remote });
        match session.peer {
            Some(peer) => self.outputs.push_back(RoomOutput::TellPeer { shard, peer, input }),
            // A viewer that is quicker than the notice of its peer; of two restarts the later one counts.
            None => session.untold = Some(input),
        }
        Ok(session.media.clone())
    }

    /// What happened and what is to be done, oldest first; peers are closed last.
    pub fn poll_output(&mut self) -> Option<RoomOutput> {
        self.outputs.pop_front().or_else(|| {
            let (shard, reason, peers) = self.closing.pop()?;
            Some(RoomOutput::ClosePeers { shard, peers, reason })
        })
    }

    /// Its streams, by name.
    pub fn streams(&self) -> impl Iterator<Item = (&StreamName, &Stream)> {
        self.streams.iter()
    }

    /// Whether nobody is in it.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Sessions in it.
    #[cfg(test)]
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }
}

#[cfg(test)]
mod tests;
