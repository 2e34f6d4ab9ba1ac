//! Addresses that we hand out: absolute, as the client would write them, whatever trusted proxies stand between.

use actix_web::HttpRequest;
use actix_web::http::header::HOST;
use aforo_cluster::control::Role;
use aforo_cluster::id::{RoomName, SessionId, StreamName};

use super::forwarded::Proxies;
use super::problem::Problem;

/// The address of a session: `{base}/whip/{room}/{stream}/{session}`, or with `whep`.
pub fn of_session(
    base: &str,
    role: Role,
    room: &RoomName,
    stream: &StreamName,
    session: SessionId,
) -> String {
    format!("{}/{session}", of_endpoint(base, role, room, stream))
}

/// The address of an endpoint: `{base}/whip/{room}/{stream}`, or with `whep`.
pub fn of_endpoint(base: &str, role: Role, room: &RoomName, stream: &StreamName) -> String {
    let protocol = crate::room::protocol(role);
    format!("{base}/{protocol}/{room}/{stream}")
}

/// Where session addresses begin.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Scheme and authority, if they are configured; then nothing else counts.
    pub public_url: Option<String>,
    /// Who may say which scheme and host the client used. From anybody else these headers are the client's own words.
    pub proxies: Proxies,
}

/// Scheme and authority: as configured, or as the request says, or the trusted proxy in front of us.
///
/// # Errors
///
/// [`Problem::Host`] if what they say is no host name, or no scheme of HTTP.
pub fn base(origin: &Origin, request: &HttpRequest) -> Result<String, Problem> {
    if let Some(url) = &origin.public_url {
        return Ok(url.trim_end_matches('/').to_owned());
    }
    if request.peer_addr().is_some_and(|peer| origin.proxies.has(peer.ip())) {
        let connection = request.connection_info();
        return written(connection.scheme(), connection.host());
    }
    let scheme = if request.app_config().secure() { "https" } else { "http" };
    let host = match request.headers().get(HOST) {
        Some(host) => host.to_str().map_err(|_| Problem::Host)?,
        // HTTP/1.0 may leave it out. Then we are where the request found us.
        None => request.app_config().host(),
    };
    written(scheme, host)
}

fn written(scheme: &str, host: &str) -> Result<String, Problem> {
    // The host goes into a header of ours; and whoever reads the address must not be led astray by odd characters.
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    let good_host = !host.is_empty() && host.len() <= 255 && host.bytes().all(allowed);
    let good_scheme = matches!(scheme, "http" | "https");
    if good_host && good_scheme { Ok(format!("{scheme}://{host}")) } else { Err(Problem::Host) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use actix_web::test::TestRequest;

    use super::*;
    use crate::config::Http;

    fn origin(trust_forwarded: bool) -> Origin {
        let http = Http { trust_forwarded, ..Http::default() };
        Origin { public_url: None, proxies: Proxies::new(&http) }
    }

    fn post() -> TestRequest {
        TestRequest::post().peer_addr("192.0.2.1:1".parse().unwrap())
    }

    fn of(origin: &Origin, headers: &[(&'static str, &'static str)]) -> Option<String> {
        let request = headers.iter().fold(post(), |request, header| request.insert_header(*header));
        base(origin, &request.to_http_request()).ok()
    }

    #[test]
    fn the_host_of_the_request_is_used() {
        for origin in [&origin(true), &origin(false)] {
            assert_eq!(of(origin, &[("host", "live.example:8080")]).unwrap(), "http://live.example:8080");
            assert_eq!(of(origin, &[("host", "[::1]:8080")]).unwrap(), "http://[::1]:8080");
            assert_eq!(of(origin, &[]).unwrap(), "http://localhost:8080", "where the listener is");
        }
    }

    #[test]
    fn only_a_trusted_proxy_may_say_otherwise() {
        let old =
            [("host", "10.0.0.1"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "live.example")];
        let new = [("host", "10.0.0.1"), ("forwarded", "proto=https;host=live.example")];
        for headers in [&old[..], &new] {
            assert_eq!(of(&origin(true), headers).unwrap(), "https://live.example");
            assert_eq!(of(&origin(false), headers).unwrap(), "http://10.0.0.1");
        }
    }

    #[test]
    fn what_is_configured_wins() {
        let origin = Origin { public_url: Some("https://b.example/".to_owned()), ..origin(true) };
        let headers = [("host", "a.example"), ("x-forwarded-host", "c.example")];
        assert_eq!(of(&origin, &headers).unwrap(), "https://b.example");
    }

    #[test]
    fn odd_hosts_are_refused() {
        for host in ["a b", "a/b", "a\"b", "<a>"] {
            assert_eq!(of(&origin(true), &[("x-forwarded-host", host)]), None, "{host}");
            assert_eq!(of(&origin(false), &[("host", host)]), None, "{host}");
        }
        assert_eq!(of(&origin(true), &[("host", "a"), ("x-forwarded-proto", "javascript")]), None);
    }
}
