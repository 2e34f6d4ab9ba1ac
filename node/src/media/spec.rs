//! What the plane is asked to carry, and what it has to say about it.

use std::time::{Duration, Instant};

use aforo_cluster::id::TrackId;

use crate::media::codec::Point;
use crate::media::keys::SrtpKeys;
use crate::media::negotiated::NegotiatedMedia;
use crate::media::path::{Path, PeerKey, ShardId};
use crate::media::selection::{Ladder, LayerWish, Switch};
use crate::media::subscription::Subscription;

/// A publisher whose DTLS handshake is done.
#[derive(Debug, Clone)]
pub struct IngestSpec {
    /// Its key on this shard.
    pub peer: PeerKey,
    /// Where feedback goes to.
    pub path: Path,
    /// What opens its packets and seals our feedback.
    pub keys: SrtpKeys,
    /// Its tracks: at most one audio and one video.
    pub tracks: Vec<IngestTrack>,
}

/// A track that enters at this shard.
#[derive(Debug, Clone)]
pub struct IngestTrack {
    /// Its id on this node.
    pub id: TrackId,
    /// What was agreed with the publisher.
    pub media: NegotiatedMedia,
}

/// A viewer whose DTLS handshake is done.
#[derive(Debug, Clone)]
pub struct EgressSpec {
    /// Its key on this shard.
    pub peer: PeerKey,
    /// Where packets go to.
    pub path: Path,
    /// What seals our packets and opens its feedback.
    pub keys: SrtpKeys,
    /// The tracks it plays.
    pub tracks: Vec<EgressTrack>,
    /// Which layer of the video it asked for already.
    pub wish: LayerWish,
}

/// A track that a viewer plays.
#[derive(Debug, Clone)]
pub struct EgressTrack {
    /// Its id on this node.
    pub id: TrackId,
    /// The shard where it enters; the plane mirrors it from there if it is not its own.
    pub origin: ShardId,
    /// What was agreed with the viewer.
    pub media: NegotiatedMedia,
}

/// What a plane says to those who own it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaneEvent {
    /// The first packet of this peer with media in it was opened (publisher), or the first was sealed for it (viewer).
    FirstMedia(PeerKey),
    /// This publisher is connected, and no media has come from it for as long as it may be silent.
    MediaPaused {
        /// Which one.
        peer: PeerKey,
        /// When its last media came, or it was connected.
        since: Instant,
    },
    /// Media comes again from this publisher.
    MediaResumed(PeerKey),
    /// The first keyframe came from this peer, or was sealed for it.
    FirstKeyframe(PeerKey),
    /// A keyframe of some publisher came, this long after somebody first needed it.
    KeyframeWaited(Duration),
    /// A viewer's path carries no picture beside the sound: it is held back from now on, or not any more.
    PictureHeld {
        /// The viewer.
        peer: PeerKey,
        /// What is held back.
        track: TrackId,
        /// Whether it is.
        held: bool,
    },
    /// A viewer's video goes on with another layer now, or begins with it.
    LayerPlayed {
        /// The viewer.
        peer: PeerKey,
        /// What it plays.
        track: TrackId,
        /// Index of the layer within the track.
        layer: u8,
        /// How much of it, if it is scalable.
        point: Point,
        /// From what it played before, if anything.
        switch: Option<Switch>,
    },
}

/// A set of layers of one track.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Layers(u8);

impl Layers {
    /// No layer.
    pub const NONE: Self = Self(0);

    /// Every layer that there may be.
    pub const ALL: Self = Self(u8::MAX);

    /// The layer of this index alone; empty beyond the eighth, as no track has more.
    pub fn of(layer: u8) -> Self {
        Self(1_u8.checked_shl(layer.into()).unwrap_or(0))
    }

    /// The first `count` of them.
    pub fn first(count: usize) -> Self {
        (0_u8..8).take(count).fold(Self::NONE, |all, layer| all | Self::of(layer))
    }

    /// Whether `layer` is one of them.
    pub fn contains(self, layer: u8) -> bool {
        !(self & Self::of(layer)).is_empty()
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that are not in `others`.
    pub fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// Their indices.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..8).filter(move |layer| self.contains(*layer))
    }
}

impl std::ops::BitOr for Layers {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitAnd for Layers {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// What one shard's plane says to another's; the shard actors carry it.
#[derive(Debug, Clone)]
pub enum ShardMessage {
    /// `from` has viewers of `track` and wants these parts of its layers, instead of those that it wanted before.
    Subscribe {
        /// The track.
        track: TrackId,
        /// Who asks.
        from: ShardId,
        /// What its viewers play and shall play.
        wanted: Subscription,
    },
    /// `from` has no viewer of `track` any more.
    Unsubscribe {
        /// The track.
        track: TrackId,
        /// Who asked before.
        from: ShardId,
    },
    /// A viewer of `track` needs a keyframe; the origin coalesces.
    RequestKeyframe {
        /// The track.
        track: TrackId,
        /// Which layer; `None` from a shard that does not know the layers yet.
        layer: Option<u8>,
    },
    /// The layers of `track` as they flow now, for the viewers of the receiving shard.
    Layers {
        /// The track.
        track: TrackId,
        /// Worst first.
        ladder: Ladder,
    },
    /// Another publisher sends `track` from now on, or the same one anew; the receiving shard gets all layers.
    BeganAnew {
        /// The track.
        track: TrackId,
        /// For each of its layers the lowest index that what comes now may have.
        first: Vec<u64>,
    },
    /// What the publisher of `track` said of a layer's clocks, for the sender reports of the receiving shard.
    Clock {
        /// The track.
        track: TrackId,
        /// Index of the layer within the track.
        layer: u8,
        /// Wall clock and RTP clock at one instant.
        clock: crate::media::plane::SenderClock,
        /// The highest index of the layer when that was said, by which the publisher is known that said it.
        newest: u64,
    },
    /// Packets of one track, in the origin's sequence numbers; one allocation for all viewers of the receiving shard.
    Packets(std::sync::Arc<crate::media::batch::PacketBatch>),
}
