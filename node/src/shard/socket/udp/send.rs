//! Sending: one system call takes many runs, each of which the kernel cuts into datagrams (`UDP_SEGMENT`).
#![allow(unsafe_code)]

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use super::UdpSocket;
use super::control::Control;
use super::local::LocalAddresses;
use super::name::Name;
use super::receive::empty_header;
use crate::shard::socket::counters::{SendCounters, SendErrorKind};

/// Runs that one system call takes. More no longer saves anything: the call's own cost is spread thin by then.
const MESSAGES: usize = 128;

/// How long one batch waits in all for a full send buffer to drain, before what is left is dropped: short against a frame,
/// long against the few hundred microseconds in which a fast interface empties its queue.
const SEND_WAIT: Duration = Duration::from_millis(2);

/// Headers for sending, allocated once.
pub struct UdpSender {
    names: Box<[Name]>,
    controls: Box<[Control]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    /// Datagrams in each message of the queue.
    datagrams: Box<[u16]>,
    /// Messages in the queue.
    queued: usize,
    /// Bytes of each datagram but the last of each message.
    segments: Box<[u16]>,
    /// Whether the kernel and the interface can cut runs; cleared for good when they say that they cannot.
    segmentation: bool,
    local: LocalAddresses,
    counters: SendCounters,
}

