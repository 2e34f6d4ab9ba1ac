//! Bearer tokens (RFC 6750): who may publish and who may play, by lists of tokens and by keys that sign them.
//!
//! Each list guards one side: `auth.publish_tokens` WHIP, `auth.play_tokens` WHEP, sessions included. A side without a
//! list is open to everybody unless there are keys, and a token is good for both sides only if both lists have it. Names
//! of rooms are what players' tokens guard too: `/v1/rooms` then takes any token and shows what it is good for.

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use aforo_cluster::control::Role;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use subtle::{Choice, ConstantTimeEq};

use super::endpoint::Target;
use super::problem::Problem;
use super::view::View;
use crate::config::{Auth, Secret};
use crate::room::{Claimant, TokenDigest};
use crate::token::{Grants, KeyRing, TokenError};

/// The listed tokens of both sides, as digests: comparing those tells neither where a wrong token differs nor how long a
/// right one is. And the keys of all others.
pub struct Tokens {
    publish: Vec<Digest>,
    play: Vec<Digest>,
    keys: Option<KeyRing>,
    guards_publishing: bool,
    guards_playing: bool,
}

type Digest = [u8; SHA256_OUTPUT_LEN];

impl Tokens {
    /// The configured tokens, and the keys of `auth.key_files`.
    pub fn new(auth: &Auth, keys: Option<KeyRing>) -> Self {
        let digests = |tokens: &[Secret]| tokens.iter().map(|token| digest_of(token.expose())).collect();
        Self {
            publish: digests(&auth.publish_tokens),
            play: digests(&auth.play_tokens),
            keys,
            guards_publishing: auth.guards_publishing(),
            guards_playing: auth.guards_playing(),
        }
    }

    /// Whether a request with these headers may do what `role` does with the stream `target`.
    pub fn check(&self, role: Role, target: &Target, headers: &HeaderMap) -> Result<(), Problem> {
        self.check_by(KeyRing::verify, role, target, headers)
    }

    /// Whether a request with these headers may change or end a session that runs. An access token that has expired
    /// meanwhile is still good for that: the session goes on without it, and its address is a secret of its own.
    pub fn check_begun(&self, role: Role, target: &Target, headers: &HeaderMap) -> Result<(), Problem> {
        self.check_by(KeyRing::verify_begun, role, target, headers)
    }

    fn check_by(
        &self,
        verify: impl Fn(&KeyRing, &str) -> Result<Grants, TokenError>,
        role: Role,
        target: &Target,
        headers: &HeaderMap,
    ) -> Result<(), Problem> {
        let (guarded, wanted, other) = match role {
            Role::Publisher => (self.guards_publishing, &self.publish, &self.play),
            Role::Viewer => (self.guards_playing, &self.play, &self.publish),
        };
        if !guarded {
            return Ok(());
        }
        let token = bearer(headers).ok_or(Problem::NoToken)?;
        let digest = digest_of(token);
        match (lists(wanted, &digest), lists(other, &digest)) {
            (true, _) => Ok(()),
            (false, true) => Err(Problem::NoGrant(role)),
            (false, false) => {
                let grants = verify(self.keys.as_ref().ok_or(Problem::UnknownToken)?, token)?;
                let admitted = grants.admit(role, &target.room, &target.stream);
                admitted.then_some(()).ok_or(Problem::NoGrant(role))
            }
        }
    }

    /// What a request with these headers may know of. Whoever may do anything with a stream may know of it.
    pub fn view(&self, headers: &HeaderMap) -> Result<View, Problem> {
        if !self.guards_playing {
            return Ok(View::of_all());
        }
        let token = bearer(headers).ok_or(Problem::NoToken)?;
        let digest = digest_of(token);
        if lists(&self.play, &digest) | lists(&self.publish, &digest) {
            return Ok(View::of_all());
        }
        View::of(self.grants(token)?).ok_or(Problem::OtherRoom)
    }

    /// What a publisher's request, which was let in, says about which streams it may take over.
    pub fn claimant(&self, headers: &HeaderMap) -> Claimant {
        let Some(token) = bearer(headers) else { return Claimant::default() };
        // Listed tokens have no grants, and so no priority; neither has one that nobody checks.
        let granted = self.guards_publishing.then(|| self.grants(token).ok()).flatten();
        let priority = granted.as_ref().map_or(0, |grants| grants.priority);
        let digest = |text: &str| TokenDigest::new(digest_of(text));
        let subject = granted.and_then(|grants| Some(person(grants.issuer.as_deref(), &grants.subject?)));
        Claimant { token: Some(digest(token)), subject: subject.as_deref().map(digest), priority }
    }

    fn grants(&self, token: &str) -> Result<Grants, Problem> {
        let keys = self.keys.as_ref().ok_or(Problem::UnknownToken)?;
        Ok(keys.verify(token)?)
    }
}

/// A text for the person whom `issuer` calls `subject`, and for nobody else.
fn person(issuer: Option<&str>, subject: &str) -> String {
    let issuer = issuer.unwrap_or_default();
    format!("{}:{issuer}{subject}", issuer.len())
}

