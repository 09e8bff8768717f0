//! What a subscriber of the fleet says, and what the beginning of a message means to it.
//!
//! Events come in great numbers, so an event is recognised by comparing its first bytes. Never here: sockets, whole
//! messages (those are in `dialect`), counting.

use std::borrow::Cow;

use memchr::memmem;

use super::super::dialect::{wamp1, wamp2};
use super::super::past::Wish;
use super::super::protocol::Protocol;
use super::super::target::stream_request;
use crate::wire::id::EventId;
use crate::wire::token::Token;

/// What subscribers say.
#[derive(Clone, Debug)]
pub(super) struct Speech {
    pub(super) protocol: Protocol,
    /// The token, if the server has to ask for it.
    pub(super) ticket: Option<Token>,
}

impl Speech {
    /// The request that begins a connection. `request` is that of all subscribers.
    pub(super) fn request<'a>(
        &self,
        request: &'a [u8],
        topic: &str,
        wish: Wish<'_>,
    ) -> Cow<'a, [u8]> {
        match self.protocol {
            Protocol::Wamp1 | Protocol::Wamp2 => request.into(),
            Protocol::Sse => {
                let request = String::from_utf8_lossy(request);
                let request = stream_request(&request, [topic], wish);
                request.into_bytes().into()
            }
        }
    }

    /// What is said when the request was accepted. With WAMP v1 this is all: the server reads it after its WELCOME.
    pub(super) fn first(&self, topic: &str) -> Option<String> {
        match self.protocol {
            Protocol::Wamp1 => Some(wamp1::subscribe(topic)),
            Protocol::Wamp2 => Some(wamp2::hello(self.ticket.is_some())),
            Protocol::Sse => None,
        }
    }

    /// Returns true when a subscriber has something to say after [`Speech::first`].
    pub(super) fn has_more_to_say(&self) -> bool {
        self.protocol == Protocol::Wamp2
    }

    /// The answer to a message that begins with `head`, and whether it is the last one.
    pub(super) fn answer(
        &self,
        head: &[u8],
        topic: &str,
        wish: Wish<'_>,
    ) -> Option<(String, bool)> {
        match head {
            [b'[', b'2', b',', ..] => Some((wamp2::subscribe(1, topic, wish), true)),
            [b'[', b'4', b',', ..] => {
                let ticket = self.ticket.as_ref()?;
                Some((wamp2::authenticate(ticket), false))
            }
            _ => None,
        }
    }
}

/// What a message means that is no event of the test.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum HeadMeaning {
    /// The subscriber is served: WELCOME, SUBSCRIBED, or the first lines of a stream.
    Ready,
    /// It will be, or not; more is to come.
    Greeting,
    /// It may not have its topic, for this reason.
    Denied(String),
    /// The session ends, for this reason.
    Farewell(String),
    /// What the subscriber gets of its topic's past: `recovered`, or the server's reason why not.
    Recovery(String),
    /// Events of the topic were lost to the subscriber, for this reason.
    Gap(String),
    /// Somebody else's event, or what nobody expects.
    Stranger,
}

/// Returns the meaning of a message that begins with `head` and is no event of the test.
pub(super) fn meaning(protocol: Protocol, head: &[u8]) -> HeadMeaning {
    let reason = || {
        let reason = wamp2::reason(head);
        reason.unwrap_or_else(|| head.escape_ascii().to_string())
    };
    let starts = |start: &str| head.starts_with(start.as_bytes());
    match protocol {
        Protocol::Wamp1 if starts("[0,") => HeadMeaning::Ready,
        Protocol::Wamp2 if starts("[33,") => HeadMeaning::Ready,
        Protocol::Wamp2 if starts("[2,") || starts("[4,") => HeadMeaning::Greeting,
        Protocol::Wamp2 if starts("[8,32,") => HeadMeaning::Denied(reason()),
        Protocol::Wamp2 if starts("[3,") || starts("[6,") => HeadMeaning::Farewell(reason()),
        Protocol::Sse if starts("retry:") => HeadMeaning::Ready,
        _ => notice(protocol, head).unwrap_or(HeadMeaning::Stranger),
    }
}

/// What newswire says of the past: an EVENT without arguments, or an event of its own type.
fn notice(protocol: Protocol, head: &[u8]) -> Option<HeadMeaning> {
    let (object, names) = match protocol {
        Protocol::Wamp1 => return None,
        Protocol::Wamp2 => (event_parts(head)?.0, ["x_recovered", "x_reason", "x_gap"]),
        Protocol::Sse => {
            let notice = lines_from(head, b"event: newswire\n")?;
            let data = lines_from(notice, b"data")?;
            (data, ["recovered", "reason", "gap"])
        }
    };
    let [recovered, reason, gap] = names.map(|name| member(object, name));
    if let Some(gap) = gap {
        return Some(HeadMeaning::Gap(gap));
    }
    Some(HeadMeaning::Recovery(match &*recovered? {
        "true" => "recovered".to_owned(),
        _ => reason?,
    }))
}

