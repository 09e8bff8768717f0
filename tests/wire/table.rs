//! The contract's tables (docs/wire.md s. 2, 3 and 4), a row a case, asked of the real binary with raw
//! sockets: every status of an upgrade, every form of a token, every message and frame, and what the
//! two clients that exist make of it.
//!
//! Stories, where one thing follows another, are scripts: `tests/transcripts/`.

use kit::raw::{Heard, Raw, close_payload, frame_of};
use kit::web::Answer;
use kit::{Server, TOKEN};
use serde_json::Value;

const GOOD: &str = "GET /?token=b64+with/every=sign== HTTP/1.1";

const HEADERS: &[&str] = &[
    "Host: push.example",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
];

/// A head of `line` and the headers of a good one, changed: `-Name` takes one away, `Name: value`
/// comes in its place or is new, `+Name: value` is one more.
fn head(line: &str, changes: &[&str]) -> Vec<u8> {
    let mut headers: Vec<String> = HEADERS.iter().map(|&h| h.to_owned()).collect();
    for change in changes {
        if let Some(more) = change.strip_prefix('+') {
            headers.push(more.to_owned());
            continue;
        }
        let name = change.trim_start_matches('-');
        let name = name.split_once(':').map_or(name, |(name, _)| name);
        headers.retain(|header| !header.starts_with(&format!("{name}:")));
        if !change.starts_with('-') {
            headers.push((*change).to_owned());
        }
    }
    format!("{line}\r\n{}\r\n\r\n", headers.join("\r\n")).into_bytes()
}

/// What a server answers to `bytes`, and the connection behind it.
fn ask(server: &Server, bytes: &[u8], what: &str) -> (Answer, Raw) {
    let mut raw = Raw::new(server.connect());
    raw.send(bytes);
    match raw.hear() {
        Ok(Heard::Http(http)) => (http, raw),
        other => panic!("{what}: {other:?}"),
    }
}

/// A session that has had its WELCOME.
fn session(server: &Server) -> Raw {
    let (http, mut raw) = ask(server, &head(GOOD, &[]), "a good upgrade");
    assert_eq!(http.status, 101);
    welcome(&mut raw, "a good upgrade");
    raw
}

fn welcome(raw: &mut Raw, what: &str) {
    let Ok(Heard::Frame(0x81, payload)) = raw.hear() else {
        panic!("{what}: no text");
    };
    let payload = String::from_utf8(payload).expect("text");
    assert!(payload.starts_with("[0,\""), "{what}: {payload}");
    let rest = concat!("\",1,\"newswire/", env!("CARGO_PKG_VERSION"), "\"]");
    assert!(payload.ends_with(rest), "{what}: {payload}");
}

/// A refusal is an answer that ends the connection cleanly, says in JSON what is wrong and what to
/// do, and has nothing of the request in it.
fn check_refusal(http: &Answer, raw: &mut Raw, what: &str) {
    assert_eq!(http.values("content-type"), ["application/json"], "{what}");
    let connection = http.values("connection").join(", ");
    assert!(connection.contains("close"), "{what}: {connection}");
    let body: Value = serde_json::from_str(&http.body).expect(what);
    for part in ["error", "hint"] {
        assert!(
            body[part].as_str().is_some_and(|s| s.len() > 10),
            "{what}: {part}"
        );
    }
    let whole = format!("{:?}{}", http.head, http.body);
    for secret in [TOKEN, "b64", "sesame"] {
        assert!(!whole.contains(secret), "{what}: {whole}");
    }
    assert_eq!(raw.hear(), Ok(Heard::End), "{what}");
}

struct Upgrade {
    what: &'static str,
    line: &'static str,
    changes: &'static [&'static str],
    status: u16,
    /// Which the answer has, once, with this value.
    headers: &'static [(&'static str, &'static str)],
    /// Part of the body: what to do.
    says: &'static str,
}

