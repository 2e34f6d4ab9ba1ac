//! The system calls that the standard library has no name for; all unsafe code of the load generator is in this file.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use libc::{c_int, c_void, cmsghdr, in_addr, in_pktinfo, iovec, mmsghdr, msghdr, sockaddr_in, timespec};

use super::{Received, SendEntry};

/// Room for one run: the largest that UDP allows.
const SLOT_BYTES: usize = 65_536;

/// Room for the control messages of one run: packet info, time and segment size need 88 bytes on 64-bit systems.
const CONTROL_BYTES: usize = 128;

/// Control bytes of one run, aligned as `cmsghdr` must be.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

/// Memory for one batch of incoming runs.
pub(super) struct ReceiveSlots {
    data: Vec<u8>,
    control: Vec<Control>,
    names: Vec<sockaddr_in>,
}

impl std::fmt::Debug for ReceiveSlots {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveSlots").field("slots", &self.names.len()).finish()
    }
}

/// What the control messages of one run say.
#[derive(Default)]
struct ControlValues {
    destination: Option<Ipv4Addr>,
    arrival_ns: u64,
    segment_bytes: usize,
}

impl ReceiveSlots {
    /// Room for `count` runs.
    pub(super) fn new(count: usize) -> Self {
        // SAFETY: sockaddr_in is plain integers; all zeroes is one of its values.
        let name: sockaddr_in = unsafe { zeroed() };
        Self {
            data: vec![0; count * SLOT_BYTES],
            control: vec![Control([0; CONTROL_BYTES]); count],
            names: vec![name; count],
        }
    }

    /// `recvmmsg` without waiting.
    pub(super) fn receive(
        &mut self,
        socket: &UdpSocket,
        mut each: impl FnMut(Received<'_>),
    ) -> io::Result<usize> {
        let mut vectors: Vec<iovec> = self
            .data
            .chunks_exact_mut(SLOT_BYTES)
            .map(|slot| iovec { iov_base: slot.as_mut_ptr().cast::<c_void>(), iov_len: slot.len() })
            .collect();
        let mut headers: Vec<mmsghdr> = vectors
            .iter_mut()
            .zip(&mut self.control)
            .zip(&mut self.names)
            .map(|((vector, control), name)| mmsghdr {
                msg_hdr: header(vector, Some(control), name),
                msg_len: 0,
            })
            .collect();
        // SAFETY: every header points at a vector, a control buffer and a name that live until the call returns,
        // each with the length it is given with; the slots do not overlap.
        let got = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        if got < 0 {
            return Err(io::Error::last_os_error());
        }
        let got = got as usize;
        let values: Vec<(ControlValues, usize)> =
            headers.iter().take(got).map(|h| (control_values(&h.msg_hdr), h.msg_len as usize)).collect();
        for (((values, length), slot), name) in
            values.into_iter().zip(self.data.chunks_exact_mut(SLOT_BYTES)).zip(&self.names)
        {
            let Some(payload) = slot.get_mut(..length) else { continue };
            each(Received {
                source: SocketAddrV4::new(
                    Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr)),
                    u16::from_be(name.sin_port),
                ),
                destination: values.destination.unwrap_or(Ipv4Addr::UNSPECIFIED),
                arrival_ns: values.arrival_ns,
                segment_bytes: if values.segment_bytes == 0 { length.max(1) } else { values.segment_bytes },
                payload,
            });
        }
        Ok(got)
    }
}

/// A message header over the given memory.
fn header(vector: &mut iovec, control: Option<&mut Control>, name: &mut sockaddr_in) -> msghdr {
    // SAFETY: msghdr is plain integers and pointers; all zeroes (null, length 0) is a valid empty header.
    let mut header: msghdr = unsafe { zeroed() };
    header.msg_iov = vector;
    header.msg_iovlen = 1;
    header.msg_name = std::ptr::from_mut(name).cast::<c_void>();
    header.msg_namelen = size_of::<sockaddr_in>() as u32;
    if let Some(control) = control {
        header.msg_control = control.0.as_mut_ptr().cast::<c_void>();
        header.msg_controllen = CONTROL_BYTES;
    }
    header
}

/// Reads the control messages that the kernel wrote for one run.
fn control_values(header: &msghdr) -> ControlValues {
    let mut values = ControlValues::default();
    // SAFETY: the kernel filled msg_control up to msg_controllen with whole messages; the macros walk within it.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: CMSG_FIRSTHDR and CMSG_NXTHDR return only null or pointers to whole messages inside the buffer.
        let (level, kind, data) =
            unsafe { ((*message).cmsg_level, (*message).cmsg_type, libc::CMSG_DATA(message)) };
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: a message of this kind carries one in_pktinfo; it may be unaligned.
                let info = unsafe { data.cast::<in_pktinfo>().read_unaligned() };
                values.destination = Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)));
            }
            (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                // SAFETY: a message of this kind carries one timespec; it may be unaligned.
                let time = unsafe { data.cast::<timespec>().read_unaligned() };
                values.arrival_ns = (time.tv_sec as u64) * 1_000_000_000 + time.tv_nsec as u64;
            }
            (libc::SOL_UDP, libc::UDP_GRO) => {
                // SAFETY: a message of this kind carries one int; it may be unaligned.
                values.segment_bytes = unsafe { data.cast::<c_int>().read_unaligned() } as usize;
            }
            _ => {}
        }
        // SAFETY: as for CMSG_FIRSTHDR; `message` is one of this header's messages.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    values
}

