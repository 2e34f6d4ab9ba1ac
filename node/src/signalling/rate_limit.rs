//! How often one address may create, change and end sessions (RFC 9725 §5 asks for such a limit), and listen to their events:
//! every such request is a question to a room.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::HttpRequest;
use actix_web::dev::ServiceRequest;
use actix_web::http::Method;
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::forwarded::Proxies;
use super::routes;
use crate::config::Config;

/// Requests between two sweeps of addresses that are quiet again: often enough that the table stays as small as the
/// set of addresses of the last minutes, seldom enough that a sweep costs nothing per request.
const SWEEP_EVERY: u32 = 4_096;

/// Counts requests by address.
pub struct RateLimit {
    /// What asks for something, and what was tried in vain: each has the whole quota.
    asked: Option<Cells>,
    vain: Option<Cells>,
    /// Who tried in vain so often that it may not try again before this.
    vain_until: Mutex<HashMap<IpAddr, Instant>>,
    loopback_exempt: bool,
    proxies: Proxies,
}

impl RateLimit {
    /// The configured limit.
    pub fn new(config: &Config) -> Self {
        let per_second = NonZeroU32::new(config.limits.requests_per_second);
        let burst = NonZeroU32::new(config.limits.request_burst).unwrap_or(NonZeroU32::MIN);
        let cells = || per_second.map(|rate| Cells::new(Quota::per_second(rate).allow_burst(burst)));
        Self {
            asked: cells(),
            vain: cells(),
            vain_until: Mutex::default(),
            loopback_exempt: config.limits.loopback_exempt,
            proxies: Proxies::new(&config.http),
        }
    }

    /// Counts the request if it asks a room for something. Returns the seconds to wait if it is one too many.
    ///
    /// What ends a session is free, as is what reads the API: a crowd that leaves must not keep its places for being many. Only
    /// what was in vain is counted, by [`Self::count_in_vain`], and whoever has too many of those is not listened to for a while.
    pub fn check(&self, request: &ServiceRequest) -> Result<(), u32> {
        let changes = matches!(*request.method(), Method::POST | Method::PATCH);
        // The path as the router reads it: `%77hep` is `whep` there.
        let path = request.match_info().as_str();
        let gets = matches!(*request.method(), Method::GET | Method::HEAD);
        let listens = *request.method() == Method::GET && routes::is_of_session(path);
        let guesses = *request.method() == Method::DELETE || (gets && path.starts_with("/v1/"));
        let (true, Some(subject)) = (changes || listens || guesses, self.subject(request.request())) else {
            return Ok(());
        };
        if guesses {
            let vain_until = self.vain_until.lock().unwrap_or_else(PoisonError::into_inner);
            let wait = vain_until.get(&subject).map(|until| until.saturating_duration_since(Instant::now()));
            return wait.filter(|wait| !wait.is_zero()).map_or(Ok(()), |wait| Err(seconds(wait)));
        }
        self.asked.as_ref().map_or(Ok(()), |asked| asked.take(subject)).map_err(seconds)
    }

    /// Counts a request that was in vain.
    pub fn count_in_vain(&self, request: &HttpRequest) {
        let (Some(vain), Some(subject)) = (&self.vain, self.subject(request)) else { return };
        if let Err(wait) = vain.take(subject) {
            let now = Instant::now();
            let mut vain_until = self.vain_until.lock().unwrap_or_else(PoisonError::into_inner);
            if vain_until.len() >= SWEEP_EVERY as usize {
                vain_until.retain(|_, until| *until > now);
            }
            vain_until.insert(subject, now + wait);
        }
    }

    /// Whom the request is counted for; `None` where it is not.
    fn subject(&self, request: &HttpRequest) -> Option<IpAddr> {
        let peer = request.peer_addr()?.ip();
        let forwarded = self.proxies.has(peer);
        let address = if forwarded { self.proxies.client(request.headers(), peer) } else { peer };
        let subject = subject(address);
        // Where a proxy says who asks, loopback is where the proxy is, which may have said nothing that can be read.
        let exempt = self.loopback_exempt && !forwarded && subject.is_loopback();
        (!exempt).then_some(subject)
    }
}

/// A quota of each address.
struct Cells {
    limiter: DefaultKeyedRateLimiter<IpAddr>,
    since_sweep: AtomicU32,
}

impl Cells {
    fn new(quota: Quota) -> Self {
        Self { limiter: RateLimiter::keyed(quota), since_sweep: AtomicU32::new(0) }
    }

    /// # Errors
    ///
    /// How long to wait if none is left.
    fn take(&self, subject: IpAddr) -> Result<(), Duration> {
        if self.since_sweep.fetch_add(1, Ordering::Relaxed) >= SWEEP_EVERY {
            self.since_sweep.store(0, Ordering::Relaxed);
            self.limiter.retain_recent();
        }
        let taken = self.limiter.check_key(&subject);
        taken.map_err(|not_until| not_until.wait_time_from(DefaultClock::default().now()))
    }
}

