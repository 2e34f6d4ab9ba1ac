//! Reads a ClientHello (RFC 6347 §4.2.1): its SRTP profiles, so that the server's order decides and not the client's, and
//! whether it is one that our own handshake answers.
//!
//! Browsers list SHA1-80 first, which costs five times the CPU per packet of AES-128-GCM.

use smallvec::SmallVec;

use super::error::DtlsError;
use super::fields::Fields;
use super::record::HANDSHAKE_HEADER_BYTES;
use crate::media::keys::SrtpProfile;

/// Bytes of a hello's random.
pub const RANDOM_BYTES: usize = 32;

/// DTLS 1.2 on the wire.
pub const VERSION: [u8; 2] = [0xfe, 0xfd];

/// `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256` (RFC 5289 §3.2): every browser, OpenSSL, GnuTLS and mbedTLS has it.
pub const CIPHER_SUITE: u16 = 0xc02b;

/// `ecdsa_secp256r1_sha256`, what our certificate's key signs with.
pub const SIGNATURE_SCHEME: u16 = 0x0403;

/// Handshake type of a ClientHello.
const CLIENT_HELLO: u8 = 1;

/// Extension numbers.
pub mod extension {
    /// RFC 8422 §5.1.1.
    pub const SUPPORTED_GROUPS: u16 = 10;
    /// RFC 8422 §5.1.2.
    pub const EC_POINT_FORMATS: u16 = 11;
    /// RFC 5246 §7.4.1.4.1.
    pub const SIGNATURE_ALGORITHMS: u16 = 13;
    /// RFC 5764 §9.
    pub const USE_SRTP: u16 = 14;
    /// RFC 7627 §5.1.
    pub const EXTENDED_MASTER_SECRET: u16 = 23;
    /// RFC 5746 §3.2.
    pub const RENEGOTIATION_INFO: u16 = 0xff01;
}

/// `TLS_EMPTY_RENEGOTIATION_INFO_SCSV` (RFC 5746 §3.3).
const RENEGOTIATION_SCSV: u16 = 0x00ff;

/// The curve of a key exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// `x25519` (RFC 8422 §5.1.1).
    X25519,
    /// `secp256r1`.
    P256,
}

impl Group {
    /// The cheaper first.
    const PREFERRED: [Self; 2] = [Self::X25519, Self::P256];

    /// Whether a share has the only form that there is: of P-256, a point that is not compressed (RFC 8422 §5.4, §5.7).
    pub fn has_form_of(self, share: &[u8]) -> bool {
        match self {
            Self::X25519 => share.len() == 32,
            Self::P256 => share.len() == 65 && share.first() == Some(&4),
        }
    }

    /// Its number in TLS.
    pub fn number(self) -> u16 {
        match self {
            Self::X25519 => 29,
            Self::P256 => 23,
        }
    }
}

/// What our own handshake makes of a hello.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// The client's.
    pub random: [u8; RANDOM_BYTES],
    /// For the key exchange.
    pub group: Group,
    /// For the media.
    pub profile: SrtpProfile,
    /// Whether it wants to hear that we know of secure renegotiation (we never renegotiate).
    pub renegotiation_info: bool,
    /// Whether it wants to hear our point formats.
    pub point_formats: bool,
}

/// A ClientHello, read in place.
#[derive(Debug, Clone, Copy)]
pub struct ClientHello<'a> {
    version: [u8; 2],
    random: [u8; RANDOM_BYTES],
    suites: &'a [u8],
    compressions: &'a [u8],
    extensions: &'a [u8],
}

impl<'a> ClientHello<'a> {
    /// Reads `message`, which starts with its handshake header and has each extension once (RFC 5246 §7.4.1.4).
    ///
    /// # Errors
    ///
    /// [`DtlsError::MalformedHello`] if it is none.
    pub fn read(message: &'a [u8]) -> Result<Self, DtlsError> {
        Self::fields(message).ok_or(DtlsError::MalformedHello)
    }

