//! The address of a message broker, from the URL that the operator wrote: `amqp://user:password@host:port/vhost`,
//! `nats://token@host:port`.
//!
//! The URL may hold a password, and when the password is not percent-encoded, pieces of it look like a host. So no
//! error repeats the URL, and of a URL that can be read only [`BrokerAddress::place`] is ever shown.
//!
//! Never here: connections, and what a broker is asked for.

use std::fmt;

use percent_encoding::percent_decode_str;

/// A scheme of URLs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Scheme {
    /// As it stands before `://`.
    pub name: &'static str,
    /// True exactly when TLS is spoken from the first byte.
    pub is_tls: bool,
    /// The port of a URL that names none.
    pub port: u16,
}

/// AMQP 0-9-1, whose URLs are defined by RabbitMQ's "URI Specification".
pub const AMQP: [Scheme; 2] = [
    Scheme {
        name: "amqp",
        is_tls: false,
        port: 5672,
    },
    Scheme {
        name: "amqps",
        is_tls: true,
        port: 5671,
    },
];

/// NATS.
pub const NATS: [Scheme; 2] = [
    Scheme {
        name: "nats",
        is_tls: false,
        port: 4222,
    },
    Scheme {
        name: "tls",
        is_tls: true,
        port: 4222,
    },
];

/// A broker, and who newswire is there.
#[derive(Clone, Eq, PartialEq)]
pub struct BrokerAddress {
    /// As the operator wrote it.
    text: String,
    /// How to speak to it.
    pub scheme: Scheme,
    /// `None` where the URL names no user.
    pub user: Option<String>,
    /// `None` where the URL has no password.
    pub password: Option<String>,
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What follows the host, without the slash and decoded; empty where there is nothing.
    pub path: String,
}

impl BrokerAddress {
    /// Parses `text`, a URL with one of `schemes`.
    ///
    /// # Errors
    /// What is needed, without a piece of the text.
    pub fn parse(text: &str, schemes: &[Scheme]) -> Result<Self, String> {
        let example = format!("{}://user:password@host:port", schemes[0].name);
        let needed = || format!("a URL such as {example} is needed");
        let (name, rest) = text.split_once("://").ok_or_else(needed)?;
        let scheme = schemes.iter().find(|scheme| scheme.name == name);
        let scheme = *scheme.ok_or_else(needed)?;
        if rest.contains(['?', '#']) || !rest.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(format!(
                "{}: it takes no `?` and no `#`; in a user or a password they are written %3F and %23",
                needed()
            ));
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if path.contains('/') {
            return Err(format!(
                "{}: it takes one `/` after the host; a further one is written %2F",
                needed()
            ));
        }
        let (login, place) = match authority.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, authority),
        };
        let (user, password) = match login.map(|login| login.split_once(':').ok_or(login)) {
            None => (None, None),
            Some(Err(user)) => (Some(decode(user)?), None),
            Some(Ok((user, password))) => (Some(decode(user)?), Some(decode(password)?)),
        };
        let (host, port) = host_and_port(place, scheme.port).ok_or_else(needed)?;
        Ok(Self {
            text: text.to_owned(),
            scheme,
            user,
            password,
            host: host.to_owned(),
            port,
            path: decode(path)?,
        })
    }

    /// The URL as the operator wrote it. It may hold a password.
    pub fn url(&self) -> String {
        self.text.clone()
    }

    /// `host:port`, as it stands in a URL.
    pub fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Refuses an address with a path.
    ///
    /// # Errors
    /// It has one.
    pub fn without_path(self) -> Result<Self, String> {
        match &*self.path {
            "" => Ok(self),
            _ => Err("nothing may follow the host and the port".to_owned()),
        }
    }

    /// The URL without user and password, for operators.
    pub fn place(&self) -> String {
        let slash = if self.path.is_empty() { "" } else { "/" };
        let Self { scheme, path, .. } = self;
        format!("{}://{}{slash}{path}", scheme.name, self.authority())
    }
}

impl fmt::Debug for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BrokerAddress({})", self.place())
    }
}

fn host_and_port(text: &str, default: u16) -> Option<(&str, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => match text.split_once(':') {
            Some((host, _)) => (host, &text[host.len()..]),
            None => (text, ""),
        },
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    if host.is_empty() || !host.chars().all(is_plain) {
        return None;
    }
    let port = match port {
        "" => default,
        text => text
            .strip_prefix(':')?
            .parse()
            .ok()
            .filter(|&port| port > 0)?,
    };
    Some((host, port))
}

fn decode(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| "what is percent-encoded in it is no UTF-8".to_owned())?;
    if decoded.contains(char::is_control) {
        return Err("it has a control character".to_owned());
    }
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (text, user, password, authority, path) in [
            ("amqp://host", None, None, "host:5672", ""),
            ("amqp://host/", None, None, "host:5672", ""),
            ("amqps://host/a", None, None, "host:5671", "a"),
            ("amqp://u@host:1/%2f", Some("u"), None, "host:1", "/"),
            (
                "amqp://u:p%40%3a@host",
                Some("u"),
                Some("p@:"),
                "host:5672",
                "",
            ),
            (
                "amqp://u:p@q@[::1]:7/v",
                Some("u"),
                Some("p@q"),
                "[::1]:7",
                "v",
            ),
            ("amqp://:@[::1]", Some(""), Some(""), "[::1]:5672", ""),
        ] {
            let address = BrokerAddress::parse(text, &AMQP).expect(text);
            assert_eq!(address.user.as_deref(), user, "{text}");
            assert_eq!(address.password.as_deref(), password, "{text}");
            assert_eq!(address.authority(), authority, "{text}");
            assert_eq!(address.path, path, "{text}");
        }
    }

    #[test]
    fn a_bad_url_is_never_repeated() {
        for text in [
            "",
            "host",
            "http://secret",
            "amqp://",
            "amqp://user:secret@",
            "amqp://user:secret@host:0",
            "amqp://user:secret@host:70000",
            "amqp://user:secret@::1:5672",
            "amqp://user:secret@[::1",
            "amqp://user:secret@a b",
            "amqp://host/a?heartbeat=secret",
            "amqp://host/a/secret",
            "amqp://user:%ffsecret@host",
            "amqp://user:%00secret@host",
        ] {
            let error = BrokerAddress::parse(text, &AMQP).expect_err(text);
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_place_has_no_password() {
        let address = BrokerAddress::parse("amqps://u:secret@h/v", &AMQP).expect("good");
        assert_eq!(address.place(), "amqps://h:5671/v");
        assert_eq!(format!("{address:?}"), "BrokerAddress(amqps://h:5671/v)");
    }
}
