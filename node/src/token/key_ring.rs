//! The keys of the configured files and of the configured server, which may change while the node runs.
//!
//! To rotate a key, add the new one to the file, sign with it, and take the old one out when its last token is over.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use super::core::{Grants, KeySet, TokenError};
use super::jwks::{KeyServer, RemoteKeys};
use super::key_files::{KeyFileError, KeyFiles};
use crate::config::Auth;
use crate::file_watch::FileWatch;
use aforo_cluster::metric::Metrics;
use arc_swap::ArcSwap;

/// The keys of now.
#[derive(Debug)]
pub struct KeyRing {
    current: Arc<ArcSwap<KeySet>>,
    server: Option<KeyServer>,
    remote: Option<RemoteKeys>,
    /// Ends with the ring.
    _watch: Option<FileWatch>,
}

impl KeyRing {
    /// The keys that are configured: of files, of a server, or both. `None` without any. Those of a server come as long as
    /// its [`KeyServer`] runs.
    ///
    /// # Errors
    ///
    /// See [`KeyFileError`]. A server that does not answer is none: it is asked again.
    pub fn configured(auth: &Auth, metrics: &Arc<Metrics>) -> Result<Option<Self>, KeyFileError> {
        if !auth.has_keys() {
            return Ok(None);
        }
        let mut ring = Self::open(&auth.key_files, auth.audience.as_deref(), Arc::clone(metrics))?;
        if let Some(url) = &auth.jwks_url {
            let server = KeyServer::new(url, auth, Arc::clone(metrics)).map_err(KeyFileError::Client)?;
            ring.remote = Some(server.keys());
            ring.server = Some(server);
        }
        Ok(Some(ring))
    }

    /// Reads the files, and again whenever one of them changes.
    ///
    /// # Errors
    ///
    /// See [`KeyFileError`].
    pub fn open(
        files: &[PathBuf],
        audience: Option<&str>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, KeyFileError> {
        let read = Arc::new(Mutex::new(KeyFiles::open(files)?));
        let current: Arc<ArcSwap<KeySet>> = Arc::default();
        let again = {
            let (current, audience) = (Arc::clone(&current), audience.map(str::to_owned));
            move || {
                let mut files = read.lock().unwrap_or_else(PoisonError::into_inner);
                let good = files.reload();
                current.store(Arc::new(KeySet::new(files.keys(), audience.as_deref())));
                good
            }
        };
        let changed = {
            let again = again.clone();
            move || {
                let result = if again() { "ok" } else { "failed" };
                metrics.config_reloads_total.with_label_values(&[result]).inc();
            }
        };
        let watch = || FileWatch::start(files, changed).map_err(KeyFileError::Watch);
        let watch = (!files.is_empty()).then(watch).transpose()?;
        // Once more, for a change between the first reading and the watch.
        again();
        Ok(Self { current, server: None, remote: None, _watch: watch })
    }

    /// Who asks the server of keys, if there is one. To be run once; another time only if that run has died.
    pub fn server(&self) -> Option<&KeyServer> {
        self.server.as_ref()
    }

    /// Whether good tokens are refused for now, as nobody has told the only keys there are.
    pub fn awaits_keys(&self) -> AwaitsKeys {
        AwaitsKeys(self.remote.clone().map(|remote| (Arc::clone(&self.current), remote)))
    }

    /// What `token` lets its bearer do now.
    ///
    /// # Errors
    ///
    /// See [`TokenError`].
    pub fn verify(&self, token: &str) -> Result<Grants, TokenError> {
        let now = seconds_now();
        self.ask(|keys| keys.verify(token, now))
    }

    /// What `token` lets its bearer do with a session that it began.
    ///
    /// # Errors
    ///
    /// See [`KeySet::verify_begun`].
    pub fn verify_begun(&self, token: &str) -> Result<Grants, TokenError> {
        self.ask(|keys| keys.verify_begun(token))
    }

    /// What the keys of the files say, or else those of the server, which is asked again if nobody has the key.
    fn ask(&self, verify: impl Fn(&KeySet) -> Result<Grants, TokenError>) -> Result<Grants, TokenError> {
        let here = verify(&self.current.load());
        let (Err(error), Some(remote)) = (&here, &self.remote) else { return here };
        // Who signed it is the one who knows what is wrong with it.
        if !error.may_be_of_another_key() {
            return here;
        }
        let there = remote.now().as_deref().map(verify).unwrap_or(Err(TokenError::KeysAwaited));
        // A key that took over the name of another fails by its signature.
        if matches!(there, Err(TokenError::UnknownKey | TokenError::Signature)) {
            remote.wanted.notify_one();
        }
        if there == Err(TokenError::UnknownKey) { here } else { there }
    }
}

/// Tells whether a node's only keys are those of a server that has not told them yet. The files may get or lose theirs
/// while it runs.
#[derive(Debug, Clone, Default)]
pub struct AwaitsKeys(Option<(Arc<ArcSwap<KeySet>>, RemoteKeys)>);

impl AwaitsKeys {
    /// Whether it is so now.
    pub fn now(&self) -> bool {
        self.0.as_ref().is_some_and(|(files, remote)| files.load().len() == 0 && remote.now().is_none())
    }
}

/// Seconds since 1970.
pub(super) fn seconds_now() -> u64 {
    // A clock before 1970 is broken: every token counts as over then.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs())
}
