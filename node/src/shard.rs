//! One media arbiter: an actor, its sockets, and the plane between them.
//!
//! `core` has the rules: which datagram belongs to whom (`demux`, `routes`), and when to look at the socket (`pace`). `socket` reads and
//! sends whole batches. `message` is what rooms, peers and other shards may say.

pub mod actor;
pub mod core;
pub mod counters;
pub mod demux;
mod event_loop;
pub mod health;
pub mod lanes;
pub mod message;
pub mod pace;
mod pump;
mod room_lanes;
mod routes;
pub mod socket;
pub mod start;
mod telemetry;
mod timer;
