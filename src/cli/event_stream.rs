//! A blocking client of a stream of server-sent events (WHATWG HTML s. 9.2): from a target to the lines of one event
//! after the other, or to the reason why there are none.
//!
//! Lines end with a line feed, or with a carriage return and a line feed. A proxy may send the body in chunks (RFC 9112
//! s. 7.1); newswire does not.
//!
//! Never here: what the lines of an event mean, and trying again.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use httparse::{EMPTY_HEADER, Header, Response, Status};
use memchr::{memchr, memmem};
use tungstenite::http::StatusCode;

use super::client::{ConnectError, MESSAGE_BYTES_MAX, refusal};
use super::reach::reach;
use super::target::{Target, with_topics};

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
    chunks: Option<Chunks>,
    blocks: Blocks,
    buffer: Vec<u8>,
}

impl EventReader {
    /// Asks for a stream of `topics`, behind the event `last_event_id` if there was one. Each read of the stream waits
    /// for at most `read_patience`.
    pub(super) fn open(
        target: &Target,
        topics: &[String],
        last_event_id: Option<&str>,
        read_patience: Duration,
    ) -> Result<Self, ConnectError> {
        let failed = |what: &dyn fmt::Display| ConnectError::failed(target, what);
        let mut stream = reach(target.url.address()).map_err(|error| failed(&error))?;
        let mut request = with_topics(&target.request(), topics.iter().map(String::as_str));
        if let Some(id) = last_event_id {
            let end = request.len() - "\r\n".len();
            request.insert_str(end, &format!("Last-Event-ID: {id}\r\n"));
        }
        stream
            .write_all(request.as_bytes())
            .map_err(|error| failed(&error))?;
        let mut answer = Vec::new();
        let head = loop {
            let mut piece = [0; 4096];
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
            chunks: head.is_chunked.then(Chunks::default),
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
            let mut buffer = std::mem::take(&mut self.buffer);
            let taken = self.stream.read(&mut buffer).and_then(|n| match n {
                0 => Ok(true),
                n => self.take(&buffer[..n]),
            });
            self.buffer = buffer;
            match taken {
                Ok(false) => {}
                // What came in the same read with the end of the body is complete.
                Ok(true) => return Ok(self.blocks.next()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes bytes of the body. Returns true when they were its last.
    fn take(&mut self, bytes: &[u8]) -> io::Result<bool> {
        let is_over = match &mut self.chunks {
            Some(chunks) => chunks.take(bytes, &mut self.blocks.bytes)?,
            None => {
                self.blocks.bytes.extend_from_slice(bytes);
                false
            }
        };
        match self.blocks.bytes.len() - self.blocks.start > MESSAGE_BYTES_MAX {
            true => Err(io::Error::other("an event is too large")),
            false => Ok(is_over),
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

/// Takes a chunked body apart.
#[derive(Debug, Default)]
struct Chunks {
    stage: ChunkStage,
}

#[derive(Debug, Default)]
enum ChunkStage {
    /// The line with the size of a chunk, as far as it has come.
    Size(Vec<u8>),
    /// In bytes, what is left of a chunk.
    Data(usize),
    /// The line end behind a chunk.
    #[default]
    Between,
    Over,
}

/// In bytes of a line with the size of a chunk.
const SIZE_LINE_BYTES_MAX: usize = 1_024;

impl Chunks {
    /// Takes bytes, and appends what was in chunks. Returns true when the last chunk has come.
    fn take(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> io::Result<bool> {
        let bad = || io::Error::other("the answer's chunks are no chunks");
        while !bytes.is_empty() {
            match &mut self.stage {
                // The first chunk has no line end in front of it: any hexadecimal digit begins the size.
                ChunkStage::Between => {
                    if matches!(bytes[0], b'\r' | b'\n') {
                        bytes = &bytes[1..];
                    } else {
                        self.stage = ChunkStage::Size(Vec::new());
                    }
                }
                ChunkStage::Size(line) => {
                    let end = memchr(b'\n', bytes);
                    let here = end.map_or(bytes.len(), |end| end + 1);
                    line.extend_from_slice(&bytes[..here]);
                    bytes = &bytes[here..];
                    if line.len() > SIZE_LINE_BYTES_MAX {
                        return Err(bad());
                    }
                    if end.is_some() {
                        let digits = line
                            .split(|byte| matches!(byte, b';' | b'\r' | b'\n'))
                            .next();
                        let digits = str::from_utf8(digits.unwrap_or_default()).unwrap_or_default();
                        let size = usize::from_str_radix(digits.trim(), 16).map_err(|_| bad())?;
                        self.stage = match size {
                            0 => ChunkStage::Over,
                            size => ChunkStage::Data(size),
                        };
                    }
                }
                ChunkStage::Data(left) => {
                    let here = bytes.len().min(*left);
                    out.extend_from_slice(&bytes[..here]);
                    bytes = &bytes[here..];
                    *left -= here;
                    if *left == 0 {
                        self.stage = ChunkStage::Between;
                    }
                }
                ChunkStage::Over => break,
            }
        }
        Ok(matches!(self.stage, ChunkStage::Over))
    }
}

/// Returns where the head of an answer ends.
pub(super) fn head_end(answer: &[u8]) -> Option<usize> {
    memmem::find(answer, b"\r\n\r\n").map(|at| at + 4)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn chunks_are_taken_apart_however_they_are_cut() {
        let body = BODY.as_bytes();
        for chunk in [1, 7, 100] {
            let mut chunked = Vec::new();
            for chunk in body.chunks(chunk) {
                chunked.extend(format!("{:X};x=y\r\n", chunk.len()).bytes());
                chunked.extend(chunk);
                chunked.extend(b"\r\n");
            }
            let end = chunked.len() + 3;
            chunked.extend(b"0\r\n\r\n");
            for size in 1..=chunked.len() {
                let (mut chunks, mut out) = (Chunks::default(), Vec::new());
                let mut taken = 0;
                for piece in chunked.chunks(size) {
                    taken += piece.len();
                    let is_over = chunks.take(piece, &mut out).expect("chunks");
                    assert_eq!(is_over, taken >= end, "{size} {taken} of {end}");
                }
                assert!(out == body, "chunks of {chunk}, pieces of {size}");
            }
        }
        for bad in ["x\r\n", "-1\r\n", ";\r\n", "ffffffffffffffffff\r\n"] {
            let mut out = Vec::new();
            assert!(Chunks::default().take(bad.as_bytes(), &mut out).is_err());
        }
        let endless = [b'0'; SIZE_LINE_BYTES_MAX + 1];
        assert!(Chunks::default().take(&endless, &mut Vec::new()).is_err());
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
