//! SRTP and SRTCP (RFC 3711, RFC 7714): opening what a peer sends and sealing what we send to it.
//!
//! In: the keys of one DTLS handshake, and packets. Out: the same packets opened in place, or sealed into space that
//! the caller provides. Nothing is allocated per packet. Each direction has types of its own, so a key that seals never
//! opens, and a sealing key has exactly one owner.

mod cipher;
mod gcm;
mod inbound;
mod key_derivation;
mod outbound;
mod replay;
#[cfg(test)]
mod tests;

pub use inbound::{OpenedRtp, RtcpOpener, RtpOpener};
pub use outbound::{RtcpSealer, RtpSealer};

/// Why a packet was not opened or sealed. Each is counted under its own name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    /// Too short for its headers and its tag, or its header says more than there is.
    #[error("packet is malformed")]
    Malformed,
    /// The tag does not fit: damaged, forged, or under another key.
    #[error("packet failed authentication")]
    Authentication,
    /// Seen before, or too old to tell (RFC 3711 §3.3.2).
    #[error("packet is a replay")]
    Replay,
    /// The peer uses more SSRCs than a session needs; state for another one is not kept.
    #[error("too many synchronization sources")]
    TooManySources,
    /// The SRTCP index or the packet index has reached its end; the key must not be used further (RFC 3711 §9.2).
    #[error("key is used up")]
    KeyExhausted,
    /// The master key or salt does not have the length that the profile demands.
    #[error("keying material has the wrong length")]
    KeyLength,
    /// The cryptographic library refused.
    #[error("cryptographic library refused")]
    Crypto,
}