/// The id in the beginning of an event, or the position in that of a notice.
pub(super) fn id(protocol: Protocol, head: &[u8]) -> Option<EventId> {
    match protocol {
        Protocol::Wamp1 => None,
        Protocol::Wamp2 => {
            let id = member(event_parts(head)?.0, "x_id")?;
            EventId::parse_position(id.as_bytes())
        }
        Protocol::Sse => {
            let id = lines_from(head, b"id: ")?.strip_prefix(b"id: ")?;
            EventId::parse_position(id.split(|&byte| byte == b'\n').next()?)
        }
    }
}

/// A word in an object of newswire's, which has no white space, and no escape before the word.
fn member(object: &[u8], name: &str) -> Option<String> {
    let name = format!("\"{name}\":");
    let start = memmem::find(object, name.as_bytes())? + name.len();
    let word = object[start..].split(|&byte| matches!(byte, b',' | b'}'));
    let word = str::from_utf8(word.into_iter().next()?).ok()?;
    Some(word.trim_matches('"').to_owned())
}

/// How an event of `topic` begins whose data begins with `data`: the part that is the same for all of them.
pub(super) fn prefix(protocol: Protocol, topic: &str, data: &str) -> String {
    let topic = serde_json::json!(topic);
    match protocol {
        Protocol::Wamp1 => format!("[8,{topic},{data}"),
        Protocol::Wamp2 => format!(",[{data}"),
        Protocol::Sse => format!("data: {{\"topic\":{topic},\"data\":{data}"),
    }
}

/// Returns what is behind `prefix` in the beginning of an event; `None` when it is none. In front of it may stand what
/// differs from event to event.
pub(super) fn behind<'a>(protocol: Protocol, head: &'a [u8], prefix: &str) -> Option<&'a [u8]> {
    let rest = match protocol {
        Protocol::Wamp1 => head,
        Protocol::Wamp2 => event_parts(head)?.1,
        // An id may stand in front of the data.
        Protocol::Sse if head.starts_with(b"data") => head,
        Protocol::Sse => lines_from(head, b"data")?,
    };
    rest.strip_prefix(prefix.as_bytes())
}

/// The details of `[36,subscription,publication,details,arguments…`, and what is behind them.
fn event_parts(head: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = head.strip_prefix(b"[36,")?;
    let rest = behind_number(behind_number(rest)?)?;
    // newswire's details hold no object.
    let end = memchr::memchr(b'}', rest)?;
    Some(rest.split_at(end + 1))
}

/// What stands behind a number and a comma.
fn behind_number(text: &[u8]) -> Option<&[u8]> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match text.get(digits) {
        Some(b',') if digits > 0 => Some(&text[digits + 1..]),
        _ => None,
    }
}

