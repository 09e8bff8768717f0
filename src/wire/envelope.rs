//! Parses a publisher's message into an [`Event`], or says why it is not one.
//!
//! A message has one of three forms (docs/wire.md s. 1 says which libraries send them):
//! - one part, `{"topic":"…","data":…}`: an object with `data` and a string `topic`. Other keys do
//!   not matter.
//! - one part, flat: any other object in which [`Form::topic_field`] is a string. The whole object
//!   is the data. So with the field named `topic`, an object with `topic` and no `data` is flat;
//!   with another field's name it has no topic.
//! - two parts, `[topic][data]`: the topic is bare text, the data JSON. A relay adds two parts: the event's id, and
//!   the event's place in its topic (the relay's epoch, and a number).
//!
//! The data has to be JSON, because it is copied into the frames for clients. It is then passed on byte for byte:
//! numbers, escapes and the order of keys stay as the publisher wrote them. When a key occurs twice, the last one
//! counts, as in PHP.
//!
//! Never here: who may publish, who subscribes, and copies of the data.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::id::{EventId, TopicPlace};
use super::{grant, json};
use crate::stats::Dropped;

/// A topic's name and its data, borrowed from the publisher's message.
#[derive(Debug, Eq, PartialEq)]
pub struct Event<'a> {
    /// Never empty.
    pub topic: Cow<'a, str>,
    /// One JSON value, byte for byte as the publisher wrote it (RFC 8259), without white space
    /// around it.
    pub data: &'a str,
    /// `None` where the source has not brought one along.
    pub id: Option<EventId>,
    /// The event's place in its topic, where a relay has counted. The id may come from an earlier relay.
    pub place: Option<TopicPlace>,
}

impl<'a> Event<'a> {
    /// An event without an id.
    pub fn new(topic: Cow<'a, str>, data: &'a str) -> Self {
        Self {
            topic,
            data,
            id: None,
            place: None,
        }
    }
}

/// The rules for envelopes.
#[derive(Clone, Debug)]
pub struct Form {
    /// The field that names the topic in a flat object.
    pub topic_field: String,
    /// In bytes, the longest message, all its parts together.
    pub event_bytes_max: usize,
    /// In bytes, the longest topic, after JSON's escapes are undone.
    pub topic_bytes_max: usize,
}

impl Form {
    /// Parses the parts of one message.
    ///
    /// # Errors
    /// Returns why the message is not an event. Cheap checks come first: a message that is too large is not parsed.
    pub fn parse<'a>(&self, parts: &[&'a [u8]]) -> Result<Event<'a>, Dropped> {
        let bytes = parts
            .iter()
            .fold(0_usize, |sum, part| sum.saturating_add(part.len()));
        if bytes == 0 {
            return Err(Dropped::Empty);
        }
        if bytes > self.event_bytes_max {
            return Err(Dropped::TooLarge);
        }
        let event = match *parts {
            [object] => self.parse_object(text(object)?)?,
            [topic, data] => parse_pair(topic, data)?,
            [topic, data, id, place] => {
                let (id, place) = (EventId::parse(id), TopicPlace::parse(place));
                if id.is_none() || place.is_none() {
                    return Err(Dropped::Parts);
                }
                Event {
                    id,
                    place,
                    ..parse_pair(topic, data)?
                }
            }
            _ => return Err(Dropped::Parts),
        };
        if event.topic.is_empty() {
            return Err(Dropped::NoTopic);
        }
        if event.topic.len() > self.topic_bytes_max {
            return Err(Dropped::TopicTooLong);
        }
        if event.topic.starts_with(grant::OWN) {
            return Err(Dropped::OwnTopic);
        }
        Ok(event)
    }

    fn parse_object<'a>(&self, text: &'a str) -> Result<Event<'a>, Dropped> {
        let text = text.trim_matches([' ', '\t', '\n', '\r']);
        if !text.starts_with('{') {
            // An operator looks for another cause when the text is JSON than when it is not.
            return Err(value(text).map_or(Dropped::BadJson, |_| Dropped::NoTopic));
        }
        let mut object = serde_json::Deserializer::from_str(text);
        let fields = object
            .deserialize_map(FieldsVisitor(&self.topic_field))
            .map_err(|_| Dropped::BadJson)?;
        object.end().map_err(|_| Dropped::BadJson)?;
        let string = |value: Option<&'a RawValue>| {
            value
                .map(RawValue::get)
                .filter(|json| json.starts_with('"'))
        };
        match (string(fields.topic), fields.data, string(fields.flat)) {
            (Some(topic), Some(data), _) => {
                let topic = json::unquote(topic).ok_or(Dropped::BadJson)?;
                Ok(Event::new(topic, data.get()))
            }
            (_, _, Some(topic)) => {
                let topic = json::unquote(topic).ok_or(Dropped::BadJson)?;
                Ok(Event::new(topic, text))
            }
            _ => Err(Dropped::NoTopic),
        }
    }
}

