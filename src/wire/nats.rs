//! NATS, a client's side of it: lines of text, and payloads between them (NATS' "Client Protocol").
//!
//! A server sends `INFO`, `MSG`, `PING`, `PONG`, `+OK` and `-ERR`; a client `CONNECT`, `SUB`, `UNSUB`, `PUB`, `PING`
//! and `PONG`. newswire asks for no headers, so there is no `HMSG`.
//!
//! A *subject* is a topic with a prefix before it. Its parts stand between dots; as whole parts, `*` and `>` stand for
//! others.
//!
//! Never here: I/O, clocks, and what was subscribed to.

use std::fmt;

use serde_json::Value;

use super::json;
use crate::limits;

/// Asks whether the other side is there.
pub const PING: &[u8] = b"PING\r\n";
/// The answer.
pub const PONG: &[u8] = b"PONG\r\n";

/// Checks the prefix of subjects.
///
/// # Errors
/// What a prefix has to be.
pub fn check_prefix(prefix: &str) -> Result<(), String> {
    let is_good = match prefix.strip_suffix('.') {
        Some(parts) => is_subject(parts),
        None => prefix.is_empty(),
    };
    match is_good {
        true => Ok(()),
        false => Err(
            "a prefix of subjects ends with a dot, such as `news.`, and has no white space, no `*`, no `>` and \
             no empty part; or it is empty"
                .to_owned(),
        ),
    }
}

/// Returns the subject of `topic`; `None` for a topic that no subject can carry.
pub fn subject(prefix: &str, topic: &str) -> Option<String> {
    let is_short = prefix.len() + topic.len() <= limits::NATS_SUBJECT_BYTES_MAX;
    (is_short && is_subject(topic)).then(|| format!("{prefix}{topic}"))
}

/// Returns true when `text` is one subject that stands for no others.
fn is_subject(text: &str) -> bool {
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '*' && c != '>';
    text.split('.').all(|part| !part.is_empty()) && text.chars().all(is_plain)
}

/// Returns the subject that a server names between quotation marks when it refuses a subscription.
pub fn refused_subject(text: &str) -> Option<&str> {
    text.split('"').nth(1)
}

/// Who a client is.
#[derive(Debug, Default)]
pub struct Login<'a> {
    /// The user.
    pub user: Option<&'a str>,
    /// The user's password.
    pub password: Option<&'a str>,
    /// A token.
    pub token: Option<&'a str>,
    /// The JWT of a credentials file, and the signature under the server's nonce.
    pub signed: Option<(&'a str, String)>,
}

/// Returns the `CONNECT` of a client.
pub fn connect(name: &str, is_tls: bool, login: &Login<'_>) -> Vec<u8> {
    let options = json::text(|object| {
        object
            .put("verbose", false)
            .put("pedantic", false)
            .put("tls_required", is_tls)
            .put("name", name)
            .put("lang", "rust")
            .put("version", env!("CARGO_PKG_VERSION"))
            .put("protocol", 1_u32)
            .put("echo", false)
            .put("headers", false);
        let texts = [
            ("user", login.user),
            ("pass", login.password),
            ("auth_token", login.token),
            ("jwt", login.signed.as_ref().map(|(jwt, _)| *jwt)),
            (
                "sig",
                login.signed.as_ref().map(|(_, signature)| &**signature),
            ),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                object.put(key, text);
            }
        }
    });
    format!("CONNECT {options}\r\n").into_bytes()
}

/// Appends a subscription with the number `sid`.
pub fn subscribe(subject: &str, sid: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("SUB {subject} {sid}\r\n").as_bytes());
}

/// Appends the end of a subscription.
pub fn unsubscribe(sid: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("UNSUB {sid}\r\n").as_bytes());
}

/// Appends a message.
pub fn publish(subject: &str, payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("PUB {subject} {}\r\n", payload.len()).as_bytes());
    out.extend_from_slice(payload);
    out.extend_from_slice(b"\r\n");
}

