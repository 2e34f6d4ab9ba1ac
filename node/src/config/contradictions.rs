//! Values that are each good by themselves and make no sense together.

use std::net::{IpAddr, SocketAddr};

use super::Config;

impl Config {
    /// Problems that no single value shows, each with the key to change.
    pub(super) fn contradictions(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let last = u32::from(self.media.udp.port()) + u32::from(self.shard_count()) - 1;
        if last > u32::from(u16::MAX) {
            let (port, count) = (self.media.udp.port(), self.shard_count());
            found.push((
                "media.udp",
                format!("{count} shards from port {port} on go beyond port 65535, start lower"),
            ));
        }
        if let Some(address) = self.media.advertise.iter().find(|address| address.is_unspecified()) {
            found.push((
                "media.advertise",
                format!("{address} is no address that a client can reach, name the host's own"),
            ));
        }
        found.extend(self.log.contradiction());
        found.extend(self.telemetry.contradiction());
        found.extend(self.collisions());
        if self.http.tls_certificate.is_some() != self.http.tls_key.is_some() {
            let missing = if self.http.tls_key.is_none() { "http.tls_key" } else { "http.tls_certificate" };
            found.push((missing, "is missing: HTTPS needs certificate and key".to_owned()));
        }
        let lists = [
            ("auth.publish_tokens", &self.auth.publish_tokens),
            ("auth.play_tokens", &self.auth.play_tokens),
        ];
        for (key, tokens) in lists {
            if let Some(index) = tokens.iter().position(|token| !is_token(token.expose())) {
                let number = index + 1;
                found.push((
                    key,
                    format!("token {number} is none: letters, digits and -._~+/ are, then perhaps ="),
                ));
            }
        }
        let nobody =
            !self.auth.has_keys() && self.auth.publish_tokens.is_empty() && self.auth.play_tokens.is_empty();
        if self.auth.required && nobody {
            let advice = "is true, and nothing says whom to let in: make a key with `aforo token keygen` and name it in \
                auth.key_files, name your identity provider in auth.jwks_url, list tokens in auth.publish_tokens and \
                auth.play_tokens, or set auth.required to false to let everybody in";
            found.push(("auth.required", advice.to_owned()));
        }
        if self.drain.handover_seconds >= self.drain.timeout_seconds {
            let advice = "leaves no time to say goodbye, make it less than drain.timeout_seconds";
            found.push(("drain.handover_seconds", advice.to_owned()));
        }
        let relays = self.turn.urls.iter().any(|url| url.starts_with("turn"));
        if relays && self.turn.secret.is_none() {
            found.push(("turn.secret", "is needed for turn.urls: the servers' shared secret".to_owned()));
        }
        found
    }

    /// Listeners that want the same TCP port. ICE over TCP has that of each shard's UDP.
    fn collisions(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let (http, admin) = (self.http.listen, self.admin.listen);
        if meet(http, admin) {
            found.push(("admin.listen", format!("is {admin}, where http.listen is, give it another port")));
        }
        let first = self.media.udp.port();
        if self.media.tcp && first != 0 {
            for (key, address) in [("http.listen", http), ("admin.listen", admin)] {
                let taken = (first..=first.saturating_add(self.shard_count().saturating_sub(1)))
                    .any(|port| meet(address, SocketAddr::new(self.media.udp.ip(), port)));
                if taken {
                    let udp = self.media.udp;
                    let text = format!(
                        "is {address}, where ICE over TCP is by media.udp ({udp}), give it another port"
                    );
                    found.push((key, text));
                }
            }
        }
        found
    }
}

/// Whether no two sockets can have these two addresses. One of every IPv6 address takes IPv4 too, and not the other way round.
fn meet(one: SocketAddr, other: SocketAddr) -> bool {
    let (one_ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
    let has = |all: IpAddr, ip: IpAddr| {
        all.is_unspecified() && (all.is_ipv6() || ip.is_ipv4() || ip.is_unspecified())
    };
    let same_host = one_ip == other_ip || has(one_ip, other_ip) || has(other_ip, one_ip);
    one.port() == other.port() && one.port() != 0 && same_host
}

/// Whether clients can send it as it is (`b64token`, RFC 6750 §2.1).
fn is_token(text: &str) -> bool {
    let text = text.trim_end_matches('=');
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}