const fn good(what: &'static str, changes: &'static [&'static str]) -> Upgrade {
    Upgrade {
        what,
        line: GOOD,
        changes,
        status: 101,
        headers: &[
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ],
        says: "",
    }
}

const fn bad(
    what: &'static str,
    line: &'static str,
    changes: &'static [&'static str],
    status: u16,
    says: &'static str,
) -> Upgrade {
    let headers: &[(&str, &str)] = match status {
        405 => &[("Allow", "GET")],
        426 => &[("Sec-WebSocket-Version", "13"), ("Upgrade", "websocket")],
        _ => &[],
    };
    Upgrade {
        what,
        line,
        changes,
        status,
        headers,
        says,
    }
}

const DEFLATE: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

#[rustfmt::skip]
const UPGRADES: &[Upgrade] = &[
    good("as it should be", &[]),
    good("names and tokens in another case", &["-Upgrade", "+upgrade: WebSocket", "-Connection", "+CONNECTION: UPGRADE"]),
    good("lists", &["Upgrade: h2c, websocket", "Connection: keep-alive, Upgrade"]),
    good("a list on two lines", &["Connection: keep-alive", "+Connection: Upgrade"]),
    good("extensions that are not spoken here", &["Sec-WebSocket-Extensions: x-webkit-deflate-frame, permessage-deflate; server_max_window_bits=10"]),
    Upgrade { headers: &[("Sec-WebSocket-Extensions", DEFLATE)], ..good("compression", &["Sec-WebSocket-Extensions: foo, permessage-deflate; client_max_window_bits"]) },
    good("a browser's other headers", &["Origin: https://a.example", "Cookie: a=b; c=\"d e\"", "Pragma: no-cache"]),
    good("a body of nothing", &["Content-Length: 0"]),
    Upgrade { line: "GET /a/b%20c?x=1&token=b64+with/every=sign== HTTP/1.1", ..good("any path and query", &[]) },
    Upgrade { line: "GET http://push.example/?token=b64+with/every=sign== HTTP/1.1", ..good("absolute form", &[]) },
    Upgrade { line: "GET ws://push.example:8080/ws?token=b64+with/every=sign== HTTP/1.1", ..good("absolute form, of the WebSocket", &[]) },
    bad("not GET", "POST /?token=sesame HTTP/1.1", &[], 405, "only GET"),
    bad("not GET either", "OPTIONS * HTTP/1.1", &[], 405, "open a WebSocket here"),
    bad("HTTP/1.0", "GET /?token=sesame HTTP/1.0", &[], 505, "nginx: proxy_http_version"),
    bad("HTTP/2", "PRI * HTTP/2.0", &[], 505, "HTTP/1.1"),
    bad("no Upgrade", GOOD, &["-Upgrade"], 426, "open this URL with a WebSocket client"),
    bad("another Upgrade", GOOD, &["Upgrade: h2c"], 426, "have it pass Upgrade on"),
    bad("no Connection", GOOD, &["-Connection"], 400, "send Connection: Upgrade"),
    bad("another Connection", GOOD, &["Connection: keep-alive"], 400, "send Connection: Upgrade"),
    bad("no key", GOOD, &["-Sec-WebSocket-Key"], 400, "16 random bytes in base64"),
    bad("an empty key", GOOD, &["Sec-WebSocket-Key: "], 400, "16 random bytes in base64"),
    bad("a short key", GOOD, &["Sec-WebSocket-Key: dGhlIHNhbXBsZQ=="], 400, "16 random bytes in base64"),
    bad("a key that is not base64", GOOD, &["Sec-WebSocket-Key: dGhlIHNhbXBs*SBub25jZQ=="], 400, "16 random bytes in base64"),
    bad("two keys", GOOD, &["+Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="], 400, "once"),
    bad("no version", GOOD, &["-Sec-WebSocket-Version"], 426, "Sec-WebSocket-Version: 13"),
    bad("version 8", GOOD, &["Sec-WebSocket-Version: 8"], 426, "Sec-WebSocket-Version: 13"),
    bad("two versions", GOOD, &["+Sec-WebSocket-Version: 8"], 426, "once"),
    bad("no Host", GOOD, &["-Host"], 400, "one Host"),
    bad("two Hosts", GOOD, &["+Host: other.example"], 400, "one Host"),
    bad("a body", GOOD, &["Content-Length: 5"], 400, "no body"),
    bad("a chunked body", GOOD, &["Transfer-Encoding: chunked"], 400, "no body"),
    bad("no HTTP", "hello", &[], 400, "send an HTTP/1.1 upgrade"),
    bad("a space in the target", "GET /?token=Basic b64+with/every=sign== HTTP/1.1", &[], 400, "HTTP/1.1"),
    bad("a sub-protocol not spoken here", GOOD, &["Sec-WebSocket-Protocol: wamp.2.msgpack"], 400, "offer wamp"),
    bad("a sub-protocol in another case", GOOD, &["Sec-WebSocket-Protocol: WAMP"], 400, "offer wamp"),
    bad("no token", "GET / HTTP/1.1", &[], 401, "?token=TOKEN"),
];

