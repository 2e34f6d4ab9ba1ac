//! Reads the SRTP profiles of a ClientHello, so that the server's order decides and not the client's.
//!
//! Browsers list SHA1-80 first, which costs five times the CPU per packet of AES-128-GCM.

use super::error::DtlsError;
use super::record::HANDSHAKE_HEADER_BYTES;
use crate::media::keys::SrtpProfile;

/// Extension number of `use_srtp` (RFC 5764 §9).
const USE_SRTP: u16 = 14;

/// The best of our profiles that the ClientHello offers; `message` starts with its handshake header.
///
/// # Errors
///
/// Fails if it cannot be read, or offers none of ours.
pub fn choose_profile(message: &[u8]) -> Result<SrtpProfile, DtlsError> {
    let offered = offered_profiles(message).ok_or(DtlsError::MalformedHello)?;
    let offers = |profile: &SrtpProfile| {
        offered.chunks_exact(2).any(|offered| offered == profile_number(*profile).to_be_bytes())
    };
    SrtpProfile::PREFERRED.into_iter().find(offers).ok_or(DtlsError::NoCommonProfile)
}

/// The number of a profile (RFC 5764 §4.1.2, RFC 7714 §14.2).
fn profile_number(profile: SrtpProfile) -> u16 {
    match profile {
        SrtpProfile::Aes128CmHmacSha1_80 => 0x0001,
        SrtpProfile::AeadAes128Gcm => 0x0007,
        SrtpProfile::AeadAes256Gcm => 0x0008,
    }
}

/// The profile numbers of `use_srtp`, big endian; empty without that extension. `None` if the message is malformed.
fn offered_profiles(message: &[u8]) -> Option<&[u8]> {
    let mut hello = Fields(message);
    hello.skip(HANDSHAKE_HEADER_BYTES + 2 + 32)?; // header, version, random
    hello.vector_8()?; // session id
    hello.vector_8()?; // cookie
    hello.vector_16()?; // cipher suites
    hello.vector_8()?; // compression methods
    let mut extensions = Fields(hello.vector_16()?);
    while !extensions.0.is_empty() {
        let kind = extensions.uint_16()?;
        let value = extensions.vector_16()?;
        if kind == USE_SRTP {
            return Fields(value).vector_16();
        }
    }
    Some(&[])
}

/// Reads the fields of a TLS structure one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn skip(&mut self, count: usize) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(field)
    }

    fn uint_16(&mut self) -> Option<u16> {
        let field = self.skip(2)?;
        Some(u16::from_be_bytes(field.try_into().ok()?))
    }

    fn vector_8(&mut self) -> Option<&'a [u8]> {
        let length = *self.skip(1)?.first()?;
        self.skip(usize::from(length))
    }

    fn vector_16(&mut self) -> Option<&'a [u8]> {
        let length = self.uint_16()?;
        self.skip(usize::from(length))
    }
}
