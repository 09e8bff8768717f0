//! Who may listen: the stores that know tokens.
//!
//! A store answers at once, if it has its tokens in memory, or later, if it has to ask somebody:
//! then the loop goes on, and fetches the verdict when it is there. A new store is one file here.
//!
//! Never here: connections (a store sees a ticket, a number that means nothing to it), sockets of
//! clients.

pub mod list;

use crate::wire::token::{Token, Verdict};

/// Something that knows tokens.
pub trait TokenStore {
    /// Judges `token`: now, or later under the same `ticket` through
    /// [`TokenStore::poll_verdict`]. Never waits.
    fn check(&mut self, ticket: u64, token: &Token) -> Option<Verdict>;

    /// The next verdict that was promised.
    fn poll_verdict(&mut self) -> Option<(u64, Verdict)>;
}
