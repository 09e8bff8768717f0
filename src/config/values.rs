//! One text of a flag, a variable or a file becomes one value, or a sentence that says what is allowed.
//!
//! A sentence here never repeats the text: the caller knows it, and knows whether it is a secret.
//! Never here: what only one group of options takes (that is in its file), and any look at the machine (no name is
//! looked up, no file is opened).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use crate::wire::token::Token;

/// In bytes, the longest path that fits `sockaddr_un`, its closing zero aside.
const IPC_PATH_BYTES_MAX: usize = 107;

/// In bytes, a token. It has to fit a request's head beside everything else.
const TOKEN_BYTES_MAX: usize = 4096;

/// An address to listen on.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "an IP address and a port are needed, such as 127.0.0.1:8080, [::1]:8080, or 0.0.0.0:8080 \
         for every interface (names are not looked up: localhost is 127.0.0.1)"
            .to_owned()
    })
}

/// What a socket does with a ZeroMQ endpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EndpointUse {
    /// The socket is bound to it: `tcp://*:5555` means every interface, port `*` means any free one.
    Bind,
    /// The socket connects to it: host and port must be known.
    Connect,
}

/// A ZeroMQ endpoint, by its form alone.
///
/// # Errors
/// A sentence that says what is needed.
pub fn endpoint(text: &str, usage: EndpointUse) -> Result<String, String> {
    let example = match usage {
        EndpointUse::Bind => {
            "tcp://127.0.0.1:5555, tcp://*:5555 for every interface, or ipc:///run/newswire.sock"
        }
        EndpointUse::Connect => "tcp://127.0.0.1:5555 or ipc:///run/newswire.sock",
    };
    let needed = || format!("an endpoint is needed, such as {example}");
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(needed());
    }
    if let Some(path) = text.strip_prefix("ipc://") {
        return match path.len() {
            0 => Err(needed()),
            1..=IPC_PATH_BYTES_MAX => Ok(text.to_owned()),
            _ => Err(format!(
                "the path of an ipc:// endpoint has at most {IPC_PATH_BYTES_MAX} bytes"
            )),
        };
    }
    let Some(rest) = text.strip_prefix("tcp://") else {
        return Err(match text.split_once("://") {
            Some(("udp" | "inproc" | "pgm" | "epgm" | "tipc" | "vmci" | "ws" | "http", _)) => {
                format!("only tcp:// and ipc:// carry events here, such as {example}")
            }
            _ => needed(),
        });
    };
    let (host, port) = rest.rsplit_once(':').ok_or_else(needed)?;
    let port_is_good = match (port, usage) {
        ("*", EndpointUse::Bind) => true,
        ("*" | "0", EndpointUse::Connect) => false,
        _ => port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok(),
    };
    let bare_ipv6 = host.contains(':') && !host.starts_with('[');
    if host.is_empty() || !port_is_good || bare_ipv6 {
        return Err(needed());
    }
    // A socket may be bound to an interface, such as eth0. The kernel allows 15 bytes for its name.
    let is_name = host.eq_ignore_ascii_case("localhost") || host.len() > 15;
    let is_ip = host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok();
    if usage == EndpointUse::Bind && is_name && !is_ip {
        return Err(format!(
            "an IP address or an interface is needed, such as {example} (names are not looked up: localhost is \
             127.0.0.1)"
        ));
    }
    if usage == EndpointUse::Connect && host == "*" {
        return Err(format!(
            "`*` cannot be connected to; name the host, such as {example}"
        ));
    }
    Ok(text.to_owned())
}

/// A network, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse::<IpNet>()
        .or_else(|_| address())
        .map(|network| network.trunc())
        .map_err(|_| {
            "an IP address or a network such as 127.0.0.1 or 10.0.0.0/8 is needed".to_owned()
        })
}

/// An `Origin` as browsers send it: scheme and host in lower case, no default port, no path.
pub(super) fn origin(text: &str) -> Result<String, String> {
    const NEEDED: &str = "a scheme and a host are needed, such as https://example.com, with a port \
                          only where the page's address shows one, and without a path";
    let lower = text.to_ascii_lowercase();
    // A page from a file has `null` in a browser and `file://` in some web views; a page in a sandboxed frame has
    // `null`.
    if matches!(lower.as_str(), "null" | "file://") {
        return Ok(lower);
    }
    if lower == "*" {
        return Err("every origin is allowed where no `origin` is given at all".to_owned());
    }
    let (scheme, host) = lower.split_once("://").ok_or(NEEDED)?;
    let host = host.strip_suffix('/').unwrap_or(host);
    let scheme_is_good = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    let host_is_bad = host.is_empty()
        || host.starts_with(':')
        || host.contains(|c: char| "/?#@*,".contains(c) || !c.is_ascii_graphic());
    if !scheme_is_good || host_is_bad {
        return Err(NEEDED.to_owned());
    }
    // Browsers leave out the default port, so an origin with it would never match.
    let host = match scheme {
        "https" => host.strip_suffix(":443"),
        "http" => host.strip_suffix(":80"),
        _ => None,
    }
    .unwrap_or(host);
    Ok(format!("{scheme}://{host}"))
}

