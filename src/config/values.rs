//! One text of a flag, a variable or a file becomes one value, or a sentence that says what is
//! allowed.
//!
//! A sentence here never repeats the text: who asks knows it, and knows whether it is a secret.
//! Never here: which option the text belongs to, and any look at the machine (no name is looked up,
//! no file is opened).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use super::JwtAlgorithm;
use crate::wire::token::Token;

/// In bytes, the longest path that fits `sockaddr_un`, its closing zero aside.
const IPC_PATH_BYTES_MAX: usize = 107;

/// In bytes, the field of a flat event that names its topic. It is a word of somebody's code.
const TOPIC_FIELD_BYTES_MAX: usize = 128;

/// In bytes, a token. It has to fit a request's head beside everything else.
const TOKEN_BYTES_MAX: usize = 4096;

/// What a number counts: how it may be written, and how it is read out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unit {
    /// Plain things: connections, events.
    Count,
    /// Whole seconds.
    Seconds,
    /// Bytes; `64k`, `64KiB`, `2M`, `2MiB` are understood too.
    Bytes,
}

impl Unit {
    /// `value` with its unit, to be read by people; for [`Unit::Bytes`] also by [`number`].
    pub fn show(self, value: u64) -> String {
        match self {
            Self::Count => value.to_string(),
            Self::Seconds => format!("{value} s"),
            Self::Bytes => exact_bytes(value),
        }
    }
}

/// A whole number from `min` to `max`.
pub fn number(text: &str, unit: Unit, min: u64, max: u64) -> Result<u64, String> {
    let range = || format!("from {} to {}", unit.show(min), unit.show(max));
    let digits_end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, suffix) = text.split_at(digits_end);
    let factor: Option<u64> = match (unit, suffix.trim_start()) {
        (_, "") => Some(1),
        (Unit::Bytes, "B") => Some(1),
        (Unit::Bytes, "k" | "K" | "KiB") => Some(1 << 10),
        (Unit::Bytes, "m" | "M" | "MiB") => Some(1 << 20),
        (Unit::Bytes, "g" | "G" | "GiB") => Some(1 << 30),
        _ => None,
    };
    let Some(factor) = factor.filter(|_| !digits.is_empty()) else {
        return Err(match unit {
            Unit::Count => format!("a whole number is needed, {}", range()),
            Unit::Seconds => format!(
                "a whole number of seconds without a unit is needed, {}",
                range()
            ),
            Unit::Bytes => format!(
                "a number of bytes is needed, plain or with KiB or MiB, {}",
                range()
            ),
        });
    };
    digits
        .parse()
        .ok()
        .and_then(|value: u64| value.checked_mul(factor))
        .filter(|value| (min..=max).contains(value))
        .ok_or_else(|| format!("it must be {}", range()))
}

/// `4KiB`, `2MiB`: exact, and understood by [`number`]; plain where it is no whole number of them.
pub(super) fn exact_bytes(value: u64) -> String {
    for (suffix, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if value > 0 && value.trailing_zeros() >= shift {
            return format!("{}{suffix}", value >> shift);
        }
    }
    value.to_string()
}

/// `1.4 GiB`, `2 MiB`: rounded, for people.
pub fn rough_bytes(value: u64) -> String {
    for (suffix, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if value >= 1 << shift {
            let tenths = (u128::from(value) * 10 + (1 << (shift - 1))) >> shift;
            return match tenths % 10 {
                0 => format!("{} {suffix}", tenths / 10),
                tenth => format!("{}.{tenth} {suffix}", tenths / 10),
            };
        }
    }
    format!("{value} bytes")
}

/// An address to listen on.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "an IP address and a port are needed, such as 127.0.0.1:8080, [::1]:8080, or 0.0.0.0:8080 \
         for every interface (names are not looked up: localhost is 127.0.0.1)"
            .to_owned()
    })
}

