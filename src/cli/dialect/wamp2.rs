//! WAMP v2, as a subscriber speaks it: HELLO, perhaps a ticket, and SUBSCRIBE, which the server grants or denies.
//!
//! GOODBYE and ABORT end the session for good: a client that came back would meet the same.
//!
//! Never here: anything that only newswire would understand, and a ticket in a text that is shown.

use std::borrow::Cow;

use serde_json::json;
use serde_json::value::RawValue;

use super::{Dialect, Meaning};
use crate::wire::json;
use crate::wire::token::Token;
use crate::wire::wamp2::kind;

/// newswire takes any realm. Other routers know this one, if any.
const REALM: &str = "realm1";

const NO_TICKET: &str =
    "the server asks for a ticket: with --token-in ticket, it gets the token of the URL";

/// HELLO. The client offers a ticket if it has one.
pub(in super::super) fn hello(has_ticket: bool) -> String {
    let mut details = json!({
        "agent": concat!("newswire/", env!("CARGO_PKG_VERSION")),
        "roles": {"subscriber": {"features": {"subscription_revocation": true}}},
    });
    if has_ticket {
        details["authmethods"] = json!(["ticket"]);
    }
    json!([kind::HELLO, REALM, details]).to_string()
}

/// AUTHENTICATE.
pub(in super::super) fn authenticate(ticket: &Token) -> String {
    json!([kind::AUTHENTICATE, ticket.reveal(), {}]).to_string()
}

/// SUBSCRIBE.
pub(in super::super) fn subscribe(request: usize, topic: &str) -> String {
    json!([kind::SUBSCRIBE, request, {}, topic]).to_string()
}

/// Returns the reason of an ABORT, a GOODBYE or an ERROR with the sentence that explains it, if there is one.
pub(in super::super) fn reason(text: &[u8]) -> Option<String> {
    let elements: [Option<&RawValue>; 5] = json::first_elements(text).ok()?;
    let number = elements[0]?.get().parse().ok()?;
    let (details, uri) = match number {
        kind::ABORT | kind::GOODBYE => (elements[1]?, elements[2]?),
        kind::ERROR => (elements[3]?, elements[4]?),
        _ => return None,
    };
    let [message] = json::members(details.get(), ["message"]).unwrap_or_default();
    let message = message.and_then(|message| json::unquote(message.get()));
    let uri = json::unquote(uri.get())?;
    let text = match message {
        Some(message) if !message.is_empty() => format!("{uri} ({message})"),
        _ => uri.into_owned(),
    };
    Some(text.replace(char::is_control, " "))
}

/// A topic that the client wants. The number of its SUBSCRIBE is its place in the list, from 1 on.
#[derive(Debug)]
struct WantedTopic {
    name: String,
    /// As JSON.
    quoted: String,
    /// The id of the subscription, while there is one.
    subscription: Option<u64>,
}

/// See above.
pub(super) struct Wamp2Dialect {
    topics: Vec<WantedTopic>,
    ticket: Option<Token>,
}

impl Wamp2Dialect {
    /// For these topics, and with this ticket.
    pub(super) fn new(topics: &[String], ticket: Option<Token>) -> Self {
        let wanted = topics.iter().map(|name| WantedTopic {
            name: name.clone(),
            quoted: json!(name).to_string(),
            subscription: None,
        });
        Self {
            topics: wanted.collect(),
            ticket,
        }
    }

    /// The topic of a request.
    fn asked(&mut self, request: Option<u64>) -> Option<&mut WantedTopic> {
        let place = usize::try_from(request?).ok()?.checked_sub(1)?;
        self.topics.get_mut(place)
    }

    /// The topic of a subscription.
    fn granted(&mut self, subscription: Option<u64>) -> Option<&mut WantedTopic> {
        subscription?;
        let mut topics = self.topics.iter_mut();
        topics.find(|topic| topic.subscription == subscription)
    }

