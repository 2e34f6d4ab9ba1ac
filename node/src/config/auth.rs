//! What is configured of tokens.

use std::path::PathBuf;

use garde::Validate;
use serde::{Deserialize, Serialize};

use super::Secret;

/// Who may publish and who may play, by bearer tokens (RFC 6750).
///
/// With `key_files`, `jwks_url` or `required`, everything asks for a token: one that such a key signed, or one of the lists.
/// With lists alone, each guards one side and leaves the other alone; an empty one leaves its side open to everybody. A
/// publisher's token lets nobody watch unless it is in both lists. Names of rooms are private as soon as not everybody may
/// play: `/v1/rooms` then takes any token and shows the rooms that it is good for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Validate)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Tokens that WHIP takes.
    #[garde(skip)]
    pub publish_tokens: Vec<Secret>,
    /// Tokens that WHEP takes.
    #[garde(skip)]
    pub play_tokens: Vec<Secret>,
    /// Files with keys of access tokens (JWT), as JWK or JWK set; `aforo token keygen` makes some. Changes count at once.
    #[garde(skip)]
    pub key_files: Vec<PathBuf>,
    /// Where a server publishes its public keys (EdDSA) of access tokens, as JWK set, such as
    /// `https://id.example/.well-known/jwks.json`. Fetched at the start and again and again; keys that were good stay in use
    /// while the server is down. Use `https://` unless the server is in the same cluster: whoever is on the way of plain `http://`
    /// can let in whom they like.
    #[garde(pattern(r"^https?://[^ /@]+(/[^ ]*)?$"))]
    pub jwks_url: Option<String>,
    /// How long fetched keys are used before they are asked for again, at most; the answer's `Cache-Control` may say less.
    #[garde(range(min = 10, max = 86_400))]
    pub jwks_refresh_seconds: u32,
    /// What tokens must name as their audience (`aud`); without it, tokens that name one are refused.
    #[garde(skip)]
    pub audience: Option<String>,
    /// Whether nobody comes in without a token, on either side. `aforo node` requires it unless this says `false`, `aforo dev`
    /// does not; where it is so, something must say who gets in.
    #[garde(skip)]
    pub required: bool,
}

impl Auth {
    /// Whether publishers need a token.
    pub fn guards_publishing(&self) -> bool {
        self.guards_all() || !self.publish_tokens.is_empty()
    }

    /// Whether players need a token.
    pub fn guards_playing(&self) -> bool {
        self.guards_all() || !self.play_tokens.is_empty()
    }

    fn guards_all(&self) -> bool {
        self.required || self.has_keys()
    }

    /// Whether anything says by which keys tokens are signed.
    pub fn has_keys(&self) -> bool {
        !self.key_files.is_empty() || self.jwks_url.is_some()
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            publish_tokens: Vec::new(),
            play_tokens: Vec::new(),
            key_files: Vec::new(),
            jwks_url: None,
            // A key that was taken back is out of use everywhere after this time.
            jwks_refresh_seconds: 300,
            audience: None,
            required: false,
        }
    }
}
