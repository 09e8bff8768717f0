//! WebSocket frames (RFC 6455 s. 5). `decoder` turns a client's bytes into messages, pings and closes; `deflate` has the
//! compression of messages (RFC 7692); this file writes the few kinds of frames that a server sends.
//!
//! Never here: what a message means, when a ping is answered, and the state of a close.

mod decoder;
mod deflate;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

pub use decoder::Decoder;
pub use deflate::{Deflater, Inflater};

/// What client and server agreed on in the upgrade about their frames.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Framing {
    /// Frames without an extension.
    Plain,
    /// Messages may be compressed, each by itself (permessage-deflate without context takeover).
    Deflate,
}

/// How a peer broke the protocol. The decoder that found it must not be used again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Violation {
    /// A frame broke RFC 6455 (close code 1002). The text names the rule.
    Protocol(&'static str),
    /// A text is not UTF-8 (close code 1007).
    Utf8,
    /// A message is over its limit (close code 1009).
    TooLarge,
    /// A message is not what its compression promises (close code 1007).
    Deflate,
}

impl Violation {
    /// Returns code and reason of the Close frame that answers the violation.
    pub const fn close(self) -> (u16, &'static str) {
        match self {
            Self::Protocol(reason) => (close_code::PROTOCOL, reason),
            Self::Utf8 => (close_code::BAD_DATA, "text is not UTF-8"),
            Self::TooLarge => (close_code::TOO_BIG, "message too large"),
            Self::Deflate => (close_code::BAD_DATA, "message cannot be inflated"),
        }
    }
}

/// A message of a client. [`Inflater::open`] has what it says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Message<'a> {
    /// True exactly when the opcode was text; then the payload is valid UTF-8, unless it is compressed. newswire
    /// accepts WAMP in text and binary messages. `tests/autobahn/echo.rs` needs the difference: it answers with a
    /// message of the same kind.
    pub is_text: bool,
    /// True exactly when the payload has to be inflated.
    pub is_compressed: bool,
    /// Unmasked, reassembled.
    pub payload: &'a [u8],
}

/// What a client has sent: a whole message or a control frame.
#[derive(Debug, Eq, PartialEq)]
pub enum Incoming<'a> {
    /// A whole message.
    Message(Message<'a>),
    /// A ping, to be answered with the same payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// A Close frame, and its code, if it has one (never 1005).
    Close(Option<u16>),
}

/// In bytes. RFC 6455 s. 5.5
const CONTROL_BYTES_MAX: usize = 125;

/// In bytes: the payload of a Close frame without the code.
const CLOSE_REASON_BYTES_MAX: usize = CONTROL_BYTES_MAX - 2;

/// The close codes that newswire sends, and those that it accepts.
pub mod close_code {
    /// The purpose of the connection is fulfilled.
    pub const NORMAL: u16 = 1000;
    /// The server stops.
    pub const GOING_AWAY: u16 = 1001;
    /// A frame broke RFC 6455.
    pub const PROTOCOL: u16 = 1002;
    /// A text is not UTF-8, or not a WAMP message.
    pub const BAD_DATA: u16 = 1007;
    /// The client broke a rule of the server: it reads too slowly, or has too many subscriptions.
    pub const POLICY: u16 = 1008;
    /// A message is over its limit.
    pub const TOO_BIG: u16 = 1009;
    /// The server cannot serve the client now (registered with IANA by RFC 6455's registry).
    pub const TRY_AGAIN_LATER: u16 = 1013;
    /// The token is no longer valid. The code is in the range for libraries and frameworks.
    pub const TOKEN_ENDED: u16 = 3000;

