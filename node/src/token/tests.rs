#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::mpsc;
use std::time::Duration;

use aforo_cluster::control::Role;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, Header, encode};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::key::{SigningKey, signing_key, verifying_keys};
use super::key_files::KeyFiles;
use super::*;
use crate::config::Auth;

/// The time of all these tests, in seconds since 1970.
const NOW: u64 = 1_800_000_000;

/// One key of each algorithm.
struct Keys {
    secret: Value,
    whole: Value,
    public: Value,
}

impl Keys {
    fn new() -> Self {
        let (whole, public) = issue::new_pair(Some("ed".to_owned())).unwrap();
        Self { secret: issue::new_secret(Some("hs".to_owned())).unwrap(), whole, public }
    }

    /// What a node has: the secret and the public half.
    fn set(&self) -> KeySet {
        set_of(&json!({ "keys": [self.secret, self.public] }), None)
    }

    fn signer(&self, kid: &str) -> SigningKey {
        signing_key(&json!({ "keys": [self.secret, self.whole] }).to_string(), Some(kid)).unwrap()
    }
}

fn set_of(keys: &Value, audience: Option<&str>) -> KeySet {
    KeySet::parse(&keys.to_string(), audience).unwrap()
}

fn claims() -> Value {
    json!({ "exp": NOW + 60, "room": "demo", "publish": true })
}

/// A token of `claims` with a header of the key's name.
fn signed(key: &SigningKey, claims: &Value) -> String {
    let mut header = Header::new(key.algorithm);
    header.kid.clone_from(&key.kid);
    encode(&header, claims, &key.encoding).unwrap()
}

/// A token with any header, and an HMAC with any key.
fn forged(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()))
}

#[test]
fn tokens_of_both_algorithms_are_good_for_what_they_say() {
    let keys = Keys::new();
    for kid in ["hs", "ed"] {
        let grants = Grants {
            room: "demo".parse().unwrap(),
            stream: Names::Every,
            publish: true,
            subscribe: false,
            admin: false,
            priority: 7,
            subject: Some("somebody".to_owned()),
            issuer: Some("service".to_owned()),
        };
        let hour = Duration::from_secs(3_600);
        let token = issue::sign(&keys.signer(kid), grants.clone(), None, hour, NOW).unwrap();
        assert_eq!(keys.set().verify(&token, NOW), Ok(grants.clone()), "{kid}");
        let (demo, other) = ("demo".parse().unwrap(), "other".parse().unwrap());
        let stream = "main".parse().unwrap();
        assert!(grants.admit(Role::Publisher, &demo, &stream));
        assert!(!grants.admit(Role::Publisher, &other, &stream));
        assert!(!grants.admit(Role::Viewer, &demo, &stream));
        let one = Grants { stream: "side".parse().unwrap(), room: Names::Every, ..grants };
        assert!(!one.admit(Role::Publisher, &demo, &stream), "another stream");
        assert!(one.admit(Role::Publisher, &other, &"side".parse().unwrap()));
    }
}

#[test]
fn admin_neither_publishes_nor_watches_and_no_grant_knows_no_room() {
    let grants = |admin| Grants {
        room: Names::Every,
        stream: Names::Every,
        publish: false,
        subscribe: false,
        admin,
        priority: 0,
        subject: None,
        issuer: None,
    };
    for role in [Role::Publisher, Role::Viewer] {
        assert!(!grants(true).admit(role, &"demo".parse().unwrap(), &"main".parse().unwrap()));
    }
    assert!(grants(true).lets_anything() && !grants(false).lets_anything());
}

#[test]
fn a_token_lives_from_nbf_to_exp_give_or_take_the_leeway() {
    let keys = Keys::new();
    let token =
        signed(&keys.signer("ed"), &json!({ "exp": (NOW + 60) as f64 + 0.5, "nbf": NOW, "room": "*" }));
    let at = |now| keys.set().verify(&token, now).map(|_| ());
    for (now, expected) in [
        (NOW - LEEWAY_SECONDS - 1, Err(TokenError::NotYetValid)),
        (NOW - LEEWAY_SECONDS, Ok(())),
        (NOW + 60 + LEEWAY_SECONDS - 1, Ok(())),
        (NOW + 60 + LEEWAY_SECONDS, Err(TokenError::Expired)),
        (u64::MAX, Err(TokenError::Expired)),
    ] {
        assert_eq!(at(now), expected, "{now}");
    }
}

