//! One WebRTC connection: its ICE and DTLS, from the answered offer to the last goodbye.
//!
//! `core` has the rules (pure), `actor` the shell on the shard's arbiter. Media never passes through here: once DTLS has
//! keys they go to the plane, and the peer hears of media only through notices.

pub mod actor;
pub mod core;
pub mod dtls;
pub mod ice;
pub mod message;

#[cfg(test)]
pub(crate) mod test_client;
#[cfg(test)]
mod tests;
