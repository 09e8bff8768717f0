//! WAMP v2 (the specification of wamp-proto, basic profile) as JSON: parses a client's text into a [`Wamp2Message`],
//! and writes the messages that a broker sends.
//!
//! A request's number may be any up to [`NUMBER_MAX`], because old clients draw them at random. The answer repeats it.
//!
//! Never here: when a message may come, topics, tokens, and rules about what a client may send and how often.

use std::borrow::Cow;
use std::io::Write as _;

use serde_json::value::RawValue;

use super::id::EventId;
use super::json;
use super::past::{PastWish, RecoveryNotice, Since};
use crate::stats::Gap;

/// The largest number of a request, session or subscription, which JavaScript still tells from its neighbours.
pub const NUMBER_MAX: u64 = 1 << 53;

/// In methods of authentication, how many of a client's list are looked at. The specification has seven.
const METHODS_MAX: usize = 16;

/// The types of messages, by their names in the specification.
#[expect(missing_docs, reason = "the specification's names")]
pub mod kind {
    pub const HELLO: u8 = 1;
    pub const WELCOME: u8 = 2;
    pub const ABORT: u8 = 3;
    pub const CHALLENGE: u8 = 4;
    pub const AUTHENTICATE: u8 = 5;
    pub const GOODBYE: u8 = 6;
    pub const ERROR: u8 = 8;
    pub const PUBLISH: u8 = 16;
    pub const SUBSCRIBE: u8 = 32;
    pub const SUBSCRIBED: u8 = 33;
    pub const UNSUBSCRIBE: u8 = 34;
    pub const UNSUBSCRIBED: u8 = 35;
    pub const EVENT: u8 = 36;
    pub const CALL: u8 = 48;
    pub const CANCEL: u8 = 49;
    pub const RESULT: u8 = 50;
    pub const REGISTER: u8 = 64;
    pub const UNREGISTER: u8 = 66;
}

/// The URIs of errors and reasons that newswire sends.
pub mod uri {
    /// The client may not do that, or not with this topic.
    pub const NOT_AUTHORIZED: &str = "wamp.error.not_authorized";
    /// Topics are matched exactly.
    pub const OPTION_NOT_ALLOWED: &str = "wamp.error.option_not_allowed";
    /// `x_last` is no whole number.
    pub const INVALID_ARGUMENT: &str = "wamp.error.invalid_argument";
    /// The topic is too long.
    pub const INVALID_URI: &str = "wamp.error.invalid_uri";
    /// The session has no subscription with this number.
    pub const NO_SUCH_SUBSCRIPTION: &str = "wamp.error.no_such_subscription";
    /// There are no registrations.
    pub const NO_SUCH_REGISTRATION: &str = "wamp.error.no_such_registration";
    /// The session has as many subscriptions as it may have. WAMP has no URI for it.
    pub const TOO_MANY: &str = "newswire.error.too_many_subscriptions";
    /// The client said something that is no WAMP, or not now.
    pub const PROTOCOL_VIOLATION: &str = "wamp.error.protocol_violation";
    /// The token is not good.
    pub const AUTHENTICATION_DENIED: &str = "wamp.error.authentication_denied";
    /// The client has no token in its URL and does not offer a ticket.
    pub const NO_MATCHING_AUTH_METHOD: &str = "wamp.error.no_matching_auth_method";
    /// The session is ended by the server.
    pub const KILLED: &str = "wamp.close.killed";
    /// The answer to a client's GOODBYE.
    pub const GOODBYE_AND_OUT: &str = "wamp.close.goodbye_and_out";
}

