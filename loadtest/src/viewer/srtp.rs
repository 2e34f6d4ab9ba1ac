//! SRTP and SRTCP with AES-GCM (RFC 7714), written apart from the server's so that a shared mistake cannot hide.

use anyhow::{Result, anyhow};
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;

/// Bytes of a GCM tag.
pub const TAG_BYTES: usize = 16;

/// Bytes of the SRTCP index with its E bit, after the tag.
const INDEX_BYTES: usize = 4;

/// Bytes of an RTCP header that stay in the clear.
const RTCP_CLEAR_BYTES: usize = 8;

/// Bytes of salt of the GCM profiles (RFC 7714 §12).
const SALT_BYTES: usize = 12;

/// The labels of RFC 3711 §4.3.2.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
enum Label {
    RtpKey = 0,
    RtpSalt = 2,
    RtcpKey = 3,
    RtcpSalt = 5,
}

/// One of the two GCM profiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// AEAD_AES_128_GCM.
    Aes128Gcm,
    /// AEAD_AES_256_GCM.
    Aes256Gcm,
}

impl Profile {
    fn key_bytes(self) -> usize {
        match self {
            Self::Aes128Gcm => 16,
            Self::Aes256Gcm => 32,
        }
    }

    /// Bytes of keying material for both directions (RFC 5764 §4.2).
    pub fn material_bytes(self) -> usize {
        2 * (self.key_bytes() + SALT_BYTES)
    }
}

/// Derives `length` bytes from a master key and salt (RFC 3711 §4.3.1 with a key derivation rate of 0).
fn derive(master_key: &[u8], master_salt: &[u8], label: Label, length: usize) -> Result<Vec<u8>> {
    let mut iv = [0u8; 16];
    for (to, from) in iv.iter_mut().take(14).zip(master_salt) {
        *to = *from;
    }
    if let Some(byte) = iv.get_mut(7) {
        *byte ^= label as u8;
    }
    let cipher = if master_key.len() == 32 { &AES_256 } else { &AES_128 };
    let key =
        UnboundCipherKey::new(cipher, master_key).map_err(|_| anyhow!("the master key has a wrong size"))?;
    let key = EncryptingKey::ctr(key).map_err(|_| anyhow!("the cipher refuses the master key"))?;
    let mut stream = vec![0; length];
    key.less_safe_encrypt(&mut stream, EncryptionContext::Iv128(FixedLength::from(iv)))
        .map_err(|_| anyhow!("key derivation failed"))?;
    Ok(stream)
}

/// Key and salt of one direction and protocol.
struct Half {
    key: LessSafeKey,
    salt: [u8; SALT_BYTES],
}

impl std::fmt::Debug for Half {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Half(..)")
    }
}

impl Half {
    fn new(profile: Profile, master: (&[u8], &[u8]), key: Label, salt: Label) -> Result<Self> {
        let algorithm = match profile {
            Profile::Aes128Gcm => &AES_128_GCM,
            Profile::Aes256Gcm => &AES_256_GCM,
        };
        let key = derive(master.0, master.1, key, profile.key_bytes())?;
        let key =
            UnboundKey::new(algorithm, &key).map_err(|_| anyhow!("the session key has a wrong size"))?;
        let derived = derive(master.0, master.1, salt, SALT_BYTES)?;
        let mut salt = [0; SALT_BYTES];
        salt.copy_from_slice(&derived);
        Ok(Self { key: LessSafeKey::new(key), salt })
    }

