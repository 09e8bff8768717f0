//! A publisher's message becomes an [`Event`], or the reason why it is none.
use std::borrow::Cow;

use crate::stats::Drop;

/// A topic's name and its data, borrowed from the publisher's message.
#[derive(Debug, Eq, PartialEq)]
pub struct Event<'a> {
    /// Never empty.
    pub topic: Cow<'a, str>,
    /// One JSON value, byte for byte as the publisher wrote it (RFC 8259), without white space around it.
    pub data: &'a str,
}

/// What an envelope may look like.
#[derive(Clone, Debug)]
pub struct Form {
    /// The field that names the topic in a flat object.
    pub topic_field: String,
    /// In bytes, the whole message.
    pub event_bytes_max: usize,
    /// In bytes.
    pub topic_bytes_max: usize,
}

impl Form {
    /// Parses the parts of one message.
    pub fn parse<'a>(&self, _parts: &[&'a [u8]]) -> Result<Event<'a>, Drop> { Err(Drop::Empty) }
}
