//! The keys of the configured files and of the configured server, which may change while the node runs.
//!
//! To rotate a key, add the new one to the file, sign with it, and take the old one out when its last token is over.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aforo_cluster::metric::Metrics;
use arc_swap::ArcSwap;
use tracing::{info, warn};

use super::core::{Grants, KeySet, TokenError};
use super::jwks::{KeyServer, RemoteKeys};
use super::key::{self, KeyError};
use crate::config::Auth;
use crate::file_watch::FileWatch;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// A file cannot be read.
    #[error("the key file {} of auth.key_files cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file has no keys, or bad ones.
    #[error("the key file {} of auth.key_files is not good", path.display())]
    Key {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: KeyError,
    },
    /// The server of keys cannot be asked at all.
    #[error("the keys of auth.jwks_url cannot be fetched")]
    Client(#[source] reqwest::Error),
    /// Changes cannot be watched.
    #[error("the files of auth.key_files cannot be watched for changes")]
    Watch(#[source] notify::Error),
}

/// The keys of now.
#[derive(Debug)]
pub struct KeyRing {
    current: Arc<ArcSwap<KeySet>>,
    remote: Option<RemoteKeys>,
    /// Ends with the ring.
    _watch: Option<FileWatch>,
}

impl KeyRing {
    /// The keys that are configured: of files, of a server, or both. `None` without any.
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
            actix_rt::spawn(server.run());
        }
        Ok(Some(ring))
    }

    /// Reads the files, and again whenever one of them changes. Files that are not good then leave the old keys in use.
    ///
    /// # Errors
    ///
    /// See [`KeyFileError`].
    pub fn open(
        files: &[PathBuf],
        audience: Option<&str>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, KeyFileError> {
        let current = Arc::new(ArcSwap::from_pointee(read(files, audience)?));
        let reload = {
            let (current, files) = (Arc::clone(&current), files.to_vec());
            let audience = audience.map(str::to_owned);
            move || {
                let result = match read(&files, audience.as_deref()) {
                    Ok(keys) => {
                        current.store(Arc::new(keys));
                        info!("keys of access tokens read again");
                        "ok"
                    }
                    Err(error) => {
                        let cause = std::error::Error::source(&error).map(ToString::to_string);
                        warn!(%error, cause, "keys of access tokens stay as they were");
                        "failed"
                    }
                };
                metrics.config_reloads_total.with_label_values(&[result]).inc();
            }
        };
        let watch = || FileWatch::start(files, reload).map_err(KeyFileError::Watch);
        let watch = (!files.is_empty()).then(watch).transpose()?;
        // Once more, for a change between the first reading and the watch.
        current.store(Arc::new(read(files, audience)?));
        Ok(Self { current, remote: None, _watch: watch })
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
        let there = verify(&remote.current.load());
        // Who signed it is the one who knows what is wrong with it.
        let signed_here =
            !matches!(error, TokenError::UnknownKey | TokenError::Algorithm | TokenError::Signature);
        match there {
            Err(TokenError::UnknownKey) => {
                remote.wanted.notify_one();
                here
            }
            Err(_) if signed_here => here,
            there => there,
        }
    }
}

/// Seconds since 1970.
pub(super) fn seconds_now() -> u64 {
    // A clock before 1970 is broken: every token counts as over then.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(u64::MAX, |since| since.as_secs())
}

fn read(files: &[PathBuf], audience: Option<&str>) -> Result<KeySet, KeyFileError> {
    let mut keys = Vec::new();
    for path in files {
        keys.extend(read_file(path)?);
    }
    Ok(KeySet::new(keys, audience))
}

fn read_file(path: &Path) -> Result<Vec<key::VerifyingKey>, KeyFileError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| KeyFileError::Read { path: path.to_owned(), source })?;
    key::verifying_keys(&text).map_err(|source| KeyFileError::Key { path: path.to_owned(), source })
}
