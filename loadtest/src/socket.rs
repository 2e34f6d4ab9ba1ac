//! One UDP socket that speaks for many loopback addresses: whole batches in and out by one system call each.
//!
//! A server tells viewers apart by their address, so a viewer needs one of its own. A socket bound to the wildcard
//! address with `IP_PKTINFO` may send from, and sees the target of, any address of 127.0.0.0/8; thus thousands of
//! viewers share it. Received runs stay whole (`UDP_GRO`) and carry the time at which the kernel got them, so a
//! reader that looks only twice a millisecond still measures exactly.

mod control;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use control::{ReceiveSlots, send_entries};

/// Receive buffer asked of the kernel: a burst of one frame to 2,000 viewers is some 2,000 runs of 4 KiB of kernel
/// memory each, and the reader may be away for several such bursts.
pub const RECEIVE_BUFFER_BYTES: usize = 128 << 20;

/// Send buffer asked of the kernel; a viewer sends little, the floor program sends bursts.
pub const SEND_BUFFER_BYTES: usize = 16 << 20;

/// Runs read by one system call.
const RECEIVE_SLOTS: usize = 64;

/// Runs handed to one `sendmmsg`; more makes no difference that can be measured.
const SEND_SLOTS: usize = 256;

/// A datagram, or a run of equal datagrams (the last may be shorter), as it came in.
#[derive(Debug)]
pub struct Received<'a> {
    /// Who sent it.
    pub source: SocketAddrV4,
    /// The address of ours that it was sent to.
    pub destination: Ipv4Addr,
    /// When the kernel got it, nanoseconds since the Unix epoch; 0 if the kernel did not say.
    pub arrival_ns: u64,
    /// Bytes of each datagram of the run but the last.
    pub segment_bytes: usize,
    /// All datagrams, one after the other.
    pub payload: &'a mut [u8],
}

/// One datagram or run to send.
#[derive(Debug, Clone, Copy)]
pub struct SendEntry {
    /// Where its bytes start in the batch.
    pub start: usize,
    /// How many bytes.
    pub bytes: usize,
    /// Bytes per datagram; equal to `bytes` for a single one.
    pub segment_bytes: usize,
    /// Receiver.
    pub destination: SocketAddrV4,
    /// Source address, where it must be a certain one.
    pub source: Option<Ipv4Addr>,
}

/// Datagrams waiting to be sent together.
#[derive(Debug, Default)]
pub struct SendBatch {
    data: Vec<u8>,
    entries: Vec<SendEntry>,
}

impl SendBatch {
    /// Adds one datagram.
    pub fn push(&mut self, source: Option<Ipv4Addr>, destination: SocketAddrV4, datagram: &[u8]) {
        let start = self.data.len();
        self.data.extend_from_slice(datagram);
        self.entries.push(SendEntry {
            start,
            bytes: datagram.len(),
            segment_bytes: datagram.len(),
            destination,
            source,
        });
    }

    /// The bytes so far: `push_run` names a range of them that the caller has appended.
    pub fn data_mut(&mut self) -> &mut Vec<u8> {
        &mut self.data
    }

