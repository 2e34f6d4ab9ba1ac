//! Addresses to listen on, where a port alone is enough.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// Reads `address:port`; a port alone is one of 127.0.0.1.
pub(super) fn on_loopback<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    deserializer.deserialize_any(Listen(Ipv4Addr::LOCALHOST.into()))
}

/// Reads `address:port`; a port alone is one of 0.0.0.0.
pub(super) fn on_every_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    deserializer.deserialize_any(Listen(Ipv4Addr::UNSPECIFIED.into()))
}

struct Listen(IpAddr);

impl Visitor<'_> for Listen {
    type Value = SocketAddr;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a port or address:port, such as 8080 or 0.0.0.0:8080")
    }

    fn visit_u64<E: Error>(self, port: u64) -> Result<SocketAddr, E> {
        match u16::try_from(port) {
            Ok(port) => Ok(SocketAddr::new(self.0, port)),
            Err(_) => Err(E::invalid_value(Unexpected::Unsigned(port), &self)),
        }
    }

    fn visit_i64<E: Error>(self, port: i64) -> Result<SocketAddr, E> {
        match u64::try_from(port) {
            Ok(port) => self.visit_u64(port),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(port), &self)),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<SocketAddr, E> {
        match text.parse::<u16>() {
            Ok(port) => Ok(SocketAddr::new(self.0, port)),
            Err(_) => text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}
