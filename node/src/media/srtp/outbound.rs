//! Sealing what we send to a peer. A sealer is not `Clone` and has one owner: one writer per key, by construction.

use super::SrtpError;
use super::cipher::{
    Cipher, CounterMode, GCM_TAG_BYTES, GcmSalt, Protocol, SHA1_TAG_BYTES, check_lengths, gcm_session_key,
};
use super::gcm::SealingContext;
use crate::media::keys::{MasterKey, SrtpProfile};

/// The last SRTCP index (RFC 3711 §3.4: 31 bits).
const RTCP_INDEX_MAX: u32 = 0x7FFF_FFFF;

/// Seals RTP packets under one key.
///
/// The caller owns the packet indices: it must never seal two different packets under one SSRC and index. The unit
/// tests' build keeps a ledger of every nonce and panics when one is used for other bytes.
pub struct RtpSealer {
    cipher: SealingCipher,
    #[cfg(test)]
    ledger: std::cell::RefCell<NonceLedger>,
}

/// Not boxed, unlike what receives: see [`super::gcm`].
#[expect(clippy::large_enum_variant, reason = "the large one is the common one, and shall lie in place")]
enum SealingCipher {
    Gcm(GcmSalt, SealingContext),
    CounterMode(Box<CounterMode>),
}

impl RtpSealer {
    /// A sealer under our master key.
    pub fn new(profile: SrtpProfile, master: &MasterKey) -> Result<Self, SrtpError> {
        check_lengths(profile, master)?;
        let cipher = match profile {
            SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => {
                let mut session_key = [0; 32];
                let (session_key, salt) = gcm_session_key(master, Protocol::Rtp, &mut session_key)?;
                SealingCipher::Gcm(salt, SealingContext::new(session_key)?)
            }
            SrtpProfile::Aes128CmHmacSha1_80 => {
                SealingCipher::CounterMode(Box::new(CounterMode::new(master, Protocol::Rtp)?))
            }
        };
        Ok(Self {
            cipher,
            #[cfg(test)]
            ledger: Default::default(),
        })
    }

    /// Bytes that sealing adds to a packet.
    #[inline]
    pub fn overhead_bytes(&self) -> usize {
        match &self.cipher {
            SealingCipher::Gcm(..) => GCM_TAG_BYTES,
            SealingCipher::CounterMode(_) => SHA1_TAG_BYTES,
        }
    }

    /// Seals one packet. `out` starts with the packet's finished header of `header_bytes`; the sealed `payload` and the
    /// tag fill the rest of it exactly. `index` is rollover counter and sequence number, the latter as the header has it.
    #[inline]
    pub fn seal(
        &self,
        (ssrc, index): (u32, u64),
        out: &mut [u8],
        header_bytes: usize,
        payload: &[u8],
    ) -> Result<(), SrtpError> {
        let (header, rest) = out.split_at_mut_checked(header_bytes).ok_or(SrtpError::Malformed)?;
        #[cfg(test)]
        self.ledger.borrow_mut().record((ssrc, index), &[header, payload]);
        match &self.cipher {
            SealingCipher::Gcm(salt, context) => context.seal(salt.nonce(ssrc, index), header, payload, rest),
            SealingCipher::CounterMode(counter_mode) => {
                rest.get_mut(..payload.len()).ok_or(SrtpError::Malformed)?.copy_from_slice(payload);
                counter_mode.seal((ssrc, index), out, header_bytes)
            }
        }
    }

    /// Like [`Self::seal`], of a payload that lies in `out` behind the header already.
    pub fn seal_in_place(
        &self,
        (ssrc, index): (u32, u64),
        out: &mut [u8],
        header_bytes: usize,
    ) -> Result<(), SrtpError> {
        let payload_bytes = out.len().checked_sub(header_bytes + self.overhead_bytes());
        let payload_bytes = payload_bytes.ok_or(SrtpError::Malformed)?;
        let (header, rest) = out.split_at_mut_checked(header_bytes).ok_or(SrtpError::Malformed)?;
        #[cfg(test)]
        self.ledger
            .borrow_mut()
            .record((ssrc, index), &[header, rest.get(..payload_bytes).unwrap_or_default()]);
        match &self.cipher {
            SealingCipher::Gcm(salt, context) => {
                context.seal_in_place(salt.nonce(ssrc, index), header, payload_bytes, rest)
            }
            SealingCipher::CounterMode(counter_mode) => counter_mode.seal((ssrc, index), out, header_bytes),
        }
    }
}

/// Seals RTCP packets under one key, and owns their index.
pub struct RtcpSealer {
    cipher: Cipher,
    /// Of the last packet. One count for all our SSRCs: it makes every nonce unique, whatever the SSRC.
    index: u32,
}

impl RtcpSealer {
    /// A sealer under our master key.
    pub fn new(profile: SrtpProfile, master: &MasterKey) -> Result<Self, SrtpError> {
        Ok(Self { cipher: Cipher::new(profile, master, Protocol::Rtcp)?, index: 0 })
    }

    /// Bytes that sealing adds to a packet: tag and index.
    pub fn overhead_bytes(&self) -> usize {
        self.cipher.tag_bytes() + 4
    }

    /// Seals one compound packet in place: `packet` holds it, followed by [`Self::overhead_bytes`] bytes of room.
    pub fn seal(&mut self, packet: &mut [u8]) -> Result<(), SrtpError> {
        let len = packet.len().checked_sub(self.overhead_bytes()).filter(|len| *len >= 8);
        let len = len.ok_or(SrtpError::Malformed)?;
        if self.index >= RTCP_INDEX_MAX {
            return Err(SrtpError::KeyExhausted);
        }
        self.index += 1;
        let word = (self.index | 0x8000_0000).to_be_bytes();
        let (plain, trailer) = packet.split_at_mut_checked(len).ok_or(SrtpError::Malformed)?;
        let (header, body) = plain.split_first_chunk_mut::<8>().ok_or(SrtpError::Malformed)?;
        let [_, _, _, _, ssrc @ ..] = *header;
        let nonce = (u32::from_be_bytes(ssrc), u64::from(self.index));
        match &self.cipher {
            Cipher::Gcm(gcm) => {
                let mut aad = [0; 12];
                aad[..8].copy_from_slice(header);
                aad[8..].copy_from_slice(&word);
                let (tag, place) = trailer.split_at_mut_checked(GCM_TAG_BYTES).ok_or(SrtpError::Malformed)?;
                gcm.seal_in_place(nonce, &aad, body, tag)?;
                place.copy_from_slice(&word);
            }
            Cipher::CounterMode(counter_mode) => {
                counter_mode.apply(nonce, body)?;
                trailer.get_mut(..4).ok_or(SrtpError::Malformed)?.copy_from_slice(&word);
                let tag = counter_mode.tag(packet.get(..len + 4).unwrap_or_default());
                packet.get_mut(len + 4..).ok_or(SrtpError::Malformed)?.copy_from_slice(&tag);
            }
        }
        Ok(())
    }
}

/// Every nonce that a sealer used, with a hash of what it sealed under it.
#[cfg(test)]
#[derive(Default)]
struct NonceLedger(std::collections::HashMap<(u32, u64), u64>);

#[cfg(test)]
impl NonceLedger {
    fn record(&mut self, nonce: (u32, u64), sealed: &[&[u8]]) {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        sealed.hash(&mut hasher);
        let hash = hasher.finish();
        let first = *self.0.entry(nonce).or_insert(hash);
        assert_eq!(first, hash, "nonce {nonce:?} seals different bytes");
    }
}