#[test]
fn upgrades() {
    let server = Server::start(&[]);
    for case in UPGRADES {
        let what = case.what;
        let (http, mut raw) = ask(&server, &head(case.line, case.changes), what);
        assert_eq!(http.status, case.status, "{what}: {http:?}");
        for (name, value) in case.headers {
            let values = http.values(name);
            let names_it = values.len() == 1 && values[0].split(", ").any(|v| v == *value);
            assert!(names_it, "{what}: {name}: {values:?}");
        }
        assert!(http.body.contains(case.says), "{what}: {}", http.body);
        if http.status == 101 {
            for name in ["Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"] {
                let is_named = case.headers.iter().any(|(named, _)| *named == name);
                assert!(is_named || http.values(name).is_empty(), "{what}: {name}");
            }
            welcome(&mut raw, what);
        } else {
            check_refusal(&http, &mut raw, what);
        }
    }
}

#[test]
fn heads_that_are_no_request() {
    let server = Server::start(&[]);
    let client_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03sesame\r\n\r\n";
    let (http, mut raw) = ask(&server, client_hello, "TLS");
    assert_eq!(http.status, 400);
    assert!(http.body.contains("no TLS"), "{}", http.body);
    check_refusal(&http, &mut raw, "TLS");

    // A body is read and forgotten: a reset would destroy the answer.
    let mut post = head("POST /?token=sesame HTTP/1.1", &["Content-Length: 300000"]);
    post.resize(post.len() + 300_000, b'x');
    let (http, mut raw) = ask(&server, &post, "a large body");
    assert_eq!(http.status, 405);
    check_refusal(&http, &mut raw, "a large body");

    // Cookies are long: the replaced server refused at 4,096 bytes, ours at 8,192.
    let cookie = format!("Cookie: {}", "c".repeat(7_800));
    let (http, _raw) = ask(&server, &head(GOOD, &[&cookie]), "a long head");
    assert_eq!(http.status, 101);
    let cookie = format!("Cookie: {}", "c".repeat(8_192));
    let (http, mut raw) = ask(&server, &head(GOOD, &[&cookie]), "a head too long");
    assert_eq!(http.status, 413);
    check_refusal(&http, &mut raw, "a head too long");
}

#[test]
fn subprotocols() {
    let server = Server::start(&[]);
    for (changes, echoed) in [
        (&[][..], &[][..]),
        (&["Sec-WebSocket-Protocol: wamp"], &["wamp"]),
        (
            &["Sec-WebSocket-Protocol: wamp.2.json.batched,wamp"],
            &["wamp"],
        ),
        (&["Sec-WebSocket-Protocol: wamp, wamp.2.json"], &["wamp"]),
        (
            &[
                "Sec-WebSocket-Protocol: chat",
                "+Sec-WebSocket-Protocol: wamp",
            ],
            &["wamp"],
        ),
        (&["Sec-WebSocket-Protocol: "], &[]),
    ] {
        let what = format!("{changes:?}");
        let (http, mut raw) = ask(&server, &head(GOOD, changes), &what);
        assert_eq!(http.status, 101, "{what}");
        assert_eq!(http.values("Sec-WebSocket-Protocol"), echoed, "{what}");
        welcome(&mut raw, &what);
    }
}

