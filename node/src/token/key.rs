//! Keys as JSON: one JWK or a set of them (RFC 7517), of the types `oct` (HS256) and `OKP` with Ed25519 (EdDSA, RFC 8037).
//!
//! JSON and nothing else, because it says what a key is for: the text of a public key can then never be taken for a
//! secret.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use serde::Deserialize;
use serde_json::Value;

/// Shortest secret of HS256 in bytes: the size of its hash (RFC 7518 §3.2).
pub(super) const SECRET_MIN_BYTES: usize = 32;

/// Bytes of both halves of an Ed25519 key.
pub(super) const ED25519_BYTES: usize = 32;

/// What is wrong with a text that should be keys. Nothing of the text is in it: it may be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is no JSON.
    #[error("it is not JSON (line {line}, column {column}); make a key with `aforo token keygen`")]
    NotJson {
        /// Where, from 1.
        line: usize,
        /// Where, from 1.
        column: usize,
    },
    /// It is JSON, but a member that must be text is not.
    #[error("it is not a JWK or a JWK set; make a key with `aforo token keygen`")]
    NotJwk,
    /// No key in it is of a type that is used here.
    #[error("it has no key for tokens: `oct` for HS256 and `OKP` with Ed25519 for EdDSA are")]
    NoKey,
    /// A member is missing or no base64url.
    #[error("its member {0:?} is missing or not base64url of the right length")]
    Member(&'static str),
    /// A secret that can be guessed.
    #[error("its secret has {0} bytes, use at least {SECRET_MIN_BYTES}, as `aforo token keygen` does")]
    ShortSecret(usize),
    /// `x` is not the public half of `d`.
    #[error("its public half does not belong to its private one")]
    Halves,
    /// Signing needs the private half.
    #[error("it has only the public half of the key; sign with the file that `aforo token keygen` wrote")]
    NoPrivateHalf,
    /// Signing needs one key.
    #[error("it has {0} keys, say which with --kid")]
    Several(usize),
    /// The one asked for is not there.
    #[error("it has no key with the name (kid) {0:?}")]
    UnknownKid(String),
    /// A new key needs random bytes.
    #[error("the system gives no random bytes")]
    Randomness,
}

/// A key that checks tokens.
#[derive(Debug, Clone)]
pub(super) struct VerifyingKey {
    /// Its name, if it has one.
    pub kid: Option<String>,
    /// The one algorithm that it is for.
    pub algorithm: Algorithm,
    pub decoding: DecodingKey,
}

/// A key that signs tokens.
#[derive(Debug)]
pub(super) struct SigningKey {
    /// Its name, if it has one.
    pub kid: Option<String>,
    /// The one algorithm that it is for.
    pub algorithm: Algorithm,
    pub encoding: EncodingKey,
}

/// A key as it stands in a file. It cannot be printed, as it may be secret.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    k: Option<String>,
    x: Option<String>,
    d: Option<String>,
}

/// What a key is made of.
enum Material {
    Secret(Vec<u8>),
    Ed25519 { public: Vec<u8>, seed: Option<Vec<u8>> },
}

impl Jwk {
    /// The algorithm that it is for, unless it is for something else than tokens. A set may have other keys beside ours
    /// (RFC 7517 §5).
    fn algorithm(&self) -> Option<Algorithm> {
        let (algorithm, name) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("oct", _) => (Algorithm::HS256, "HS256"),
            ("OKP", Some("Ed25519")) => (Algorithm::EdDSA, "EdDSA"),
            _ => return None,
        };
        let signs = self.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
        // RFC 9864 has given EdDSA with this curve a name of its own.
        let named = |alg: &str| alg == name || (name == "EdDSA" && alg == "Ed25519");
        (signs && self.alg.as_deref().is_none_or(named)).then_some(algorithm)
    }

    fn material(&self) -> Result<Material, KeyError> {
        if self.kty == "oct" {
            let secret = bytes("k", self.k.as_deref())?;
            let long = secret.len() >= SECRET_MIN_BYTES;
            return if long {
                Ok(Material::Secret(secret))
            } else {
                Err(KeyError::ShortSecret(secret.len()))
            };
        }
        let half = |name, text: Option<&str>| {
            bytes(name, text).and_then(|half| {
                if half.len() == ED25519_BYTES { Ok(half) } else { Err(KeyError::Member(name)) }
            })
        };
        let public = half("x", self.x.as_deref())?;
        let seed = self.d.as_deref().map(|text| half("d", Some(text))).transpose()?;
        Ok(Material::Ed25519 { public, seed })
    }
}

fn bytes(name: &'static str, text: Option<&str>) -> Result<Vec<u8>, KeyError> {
    URL_SAFE_NO_PAD
        .decode(text.unwrap_or_default())
        .ok()
        .filter(|bytes| !bytes.is_empty())
        .ok_or(KeyError::Member(name))
}

/// What a text is that may have keys.
enum Document {
    Key(Value),
    Set(Vec<Value>),
}

