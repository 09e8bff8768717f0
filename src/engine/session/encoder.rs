//! Events on their way to subscribers, each encoded once for every audience of its topic.
//!
//! An event is compressed once for each audience whose clients inflate. These clients also take events that are not
//! compressed. So newswire does not compress an event that is short or huge, or that would not become clearly shorter; and
//! each turn has a budget.
//!
//! Never here: which audiences a topic has, who is in them (`hub`), how a message is written (the files of the
//! protocols).

use std::fmt::Write as _;

use super::encoding::Encoding;
use super::{sse, wamp1, wamp2};
use crate::limits;
use crate::wire::envelope::Event;
use crate::wire::id::EventId;
use crate::wire::json;
use crate::wire::protocol::Protocol;
use crate::wire::websocket::{self, Deflater, Framing};

/// Encodes events, each once for every audience of its topic. What the encodings of one event have in
/// common is made once.
#[derive(Debug)]
pub struct Encoder {
    /// The topic's name as JSON.
    quoted_topic: String,
    /// The event's id as text; empty when it has none, or no encoding has shown it yet.
    id: String,
    /// The number by which WAMP v2 knows the event.
    publication: u64,
    deflater: Deflater,
    /// In bytes: shorter messages are not compressed.
    compress_bytes_min: usize,
    /// In bytes, what may still be compressed in this turn.
    compress_bytes_left: usize,
    /// True exactly when the budget was not used up before the present event. So an event is compressed for all of its
    /// audiences, or for none.
    may_compress: bool,
    /// In events of this turn, each once for every audience.
    compressed: u64,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            quoted_topic: String::new(),
            id: String::new(),
            publication: 1,
            deflater: Deflater::default(),
            compress_bytes_min: limits::COMPRESS_BYTES_MIN,
            compress_bytes_left: limits::TURN_COMPRESS_BYTES_MAX,
            may_compress: true,
            compressed: 0,
        }
    }
}

impl Encoder {
    /// Messages that are shorter, in bytes, are not compressed.
    pub fn set_compress_bytes_min(&mut self, bytes: usize) {
        self.compress_bytes_min = bytes;
    }

    /// A turn is over: the budget for compression begins anew. Answers how many events the turn has compressed, each
    /// once for every audience.
    pub fn finish_turn(&mut self) -> u64 {
        self.compress_bytes_left = limits::TURN_COMPRESS_BYTES_MAX;
        std::mem::take(&mut self.compressed)
    }

    /// Returns true while the budget for compression is not used up.
    pub fn has_budget(&self) -> bool {
        self.compress_bytes_left > 0
    }

    /// `event` is the one that is encoded from here on.
    pub fn begin(&mut self, event: &Event<'_>) {
        self.may_compress = self.has_budget();
        self.quoted_topic.clear();
        json::quote(&event.topic, &mut self.quoted_topic);
        self.id.clear();
        // The server's own events have none.
        self.publication = event.id.map_or(1, wamp2::publication);
    }

    /// `event`, which is that of the last [`Encoder::begin`], in one encoding. `subscription` is the id of its
    /// topic's subscriptions, where the encoding has ids.
    pub fn encode<'a>(
        &'a mut self,
        encoding: Encoding,
        subscription: u64,
        event: &'a Event<'_>,
    ) -> EncodedEvent<'a> {
        if let Some(id) = event.id
            && encoding.protocol() != Protocol::Wamp1
            && self.id.is_empty()
        {
            write!(self.id, "{id}").expect("a String takes everything");
        }
        let plain = plain(
            encoding,
            &self.quoted_topic,
            &self.id,
            (subscription, self.publication),
            event.data,
        );
        let bytes = plain.bytes();
        let is_worth_it = encoding.framing() == Framing::Deflate
            && (self.compress_bytes_min..=limits::COMPRESS_BYTES_MAX).contains(&bytes);
        if !is_worth_it || !self.may_compress {
            return plain;
        }
        let cost = bytes + limits::COMPRESS_OVERHEAD_BYTES;
        self.compress_bytes_left = self.compress_bytes_left.saturating_sub(cost);
        let deflated = self.deflater.deflate(bytes, |out| plain.write_payload(out));
        match deflated {
            Some(payload) => {
                self.compressed += 1;
                EncodedEvent::Deflated(payload)
            }
            None => plain,
        }
    }
}

/// An event that is sent again to one client. It is not compressed.
#[derive(Clone, Copy, Debug)]
pub struct PastEvent<'a> {
    /// The topic, as JSON.
    pub quoted_topic: &'a str,
    /// The id of the topic's subscriptions, where the encoding has ids.
    pub subscription: u64,
    /// The event's id; `None` when it is not shown.
    pub id: Option<EventId>,
    /// The event's data.
    pub data: &'a str,
}

impl PastEvent<'_> {
    /// Appends it in one encoding.
    pub fn write(&self, encoding: Encoding, out: &mut Vec<u8>) {
        let id = self.id.map(|id| id.to_string()).unwrap_or_default();
        let publication = self.id.map_or(1, wamp2::publication);
        let numbers = (self.subscription, publication);
        plain(encoding, self.quoted_topic, &id, numbers, self.data).write(out);
    }
}