#[test]
fn claims_must_be_there_and_of_their_type() {
    let keys = Keys::new();
    for wrong in [
        json!({ "room": "demo", "publish": true }),
        json!({ "exp": NOW + 60, "publish": true }),
        json!({ "exp": null, "room": "demo" }),
        json!({ "exp": "9999999999", "room": "demo" }),
        json!({ "exp": -1, "room": "demo" }),
        json!({ "exp": 1e300, "room": "demo" }),
        json!({ "exp": NOW + 60, "nbf": "0", "room": "demo" }),
        json!({ "exp": NOW + 60, "room": "de/mo" }),
        json!({ "exp": NOW + 60, "room": ["demo"] }),
        json!({ "exp": NOW + 60, "room": "" }),
        json!({ "exp": NOW + 60, "room": "demo", "stream": "" }),
        json!({ "exp": NOW + 60, "room": "demo", "publish": "yes" }),
        json!({ "exp": NOW + 60, "room": "demo", "publish": 1 }),
        json!([]),
    ] {
        let token = signed(&keys.signer("hs"), &wrong);
        assert_eq!(keys.set().verify(&token, NOW), Err(TokenError::Claims), "{wrong}");
    }
    let twice = format!("{{\"exp\":{},\"room\":\"a\",\"room\":\"*\"}}", NOW + 60);
    let header = json!({ "alg": "HS256", "kid": "hs" });
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header.to_string()), URL_SAFE_NO_PAD.encode(twice));
    let secret = URL_SAFE_NO_PAD.decode(keys.secret["k"].as_str().unwrap()).unwrap();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), message.as_bytes());
    let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref()));
    assert_eq!(keys.set().verify(&token, NOW), Err(TokenError::Claims), "one meaning only");
}

#[test]
fn the_key_decides_about_the_algorithm() {
    let keys = Keys::new();
    let set = keys.set();
    let public = URL_SAFE_NO_PAD.decode(keys.public["x"].as_str().unwrap()).unwrap();
    for secret in
        [public.clone(), keys.public.to_string().into_bytes(), keys.public["x"].to_string().into_bytes()]
    {
        let confused = forged(&json!({ "alg": "HS256", "kid": "ed" }), &claims(), &secret);
        assert_eq!(set.verify(&confused, NOW), Err(TokenError::Algorithm), "a public key as a secret");
        let unnamed = forged(&json!({ "alg": "HS256" }), &claims(), &secret);
        assert_eq!(set.verify(&unnamed, NOW), Err(TokenError::Signature));
        let alone = set_of(&keys.public, None);
        assert_eq!(alone.verify(&unnamed, NOW), Err(TokenError::Algorithm));
    }
    for alg in ["none", "None", "NONE", "", "HS1", "hs256"] {
        for kid in [json!(null), json!("hs"), json!("ed")] {
            let header = json!({ "alg": alg, "kid": kid });
            let token = forged(&header, &claims(), b"");
            let bare = format!("{}.", token.rsplit_once('.').unwrap().0);
            for token in [token, bare] {
                assert_eq!(set.verify(&token, NOW), Err(TokenError::Malformed), "{header}");
            }
        }
    }
    for alg in ["HS384", "HS512", "RS256", "ES256", "PS256"] {
        let secret = URL_SAFE_NO_PAD.decode(keys.secret["k"].as_str().unwrap()).unwrap();
        let token = forged(&json!({ "alg": alg, "kid": "hs" }), &claims(), &secret);
        assert_eq!(set.verify(&token, NOW), Err(TokenError::Algorithm), "{alg}");
    }
}