/// A token that clients may present.
///
/// # Errors
/// What is wrong with it, without a piece of it.
pub fn token(text: &str) -> Result<Token, String> {
    if text.is_empty() {
        return Err(
            "it is empty; `newswire token new` makes one, and without any `token` the server \
             makes one for itself"
                .to_owned(),
        );
    }
    if text.len() > TOKEN_BYTES_MAX {
        return Err(format!("a token has at most {TOKEN_BYTES_MAX} bytes"));
    }
    if text.trim() != text || text.contains(char::is_control) {
        return Err(
            "a token has no white space around it, no line break and no other control character \
             in it"
                .to_owned(),
        );
    }
    Ok(Token::new(text))
}

/// As [`token`]; empty is none.
pub(super) fn optional_token(text: &str) -> Result<Option<Token>, String> {
    match text {
        "" => Ok(None),
        text => token(text).map(Some),
    }
}

/// The text of which [`optional_token`] makes `token`.
pub(super) fn token_text(token: &Option<Token>) -> String {
    token.as_ref().map_or(String::new(), Token::reveal)
}

/// The name of a file.
pub(super) fn path(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("the name of a file is needed".to_owned()),
        text => Ok(PathBuf::from(text)),
    }
}

/// An address of the web, by its form alone.
pub(super) fn web_url(text: &str) -> Result<String, String> {
    const NEEDED: &str =
        "an address is needed, such as https://example.com/api/v1/token, without a fragment";
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))
        .ok_or(NEEDED)?;
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    let is_plain = text.bytes().all(|b| b.is_ascii_graphic()) && !text.contains('#');
    if host.is_empty() || !is_plain {
        return Err(NEEDED.to_owned());
    }
    if host.contains('@') {
        return Err("no user and password may stand in it".to_owned());
    }
    Ok(text.to_owned())
}

/// The address at which a program on this machine reaches a listener that is bound to `address`.
pub fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_to_bind_is_not_one_to_connect_to() {
        for text in [
            "tcp://127.0.0.1:5555",
            "tcp://*:5555",
            "tcp://[::1]:5555",
            "tcp://127.0.0.1:*",
            "tcp://eth0:0",
            "ipc:///run/newswire.sock",
        ] {
            assert_eq!(endpoint(text, EndpointUse::Bind), Ok(text.to_owned()));
        }
        for text in [
            "",
            "tcp://",
            "tcp://127.0.0.1",
            "tcp://:5555",
            "tcp://::1:5555",
            "tcp://127.0.0.1:65536",
            "tcp://127.0.0.1:+1",
            "127.0.0.1:5555",
            "ipc://",
            "inproc://x",
            "tcp://127.0.0.1:5555 ",
        ] {
            assert!(endpoint(text, EndpointUse::Bind).is_err(), "{text}");
        }
        for host in ["localhost", "Localhost", "news.example.com"] {
            let text = format!("tcp://{host}:5556");
            let error = endpoint(&text, EndpointUse::Bind).expect_err("a name");
            assert!(error.contains("localhost is 127.0.0.1"), "{error}");
            assert!(endpoint(&text, EndpointUse::Connect).is_ok());
        }
        assert!(endpoint("tcp://[2001:db8::1234:5678]:5556", EndpointUse::Bind).is_ok());
        assert!(endpoint("tcp://*:5555", EndpointUse::Connect).is_err());
        assert!(endpoint("tcp://127.0.0.1:*", EndpointUse::Connect).is_err());
        assert!(endpoint(&format!("ipc:///{}", "x".repeat(107)), EndpointUse::Bind).is_err());
    }

    #[test]
    fn origins_are_kept_as_browsers_send_them() {
        for (text, kept) in [
            ("https://example.com", "https://example.com"),
            ("HTTPS://Example.COM/", "https://example.com"),
            ("https://example.com:443", "https://example.com"),
            ("http://localhost:80", "http://localhost"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("null", "null"),
            ("file://", "file://"),
        ] {
            assert_eq!(origin(text).as_deref(), Ok(kept));
        }
        for text in [
            "",
            "*",
            "example.com",
            "https://",
            "https://a/b",
            "https://*.b",
            "://a",
        ] {
            assert!(origin(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_sentence_about_a_token_does_not_repeat_it() {
        for text in ["sesame ", "sesame\n", "ses\u{7}ame", &"sesame".repeat(1000)] {
            let sentence = token(text).expect_err("refused");
            assert!(!sentence.contains("sesame"), "{sentence}");
        }
        assert!(token("a+b/c==").is_ok());
    }
}
