//! Reading: one system call brings many messages, each of which may hold many datagrams of one sender.
#![allow(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use super::control::Control;
use super::local::LocalAddresses;
use super::name::Name;
use super::{UdpSocket, send::UdpSender};
use crate::shard::socket::counters::ReceiveCounters;

/// Messages that one call brings at most. Full means that the caller asks again at once.
const MESSAGES: usize = 64;

/// Bytes of one message: what the kernel coalesces at most.
const MESSAGE_BYTES: usize = 65_536;

/// Distance between two messages' buffers. Not a power of two: the first lines of all buffers would share a few sets of
/// the cache and throw each other out.
const STRIDE_BYTES: usize = MESSAGE_BYTES + 17 * 64;

/// An arrival time older than this is not believed: the wall clock was set in between.
const OLDEST_ARRIVAL: Duration = Duration::from_secs(1);

/// Buffers and headers for reading, allocated once.
pub struct UdpReceiver {
    bytes: Box<[u8]>,
    names: Box<[Name]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    counters: ReceiveCounters,
    last_overflow: u32,
}

/// How far a read came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Datagrams handed over.
    pub datagrams: usize,
    /// Whether the socket has nothing more for now.
    pub drained: bool,
}

impl UdpReceiver {
    /// Allocates the buffers: 4 MiB of addresses, of which only what arrives is ever touched.
    pub fn new() -> Self {
        let header = libc::mmsghdr { msg_hdr: empty_header(), msg_len: 0 };
        let vector = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Self {
            bytes: vec![0; MESSAGES * STRIDE_BYTES].into_boxed_slice(),
            names: vec![Name::default(); MESSAGES].into_boxed_slice(),
            controls: vec![Control::EMPTY; MESSAGES].into_boxed_slice(),
            vectors: vec![vector; MESSAGES].into_boxed_slice(),
            headers: vec![header; MESSAGES].into_boxed_slice(),
            counters: ReceiveCounters::default(),
            last_overflow: 0,
        }
    }

    /// What was read so far.
    pub fn counters(&self) -> ReceiveCounters {
        self.counters
    }

    /// Reads what one system call brings and gives each datagram to `sink`, with its sender and the time at which the
    /// kernel got it. `sender` learns which address each came to.
    ///
    /// # Errors
    ///
    /// What the kernel says, but for "nothing there", which is [`Progress`] without datagrams.
    pub fn receive(
        &mut self,
        socket: &UdpSocket,
        sender: &mut UdpSender,
        mut sink: impl FnMut(SocketAddr, Instant, &mut [u8]),
    ) -> io::Result<Progress> {
        let messages = match self.call(socket) {
            Ok(messages) => messages,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Progress { datagrams: 0, drained: true });
            }
            Err(error) => return Err(error),
        };
        self.counters.calls += 1;
        let clock = ClockOffset::now();
        let before = self.counters.datagrams;
        let buffers = self.bytes.chunks_exact_mut(STRIDE_BYTES);
        let slots = self.headers.iter().zip(self.names.iter()).zip(self.controls.iter());
        for (((header, name), control), buffer) in slots.zip(buffers).take(messages) {
            let received = control.get(header.msg_hdr.msg_controllen);
            if let Some(total) = received.overflowed {
                let new = total.wrapping_sub(self.last_overflow);
                self.counters.overflowed += u64::from(new);
                self.last_overflow = total;
            }
            let cut_off = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
            let message = buffer.get_mut(..header.msg_len as usize);
            let (Some(from), Some(message), false) = (name.get(), message, cut_off) else {
                self.counters.malformed += 1;
                continue;
            };
            note_local(sender.local_addresses(), from, &received);
            let arrival = clock.instant(received.arrival);
            let segment = received.segment.filter(|segment| *segment > 0);
            self.counters.bytes += message.len() as u64;
            for datagram in message.chunks_mut(segment.unwrap_or(MESSAGE_BYTES)) {
                self.counters.datagrams += 1;
                sink(from, arrival, datagram);
            }
        }
        let datagrams = (self.counters.datagrams - before) as usize;
        Ok(Progress { datagrams, drained: messages < MESSAGES })
    }

    /// One `recvmmsg`. Returns the messages it brought.
    fn call(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        let buffers = self.bytes.chunks_exact_mut(STRIDE_BYTES);
        let slots = self.headers.iter_mut().zip(self.vectors.iter_mut());
        let places = self.names.iter_mut().zip(self.controls.iter_mut());
        for (((header, vector), (name, control)), buffer) in slots.zip(places).zip(buffers) {
            vector.iov_base = buffer.as_mut_ptr().cast();
            vector.iov_len = MESSAGE_BYTES;
            header.msg_hdr.msg_name = (&raw mut *name).cast();
            header.msg_hdr.msg_namelen = Name::V6_BYTES as libc::socklen_t;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.as_mut_ptr();
            header.msg_hdr.msg_controllen = Control::CAPACITY;
            header.msg_hdr.msg_flags = 0;
        }
        loop {
            // SAFETY: `headers` has MESSAGES entries. Each was just pointed at a name, a control buffer, a vector and, by
            // that, a data buffer of its own, with their true sizes; all belong to `self`, which is borrowed mutably for
            // the whole call, so they neither move nor are they read while the kernel writes. The descriptor is open for
            // as long as `socket` is borrowed. No timeout is passed.
            let result = unsafe {
                libc::recvmmsg(
                    socket.as_raw_fd(),
                    self.headers.as_mut_ptr(),
                    MESSAGES as libc::c_uint,
                    libc::MSG_DONTWAIT,
                    std::ptr::null_mut(),
                )
            };
            if let Ok(messages) = usize::try_from(result) {
                return Ok(messages);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

impl Default for UdpReceiver {
    fn default() -> Self {
        Self::new()
    }
}

fn note_local(addresses: &mut LocalAddresses, from: SocketAddr, received: &super::control::Received) {
    if let Some(local) = received.local {
        addresses.learn(from, local);
    }
}

/// A message header without any buffer.
pub(super) fn empty_header() -> libc::msghdr {
    // SAFETY: `msghdr` is plain old data: integers and pointers (and, with some C libraries, private padding), for all
    // of which zero is a valid value.
    unsafe { std::mem::zeroed() }
}

/// How the kernel's wall-clock timestamps map to [`Instant`]s: looked up once for each batch.
struct ClockOffset {
    instant: Instant,
    wall: Duration,
}

impl ClockOffset {
    fn now() -> Self {
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self { instant: Instant::now(), wall: wall.unwrap_or_default() }
    }

    fn instant(&self, arrival: Option<Duration>) -> Instant {
        let age = arrival.map_or(Duration::ZERO, |arrival| self.wall.saturating_sub(arrival));
        if age > OLDEST_ARRIVAL {
            return self.instant;
        }
        self.instant.checked_sub(age).unwrap_or(self.instant)
    }
}
