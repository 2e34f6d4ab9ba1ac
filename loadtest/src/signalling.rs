//! HTTP towards the server under test: WHIP (RFC 9725) and WHEP posts and deletes over kept connections.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use reqwest::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url};

/// The header extension that carries the capture time.
pub const ABS_CAPTURE_TIME_URI: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";

/// An answer later than this counts as none.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Connections kept open for the next request; more than one join is under way at most ramps.
const IDLE_CONNECTIONS: usize = 64;

/// Tries for one join; a stream that is not live after as many is not coming.
const MOST_TRIES: u32 = 4;

/// A server that asks for more patience than this gets less.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(2);

/// How much of a refusal's body goes into the message for the person.
const SHOWN_BODY_CHARACTERS: usize = 200;

/// The server did not answer at all; the reason is the error's cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreachable {
    pub(crate) address: String,
}

impl std::fmt::Display for Unreachable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot reach {}: is the server running?", self.address)
    }
}

/// Where a session was made: the resource to DELETE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionUrl(Url);

/// What a successful POST returned.
#[derive(Debug, Clone)]
pub struct Posted {
    /// The SDP answer.
    pub answer: String,
    /// The session.
    pub session: SessionUrl,
}

/// What a server said to a POST.
enum Reply {
    Posted(Posted),
    NotYet(Duration, String),
    Refused(String),
}

impl Reply {
    fn into_posted(self) -> Result<Posted> {
        match self {
            Self::Posted(posted) => Ok(posted),
            Self::NotYet(_, refusal) | Self::Refused(refusal) => bail!(refusal),
        }
    }
}

/// A pool of HTTP connections to one server.
#[derive(Debug, Clone)]
pub struct Signaller {
    client: Client,
}

impl Signaller {
    /// An empty pool.
    ///
    /// # Errors
    ///
    /// The HTTP client cannot be built.
    pub fn new() -> Result<Self> {
        let client = Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .tcp_nodelay(true)
            .no_proxy()
            .build()?;
        Ok(Self { client })
    }

    /// Looks whether anything answers HTTP at `target`, whatever it says.
    ///
    /// # Errors
    ///
    /// [`Unreachable`].
    pub async fn reach(&self, target: &str) -> Result<()> {
        let answer = self.client.head(target).send().await;
        answer.with_context(|| Unreachable { address: target.to_owned() })?;
        Ok(())
    }

    /// Posts an offer to a WHIP or WHEP endpoint.
    ///
    /// # Errors
    ///
    /// Anything but 201 with an answer and a Location.
    pub async fn post(&self, endpoint: &str, offer: &str) -> Result<Posted> {
        self.try_post(endpoint, offer).await.and_then(Reply::into_posted)
    }

    async fn try_post(&self, endpoint: &str, offer: &str) -> Result<Reply> {
        let response = self
            .client
            .post(endpoint)
            .header(CONTENT_TYPE, "application/sdp")
            .body(offer.to_owned())
            .send()
            .await
            .with_context(|| Unreachable { address: endpoint.to_owned() })?;
        let status = response.status();
        let base = response.url().clone();
        let text =
            |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (location, retry_after) = (text(LOCATION), text(RETRY_AFTER));
        let body = response.text().await.unwrap_or_default();
        if status != StatusCode::CREATED {
            let shown: String = body.chars().take(SHOWN_BODY_CHARACTERS).collect();
            let refusal = format!("{endpoint} answered {status}: {shown}");
            let retry_after = retry_after.and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
            return Ok(match retry_after {
                Some(after) => Reply::NotYet(after, refusal),
                None => Reply::Refused(refusal),
            });
        }
        let location = location.with_context(|| format!("{endpoint} answered 201 without a Location"))?;
        let session = base.join(&location).with_context(|| format!("Location {location:?} is no address"))?;
        Ok(Reply::Posted(Posted { answer: body, session: SessionUrl(session) }))
    }

    /// Posts like [`Signaller::post`], but does as a server asks that says "not yet" (409 or 503 with Retry-After): a
    /// stream may take a moment to be live after its publisher sees the connection stand. Returns also when the
    /// successful request was sent.
    ///
    /// # Errors
    ///
    /// As for `post`, of the last try.
    pub async fn post_until_live(&self, endpoint: &str, offer: &str) -> (Instant, Result<Posted>) {
        let mut tries = 1;
        loop {
            let posted_at = Instant::now();
            let result = self.try_post(endpoint, offer).await;
            match result {
                Ok(Reply::NotYet(after, _)) if tries < MOST_TRIES => {
                    tries += 1;
                    tokio::time::sleep(after.min(LONGEST_RETRY_AFTER)).await;
                }
                other => return (posted_at, other.and_then(Reply::into_posted)),
            }
        }
    }

    /// Deletes a session.
    ///
    /// # Errors
    ///
    /// The server cannot be reached or refuses.
    pub async fn delete(&self, session: &SessionUrl) -> Result<()> {
        let status = self.client.delete(session.0.clone()).send().await?.status();
        if !status.is_success() {
            bail!("DELETE was answered {status}");
        }
        Ok(())
    }
}
