#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod events;
mod layers;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::Actor as _;
use actix_web::body::BoxBody;
use actix_web::dev::{Service as _, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::from_fn;
use actix_web::test::{TestRequest, init_service};
use actix_web::web::Data;
use actix_web::{App as WebApp, ResponseError as _};

use futures_util::future::LocalBoxFuture;
use opentelemetry::trace::Status;

use super::*;
use crate::actor::virtual_time;
use crate::config::{Config, Secret};
use crate::lifecycle::{Lifecycle, NodeState};
use crate::media::negotiated::{Fingerprint, FingerprintAlgorithm};
use crate::peer::message::{PeerEvent, PeerInput};
use crate::room::rig::Rig;
use crate::shard::health::Heartbeat;
use crate::telemetry::JoinTracer;
use crate::telemetry::spans::Kept;
use crate::token::{AwaitsKeys, TokenError};

const OFFER: &str = include_str!("sdp/fixtures/chromium-publish.sdp");
const PLAY_OFFER: &str = include_str!("sdp/fixtures/chromium-play.sdp");
const SDP: (&str, &str) = ("content-type", "application/sdp");
const FRAGMENT: (&str, &str) = ("content-type", "application/trickle-ice-sdpfrag");

/// Answers a request.
type Service = Box<dyn Fn(TestRequest) -> LocalBoxFuture<'static, ServiceResponse<BoxBody>>>;

/// The public listener in front of rooms whose shard only takes notes.
struct Server {
    service: Service,
    rig: Rig,
    lifecycle: Arc<Lifecycle>,
}

/// What a request was answered.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

async fn server(config: Config) -> Server {
    traced_server(config, None).await
}

async fn traced_server(config: Config, tracer: Option<JoinTracer>) -> Server {
    let rig = Rig::new(&config.limits);
    let lifecycle = Arc::new(Lifecycle::new(Arc::clone(&rig.metrics)));
    lifecycle.set(NodeState::Ready);
    let app = App::new(
        &config,
        Parts {
            rooms: rig.rooms.clone(),
            directory: Arc::clone(&rig.directory),
            candidates: vec![candidates(&["192.0.2.1".parse().unwrap()], 7800, Some(7800))],
            fingerprint: Fingerprint { algorithm: FingerprintAlgorithm::Sha256, digest: vec![7; 32] },
            metrics: Arc::clone(&rig.metrics),
            lifecycle: Arc::clone(&lifecycle),
            keys: None,
            tracer,
        },
    );
    let app = WebApp::new().app_data(Data::new(app)).wrap(from_fn(guard::public)).configure(routes::public);
    let service = Rc::new(init_service(app).await);
    let service: Service = Box::new(move |request| {
        let service = Rc::clone(&service);
        Box::pin(async move { service.call(request.to_request()).await.unwrap().map_into_boxed_body() })
    });
    Server { service, rig, lifecycle }
}

impl Server {
    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Answer {
        let mut request = TestRequest::with_uri(path)
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .peer_addr("198.51.100.1:1".parse().unwrap())
            .insert_header(("host", "live.example"))
            .set_payload(body.into());
        for (name, value) in headers {
            request = request.append_header((HeaderName::try_from(*name).unwrap(), *value));
        }
        let response = (self.service)(request).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = actix_web::body::to_bytes(response.into_body()).await.ok().unwrap();
        Answer { status, headers, body: String::from_utf8_lossy(&bytes).into_owned() }
    }

    /// A publisher on `path` whose media flows. Returns the 201.
    async fn publish(&self, path: &str) -> Answer {
        let created = self.ask("POST", path, &[SDP], OFFER).await;
        assert_eq!(created.status, 201, "{}", created.body);
        self.rig.last_peer_says(PeerEvent::Connected).await;
        self.rig.last_peer_says(PeerEvent::FirstMedia).await;
        created
    }
}

/// The path of the session that a 201 names.
fn session(created: &Answer) -> String {
    created.header("location").trim_start_matches("http://live.example").to_owned()
}

#[test]
fn a_publisher_is_answered_with_location_tag_and_candidates() {
    virtual_time::run(async {
        let server = server(Config::default()).await;
        let created = server.publish("/whip/demo").await;
        assert_eq!(created.header("content-type"), "application/sdp");
        let location = created.header("location");
        assert!(location.starts_with("http://live.example/whip/demo/main/"), "{location}");
        let tag = created.header("etag");
        assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() == 18, "{tag}");
        assert!(created.body.contains("a=recvonly") && created.body.contains("192.0.2.1 7800 typ host"));
        let rooms = server.ask("GET", "/v1/rooms", &[], "").await;
        let rooms: serde_json::Value = serde_json::from_str(&rooms.body).unwrap();
        assert_eq!(rooms["rooms"][0]["name"], "demo");
        assert_eq!(rooms["rooms"][0]["live"], true);
        assert_eq!(rooms["rooms"][0]["viewers"], 0);
        assert_eq!(rooms["rooms"][0]["streams"][0]["tracks"][0]["layers"].as_array().unwrap().len(), 1);
        assert_eq!(server.ask("GET", "/v1/rooms/demo", &[], "").await.status, 200);
        let idle = server.ask("GET", "/v1/rooms/other", &[], "").await;
        assert_eq!(
            (idle.status, &*idle.body),
            (200, r#"{"name":"other","live":false,"streams":[],"viewers":0}"#)
        );
    });
}

#[test]
fn a_viewer_plays_what_is_live_and_is_told_to_wait_for_what_is_not() {
    virtual_time::run(async {
        let server = server(Config::default()).await;
        for path in ["/whep/demo", "/whep/nobody/knows"] {
            let waiting = server.ask("POST", path, &[SDP], PLAY_OFFER).await;
            assert_eq!((waiting.status, waiting.header("retry-after")), (409, "2"));
        }
        let created = server.ask("POST", "/whip/demo", &[SDP], OFFER).await;
        assert_eq!(created.status, 201);
        assert_eq!(server.ask("POST", "/whep/demo", &[SDP], PLAY_OFFER).await.status, 409);
        server.rig.last_peer_says(PeerEvent::FirstMedia).await;
        let played = server.ask("POST", "/whep/demo/main", &[SDP], PLAY_OFFER).await;
        assert_eq!(played.status, 201, "{}", played.body);
        assert!(played.body.contains("a=sendonly"));
        let taken = server.ask("POST", "/whip/demo", &[SDP], OFFER).await;
        assert_eq!((taken.status, taken.header("retry-after")), (409, "2"));
    });
}

#[test]
fn a_stream_without_a_codec_that_the_viewer_has_is_406_and_says_which_it_has() {
    virtual_time::run(async {
        let server = server(Config::default()).await;
        server.publish("/whip/demo").await;
        let other = PLAY_OFFER
            .lines()
            .map(|line| if line.contains("VP8") { line.replace("VP8", "XYZ") } else { line.to_owned() });
        let offer: String = other.map(|line| line.replace("H264", "ABC") + "\r\n").collect();
        let refused = server.ask("POST", "/whep/demo", &[SDP], offer).await;
        assert_eq!(refused.status, 406, "{}", refused.body);
        assert!(refused.body.contains("no common video codec"), "{}", refused.body);
    });
}

#[test]
fn h265_reaches_viewers_who_have_it_and_others_are_told() {
    const SAFARI: [&str; 2] =
        [include_str!("sdp/fixtures/safari-publish.sdp"), include_str!("sdp/fixtures/safari-play.sdp")];
    virtual_time::run(async {
        let server = server(Config::default()).await;
        let created = server.ask("POST", "/whip/demo", &[SDP], SAFARI[0]).await;
        assert_eq!(created.status, 201, "{}", created.body);
        assert!(created.body.contains("a=rtpmap:100 H265/90000\r\n"), "{}", created.body);
        server.rig.last_peer_says(PeerEvent::FirstMedia).await;
        let played = server.ask("POST", "/whep/demo", &[SDP], SAFARI[1]).await;
        assert_eq!(played.status, 201, "{}", played.body);
        assert!(played.body.contains("a=rtpmap:100 H265/90000\r\n"), "{}", played.body);
        let refused = server.ask("POST", "/whep/demo", &[SDP], PLAY_OFFER).await;
        assert_eq!(refused.status, 406, "{}", refused.body);
        assert!(refused.body.contains("here is H265"), "{}", refused.body);
    });
}

#[test]
fn delete_ends_a_session_once() {
    virtual_time::run(async {
        let server = server(Config::default()).await;
        let session = session(&server.publish("/whip/demo").await);
        assert_eq!(server.ask("DELETE", &session, &[("if-match", "\"stale\"")], "").await.status, 200);
        assert_eq!(server.ask("DELETE", &session, &[], "").await.status, 404);
        assert_eq!(server.ask("DELETE", "/whip/demo/main/nonsense", &[], "").await.status, 404);
        assert_eq!(server.ask("POST", "/whip/demo", &[SDP], OFFER).await.status, 201);
    });
}

#[test]
fn patch_follows_the_rules_of_rfc_9725() {
    virtual_time::run(async {
        let server = server(Config::default()).await;
        let created = server.publish("/whip/demo").await;
        let (path, tag) = (session(&created), created.header("etag").to_owned());
        let ours = |field: &str| OFFER.lines().find_map(|line| line.strip_prefix(field)).unwrap().to_owned();
        let (ufrag, password) = (ours("a=ice-ufrag:"), ours("a=ice-pwd:"));
        let trickle = format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\na=end-of-candidates\r\n");
        let restart = format!("a=ice-ufrag:new1\r\na=ice-pwd:{}\r\n", "n".repeat(24));
        let ask = |tag: &str, body: &str| {
            let (path, tag, body) = (path.clone(), tag.to_owned(), body.to_owned());
            let server = &server;
            async move { server.ask("PATCH", &path, &[FRAGMENT, ("if-match", &tag)], body).await }
        };
        assert_eq!(server.ask("PATCH", &path, &[FRAGMENT], trickle.clone()).await.status, 428);
        assert_eq!(server.ask("PATCH", &path, &[SDP, ("if-match", &tag)], trickle.clone()).await.status, 415);
        assert_eq!(ask("\"stale\"", &trickle).await.status, 412);
        assert_eq!(ask("unquoted", &trickle).await.status, 400);
        assert_eq!(ask(&tag, "nonsense").await.status, 400);
        let trickled = ask(&tag, &trickle).await;
        assert_eq!((trickled.status, trickled.body.as_str(), trickled.header("etag")), (204, "", ""));
        let restarted = ask("*", &restart).await;
        assert_eq!(
            (restarted.status, restarted.header("content-type")),
            (200, FRAGMENT.1),
            "{}",
            restarted.body
        );
        let new_tag = restarted.header("etag").to_owned();
        assert!(new_tag != tag && restarted.body.contains("a=ice-ufrag:"));
        assert_eq!(ask(&tag, &trickle).await.status, 412, "the old tag is stale");
        assert_eq!(ask(&new_tag, &restart).await.status, 204);
        let told = server.rig.notes.lock().unwrap().told.len();
        assert_eq!(told, 1, "the peer was restarted once");
        assert!(matches!(server.rig.notes.lock().unwrap().told[0].1, PeerInput::RestartIce { .. }));
        let unknown = "/whip/demo/main/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        assert_eq!(server.ask("PATCH", unknown, &[FRAGMENT, ("if-match", "*")], trickle).await.status, 404);
    });
}

#[test]
fn endpoints_say_what_they_take() {
    virtual_time::run(async {
        let server = server(Config::default()).await;
        for path in ["/whip/demo", "/whip/demo/cam", "/whep/demo", "/whep/demo/cam"] {
            for method in ["GET", "HEAD"] {
                let looked = server.ask(method, path, &[], "").await;
                assert_eq!((looked.status, looked.body.as_str()), (200, ""), "{method} {path}");
            }
            let options = server.ask("OPTIONS", path, &[], "").await;
            assert_eq!((options.status, options.header("accept-post")), (204, "application/sdp"));
            let put = server.ask("PUT", path, &[], "x").await;
            assert_eq!((put.status, put.header("allow")), (405, "POST, GET, HEAD, OPTIONS"));
        }
        assert_eq!(server.ask("HEAD", "/whep/demo", &[], "").await.header("content-type"), "application/sdp");
        let session = "/whip/demo/main/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let get = server.ask("GET", session, &[], "").await;
        assert_eq!((get.status, get.header("allow")), (405, "PATCH, DELETE, OPTIONS"));
        assert_eq!(server.ask("OPTIONS", session, &[], "").await.header("accept-patch"), FRAGMENT.1);
    });
}

#[test]
fn pages_of_other_origins_may_use_the_api_and_read_its_headers() {
    virtual_time::run(async {
        let turn = crate::config::Turn {
            urls: vec!["turn:relay.example".to_owned()],
            secret: Some(Secret::new("north")),
            ..crate::config::Turn::default()
        };
        let mut config = Config { turn, ..Config::default() };
        config.http.cors_origins = vec!["*".to_owned()];
        let server = server(config).await;
        let headers = [("origin", "https://other.example"), ("access-control-request-method", "POST")];
        let preflight = server.ask("OPTIONS", "/whip/demo", &headers, "").await;
        assert_eq!(preflight.header("access-control-allow-origin"), "*");
        assert!(preflight.header("access-control-allow-methods").contains("PATCH"));
        assert!(preflight.header("access-control-allow-headers").contains("If-Match"));
        assert_eq!(preflight.header("link"), "", "no credentials on a preflight");
        let created = server.ask("POST", "/whip/demo", &[SDP, headers[0]], OFFER).await;
        assert!(created.header("link").starts_with("<turn:relay.example>; rel=\"ice-server\"; username=\""));
        for exposed in ["Location", "ETag", "Link", "Retry-After"] {
            assert!(created.header("access-control-expose-headers").contains(exposed));
        }
        let refused = server.ask("POST", "/whep/other", &[SDP, headers[0]], PLAY_OFFER).await;
        assert_eq!(refused.header("access-control-allow-origin"), "*", "errors can be read too");
    });
}

#[test]
fn pages_of_other_origins_may_not_use_what_needs_no_token_unless_they_are_listed() {
    virtual_time::run(async {
        let preflight = [("origin", "https://other.example"), ("access-control-request-method", "POST")];
        let mut config = Config::default();
        for (tokens, listed, expected) in [(0, 0, ""), (1, 0, "*"), (0, 1, "*"), (1, 1, "*")] {
            config.auth.publish_tokens = vec![Secret::new("north"); tokens];
            config.http.cors_origins = vec!["*".to_owned(); listed];
            let server = server(config.clone()).await;
            for path in ["/whip/demo", "/whep/demo", "/v1/rooms"] {
                let answer = server.ask("OPTIONS", path, &preflight, "").await;
                let case = format!("{path} with {tokens} tokens and {listed} origins");
                assert_eq!(answer.header("access-control-allow-origin"), expected, "{case}");
            }
        }
    });
}

#[test]
fn only_listed_origins_are_allowed_where_there_is_a_list() {
    virtual_time::run(async {
        let mut config = Config::default();
        config.http.cors_origins = vec!["https://a.example".to_owned()];
        let server = server(config).await;
        let allowed = |origin: &'static str| {
            let server = &server;
            async move {
                let answer = server.ask("GET", "/v1/rooms", &[("origin", origin)], "").await;
                assert!(answer.header("vary").to_ascii_lowercase().contains("origin"), "{origin}");
                answer.header("access-control-allow-origin").to_owned()
            }
        };
        assert_eq!(allowed("https://a.example").await, "https://a.example");
        assert_eq!(allowed("https://b.example").await, "");
    });
}