fn parse_pair<'a>(topic: &'a [u8], data: &'a [u8]) -> Result<Event<'a>, Dropped> {
    let topic = Cow::Borrowed(text(topic)?);
    Ok(Event::new(topic, value(text(data)?)?.get()))
}

/// Returns `bytes` as text: JSON between systems is UTF-8 (RFC 8259 s. 8.1), and so are text frames.
fn text(bytes: &[u8]) -> Result<&str, Dropped> {
    str::from_utf8(bytes).map_err(|_| Dropped::BadJson)
}

/// Returns `text` when it is one JSON value, however deep: the parser keeps the depth in memory, not on the stack.
fn value(text: &str) -> Result<&RawValue, Dropped> {
    serde_json::from_str(text).map_err(|_| Dropped::BadJson)
}

/// The values of the keys that matter; for a key that occurs twice, the last one.
#[derive(Default)]
struct Fields<'a> {
    topic: Option<&'a RawValue>,
    data: Option<&'a RawValue>,
    /// The value of `topic_field`; that may be one of the two other keys.
    flat: Option<&'a RawValue>,
}

/// Holds `topic_field`.
struct FieldsVisitor<'f>(&'f str);

impl<'a> Visitor<'a> for FieldsVisitor<'_> {
    type Value = Fields<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut entries: A) -> Result<Fields<'a>, A::Error> {
        let mut fields = Fields::default();
        while let Some(key) = entries.next_key_seed(KeyVisitor(self.0))? {
            if !(key.is_topic || key.is_data || key.is_flat) {
                entries.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = Some(entries.next_value()?);
            if key.is_topic {
                fields.topic = value;
            }
            if key.is_data {
                fields.data = value;
            }
            if key.is_flat {
                fields.flat = value;
            }
        }
        Ok(fields)
    }
}

/// Says which of the keys that matter a key is; the name itself is not kept.
struct EnvelopeKey {
    is_topic: bool,
    is_data: bool,
    is_flat: bool,
}

/// Holds `topic_field`.
struct KeyVisitor<'f>(&'f str);