fn plain<'a>(
    encoding: Encoding,
    quoted_topic: &'a str,
    id: &'a str,
    (subscription, publication): (u64, u64),
    data: &'a str,
) -> EncodedEvent<'a> {
    match encoding.protocol() {
        Protocol::Wamp1 => EncodedEvent::Wamp1(wamp1::Wamp1Event::new(quoted_topic, data)),
        Protocol::Wamp2 => EncodedEvent::Wamp2(wamp2::Wamp2Event {
            subscription,
            publication,
            id,
            data,
        }),
        Protocol::Sse => EncodedEvent::Sse(sse::StreamEvent {
            id,
            quoted_topic,
            data,
        }),
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
    /// The compressed payload of a WebSocket frame.
    Deflated(&'a [u8]),
}

impl EncodedEvent<'_> {
    /// In bytes, exactly what [`EncodedEvent::write`] appends.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Wamp1(frame) => frame.bytes(),
            Self::Wamp2(frame) => frame.bytes(),
            Self::Sse(event) => event.bytes(),
            Self::Deflated(payload) => websocket::text_header_len(payload.len()) + payload.len(),
        }
    }

    /// Appends it.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Wamp1(frame) => frame.write(out),
            Self::Wamp2(frame) => frame.write(out),
            Self::Sse(event) => event.write(out),
            Self::Deflated(payload) => {
                websocket::encode_deflated_header(payload.len(), out);
                out.extend_from_slice(payload);
            }
        }
    }

    /// Appends what is in its frame.
    fn write_payload(&self, out: &mut Vec<u8>) {
        match self {
            Self::Wamp1(frame) => frame.write_payload(out),
            Self::Wamp2(frame) => frame.write_payload(out),
            Self::Sse(event) => event.write(out),
            Self::Deflated(payload) => out.extend_from_slice(payload),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_event_fits_into_the_smallest_outbox() {
        // Each of these bytes takes six as JSON.
        let topic = "\u{1}".repeat(64);
        let id = format!("abcdefgh-{}", u64::MAX);
        for bytes in [0, 1, 125, 126, 65_536, 70_000] {
            let data = "\n".repeat(bytes);
            let mut quoted_topic = String::new();
            json::quote(&topic, &mut quoted_topic);
            for protocol in [Protocol::Wamp1, Protocol::Wamp2, Protocol::Sse] {
                let (encoded, bound) = match protocol {
                    Protocol::Wamp1 => (
                        EncodedEvent::Wamp1(wamp1::Wamp1Event::new(&quoted_topic, &data)),
                        limits::wamp1_event_bytes(bytes, topic.len()),
                    ),
                    Protocol::Wamp2 => (
                        EncodedEvent::Wamp2(wamp2::Wamp2Event {
                            subscription: u64::MAX,
                            publication: u64::MAX,
                            id: &id,
                            data: &data,
                        }),
                        limits::wamp2_event_bytes(bytes),
                    ),
                    Protocol::Sse => (
                        EncodedEvent::Sse(sse::StreamEvent {
                            id: &id,
                            quoted_topic: &quoted_topic,
                            data: &data,
                        }),
                        limits::sse_event_bytes(bytes, topic.len()),
                    ),
                };
                let mut out = Vec::new();
                encoded.write(&mut out);
                assert_eq!(out.len(), encoded.bytes());
                assert!(out.len() <= bound, "{protocol:?} of {bytes}");
                assert!(bound - out.len() <= 8, "{protocol:?} of {bytes}");
                assert!(bound <= limits::outbox_needed(bytes, topic.len()));
            }
        }
    }

    fn encoder(compress_bytes_min: usize) -> Encoder {
        let mut encoder = Encoder::default();
        encoder.set_compress_bytes_min(compress_bytes_min);
        encoder.begin(&Event::new("t".into(), "1"));
        encoder
    }

    fn is_compressed(encoder: &mut Encoder, data: &str) -> bool {
        let event = Event::new("t".into(), data);
        encoder.begin(&event);
        let encoded = encoder.encode(Encoding::Wamp1Deflate, 0, &event);
        let mut out = Vec::new();
        encoded.write(&mut out);
        assert_eq!(out.len(), encoded.bytes());
        out[0] == 0xC1
    }

    #[test]
    fn what_is_short_is_not_compressed() {
        let mut encoder = encoder(100);
        assert!(is_compressed(&mut encoder, &"a".repeat(100)));
        assert!(!is_compressed(&mut encoder, &"a".repeat(50)));
        encoder.set_compress_bytes_min(usize::MAX);
        assert!(!is_compressed(&mut encoder, &"a".repeat(100_000)));
    }

    #[test]
    fn an_event_that_uses_the_budget_up_is_compressed_for_all_its_audiences() {
        let mut encoder = encoder(100);
        let data = "a".repeat(limits::TURN_COMPRESS_BYTES_MAX + 1);
        let event = Event::new("t".into(), &data);
        for encoding in [Encoding::Wamp1Deflate, Encoding::Wamp2Deflate] {
            let encoded = encoder.encode(encoding, 1, &event);
            assert!(matches!(encoded, EncodedEvent::Deflated(_)), "{encoding:?}");
        }
    }

    #[test]
    fn a_turn_compresses_so_much_and_no_more() {
        let mut encoder = encoder(100);
        let data = "a".repeat(limits::TURN_COMPRESS_BYTES_MAX / 2);
        assert!(encoder.has_budget());
        assert!(is_compressed(&mut encoder, &data));
        assert!(is_compressed(&mut encoder, &data));
        assert!(!encoder.has_budget());
        assert!(!is_compressed(&mut encoder, &data), "beyond the budget");
        assert_eq!(encoder.finish_turn(), 2);
        assert!(is_compressed(&mut encoder, &data));
        let huge = "a".repeat(limits::COMPRESS_BYTES_MAX + 1);
        assert!(!is_compressed(&mut encoder, &huge), "too large");
    }
}
