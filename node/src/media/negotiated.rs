//! What an offer and our answer agreed on, in the form that peers and the plane work with.
//!
//! Written by the SDP answerer, read by `peer` (ICE, DTLS) and `media` (payload types, header extensions, SSRCs).

use crate::media::codec::{CodecKind, MediaKind};
use crate::media::extension::ExtensionMap;

/// Which way the media of a session flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The client sends (WHIP).
    Publish,
    /// The client receives (WHEP).
    Play,
}

/// The agreement of one session. One WebRTC connection carries one stream in one direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// Which way media flows.
    pub direction: Direction,
    /// The client's ICE user fragment and password.
    pub remote_ice: IceCredentials,
    /// Our side of the DTLS handshake.
    pub dtls_role: DtlsRole,
    /// What the client's certificate must hash to, at least one; any match is good (RFC 8122 §5).
    pub remote_fingerprints: Vec<Fingerprint>,
    /// One entry for each m-section of RTP that was accepted: at most one audio and one video.
    pub media: Vec<NegotiatedMedia>,
}

/// ICE user fragment and password (RFC 8839 §5.4).
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// 4 to 256 ice-chars.
    pub ufrag: String,
    /// 22 to 256 ice-chars. A secret.
    pub password: String,
}

impl std::fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceCredentials").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

/// Our side of the DTLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DtlsRole {
    /// We answered `setup:passive`. What we choose wherever the offer allows it: the server orders the SRTP profiles.
    Server,
    /// We answered `setup:active`, as an offer of `passive` demands.
    Client,
}

/// Hash of a certificate (RFC 8122 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// The hash function.
    pub algorithm: FingerprintAlgorithm,
    /// The digest of the certificate's DER form.
    pub digest: Vec<u8>,
}

/// Hash functions that we can check a certificate with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FingerprintAlgorithm {
    /// `sha-256`.
    Sha256,
    /// `sha-384`.
    Sha384,
    /// `sha-512`.
    Sha512,
}

/// The agreement on one m-section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NegotiatedMedia {
    /// Audio or video.
    pub kind: MediaKind,
    /// The m-section's identification tag (`a=mid`), at most 16 bytes.
    pub mid: String,
    /// The one codec that flows.
    pub codec: Codec,
    /// Payload type of its retransmissions (RFC 4588), if agreed.
    pub rtx_payload_type: Option<u8>,
    /// Payload type of redundant sound (RFC 2198) whose frames are of [`Self::codec`], if agreed.
    pub red_payload_type: Option<u8>,
    /// Ids of the header extensions, as the offer numbered them.
    pub extensions: ExtensionMap,
    /// Feedback that both sides agreed on.
    pub feedback: Feedback,
    /// Simulcast layers that a publisher sends, in the order of its `a=simulcast` line, best first as it declares them; empty without simulcast.
    pub rids: Vec<String>,
    /// Publish: SSRCs that the offer announced (`a=ssrc`, `a=ssrc-group:FID`); may be empty, then packets are mapped by MID and RID.
    pub remote_ssrcs: Vec<SsrcPair>,
    /// Play: the SSRCs that our answer announced for what we send.
    pub local_ssrc: Option<SsrcPair>,
}

/// A codec with the parameters of one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codec {
    /// Which codec.
    pub kind: CodecKind,
    /// The payload type that this session's packets carry.
    pub payload_type: u8,
    /// The value of `a=fmtp`, without the payload type; empty if there is none.
    pub fmtp: String,
}

/// Feedback messages that both sides agreed on (`a=rtcp-fb`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Feedback {
    /// Generic NACK (RFC 4585 §6.2.1).
    pub nack: bool,
    /// Picture loss indication (RFC 4585 §6.3.1).
    pub pli: bool,
    /// Full intra request (RFC 5104 §4.3.1).
    pub fir: bool,
    /// Transport-wide congestion control feedback.
    pub transport_cc: bool,
    /// Receiver estimated maximum bitrate.
    pub remb: bool,
}

/// A media SSRC and the SSRC of its retransmissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SsrcPair {
    /// Media.
    pub primary: u32,
    /// Retransmissions, if they are agreed on.
    pub rtx: Option<u32>,
}
