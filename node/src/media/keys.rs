//! The SRTP keys that a DTLS handshake exported (RFC 5764 §4.2), by the side that sends with them.

/// How packets are protected. AES-128-GCM first: it costs a fifth of SHA1-80 per packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SrtpProfile {
    /// `SRTP_AEAD_AES_128_GCM` (RFC 7714).
    AeadAes128Gcm,
    /// `SRTP_AEAD_AES_256_GCM` (RFC 7714).
    AeadAes256Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80` (RFC 5764).
    Aes128CmHmacSha1_80,
}

impl SrtpProfile {
    /// Our order of preference.
    pub const PREFERRED: [Self; 3] = [Self::AeadAes128Gcm, Self::AeadAes256Gcm, Self::Aes128CmHmacSha1_80];

    /// Bytes of the master key.
    pub fn key_bytes(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::Aes128CmHmacSha1_80 => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    /// Bytes of the master salt.
    pub fn salt_bytes(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
            Self::Aes128CmHmacSha1_80 => 14,
        }
    }

    /// Bytes that protection adds to an RTP packet.
    #[cfg(test)]
    pub fn rtp_overhead_bytes(self) -> usize {
        match self {
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 16,
            Self::Aes128CmHmacSha1_80 => 10,
        }
    }
}

/// Master key and salt of one direction.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    /// [`SrtpProfile::key_bytes`] bytes.
    pub key: Vec<u8>,
    /// [`SrtpProfile::salt_bytes`] bytes.
    pub salt: Vec<u8>,
}

/// Both directions of one session.
#[derive(Clone, PartialEq, Eq)]
pub struct SrtpKeys {
    /// The profile that both sides agreed on.
    pub profile: SrtpProfile,
    /// What we send with.
    pub local: MasterKey,
    /// What the peer sends with.
    pub remote: MasterKey,
}

impl std::fmt::Debug for SrtpKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SrtpKeys").field("profile", &self.profile).finish_non_exhaustive()
    }
}
