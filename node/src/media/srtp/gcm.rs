//! An AES-GCM sealing key that lies where its owner lies.
//!
//! `aws_lc_rs` keeps each key in an allocation of its own, so thousands of viewers' keys lie scattered over the heap and each
//! fan-out pays for it in cache and TLB misses: measured at 5,000 viewers and one packet per window, 460 ns a packet
//! against 290. Here the library's context is a plain field, so the keys of a shard form one array that a core can
//! prefetch. That takes the library's C interface; this file is all there is of it.

use std::mem::MaybeUninit;

use aws_lc_sys::{
    EVP_AEAD_CTX, EVP_AEAD_CTX_init, EVP_AEAD_CTX_seal_scatter, EVP_aead_aes_128_gcm, EVP_aead_aes_256_gcm,
    OPENSSL_cleanse,
};

use super::SrtpError;
use super::cipher::GCM_TAG_BYTES;

/// Bytes of a nonce (RFC 7714 §8.1).
pub(super) const NONCE_BYTES: usize = 12;

/// See the module. It may be moved: the library duplicates the context of this algorithm by copying its bytes
/// (`aead_ctx_copy_state_trivial`), so nothing in it knows where it lies.
pub(super) struct SealingContext(EVP_AEAD_CTX);

// SAFETY: the context's one pointer is to a constant table of the library, and sealing only reads the context.
unsafe impl Send for SealingContext {}

impl SealingContext {
    /// A context for `key` of 16 or 32 bytes.
    pub(super) fn new(key: &[u8]) -> Result<Self, SrtpError> {
        // SAFETY: both functions return constant tables of the library.
        let algorithm = match key.len() {
            16 => unsafe { EVP_aead_aes_128_gcm() },
            32 => unsafe { EVP_aead_aes_256_gcm() },
            _ => return Err(SrtpError::KeyLength),
        };
        let mut context = MaybeUninit::<EVP_AEAD_CTX>::zeroed();
        // SAFETY: `context` is valid for writes, `key` for reads of its length, which is the algorithm's; no engine.
        let made = unsafe {
            EVP_AEAD_CTX_init(
                context.as_mut_ptr(),
                algorithm,
                key.as_ptr(),
                key.len(),
                GCM_TAG_BYTES,
                std::ptr::null_mut(),
            )
        };
        if made != 1 {
            return Err(SrtpError::Crypto);
        }
        // SAFETY: zeroed, which is a valid value of every field, and then initialised.
        Ok(Self(unsafe { context.assume_init() }))
    }

    /// Seals `payload` into `out`, which has its length and then room for the tag. `aad` is authenticated with it.
    #[inline]
    pub(super) fn seal(
        &self,
        nonce: [u8; NONCE_BYTES],
        aad: &[u8],
        payload: &[u8],
        out: &mut [u8],
    ) -> Result<(), SrtpError> {
        let (body, tag) = out.split_at_mut_checked(payload.len()).ok_or(SrtpError::Malformed)?;
        self.scatter(nonce, aad, payload.as_ptr(), body, tag)
    }

    /// Seals the first `payload_bytes` of `out` where they lie; the rest of it is the room for the tag.
    pub(super) fn seal_in_place(
        &self,
        nonce: [u8; NONCE_BYTES],
        aad: &[u8],
        payload_bytes: usize,
        out: &mut [u8],
    ) -> Result<(), SrtpError> {
        let (body, tag) = out.split_at_mut_checked(payload_bytes).ok_or(SrtpError::Malformed)?;
        self.scatter(nonce, aad, body.as_ptr(), body, tag)
    }

    /// `payload` points to as many bytes as `body` has: the same bytes, or others that do not overlap them.
    #[inline]
    fn scatter(
        &self,
        nonce: [u8; NONCE_BYTES],
        aad: &[u8],
        payload: *const u8,
        body: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), SrtpError> {
        if tag.len() != GCM_TAG_BYTES {
            return Err(SrtpError::Malformed);
        }
        let mut tag_bytes = 0;
        // SAFETY: the context is initialised; every pointer is valid for the length beside it, `payload` for that of `body`;
        // the library takes input and output that are the same or do not overlap; no extra input.
        let sealed = unsafe {
            EVP_AEAD_CTX_seal_scatter(
                &raw const self.0,
                body.as_mut_ptr(),
                tag.as_mut_ptr(),
                &raw mut tag_bytes,
                tag.len(),
                nonce.as_ptr(),
                nonce.len(),
                payload,
                body.len(),
                std::ptr::null(),
                0,
                aad.as_ptr(),
                aad.len(),
            )
        };
        if sealed == 1 && tag_bytes == GCM_TAG_BYTES { Ok(()) } else { Err(SrtpError::Crypto) }
    }
}

impl Drop for SealingContext {
    fn drop(&mut self) {
        // The context of this algorithm owns nothing but its bytes; those are a key.
        // SAFETY: the field is valid for writes of its size, and is not used again.
        unsafe { OPENSSL_cleanse((&raw mut self.0).cast(), size_of::<EVP_AEAD_CTX>()) };
    }
}
