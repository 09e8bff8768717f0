//! Who asks to be let in, and what a token is worth: now, and for all sessions that it let in.
//!
//! Whoever knows the stores writes it, sessions read it, and the two never meet. A token that is
//! withdrawn is marked here once, and the engine looks at its sessions' marks when it is told that
//! some have changed: no index from tokens to sessions is kept, and a session holds one pointer.
//! Whether anybody still lives by a token is in the pointer's own count.
//!
//! Never here: tokens, stores, when a verdict is asked for again, clocks.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;

use crate::stats::{Cause, Close};
use crate::wire::grant::Grant;
use crate::wire::token::Token;

/// Who asks to be let in.
#[derive(Debug)]
pub struct Applicant {
    /// What it presented; `None` where there is no token in its request.
    pub token: Option<Token>,
    /// Its address, behind whatever proxies.
    pub client: IpAddr,
    /// Its page's origin, as it came.
    pub origin: Option<String>,
}

/// What is said of a token in the end.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// A store knows it.
    Accepted(Rc<Standing>),
    /// No store knows it, or the one that does says no.
    Refused(Cause),
    /// Whoever may know it cannot tell now.
    Unavailable,
}

/// What a token is worth now, for all who came with it.
#[derive(Debug, Default)]
pub struct Standing {
    grant: RefCell<Grant>,
    /// True once the topics have become others: subscriptions may be left that are no longer granted.
    has_changed: Cell<bool>,
    /// Why its sessions have to end; `None` while the token is good.
    ending: Cell<Option<Close>>,
}

impl Standing {
    /// That of a token which was accepted just now.
    pub fn new(grant: Grant) -> Rc<Self> {
        Rc::new(Self {
            grant: RefCell::new(grant),
            ..Self::default()
        })
    }

    /// Whether `topic` may be subscribed to.
    pub fn allows(&self, topic: &str) -> bool {
        self.grant.borrow().allows(topic)
    }

    /// For logs.
    pub fn name(&self) -> String {
        self.grant.borrow().name.clone()
    }

    /// Whether that is its name.
    pub fn is_named(&self, name: &str) -> bool {
        self.grant.borrow().name == name
    }

    /// As [`Grant::expires_at`].
    pub fn expires_at(&self) -> Option<u64> {
        self.grant.borrow().expires_at
    }

    /// The token was accepted anew. True when its topics are others than before.
    pub fn renew(&self, grant: Grant) -> bool {
        let before = self.grant.replace(grant);
        let is_other = before.topics != self.grant.borrow().topics;
        if is_other {
            self.has_changed.set(true);
        }
        is_other
    }

    /// The token is good no more: its sessions are to end for `reason`.
    pub fn end(&self, reason: Close) {
        self.ending.set(Some(reason));
    }

    /// Whether the topics have ever become others.
    pub fn has_changed(&self) -> bool {
        self.has_changed.get()
    }

    /// Why its sessions have to end, if they have to.
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
