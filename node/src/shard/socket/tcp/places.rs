//! Places for connections: so many in all, and so many of one remote address.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;

/// How many connections there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlaceLimits {
    /// In all.
    pub total: usize,
    /// Of one remote address.
    pub per_address: usize,
}

/// Who has which place. Clones are the same places.
#[derive(Debug, Clone)]
pub struct Places {
    limits: PlaceLimits,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    by_address: FxHashMap<IpAddr, usize>,
}

/// One connection's place, free again when it is dropped.
#[derive(Debug)]
pub struct Place {
    taken: Arc<Mutex<Taken>>,
    address: IpAddr,
}

impl Places {
    /// As many as `limits` says, all of them free.
    pub fn new(limits: PlaceLimits) -> Self {
        Self { limits, taken: Arc::default() }
    }

    /// A place for a connection from `remote`; `None` if there is none left, or none for that address.
    pub fn take(&self, remote: SocketAddr) -> Option<Place> {
        let address = block_of(remote);
        let mut taken = lock(&self.taken);
        let of_address = taken.by_address.get(&address).copied().unwrap_or(0);
        if taken.total >= self.limits.total || of_address >= self.limits.per_address {
            return None;
        }
        taken.total += 1;
        taken.by_address.insert(address, of_address + 1);
        Some(Place { taken: Arc::clone(&self.taken), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        taken.total = taken.total.saturating_sub(1);
        let left = taken.by_address.remove(&self.address).unwrap_or(0);
        if left > 1 {
            taken.by_address.insert(self.address, left - 1);
        }
    }
}

/// Held for a few instructions when a connection begins and when it ends.
fn lock(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whoever counts as one remote address: for IPv6 the /64 that one host may choose its addresses from.
fn block_of(remote: SocketAddr) -> IpAddr {
    match remote.ip().to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) >> 64 << 64).into()),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn places_are_bounded_in_all_and_by_address_and_come_back() {
        let places = Places::new(PlaceLimits { total: 3, per_address: 2 });
        let take = |from: &str| places.take(from.parse().unwrap());
        let one = [take("192.0.2.1:1"), take("[::ffff:192.0.2.1]:2")];
        assert!(one.iter().all(Option::is_some));
        assert!(take("192.0.2.1:3").is_none(), "an address has two, however it is written");
        let other = take("[2001:db8::1]:1").unwrap();
        assert!(take("[2001:db8:1::1]:1").is_none(), "and there are three in all");
        drop(one);
        let another = take("[2001:db8::2]:1").unwrap();
        assert!(take("[2001:db8::3]:1").is_none(), "a /64 is one address");
        drop((other, another));
        assert!(lock(&places.taken).by_address.is_empty(), "nothing is left of who has gone");
    }
}