    /// Adds the bytes from `start` to the end of the data as a run of datagrams of `segment_bytes` each.
    pub fn push_run(&mut self, start: usize, segment_bytes: usize, destination: SocketAddrV4) {
        let bytes = self.data.len().saturating_sub(start);
        self.entries.push(SendEntry { start, bytes, segment_bytes, destination, source: None });
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn clear(&mut self) {
        self.data.clear();
        self.entries.clear();
    }
}

/// The socket. Never blocks.
#[derive(Debug)]
pub struct WildcardSocket {
    socket: UdpSocket,
    receive_buffer_bytes: usize,
}

/// Memory into which `receive` reads; one per reading thread.
#[derive(Debug)]
pub struct ReceiveBuffers {
    slots: ReceiveSlots,
}

impl Default for ReceiveBuffers {
    fn default() -> Self {
        Self { slots: ReceiveSlots::new(RECEIVE_SLOTS) }
    }
}

impl WildcardSocket {
    /// Binds `port` (0: any) on all addresses.
    ///
    /// # Errors
    ///
    /// The port is taken, or the kernel has no `IP_PKTINFO`.
    pub fn bind(port: u16) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port).into())?;
        let socket: UdpSocket = socket.into();
        control::enable_options(&socket)?;
        control::set_buffers(&socket, RECEIVE_BUFFER_BYTES, SEND_BUFFER_BYTES);
        let receive_buffer_bytes = socket2::SockRef::from(&socket).recv_buffer_size()?;
        Ok(Self { socket, receive_buffer_bytes })
    }

    /// The port it is bound to.
    ///
    /// # Errors
    ///
    /// The kernel does not say; not seen in practice.
    pub fn port(&self) -> io::Result<u16> {
        Ok(self.socket.local_addr()?.port())
    }

    /// Bytes of kernel memory that the socket really got: without privileges far fewer than asked for.
    pub fn receive_buffer_bytes(&self) -> usize {
        self.receive_buffer_bytes
    }

    /// Reads one batch of what is there and hands each run to `each`; returns how many there were.
    ///
    /// # Errors
    ///
    /// What the kernel says, but for "nothing there" and "a former receiver is gone", which are no errors here.
    pub fn receive(&self, buffers: &mut ReceiveBuffers, each: impl FnMut(Received<'_>)) -> io::Result<usize> {
        match buffers.slots.receive(&self.socket, each) {
            Err(error) if is_transient(&error) => Ok(0),
            other => other,
        }
    }

    /// Sends all that waits; returns how many entries the kernel refused (they are gone: this is UDP).
    pub fn send(&self, batch: &mut SendBatch) -> usize {
        let mut refused = 0;
        for entries in batch.entries.chunks(SEND_SLOTS) {
            refused += send_entries(&self.socket, &batch.data, entries);
        }
        batch.clear();
        refused
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    fn wait_for(
        socket: &WildcardSocket,
        wanted: usize,
    ) -> Vec<(SocketAddrV4, Ipv4Addr, u64, usize, Vec<u8>)> {
        let mut buffers = ReceiveBuffers::default();
        let mut got = Vec::new();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        let mut bytes = 0;
        while bytes < wanted {
            assert!(std::time::Instant::now() < deadline, "{bytes} of {wanted} bytes came");
            socket
                .receive(&mut buffers, |r| {
                    bytes += r.payload.len();
                    got.push((r.source, r.destination, r.arrival_ns, r.segment_bytes, r.payload.to_vec()));
                })
                .unwrap();
        }
        got
    }

    #[test]
    fn one_socket_speaks_for_many_addresses() {
        let left = WildcardSocket::bind(0).unwrap();
        let right = WildcardSocket::bind(0).unwrap();
        let (left_port, right_port) = (left.port().unwrap(), right.port().unwrap());
        let mut batch = SendBatch::default();
        for i in 1..=3u8 {
            let from = Ipv4Addr::new(127, 9, 0, i);
            batch.push(Some(from), SocketAddrV4::new(Ipv4Addr::new(127, 8, 0, i), right_port), &[i; 10]);
        }
        assert_eq!(left.send(&mut batch), 0);
        let mut got = wait_for(&right, 30);
        got.sort_by_key(|g| g.4[0]);
        assert_eq!(got.len(), 3);
        for (i, (source, destination, arrival_ns, _, payload)) in (1u8..).zip(got) {
            assert_eq!(source, SocketAddrV4::new(Ipv4Addr::new(127, 9, 0, i), left_port));
            assert_eq!(destination, Ipv4Addr::new(127, 8, 0, i));
            assert_eq!(payload, vec![i; 10]);
            let age_ns = crate::clock::unix_ns().saturating_sub(arrival_ns);
            assert!(age_ns < 5_000_000_000, "arrival time is {age_ns} ns old");
        }
    }

    #[test]
    fn a_run_arrives_whole_with_its_segment_size() {
        let left = WildcardSocket::bind(0).unwrap();
        let right = WildcardSocket::bind(0).unwrap();
        let to = SocketAddrV4::new(Ipv4Addr::new(127, 8, 1, 1), right.port().unwrap());
        let mut batch = SendBatch::default();
        batch.data_mut().extend_from_slice(&[7; 2_500]);
        batch.push_run(0, 1_000, to);
        assert_eq!(left.send(&mut batch), 0);
        let got = wait_for(&right, 2_500);
        let datagrams: usize = got.iter().map(|g| g.4.len().div_ceil(g.3)).sum();
        assert_eq!(datagrams, 3);
    }
}
