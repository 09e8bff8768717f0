//! A connection to a server on which one text comes after the other: WebSocket frames, or a stream of events.
//!
//! Never here: what a text means, and trying again.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::time::Duration;

use tungstenite::error::ProtocolError;
use tungstenite::{Error, Message, Utf8Bytes, WebSocket};

use super::client::{self, ConnectError};
use super::event_stream::{EventReader, is_timeout};
use super::past::Wish;
use super::protocol::Protocol;
use super::target::Target;

/// See above.
pub(super) enum Channel {
    Frames(Box<WebSocket<TcpStream>>),
    Stream(EventReader),
}

/// What a channel brings.
#[derive(Debug)]
pub(super) enum Arrival {
    /// A message, or the lines of an event.
    Text(Utf8Bytes),
    /// Something that only says that the server is there.
    Sign,
    /// Nothing has come for as long as the caller is patient.
    Silence,
    /// The end, in words.
    End(String),
}

impl Channel {
    /// Connects. A stream's request names `topics` and `wish`; in the other protocols the client says both later. Each
    /// read waits for at most `patience`.
    pub(super) fn open(
        target: &Target,
        topics: &[String],
        wish: Wish<'_>,
        patience: Duration,
    ) -> Result<Self, ConnectError> {
        match target.protocol {
            Protocol::Wamp1 | Protocol::Wamp2 => {
                client::connect(target, patience).map(|socket| Self::Frames(Box::new(socket)))
            }
            Protocol::Sse => EventReader::open(target, topics, wish, patience).map(Self::Stream),
        }
    }

    /// Waits for what comes next.
    pub(super) fn receive(&mut self) -> Arrival {
        match self {
            Self::Frames(socket) => receive_frame(socket),
            Self::Stream(reader) => match reader.next() {
                Ok(Some(lines)) => Arrival::Text(lines.into()),
                Ok(None) => Arrival::End("the server ended the stream".to_owned()),
                Err(error) => end_or_silence(error),
            },
        }
    }

    /// Sends texts. A stream takes none.
    pub(super) fn send(&mut self, texts: impl IntoIterator<Item = String>) -> Result<(), String> {
        let Self::Frames(socket) = self else {
            return Ok(());
        };
        for text in texts {
            let sent = socket.write(Message::text(text));
            sent.map_err(|error| explain(&error))?;
        }
        socket.flush().map_err(|error| explain(&error))
    }

    /// How long each read waits from now on.
    pub(super) fn set_patience(&mut self, patience: Duration) -> io::Result<()> {
        match self {
            Self::Frames(socket) => socket.get_ref().set_read_timeout(Some(patience)),
            Self::Stream(reader) => reader.set_patience(patience),
        }
    }

    /// Ends with a last text and a Close frame, while there is a connection.
    pub(super) fn leave(&mut self, last: Option<&'static str>) {
        let _ = self.send(last.map(str::to_owned));
        if let Self::Frames(socket) = self {
            let _ = socket.close(None).and_then(|()| socket.flush());
        }
    }
}

fn receive_frame(socket: &mut WebSocket<TcpStream>) -> Arrival {
    match socket.read() {
        Ok(Message::Text(text)) => Arrival::Text(text),
        Ok(Message::Close(frame)) => {
            // tungstenite answers; whether the answer arrives is the server's matter.
            let _ = socket.flush();
            Arrival::End(match frame {
                Some(frame) => format!("the server closed: {frame}"),
                None => "the server closed".to_owned(),
            })
        }
        // The answer to a ping leaves with the next read.
        Ok(_) => Arrival::Sign,
        Err(Error::Io(error)) => end_or_silence(error),
        Err(error) => Arrival::End(explain(&error)),
    }
}

fn end_or_silence(error: io::Error) -> Arrival {
    match error.kind() {
        // A signal that is ignored.
        ErrorKind::Interrupted => Arrival::Sign,
        _ if is_timeout(&error) => Arrival::Silence,
        _ => Arrival::End(explain(&Error::Io(error))),
    }
}

fn explain(error: &Error) -> String {
    match error {
        Error::Io(error) => format!("connection lost: {error}"),
        Error::ConnectionClosed | Error::AlreadyClosed => "connection closed".to_owned(),
        // A server that restarts leaves its clients like this, so that they come back.
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            "the server ended the connection".to_owned()
        }
        error => format!("connection lost: {error}"),
    }
}