/// What a server sends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ServerOp {
    /// What it is and wants.
    Info(ServerInfo),
    /// A message.
    Message {
        /// The subscription.
        sid: u64,
        /// The subject.
        subject: String,
        /// The payload, or its beginning ([`NatsDecoder::new`]).
        payload: Vec<u8>,
    },
    /// It asks whether the client is there.
    Ping,
    /// It answers.
    Pong,
    /// It has done what was asked.
    Ok,
    /// It refuses something, and says why.
    Error(String),
}

/// What a server says about itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ServerInfo {
    /// What a client with credentials has to sign.
    pub nonce: String,
    /// True exactly when it speaks TLS with everybody.
    pub requires_tls: bool,
    /// True exactly when it can speak TLS.
    pub offers_tls: bool,
    /// In bytes, the longest payload that it takes.
    pub payload_bytes_max: Option<usize>,
    /// True exactly when it is about to end, and wants its clients to go elsewhere.
    pub is_ending: bool,
}

impl ServerInfo {
    fn parse(json: &[u8]) -> Option<Self> {
        let info: Value = serde_json::from_slice(json).ok()?;
        let is = |key: &str| info[key].as_bool() == Some(true);
        let bytes = info["max_payload"].as_u64();
        info.is_object().then(|| Self {
            nonce: info["nonce"].as_str().unwrap_or_default().to_owned(),
            requires_tls: is("tls_required"),
            offers_tls: is("tls_required") || is("tls_available"),
            payload_bytes_max: bytes.and_then(|bytes| bytes.try_into().ok()),
            is_ending: is("ldm"),
        })
    }
}

/// What a server sends is not NATS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoNats;

impl fmt::Display for NoNats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what listens there does not speak NATS")
    }
}

/// Takes a server's bytes apart, wherever they are cut.
#[derive(Debug)]
pub struct NatsDecoder {
    /// The beginning of a line.
    line: Vec<u8>,
    message: Option<UnfinishedMessage>,
    payload_bytes_max: usize,
}

/// A message whose payload is on its way.
#[derive(Debug)]
struct UnfinishedMessage {
    sid: u64,
    subject: String,
    payload: Vec<u8>,
    /// In bytes that are still to come, the end of the line not counted.
    left: usize,
    /// In bytes of the line's end that are still to come.
    end: usize,
}

impl NatsDecoder {
    /// A decoder that keeps so many bytes of a payload, and throws further ones away.
    pub fn new(payload_bytes_max: usize) -> Self {
        Self {
            line: Vec::new(),
            message: None,
            payload_bytes_max,
        }
    }

    /// Takes bytes from the beginning of `input` until there is something whole. `None`: all bytes were taken.
    ///
    /// # Errors
    /// What comes is not NATS.
    pub fn decode(&mut self, input: &mut &[u8]) -> Result<Option<ServerOp>, NoNats> {
        loop {
            if let Some(message) = &mut self.message {
                message.take(input, self.payload_bytes_max)?;
                if message.left > 0 || message.end > 0 {
                    return Ok(None);
                }
                return Ok(self.message.take().map(UnfinishedMessage::finish));
            }
            let end = memchr::memchr(b'\n', input);
            let (piece, rest) = input.split_at(end.map_or(input.len(), |end| end + 1));
            *input = rest;
            if self.line.len() + piece.len() > limits::NATS_LINE_BYTES_MAX {
                return Err(NoNats);
            }
            self.line.extend_from_slice(piece);
            if end.is_none() {
                return Ok(None);
            }
            let line = std::mem::take(&mut self.line);
            if let Some(op) = self.line(line.trim_ascii_end())? {
                return Ok(Some(op));
            }
        }
    }

