//! The tokens that an administrator revoked: the gate refuses them until the next start, whatever stores say.
//!
//! A revocation outlasts the end that the token had, since a store may move that end. The list is bounded, and a
//! full one takes no further order: to forget a token would let a client in again that was thrown out.
//!
//! Never here: tokens (their digests are enough), sessions, stores, clocks.

use std::collections::{BTreeSet, HashSet};

use crate::limits;
use crate::wire::token::Digest;

/// The revoked tokens, by their digests; at most `limits::AUTH_REVOKED_MAX`.
#[derive(Debug, Default)]
pub struct Revoked(HashSet<[u8; 32]>);

/// No further token can be revoked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Full;

impl Revoked {
    /// Returns true when this token is revoked.
    pub fn has(&self, digest: &Digest) -> bool {
        self.0.contains(digest.as_bytes())
    }

    /// Revokes a token: all of its names, by their digests.
    ///
    /// # Errors
    /// There are too many; nothing has changed.
    pub fn add(&mut self, names: &BTreeSet<[u8; 32]>) -> Result<(), Full> {
        let new = names.iter().filter(|&name| !self.0.contains(name)).count();
        if self.0.len() + new > limits::AUTH_REVOKED_MAX {
            return Err(Full);
        }
        self.0.extend(names);
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

    fn names(all: &[usize]) -> BTreeSet<[u8; 32]> {
        all.iter().map(|&n| *digest(n).as_bytes()).collect()
    }

    #[test]
    fn a_full_list_forgets_nobody() {
        let mut revoked = Revoked::default();
        for n in 0..limits::AUTH_REVOKED_MAX {
            assert_eq!(revoked.add(&names(&[n])), Ok(()));
        }
        let new = limits::AUTH_REVOKED_MAX;
        assert_eq!(revoked.add(&names(&[1, new])), Err(Full));
        assert!(!revoked.has(&digest(new)));
        assert!((0..limits::AUTH_REVOKED_MAX).all(|n| revoked.has(&digest(n))));
        assert_eq!(revoked.add(&names(&[1, 2])), Ok(()), "once more is no more");
    }
}
