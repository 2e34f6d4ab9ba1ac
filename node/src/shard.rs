//! One media arbiter: an actor, its sockets, and the plane between them.
//!
//! `message` is what rooms, peers and other shards may say to it; `socket` reads and sends whole batches.

pub mod message;
pub mod socket;
