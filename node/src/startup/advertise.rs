//! The addresses that answers tell clients to send media to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::config::Media;

/// Somewhere on the internet, to ask the kernel which of our addresses it would send from. Documentation addresses
/// (RFC 5737, RFC 3849) have no route of their own, and a connected UDP socket sends nothing.
const ELSEWHERE_V4: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);
const ELSEWHERE_V6: SocketAddr =
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)), 9);

/// What is configured; else the one address that the sockets are bound to; else loopback and the host's primary
/// addresses, of the families that the sockets take.
pub(super) fn addresses(media: &Media) -> Vec<IpAddr> {
    let bound = media.udp.ip();
    if !media.advertise.is_empty() {
        return media.advertise.clone();
    }
    if !bound.is_unspecified() {
        return vec![bound];
    }
    let v4 = [primary(ELSEWHERE_V4), Some(Ipv4Addr::LOCALHOST.into())];
    let v6 = [primary(ELSEWHERE_V6).filter(|_| bound.is_ipv6())];
    let mut found: Vec<IpAddr> = v4.into_iter().chain(v6).flatten().collect();
    found.dedup();
    found
}

/// The address that the kernel would send from.
fn primary(elsewhere: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match elsewhere {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(elsewhere).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_unspecified()).then_some(address)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn what_is_configured_is_told_and_nothing_else() {
        let advertise = vec!["198.51.100.7".parse().unwrap()];
        let media = Media { advertise: advertise.clone(), ..Media::default() };
        assert_eq!(addresses(&media), advertise);
    }

    #[test]
    fn a_socket_of_one_address_is_told_by_it() {
        let media = Media { udp: "127.0.0.1:7800".parse().unwrap(), ..Media::default() };
        assert_eq!(addresses(&media), [IpAddr::from(Ipv4Addr::LOCALHOST)]);
    }

    #[test]
    fn otherwise_loopback_is_among_them_and_all_can_be_reached() {
        let found = addresses(&Media::default());
        assert!(found.contains(&Ipv4Addr::LOCALHOST.into()));
        assert!(found.iter().all(|address| address.is_ipv4() && !address.is_unspecified()), "{found:?}");
    }
}
