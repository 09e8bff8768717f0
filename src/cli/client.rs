//! A blocking WebSocket client: from a URL to an open connection, or to the reason why there is none.
//!
//! newswire sends the token in a URL as it stands and never shows it: a [`ServerUrl`] shows itself without its query.
//! Never here: TLS (the server speaks none either), and trying again.

use std::fmt;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tungstenite::error::ProtocolError;
use tungstenite::handshake::HandshakeError;
use tungstenite::http::{Response, Uri};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{ClientRequestBuilder, Error, WebSocket, client::client_with_config};

use crate::net::HostPort;
use crate::net::names::{System, within};

/// The sub-protocol that the client offers.
const SUBPROTOCOL: &str = "wamp";

/// How long the connection may take, and each read and write until the upgrade is done.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);

/// How long the rest of a refusal's body may take. It comes in one piece with its head, or at once after it.
const BODY_PATIENCE: Duration = Duration::from_secs(2);

/// In bytes of a refusal's body that are read.
const BODY_BYTES_MAX: usize = 4_096;

/// In characters of a foreign body that are shown.
const BODY_CHARS_SHOWN: usize = 200;

/// In bytes, one message: far above what a server can be told to send.
const MESSAGE_BYTES_MAX: usize = 2 << 30;

/// A server, as a URL names it. It shows itself without the query.
#[derive(Clone, Debug)]
pub(super) struct ServerUrl {
    uri: Uri,
}

impl ServerUrl {
    /// Takes `ws://host[:port][/path][?query]`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        const EXAMPLE: &str = "ws://127.0.0.1:8080/?token=TOKEN";
        let scheme_end = text.find("://").map_or(0, |colon| colon + 3);
        let (scheme, rest) = text.split_at(scheme_end);
        match scheme.to_ascii_lowercase().as_str() {
            "ws://" => {}
            "wss://" => {
                return Err("wss:// needs TLS, which this command does not speak: on the server's machine use \
                            ws:// and the server's own port, or from elsewhere a tunnel to it (ssh -L \
                            8080:127.0.0.1:8080 HOST)"
                    .to_owned());
            }
            "http://" | "https://" => {
                return Err(format!(
                    "a WebSocket URL begins with ws://, such as {EXAMPLE}"
                ));
            }
            _ => return Err(format!("a URL such as {EXAMPLE} is needed")),
        }
        let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(authority_end);
        if authority.contains('@') {
            return Err("a user and password before the host are not understood; the token goes behind it, \
                        as ?token=TOKEN"
                .to_owned());
        }
        if rest.contains('#') {
            return Err(
                "a `#` ends what is sent to a server; in a token write it as %23".to_owned(),
            );
        }
        // A request's target begins with a slash; a URL's need not.
        let slash = if rest.starts_with('/') { "" } else { "/" };
        let uri: Uri = format!("ws://{authority}{slash}{rest}").parse().map_err(|error| {
            format!("{error}: a URL such as {EXAMPLE} is needed, with white space and the like as %20")
        })?;
        let needed = |what: &str| Err(format!("{what}; a URL such as {EXAMPLE} is needed"));
        match uri.host() {
            None | Some("") => needed("there is no host in it"),
            // The text behind the host has to be a port; `http` accepts anything there.
            Some(host) if host != authority && uri.port_u16().is_none_or(|port| port == 0) => {
                needed("the port is none")
            }
            Some(_) => Ok(Self { uri }),
        }
    }

    /// Host without brackets, and port.
    fn address(&self) -> (&str, u16) {
        let host = self.uri.host().expect("checked by `parse`");
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        (bare.unwrap_or(host), self.uri.port_u16().unwrap_or(80))
    }

    /// The address of the host that accepts connections: of several, the first one that does.
    pub(super) fn resolve(&self) -> Result<SocketAddr, String> {
        let (host, port) = self.address();
        let addresses =
            addresses(host, port).map_err(|error| format!("cannot find {self}: {error}"))?;
        match *addresses {
            [only] => Ok(only),
            _ => reach((host, port))
                .and_then(|stream| stream.peer_addr())
                .map_err(|error| format!("cannot connect to {self}: {error}")),
        }
    }

    /// An upgrade request, for a caller with sockets of its own. Its key is always the same: only a client that
    /// doubts whether a WebSocket server answers has to choose one.
    pub(super) fn upgrade_request(&self) -> Vec<u8> {
        let target = self
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let authority = self.uri.authority().expect("checked by `parse`");
        format!(
            "GET {target} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: bmV3c3dpcmUtbG9hZC0tLQ==\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
        )
        .into_bytes()
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authority = self.uri.authority().expect("checked by `parse`");
        write!(f, "ws://{authority}{}", self.uri.path())
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// The server, or a proxy in front of it, refused; it would refuse again.
    Refused(String),
    /// A later attempt may succeed.
    Failed(String),
}