/// The lines of an event from the first one on that begins with `start`.
fn lines_from<'a>(mut lines: &'a [u8], start: &[u8]) -> Option<&'a [u8]> {
    while !lines.starts_with(start) {
        let end = memchr::memchr(b'\n', lines)?;
        lines = &lines[end + 1..];
    }
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::super::fleet::HEAD_BYTES;
    use super::*;
    use crate::stats::Gap;
    use crate::wire::past::{RecoveryNotice, Unrecovered};
    use crate::wire::{sse, wamp, wamp2};

    const DATA: &str = "{\"load\":7,\"n\":12,\"at\":5}";

    fn rest(protocol: Protocol, event: &str) -> Option<&str> {
        let prefix = prefix(protocol, "t\"", "{\"load\":7,\"n\":");
        let rest = behind(protocol, event.as_bytes(), &prefix)?;
        Some(str::from_utf8(rest).expect("text"))
    }

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn the_servers_own_events_are_recognised() {
        const QUOTED: &str = "\"t\\\"\"";
        let event = written(|out| wamp::encode_event(QUOTED, DATA, out));
        assert_eq!(rest(Protocol::Wamp1, &event), Some("12,\"at\":5}]"));
        let event = written(|out| wamp2::encode_event(31, 1_000, "", DATA, out));
        assert_eq!(rest(Protocol::Wamp2, &event), Some("12,\"at\":5}]]"));
        let event = written(|out| wamp2::encode_event(31, 1_000, "E-7", DATA, out));
        assert_eq!(rest(Protocol::Wamp2, &event), Some("12,\"at\":5}]]"));
        let event = written(|out| sse::encode_event("", QUOTED, DATA, out));
        assert_eq!(rest(Protocol::Sse, &event), Some("12,\"at\":5}}\n\n"));
        let event = written(|out| sse::encode_event("E-7", QUOTED, DATA, out));
        assert_eq!(rest(Protocol::Sse, &event), Some("12,\"at\":5}}\n\n"));
    }

    #[test]
    fn others_are_strangers() {
        for (protocol, text) in [
            (Protocol::Wamp1, "[8,\"u\",{\"load\":7,\"n\":12,"),
            (Protocol::Wamp1, "[8,\"t\\\"\",{\"load\":8,\"n\":12,"),
            (Protocol::Wamp2, "[36,,1,{},[{\"load\":7,\"n\":12,"),
            (Protocol::Wamp2, "[36,1,1,{},[{\"load\":8,\"n\":12,"),
            (Protocol::Wamp2, "[36,1,1,{\"a\":1"),
            (Protocol::Wamp2, "[36,1"),
            (Protocol::Wamp2, "[50,1,1,{},[{\"load\":7,\"n\":12,"),
            (Protocol::Sse, "id: 1\n"),
            (
                Protocol::Sse,
                "data: {\"topic\":\"u\",\"data\":{\"load\":7,",
            ),
            (Protocol::Sse, "data: 1\n\n"),
            (Protocol::Sse, ""),
        ] {
            assert_eq!(rest(protocol, text), None, "{text}");
            assert_eq!(
                meaning(protocol, text.as_bytes()),
                HeadMeaning::Stranger,
                "{text}"
            );
        }
    }

    #[test]
    fn each_protocol_says_in_its_own_way_that_a_subscriber_is_served() {
        let uri = "wamp.error.not_authorized";
        let denied = written(|out| wamp2::encode_error(32, 1, uri, out));
        let abort = written(|out| wamp2::encode_abort("no", uri, out));
        let welcome = written(|out| wamp2::encode_welcome(1 << 53, out));
        for (protocol, text, expected) in [
            (Protocol::Wamp1, "[0,\"id\",1,\"x\"]", HeadMeaning::Ready),
            (Protocol::Wamp2, "[33,1,7]", HeadMeaning::Ready),
            (Protocol::Wamp2, &welcome, HeadMeaning::Greeting),
            (
                Protocol::Wamp2,
                &denied,
                HeadMeaning::Denied(uri.to_owned()),
            ),
            (
                Protocol::Wamp2,
                &abort,
                HeadMeaning::Farewell(format!("{uri} (no)")),
            ),
            (
                Protocol::Wamp2,
                "[6,{\"message\":\"cut",
                HeadMeaning::Farewell("[6,{\\\"message\\\":\\\"cut".to_owned()),
            ),
            (Protocol::Sse, "retry: 3000\n\n", HeadMeaning::Ready),
        ] {
            assert_eq!(meaning(protocol, text.as_bytes()), expected, "{text}");
        }
        let speech = Speech {
            protocol: Protocol::Wamp2,
            ticket: Some(Token::new("secret")),
        };
        let subscribe = Some(("[32,1,{},\"t\"]".to_owned(), true));
        let answer = |text: &str| speech.answer(text.as_bytes(), "t", Wish::default());
        assert_eq!(answer(&welcome), subscribe);
        let authenticate = Some(("[5,\"secret\",{}]".to_owned(), false));
        assert_eq!(answer("[4,\"ticket\",{}]"), authenticate);
        for text in [&denied, "[33,1,7]", "[36,1,1,{},[1]]", ""] {
            assert_eq!(answer(text), None, "{text}");
        }
    }

    #[test]
    fn ids_and_what_the_server_says_of_the_past_are_recognised() {
        let position = EventId::parse(b"aaaaaaaa-7").expect("an id");
        for protocol in [Protocol::Wamp2, Protocol::Sse] {
            let recovery = |outcome| {
                let notice = RecoveryNotice { position, outcome };
                written(|out| match protocol {
                    Protocol::Sse => sse::encode_recovery(notice, out),
                    _ => wamp2::encode_recovery(1 << 53, notice, out),
                })
            };
            for (outcome, word) in [(Ok(()), "recovered"), (Err(Unrecovered::Floor), "floor")] {
                let text = recovery(outcome);
                let expected = HeadMeaning::Recovery(word.to_owned());
                assert_eq!(meaning(protocol, text.as_bytes()), expected, "{text}");
                assert_eq!(id(protocol, text.as_bytes()), Some(position), "{text}");
            }
            // A long topic is cut.
            let gap = written(|out| match protocol {
                Protocol::Sse => sse::encode_gap(&"t".repeat(300), Gap::Slow, out),
                _ => wamp2::encode_gap(7, Gap::Slow, out),
            });
            let gap = &gap.as_bytes()[..gap.len().min(HEAD_BYTES)];
            assert_eq!(meaning(protocol, gap), HeadMeaning::Gap("slow".to_owned()));
            assert_eq!(id(protocol, gap), None);
            let event = |id: &str| {
                written(|out| match protocol {
                    Protocol::Sse => sse::encode_event(id, "\"t\"", DATA, out),
                    _ => wamp2::encode_event(7, 7, id, DATA, out),
                })
            };
            assert_eq!(id(protocol, event("aaaaaaaa-7").as_bytes()), Some(position));
            assert_eq!(id(protocol, event("").as_bytes()), None);
        }
        assert_eq!(id(Protocol::Wamp1, b"[8,\"t\",1]"), None);
    }
}