/// A message of a client.
#[derive(Debug, Eq, PartialEq)]
pub enum Wamp2Message<'a> {
    /// `[1, realm, details]`; every realm is welcome.
    Hello(Hello),
    /// `[3, details, reason]`
    Abort,
    /// `[5, signature, extra]`
    Authenticate {
        /// The ticket, which is the token.
        ticket: Cow<'a, str>,
    },
    /// `[6, details, reason]`
    Goodbye,
    /// `[32, request, options, topic]`
    Subscribe {
        /// The client's number of the request.
        request: u64,
        /// The topic's name.
        topic: Cow<'a, str>,
        /// False when the client wants a pattern.
        is_exact: bool,
        /// What the client asks of the topic's past (newswire's own options `x_since` and `x_last`); `None` when it is
        /// no number.
        past: Option<PastWish>,
    },
    /// `[34, request, subscription]`
    Unsubscribe {
        /// The client's number of the request.
        request: u64,
        /// The number that SUBSCRIBED has named.
        subscription: u64,
    },
    /// `[48, request, options, procedure, …]`
    Call {
        /// The client's number of the request.
        request: u64,
        /// The procedure that the client calls.
        procedure: Cow<'a, str>,
    },
    /// `[16, request, options, topic, …]`
    Publish {
        /// The client's number of the request.
        request: u64,
        /// True exactly when the client wants an answer.
        is_acknowledged: bool,
    },
    /// `[64, request, options, procedure]`
    Register {
        /// The client's number of the request.
        request: u64,
    },
    /// `[66, request, registration]`
    Unregister {
        /// The client's number of the request.
        request: u64,
    },
    /// `[49, request, options]`: every call is answered at once, so there is nothing to cancel.
    Cancel,
}

/// What a client says of itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Hello {
    /// True exactly when the client can present a ticket.
    pub offers_ticket: bool,
    /// True exactly when the client understands that the server ends one of its subscriptions.
    pub takes_revocations: bool,
}

/// Why a text is not a message that a client of WAMP v2 sends. The text is the reason in the Close frame (at most 123
/// bytes).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NotWamp(pub &'static str);

/// Parses a client's text. Elements that a message does not need are ignored.
///
/// # Errors
/// Returns why the text is not a message of a client.
pub fn parse(text: &[u8]) -> Result<Wamp2Message<'_>, NotWamp> {
    let [kind, first, second, third] = json::first_elements(text).map_err(NotWamp)?;
    let kind = kind.ok_or(NotWamp("an empty list"))?;
    match kind.get().parse().unwrap_or_default() {
        kind::HELLO => {
            string(first, "HELLO without a realm")?;
            let details = members(
                second,
                ["authmethods", "agent", "roles"],
                "HELLO without details",
            )?;
            Ok(Wamp2Message::Hello(hello(details)))
        }
        kind::ABORT => Ok(Wamp2Message::Abort),
        kind::AUTHENTICATE => Ok(Wamp2Message::Authenticate {
            ticket: string(first, "AUTHENTICATE without a ticket")?,
        }),
        kind::GOODBYE => Ok(Wamp2Message::Goodbye),
        kind::PUBLISH => {
            let [acknowledge] = members(second, ["acknowledge"], "PUBLISH without options")?;
            string(third, "PUBLISH without a topic")?;
            Ok(Wamp2Message::Publish {
                request: number(first, "PUBLISH without a number")?,
                is_acknowledged: acknowledge.is_some_and(is_true),
            })
        }
        kind::SUBSCRIBE => {
            let options = ["match", "x_since", "x_last"];
            let [policy, since, last] = members(second, options, "SUBSCRIBE without options")?;
            Ok(Wamp2Message::Subscribe {
                request: number(first, "SUBSCRIBE without a number")?,
                topic: string(third, "SUBSCRIBE without a topic")?,
                is_exact: policy
                    .is_none_or(|policy| policy.get() == "null" || is_text(policy, "exact")),
                past: past(since, last),
            })
        }
        kind::UNSUBSCRIBE => Ok(Wamp2Message::Unsubscribe {
            request: number(first, "UNSUBSCRIBE without a number")?,
            subscription: number(second, "UNSUBSCRIBE without a subscription")?,
        }),
        kind::CALL => Ok(Wamp2Message::Call {
            request: number(first, "CALL without a number")?,
            procedure: string(third, "CALL without a procedure")?,
        }),
        kind::CANCEL => Ok(Wamp2Message::Cancel),
        kind::REGISTER => Ok(Wamp2Message::Register {
            request: number(first, "REGISTER without a number")?,
        }),
        kind::UNREGISTER => Ok(Wamp2Message::Unregister {
            request: number(first, "UNREGISTER without a number")?,
        }),
        _ => Err(NotWamp("not a message of a client")),
    }
}

fn hello([methods, agent, roles]: [Option<&RawValue>; 3]) -> Hello {
    let methods = methods
        .and_then(|methods| json::first_elements::<METHODS_MAX>(methods.get().as_bytes()).ok());
    let agent = agent.and_then(|agent| json::unquote(agent.get()));
    let takes_revocations = roles
        .and_then(|roles| within(roles, "subscriber"))
        .and_then(|subscriber| within(subscriber, "features"))
        .and_then(|features| within(features, "subscription_revocation"))
        .is_some_and(is_true);
    Hello {
        offers_ticket: methods.is_some_and(|methods| {
            let mut methods = methods.into_iter().flatten();
            methods.any(|method| is_text(method, "ticket"))
        }),
        // autobahn-python announces the feature, and fails on the message.
        takes_revocations: takes_revocations
            && !agent.is_some_and(|agent| agent.starts_with("AutobahnPython")),
    }
}