/// Whole ones, and never too few.
fn seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1)
}

/// Whom an address stands for: one IPv6 customer has at least a /64. Loopback addresses stay what they are.
pub(super) fn subject(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(Ipv6Addr::LOCALHOST) => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use actix_web::test::TestRequest;

    use super::*;

    fn limited(trust_forwarded: bool) -> RateLimit {
        let mut config = Config::default();
        config.limits.requests_per_second = 1;
        config.limits.request_burst = 2;
        config.http.trust_forwarded = trust_forwarded;
        RateLimit::new(&config)
    }

    fn post(address: &str) -> TestRequest {
        TestRequest::post().peer_addr(address.parse().unwrap())
    }

    #[test]
    fn the_burst_passes_and_the_next_waits() {
        let limit = limited(false);
        let ask = |address| limit.check(&post(address).to_srv_request());
        assert_eq!(ask("192.0.2.1:1"), Ok(()));
        assert_eq!(ask("192.0.2.1:2"), Ok(()));
        assert!(ask("192.0.2.1:3").unwrap_err() >= 1);
        assert_eq!(ask("192.0.2.2:1"), Ok(()), "another address has its own count");
    }

    #[test]
    fn who_ends_nothing_again_and_again_is_not_listened_to_and_who_leaves_in_a_crowd_is() {
        let limit = limited(false);
        let end = |address: &str| TestRequest::delete().peer_addr(address.parse().unwrap()).to_srv_request();
        let ask = |address| limit.check(&end(address));
        while limit.check(&post("192.0.2.1:1").to_srv_request()).is_ok() {}
        assert!((0..9).all(|_| ask("192.0.2.1:1").is_ok()), "each of them ended a session");
        for _ in 0..3 {
            assert_eq!(ask("192.0.2.1:1"), Ok(()));
            limit.count_in_vain(end("192.0.2.1:1").request());
        }
        assert_eq!(ask("192.0.2.1:1"), Err(1));
        assert_eq!(ask("192.0.2.2:1"), Ok(()), "another address has its own count");
        assert_eq!(limit.check(&post("192.0.2.2:1").to_srv_request()), Ok(()));
    }

    #[test]
    fn loopback_and_reads_are_free() {
        let limit = limited(false);
        for _ in 0..10 {
            assert_eq!(limit.check(&post("127.0.0.1:1").to_srv_request()), Ok(()));
            let get = TestRequest::get().peer_addr("192.0.2.1:1".parse().unwrap());
            assert_eq!(limit.check(&get.to_srv_request()), Ok(()));
        }
    }

    #[test]
    fn whoever_listens_to_events_is_counted() {
        let limit = limited(false);
        let listen = |session| {
            let protocol = if session % 2 == 0 { "whep" } else { "%77hep" };
            let uri = format!("/{protocol}/demo/main/{session}/sse/1");
            TestRequest::get().uri(&uri).peer_addr("192.0.2.1:1".parse().unwrap()).to_srv_request()
        };
        let refused = (0..4).filter(|session| limit.check(&listen(*session)).is_err());
        assert_eq!(refused.count(), 2);
    }

    #[test]
    fn loopback_is_free_in_both_families_but_not_behind_a_proxy() {
        for address in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            let refused = |limit: RateLimit| {
                (0..4).filter(|_| limit.check(&post(address).to_srv_request()).is_err()).count()
            };
            assert_eq!((refused(limited(false)), refused(limited(true))), (0, 2), "{address}");
        }
    }

    #[test]
    fn one_ipv6_network_is_one_client() {
        let limit = limited(false);
        let refused = (1..=3)
            .map(|host| limit.check(&post(&format!("[2001:db8::{host}]:1")).to_srv_request()))
            .filter(Result::is_err);
        assert_eq!(refused.count(), 1);
    }

    #[test]
    fn forwarded_addresses_count_only_where_trusted() {
        let ask = |limit: &RateLimit, client: &str| {
            let request = post("192.0.2.1:1").insert_header(("x-forwarded-for", client));
            limit.check(&request.to_srv_request()).is_ok()
        };
        let clients = [
            "198.51.100.1",
            "9.9.9.9, 198.51.100.2",
            "198.51.100.3:4711",
            "\"[2001:db8::1]:4711\"",
            "[2001:db8:1::1]",
        ];
        let trusting = limited(true);
        assert!(clients.iter().all(|client| ask(&trusting, client)));
        assert!((0..3).any(|_| !ask(&trusting, "198.51.100.9:1")), "a port makes no other client");
        let distrusting = limited(false);
        assert_eq!(clients.iter().filter(|client| ask(&distrusting, client)).count(), 2);
    }
}