    /// The nonce of RFC 7714 §8.1 and §9.1: `00 00 | SSRC | index (48 bits)`, xored with the salt.
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let [_, _, index @ ..] = index.to_be_bytes();
        let plain = [0, 0].into_iter().chain(ssrc.to_be_bytes()).chain(index);
        let mut nonce = self.salt;
        for (byte, value) in nonce.iter_mut().zip(plain) {
            *byte ^= value;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

/// The keys of one viewer: opens what the server sends, seals the viewer's feedback.
#[derive(Debug)]
pub struct ViewerKeys {
    rtp_in: Half,
    rtcp_in: Half,
    rtcp_out: Half,
    next_rtcp_index: u32,
}

impl ViewerKeys {
    /// From the exported keying material of a DTLS client (RFC 5764 §4.2: client key, server key, both salts).
    ///
    /// # Errors
    ///
    /// The material is too short.
    pub fn from_client_material(profile: Profile, material: &[u8]) -> Result<Self> {
        let short = || anyhow!("{} bytes of keying material are too few", material.len());
        let (client_key, rest) = material.split_at_checked(profile.key_bytes()).ok_or_else(short)?;
        let (server_key, rest) = rest.split_at_checked(profile.key_bytes()).ok_or_else(short)?;
        let (client_salt, rest) = rest.split_at_checked(SALT_BYTES).ok_or_else(short)?;
        let (server_salt, _) = rest.split_at_checked(SALT_BYTES).ok_or_else(short)?;
        let server = (server_key, server_salt);
        Ok(Self {
            rtp_in: Half::new(profile, server, Label::RtpKey, Label::RtpSalt)?,
            rtcp_in: Half::new(profile, server, Label::RtcpKey, Label::RtcpSalt)?,
            rtcp_out: Half::new(profile, (client_key, client_salt), Label::RtcpKey, Label::RtcpSalt)?,
            next_rtcp_index: 0,
        })
    }

    /// Opens an RTP packet in place and returns its payload; `roll_over` counts wraps of its sequence number.
    pub fn open_rtp<'a>(
        &self,
        packet: &'a mut [u8],
        header_bytes: usize,
        (ssrc, roll_over, sequence): (u32, u32, u16),
    ) -> Option<&'a [u8]> {
        let (header, body) = packet.split_at_mut_checked(header_bytes)?;
        let index = (u64::from(roll_over) << 16) | u64::from(sequence);
        let nonce = self.rtp_in.nonce(ssrc, index);
        self.rtp_in.key.open_in_place(nonce, Aad::from(&*header), body).ok().map(|plain| &*plain)
    }

    /// Opens an SRTCP packet in place and returns the part after its first eight bytes.
    pub fn open_rtcp<'a>(&self, packet: &'a mut [u8]) -> Option<&'a [u8]> {
        let body_end = packet.len().checked_sub(INDEX_BYTES)?;
        let (packet, index) = packet.split_at_mut_checked(body_end)?;
        let index = *index.first_chunk::<INDEX_BYTES>()?;
        let (header, body) = packet.split_at_mut_checked(RTCP_CLEAR_BYTES)?;
        let ssrc = u32::from_be_bytes(*header.last_chunk::<4>()?);
        let number = u32::from_be_bytes(index);
        if number & 0x8000_0000 == 0 {
            return None;
        }
        let nonce = self.rtcp_in.nonce(ssrc, u64::from(number & 0x7fff_ffff));
        let aad: Vec<u8> = header.iter().copied().chain(index).collect();
        self.rtcp_in.key.open_in_place(nonce, Aad::from(aad), body).ok().map(|plain| &*plain)
    }

    /// Seals a compound RTCP packet.
    pub fn seal_rtcp(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let (header, body) = packet.split_at_checked(RTCP_CLEAR_BYTES)?;
        let ssrc = u32::from_be_bytes(*header.last_chunk::<4>()?);
        let number = self.next_rtcp_index;
        self.next_rtcp_index = (number + 1) & 0x7fff_ffff;
        let index = (number | 0x8000_0000).to_be_bytes();
        let nonce = self.rtcp_out.nonce(ssrc, u64::from(number));
        let aad: Vec<u8> = header.iter().copied().chain(index).collect();
        let mut sealed = body.to_vec();
        self.rtcp_out.key.seal_in_place_append_tag(nonce, Aad::from(aad), &mut sealed).ok()?;
        let mut out = Vec::with_capacity(packet.len() + TAG_BYTES + INDEX_BYTES);
        out.extend_from_slice(header);
        out.extend_from_slice(&sealed);
        out.extend_from_slice(&index);
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn key_derivation_matches_rfc_3711_b_3() {
        let key = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
        let salt = hex("0EC675AD498AFEEBB6960B3AABE6");
        assert_eq!(derive(&key, &salt, Label::RtpKey, 16).unwrap(), hex("C61E7A93744F39EE10734AFE3FF7A087"));
        assert_eq!(derive(&key, &salt, Label::RtpSalt, 14).unwrap(), hex("30CBBC08863D8C85D49DB34A9AE1"));
    }

    #[test]
    fn rtcp_of_one_side_opens_at_the_other() {
        let profile = Profile::Aes128Gcm;
        let material: Vec<u8> = (0..profile.material_bytes() as u8).collect();
        let mut client = ViewerKeys::from_client_material(profile, &material).unwrap();
        // The server's view: swap keys and salts, and what it opens is what the client seals.
        let swapped = [&material[16..32], &material[..16], &material[44..56], &material[32..44]].concat();
        let server = ViewerKeys::from_client_material(profile, &swapped).unwrap();
        let report = hex("80c90001000000010102030405060708");
        let mut sealed = client.seal_rtcp(&report).unwrap();
        assert_eq!(server.open_rtcp(&mut sealed).unwrap(), &report[8..]);
        let mut other = client.seal_rtcp(&report).unwrap();
        other[9] ^= 1;
        assert!(server.open_rtcp(&mut other).is_none());
    }
}