/// Which end of a ZeroMQ connection an endpoint names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// It is bound: `tcp://*:5555` means every interface, port `*` means any free one.
    Bind,
    /// It is connected to: host and port must be known.
    Connect,
}

/// A ZeroMQ endpoint, by its form alone.
pub fn endpoint(text: &str, end: End) -> Result<String, String> {
    let example = match end {
        End::Bind => {
            "tcp://127.0.0.1:5555, tcp://*:5555 for every interface, or ipc:///run/newswire.sock"
        }
        End::Connect => "tcp://127.0.0.1:5555 or ipc:///run/newswire.sock",
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
    let port_is_good = match (port, end) {
        ("*", End::Bind) => true,
        ("*" | "0", End::Connect) => false,
        _ => port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok(),
    };
    let bare_ipv6 = host.contains(':') && !host.starts_with('[');
    if host.is_empty() || !port_is_good || bare_ipv6 {
        return Err(needed());
    }
    // What is bound may be an interface, such as eth0. The kernel allows 15 bytes for its name.
    let is_name = host.eq_ignore_ascii_case("localhost") || host.len() > 15;
    let is_ip = host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok();
    if end == End::Bind && is_name && !is_ip {
        return Err(format!(
            "an IP address or an interface is needed, such as {example} (names are not looked up: localhost is \
             127.0.0.1)"
        ));
    }
    if end == End::Connect && host == "*" {
        return Err(format!(
            "`*` cannot be connected to; name the host, such as {example}"
        ));
    }
    Ok(text.to_owned())
}

/// The mode of a file, in octal; empty is none.
pub(super) fn mode(text: &str) -> Result<Option<u32>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let digits = text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| digits);
    // Who may not write to a socket may not connect to it, and the owner is the server itself.
    mode.filter(|mode| mode & 0o200 != 0 && *mode <= 0o777)
        .map(Some)
        .ok_or_else(|| {
            "an octal mode that lets the owner write is needed, such as 660 for owner and group"
                .to_owned()
        })
}

/// A group's name or number, by its form alone; empty is none.
pub(super) fn group(text: &str) -> Result<String, String> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "_-.$@\\".contains(c);
    if text.chars().all(is_good) {
        return Ok(text.to_owned());
    }
    Err("the name or the number of a group is needed, such as www-data".to_owned())
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
    // A page from a file has one of these in a browser or in a web view; one in a sandboxed frame has the
    // first.
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
    // Browsers leave the default port away, so with it nobody would ever match.
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

/// A file's name.
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

/// Where something on this machine reaches a listener.
pub fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// An address of a database, by its form alone; the driver looks at the rest.
pub(super) fn postgres_url(text: &str) -> Result<String, String> {
    let is_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
    if is_url || text.contains('=') && !text.contains("://") {
        return Ok(text.to_owned());
    }
    Err(
        "an address such as postgres://user:password@host/database is needed, or key=value pairs \
         such as `host=/run/postgresql user=newswire dbname=publisher`"
            .to_owned(),
    )
}

/// A statement with the one parameter that there is.
pub(super) fn query(text: &str) -> Result<String, String> {
    if text.contains("$1") && !text.contains("$2") {
        return Ok(text.to_owned());
    }
    Err("an SQL statement with one parameter, $1 (the token), is needed".to_owned())
}

/// A time zone, as PostgreSQL names it.
pub(super) fn time_zone(text: &str) -> Result<String, String> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "/_+-:".contains(c);
    if !text.is_empty() && text.chars().all(is_good) {
        return Ok(text.to_owned());
    }
    Err("a time zone is needed, such as UTC or Europe/Berlin".to_owned())
}

/// How JWTs are signed; empty is not at all.
pub(super) fn jwt_algorithm(text: &str) -> Result<Option<JwtAlgorithm>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let named = JwtAlgorithm::ALL.into_iter().find(|a| a.name() == text);
    named
        .map(Some)
        .ok_or_else(|| "HS256, RS256, ES256 or EdDSA is needed".to_owned())
}