#[test]
fn bad_requests_are_refused_with_their_reason() {
    virtual_time::run(async {
        let server = server(Config::default()).await;
        /// Path, headers, body, expected status.
        type Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, Vec<u8>, u16);
        let cases: Vec<Case<'_>> = vec![
            ("/whip/demo", vec![], OFFER.into(), 415),
            ("/whip/demo", vec![("content-type", "text/plain")], OFFER.into(), 415),
            ("/whip/demo", vec![SDP], vec![], 400),
            ("/whip/demo", vec![SDP], vec![0xff, 0xfe], 400),
            ("/whip/demo", vec![SDP], vec![b'v'; 65_537], 413),
            ("/whip/demo", vec![SDP], PLAY_OFFER.into(), 400),
            ("/whip/.demo", vec![SDP], OFFER.into(), 400),
            ("/whip/a%2Fb", vec![SDP], OFFER.into(), 400),
            ("/whip/%ff%fe", vec![SDP], OFFER.into(), 400),
            ("/whip/demo/a%20b", vec![SDP], OFFER.into(), 400),
            ("/whip/", vec![SDP], OFFER.into(), 400),
            ("/whip", vec![SDP], OFFER.into(), 400),
            ("/whip/a/b/c/d", vec![SDP], OFFER.into(), 400),
            ("/nothing", vec![SDP], OFFER.into(), 405),
        ];
        for (path, headers, body, status) in cases {
            let refused = server.ask("POST", path, &headers, body).await;
            assert_eq!(refused.status, status, "{path} {headers:?}: {}", refused.body);
            assert_eq!(refused.header("content-type"), "application/problem+json");
            assert!(refused.body.contains("\"detail\":\""), "{}", refused.body);
        }
        assert_eq!(server.rig.notes.lock().unwrap().added.len(), 0);
    });
}

