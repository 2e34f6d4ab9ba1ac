//! The DTLS side of a connection: `rtc-dtls` for the cryptography, and around it what a lossy, hostile network needs.
//!
//! `record`, `reassembly` and `inbound` read what comes and hand each flight on whole and once; `hello` reads the client's
//! SRTP profiles so that our order decides; `repetition` says when our last flight is sent again; `identity` is the node's
//! certificate and its ready-made configurations; `export` checks who the peer is and takes the SRTP keys; `core` holds
//! one association together.

pub mod core;
pub mod error;
mod export;
mod hello;
pub mod identity;
mod inbound;
mod reassembly;
mod record;
mod repetition;

pub use core::{Dtls, DtlsEvent};
pub use error::DtlsError;
pub use identity::DtlsIdentity;

#[cfg(test)]
mod tests;
