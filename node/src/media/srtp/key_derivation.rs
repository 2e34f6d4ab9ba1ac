//! Session keys from a master key (RFC 3711 §4.3, RFC 6188, RFC 7714 §11), with a key derivation rate of zero.

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;

use super::SrtpError;
use crate::media::keys::MasterKey;

/// What a session key is for: the label of RFC 3711 §4.3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Label {
    RtpEncryption = 0,
    RtpAuthentication = 1,
    RtpSalt = 2,
    RtcpEncryption = 3,
    RtcpAuthentication = 4,
    RtcpSalt = 5,
}

/// The session key for `label`: the key stream of AES in counter mode, whose first block is the salt with the label in it.
pub(super) fn derive<const N: usize>(master: &MasterKey, label: Label) -> Result<[u8; N], SrtpError> {
    let mut out = [0; N];
    derive_into(master, label, &mut out)?;
    Ok(out)
}

/// As [`derive`], for a length that is known only at run time.
pub(super) fn derive_into(master: &MasterKey, label: Label, out: &mut [u8]) -> Result<(), SrtpError> {
    let mut block = [0_u8; 16];
    // The last two bytes count blocks. A salt of 96 bits stands left, as RFC 7714 §11 has it.
    let salt =
        block.get_mut(..master.salt.len()).filter(|salt| salt.len() <= 14).ok_or(SrtpError::KeyLength)?;
    salt.copy_from_slice(&master.salt);
    if let Some(byte) = block.get_mut(7) {
        *byte ^= label as u8;
    }
    let algorithm = match master.key.len() {
        16 => &AES_128,
        32 => &AES_256,
        _ => return Err(SrtpError::KeyLength),
    };
    let key = UnboundCipherKey::new(algorithm, &master.key).map_err(|_| SrtpError::Crypto)?;
    let key = EncryptingKey::ctr(key).map_err(|_| SrtpError::Crypto)?;
    out.fill(0);
    key.less_safe_encrypt(out, EncryptionContext::Iv128(FixedLength::from(block)))
        .map_err(|_| SrtpError::Crypto)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The test vectors of RFC 3711 appendix B.3.
    #[test]
    fn follows_the_vectors_of_rfc_3711() {
        let master = MasterKey {
            key: vec![
                0xE1, 0xF9, 0x7A, 0x0D, 0x3E, 0x01, 0x8B, 0xE0, 0xD6, 0x4F, 0xA3, 0x2C, 0x06, 0xDE, 0x41,
                0x39,
            ],
            salt: vec![0x0E, 0xC6, 0x75, 0xAD, 0x49, 0x8A, 0xFE, 0xEB, 0xB6, 0x96, 0x0B, 0x3A, 0xAB, 0xE6],
        };
        assert_eq!(
            derive::<16>(&master, Label::RtpEncryption).unwrap(),
            [0xC6, 0x1E, 0x7A, 0x93, 0x74, 0x4F, 0x39, 0xEE, 0x10, 0x73, 0x4A, 0xFE, 0x3F, 0xF7, 0xA0, 0x87]
        );
        assert_eq!(
            derive::<14>(&master, Label::RtpSalt).unwrap(),
            [0x30, 0xCB, 0xBC, 0x08, 0x86, 0x3D, 0x8C, 0x85, 0xD4, 0x9D, 0xB3, 0x4A, 0x9A, 0xE1]
        );
        assert_eq!(
            derive::<20>(&master, Label::RtpAuthentication).unwrap(),
            [
                0xCE, 0xBE, 0x32, 0x1F, 0x6F, 0xF7, 0x71, 0x6B, 0x6F, 0xD4, 0xAB, 0x49, 0xAF, 0x25, 0x6A,
                0x15, 0x6D, 0x38, 0xBA, 0xA4
            ]
        );
    }
}