#[test]
fn parameters_of_the_content_type_do_not_matter() {
    virtual_time::run(async {
        let server = server(Config::default()).await;
        let header = ("content-type", "Application/SDP; charset=utf-8");
        assert_eq!(server.ask("POST", "/whip/demo", &[header], OFFER).await.status, 201);
    });
}

#[test]
fn one_address_may_not_ask_without_end() {
    virtual_time::run(async {
        let mut config = Config::default();
        config.limits.requests_per_second = 1;
        config.limits.request_burst = 2;
        let server = server(config).await;
        let mut last = server.ask("POST", "/whep/demo", &[SDP], PLAY_OFFER).await;
        for _ in 0..2 {
            last = server.ask("POST", "/whep/demo", &[SDP], PLAY_OFFER).await;
        }
        assert_eq!((last.status, last.header("retry-after")), (429, "1"));
        assert_eq!(server.ask("GET", "/v1/rooms", &[], "").await.status, 200);
        let metrics = server.rig.metrics.render().unwrap();
        assert!(metrics.contains("aforo_rate_limited_total{scope=\"address\"} 1"));
    });
}

#[test]
fn whoever_tries_tokens_and_names_by_delete_is_stopped_before_anybody_is_asked() {
    virtual_time::run(async {
        let mut config = Config::default();
        config.limits.requests_per_second = 1;
        config.limits.request_burst = 3;
        config.auth.publish_tokens = vec![Secret::new("north")];
        config.auth.play_tokens = vec![Secret::new("south")];
        let unknown = "/whip/demo/main/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for (token, status) in [("Bearer west", 401), ("Bearer south", 403), ("Bearer north", 404)] {
            let server = server(config.clone()).await;
            let mut answers = Vec::new();
            for _ in 0..5 {
                answers.push(server.ask("DELETE", unknown, &[("authorization", token)], "").await.status);
            }
            assert_eq!(answers, [status, status, status, status, 429]);
        }
    });
}

