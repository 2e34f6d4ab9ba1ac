//! The SDP answerer: pure functions from an offer and what we can do to an answer, or to the reason why there is none.
//!
//! [`answer`] serves WHIP and WHEP alike. It never answers in part: an offer is refused unless every audio and video
//! section that we can use becomes one that works. [`fragment`] reads the bodies of PATCH (RFC 8840) and writes the
//! answer to an ICE restart.
//!
//! ```text
//! offer text -> offer (sections) -> agreement (format, profile, extmap, simulcast, sources) -> write -> answer text
//!                                         \-> transport (ICE, DTLS) ------------------------> Negotiated
//! ```

mod agreement;
mod answer;
mod candidate;
mod capabilities;
mod extmap;
mod format;
pub mod fragment;
mod lines;
mod offer;
mod profile;
mod refusal;
mod simulcast;
mod sources;
mod transport;
mod write;

pub use answer::{Answer, answer};
pub use candidate::{Candidate, CandidateProtocol};
pub use capabilities::{Capabilities, LocalTransport, PlayTrack};
pub use refusal::Refusal;

use crate::media::negotiated::Codec;

/// Whether a viewer that negotiated `viewer` can play what a publisher sends as `stream`.
pub fn plays(stream: &Codec, viewer: &Codec) -> bool {
    stream.kind == viewer.kind && profile::play_rank(stream.kind, &stream.fmtp, &viewer.fmtp).is_some()
}

#[cfg(test)]
mod tests;
