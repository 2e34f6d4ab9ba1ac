//! Bearer tokens (RFC 6750): who may publish and who may play, where the configuration lists tokens.
//!
//! Each list guards one side: `auth.publish_tokens` WHIP, `auth.play_tokens` WHEP, sessions included. A side without a
//! list is open to everybody, and a token is good for both sides only if both lists have it. Names of rooms are what
//! players' tokens guard too: `/v1/rooms` takes a token of either list once there are tokens to play.

use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use aforo_cluster::control::Role;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use subtle::{Choice, ConstantTimeEq};

use super::problem::Problem;
use crate::config::{Auth, Secret};

/// The tokens of both sides, as digests: comparing those tells neither where a wrong token differs nor how long a right
/// one is.
pub struct Tokens {
    publish: Vec<Digest>,
    play: Vec<Digest>,
}

type Digest = [u8; SHA256_OUTPUT_LEN];

impl Tokens {
    /// The configured tokens.
    pub fn new(auth: &Auth) -> Self {
        let digests = |tokens: &[Secret]| tokens.iter().map(|token| digest_of(token.expose())).collect();
        Self { publish: digests(&auth.publish_tokens), play: digests(&auth.play_tokens) }
    }

    /// Whether a request with these headers may do what `role` does.
    pub fn check(&self, role: Role, headers: &HeaderMap) -> Result<(), Problem> {
        let (wanted, other) = match role {
            Role::Publisher => (&self.publish, &self.play),
            Role::Viewer => (&self.play, &self.publish),
        };
        if wanted.is_empty() {
            return Ok(());
        }
        let token = digest_of(bearer(headers).ok_or(Problem::NoToken)?);
        match (lists(wanted, &token), lists(other, &token)) {
            (true, _) => Ok(()),
            (false, true) => Err(Problem::NoGrant(role)),
            (false, false) => Err(Problem::UnknownToken),
        }
    }

    /// Whether a request with these headers may know which rooms there are and what is in them: whoever may play or
    /// publish may.
    pub fn check_rooms(&self, headers: &HeaderMap) -> Result<(), Problem> {
        if self.play.is_empty() {
            return Ok(());
        }
        let token = digest_of(bearer(headers).ok_or(Problem::NoToken)?);
        let known = lists(&self.play, &token) | lists(&self.publish, &token);
        known.then_some(()).ok_or(Problem::UnknownToken)
    }
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
        Tokens::new(&Auth { publish_tokens: secrets(publish), play_tokens: secrets(play) })
    }

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn check(tokens: &Tokens, role: Role, values: &[&str]) -> &'static str {
        word(tokens.check(role, &headers(values)))
    }

    /// `ok`, or the first word that tells the refusals apart.
    fn word(result: Result<(), Problem>) -> &'static str {
        match result {
            Ok(()) => "ok",
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
    fn rooms_are_known_to_whoever_may_play_or_publish() {
        let both = tokens(&["north"], &["east"]);
        for (value, expected) in [
            ("Bearer north", "ok"),
            ("Bearer east", "ok"),
            ("Bearer west", "unknown"),
            ("Basic east", "none"),
        ] {
            assert_eq!(word(both.check_rooms(&headers(&[value]))), expected, "{value}");
        }
        assert_eq!(word(both.check_rooms(&headers(&[]))), "none");
        for open in [tokens(&[], &[]), tokens(&["north"], &[])] {
            assert_eq!(word(open.check_rooms(&headers(&[]))), "ok", "everybody may play");
        }
    }
}
