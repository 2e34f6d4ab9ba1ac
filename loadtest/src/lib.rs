//! Synthetic publishers and viewers that measure a media server from outside: the library behind `aforo loadtest`.
//!
//! It shares nothing with the node: publishers run the `webrtc` crate's whole stack, viewers a small one of their own,
//! so whatever passes here has been understood by two other implementations.

pub mod clip;
pub mod clock;
pub mod command;
pub mod floor;
pub mod garbage;
pub mod process;
pub mod publisher;
pub mod report;
pub mod row;
pub mod scenario;
pub mod signalling;
pub mod socket;
pub mod units;
pub mod viewer;
