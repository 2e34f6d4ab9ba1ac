//! ICE credentials whose ufrag says which shard it belongs to, so that an ICE-TCP connection finds its shard by its
//! first check.

use aws_lc_rs::rand;

use crate::media::negotiated::IceCredentials;
use crate::media::path::ShardId;

/// The 64 ice-chars (RFC 8839 §5.4).
const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Shards that a ufrag can tell apart.
pub const SHARDS_MAX: u8 = 64;

/// Characters of a ufrag: one for the shard and seven random ones. RFC 8839 §5.4 asks for 24 random bits, we have 42.
const UFRAG_CHARS: usize = 8;

/// Characters of a password: 144 random bits; RFC 8839 §5.4 asks for 128.
const PASSWORD_CHARS: usize = 24;

/// New credentials for a session on `shard`, from the operating system's random source.
///
/// # Errors
///
/// Fails if there is no randomness.
pub fn credentials(shard: ShardId) -> Result<IceCredentials, CredentialsError> {
    let mut random = [0_u8; UFRAG_CHARS - 1 + PASSWORD_CHARS];
    rand::fill(&mut random).map_err(|_| CredentialsError)?;
    let (ufrag, password) = random.split_at(UFRAG_CHARS - 1);
    let shard = ice_char(shard.0);
    Ok(IceCredentials {
        ufrag: std::iter::once(shard).chain(ufrag.iter().map(|byte| ice_char(*byte))).collect(),
        password: password.iter().map(|byte| ice_char(*byte)).collect(),
    })
}

/// There is no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes for ice credentials")]
pub struct CredentialsError;

/// The shard that `ufrag` was made for; `None` if it is none of ours.
pub fn shard_of_ufrag(ufrag: &str) -> Option<ShardId> {
    let first = *ufrag.as_bytes().first().filter(|_| ufrag.len() == UFRAG_CHARS)?;
    let shard = ICE_CHARS.iter().position(|char| *char == first)?;
    u8::try_from(shard).ok().map(ShardId)
}

/// The ice-char of the lower six bits.
fn ice_char(bits: u8) -> char {
    ICE_CHARS.get(usize::from(bits % SHARDS_MAX)).copied().map_or('A', char::from)
}