    fn understand<'a>(
        &'a mut self,
        text: &'a str,
        answers: &mut Vec<String>,
    ) -> Option<Meaning<'a>> {
        let elements: [Option<&RawValue>; 5] = json::first_elements(text.as_bytes()).ok()?;
        let json = |place: usize| elements[place].map(RawValue::get);
        let number = |place| json(place).and_then(|json| json.parse().ok());
        match json(0)?.parse().ok()? {
            kind::WELCOME => {
                let requests = (1..).zip(&self.topics);
                answers.extend(requests.map(|(request, topic)| subscribe(request, &topic.name)));
                Some(Meaning::Welcome)
            }
            kind::CHALLENGE => match &self.ticket {
                Some(ticket) => {
                    answers.push(authenticate(ticket));
                    None
                }
                None => {
                    answers
                        .push(json!([kind::ABORT, {}, "wamp.error.no_such_principal"]).to_string());
                    Some(Meaning::Farewell(NO_TICKET.to_owned()))
                }
            },
            kind::ABORT => {
                let reason = reason(text.as_bytes())?;
                Some(Meaning::Farewell(format!(
                    "the server said ABORT: {reason}"
                )))
            }
            kind::GOODBYE => {
                answers.push(goodbye("wamp.close.goodbye_and_out"));
                let reason = reason(text.as_bytes())?;
                Some(Meaning::Farewell(format!(
                    "the server said GOODBYE: {reason}"
                )))
            }
            kind::ERROR if number(1) == Some(u64::from(kind::SUBSCRIBE)) => Some(Meaning::Denied {
                reason: reason(text.as_bytes())?,
                topic: &self.asked(number(2))?.name,
                was_granted: false,
            }),
            kind::SUBSCRIBED => {
                let topic = self.asked(number(1))?;
                topic.subscription = number(2);
                Some(Meaning::Granted(&topic.name))
            }
            // The server has ended a subscription: the number of the request is none.
            kind::UNSUBSCRIBED if number(1) == Some(0) => {
                let [subscription, reason] = json::members(json(2)?, ["subscription", "reason"])?;
                let topic = self.granted(subscription?.get().parse().ok())?;
                topic.subscription = None;
                let reason = reason.and_then(|reason| json::unquote(reason.get()));
                Some(Meaning::Denied {
                    reason: reason.unwrap_or_default().into_owned(),
                    topic: &topic.name,
                    was_granted: true,
                })
            }
            kind::EVENT => Some(Meaning::Event {
                topic: Cow::Borrowed(&self.granted(number(1))?.quoted),
                data: data(json(4))?,
            }),
            _ => None,
        }
    }
}

/// The data of an event: its one argument. newswire sends one; others may send none or several.
fn data(arguments: Option<&str>) -> Option<Cow<'_, str>> {
    let Some(arguments) = arguments else {
        return Some("null".into());
    };
    let [first, second] = json::first_elements(arguments.as_bytes()).ok()?;
    Some(match (first, second) {
        (None, _) => "null".into(),
        (Some(only), None) => only.get().into(),
        (Some(_), Some(_)) => arguments.into(),
    })
}

fn goodbye(reason: &str) -> String {
    json!([kind::GOODBYE, {}, reason]).to_string()
}

impl Dialect for Wamp2Dialect {
    fn begin(&mut self) -> Option<String> {
        for topic in &mut self.topics {
            topic.subscription = None;
        }
        Some(hello(self.ticket.is_some()))
    }

    fn take<'a>(&'a mut self, text: &'a str, answers: &mut Vec<String>) -> Meaning<'a> {
        self.understand(text, answers).unwrap_or(Meaning::Nothing)
    }

    fn leave(&self) -> Option<&'static str> {
        Some("[6,{},\"wamp.close.close_realm\"]")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::wire::past::PastWish;
    use crate::wire::wamp2::{self, Hello, Wamp2Message};

    fn dialect() -> Wamp2Dialect {
        Wamp2Dialect::new(&["a".to_owned(), "b\"".to_owned()], None)
    }

