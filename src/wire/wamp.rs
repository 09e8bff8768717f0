//! WAMP v1: parses a client's text into a [`ClientMessage`], and writes the four messages that the server sends
//! (WELCOME, CALLRESULT, CALLERROR, EVENT).
//!
//! A name is borrowed from the message; only a name with escapes in it is copied. The arguments of a call and the
//! event of a PUBLISH are checked and skipped.
//!
//! Never here: resolving prefixes (they belong to a connection), looking up topics, and rules about what a client
//! may send and how often.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::json;

/// A message of a client.
#[derive(Debug, Eq, PartialEq)]
pub enum ClientMessage<'a> {
    /// `[1, prefix, uri]`
    Prefix {
        /// The part of a CURIE before the colon.
        prefix: Cow<'a, str>,
        /// The URI that the prefix stands for.
        uri: Cow<'a, str>,
    },
    /// `[2, callId, procUri, …]`
    Call {
        /// The client's id of the call; the answer repeats it.
        id: Cow<'a, str>,
        /// The procedure that the client calls.
        procedure: Cow<'a, str>,
    },
    /// `[5, topicUri]`
    Subscribe {
        /// A URI, a CURIE or a plain word. It may be empty; no event ever has the empty topic.
        topic: Cow<'a, str>,
    },
    /// `[6, topicUri]`
    Unsubscribe {
        /// As in `Subscribe`.
        topic: Cow<'a, str>,
    },
    /// `[7, topicUri, event, …]`; newswire ignores it.
    Publish,
}

/// Why a text is not a message that a client of WAMP v1 sends. The text is the reason in the Close frame (at most 123
/// bytes).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Malformed(pub &'static str);

/// Parses a client's text.
///
/// The message's type has to be an integer: `5`, not `5.0` and not `"5"`. (The replaced server accepted these too; no
/// client is known to need that.) A name may be a number; its JSON text is then the name. Elements that a message
/// does not need are ignored, as the replaced server ignored them.
///
/// # Errors
/// Returns why the text is not a message of a client. A message that only the server sends is such an error.
pub fn parse(text: &[u8]) -> Result<ClientMessage<'_>, Malformed> {
    let [kind, first, second] = json::first_elements(text).map_err(Malformed)?;
    let kind = kind.ok_or(Malformed("an empty list"))?;
    match kind.get() {
        "1" => Ok(ClientMessage::Prefix {
            prefix: name(first, "PREFIX without a prefix")?,
            uri: name(second, "PREFIX without a URI")?,
        }),
        "2" => Ok(ClientMessage::Call {
            id: name(first, "CALL without an id")?,
            procedure: name(second, "CALL without a procedure")?,
        }),
        "5" => Ok(ClientMessage::Subscribe {
            topic: name(first, "SUBSCRIBE without a topic")?,
        }),
        "6" => Ok(ClientMessage::Unsubscribe {
            topic: name(first, "UNSUBSCRIBE without a topic")?,
        }),
        "7" => name(first, "PUBLISH without a topic").map(|_| ClientMessage::Publish),
        "0" | "3" | "4" | "8" => Err(Malformed("a message type that only the server sends")),
        _ => Err(Malformed("unknown message type")),
    }
}

/// Returns a string's value, or a number's text.
fn name<'a>(
    element: Option<&'a RawValue>,
    missing: &'static str,
) -> Result<Cow<'a, str>, Malformed> {
    let json = element.ok_or(Malformed(missing))?.get();
    if json.starts_with('"') {
        return json::unquote(json).ok_or(Malformed("bad escape in a string"));
    }
    match json.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        true => Ok(Cow::Borrowed(json)),
        false => Err(Malformed("a name that is neither a string nor a number")),
    }
}

/// Appends `[0,"<session id>",1,"<server ident>"]`.
pub fn encode_welcome(session_id: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"[0,");
    json::quote_pieces(session_id, |piece| out.extend_from_slice(piece.as_bytes()));
    out.extend_from_slice(concat!(",1,\"newswire/", env!("CARGO_PKG_VERSION"), "\"]").as_bytes());
}

/// The only procedure that a client can call. A page cannot see pings, so it calls this one to find out whether the
/// server still answers.
pub const ALIVE: &str = "newswire:alive";

/// Appends `[3,"<id>",null]`, the answer to a call of [`ALIVE`].
pub fn encode_alive(id: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"[3,");
    json::quote_pieces(id, |piece| out.extend_from_slice(piece.as_bytes()));
    out.extend_from_slice(b",null]");
}

