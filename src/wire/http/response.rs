//! The bytes of every answer: an [`HttpAnswer`] knows its parts, and this file alone puts them in order.
//!
//! A refused client reads what was wrong and what to do, as JSON, in `curl`, in a proxy's log or in the
//! browser's network tab, and it learns nothing else. So each [`Refusal`] has its answer in one table here
//! (`told`).
//!
//! Never here: which answer a request gets, and no byte of a request in an answer: a token may be among them.

use std::io::Write as _;

use super::deflate::DeflateOffer;
use super::upgrade::Acceptance;
use crate::stats::Refusal;
use crate::wire::json;

/// One answer. Lines are whole: each ends with CR and LF.
#[derive(Debug)]
pub struct HttpAnswer<'a> {
    /// Number and phrase.
    pub status: &'a str,
    /// The lines that come first, in pieces.
    pub lines: &'a [&'a str],
    /// What is answered; `None` for a status that has no content (RFC 9110 s. 8.6).
    pub content: Option<Content<'a>>,
}

/// What an answer brings.
#[derive(Debug)]
pub struct Content<'a> {
    /// The value of `Content-Type`.
    pub media_type: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// The lines behind those that say what the body is.
    pub lines: &'a str,
}

impl HttpAnswer<'_> {
    /// Appends the answer's bytes. The answer to a HEAD has no body (RFC 9110 s. 9.3.2).
    pub fn encode(&self, is_head: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(self.status.as_bytes());
        out.extend_from_slice(b"\r\n");
        for piece in self.lines {
            out.extend_from_slice(piece.as_bytes());
        }
        let mut body = &[][..];
        if let Some(content) = &self.content {
            let (media_type, lines) = (content.media_type, content.lines);
            body = content.body;
            let length = body.len();
            write!(
                out,
                "Content-Type: {media_type}\r\nContent-Length: {length}\r\n{lines}"
            )
            .expect("a Vec takes everything");
        }
        out.extend_from_slice(b"\r\n");
        if !is_head {
            out.extend_from_slice(body);
        }
    }
}

/// Appends the 101. It agrees to no extension, whatever was offered.
pub fn encode_acceptance(acceptance: &Acceptance, out: &mut Vec<u8>) {
    let protocol = match acceptance.subprotocol {
        Some(name) => format!("Sec-WebSocket-Protocol: {name}\r\n"),
        None => String::new(),
    };
    let answer = HttpAnswer {
        status: "101 Switching Protocols",
        lines: &[
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ",
            &acceptance.accept_key,
            "\r\n",
            &protocol,
            acceptance.deflate.map_or("", DeflateOffer::answer),
        ],
        content: None,
    };
    answer.encode(false, out);
}

/// Appends the answer to a request that is refused. The connection ends with it.
pub fn encode_refusal(refusal: Refusal, is_head: bool, out: &mut Vec<u8>) {
    encode_refusal_with(refusal, "", is_head, out);
}

/// Appends the answer to a request that is refused, with these lines more.
pub fn encode_refusal_with(refusal: Refusal, more: &str, is_head: bool, out: &mut Vec<u8>) {
    let [status, lines, error, hint] = told(refusal);
    let body = json::text(|body| {
        body.put("error", error).put("hint", hint);
    });
    let answer = HttpAnswer {
        status,
        lines: &[lines],
        content: Some(Content {
            media_type: "application/json",
            body: body.as_bytes(),
            lines: more,
        }),
    };
    answer.encode(is_head, out);
}

/// The line of an answer that ends its connection.
pub const CLOSE: &str = "Connection: close\r\n";

/// A 426 names the protocol to upgrade to (RFC 9110 s. 15.5.22), and `Connection` names that field (s. 7.8).
const UPGRADE: &str =
    "Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";

/// Clients of the replaced server try again after 5 s whatever they are told. Other clients may obey.
const RETRY: &str = "Connection: close\r\nRetry-After: 5\r\n";

