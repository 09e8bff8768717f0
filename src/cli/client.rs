//! A blocking WebSocket client: from a target to an open connection, or to the reason why there is none. A stream of
//! server-sent events has the same reasons.
//!
//! Never here: TLS (the server speaks none either), and trying again.

use std::fmt;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::Duration;

use tungstenite::error::ProtocolError;
use tungstenite::handshake::HandshakeError;
use tungstenite::http::StatusCode;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{ClientRequestBuilder, Error, WebSocket, client::client_with_config};

use super::deadline::Deadline;
use super::reach::reach;
use super::target::Target;
use crate::limits;

/// How long the rest of a refusal's body may take. It comes in one piece with its head, or at once after it.
const BODY_PATIENCE: Duration = Duration::from_secs(2);

/// In bytes of a refusal's body that are read.
const BODY_BYTES_MAX: usize = 4_096;

/// In characters of a foreign body that are shown.
const BODY_CHARS_SHOWN: usize = 200;

/// In bytes, one message: above what a newswire can be told to send. On a stream, each line break of an event takes seven
/// bytes.
pub(super) const MESSAGE_BYTES_MAX: usize = 8 * limits::EVENT_BYTES_CEILING;

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// The server, or a proxy in front of it, refused; it would refuse again.
    Refused(String),
    /// A later attempt may succeed.
    Failed(String),
}

impl ConnectError {
    /// There is no connection because of `what`.
    pub(super) fn failed(target: &Target, what: &dyn fmt::Display) -> Self {
        Self::Failed(format!("cannot connect to {target}: {what}"))
    }
}

/// Connects and upgrades. Each read of the answer waits for at most `read_patience`.
pub(super) fn connect(
    target: &Target,
    read_patience: Duration,
) -> Result<WebSocket<TcpStream>, ConnectError> {
    let failed = |what: &dyn fmt::Display| ConnectError::failed(target, what);
    let stream = reach(target.url.address()).map_err(|error| failed(&error))?;
    let answers = stream.try_clone().map_err(|error| failed(&error))?;
    let mut request = ClientRequestBuilder::new(target.url.uri().clone());
    for offer in target.offers() {
        request = request.with_sub_protocol(offer);
    }
    if let Some((name, value)) = target.header() {
        request = request.with_header(name, value);
    }
    let limits = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    match client_with_config(request, stream, Some(limits)) {
        Ok((socket, _)) => {
            let patience = socket.get_ref().set_read_timeout(Some(read_patience));
            patience.map(|()| socket).map_err(|error| failed(&error))
        }
        Err(HandshakeError::Interrupted(_)) => Err(failed(&"it does not answer")),
        Err(HandshakeError::Failure(Error::Http(response))) => {
            let status = response.status();
            let length = response.headers().get("Content-Length");
            let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
            // tungstenite keeps the bytes that came together with the head; the rest is still in the socket.
            let begun = response.into_body().unwrap_or_default();
            Err(refusal(target, status, length, begun, answers))
        }
        // The server went away in the middle: it restarts, or another client took the place.
        Err(HandshakeError::Failure(
            error @ Error::Protocol(ProtocolError::HandshakeIncomplete),
        )) => Err(failed(&error)),
        Err(HandshakeError::Failure(error @ Error::Protocol(_))) => {
            let offer = target.protocol.subprotocol().unwrap_or_default();
            Err(ConnectError::Refused(format!(
                "{target} is not a WebSocket server that speaks {offer}: {error}"
            )))
        }
        Err(HandshakeError::Failure(error)) => Err(failed(&error)),
    }
}

/// What a refusal means. After a time-out, too many requests or a fault of the server, a later attempt may succeed; after
/// anything else it would not. `length` is what the head says of the body; `body` is the part that has come with the
/// head.
pub(super) fn refusal(
    target: &Target,
    status: StatusCode,
    length: Option<usize>,
    mut body: Vec<u8>,
    mut answers: TcpStream,
) -> ConnectError {
    let length = length.unwrap_or(BODY_BYTES_MAX).min(BODY_BYTES_MAX);
    body.truncate(length);
    // A part of the body is enough: the status has already said what happened.
    let deadline = Deadline::after(BODY_PATIENCE);
    let mut piece = [0; 1_024];
    while body.len() < length
        && let Some(left) = deadline.left()
        && answers.set_read_timeout(Some(left)).is_ok()
    {
        let room = piece.len().min(length - body.len());
        match answers.read(&mut piece[..room]) {
            Ok(0) => break,
            Ok(n) => body.extend_from_slice(&piece[..n]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    let text = format!("{target} answered {status}{}", explanation(&body));
    match status.as_u16() {
        408 | 425 | 429 | 500.. => ConnectError::Failed(text),
        _ => ConnectError::Refused(text),
    }
}

/// The `error` and `hint` of newswire's own refusals, or the beginning of another server's page.
fn explanation(body: &[u8]) -> String {
    if let Ok(json) = serde_json::from_slice::<serde_json::Value>(body)
        && let Some(error) = json["error"].as_str()
    {
        let hint = json["hint"].as_str().map(|hint| format!(" ({hint})"));
        return format!(": {error}{}", hint.unwrap_or_default());
    }
    let text = String::from_utf8_lossy(body);
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let shown: String = line.chars().take(BODY_CHARS_SHOWN).collect();
    if shown.is_empty() {
        return String::new();
    }
    format!(": {}", shown.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusals_body_is_shown_in_one_line() {
        assert_eq!(
            explanation(b"{\"error\":\"no\",\"hint\":\"try\"}"),
            ": no (try)"
        );
        assert_eq!(explanation(b"{\"error\":\"no\"}"), ": no");
        assert_eq!(
            explanation(b"<h1>\n Bad \x1b[2J\n"),
            ": <h1> Bad \\u{1b}[2J"
        );
        assert_eq!(explanation(b""), "");
    }
}
