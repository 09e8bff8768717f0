//! The form in which a client receives events, and so the protocol that it speaks.
//!
//! A connection has one encoding for its whole life. Each message that the server sends has one function
//! here, which hands it to the file of the protocol. A new protocol is one variant and one such file: the
//! compiler then names every message that the new file has to write.
//!
//! Never here: how a message is written (the files of the protocols), when it is sent (the engine).

use super::SessionId;
use super::step::{Breach, LastWord, SubscribeOutcome};
use super::wamp1;
use crate::wire::envelope::Event;
use crate::wire::json;

/// A protocol, in one of its forms.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encoding {
    /// WAMP v1 in WebSocket frames.
    Wamp1,
}

impl Encoding {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 1] = [Self::Wamp1];

    /// Its place in [`Encoding::ALL`].
    pub fn number(self) -> u32 {
        self as u32
    }

    /// Appends the first message of a session.
    pub fn welcome(self, id: SessionId, out: &mut Vec<u8>) {
        match self {
            Self::Wamp1 => wamp1::welcome(id, out),
        }
    }

    /// Appends the question whether the client is still there.
    pub fn ping(self, out: &mut Vec<u8>) {
        match self {
            Self::Wamp1 => wamp1::ping(out),
        }
    }

    /// Appends the answer to the client's own ping.
    pub fn pong(self, payload: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Wamp1 => wamp1::pong(payload, out),
        }
    }

    /// Tells the client what became of its subscription.
    ///
    /// # Errors
    /// The connection has to end, because the protocol has no other answer.
    pub fn answer(self, outcome: SubscribeOutcome) -> Result<(), Breach> {
        match self {
            Self::Wamp1 => wamp1::answer(outcome),
        }
    }

    /// Appends the last message of a session.
    pub fn last_word(self, word: LastWord, out: &mut Vec<u8>) {
        match self {
            Self::Wamp1 => wamp1::last_word(word, out),
        }
    }
}

/// Encodes events, each once for every audience of its topic. What the encodings of one event have in
/// common is made once.
#[derive(Debug, Default)]
pub struct Encoder {
    /// The topic's name as JSON.
    quoted_topic: String,
}

impl Encoder {
    /// The events that are encoded from here on have this topic.
    pub fn begin(&mut self, topic: &str) {
        self.quoted_topic.clear();
        json::quote(topic, &mut self.quoted_topic);
    }

    /// `event` in one encoding; its topic is that of the last [`Encoder::begin`].
    pub fn encode<'a>(&'a self, encoding: Encoding, event: &'a Event<'_>) -> EncodedEvent<'a> {
        match encoding {
            Encoding::Wamp1 => {
                EncodedEvent::Wamp1(wamp1::EventFrame::new(&self.quoted_topic, event.data))
            }
        }
    }
}

/// An event that knows how long it will be, and can be written.
#[derive(Clone, Copy, Debug)]
pub enum EncodedEvent<'a> {
    /// WAMP v1.
    Wamp1(wamp1::EventFrame<'a>),
}

impl EncodedEvent<'_> {
    /// In bytes, exactly what [`EncodedEvent::write`] appends.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Wamp1(frame) => frame.bytes(),
        }
    }

    /// Appends it.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Wamp1(frame) => frame.write(out),
        }
    }
}
