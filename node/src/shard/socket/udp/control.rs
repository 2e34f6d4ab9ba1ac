//! Socket options, and ancillary data (`cmsg`) of single messages, written and read as bytes.
#![allow(unsafe_code)]

use std::io;
use std::mem::offset_of;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use socket2::Socket;

const HEADER_BYTES: usize = size_of::<libc::cmsghdr>();

/// Room for all that one message carries in either direction: a timestamp, a segment size, an overflow count and a local
/// address, each behind its header and padded to a word.
const CONTROL_BYTES: usize = 192;

/// Ancillary data of one message, aligned as the kernel's headers are.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Control {
    bytes: [u8; CONTROL_BYTES],
}

/// What the kernel says about one received message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Received {
    /// When it arrived, since the epoch.
    pub(super) arrival: Option<Duration>,
    /// Bytes of each datagram in it but the last, if it holds several.
    pub(super) segment: Option<usize>,
    /// The host's address it came to.
    pub(super) local: Option<IpAddr>,
    /// Datagrams that this socket has dropped so far for want of buffer, modulo 2^32.
    pub(super) overflowed: Option<u32>,
}

impl Control {
    pub(super) const EMPTY: Self = Self { bytes: [0; CONTROL_BYTES] };
    pub(super) const CAPACITY: usize = CONTROL_BYTES;

    /// For the kernel, which reads or writes at most [`Self::CAPACITY`] bytes.
    pub(super) fn as_mut_ptr(&mut self) -> *mut libc::c_void {
        self.bytes.as_mut_ptr().cast()
    }

    /// Writes what a message to send carries. Returns the bytes in use; 0 means that it carries nothing.
    pub(super) fn set(&mut self, segment: Option<u16>, from: Option<IpAddr>, v6: bool) -> usize {
        let mut used = 0;
        if let Some(segment) = segment {
            used = self.put(used, libc::SOL_UDP, libc::UDP_SEGMENT, &segment.to_ne_bytes());
        }
        match from {
            None => {}
            // in_pktinfo: interface index (0: any), the address to send from, the destination (unused).
            Some(IpAddr::V4(ip)) if !v6 => {
                let mut info = [0; size_of::<libc::in_pktinfo>()];
                info[4..8].copy_from_slice(&ip.octets());
                used = self.put(used, libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
            }
            // in6_pktinfo: the address to send from, interface index (0: any).
            Some(ip) => {
                let ip = match ip {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                    IpAddr::V6(ip) => ip,
                };
                let mut info = [0; size_of::<libc::in6_pktinfo>()];
                info[..16].copy_from_slice(&ip.octets());
                used = self.put(used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
            }
        }
        used
    }

    /// Reads the first `len` bytes, which the kernel wrote.
    pub(super) fn get(&self, len: usize) -> Received {
        let mut received = Received::default();
        let mut rest = self.bytes.get(..len).unwrap_or(&self.bytes);
        while let Some((level, kind, data, after)) = next_message(rest) {
            received.read(level, kind, data);
            rest = after;
        }
        received
    }

    fn put(&mut self, at: usize, level: i32, kind: i32, data: &[u8]) -> usize {
        let len = HEADER_BYTES + data.len();
        let end = at + len.next_multiple_of(align_of::<libc::cmsghdr>());
        let Some(place) = self.bytes.get_mut(at..end) else {
            return at;
        };
        place.fill(0);
        let len_at = offset_of!(libc::cmsghdr, cmsg_len);
        let level_at = offset_of!(libc::cmsghdr, cmsg_level);
        let kind_at = offset_of!(libc::cmsghdr, cmsg_type);
        let fields: [(usize, &[u8]); 4] = [
            (len_at, &len.to_ne_bytes()),
            (level_at, &level.to_ne_bytes()),
            (kind_at, &kind.to_ne_bytes()),
            (HEADER_BYTES, data),
        ];
        for (at, field) in fields {
            if let Some(place) = place.get_mut(at..at + field.len()) {
                place.copy_from_slice(field);
            }
        }
        end
    }
}

impl Received {
    fn read(&mut self, level: i32, kind: i32, data: &[u8]) {
        match (level, kind) {
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                let seconds = word(data, 0).map(u64::from_ne_bytes);
                let nanos = word(data, 8).map(u64::from_ne_bytes);
                if let (Some(seconds), Some(nanos)) = (seconds, nanos) {
                    self.arrival = u32::try_from(nanos).ok().map(|nanos| Duration::new(seconds, nanos));
                }
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                self.overflowed = word(data, 0).map(u32::from_ne_bytes);
            }
            (libc::SOL_UDP, libc::UDP_GRO) => {
                let bytes = word(data, 0).map(i32::from_ne_bytes);
                self.segment = bytes.and_then(|bytes| usize::try_from(bytes).ok());
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // in_pktinfo: interface index, the interface's address, the header's destination.
                self.local = word::<4>(data, 8).map(IpAddr::from);
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                self.local = word::<16>(data, 0).map(|octets| IpAddr::from(octets).to_canonical());
            }
            _ => {}
        }
    }
}

fn word<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..at + N)?.try_into().ok()
}