    fn taken<'a>(dialect: &'a mut Wamp2Dialect, text: &'a str) -> (Meaning<'a>, Vec<String>) {
        let mut answers = Vec::new();
        let meaning = dialect.take(text, &mut answers);
        (meaning, answers)
    }

    #[test]
    fn what_it_says_is_what_the_server_understands() {
        let takes_revocations = true;
        for offers_ticket in [false, true] {
            let hello = hello(offers_ticket);
            let expected = Wamp2Message::Hello(Hello {
                offers_ticket,
                takes_revocations,
            });
            assert_eq!(wamp2::parse(hello.as_bytes()), Ok(expected));
        }
        let ticket = authenticate(&Token::new("x\"y"));
        let expected = Wamp2Message::Authenticate {
            ticket: "x\"y".into(),
        };
        assert_eq!(wamp2::parse(ticket.as_bytes()), Ok(expected));
        let (meaning, answers) = {
            let mut dialect = dialect();
            let (meaning, answers) = taken(&mut dialect, "[2,9,{}]");
            (meaning == Meaning::Welcome, answers)
        };
        assert!(meaning);
        for (n, topic) in ["a", "b\""].into_iter().enumerate() {
            let expected = Wamp2Message::Subscribe {
                request: n as u64 + 1,
                topic: topic.into(),
                is_exact: true,
                past: Some(PastWish::default()),
            };
            assert_eq!(wamp2::parse(answers[n].as_bytes()), Ok(expected));
        }
        for leaving in [dialect().leave(), Some(goodbye("x").as_str())] {
            let text = leaving.expect("a message").as_bytes().to_vec();
            assert_eq!(wamp2::parse(&text), Ok(Wamp2Message::Goodbye));
        }
    }

    #[test]
    fn a_topic_is_granted_denied_and_taken_away() {
        let mut dialect = dialect();
        dialect.begin();
        let denied = |topic, reason: &str, was_granted| Meaning::Denied {
            topic,
            reason: reason.to_owned(),
            was_granted,
        };
        let error = "[8,32,1,{},\"wamp.error.not_authorized\"]";
        let expected = denied("a", "wamp.error.not_authorized", false);
        assert_eq!(taken(&mut dialect, error).0, expected);
        let event = "[36,7,1,{},[{\"n\":1.50}]]";
        assert_eq!(taken(&mut dialect, event).0, Meaning::Nothing);
        let granted = Meaning::Granted("b\"");
        assert_eq!(taken(&mut dialect, "[33,2,7]").0, granted);
        let expected = Meaning::Event {
            topic: "\"b\\\"\"".into(),
            data: "{\"n\":1.50}".into(),
        };
        assert_eq!(taken(&mut dialect, event).0, expected);
        let revoked = "[35,0,{\"subscription\":7,\"reason\":\"r\"}]";
        assert_eq!(taken(&mut dialect, revoked).0, denied("b\"", "r", true));
        assert_eq!(taken(&mut dialect, event).0, Meaning::Nothing);
        // What was granted on one connection is not on the next one.
        taken(&mut dialect, "[33,2,7]");
        dialect.begin();
        assert_eq!(taken(&mut dialect, event).0, Meaning::Nothing);
    }

    #[test]
    fn an_event_has_one_argument_or_what_there_is() {
        let mut dialect = dialect();
        taken(&mut dialect, "[33,1,7]");
        for (rest, expected) in [
            ("", "null"),
            (",[]", "null"),
            (",[ 1 ]", "1"),
            (",[1,2]", "[1,2]"),
            (",[[1,2]],{\"k\":1}", "[1,2]"),
        ] {
            let text = format!("[36,7,1,{{\"x_id\":\"E-1\"}}{rest}]");
            match taken(&mut dialect, &text).0 {
                Meaning::Event { data, .. } => assert_eq!(data, expected, "{text}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_end_is_told_with_its_reason() {
        for (text, expected, answer) in [
            (
                "[3,{\"message\":\"no\"},\"wamp.error.x\"]",
                "the server said ABORT: wamp.error.x (no)",
                None,
            ),
            (
                "[6,{},\"wamp.close.killed\"]",
                "the server said GOODBYE: wamp.close.killed",
                Some("[6,{},\"wamp.close.goodbye_and_out\"]"),
            ),
            (
                "[4,\"ticket\",{}]",
                NO_TICKET,
                Some("[3,{},\"wamp.error.no_such_principal\"]"),
            ),
        ] {
            let mut dialect = dialect();
            let (meaning, answers) = taken(&mut dialect, text);
            assert_eq!(meaning, Meaning::Farewell(expected.to_owned()));
            assert_eq!(answers.first().map(String::as_str), answer);
        }
        let mut dialect = Wamp2Dialect::new(&[], Some(Token::new("t")));
        let (meaning, answers) = taken(&mut dialect, "[4,\"ticket\",{}]");
        assert_eq!(
            (meaning, answers),
            (Meaning::Nothing, vec!["[5,\"t\",{}]".into()])
        );
    }

    #[test]
    fn other_messages_are_passed_over() {
        for text in [
            "",
            "{}",
            "[]",
            "[36]",
            "[36,7,1,{},[1]]",
            "[33,3,7]",
            "[33,0,7]",
            "[35,5]",
            "[35,0,{\"subscription\":9}]",
            "[8,48,1,{},\"x\"]",
            "[8,32,9,{},\"x\"]",
            "[2,1,{}",
            "[300]",
            "[\"2\"]",
        ] {
            let mut dialect = dialect();
            let (meaning, answers) = taken(&mut dialect, text);
            assert_eq!((meaning, answers), (Meaning::Nothing, vec![]), "{text}");
        }
        // Whatever is said is JSON.
        let text: Value = serde_json::from_str(&hello(true)).expect("JSON");
        assert_eq!(text[1], REALM);
    }
}
