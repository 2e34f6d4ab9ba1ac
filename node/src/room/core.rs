//! The rules of one room, pure: who may publish, who may watch, what a PATCH means, what ends with whom.
//!
//! Inputs: sessions that come and go, notices of their peers, time. Outputs, by [`RoomCore::poll_output`]: what to tell
//! peers, and each step of a session for logs and metrics. The one deadline is that of a stream whose publisher left;
//! peers end themselves when a client never connects or falls silent, and say so.

mod layer;
mod patch;
mod stream;
mod succession;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use aforo_cluster::control::Role;
use aforo_cluster::id::{SessionId, StreamName};

use super::claimant::TokenDigest;
use super::error::RoomError;
use super::events::Facts;
use crate::media::codec::MediaKind;
use crate::media::negotiated::{IceCredentials, NegotiatedMedia};
use crate::media::path::{PeerKey, ShardId};
use crate::media::selection::LayerWish;
use crate::peer::message::{EndReason, PeerEvent, PeerInput, PeerNotice};
pub use layer::LayerRequest;
pub use patch::IfMatch;
pub(super) use patch::PatchKind;
pub(super) use stream::Stream;
pub use stream::{LiveStream, StreamTrack};
pub use succession::Published;

/// A session that wants in.
#[derive(Debug, Clone)]
pub struct Entrant {
    /// Its own name.
    pub session: SessionId,
    /// What it publishes or plays.
    pub stream: StreamName,
    /// Where its peer lives.
    pub shard: ShardId,
    /// The client's ICE user fragment.
    pub ufrag: String,
    /// The entity tag that its answer carries.
    pub etag: u64,
    /// What its answer agreed on; the answer to an ICE restart names it again.
    pub media: Vec<NegotiatedMedia>,
    /// The place of a viewer's video among the sections of its answer.
    pub video_section: Option<usize>,
    /// Of the token that it was let in with.
    pub token: Option<TokenDigest>,
}

/// What the room wants done, and what happened in it.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "fields are what their types are called")]
pub enum RoomOutput {
    /// Tell a peer.
    TellPeer { shard: ShardId, peer: PeerKey, input: PeerInput },
    /// A viewer asks for a layer.
    WishLayer { shard: ShardId, peer: PeerKey, wish: LayerWish },
    /// A viewer is sent no picture as its path carries none, or is sent one again.
    PictureHeld { session: SessionId, held: bool },
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
    /// A stream has its first publisher, these kinds of tracks with it.
    StreamClaimed { tracks: Vec<MediaKind> },
    /// No media comes: its publisher `left`, or is here and silent. So many viewers wait.
    StreamPaused { stream: StreamName, viewers: usize, left: bool },
    /// Its publisher had been silent and sends media again.
    StreamResumed { stream: StreamName, away: Duration },
    /// Another publisher has it.
    PublisherChanged {
        stream: StreamName,
        tracks_before: Vec<MediaKind>,
        tracks: Vec<MediaKind>,
        /// How long nobody published it; `None` if it was taken over from somebody.
        away: Option<Duration>,
        /// Whether its viewers play on; if not, it is live again from the first packet on.
        goes_on: bool,
    },
    /// A stream is over, these kinds of tracks with it.
    StreamEnded { stream: StreamName, tracks: Vec<MediaKind> },
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
    video_section: Option<usize>,
    token: Option<TokenDigest>,
    entered: Instant,
    connected: bool,
    /// Whether it is sent no picture, as its path carries none beside the sound.
    held: bool,
    /// What its peer is to be told once the room knows its key.
    untold: Option<PeerInput>,
    /// Which layer it asked for last. In its own words: what they mean follows from who publishes.
    wish: Option<LayerRequest>,
}

/// One room.
#[derive(Debug, Default)]
pub struct RoomCore {
    streams: BTreeMap<StreamName, Stream>,
    sessions: HashMap<SessionId, Session>,
    outputs: VecDeque<RoomOutput>,
    /// Peers to close, few entries of many: one for each shard and reason.
    closing: Vec<(ShardId, EndReason, Vec<PeerKey>)>,
    /// How long viewers wait for a publisher that left; zero ends them at once.
    grace: Duration,
    /// Publishers that were taken over, the latest last.
    taken_over: VecDeque<(SessionId, StreamName)>,
}

impl RoomCore {
    /// A room without streams, whose viewers wait for a publisher that left as long as `grace`.
    pub fn new(grace: Duration) -> Self {
        Self { grace, ..Self::default() }
    }

