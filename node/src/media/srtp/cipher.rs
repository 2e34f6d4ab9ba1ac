//! The two transforms behind all profiles: AES-GCM (RFC 7714), and AES in counter mode with HMAC-SHA1 (RFC 3711 §4).

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;

use super::SrtpError;
use super::key_derivation::{Label, derive, derive_into};
use crate::media::keys::{MasterKey, SrtpProfile};

/// Bytes of a GCM tag (RFC 7714 §13.2).
pub(super) const GCM_TAG_BYTES: usize = 16;

/// Bytes of an HMAC-SHA1-80 tag, for RTP and RTCP alike (RFC 5764 §4.1.2).
pub(super) const SHA1_TAG_BYTES: usize = 10;

/// Which of the two protocols a key protects; each has session keys of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Rtp,
    Rtcp,
}

/// The session key of one protocol in one direction.
pub(super) enum Cipher {
    Gcm(Gcm),
    /// Boxed: it is large and rare, and must not blow up what every viewer keeps.
    CounterMode(Box<CounterMode>),
}

impl Cipher {
    pub(super) fn new(
        profile: SrtpProfile,
        master: &MasterKey,
        protocol: Protocol,
    ) -> Result<Self, SrtpError> {
        if master.key.len() != profile.key_bytes() || master.salt.len() != profile.salt_bytes() {
            return Err(SrtpError::KeyLength);
        }
        match profile {
            SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => {
                Gcm::new(master, protocol).map(Self::Gcm)
            }
            SrtpProfile::Aes128CmHmacSha1_80 => {
                Ok(Self::CounterMode(Box::new(CounterMode::new(master, protocol)?)))
            }
        }
    }

    pub(super) fn tag_bytes(&self) -> usize {
        match self {
            Self::Gcm(_) => GCM_TAG_BYTES,
            Self::CounterMode(_) => SHA1_TAG_BYTES,
        }
    }
}

/// AES-GCM with the salt that every nonce starts from.
pub(super) struct Gcm {
    key: LessSafeKey,
    salt: u128,
}

impl Gcm {
    fn new(master: &MasterKey, protocol: Protocol) -> Result<Self, SrtpError> {
        let (encryption, salt) = match protocol {
            Protocol::Rtp => (Label::RtpEncryption, Label::RtpSalt),
            Protocol::Rtcp => (Label::RtcpEncryption, Label::RtcpSalt),
        };
        let algorithm = if master.key.len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
        let mut session_key = [0_u8; 32];
        let session_key = session_key.get_mut(..master.key.len()).ok_or(SrtpError::KeyLength)?;
        derive_into(master, encryption, session_key)?;
        let key = UnboundKey::new(algorithm, session_key).map_err(|_| SrtpError::Crypto)?;
        let salt: [u8; 12] = derive(master, salt)?;
        let mut wide = [0; 16];
        wide[4..].copy_from_slice(&salt);
        Ok(Self { key: LessSafeKey::new(key), salt: u128::from_be_bytes(wide) })
    }

    /// RFC 7714 §8.1 and §9.1: two zero bytes, the SSRC and a 48-bit index, under the salt.
    #[inline]
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let plain = (u128::from(ssrc) << 48) | u128::from(index & 0xFFFF_FFFF_FFFF);
        let [_, _, _, _, nonce @ ..] = (self.salt ^ plain).to_be_bytes();
        Nonce::assume_unique_for_key(nonce)
    }

    /// Seals `payload` into `out` and the tag into `tag`.
    #[inline]
    pub(super) fn seal_apart(
        &self,
        (ssrc, index): (u32, u64),
        aad: &[u8],
        payload: &[u8],
        out: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), SrtpError> {
        self.key
            .seal_out_of_place_scatter(self.nonce(ssrc, index), Aad::from(aad), payload, out, &[], tag)
            .map_err(|_| SrtpError::Crypto)
    }

    /// Seals `bytes` in place and writes the tag into `tag`.
    pub(super) fn seal_in_place(
        &self,
        (ssrc, index): (u32, u64),
        aad: &[u8],
        bytes: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), SrtpError> {
        self.key
            .seal_in_place_scatter(self.nonce(ssrc, index), Aad::from(aad), bytes, &[], tag)
            .map_err(|_| SrtpError::Crypto)
    }

    /// Opens `bytes` in place.
    pub(super) fn open(
        &self,
        (ssrc, index): (u32, u64),
        aad: &[u8],
        bytes: &mut [u8],
        tag: &[u8],
    ) -> Result<(), SrtpError> {
        self.key
            .open_in_place_separate_tag(self.nonce(ssrc, index), Aad::from(aad), tag, bytes)
            .map(|_| ())
            .map_err(|_| SrtpError::Authentication)
    }
}

/// AES-128 in counter mode with HMAC-SHA1-80.
pub(super) struct CounterMode {
    key: EncryptingKey,
    authentication: hmac::Key,
    salt: u128,
}

impl CounterMode {
    fn new(master: &MasterKey, protocol: Protocol) -> Result<Self, SrtpError> {
        let (encryption, authentication, salt) = match protocol {
            Protocol::Rtp => (Label::RtpEncryption, Label::RtpAuthentication, Label::RtpSalt),
            Protocol::Rtcp => (Label::RtcpEncryption, Label::RtcpAuthentication, Label::RtcpSalt),
        };
        let session_key: [u8; 16] = derive(master, encryption)?;
        let session_authentication: [u8; 20] = derive(master, authentication)?;
        let session_salt: [u8; 14] = derive(master, salt)?;
        let key = UnboundCipherKey::new(&AES_128, &session_key).map_err(|_| SrtpError::Crypto)?;
        let mut wide = [0; 16];
        wide[..14].copy_from_slice(&session_salt);
        Ok(Self {
            key: EncryptingKey::ctr(key).map_err(|_| SrtpError::Crypto)?,
            authentication: hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &session_authentication),
            salt: u128::from_be_bytes(wide),
        })
    }

    /// Encrypts or decrypts in place: RFC 3711 §4.1.1, the same both ways.
    pub(super) fn apply(&self, (ssrc, index): (u32, u64), bytes: &mut [u8]) -> Result<(), SrtpError> {
        let block = self.salt ^ (u128::from(ssrc) << 64) ^ (u128::from(index & 0xFFFF_FFFF_FFFF) << 16);
        let iv = EncryptionContext::Iv128(FixedLength::from(block.to_be_bytes()));
        self.key.less_safe_encrypt(bytes, iv).map(|_| ()).map_err(|_| SrtpError::Crypto)
    }

    /// The tag over `authenticated`.
    pub(super) fn tag(&self, authenticated: &[u8]) -> [u8; SHA1_TAG_BYTES] {
        let tag = hmac::sign(&self.authentication, authenticated);
        tag.as_ref().first_chunk().copied().unwrap_or_default()
    }

    /// Whether `tag` is the tag over `authenticated`, in constant time.
    pub(super) fn verify(&self, authenticated: &[u8], tag: &[u8]) -> Result<(), SrtpError> {
        verify_slices_are_equal(&self.tag(authenticated), tag).map_err(|_| SrtpError::Authentication)
    }
}