/// What a client asks of the past; `None` when the number of events is none.
fn past(since: Option<&RawValue>, last: Option<&RawValue>) -> Option<PastWish> {
    let is_given = |json: &&RawValue| json.get() != "null";
    let since = since
        .filter(is_given)
        .map(|json| match json.get().starts_with('"') {
            true => json::unquote(json.get()).map_or(Since::Malformed, |text| Since::parse(&text)),
            false => Since::Malformed,
        });
    let last = match last.filter(is_given) {
        Some(json) => Some(json.get().parse().ok()?),
        None => None,
    };
    Some(PastWish { since, last })
}

fn within<'a>(object: &'a RawValue, name: &str) -> Option<&'a RawValue> {
    json::members(object.get(), [name])?[0]
}

fn is_true(json: &RawValue) -> bool {
    json.get() == "true"
}

fn is_text(json: &RawValue, text: &str) -> bool {
    json::unquote(json.get()).is_some_and(|it| it == text)
}

fn string<'a>(
    element: Option<&'a RawValue>,
    missing: &'static str,
) -> Result<Cow<'a, str>, NotWamp> {
    let json = element.map_or("", RawValue::get);
    if !json.starts_with('"') {
        return Err(NotWamp(missing));
    }
    json::unquote(json).ok_or(NotWamp("bad escape in a string"))
}

fn number(element: Option<&RawValue>, missing: &'static str) -> Result<u64, NotWamp> {
    let number = element.and_then(|json| json.get().parse().ok());
    number
        .filter(|&number: &u64| number <= NUMBER_MAX)
        .ok_or(NotWamp(missing))
}

/// The members with these names of an element that is an object. The rest of it is skipped, so that a message costs
/// no more memory than its own bytes.
fn members<'a, const N: usize>(
    element: Option<&'a RawValue>,
    names: [&str; N],
    missing: &'static str,
) -> Result<[Option<&'a RawValue>; N], NotWamp> {
    element
        .and_then(|json| json::members(json.get(), names))
        .ok_or(NotWamp(missing))
}

fn append(out: &mut Vec<u8>, message: std::fmt::Arguments<'_>) {
    out.write_fmt(message).expect("a Vec takes everything");
}

/// Appends `[2,session,details]`, WELCOME. The realm is not named: a client knows what it asked for.
pub fn encode_welcome(session: u64, out: &mut Vec<u8>) {
    append(
        out,
        format_args!(
            "[{},{session},{{\"agent\":\"newswire/{}\",\"roles\":{{\"broker\":{{\"features\":\
             {{\"subscription_revocation\":true}}}}}}}}]",
            kind::WELCOME,
            env!("CARGO_PKG_VERSION")
        ),
    );
}

/// Appends `[3,{"message":…},reason]`, ABORT. `message` is plain text without quotes.
pub fn encode_abort(message: &str, reason: &str, out: &mut Vec<u8>) {
    append(
        out,
        format_args!(
            "[{},{{\"message\":\"{message}\"}},\"{reason}\"]",
            kind::ABORT
        ),
    );
}

/// Appends `[4,"ticket",{}]`, CHALLENGE.
pub fn encode_challenge(out: &mut Vec<u8>) {
    append(out, format_args!("[{},\"ticket\",{{}}]", kind::CHALLENGE));
}

/// Appends `[6,{},reason]`, GOODBYE.
pub fn encode_goodbye(reason: &str, out: &mut Vec<u8>) {
    append(out, format_args!("[{},{{}},\"{reason}\"]", kind::GOODBYE));
}

/// Appends `[8,kind,request,{},error]`, ERROR.
pub fn encode_error(kind: u8, request: u64, error: &str, out: &mut Vec<u8>) {
    append(
        out,
        format_args!("[{},{kind},{request},{{}},\"{error}\"]", kind::ERROR),
    );
}

/// Appends `[33,request,subscription]`, SUBSCRIBED.
pub fn encode_subscribed(request: u64, subscription: u64, out: &mut Vec<u8>) {
    append(
        out,
        format_args!("[{},{request},{subscription}]", kind::SUBSCRIBED),
    );
}

