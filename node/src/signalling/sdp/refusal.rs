//! Why an offer gets no answer.

use crate::media::codec::MediaKind;

/// Largest offer that is read, in bytes. A browser's has 6 to 16 KiB with every codec and candidate it knows.
pub const MAX_OFFER_BYTES: usize = 65_536;

/// Why an offer gets no answer. The texts are for the person who wrote the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The body is longer than [`MAX_OFFER_BYTES`].
    #[error("the offer has {0} bytes, at most {MAX_OFFER_BYTES} are read")]
    TooLarge(usize),
    /// The text is not SDP, or what it says contradicts itself.
    #[error("the offer is not good SDP: {0}")]
    Malformed(String),
    /// There is no section of audio or video that is not rejected by the offer itself.
    #[error("the offer has no audio and no video section")]
    NoMedia,
    /// A section would send media that no stream has here. An answer never takes part of what a publisher sends.
    #[error("the section {mid:?} sends {media:?}, a stream has audio and video")]
    OtherMedia {
        /// The section's `a=mid`.
        mid: String,
        /// The first field of its `m=` line.
        media: String,
    },
    /// A stream has at most one track of each kind (RFC 9725 §4.4.2).
    #[error("the offer has more than one {} section, a stream has at most one", .0.as_str())]
    TooManyTracks(MediaKind),
    /// A session carries one MediaStream (RFC 9725 §4.4.2).
    #[error("the offer has tracks of {0} MediaStreams, put all tracks into one")]
    TooManyMediaStreams(usize),
    /// The sections are not all in one BUNDLE group (RFC 9725 §4.4.1).
    #[error("the section {mid:?} is not in the BUNDLE group of the others, use the bundle policy max-bundle")]
    NotBundled {
        /// The section's `a=mid`.
        mid: String,
    },
    /// A section would send RTCP to a port of its own (RFC 9725 §4.4.1).
    #[error("the section {mid:?} lacks a=rtcp-mux")]
    NoRtcpMux {
        /// The section's `a=mid`.
        mid: String,
    },
    /// The media would not be protected by DTLS-SRTP (RFC 8827 §6.5).
    #[error("the section {mid:?} has the protocol {protocol:?}, use UDP/TLS/RTP/SAVPF")]
    Protocol {
        /// The section's `a=mid`.
        mid: String,
        /// The protocol of its `m=` line.
        protocol: String,
    },
    /// Media would flow the wrong way or not at all.
    #[error("the section {mid:?} is {offered}, use {expected}")]
    Direction {
        /// The section's `a=mid`.
        mid: String,
        /// What the offer has.
        offered: &'static str,
        /// What it should have.
        expected: &'static str,
    },
    /// No ICE user fragment and password where the BUNDLE's transport is described.
    #[error("the offer lacks a good a=ice-ufrag and a=ice-pwd")]
    NoIceCredentials,
    /// The other side is ICE-lite as we are, so nobody would send checks.
    #[error("the offer is of an ICE-lite agent, one side must be a full agent")]
    IceLite,
    /// No fingerprint that a certificate can be checked with.
    #[error("the offer lacks an a=fingerprint with sha-256, sha-384 or sha-512")]
    NoFingerprint,
    /// `a=setup` with a role that starts no handshake.
    #[error("the offer has a=setup:{0}, use actpass")]
    Setup(String),
    /// The two sides have no codec in common.
    #[error("no common {} codec: the offer has {}, here is {}", .kind.as_str(), list(.offered), list(.available))]
    NoCommonCodec {
        /// Audio or video.
        kind: MediaKind,
        /// Codecs of the offer, in its order.
        offered: Vec<String>,
        /// WHIP: codecs that we take. WHEP: the codec that the stream has, with its profile.
        available: Vec<String>,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
