//! Events that came in the body of a request: one, a JSON array of them, or one a line.
//!
//! They have the forms that a message over ZeroMQ of one part has. Of a batch in which one is bad,
//! none is published: whoever sent it can mend it and send it again, and nothing is heard twice.
//!
//! Never here: who hears them.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::response::Response;
use crate::limits::PUBLISH_EVENTS_MAX;
use crate::stats::{Dropped, HttpStatus};
use crate::wire::envelope::{Event, Form};

/// What a body is said to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Media {
    /// One event, or an array of them.
    Json,
    /// One event a line.
    Lines,
}

/// A body full of events.
#[derive(Debug)]
pub struct Publication {
    body: Vec<u8>,
    media: Media,
}

/// The events of a good one.
#[derive(Debug, Eq, PartialEq)]
pub enum Events<'a> {
    /// It was one object.
    One(Event<'a>),
    /// It was an array, or lines.
    Batch(Vec<Event<'a>>),
}

/// Why there are none.
#[derive(Debug)]
pub struct Fault {
    /// What is counted.
    pub reason: Dropped,
    /// What is answered.
    pub response: Response,
}

/// Where in a body an event stands.
#[derive(Clone, Copy, Debug)]
enum Place {
    Whole,
    /// From 0.
    Index(usize),
    /// From 1.
    Line(usize),
}

impl Publication {
    /// A body as it came.
    pub fn new(body: Vec<u8>, media: Media) -> Self {
        Self { body, media }
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.body
    }

    /// Its events.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(&self, form: &Form) -> Result<Events<'_>, Fault> {
        let body = self.body.trim_ascii();
        let batch = match (self.media, body.first()) {
            (Media::Json, Some(b'[')) => {
                let whole = str::from_utf8(body).map_err(|_| bad_json(body, Place::Whole))?;
                let elements = elements(whole)?;
                let texts = elements.iter().map(|element| element.get().as_bytes());
                parse_all(form, texts.enumerate().map(|(n, t)| (Place::Index(n), t)))?
            }
            (Media::Json, _) => return parse(form, body, Place::Whole).map(Events::One),
            (Media::Lines, _) => {
                let lines = self
                    .body
                    .split(|&byte| byte == b'\n')
                    .map(<[u8]>::trim_ascii);
                let lines = lines.enumerate().filter(|(_, line)| !line.is_empty());
                parse_all(form, lines.map(|(n, line)| (Place::Line(n + 1), line)))?
            }
        };
        if batch.is_empty() {
            return Err(fault(form, Dropped::Empty, body, Place::Whole));
        }
        Ok(Events::Batch(batch))
    }
}

fn parse_all<'a>(
    form: &Form,
    texts: impl Iterator<Item = (Place, &'a [u8])>,
) -> Result<Vec<Event<'a>>, Fault> {
    let mut events = Vec::new();
    for (place, text) in texts {
        if events.len() == PUBLISH_EVENTS_MAX {
            return Err(too_many());
        }
        events.push(parse(form, text, place)?);
    }
    Ok(events)
}

fn parse<'a>(form: &Form, text: &'a [u8], place: Place) -> Result<Event<'a>, Fault> {
    form.parse(&[text])
        .map_err(|reason| fault(form, reason, text, place))
}

fn fault(form: &Form, reason: Dropped, text: &[u8], place: Place) -> Fault {
    let (what, hint) = match reason {
        Dropped::BadJson => return bad_json(text, place),
        Dropped::Empty | Dropped::Parts => (
            "has no event in it".to_owned(),
            "send {\"topic\":\"…\",\"data\":…}",
        ),
        Dropped::TooLarge => (
            format!("is over {} bytes", form.event_bytes_max),
            "send less of it, or have event-bytes-max raised",
        ),
        Dropped::NoTopic => (
            "names no topic, or has a topic and no data".to_owned(),
            "send {\"topic\":\"…\",\"data\":…}, or an object in which the server's topic-field is a \
             string",
        ),
        Dropped::TooManyEvents => return too_many(),
        Dropped::TopicTooLong => (
            format!("names a topic of over {} bytes", form.topic_bytes_max),
            "give it a shorter name, or have topic-bytes-max raised",
        ),
        Dropped::OwnTopic => (
            "names a topic of the server's own".to_owned(),
            "give it a name that does not begin with $",
        ),
        Dropped::NoSubscriber | Dropped::Filtered => (
            "is heard by nobody".to_owned(),
            "subscribe to its topic first",
        ),
    };
    let status = match reason {
        Dropped::TooLarge => HttpStatus::ContentTooLarge,
        _ => HttpStatus::BadRequest,
    };
    refused(status, reason, place, &what, hint)
}

fn refused(status: HttpStatus, reason: Dropped, place: Place, what: &str, hint: &str) -> Fault {
    let (subject, at) = match place {
        Place::Whole => ("the body".to_owned(), None),
        Place::Index(n) => (format!("the event at index {n}"), Some(("index", n))),
        Place::Line(n) => (format!("line {n}"), Some(("line", n))),
    };
    let hint = match place {
        Place::Whole => hint.to_owned(),
        _ => format!("{hint}; nothing of the batch was published"),
    };
    Fault {
        reason,
        response: Response::refusal_at(status, &format!("{subject} {what}"), &hint, at),
    }
}

