//! What an administrator has withdrawn: refused until the next start, whatever stores say of it.
//!
//! The list is bounded. One that is full takes no further order: to forget a token that is in it would
//! let somebody in again who was thrown out. Where a token's end is known, its place is free after that.
//!
//! Never here: tokens (their digests are enough), sessions, stores, clocks.

use std::collections::HashMap;

use crate::limits;
use crate::wire::grant::has_ended;
use crate::wire::token::Digest;

/// The tokens that are withdrawn.
#[derive(Debug, Default)]
pub struct Revoked {
    /// By digest; until when, as [`crate::wire::grant::Grant::expires_at`] has it, where the token itself
    /// ends. At most `limits::AUTH_REVOKED_MAX`.
    until: HashMap<[u8; 32], Option<u64>>,
}

/// No further token can be withdrawn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Full;

impl Revoked {
    /// Whether this token is withdrawn.
    pub fn has(&self, digest: &Digest, unix_seconds: u64) -> bool {
        let until = self.until.get(digest.as_bytes());
        until.is_some_and(|&until| !has_ended(until, unix_seconds))
    }

    /// Withdraws a token, which ends by itself after `expires_at`.
    ///
    /// # Errors
    /// There are too many, and nothing has changed.
    pub fn add(
        &mut self,
        digest: &Digest,
        expires_at: Option<u64>,
        unix_seconds: u64,
    ) -> Result<(), Full> {
        let is_full = |until: &HashMap<_, _>| until.len() >= limits::AUTH_REVOKED_MAX;
        if is_full(&self.until) && !self.until.contains_key(digest.as_bytes()) {
            self.until
                .retain(|_, until| !has_ended(*until, unix_seconds));
            if is_full(&self.until) {
                return Err(Full);
            }
        }
        self.until.insert(*digest.as_bytes(), expires_at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::token::Token;

    fn digest(n: usize) -> Digest {
        Token::new(n.to_string()).digest()
    }

    #[test]
    fn a_token_is_withdrawn_until_its_end() {
        let mut revoked = Revoked::default();
        assert_eq!(revoked.add(&digest(1), Some(7), 5), Ok(()));
        assert_eq!(revoked.add(&digest(2), None, 5), Ok(()));
        assert!(revoked.has(&digest(1), 7) && !revoked.has(&digest(1), 8));
        assert!(revoked.has(&digest(2), u64::MAX) && !revoked.has(&digest(3), 5));
    }

    #[test]
    fn a_full_list_forgets_what_has_ended_and_nothing_else() {
        let mut revoked = Revoked::default();
        for n in 0..limits::AUTH_REVOKED_MAX {
            let expires_at = (n == 0).then_some(7);
            assert_eq!(revoked.add(&digest(n), expires_at, 5), Ok(()));
        }
        let new = digest(limits::AUTH_REVOKED_MAX);
        assert_eq!(revoked.add(&new, None, 7), Err(Full));
        assert!(!revoked.has(&new, 7));
        assert!((0..limits::AUTH_REVOKED_MAX).all(|n| revoked.has(&digest(n), 7)));
        // Once more is no more.
        assert_eq!(revoked.add(&digest(1), None, 7), Ok(()));
        assert_eq!(revoked.add(&new, None, 8), Ok(()));
        assert_eq!(revoked.add(&digest(0), None, 8), Err(Full));
    }
}
