//! What a client's WebSocket frames mean in each protocol that is spoken in them. What a message says, the protocol's
//! file knows.
//!
//! Never here: how bytes are cut into frames (`wire`).

use super::encoding::Encoding;
use super::step::{Breach, Intent, Noted};
use crate::limits;
use crate::stats::Close;
use crate::wire::websocket::{Decoder, Incoming, Inflater, Message, Violation};

/// What a client's bytes say in the words of WebSocket.
#[derive(Debug)]
pub enum ClientFrame<'a> {
    /// A whole message, inflated if it came compressed. A client that sends its messages as binary is understood too.
    Message(&'a [u8]),
    /// A ping, to be answered with this payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong,
    /// A Close frame, and its code.
    Close(Option<u16>),
    /// What no client may send.
    Broken(Breach),
}

/// What it takes to read a client's frames.
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
    /// Takes bytes of the client. Answers how many it took, and the frame or message that they completed.
    pub fn next(self, input: &'a mut [u8]) -> (usize, Option<ClientFrame<'a>>) {
        let len = input.len();
        let max = self.message_bytes_max;
        let (taken, incoming) = match self.decoder.decode(input, max, self.encoding.framing()) {
            Ok((taken, None)) => return (taken, None),
            Ok((taken, Some(incoming))) => (taken, incoming),
            Err(violation) => return (len, Some(ClientFrame::Broken(violation.into()))),
        };
        let frame = match incoming {
            Incoming::Message(message) => match open(self.inflater, &message, max) {
                Ok(text) => ClientFrame::Message(text),
                Err(violation) => ClientFrame::Broken(violation.into()),
            },
            Incoming::Ping(payload) => ClientFrame::Ping(payload),
            Incoming::Pong(_) => ClientFrame::Pong,
            Incoming::Close(code) => ClientFrame::Close(code),
        };
        (taken, Some(frame))
    }

    /// Takes bytes of a client whose session is open. Answers how many it took, and what follows from them; `act` says
    /// that of a whole message.
    pub fn read(
        self,
        input: &'a mut [u8],
        act: impl FnOnce(&'a [u8]) -> Intent<'a>,
    ) -> (usize, Option<Intent<'a>>) {
        let encoding = self.encoding;
        let (taken, frame) = self.next(input);
        let intent = frame.map(|frame| match frame {
            ClientFrame::Message(text) => act(text),
            ClientFrame::Ping(payload) => Intent::Pong(encoding, payload.into()),
            ClientFrame::Pong => Intent::Noted(Noted::Pong),
            ClientFrame::Close(code) => Intent::PeerClosed(code),
            ClientFrame::Broken(breach) => Intent::Fail(breach),
        });
        (taken, intent)
    }
}

fn open<'a>(
    inflater: &'a mut Inflater,
    message: &Message<'a>,
    message_bytes_max: usize,
) -> Result<&'a [u8], Violation> {
    if message.is_compressed && message.payload.len() > limits::INFLATE_BYTES_MAX {
        return Err(Violation::TooLarge);
    }
    inflater.open(message, message_bytes_max)
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

#[cfg(test)]
mod tests {
    use kit::raw::frame_of;

    use super::*;
    use crate::wire::websocket::close_code;

    /// The code that answers a compressed message of so many bytes which are no DEFLATE.
    fn code(payload_bytes: usize) -> u16 {
        let reader = FrameReader {
            encoding: Encoding::Wamp1Deflate,
            decoder: &mut Decoder::default(),
            inflater: &mut Inflater::default(),
            message_bytes_max: 1 << 20,
        };
        let mut bytes = frame_of(0xC1, &vec![0xFF; payload_bytes]);
        match reader.next(&mut bytes) {
            (_, Some(ClientFrame::Broken(breach))) => breach.code,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_long_compressed_message_is_not_inflated_however_long_messages_may_be() {
        assert_eq!(code(limits::INFLATE_BYTES_MAX), close_code::BAD_DATA);
        assert_eq!(code(limits::INFLATE_BYTES_MAX + 1), close_code::TOO_BIG);
    }
}
