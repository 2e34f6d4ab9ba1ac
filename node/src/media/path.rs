//! Where datagrams of a peer come from and go to, and the small keys by which the shard's parts name each other.

use std::net::SocketAddr;

/// One way to a peer: its UDP address, or its ICE-TCP connection (RFC 6544, framed by RFC 4571).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Path {
    /// The peer's address as the shard's UDP socket sees it.
    Udp(SocketAddr),
    /// One accepted ICE-TCP connection.
    Tcp(TcpConnection),
}

/// An ICE-TCP connection that a shard holds, with the address it comes from (answers carry it as XOR-MAPPED-ADDRESS).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TcpConnection {
    /// Unique within the shard for the life of the process; never used again.
    pub id: u32,
    /// The other end of the connection.
    pub remote: SocketAddr,
}

impl Path {
    /// The peer's transport address.
    pub fn remote(&self) -> SocketAddr {
        match self {
            Self::Udp(address) => *address,
            Self::Tcp(connection) => connection.remote,
        }
    }
}

/// One shard of this node: its index, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u8);

/// One peer on one shard. The generation makes the key of a peer that has ended never match its successor's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerKey {
    /// Place in the shard's table of peers.
    pub index: u32,
    /// Counts how often that place was taken.
    pub generation: u32,
}
