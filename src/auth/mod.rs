//! Who may subscribe: the stores that know tokens.
//!
//! A store answers at once when it has its tokens in memory or needs none, and later when it has to ask another
//! program: then the loop goes on, and fetches the answer when it is there. A new store is one file here.
//!
//! Never here: connections (a store sees a ticket, a number that means nothing to it) and sockets of clients.

#[cfg(feature = "all-stores")]
pub mod agent;
#[cfg(feature = "all-stores")]
pub mod breaker;
#[cfg(feature = "all-stores")]
mod clock;
pub mod file;
pub mod gate;
#[cfg(feature = "all-stores")]
pub mod http;
#[cfg(feature = "all-stores")]
pub mod jwks;
#[cfg(feature = "all-stores")]
pub mod jwt;
#[cfg(feature = "all-stores")]
pub mod keys;
mod line;
pub mod list;
#[cfg(feature = "all-stores")]
pub mod postgres;
pub mod secret_file;
#[cfg(feature = "all-stores")]
pub mod workers;

pub use self::gate::Full;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::stats::{Cause, Store};
use crate::wire::grant::Grant;
use crate::wire::token::{Digest, Token};

/// The two times of a turn: the loop's own, which measures intervals, and the time of day, in which stores write
/// expiries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moment {
    /// Since the server started.
    pub now: Duration,
    /// Since 1970, by this machine's clock.
    pub unix: Duration,
}

/// What a store is asked.
#[derive(Debug)]
pub struct Question {
    /// The number under which a later answer comes.
    pub ticket: u64,
    /// The token's digest.
    pub digest: Digest,
    /// The token itself. `None` when the gate asks again about a token that it did not keep, because the store that
    /// accepted it knows it by its digest.
    pub token: Option<Token>,
    /// True exactly when the question is about open sessions. Stores answer it before others, so that nobody
    /// loses a session because strangers ask a lot.
    pub is_recheck: bool,
    /// The address of the client that brought the token. It means nothing to a store whose answer does not depend on
    /// the caller: there it is the address of any client, or unspecified.
    pub client: IpAddr,
    /// The origin of that client's page, if the client named one.
    pub origin: Option<String>,
}

impl Question {
    /// The token itself, for a store that needs it ([`TokenStore::needs_token`]).
    pub fn presented(&self) -> &Token {
        let token = self.token.as_ref();
        token.expect("who needs the token is not asked without it")
    }
}

/// The answer of a store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// The token is good.
    Accepted(Grant),
    /// The store knows the token, and it is not good: the gate asks no other store. The text gives the reason, for
    /// the log, without a piece of the token.
    Refused(Cause, String),
    /// The store does not know the token.
    Unknown,
    /// The store does not know the token, although it looks like one of the store's: none of its keys has signed it.
    /// The gate asks the next store.
    Unsigned,
    /// The store cannot tell now. The text gives the reason, for the operator.
    Unavailable(String),
    /// What the store waited for is there, and the gate has to ask it again. Only [`TokenStore::poll_answer`]
    /// returns this.
    AskAgain,
}

/// A store: it knows tokens.
pub trait TokenStore {
    /// The kind of this store.
    fn kind(&self) -> Store;

    /// Returns true when the store needs the token itself each time. Then the gate never asks it without:
    /// [`Question::presented`] has the token.
    fn needs_token(&self) -> bool;

    /// Returns true when the store's answer may depend on the client that brings a token. Then an answer counts only
    /// for clients of the same address and page.
    fn asks_of_callers(&self) -> bool {
        false
    }

    /// In microseconds of the loop: what the answer to `question` takes, when that is more than a few. Then the gate
    /// asks when there is time for it.
    fn cost(&self, _question: &Question) -> u32 {
        0
    }

    /// Answers now, or later under the question's ticket through [`TokenStore::poll_answer`]. Never waits.
    fn ask(&mut self, question: &Arc<Question>, moment: Moment) -> Option<Answer>;

    /// The next of the answers that come later. Each question gets exactly one.
    fn poll_answer(&mut self) -> Option<(u64, Answer)> {
        None
    }

    /// Returns true once after the store's tokens have changed: then the gate asks again about everything that the
    /// store has said.
    fn poll_change(&mut self) -> bool {
        false
    }
}