#[test]
fn whoever_tries_tokens_by_reading_is_stopped_too() {
    virtual_time::run(async {
        let mut config = Config::default();
        config.limits.requests_per_second = 1;
        config.limits.request_burst = 3;
        config.auth.play_tokens = vec![Secret::new("south")];
        for (token, status) in [("Bearer west", 401), ("Bearer south", 200)] {
            let server = server(config.clone()).await;
            let mut answers = Vec::new();
            for _ in 0..5 {
                answers.push(server.ask("GET", "/v1/rooms", &[("authorization", token)], "").await.status);
            }
            assert_eq!(answers, [status, status, status, status, if status == 200 { 200 } else { 429 }]);
        }
    });
}

#[test]
fn a_draining_node_takes_no_offer_but_lets_sessions_end() {
    virtual_time::run(async {
        let server = server(Config::default()).await;
        let session = session(&server.publish("/whip/demo").await);
        server.lifecycle.set(NodeState::Draining);
        let refused = server.ask("POST", "/whep/demo", &[SDP], PLAY_OFFER).await;
        assert_eq!((refused.status, refused.header("retry-after")), (503, "5"));
        assert_eq!(server.ask("DELETE", &session, &[], "").await.status, 200);
        let metrics = server.rig.metrics.render().unwrap();
        let line = "aforo_session_attempts_total{protocol=\"whep\",result=\"draining\",role=\"viewer\"} 1\n";
        assert!(metrics.contains(line), "{metrics}");
    });
}

