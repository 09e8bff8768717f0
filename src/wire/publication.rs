//! Events in the body of a request: one event, a JSON array of events, or one event a line.
//!
//! Each event has one of the forms that a ZeroMQ message of one part can have ([`super::envelope`]). When one
//! event of a batch is bad, the whole batch is bad: its publisher mends it and sends all of it again, and no
//! client receives an event twice.
//!
//! Never here: HTTP (the caller says which media type the body has, and answers), and who receives the events.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::envelope::{Event, Form};
use crate::limits::PUBLISH_EVENTS_MAX;
use crate::stats::Dropped;

/// What the publisher says the body is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Media {
    /// One event, or an array of them.
    Json,
    /// One event a line.
    Lines,
}

/// A request's body, not parsed yet.
#[derive(Debug)]
pub struct Publication {
    body: Vec<u8>,
    media: Media,
}

/// The events of a good body.
#[derive(Debug, Eq, PartialEq)]
pub enum Events<'a> {
    /// The body was one object.
    One(Event<'a>),
    /// The body was an array, or lines.
    Batch(Vec<Event<'a>>),
}

/// Why a body has no events.
#[derive(Debug, Eq, PartialEq)]
pub struct PublicationFault {
    /// What is counted.
    pub reason: Dropped,
    /// Which part of the body is wrong.
    pub place: EventPlace,
    /// The rest of a sentence whose subject is that part, such as `is over 1000 bytes`.
    pub what: String,
}

/// A part of a body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EventPlace {
    /// All of it.
    Whole,
    /// The element of an array, counted from 0.
    Index(usize),
    /// A line, counted from 1.
    Line(usize),
}

impl Publication {
    /// A body as its publisher sent it.
    pub fn new(body: Vec<u8>, media: Media) -> Self {
        Self { body, media }
    }

    /// The whole body.
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// Parses all events.
    ///
    /// # Errors
    /// The first fault, and where it is.
    pub fn parse(&self, form: &Form) -> Result<Events<'_>, PublicationFault> {
        let body = self.body.trim_ascii();
        let batch = match (self.media, body.first()) {
            (Media::Json, Some(b'[')) => {
                let whole = str::from_utf8(body).map_err(|_| bad_json(body, EventPlace::Whole))?;
                let elements = elements(whole)?;
                let texts = elements.iter().map(|element| element.get().as_bytes());
                parse_all(
                    form,
                    texts.enumerate().map(|(n, t)| (EventPlace::Index(n), t)),
                )?
            }
            (Media::Json, _) => return parse(form, body, EventPlace::Whole).map(Events::One),
            (Media::Lines, _) => {
                let lines = self
                    .body
                    .split(|&byte| byte == b'\n')
                    .map(<[u8]>::trim_ascii);
                let lines = lines.enumerate().filter(|(_, line)| !line.is_empty());
                parse_all(form, lines.map(|(n, line)| (EventPlace::Line(n + 1), line)))?
            }
        };
        if batch.is_empty() {
            return Err(fault(form, Dropped::Empty, body, EventPlace::Whole));
        }
        Ok(Events::Batch(batch))
    }
}

fn parse_all<'a>(
    form: &Form,
    texts: impl Iterator<Item = (EventPlace, &'a [u8])>,
) -> Result<Vec<Event<'a>>, PublicationFault> {
    let mut events = Vec::new();
    for (place, text) in texts {
        if events.len() == PUBLISH_EVENTS_MAX {
            return Err(too_many());
        }
        events.push(parse(form, text, place)?);
    }
    Ok(events)
}

fn parse<'a>(
    form: &Form,
    text: &'a [u8],
    place: EventPlace,
) -> Result<Event<'a>, PublicationFault> {
    form.parse(&[text])
        .map_err(|reason| fault(form, reason, text, place))
}

