//! Whether a token is good, and what for: pure, at a time that the caller gives.
//!
//! The key decides about the algorithm, never the token: a token is only tried with keys of the algorithm that it
//! names, and a key knows exactly one. So neither `none` nor a public key used as a secret gets anywhere (RFC 8725 §3.1).

use std::str::FromStr;

use aforo_cluster::control::Role;
use aforo_cluster::id::{RoomName, StreamName};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode, decode_header};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::key::{KeyError, VerifyingKey, verifying_keys};

/// Longest token that is looked at, in bytes: ten times what ours have, and far less than a request's headers may.
pub const TOKEN_MAX_BYTES: usize = 4_096;

/// How far the clocks of who signs and who checks may be apart, in seconds. Machines that keep time are within one;
/// more would only lengthen the life of a token that should be over.
pub const LEEWAY_SECONDS: u64 = 10;

/// Keys that a token is tried with, where its `kid` or the want of one leaves a choice: each try costs some 40 µs, which
/// strangers must not make much of. Whoever has more keys than this gives them names.
const TRIES_MAX: usize = 16;

/// Why a token is not good. Clients may read it: none of it says anything about keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// More than [`TOKEN_MAX_BYTES`].
    #[error("it has more than {TOKEN_MAX_BYTES} bytes")]
    TooLong,
    /// It is no signed JSON Web Token, or it names an algorithm or a critical extension that nobody here knows.
    #[error("it is not a JSON Web Token signed with HS256 or EdDSA")]
    Malformed,
    /// Its `kid` is none of ours.
    #[error("no key of this server has the name (kid) that it gives")]
    UnknownKey,
    /// The key that it names is for another algorithm.
    #[error("its key is for another algorithm than it names")]
    Algorithm,
    /// Nobody signed it who may.
    #[error("its signature is wrong")]
    Signature,
    /// `exp` or `room` is missing, or a claim has the wrong type.
    #[error(
        "its claims are wrong: exp and room are needed; stream, publish, subscribe, admin, priority and nbf are known"
    )]
    Claims,
    /// It is for somebody else.
    #[error("its audience (aud) is not this server")]
    Audience,
    /// `exp` is past.
    #[error("it has expired, get a new one")]
    Expired,
    /// `nbf` is to come.
    #[error("it is not valid yet")]
    NotYetValid,
    /// The keys that it may be signed with have not been fetched once: nobody can say whether it is good.
    #[error("this node waits for the keys that tokens are checked with")]
    KeysAwaited,
}

impl TokenError {
    /// The label `reason` of refusals.
    pub fn reason(self) -> &'static str {
        match self {
            Self::TooLong | Self::Malformed => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::Algorithm => "algorithm",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::KeysAwaited => "keys_awaited",
        }
    }

    /// Whether a key that was not asked may find the token good.
    pub(super) fn may_be_of_another_key(self) -> bool {
        matches!(self, Self::UnknownKey | Self::Algorithm | Self::Signature)
    }
}

/// One name, or `*` for every one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names<T> {
    /// Every name.
    Every,
    /// This one.
    One(T),
}

impl<T: PartialEq> Names<T> {
    /// Whether `name` is meant.
    pub fn cover(&self, name: &T) -> bool {
        match self {
            Self::Every => true,
            Self::One(one) => one == name,
        }
    }
}

/// A token that names no stream is good for all of its room.
impl<T> Default for Names<T> {
    fn default() -> Self {
        Self::Every
    }
}

impl<T: FromStr> FromStr for Names<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text == "*" { Ok(Self::Every) } else { text.parse().map(Self::One) }
    }
}

impl<'de, T: FromStr<Err: std::fmt::Display>> Deserialize<'de> for Names<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl<T: Serialize> Serialize for Names<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Every => serializer.serialize_str("*"),
            Self::One(name) => name.serialize(serializer),
        }
    }
}

/// What a token lets its bearer do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// In which room.
    pub room: Names<RoomName>,
    /// With which of its streams.
    #[serde(default)]
    pub stream: Names<StreamName>,
    /// Publish them.
    #[serde(default)]
    pub publish: bool,
    /// Watch them.
    #[serde(default)]
    pub subscribe: bool,
    /// Look at the room and, as far as the API has it, rule it. It neither publishes nor watches.
    #[serde(default)]
    pub admin: bool,
    /// Who publishes with a higher one takes a live stream over from who has a lower one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: u32,
    /// Whom it was made for, in the words of who made it (RFC 7519 §4.1.2): two tokens of one subject are the same person.
    #[serde(rename = "sub", default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Who made it (RFC 7519 §4.1.1): subjects of two issuers are two persons, whatever they are called.
    #[serde(rename = "iss", default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
}

/// What nobody set does not stand in a token.
fn is_zero(priority: &u32) -> bool {
    *priority == 0
}

impl Grants {
    /// Whether the bearer may do what `role` does with this stream.
    pub fn admit(&self, role: Role, room: &RoomName, stream: &StreamName) -> bool {
        let granted = match role {
            Role::Publisher => self.publish,
            Role::Viewer => self.subscribe,
        };
        granted && self.room.cover(room) && self.stream.cover(stream)
    }

