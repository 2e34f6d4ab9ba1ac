//! Addresses that we hand out: absolute, as the client would write them, whatever proxies stand between.

use actix_web::HttpRequest;
use aforo_cluster::control::Role;
use aforo_cluster::id::{RoomName, SessionId, StreamName};

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

/// Scheme and authority: as configured, or as the request and the proxies in front of us say.
pub fn base(configured: Option<&str>, request: &HttpRequest) -> Result<String, Problem> {
    if let Some(url) = configured {
        return Ok(url.trim_end_matches('/').to_owned());
    }
    let connection = request.connection_info();
    let (scheme, host) = (connection.scheme(), connection.host());
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

    fn of(headers: &[(&'static str, &'static str)]) -> Option<String> {
        let request =
            headers.iter().fold(TestRequest::post(), |request, header| request.insert_header(*header));
        base(None, &request.to_http_request()).ok()
    }

    #[test]
    fn the_host_of_the_request_is_used() {
        assert_eq!(of(&[("host", "live.example:8080")]).unwrap(), "http://live.example:8080");
        assert_eq!(of(&[("host", "[::1]:8080")]).unwrap(), "http://[::1]:8080");
    }

    #[test]
    fn a_proxy_may_say_otherwise() {
        let headers =
            [("host", "10.0.0.1"), ("x-forwarded-proto", "https"), ("x-forwarded-host", "live.example")];
        assert_eq!(of(&headers).unwrap(), "https://live.example");
        assert_eq!(of(&[("forwarded", "proto=https;host=a.example")]).unwrap(), "https://a.example");
    }

    #[test]
    fn what_is_configured_wins() {
        let request = TestRequest::post().insert_header(("host", "a.example")).to_http_request();
        assert_eq!(base(Some("https://b.example/"), &request).unwrap(), "https://b.example");
    }

    #[test]
    fn odd_hosts_are_refused() {
        for host in ["a b", "a/b", "a\"b", "<a>"] {
            assert_eq!(of(&[("x-forwarded-host", host)]), None, "{host}");
        }
        assert_eq!(of(&[("host", "a"), ("x-forwarded-proto", "javascript")]), None);
    }
}