/// A scheme of `Authorization` (RFC 9110 s. 11.1); empty is none.
pub(super) fn scheme(text: &str) -> Result<String, String> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if text.chars().all(is_good) {
        return Ok(text.to_owned());
    }
    Err("one word is needed, such as Bearer".to_owned())
}

/// The field that names the topic in a flat event.
pub(super) fn topic_field(text: &str) -> Result<String, String> {
    match text.len() {
        1..=TOPIC_FIELD_BYTES_MAX => Ok(text.to_owned()),
        _ => Err(format!(
            "the name of a JSON field is needed, of 1 to {TOPIC_FIELD_BYTES_MAX} bytes"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_plain_or_binary_multiples() {
        let bytes = |text: &str| number(text, Unit::Bytes, 0, 1 << 40);
        for (text, value) in [
            ("0", 0),
            ("4096", 4096),
            ("4k", 4096),
            ("4KiB", 4096),
            ("4 KiB", 4096),
            ("2M", 2 << 20),
            ("2MiB", 2 << 20),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(bytes(text), Ok(value), "{text}");
            assert_eq!(bytes(&exact_bytes(value)), Ok(value), "{text}");
        }
        // `kB` is a thousand to some and 1,024 to others.
        for text in [
            "",
            "k",
            "-1",
            "+1",
            "1.5M",
            "4kB",
            "4MB",
            "18446744073709551615k",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn seconds_have_a_range_and_no_suffix() {
        let seconds = |text: &str| number(text, Unit::Seconds, 1, 250);
        assert_eq!(seconds("250"), Ok(250));
        let sentence = "it must be from 1 s to 250 s".to_owned();
        assert_eq!(seconds("0"), Err(sentence.clone()));
        assert_eq!(seconds("251"), Err(sentence));
        assert!(seconds("5s").is_err());
        assert!(seconds("5k").is_err());
    }

    #[test]
    fn rough_bytes_round_to_a_tenth() {
        assert_eq!(rough_bytes(17), "17 bytes");
        assert_eq!(rough_bytes(1536), "1.5 KiB");
        assert_eq!(rough_bytes((1 << 20) - 1), "1024 KiB");
        assert_eq!(rough_bytes(u64::MAX), "17179869184 GiB");
    }

    #[test]
    fn endpoints_differ_by_their_end() {
        for text in [
            "tcp://127.0.0.1:5555",
            "tcp://*:5555",
            "tcp://[::1]:5555",
            "tcp://127.0.0.1:*",
            "tcp://eth0:0",
            "ipc:///run/newswire.sock",
        ] {
            assert_eq!(endpoint(text, End::Bind), Ok(text.to_owned()));
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
            assert!(endpoint(text, End::Bind).is_err(), "{text}");
        }
        for host in ["localhost", "Localhost", "news.example.com"] {
            let text = format!("tcp://{host}:5556");
            let error = endpoint(&text, End::Bind).expect_err("a name");
            assert!(error.contains("localhost is 127.0.0.1"), "{error}");
            assert!(endpoint(&text, End::Connect).is_ok());
        }
        assert!(endpoint("tcp://[2001:db8::1234:5678]:5556", End::Bind).is_ok());
        assert!(endpoint("tcp://*:5555", End::Connect).is_err());
        assert!(endpoint("tcp://127.0.0.1:*", End::Connect).is_err());
        assert!(endpoint(&format!("ipc:///{}", "x".repeat(107)), End::Bind).is_err());
    }

    #[test]
    fn modes_are_octal_and_let_the_owner_connect() {
        for (text, expected) in [
            ("", None),
            ("660", Some(0o660)),
            ("0600", Some(0o600)),
            ("777", Some(0o777)),
        ] {
            assert_eq!(mode(text), Ok(expected), "{text}");
        }
        for text in [
            "8",
            "rw-",
            "0o660",
            "+660",
            "1777",
            "060",
            "440",
            "99999999999",
        ] {
            assert!(mode(text).is_err(), "{text}");
        }
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