#[test]
fn tokens() {
    let server = Server::start(&["--log-level", "trace"]);
    #[rustfmt::skip]
    let cases = [
        ("as it is", "/?token=b64+with/every=sign==", true),
        ("percent-encoded", "/?token=b64%2Bwith%2fevery%3Dsign%3D%3d", true),
        ("half encoded", "/?token=b64+with%2Fevery=sign=%3D", true),
        ("letters encoded", "/?token=%6264+with/every=sign==", true),
        ("among others", "/ws?a=1&token=b64+with/every=sign==&b=2", true),
        ("twice, the last one good", "/?token=sesame&token=b64+with/every=sign==", true),
        ("behind Basic", "/?token=Basic%20b64+with/every=sign==", true),
        ("twice, the last one wrong", "/?token=b64+with/every=sign==&token=sesame", false),
        ("twice, the last one empty", "/?token=b64+with/every=sign==&token=", false),
        ("encoded twice", "/?token=b64%252Bwith/every=sign==", false),
        ("a plus that is a space", "/?token=b64%20with/every=sign==", false),
        ("without its padding", "/?token=b64+with/every=sign", false),
        ("with more behind it", "/?token=b64+with/every=sign==x", false),
        ("in another case", "/?token=B64+with/every=sign==", false),
        ("behind Basic and a plus", "/?token=Basic+b64+with/every=sign==", false),
        ("wrong", "/?token=sesame", false),
        ("empty", "/?token=", false),
        ("without a value", "/?token", false),
        ("missing", "/", false),
        ("by the API's name", "/?auth_token=b64+with/every=sign==", false),
        ("in the path", "/token=b64+with/every=sign==", false),
        ("in a fragment", "/#?token=b64+with/every=sign==", false),
    ];
    for (what, target, is_good) in cases {
        let bytes = head(&format!("GET {target} HTTP/1.1"), &[]);
        let (http, mut raw) = ask(&server, &bytes, what);
        if is_good {
            assert_eq!(http.status, 101, "{what}");
            welcome(&mut raw, what);
        } else {
            assert_eq!(http.status, 401, "{what}");
            let challenge = http.values("WWW-Authenticate");
            assert_eq!(challenge, ["Bearer realm=\"newswire\""], "{what}");
            check_refusal(&http, &mut raw, what);
        }
    }
    // Not even the most talkative log has one.
    server.signal("TERM");
    server.wait_for_log("shutdown: complete");
    let log = server.log();
    let (_, summary) = server.wait();
    for secret in ["b64", "every", "B64", "sesame"] {
        let told = log.contains(secret) || summary.contains(secret);
        assert!(!told, "{secret}: {log}{summary}");
    }
}

