//! What a publisher brought with it that decides whether it may take a stream over from another.

use subtle::ConstantTimeEq;

/// The SHA-256 of a bearer token: enough to know it again, and useless to whoever reads it in memory.
#[derive(Clone, Copy)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// Of these 32 bytes.
    pub fn new(sha256: [u8; 32]) -> Self {
        Self(sha256)
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
    /// Who has a higher one takes over from who has a lower one; 0 unless a grant says otherwise.
    pub priority: u32,
}

impl Claimant {
    /// Whether it may take a stream over from `holder`: the same token is the same person, and a higher priority is
    /// meant to win. Who showed no token is nobody we know.
    pub(super) fn may_replace(&self, holder: &Self) -> bool {
        let same = match (&self.token, &holder.token) {
            (Some(own), Some(other)) => bool::from(own.0.ct_eq(&other.0)),
            _ => false,
        };
        same || self.priority > holder.priority
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimant(token: Option<u8>, priority: u32) -> Claimant {
        Claimant { token: token.map(|byte| TokenDigest::new([byte; 32])), priority }
    }

    #[test]
    fn the_same_token_or_a_higher_priority_takes_over() {
        let holder = claimant(Some(1), 5);
        assert!(claimant(Some(1), 0).may_replace(&holder));
        assert!(claimant(Some(2), 6).may_replace(&holder) && claimant(None, 6).may_replace(&holder));
        for other in [claimant(Some(2), 5), claimant(None, 5), claimant(None, 0)] {
            assert!(!other.may_replace(&holder), "{other:?}");
        }
        let nobody = Claimant::default();
        assert!(!nobody.may_replace(&nobody), "two without a token are two strangers");
    }
}
