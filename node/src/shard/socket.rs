//! The sockets of one shard: `udp` reads and sends whole batches, `tcp` carries the same datagrams for clients whose
//! network lets no UDP through (RFC 6544), `counters` is what both have to say about it.
//!
//! The only part of the node with `unsafe`: system calls that take arrays of headers (`recvmmsg`, `sendmmsg`).

pub mod counters;
pub mod tcp;
pub mod udp;
