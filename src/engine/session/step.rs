//! The words between a session and the engine: what a client's bytes ask the engine to do, what becomes of
//! it, and what the client is told last.
//!
//! They are the same for every protocol. The engine carries an [`Intent`] out and knows no protocol: where
//! the client has to be answered, the intent names the client's encoding. A protocol reads the other words and
//! writes them in its own form.
//!
//! Never here: bytes of a protocol.

use std::borrow::Cow;
use std::net::IpAddr;

use super::encoding::{Encoding, Request};
use crate::standing::{Applicant, Standing};
use crate::stats::{Close, Counter, Refusal};
use crate::wire::past::PastWish;

/// What the engine is to do for a client, or with it.
#[derive(Debug)]
pub enum Intent<'a> {
    /// What the client came with has to be judged.
    Check(Box<Applicant>),
    /// The upgrade of the client at this address is good, and it will present its token in its protocol.
    Greet(IpAddr),
    /// The client has introduced itself, and its token is known to be good: it is to be welcomed.
    Welcome,
    /// The upgrade of the client at this address is refused.
    Refuse(Refusal, IpAddr),
    /// The request asks for neither an upgrade nor a stream, and is answered: with what, and what it is counted as.
    Serve(Vec<u8>, Counter),
    /// The client subscribes to a topic, and asks for something of its past.
    Subscribe(Request, Cow<'a, str>, PastWish),
    /// The client subscribes to a topic that its token does not allow.
    Denied(Request, Cow<'a, str>, &'a Standing),
    /// The client unsubscribes from a topic.
    Unsubscribe(Request, SubscriptionName<'a>),
    /// Nothing but to count it.
    Noted(Noted),
    /// The frame that answers a message at once, and what the message is counted as beside the messages.
    Reply(Vec<u8>, Option<Counter>),
    /// The client pings; the answer carries this payload.
    Pong(Encoding, Cow<'a, [u8]>),
    /// The client closes, with this code.
    PeerClosed(Option<u16>),
    /// The client takes leave in its protocol.
    PeerLeft,
    /// The client broke a rule.
    Fail(Breach),
}

/// How a client names its subscription.
#[derive(Debug)]
pub enum SubscriptionName<'a> {
    /// By its topic.
    Topic(Cow<'a, str>),
    /// By the id that the server gave it.
    Id(u64),
}

/// Messages without a consequence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Noted {
    /// A prefix was defined.
    Prefix,
    /// A client published, which clients cannot.
    Publish,
    /// A message that changes nothing.
    Nothing,
    /// A pong.
    Pong,
}

/// What became of a client's wish to subscribe.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SubscribeOutcome {
    /// The client is subscribed now, or was before, with this id; 0 where the protocol has no ids.
    Subscribed(u64),
    /// The client's token does not allow the topic.
    Denied,
    /// The topic's name has too many bytes.
    TopicTooLong,
    /// The client has more subscriptions than it may have.
    TooMany,
}

/// A rule that a client broke. The protocol's file makes it, and writes it when the connection ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Breach {
    /// What the end of the connection is counted as.
    pub reason: Close,
    /// The protocol's own code.
    pub code: u16,
    /// Which rule, in words for the client.
    pub text: &'static str,
}

/// Why an open session ends, as its client is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LastWord {
    /// The client has closed, with this code.
    PeerClosed(Option<u16>),
    /// The client has taken leave in its protocol.
    PeerLeft,
    /// The client broke a rule.
    Breach(Breach),
    /// The client did not introduce itself in time.
    Late,
    /// The client does not read what it is owed.
    SlowConsumer,
    /// The client's token is no longer good.
    TokenEnded,
    /// An administrator wants it.
    Disconnected,
    /// The server goes down.
    GoingAway,
}
