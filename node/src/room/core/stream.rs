//! One stream: who publishes it, who is about to, and who of its viewers can go on when that changes.

use std::time::Instant;

use aforo_cluster::id::{SessionId, TrackId};

use crate::media::codec::MediaKind;
use crate::media::negotiated::{Codec, NegotiatedMedia};
use crate::media::path::ShardId;
use crate::room::claimant::Claimant;
use crate::signalling::sdp;

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

    /// Whether all that could play `before` can play this one in its place.
    pub(super) fn goes_on_with(&self, before: &Self) -> bool {
        self.id == before.id && sdp::plays(&self.codec, &before.codec)
    }
}

/// A stream that can be played.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveStream {
    /// The session that began it: it tells this publication from the next under the same name. It stays when another
    /// publisher goes on with the same tracks.
    pub publisher: SessionId,
    /// The shard where it enters.
    pub origin: ShardId,
    /// Its tracks: at most one audio and one video.
    pub tracks: Vec<StreamTrack>,
}

impl LiveStream {
    /// The index of the layer of its video that is called `rid`.
    pub(super) fn layer(&self, rid: &str) -> Option<u8> {
        let video = self.tracks.iter().find(|track| track.kind() == MediaKind::Video)?;
        let index = video.rids.iter().position(|known| known == rid)?;
        u8::try_from(index).ok()
    }
}

/// Who publishes a stream, or was let in to do so.
#[derive(Debug, Clone)]
pub(in crate::room) struct Holder {
    pub session: SessionId,
    pub claimant: Claimant,
    /// The shard where its media enters.
    pub shard: ShardId,
    pub tracks: Vec<StreamTrack>,
    /// Of a connected successor: when it must have shown something.
    pub due: Option<Instant>,
    /// Of a connected successor: whether it sends nothing.
    pub silent: bool,
}

/// One stream, from its claim on.
#[derive(Debug)]
pub(in crate::room) struct Stream {
    pub live: LiveStream,
    /// The publisher with whom it came, until the cluster has said whether the name is ours.
    pub claiming: Option<SessionId>,
    /// Since when there was media, pauses included.
    pub live_since: Option<Instant>,
    /// Whether its publisher is here and media has come.
    pub flows: bool,
    pub viewers: usize,
    /// Who publishes it; nobody while it waits for a publisher to return.
    pub holder: Option<Holder>,
    /// Who takes it over: once connected if nobody sends it, otherwise with its first keyframe.
    pub successor: Option<Holder>,
    /// Since when no media comes, because its publisher left or is silent, and when its viewers have waited long enough.
    pub paused: Option<Pause>,
}

/// A stream that waits for its publisher. While that is here but silent, viewers wait without an end.
#[derive(Debug, Clone, Copy)]
pub(in crate::room) struct Pause {
    pub since: Instant,
    pub until: Instant,
}

impl Stream {
    pub fn new(holder: Holder) -> Self {
        let live =
            LiveStream { publisher: holder.session, origin: holder.shard, tracks: holder.tracks.clone() };
        Self {
            live,
            claiming: Some(holder.session),
            live_since: None,
            flows: false,
            viewers: 0,
            holder: Some(holder),
            successor: None,
            paused: None,
        }
    }

    /// Whether somebody publishes it or is about to.
    pub fn is_held(&self) -> bool {
        self.holder.is_some() || self.successor.is_some()
    }

    /// Whether `claimant` may publish it: a publisher that is silent is in nobody's way.
    pub fn admits(&self, claimant: &Claimant) -> bool {
        let on_air = self.holder.as_ref().filter(|_| self.paused.is_none());
        let next = self.successor.as_ref().filter(|next| !next.silent);
        on_air.into_iter().chain(next).all(|held| claimant.may_replace(&held.claimant))
    }

    pub fn kinds(&self) -> Vec<MediaKind> {
        self.live.tracks.iter().map(StreamTrack::kind).collect()
    }

    /// When its successor is given up, if that shows nothing until then. Not while there is nobody else.
    pub fn successor_due(&self) -> Option<Instant> {
        self.successor.as_ref().filter(|_| self.flows)?.due
    }

    /// When it ends, if nobody publishes it until then.
    pub fn ends_at(&self) -> Option<Instant> {
        self.paused.filter(|_| !self.is_held()).map(|pause| pause.until)
    }
}

/// Whether a viewer that negotiated `media` for a stream of the tracks `before` can go on when its tracks are `after`.
///
/// A track that goes on must be one that the viewer's decoder was set up for. What is there no more is silent. What is new
/// is worth a new session, unless the viewer had the choice before and did not want it.
pub(super) fn can_go_on(media: &[NegotiatedMedia], before: &[StreamTrack], after: &[StreamTrack]) -> bool {
    after.iter().all(|track| {
        let had = before.iter().find(|old| old.kind() == track.kind());
        match (media.iter().find(|media| media.kind == track.kind()), had) {
            (Some(media), Some(old)) => old.id == track.id && sdp::plays(&track.codec, &media.codec),
            (None, Some(_)) => true,
            (_, None) => false,
        }
    })
}
