//! Who may ask for what.
//!
//! Three kinds of clients send requests:
//! - Programs show a token.
//! - Users of this machine need no token when none is configured. The listener is bound to loopback then.
//! - Pages of strangers run in a browser on this machine, and can send requests to loopback, too. An attacker
//!   can make a host name of his own lead to this machine. So where no token is needed, the request must
//!   name this machine in `Host`. And a page may only ask the server that it came from: a browser says where
//!   a page came from (`Origin`) with each POST and each WebSocket, and no page can change that.
//!
//! The operator may name origins whose pages may publish here as well. Such a page always needs a token.
//!
//! Never here: what a request asks for, and tokens themselves (their SHA-256 is kept and compared).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::response::Response;
use crate::stats::{Door, HttpStatus};
use crate::wire::http::Head;
use crate::wire::token::{Digest, Token};

/// The tokens in force, and the pages that may publish.
#[derive(Clone, Debug)]
pub struct AccessRules {
    admin: Option<Digest>,
    publish: Option<Digest>,
    /// The origins of other sites whose pages may publish, as browsers write them.
    publish_origins: Vec<String>,
}

/// The right that a request needs, or that its client has shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Right {
    /// No right: the answer gives nothing away.
    Anybody,
    /// The right of a publisher. An administrator has it, too.
    Publisher,
    /// The right of an administrator.
    Administrator,
}

impl AccessRules {
    /// Without an `admin` token every client of the admin listener is an administrator. Without a `publish`
    /// token only administrators are publishers.
    pub fn new(admin: Option<&Token>, publish: Option<&Token>) -> Self {
        Self {
            admin: admin.map(Token::digest),
            publish: publish.map(Token::digest),
            publish_origins: Vec::new(),
        }
    }

    /// Lets pages of these origins publish. `origins` are in lower case.
    pub fn with_publish_origins(mut self, origins: &[String]) -> Self {
        self.publish_origins = origins.to_vec();
        self
    }

    /// Returns the origin of the page that sent a request, if pages of this origin may publish.
    pub fn publish_origin(&self, head: &Head<'_, '_>) -> Option<&str> {
        let origin = head.text("origin").ok()??;
        let mut named = self.publish_origins.iter();
        named
            .find(|named| named.eq_ignore_ascii_case(origin))
            .map(String::as_str)
    }

    /// Returns the whole lines that the answer to a request to publish has for its page (the CORS protocol of the
    /// Fetch standard).
    pub fn cors(&self, head: &Head<'_, '_>) -> String {
        if self.publish_origins.is_empty() {
            return String::new();
        }
        match self.publish_origin(head) {
            Some(origin) => format!("Access-Control-Allow-Origin: {origin}\r\nVary: Origin\r\n"),
            None => "Vary: Origin\r\n".to_owned(),
        }
    }

    /// Judges a browser's question whether a page may publish. The question comes without a token.
    ///
    /// # Errors
    /// Returns the answer to a page that may not.
    pub fn judge_preflight(&self, head: &Head<'_, '_>) -> Result<(), Response> {
        match self.publish_origin(head) {
            Some(_) => Ok(()),
            None => is_of_same_origin(head),
        }
    }

    /// Returns true when the administrators' token differs from the one in `other`.
    pub fn has_other_admin(&self, other: &Self) -> bool {
        match (&self.admin, &other.admin) {
            (Some(one), Some(two)) => !one.matches(two),
            (None, None) => false,
            _ => true,
        }
    }

    /// Returns the right by which a client may have what needs `right`. `in_query` is true when the token may
    /// stand in the address, because a browser can put it nowhere else.
    ///
    /// # Errors
    /// Returns the answer to a client that has no such right.
    pub fn judge(
        &self,
        door: Door,
        right: Right,
        head: &Head<'_, '_>,
        in_query: bool,
    ) -> Result<Right, Response> {
        if right == Right::Anybody {
            return Ok(right);
        }
        let is_foreign = right == Right::Publisher && self.publish_origin(head).is_some();
        if !is_foreign {
            is_of_same_origin(head)?;
        }
        let shown = bearer(head)
            .or_else(|| Token::from_target(head.target).filter(|_| in_query))
            .map(|token| token.digest());
        let is = |kept: &Option<Digest>| match (kept, &shown) {
            (Some(kept), Some(shown)) => kept.matches(shown),
            _ => false,
        };
        if right == Right::Publisher && is(&self.publish) {
            return Ok(Right::Publisher);
        }
        match (door, &self.admin) {
            (Door::Admin, None) if !is_foreign => {
                names_this_machine(head).map(|()| Right::Administrator)
            }
            (Door::Admin, Some(_)) if is(&self.admin) => Ok(Right::Administrator),
            _ => Err(Response::refusal(
                HttpStatus::Unauthorized,
                "the token is missing or wrong",
                match door {
                    Door::Admin if in_query => {
                        "send Authorization: Bearer TOKEN with the server's admin-token, or put it \
                         into the address: ?token=TOKEN"
                    }
                    Door::Admin if right == Right::Publisher => {
                        "send Authorization: Bearer TOKEN with the server's publish-token or admin-token"
                    }
                    Door::Admin => "send Authorization: Bearer TOKEN with the server's admin-token",
                    Door::Publish => {
                        "send Authorization: Bearer TOKEN with the server's publish-token"
                    }
                },
            )),
        }
    }
}

