//! Pages of topics and of connections, as JSON.
//!
//! A page is cut where it is full, in entries or in bytes, or where it has looked far enough; `next`
//! says where the next one goes on, and is `null` at the end. What comes or goes between two pages may
//! be missed or seen twice; nobody else is.
//!
//! Never here: where the entries come from.

use std::fmt::Write as _;

use super::response::Response;
use crate::limits;
use crate::wire::wamp::quote;

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

impl TopicRow<'_> {
    /// Appends it as an object.
    pub fn encode(&self, out: &mut String) {
        out.push_str("{\"name\":");
        quote(self.name, out);
        push(
            out,
            format_args!(
                ",\"subscribers\":{},\"events\":{},\"rate\":{:.3}}}",
                self.subscribers, self.events, self.rate
            ),
        );
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

/// A page under way.
#[derive(Debug)]
pub struct Listing {
    json: String,
    entries: usize,
    page: Page,
}

impl Listing {
    /// An empty one, of `what`.
    pub fn new(what: &str, page: Page) -> Self {
        Self {
            json: format!("{{\"{what}\":["),
            entries: 0,
            page,
        }
    }

    /// Whether nothing more may be added.
    pub fn is_full(&self) -> bool {
        self.entries >= self.page.limit || self.json.len() >= limits::ADMIN_PAGE_BYTES_MAX
    }

    fn begin(&mut self) {
        if self.entries > 0 {
            self.json.push(',');
        }
        self.entries += 1;
    }

    /// Adds a topic.
    pub fn push_topic(&mut self, row: &TopicRow<'_>) {
        self.begin();
        row.encode(&mut self.json);
    }

    /// Adds a connection.
    pub fn push_connection(&mut self, row: &ConnectionRow<'_>) {
        self.begin();
        let (place, tenant) = row.id;
        let out = &mut self.json;
        push(
            out,
            format_args!(
                "{{\"id\":\"{place}-{tenant}\",\"address\":\"{}\"",
                row.address
            ),
        );
        push(out, format_args!(",\"state\":\"{}\",\"name\":", row.state));
        quote(row.name, out);
        match row.age_seconds {
            Some(age) => push(out, format_args!(",\"age_seconds\":{age}")),
            None => out.push_str(",\"age_seconds\":null"),
        }
        push(
            out,
            format_args!(
                ",\"topics\":{},\"outbox_bytes\":{}",
                row.topics, row.outbox_bytes
            ),
        );
        if let Some(names) = &row.topic_names {
            out.push_str(",\"topic_names\":[");
            for (n, name) in names.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                quote(name, out);
            }
            out.push(']');
        }
        out.push('}');
    }

    /// The whole page; `next` is the place where the one behind it begins.
    pub fn finish(mut self, next: Option<u32>) -> Response {
        match next {
            Some(next) => push(&mut self.json, format_args!("],\"next\":{next}}}")),
            None => self.json.push_str("],\"next\":null}"),
        }
        Response::json(self.json)
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes everything");
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
            listing.push_topic(&TopicRow {
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
        listing.push_connection(&ConnectionRow {
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
            listing.push_topic(&TopicRow {
                name: &name,
                subscribers: 1,
                events: 0,
                rate: 0.0,
            });
        }
        assert!((10..100).contains(&count), "{count}");
    }
}