/// Appends `[35,request]`, UNSUBSCRIBED.
pub fn encode_unsubscribed(request: u64, out: &mut Vec<u8>) {
    append(out, format_args!("[{},{request}]", kind::UNSUBSCRIBED));
}

/// Appends `[35,0,{"subscription":…,"reason":…}]`: the server has ended a subscription.
pub fn encode_revoked(subscription: u64, reason: &str, out: &mut Vec<u8>) {
    append(
        out,
        format_args!(
            "[{},0,{{\"subscription\":{subscription},\"reason\":\"{reason}\"}}]",
            kind::UNSUBSCRIBED
        ),
    );
}

/// Appends `[50,request,{}]`, the empty RESULT of a call.
pub fn encode_result(request: u64, out: &mut Vec<u8>) {
    append(out, format_args!("[{},{request},{{}}]", kind::RESULT));
}

/// Returns how many bytes [`encode_event`] appends. `id` is the event's, as text; empty when it has none.
pub fn event_len(subscription: u64, publication: u64, id: &str, data: &str) -> usize {
    let details = match id {
        "" => 0,
        id => "\"x_id\":\"\"".len() + id.len(),
    };
    "[36,,,{},[]]".len() + digits(subscription) + digits(publication) + details + data.len()
}

/// Appends `[36,subscription,publication,{"x_id":id},[data]]`, EVENT. Its data is the one argument.
pub fn encode_event(subscription: u64, publication: u64, id: &str, data: &str, out: &mut Vec<u8>) {
    out.reserve(event_len(subscription, publication, id, data));
    append(
        out,
        format_args!("[{},{subscription},{publication},{{", kind::EVENT),
    );
    if !id.is_empty() {
        append(out, format_args!("\"x_id\":\"{id}\""));
    }
    out.extend_from_slice(b"},[");
    out.extend_from_slice(data.as_bytes());
    out.extend_from_slice(b"]]");
}

/// Appends `[36,subscription,publication,details]`, an EVENT without arguments that tells a client what it gets of the
/// topic's past.
pub fn encode_recovery(subscription: u64, notice: RecoveryNotice, out: &mut Vec<u8>) {
    let RecoveryNotice { position, outcome } = notice;
    let publication = publication(position);
    let is_recovered = outcome.is_ok();
    append(
        out,
        format_args!(
            "[{},{subscription},{publication},{{\"x_recovered\":{is_recovered},\"x_id\":\"{position}\"",
            kind::EVENT
        ),
    );
    if let Err(reason) = outcome {
        append(out, format_args!(",\"x_reason\":\"{}\"", reason.name()));
    }
    out.extend_from_slice(b"}]");
}

/// Appends `[36,subscription,1,{"x_gap":reason}]`, an EVENT without arguments: events of the topic were lost to the
/// client.
pub fn encode_gap(subscription: u64, gap: Gap, out: &mut Vec<u8>) {
    append(
        out,
        format_args!(
            "[{},{subscription},1,{{\"x_gap\":\"{}\"}}]",
            kind::EVENT,
            gap.name()
        ),
    );
}

/// Returns the number by which WAMP knows the publication of an event. WAMP has none that is 0, or too large for
/// JavaScript.
pub fn publication(id: EventId) -> u64 {
    id.sequence.clamp(1, NUMBER_MAX)
}

