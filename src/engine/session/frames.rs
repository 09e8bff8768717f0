//! What a client's WebSocket frames mean in each protocol that is spoken in them. What a message says, the protocol's
//! file knows.
//!
//! Never here: how bytes are cut into frames (`wire`).

use super::encoding::Encoding;
use super::step::{Breach, Intent, Noted};
use crate::stats::Close;
use crate::wire::websocket::{Decoder, Incoming, Inflater, Violation};

/// What it takes to read a client's messages.
#[derive(Debug)]
pub struct FrameReader<'a> {
    /// The client's protocol.
    pub encoding: Encoding,
    /// What the connection keeps of an unfinished message.
    pub decoder: &'a mut Decoder,
    /// The one of all connections.
    pub inflater: &'a mut Inflater,
    /// In bytes, compressed or not.
    pub message_bytes_max: usize,
}

impl<'a> FrameReader<'a> {
    /// Takes bytes of the client. Answers how many it took, and what follows from them; `act` says that of a whole
    /// message.
    pub fn read(
        self,
        input: &'a mut [u8],
        act: impl FnOnce(&'a [u8]) -> Intent<'a>,
    ) -> (usize, Option<Intent<'a>>) {
        let len = input.len();
        let framing = self.encoding.framing();
        let decoded = (self.decoder).decode(input, self.message_bytes_max, framing);
        let (taken, incoming) = match decoded {
            Ok((taken, None)) => return (taken, None),
            Ok((taken, Some(incoming))) => (taken, incoming),
            Err(violation) => return (len, Some(Intent::Fail(violation.into()))),
        };
        let intent = match incoming {
            // A client that sends its messages as binary is understood too.
            Incoming::Message(message) => {
                match self.inflater.open(&message, self.message_bytes_max) {
                    Ok(text) => act(text),
                    Err(violation) => Intent::Fail(violation.into()),
                }
            }
            Incoming::Ping(payload) => Intent::Pong(self.encoding, payload.into()),
            Incoming::Pong(_) => Intent::Noted(Noted::Pong),
            Incoming::Close(code) => Intent::PeerClosed(code),
        };
        (taken, Some(intent))
    }
}

impl From<Violation> for Breach {
    fn from(violation: Violation) -> Self {
        let (code, text) = violation.close();
        let reason = match violation {
            Violation::Protocol(_) | Violation::Deflate => Close::Protocol,
            Violation::Utf8 => Close::BadMessage,
            Violation::TooLarge => Close::MessageTooLarge,
        };
        Self { reason, code, text }
    }
}
