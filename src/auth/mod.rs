//! Who may listen: the stores that know tokens.
//!
//! A store answers at once, if it has its tokens in memory or needs none, or later, if it has to ask
//! somebody: then the loop goes on, and fetches the answer when it is there. A new store is one file
//! here.
//!
//! Never here: connections (a store sees a ticket, a number that means nothing to it), sockets of
//! clients.

pub mod agent;
pub mod breaker;
pub mod file;
pub mod gate;
pub mod http;
pub mod jwks;
pub mod jwt;
pub mod keys;
mod ledger;
pub mod list;
pub mod postgres;
mod sealed;
#[cfg(test)]
mod tests;
pub mod workers;

use std::net::IpAddr;
use std::time::Duration;

use crate::stats::Store;
use crate::wire::grant::Grant;
use crate::wire::token::{Digest, Token};

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
#[derive(Clone, Debug)]
pub struct Question {
    /// Under which the answer comes, if it comes later.
    pub ticket: u64,
    /// What is kept of the token.
    pub digest: Digest,
    /// The token itself; `None` where it is asked about again and was not kept, because it was let in
    /// by a store that knows it by its digest.
    pub token: Option<Token>,
    /// The client that came with it. Of several that come with the same one: the first.
    pub client: IpAddr,
    /// That client's page, if it named one.
    pub origin: Option<String>,
}

/// What a store says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// The token is good.
    Accepted(Grant),
    /// The token is known here, and not good: no other store is asked. The text says why, to the
    /// log; nothing of the token is in it.
    Refused(String),
    /// The token is not known here.
    Unknown,
    /// It cannot be told now. The text says why, to the operator.
    Unavailable(String),
}

/// Something that knows tokens.
pub trait TokenStore {
    /// Which kind it is.
    fn kind(&self) -> Store;

    /// Whether it needs the token itself, each time that it is asked.
    fn needs_token(&self) -> bool;

    /// Answers: now, or later under the question's ticket through [`TokenStore::poll_answer`]. Never
    /// waits.
    fn ask(&mut self, question: &Question, moment: Moment) -> Option<Answer>;

    /// The next answer that was promised. Each question gets exactly one.
    fn poll_answer(&mut self) -> Option<(u64, Answer)> {
        None
    }

    /// True once after its tokens have become others: whatever it has said must be asked again.
    fn poll_change(&mut self) -> bool {
        false
    }
}
