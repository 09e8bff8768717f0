//! WAMP v2, as a subscriber speaks it: HELLO, perhaps a ticket, and SUBSCRIBE, which the server grants or denies.
//!
//! GOODBYE and ABORT end the session for good: a client that came back would meet the same.
//!
//! newswire says more than WAMP does: the id of each event, what a subscription gets of its topic's past, and where events
//! were lost. The client asks for that with options that other routers ignore (`x_since`, `x_last`), and does without it.
//!
//! Never here: a ticket in a text that is shown.

use std::borrow::Cow;

use serde_json::json;
use serde_json::value::RawValue;

use super::super::past::{PastArguments, Wish, raise};
use super::{Dialect, Meaning, shown};
use crate::wire::id::EventId;
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
pub(in super::super) fn subscribe(request: usize, topic: &str, wish: Wish<'_>) -> String {
    let mut options = json!({});
    if let Some(since) = wish.since {
        options["x_since"] = json!(since);
    }
    if let Some(last) = wish.last {
        options["x_last"] = json!(last);
    }
    json!([kind::SUBSCRIBE, request, options, topic]).to_string()
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
    Some(shown(&text))
}

/// A topic that the client wants. The number of its SUBSCRIBE is its place in the list, from 1 on.
#[derive(Debug)]
struct WantedTopic {
    name: String,
    /// As JSON.
    quoted: String,
    /// The id of the subscription, while there is one.
    subscription: Option<u64>,
    /// The client has everything of the topic up to here.
    position: Option<EventId>,
    /// The position that this connection's SUBSCRIBE named, until the server has answered it.
    named: Option<EventId>,
    /// How many of the newest events the user asks for; 0 once the server has said what there is.
    last: u64,
}

/// What an EVENT says in its details. newswire tells of the past with an EVENT that has no arguments.
#[derive(Default)]
struct Details<'a> {
    id: Option<EventId>,
    recovered: Option<&'a str>,
    reason: Option<Cow<'a, str>>,
    gap: Option<Cow<'a, str>>,
}

impl<'a> Details<'a> {
    fn read(object: &'a str) -> Option<Self> {
        let names = ["x_id", "x_recovered", "x_reason", "x_gap"];
        let [id, recovered, reason, gap] = json::members(object, names)?;
        let text = |json: Option<&'a RawValue>| json::unquote(json?.get());
        Some(Self {
            id: text(id).and_then(|id| EventId::parse_position(id.as_bytes())),
            recovered: recovered.map(RawValue::get),
            reason: text(reason),
            gap: text(gap),
        })
    }
}

impl WantedTopic {
    /// Asks for everything behind the position. Where there is none, the server is at least asked what it keeps: from
    /// its answer on there is a position.
    fn subscribe(&mut self, request: usize) -> String {
        self.named = self.position;
        let since = self.position.map(|id| id.to_string());
        let wish = Wish {
            since: since.as_deref(),
            last: (self.last > 0 || since.is_none()).then_some(self.last),
        };
        subscribe(request, &self.name, wish)
    }

