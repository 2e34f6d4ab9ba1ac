//! What is configured of TURN servers.

use garde::Validate;
use serde::{Deserialize, Serialize};

use super::Secret;

/// TURN servers that clients are told of in `Link` headers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Turn {
    /// `turn:`, `turns:` and `stun:` addresses.
    #[garde(inner(pattern(r"^(stun|stuns|turn|turns):[^ <>]+$")))]
    pub urls: Vec<String>,
    /// The secret shared with the TURN servers; credentials are derived from it.
    #[garde(skip)]
    pub secret: Option<Secret>,
    /// How long derived credentials are good for.
    #[garde(range(min = 60))]
    pub ttl_seconds: u32,
}

impl Default for Turn {
    fn default() -> Self {
        // A day: longer than any session that is worth relaying, as credentials cannot be renewed within one.
        Self { urls: Vec::new(), secret: None, ttl_seconds: 86_400 }
    }
}
