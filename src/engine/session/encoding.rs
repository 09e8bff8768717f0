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
use crate::wire::envelope::Event;
use crate::wire::json;
use crate::wire::websocket;

/// A protocol, in one of its forms.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Encoding {
    /// WAMP v1 in WebSocket frames.
    Wamp1,
    /// WAMP v2 as JSON in WebSocket frames.
    Wamp2,
    /// Server-sent events.
    Sse,
}

impl Encoding {
    /// All of them, in the order of their places.
    pub const ALL: [Self; 3] = [Self::Wamp1, Self::Wamp2, Self::Sse];

    /// Its place in [`Encoding::ALL`].
    pub fn place(self) -> u32 {
        self as u32
    }

    /// As an administrator reads it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wamp1 => "wamp",
            Self::Wamp2 => "wamp2",
            Self::Sse => "sse",
        }
    }

    /// Returns true when events name their topic by the id of the subscription, with which SUBSCRIBE is answered.
    pub fn has_subscription_ids(self) -> bool {
        match self {
            Self::Wamp1 | Self::Sse => false,
            Self::Wamp2 => true,
        }
    }

    /// Returns true when the client can be asked whether it is still there.
    pub fn has_pongs(self) -> bool {
        match self {
            Self::Wamp1 | Self::Wamp2 => true,
            Self::Sse => false,
        }
    }

    /// Appends the first message of a session.
    pub fn welcome(self, id: SessionId, out: &mut Vec<u8>) {
        match self {
            Self::Wamp1 => wamp1::welcome(id, out),
            Self::Wamp2 => wamp2::welcome(id, out),
            Self::Sse => {}
        }
    }

    /// Appends the question whether the client is still there, or what keeps its connection alive.
    pub fn ping(self, out: &mut Vec<u8>) {
        match self {
            Self::Wamp1 | Self::Wamp2 => websocket::encode_ping(&[], out),
            Self::Sse => sse::comment(out),
        }
    }

    /// Appends the answer to the client's own ping.
    pub fn pong(self, payload: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Wamp1 | Self::Wamp2 => websocket::encode_pong(payload, out),
            Self::Sse => {}
        }
    }

    /// Appends what the client is told of a subscription that the server has ended, if the protocol tells it.
    pub fn revoked(self, subscription: u64, out: &mut Vec<u8>) {
        match self {
            Self::Wamp1 | Self::Sse => {}
            Self::Wamp2 => wamp2::revoked(subscription, out),
        }
    }

    /// Appends the last message of a session.
    pub fn last_word(self, word: LastWord, out: &mut Vec<u8>) {
        match self {
            Self::Wamp1 => wamp1::last_word(word, out),
            Self::Wamp2 => wamp2::last_word(word, out),
            // The stream ends. A client comes back then, and is told why it may not.
            Self::Sse => {}
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
        match self.encoding {
            Encoding::Wamp1 => wamp1::answer(outcome),
            Encoding::Sse => Ok(()),
            Encoding::Wamp2 => {
                wamp2::subscribed(self.number, outcome, out);
                Ok(())
            }
        }
    }

    /// Appends that a subscription was ended, or that there was none.
    pub fn unsubscribed(self, was_subscribed: bool, out: &mut Vec<u8>) {
        match self.encoding {
            Encoding::Wamp1 | Encoding::Sse => {}
            Encoding::Wamp2 => wamp2::unsubscribed(self.number, was_subscribed, out),
        }
    }
}

/// Encodes events, each once for every audience of its topic. What the encodings of one event have in
/// common is made once.
#[derive(Debug, Default)]
pub struct Encoder {
    /// The topic's name as JSON.
    quoted_topic: String,
    /// How many events there were. It numbers them for WAMP v2.
    publications: u64,
}

impl Encoder {
    /// The events that are encoded from here on have this topic.
    pub fn begin(&mut self, topic: &str) {
        self.publications += 1;
        self.quoted_topic.clear();
        json::quote(topic, &mut self.quoted_topic);
    }

    /// `event` in one encoding; its topic is that of the last [`Encoder::begin`]. `subscription` is the id of
    /// its subscriptions, where the encoding has ids.
    pub fn encode<'a>(
        &'a self,
        encoding: Encoding,
        subscription: u64,
        event: &'a Event<'_>,
    ) -> EncodedEvent<'a> {
        match encoding {
            Encoding::Wamp1 => {
                EncodedEvent::Wamp1(wamp1::Wamp1Event::new(&self.quoted_topic, event.data))
            }
            Encoding::Wamp2 => EncodedEvent::Wamp2(wamp2::Wamp2Event {
                subscription,
                publication: self.publications,
                data: event.data,
            }),
            Encoding::Sse => EncodedEvent::Sse(sse::StreamEvent {
                quoted_topic: &self.quoted_topic,
                data: event.data,
            }),
        }
    }
}

/// An event that knows how long it will be, and can be written.
#[derive(Clone, Copy, Debug)]
pub enum EncodedEvent<'a> {
    /// WAMP v1.
    Wamp1(wamp1::Wamp1Event<'a>),
    /// WAMP v2.
    Wamp2(wamp2::Wamp2Event<'a>),
    /// Server-sent events.
    Sse(sse::StreamEvent<'a>),
}

impl EncodedEvent<'_> {
    /// In bytes, exactly what [`EncodedEvent::write`] appends.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Wamp1(frame) => frame.bytes(),
            Self::Wamp2(frame) => frame.bytes(),
            Self::Sse(event) => event.bytes(),
        }
    }

    /// Appends it.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Wamp1(frame) => frame.write(out),
            Self::Wamp2(frame) => frame.write(out),
            Self::Sse(event) => event.write(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;

    #[test]
    fn the_longest_event_fits_into_the_smallest_outbox() {
        // Each of these bytes takes six as JSON.
        let topic = "\u{1}".repeat(64);
        for bytes in [0, 1, 125, 126, 65_536, 70_000] {
            let data = "\n".repeat(bytes);
            let mut quoted_topic = String::new();
            json::quote(&topic, &mut quoted_topic);
            for encoding in Encoding::ALL {
                let (encoded, bound) = match encoding {
                    Encoding::Wamp1 => (
                        EncodedEvent::Wamp1(wamp1::Wamp1Event::new(&quoted_topic, &data)),
                        limits::wamp1_event_bytes(bytes, topic.len()),
                    ),
                    Encoding::Wamp2 => (
                        EncodedEvent::Wamp2(wamp2::Wamp2Event {
                            subscription: u64::MAX,
                            publication: u64::MAX,
                            data: &data,
                        }),
                        limits::wamp2_event_bytes(bytes),
                    ),
                    Encoding::Sse => (
                        EncodedEvent::Sse(sse::StreamEvent {
                            quoted_topic: &quoted_topic,
                            data: &data,
                        }),
                        limits::sse_event_bytes(bytes, topic.len()),
                    ),
                };
                let mut out = Vec::new();
                encoded.write(&mut out);
                assert_eq!(out.len(), encoded.bytes());
                assert!(out.len() <= bound, "{encoding:?} of {bytes}");
                assert!(bound - out.len() <= 8, "{encoding:?} of {bytes}");
                assert!(bound <= limits::outbox_needed(bytes, topic.len()));
            }
        }
    }
}