/// Where the parser stopped is what its author looks for.
fn bad_json(text: &[u8], place: Place) -> Fault {
    let what = match str::from_utf8(text) {
        Err(error) => format!("is not UTF-8 from byte {} on", error.valid_up_to()),
        Ok(text) => match serde_json::from_str::<IgnoredAny>(text) {
            Err(error) => {
                let error = error.to_string();
                // A line is one already.
                let error = match place {
                    Place::Line(_) => error.replace(" at line 1 column", " at column"),
                    Place::Whole | Place::Index(_) => error,
                };
                format!("is not JSON: {error}")
            }
            Ok(IgnoredAny) => "has a name that is no text: half of a surrogate pair".to_owned(),
        },
    };
    let hint = "send {\"topic\":\"…\",\"data\":…}, an array of these, or one a line with Content-Type: \
                application/x-ndjson";
    refused(HttpStatus::BadRequest, Dropped::BadJson, place, &what, hint)
}

fn too_many() -> Fault {
    let what = format!("has more than {PUBLISH_EVENTS_MAX} events");
    let hint = "send it in several; nothing of it was published";
    refused(
        HttpStatus::ContentTooLarge,
        Dropped::TooManyEvents,
        Place::Whole,
        &what,
        hint,
    )
}

/// The elements of an array, and not more of them than may be.
fn elements(text: &str) -> Result<Vec<&RawValue>, Fault> {
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
        Err(_) => Err(bad_json(text.as_bytes(), Place::Whole)),
    }
}

/// How many heard what: one number for one event, one each for a batch.
pub fn answer(is_batch: bool, members: &[usize]) -> Response {
    let numbers: Vec<String> = members.iter().map(usize::to_string).collect();
    let numbers = numbers.join(",");
    Response::json(if is_batch {
        format!(
            "{{\"events\":{},\"subscribers\":[{numbers}]}}",
            members.len()
        )
    } else {
        format!("{{\"subscribers\":{numbers}}}")
    })
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

    #[test]
    fn what_is_wrong_is_said_and_where() {
        let long = format!(r#"{{"topic":"t","data":"{}"}}"#, "x".repeat(1_000));
        let many = format!("[{}1]", "1,".repeat(PUBLISH_EVENTS_MAX));
        let lines = "{\"topic\":\"t\",\"data\":1}\n".repeat(PUBLISH_EVENTS_MAX + 1);
        for (body, media, reason, part) in [
            ("", Media::Json, Dropped::Empty, "the body has no event"),
            (" \n", Media::Lines, Dropped::Empty, "the body has no event"),
            ("[]", Media::Json, Dropped::Empty, "the body has no event"),
            (
                "{\"topic\":\n x}",
                Media::Json,
                Dropped::BadJson,
                "the body is not JSON: expected value at line 2 column 2",
            ),
            ("[1,", Media::Json, Dropped::BadJson, "the body is not JSON"),
            (
                "[1] 2",
                Media::Json,
                Dropped::BadJson,
                "the body is not JSON",
            ),
            (
                r#"[{"topic":"t","data":1},{"data":1}]"#,
                Media::Json,
                Dropped::NoTopic,
                "the event at index 1 names no topic, or has a topic and no data",
            ),
            (
                "{\"topic\":\"t\",\"data\":1}\n\n{\"topic\"}",
                Media::Lines,
                Dropped::BadJson,
                "line 3 is not JSON",
            ),
            (
                "5",
                Media::Json,
                Dropped::NoTopic,
                "the body names no topic, or has a topic and no data",
            ),
            (
                &long,
                Media::Json,
                Dropped::TooLarge,
                "the body is over 1000 bytes",
            ),
            (
                r#"{"topic":"123456789012345678901","data":1}"#,
                Media::Json,
                Dropped::TopicTooLong,
                "over 20 bytes",
            ),
            (
                r#"{"topic":"$sys/stats","data":1}"#,
                Media::Json,
                Dropped::OwnTopic,
                "the server's own",
            ),
            (&many, Media::Json, Dropped::TooManyEvents, "more than 1024"),
            (
                &lines,
                Media::Lines,
                Dropped::TooManyEvents,
                "more than 1024",
            ),
        ] {
            let publication = Publication::new(body.into(), media);
            let fault = publication.parse(&form()).expect_err("bad");
            assert_eq!(fault.reason, reason, "{body}");
            let answer: serde_json::Value =
                serde_json::from_slice(fault.response.body()).expect("JSON");
            let error = answer["error"].as_str().expect("text");
            assert!(error.contains(part), "{error}");
            assert!(answer["hint"].is_string());
        }
        let publication =
            Publication::new(b"[{\"topic\":\"t\",\"data\":1},7]".to_vec(), Media::Json);
        let fault = publication.parse(&form()).expect_err("bad");
        let answer = String::from_utf8_lossy(fault.response.body()).into_owned();
        assert!(answer.contains("\"index\":1"), "{answer}");
    }

    #[test]
    fn what_is_answered() {
        assert_eq!(answer(false, &[3]).body(), b"{\"subscribers\":3}");
        assert_eq!(
            answer(true, &[3, 0]).body(),
            b"{\"events\":2,\"subscribers\":[3,0]}"
        );
    }
}
