//! Who may listen: the stores that know tokens.
//!
//! A store answers at once, if it has its tokens in memory or needs none, or later, if it has to ask
//! somebody: then the loop goes on, and fetches the answer when it is there. A new store is one file
//! here.
//!
//! Never here: connections (a store sees a ticket, a number that means nothing to it), sockets of
//! clients.

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
mod ledger;
mod line;
pub mod list;
#[cfg(feature = "all-stores")]
pub mod postgres;
mod refused;
mod revoked;
mod sealed;
pub mod secret_file;
#[cfg(test)]
mod tests;
mod walk;
#[cfg(feature = "all-stores")]
pub mod workers;

pub use self::revoked::Full;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::stats::{Cause, Store};
use crate::wire::grant::Grant;
use crate::wire::token::{Digest, Token};

/// Called after there is an answer, from any thread. It must not wait.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// The two times of a turn: the loop's, from which intervals are counted, and everybody's, in which
/// expiries are written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moment {
    /// Since the server started.
    pub now: Duration,
    /// Since 1970, as this machine believes.
    pub unix: Duration,
}

/// What a store is asked.
#[derive(Debug)]
pub struct Question {
    /// The number under which the answer comes, if it comes later.
    pub ticket: u64,
    /// What is kept of the token.
    pub digest: Digest,
    /// The token itself; `None` where it is asked about again and was not kept, because it was let in
    /// by a store that knows it by its digest.
    pub token: Option<Token>,
    /// True exactly when the question is about open sessions. Stores answer it before others, so that nobody
    /// loses a session because strangers ask a lot.
    pub is_recheck: bool,
    /// The address of the client that came with it. It means nothing to a store that does not answer about the
    /// caller: there it is that of any client, or unspecified.
    pub client: IpAddr,
    /// That client's page, if it named one.
    pub origin: Option<String>,
}

impl Question {
    /// The token itself, for a store that needs it ([`TokenStore::needs_token`]).
    pub fn presented(&self) -> &Token {
        let token = self.token.as_ref();
        token.expect("who needs the token is not asked without it")
    }
}

/// What a store says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// The token is good.
    Accepted(Grant),
    /// The token is known here, and not good: no other store is asked. The text says why, to the
    /// log; nothing of the token is in it.
    Refused(Cause, String),
    /// The token is not known here.
    Unknown,
    /// The token is not known here, although it looks like one of this store's: none of its keys has
    /// signed it. The next store is asked.
    Unsigned,
    /// It cannot be told now. The text says why, to the operator.
    Unavailable(String),
    /// What the store has waited for is there, and it is to be asked again. Said by
    /// [`TokenStore::poll_answer`] alone.
    AskAgain,
}

/// Something that knows tokens.
pub trait TokenStore {
    /// Which kind it is.
    fn kind(&self) -> Store;

    /// Whether it needs the token itself, each time that it is asked. If so, it is asked with it and never
    /// without: [`Question::presented`] has it.
    fn needs_token(&self) -> bool;

    /// Whether its answer may depend on the client that brings a token, and not on the token alone. If so, an
    /// answer counts for clients of the same address and page.
    fn asks_of_callers(&self) -> bool {
        false
    }

    /// In microseconds of the loop, what the answer to `question` takes, where that is more than a few: then it
    /// is asked when there is time for it.
    fn cost(&self, _question: &Question) -> u32 {
        0
    }

    /// Answers: now, or later under the question's ticket through [`TokenStore::poll_answer`]. Never
    /// waits.
    fn ask(&mut self, question: &Arc<Question>, moment: Moment) -> Option<Answer>;

    /// The next answer that was promised. Each question gets exactly one.
    fn poll_answer(&mut self) -> Option<(u64, Answer)> {
        None
    }

    /// True once after its tokens have become others: whatever it has said must be asked again.
    fn poll_change(&mut self) -> bool {
        false
    }
}
