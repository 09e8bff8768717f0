//! WAMP v1, as a subscriber speaks it. The server does not answer a SUBSCRIBE.
//!
//! Never here: anything that only newswire would understand.

use serde_json::value::RawValue;

use super::{Dialect, Meaning};
use crate::wire::json;

/// `[5,"topic"]`.
pub(in super::super) fn subscribe(topic: &str) -> String {
    serde_json::json!([5, topic]).to_string()
}

/// See above.
#[derive(Debug)]
pub(super) struct Wamp1Dialect(Vec<String>);

impl Wamp1Dialect {
    /// For these topics.
    pub(super) fn new(topics: &[String]) -> Self {
        Self(topics.to_vec())
    }
}

impl Dialect for Wamp1Dialect {
    fn take<'a>(&'a mut self, text: &'a str, answers: &mut Vec<String>) -> Meaning<'a> {
        let elements = json::first_elements::<4>(text.as_bytes()).unwrap_or_default();
        match elements.map(|element| element.map(RawValue::get)) {
            [Some("0"), ..] => {
                answers.extend(self.0.iter().map(|topic| subscribe(topic)));
                Meaning::Welcome
            }
            [Some("8"), Some(topic), Some(data), None] => Meaning::Event {
                topic: topic.into(),
                data: data.into(),
                id: None,
            },
            _ => Meaning::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_welcome_is_answered_with_the_subscriptions() {
        let mut dialect = Wamp1Dialect::new(&["a".to_owned(), "\"é\"".to_owned()]);
        assert_eq!(dialect.begin(), None);
        let mut answers = Vec::new();
        let meaning = dialect.take("[0,\"id\",1,\"newswire\"]", &mut answers);
        assert_eq!(meaning, Meaning::Welcome);
        assert_eq!(answers, ["[5,\"a\"]", "[5,\"\\\"é\\\"\"]"]);
    }

    #[test]
    fn an_events_data_is_taken_as_it_came() {
        let mut dialect = Wamp1Dialect::new(&[]);
        let text = r#"[8, "a\u00e9" ,{"n":1.50,"s":"\/\n"}]"#;
        let event = Meaning::Event {
            topic: r#""a\u00e9""#.into(),
            data: r#"{"n":1.50,"s":"\/\n"}"#.into(),
            id: None,
        };
        assert_eq!(dialect.take(text, &mut Vec::new()), event);
    }

    #[test]
    fn other_messages_are_passed_over() {
        let mut dialect = Wamp1Dialect::new(&["a".to_owned()]);
        let mut answers = Vec::new();
        for text in [
            "",
            "null",
            "[]",
            "[8,\"a\"]",
            "[8,\"a\",1,2]",
            "[4,\"id\",\"x\",\"y\"]",
            "[\"8\",\"a\",1]",
            "[8,\"a\",1",
        ] {
            assert_eq!(dialect.take(text, &mut answers), Meaning::Nothing, "{text}");
        }
        assert!(answers.is_empty());
    }
}