impl UdpSender {
    /// Headers for `socket`.
    pub fn new(socket: &UdpSocket) -> Self {
        let header = libc::mmsghdr { msg_hdr: empty_header(), msg_len: 0 };
        let vector = libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 };
        Self {
            names: vec![Name::default(); MESSAGES].into_boxed_slice(),
            controls: vec![Control::EMPTY; MESSAGES].into_boxed_slice(),
            vectors: vec![vector; MESSAGES].into_boxed_slice(),
            headers: vec![header; MESSAGES].into_boxed_slice(),
            datagrams: vec![0; MESSAGES].into_boxed_slice(),
            queued: 0,
            segments: vec![0; MESSAGES].into_boxed_slice(),
            segmentation: true,
            local: LocalAddresses::new(socket.is_wildcard()),
            counters: SendCounters::default(),
        }
    }

    /// What was sent so far.
    pub fn counters(&self) -> SendCounters {
        self.counters
    }

    /// Pretends that the host cannot cut runs.
    #[cfg(test)]
    pub(super) fn disable_segmentation(&mut self) {
        self.segmentation = false;
    }

    pub(super) fn local_addresses(&mut self) -> &mut LocalAddresses {
        &mut self.local
    }

    /// Sends `runs`: destination, bytes, and bytes of each datagram but the last. What the kernel refuses is dropped and
    /// counted.
    pub fn send<'a>(
        &mut self,
        socket: &UdpSocket,
        runs: impl Iterator<Item = (SocketAddr, &'a [u8], usize)>,
    ) {
        let mut wait = SendWait::default();
        for (to, bytes, segment) in runs {
            let whole = if self.segmentation { bytes.len() } else { segment.max(1) };
            for part in bytes.chunks(whole.max(1)) {
                if self.queued == MESSAGES {
                    self.submit(socket, &mut wait);
                }
                self.queue(socket, to, part, segment);
            }
        }
        self.submit(socket, &mut wait);
    }

    /// Writes the headers of one message. Its bytes must stay where they are until [`Self::submit`] returns.
    fn queue(&mut self, socket: &UdpSocket, to: SocketAddr, bytes: &[u8], segment: usize) {
        let at = self.queued;
        let (Some(header), Some(vector)) = (self.headers.get_mut(at), self.vectors.get_mut(at)) else {
            return;
        };
        let (Some(name), Some(control)) = (self.names.get_mut(at), self.controls.get_mut(at)) else {
            return;
        };
        let segment = u16::try_from(segment.clamp(1, bytes.len().max(1))).unwrap_or(u16::MAX);
        let datagrams = bytes.len().div_ceil(usize::from(segment));
        let from = self.local.answer_from(&to);
        let control_bytes = control.set((datagrams > 1).then_some(segment), from, socket.is_v6());
        vector.iov_base = bytes.as_ptr().cast_mut().cast();
        vector.iov_len = bytes.len();
        let message = &mut header.msg_hdr;
        message.msg_namelen = name.set(to, socket.is_v6()) as libc::socklen_t;
        message.msg_name = (&raw mut *name).cast();
        message.msg_iov = vector;
        message.msg_iovlen = 1;
        message.msg_controllen = control_bytes;
        let some = control_bytes > 0;
        message.msg_control = if some { control.as_mut_ptr() } else { std::ptr::null_mut() };
        if let (Some(count), Some(size)) = (self.datagrams.get_mut(at), self.segments.get_mut(at)) {
            *count = datagrams as u16;
            *size = segment;
        }
        self.queued += 1;
    }

    /// Sends the queue and empties it.
    fn submit(&mut self, socket: &UdpSocket, wait: &mut SendWait) {
        let queued = std::mem::take(&mut self.queued);
        let mut done = 0;
        while done < queued {
            match self.call(socket, done, queued - done) {
                Ok(sent) => {
                    self.count(done, sent);
                    done += sent;
                }
                Err(errno) => {
                    if errno == libc::EINTR {
                        continue;
                    }
                    let kind = SendErrorKind::from_errno(errno);
                    if kind == SendErrorKind::BufferFull && wait.until_writable(socket) {
                        continue;
                    }
                    if kind == SendErrorKind::BufferFull {
                        self.drop_rest(done, queued);
                        return;
                    }
                    self.give_up(socket, done, errno);
                    done += 1;
                }
            }
        }
    }

    /// One `sendmmsg` of `count` messages from `first`. Returns how many the kernel took: at least one.
    fn call(&mut self, socket: &UdpSocket, first: usize, count: usize) -> Result<usize, i32> {
        let Some(headers) = self.headers.get_mut(first..first + count) else {
            return Err(libc::EINVAL);
        };
        // SAFETY: every header of the slice was written by `queue` since the last `submit`: its name, control buffer and
        // vector belong to `self`, which is borrowed mutably, and its data belongs to the iterator's items of `send`,
        // which are borrowed for longer than this call. Lengths are the true ones. The kernel writes only `msg_len`.
        // The descriptor is open for as long as `socket` is borrowed.
        let result = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as libc::c_uint,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        match usize::try_from(result) {
            Ok(sent) if sent > 0 => Ok(sent),
            Ok(_) => Err(libc::EAGAIN),
            Err(_) => Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)),
        }
    }

    fn count(&mut self, first: usize, sent: usize) {
        self.counters.calls += 1;
        let slots = self.datagrams.iter().zip(self.vectors.iter());
        for (datagrams, vector) in slots.skip(first).take(sent) {
            self.counters.datagrams += u64::from(*datagrams);
            self.counters.bytes += vector.iov_len as u64;
        }
    }

    fn drop_rest(&mut self, first: usize, queued: usize) {
        let left = self.datagrams.iter().take(queued).skip(first);
        let datagrams = left.map(|count| u64::from(*count)).sum();
        self.counters.dropped(SendErrorKind::BufferFull, datagrams);
    }

    /// The kernel refused message `at`: sends its datagrams one by one if it was a run, else drops it.
    fn give_up(&mut self, socket: &UdpSocket, at: usize, errno: i32) {
        let datagrams = self.datagrams.get(at).copied().unwrap_or_default();
        let refusals = [libc::EIO, libc::EINVAL, libc::EMSGSIZE, libc::EOPNOTSUPP];
        if datagrams <= 1 || !refusals.contains(&errno) {
            self.counters.dropped(SendErrorKind::from_errno(errno), u64::from(datagrams));
            return;
        }
        // EIO: the interface cannot compute checksums, so it never will cut runs. The others are about this run.
        self.segmentation &= errno != libc::EIO;
        self.counters.unsegmented_runs += 1;
        self.send_one_by_one(socket, at);
    }

    fn send_one_by_one(&mut self, socket: &UdpSocket, at: usize) {
        let (Some(header), Some(vector)) = (self.headers.get_mut(at), self.vectors.get_mut(at)) else {
            return;
        };
        let segment = usize::from(self.segments.get(at).copied().unwrap_or_default()).max(1);
        let (base, len) = (vector.iov_base.cast::<u8>(), vector.iov_len);
        // Without the segment size; a local address that stood beside it is not worth a second layout here, the kernel
        // chooses for these few.
        header.msg_hdr.msg_control = std::ptr::null_mut();
        header.msg_hdr.msg_controllen = 0;
        for start in (0..len).step_by(segment) {
            vector.iov_len = segment.min(len - start);
            vector.iov_base = base.wrapping_add(start).cast();
            // SAFETY: as in `call`; the vector now covers a part of the same bytes, within their length.
            let result =
                unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header.msg_hdr, libc::MSG_DONTWAIT) };
            match usize::try_from(result) {
                Ok(bytes) => {
                    self.counters.datagrams += 1;
                    self.counters.bytes += bytes as u64;
                }
                Err(_) => {
                    let errno = io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
                    self.counters.dropped(SendErrorKind::from_errno(errno), 1);
                }
            }
        }
    }
}

/// The time that one batch may still wait for room.
#[derive(Default)]
struct SendWait {
    until: Option<Instant>,
}

impl SendWait {
    /// Waits until the socket takes more, at most until the batch's time is up. Returns whether to try again.
    fn until_writable(&mut self, socket: &UdpSocket) -> bool {
        let now = Instant::now();
        let until = *self.until.get_or_insert(now + SEND_WAIT);
        let left = until.saturating_duration_since(now);
        if left.is_zero() {
            return false;
        }
        let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
        let milliseconds = left.as_millis().max(1) as libc::c_int;
        // SAFETY: one `pollfd` on this stack frame, and the count says so; the descriptor is open while borrowed.
        unsafe { libc::poll(&raw mut poll, 1, milliseconds) > 0 }
    }
}