fn fault(form: &Form, reason: Dropped, text: &[u8], place: EventPlace) -> PublicationFault {
    let what = match reason {
        Dropped::BadJson => return bad_json(text, place),
        Dropped::TooManyEvents => return too_many(),
        Dropped::Empty | Dropped::Parts => "has no event in it".to_owned(),
        Dropped::TooLarge => format!("is over {} bytes", form.event_bytes_max),
        Dropped::NoTopic => "names no topic, or has a topic and no data".to_owned(),
        Dropped::TopicTooLong => {
            format!("names a topic of over {} bytes", form.topic_bytes_max)
        }
        Dropped::OwnTopic => "names a topic of the server's own".to_owned(),
        Dropped::NoSubscriber | Dropped::Filtered => "is heard by nobody".to_owned(),
    };
    PublicationFault {
        reason,
        place,
        what,
    }
}

/// Says where the parser stopped: that is what the text's author looks for.
fn bad_json(text: &[u8], place: EventPlace) -> PublicationFault {
    let what = match str::from_utf8(text) {
        Err(error) => format!("is not UTF-8 from byte {} on", error.valid_up_to()),
        Ok(text) => match serde_json::from_str::<IgnoredAny>(text) {
            Err(error) => {
                let error = error.to_string();
                // A line is one already.
                let error = match place {
                    EventPlace::Line(_) => error.replace(" at line 1 column", " at column"),
                    EventPlace::Whole | EventPlace::Index(_) => error,
                };
                format!("is not JSON: {error}")
            }
            Ok(IgnoredAny) => "has a name that is no text: half of a surrogate pair".to_owned(),
        },
    };
    PublicationFault {
        reason: Dropped::BadJson,
        place,
        what,
    }
}

fn too_many() -> PublicationFault {
    PublicationFault {
        reason: Dropped::TooManyEvents,
        place: EventPlace::Whole,
        what: format!("has more than {PUBLISH_EVENTS_MAX} events"),
    }
}

/// The elements of an array, unless they are too many.
fn elements(text: &str) -> Result<Vec<&RawValue>, PublicationFault> {
    struct Elements;
    impl<'a> Visitor<'a> for Elements {
        type Value = Option<Vec<&'a RawValue>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array")
        }

        fn visit_seq<A: SeqAccess<'a>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
            let mut found = Vec::new();
            while let Some(element) = elements.next_element()? {
                if found.len() < PUBLISH_EVENTS_MAX {
                    found.push(element);
                    continue;
                }
                while elements.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(None);
            }
            Ok(Some(found))
        }
    }
    let mut array = serde_json::Deserializer::from_str(text);
    let found = array.deserialize_seq(Elements).and_then(|found| {
        array.end()?;
        Ok(found)
    });
    match found {
        Ok(Some(found)) => Ok(found),
        Ok(None) => Err(too_many()),
        Err(_) => Err(bad_json(text.as_bytes(), EventPlace::Whole)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form() -> Form {
        Form {
            topic_field: "category".to_owned(),
            event_bytes_max: 1_000,
            topic_bytes_max: 20,
        }
    }

    fn topics(body: &str, media: Media) -> String {
        let publication = Publication::new(body.into(), media);
        match publication.parse(&form()).expect("good") {
            Events::One(event) => format!("{}={}", event.topic, event.data),
            Events::Batch(events) => {
                let each = events.iter().map(|e| format!("{}={}", e.topic, e.data));
                each.collect::<Vec<_>>().join(" ")
            }
        }
    }

    #[test]
    fn one_an_array_and_lines() {
        for (body, media, expected) in [
            (r#" {"topic":"t","data":1} "#, Media::Json, "t=1"),
            (
                r#"{"category":"c","x":1}"#,
                Media::Json,
                r#"c={"category":"c","x":1}"#,
            ),
            (
                r#" [{"topic":"a","data":1.50},
                     {"topic":"b","data":"\/"}]"#,
                Media::Json,
                r#"a=1.50 b="\/""#,
            ),
            (
                "{\"topic\":\"a\",\"data\":1}\r\n\n{\"topic\":\"b\",\"data\":2}",
                Media::Lines,
                "a=1 b=2",
            ),
            ("{\"topic\":\"a\",\"data\":1}\n", Media::Lines, "a=1"),
        ] {
            assert_eq!(topics(body, media), expected, "{body}");
        }
    }
}
