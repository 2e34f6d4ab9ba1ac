//! The DTLS side of a connection: our own handshake as server, `rtc-dtls` for all others, and around them what a lossy,
//! hostile network needs.
//!
//! `record`, `reassembly` and `inbound` read what comes and hand each flight on whole and once; `hello` reads the client's
//! first, so that our order of SRTP profiles decides; `server` and `library` run handshakes, `candidates` tells the client's
//! hello from others; `repetition` says when our last flight is sent again; `identity` is the node's certificate and its ready-made configurations; `export` checks who
//! the peer is and splits the SRTP keys; `session` and `association` are what is left then; `core` holds it together.

mod alert;
mod association;
mod candidates;
pub mod core;
pub mod error;
mod export;
mod fields;
mod hello;
pub mod identity;
mod inbound;
mod library;
mod reassembly;
mod record;
mod repetition;
mod server;
mod session;

pub use core::{Dtls, DtlsEvent};
pub use error::DtlsError;
pub use identity::DtlsIdentity;
pub use record::matters_once_connected;

#[cfg(test)]
mod tests;