#[test]
fn a_kid_only_chooses_among_our_keys_and_nothing_in_a_header_brings_another() {
    let keys = Keys::new();
    let set = keys.set();
    let own = b"a secret of the attacker's own, long enough";
    let jwk = json!({ "kty": "oct", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(own) });
    for kid in ["", "HS", "../../dev/null", "/dev/null", "hs' OR '1'='1", "hs\u{0}", "hs,ed"] {
        let token = forged(&json!({ "alg": "HS256", "kid": kid }), &claims(), b"");
        assert_eq!(set.verify(&token, NOW), Err(TokenError::UnknownKey), "{kid}");
    }
    for header in [
        json!({ "alg": "HS256", "kid": "hs", "jwk": jwk }),
        json!({ "alg": "HS256", "kid": "hs", "jku": "http://127.0.0.1/keys" }),
        json!({ "alg": "HS256", "x5u": "http://127.0.0.1/chain" }),
    ] {
        assert_eq!(set.verify(&forged(&header, &claims(), own), NOW), Err(TokenError::Signature), "{header}");
    }
    let secret = URL_SAFE_NO_PAD.decode(keys.secret["k"].as_str().unwrap()).unwrap();
    let critical = json!({ "alg": "HS256", "kid": "hs", "crit": ["b64"], "b64": false });
    assert_eq!(set.verify(&forged(&critical, &claims(), &secret), NOW), Err(TokenError::Malformed));
    let unnamed = forged(&json!({ "alg": "HS256" }), &claims(), &secret);
    assert!(set.verify(&unnamed, NOW).is_ok(), "a token without a kid is tried with each key");
}

#[test]
fn keys_of_one_name_are_all_tried_and_an_old_key_is_out_with_its_file() {
    let (old, new) = (Keys::new(), Keys::new());
    let both = set_of(&json!({ "keys": [old.public, old.secret, new.public] }), None);
    let tokens = [signed(&old.signer("ed"), &claims()), signed(&new.signer("ed"), &claims())];
    assert!(tokens.iter().all(|token| both.verify(token, NOW).is_ok()));
    let rotated = set_of(&json!({ "keys": [new.public] }), None);
    assert_eq!(rotated.verify(&tokens[0], NOW), Err(TokenError::Signature));
    assert!(rotated.verify(&tokens[1], NOW).is_ok());
}

#[test]
fn a_token_for_somebody_else_is_refused() {
    let keys = Keys::new();
    let with = |audience: Value| {
        let mut claims = claims();
        claims["aud"] = audience;
        signed(&keys.signer("hs"), &claims)
    };
    let ours = set_of(&keys.secret, Some("aforo"));
    assert!(ours.verify(&with(json!("aforo")), NOW).is_ok());
    assert!(ours.verify(&with(json!(["other", "aforo"])), NOW).is_ok());
    assert_eq!(ours.verify(&with(json!("other")), NOW), Err(TokenError::Audience));
    assert_eq!(ours.verify(&signed(&keys.signer("hs"), &claims()), NOW), Err(TokenError::Audience));
    assert_eq!(keys.set().verify(&with(json!("other")), NOW), Err(TokenError::Audience));
}

#[test]
fn what_is_no_token_is_refused_before_it_costs_anything() {
    let keys = Keys::new();
    let token = signed(&keys.signer("hs"), &claims());
    let long = format!("{token}{}", "A".repeat(TOKEN_MAX_BYTES));
    assert_eq!(keys.set().verify(&long, NOW), Err(TokenError::TooLong));
    for wrong in ["", ".", "..", "...", "a.b.c", "north", &format!("{token}."), &format!(".{token}")] {
        assert_eq!(keys.set().verify(wrong, NOW), Err(TokenError::Malformed), "{wrong}");
    }
    assert_eq!(
        KeySet::default().verify(&token, NOW),
        Err(TokenError::UnknownKey),
        "without keys nobody comes in"
    );
}