impl<'a> DeserializeSeed<'a> for KeyVisitor<'_> {
    type Value = EnvelopeKey;

    fn deserialize<D: Deserializer<'a>>(self, key: D) -> Result<EnvelopeKey, D::Error> {
        key.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyVisitor<'_> {
    type Value = EnvelopeKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, name: &str) -> Result<EnvelopeKey, E> {
        Ok(EnvelopeKey {
            is_topic: name == "topic",
            is_data: name == "data",
            is_flat: name == self.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(topic_field: &str) -> Form {
        Form {
            topic_field: topic_field.to_owned(),
            event_bytes_max: 200,
            topic_bytes_max: 20,
        }
    }

    fn parse<'a>(parts: &[&'a [u8]]) -> Result<Event<'a>, Dropped> {
        form("category").parse(parts)
    }

    fn event<'a>(topic: &'a str, data: &'a str) -> Result<Event<'a>, Dropped> {
        Ok(Event::new(topic.into(), data))
    }

    #[test]
    fn an_object_with_topic_and_data() {
        let cases = [
            (
                r#"{"topic":"package_created","data":{"n":1}}"#,
                "package_created",
                r#"{"n":1}"#,
            ),
            (r#"{"data":[1, 2],"topic":"t"}"#, "t", "[1, 2]"),
            (
                " \n{ \"topic\" : \"t\" , \"data\" :  1.50e+3 } \r\n",
                "t",
                "1.50e+3",
            ),
            (r#"{"topic":"t","data":null}"#, "t", "null"),
            (
                r#"{"topic":"t","data":"\/\u00e9\ud800"}"#,
                "t",
                r#""\/\u00e9\ud800""#,
            ),
            (
                r#"{"topic":"http:\/\/x\/\u00e9\"","data":0}"#,
                "http://x/é\"",
                "0",
            ),
            (r#"{"t\u006fpic":"t","d\u0061ta":1}"#, "t", "1"),
            (
                r#"{"topic":"t","data":{"b":1,"a":{"b":2,"b":3}},"x":[]}"#,
                "t",
                r#"{"b":1,"a":{"b":2,"b":3}}"#,
            ),
            // The last one counts.
            (r#"{"topic":"a","data":1,"topic":"b","data":2}"#, "b", "2"),
            (r#"{"topic":5,"data":1,"topic":"b"}"#, "b", "1"),
            // This form goes before the flat one.
            (r#"{"category":"c","topic":"t","data":1}"#, "t", "1"),
            // Only a key of its own level counts.
            (
                r#"{"x":{"topic":"u"},"topic":"t","data":{"topic":"v","data":1}}"#,
                "t",
                r#"{"topic":"v","data":1}"#,
            ),
            (r#"{"topic":"☃","data":"☃"}"#, "☃", "\"☃\""),
        ];
        for (text, topic, data) in cases {
            assert_eq!(parse(&[text.as_bytes()]), event(topic, data), "{text}");
        }
    }

    #[test]
    fn a_flat_object_is_its_own_data() {
        for (text, topic) in [
            (r#"{"category":"kittens","title":"x","when":1}"#, "kittens"),
            (r#"{"a":[{"category":"no"}],"category":"y\u00e9s"}"#, "yés"),
            (r#"{"category":"c","topic":"t"}"#, "c"),
            (r#"{"category":"c","data":1}"#, "c"),
            (r#"{"category":"c","topic":7,"data":1}"#, "c"),
            (r#"{"category":1,"category":"c"}"#, "c"),
        ] {
            let spaced = format!(" \t\r\n{text}\n ");
            assert_eq!(parse(&[spaced.as_bytes()]), event(topic, text), "{text}");
        }
        // The field may have the name of one of the others.
        let text = r#"{"topic":"t","title":"x"}"#;
        assert_eq!(form("topic").parse(&[text.as_bytes()]), event("t", text));
        assert_eq!(parse(&[text.as_bytes()]), Err(Dropped::NoTopic));
        let both = br#"{"topic":"t","data":"x"}"#;
        assert_eq!(form("topic").parse(&[both]), event("t", "\"x\""));
        assert_eq!(form("data").parse(&[both]), event("t", "\"x\""));
        let text = r#"{"data":"x"}"#;
        assert_eq!(form("data").parse(&[text.as_bytes()]), event("x", text));
    }

    #[test]
    fn the_servers_own_topics_are_not_a_publishers() {
        let own = br#"{"topic":"$sys/stats","data":1}"#;
        assert_eq!(parse(&[own]), Err(Dropped::OwnTopic));
        assert_eq!(parse(&[b"$", b"1"]), Err(Dropped::OwnTopic));
        assert_eq!(parse(&[b"a$", b"1"]), event("a$", "1"));
    }

    #[test]
    fn two_parts() {
        assert_eq!(parse(&[b"t", b"{\"a\": 1}"]), event("t", "{\"a\": 1}"));
        assert_eq!(
            parse(&["a \"☃\"".as_bytes(), b" [1]\n"]),
            event("a \"☃\"", "[1]")
        );
        assert_eq!(parse(&[b"t", b"5"]), event("t", "5"));
        let envelope = r#"{"topic":"u","data":1}"#;
        assert_eq!(parse(&[b"t", envelope.as_bytes()]), event("t", envelope));
        assert_eq!(parse(&[b"", b"{}"]), Err(Dropped::NoTopic));
        assert_eq!(parse(&[b"t", b""]), Err(Dropped::BadJson));
        assert_eq!(parse(&[b"t", b"nonsense"]), Err(Dropped::BadJson));
        assert_eq!(parse(&[b"t", b"1 2"]), Err(Dropped::BadJson));
        assert_eq!(parse(&[b"\xFF", b"{}"]), Err(Dropped::BadJson));
        assert_eq!(parse(&[b"t", b"\"\xFF\""]), Err(Dropped::BadJson));
    }

    #[test]
    fn each_drop_has_its_reason() {
        let cases: &[(Dropped, &[&[u8]])] = &[
            (Dropped::Empty, &[]),
            (Dropped::Empty, &[b""]),
            (Dropped::Empty, &[b"", b""]),
            (Dropped::Empty, &[b"", b"", b""]),
            (Dropped::Parts, &[b"a", b"b", b"c"]),
            (Dropped::Parts, &[b"", b"", b"c"]),
            (Dropped::BadJson, &[b" "]),
            (Dropped::BadJson, &[b"nonsense"]),
            (Dropped::BadJson, &[b"{"]),
            (Dropped::BadJson, &[b"{\"topic\":\"t\",\"data\":1"]),
            (Dropped::BadJson, &[b"{\"topic\":\"t\",\"data\":1}}"]),
            (Dropped::BadJson, &[b"{\"topic\":\"t\",\"data\":}"]),
            (Dropped::BadJson, &[b"{\"topic\":\"t\",\"data\":01}"]),
            (Dropped::BadJson, &[b"{\"topic\":\"t\",\"data\":'x'}"]),
            (Dropped::BadJson, &[b"{\"topic\":\"t\",\"data\":\"\n\"}"]),
            (Dropped::BadJson, &[b"{\"topic\":\"t\",\"data\":NaN}"]),
            (Dropped::BadJson, &[b"{\"topic\":\"t\",\"data\":1,}"]),
            (Dropped::BadJson, &[b"{\"topic\":\"\\ud800\",\"data\":1}"]),
            (Dropped::BadJson, &[b"{\"topic\":\"t\",\"data\":\"\xFF\"}"]),
            (
                Dropped::BadJson,
                &[b"{\"topic\":\"t\",\"data\":1,\"x\":\"\xFF\"}"],
            ),
            (Dropped::BadJson, &[b"{topic:\"t\",\"data\":1}"]),
            (Dropped::BadJson, &[b"{1:2}"]),
            (Dropped::BadJson, &[b"[1,2"]),
            (
                Dropped::BadJson,
                &[b"\xEF\xBB\xBF{\"topic\":\"t\",\"data\":1}"],
            ),
            (Dropped::BadJson, &[b"\x0B{\"topic\":\"t\",\"data\":1}"]),
            (Dropped::NoTopic, &[b"{}"]),
            (Dropped::NoTopic, &[b"[1,2]"]),
            (Dropped::NoTopic, &[b"null"]),
            (Dropped::NoTopic, &[b"\"package_created\""]),
            (Dropped::NoTopic, &[b" 5 "]),
            (Dropped::NoTopic, &[b"{\"topic\":\"t\"}"]),
            (Dropped::NoTopic, &[b"{\"data\":1}"]),
            (Dropped::NoTopic, &[b"{\"topic\":5,\"data\":1}"]),
            (Dropped::NoTopic, &[b"{\"topic\":null,\"data\":1}"]),
            (
                Dropped::NoTopic,
                &[b"{\"topic\":\"t\",\"data\":1,\"topic\":5}"],
            ),
            (Dropped::NoTopic, &[b"{\"topic\":\"\",\"data\":1}"]),
            (Dropped::NoTopic, &[b"{\"category\":\"\"}"]),
            (Dropped::NoTopic, &[b"{\"category\":[\"c\"]}"]),
            (Dropped::NoTopic, &[b"{\"Topic\":\"t\",\"data\":1}"]),
            (
                Dropped::TopicTooLong,
                &[b"{\"topic\":\"123456789012345678901\",\"data\":1}"],
            ),
            (
                Dropped::TopicTooLong,
                &[b"{\"category\":\"123456789012345678901\"}"],
            ),
            (Dropped::TopicTooLong, &[b"123456789012345678901", b"1"]),
        ];
        for (reason, parts) in cases {
            assert_eq!(
                parse(parts),
                Err(*reason),
                "{:?}",
                parts.concat().escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn limits_are_the_last_that_passes() {
        let topic = "12345678901234567890";
        assert_eq!(parse(&[topic.as_bytes(), b"1"]), event(topic, "1"));
        // The name counts, not its escapes.
        let escaped = format!(r#"{{"topic":"{}","data":1}}"#, "\\u0061".repeat(20));
        assert_eq!(parse(&[escaped.as_bytes()]), event(&"a".repeat(20), "1"));
        let data = "1".repeat(199);
        assert_eq!(parse(&[b"t", data.as_bytes()]), event("t", &data));
        assert_eq!(parse(&[b"tt", data.as_bytes()]), Err(Dropped::TooLarge));
        assert_eq!(parse(&[&[b'x'; 201]]), Err(Dropped::TooLarge));
        assert_eq!(parse(&[&[b'x'; 201], b"", b""]), Err(Dropped::TooLarge));
    }

    #[test]
    fn topic_and_data_are_borrowed() {
        for parts in [
            &[&br#"{"topic":"t","data":[1]}"#[..]][..],
            &[br#"{"category":"t"}"#],
            &[b"t", b"[1]"],
        ] {
            let event = parse(parts).unwrap();
            assert!(matches!(event.topic, Cow::Borrowed("t")));
        }
    }

    #[test]
    fn every_cut_is_bad_json() {
        let text = r#"{"x":{"y":[1.5e3,"é\u00e9"]},"topic":"t\n","data":{"a":[true]}}"#;
        assert!(parse(&[text.as_bytes()]).is_ok());
        for cut in 1..text.len() {
            assert_eq!(
                parse(&[&text.as_bytes()[..cut]]),
                Err(Dropped::BadJson),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let depth = 200_000;
        let form = Form {
            event_bytes_max: 1 << 22,
            ..form("category")
        };
        for (open, close) in [("[", "]"), ("{\"\":", "}")] {
            let deep = open.repeat(depth) + "1" + &close.repeat(depth);
            assert!(form.parse(&[b"t", deep.as_bytes()]).is_ok());
            assert_eq!(form.parse(&[deep.as_bytes()]), Err(Dropped::NoTopic));
            let text = format!("{{\"topic\":\"t\",\"data\":{deep},\"x\":{deep}}}");
            assert_eq!(form.parse(&[text.as_bytes()]).unwrap().data, deep);
            assert_eq!(
                form.parse(&[open.repeat(depth).as_bytes()]),
                Err(Dropped::BadJson)
            );
        }
    }
}