/// Connects and upgrades. Each read of the answer waits for at most `read_patience`.
pub(super) fn connect(
    target: &ServerUrl,
    read_patience: Duration,
) -> Result<WebSocket<TcpStream>, ConnectError> {
    let failed = |what: &dyn fmt::Display| {
        ConnectError::Failed(format!("cannot connect to {target}: {what}"))
    };
    let stream = reach(target.address()).map_err(|error| failed(&error))?;
    let answers = stream.try_clone().map_err(|error| failed(&error))?;
    let request = ClientRequestBuilder::new(target.uri.clone()).with_sub_protocol(SUBPROTOCOL);
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
            Err(refusal(target, *response, answers))
        }
        // The server went away in the middle: it restarts, or another client took the place.
        Err(HandshakeError::Failure(
            error @ Error::Protocol(ProtocolError::HandshakeIncomplete),
        )) => Err(failed(&error)),
        Err(HandshakeError::Failure(error @ Error::Protocol(_))) => Err(ConnectError::Refused(
            format!("{target} is not a WebSocket server that speaks {SUBPROTOCOL}: {error}"),
        )),
        Err(HandshakeError::Failure(error)) => Err(failed(&error)),
    }
}

/// The addresses of a host, looked up as all of newswire does.
fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let name = HostPort {
        host: host.to_owned(),
        port,
    };
    within(HANDSHAKE_PATIENCE, &name, System)
}

/// A TCP connection to the first of the host's addresses that accepts one.
pub(super) fn reach((host, port): (&str, u16)) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in addresses(host, port).map_err(io::Error::other)? {
        match TcpStream::connect_timeout(&address, HANDSHAKE_PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(HANDSHAKE_PATIENCE))?;
                stream.set_write_timeout(Some(HANDSHAKE_PATIENCE))?;
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// What an answer other than 101 means: try again after a time-out, after too many requests, and after a fault of
/// the server; not otherwise.
fn refusal(
    target: &ServerUrl,
    response: Response<Option<Vec<u8>>>,
    mut answers: TcpStream,
) -> ConnectError {
    let status = response.status();
    let length = response
        .headers()
        .get("Content-Length")
        .and_then(|length| length.to_str().ok()?.parse().ok())
        .unwrap_or(BODY_BYTES_MAX)
        .min(BODY_BYTES_MAX);
    // tungstenite keeps the bytes that came together with the head; the rest is still in the socket.
    let mut body = response.into_body().unwrap_or_default();
    body.truncate(length);
    if answers.set_read_timeout(Some(BODY_PATIENCE)).is_ok() {
        let missing = (length - body.len()) as u64;
        // A part of the body is enough: the status has already said what happened.
        let _ = answers.by_ref().take(missing).read_to_end(&mut body);
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

    fn request_target(url: &str) -> String {
        let target = ServerUrl::parse(url).expect(url);
        let path = target.uri.path_and_query().expect("it has one");
        path.as_str().to_owned()
    }

    #[test]
    fn a_token_is_sent_as_it_stands_and_never_shown() {
        for (url, sent, shown) in [
            ("ws://a:1/?token=x+y/z==", "/?token=x+y/z==", "ws://a:1/"),
            ("WS://a?token=x+y/z==", "/?token=x+y/z==", "ws://a/"),
            (
                "ws://[::1]:1/p/q?token=%20x",
                "/p/q?token=%20x",
                "ws://[::1]:1/p/q",
            ),
            ("ws://a", "/", "ws://a/"),
        ] {
            assert_eq!(request_target(url), sent);
            assert_eq!(ServerUrl::parse(url).expect(url).to_string(), shown);
        }
        let target = ServerUrl::parse("ws://[::1]:1/").expect("good");
        assert_eq!(target.address(), ("::1", 1));
        assert_eq!(
            ServerUrl::parse("ws://a/").expect("good").address(),
            ("a", 80)
        );
    }

    #[test]
    fn what_is_no_url_is_explained_without_the_token() {
        for (url, part) in [
            ("wss://a/?token=sesame", "needs TLS"),
            ("https://a/?token=sesame", "begins with ws://"),
            ("a:8080/?token=sesame", "a URL such as"),
            ("ws:///?token=sesame", "a URL such as"),
            ("ws://u:sesame@a/", "a user and password"),
            ("ws://a/?token=sesame#x", "%23"),
            ("ws://a/?token=sesame x", "%20"),
            ("ws://a:b/?token=sesame", "a URL such as"),
            ("", "a URL such as"),
        ] {
            let text = ServerUrl::parse(url).expect_err(url);
            assert!(
                text.contains(part) && !text.contains("sesame"),
                "{url}: {text}"
            );
        }
    }

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
