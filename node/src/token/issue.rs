//! Signs tokens and makes keys.

use std::time::Duration;

use aws_lc_rs::rand::fill;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Header, encode};
use serde_json::{Value, json};

use super::core::{Claims, Grants};
use super::key::{ED25519_BYTES, KeyError, SECRET_MIN_BYTES, SigningKey};

/// Random bytes in the name of a new key: enough that the keys of one file never share it.
const KID_BYTES: usize = 6;

/// Signs a token for `grants` that ends `lifetime` after `now`, in seconds since 1970.
///
/// # Errors
///
/// The key cannot sign.
pub(super) fn sign(
    key: &SigningKey,
    grants: Grants,
    audience: Option<&str>,
    lifetime: Duration,
    now: u64,
) -> Result<String, jsonwebtoken::errors::Error> {
    let claims = Claims { exp: now.saturating_add(lifetime.as_secs()), nbf: None, grants };
    let mut header = Header::new(key.algorithm);
    header.kid.clone_from(&key.kid);
    let mut claims = serde_json::to_value(claims).unwrap_or_default();
    if let (Some(audience), Some(members)) = (audience, claims.as_object_mut()) {
        members.insert("aud".to_owned(), audience.into());
    }
    encode(&header, &claims, &key.encoding)
}

/// A new key for HS256: one secret that signs and checks.
pub(super) fn new_secret(kid: Option<String>) -> Result<Value, KeyError> {
    let kid = name(kid)?;
    Ok(json!({ "kty": "oct", "alg": "HS256", "use": "sig", "kid": kid, "k": random(SECRET_MIN_BYTES)? }))
}

/// A new key for EdDSA: the whole of it, and its public half, which is all that a node needs.
pub(super) fn new_pair(kid: Option<String>) -> Result<(Value, Value), KeyError> {
    let kid = name(kid)?;
    let seed = random(ED25519_BYTES)?;
    let bytes = URL_SAFE_NO_PAD.decode(&seed).map_err(|_| KeyError::Member("d"))?;
    let pair = Ed25519KeyPair::from_seed_unchecked(&bytes).map_err(|_| KeyError::Member("d"))?;
    let public = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
    let public =
        json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": public });
    let mut whole = public.clone();
    if let Some(members) = whole.as_object_mut() {
        members.insert("d".to_owned(), seed.into());
    }
    Ok((whole, public))
}

/// A set of the keys of this text, a JWK or a set of them, and of `key`.
pub(super) fn with_key(text: &str, key: Value) -> Result<Value, KeyError> {
    // What a node would not take must not grow.
    super::key::verifying_keys(text)?;
    let mut keys = match serde_json::from_str(text) {
        Ok(Value::Object(mut set)) => match set.remove("keys") {
            Some(Value::Array(keys)) => keys,
            _ => vec![Value::Object(set)],
        },
        _ => Vec::new(),
    };
    keys.push(key);
    Ok(json!({ "keys": keys }))
}

fn name(kid: Option<String>) -> Result<String, KeyError> {
    kid.map_or_else(|| random(KID_BYTES), Ok)
}

/// Random bytes as base64url.
fn random(length: usize) -> Result<String, KeyError> {
    let mut bytes = vec![0; length];
    fill(&mut bytes).map_err(|_| KeyError::Randomness)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