    /// Whether the bearer may do anything at all with what it names. Then it may know of it, too.
    pub fn lets_anything(&self) -> bool {
        self.publish || self.subscribe || self.admin
    }
}

/// All claims that mean something here. Unknown ones are ignored (RFC 7519 §4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    /// Seconds since 1970 at which the token ends.
    #[serde(deserialize_with = "numeric_date")]
    pub exp: u64,
    /// Seconds since 1970 before which it is not good.
    #[serde(default, deserialize_with = "optional_numeric_date", skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    #[serde(flatten)]
    pub grants: Grants,
}

/// A `NumericDate` may have a fraction (RFC 7519 §2).
fn numeric_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    // As far as a double counts seconds one by one.
    let exact = 0.0..9_007_199_254_740_992.0;
    if exact.contains(&seconds) { Ok(seconds as u64) } else { Err(D::Error::custom("no date")) }
}

fn optional_numeric_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    numeric_date(deserializer).map(Some)
}

/// The keys that tokens are checked with.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<(VerifyingKey, Validation)>,
}

impl KeySet {
    /// Keys for tokens that name `audience`; without one, a token that names any is for somebody else.
    pub(super) fn new(keys: Vec<VerifyingKey>, audience: Option<&str>) -> Self {
        let validation = |key: &VerifyingKey| {
            let mut validation = Validation::new(key.algorithm);
            // Time is compared with the caller's clock, below.
            (validation.validate_exp, validation.validate_nbf) = (false, false);
            validation.required_spec_claims.clear();
            if let Some(audience) = audience {
                validation.set_required_spec_claims(&["aud"]);
                validation.set_audience(&[audience]);
            }
            validation
        };
        let pair = |key| {
            let validation = validation(&key);
            (key, validation)
        };
        Self { keys: keys.into_iter().map(pair).collect() }
    }

    /// Reads `text`, a JWK or a set of them (RFC 7517 §5).
    ///
    /// # Errors
    ///
    /// [`KeyError`]: it is neither, or a key of it cannot be used.
    pub fn parse(text: &str, audience: Option<&str>) -> Result<Self, KeyError> {
        Ok(Self::new(verifying_keys(text)?, audience))
    }

    /// How many keys there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// What `token` lets its bearer do at `now`, in seconds since 1970.
    ///
    /// A token with a `kid` is checked with the keys of that name, one without with each key of its algorithm; the first 16 of
    /// them at most.
    ///
    /// # Errors
    ///
    /// See [`TokenError`].
    pub fn verify(&self, token: &str, now: u64) -> Result<Grants, TokenError> {
        in_time(self.claims(token)?, now)
    }

    /// What `token` lets its bearer do, or did once: for sessions that it began, which may outlive it.
    ///
    /// # Errors
    ///
    /// See [`TokenError`]; never that of time.
    pub fn verify_begun(&self, token: &str) -> Result<Grants, TokenError> {
        self.claims(token).map(|claims| claims.grants)
    }

    fn claims(&self, token: &str) -> Result<Claims, TokenError> {
        if token.len() > TOKEN_MAX_BYTES {
            return Err(TokenError::TooLong);
        }
        let header = decode_header(token).map_err(|_| TokenError::Malformed)?;
        // Whoever signs such a token counts on it being refused by those who do not know the extension (RFC 7515 §4.1.11).
        if header.crit.is_some() {
            return Err(TokenError::Malformed);
        }
        let (mut refusal, mut tries) = (TokenError::UnknownKey, 0);
        let named = |key: &VerifyingKey| header.kid.is_none() || key.kid == header.kid;
        for (key, validation) in self.keys.iter().filter(|(key, _)| named(key)) {
            if key.algorithm != header.alg {
                if refusal == TokenError::UnknownKey {
                    refusal = TokenError::Algorithm;
                }
                continue;
            }
            match decode::<Claims>(token, &key.decoding, validation) {
                Ok(token) => return Ok(token.claims),
                Err(error) => refusal = refusal_of(error.kind()),
            }
            tries += 1;
            if refusal != TokenError::Signature || tries == TRIES_MAX {
                break;
            }
        }
        Err(refusal)
    }
}

/// The signature is checked before anything of the claims is read.
fn refusal_of(error: &ErrorKind) -> TokenError {
    match error {
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::InvalidAlgorithm => TokenError::Algorithm,
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::MissingRequiredClaim(claim) if claim == "aud" => TokenError::Audience,
        ErrorKind::Json(_) | ErrorKind::InvalidClaimFormat(_) => TokenError::Claims,
        _ => TokenError::Malformed,
    }
}

fn in_time(claims: Claims, now: u64) -> Result<Grants, TokenError> {
    if now >= claims.exp.saturating_add(LEEWAY_SECONDS) {
        return Err(TokenError::Expired);
    }
    if claims.nbf.is_some_and(|start| now.saturating_add(LEEWAY_SECONDS) < start) {
        return Err(TokenError::NotYetValid);
    }
    Ok(claims.grants)
}
