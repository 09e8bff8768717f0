//! WAMP v1 in WebSocket frames: what such a client's bytes mean, and every message that it receives.
//!
//! WAMP v1 has no answer to SUBSCRIBE: a client learns nothing of a topic that its token does not allow, and
//! a bound that it passes ends the connection.
//!
//! Never here: the stages of a session, the upgrade (both are in `mod.rs` and `upgrade.rs`), how bytes are
//! cut into frames and messages (`wire`).

use std::borrow::Cow;
use std::collections::HashMap;

use super::SessionId;
use super::encoding::{Encoding, Request};
use super::frames::FrameReader;
use super::step::{Breach, Intent, LastWord, Noted, SubscribeOutcome, SubscriptionName};
use crate::limits;
use crate::standing::Standing;
use crate::stats::{Close, Counter};
use crate::wire::past::PastWish;
use crate::wire::wamp::{self, ClientMessage, Malformed};
use crate::wire::websocket::{self, close_code};

/// What a client calls the beginnings of its topics' names.
#[derive(Debug, Default)]
pub struct Prefixes(HashMap<String, String>);

/// Takes bytes of a client. Answers how many it took, and what follows from them.
pub fn read<'a>(
    reader: FrameReader<'a>,
    prefixes: &mut Option<Box<Prefixes>>,
    standing: &'a Standing,
    input: &'a mut [u8],
) -> (usize, Option<Intent<'a>>) {
    let encoding = reader.encoding;
    reader.read(input, |payload| match wamp::parse(payload) {
        Ok(message) => act(encoding, standing, prefixes, message),
        Err(malformed) => Intent::Fail(malformed.into()),
    })
}

fn act<'a>(
    encoding: Encoding,
    standing: &'a Standing,
    prefixes: &mut Option<Box<Prefixes>>,
    message: ClientMessage<'a>,
) -> Intent<'a> {
    // Requests have no number.
    let request = Request {
        encoding,
        number: 0,
    };
    match message {
        ClientMessage::Prefix { prefix, uri } => {
            let prefixes = prefixes.get_or_insert_default();
            if prefix.len() + uri.len() > limits::TOPIC_BYTES_MAX {
                return Intent::Fail(limit("prefix too long"));
            }
            prefixes.0.insert(prefix.into_owned(), uri.into_owned());
            if prefixes.0.len() > limits::PREFIXES_MAX {
                return Intent::Fail(limit("too many prefixes"));
            }
            Intent::Noted(Noted::Prefix)
        }
        ClientMessage::Call { id, procedure } => {
            let mut frame = Vec::new();
            let counter = if procedure == wamp::ALIVE {
                websocket::encode_text(&mut frame, |out| wamp::encode_alive(&id, out));
                Counter::AliveCalls
            } else {
                let procedure = expand(prefixes, procedure);
                websocket::encode_text(&mut frame, |out| {
                    wamp::encode_call_error(&id, &procedure, out);
                });
                Counter::Calls
            };
            Intent::Reply(frame, Some(counter))
        }
        ClientMessage::Subscribe { topic } => {
            let topic = expand(prefixes, topic);
            if standing.allows(&topic) {
                Intent::Subscribe(request, topic, PastWish::default())
            } else {
                Intent::Denied(request, topic, standing)
            }
        }
        ClientMessage::Unsubscribe { topic } => {
            Intent::Unsubscribe(request, SubscriptionName::Topic(expand(prefixes, topic)))
        }
        ClientMessage::Publish => Intent::Noted(Noted::Publish),
    }
}

/// Puts the prefix's URI in front of the rest, when `name` begins with a prefix that the client has defined and
/// a colon. Any other name stays as it is.
fn expand<'a>(prefixes: &Option<Box<Prefixes>>, name: Cow<'a, str>) -> Cow<'a, str> {
    let Some(prefixes) = prefixes else {
        return name;
    };
    let Some((prefix, rest)) = name.split_once(':') else {
        return name;
    };
    match prefixes.0.get(prefix) {
        Some(uri) => Cow::Owned(format!("{uri}{rest}")),
        None => name,
    }
}

