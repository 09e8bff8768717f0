//! The tokens of the command line: a list in memory, which answers at once.
//!
//! Never here: the tokens themselves. What is kept and compared is their SHA-256, so that the time
//! of a comparison tells nothing of a token, not even its length.

use std::sync::Arc;

use super::TokenStore;
use crate::wire::token::{Digest, Grant, Token, Verdict};

/// Tokens that may hear everything.
#[derive(Debug)]
pub struct TokenList {
    digests: Vec<Digest>,
    /// One for all sessions: an open session holds a share of it, not a copy.
    grant: Arc<Grant>,
}

impl TokenList {
    /// A store of `tokens`.
    pub fn new(tokens: &[Token]) -> Self {
        Self {
            digests: tokens.iter().map(Token::digest).collect(),
            grant: Arc::new(Grant {
                name: "list".to_owned(),
                topics: Vec::new(),
            }),
        }
    }
}

impl TokenStore for TokenList {
    fn check(&mut self, _ticket: u64, token: &Token) -> Option<Verdict> {
        let presented = token.digest();
        // Without a short cut: every token is compared, whichever it is.
        let known = self
            .digests
            .iter()
            .fold(false, |known, digest| known | digest.matches(&presented));
        Some(if known {
            Verdict::Accepted(Arc::clone(&self.grant))
        } else {
            Verdict::Refused
        })
    }

    fn poll_verdict(&mut self) -> Option<(u64, Verdict)> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_knows_its_tokens_and_no_others() {
        let mut list = TokenList::new(&[Token::new("one"), Token::new("two")]);
        for (token, known) in [
            ("one", true),
            ("two", true),
            ("on", false),
            ("onetwo", false),
        ] {
            let verdict = list.check(0, &Token::new(token)).expect("answers at once");
            assert_eq!(matches!(verdict, Verdict::Accepted(_)), known, "{token}");
        }
        assert!(list.poll_verdict().is_none());
    }

    #[test]
    fn an_empty_list_knows_nobody() {
        let mut list = TokenList::new(&[]);
        let verdict = list.check(0, &Token::new("any"));
        assert!(matches!(verdict, Some(Verdict::Refused)));
    }
}
