//! `Link` headers that tell clients of STUN and TURN servers (RFC 9725 §4.6), with credentials that run out.
//!
//! Credentials follow the scheme that coturn calls `use-auth-secret`: the user name is the time of expiry and a random
//! part, the password its HMAC-SHA1 under the secret shared with the servers.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rand::RngExt;

use crate::config::Turn;

/// Values of `Link` headers, one per server. None without servers.
pub fn links(turn: &Turn) -> Vec<String> {
    if turn.urls.is_empty() {
        return Vec::new();
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    links_at(turn, now.as_secs(), rand::rng().random())
}

/// The same at `now`, in seconds since 1970, for the user part `user`.
fn links_at(turn: &Turn, now: u64, user: u32) -> Vec<String> {
    let name = format!("{}:{user:08x}", now + u64::from(turn.ttl_seconds));
    let password = turn.secret.as_ref().map(|secret| password(secret.expose(), &name));
    let link = |url: &String| match &password {
        Some(password) if url.starts_with("turn") => format!(
            "<{url}>; rel=\"ice-server\"; username=\"{name}\"; credential=\"{password}\"; credential-type=\"password\""
        ),
        _ => format!("<{url}>; rel=\"ice-server\""),
    };
    turn.urls.iter().map(link).collect()
}

fn password(secret: &str, name: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    STANDARD.encode(hmac::sign(&key, name.as_bytes()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use super::*;
    use crate::config::Secret;

    #[test]
    fn each_server_has_its_link_and_only_turn_has_credentials() {
        let urls = vec!["stun:a.example".to_owned(), "turn:a.example?transport=udp".to_owned()];
        let turn = Turn { urls, secret: Some(Secret::new("north")), ttl_seconds: 60 };
        let links = links_at(&turn, 1_000, 7);
        assert_eq!(links[0], "<stun:a.example>; rel=\"ice-server\"");
        // Reference: printf 1060:00000007 | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(
            links[1],
            "<turn:a.example?transport=udp>; rel=\"ice-server\"; username=\"1060:00000007\"; \
             credential=\"Cw0+hX3vjFRBpEkEZeLT/04AWew=\"; credential-type=\"password\""
        );
        assert!(super::links(&Turn::default()).is_empty());
    }
}
