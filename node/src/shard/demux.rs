//! Telling protocols apart by their first byte (RFC 7983 §7).

/// What a datagram is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 8489.
    Stun,
    /// RFC 6347.
    Dtls,
    /// RTP or RTCP (told apart by RFC 5761 §4 where it is opened).
    Media,
    /// Nothing that we speak: ZRTP, TURN channels, noise, or an empty datagram.
    Unknown,
}

/// The protocol of `datagram`.
pub fn protocol(datagram: &[u8]) -> Protocol {
    match datagram.first() {
        Some(0..=3) => Protocol::Stun,
        Some(20..=63) => Protocol::Dtls,
        Some(128..=191) => Protocol::Media,
        _ => Protocol::Unknown,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn the_first_byte_decides() {
        let count = |kind| (0..=255u8).filter(|byte| protocol(&[*byte]) == kind).count();
        assert_eq!([0, 3, 20, 63, 128, 191].map(|byte| protocol(&[byte])), {
            use Protocol::{Dtls, Media, Stun};
            [Stun, Stun, Dtls, Dtls, Media, Media]
        });
        assert_eq!(count(Protocol::Stun), 4);
        assert_eq!(count(Protocol::Dtls), 44);
        assert_eq!(count(Protocol::Media), 64);
        assert_eq!(protocol(&[]), Protocol::Unknown);
    }
}