    /// Returns true when a peer may send `code`. These are the codes of RFC 6455 s. 7.4.1, the three that IANA
    /// registered since (1012 service restart, 1013 try again later, 1014 bad gateway), and those for libraries and
    /// applications (s. 7.4.2). 1004, 1005, 1006 and 1015 must never be sent.
    pub const fn is_allowed(code: u16) -> bool {
        matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

fn encode_header(opcode: OpCode, is_compressed: bool, payload_bytes: usize, out: &mut Vec<u8>) {
    // RFC 6455 s. 5.1: a server does not mask its frames.
    let header = FrameHeader {
        opcode,
        rsv1: is_compressed,
        ..FrameHeader::default()
    };
    header
        .format(payload_bytes as u64, out)
        .expect("a Vec takes every write");
}

/// Appends the header of an unfragmented, unmasked text frame.
pub fn encode_text_header(payload_bytes: usize, out: &mut Vec<u8>) {
    encode_header(OpCode::Data(Data::Text), false, payload_bytes, out);
}

/// Appends the header of an unfragmented, unmasked text frame whose payload is compressed (RFC 7692 s. 6).
pub fn encode_deflated_header(payload_bytes: usize, out: &mut Vec<u8>) {
    encode_header(OpCode::Data(Data::Text), true, payload_bytes, out);
}

/// Appends a text frame around what `encode` appends.
pub fn encode_text(out: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    encode(out);
    let end = out.len();
    encode_text_header(end - start, out);
    // The header was the last, and becomes the first.
    let header_bytes = out.len() - end;
    out[start..].rotate_right(header_bytes);
}

/// Returns how many bytes [`encode_text_header`] appends.
pub fn text_header_len(payload_bytes: usize) -> usize {
    FrameHeader::default().len(payload_bytes as u64)
}

/// Appends a ping. A payload is cut at 125 bytes.
pub fn encode_ping(payload: &[u8], out: &mut Vec<u8>) {
    encode_control(Control::Ping, payload, out);
}

/// Appends a pong. A payload is cut at 125 bytes; a ping has no more.
pub fn encode_pong(payload: &[u8], out: &mut Vec<u8>) {
    encode_control(Control::Pong, payload, out);
}

fn encode_control(control: Control, payload: &[u8], out: &mut Vec<u8>) {
    debug_assert!(payload.len() <= CONTROL_BYTES_MAX);
    let payload = &payload[..payload.len().min(CONTROL_BYTES_MAX)];
    encode_header(OpCode::Control(control), false, payload.len(), out);
    out.extend_from_slice(payload);
}

/// Appends a Close frame; without a code it is empty. The reason is cut after the last character that ends within 123
/// bytes.
pub fn encode_close(code: Option<u16>, reason: &str, out: &mut Vec<u8>) {
    let Some(code) = code else {
        return encode_control(Control::Close, &[], out);
    };
    let mut end = reason.len().min(CLOSE_REASON_BYTES_MAX);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    encode_header(OpCode::Control(Control::Close), false, 2 + end, out);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&reason.as_bytes()[..end]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_sends() {
        for (len, header) in [
            (0, &[0x81, 0][..]),
            (5, &[0x81, 5]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (65_535, &[0x81, 126, 0xFF, 0xFF]),
            (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut out = Vec::new();
            encode_text_header(len, &mut out);
            assert_eq!(out, header);
            assert_eq!(text_header_len(len), header.len());
        }
        let mut out = Vec::new();
        encode_ping(b"hi", &mut out);
        encode_pong(b"", &mut out);
        encode_close(Some(close_code::NORMAL), "bye", &mut out);
        encode_close(None, "not sent", &mut out);
        assert_eq!(out, b"\x89\x02hi\x8a\x00\x88\x05\x03\xE8bye\x88\x00");
    }

    #[test]
    fn a_close_reason_is_cut_where_a_character_ends() {
        let mut out = Vec::new();
        encode_close(Some(1008), &"é".repeat(100), &mut out);
        assert_eq!(out.len(), 2 + 2 + 122);
        assert_eq!(out[1], 124);
        assert!(str::from_utf8(&out[4..]).is_ok());
        out.clear();
        encode_close(Some(1008), &"e".repeat(200), &mut out);
        assert_eq!((out.len(), out[1]), (2 + 125, 125));
    }

    #[test]
    fn violations_have_codes() {
        assert_eq!(Violation::Protocol("x").close(), (1002, "x"));
        assert_eq!(Violation::Utf8.close().0, 1007);
        assert_eq!(Violation::TooLarge.close().0, 1009);
    }
}
