//! The HTTP/1.1 upgrade (RFC 6455 s. 4.2): a head becomes an [`Upgrade`], or the [`Refusal`] that answers it.

use crate::stats::Refusal;

/// The sub-protocols that newswire speaks, as clients name them.
pub const SUBPROTOCOLS: &[&str] = &["wamp"];

/// What a good upgrade asks for. Borrowed from the head.
#[derive(Debug, Eq, PartialEq)]
pub struct Upgrade<'a> {
    /// The request target as it came, query included.
    pub target: &'a str,
    /// `Sec-WebSocket-Key` as it came; it is known to be 16 bytes of base64.
    pub key: &'a str,
    /// The first offered sub-protocol that we speak; `None` exactly when the client offered nothing.
    pub subprotocol: Option<&'static str>,
    /// `Origin`, as it came.
    pub origin: Option<&'a str>,
}

/// Parses a head. `Ok(None)`: there is more to come. The number is the head's length in bytes.
pub fn parse(_bytes: &[u8], _head_bytes_max: usize) -> Result<Option<(Upgrade<'_>, usize)>, Refusal> { Ok(None) }

/// `Sec-WebSocket-Accept` for a key.
pub fn accept_key(_key: &str) -> String { String::new() }

/// Appends the 101.
pub fn encode_accept(_accept_key: &str, _subprotocol: Option<&str>, _out: &mut Vec<u8>) {}

/// Appends the answer to an upgrade that is refused: status, headers, a small JSON body with `error` and `hint`.
pub fn encode_refusal(_refusal: Refusal, _out: &mut Vec<u8>) {}
