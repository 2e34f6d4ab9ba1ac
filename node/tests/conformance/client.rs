//! A plain HTTP client that follows no redirect and hides nothing.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};
use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Body, Method};

/// Content type of offers and answers.
pub const SDP: &str = "application/sdp";
/// Content type of fragments.
pub const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// Requests to one server.
pub struct Client {
    http: reqwest::Client,
    base: String,
    rooms: AtomicU32,
    /// How many answers there were, and which of them send a client elsewhere in a way that may change its method.
    answers: AtomicU32,
    redirects: Mutex<Vec<String>>,
}

/// All of a response.
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Client {
    pub fn new(base: &str) -> Result<Self> {
        let http = reqwest::Client::builder().redirect(Policy::none()).no_proxy().build()?;
        Ok(Self {
            http,
            base: base.to_owned(),
            rooms: AtomicU32::new(0),
            answers: AtomicU32::new(0),
            redirects: Mutex::default(),
        })
    }

    /// How many answers there were, and those of them that are redirects which WHIP forbids.
    pub fn redirects(&self) -> (u32, Vec<String>) {
        (self.answers.load(Ordering::Relaxed), self.redirects.lock().expect("the redirects").clone())
    }

    /// Scheme and authority of the server.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The name of a room that nobody has used yet.
    pub fn new_room(&self) -> String {
        format!("room-{}", self.rooms.fetch_add(1, Ordering::Relaxed))
    }

    /// Sends one request to a path of the server or to an absolute address.
    pub async fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Result<Reply> {
        let url = if target.starts_with('/') { format!("{}{target}", self.base) } else { target.to_owned() };
        let mut request = self.http.request(Method::from_bytes(method.as_bytes())?, &url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.with_context(|| format!("{method} {url}"))?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        self.answers.fetch_add(1, Ordering::Relaxed);
        if matches!(status, 301 | 302 | 303 | 308) {
            self.redirects.lock().expect("the redirects").push(format!("{method} {url}: {status}"));
        }
        let body = String::from_utf8_lossy(&response.bytes().await?).into_owned();
        Ok(Reply { status, headers, body })
    }

    /// `GET` and the like: without a body.
    pub async fn ask(&self, method: &str, target: &str) -> Result<Reply> {
        self.send(method, target, &[], "").await
    }

    /// Posts an offer.
    pub async fn post(&self, path: &str, offer: &str) -> Result<Reply> {
        self.send("POST", path, &[("content-type", SDP)], offer.to_owned()).await
    }

    /// Posts an offer for a new room, which must be answered.
    pub async fn publish(&self, offer: &str) -> Result<Reply> {
        let reply = self.post(&format!("/whip/{}", self.new_room()), offer).await?;
        anyhow::ensure!(reply.status == 201, "a good offer got {reply}");
        Ok(reply)
    }

    /// Patches a session with a fragment.
    pub async fn patch(&self, session: &str, if_match: Option<&str>, fragment: &str) -> Result<Reply> {
        let mut headers = vec![("content-type", FRAGMENT)];
        headers.extend(if_match.map(|tag| ("if-match", tag)));
        self.send("PATCH", session, &headers, fragment.to_owned()).await
    }
}

impl Reply {
    /// A header's text; empty where it is missing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// Whether a header's comma-separated list has `item`, whatever its case.
    pub fn lists(&self, name: &str, item: &str) -> bool {
        let values = self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let mut items = values.flat_map(|value| value.split(','));
        items.any(|known| known.trim().eq_ignore_ascii_case(item))
    }

    /// The session's address.
    pub fn session(&self) -> String {
        self.header("location").to_owned()
    }

    /// The session's entity tag.
    pub fn tag(&self) -> String {
        self.header("etag").to_owned()
    }

    /// Whether the body has this whole line.
    pub fn has_line(&self, line: &str) -> bool {
        self.body.lines().any(|known| known == line)
    }

    /// How many lines of the body start so.
    pub fn count(&self, start: &str) -> usize {
        self.body.lines().filter(|line| line.starts_with(start)).count()
    }

    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?} {:?}", self.status, self.headers, self.body.chars().take(300).collect::<String>())
    }
}