fn digits(number: u64) -> usize {
    number
        .checked_ilog10()
        .map_or(1, |power| power as usize + 1)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_clients_say() {
        let subscribe = |request, topic: &'static str, is_exact| Wamp2Message::Subscribe {
            request,
            topic: topic.into(),
            is_exact,
            past: Some(PastWish::default()),
        };
        let hello = |offers_ticket, takes_revocations| {
            Wamp2Message::Hello(Hello {
                offers_ticket,
                takes_revocations,
            })
        };
        let cases = [
            (r#"[1,"realm1",{}]"#, hello(false, false)),
            (
                r#"[1,"r",{"roles":{},"authmethods":["anonymous","ticket"],"authid":"x"}]"#,
                hello(true, false),
            ),
            (
                r#"[1,"r",{"roles":{"subscriber":{"features":{"subscription_revocation":true}}}}]"#,
                hello(false, true),
            ),
            (
                r#"[1,"r",{"agent":"AutobahnPython/26","roles":{"subscriber":{"features":{"subscription_revocation":true}}}}]"#,
                hello(false, false),
            ),
            (r#"[3,{},"wamp.close.normal"]"#, Wamp2Message::Abort),
            (
                r#"[5,"t\u0061",{}]"#,
                Wamp2Message::Authenticate {
                    ticket: "ta".into(),
                },
            ),
            ("[6,{},\"x\"]", Wamp2Message::Goodbye),
            ("[32,1,{},\"a\"]", subscribe(1, "a", true)),
            (
                " [ 32 , 9007199254740992 , {\"match\":\"exact\"} , \"\" ] ",
                subscribe(NUMBER_MAX, "", true),
            ),
            (
                "[32,0,{\"match\":\"prefix\"},\"a.\"]",
                subscribe(0, "a.", false),
            ),
            (
                "[34,7,8]",
                Wamp2Message::Unsubscribe {
                    request: 7,
                    subscription: 8,
                },
            ),
            (
                "[16,3,{\"acknowledge\":true},\"t\",[1],{}]",
                Wamp2Message::Publish {
                    request: 3,
                    is_acknowledged: true,
                },
            ),
            (
                "[16,3,{},\"t\"]",
                Wamp2Message::Publish {
                    request: 3,
                    is_acknowledged: false,
                },
            ),
            (
                "[48,4,{},\"p\",[1]]",
                Wamp2Message::Call {
                    request: 4,
                    procedure: "p".into(),
                },
            ),
            ("[49,4,{}]", Wamp2Message::Cancel),
            ("[64,5,{},\"p\"]", Wamp2Message::Register { request: 5 }),
            ("[66,6,1]", Wamp2Message::Unregister { request: 6 }),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text.as_bytes()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_message() {
        for text in [
            "",
            "{}",
            "[]",
            "[32,1,{},\"a\"",
            "[32,1,{},\"a\"] x",
            "[\"32\",1,{},\"a\"]",
            "[32.0,1,{},\"a\"]",
            "[32,-1,{},\"a\"]",
            "[32,1.5,{},\"a\"]",
            "[32,9007199254740993,{},\"a\"]",
            "[32,\"1\",{},\"a\"]",
            "[32,1,[],\"a\"]",
            "[32,1,null,\"a\"]",
            "[32,1,{},5]",
            "[32,1,{}]",
            "[32,1,{},\"\\ud800\"]",
            "[34,1]",
            "[1,5,{}]",
            "[1,\"r\"]",
            "[1,\"r\",null]",
            "[5]",
            "[16,1,{}]",
            "[48,1,{}]",
            "[2,1,{}]",
            "[33,1,2]",
            "[36,1,2,{}]",
            "[99]",
        ] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        assert!(parse(b"[5,\"\xFF\",{}]").is_err());
    }

    #[test]
    fn what_the_server_says_is_json_and_an_event_is_as_long_as_it_says() {
        for (subscription, publication) in [(1, 1), (9, 10), (NUMBER_MAX, 99_999)] {
            for data in ["1", "{\"a\":[\"é\"]}"] {
                for id in ["", "abcdefgh-7"] {
                    let mut out = Vec::new();
                    encode_event(subscription, publication, id, data, &mut out);
                    assert_eq!(out.len(), event_len(subscription, publication, id, data));
                    let value: Value = serde_json::from_slice(&out).expect("JSON");
                    assert_eq!(value[1], subscription);
                    assert_eq!(value[3]["x_id"].as_str().unwrap_or(""), id);
                    assert_eq!(value[4][0], serde_json::from_str::<Value>(data).unwrap());
                }
            }
        }
        let mut text = Vec::new();
        let mut check = |write: fn(&mut Vec<u8>)| {
            text.clear();
            write(&mut text);
            let value: Value = serde_json::from_slice(&text).expect("JSON");
            assert!(value.is_array());
        };
        check(|out| encode_welcome(5, out));
        check(|out| encode_abort("no", uri::KILLED, out));
        check(encode_challenge);
        check(|out| encode_goodbye(uri::KILLED, out));
        check(|out| encode_error(kind::CALL, 5, uri::NOT_AUTHORIZED, out));
        check(|out| encode_subscribed(1, 2, out));
        check(|out| encode_unsubscribed(1, out));
        check(|out| encode_revoked(1, uri::NOT_AUTHORIZED, out));
        check(|out| encode_result(1, out));
    }
}
