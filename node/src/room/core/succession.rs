//! Who publishes a stream, one after another: its claim, a publisher's return, a takeover, and the end.

use std::time::{Duration, Instant};

use aforo_cluster::id::{SessionId, StreamName};

use super::stream::{Holder, Pause, Stream, can_go_on};
use super::{Entrant, LiveStream, Role, RoomCore, RoomError, RoomOutput, StreamTrack};
use crate::media::path::ShardId;
use crate::peer::message::EndReason;
use crate::room::claimant::Claimant;

/// Sessions that were taken over and are remembered, so that their clients can be told: more than end within the minute
/// in which a client asks.
const TAKEN_OVER: usize = 16;

/// How long one who takes a live stream over may take to its first keyframe once it is connected: encoders that do not hear
/// of wishes send one every 10 s at the least, by the defaults of x264.
const PICTURE_DEADLINE: Duration = Duration::from_secs(15);

/// How a publisher came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// The stream is new: the cluster must be asked for its name.
    First,
    /// The stream is here already.
    Successor,
}

impl RoomCore {
    /// The stream, if it can be played now.
    pub fn find(&self, stream: &StreamName) -> Result<&LiveStream, RoomError> {
        let stream = self.streams.get(stream).filter(|stream| stream.flows);
        stream.map(|stream| &stream.live).ok_or(RoomError::NotLive)
    }

    /// Whether `claimant` may publish the stream, and on which shard it has to if the stream is here already.
    pub fn vacancy(&self, stream: &StreamName, claimant: &Claimant) -> Result<Option<ShardId>, RoomError> {
        match self.streams.get(stream) {
            Some(stream) if !stream.admits(claimant) => Err(RoomError::Taken),
            stream => Ok(stream.map(|stream| stream.live.origin)),
        }
    }

    /// The tracks that a publisher on `shard` goes on with if its codecs are theirs.
    pub fn tracks_on(&self, stream: &StreamName, shard: ShardId) -> &[StreamTrack] {
        let stream = self.streams.get(stream).filter(|stream| stream.live.origin == shard);
        stream.map_or(&[], |stream| &stream.live.tracks)
    }

    /// A publisher takes a stream. A new one is live from its first packet on; one that is here already is the
    /// publisher's as soon as it is connected.
    pub fn publish(
        &mut self,
        now: Instant,
        entrant: Entrant,
        claimant: Claimant,
        tracks: Vec<StreamTrack>,
    ) -> Result<Published, RoomError> {
        let (name, session) = (entrant.stream.clone(), entrant.session);
        let holder = Holder { session, claimant, shard: entrant.shard, tracks, due: None, silent: false };
        let published = match self.streams.get_mut(&name) {
            Some(stream) if !stream.admits(&holder.claimant) => return Err(RoomError::Taken),
            Some(stream) => {
                if let Some(before) = stream.successor.replace(holder) {
                    self.remember_taken_over(before.session, &entrant.stream);
                    self.end(now, before.session, EndReason::TakenOver, true);
                }
                Published::Successor
            }
            None => {
                let stream = Stream::new(holder);
                let tracks = stream.kinds();
                self.streams.insert(name, stream);
                self.outputs.push_back(RoomOutput::StreamClaimed { tracks });
                Published::First
            }
        };
        self.enter(now, entrant, Role::Publisher);
        Ok(published)
    }

    /// The cluster has answered the claim that was made for the stream of this publisher. A name that is not ours is
    /// nobody's here: whoever came after the publisher ends with the stream, even if it is the one that holds it by now.
    pub fn claim_answered(&mut self, now: Instant, publisher: SessionId, is_ours: bool) {
        let claimed = self.streams.iter_mut().find(|(_, stream)| stream.claiming == Some(publisher));
        let Some((name, stream)) = claimed else { return };
        stream.claiming = None;
        if !is_ours {
            let name = name.clone();
            self.end(now, publisher, EndReason::Internal, true);
            self.end_stream(now, name);
        }
    }

