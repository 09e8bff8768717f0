//! The form in which a client receives events, and so the protocol that it speaks.
//!
//! A connection has one encoding for its whole life. Each message that the server sends has one function
//! here, which hands it to the file of the protocol. A new protocol is one variant and one such file: the
//! compiler then names every message that the new file has to write.
//!
//! Never here: how a message is written (the files of the protocols), when it is sent (the engine).

use super::SessionId;
use super::step::{Breach, LastWord, SubscribeOutcome};
use super::{sse, wamp1, wamp2};
use crate::stats::Gap;
use crate::wire::past::RecoveryNotice;
use crate::wire::protocol::Protocol;
use crate::wire::websocket::{self, Framing};

/// A protocol, in one of its forms.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encoding {
    /// WAMP v1.
    Wamp1,
    /// WAMP v1 to a client that inflates.
    Wamp1Deflate,
    /// WAMP v2.
    Wamp2,
    /// WAMP v2 to a client that inflates.
    Wamp2Deflate,
    /// Server-sent events.
    Sse,
}

impl Encoding {
    /// All of them, in the order of their places.
    pub const ALL: [Self; 5] = [
        Self::Wamp1,
        Self::Wamp1Deflate,
        Self::Wamp2,
        Self::Wamp2Deflate,
        Self::Sse,
    ];

    /// Its place in [`Encoding::ALL`].
    pub fn place(self) -> u32 {
        self as u32
    }

    /// The protocol.
    pub fn protocol(self) -> Protocol {
        match self {
            Self::Wamp1 | Self::Wamp1Deflate => Protocol::Wamp1,
            Self::Wamp2 | Self::Wamp2Deflate => Protocol::Wamp2,
            Self::Sse => Protocol::Sse,
        }
    }

    /// Whether the frames of the WebSocket may be compressed.
    pub fn framing(self) -> Framing {
        match self {
            Self::Wamp1 | Self::Wamp2 | Self::Sse => Framing::Plain,
            Self::Wamp1Deflate | Self::Wamp2Deflate => Framing::Deflate,
        }
    }

    /// As an administrator reads it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wamp1Deflate => "wamp deflate",
            Self::Wamp2Deflate => "wamp2 deflate",
            Self::Wamp1 | Self::Wamp2 | Self::Sse => self.protocol().name(),
        }
    }

    /// Returns true when events name their topic by the id of the subscription, with which SUBSCRIBE is answered.
    pub fn has_subscription_ids(self) -> bool {
        match self.protocol() {
            Protocol::Wamp1 | Protocol::Sse => false,
            Protocol::Wamp2 => true,
        }
    }

    /// Returns true when the client can be asked whether it is still there.
    pub fn has_pongs(self) -> bool {
        match self.protocol() {
            Protocol::Wamp1 | Protocol::Wamp2 => true,
            Protocol::Sse => false,
        }
    }

    /// Appends the first message of a session.
    pub fn welcome(self, id: SessionId, out: &mut Vec<u8>) {
        match self.protocol() {
            Protocol::Wamp1 => wamp1::welcome(id, out),
            Protocol::Wamp2 => wamp2::welcome(id, out),
            Protocol::Sse => {}
        }
    }

    /// Appends the question whether the client is still there, or what keeps its connection alive.
    pub fn ping(self, out: &mut Vec<u8>) {
        match self.protocol() {
            Protocol::Wamp1 | Protocol::Wamp2 => websocket::encode_ping(&[], out),
            Protocol::Sse => sse::comment(out),
        }
    }

    /// Appends the answer to the client's own ping.
    pub fn pong(self, payload: &[u8], out: &mut Vec<u8>) {
        match self.protocol() {
            Protocol::Wamp1 | Protocol::Wamp2 => websocket::encode_pong(payload, out),
            Protocol::Sse => {}
        }
    }

    /// Appends what the client is told of a subscription that the server has ended, if the protocol tells it.
    pub fn revoked(self, subscription: u64, out: &mut Vec<u8>) {
        match self.protocol() {
            Protocol::Wamp1 | Protocol::Sse => {}
            Protocol::Wamp2 => wamp2::revoked(subscription, out),
        }
    }

    /// Returns true when every client of the protocol takes notices of newswire's own; in WAMP v2 a client has to ask
    /// for the first one, and WAMP v1 has no place for them.
    pub fn always_has_notices(self) -> bool {
        match self.protocol() {
            Protocol::Wamp1 | Protocol::Wamp2 => false,
            Protocol::Sse => true,
        }
    }

    /// Appends what a client gets of a topic's past; on a stream, of all its topics'.
    pub fn recovery(self, subscription: u64, notice: RecoveryNotice, out: &mut Vec<u8>) {
        match self.protocol() {
            Protocol::Wamp1 => {}
            Protocol::Wamp2 => wamp2::recovery(subscription, notice, out),
            Protocol::Sse => sse::recovery(notice, out),
        }
    }

    /// Appends that events of a topic were lost to the client. `subscription` is the id of the topic's subscriptions,
    /// where the protocol has ids.
    pub fn gap(self, subscription: u64, topic: &str, gap: Gap, out: &mut Vec<u8>) {
        match self.protocol() {
            Protocol::Wamp1 => {}
            Protocol::Wamp2 => wamp2::gap(subscription, gap, out),
            Protocol::Sse => sse::gap(topic, gap, out),
        }
    }

    /// Appends the last message of a session.
    pub fn last_word(self, word: LastWord, out: &mut Vec<u8>) {
        match self.protocol() {
            Protocol::Wamp1 => wamp1::last_word(word, out),
            Protocol::Wamp2 => wamp2::last_word(word, out),
            // The stream ends. A client comes back then, and is told why it may not.
            Protocol::Sse => {}
        }
    }
}

/// A client's request, and how it is answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Request {
    /// The client's protocol.
    pub encoding: Encoding,
    /// The client's number of the request; 0 where the protocol has none.
    pub number: u64,
}

impl Request {
    /// Appends what became of a subscription.
    ///
    /// # Errors
    /// The connection has to end, because the protocol has no other answer.
    pub fn subscribed(self, outcome: SubscribeOutcome, out: &mut Vec<u8>) -> Result<(), Breach> {
        match self.encoding.protocol() {
            Protocol::Wamp1 => wamp1::answer(outcome),
            Protocol::Sse => Ok(()),
            Protocol::Wamp2 => {
                wamp2::subscribed(self.number, outcome, out);
                Ok(())
            }
        }
    }

    /// Appends that a subscription was ended, or that there was none.
    pub fn unsubscribed(self, was_subscribed: bool, out: &mut Vec<u8>) {
        match self.encoding.protocol() {
            Protocol::Wamp1 | Protocol::Sse => {}
            Protocol::Wamp2 => wamp2::unsubscribed(self.number, was_subscribed, out),
        }
    }
}