#[test]
fn requests_are_counted_by_route_and_never_by_what_a_client_invents() {
    virtual_time::run(async {
        let server = server(Config::default()).await;
        server.publish("/whip/demo").await;
        server.ask("BREW", "/coffee/pot", &[], "").await;
        let metrics = server.rig.metrics.render().unwrap();
        assert!(
            metrics.contains("method=\"POST\",route=\"/whip/{room}/{stream}\",status_class=\"2xx\"} 1"),
            "{metrics}"
        );
        assert!(metrics.contains("protocol=\"whip\",result=\"ok\",role=\"publisher\"} 1"), "{metrics}");
        for invented in ["BREW", "coffee", "demo"] {
            assert!(!metrics.contains(invented), "{invented}");
        }
    });
}

#[test]
fn pages_come_with_a_policy_and_can_be_kept() {
    virtual_time::run(async {
        let server = server(Config::default()).await;
        for path in ["/", "/studio/demo", "/watch/demo"] {
            let page = server.ask("GET", path, &[], "").await;
            // Without a build of the pages there is a text that says so.
            if page.status == StatusCode::NOT_IMPLEMENTED.as_u16() {
                assert!(page.body.contains("make build"));
                continue;
            }
            assert_eq!(page.status, 200);
            assert!(page.header("content-security-policy").contains("default-src 'none'"));
            assert_eq!(page.header("cache-control"), "no-cache");
            let again = server.ask("GET", path, &[("if-none-match", page.header("etag"))], "").await;
            assert_eq!((again.status, again.body.as_str()), (304, ""));
        }
        for path in ["/studio", "/studio/", "/watch", "/nowhere", "/v1/nothing"] {
            let for_people = server.ask("GET", path, &[("accept", "text/html,*/*")], "").await;
            let for_programs = server.ask("GET", path, &[], "").await;
            assert_eq!((for_people.status, for_programs.status), (404, 404), "{path}");
            assert!(for_programs.body.starts_with('{'), "{path}: {}", for_programs.body);
            let built = server.ask("GET", "/", &[], "").await.status == 200;
            assert_eq!(for_people.body.starts_with("<!doctype html>"), built, "{path}");
            assert_eq!(for_people.header("etag"), "");
        }
        assert_eq!(server.ask("GET", "/studio/.x", &[], "").await.status, 400);
        assert_eq!(server.ask("GET", "/assets/missing.js", &[], "").await.status, 404);
        assert_eq!(server.ask("GET", "/../Cargo.toml", &[], "").await.status, 404);
        assert_eq!(server.ask("GET", "/index.html", &[], "").await.status, 404);
    });
}

