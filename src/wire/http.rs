//! The HTTP/1.1 upgrade (RFC 6455 s. 4.2): a head becomes an [`Upgrade`], or the [`Refusal`] that
//! answers it; and both answers become bytes.
//!
//! A refusal says what was wrong and what to do, in JSON and in one place (`answer`): whoever
//! meets it sees it in `curl`, in a proxy's log or in the browser's network tab, and nothing else.
//!
//! Never here: whether a token, an origin or an address is welcome (these refusals are only written
//! here), and no byte of a request in an answer: a token may be among them.

use std::fmt;

use httparse::{EMPTY_HEADER, Error, Header, Request, Status};

use crate::limits::{HEADERS_MAX, ORIGIN_BYTES_MAX};
use crate::stats::Refusal;

/// The sub-protocols that newswire speaks, as clients name them.
pub const SUBPROTOCOLS: &[&str] = &["wamp"];

/// What a good upgrade asks for. Borrowed from the head. Its `Debug` leaves the query out, where the
/// token is.
#[derive(Eq, PartialEq)]
pub struct Upgrade<'a> {
    /// The request target as it came, query included.
    pub target: &'a str,
    /// `Sec-WebSocket-Key` as it came; it is known to be 16 bytes of base64.
    pub key: &'a str,
    /// The first offered sub-protocol that we speak; `None` exactly when the client offered nothing.
    pub subprotocol: Option<&'static str>,
    /// `Origin`, as it came.
    pub origin: Option<&'a str>,
    /// The elements of all `X-Forwarded-For` lines, as they came; anybody may have written them.
    pub forwarded_for: Vec<&'a [u8]>,
}

impl fmt::Debug for Upgrade<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.target.split(['?', '#']).next();
        f.debug_struct("Upgrade")
            .field("path", &path.unwrap_or_default())
            .field("subprotocol", &self.subprotocol)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

/// Parses a head. `Ok(None)`: there is more to come. The number is the head's length in bytes; what
/// follows it is the first of the WebSocket. Empty lines before the request line belong to the head
/// (RFC 9112 s. 2.2).
///
/// # Errors
/// The refusal to answer with. A head is refused as soon as no byte can save it.
pub fn parse(bytes: &[u8], head_bytes_max: usize) -> Result<Option<(Upgrade<'_>, usize)>, Refusal> {
    // What is behind the limit must not count, or the answer would depend on how the bytes came.
    let head = &bytes[..bytes.len().min(head_bytes_max)];
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    match request.parse(head) {
        Ok(Status::Complete(head_bytes)) => Ok(Some((check(&request)?, head_bytes))),
        Ok(Status::Partial) if bytes.len() >= head_bytes_max => Err(Refusal::HeadTooLarge),
        Ok(Status::Partial) => Ok(None),
        Err(Error::TooManyHeaders) => Err(Refusal::HeadTooLarge),
        Err(Error::Version) if names_a_version(head) => Err(Refusal::HttpVersion),
        Err(_) => Err(Refusal::BadRequest),
    }
}

/// Whether the request line at least says that it is HTTP: `PRI * HTTP/2.0` does, `GET /a b …` and
/// other noise do not.
fn names_a_version(head: &[u8]) -> bool {
    let start = head.trim_ascii_start();
    let line = start.split(|&byte| byte == b'\n').next().unwrap_or(start);
    let mut words = line.split(|&byte| byte == b' ');
    words.nth(2).is_some_and(|word| word.starts_with(b"HTTP/")) && words.next().is_none()
}

