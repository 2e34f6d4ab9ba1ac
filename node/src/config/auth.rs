//! What is configured of tokens.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Secret;

/// Who may publish and who may play, by bearer tokens (RFC 6750).
///
/// With `key_files` or `required`, everything asks for a token: one that a key of the files signed, or one of the lists.
/// With lists alone, each guards one side and leaves the other alone; an empty one leaves its side open to everybody. A
/// publisher's token lets nobody watch unless it is in both lists. Names of rooms are private as soon as not everybody may
/// play: `/v1/rooms` then takes any token and shows the rooms that it is good for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Tokens that WHIP takes.
    pub publish_tokens: Vec<Secret>,
    /// Tokens that WHEP takes.
    pub play_tokens: Vec<Secret>,
    /// Files with keys of access tokens (JWT), as JWK or JWK set; `aforo token keygen` makes some. Changes count at once.
    pub key_files: Vec<PathBuf>,
    /// What tokens must name as their audience (`aud`); without it, tokens that name one are refused.
    pub audience: Option<String>,
    /// Whether nobody comes in without a token, even where nothing says who gets one.
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
        self.required || !self.key_files.is_empty()
    }
}