/// What the listener for operators answers to a GET.
async fn operate(operations: Operations, path: &str) -> (u16, String) {
    let app = WebApp::new().app_data(Data::new(operations)).configure(routes::operators);
    let request = TestRequest::with_uri(path).to_request();
    let response = init_service(app).await.call(request).await.unwrap();
    let status = response.status().as_u16();
    let bytes = actix_web::body::to_bytes(response.into_body()).await.ok().unwrap();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

#[test]
fn a_token_that_nobody_can_check_yet_is_asked_for_again_later() {
    let response = Problem::from(TokenError::KeysAwaited).error_response();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("retry-after"));
    assert!(!response.headers().contains_key("www-authenticate"), "the token is not to blame");
}

#[test]
fn probes_tell_starting_from_ready_from_draining() {
    virtual_time::run(async {
        let rig = Rig::new(&Config::default().limits);
        let lifecycle = Arc::new(Lifecycle::new(Arc::clone(&rig.metrics)));
        let operations = || Operations {
            metrics: Arc::clone(&rig.metrics),
            lifecycle: Arc::clone(&lifecycle),
            shards: vec![Arc::new(Heartbeat::new(crate::actor::now()))],
            rooms: rig.rooms.clone().recipient(),
            awaits_keys: AwaitsKeys::default(),
        };
        let expected =
            [(NodeState::Starting, 503, 503), (NodeState::Ready, 200, 200), (NodeState::Draining, 503, 200)];
        for (state, ready, started) in expected {
            lifecycle.set(state);
            assert_eq!(operate(operations(), "/readyz").await, (ready, format!("{}\n", state.as_str())));
            assert_eq!(operate(operations(), "/startupz").await.0, started);
            let alive = (200, "[+] shard 0\n[+] control\n".to_owned());
            assert_eq!(operate(operations(), "/livez").await, alive);
        }
        let verbose = operate(operations(), "/readyz?verbose").await.1;
        assert!(verbose.contains("[+] bus") && verbose.contains("[-] sessions are taken"), "{verbose}");
        let metrics = operate(operations(), "/metrics").await;
        assert_eq!(metrics.0, 200);
        assert!(metrics.1.contains("aforo_node_state{state=\"draining\"} 1"));
        assert_eq!(operate(operations(), "/whip/demo").await.0, 404);
    });
}

