//! What is configured of logs.

use garde::Validate;
use serde::{Deserialize, Serialize};

/// Logs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// A level (`error`, `warn`, `info`, `debug`, `trace`) or a `tracing` filter such as `info,aforo_node::room=debug`.
    #[garde(length(min = 1))]
    pub level: String,
    /// How lines look.
    #[garde(skip)]
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object per line.
    Json,
    /// For people.
    Text,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::default() }
    }
}

impl Log {
    /// What is wrong with the level, if anything.
    pub(super) fn contradiction(&self) -> Option<(&'static str, String)> {
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.level) {
            return Some(("log.level", format!("is not a level and not a filter: {error}")));
        }
        let word = self.level.split(',').map(str::trim).find(|word| is_no_level(word))?;
        let levels = "error, warn, info, debug, trace, off";
        Some(("log.level", format!("{word} is not a level ({levels}) and not module=level")))
    }
}

/// Whether a part of a log filter is a bare word other than a level. `EnvFilter` takes that for the name of a module, and
/// then logs nothing of any other.
fn is_no_level(word: &str) -> bool {
    let bare = !word.contains(['=', '[', ']', '{', '}']);
    bare && word.parse::<tracing_subscriber::filter::LevelFilter>().is_err()
}
