//! IP networks, as configured: an address and how many of its bits count.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// All addresses that begin as `address` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// With zeros after the bits that count.
    address: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether `address` is one of its addresses. An IPv4 address is the same in the form that IPv6 sockets give it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => first_of_v4(other, self.bits) == own,
            (IpAddr::V6(own), IpAddr::V6(other)) => first_of_v6(other, self.bits) == own,
            _ => false,
        }
    }
}

fn first_of_v4(address: Ipv4Addr, bits: u8) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32_u32.saturating_sub(bits.into())).unwrap_or(0);
    Ipv4Addr::from(u32::from(address) & mask)
}

fn first_of_v6(address: Ipv6Addr, bits: u8) -> Ipv6Addr {
    let mask = u128::MAX.checked_shl(128_u32.saturating_sub(bits.into())).unwrap_or(0);
    Ipv6Addr::from(u128::from(address) & mask)
}

/// Text that is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no network: write an address and how many of its bits count, such as 10.0.0.0/8 or 2001:db8::/32"
)]
pub struct NetworkError(String);

impl FromStr for Network {
    type Err = NetworkError;

    /// Reads `address/bits`; an address alone is a network of one.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let wrong = || NetworkError(text.to_owned());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        match address.parse::<IpAddr>().map_err(|_| wrong())? {
            IpAddr::V4(address) => {
                let bits = bits.unwrap_or(32);
                let network = Self { address: first_of_v4(address, bits).into(), bits };
                (bits <= 32).then_some(network).ok_or_else(wrong)
            }
            IpAddr::V6(address) => {
                let bits = bits.unwrap_or(128);
                let network = Self { address: first_of_v6(address, bits).into(), bits };
                (bits <= 128).then_some(network).ok_or_else(wrong)
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Serialize for Network {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Network {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn addresses_are_inside_or_outside() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.1"),
            ("10.9.8.7/8", "10.0.0.1", "::a00:1"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.0"),
            ("192.0.2.0/24", "::ffff:192.0.2.9", "192.0.3.9"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("2001:db8::/32", "2001:db8:1::1", "2001:db9::"),
            ("::/0", "fe80::1", "1.2.3.4"),
            ("::1", "::1", "::2"),
        ] {
            let read: Network = network.parse().unwrap();
            assert!(read.contains(inside.parse().unwrap()), "{network} {inside}");
            assert!(!read.contains(outside.parse().unwrap()), "{network} {outside}");
            assert_eq!(read.to_string().parse::<Network>(), Ok(read));
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/", "a/8", "10.0.0.0/8/8"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
