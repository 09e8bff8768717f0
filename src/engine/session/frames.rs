//! What a client's WebSocket frames mean in each protocol that is spoken in them. What a message says, the protocol's
//! file knows.
//!
//! Never here: how bytes are cut into frames (`wire`).

use super::encoding::Encoding;
use super::step::{Breach, Intent, Noted};
use crate::stats::Close;
use crate::wire::websocket::{Decoder, Incoming, Violation};

/// Takes bytes of a client. Answers how many it took, and what follows from them; `act` says that of a whole message.
pub fn read<'a>(
    encoding: Encoding,
    decoder: &'a mut Decoder,
    input: &'a mut [u8],
    message_bytes_max: usize,
    act: impl FnOnce(&'a [u8]) -> Intent<'a>,
) -> (usize, Option<Intent<'a>>) {
    let len = input.len();
    match decoder.decode(input, message_bytes_max) {
        Ok((taken, None)) => (taken, None),
        Ok((taken, Some(incoming))) => {
            let intent = match incoming {
                // A client that sends its messages as binary is understood too.
                Incoming::Message { payload, .. } => act(payload),
                Incoming::Ping(payload) => Intent::Pong(encoding, payload.into()),
                Incoming::Pong(_) => Intent::Noted(Noted::Pong),
                Incoming::Close(code) => Intent::PeerClosed(code),
            };
            (taken, Some(intent))
        }
        Err(violation) => (len, Some(Intent::Fail(violation.into()))),
    }
}

impl From<Violation> for Breach {
    fn from(violation: Violation) -> Self {
        let (code, text) = violation.close();
        let reason = match violation {
            Violation::Protocol(_) => Close::Protocol,
            Violation::Utf8 => Close::BadMessage,
            Violation::TooLarge => Close::MessageTooLarge,
        };
        Self { reason, code, text }
    }
}