    /// A viewer comes to the publication of `publisher`, whose tracks its answer was made for.
    pub fn play(&mut self, now: Instant, entrant: Entrant, publisher: SessionId) -> Result<(), RoomError> {
        let stream = self.streams.get_mut(&entrant.stream);
        let stream = stream.filter(|stream| stream.flows && stream.live.publisher == publisher);
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
            video_section: entrant.video_section,
            token: entrant.token,
            entered: now,
            connected: false,
            held: false,
            untold: None,
            wish: None,
        };
        self.sessions.insert(entrant.session, session);
    }

    /// The shard took the session's peer. If the session ended meanwhile, the peer is closed; what it was to be told
    /// meanwhile, it is told now.
    pub fn peer_added(&mut self, id: SessionId, shard: ShardId, peer: PeerKey) {
        match self.sessions.get_mut(&id) {
            Some(session) => {
                session.peer = Some(peer);
                let input = session.untold.take();
                self.outputs.extend(input.map(|input| RoomOutput::TellPeer { shard, peer, input }));
                self.wish_again(id);
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
            PeerEvent::MediaPaused { since } => return self.publisher_silent(since, id),
            PeerEvent::MediaResumed => return self.publisher_heard(at, id),
            PeerEvent::PictureHeld(held) => {
                let Some(session) = self.sessions.get_mut(&id) else { return };
                session.held = held;
                return self.outputs.push_back(RoomOutput::PictureHeld { session: id, held });
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
        if role == Role::Publisher && event == PeerEvent::Connected {
            self.successor_connected(at, &stream, id);
        }
        if role == Role::Publisher && event == PeerEvent::FirstMedia {
            self.take_over(at, &stream, id);
        }
        if role == Role::Publisher
            && event == PeerEvent::FirstMedia
            && let Some(stream) = self.streams.get_mut(&stream)
            && stream.holder.as_ref().is_some_and(|holder| holder.session == id)
        {
            stream.flows = true;
            stream.paused = None;
            stream.live_since.get_or_insert(at);
        }
        self.outputs.push_back(RoomOutput::Stage { session: id, stream, role, event, elapsed });
    }

    /// Whether there is such a session of this role with this stream. Rights are given apart for publishing and watching,
    /// and for each stream, so the address of one must not reach the sessions of another.
    pub fn require(&self, session: SessionId, role: Role, stream: &StreamName) -> Result<(), RoomError> {
        if role == Role::Publisher && self.taken_over.iter().any(|known| *known == (session, stream.clone()))
        {
            return Err(RoomError::TakenOver);
        }
        let session = self.sessions.get(&session);
        let meant = session.filter(|session| session.role == role && session.stream == *stream);
        meant.map(|_| ()).ok_or(RoomError::NoSession)
    }

    /// Whether the session was let in with this token. Its key may be gone by now, and the session goes on.
    pub fn is_bearer(&self, session: SessionId, token: &TokenDigest) -> bool {
        let session = self.sessions.get(&session);
        session.and_then(|session| session.token.as_ref()).is_some_and(|own| own.is(token))
    }

    /// The place of a viewer's video among the sections of its answer.
    pub fn video_section(&self, session: SessionId) -> Option<usize> {
        self.sessions.get(&session)?.video_section
    }

    /// Whether a viewer is sent no picture, as its path carries none beside the sound.
    pub fn holds_picture(&self, session: SessionId) -> bool {
        self.sessions.get(&session).is_some_and(|session| session.held)
    }

    /// The client ends its session.
    pub fn delete(&mut self, now: Instant, session: SessionId) -> Result<(), RoomError> {
        self.end(now, session, EndReason::Deleted, true).then_some(()).ok_or(RoomError::NoSession)
    }

    /// The session never came to be: its peer could not be added.
    pub fn withdraw(&mut self, now: Instant, session: SessionId) {
        self.end(now, session, EndReason::Internal, true);
    }

    /// A publisher has the stream and sends nothing.
    pub fn end_silent(&mut self, now: Instant, session: SessionId) {
        self.end(now, session, EndReason::NoMedia, true);
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

    /// Ends a session, and with the last publisher of a stream the stream, or its viewers wait for another. Returns whether
    /// the session existed.
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
            Role::Publisher => self.publisher_left(now, name, id),
            Role::Viewer => {
                if let Some(stream) = self.streams.get_mut(&name) {
                    stream.viewers = stream.viewers.saturating_sub(1);
                    self.end_if_abandoned(now, name);
                }
            }
        }
        true
    }

    fn close_peer(&mut self, shard: ShardId, peer: PeerKey, reason: EndReason) {
        let same = self.closing.iter_mut().find(|(of, why, _)| (*of, *why) == (shard, reason));
        match same {
            Some((_, _, peers)) => peers.push(peer),
            None => self.closing.push((shard, reason, vec![peer])),
        }
    }

    /// What happened and what is to be done, oldest first; peers are closed last.
    pub fn poll_output(&mut self) -> Option<RoomOutput> {
        self.outputs.pop_front().or_else(|| {
            let (shard, reason, peers) = self.closing.pop()?;
            Some(RoomOutput::ClosePeers { shard, peers, reason })
        })
    }

    /// What is so of a stream, for those who listen.
    pub(in crate::room) fn facts(&self, stream: &StreamName) -> Option<Facts> {
        let stream = self.streams.get(stream)?;
        Some(Facts { active: stream.flows, viewers: stream.viewers })
    }

    /// Its streams, by name.
    pub(in crate::room) fn streams(&self) -> impl Iterator<Item = (&StreamName, &Stream)> {
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
