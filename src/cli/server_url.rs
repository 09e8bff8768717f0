//! A server as a URL names it. It shows itself without the query, because the token is there.
//!
//! Never here: TLS (the server speaks none either), and what is said to the server.

use std::fmt;
use std::net::SocketAddr;

use tungstenite::http::Uri;

use super::protocol::Protocol;
use super::reach::{addresses, reach};
use crate::wire::token::Token;

/// See above.
#[derive(Clone)]
pub(super) struct ServerUrl {
    uri: Uri,
}

impl fmt::Debug for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerUrl({self})")
    }
}

/// The scheme in front of an address, and the other one that is as good.
fn schemes(protocol: Protocol) -> (&'static str, Option<&'static str>) {
    match protocol {
        Protocol::Wamp1 | Protocol::Wamp2 => ("ws", None),
        Protocol::Sse => ("http", Some("ws")),
    }
}

impl ServerUrl {
    /// Takes `ws://host[:port][/path][?query]`; for server-sent events `http://` as well.
    pub(super) fn parse(text: &str, protocol: Protocol) -> Result<Self, String> {
        let (ours, other) = schemes(protocol);
        let example = format!("{ours}://127.0.0.1:8080/?token=TOKEN");
        let scheme_end = text.find("://").map_or(0, |colon| colon + 3);
        let (scheme, rest) = text.split_at(scheme_end);
        match scheme.to_ascii_lowercase().trim_end_matches("://") {
            scheme if scheme == ours || Some(scheme) == other => {}
            scheme if scheme == format!("{ours}s") || scheme == "wss" => {
                return Err(format!(
                    "{scheme}:// needs TLS, which this command does not speak: on the server's machine use \
                     {ours}:// and the server's own port, or from elsewhere a tunnel to it (ssh -L \
                     8080:127.0.0.1:8080 HOST)"
                ));
            }
            "http" | "https" => {
                return Err(format!(
                    "a WebSocket URL begins with ws://, such as {example} (for server-sent events, add --protocol sse)"
                ));
            }
            _ => return Err(format!("a URL such as {example} is needed")),
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
        let uri: Uri = format!("{ours}://{authority}{slash}{rest}").parse().map_err(|error| {
            format!("{error}: a URL such as {example} is needed, with white space and the like as %20")
        })?;
        let needed = |what: &str| Err(format!("{what}; a URL such as {example} is needed"));
        match uri.host() {
            None | Some("") => needed("there is no host in it"),
            // The text behind the host has to be a port; `http` accepts anything there.
            Some(host) if host != authority && uri.port_u16().is_none_or(|port| port == 0) => {
                needed("the port is none")
            }
            Some(_) => Ok(Self { uri }),
        }
    }

    /// Takes the token out of the URL, if there is one.
    pub(super) fn take_token(&mut self) -> Option<Token> {
        let token = Token::from_target(self.request_target())?;
        let (path, query) = self.request_target().split_once('?')?;
        let is_token = |pair: &&str| pair.split('=').next() == Some("token");
        let others: Vec<&str> = query.split('&').filter(|pair| !is_token(pair)).collect();
        let question_mark = if others.is_empty() { "" } else { "?" };
        let target = format!("{path}{question_mark}{}", others.join("&"));
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = Some(target.parse().expect("a part of one that was good"));
        self.uri = Uri::from_parts(parts).expect("it was a URL before");
        Some(token)
    }

    /// Path and query, as they are sent.
    pub(super) fn request_target(&self) -> &str {
        let target = self.uri.path_and_query();
        target.map_or("/", |target| target.as_str())
    }

    /// Host and port, as they stand in the URL.
    pub(super) fn authority(&self) -> &str {
        self.uri.authority().expect("checked by `parse`").as_str()
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
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.uri.scheme_str().unwrap_or_default();
        write!(f, "{scheme}://{}{}", self.authority(), self.uri.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> ServerUrl {
        ServerUrl::parse(url, Protocol::Wamp1).expect(url)
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
            assert_eq!(parsed(url).request_target(), sent);
            assert_eq!(parsed(url).to_string(), shown);
            let with_http = url.to_ascii_lowercase().replacen("ws:", "http:", 1);
            for stream in [url, &with_http] {
                let stream = ServerUrl::parse(stream, Protocol::Sse).expect(stream);
                assert_eq!(stream.request_target(), sent);
                assert_eq!(stream.to_string(), shown.replacen("ws:", "http:", 1));
            }
        }
        assert_eq!(parsed("ws://[::1]:1/").address(), ("::1", 1));
        assert_eq!(parsed("ws://a/").address(), ("a", 80));
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
            let text = ServerUrl::parse(url, Protocol::Wamp1).expect_err(url);
            assert!(
                text.contains(part) && !text.contains("sesame"),
                "{url}: {text}"
            );
        }
        for url in ["wss://a/?token=sesame", "https://a/?token=sesame"] {
            let text = ServerUrl::parse(url, Protocol::Sse).expect_err(url);
            assert!(
                text.contains("needs TLS") && text.contains("http://"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_token_can_be_taken_out() {
        for (url, token, left) in [
            ("ws://a:1/?token=x+y/z==", "x+y/z==", "/"),
            (
                "ws://a/p?b=1&token=old&token=Basic%20x%2F&c",
                "x/",
                "/p?b=1&c",
            ),
        ] {
            let mut url = parsed(url);
            assert_eq!(url.take_token(), Some(Token::new(token)));
            assert_eq!(url.request_target(), left);
        }
        for url in ["ws://a/p?b=1", "ws://a", "ws://a/?token="] {
            let mut url = parsed(url);
            let before = url.request_target().to_owned();
            assert_eq!(url.take_token(), None);
            assert_eq!(url.request_target(), before);
        }
    }
}
