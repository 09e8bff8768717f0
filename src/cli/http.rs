//! A small blocking HTTP client for a server's admin listener: one request, one answer.
//!
//! Never here: TLS (the listener speaks none), trying again, showing a token.

use std::fmt;
use std::io::{self, Read, Write};

use serde_json::Value;

use super::reach::reach;
use crate::wire::http::answer;
use crate::wire::token::Token;

/// In bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

const EXAMPLE: &str = "http://127.0.0.1:8081/";

/// A server's admin listener.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Listener {
    /// The host as it stands in a URL, with the port.
    authority: String,
    /// The host without brackets.
    host: String,
    port: u16,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}/", self.authority)
    }
}

impl Listener {
    /// Takes `http://host:port/`, or `host:port` alone.
    ///
    /// # Errors
    /// What is needed instead.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let needed = || format!("a URL such as {EXAMPLE} is needed");
        if text.starts_with("https://") {
            return Err(format!(
                "https:// needs TLS, which this command does not speak: on the server's machine use \
                 {EXAMPLE}, or from elsewhere a tunnel to it (ssh -L 8081:127.0.0.1:8081 HOST)"
            ));
        }
        let rest = text.strip_prefix("http://").unwrap_or(text);
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = authority.rsplit_once(':').ok_or_else(needed)?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        let host = bare.unwrap_or(host);
        if host.is_empty() || !host.chars().all(is_plain) || host.contains(':') != bare.is_some() {
            return Err(needed());
        }
        Ok(Self {
            port: port
                .parse()
                .ok()
                .filter(|&port| port > 0)
                .ok_or_else(needed)?,
            host: host.to_owned(),
            authority: authority.to_owned(),
        })
    }

    /// Posts JSON, and returns the JSON of a 200.
    ///
    /// # Errors
    /// It cannot be asked, or says no: in one line, with what it advises.
    pub(super) fn post(
        &self,
        path: &str,
        token: Option<&Token>,
        body: &str,
    ) -> Result<Value, String> {
        let failed = |what: &dyn fmt::Display| format!("http://{}{path}: {what}", self.authority);
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n",
            self.authority,
            body.len()
        );
        if let Some(token) = token {
            request.push_str(&format!("Authorization: Bearer {}\r\n", token.reveal()));
        }
        request.push_str("\r\n");
        request.push_str(body);
        let mut stream = reach((&self.host, self.port)).map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused => failed(&format_args!(
                "{error}: is newswire running? It prints its listener for this as `admin` when it starts; \
                 --admin names another"
            )),
            _ => failed(&error),
        })?;
        // The server may answer, and end, before it has read everything.
        let sent = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let read = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer);
        match answer::parse(&answer) {
            Some((200, answer)) => Ok(answer),
            Some((status, answer)) => {
                let text = |key: &str| answer[key].as_str().unwrap_or_default().to_owned();
                Err(failed(&format_args!(
                    "{status}: {}: {}",
                    text("error"),
                    text("hint")
                )))
            }
            None => match sent.and(read.map(drop)) {
                Err(error) => Err(failed(&error)),
                Ok(()) => Err(failed(&"what answers there is no newswire")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners() {
        for (text, host, port) in [
            ("http://127.0.0.1:8081/", "127.0.0.1", 8081),
            ("http://localhost:80", "localhost", 80),
            ("127.0.0.1:8081", "127.0.0.1", 8081),
            ("http://[::1]:8081/", "::1", 8081),
        ] {
            let listener = Listener::parse(text).expect(text);
            assert_eq!((&*listener.host, listener.port), (host, port), "{text}");
        }
        for text in [
            "",
            "http://",
            "http://:80/",
            "127.0.0.1",
            "http://a:0/",
            "http://a:80/path",
            "http://::1:8081/",
            "http://a b:80/",
            "http://[::1:80/",
            "ws://a:80/",
            "off",
        ] {
            assert!(Listener::parse(text).is_err(), "{text}");
        }
        assert!(Listener::parse("https://a/").is_err_and(|e| e.contains("ssh -L")));
    }
}
