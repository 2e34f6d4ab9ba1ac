//! The files of `auth.key_files`, each read by itself: what is wrong with one takes no key of another away, nor keeps one.
//!
//! While the node runs, a file that cannot be understood leaves its own old keys in use, since somebody is writing it or
//! has made a mistake. A file that is gone, is empty or says that it has no key, and is so a second later, takes its keys back:
//! whoever removes a key that has leaked must not need a restart for it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::{error, info, warn};

use super::key::{self, KeyError, VerifyingKey};

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

impl KeyFileError {
    /// Whether the file says by this that nobody is let in by it any more.
    fn takes_back(&self) -> bool {
        match self {
            Self::Read { source, .. } => source.kind() == ErrorKind::NotFound,
            Self::Key { source, .. } => *source == KeyError::NoKey,
            Self::Client(_) | Self::Watch(_) => false,
        }
    }
}

/// How long a file may be gone or empty while it is replaced.
const REPLACED_WITHIN: Duration = Duration::from_secs(1);

/// One file, and the keys that it had when it was good the last time.
struct KeyFile {
    path: PathBuf,
    keys: Vec<VerifyingKey>,
}

/// All files, in their configured order.
pub(super) struct KeyFiles(Vec<KeyFile>);

impl KeyFiles {
    /// Reads the files for the first time.
    ///
    /// # Errors
    ///
    /// A file is missing, not good, or has no keys: at the start each of these is a mistake.
    pub fn open(files: &[PathBuf]) -> Result<Self, KeyFileError> {
        let open = |path: &PathBuf| {
            let keys = read(path)?;
            if std::fs::read_to_string(path).is_ok_and(|text| key::has_private_half(&text)) {
                warn!(path = %path.display(), "the node needs the public half of this key only, keep the private one elsewhere");
            }
            Ok(KeyFile { path: path.clone(), keys })
        };
        files.iter().map(open).collect::<Result<_, _>>().map(Self)
    }

    /// The keys of all files.
    pub fn keys(&self) -> Vec<VerifyingKey> {
        self.0.iter().flat_map(|file| &file.keys).cloned().collect()
    }

    /// Reads the files again, on a thread that may wait. Returns whether all of them are good.
    pub fn reload(&mut self) -> bool {
        let taken_back = |file: &KeyFile| read(&file.path).is_err_and(|error| error.takes_back());
        if self.0.iter().any(taken_back) {
            std::thread::sleep(REPLACED_WITHIN);
        }
        let bad = self.0.iter_mut().filter_map(|file| (!file.reload()).then_some(())).count();
        let good = bad == 0;
        info!(keys = self.keys().len(), good, "keys of access tokens read again");
        good
    }
}

impl KeyFile {
    fn reload(&mut self) -> bool {
        let error = match read(&self.path) {
            Ok(keys) => {
                self.keys = keys;
                return true;
            }
            Err(error) => error,
        };
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        if error.takes_back() {
            error!(%error, cause, taken_back = self.keys.len(), "its keys let nobody in any more");
            self.keys.clear();
        } else {
            warn!(%error, cause, "its keys stay as they were");
        }
        false
    }
}

fn read(path: &Path) -> Result<Vec<VerifyingKey>, KeyFileError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| KeyFileError::Read { path: path.to_owned(), source })?;
    key::verifying_keys(&text).map_err(|source| KeyFileError::Key { path: path.to_owned(), source })
}
