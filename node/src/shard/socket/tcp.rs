//! ICE over TCP, the passive side (RFC 6544): the same datagrams as on UDP, each behind its length (RFC 4571).
//!
//! `accept` takes connections on the node's one TCP port and learns from the first frame, which must be a connectivity
//! check, which shard a connection is for. That shard holds it in its [`connections::TcpConnections`]; `frame` finds the
//! frames in the stream, `places` bounds how many connections there are.

pub mod accept;
pub mod connections;
pub mod frame;
pub mod places;
#[cfg(test)]
mod tests;