impl From<Malformed> for Breach {
    fn from(Malformed(text): Malformed) -> Self {
        Self {
            reason: Close::BadMessage,
            code: close_code::BAD_DATA,
            text,
        }
    }
}

/// One of newswire's bounds was passed; `text` says which.
fn limit(text: &'static str) -> Breach {
    Breach {
        reason: Close::Limit,
        code: close_code::POLICY,
        text,
    }
}

/// Tells the client what became of its SUBSCRIBE, as far as WAMP v1 can.
///
/// # Errors
/// The client has passed a bound.
pub fn answer(outcome: SubscribeOutcome) -> Result<(), Breach> {
    match outcome {
        SubscribeOutcome::Subscribed(_) | SubscribeOutcome::Denied => Ok(()),
        SubscribeOutcome::TopicTooLong => Err(limit("topic too long")),
        SubscribeOutcome::TooMany => Err(limit("too many subscriptions")),
    }
}

/// Appends WELCOME.
pub fn welcome(id: SessionId, out: &mut Vec<u8>) {
    let mut room = [0; 24];
    let id = id.encode(&mut room);
    websocket::encode_text(out, |out| wamp::encode_welcome(id, out));
}

/// Appends the Close frame. A client comes back after some codes and not after others (autobahn.js: not after
/// one that it takes for a clean end).
pub fn last_word(word: LastWord, out: &mut Vec<u8>) {
    let (code, text) = match word {
        LastWord::PeerClosed(code) => (code, ""),
        LastWord::PeerLeft => (Some(close_code::NORMAL), ""),
        LastWord::Breach(breach) => (Some(breach.code), breach.text),
        LastWord::Late => (Some(close_code::POLICY), "not in time"),
        LastWord::SlowConsumer => (Some(close_code::POLICY), "slow consumer"),
        LastWord::TokenEnded => (Some(close_code::TOKEN_ENDED), "token no longer valid"),
        LastWord::Disconnected => (Some(close_code::POLICY), "disconnected by an administrator"),
        LastWord::GoingAway => (Some(close_code::GOING_AWAY), "the server is going down"),
    };
    websocket::encode_close(code, text, out);
}

/// EVENT, not written yet.
#[derive(Clone, Copy, Debug)]
pub struct Wamp1Event<'a> {
    quoted_topic: &'a str,
    data: &'a str,
    payload_bytes: usize,
}

impl<'a> Wamp1Event<'a> {
    /// That of an event with this data; the topic is JSON already.
    pub fn new(quoted_topic: &'a str, data: &'a str) -> Self {
        Self {
            quoted_topic,
            data,
            payload_bytes: wamp::event_len(quoted_topic, data),
        }
    }

    /// In bytes, the whole frame.
    pub fn bytes(&self) -> usize {
        websocket::text_header_len(self.payload_bytes) + self.payload_bytes
    }

    /// Appends the frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        websocket::encode_text_header(self.payload_bytes, out);
        self.write_payload(out);
    }

    /// Appends what is in the frame.
    pub fn write_payload(&self, out: &mut Vec<u8>) {
        wamp::encode_event(self.quoted_topic, self.data, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_replaced_by_concatenation() {
        let mut prefixes = None;
        act(
            Encoding::Wamp1,
            &Standing::default(),
            &mut prefixes,
            ClientMessage::Prefix {
                prefix: "ev".into(),
                uri: "http://example.com/ev#".into(),
            },
        );
        assert_eq!(expand(&prefixes, "ev:a".into()), "http://example.com/ev#a");
        assert_eq!(expand(&prefixes, "http://b".into()), "http://b");
        assert_eq!(expand(&prefixes, "plain".into()), "plain");
    }

    #[test]
    fn a_frame_is_as_long_as_it_says() {
        for bytes in [0, 100, 125, 126, 70_000] {
            let data = "1".repeat(bytes);
            let frame = Wamp1Event::new("\"t\"", &data);
            let mut out = b"before".to_vec();
            frame.write(&mut out);
            assert_eq!(out.len(), "before".len() + frame.bytes());
            let mut other = b"before".to_vec();
            websocket::encode_text(&mut other, |out| wamp::encode_event("\"t\"", &data, out));
            assert_eq!(out, other);
        }
    }
}
