//! A server as a URL names it. It shows itself without the query, because the token is there.
//!
//! newswire sends the token in a URL as it stands. Never here: TLS (the server speaks none either).

use std::fmt;
use std::net::SocketAddr;

use tungstenite::http::Uri;

use super::reach::{addresses, reach};

/// The sub-protocol that the client offers.
pub(super) const SUBPROTOCOL: &str = "wamp";

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

    /// The whole URL.
    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Host without brackets, and port.
    pub(super) fn address(&self) -> (&str, u16) {
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
}
