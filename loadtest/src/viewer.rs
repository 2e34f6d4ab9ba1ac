//! Lean viewers: thousands of WHEP sessions in one thread, enough of each to behave like a browser towards the server.
//!
//! `core` is one viewer, pure; `fleet` is the thread that owns all of them and the sockets.

pub mod core;
pub mod dtls;
mod feedback;
mod first_picture;
pub mod fleet;
mod header;
pub mod ice;
pub mod sdp;
pub mod sequence;
mod shortfall;
pub mod srtp;
pub mod totals;
