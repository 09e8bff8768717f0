//! The tokens of the configuration: a list in memory, which answers at once.
//!
//! Never here: the tokens themselves. The list keeps and compares their SHA-256, so that the time of a comparison
//! tells nothing about a token, not even its length.

use std::sync::Arc;

use super::{Answer, Moment, Question, TokenStore};
use crate::stats::Store;
use crate::wire::grant::Grant;
use crate::wire::token::{Digest, Token};

/// Tokens that may subscribe to every topic.
#[derive(Debug)]
pub struct TokenList {
    digests: Vec<Digest>,
}

impl TokenList {
    /// A store of `tokens`.
    pub fn new(tokens: &[Token]) -> Self {
        Self {
            digests: tokens.iter().map(Token::digest).collect(),
        }
    }
}

impl TokenStore for TokenList {
    fn kind(&self) -> Store {
        Store::List
    }

    fn needs_token(&self) -> bool {
        false
    }

    fn ask(&mut self, question: &Arc<Question>, _moment: Moment) -> Option<Answer> {
        // There is no short cut: it compares every token, whichever matches.
        let known = self.digests.iter().fold(false, |known, digest| {
            known | digest.matches(&question.digest)
        });
        Some(if known {
            Answer::Accepted(Grant {
                name: "list".to_owned(),
                ..Grant::default()
            })
        } else {
            Answer::Unknown
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn ask(list: &mut TokenList, token: &str) -> Answer {
        let question = Question {
            ticket: 0,
            digest: Token::new(token).digest(),
            token: None,
            client: Ipv4Addr::LOCALHOST.into(),
            origin: None,
            is_recheck: false,
        };
        list.ask(&Arc::new(question), Moment::default())
            .expect("answers at once")
    }

    #[test]
    fn a_list_knows_its_tokens_and_no_others() {
        let mut list = TokenList::new(&[Token::new("one"), Token::new("two")]);
        for (token, known) in [
            ("one", true),
            ("two", true),
            ("on", false),
            ("onetwo", false),
        ] {
            let answer = ask(&mut list, token);
            assert_eq!(matches!(answer, Answer::Accepted(_)), known, "{token}");
        }
    }

    #[test]
    fn an_empty_list_knows_nobody() {
        assert_eq!(ask(&mut TokenList::new(&[]), "any"), Answer::Unknown);
    }
}
