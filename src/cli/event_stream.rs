//! A blocking client of a stream of server-sent events (WHATWG HTML s. 9.2): from a target to the lines of one event
//! after the other, or to the reason why there are none.
//!
//! Lines end with a line feed, or with a carriage return and a line feed. A proxy may send the body in chunks (RFC 9112
//! s. 7.1), or say how long it is; newswire does neither.
//!
//! Never here: what the lines of an event mean, and trying again.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use httparse::{EMPTY_HEADER, Header, Response, Status};
use memchr::memchr;
use tungstenite::http::StatusCode;

use super::chunks::Chunks;
use super::client::{ConnectError, MESSAGE_BYTES_MAX, refusal};
use super::deadline::Deadline;
use super::past::Wish;
use super::reach::{HANDSHAKE_PATIENCE, reach};
use super::target::{Target, stream_request};

/// In bytes of the answer's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// In header lines of the answer.
const HEAD_LINES_MAX: usize = 64;

/// In bytes of one read.
const READ_BYTES: usize = 64 * 1024;

/// What the head of an answer says.
struct StreamHead {
    status: u16,
    /// In bytes, the head itself.
    len: usize,
    /// In bytes, the body, if the head says so.
    body_bytes: Option<usize>,
    is_stream: bool,
    is_chunked: bool,
}

impl StreamHead {
    /// Parses a head. Returns `None` while it is not whole.
    ///
    /// # Errors
    /// It is not HTTP.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, httparse::Error> {
        let mut lines = [EMPTY_HEADER; HEAD_LINES_MAX];
        let mut response = Response::new(&mut lines);
        let Status::Complete(len) = response.parse(bytes)? else {
            return Ok(None);
        };
        let value = |name: &str| {
            let is_meant = |line: &&Header<'_>| line.name.eq_ignore_ascii_case(name);
            let line = response.headers.iter().find(is_meant)?;
            str::from_utf8(line.value).ok().map(str::trim)
        };
        let media_type = value("Content-Type").and_then(|value| value.split(';').next());
        Ok(Some(Self {
            status: response.code.unwrap_or(0),
            len,
            body_bytes: value("Content-Length").and_then(|length| length.parse().ok()),
            is_stream: media_type.is_some_and(|media_type| {
                media_type
                    .trim_end()
                    .eq_ignore_ascii_case("text/event-stream")
            }),
            is_chunked: value("Transfer-Encoding")
                .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")),
        }))
    }
}

/// Returns true when `head` begins a stream that is not cut into chunks, for a caller that reads its own sockets.
pub(super) fn is_plain_stream(head: &[u8]) -> bool {
    let head = StreamHead::parse(head).ok().flatten();
    head.is_some_and(|head| head.status == 200 && head.is_stream && !head.is_chunked)
}

/// An open stream.
pub(super) struct EventReader {
    stream: TcpStream,
    body: Body,
    /// True exactly when the body has ended. A proxy may keep the connection open behind it.
    is_over: bool,
    blocks: Blocks,
    buffer: Vec<u8>,
}

/// How the end of a body is known.
enum Body {
    Chunked(Chunks),
    /// In bytes, what is still to come.
    Sized(usize),
    /// It ends with its connection.
    Open,
}

