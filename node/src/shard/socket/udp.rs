//! The UDP socket of one shard: bound once, never blocking, read and written in whole batches.
//!
//! A socket that is bound to a wildcard address answers from the address that a datagram came to, which it learns from
//! `IP_PKTINFO` (see [`local::LocalAddresses`]): ICE drops answers from anywhere else (RFC 8445 §7.2.5.2.1). An IPv6
//! wildcard takes IPv4 too; outside this module such addresses are always written as IPv4.

mod control;
mod local;
mod name;
pub mod receive;
pub mod send;
pub mod watch;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use socket2::{Domain, Protocol, Socket, Type};

/// What we ask of the kernel for each direction: a quarter of a second of 250 Mbit/s, so that neither a gather window nor
/// a busy moment of the shard costs a packet.
pub const BUFFER_BYTES: usize = 8 * 1024 * 1024;

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process has the port.
    #[error(
        "UDP port {port} on {ip} is in use: stop the other server, or choose other ports with --udp",
        port = .0.port(), ip = .0.ip()
    )]
    InUse(SocketAddr),
    /// The address is not one of this host's.
    #[error("{ip} is not an address of this host: choose another with --udp", ip = .0.ip())]
    NotOurs(SocketAddr),
    /// The port needs rights that the process does not have.
    #[error("UDP port {port} needs more rights than this process has: choose one from 1024 with --udp", port = .0.port())]
    Denied(SocketAddr),
    /// Anything else.
    #[error("cannot open a UDP socket on {address}")]
    Failed {
        /// What was asked for.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A bound, non-blocking UDP socket.
#[derive(Debug)]
pub struct UdpSocket {
    socket: Socket,
    local: SocketAddr,
    granted: BufferSizes,
}

/// What the kernel granted, in bytes of its own bookkeeping (about twice the payload).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferSizes {
    /// `SO_RCVBUF`.
    pub receive: usize,
    /// `SO_SNDBUF`.
    pub send: usize,
}

impl UdpSocket {
    /// Binds `address`; port 0 lets the kernel choose.
    ///
    /// Neither `SO_REUSEADDR` nor `SO_REUSEPORT` is set: on Linux both would let a second server take datagrams away from
    /// the first without either knowing.
    ///
    /// # Errors
    ///
    /// See [`BindError`].
    pub fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let socket = open(address).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse(address),
            io::ErrorKind::AddrNotAvailable => BindError::NotOurs(address),
            io::ErrorKind::PermissionDenied => BindError::Denied(address),
            _ => BindError::Failed { address, source },
        })?;
        let failed = |source| BindError::Failed { address, source };
        let granted = BufferSizes {
            receive: socket.recv_buffer_size().map_err(failed)?,
            send: socket.send_buffer_size().map_err(failed)?,
        };
        let local = socket.local_addr().map_err(failed)?.as_socket().unwrap_or(address);
        Ok(Self { socket, local, granted })
    }

    /// The address it is bound to, with the port that the kernel chose if none was given.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The buffers that the kernel granted.
    pub fn buffer_sizes(&self) -> BufferSizes {
        self.granted
    }

    /// Whether it takes datagrams on every address of the host.
    pub fn is_wildcard(&self) -> bool {
        self.local.ip().is_unspecified()
    }

    /// Whether addresses are written as IPv6 towards the kernel.
    fn is_v6(&self) -> bool {
        matches!(self.local.ip(), IpAddr::V6(_))
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    let wildcard = address.ip().is_unspecified();
    if address.is_ipv6() {
        socket.set_only_v6(!wildcard)?;
    }
    socket.bind(&address.into())?;
    control::enlarge_buffers(&socket, BUFFER_BYTES)?;
    control::set_flag(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS)?;
    control::set_flag(&socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL)?;
    // Kernels before 5.0 cannot coalesce; datagrams then simply come one by one.
    let _ = control::set_flag(&socket, libc::SOL_UDP, libc::UDP_GRO);
    // A gain in speed alone, so whoever cannot have it goes without.
    let _ = control::forbid_fragments(&socket);
    if wildcard && address.is_ipv6() {
        control::set_flag(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)?;
    } else if wildcard {
        control::set_flag(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests;