/// The rules of RFC 6455 s. 4.2.1, in the order in which the replaced server asked.
fn check<'a>(request: &Request<'_, 'a>) -> Result<Upgrade<'a>, Refusal> {
    if request.method != Some("GET") {
        return Err(Refusal::Method);
    }
    if request.version != Some(1) {
        return Err(Refusal::HttpVersion);
    }
    let headers = Headers(request.headers);
    // RFC 9112 s. 3.2: exactly one `Host`, or 400.
    if headers.values("host").count() != 1 {
        return Err(Refusal::BadRequest);
    }
    // A body would be taken for frames, and a proxy in front might see it otherwise. RFC 9110 s. 7.8
    let has_body = headers.values("transfer-encoding").next().is_some()
        || headers
            .values("content-length")
            .any(|length| length != b"0");
    if has_body {
        return Err(Refusal::BadRequest);
    }
    if !headers.has_token("upgrade", b"websocket") {
        return Err(Refusal::NotUpgrade);
    }
    if !headers.has_token("connection", b"upgrade") {
        return Err(Refusal::NotConnectionUpgrade);
    }
    let key = match headers.only("sec-websocket-key") {
        Some(Some(key)) if is_key(key) => str::from_utf8(key).map_err(|_| Refusal::BadKey)?,
        _ => return Err(Refusal::BadKey),
    };
    // RFC 6455 s. 11.3.5: not more than once.
    if headers.only("sec-websocket-version") != Some(Some(b"13")) {
        return Err(Refusal::WebSocketVersion);
    }
    let subprotocol = choose_subprotocol(&headers)?;
    // RFC 6454 s. 7.3: not more than once. Which of two would be the page's?
    let origin = match headers.only("origin") {
        None => return Err(Refusal::BadRequest),
        Some(None) => None,
        // It may be kept for as long as the client is there.
        Some(Some(origin)) if origin.len() > ORIGIN_BYTES_MAX => {
            return Err(Refusal::BadRequest);
        }
        Some(Some(origin)) => Some(str::from_utf8(origin).map_err(|_| Refusal::BadRequest)?),
    };
    Ok(Upgrade {
        target: request.path.ok_or(Refusal::BadRequest)?,
        key,
        subprotocol,
        origin,
        forwarded_for: headers.elements("x-forwarded-for").collect(),
    })
}

/// 16 bytes in base64 are 22 of its characters and two `=`. What the last four bits are is not
/// asked (RFC 4648 s. 3.5 leaves it open): old clients do not set them to zero.
fn is_key(key: &[u8]) -> bool {
    let alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key[..22].iter().all(alphabet) && key.ends_with(b"==")
}

/// RFC 6455 s. 4.2.2: the client's order of preference counts, names are case-sensitive. An offer
/// of nothing but commas and spaces is none.
fn choose_subprotocol(headers: &Headers<'_, '_>) -> Result<Option<&'static str>, Refusal> {
    let mut offered = false;
    for name in headers.elements("sec-websocket-protocol") {
        offered = true;
        if let Some(ours) = SUBPROTOCOLS.iter().find(|ours| ours.as_bytes() == name) {
            return Ok(Some(ours));
        }
    }
    match offered {
        true => Err(Refusal::Subprotocol),
        false => Ok(None),
    }
}

/// The lines of a head. Names are given in lower case, and found in any.
struct Headers<'h, 'a>(&'h [Header<'a>]);

