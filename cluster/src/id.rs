//! Names that people choose (rooms, streams) and ids that the cluster hands out (nodes, sessions, tracks).
//!
//! A name is checked once, when it enters the process; from then on its type says that it is good.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use rand::RngExt;
use serde::{Deserialize, Serialize};

/// Longest room or stream name, in bytes. Names are ASCII, so this is also its count of characters.
pub const NAME_MAX_BYTES: usize = 64;

/// The stream that a URL without a stream name means.
pub const DEFAULT_STREAM: &str = "main";

/// Why a text is not a room or stream name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text has no characters.
    #[error("the name is empty, use 1 to 64 of A-Z a-z 0-9 _ - .")]
    Empty,
    /// The text is longer than [`NAME_MAX_BYTES`].
    #[error("the name has {0} bytes, use 1 to 64 of A-Z a-z 0-9 _ - .")]
    TooLong(usize),
    /// The text starts with a dot, which is kept for names of our own.
    #[error("the name starts with a dot, start with one of A-Z a-z 0-9 _ -")]
    LeadingDot,
    /// The text has a character outside the allowed set.
    #[error("the name has {0:?} in it, use only A-Z a-z 0-9 _ - .")]
    Character(char),
}

fn check_name(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > NAME_MAX_BYTES {
        return Err(NameError::TooLong(text.len()));
    }
    if text.starts_with('.') {
        return Err(NameError::LeadingDot);
    }
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    match text.chars().find(|c| !allowed(c)) {
        Some(c) => Err(NameError::Character(c)),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                check_name(text)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.as_str().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name! {
    /// A named place that holds streams: 1 to 64 of `A–Z a–z 0–9 _ - .`, not starting with a dot.
    RoomName
}

name! {
    /// One node of the cluster: its configured name, or one drawn at start. Same rules as [`RoomName`].
    NodeId
}

name! {
    /// One publication into a room, `main` unless named. Same rules as [`RoomName`].
    StreamName
}

impl Default for StreamName {
    fn default() -> Self {
        Self(DEFAULT_STREAM.into())
    }
}

/// One WHIP or WHEP session: 192 random bits in URL-safe base64.
///
/// Knowing it is the right to change and end the session, so it never appears in a log above DEBUG
/// (RFC 9725 §4.2 asks for session URLs that cannot be guessed).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionId([u8; SessionId::LENGTH]);

impl SessionId {
    /// Characters of the text form, 6 bits each.
    pub const LENGTH: usize = 32;

    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    /// Draws a new id from the operating system's seeded generator of this thread.
    pub fn random() -> Self {
        let mut rng = rand::rng();
        Self(std::array::from_fn(|_| {
            let index = usize::from(rng.random::<u8>() & 63);
            Self::ALPHABET.get(index).copied().unwrap_or(b'A')
        }))
    }

    /// The text form, as it stands in a session URL.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for SessionId {
    type Err = InvalidSessionId;

    fn from_str(text: &str) -> Result<Self, InvalidSessionId> {
        let bytes: [u8; Self::LENGTH] = text.as_bytes().try_into().map_err(|_| InvalidSessionId)?;
        let known = bytes.iter().all(|byte| Self::ALPHABET.contains(byte));
        known.then_some(Self(bytes)).ok_or(InvalidSessionId)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SessionId {
    /// Shows the first characters only: enough to tell sessions apart, too little to take one over.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({}…)", self.as_str().get(..6).unwrap_or_default())
    }
}

/// The text is not a session id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a session id")]
pub struct InvalidSessionId;

impl NodeId {
    /// Draws a name for a node that was not given one.
    pub fn random() -> Self {
        let number: u32 = rand::rng().random();
        Self(format!("node-{number:08x}").into())
    }
}

/// One track of one stream, unique within a node for as long as the process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_contract() {
        for good in ["a", "main", "A-b_c.9", "-", "x.", &"n".repeat(64)] {
            assert!(good.parse::<RoomName>().is_ok(), "{good} is a name");
        }
        assert_eq!("".parse::<RoomName>(), Err(NameError::Empty));
        assert_eq!(".x".parse::<RoomName>(), Err(NameError::LeadingDot));
        assert_eq!("n".repeat(65).parse::<RoomName>(), Err(NameError::TooLong(65)));
        assert_eq!("a/b".parse::<StreamName>(), Err(NameError::Character('/')));
        assert_eq!("é".parse::<StreamName>(), Err(NameError::Character('é')));
    }

    #[test]
    fn session_ids_are_read_back_and_differ() {
        let id = SessionId::random();
        assert_eq!(id.as_str().parse(), Ok(id));
        assert_ne!(id, SessionId::random());
        assert_eq!("short".parse::<SessionId>(), Err(InvalidSessionId));
        assert!(!format!("{id:?}").contains(id.as_str()));
    }
}
