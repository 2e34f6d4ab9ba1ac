//! Packets of one track on their way to another shard: opened, in the origin's sequence numbers, in one allocation.

use std::time::Instant;

use aforo_cluster::id::TrackId;

use crate::media::codec::Targets;
use crate::media::subscription::Subscription;

/// Packets of one track that arrived in one gather window, or those that its shard had already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketBatch {
    /// The track.
    pub track: TrackId,
    /// When the oldest of them reached the host.
    pub arrival: Instant,
    /// Set if they are the group of pictures that is shown now, for who has yet to begin. It comes before all others.
    pub group: Option<GroupOf>,
    /// What of each layer is in it, and in those that follow until one says otherwise.
    pub points: Subscription,
    /// Each packet's place in [`Self::bytes`].
    pub packets: Vec<BatchPacket>,
    /// RTP packets without SRTP protection, one after the other, with canonical extension ids (see `canonical`).
    pub bytes: Vec<u8>,
}

/// Whose group of pictures a [`PacketBatch`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupOf {
    /// Whether its encoder is known to answer no requests for a keyframe.
    pub deaf: bool,
}

/// One packet of a [`PacketBatch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchPacket {
    /// Index of its layer within the track; 0 without simulcast.
    pub layer: u8,
    /// Its place in the layer: the origin's sequence number without wraps. Two packets never share one.
    pub index: u64,
    /// Whether a newer one was there before it: it fills a gap.
    pub late: bool,
    /// Whether it is of no point in [`PacketBatch::points`]: nothing is there of it but its timestamp, as RTP has it.
    pub left_out: bool,
    /// The decode targets that its layer's encoder goes on with, one bit each, as they are known where all of its packets are read.
    pub active: Targets,
    /// Offset of its RTP header in the batch's bytes.
    pub start: u32,
    /// Its bytes: header, extensions, payload, padding.
    pub len: u16,
}
