//! The edge node: everything between a client's HTTP request and the packets on its wire.
//!
//! `media` is the data plane (plain data and pure functions), `shard` the socket around it, `peer` one WebRTC
//! connection, `signalling` what clients say over HTTP. `docs/ARCHITECTURE.md` has the map.

pub mod actor;
pub mod cli;
pub mod cluster_agent;
pub mod config;
mod drain;
mod file_watch;
pub mod lifecycle;
pub mod media;
pub mod peer;
pub mod room;
pub mod shard;
pub mod signalling;
pub mod startup;
pub mod telemetry;
pub mod token;
