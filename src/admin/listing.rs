//! Pages of topics and of connections, as JSON.
//!
//! A page is cut where it is full, in entries or in bytes, or where it has looked far enough; `next`
//! says where the next one goes on, and is `null` at the end. What comes or goes between two pages may
//! be missed or seen twice; nobody else is.
//!
//! Never here: where the entries come from.

use super::response::Response;
use crate::limits;
use crate::wire::json::{self, ToJson};

/// Which page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Page {
    /// In entries.
    pub limit: usize,
    /// The first place that is looked at.
    pub after: u32,
    /// Whether the names of a connection's topics are wanted.
    pub has_topics: bool,
}

/// A topic.
#[derive(Clone, Copy, Debug)]
pub struct TopicRow<'a> {
    /// Its name.
    pub name: &'a str,
    /// In connections.
    pub subscribers: usize,
    /// Since it is alive.
    pub events: u64,
    /// In events a second.
    pub rate: f32,
}

impl ToJson for TopicRow<'_> {
    fn to_json(&self, out: &mut String) {
        json::object(out, |topic| {
            topic
                .put("name", self.name)
                .put("subscribers", self.subscribers)
                .put("events", self.events)
                .put("rate", format_args!("{:.3}", self.rate));
        });
    }
}

/// A connection.
#[derive(Clone, Debug)]
pub struct ConnectionRow<'a> {
    /// Its place, and which tenant of it.
    pub id: (u32, u32),
    /// Address and port.
    pub address: String,
    /// A word.
    pub state: &'static str,
    /// Of its token.
    pub name: &'a str,
    /// In seconds since it was opened; `None` until then.
    pub age_seconds: Option<u64>,
    /// In topics.
    pub topics: usize,
    /// The first of their names, where these are wanted.
    pub topic_names: Option<Vec<&'a str>>,
    /// In bytes.
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
pub struct Listing {
    /// What the rows are.
    what: &'static str,
    /// The rows, with commas between them.
    rows: String,
    entries: usize,
    page: Page,
}

impl Listing {
    /// Begins a page without rows. `what` says what its rows are.
    pub fn new(what: &'static str, page: Page) -> Self {
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

    /// Returns the whole page. `next` is the place where the next page begins.
    pub fn finish(self, next: Option<u32>) -> Response {
        Response::object(|page| {
            page.put(self.what, format_args!("[{}]", self.rows))
                .put("next", next);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: Page = Page {
        limit: 2,
        after: 0,
        has_topics: false,
    };

    fn parsed(response: &Response) -> serde_json::Value {
        serde_json::from_slice(response.body()).expect("JSON")
    }

    #[test]
    fn a_page_is_json_whatever_the_names_are() {
        let mut listing = Listing::new("topics", PAGE);
        for name in ["a \"☃\"\u{0}", ""] {
            assert!(!listing.is_full());
            listing.push(&TopicRow {
                name,
                subscribers: 1,
                events: 2,
                rate: 0.25,
            });
        }
        assert!(listing.is_full());
        let page = parsed(&listing.finish(Some(7)));
        assert_eq!(page["topics"][0]["name"], "a \"☃\"\u{0}");
        assert_eq!(page["topics"][1]["rate"], 0.25);
        assert_eq!(page["next"], 7);

        let mut listing = Listing::new("connections", PAGE);
        listing.push(&ConnectionRow {
            id: (3, 1),
            address: "[::1]:5".to_owned(),
            state: "open",
            name: "o'\"",
            age_seconds: Some(9),
            topics: 2,
            topic_names: Some(vec!["x", "\\"]),
            outbox_bytes: 0,
        });
        let page = parsed(&listing.finish(None));
        let row = &page["connections"][0];
        assert_eq!((&row["id"], &row["name"]), (&"3-1".into(), &"o'\"".into()));
        assert_eq!(row["topic_names"], serde_json::json!(["x", "\\"]));
        assert!(page["next"].is_null());
    }

    #[test]
    fn a_page_of_long_names_ends_by_its_bytes() {
        let page = Page {
            limit: 1_000,
            ..PAGE
        };
        let mut listing = Listing::new("topics", page);
        let name = "\u{1}".repeat(limits::TOPIC_BYTES_MAX);
        let mut count = 0;
        while !listing.is_full() {
            count += 1;
            listing.push(&TopicRow {
                name: &name,
                subscribers: 1,
                events: 0,
                rate: 0.0,
            });
        }
        assert!((10..100).contains(&count), "{count}");
    }
}
