//! Keys that another server publishes (`auth.jwks_url`): fetched at the start, and again and again.
//!
//! `core` decides when it is asked next. Keys that were good stay in use while the server is down or says nonsense: a
//! node that forgot them would lock everybody out for a fault that is not its own. A set that is one is believed, even
//! without keys. A token of a key that nobody knows has the server asked early, so that a new key needs no waiting for. Only
//! public keys are taken: a secret that stands in the open is none.

mod core;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use aforo_cluster::metric::Metrics;
use arc_swap::ArcSwapOption;
use reqwest::header::{CACHE_CONTROL, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use tokio::sync::Notify;
use tracing::{info, warn};

use self::core::Refresh;
use super::core::KeySet;
use super::key::{self, KeyError};
use crate::config::Auth;

/// Bytes of a key set: some two hundred keys, where servers publish two or three.
const BODY_MAX_BYTES: usize = 65_536;

/// How long the server may take to answer: nobody waits for it but the next try.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why there are no new keys.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the server of auth.jwks_url cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    #[error("the server of auth.jwks_url answered {0}, it should answer 200 with a JWK set")]
    Status(StatusCode),
    #[error("the server of auth.jwks_url sent more than {BODY_MAX_BYTES} bytes")]
    TooLong,
    #[error("what the server of auth.jwks_url sent is not text")]
    NotText,
    #[error("the key set of auth.jwks_url is not good")]
    Keys(#[source] KeyError),
}

/// What came of asking.
enum Fetched {
    New { keys: KeySet, passed_over: usize, etag: Option<HeaderValue>, max_age: Option<u64> },
    Unchanged { max_age: Option<u64> },
}

/// The keys of the server, as far as they are known.
#[derive(Debug, Clone)]
pub(super) struct RemoteKeys {
    current: Arc<ArcSwapOption<KeySet>>,
    /// Told when a token names a key that is not among them.
    pub wanted: Arc<Notify>,
}

impl RemoteKeys {
    /// The keys of now. `None` until the server has told them once: then nobody knows which tokens are good.
    pub fn now(&self) -> Option<Arc<KeySet>> {
        self.current.load_full()
    }
}

/// Asks the server, for as long as it runs.
#[derive(Debug, Clone)]
pub struct KeyServer {
    http: Client,
    url: String,
    audience: Option<String>,
    keys: RemoteKeys,
    etag: Option<HeaderValue>,
    refresh: Refresh,
    metrics: Arc<Metrics>,
}

impl KeyServer {
    /// A server that has not been asked yet, at `url`.
    ///
    /// # Errors
    ///
    /// The HTTP client cannot be made: the system has no certificates, say.
    pub fn new(url: &str, auth: &Auth, metrics: Arc<Metrics>) -> Result<Self, reqwest::Error> {
        // A redirect could lead from HTTPS to elsewhere; who moves its keys tells the node.
        let http = Client::builder().redirect(Policy::none()).timeout(TIMEOUT).build()?;
        let keys = RemoteKeys { current: Arc::default(), wanted: Arc::default() };
        let refresh = Refresh::new(Duration::from_secs(auth.jwks_refresh_seconds.into()));
        let (url, audience, etag) = (url.to_owned(), auth.audience.clone(), None);
        Ok(Self { http, url, audience, keys, etag, refresh, metrics })
    }

    /// Where its keys are found.
    pub(super) fn keys(&self) -> RemoteKeys {
        self.keys.clone()
    }

    /// Asks, waits, and asks again.
    pub async fn run(mut self) {
        loop {
            let wait = self.ask().await;
            tokio::time::sleep(core::GAP_MIN.min(wait)).await;
            let rest = wait.saturating_sub(core::GAP_MIN);
            // Earlier if somebody has a token of a key that is new.
            let _ = tokio::time::timeout(rest, self.keys.wanted.notified()).await;
        }
    }

    /// Asks once. Returns how long the answer is good for.
    async fn ask(&mut self) -> Duration {
        let fetched = self.fetch().await;
        let count = |result| self.metrics.key_set_fetches_total.with_label_values(&[result]).inc();
        match fetched {
            Ok(Fetched::New { keys, passed_over, etag, max_age }) => {
                count("ok");
                if keys.len() == 0 {
                    // Whoever takes back the only key, as it has leaked, publishes this.
                    warn!(
                        passed_over,
                        "the key set of auth.jwks_url has no key for tokens, nobody is let in by it"
                    );
                } else {
                    info!(keys = keys.len(), passed_over, "keys of access tokens fetched");
                }
                self.keys.current.store(Some(Arc::new(keys)));
                self.etag = etag;
                self.refresh.succeeded(max_age)
            }
            Ok(Fetched::Unchanged { max_age }) => {
                count("unchanged");
                self.refresh.succeeded(max_age)
            }
            Err(error) => {
                count("failed");
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                let wait = self.refresh.failed();
                let (known, again_seconds) = (self.keys.now().map_or(0, |keys| keys.len()), wait.as_secs());
                warn!(%error, cause, known, again_seconds, "keys of access tokens stay as they were");
                wait
            }
        }
    }

    async fn fetch(&self) -> Result<Fetched, FetchError> {
        let mut request = self.http.get(&self.url);
        if let Some(etag) = &self.etag {
            request = request.header(IF_NONE_MATCH, etag);
        }
        // The address may have a password in it, which errors would show.
        let response = request.send().await.map_err(|error| FetchError::Unreachable(error.without_url()))?;
        let max_age = max_age(response.headers());
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_MODIFIED if self.etag.is_some() => return Ok(Fetched::Unchanged { max_age }),
            status => return Err(FetchError::Status(status)),
        }
        let etag = response.headers().get(ETAG).cloned();
        let text = String::from_utf8(body(response).await?).map_err(|_| FetchError::NotText)?;
        let (keys, passed_over) = key::public_keys(&text).map_err(FetchError::Keys)?;
        Ok(Fetched::New { keys: KeySet::new(keys, self.audience.as_deref()), passed_over, etag, max_age })
    }
}

async fn body(mut response: Response) -> Result<Vec<u8>, FetchError> {
    let mut body = Vec::new();
    let unreachable = |error: reqwest::Error| FetchError::Unreachable(error.without_url());
    while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
        if body.len() + chunk.len() > BODY_MAX_BYTES {
            return Err(FetchError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Seconds that the answer says it is good for (RFC 9111 §5.2.2.1); what must not be kept is good for none.
fn max_age(headers: &HeaderMap) -> Option<u64> {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let directives: Vec<String> =
        values.flat_map(|value| value.split(',')).map(|part| part.trim().to_ascii_lowercase()).collect();
    if directives.iter().any(|directive| matches!(directive.as_str(), "no-store" | "no-cache")) {
        return Some(0);
    }
    directives.iter().find_map(|directive| directive.strip_prefix("max-age=")?.trim_matches('"').parse().ok())
}
