//! The question about a client's token, the verdict on it, and the standing of an accepted token: what the token
//! allows now, shared by all sessions that came with it.
//!
//! `auth` writes a standing and sessions read it; the two do not know each other. When a token is withdrawn, its
//! one standing is marked, and the engine reviews the standings of its sessions when `auth` tells it that some have
//! changed. So nobody keeps an index from tokens to sessions, and a session holds one pointer. The pointer's count
//! tells whether a session still uses the token.
//!
//! Never here: tokens, stores, when a verdict is asked for again, clocks.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;

use crate::stats::{Cause, Close};
use crate::wire::grant::Grant;
use crate::wire::token::Token;

/// A client that asks to be let in.
#[derive(Debug)]
pub struct Applicant {
    /// The token that the client presented; `None` when its request has none.
    pub token: Option<Token>,
    /// The client's address; behind trusted proxies, the one that they name.
    pub client: IpAddr,
    /// The value of the request's `Origin` header.
    pub origin: Option<String>,
}

/// The decision on a token.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// A store accepted it.
    Accepted(Rc<Standing>),
    /// No store knows the token, or the store that knows it refuses it.
    Refused(Cause),
    /// A store that may know the token cannot be asked now.
    Unavailable,
}

/// What an accepted token allows now, for all sessions that came with it.
#[derive(Debug, Default)]
pub struct Standing {
    grant: RefCell<Grant>,
    /// True when the topics have changed since the token was accepted first: sessions may have subscriptions that
    /// are no longer granted.
    has_changed: Cell<bool>,
    /// Why its sessions have to end; `None` while the token is valid.
    ending: Cell<Option<Close>>,
}

impl Standing {
    /// Makes the standing of a token that was accepted just now.
    pub fn new(grant: Grant) -> Rc<Self> {
        Rc::new(Self {
            grant: RefCell::new(grant),
            ..Self::default()
        })
    }

    /// Returns true when the token's sessions may subscribe to `topic`.
    pub fn allows(&self, topic: &str) -> bool {
        self.grant.borrow().allows(topic)
    }

    /// Returns the token's name, which is for logs.
    pub fn name(&self) -> String {
        self.grant.borrow().name.clone()
    }

    /// Returns true when `name` is this token's name.
    pub fn is_named(&self, name: &str) -> bool {
        self.grant.borrow().name == name
    }

    /// As [`Grant::expires_at`].
    pub fn expires_at(&self) -> Option<u64> {
        self.grant.borrow().expires_at
    }

    /// Replaces the grant: a store accepted the token again. Returns true when the topics have changed.
    pub fn renew(&self, grant: Grant) -> bool {
        let before = self.grant.replace(grant);
        let has_changed = before.topics != self.grant.borrow().topics;
        if has_changed {
            self.has_changed.set(true);
        }
        has_changed
    }

    /// Marks the token as no longer valid: its sessions have to end for `reason`.
    pub fn end(&self, reason: Close) {
        self.ending.set(Some(reason));
    }

    /// Returns true when the topics have changed since the token was accepted first.
    pub fn has_changed(&self) -> bool {
        self.has_changed.get()
    }

    /// Returns the reason why the token's sessions have to end; `None` while the token is valid.
    pub fn ending(&self) -> Option<Close> {
        self.ending.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(topics: &[&str]) -> Grant {
        Grant {
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            ..Grant::default()
        }
    }

    #[test]
    fn a_standing_tells_what_has_changed() {
        let standing = Standing::new(grant(&["a"]));
        let longer = Grant {
            expires_at: Some(7),
            ..grant(&["a"])
        };
        assert!(!standing.renew(longer));
        assert!(!standing.has_changed());
        assert_eq!(standing.expires_at(), Some(7));
        assert!(standing.renew(grant(&["b"])));
        assert!(standing.has_changed() && standing.allows("b") && !standing.allows("a"));
        assert_eq!(standing.ending(), None);
        standing.end(Close::TokenEnded);
        assert_eq!(standing.ending(), Some(Close::TokenEnded));
    }
}
