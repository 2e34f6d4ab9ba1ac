#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Mutex, mpsc};
use std::time::Instant;

use aforo_cluster::control::Role;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::token::core::{Grants, Names};
use crate::token::{KeyRing, TokenError, issue, key_ring};

/// How long a test waits for what comes at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server on loopback that answers each request with the next line of its script, and keeps what it was asked. An empty
/// line is a server that is down.
struct Script {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Script {
    async fn start(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, asked) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let (mut answers, seen) = (VecDeque::from(answers), Arc::clone(&asked));
        tokio::spawn(async move {
            // With the last answer given, nobody listens any more.
            while let Some(answer) = answers.pop_front() {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                seen.lock().unwrap().push(String::from_utf8(head).unwrap().to_ascii_lowercase());
                client.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { address, asked }
    }

    fn server(&self, metrics: &Arc<Metrics>) -> KeyServer {
        let url = format!("http://{}/keys", self.address);
        let auth = Auth { jwks_refresh_seconds: 300, ..Auth::default() };
        KeyServer::new(&url, &auth, Arc::clone(metrics)).unwrap()
    }
}

/// Holds the paused clock, which otherwise jumps ahead of real sockets, until the test moves it.
struct HeldClock(#[expect(dead_code, reason = "ends with the test")] mpsc::Sender<()>);

impl HeldClock {
    fn new() -> Self {
        let (ends, test) = mpsc::channel();
        // The clock stands still as long as a blocking task runs.
        tokio::task::spawn_blocking(move || test.recv());
        Self(ends)
    }

    /// Moves on by `time`, and a little for the timer's rounding, and waits until `result` has been counted `count` times.
    async fn pass(&self, time: Duration, metrics: &Metrics, result: &str, count: u64) {
        tokio::time::advance(time + Duration::from_millis(1)).await;
        let (counted, began) = (metrics.key_set_fetches_total.with_label_values(&[result]), Instant::now());
        while counted.get() < count {
            assert!(began.elapsed() < PATIENCE, "{result} is counted {} times, not {count}", counted.get());
            tokio::task::yield_now().await;
        }
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
}

fn key(kid: &str) -> (Value, Value) {
    issue::new_pair(Some(kid.to_owned())).unwrap()
}

fn token(whole: &Value) -> String {
    let signer = key::signing_key(&whole.to_string(), None).unwrap();
    let room = Names::One("demo".parse().unwrap());
    let (publish, subscribe, admin) = (true, false, false);
    let grants = Grants {
        room,
        stream: Names::Every,
        publish,
        subscribe,
        admin,
        priority: 0,
        subject: None,
        issuer: None,
    };
    issue::sign(&signer, grants, None, Duration::from_secs(60), key_ring::seconds_now()).unwrap()
}

fn verify(keys: &RemoteKeys, token: &str) -> Result<Grants, TokenError> {
    keys.now().ok_or(TokenError::KeysAwaited)?.verify(token, key_ring::seconds_now())
}

#[tokio::test]
async fn keys_are_fetched_kept_while_the_server_fails_and_rotated() {
    let ((first, first_public), (second, second_public)) = (key("first"), key("second"));
    let set = |keys: &[&Value]| json!({ "keys": keys }).to_string();
    let script = Script::start(vec![
        answer("200 OK", "etag: \"one\"\r\ncache-control: public, max-age=60\r\n", &set(&[&first_public])),
        answer("304 Not Modified", "", ""),
        answer("500 Internal Server Error", "", ""),
        answer("200 OK", "", "<html>maintenance</html>"),
        answer("200 OK", "", &"x".repeat(BODY_MAX_BYTES + 1)),
        answer("200 OK", "cache-control: no-store\r\n", &set(&[&second_public])),
    ])
    .await;
    let metrics = Arc::new(Metrics::new().unwrap());
    let mut server = script.server(&metrics);
    let (keys, old, new) = (server.keys(), token(&first), token(&second));
    assert_eq!(verify(&keys, &old), Err(TokenError::KeysAwaited), "nobody is let in before the first answer");
    let mut waits = Vec::new();
    for _ in 0..5 {
        waits.push(server.ask().await.as_secs());
        assert!(verify(&keys, &old).unwrap().admit(
            Role::Publisher,
            &"demo".parse().unwrap(),
            &"main".parse().unwrap()
        ));
        assert_eq!(verify(&keys, &new), Err(TokenError::UnknownKey));
    }
    assert_eq!(waits, [60, 300, 5, 10, 20]);
    assert_eq!(server.ask().await.as_secs(), 10, "what must not be stored is asked for soon");
    assert!(verify(&keys, &new).is_ok() && verify(&keys, &old).is_err());
    assert_eq!(server.ask().await.as_secs(), 5, "the server is gone");
    assert!(verify(&keys, &new).is_ok());
    let counted = |result| metrics.key_set_fetches_total.with_label_values(&[result]).get();
    assert_eq!((counted("ok"), counted("unchanged"), counted("failed")), (2, 1, 4));
    let asked = script.asked.lock().unwrap();
    assert!(!asked[0].contains("if-none-match") && asked[1].contains("if-none-match: \"one\""));
    assert!(asked[5].contains("if-none-match: \"one\""), "failures do not forget what is known");
}

#[tokio::test(start_paused = true)]
async fn tokens_are_good_soon_after_the_server_is_back_and_as_soon_as_their_key_is_known() {
    let ((first, first_public), (second, second_public)) = (key("first"), key("second"));
    let [down, up, rotated] = [
        String::new(),
        answer("200 OK", "", &json!({ "keys": [first_public] }).to_string()),
        answer("200 OK", "", &json!({ "keys": [first_public, second_public] }).to_string()),
    ];
    let clock = HeldClock::new();
    let script = Script::start([vec![down; 6], vec![up, rotated]].concat()).await;
    let metrics = Arc::new(Metrics::new().unwrap());
    let jwks_url = Some(format!("http://{}/keys", script.address));
    let auth = Auth { jwks_url, jwks_refresh_seconds: 300, ..Auth::default() };
    let ring = KeyRing::configured(&auth, &metrics).unwrap().unwrap();
    tokio::spawn(ring.server().unwrap().clone().run());
    let (old, new) = (token(&first), token(&second));
    for failures in 1..=6 {
        clock.pass(core::GAP_MIN, &metrics, "failed", failures).await;
        assert_eq!(ring.verify(&old), Err(TokenError::KeysAwaited));
        assert!(ring.awaits_keys().now());
    }
    clock.pass(core::GAP_MIN, &metrics, "ok", 1).await;
    assert!(ring.verify(&old).is_ok() && !ring.awaits_keys().now());
    assert_eq!(ring.verify(&new), Err(TokenError::UnknownKey), "which has the server asked again");
    clock.pass(core::GAP_MIN, &metrics, "ok", 2).await;
    assert!(ring.verify(&new).is_ok() && ring.verify(&old).is_ok());
}

#[tokio::test]
async fn a_secret_in_the_open_lets_nobody_in() {
    let secret = issue::new_secret(Some("hs".to_owned())).unwrap();
    let (_, public) = key("ed");
    let script = Script::start(vec![
        answer("200 OK", "", &json!({ "keys": [secret, public] }).to_string()),
        answer("200 OK", "", &secret.to_string()),
    ])
    .await;
    let metrics = Arc::new(Metrics::new().unwrap());
    let mut server = script.server(&metrics);
    server.ask().await;
    assert_eq!(server.keys().now().unwrap().len(), 1);
    assert_eq!(verify(&server.keys(), &token(&secret)), Err(TokenError::UnknownKey));
    server.ask().await;
    assert_eq!(metrics.key_set_fetches_total.with_label_values(&["failed"]).get(), 1);
}

#[tokio::test]
async fn a_set_that_was_emptied_takes_the_keys_back() {
    let (whole, public) = key("leaked");
    let rsa = json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB" });
    for emptied in [json!({ "keys": [] }), json!({ "keys": [rsa] })] {
        let script = Script::start(vec![
            answer("200 OK", "", &json!({ "keys": [public] }).to_string()),
            answer("200 OK", "etag: \"none\"\r\n", &emptied.to_string()),
            answer("200 OK", "", "{}"),
        ])
        .await;
        let metrics = Arc::new(Metrics::new().unwrap());
        let mut server = script.server(&metrics);
        server.ask().await;
        assert!(verify(&server.keys(), &token(&whole)).is_ok());
        assert_eq!(server.ask().await.as_secs(), 300);
        assert_eq!(verify(&server.keys(), &token(&whole)), Err(TokenError::UnknownKey), "{emptied}");
        assert_eq!(metrics.key_set_fetches_total.with_label_values(&["ok"]).get(), 2);
        server.ask().await;
        assert_eq!(metrics.key_set_fetches_total.with_label_values(&["failed"]).get(), 1, "that is no set");
    }
}

#[tokio::test]
async fn what_is_no_good_key_does_not_hold_up_the_others() {
    let (whole, public) = key("new");
    let mut short = public.clone();
    short["x"] = json!("AQAB");
    let odd = [json!(7), json!({ "kty": 7 }), json!({ "kty": "OKP", "crv": "Ed25519" }), short, public];
    let script = Script::start(vec![answer("200 OK", "", &json!({ "keys": odd }).to_string())]).await;
    let metrics = Arc::new(Metrics::new().unwrap());
    let mut server = script.server(&metrics);
    server.ask().await;
    assert_eq!(server.keys().now().unwrap().len(), 1);
    assert!(verify(&server.keys(), &token(&whole)).is_ok());
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let script = Script::start(vec![answer("302 Found", "location: http://127.0.0.1:1/\r\n", "")]).await;
    let metrics = Arc::new(Metrics::new().unwrap());
    let fetched = script.server(&metrics).fetch().await;
    assert!(matches!(fetched, Err(FetchError::Status(StatusCode::FOUND))));
}

#[test]
fn the_age_of_an_answer_is_read_from_its_header() {
    let of = |value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(value));
        max_age(&headers)
    };
    assert_eq!(of("public, Max-Age=60"), Some(60));
    assert_eq!(of("max-age=\"7\""), Some(7));
    assert_eq!(of("no-store, max-age=60"), Some(0));
    assert_eq!(of("public"), None);
    assert_eq!(of("max-age=soon"), None);
    assert_eq!(max_age(&HeaderMap::new()), None);
}