/// Of the token that a request carries.
pub fn token_digest(headers: &HeaderMap) -> Option<TokenDigest> {
    bearer(headers).map(|token| TokenDigest::new(digest_of(token)))
}

fn digest_of(token: &str) -> Digest {
    let mut bytes = [0; SHA256_OUTPUT_LEN];
    // Both have the length of a SHA-256.
    bytes.iter_mut().zip(digest(&SHA256, token.as_bytes()).as_ref()).for_each(|(to, from)| *to = *from);
    bytes
}

/// Looks at every token of the list, so that the time does not tell which one it was.
fn lists(known: &[Digest], token: &Digest) -> bool {
    known.iter().fold(Choice::from(0), |found, known| found | known.ct_eq(token)).into()
}

/// The token of the one `Authorization` header. Of several, none is meant (RFC 6750 §2).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION);
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

    use actix_web::http::header::HeaderValue;

    use super::*;

    fn tokens(publish: &[&str], play: &[&str]) -> Tokens {
        let secrets = |texts: &[&str]| texts.iter().map(|text| Secret::new(*text)).collect();
        let (publish_tokens, play_tokens) = (secrets(publish), secrets(play));
        Tokens::new(&Auth { publish_tokens, play_tokens, ..Auth::default() }, None)
    }

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn check(tokens: &Tokens, role: Role, values: &[&str]) -> &'static str {
        let target = Target { room: "demo".parse().unwrap(), stream: "main".parse().unwrap() };
        word(tokens.check(role, &target, &headers(values)))
    }

    /// `ok`, or the first word that tells the refusals apart.
    fn word<T>(result: Result<T, Problem>) -> &'static str {
        match result {
            Ok(_) => "ok",
            Err(Problem::NoToken) => "none",
            Err(Problem::UnknownToken) => "unknown",
            Err(Problem::NoGrant(_)) => "no grant",
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn without_lists_nothing_is_asked() {
        let open = tokens(&[], &[]);
        for role in [Role::Publisher, Role::Viewer] {
            for values in [&[][..], &["Bearer anything"], &["Basic YTpi"]] {
                assert_eq!(check(&open, role, values), "ok");
            }
        }
    }

    #[test]
    fn each_list_guards_its_own_side() {
        let both = tokens(&["north", "south", "every"], &["east", "every"]);
        for (value, publisher, viewer) in [
            ("Bearer north", "ok", "no grant"),
            ("bearer  south ", "ok", "no grant"),
            ("Bearer east", "no grant", "ok"),
            ("BEARER every", "ok", "ok"),
            ("Bearer nort", "unknown", "unknown"),
            ("Bearer north2", "unknown", "unknown"),
            ("Bearer NORTH", "unknown", "unknown"),
            ("Bearer ", "none", "none"),
            ("Bearer", "none", "none"),
            ("Basic north", "none", "none"),
            ("north", "none", "none"),
        ] {
            assert_eq!(check(&both, Role::Publisher, &[value]), publisher, "{value}");
            assert_eq!(check(&both, Role::Viewer, &[value]), viewer, "{value}");
        }
        assert_eq!(check(&both, Role::Viewer, &[]), "none");
        assert_eq!(check(&both, Role::Viewer, &["Bearer east", "Bearer east"]), "none");
        let publishers = tokens(&["north"], &[]);
        assert_eq!(check(&publishers, Role::Publisher, &[]), "none");
        assert_eq!(check(&publishers, Role::Viewer, &[]), "ok");
    }

    #[test]
    fn where_tokens_are_required_no_side_is_open() {
        let auth = Auth { required: true, publish_tokens: vec![Secret::new("north")], ..Auth::default() };
        let required = Tokens::new(&auth, None);
        assert_eq!(check(&required, Role::Publisher, &["Bearer north"]), "ok");
        assert_eq!(check(&required, Role::Viewer, &["Bearer north"]), "no grant");
        assert_eq!(check(&required, Role::Viewer, &["Bearer west"]), "unknown");
        assert_eq!(check(&required, Role::Viewer, &[]), "none");
        assert_eq!(word(required.view(&headers(&[]))), "none");
    }

    #[test]
    fn one_subject_of_two_issuers_is_two_persons() {
        let persons = [
            (None, "a"),
            (Some("a"), "a"),
            (Some("aa"), ""),
            (Some("b"), "a"),
            (Some("a"), "b"),
            (None, "1:aa"),
        ];
        let texts: std::collections::HashSet<_> =
            persons.iter().map(|(issuer, subject)| person(*issuer, subject)).collect();
        assert_eq!(texts.len(), persons.len());
    }

    #[test]
    fn rooms_are_known_to_whoever_may_play_or_publish() {
        let both = tokens(&["north"], &["east"]);
        for (value, expected) in [
            ("Bearer north", "ok"),
            ("Bearer east", "ok"),
            ("Bearer west", "unknown"),
            ("Basic east", "none"),
        ] {
            assert_eq!(word(both.view(&headers(&[value]))), expected, "{value}");
        }
        assert_eq!(word(both.view(&headers(&[]))), "none");
        for open in [tokens(&[], &[]), tokens(&["north"], &[])] {
            assert_eq!(word(open.view(&headers(&[]))), "ok", "everybody may play");
        }
    }
}
