//! WebSocket frames (RFC 6455 s. 5).

/// A peer broke the protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Violation {
    /// RFC 6455 was broken: 1002. The text says which rule.
    Protocol(&'static str),
    /// Text that is not UTF-8: 1007.
    Utf8,
    /// A message over its limit: 1009.
    TooLarge,
}

/// What the frames of a client amount to.
#[derive(Debug, Eq, PartialEq)]
pub enum Incoming<'a> {
    /// A whole message.
    Message {
        /// True exactly when its opcode was text; then the payload is valid UTF-8.
        text: bool,
        /// Unmasked, reassembled.
        payload: &'a [u8],
    },
    /// A ping, to be answered with the same payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong(&'a [u8]),
    /// A Close frame; its code if it had one (1005 is never here).
    Close(Option<u16>),
}

/// What a connection remembers of a message that has not come whole: nothing (8 bytes) while it is idle.
#[derive(Debug, Default)]
pub struct Decoder(Option<Box<Partial>>);

#[derive(Debug)]
struct Partial;

impl Decoder {
    /// Takes bytes; says how many it took, and what they completed. Unmasks in place. A whole, unfragmented frame in
    /// `input` is borrowed from there; nothing is allocated or copied for it.
    ///
    /// When it answers `None`, all of `input` was taken.
    pub fn decode<'a>(&'a mut self, input: &'a mut [u8], _message_bytes_max: usize) -> Result<(usize, Option<Incoming<'a>>), Violation> {
        Ok((input.len(), None))
    }

    /// Whether nothing is kept: no part of a frame, no fragment of a message.
    pub fn is_idle(&self) -> bool { self.0.is_none() }
}

/// Close codes that newswire sends.
pub mod close_code {}

/// Appends the header of an unfragmented, unmasked text frame.
pub fn encode_text_header(_payload_bytes: usize, _out: &mut Vec<u8>) {}
/// Appends a ping.
pub fn encode_ping(_payload: &[u8], _out: &mut Vec<u8>) {}
/// Appends a pong.
pub fn encode_pong(_payload: &[u8], _out: &mut Vec<u8>) {}
/// Appends a Close frame; without a code it is empty. The reason is cut at 123 bytes.
pub fn encode_close(_code: Option<u16>, _reason: &str, _out: &mut Vec<u8>) {}
/// In bytes, the length of the whole unmasked frame that starts at `bytes[0]`, our own and so well formed.
pub fn frame_len(_bytes: &[u8]) -> usize { 0 }