    fn fields(message: &'a [u8]) -> Option<Self> {
        let mut hello = Fields(message);
        let header = hello.skip(HANDSHAKE_HEADER_BYTES)?;
        let (version, random) = (hello.array()?, hello.array()?);
        hello.vector_8()?; // session id
        hello.vector_8()?; // cookie
        let (suites, compressions) = (hello.vector_16()?, hello.vector_8()?);
        let extensions = hello.vector_16()?;
        let mut rest = Fields(extensions);
        let mut kinds = SmallVec::<[u16; 32]>::new();
        while !rest.is_empty() {
            kinds.push(rest.uint_16()?);
            rest.vector_16()?;
        }
        kinds.sort_unstable();
        let is_unambiguous = kinds.windows(2).all(|pair| pair.first() != pair.last());
        let is_hello = header.first() == Some(&CLIENT_HELLO) && hello.is_empty() && is_unambiguous;
        is_hello.then_some(Self { version, random, suites, compressions, extensions })
    }

    /// The best of our SRTP profiles that it offers.
    ///
    /// # Errors
    ///
    /// [`DtlsError::NoCommonProfile`] if it offers none of ours.
    pub fn profile(&self) -> Result<SrtpProfile, DtlsError> {
        let offered = self.extension(extension::USE_SRTP).and_then(|value| Fields(value).vector_16());
        let offers = |profile: &SrtpProfile| lists(offered, profile_number(*profile));
        SrtpProfile::PREFERRED.into_iter().find(offers).ok_or(DtlsError::NoCommonProfile)
    }

    /// What our own handshake makes of it; `None` if it is for the library to answer.
    pub fn terms(&self) -> Option<Terms> {
        let groups = self.list(extension::SUPPORTED_GROUPS);
        let schemes = self.list(extension::SIGNATURE_ALGORITHMS);
        let formats = self.extension(extension::EC_POINT_FORMATS);
        let renegotiation = self.extension(extension::RENEGOTIATION_INFO);
        let suits = self.version == VERSION
            && lists(Some(self.suites), CIPHER_SUITE)
            && self.compressions.contains(&0)
            && lists(schemes, SIGNATURE_SCHEME)
            && self.extension(extension::EXTENDED_MASTER_SECRET) == Some(&[])
            && renegotiation.is_none_or(|value| value == [0])
            && formats.is_none_or(|value| Fields(value).vector_8().is_some_and(|list| list.contains(&0)));
        let group = Group::PREFERRED.into_iter().find(|group| lists(groups, group.number()))?;
        let profile = self.profile().ok()?;
        suits.then_some(Terms {
            random: self.random,
            group,
            profile,
            renegotiation_info: renegotiation.is_some() || lists(Some(self.suites), RENEGOTIATION_SCSV),
            point_formats: formats.is_some(),
        })
    }

    fn extension(&self, wanted: u16) -> Option<&'a [u8]> {
        let mut rest = Fields(self.extensions);
        loop {
            let (kind, value) = (rest.uint_16()?, rest.vector_16()?);
            if kind == wanted {
                return Some(value);
            }
        }
    }

    /// The list that an extension consists of.
    fn list(&self, extension: u16) -> Option<&'a [u8]> {
        Fields(self.extension(extension)?).vector_16()
    }
}

/// Whether a list of numbers of two bytes is there and has `wanted`.
fn lists(list: Option<&[u8]>, wanted: u16) -> bool {
    list.is_some_and(|list| list.chunks_exact(2).any(|number| number == wanted.to_be_bytes()))
}

/// The number of a profile (RFC 5764 §4.1.2, RFC 7714 §14.2).
pub fn profile_number(profile: SrtpProfile) -> u16 {
    match profile {
        SrtpProfile::Aes128CmHmacSha1_80 => 0x0001,
        SrtpProfile::AeadAes128Gcm => 0x0007,
        SrtpProfile::AeadAes256Gcm => 0x0008,
    }
}