/// What a refused client is told: number and phrase of the status; the lines with `Connection` and with what the
/// status asks for; what is wrong; and what the client or its operator can do. A new refusal does not compile
/// until it has an answer.
fn told(refusal: Refusal) -> [&'static str; 4] {
    match refusal {
        Refusal::BadRequest => [
            "400 Bad Request",
            CLOSE,
            "the request is malformed",
            "send an HTTP/1.1 upgrade: one Host, at most one Origin, no body, and no TLS (wss://), \
             which is the proxy's",
        ],
        Refusal::HeadTooLarge => [
            "413 Content Too Large",
            CLOSE,
            "the request's head is too large",
            "send fewer or smaller cookies, or have the server's limit for the head raised",
        ],
        Refusal::Method => [
            "405 Method Not Allowed",
            "Connection: close\r\nAllow: GET\r\n",
            "only GET is allowed",
            "open a WebSocket here; events are published elsewhere",
        ],
        Refusal::HttpVersion => [
            "505 HTTP Version Not Supported",
            CLOSE,
            "a WebSocket starts with HTTP/1.1",
            "if a proxy is in front, have it speak HTTP/1.1 to this server (nginx: proxy_http_version)",
        ],
        Refusal::NotUpgrade => [
            "426 Upgrade Required",
            UPGRADE,
            "this is a WebSocket server",
            "open this URL with a WebSocket client; if a proxy is in front, have it pass Upgrade on",
        ],
        Refusal::NotConnectionUpgrade => [
            "400 Bad Request",
            CLOSE,
            "the Connection header does not say upgrade",
            "send Connection: Upgrade; if a proxy is in front, have it send that to this server",
        ],
        Refusal::BadKey => [
            "400 Bad Request",
            CLOSE,
            "Sec-WebSocket-Key is missing or wrong",
            "send it once: 16 random bytes in base64",
        ],
        Refusal::WebSocketVersion => [
            "426 Upgrade Required",
            UPGRADE,
            "only version 13 of WebSocket is spoken here",
            "send Sec-WebSocket-Version: 13, once",
        ],
        Refusal::Subprotocol => [
            "400 Bad Request",
            CLOSE,
            "none of the offered sub-protocols is spoken here",
            "offer wamp (WAMP v1) or wamp.2.json (WAMP v2), or offer none",
        ],
        Refusal::Topics => [
            "400 Bad Request",
            CLOSE,
            "a stream of events needs topics that are not too many and not too long",
            "name each in the URL: ?topic=a&topic=b",
        ],
        Refusal::Last => [
            "400 Bad Request",
            CLOSE,
            "last is the number of events that a stream begins with",
            "give a whole number: ?last=1",
        ],
        Refusal::TopicDenied => [
            "403 Forbidden",
            CLOSE,
            "the token does not allow one of the topics",
            "ask for fewer topics, or get a token that allows them",
        ],
        Refusal::Origin => [
            "403 Forbidden",
            CLOSE,
            "pages of this origin may not connect",
            "have the page's origin added to those that the server allows",
        ],
        Refusal::Token => [
            "401 Unauthorized",
            // RFC 9110 s. 15.5.2 wants a challenge. `Basic` would make browsers ask for a password.
            "Connection: close\r\nWWW-Authenticate: Bearer realm=\"newswire\"\r\n",
            "the token is missing, wrong or expired",
            "get a new token and put it into the URL: ?token=TOKEN",
        ],
        Refusal::AuthUnavailable => [
            "503 Service Unavailable",
            RETRY,
            "tokens cannot be checked now",
            "try again later; the token may be good",
        ],
        Refusal::Timeout => [
            "408 Request Timeout",
            CLOSE,
            "the request's head did not come in time",
            "send the whole upgrade at once; if it was, look for a slow proxy or network",
        ],
        Refusal::Full => [
            "503 Service Unavailable",
            RETRY,
            "all places are taken",
            "try again later, or have the server's limit for connections or open files raised",
        ],
        Refusal::AddressFull => [
            "503 Service Unavailable",
            RETRY,
            "all places of this address are taken",
            "close some of its connections, or have the server's limit for one address raised; \
             behind a proxy all clients may share one",
        ],
        Refusal::TooManyTokens => [
            "429 Too Many Requests",
            "Connection: close\r\nRetry-After: 60\r\n",
            "too many tokens of this address were refused",
            "wait a minute, then come with a token that is known",
        ],
        Refusal::ShuttingDown => [
            "503 Service Unavailable",
            RETRY,
            "the server is going down",
            "try again in some seconds",
        ],
    }
}

#[cfg(test)]
mod tests {
    use httparse::{EMPTY_HEADER, Status};

