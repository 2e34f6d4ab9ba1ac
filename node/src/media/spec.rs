//! What the plane is asked to carry, and what it has to say about it.

use std::time::Duration;

use aforo_cluster::id::TrackId;

use crate::media::keys::SrtpKeys;
use crate::media::negotiated::NegotiatedMedia;
use crate::media::path::{Path, PeerKey, ShardId};

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
    /// The first packet of this peer was opened (publisher), or the first was sealed for it (viewer).
    FirstMedia(PeerKey),
    /// The first keyframe came from this peer, or was sealed for it.
    FirstKeyframe(PeerKey),
    /// A keyframe of some publisher came, this long after somebody first needed it.
    KeyframeWaited(Duration),
}

/// What one shard's plane says to another's; the shard actors carry it.
#[derive(Debug, Clone)]
pub enum ShardMessage {
    /// `from` has viewers of `track` and wants its packets.
    Subscribe {
        /// The track.
        track: TrackId,
        /// Who asks.
        from: ShardId,
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
    },
    /// What the publisher of `track` said of a layer's clocks, for the sender reports of the receiving shard.
    Clock {
        /// The track.
        track: TrackId,
        /// Index of the layer within the track.
        layer: u8,
        /// Wall clock and RTP clock at one instant.
        clock: crate::media::plane::SenderClock,
    },
    /// Packets of one track, in the origin's sequence numbers; one allocation for all viewers of the receiving shard.
    Packets(std::sync::Arc<crate::media::batch::PacketBatch>),
}
