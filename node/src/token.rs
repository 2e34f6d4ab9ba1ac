//! Access tokens: JSON Web Tokens (RFC 7519) that say which room, which stream, and what may be done there.
//!
//! `core` tells whether a token is good, at a time that it is given; `key` reads keys (JWK, RFC 7517); `key_files` reads
//! those of the configured files, `jwks` fetches those that another server publishes, `key_ring` holds both and follows
//! their changes; `issue` signs tokens and makes keys; `command` is `aforo token`.

pub mod command;
mod core;
mod issue;
mod jwks;
mod key;
mod key_files;
mod key_ring;
#[cfg(test)]
mod tests;

pub use core::{Grants, KeySet, LEEWAY_SECONDS, Names, TOKEN_MAX_BYTES, TokenError};
pub use jwks::KeyServer;
pub use key::KeyError;
pub use key_files::KeyFileError;
pub use key_ring::{AwaitsKeys, KeyRing};
