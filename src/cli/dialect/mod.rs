//! What a subscriber says in a protocol, and what the server's messages mean to it. `newswire subscribe` reads whole
//! messages ([`Dialect`]); `newswire load` says the same and looks at the beginnings of messages.
//!
//! Never here: connections, waiting, and what becomes of an event.

mod sse;
pub(super) mod wamp1;
pub(super) mod wamp2;

use std::borrow::Cow;
use std::time::Duration;

use super::past::{PastArguments, Wish};
use super::protocol::Protocol;
use super::target::Target;

/// What a message of the server means to a subscriber.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Meaning<'a> {
    /// The client is in, and has asked for its topics.
    Welcome,
    /// The server has granted a topic.
    Granted(&'a str),
    /// The server has not granted a topic, or has taken it away. The reason is the server's.
    Denied {
        topic: &'a str,
        reason: String,
        /// True exactly when the client had the topic.
        was_granted: bool,
    },
    /// An event: the topic as JSON, the data as it came, and the event's id if the server has sent one.
    Event {
        topic: Cow<'a, str>,
        data: Cow<'a, str>,
        id: Option<Cow<'a, str>>,
    },
    /// What became of the events behind the position that the client has named: they follow, or the server says why
    /// they do not. Without a topic it is about all of them.
    Recovery {
        topic: Option<&'a str>,
        since: String,
        outcome: Result<(), String>,
    },
    /// At this place events of the topic were lost to the client. The reason is the server's.
    Gap { topic: Cow<'a, str>, reason: String },
    /// The server ends the session for good, and says why.
    Farewell(String),
    /// Nothing that a subscriber has to know.
    Nothing,
}

/// One side of a conversation, which outlives a connection: what it has learned for the next one is kept.
pub(super) trait Dialect {
    /// A connection stands, and nothing was said on it. Returns what the client says first.
    fn begin(&mut self) -> Option<String> {
        None
    }

    /// Takes a message of the server, and appends what has to be answered.
    fn take<'a>(&'a mut self, text: &'a str, answers: &mut Vec<String>) -> Meaning<'a>;

    /// Returns what the client says last.
    fn leave(&self) -> Option<&'static str> {
        None
    }

    /// How long the server wants the client to wait before it comes back.
    fn pause(&self) -> Duration {
        Duration::ZERO
    }

    /// What the request for a stream asks of the past.
    fn wish(&self) -> Wish<'_> {
        Wish::default()
    }
}

/// Returns the dialect of a subscriber to these topics.
pub(super) fn dialect(target: &Target, topics: &[String], past: PastArguments) -> Box<dyn Dialect> {
    match target.protocol {
        Protocol::Wamp1 => Box::new(wamp1::Wamp1Dialect::new(topics)),
        Protocol::Wamp2 => {
            let ticket = target.ticket().cloned();
            Box::new(wamp2::Wamp2Dialect::new(topics, ticket, past))
        }
        Protocol::Sse => Box::new(sse::SseDialect::new(past)),
    }
}

/// A word of the server's, for a line that is shown.
fn shown(text: &str) -> String {
    text.replace(char::is_control, " ")
}
