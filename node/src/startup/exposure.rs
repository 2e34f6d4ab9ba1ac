//! What strangers may do with this node, for whoever started it without meaning that.

use std::net::{IpAddr, SocketAddr};

use crate::config::Config;

/// What needs no token, where others than this machine's own users come to `public` or to a proxy in front of it.
pub(super) fn unguarded(config: &Config, public: SocketAddr) -> Option<&'static str> {
    let behind_proxy = config.http.public_url.is_some() || config.http.is_behind_proxy();
    if public.ip().to_canonical().is_loopback() && !behind_proxy {
        return None;
    }
    match (config.auth.guards_publishing(), config.auth.guards_playing()) {
        (false, false) => Some("publish and watch"),
        (false, true) => Some("publish"),
        (true, false) => Some("watch"),
        (true, true) => None,
    }
}

/// An address that clients are told of and that media comes from only if something on this host brings it to `media.udp`.
pub(super) fn led_astray(config: &Config) -> Option<IpAddr> {
    let is_local = config.media.udp.ip().to_canonical().is_loopback();
    let outside = config.media.advertise.iter().find(|address| !address.to_canonical().is_loopback());
    outside.copied().filter(|_| is_local)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;
    use crate::config::Secret;

    #[test]
    fn an_address_that_does_not_lead_to_the_socket_is_told() {
        let mut config = Config::default();
        let at = |config: &mut Config, udp: &str, advertise: &str| {
            (config.media.udp, config.media.advertise) =
                (udp.parse().unwrap(), vec![advertise.parse().unwrap()]);
            led_astray(config)
        };
        let public = "192.0.2.2".parse().unwrap();
        assert_eq!(at(&mut config, "127.0.0.1:9000", "192.0.2.2"), Some(public));
        assert_eq!(at(&mut config, "0.0.0.0:9000", "192.0.2.2"), None);
        assert_eq!(at(&mut config, "127.0.0.1:9000", "127.0.0.1"), None);
    }

    #[test]
    fn only_what_strangers_can_reach_without_a_token_is_told() {
        let mut config = Config::default();
        let at = |config: &Config, address: &str| unguarded(config, address.parse().unwrap());
        for own in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(at(&config, own), None, "{own}");
        }
        for public in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1"] {
            assert_eq!(at(&config, public), Some("publish and watch"), "{public}");
        }
        config.http.public_url = Some("https://live.example".to_owned());
        assert_eq!(at(&config, "127.0.0.1:1"), Some("publish and watch"), "a proxy brings strangers");
        config.auth.publish_tokens = vec![Secret::new("a")];
        assert_eq!(at(&config, "0.0.0.0:1"), Some("watch"));
        config.auth.required = true;
        assert_eq!(at(&config, "0.0.0.0:1"), None);
    }
}
