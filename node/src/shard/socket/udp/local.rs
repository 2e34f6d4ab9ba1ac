//! Which of the host's addresses each peer talks to, for a socket that is bound to all of them.

use std::net::{IpAddr, SocketAddr};

use rustc_hash::FxHashMap;

/// Peers whose address pair is kept, a few megabytes. Full means that all are forgotten: each is learnt again from its
/// next datagram, and until then the kernel's routing picks the address, which on most hosts is the same one.
const LOCAL_ADDRESSES_CAPACITY: usize = 65_536;

/// The host's address that each peer's datagrams came to, learnt from `IP_PKTINFO`.
#[derive(Debug)]
pub(super) struct LocalAddresses {
    enabled: bool,
    by_remote: FxHashMap<SocketAddr, IpAddr>,
}

impl LocalAddresses {
    /// Remembers nothing unless `enabled`: a socket bound to one address has no choice.
    pub(super) fn new(enabled: bool) -> Self {
        Self { enabled, by_remote: FxHashMap::default() }
    }

    /// A datagram from `remote` came to `local`.
    pub(super) fn learn(&mut self, remote: SocketAddr, local: IpAddr) {
        if !self.enabled || self.by_remote.get(&remote) == Some(&local) {
            return;
        }
        if self.by_remote.len() >= LOCAL_ADDRESSES_CAPACITY {
            self.by_remote.clear();
        }
        self.by_remote.insert(remote, local);
    }

    /// The address to answer `remote` from, if it matters and is known.
    pub(super) fn answer_from(&self, remote: &SocketAddr) -> Option<IpAddr> {
        if self.enabled { self.by_remote.get(remote).copied() } else { None }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn memory_stays_bounded_and_the_newest_is_known() {
        let mut addresses = LocalAddresses::new(true);
        let local: IpAddr = "192.0.2.1".parse().unwrap();
        let remote = |n: u32| SocketAddr::new(std::net::Ipv4Addr::from(n).into(), 9);
        for n in 0..3 * LOCAL_ADDRESSES_CAPACITY as u32 {
            addresses.learn(remote(n), local);
            assert_eq!(addresses.answer_from(&remote(n)), Some(local));
        }
        assert!(addresses.by_remote.len() <= LOCAL_ADDRESSES_CAPACITY);
    }
}