/// Returns the token of `Authorization: Bearer`. RFC 6750 s. 2.1
fn bearer(head: &Head<'_, '_>) -> Option<Token> {
    let (scheme, token) = head.text("authorization").ok()??.split_once(' ')?;
    let token = token.trim_start();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| Token::new(token))
}

/// Returns the host that a request names, in lower case; `None` only for a client of HTTP/1.0.
fn host(head: &Head<'_, '_>) -> Option<String> {
    Some(head.text("host").ok()??.to_ascii_lowercase())
}

/// Checks that a page asks the server that it came from, by whatever name. A proxy may have ended TLS.
fn is_of_same_origin(head: &Head<'_, '_>) -> Result<(), Response> {
    let origin = match head.text("origin") {
        Ok(None) => return Ok(()),
        Ok(Some(origin)) => origin.to_ascii_lowercase(),
        Err(_) => String::new(),
    };
    let authority = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    if authority.is_some() && authority == host(head).as_deref() {
        return Ok(());
    }
    Err(Response::refusal(
        HttpStatus::Forbidden,
        "a page of another site may not ask this",
        "ask from a program, or from a page of this server; behind a proxy, have it pass Host on; to \
         publish from pages of another site, have their origin added to publish-origin",
    ))
}

/// Checks that `Host` names this machine. The page of an attacker comes with the attacker's host name, whatever
/// address that leads to.
fn names_this_machine(head: &Head<'_, '_>) -> Result<(), Response> {
    // A browser always sends one.
    let Some(host) = host(head) else {
        return Ok(());
    };
    if is_of_this_machine(&host) {
        return Ok(());
    }
    Err(Response::refusal(
        HttpStatus::Forbidden,
        "without a token this listener is asked by an IP address or as localhost",
        "use the address that the server was started with, such as http://127.0.0.1:8081/, or set \
         admin-token",
    ))
}

/// Returns true when all of `host` is an IP address or `localhost`, with or without a port.
fn is_of_this_machine(host: &str) -> bool {
    let (is_plain, behind) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, behind)) => (name.parse::<Ipv6Addr>().is_ok(), behind),
            None => return false,
        },
        None => {
            let (name, behind) = host.split_at(host.find(':').unwrap_or(host.len()));
            // The name with a dot at its end is the same name.
            let is_local = matches!(name, "localhost" | "localhost.");
            (is_local || name.parse::<Ipv4Addr>().is_ok(), behind)
        }
    };
    let is_port =
        |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
    is_plain && (behind.is_empty() || behind.strip_prefix(':').is_some_and(is_port))
}

#[cfg(test)]
mod tests {
    use super::is_of_this_machine;

    #[test]
    fn a_host_is_this_machine_as_a_whole_or_not_at_all() {
        for host in [
            "localhost",
            "localhost.",
            "localhost:8081",
            "localhost.:8081",
            "127.0.0.1",
            "127.0.0.1:8081",
            "192.0.2.1:1",
            "[::1]",
            "[::1]:8081",
            "[2001:db8::1]:80",
        ] {
            assert!(is_of_this_machine(host), "{host}");
        }
        for host in [
            "",
            ":80",
            "[",
            "[]",
            "[::1",
            "::1",
            "[::1].evil.com",
            "[::1]evil.com",
            "[::1]8081",
            "[::1]:evil",
            "[127.0.0.1]",
            "[localhost]",
            "localhost:",
            "localhost..",
            "localhost:+80",
            "localhost:65536",
            "localhost:80@evil.com",
            "localhost:80:80",
            "localhost.evil.com",
            "127.0.0.1.evil.com:80",
            "user@localhost",
        ] {
            assert!(!is_of_this_machine(host), "{host}");
        }
    }
}