    /// A publisher is connected. It has a stream that nobody sends at once; whoever is on air stays there until the shard has
    /// a picture of the next one, which its first media says.
    pub(super) fn successor_connected(&mut self, now: Instant, name: &StreamName, session: SessionId) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        if !stream.flows {
            return self.take_over(now, name, session);
        }
        if let Some(next) = stream.successor.as_mut().filter(|next| next.session == session) {
            next.due = Some(now + PICTURE_DEADLINE);
        }
    }

    /// If a publisher was to take the stream over, it does. Viewers who cannot follow are ended, so that
    /// they come again and get what there is now.
    pub(super) fn take_over(&mut self, now: Instant, name: &StreamName, session: SessionId) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        let Some(next) = stream.successor.take_if(|next| next.session == session) else { return };
        let tracks_before = stream.kinds();
        let before = std::mem::replace(&mut stream.live.tracks, next.tracks.clone());
        stream.live.origin = next.shard;
        let goes_on = before.len() == next.tracks.len()
            && next.tracks.iter().all(|track| before.iter().any(|old| track.goes_on_with(old)));
        if !goes_on {
            // Who is on the way in has an answer for the tracks of before.
            stream.live.publisher = session;
            stream.flows = false;
        }
        let away = stream.paused.take().map(|pause| now.saturating_duration_since(pause.since));
        let old = stream.holder.replace(next);
        let after = stream.live.tracks.clone();
        self.outputs.push_back(RoomOutput::PublisherChanged {
            stream: name.clone(),
            tracks_before,
            tracks: after.iter().map(StreamTrack::kind).collect(),
            away,
            goes_on,
        });
        if let Some(old) = old {
            self.remember_taken_over(old.session, name);
            self.end(now, old.session, EndReason::TakenOver, true);
        }
        let lost = self.sessions.iter().filter(|(_, session)| {
            session.role == Role::Viewer
                && session.stream == *name
                && !can_go_on(&session.media, &before, &after)
        });
        let lost: Vec<SessionId> = lost.map(|(id, _)| *id).collect();
        for viewer in lost {
            self.end(now, viewer, EndReason::StreamChanged, true);
        }
        self.wish_all_again(name);
    }

    fn remember_taken_over(&mut self, session: SessionId, stream: &StreamName) {
        if self.taken_over.len() == TAKEN_OVER {
            self.taken_over.pop_front();
        }
        self.taken_over.push_back((session, stream.clone()));
    }

    /// A publisher's session is over, whatever its part was.
    pub(super) fn publisher_left(&mut self, now: Instant, name: StreamName, session: SessionId) {
        let grace = self.grace;
        let Some(stream) = self.streams.get_mut(&name) else { return };
        stream.successor.take_if(|next| next.session == session);
        let held = stream.holder.take_if(|holder| holder.session == session).is_some();
        if held {
            stream.flows = false;
            let since = stream.paused.map_or(now, |silence| silence.since);
            stream.paused = Some(Pause { since, until: now + grace });
        }
        self.end_if_abandoned(now, name.clone());
        if let Some(stream) = self.streams.get(&name).filter(|_| held) {
            self.outputs.push_back(RoomOutput::StreamPaused {
                stream: name,
                viewers: stream.viewers,
                left: true,
            });
        }
    }

    /// A publisher is connected and has sent nothing since then: whoever may publish can go on with its stream, as if it had left. As
    /// long as nobody does, it is the publisher's.
    pub(super) fn publisher_silent(&mut self, since: Instant, session: SessionId) {
        self.next_is_silent(session, true);
        let Some((name, stream)) = self.held_by(session) else { return };
        if stream.paused.is_none() {
            (stream.flows, stream.paused) = (false, Some(Pause { since, until: since }));
            let viewers = stream.viewers;
            self.outputs.push_back(RoomOutput::StreamPaused { stream: name, viewers, left: false });
        }
    }

    /// It sends media again.
    pub(super) fn publisher_heard(&mut self, now: Instant, session: SessionId) {
        self.next_is_silent(session, false);
        let Some((name, stream)) = self.held_by(session) else { return };
        if let Some(silence) = stream.paused.take() {
            stream.flows = true;
            let away = now.saturating_duration_since(silence.since);
            self.outputs.push_back(RoomOutput::StreamResumed { stream: name, away });
        }
    }

    /// Whether this session, if it is to take a stream over, sends nothing: then it is in nobody's way either.
    fn next_is_silent(&mut self, session: SessionId, silent: bool) {
        let mut successors = self.streams.values_mut().filter_map(|stream| stream.successor.as_mut());
        let next = successors.find(|next| next.session == session);
        next.into_iter().for_each(|next| next.silent = silent);
    }

    /// The stream that this session publishes.
    fn held_by(&mut self, session: SessionId) -> Option<(StreamName, &mut Stream)> {
        let name = self.sessions.get(&session)?.stream.clone();
        let stream = self.streams.get_mut(&name)?;
        let holds = stream.holder.as_ref().is_some_and(|holder| holder.session == session);
        holds.then_some((name, stream))
    }

    /// A stream that nobody publishes ends with its last viewer, or when they have waited long enough.
    pub(super) fn end_if_abandoned(&mut self, now: Instant, name: StreamName) {
        let Some(stream) = self.streams.get(&name) else { return };
        let over = stream.viewers == 0 || stream.paused.is_none_or(|pause| now >= pause.until);
        if over && !stream.is_held() {
            self.end_stream(now, name);
        }
    }

    fn end_stream(&mut self, now: Instant, name: StreamName) {
        let Some(stream) = self.streams.remove(&name) else { return };
        // Its viewers, and whoever was about to publish it.
        let sessions = self.sessions.iter().filter(|(_, session)| session.stream == name);
        let sessions: Vec<SessionId> = sessions.map(|(id, _)| *id).collect();
        for session in sessions {
            self.end(now, session, EndReason::StreamEnded, true);
        }
        self.outputs.push_back(RoomOutput::StreamEnded { tracks: stream.kinds(), stream: name });
    }

    /// When a stream has waited long enough for its publisher, or for a successor's picture.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let streams = self.streams.values();
        streams.flat_map(|stream| [stream.ends_at(), stream.successor_due()]).flatten().min()
    }

    /// Ends streams whose publisher did not return in time, and successors that have shown nothing in time.
    pub fn handle_timeout(&mut self, now: Instant) {
        let late = self.streams.values().filter(|stream| stream.successor_due().is_some_and(|at| at <= now));
        let late: Vec<SessionId> =
            late.filter_map(|stream| stream.successor.as_ref()).map(|next| next.session).collect();
        late.into_iter().for_each(|session| {
            self.end(now, session, EndReason::NoKeyframe, true);
        });
        let over = self.streams.iter().filter(|(_, stream)| stream.ends_at().is_some_and(|at| at <= now));
        let over: Vec<StreamName> = over.map(|(name, _)| name.clone()).collect();
        over.into_iter().for_each(|name| self.end_stream(now, name));
    }
}