    /// An EVENT without arguments.
    fn take_notice(&mut self, details: &Details<'_>) -> Option<Meaning<'_>> {
        if let Some(gap) = &details.gap {
            return Some(Meaning::Gap {
                topic: Cow::Borrowed(&self.name),
                reason: shown(gap),
            });
        }
        let is_recovered = details.recovered? == "true";
        self.last = 0;
        // It may be less than the client has named: a number that the server has not given yet.
        self.position = details.id.or(self.position);
        Some(Meaning::Recovery {
            since: self.named.take()?.to_string(),
            topic: Some(&self.name),
            outcome: match is_recovered {
                true => Ok(()),
                false => Err(shown(details.reason.as_deref().unwrap_or_default())),
            },
        })
    }
}

/// See above.
pub(super) struct Wamp2Dialect {
    topics: Vec<WantedTopic>,
    ticket: Option<Token>,
}

impl Wamp2Dialect {
    /// For these topics, with this ticket, and for a user who asks this of the past.
    pub(super) fn new(topics: &[String], ticket: Option<Token>, past: PastArguments) -> Self {
        let wanted = topics.iter().map(|name| WantedTopic {
            name: name.clone(),
            quoted: json!(name).to_string(),
            subscription: None,
            position: past.since,
            named: None,
            last: past.last.unwrap_or(0),
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
                let requests = (1..).zip(&mut self.topics);
                answers.extend(requests.map(|(request, topic)| topic.subscribe(request)));
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
            kind::EVENT => {
                let details = json(3).and_then(Details::read).unwrap_or_default();
                let topic = self.granted(number(1))?;
                let Some(data) = data(json(4)) else {
                    return topic.take_notice(&details);
                };
                if let Some(id) = details.id {
                    raise(&mut topic.position, id);
                }
                Some(Meaning::Event {
                    topic: Cow::Borrowed(&topic.quoted),
                    data,
                    id: details.id.map(|id| id.to_string().into()),
                })
            }
            _ => None,
        }
    }
}

/// The data of an event: its one argument. newswire sends one; others may send several. `None` when there is none.
fn data(arguments: Option<&str>) -> Option<Cow<'_, str>> {
    let arguments = arguments?;
    let [first, second] = json::first_elements(arguments.as_bytes()).ok()?;
    let first: &RawValue = first?;
    Some(match second {
        None => first.get().into(),
        Some(_) => arguments.into(),
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
    use crate::stats::Gap;
    use crate::wire::past::{PastWish, RecoveryNotice, Since, Unrecovered};
    use crate::wire::wamp2::{self, Hello, Wamp2Message};

    fn dialect() -> Wamp2Dialect {
        let topics = ["a".to_owned(), "b\"".to_owned()];
        Wamp2Dialect::new(&topics, None, PastArguments::default())
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
                past: Some(PastWish {
                    since: None,
                    last: Some(0),
                }),
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
            id: None,
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
    fn an_event_has_one_argument_or_several_and_without_any_it_is_none() {
        let mut dialect = dialect();
        taken(&mut dialect, "[33,1,7]");
        for (rest, expected) in [
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
        for rest in ["", ",[]", ",[],{\"k\":1}"] {
            let text = format!("[36,7,1,{{\"x_id\":\"aaaaaaaa-1\"}}{rest}]");
            assert_eq!(taken(&mut dialect, &text).0, Meaning::Nothing, "{text}");
        }
        match taken(&mut dialect, "[36,7,1,{\"x_id\":\"aaaaaaaa-7\"},[1]]").0 {
            Meaning::Event { id, .. } => assert_eq!(id.as_deref(), Some("aaaaaaaa-7")),
            other => panic!("{other:?}"),
        };
    }

    fn id(text: &str) -> EventId {
        EventId::parse_position(text.as_bytes()).expect("a position")
    }

    /// What the subscriber of one topic asks of its past on a new connection, on which it then has the subscription 7.
    fn asked_of_past(dialect: &mut Wamp2Dialect) -> PastWish {
        dialect.begin();
        let (_, answers) = taken(dialect, "[2,9,{}]");
        taken(dialect, "[33,1,7]");
        match wamp2::parse(answers[0].as_bytes()) {
            Ok(Wamp2Message::Subscribe {
                past: Some(past), ..
            }) => past,
            other => panic!("{other:?}"),
        }
    }

    fn notice(position: &str, outcome: Result<(), Unrecovered>) -> String {
        let position = id(position);
        let mut out = Vec::new();
        wamp2::encode_recovery(7, RecoveryNotice { position, outcome }, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn it_comes_back_with_the_position_that_it_has_of_the_topic() {
        let past = PastArguments {
            since: None,
            last: Some(3),
        };
        let mut dialect = Wamp2Dialect::new(&["a".to_owned()], None, past);
        let first = PastWish {
            since: None,
            last: Some(3),
        };
        // As long as the server has not answered, the question stays.
        assert_eq!(asked_of_past(&mut dialect), first);
        assert_eq!(asked_of_past(&mut dialect), first);
        let told = notice("aaaaaaaa-7", Err(Unrecovered::None));
        assert_eq!(taken(&mut dialect, &told).0, Meaning::Nothing);
        let event = |id: &str| format!("[36,7,1,{{\"x_id\":\"{id}\"}},[1]]");
        let since = |position: &str| PastWish {
            since: Some(Since::Position(id(position))),
            last: None,
        };
        // A replayed event is older than the position.
        for (heard, position) in [
            ("aaaaaaaa-5", "aaaaaaaa-7"),
            ("aaaaaaaa-9", "aaaaaaaa-9"),
            ("bbbbbbbb-1", "bbbbbbbb-1"),
        ] {
            taken(&mut dialect, &event(heard));
            assert_eq!(asked_of_past(&mut dialect), since(position));
        }
        let recovery = |outcome: Result<(), &str>| Meaning::Recovery {
            topic: Some("a"),
            since: "bbbbbbbb-1".to_owned(),
            outcome: outcome.map_err(str::to_owned),
        };
        let told = notice("bbbbbbbb-1", Ok(()));
        assert_eq!(taken(&mut dialect, &told).0, recovery(Ok(())));
        asked_of_past(&mut dialect);
        // The server knows better, also when it knows less.
        let told = notice("bbbbbbbb-0", Err(Unrecovered::Unknown));
        assert_eq!(taken(&mut dialect, &told).0, recovery(Err("unknown")));
        assert_eq!(asked_of_past(&mut dialect), since("bbbbbbbb-0"));
        // A server that has seen no event can say no position.
        let told = "[36,7,1,{\"x_recovered\":false,\"x_reason\":\"epoch\"}]";
        assert!(matches!(
            taken(&mut dialect, told).0,
            Meaning::Recovery {
                outcome: Err(_),
                ..
            }
        ));
        assert_eq!(asked_of_past(&mut dialect), since("bbbbbbbb-0"));
    }

    #[test]
    fn a_gap_is_told_and_moves_nothing() {
        let past = PastArguments {
            since: Some(id("aaaaaaaa-7")),
            last: Some(3),
        };
        let mut dialect = Wamp2Dialect::new(&["a".to_owned()], None, past);
        let asked = PastWish {
            since: Some(Since::Position(id("aaaaaaaa-7"))),
            last: Some(3),
        };
        assert_eq!(asked_of_past(&mut dialect), asked);
        let mut gap = Vec::new();
        wamp2::encode_gap(7, Gap::Upstream, &mut gap);
        let gap = String::from_utf8(gap).expect("text");
        let expected = Meaning::Gap {
            topic: "a".into(),
            reason: "upstream".to_owned(),
        };
        assert_eq!(taken(&mut dialect, &gap).0, expected);
        assert_eq!(asked_of_past(&mut dialect), asked);
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
        let mut dialect = Wamp2Dialect::new(&[], Some(Token::new("t")), PastArguments::default());
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