#[test]
fn key_files_say_what_is_wrong_and_never_what_is_in_them() {
    let keys = Keys::new();
    let secret = keys.secret["k"].as_str().unwrap();
    let oct = |k: &str| json!({ "kty": "oct", "k": k }).to_string();
    let rsa = json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB" });
    for (text, expected) in [
        (format!("x{secret}"), KeyError::NotJson { line: 1, column: 1 }),
        (format!("\"{secret}\""), KeyError::NotJwk),
        ("{\"kty\":\"oct\",\"k\":12345}".to_owned(), KeyError::NotJwk),
        ("{\"keys\":{}}".to_owned(), KeyError::NotJwk),
        ("{\"keys\":[]}".to_owned(), KeyError::NoKey),
        (rsa.to_string(), KeyError::NoKey),
        (json!({ "kty": "oct", "alg": "HS512", "k": secret }).to_string(), KeyError::NoKey),
        (json!({ "kty": "oct", "use": "enc", "k": secret }).to_string(), KeyError::NoKey),
        (json!({ "kty": "oct" }).to_string(), KeyError::Member("k")),
        (oct(&URL_SAFE_NO_PAD.encode("short")), KeyError::ShortSecret(5)),
        (json!({ "kty": "OKP", "crv": "Ed25519", "x": "AQAB" }).to_string(), KeyError::Member("x")),
    ] {
        let error = verifying_keys(&text).unwrap_err();
        assert!(!error.to_string().contains(secret) && !error.to_string().contains("12345"));
        assert_eq!(error, expected);
    }
    let beside = json!({ "keys": [rsa, keys.public] }).to_string();
    assert_eq!(verifying_keys(&beside).unwrap().len(), 1, "a set may have keys for others");
    let sign = |key: &Value, kid| signing_key(&key.to_string(), kid).map(|_| ());
    assert_eq!(sign(&keys.public, None), Err(KeyError::NoPrivateHalf));
    assert_eq!(sign(&json!({ "keys": [keys.secret, keys.whole] }), None), Err(KeyError::Several(2)));
    assert_eq!(sign(&keys.secret, Some("x")), Err(KeyError::UnknownKid("x".to_owned())));
    let mut mixed = keys.whole.clone();
    mixed["x"] = Keys::new().public["x"].clone();
    assert_eq!(sign(&mixed, None), Err(KeyError::Halves));
    let printed = format!("{:?}", (keys.signer("hs"), verifying_keys(&keys.secret.to_string()).unwrap()));
    assert!(!printed.contains(secret));
    let decoding = DecodingKey::from_secret(secret.as_bytes());
    assert!(!format!("{decoding:?}").contains(secret));
}

#[test]
fn a_ring_follows_its_file_and_keeps_its_keys_when_the_file_is_broken() {
    let (old, new) = (Keys::new(), Keys::new());
    let file = std::env::temp_dir().join(format!("aforo-key-ring-{}.json", std::process::id()));
    std::fs::write(&file, old.public.to_string()).unwrap();
    let metrics = std::sync::Arc::new(aforo_cluster::metric::Metrics::new().unwrap());
    let files = [file.clone()];
    let ring = KeyRing::open(&files, None, std::sync::Arc::clone(&metrics)).unwrap();
    // A second watch tells when to look; what the ring does with the same change is waited for below.
    let (tell, told) = mpsc::channel();
    let _watch = crate::file_watch::FileWatch::start(&files, move || tell.send(()).unwrap()).unwrap();
    let claims = json!({ "exp": key_ring::seconds_now() + 600, "room": "demo", "publish": true });
    let tokens = [signed(&old.signer("ed"), &claims), signed(&new.signer("ed"), &claims)];
    assert!(ring.verify(&tokens[0]).is_ok());
    assert_eq!(ring.verify(&tokens[1]), Err(TokenError::Signature));
    let reloads = |result| metrics.config_reloads_total.with_label_values(&[result]).get();
    let wait_for = |result| {
        told.recv_timeout(Duration::from_secs(20)).expect("a change that is told");
        while reloads(result) == 0 {
            std::thread::yield_now();
        }
    };
    std::fs::write(&file, "broken").unwrap();
    wait_for("failed");
    assert!(ring.verify(&tokens[0]).is_ok());
    std::fs::write(&file, new.public.to_string()).unwrap();
    wait_for("ok");
    assert!(ring.verify(&tokens[1]).is_ok());
    assert_eq!(ring.verify(&tokens[0]), Err(TokenError::Signature));
    std::fs::remove_file(&file).unwrap();
    let error = KeyRing::open(&files, None, metrics).unwrap_err();
    assert!(error.to_string().contains("aforo-key-ring"), "{error}");
}