impl<'h, 'a> Headers<'h, 'a> {
    /// The value of each line with this name, without white space around it.
    fn values(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> + use<'h, 'a> {
        let lines = self.0.iter();
        lines
            .filter(move |line| line.name.eq_ignore_ascii_case(name))
            .map(|line| line.value.trim_ascii())
    }

    /// The elements of a list, which may be spread over several lines; empty ones do not count.
    /// RFC 9110 s. 5.6.1
    fn elements(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> + use<'h, 'a> {
        self.values(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|element| !element.is_empty())
    }

    fn has_token(&self, name: &'static str, token: &[u8]) -> bool {
        self.elements(name)
            .any(|element| element.eq_ignore_ascii_case(token))
    }

    /// The value of what may stand once; `Some(None)` where it is missing, `None` where it stands
    /// more than once.
    fn only(&self, name: &'static str) -> Option<Option<&'a [u8]>> {
        let mut values = self.values(name);
        let first = values.next();
        match values.next() {
            Some(_) => None,
            None => Some(first),
        }
    }
}

/// `Sec-WebSocket-Accept` for a key. RFC 6455 s. 4.2.2
pub fn accept_key(key: &str) -> String {
    tungstenite::handshake::derive_accept_key(key.as_bytes())
}

/// Appends the 101. It agrees to no extension, whatever was offered.
pub fn encode_accept(accept_key: &str, subprotocol: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\n\
          Upgrade: websocket\r\n\
          Connection: Upgrade\r\n\
          Sec-WebSocket-Accept: ",
    );
    out.extend_from_slice(accept_key.as_bytes());
    if let Some(subprotocol) = subprotocol {
        out.extend_from_slice(b"\r\nSec-WebSocket-Protocol: ");
        out.extend_from_slice(subprotocol.as_bytes());
    }
    out.extend_from_slice(b"\r\n\r\n");
}

/// Appends the answer to an upgrade that is refused: status, headers, a small JSON body with `error`
/// and `hint`. The connection ends with it. The answer to a HEAD has no body (RFC 9110 s. 9.3.2).
pub fn encode_refusal(refusal: Refusal, is_head: bool, out: &mut Vec<u8>) {
    let Answer {
        status,
        headers,
        error,
        hint,
    } = answer(refusal);
    let body = format!("{{\"error\":\"{error}\",\"hint\":\"{hint}\"}}");
    let head = format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    out.extend_from_slice(head.as_bytes());
    if !is_head {
        out.extend_from_slice(body.as_bytes());
    }
}

/// Returns true when a request, whole or begun, is a HEAD.
pub fn is_head(request: &[u8]) -> bool {
    request.trim_ascii_start().starts_with(b"HEAD ")
}

/// What a refusal says. All of it is ours, and needs no escape in JSON.
struct Answer {
    /// Code and phrase.
    status: &'static str,
    /// `Connection`, and what the status asks for.
    headers: &'static str,
    /// What is wrong.
    error: &'static str,
    /// What to do.
    hint: &'static str,
}

const CLOSE: &str = "Connection: close\r\n";

/// RFC 9110 s. 15.5.22: a 426 says to what; s. 7.8: and `Connection` names that field.
const UPGRADE: &str =
    "Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n";

/// Clients of the replaced server come again after 5 s whatever they are told; others may listen.
const RETRY: &str = "Connection: close\r\nRetry-After: 5\r\n";

/// All answers. A new refusal does not compile until it has one.
fn answer(refusal: Refusal) -> Answer {
    let (status, headers, error, hint) = match refusal {
        Refusal::BadRequest => (
            "400 Bad Request",
            CLOSE,
            "the request is malformed",
            "send an HTTP/1.1 upgrade: one Host, at most one Origin, no body, and no TLS (wss://), \
             which is the proxy's",
        ),
        Refusal::HeadTooLarge => (
            "413 Content Too Large",
            CLOSE,
            "the request's head is too large",
            "send fewer or smaller cookies, or have the server's limit for the head raised",
        ),
        Refusal::Method => (
            "405 Method Not Allowed",
            "Connection: close\r\nAllow: GET\r\n",
            "only GET is allowed",
            "open a WebSocket here; events are published elsewhere",
        ),
        Refusal::HttpVersion => (
            "505 HTTP Version Not Supported",
            CLOSE,
            "a WebSocket starts with HTTP/1.1",
            "if a proxy is in front, have it speak HTTP/1.1 to this server (nginx: proxy_http_version)",
        ),
        Refusal::NotUpgrade => (
            "426 Upgrade Required",
            UPGRADE,
            "this is a WebSocket server",
            "open this URL with a WebSocket client; if a proxy is in front, have it pass Upgrade on",
        ),
        Refusal::NotConnectionUpgrade => (
            "400 Bad Request",
            CLOSE,
            "the Connection header does not say upgrade",
            "send Connection: Upgrade; if a proxy is in front, have it send that to this server",
        ),
        Refusal::BadKey => (
            "400 Bad Request",
            CLOSE,
            "Sec-WebSocket-Key is missing or wrong",
            "send it once: 16 random bytes in base64",
        ),
        Refusal::WebSocketVersion => (
            "426 Upgrade Required",
            UPGRADE,
            "only version 13 of WebSocket is spoken here",
            "send Sec-WebSocket-Version: 13, once",
        ),
        Refusal::Subprotocol => (
            "400 Bad Request",
            CLOSE,
            "none of the offered sub-protocols is spoken here",
            "offer wamp (WAMP v1), or offer none",
        ),
        Refusal::Origin => (
            "403 Forbidden",
            CLOSE,
            "pages of this origin may not connect",
            "have the page's origin added to those that the server allows",
        ),
        Refusal::Token => (
            "401 Unauthorized",
            // RFC 9110 s. 15.5.2 wants a challenge. `Basic` would make browsers ask for a password.
            "Connection: close\r\nWWW-Authenticate: Bearer realm=\"newswire\"\r\n",
            "the token is missing, wrong or expired",
            "get a new token and put it into the URL: ?token=TOKEN",
        ),
        Refusal::AuthUnavailable => (
            "503 Service Unavailable",
            RETRY,
            "tokens cannot be checked now",
            "try again later; the token may be good",
        ),
        Refusal::Timeout => (
            "408 Request Timeout",
            CLOSE,
            "the request's head did not come in time",
            "send the whole upgrade at once; if it was, look for a slow proxy or network",
        ),
        Refusal::Full => (
            "503 Service Unavailable",
            RETRY,
            "all places are taken",
            "try again later, or have the server's limit for connections or open files raised",
        ),
        Refusal::AddressFull => (
            "503 Service Unavailable",
            RETRY,
            "all places of this address are taken",
            "close some of its connections, or have the server's limit for one address raised; \
             behind a proxy all clients may share one",
        ),
        Refusal::TooManyTokens => (
            "429 Too Many Requests",
            "Connection: close\r\nRetry-After: 60\r\n",
            "too many tokens of this address were refused",
            "wait a minute, then come with a token that is known",
        ),
        Refusal::ShuttingDown => (
            "503 Service Unavailable",
            RETRY,
            "the server is going down",
            "try again in some seconds",
        ),
    };
    Answer {
        status,
        headers,
        error,
        hint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 8 * 1024;
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    /// A good head, with lines replaced (by name) and added.
    fn head(request_line: &str, changes: &[&str]) -> Vec<u8> {
        let good = [
            "Host: localhost:8080",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
        ];
        let name = |line: &str| line.split(':').next().unwrap().to_ascii_lowercase();
        let mut lines = vec![request_line.to_owned()];
        for line in good {
            if !changes.iter().any(|change| name(change) == name(line)) {
                lines.push(line.to_owned());
            }
        }
        // `Name:-` takes a line out.
        let added = changes.iter().filter(|change| !change.ends_with(":-"));
        lines.extend(added.map(|&change| change.to_owned()));
        (lines.join("\r\n") + "\r\n\r\n").into_bytes()
    }

    fn get(changes: &[&str]) -> Vec<u8> {
        head("GET / HTTP/1.1", changes)
    }

    fn refusal(bytes: &[u8]) -> Refusal {
        match parse(bytes, MAX) {
            Err(refusal) => refusal,
            other => panic!(
                "no refusal but {other:?}: {:?}",
                bytes.escape_ascii().to_string()
            ),
        }
    }

    fn subprotocol(changes: &[&str]) -> Option<&'static str> {
        let bytes = get(changes);
        let (upgrade, _) = parse(&bytes, MAX).unwrap().unwrap();
        upgrade.subprotocol
    }

    #[test]
    fn a_good_upgrade_at_every_cut() {
        let bytes = get(&[
            "Origin: https://example.com",
            "Sec-WebSocket-Protocol: wamp",
        ]);
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut], MAX), Ok(None), "cut at {cut}");
        }
        let expected = Upgrade {
            target: "/",
            key: KEY,
            subprotocol: Some("wamp"),
            origin: Some("https://example.com"),
            forwarded_for: Vec::new(),
        };
        assert_eq!(parse(&bytes, MAX), Ok(Some((expected, bytes.len()))));
        // The first frame may be behind it.
        let more = [&bytes[..], &[0x81, 0x80, 1, 2, 3, 4]].concat();
        assert_eq!(parse(&more, MAX).unwrap().unwrap().1, bytes.len());
    }

    #[test]
    fn every_target_is_welcome() {
        for target in [
            "/",
            "/?token=a+b/c==",
            "/ws/x?y=1&token=2#f",
            "http://example.com:8080/?token=1",
            "*",
            "/%ff?%zz",
            "/ü?token=é",
        ] {
            let bytes = head(&format!("GET {target} HTTP/1.1"), &[]);
            assert_eq!(parse(&bytes, MAX).unwrap().unwrap().0.target, target);
        }
    }

    #[test]
    fn debug_shows_no_token() {
        for target in ["/p?token=sesame", "/p#sesame", "http://h/p?x&token=sesame"] {
            let bytes = head(&format!("GET {target} HTTP/1.1"), &[]);
            let shown = format!("{:?}", parse(&bytes, MAX));
            assert!(shown.contains("/p") && !shown.contains("sesame"), "{shown}");
        }
    }

    #[test]
    fn lines_may_look_different() {
        for changes in [
            &["upgrade: WebSocket", "CONNECTION: keep-alive, Upgrade"][..],
            &[
                "Upgrade: h2c, websocket",
                "Connection: keep-alive",
                "Connection: UPGRADE",
            ],
            &["Connection:upgrade  ", "Sec-WebSocket-Version:  13 "],
            &[
                "Content-Length: 0",
                "Sec-WebSocket-Extensions: permessage-deflate",
            ],
            &["Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAB=="],
        ] {
            assert!(
                matches!(parse(&get(changes), MAX), Ok(Some(_))),
                "{changes:?}"
            );
        }
        let bare = String::from_utf8(get(&[])).unwrap().replace("\r\n", "\n");
        assert!(matches!(parse(bare.as_bytes(), MAX), Ok(Some(_))));
        let empty_lines = [b"\r\n\r\n", &get(&[])[..]].concat();
        assert_eq!(
            parse(&empty_lines, MAX).unwrap().unwrap().1,
            empty_lines.len()
        );
    }

    #[test]
    fn refused_for_one_reason_each() {
        let key_twice = format!("Sec-WebSocket-Key: {KEY}");
        let cases: &[(Refusal, Vec<u8>)] = &[
            (Refusal::Method, head("POST / HTTP/1.1", &[])),
            (Refusal::Method, head("get / HTTP/1.1", &[])),
            (Refusal::HttpVersion, head("GET / HTTP/1.0", &[])),
            (Refusal::HttpVersion, head("GET / HTTP/2.0", &[])),
            (
                Refusal::HttpVersion,
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            ),
            (Refusal::HttpVersion, b"\r\nGET / HTTP/3".to_vec()),
            (Refusal::NotUpgrade, get(&["Upgrade:-"])),
            (Refusal::NotUpgrade, get(&["Upgrade: h2c"])),
            (Refusal::NotUpgrade, get(&["Upgrade: websockets"])),
            (Refusal::NotConnectionUpgrade, get(&["Connection:-"])),
            (
                Refusal::NotConnectionUpgrade,
                get(&["Connection: keep-alive"]),
            ),
            (
                Refusal::NotConnectionUpgrade,
                get(&["Connection: upgraded"]),
            ),
            (Refusal::BadKey, get(&["Sec-WebSocket-Key:-"])),
            (Refusal::BadKey, get(&["Sec-WebSocket-Key: "])),
            (Refusal::BadKey, get(&["Sec-WebSocket-Key: c2hvcnQ="])),
            (
                Refusal::BadKey,
                get(&["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=A"]),
            ),
            (
                Refusal::BadKey,
                get(&["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j*Q=="]),
            ),
            (
                Refusal::BadKey,
                get(&["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZSEh"]),
            ),
            (Refusal::BadKey, get(&[&key_twice, &key_twice])),
            (Refusal::WebSocketVersion, get(&["Sec-WebSocket-Version:-"])),
            (
                Refusal::WebSocketVersion,
                get(&["Sec-WebSocket-Version: 8"]),
            ),
            (
                Refusal::WebSocketVersion,
                get(&["Sec-WebSocket-Version: 13, 8"]),
            ),
            (
                Refusal::WebSocketVersion,
                get(&["Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 13"]),
            ),
            (
                Refusal::Subprotocol,
                get(&["Sec-WebSocket-Protocol: wamp.2.json"]),
            ),
            (
                Refusal::Subprotocol,
                get(&["Sec-WebSocket-Protocol: WAMP, mqtt"]),
            ),
            (Refusal::BadRequest, get(&["Host:-"])),
            (Refusal::BadRequest, get(&["Host: a", "Host: b"])),
            (
                Refusal::BadRequest,
                get(&["Origin: http://a", "Origin: http://b"]),
            ),
            (
                Refusal::BadRequest,
                get(&[&format!("Origin: {}", "a".repeat(ORIGIN_BYTES_MAX + 1))]),
            ),
            (Refusal::BadRequest, get(&["Content-Length: 5"])),
            (Refusal::BadRequest, get(&["Transfer-Encoding: chunked"])),
            (Refusal::BadRequest, head("GET /a b HTTP/1.1", &[])),
            (Refusal::BadRequest, head("GET / FTP/1.1", &[])),
            (
                Refusal::BadRequest,
                b"\x16\x03\x01\x02\x00\x01\x00".to_vec(),
            ),
            (
                Refusal::BadRequest,
                b"GET /\xFF HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
            ),
            (
                Refusal::BadRequest,
                b"GET / HTTP/1.1\r\nBad Name: a\r\n\r\n".to_vec(),
            ),
            (
                Refusal::BadRequest,
                b"GET / HTTP/1.1\r\nName: a\0b\r\n\r\n".to_vec(),
            ),
        ];
        for (expected, bytes) in cases {
            assert_eq!(
                refusal(bytes),
                *expected,
                "{:?}",
                bytes.escape_ascii().to_string()
            );
        }
        let mut bytes = get(&["Origin: ~"]);
        let at = bytes.iter().position(|&byte| byte == b'~').unwrap();
        bytes[at] = 0xFF;
        assert_eq!(refusal(&bytes), Refusal::BadRequest);
    }

    #[test]
    fn of_several_faults_the_first_is_told() {
        assert_eq!(refusal(b"POST / HTTP/1.0\r\n\r\n"), Refusal::Method);
        assert_eq!(refusal(b"GET / HTTP/1.0\r\n\r\n"), Refusal::HttpVersion);
        assert_eq!(
            refusal(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            Refusal::NotUpgrade
        );
        let bad = get(&["Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 8"]);
        assert_eq!(refusal(&bad), Refusal::BadKey);
    }

    #[test]
    fn the_head_is_limited_whether_it_is_whole_or_not() {
        let bytes = get(&["Cookie: 0123456789"]);
        assert!(matches!(parse(&bytes, bytes.len()), Ok(Some(_))));
        assert_eq!(parse(&bytes, bytes.len() - 1), Err(Refusal::HeadTooLarge));
        assert_eq!(parse(&bytes[..50], 51), Ok(None));
        assert_eq!(parse(&bytes[..50], 50), Err(Refusal::HeadTooLarge));
        assert_eq!(parse(&bytes[..50], 0), Err(Refusal::HeadTooLarge));
        assert_eq!(parse(&[b'\n'; 100], 50), Err(Refusal::HeadTooLarge));
        let lines: Vec<String> = (0..HEADERS_MAX).map(|i| format!("X-{i}: 1")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        assert_eq!(parse(&get(&lines), MAX), Err(Refusal::HeadTooLarge));
        assert!(matches!(parse(&get(&lines[5..]), MAX), Ok(Some(_))));
    }

    #[test]
    fn the_first_offer_that_we_speak_wins() {
        assert_eq!(subprotocol(&[]), None);
        assert_eq!(subprotocol(&["Sec-WebSocket-Protocol: "]), None);
        assert_eq!(subprotocol(&["Sec-WebSocket-Protocol: , ,"]), None);
        assert_eq!(subprotocol(&["Sec-WebSocket-Protocol: wamp"]), Some("wamp"));
        assert_eq!(
            subprotocol(&["sec-websocket-protocol: wamp.2.json ,wamp"]),
            Some("wamp")
        );
        let lines = [
            "Sec-WebSocket-Protocol: mqtt",
            "Sec-WebSocket-Protocol: WAMP,\twamp",
        ];
        assert_eq!(subprotocol(&lines), Some("wamp"));
    }

    #[test]
    fn the_answer_of_rfc_6455() {
        // RFC 6455 s. 1.3
        assert_eq!(accept_key(KEY), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let mut out = Vec::new();
        encode_accept(&accept_key(KEY), None, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
        );
        let mut out = Vec::new();
        encode_accept("x", Some("wamp"), &mut out);
        let text = String::from_utf8(out).unwrap();
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
            let headers = Headers(response.headers);
            let length = headers.only("content-length").flatten().unwrap();
            assert_eq!(length, (out.len() - head_bytes).to_string().as_bytes());
            assert_eq!(
                headers.only("content-type"),
                Some(Some(&b"application/json"[..]))
            );
            assert!(headers.has_token("connection", b"close"));
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
                let found = Headers(response.headers).only(name).flatten();
                assert_eq!(found, Some(value.as_bytes()), "{refusal:?} {name}");
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
