//! The WebSocket upgrade (RFC 6455 s. 4.2): a head is judged, and becomes an [`Upgrade`] or the [`Refusal`]
//! that answers it.
//!
//! Never here: whether a token, an origin or an address is welcome, and the bytes of an answer.

use std::fmt;

use super::deflate::{self, DeflateOffer};
use super::head::{Head, HeadFault};
use crate::limits::ORIGIN_BYTES_MAX;
use crate::stats::Refusal;

/// WAMP v2, as clients name it.
pub const WAMP2: &str = "wamp.2.json";

/// The sub-protocols that newswire speaks, as clients name them.
pub const SUBPROTOCOLS: &[&str] = &["wamp", WAMP2];

/// What a good upgrade asks for, borrowed from its head. Its `Debug` leaves the query out, because the token
/// is there.
#[derive(Eq, PartialEq)]
pub struct Upgrade<'a> {
    /// The request target as it came, query included.
    pub target: &'a str,
    /// `Sec-WebSocket-Key` as it came; it is known to be 16 bytes of base64.
    pub key: &'a str,
    /// The first offered sub-protocol that newswire speaks; `None` exactly when the client offered nothing.
    pub subprotocol: Option<&'static str>,
    /// The first offer of compression that newswire can accept.
    pub deflate: Option<DeflateOffer>,
    /// `Origin`, as it came.
    pub origin: Option<&'a str>,
    /// The elements of all `X-Forwarded-For` lines, as they came. Anybody may have written them.
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

/// What the 101 says that accepts an upgrade.
#[derive(Debug, Eq, PartialEq)]
pub struct Acceptance {
    /// The value of `Sec-WebSocket-Accept`.
    pub accept_key: String,
    /// The sub-protocol that was agreed on.
    pub subprotocol: Option<&'static str>,
    /// The compression that was agreed on.
    pub deflate: Option<DeflateOffer>,
}

impl Upgrade<'_> {
    /// Returns what the answer says when the upgrade is accepted. `may_compress` allows compression.
    pub fn acceptance(&self, may_compress: bool) -> Acceptance {
        Acceptance {
            accept_key: accept_key(self.key),
            subprotocol: self.subprotocol,
            deflate: self.deflate.filter(|_| may_compress),
        }
    }
}

/// Returns `Sec-WebSocket-Accept` for a key. RFC 6455 s. 4.2.2
pub fn accept_key(key: &str) -> String {
    tungstenite::handshake::derive_accept_key(key.as_bytes())
}

impl From<HeadFault> for Refusal {
    fn from(fault: HeadFault) -> Self {
        match fault {
            HeadFault::TooLarge => Self::HeadTooLarge,
            HeadFault::OtherVersion => Self::HttpVersion,
            HeadFault::NoVersion | HeadFault::Syntax => Self::BadRequest,
        }
    }
}

/// Judges a head by the rules of RFC 6455 s. 4.2.1, in the order in which the replaced server asked.
///
/// # Errors
/// Returns the refusal for the first rule that the head breaks.
pub fn judge<'a>(head: &Head<'_, 'a>) -> Result<Upgrade<'a>, Refusal> {
    if head.method != "GET" {
        return Err(Refusal::Method);
    }
    if head.is_http_1_0 {
        return Err(Refusal::HttpVersion);
    }
    // RFC 9112 s. 3.2: exactly one `Host`, or 400.
    if head.values("host").count() != 1 {
        return Err(Refusal::BadRequest);
    }
    // A body would be taken for frames, and a proxy in front might see it otherwise. RFC 9110 s. 7.8
    if head.has("transfer-encoding") || head.values("content-length").any(|n| n != b"0") {
        return Err(Refusal::BadRequest);
    }
    if !head.lists("upgrade", "websocket") {
        return Err(Refusal::NotUpgrade);
    }
    if !head.lists("connection", "upgrade") {
        return Err(Refusal::NotConnectionUpgrade);
    }
    let key = match head.text("sec-websocket-key") {
        Ok(Some(key)) if is_key(key.as_bytes()) => key,
        _ => return Err(Refusal::BadKey),
    };
    // RFC 6455 s. 11.3.5: not more than once.
    if head.text("sec-websocket-version") != Ok(Some("13")) {
        return Err(Refusal::WebSocketVersion);
    }
    let subprotocol = choose_subprotocol(head)?;
    // RFC 6454 s. 7.3: not more than once. Which of two would be the page's?
    let origin = head.text("origin").map_err(|_| Refusal::BadRequest)?;
    // The origin may be kept for as long as the client is there.
    if origin.is_some_and(|origin| origin.len() > ORIGIN_BYTES_MAX) {
        return Err(Refusal::BadRequest);
    }
    Ok(Upgrade {
        target: head.target,
        key,
        subprotocol,
        deflate: deflate::choose(head),
        origin,
        forwarded_for: head.elements("x-forwarded-for").collect(),
    })
}

/// Returns true when a key looks like 16 bytes in base64: 22 characters of that and two `=`. The last four
/// bits may be anything (RFC 4648 s. 3.5 leaves them open), because old clients do not set them to zero.
fn is_key(key: &[u8]) -> bool {
    let alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key[..22].iter().all(alphabet) && key.ends_with(b"==")
}

/// Chooses the first offer that newswire speaks: the client's order of preference counts, and names are
/// case-sensitive (RFC 6455 s. 4.2.2). An offer of nothing but commas and spaces is none.
fn choose_subprotocol(head: &Head<'_, '_>) -> Result<Option<&'static str>, Refusal> {
    let mut offered = false;
    for name in head.elements("sec-websocket-protocol") {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::HEADERS_MAX;
    use crate::wire::http::head::NO_LINES;

    const MAX: usize = 8 * 1024;
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    /// The upgrade, and the length of its head; `None` while that is not whole.
    fn parse(bytes: &[u8], max: usize) -> Result<Option<(Upgrade<'_>, usize)>, Refusal> {
        let mut lines = NO_LINES;
        match Head::parse(bytes, max, &mut lines)? {
            Some(head) => Ok(Some((judge(&head)?, head.len))),
            None => Ok(None),
        }
    }

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
            deflate: None,
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
                get(&["Sec-WebSocket-Protocol: wamp.2.msgpack"]),
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
            Some("wamp.2.json")
        );
        let lines = [
            "Sec-WebSocket-Protocol: mqtt",
            "Sec-WebSocket-Protocol: WAMP,\twamp",
        ];
        assert_eq!(subprotocol(&lines), Some("wamp"));
    }
}