    /// Takes one line. `None`: it announces a payload.
    fn line(&mut self, line: &[u8]) -> Result<Option<ServerOp>, NoNats> {
        let end = line.iter().position(|b| matches!(b, b' ' | b'\t'));
        let (name, rest) = line.split_at(end.unwrap_or(line.len()));
        let rest = rest.trim_ascii_start();
        // The protocol's names are written in either case.
        let op = match &*name.to_ascii_uppercase() {
            b"MSG" => {
                let mut message = UnfinishedMessage::parse(rest).ok_or(NoNats)?;
                let kept = message.left.min(self.payload_bytes_max);
                message.payload.reserve_exact(kept);
                self.message = Some(message);
                return Ok(None);
            }
            b"INFO" => ServerOp::Info(ServerInfo::parse(rest).ok_or(NoNats)?),
            b"PING" => ServerOp::Ping,
            b"PONG" => ServerOp::Pong,
            b"+OK" => ServerOp::Ok,
            b"-ERR" => {
                let text = String::from_utf8_lossy(rest);
                ServerOp::Error(text.trim_matches('\'').to_owned())
            }
            _ => return Err(NoNats),
        };
        Ok(Some(op))
    }
}

impl UnfinishedMessage {
    /// Parses `<subject> <sid> [reply-to] <bytes>`.
    fn parse(line: &[u8]) -> Option<Self> {
        let line = str::from_utf8(line).ok()?;
        let mut words = line.split_ascii_whitespace();
        let (subject, sid) = (words.next()?, words.next()?);
        let (size, next) = (words.next()?, words.next());
        // In a line of four words the third is where an answer would go, and the fourth is the size.
        let size = next.unwrap_or(size);
        words.next().is_none().then_some(Self {
            sid: sid.parse().ok()?,
            subject: subject.to_owned(),
            payload: Vec::new(),
            left: size.parse().ok()?,
            end: 2,
        })
    }

    fn take(&mut self, input: &mut &[u8], bytes_max: usize) -> Result<(), NoNats> {
        let (piece, rest) = input.split_at(self.left.min(input.len()));
        let room = bytes_max - self.payload.len();
        self.payload
            .extend_from_slice(&piece[..room.min(piece.len())]);
        self.left -= piece.len();
        *input = rest;
        while let (0, 1.., [first, rest @ ..]) = (self.left, self.end, *input) {
            let expected = if self.end == 2 { b'\r' } else { b'\n' };
            if *first != expected {
                return Err(NoNats);
            }
            self.end -= 1;
            *input = rest;
        }
        Ok(())
    }

