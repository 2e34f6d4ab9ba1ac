//! Socket addresses in the kernel's form (`sockaddr_in`, `sockaddr_in6`), written and read as bytes.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Room for either form, aligned as the kernel's structures are.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C, align(8))]
pub(super) struct Name {
    bytes: [u8; Name::V6_BYTES],
}

impl Name {
    /// Bytes of a `sockaddr_in`.
    pub(super) const V4_BYTES: usize = size_of::<libc::sockaddr_in>();
    /// Bytes of a `sockaddr_in6`.
    pub(super) const V6_BYTES: usize = size_of::<libc::sockaddr_in6>();

    /// Writes `address`, as IPv6 if `v6` (IPv4 then becomes an IPv4-mapped address). Returns the bytes written.
    pub(super) fn set(&mut self, address: SocketAddr, v6: bool) -> usize {
        let (port, bytes) = (address.port().to_be_bytes(), &mut self.bytes);
        let (ip, scope) = match address {
            SocketAddr::V4(v4) if !v6 => {
                bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                bytes[2..4].copy_from_slice(&port);
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                bytes[8..16].fill(0);
                return Self::V4_BYTES;
            }
            SocketAddr::V4(v4) => (v4.ip().to_ipv6_mapped(), 0),
            SocketAddr::V6(v6) => (*v6.ip(), v6.scope_id()),
        };
        bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
        bytes[2..4].copy_from_slice(&port);
        bytes[4..8].fill(0);
        bytes[8..24].copy_from_slice(&ip.octets());
        bytes[24..28].copy_from_slice(&scope.to_ne_bytes());
        Self::V6_BYTES
    }

    /// The address that the kernel wrote; IPv4-mapped addresses come back as IPv4.
    pub(super) fn get(&self) -> Option<SocketAddr> {
        let bytes = &self.bytes;
        let family = i32::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
        let port = u16::from_be_bytes([bytes[2], bytes[3]]);
        match family {
            libc::AF_INET => {
                let ip = Ipv4Addr::new(bytes[4], bytes[5], bytes[6], bytes[7]);
                Some(SocketAddr::V4(SocketAddrV4::new(ip, port)))
            }
            libc::AF_INET6 => {
                let octets: [u8; 16] = bytes[8..24].try_into().ok()?;
                let ip = Ipv6Addr::from(octets);
                let scope = u32::from_ne_bytes([bytes[24], bytes[25], bytes[26], bytes[27]]);
                Some(match ip.to_ipv4_mapped() {
                    Some(v4) => SocketAddr::V4(SocketAddrV4::new(v4, port)),
                    None => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)),
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn addresses_are_read_back() {
        for text in ["192.0.2.7:7800", "[2001:db8::1]:1", "[fe80::1%3]:65535"] {
            let address: SocketAddr = text.parse().unwrap();
            let mut name = Name::default();
            name.set(address, true);
            assert_eq!(name.get(), Some(address));
            let bytes = name.set(address, false);
            assert_eq!(name.get(), Some(address));
            assert_eq!(bytes, if address.is_ipv4() { Name::V4_BYTES } else { Name::V6_BYTES });
        }
        assert_eq!(Name::default().get(), None);
    }
}
