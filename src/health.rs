//! How a source of events is doing, for operators: `ingest` says it, and `admin` shows it. The two do not know each
//! other.
//!
//! Never here: sources and their endpoints, the form in which operators see it.

use std::time::Duration;

/// How a source is doing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Health<'a> {
    /// In peers that are connected now.
    pub peers: usize,
    /// In peers that were refused since the start.
    pub refused: u64,
    /// For a source that connects to its publisher.
    pub upstream: Option<Upstream<'a>>,
}

/// How a source is connected to its publisher.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Upstream<'a> {
    /// What the source is doing, in a word.
    pub state: &'static str,
    /// True exactly when the publisher is connected.
    pub is_connected: bool,
    /// How long there has been a connection, or none.
    pub lasted: Duration,
    /// Why there is no connection, as far as the source knows.
    pub trouble: Option<&'a str>,
    /// True exactly when the publisher is to send everything, and not single topics.
    pub asks_for_everything: bool,
    /// How often a connection was made.
    pub connects: u64,
}