    fn finish(self) -> ServerOp {
        ServerOp::Message {
            sid: self.sid,
            subject: self.subject,
            payload: self.payload,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(sid: u64, subject: &str, payload: &[u8]) -> ServerOp {
        ServerOp::Message {
            sid,
            subject: subject.to_owned(),
            payload: payload.to_vec(),
        }
    }

    /// All that `bytes` are, in pieces of so many bytes.
    fn decode(bytes: &[u8], piece: usize) -> Result<Vec<ServerOp>, NoNats> {
        let mut decoder = NatsDecoder::new(8);
        let mut ops = Vec::new();
        for mut input in bytes.chunks(piece) {
            while let Some(op) = decoder.decode(&mut input)? {
                ops.push(op);
            }
            assert!(input.is_empty(), "what is no whole is kept");
        }
        Ok(ops)
    }

    #[test]
    fn a_servers_bytes_are_taken_apart_wherever_they_are_cut() {
        let bytes = b"INFO {\"server_id\":\"x\",\"nonce\":\"n\",\"max_payload\":7,\"tls_available\":true}\r\n\
            PING\r\n+OK\r\nMSG a.b 12 3\r\n{\r\n\r\nmsg a 1 _INBOX.x\t0\r\n\r\n\
            MSG long 9 11\r\n01234567890\r\n-ERR 'Slow Consumer'\r\nPONG \r\nINFO {\"ldm\":true}\n";
        let info = ServerInfo {
            nonce: "n".to_owned(),
            offers_tls: true,
            payload_bytes_max: Some(7),
            ..ServerInfo::default()
        };
        let ending = ServerInfo {
            is_ending: true,
            ..ServerInfo::default()
        };
        let expected = [
            ServerOp::Info(info),
            ServerOp::Ping,
            ServerOp::Ok,
            message(12, "a.b", b"{\r\n"),
            message(1, "a", b""),
            // What is over the bound is thrown away.
            message(9, "long", b"01234567"),
            ServerOp::Error("Slow Consumer".to_owned()),
            ServerOp::Pong,
            ServerOp::Info(ending),
        ];
        for piece in 1..bytes.len() {
            assert_eq!(
                decode(bytes, piece).as_deref(),
                Ok(&expected[..]),
                "{piece}"
            );
        }
    }

    #[test]
    fn what_is_no_nats_is_refused() {
        let long = [b'x'; limits::NATS_LINE_BYTES_MAX + 1];
        let cases: &[&[u8]] = &[
            b"HTTP/1.1 400 Bad Request\r\n",
            b"AMQP\0\0\x09\x01\r\n",
            b"\r\n",
            b"INFO\r\n",
            b"INFO []\r\n",
            b"MSG a 1\r\n",
            b"MSG a 1 x\r\n",
            b"MSG a x 1\r\n",
            b"MSG a 1 2 3 4\r\n",
            b"MSG a 1 99999999999999999999999\r\n",
            b"MSG a 1 -1\r\n",
            b"MSG a 1 1\r\nxx",
            b"MSG a 1 1\r\nx\rx",
            b"MSG \xFF 1 1\r\n",
            &long,
        ];
        for bytes in cases {
            for piece in [1, bytes.len()] {
                assert_eq!(decode(bytes, piece), Err(NoNats), "{bytes:?}");
            }
        }
    }

    #[test]
    fn a_subject_carries_most_topics() {
        for topic in [
            "a",
            "a.b",
            "package_created",
            "http://x/y#z?a=1&b",
            "é☃",
            "$x",
            "a$",
        ] {
            let subject = subject("news.", topic);
            assert_eq!(subject, Some(format!("news.{topic}")));
        }
        let long = "x".repeat(limits::NATS_SUBJECT_BYTES_MAX);
        assert!(subject("", &long).is_some());
        for topic in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "*",
            "a*",
            "a.>",
            ">",
            "a b",
            "a\tb",
            "a\r\nPUB x 0",
            "a\u{A0}b",
            "a\0",
        ] {
            assert_eq!(subject("news.", topic), None, "{topic:?}");
        }
        assert_eq!(subject("a.", &long), None);
    }

    #[test]
    fn a_prefix_is_whole_parts() {
        for prefix in ["", "news.", "a.b."] {
            assert_eq!(check_prefix(prefix), Ok(()), "{prefix}");
        }
        for prefix in ["news", ".", "a..", ".a.", "a b.", "*.", ">.", "a.>", "a\n."] {
            assert!(check_prefix(prefix).is_err(), "{prefix}");
        }
    }

    #[test]
    fn a_client_speaks_in_lines() {
        let mut out = Vec::new();
        subscribe("news.a", 3, &mut out);
        unsubscribe(3, &mut out);
        publish("news.a", b"{}", &mut out);
        assert_eq!(out, b"SUB news.a 3\r\nUNSUB 3\r\nPUB news.a 2\r\n{}\r\n");
        let login = Login {
            user: Some("a\"b"),
            password: Some("\r\n"),
            ..Login::default()
        };
        let line = connect("me", true, &login);
        let json = line
            .strip_prefix(b"CONNECT ")
            .and_then(|line| line.strip_suffix(b"\r\n"))
            .expect("one line");
        assert!(!json.contains(&b'\n'));
        let options: Value = serde_json::from_slice(json).expect("JSON");
        assert_eq!(options["user"], "a\"b");
        assert_eq!(options["pass"], "\r\n");
        assert_eq!(options["tls_required"], true);
        assert!(options.get("auth_token").is_none() && options.get("jwt").is_none());
    }
}