fn document(text: &str) -> Result<Document, KeyError> {
    if text.trim().is_empty() {
        return Err(KeyError::NoKey);
    }
    let value: Value = serde_json::from_str(text)
        .map_err(|error| KeyError::NotJson { line: error.line(), column: error.column() })?;
    match value {
        Value::Object(mut members) => match members.remove("keys") {
            Some(Value::Array(keys)) => Ok(Document::Set(keys)),
            Some(_) => Err(KeyError::NotJwk),
            None => Ok(Document::Key(Value::Object(members))),
        },
        _ => Err(KeyError::NotJwk),
    }
}

/// The key in `value`, if it is one for tokens.
fn read(value: Value) -> Result<Option<(Algorithm, Jwk)>, KeyError> {
    let key: Jwk = serde_json::from_value(value).map_err(|_| KeyError::NotJwk)?;
    Ok(key.algorithm().map(|algorithm| (algorithm, key)))
}

/// The keys for tokens in `text`, at least one.
fn parse(text: &str) -> Result<Vec<(Algorithm, Jwk)>, KeyError> {
    let all = match document(text)? {
        Document::Key(key) => vec![key],
        Document::Set(keys) => keys,
    };
    let keys: Vec<Option<(Algorithm, Jwk)>> = all.into_iter().map(read).collect::<Result<_, _>>()?;
    let keys: Vec<(Algorithm, Jwk)> = keys.into_iter().flatten().collect();
    if keys.is_empty() { Err(KeyError::NoKey) } else { Ok(keys) }
}

fn verifying((algorithm, key): (Algorithm, Jwk)) -> Result<VerifyingKey, KeyError> {
    let decoding = match key.material()? {
        Material::Secret(secret) => DecodingKey::from_secret(&secret),
        Material::Ed25519 { public, .. } => DecodingKey::from_ed_der(&public),
    };
    Ok(VerifyingKey { kid: key.kid, algorithm, decoding })
}

/// The keys in `text` that check tokens.
pub(super) fn verifying_keys(text: &str) -> Result<Vec<VerifyingKey>, KeyError> {
    parse(text)?.into_iter().map(verifying).collect()
}

/// Whether `text` has the private half of a key whose public half is all that checking needs.
pub(super) fn has_private_half(text: &str) -> bool {
    let read = |key: &(Algorithm, Jwk)| key.0 == Algorithm::EdDSA && key.1.d.is_some();
    parse(text).is_ok_and(|keys| keys.iter().any(read))
}

/// The keys in `text`, which another publishes, that check tokens and need not be kept secret, and how many of it cannot be
/// used. A set without any of ours says that nobody is let in by it any more; what in it is no good key is passed over
/// (RFC 7517 §5), as is what is for something else.
pub(super) fn public_keys(text: &str) -> Result<(Vec<VerifyingKey>, usize), KeyError> {
    let members = match document(text)? {
        Document::Set(members) => members,
        Document::Key(_) => {
            let mut keys = verifying_keys(text)?;
            keys.retain(|key| key.algorithm == Algorithm::EdDSA);
            return if keys.is_empty() { Err(KeyError::NoKey) } else { Ok((keys, 0)) };
        }
    };
    let all = members.len();
    let of_ours = |(algorithm, _): &(Algorithm, Jwk)| *algorithm == Algorithm::EdDSA;
    let good = members.into_iter().filter_map(|member| read(member).ok().flatten());
    let keys: Vec<_> = good.filter(of_ours).filter_map(|key| verifying(key).ok()).collect();
    let passed_over = all - keys.len();
    Ok((keys, passed_over))
}

/// The key in `text` that signs: the one named `kid`, or the only one.
pub(super) fn signing_key(text: &str, kid: Option<&str>) -> Result<SigningKey, KeyError> {
    let mut keys = parse(text)?;
    if let Some(kid) = kid {
        keys.retain(|(_, key)| key.kid.as_deref() == Some(kid));
    }
    let count = keys.len();
    let (Some((algorithm, key)), None) = (keys.pop(), keys.pop()) else {
        return Err(kid
            .filter(|_| count == 0)
            .map_or(KeyError::Several(count), |kid| KeyError::UnknownKid(kid.to_owned())));
    };
    let encoding = match key.material()? {
        Material::Secret(secret) => EncodingKey::from_secret(&secret),
        Material::Ed25519 { seed: None, .. } => return Err(KeyError::NoPrivateHalf),
        Material::Ed25519 { public, seed: Some(seed) } => {
            let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| KeyError::Member("d"))?;
            if pair.public_key().as_ref() != public.as_slice() {
                return Err(KeyError::Halves);
            }
            let document = pair.to_pkcs8v1().map_err(|_| KeyError::Halves)?;
            EncodingKey::from_ed_der(document.as_ref())
        }
    };
    Ok(SigningKey { kid: key.kid, algorithm, encoding })
}
