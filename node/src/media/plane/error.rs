//! Why a plane refuses a peer.

use aforo_cluster::id::TrackId;

use crate::media::path::PeerKey;
use crate::media::srtp::SrtpError;

/// Why a peer was not added. Nothing of it stays behind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaneError {
    /// The key's place is taken by a peer that was not removed.
    #[error("peer {0:?} is in the way")]
    PlaceTaken(PeerKey),
    /// The key's index is beyond what a shard can hold.
    #[error("peer index {0} is beyond the plane's table")]
    PlaceBeyondTable(u32),
    /// The keys do not fit the profile.
    #[error("keys of the peer cannot be used")]
    Keys(#[source] SrtpError),
    /// A viewer's track has no SSRC to send with.
    #[error("track {0:?} has no local ssrc")]
    NoLocalSsrc(TrackId),
    /// Another publisher feeds this track already.
    #[error("track {0:?} has a publisher already")]
    TrackTaken(TrackId),
    /// More than a peer can have: one audio and one video track.
    #[error("{0} tracks are more than one stream has")]
    TooManyTracks(usize),
}
