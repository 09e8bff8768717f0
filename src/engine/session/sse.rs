//! Server-sent events: what such a client asked for, and every byte that it receives.
//!
//! The client says nothing after its request, so it cannot be asked whether it is still there: a dead one is found by
//! the kernel, which gives up on bytes that nobody acknowledges.
//!
//! Never here: the stages of a session (`mod.rs`), how a request is read and an event is written (`wire`).

use super::SessionId;
use crate::limits;
use crate::stats::{Gap, Refusal};
use crate::wire::json;
use crate::wire::past::{PastWish, RecoveryNotice};
use crate::wire::sse;

/// What a client asked for that waits for its stream.
#[derive(Debug)]
pub struct StreamWish {
    /// The topics.
    pub topics: Vec<String>,
    /// What is asked of their past.
    pub past: PastWish,
    /// The page's origin.
    pub origin: Option<String>,
    /// True exactly when a browser asks.
    pub is_browser: bool,
}

impl StreamWish {
    /// Appends the answer that begins the stream.
    pub fn accept(&self, id: SessionId, out: &mut Vec<u8>) {
        self.begin(limits::STREAM_RETRY_MILLISECONDS, id, out);
    }

    /// Appends the answer that refuses the stream. A browser takes any other status than 200 for the end, so one that
    /// is welcome later gets an empty stream.
    pub fn refuse(&self, refusal: Refusal, id: SessionId, out: &mut Vec<u8>) {
        match self.is_browser && refusal.may_pass() {
            true => self.begin(limits::STREAM_RETRY_LATER_MILLISECONDS, id, out),
            false => sse::encode_refusal(self.origin.as_deref(), refusal, out),
        }
    }

    fn begin(&self, retry: u64, id: SessionId, out: &mut Vec<u8>) {
        let spread = id.number() % limits::STREAM_RETRY_SPREAD_MILLISECONDS;
        sse::encode_head(self.origin.as_deref(), retry + spread, out);
    }
}

/// Appends what keeps a quiet connection alive.
pub fn comment(out: &mut Vec<u8>) {
    sse::encode_comment(out);
}

/// Appends what a client gets of its topics' past.
pub fn recovery(notice: RecoveryNotice, out: &mut Vec<u8>) {
    sse::encode_recovery(notice, out);
}

/// Appends that events of a topic were lost to the client.
pub fn gap(topic: &str, gap: Gap, out: &mut Vec<u8>) {
    let mut quoted = String::new();
    json::quote(topic, &mut quoted);
    sse::encode_gap(&quoted, gap, out);
}

/// An event, not written yet.
#[derive(Clone, Copy, Debug)]
pub struct StreamEvent<'a> {
    /// The event's id as text; empty when it has none.
    pub id: &'a str,
    /// The topic, as JSON.
    pub quoted_topic: &'a str,
    /// The event's data.
    pub data: &'a str,
}

impl StreamEvent<'_> {
    /// In bytes, the whole event.
    pub fn bytes(&self) -> usize {
        sse::event_len(self.id, self.quoted_topic, self.data)
    }

    /// Appends the event.
    pub fn write(&self, out: &mut Vec<u8>) {
        sse::encode_event(self.id, self.quoted_topic, self.data, out);
    }
}
