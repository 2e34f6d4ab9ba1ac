//! Who a session belongs to, by the token that it came with: what decides whether a publisher may take a stream over from
//! another, and whether a request about a session is its own client's.

use subtle::ConstantTimeEq;

/// The SHA-256 of a bearer token: enough to know it again, and useless to whoever reads it in memory.
#[derive(Clone, Copy)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// Of these 32 bytes.
    pub fn new(sha256: [u8; 32]) -> Self {
        Self(sha256)
    }

    /// Whether it is of the same text. The time that this takes does not tell how much of it is alike.
    pub fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl std::fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenDigest")
    }
}

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub struct Claimant {
    /// Of the token that the request carried; `None` without one.
    pub token: Option<TokenDigest>,
    /// Of the person whom a checked token names (`sub`), if it names one: each of their tokens is as good as the first.
    pub subject: Option<TokenDigest>,
    /// Who has a higher one takes over from who has a lower one; 0 unless a grant says otherwise.
    pub priority: u32,
}

impl Claimant {
    /// Whether it may take a stream over from `holder`: the same token or the same subject is the same person, and a higher
    /// priority is meant to win. Who showed no token is nobody we know.
    pub(super) fn may_replace(&self, holder: &Self) -> bool {
        let same = |own: &Option<TokenDigest>, other: &Option<TokenDigest>| match (own, other) {
            (Some(own), Some(other)) => own.is(other),
            _ => false,
        };
        let is_holder = same(&self.token, &holder.token) || same(&self.subject, &holder.subject);
        is_holder || self.priority > holder.priority
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimant(token: Option<u8>, priority: u32) -> Claimant {
        Claimant { token: token.map(|byte| TokenDigest::new([byte; 32])), subject: None, priority }
    }

    #[test]
    fn the_same_token_or_a_higher_priority_takes_over() {
        let holder = claimant(Some(1), 5);
        assert!(claimant(Some(1), 0).may_replace(&holder));
        assert!(claimant(Some(2), 6).may_replace(&holder) && claimant(None, 6).may_replace(&holder));
        for other in [claimant(Some(2), 5), claimant(None, 5), claimant(None, 0)] {
            assert!(!other.may_replace(&holder), "{other:?}");
        }
        let of = |subject, token| Claimant {
            subject: Some(TokenDigest::new([subject; 32])),
            ..claimant(Some(token), 0)
        };
        assert!(of(7, 2).may_replace(&of(7, 1)), "a new token of the same person");
        assert!(!of(8, 2).may_replace(&of(7, 1)) && !of(1, 2).may_replace(&claimant(Some(1), 0)));
        let nobody = Claimant::default();
        assert!(!nobody.may_replace(&nobody), "two without a token are two strangers");
    }
}