/// Splits the first control message off: its level, type and data, and what follows it.
fn next_message(bytes: &[u8]) -> Option<(i32, i32, &[u8], &[u8])> {
    let len = usize::from_ne_bytes(word(bytes, offset_of!(libc::cmsghdr, cmsg_len))?);
    let level = i32::from_ne_bytes(word(bytes, offset_of!(libc::cmsghdr, cmsg_level))?);
    let kind = i32::from_ne_bytes(word(bytes, offset_of!(libc::cmsghdr, cmsg_type))?);
    let data = bytes.get(HEADER_BYTES..len)?;
    let end = len.next_multiple_of(align_of::<libc::cmsghdr>()).min(bytes.len());
    Some((level, kind, data, bytes.get(end..)?))
}

/// Switches on an option that is an `int` of 0 or 1.
pub(super) fn set_flag(socket: &Socket, level: i32, option: i32) -> io::Result<()> {
    set_int(socket, level, option, 1)
}

fn set_int(socket: &Socket, level: i32, option: i32, value: i32) -> io::Result<()> {
    let value_ptr: *const i32 = &raw const value;
    // SAFETY: the descriptor is open for as long as `socket` is borrowed; the pointer is to one `int` on this stack
    // frame and the length says so; the kernel only reads it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            value_ptr.cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sends IPv4 packets with "don't fragment", at whatever size: then they need no identification, which the kernel draws
/// from a table that all cores share (a twentieth of the cost of sending). What is sent fits 1,280 bytes, which every path
/// of today carries whole.
pub(super) fn forbid_fragments(socket: &Socket) -> io::Result<()> {
    set_int(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)
}

/// Asks for buffers of `bytes`, past the system's limit if we may (`CAP_NET_ADMIN`), else up to it.
pub(super) fn enlarge_buffers(socket: &Socket, bytes: usize) -> io::Result<()> {
    let value = i32::try_from(bytes).unwrap_or(i32::MAX);
    if set_int(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, value).is_err() {
        socket.set_recv_buffer_size(bytes)?;
    }
    if set_int(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, value).is_err() {
        socket.set_send_buffer_size(bytes)?;
    }
    Ok(())
}

/// Makes the receive buffer as small as the kernel allows, so that a test can overflow it.
#[cfg(test)]
pub(super) fn shrink_receive_buffer(socket: &Socket) {
    let _ = socket.set_recv_buffer_size(4096);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn control_messages_are_read_back() {
        let mut control = Control::EMPTY;
        let v4: IpAddr = "192.0.2.1".parse().unwrap();
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        assert_eq!(control.set(None, None, false), 0);
        let used = control.set(Some(1200), Some(v6), true);
        assert_eq!(control.get(used).local, Some(v6));
        let used = control.set(None, Some(v4), true);
        assert_eq!(control.get(used).local, Some(v4));
        assert!(control.set(Some(1200), Some(v4), false) > 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), CONTROL_BYTES), len in 0usize..300) {
            let mut control = Control::EMPTY;
            control.bytes.copy_from_slice(&bytes);
            let _ = control.get(len);
        }
    }
}