/// Files in a folder of their own, which ends with them.
struct Files(std::path::PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("aforo-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn write(&self, name: &str, text: &str) -> std::path::PathBuf {
        let file = self.0.join(name);
        std::fs::write(&file, text).unwrap();
        file
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn a_file_that_is_emptied_or_gone_takes_its_keys_back_whatever_the_others_are() {
    let (first, second, fresh) = (Keys::new(), Keys::new(), Keys::new());
    let folder = Files::new("key-files");
    let text = first.public.to_string();
    let paths = [folder.write("first", &text), folder.write("second", &second.public.to_string())];
    let mut files = KeyFiles::open(&paths).unwrap();
    let tokens = [&first, &second, &fresh].map(|keys| signed(&keys.signer("ed"), &claims()));
    let good = |files: &KeyFiles| {
        let set = KeySet::new(files.keys(), None);
        tokens.clone().map(|token| set.verify(&token, NOW).is_ok())
    };
    assert_eq!(good(&files), [true, true, false]);
    for taken_back in
        [String::new(), "{\"keys\":[]}".to_owned(), json!({ "keys": [{ "kty": "RSA" }] }).to_string()]
    {
        folder.write("first", &taken_back);
        assert!(!files.reload());
        assert_eq!(good(&files), [false, true, false], "{taken_back}");
        folder.write("first", &text);
        assert!(files.reload());
        assert_eq!(good(&files), [true, true, false]);
    }
    folder.write("second", "half of a f");
    folder.write("first", &fresh.public.to_string());
    assert!(!files.reload());
    assert_eq!(good(&files), [false, true, true], "the broken file keeps its own key and no other");
    std::fs::remove_file(&paths[0]).unwrap();
    assert!(!files.reload());
    assert_eq!(good(&files), [false, true, false]);
}

#[test]
fn nobody_is_sent_away_for_good_while_the_keys_of_the_server_are_awaited() {
    let (ours, theirs) = (Keys::new(), Keys::new());
    let folder = Files::new("awaited-keys");
    let file = folder.write("ours", &ours.public.to_string());
    let metrics = std::sync::Arc::new(aforo_cluster::metric::Metrics::new().unwrap());
    // Nobody listens there.
    let jwks_url = Some("http://127.0.0.1:1/keys".to_owned());
    let claims = json!({ "exp": key_ring::seconds_now() + 600, "room": "demo", "publish": true });
    let [good, unknown] = [&ours, &theirs].map(|keys| signed(&keys.signer("ed"), &claims));
    actix_rt::System::new().block_on(async {
        let auth = Auth { jwks_url: jwks_url.clone(), ..Auth::default() };
        let alone = KeyRing::configured(&auth, &metrics).unwrap().unwrap();
        assert!(alone.awaits_keys().now());
        assert_eq!(alone.verify(&unknown), Err(TokenError::KeysAwaited));
        assert_eq!(alone.verify("no token"), Err(TokenError::Malformed));
        let auth = Auth { jwks_url, key_files: vec![file], ..Auth::default() };
        let both = KeyRing::configured(&auth, &metrics).unwrap().unwrap();
        assert!(!both.awaits_keys().now(), "there are keys to go by");
        assert!(both.verify(&good).is_ok());
        assert_eq!(both.verify(&unknown), Err(TokenError::KeysAwaited));
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_other_text_than_the_token_itself_is_good(
        place in any::<prop::sample::Index>(),
        to in any::<char>(),
        kid in prop::sample::select(vec!["hs", "ed"]),
        how in 0..4,
    ) {
        let keys = Keys::new();
        let token = signed(&keys.signer(kid), &claims());
        let at = place.index(token.len());
        let ascii = char::from(u8::try_from(u32::from(to) % 128).unwrap());
        let mutated = match how {
            0 => format!("{}{ascii}{}", &token[..at], &token[at + 1..]),
            1 => format!("{}{}", &token[..at], &token[at + 1..]),
            2 => format!("{}{to}{}", &token[..at], &token[at..]),
            _ => token[..at].to_owned(),
        };
        prop_assume!(mutated != token);
        prop_assert!(keys.set().verify(&mutated, NOW).is_err(), "{mutated}");
        prop_assert!(keys.set().verify(&token, NOW).is_ok());
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,80}", parts in prop::collection::vec(any::<Vec<u8>>(), 3)) {
        let set = Keys::new().set();
        let encoded: Vec<String> = parts.iter().map(|part| URL_SAFE_NO_PAD.encode(part)).collect();
        prop_assert!(set.verify(&text, NOW).is_err());
        prop_assert!(set.verify(&encoded.join("."), NOW).is_err());
        let _ = verifying_keys(&text);
    }
}

#[test]
fn a_session_that_a_token_began_outlives_it_and_no_forgery_does() {
    let keys = Keys::new();
    let (token, set) = (signed(&keys.signer("hs"), &claims()), keys.set());
    let late = NOW + 3_600;
    assert_eq!(set.verify(&token, late), Err(TokenError::Expired));
    assert_eq!(set.verify_begun(&token), set.verify(&token, NOW));
    let (other, _) = issue::new_pair(Some("ed".to_owned())).unwrap();
    let foreign = signing_key(&other.to_string(), None).unwrap();
    assert_eq!(set.verify_begun(&signed(&foreign, &claims())), Err(TokenError::Signature));
}