/// Takes pings and never answers.
struct StuckControl;

impl actix::Actor for StuckControl {
    type Context = actix::Context<Self>;
}

impl actix::Handler<crate::room::Ping> for StuckControl {
    type Result = actix::ResponseFuture<()>;

    fn handle(&mut self, _: crate::room::Ping, _: &mut actix::Context<Self>) -> Self::Result {
        Box::pin(std::future::pending())
    }
}

#[test]
fn an_arbiter_that_shows_no_life_is_found_out() {
    virtual_time::run(async {
        let rig = Rig::new(&Config::default().limits);
        let start = crate::actor::now();
        let (stuck, busy) = (Arc::new(Heartbeat::new(start)), Arc::new(Heartbeat::new(start)));
        let operations = |rooms| Operations {
            metrics: Arc::clone(&rig.metrics),
            lifecycle: Arc::new(Lifecycle::new(Arc::clone(&rig.metrics))),
            shards: vec![Arc::clone(&stuck), Arc::clone(&busy)],
            rooms,
            awaits_keys: AwaitsKeys::default(),
        };
        let (control, hung) = (rig.rooms.clone().recipient(), StuckControl.start().recipient());
        tokio::time::advance(Duration::from_millis(1_500)).await;
        busy.beat(crate::actor::now());
        let all = (200, "[+] shard 0\n[+] shard 1\n[+] control\n".to_owned());
        assert_eq!(operate(operations(control.clone()), "/livez").await, all);
        tokio::time::advance(Duration::from_millis(1_000)).await;
        let shard = (503, "[-] shard 0\n[+] shard 1\n[+] control\n".to_owned());
        assert_eq!(operate(operations(control), "/livez").await, shard);
        busy.beat(crate::actor::now());
        let both = (503, "[-] shard 0\n[+] shard 1\n[-] control\n".to_owned());
        assert_eq!(operate(operations(hung), "/livez").await, both);
    });
}

#[test]
fn tokens_are_asked_for_by_every_request_that_acts_on_a_session() {
    virtual_time::run(async {
        let mut config = Config::default();
        config.auth.publish_tokens = vec![Secret::new("north")];
        config.auth.play_tokens = vec![Secret::new("south")];
        let server = server(config).await;
        let north = ("authorization", "Bearer north");
        let created = server.ask("POST", "/whip/demo", &[SDP, north], OFFER).await;
        assert_eq!(created.status, 201, "{}", created.body);
        let session = session(&created);
        let as_viewer = session.replace("/whip/", "/whep/");
        let requests = [
            ("POST", "/%77hip/demo".to_owned(), "publish"),
            ("PATCH", session.clone(), "publish"),
            ("DELETE", session.clone(), "publish"),
            ("POST", "/whep/demo".to_owned(), "subscribe"),
            ("PATCH", as_viewer.clone(), "subscribe"),
            ("DELETE", as_viewer.clone(), "subscribe"),
            ("POST", format!("{as_viewer}/sse"), "subscribe"),
            ("DELETE", format!("{as_viewer}/sse/1"), "subscribe"),
            ("POST", format!("{as_viewer}/layer"), "subscribe"),
        ];
        let asked = requests.len();
        for (method, path, grant) in requests {
            let none = server.ask(method, &path, &[], "").await;
            assert_eq!((none.status, none.header("www-authenticate")), (401, "Bearer realm=\"aforo\""));
            let wrong = server.ask(method, &path, &[("authorization", "Bearer west")], "").await;
            let challenge = "Bearer realm=\"aforo\", error=\"invalid_token\"";
            assert_eq!((wrong.status, wrong.header("www-authenticate")), (401, challenge));
            assert!(!wrong.body.contains("west"), "{}", wrong.body);
            let other = if grant == "subscribe" { "Bearer north" } else { "Bearer south" };
            let refused = server.ask(method, &path, &[("authorization", other)], "").await;
            assert_eq!(refused.status, 403, "{method} {path}");
            assert!(refused.header("www-authenticate").ends_with(&format!("scope=\"{grant}\"")));
            assert_eq!(server.ask("OPTIONS", &path, &[], "").await.status, 204);
        }
        let metrics = server.rig.metrics.render().unwrap();
        for reason in ["no_token", "unknown_token", "no_grant"] {
            let line = format!("aforo_auth_failures_total{{reason=\"{reason}\"}} {asked}\n");
            assert!(metrics.contains(&line), "{reason} in {metrics}");
        }
        let south = ("authorization", "Bearer south");
        assert_eq!(server.ask("DELETE", &as_viewer, &[south], "").await.status, 404, "a viewer's right");
        assert_eq!(server.ask("DELETE", &session, &[north], "").await.status, 200);
    });
}