/// Appends `[4,"<id>","<procedure>","You are not allowed to make calls"]`. The procedure's URI
/// stands where WAMP has an error's URI, because the replaced server answered so.
pub fn encode_call_error(id: &str, procedure: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"[4,");
    json::quote_pieces(id, |piece| out.extend_from_slice(piece.as_bytes()));
    out.push(b',');
    json::quote_pieces(procedure, |piece| out.extend_from_slice(piece.as_bytes()));
    out.extend_from_slice(b",\"You are not allowed to make calls\"]");
}

/// Returns how many bytes [`encode_event`] appends.
pub fn event_len(quoted_topic: &str, data: &str) -> usize {
    "[8,,]".len() + quoted_topic.len() + data.len()
}

/// Appends `[8,"<topic>",<data>]`.
pub fn encode_event(quoted_topic: &str, data: &str, out: &mut Vec<u8>) {
    out.reserve(event_len(quoted_topic, data));
    out.extend_from_slice(b"[8,");
    out.extend_from_slice(quoted_topic.as_bytes());
    out.push(b',');
    out.extend_from_slice(data.as_bytes());
    out.push(b']');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;

    fn subscribe(topic: &str) -> ClientMessage<'_> {
        ClientMessage::Subscribe {
            topic: topic.into(),
        }
    }

    #[test]
    fn what_clients_say() {
        let unsubscribe = |topic: &'static str| ClientMessage::Unsubscribe {
            topic: topic.into(),
        };
        let prefix = |prefix: &'static str, uri: &'static str| ClientMessage::Prefix {
            prefix: prefix.into(),
            uri: uri.into(),
        };
        let call = |id: &'static str, procedure: &'static str| ClientMessage::Call {
            id: id.into(),
            procedure: procedure.into(),
        };
        let cases = [
            ("[5,\"package_created\"]", subscribe("package_created")),
            ("[5, \"package_created\"]", subscribe("package_created")),
            (" \t\r\n[ 5 ,\n\"a\"\t] \r\n", subscribe("a")),
            (
                "[5,\"http://example.com/ev#a\"]",
                subscribe("http://example.com/ev#a"),
            ),
            ("[5,\"ev:a\"]", subscribe("ev:a")),
            ("[5,\"\"]", subscribe("")),
            ("[5,\"é☃𝄞\"]", subscribe("é☃𝄞")),
            (
                r#"[5,"http:\/\/x\/\u00e9\ud834\udd1e\n\""]"#,
                subscribe("http://x/é𝄞\n\""),
            ),
            ("[5,42]", subscribe("42")),
            ("[5,-1.5e3]", subscribe("-1.5e3")),
            ("[5,\"a\",1,{\"x\":[null]},\"y\"]", subscribe("a")),
            ("[6,\"a\"]", unsubscribe("a")),
            ("[6,7]", unsubscribe("7")),
            (
                "[1,\"ev\",\"http://example.com/ev#\"]",
                prefix("ev", "http://example.com/ev#"),
            ),
            ("[1,\"\",\"x\",1]", prefix("", "x")),
            (
                "[2,\"id1\",\"http://x/rpc\",1]",
                call("id1", "http://x/rpc"),
            ),
            ("[2,\"id1\",\"http://x/rpc\"]", call("id1", "http://x/rpc")),
            ("[2,17,\"p\",[[[{}]]],\"x\"]", call("17", "p")),
            ("[7,\"t\",{\"a\":1}]", ClientMessage::Publish),
            ("[7,\"t\",null,true]", ClientMessage::Publish),
            ("[7,\"t\"]", ClientMessage::Publish),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text.as_bytes()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_clients_must_not_say() {
        let cases: &[(&[u8], &str)] = &[
            (b"", "not JSON"),
            (b" ", "not JSON"),
            (b"nonsense", "not JSON"),
            (b"[5,\"a\"", "not JSON"),
            (b"[5,\"a\"]]", "not JSON"),
            (b"[5,\"a\"] [5,\"b\"]", "not JSON"),
            (b"[5,\"a\",]", "not JSON"),
            (b"[5 \"a\"]", "not JSON"),
            (b"[5,'a']", "not JSON"),
            (b"[5,\"a\nb\"]", "not JSON"),
            (b"[5,\"\xFF\"]", "not UTF-8"),
            (b"[7,\"t\",\"\xFF\"]", "not UTF-8"),
            (b"[05,\"a\"]", "not JSON"),
            (b"\xEF\xBB\xBF[5,\"a\"]", "not JSON"),
            (b"[5,\"\\x\"]", "not JSON"),
            (b"[5,\"\\ud800\"]", "bad escape in a string"),
            (b"null", "not a JSON list"),
            (b"true", "not a JSON list"),
            (b"5", "not a JSON list"),
            (b"\"x\"", "not a JSON list"),
            (b"{}", "not a JSON list"),
            (b"{\"a\":1}", "not a JSON list"),
            (b"[]", "an empty list"),
            (b"[0]", "a message type that only the server sends"),
            (
                b"[0,\"id\",1,\"x\"]",
                "a message type that only the server sends",
            ),
            (b"[3,\"id\",1]", "a message type that only the server sends"),
            (
                b"[4,\"id\",\"u\",\"d\"]",
                "a message type that only the server sends",
            ),
            (b"[8,\"t\",1]", "a message type that only the server sends"),
            (b"[9]", "unknown message type"),
            (b"[-5,\"a\"]", "unknown message type"),
            (b"[32,1,{}]", "unknown message type"),
            (b"[5.0,\"a\"]", "unknown message type"),
            (b"[\"5\",\"a\"]", "unknown message type"),
            (b"[null,\"a\"]", "unknown message type"),
            (b"[[5],\"a\"]", "unknown message type"),
            (b"[99999999999999999999,\"a\"]", "unknown message type"),
            (b"[5]", "SUBSCRIBE without a topic"),
            (b"[6]", "UNSUBSCRIBE without a topic"),
            (b"[7]", "PUBLISH without a topic"),
            (b"[1]", "PREFIX without a prefix"),
            (b"[1,\"a\"]", "PREFIX without a URI"),
            (b"[2]", "CALL without an id"),
            (b"[2,\"id\"]", "CALL without a procedure"),
            (
                b"[5,[\"a\"]]",
                "a name that is neither a string nor a number",
            ),
            (
                b"[5,{\"a\":1}]",
                "a name that is neither a string nor a number",
            ),
            (b"[5,null]", "a name that is neither a string nor a number"),
            (b"[5,true]", "a name that is neither a string nor a number"),
            (b"[6,false]", "a name that is neither a string nor a number"),
            (b"[7,[]]", "a name that is neither a string nor a number"),
            (
                b"[1,\"a\",null]",
                "a name that is neither a string nor a number",
            ),
            (
                b"[2,[],\"p\"]",
                "a name that is neither a string nor a number",
            ),
        ];
        for (text, reason) in cases {
            assert_eq!(
                parse(text),
                Err(Malformed(reason)),
                "{}",
                text.escape_ascii()
            );
            assert!(reason.len() <= 123);
        }
    }

    #[test]
    fn every_cut_of_a_message_is_malformed() {
        let text = r#"[2, "id", "pr\u00e9", {"a": [1.5, "é"]}]"#;
        assert!(parse(text.as_bytes()).is_ok());
        for cut in 0..text.len() {
            let reason = match text.is_char_boundary(cut) {
                true => "not JSON",
                false => "not UTF-8",
            };
            assert_eq!(
                parse(&text.as_bytes()[..cut]),
                Err(Malformed(reason)),
                "{cut}"
            );
        }
    }

    #[test]
    fn nothing_is_copied_where_there_is_no_escape() {
        for text in ["[5,\"package_created\"]", "[5,42]"] {
            let Ok(ClientMessage::Subscribe { topic }) = parse(text.as_bytes()) else {
                panic!("{text}");
            };
            assert!(matches!(topic, Cow::Borrowed(_)));
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let depth = limits::MESSAGE_BYTES_MAX;
        for (open, close) in [("[", "]"), ("{\"\":", "}")] {
            let deep = open.repeat(depth) + "1" + &close.repeat(depth);
            for text in [
                format!("[5,{deep}]"),
                format!("[5,\"a\",{deep}]"),
                format!("[7,\"a\",1,{deep}]"),
                format!("[{deep}]"),
                deep,
                open.repeat(depth),
            ] {
                // What it says does not matter: that it comes back does.
                let _ = parse(text.as_bytes());
            }
        }
    }

    #[test]
    fn what_the_server_says() {
        let mut out = Vec::new();
        encode_welcome("a\"b", &mut out);
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!("[0,\"a\\\"b\",1,\"newswire/{version}\"]");
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let mut out = Vec::new();
        encode_alive("alive-\"1", &mut out);
        assert_eq!(out, br#"[3,"alive-\"1",null]"#);
        out.clear();
        encode_call_error("id1", "http://x/rpc", &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#"[4,"id1","http://x/rpc","You are not allowed to make calls"]"#
        );
    }

    #[test]
    fn an_event_is_its_data_as_it_came() {
        for data in ["{\"n\":1}", "1.0", "[ 1, 2 ]", "\"\\/\\u00e9\"", "null"] {
            let mut topic = String::new();
            json::quote("package_created", &mut topic);
            let mut out = b"before".to_vec();
            encode_event(&topic, data, &mut out);
            let expected = format!("before[8,\"package_created\",{data}]");
            assert_eq!(String::from_utf8(out).unwrap(), expected);
            assert_eq!("before".len() + event_len(&topic, data), expected.len());
        }
    }
}