    use super::*;
    use crate::wire::http::upgrade::{SUBPROTOCOLS, accept_key};

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn accepted(accept_key: String, subprotocol: Option<&'static str>) -> String {
        let acceptance = Acceptance {
            accept_key,
            subprotocol,
            deflate: None,
        };
        let mut out = Vec::new();
        encode_acceptance(&acceptance, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// The value of the one line with this name.
    fn only<'a>(response: &httparse::Response<'_, 'a>, name: &str) -> Option<&'a str> {
        let mut lines = response.headers.iter();
        let line = lines.find(|line| line.name.eq_ignore_ascii_case(name))?;
        assert!(lines.all(|line| !line.name.eq_ignore_ascii_case(name)));
        Some(std::str::from_utf8(line.value).unwrap())
    }

    #[test]
    fn the_answer_of_rfc_6455() {
        // RFC 6455 s. 1.3
        assert_eq!(accept_key(KEY), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(
            accepted(accept_key(KEY), None),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        );
        let text = accepted("x".to_owned(), Some("wamp"));
        assert!(
            text.ends_with(": x\r\nSec-WebSocket-Protocol: wamp\r\n\r\n"),
            "{text}"
        );
    }

    #[test]
    fn every_refusal_is_a_whole_answer() {
        for &refusal in Refusal::ALL {
            let mut out = Vec::new();
            encode_refusal(refusal, false, &mut out);
            let mut headers = [EMPTY_HEADER; 16];
            let mut response = httparse::Response::new(&mut headers);
            let Ok(Status::Complete(head_bytes)) = response.parse(&out) else {
                panic!("{}", String::from_utf8_lossy(&out));
            };
            let value = |name| only(&response, name);
            let length = (out.len() - head_bytes).to_string();
            assert_eq!(value("Content-Length"), Some(&*length));
            assert_eq!(value("Content-Type"), Some("application/json"));
            let connection = value("Connection").unwrap();
            assert!(connection.split(", ").any(|word| word == "close"));
            let body: serde_json::Value = serde_json::from_slice(&out[head_bytes..]).unwrap();
            assert!(
                body["error"]
                    .as_str()
                    .is_some_and(|error| !error.is_empty())
            );
            assert!(body["hint"].as_str().is_some_and(|hint| !hint.is_empty()));
            assert_eq!(body.as_object().unwrap().len(), 2);
            assert!(out.is_ascii());
        }
    }

    #[test]
    fn statuses_and_their_headers() {
        let cases = [
            (Refusal::BadRequest, 400, None),
            (Refusal::HeadTooLarge, 413, None),
            (Refusal::Method, 405, Some(("allow", "GET"))),
            (Refusal::HttpVersion, 505, None),
            (
                Refusal::NotUpgrade,
                426,
                Some(("sec-websocket-version", "13")),
            ),
            (Refusal::NotUpgrade, 426, Some(("upgrade", "websocket"))),
            (
                Refusal::NotUpgrade,
                426,
                Some(("connection", "Upgrade, close")),
            ),
            (Refusal::NotConnectionUpgrade, 400, None),
            (Refusal::BadKey, 400, None),
            (
                Refusal::WebSocketVersion,
                426,
                Some(("sec-websocket-version", "13")),
            ),
            (Refusal::Subprotocol, 400, None),
            (Refusal::Origin, 403, None),
            (
                Refusal::Token,
                401,
                Some(("www-authenticate", "Bearer realm=\"newswire\"")),
            ),
            (Refusal::AuthUnavailable, 503, Some(("retry-after", "5"))),
            (Refusal::Timeout, 408, None),
            (Refusal::Full, 503, Some(("retry-after", "5"))),
            (Refusal::AddressFull, 503, Some(("retry-after", "5"))),
            (Refusal::TooManyTokens, 429, Some(("retry-after", "60"))),
            (Refusal::ShuttingDown, 503, Some(("retry-after", "5"))),
        ];
        for (refusal, code, header) in cases {
            let mut out = Vec::new();
            encode_refusal(refusal, false, &mut out);
            let mut headers = [EMPTY_HEADER; 16];
            let mut response = httparse::Response::new(&mut headers);
            assert!(response.parse(&out).unwrap().is_complete());
            assert_eq!(response.code, Some(code), "{refusal:?}");
            if let Some((name, value)) = header {
                assert_eq!(only(&response, name), Some(value), "{refusal:?} {name}");
            }
        }
        let mut out = Vec::new();
        encode_refusal(Refusal::Subprotocol, false, &mut out);
        let text = String::from_utf8(out).unwrap();
        for name in SUBPROTOCOLS {
            assert!(text.contains(name), "the body names what we speak");
        }
    }
}
