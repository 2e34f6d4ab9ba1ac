//! What we bring to an answer: our transport, and the codecs we take or the tracks we have.

use crate::media::codec::{CodecKind, MediaKind};
use crate::media::negotiated::{Codec, Direction, Fingerprint, IceCredentials, SsrcPair};
use crate::signalling::sdp::candidate::Candidate;

/// Our end of the connection, as the answer describes it.
#[derive(Debug, Clone)]
pub struct LocalTransport {
    /// Our ICE credentials, drawn for this session.
    pub ice: IceCredentials,
    /// Of the node's DTLS certificate.
    pub fingerprint: Fingerprint,
    /// Every address that the session's shard can be reached at, the preferred one first.
    pub candidates: Vec<Candidate>,
    /// `sess-id` of the `o=` line (RFC 8866 §5.2), a random number below 2^62 (RFC 9429 §5.2.1).
    pub session_id: u64,
    /// `sess-version` of the `o=` line.
    pub session_version: u64,
    /// The RTCP canonical name (RFC 3550 §6.5.1) and name of the MediaStream: letters, digits, `_`, `-` and `.` only.
    pub cname: String,
}

/// A track that can be played.
#[derive(Debug, Clone)]
pub struct PlayTrack {
    /// The codec as its publisher negotiated it.
    pub codec: Codec,
    /// What our packets to this viewer will carry. `rtx` is used only if the viewer takes retransmissions.
    pub ssrcs: SsrcPair,
}

/// What we can do for one session.
#[derive(Debug, Clone)]
pub struct Capabilities {
    pub(super) local: LocalTransport,
    pub(super) role: Role,
}

#[derive(Debug, Clone)]
pub(super) enum Role {
    Publish { codecs: Vec<CodecKind> },
    Play { tracks: Vec<PlayTrack> },
}

impl Capabilities {
    /// To take a publisher's stream, in any codec that we know.
    pub fn publish(local: LocalTransport) -> Self {
        Self { local, role: Role::Publish { codecs: CodecKind::ALL.to_vec() } }
    }

    /// To play a stream of these tracks: at most one of each kind.
    pub fn play(local: LocalTransport, tracks: &[PlayTrack]) -> Self {
        Self { local, role: Role::Play { tracks: tracks.to_vec() } }
    }

    pub(super) fn direction(&self) -> Direction {
        match self.role {
            Role::Publish { .. } => Direction::Publish,
            Role::Play { .. } => Direction::Play,
        }
    }

    /// The track of `kind` that a viewer can have.
    pub(super) fn track(&self, kind: MediaKind) -> Option<&PlayTrack> {
        match &self.role {
            Role::Publish { .. } => None,
            Role::Play { tracks } => tracks.iter().find(|track| track.codec.kind.kind() == kind),
        }
    }
}
