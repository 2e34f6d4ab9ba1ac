//! Who asks, where proxies stand in front: their word counts as far as they are trusted, and not a header further.

use std::net::{IpAddr, SocketAddr};

use actix_web::http::header::{FORWARDED, HeaderMap};

use crate::config::{Http, Network};

/// The proxies whose headers are believed.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    networks: Vec<Network>,
    /// Whoever connects is one. Used where no network is named.
    every_peer: bool,
}

impl Proxies {
    /// As configured.
    pub fn new(http: &Http) -> Self {
        let every_peer = http.trust_forwarded && http.trusted_proxies.is_empty();
        Self { networks: http.trusted_proxies.clone(), every_peer }
    }

    /// Whether a connection from `peer` is one of them.
    pub fn has(&self, peer: IpAddr) -> bool {
        self.every_peer || self.is_named(peer)
    }

    fn is_named(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }

    /// Who asks through `peer`, a proxy. Each proxy adds whom it was asked by at the end, so the client is the last one that is no
    /// proxy of ours; what stands before it are its own words. Where a proxy says nothing that can be read, it is the proxy.
    pub fn client(&self, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
        let mut client = peer;
        // Of the two, the one that proxies of today set; clients can then not add the other.
        let chain = if headers.contains_key(X_FORWARDED_FOR) { plain(headers) } else { named(headers) };
        for entry in chain.into_iter().rev() {
            let Some(address) = address_in(entry) else { break };
            client = address;
            if !self.is_named(address) {
                break;
            }
        }
        client
    }
}

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// The entries of `X-Forwarded-For`, the last proxy's last.
fn plain(headers: &HeaderMap) -> Vec<&str> {
    let values = headers.get_all(X_FORWARDED_FOR).map(|value| value.to_str().unwrap_or_default());
    values.flat_map(|value| value.split(',')).collect()
}

/// The `for` of each element of `Forwarded` (RFC 7239 §4); empty where an element has none.
fn named(headers: &HeaderMap) -> Vec<&str> {
    let values = headers.get_all(FORWARDED).map(|value| value.to_str().unwrap_or_default());
    let by_whom = |element: &'_ str| -> Option<(usize, usize)> {
        let mut start = 0;
        for pair in element.split(';') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if name.trim().eq_ignore_ascii_case("for") {
                let from = start + name.len() + 1;
                return Some((from, from + value.len()));
            }
            start += pair.len() + 1;
        }
        None
    };
    let elements = values.flat_map(|value| value.split(','));
    elements
        .map(|element| by_whom(element).and_then(|(from, to)| element.get(from..to)).unwrap_or_default())
        .collect()
}

/// The address that a proxy wrote, with a port and brackets or without.
fn address_in(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    let plain = || text.trim_start_matches('[').trim_end_matches(']').parse().ok();
    text.parse().map(|address: SocketAddr| address.ip()).ok().or_else(plain)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn client(networks: &[&str], headers: &[(&'static str, &str)]) -> String {
        let proxies = Proxies {
            networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
            every_peer: networks.is_empty(),
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        let peer: IpAddr = "127.0.0.1".parse().unwrap();
        assert!(proxies.has(peer));
        proxies.client(&map, peer).to_string()
    }

    #[test]
    fn one_proxy_names_its_client_last() {
        for (written, read) in [
            ("198.51.100.1", "198.51.100.1"),
            ("9.9.9.9, 198.51.100.2", "198.51.100.2"),
            ("198.51.100.3:4711", "198.51.100.3"),
            ("\"[2001:db8::1]:4711\"", "2001:db8::1"),
            ("[2001:db8:1::1]", "2001:db8:1::1"),
            ("127.0.0.1", "127.0.0.1"),
            ("198.51.100.1, unknown", "127.0.0.1"),
            ("", "127.0.0.1"),
        ] {
            assert_eq!(client(&[], &[("x-forwarded-for", written)]), read, "{written}");
        }
        assert_eq!(client(&[], &[]), "127.0.0.1");
    }

    #[test]
    fn a_chain_of_proxies_is_walked_from_its_end_to_who_is_none_of_ours() {
        let ours = ["127.0.0.0/8", "10.0.0.0/8", "2001:db8::/32"];
        for (chain, read) in [
            (&["6.6.6.6, 198.51.100.1, 10.0.0.7"][..], "198.51.100.1"),
            (&["198.51.100.1", "10.0.0.7:80, 10.0.0.8"], "198.51.100.1"),
            (&["6.6.6.6, [2001:db8::5]:443"], "6.6.6.6"),
            (&["10.0.0.9, 10.0.0.8"], "10.0.0.9"),
            (&["6.6.6.6, _hidden, 10.0.0.8"], "10.0.0.8"),
        ] {
            let headers: Vec<_> = chain.iter().map(|value| ("x-forwarded-for", *value)).collect();
            assert_eq!(client(&ours, &headers), read, "{chain:?}");
        }
    }

    #[test]
    fn forwarded_is_read_where_the_older_header_is_not_there() {
        let element = "by=10.0.0.1;For=\"[2001:db9::17]:4711\";proto=https";
        let all = format!("for=6.6.6.6, {element}, for=10.0.0.3");
        let ours = ["127.0.0.1", "10.0.0.0/8"];
        assert_eq!(client(&ours, &[("forwarded", &all)]), "2001:db9::17");
        assert_eq!(client(&ours, &[("forwarded", "for=6.6.6.6;proto=http, proto=https")]), "127.0.0.1");
        let both = [("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "198.51.100.1")];
        assert_eq!(client(&ours, &both), "198.51.100.1");
    }

    #[test]
    fn whoever_is_no_proxy_is_not_believed() {
        let http = Http {
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            trust_forwarded: true,
            ..Http::default()
        };
        let proxies = Proxies::new(&http);
        assert!(proxies.has("10.1.2.3".parse().unwrap()) && !proxies.has("127.0.0.1".parse().unwrap()));
        assert!(!Proxies::new(&Http::default()).has("127.0.0.1".parse().unwrap()));
    }
}