#[test]
fn one_trace_leads_from_the_request_to_the_first_keyframe() {
    virtual_time::run(async {
        let (tracer, kept) = Kept::tracer(1.0);
        let server = traced_server(Config::default(), Some(tracer)).await;
        let refused = server.ask("POST", "/whep/demo", &[SDP], PLAY_OFFER).await;
        assert_eq!(refused.status, 409);
        assert_eq!(kept.names(), ["placement", "join", "POST /whep/{room}/{stream}"]);
        assert_eq!(kept.named("join").status, Status::error("not_live"));
        kept.forget();
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let created = server.ask("POST", "/whip/demo", &[SDP, ("traceparent", parent)], OFFER).await;
        assert_eq!(created.status, 201);
        assert_eq!(kept.names(), ["placement", "sdp", "room", "POST /whip/{room}/{stream}"]);
        for event in
            [PeerEvent::PathFound, PeerEvent::Connected, PeerEvent::FirstMedia, PeerEvent::FirstKeyframe]
        {
            server.rig.last_peer_says(event).await;
        }
        let join = kept.named("join");
        assert_eq!(join.parent_span_id.to_string(), "b7ad6b7169203331");
        let said = format!("{:?}", join.attributes);
        let session = session(&created);
        let (session, shown) = session.rsplit('/').next().map(|id| (id, &id[..6])).unwrap();
        for expected in ["demo", "main", "whip", "publisher", shown] {
            assert!(said.contains(expected), "{expected} is missing in {said}");
        }
        assert!(!said.contains(session), "who knows a whole id may end the session");
        let request = "POST /whip/{room}/{stream}";
        for (name, parent) in [
            (request, "join"),
            ("placement", request),
            ("sdp", request),
            ("room", request),
            ("ice", "join"),
            ("first_keyframe", "join"),
        ] {
            let span = kept.named(name);
            assert_eq!(span.parent_span_id, kept.id(parent), "{name}");
            assert_eq!(span.span_context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        }
        assert!(format!("{:?}", kept.named(request).attributes).contains("201"));
    });
}

#[test]
fn a_join_that_gets_no_further_ends_its_trace_after_fifteen_seconds() {
    virtual_time::run(async {
        let (tracer, kept) = Kept::tracer(1.0);
        let server = traced_server(Config::default(), Some(tracer)).await;
        assert_eq!(server.ask("POST", "/whip/demo", &[SDP], OFFER).await.status, 201);
        server.rig.last_peer_says(PeerEvent::PathFound).await;
        virtual_time::pass(Duration::from_secs(14)).await;
        assert!(!kept.names().contains(&"join".to_owned()));
        virtual_time::pass(Duration::from_secs(2)).await;
        assert_eq!(kept.named("join").status, Status::error("timeout"));
        assert_eq!(kept.named("dtls").status, Status::error("timeout"));
    });
}