/// What a client hears.
enum Reply {
    Nothing,
    Text(&'static str),
    Frame(u8, &'static [u8]),
    Close(u16, &'static str),
}
use Reply::{Close, Frame, Nothing, Text};

/// Sends, and compares what comes of it.
fn check_answer(server: &Server, bytes: &[u8], answer: &Reply, what: &str) {
    let mut raw = session(server);
    raw.send(bytes);
    let expected = match answer {
        Nothing => {
            raw.settle().expect(what);
            assert_eq!(raw.kept(), None, "{what}");
            return;
        }
        Text(text) => Heard::Frame(0x81, text.as_bytes().into()),
        Frame(first, payload) => Heard::Frame(*first, payload.to_vec()),
        Close(code, reason) => Heard::Frame(0x88, close_payload(*code, reason)),
    };
    let heard = raw.hear().expect(what);
    assert_eq!(heard, expected, "{what}: {heard}");
    if matches!(expected, Heard::Frame(0x88, _)) {
        assert_eq!(raw.hear(), Ok(Heard::End), "{what}");
    } else {
        // It stays open, and that was all.
        raw.settle().expect(what);
        assert_eq!(raw.kept(), None, "{what}");
    }
}

#[test]
fn messages() {
    let server = Server::start(&[]);
    let not_list = Close(1007, "not a JSON list");
    #[rustfmt::skip]
    let cases = [
        (r#"[5,"package_created"]"#, Nothing),
        (r#"[5, "package_created"]"#, Nothing),
        (" \t\r\n[\n5\t,\r\"t\"] ", Nothing),
        (r#"[5,"t","more",{"is":"ignored"}]"#, Nothing),
        (r#"[5,42]"#, Nothing),
        (r#"[6,"never subscribed"]"#, Nothing),
        (r#"[1,"ev","http://example.com/ev#"]"#, Nothing),
        (r#"[7,"t",{"n":1}]"#, Nothing),
        (r#"[7,"t",{"n":1},[],["id"]]"#, Nothing),
        (r#"[2,"id1","http://x/rpc",1]"#, Text(r#"[4,"id1","http://x/rpc","You are not allowed to make calls"]"#)),
        (r#"[2,"\"\\\n\u00e9","rpc"]"#, Text(r#"[4,"\"\\\né","rpc","You are not allowed to make calls"]"#)),
        ("", Close(1007, "not JSON")),
        ("nope", Close(1007, "not JSON")),
        (r#"[5,"t""#, Close(1007, "not JSON")),
        (r#"[5,"t"]x"#, Close(1007, "not JSON")),
        (r#"[5,'t']"#, Close(1007, "not JSON")),
        ("null", Close(1007, "not a JSON list")),
        ("true", Close(1007, "not a JSON list")),
        ("5", Close(1007, "not a JSON list")),
        (r#""text""#, Close(1007, "not a JSON list")),
        (r#"{"type":5,"topic":"t"}"#, not_list),
        ("[]", Close(1007, "an empty list")),
        (r#"[9,"t"]"#, Close(1007, "unknown message type")),
        (r#"[-5,"t"]"#, Close(1007, "unknown message type")),
        (r#"[null,"t"]"#, Close(1007, "unknown message type")),
        (r#"["5","t"]"#, Close(1007, "unknown message type")),
        (r#"[[5,"t"]]"#, Close(1007, "unknown message type")),
        (r#"[0,"id",1,"me"]"#, Close(1007, "a message type that only the server sends")),
        (r#"[3,"id",1]"#, Close(1007, "a message type that only the server sends")),
        (r#"[4,"id","a","b"]"#, Close(1007, "a message type that only the server sends")),
        (r#"[8,"t",1]"#, Close(1007, "a message type that only the server sends")),
        ("[5]", Close(1007, "SUBSCRIBE without a topic")),
        ("[6]", Close(1007, "UNSUBSCRIBE without a topic")),
        ("[7]", Close(1007, "PUBLISH without a topic")),
        (r#"[2,"id"]"#, Close(1007, "CALL without a procedure")),
        (r#"[1,"ev"]"#, Close(1007, "PREFIX without a URI")),
        (r#"[5,["t"]]"#, Close(1007, "a name that is neither a string nor a number")),
        (r#"[5,{"t":1}]"#, Close(1007, "a name that is neither a string nor a number")),
        ("[5,null]", Close(1007, "a name that is neither a string nor a number")),
        (r#"[5,"\ud800"]"#, Close(1007, "bad escape in a string")),
    ];
    for (text, answer) in cases {
        // Text and binary alike.
        for first in [0x81, 0x82] {
            let what = format!("{first:02x} {text}");
            check_answer(&server, &frame_of(first, text.as_bytes()), &answer, &what);
        }
    }
}

#[test]
fn frames() {
    let server = Server::start(&[]);
    let frames = |frames: &[(u8, &[u8])]| -> Vec<u8> {
        frames
            .iter()
            .flat_map(|(first, payload)| frame_of(*first, payload))
            .collect()
    };
    let call = br#"[2,"i","p"]"#;
    let called = || Text(r#"[4,"i","p","You are not allowed to make calls"]"#);
    let long = [b'x'; 126];
    #[rustfmt::skip]
    let cases = [
        ("fragments", frames(&[(0x01, &call[..4]), (0x00, &call[4..7]), (0x80, &call[7..])]), called()),
        ("binary fragments", frames(&[(0x02, &call[..4]), (0x80, &call[4..])]), called()),
        ("empty fragments", frames(&[(0x01, b""), (0x00, call), (0x00, b""), (0x80, b"")]), called()),
        ("a pong between fragments", frames(&[(0x01, &call[..4]), (0x8A, b"x"), (0x80, &call[4..])]), called()),
        ("a ping", frames(&[(0x89, b"hi")]), Frame(0x8A, b"hi")),
        ("an empty ping", frames(&[(0x89, b"")]), Frame(0x8A, b"")),
        ("a ping that is no text", frames(&[(0x89, b"\xFF\x00")]), Frame(0x8A, b"\xFF\x00")),
        ("a pong", frames(&[(0x8A, b"unasked")]), Nothing),
        ("close 1000", frames(&[(0x88, &close_payload(1000, ""))]), Close(1000, "")),
        ("close with a reason", frames(&[(0x88, &close_payload(1001, "bye"))]), Close(1001, "")),
        ("close of an application", frames(&[(0x88, &close_payload(4000, ""))]), Close(4000, "")),
        ("close without a code", frames(&[(0x88, b"")]), Frame(0x88, b"")),
        ("what comes after a close", frames(&[(0x88, &close_payload(1000, "")), (0x81, call)]), Close(1000, "")),
        ("no mask", b"\x81\x02[]".to_vec(), Close(1002, "frame without a mask")),
        ("a ping without a mask", b"\x89\x00".to_vec(), Close(1002, "frame without a mask")),
        ("reserved bit 1", frames(&[(0xC1, call)]), Close(1002, "reserved bit set")),
        ("reserved bit 2", frames(&[(0xA1, call)]), Close(1002, "reserved bit set")),
        ("reserved bit 3", frames(&[(0x91, call)]), Close(1002, "reserved bit set")),
        ("opcode 3", frames(&[(0x83, b"")]), Close(1002, "reserved opcode")),
        ("opcode 7", frames(&[(0x87, b"")]), Close(1002, "reserved opcode")),
        ("opcode 11", frames(&[(0x8B, b"")]), Close(1002, "reserved opcode")),
        ("opcode 15", frames(&[(0x8F, b"")]), Close(1002, "reserved opcode")),
        ("a fragmented ping", frames(&[(0x09, b"hi")]), Close(1002, "fragmented control frame")),
        ("a long ping", frames(&[(0x89, &long)]), Close(1002, "control frame over 125 bytes")),
        ("a long close", frames(&[(0x88, &long)]), Close(1002, "control frame over 125 bytes")),
        ("a continuation of nothing", frames(&[(0x80, b"x")]), Close(1002, "continuation of nothing")),
        ("a message in a message", frames(&[(0x01, b"["), (0x81, call)]), Close(1002, "new message inside a fragmented one")),
        ("two bytes of length for 5", b"\x81\xFE\x00\x05\0\0\0\0[5,1]".to_vec(), Close(1002, "frame length not in its shortest form")),
        ("eight bytes of length for 5", b"\x81\xFF\0\0\0\0\0\0\0\x05\0\0\0\0[5,1]".to_vec(), Close(1002, "frame length not in its shortest form")),
        ("a length of 64 bits", b"\x81\xFF\xFF\0\0\0\0\0\0\0\0\0\0\0".to_vec(), Close(1002, "frame length over 63 bits")),
        ("half of a close code", frames(&[(0x88, b"\x03")]), Close(1002, "close frame of one byte")),
        ("close 999", frames(&[(0x88, &close_payload(999, ""))]), Close(1002, "close code not allowed")),
        ("close 1005", frames(&[(0x88, &close_payload(1005, ""))]), Close(1002, "close code not allowed")),
        ("close 1006", frames(&[(0x88, &close_payload(1006, ""))]), Close(1002, "close code not allowed")),
        ("close 5000", frames(&[(0x88, &close_payload(5000, ""))]), Close(1002, "close code not allowed")),
        ("a close reason that is no text", frames(&[(0x88, b"\x03\xE8\xFF")]), Close(1007, "text is not UTF-8")),
        ("text that is not UTF-8", frames(&[(0x81, b"[5,\"\xFF\"]")]), Close(1007, "text is not UTF-8")),
        ("an overlong character", frames(&[(0x81, b"[5,\"\xC0\xAF\"]")]), Close(1007, "text is not UTF-8")),
        ("a surrogate", frames(&[(0x81, b"[5,\"\xED\xA0\x80\"]")]), Close(1007, "text is not UTF-8")),
        ("half a character at the end", frames(&[(0x01, b"[5,\"\xC3"), (0x80, b"")]), Close(1007, "text is not UTF-8")),
        ("a message too large", frames(&[(0x81, &[b' '; 65_537])]), Close(1009, "message too large")),
        ("a length that is only declared", b"\x81\xFF\0\0\0\xFF\0\0\0\0\0\0\0\0".to_vec(), Close(1009, "message too large")),
    ];
    for (what, bytes, answer) in cases {
        check_answer(&server, &bytes, &answer, what);
    }
}

/// How autobahn.js sees the end: after a clean one it never comes back (docs/wire.md s. 4).
#[derive(Debug, Eq, PartialEq)]
enum Ending {
    Clean(u16),
    Unclean,
}

fn ending(raw: &mut Raw) -> Ending {
    match raw.hear().expect("an end") {
        Heard::Frame(0x88, payload) => {
            assert_eq!(raw.hear(), Ok(Heard::End));
            Ending::Clean(u16::from_be_bytes([payload[0], payload[1]]))
        }
        Heard::End => Ending::Unclean,
        heard => panic!("{heard}"),
    }
}

/// The next message, as both clients read it: JSON in a text frame.
fn message(raw: &mut Raw) -> Value {
    match raw.hear().expect("a message") {
        Heard::Frame(0x81, payload) => serde_json::from_slice(&payload).expect("JSON"),
        heard => panic!("{heard}"),
    }
}

#[test]
fn the_superdesk_client() {
    let server = Server::start(&[]);
    let (_context, publisher) = server.publisher();
    // On any close it comes again with the same token, for ever.
    for _ in 0..2 {
        let line = format!("GET /?token={TOKEN} HTTP/1.1");
        let origin = ["Origin: https://superdesk.example"];
        let (http, mut raw) = ask(&server, &head(&line, &origin), "its upgrade");
        assert_eq!(http.status, 101);
        assert_eq!(message(&mut raw)[0], 0);
        raw.send(&frame_of(0x81, br#"[5, "package_created"]"#));
        raw.settle().expect("an answer");
        let event = r#"{"topic":"package_created","data":{"package":{"id":6,"headline":"caf\u00e9"},"state":"create"}}"#;
        publisher.send(event, 0).expect("sent");
        let data = message(&mut raw);
        assert_eq!(data[0], 8);
        assert_eq!(data[2]["package"]["headline"], "café");
        assert_eq!(data[2]["state"], "create");
        raw.send(&frame_of(0x88, &close_payload(1000, "")));
        assert_eq!(ending(&mut raw), Ending::Clean(1000));
    }
}

#[test]
fn autobahn_js_comes_back_after_a_shutdown_unless_it_is_told_not_to() {
    for (options, expected) in [
        (&[][..], Ending::Unclean),
        (&["--shutdown-close", "drop"], Ending::Unclean),
        (&["--shutdown-close", "frame"], Ending::Clean(1001)),
    ] {
        let server = Server::start(options);
        let offer = ["Sec-WebSocket-Protocol: wamp"];
        let (http, mut raw) = ask(&server, &head(GOOD, &offer), "its upgrade");
        // Browsers fail a connection whose offer is not echoed.
        assert_eq!(http.values("Sec-WebSocket-Protocol"), ["wamp"]);
        assert_eq!(message(&mut raw)[0], 0, "`onopen` fires on WELCOME");
        for text in [
            r#"[1,"e","http://a/"]"#,
            r#"[5,"e:t"]"#,
            r#"[7,"e:t",1]"#,
            r#"[6,"e:t"]"#,
        ] {
            raw.send(&frame_of(0x81, text.as_bytes()));
        }
        raw.send(&frame_of(0x81, br#"[2,"0.id","e:rpc"]"#));
        let answer = message(&mut raw);
        assert_eq!(
            (&answer[0], &answer[1]),
            (&4.into(), &"0.id".into()),
            "no second WELCOME"
        );
        server.signal("TERM");
        assert_eq!(ending(&mut raw), expected, "{options:?}");
        drop(raw);
        assert!(server.wait().0.success());
    }
}