/// `sendmmsg` of all `entries`; returns how many were not sent.
pub(super) fn send_entries(socket: &UdpSocket, data: &[u8], entries: &[SendEntry]) -> usize {
    let mut names: Vec<sockaddr_in> = entries.iter().map(|entry| name_of(entry.destination)).collect();
    let mut vectors: Vec<iovec> = entries
        .iter()
        .map(|entry| {
            let bytes = data.get(entry.start..entry.start + entry.bytes).unwrap_or_default();
            iovec { iov_base: bytes.as_ptr().cast_mut().cast::<c_void>(), iov_len: bytes.len() }
        })
        .collect();
    let mut controls = vec![Control([0; CONTROL_BYTES]); entries.len()];
    let mut headers: Vec<mmsghdr> = vectors
        .iter_mut()
        .zip(&mut names)
        .zip(&mut controls)
        .zip(entries)
        .map(|(((vector, name), control), entry)| {
            let mut header = header(vector, Some(control), name);
            write_control(&mut header, entry);
            mmsghdr { msg_hdr: header, msg_len: 0 }
        })
        .collect();
    let mut sent = 0;
    let mut refused = 0;
    while let Some(rest) = headers.get_mut(sent..).filter(|rest| !rest.is_empty()) {
        // SAFETY: the headers point at vectors, names and controls that live until the end of this function; the
        // kernel only reads the data that the vectors point at, so their coming from a shared slice is sound.
        let count = unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as u32, 0) };
        if count > 0 {
            sent += count as usize;
        } else {
            // The first of the rest was refused: leave it out and go on, as a sender of datagrams must.
            sent += 1;
            refused += 1;
        }
    }
    refused
}

/// Writes the source address and the segment size of `entry` where it has them.
fn write_control(header: &mut msghdr, entry: &SendEntry) {
    let mut used = 0;
    // SAFETY: the control buffer has CONTROL_BYTES zeroed bytes, more than the two messages need; the macros yield
    // pointers inside it, and both payloads are written whole and unaligned.
    unsafe {
        let mut message: *mut cmsghdr = libc::CMSG_FIRSTHDR(header);
        if let Some(source) = entry.source
            && !message.is_null()
        {
            (*message).cmsg_level = libc::IPPROTO_IP;
            (*message).cmsg_type = libc::IP_PKTINFO;
            (*message).cmsg_len = libc::CMSG_LEN(size_of::<in_pktinfo>() as u32) as usize;
            let info = in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: in_addr { s_addr: u32::from(source).to_be() },
                ipi_addr: in_addr { s_addr: 0 },
            };
            libc::CMSG_DATA(message).cast::<in_pktinfo>().write_unaligned(info);
            used += libc::CMSG_SPACE(size_of::<in_pktinfo>() as u32) as usize;
            message = libc::CMSG_NXTHDR(header, message);
        }
        if entry.segment_bytes < entry.bytes && !message.is_null() {
            (*message).cmsg_level = libc::SOL_UDP;
            (*message).cmsg_type = libc::UDP_SEGMENT;
            (*message).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as usize;
            libc::CMSG_DATA(message).cast::<u16>().write_unaligned(entry.segment_bytes as u16);
            used += libc::CMSG_SPACE(size_of::<u16>() as u32) as usize;
        }
    }
    header.msg_controllen = used;
    if used == 0 {
        header.msg_control = std::ptr::null_mut();
    }
}

fn name_of(address: SocketAddrV4) -> sockaddr_in {
    // SAFETY: sockaddr_in is plain integers; all zeroes is one of its values.
    let mut name: sockaddr_in = unsafe { zeroed() };
    name.sin_family = libc::AF_INET as u16;
    name.sin_port = address.port().to_be();
    name.sin_addr.s_addr = u32::from(*address.ip()).to_be();
    name
}

/// Asks for packet info and arrival times (needed), and for whole runs (an older kernel goes without).
pub(super) fn enable_options(socket: &UdpSocket) -> io::Result<()> {
    set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
    set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
    let _ = set_option(socket, libc::SOL_UDP, libc::UDP_GRO, 1);
    // Packets that may not be fragmented need no identification, which the kernel draws from a table that all cores
    // share: a twentieth of a sender's cost.
    let _ = set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE);
    Ok(())
}

/// Asks for large buffers: beyond the system's limit if we may, up to it if not.
pub(super) fn set_buffers(socket: &UdpSocket, receive_bytes: usize, send_bytes: usize) {
    let wanted = [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, receive_bytes),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, send_bytes),
    ];
    for (forced, asked, bytes) in wanted {
        if set_option(socket, libc::SOL_SOCKET, forced, bytes as c_int).is_err() {
            let _ = set_option(socket, libc::SOL_SOCKET, asked, bytes as c_int);
        }
    }
}

fn set_option(socket: &UdpSocket, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the kernel reads one int from `value`, which lives through the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            std::ptr::from_ref(&value).cast::<c_void>(),
            size_of::<c_int>() as u32,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
