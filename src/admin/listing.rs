//! Pages of topics and of connections, as JSON.
//!
//! A page ends when it is full, in rows or in bytes, or when the server has looked at enough places for one
//! turn. `next` says where the next page begins, and is `null` on the last page. A topic or connection that
//! comes or goes between two pages may be missed or listed twice; all others are listed once.
//!
//! Never here: where the rows come from.

use serde_json::Value;

use super::response::Response;
use crate::limits;
use crate::wire::json::{self, ToJson};

/// Which page a request asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PageRequest {
    /// The most rows that the page may have.
    pub limit: usize,
    /// The first place that the server looks at. With workers it names the worker, too.
    pub after: u64,
    /// True exactly when the names of a connection's topics are wanted.
    pub has_topics: bool,
    /// True exactly when only topics are wanted of which events are kept.
    pub is_kept: bool,
}

/// What is kept of a topic. The larger of two has more events.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct KeptRow {
    /// In events.
    pub events: usize,
    /// In bytes, with what they cost beside their data.
    pub bytes: usize,
    /// In seconds, the age of the oldest one.
    pub age_seconds: Option<u32>,
}

impl KeptRow {
    /// Reads what `to_json` wrote. `None` when it is anything else.
    pub fn read(value: &Value) -> Option<Self> {
        let number = |key: &str| value[key].as_u64();
        Some(Self {
            events: usize::try_from(number("events")?).ok()?,
            bytes: usize::try_from(number("bytes")?).ok()?,
            age_seconds: number("age_seconds").and_then(|age| u32::try_from(age).ok()),
        })
    }
}

impl ToJson for KeptRow {
    fn to_json(&self, out: &mut String) {
        json::object(out, |kept| {
            kept.put("events", self.events)
                .put("bytes", self.bytes)
                .put("age_seconds", self.age_seconds);
        });
    }
}

/// The row of a topic.
#[derive(Clone, Copy, Debug)]
pub struct TopicRow<'a> {
    /// Its name.
    pub name: &'a str,
    /// How many connections are subscribed.
    pub subscribers: usize,
    /// How many events it had since its first subscriber came, or since events of it are kept.
    pub events: u64,
    /// Its events a second.
    pub rate: f32,
    /// What is kept of it, if anything is.
    pub kept: Option<KeptRow>,
}

impl ToJson for TopicRow<'_> {
    fn to_json(&self, out: &mut String) {
        json::object(out, |topic| {
            topic
                .put("name", self.name)
                .put("subscribers", self.subscribers)
                .put("events", self.events)
                .put("rate", format_args!("{:.3}", self.rate));
            if let Some(kept) = self.kept {
                topic.put("kept", kept);
            }
        });
    }
}

/// The row of a connection.
#[derive(Clone, Debug)]
pub struct ConnectionRow<'a> {
    /// Its place, and which tenant of the place.
    pub id: (u32, u32),
    /// Its address and port.
    pub address: String,
    /// A word for what it is doing.
    pub state: &'static str,
    /// A word for the protocol that it speaks; `None` before it is open.
    pub protocol: Option<&'static str>,
    /// The name of its token.
    pub name: &'a str,
    /// How many seconds ago it was opened; `None` before that.
    pub age_seconds: Option<u64>,
    /// How many topics it is subscribed to.
    pub topics: usize,
    /// The names of the first topics, when they are wanted.
    pub topic_names: Option<Vec<&'a str>>,
    /// How many bytes it has left unread.
    pub outbox_bytes: usize,
}

impl ToJson for ConnectionRow<'_> {
    fn to_json(&self, out: &mut String) {
        let (place, tenant) = self.id;
        json::object(out, |connection| {
            connection
                .put("id", &*format!("{place}-{tenant}"))
                .put("address", &*self.address)
                .put("state", self.state)
                .put("protocol", self.protocol)
                .put("name", self.name)
                .put("age_seconds", self.age_seconds)
                .put("topics", self.topics)
                .put("outbox_bytes", self.outbox_bytes);
            if let Some(names) = &self.topic_names {
                connection.put("topic_names", &names[..]);
            }
        });
    }
}