impl EventReader {
    /// Asks for a stream of `topics`. Each read of the stream waits for at most `read_patience`.
    pub(super) fn open(
        target: &Target,
        topics: &[String],
        wish: Wish<'_>,
        read_patience: Duration,
    ) -> Result<Self, ConnectError> {
        let failed = |what: &dyn fmt::Display| ConnectError::failed(target, what);
        let mut stream = reach(target.url.address()).map_err(|error| failed(&error))?;
        let topics = topics.iter().map(String::as_str);
        let request = stream_request(&target.request(), topics, wish);
        stream
            .write_all(request.as_bytes())
            .map_err(|error| failed(&error))?;
        let mut answer = Vec::new();
        let deadline = Deadline::after(HANDSHAKE_PATIENCE);
        let head = loop {
            let mut piece = [0; 4096];
            if deadline.left().is_none() {
                return Err(failed(&"it does not answer"));
            }
            match stream.read(&mut piece) {
                Ok(0) => return Err(failed(&"it ended the connection without an answer")),
                Ok(n) => answer.extend_from_slice(&piece[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if is_timeout(&error) => return Err(failed(&"it does not answer")),
                Err(error) => return Err(failed(&error)),
            }
            match StreamHead::parse(&answer) {
                Ok(Some(head)) => break head,
                Ok(None) if answer.len() < HEAD_BYTES_MAX => {}
                Ok(None) | Err(_) => {
                    return Err(ConnectError::Refused(format!(
                        "{target} is not an HTTP server"
                    )));
                }
            }
        };
        let begun = answer.split_off(head.len);
        if head.status != 200 {
            let status = StatusCode::from_u16(head.status)
                .map_err(|_| ConnectError::Refused(format!("{target} is not an HTTP server")))?;
            return Err(refusal(target, status, head.body_bytes, begun, stream));
        }
        if !head.is_stream {
            return Err(ConnectError::Refused(format!(
                "{target} answered with something else than a stream of events: is that the server's listener for clients?"
            )));
        }
        stream
            .set_read_timeout(Some(read_patience))
            .map_err(|error| failed(&error))?;
        let mut reader = Self {
            stream,
            body: match head.body_bytes {
                _ if head.is_chunked => Body::Chunked(Chunks::default()),
                Some(bytes) => Body::Sized(bytes),
                None => Body::Open,
            },
            is_over: false,
            blocks: Blocks::default(),
            buffer: vec![0; READ_BYTES],
        };
        reader.take(&begun).map_err(|error| failed(&error))?;
        Ok(reader)
    }

    /// Waits for the lines of the next event. `None` is the end.
    ///
    /// # Errors
    /// Those of the socket, a time-out among them; and what is no stream.
    pub(super) fn next(&mut self) -> io::Result<Option<String>> {
        loop {
            if let Some(lines) = self.blocks.next() {
                return Ok(Some(lines));
            }
            if self.is_over {
                return Ok(None);
            }
            let mut buffer = std::mem::take(&mut self.buffer);
            let taken = self.stream.read(&mut buffer).and_then(|n| match n {
                0 => {
                    self.is_over = true;
                    Ok(())
                }
                n => self.take(&buffer[..n]),
            });
            self.buffer = buffer;
            match taken {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes bytes of the body, and sees its end.
    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        let out = &mut self.blocks.bytes;
        self.is_over = match &mut self.body {
            Body::Chunked(chunks) => chunks.take(bytes, out)?,
            Body::Sized(left) => {
                let here = bytes.len().min(*left);
                out.extend_from_slice(&bytes[..here]);
                *left -= here;
                *left == 0
            }
            Body::Open => {
                out.extend_from_slice(bytes);
                false
            }
        };
        match self.blocks.bytes.len() - self.blocks.start > MESSAGE_BYTES_MAX {
            true => Err(io::Error::other("an event is too large")),
            false => Ok(()),
        }
    }

    /// How long each read waits from now on.
    pub(super) fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(patience))
    }
}

/// Returns true when a read has waited in vain.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// Cuts a body into the lines of one event after the other. An empty line ends an event.
///
/// `load::blocks` cuts streams as well. It keeps the beginning of an event and looks at as little as it can, because a
/// load test must not measure itself. Here events are kept whole, and lines may end as a proxy likes: they are printed.
#[derive(Debug, Default)]
struct Blocks {
    bytes: Vec<u8>,
    /// Where the event begins that comes next.
    start: usize,
    /// Where the line begins that is not whole; at `start` or behind it.
    line: usize,
    /// Up to where there is no end of that line; at `line` or behind it.
    searched: usize,
}

impl Blocks {
    /// The lines of the next event that is there.
    fn next(&mut self) -> Option<String> {
        while let Some(at) = memchr(b'\n', &self.bytes[self.searched..]) {
            let line_end = self.searched + at;
            let is_empty = matches!(self.bytes[self.line..line_end], [] | [b'\r']);
            let (start, end) = (self.start, self.line);
            self.line = line_end + 1;
            self.searched = self.line;
            if is_empty {
                self.start = self.line;
                if end > start {
                    let lines = String::from_utf8_lossy(&self.bytes[start..end]);
                    return Some(lines.into_owned());
                }
            }
        }
        // The rest is moved once for all events of a read.
        self.bytes.drain(..self.start);
        self.line -= self.start;
        self.start = 0;
        self.searched = self.bytes.len();
        None
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::mpsc;
    use std::thread;

    use super::super::subscribe;
    use super::*;

    /// What a reader gets of a server that sends `begun` together with its head, `rest` in a second write, and leaves
    /// the connection open.
    fn read(head: &str, begun: &str, rest: &str) -> Vec<String> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("bound"));
        let first =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{head}\r\n{begun}");
        let rest = rest.to_owned();
        let (opened, is_open) = mpsc::channel();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            stream.write_all(first.as_bytes()).expect("sent");
            is_open.recv().expect("the reader is there");
            stream.write_all(rest.as_bytes()).expect("sent");
            stream
        });
        let line = ["subscribe", "--protocol", "sse", &url, "t"];
        let matches = subscribe::command().try_get_matches_from(line);
        let target = Target::from_matches(&matches.expect("good")).expect("good");
        let patience = Duration::from_secs(5);
        let reader = EventReader::open(&target, &["t".to_owned()], Wish::default(), patience);
        let mut reader = reader.expect("a stream");
        opened.send(()).expect("the server is there");
        let _stream = server.join().expect("it went well");
        let mut events = Vec::new();
        while let Some(event) = reader.next().expect("no wait for more than there will be") {
            events.push(event);
        }
        assert_eq!(reader.next().expect("an end stays one"), None);
        events
    }

    #[test]
    fn a_body_ends_while_its_connection_stays_open() {
        const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
        const SIZED: &str = "Content-Length: 21\r\n";
        let events = ["retry: 3\n", "data: 1\n"];
        let body = "retry: 3\n\ndata: 1\n\n:\n";
        let chunk = format!("15\r\n{body}\r\n");
        let end = "0\r\n\r\n";
        let whole = format!("{chunk}{end}");
        for (head, begun, rest) in [
            (CHUNKED, &*whole, ""),
            (CHUNKED, "", &*whole),
            (CHUNKED, &*chunk, end),
            (SIZED, body, ""),
            (SIZED, "", body),
            (SIZED, &body[..9], &body[9..]),
        ] {
            assert_eq!(read(head, begun, rest), events, "{head} {begun} {rest}");
        }
        assert!(read(CHUNKED, end, "").is_empty());
        assert!(read("Content-Length: 0\r\n", "", "").is_empty());
    }

    const BODY: &str = ":\n\nretry: 3\r\n\r\ndata: {\"é\":1}\nid: 7\n\n\n\ndata: 2\n\ndata: cut";

    fn blocks(pieces: &[&[u8]]) -> Vec<String> {
        let mut blocks = Blocks::default();
        let mut found = Vec::new();
        for piece in pieces {
            blocks.bytes.extend_from_slice(piece);
            found.extend(std::iter::from_fn(|| blocks.next()));
            assert_eq!(blocks.start, 0);
        }
        found
    }

    #[test]
    fn a_cut_changes_nothing() {
        let expected = [
            ":\n",
            "retry: 3\r\n",
            "data: {\"é\":1}\nid: 7\n",
            "data: 2\n",
        ];
        for size in 1..=BODY.len() {
            let pieces: Vec<&[u8]> = BODY.as_bytes().chunks(size).collect();
            assert_eq!(blocks(&pieces), expected, "pieces of {size}");
        }
    }

    #[test]
    fn only_a_stream_is_one() {
        let head = |lines: &str| format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
        for (head, is_plain) in [
            (head("Content-Type: text/event-stream\r\n"), true),
            (
                head("content-type: Text/Event-Stream ; charset=utf-8\r\n"),
                true,
            ),
            (
                head("Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"),
                false,
            ),
            (head("Content-Type: text/html\r\n"), false),
            (head(""), false),
            (
                "HTTP/1.1 401 No\r\nContent-Type: text/event-stream\r\n\r\n".to_owned(),
                false,
            ),
            ("HTTP/1.1 200 OK\r\n".to_owned(), false),
            ("SSH-2.0-x\r\n\r\n".to_owned(), false),
        ] {
            assert_eq!(is_plain_stream(head.as_bytes()), is_plain, "{head}");
        }
    }
}
