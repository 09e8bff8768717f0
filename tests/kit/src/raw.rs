//! A client without a library: it sends bytes as they are, and parses the server's bytes.
//!
//! A library hides what the tests are about: it refuses to send a bad frame, puts fragments together,
//! answers pings. [`Ear`] takes a server's bytes in any pieces, so it serves a socket and a virtual
//! stream alike.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use super::stream::Patient;
use super::web::Answer;

/// The payload is `Mark`ed with this in [`Raw::settle`], and with nothing else.
const MARK: &[u8] = b"settle";

/// What came from a server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Heard {
    /// The answer to an upgrade.
    Http(Answer),
    /// A frame: its first byte, and its payload.
    Frame(u8, Vec<u8>),
    /// A server-sent event: its lines.
    Event(String),
    /// Bytes that no server may send.
    Nonsense(String),
    /// Its half of the connection ended.
    End,
    /// The connection was reset.
    Reset,
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(http) => write!(f, "http {} {:?} {}", http.status, http.head, http.body),
            Self::Frame(0x81, payload) => write!(f, "text {}", payload.escape_ascii()),
            Self::Frame(first, payload) => {
                write!(f, "frame {first:02x} {}", payload.escape_ascii())
            }
            Self::Event(lines) => write!(f, "event {lines:?}"),
            Self::Nonsense(what) => write!(f, "nonsense: {what}"),
            Self::End => f.write_str("end"),
            Self::Reset => f.write_str("a reset"),
        }
    }
}

/// Listens to a server's bytes.
#[derive(Debug, Default)]
pub struct Ear {
    bytes: Vec<u8>,
    stage: Hearing,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Hearing {
    #[default]
    Answers,
    Frames,
    Events,
}

impl Ear {
    /// One that hears frames: the answer to the upgrade was heard by somebody else.
    pub fn opened() -> Self {
        Self {
            bytes: Vec::new(),
            stage: Hearing::Frames,
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes that are no whole thing yet.
    pub fn rest(&self) -> &[u8] {
        &self.bytes
    }
}

impl Iterator for Ear {
    type Item = Heard;

    /// The next whole thing.
    fn next(&mut self) -> Option<Heard> {
        let (heard, len) = match self.stage {
            Hearing::Answers => http(&self.bytes)?,
            Hearing::Frames => frame(&self.bytes)?,
            Hearing::Events => event(&self.bytes)?,
        };
        self.bytes.drain(..len);
        if let Heard::Http(http) = &heard {
            self.stage = match http.status {
                101 => Hearing::Frames,
                200 if http.values("content-type") == ["text/event-stream"] => Hearing::Events,
                _ => Hearing::Answers,
            };
        }
        Some(heard)
    }
}

fn http(bytes: &[u8]) -> Option<(Heard, usize)> {
    let head_bytes = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..head_bytes]).into_owned();
    let nonsense = |what: &str| Some((Heard::Nonsense(what.to_owned()), bytes.len()));
    let first = head.lines().next().unwrap_or_default().to_owned();
    let Some(mut answer) = Answer::of_head(head) else {
        return nonsense(&first);
    };
    let Some(body_bytes) = answer.body_bytes() else {
        return nonsense("no length, or two");
    };
    let body = bytes.get(head_bytes..head_bytes + body_bytes)?;
    answer.body = String::from_utf8_lossy(body).into_owned();
    Some((Heard::Http(answer), head_bytes + body_bytes))
}

fn event(bytes: &[u8]) -> Option<(Heard, usize)> {
    let len = bytes.windows(2).position(|two| two == b"\n\n")?;
    let lines = String::from_utf8_lossy(&bytes[..len]).into_owned();
    Some((Heard::Event(lines), len + 2))
}

fn frame(bytes: &[u8]) -> Option<(Heard, usize)> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (head_bytes, len) = match second {
        0..=125 => (2, usize::from(second)),
        126 => {
            let len = bytes.get(2..4)?.try_into().expect("two bytes");
            (4, usize::from(u16::from_be_bytes(len)))
        }
        127 => {
            let len = bytes.get(2..10)?.try_into().expect("eight bytes");
            (10, u64::from_be_bytes(len) as usize)
        }
        _ => {
            let what = "a server's frame has a mask".to_owned();
            return Some((Heard::Nonsense(what), bytes.len()));
        }
    };
    let payload = bytes.get(head_bytes..head_bytes + len)?;
    Some((Heard::Frame(first, payload.to_vec()), head_bytes + len))
}

