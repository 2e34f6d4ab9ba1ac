//! The record layer of our own handshake once keys are agreed on: AES-128-GCM in the server's role (RFC 5288, RFC 6347
//! §4.1.2).

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::tls_prf::Secret;
use bytes::{BufMut, BytesMut};

use super::fields::Fields;
use super::hello::VERSION;
use super::record::{RECORD_HEADER_BYTES, Record};
use crate::media::negotiated::DtlsRole;

/// Bytes of all keys: a key and a salt for each direction.
pub const KEY_BLOCK_BYTES: usize = 2 * (KEY_BYTES + SALT_BYTES);

const KEY_BYTES: usize = 16;
const SALT_BYTES: usize = 4;
const EXPLICIT_NONCE_BYTES: usize = 8;
const TAG_BYTES: usize = 16;

/// The epoch of everything that is sealed: keys change once.
const EPOCH: u16 = 1;

/// Both directions' keys and the number of our next record.
pub struct Session {
    /// As RFC 5246 §6.3 lays it out: the client's and the server's key, then their salts.
    key_block: Secret,
    next_sequence: u64,
}

/// What protects one direction.
struct Protection {
    key: LessSafeKey,
    salt: [u8; SALT_BYTES],
}

impl Protection {
    fn nonce(&self, explicit: [u8; EXPLICIT_NONCE_BYTES]) -> Nonce {
        let mut nonce = [0; SALT_BYTES + EXPLICIT_NONCE_BYTES];
        let (salt, rest) = nonce.split_at_mut(SALT_BYTES);
        salt.copy_from_slice(&self.salt);
        rest.copy_from_slice(&explicit);
        Nonce::assume_unique_for_key(nonce)
    }
}

impl Session {
    /// A session that has sealed nothing yet; `key_block` has [`KEY_BLOCK_BYTES`].
    pub fn new(key_block: Secret) -> Self {
        Self { key_block, next_sequence: 0 }
    }

    /// What one end seals with. Made when it is needed: an association seals and opens a record or two in its life.
    fn protection(&self, end: DtlsRole) -> Option<Protection> {
        let mut fields = Fields(self.key_block.as_ref());
        let (client, server) = (fields.skip(KEY_BYTES)?, fields.skip(KEY_BYTES)?);
        let (client_salt, server_salt) = (fields.array()?, fields.array()?);
        let (key, salt) = match end {
            DtlsRole::Client => (client, client_salt),
            DtlsRole::Server => (server, server_salt),
        };
        let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key).ok()?);
        Some(Protection { key, salt })
    }

    /// Opens a record of the client; `None` if it is not from it.
    pub fn open(&self, record: &Record<'_>) -> Option<Vec<u8>> {
        if record.epoch != EPOCH {
            return None;
        }
        let client = self.protection(DtlsRole::Client)?;
        let mut header = Fields(record.whole.get(..RECORD_HEADER_BYTES)?);
        let (kind, version, number) = (header.array::<1>()?, header.array::<2>()?, header.array::<8>()?);
        let mut body = Fields(record.body);
        let nonce = client.nonce(body.array()?);
        let mut sealed = body.0.to_vec();
        let length = u16::try_from(sealed.len().checked_sub(TAG_BYTES)?).ok()?;
        let aad = additional_data(number, kind, version, length);
        let opened = client.key.open_in_place(nonce, Aad::from(aad), &mut sealed).ok()?.len();
        sealed.truncate(opened);
        Some(sealed)
    }

    /// Appends a sealed record.
    ///
    /// # Errors
    ///
    /// Fails if the cipher does; nothing is appended then.
    pub fn seal(&mut self, datagram: &mut BytesMut, kind: u8, body: &[u8]) -> Result<(), Unspecified> {
        let server = self.protection(DtlsRole::Server).ok_or(Unspecified)?;
        // 48 bits hold more records than an association that only ends will ever send.
        let number = (u64::from(EPOCH) << 48 | self.next_sequence).to_be_bytes();
        let length = u16::try_from(body.len()).map_err(|_| Unspecified)?;
        let aad = additional_data(number, [kind], VERSION, length);
        let mut sealed = body.to_vec();
        let nonce = server.nonce(number);
        let tag = server.key.seal_in_place_separate_tag(nonce, Aad::from(aad), &mut sealed)?;
        self.next_sequence += 1;
        datagram.put_u8(kind);
        datagram.put_slice(&VERSION);
        datagram.put_slice(&number);
        datagram.put_u16(length.saturating_add((EXPLICIT_NONCE_BYTES + TAG_BYTES) as u16));
        datagram.put_slice(&number);
        datagram.put_slice(&sealed);
        datagram.put_slice(tag.as_ref());
        Ok(())
    }
}

/// What is authenticated beside a record's content (RFC 5246 §6.2.3.3).
fn additional_data(number: [u8; 8], [kind]: [u8; 1], version: [u8; 2], length: u16) -> [u8; 13] {
    let [a, b, c, d, e, f, g, h] = number;
    let [major, minor] = version;
    let [high, low] = length.to_be_bytes();
    [a, b, c, d, e, f, g, h, kind, major, minor, high, low]
}