/// A page under way.
#[derive(Debug)]
pub struct PageOfRows {
    /// What the rows are.
    what: &'static str,
    /// The rows, with commas between them.
    rows: String,
    entries: usize,
    page: PageRequest,
}

impl PageOfRows {
    /// Begins a page without rows. `what` says what its rows are.
    pub fn new(what: &'static str, page: PageRequest) -> Self {
        Self {
            what,
            rows: String::new(),
            entries: 0,
            page,
        }
    }

    /// Returns true when no more rows may be added.
    pub fn is_full(&self) -> bool {
        self.entries >= self.page.limit || self.rows.len() >= limits::ADMIN_PAGE_BYTES_MAX
    }

    /// Adds a row.
    pub fn push(&mut self, row: &impl ToJson) {
        if self.entries > 0 {
            self.rows.push(',');
        }
        self.entries += 1;
        row.to_json(&mut self.rows);
    }

    /// Returns the whole page. `next` is where the next page begins. `left_out` are the workers that did not answer.
    pub fn finish(self, next: Option<u64>, left_out: &[usize]) -> Response {
        Response::object(|page| {
            page.put(self.what, format_args!("[{}]", self.rows))
                .put("next", next);
            if !left_out.is_empty() {
                page.put("left_out", left_out);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: PageRequest = PageRequest {
        limit: 2,
        after: 0,
        has_topics: false,
        is_kept: false,
    };

    fn parsed(response: &Response) -> serde_json::Value {
        serde_json::from_slice(response.body()).expect("JSON")
    }

    #[test]
    fn a_page_is_json_whatever_the_names_are() {
        let mut listing = PageOfRows::new("topics", PAGE);
        let kept = KeptRow {
            events: 3,
            bytes: 400,
            age_seconds: None,
        };
        for (name, kept) in [("a \"☃\"\u{0}", Some(kept)), ("", None)] {
            assert!(!listing.is_full());
            listing.push(&TopicRow {
                name,
                subscribers: 1,
                events: 2,
                rate: 0.25,
                kept,
            });
        }
        assert!(listing.is_full());
        let page = parsed(&listing.finish(Some(7), &[]));
        assert_eq!(page["topics"][0]["name"], "a \"☃\"\u{0}");
        assert_eq!(KeptRow::read(&page["topics"][0]["kept"]), Some(kept));
        assert_eq!(page["topics"][1]["rate"], 0.25);
        assert!(page["topics"][1].get("kept").is_none());
        assert_eq!(page["next"], 7);

        let mut listing = PageOfRows::new("connections", PAGE);
        listing.push(&ConnectionRow {
            id: (3, 1),
            address: "[::1]:5".to_owned(),
            state: "open",
            protocol: Some("wamp"),
            name: "o'\"",
            age_seconds: Some(9),
            topics: 2,
            topic_names: Some(vec!["x", "\\"]),
            outbox_bytes: 0,
        });
        let page = parsed(&listing.finish(None, &[]));
        let row = &page["connections"][0];
        assert_eq!((&row["id"], &row["name"]), (&"3-1".into(), &"o'\"".into()));
        assert_eq!(row["topic_names"], serde_json::json!(["x", "\\"]));
        assert!(page["next"].is_null());
    }

    #[test]
    fn a_page_of_long_names_ends_by_its_bytes() {
        let page = PageRequest {
            limit: 1_000,
            ..PAGE
        };
        let mut listing = PageOfRows::new("topics", page);
        let name = "\u{1}".repeat(limits::TOPIC_BYTES_MAX);
        let mut count = 0;
        while !listing.is_full() {
            count += 1;
            listing.push(&TopicRow {
                name: &name,
                subscribers: 1,
                events: 0,
                rate: 0.0,
                kept: None,
            });
        }
        assert!((10..100).contains(&count), "{count}");
    }
}