impl Heard {
    /// The text of a text frame.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Frame(0x81, payload) => str::from_utf8(payload).ok(),
            _ => None,
        }
    }
}

/// A client's frame: its first byte, and its payload, masked.
pub fn frame_of(first: u8, payload: &[u8]) -> Vec<u8> {
    masked_frame(first, payload, [0xA5, 0x5A, 0x0F, 0x81])
}

/// As [`frame_of`], with a mask of the test's own.
pub fn masked_frame(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut frame = frame_head(first, payload.len(), 0x80);
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    frame
}

/// A server's frame, as it has to be sent.
pub fn server_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = frame_head(first, payload.len(), 0);
    frame.extend(payload);
    frame
}

fn frame_head(first: u8, len: usize, mask_bit: u8) -> Vec<u8> {
    let mut head = vec![first];
    match len {
        0..=125 => head.push(mask_bit | len as u8),
        126..=0xFFFF => {
            head.push(mask_bit | 126);
            head.extend((len as u16).to_be_bytes());
        }
        _ => {
            head.push(mask_bit | 127);
            head.extend((len as u64).to_be_bytes());
        }
    }
    head
}

/// The payload of a Close frame.
pub fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// A connection to a real server.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    ear: Ear,
    /// What [`Raw::settle`] has passed over.
    kept: std::collections::VecDeque<Heard>,
}

impl Raw {
    /// On a stream whose reads have a deadline.
    pub fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            ear: Ear::default(),
            kept: std::collections::VecDeque::new(),
        }
    }

    /// Sends bytes. A server that has ended the connection does not take them, and it is up to the
    /// test to hear that.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Ends the client's half.
    pub fn end(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next thing, waited for.
    ///
    /// # Errors
    /// Nothing came in time; the text says what had begun to.
    pub fn hear(&mut self) -> Result<Heard, String> {
        match self.kept.pop_front() {
            Some(heard) => Ok(heard),
            None => self.read(),
        }
    }

    fn read(&mut self) -> Result<Heard, String> {
        loop {
            if let Some(heard) = self.ear.next() {
                return Ok(heard);
            }
            let mut buffer = [0; 16 * 1024];
            match Patient(&self.stream).read(&mut buffer) {
                Ok(0) if self.ear.rest().is_empty() => return Ok(Heard::End),
                Ok(0) => {
                    let rest = self.ear.rest().escape_ascii();
                    return Ok(Heard::Nonsense(format!("an end behind {rest}")));
                }
                Ok(n) => self.ear.push(&buffer[..n]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return Ok(Heard::Reset);
                }
                Err(error) => {
                    let rest = self.ear.rest().escape_ascii();
                    return Err(format!("nothing came ({error}), only {rest:?}"));
                }
            }
        }
    }

    /// Waits until the server has dealt with all that was sent: it answers a ping after that, and a
    /// ping may come between fragments, where a CALL may not. What came before the answer is kept
    /// for [`Raw::hear`].
    ///
    /// # Errors
    /// Nothing came in time.
    pub fn settle(&mut self) -> Result<(), String> {
        self.send(&frame_of(0x89, MARK));
        loop {
            let heard = self.read()?;
            if heard == Heard::Frame(0x8A, MARK.to_vec()) {
                return Ok(());
            }
            let is_last = matches!(heard, Heard::End | Heard::Reset | Heard::Nonsense(_));
            self.kept.push_back(heard);
            if is_last {
                return Ok(());
            }
        }
    }

    /// What was heard and not asked for yet.
    pub fn kept(&self) -> Option<&Heard> {
        self.kept.front()
    }
}
