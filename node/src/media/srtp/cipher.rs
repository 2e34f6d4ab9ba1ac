//! The two transforms behind all profiles: AES-GCM (RFC 7714), and AES in counter mode with HMAC-SHA1 (RFC 3711 §4).

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;

use super::SrtpError;
use super::gcm::NONCE_BYTES;
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
        check_lengths(profile, master)?;
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

/// Whether `master` is as long as `profile` demands.
pub(super) fn check_lengths(profile: SrtpProfile, master: &MasterKey) -> Result<(), SrtpError> {
    let right = master.key.len() == profile.key_bytes() && master.salt.len() == profile.salt_bytes();
    if right { Ok(()) } else { Err(SrtpError::KeyLength) }
}

/// What every nonce of one GCM key starts from.
#[derive(Clone, Copy)]
pub(super) struct GcmSalt(u128);

impl GcmSalt {
    /// RFC 7714 §8.1 and §9.1: two zero bytes, the SSRC and a 48-bit index, under the salt.
    #[inline]
    pub(super) fn nonce(self, ssrc: u32, index: u64) -> [u8; NONCE_BYTES] {
        let plain = (u128::from(ssrc) << 48) | u128::from(index & 0xFFFF_FFFF_FFFF);
        let [_, _, _, _, nonce @ ..] = (self.0 ^ plain).to_be_bytes();
        nonce
    }
}

/// The session key of `protocol`, written to `room`, and its salt.
pub(super) fn gcm_session_key<'room>(
    master: &MasterKey,
    protocol: Protocol,
    room: &'room mut [u8; 32],
) -> Result<(&'room [u8], GcmSalt), SrtpError> {
    let (encryption, salt) = match protocol {
        Protocol::Rtp => (Label::RtpEncryption, Label::RtpSalt),
        Protocol::Rtcp => (Label::RtcpEncryption, Label::RtcpSalt),
    };
    let session_key = room.get_mut(..master.key.len()).ok_or(SrtpError::KeyLength)?;
    derive_into(master, encryption, session_key)?;
    let salt: [u8; NONCE_BYTES] = derive(master, salt)?;
    let mut wide = [0; 16];
    wide[4..].copy_from_slice(&salt);
    Ok((session_key, GcmSalt(u128::from_be_bytes(wide))))
}

/// AES-GCM for what is opened, and for RTCP; RTP is sealed by [`super::gcm`].
pub(super) struct Gcm {
    key: LessSafeKey,
    salt: GcmSalt,
}

impl Gcm {
    fn new(master: &MasterKey, protocol: Protocol) -> Result<Self, SrtpError> {
        let mut session_key = [0_u8; 32];
        let (session_key, salt) = gcm_session_key(master, protocol, &mut session_key)?;
        let algorithm = if session_key.len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
        let key = UnboundKey::new(algorithm, session_key).map_err(|_| SrtpError::Crypto)?;
        Ok(Self { key: LessSafeKey::new(key), salt })
    }

    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        Nonce::assume_unique_for_key(self.salt.nonce(ssrc, index))
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
    pub(super) fn new(master: &MasterKey, protocol: Protocol) -> Result<Self, SrtpError> {
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

    /// Seals the RTP packet in `out`: header, plain payload, room for the tag.
    pub(super) fn seal(
        &self,
        (ssrc, index): (u32, u64),
        out: &mut [u8],
        header_bytes: usize,
    ) -> Result<(), SrtpError> {
        let len = out.len().checked_sub(SHA1_TAG_BYTES).ok_or(SrtpError::Malformed)?;
        self.apply((ssrc, index), out.get_mut(header_bytes..len).ok_or(SrtpError::Malformed)?)?;
        let rollover = ((index >> 16) as u32).to_be_bytes();
        out.get_mut(len..len + 4).ok_or(SrtpError::Malformed)?.copy_from_slice(&rollover);
        let tag = self.tag(out.get(..len + 4).unwrap_or_default());
        out.get_mut(len..).ok_or(SrtpError::Malformed)?.copy_from_slice(&tag);
        Ok(())
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
