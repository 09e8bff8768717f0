//! Which server a subscriber asks, in which protocol, and how it shows its token: the requests follow from these.
//!
//! The token stands in the URL that the user gives. `--token-in` says how it travels, so that each way that a server
//! takes a token can be tried.
//!
//! Never here: connections, answers, a token in a text that is not sent.

use std::borrow::Cow;
use std::fmt;

use clap::builder::PossibleValue;
use clap::{Arg, ArgMatches, ValueEnum, value_parser};
use data_encoding::BASE64URL_NOPAD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::Failure;
use super::arguments::text;
use super::past::Wish;
use super::protocol::{self, Protocol};
use super::server_url::ServerUrl;
use crate::wire::token::Token;

/// How a token travels.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum TokenPlace {
    #[default]
    Url,
    Header,
    Subprotocol,
    Ticket,
}

impl ValueEnum for TokenPlace {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Url, Self::Header, Self::Subprotocol, Self::Ticket]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Url => PossibleValue::new("url").help("as it stands in the URL"),
            Self::Header => PossibleValue::new("header").help("Authorization: Bearer TOKEN"),
            Self::Subprotocol => PossibleValue::new("subprotocol")
                .help("offered beside the protocol, as pages do (WebSocket)"),
            Self::Ticket => {
                PossibleValue::new("ticket").help("when the server asks for it (WAMP v2)")
            }
        })
    }
}

/// `--protocol` and `--token-in`.
pub(super) fn arguments() -> [Arg; 2] {
    let token_in = Arg::new("token-in")
        .long("token-in")
        .value_name("PLACE")
        .value_parser(value_parser!(TokenPlace))
        .default_value("url")
        .help("How the token of the URL travels");
    [protocol::argument(), token_in]
}

/// See above. It shows itself as its URL without the query.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) url: ServerUrl,
    pub(super) protocol: Protocol,
    /// The token, and how it travels; `None` where it stands in the URL, or nowhere. A text with it is made only when
    /// it is sent.
    token: Option<(Token, TokenPlace)>,
}

impl Target {
    /// Makes one of the arguments `url`, `--protocol` and `--token-in`.
    pub(super) fn from_matches(matches: &ArgMatches) -> Result<Self, Failure> {
        let protocol = matches.get_one("protocol").copied().unwrap_or_default();
        let place = matches.get_one("token-in").copied().unwrap_or_default();
        Self::new(text(matches, "url"), protocol, place).map_err(Failure::Usage)
    }

    fn new(url: &str, protocol: Protocol, place: TokenPlace) -> Result<Self, String> {
        let url = ServerUrl::parse(url, protocol).map_err(|text| format!("URL: {text}"))?;
        let mut target = Self {
            url,
            protocol,
            token: None,
        };
        match (place, protocol) {
            (TokenPlace::Url, _) => return Ok(target),
            (TokenPlace::Ticket, Protocol::Wamp1 | Protocol::Sse) => {
                return Err(
                    "--token-in ticket: only WAMP v2 has tickets: --protocol wamp2".to_owned(),
                );
            }
            (TokenPlace::Subprotocol, Protocol::Sse) => {
                return Err(
                    "--token-in subprotocol: only a WebSocket has sub-protocols: --protocol wamp or wamp2".to_owned(),
                );
            }
            _ => {}
        }
        let token = target.url.take_token().ok_or(
            "--token-in: there is no token in the URL that could travel in another way: ?token=TOKEN",
        )?;
        if place == TokenPlace::Header && !token.bytes().iter().all(u8::is_ascii_graphic) {
            return Err(
                "--token-in header: the token has characters that a header cannot have".to_owned(),
            );
        }
        target.token = Some((token, place));
        Ok(target)
    }

    /// The token, if it travels in this way.
    fn token_in(&self, place: TokenPlace) -> Option<&Token> {
        let token = self.token.as_ref();
        token
            .filter(|(_, its)| *its == place)
            .map(|(token, _)| token)
    }

    /// The token for a CHALLENGE.
    pub(super) fn ticket(&self) -> Option<&Token> {
        self.token_in(TokenPlace::Ticket)
    }

    /// The sub-protocols to offer, in their order; the token may be one.
    pub(super) fn offers(&self) -> impl Iterator<Item = Cow<'static, str>> {
        let token = self.token_in(TokenPlace::Subprotocol);
        let token = token.map(|token| format!("token.{}", BASE64URL_NOPAD.encode(token.bytes())));
        let protocol = self.protocol.subprotocol().map(Cow::Borrowed);
        protocol.into_iter().chain(token.map(Cow::Owned))
    }

    /// The line of the head that has the token, as name and value.
    pub(super) fn header(&self) -> Option<(&'static str, String)> {
        let token = self.token_in(TokenPlace::Header)?;
        Some(("Authorization", format!("Bearer {}", token.reveal())))
    }

    /// The request that begins everything, for a caller with sockets of its own. A stream's names no topic yet: see
    /// [`stream_request`].
    ///
    /// The key of an upgrade is always the same: only a client that doubts whether a WebSocket server answers has to
    /// choose one.
    pub(super) fn request(&self) -> String {
        let mut request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\n",
            self.url.request_target(),
            self.url.authority()
        );
        let offers: Vec<_> = self.offers().collect();
        match offers[..] {
            [] => request.push_str("Accept: text/event-stream\r\nCache-Control: no-store\r\n"),
            _ => {
                request.push_str(
                    "Upgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Key: bmV3c3dpcmUtbG9hZC0tLQ==\r\nSec-WebSocket-Version: 13\r\n",
                );
                request.push_str(&format!(
                    "Sec-WebSocket-Protocol: {}\r\n",
                    offers.join(", ")
                ));
            }
        }
        if let Some((name, value)) = self.header() {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        request
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

/// Adds topics, and what is asked of their past, to a request for a stream.
pub(super) fn stream_request<'a>(
    request: &str,
    topics: impl IntoIterator<Item = &'a str>,
    wish: Wish<'_>,
) -> String {
    let end = request.find(" HTTP/1.1\r\n").unwrap_or(request.len());
    let (line, rest) = request.split_at(end);
    let mut request = line.to_owned();
    let mut separator = match line.contains('?') {
        true => '&',
        false => '?',
    };
    for topic in topics {
        request.push(separator);
        request.push_str("topic=");
        request.extend(utf8_percent_encode(topic, NON_ALPHANUMERIC));
        separator = '&';
    }
    if let Some(last) = wish.last {
        request.push_str(&format!("{separator}last={last}"));
    }
    request.push_str(rest);
    if let Some(id) = wish.since {
        let end = request.len() - "\r\n".len();
        request.insert_str(end, &format!("Last-Event-ID: {id}\r\n"));
    }
    request
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    const URL: &str = "ws://h:1/p?token=x%2By&a=b";

    fn target(protocol: Protocol, place: TokenPlace) -> Target {
        Target::new(URL, protocol, place).expect("good")
    }

    #[test]
    fn a_token_travels_in_one_place_alone() {
        // `x+y` in base64url.
        const OFFER: &str = "token.eCt5";
        for protocol in Protocol::value_variants() {
            for place in TokenPlace::value_variants() {
                let Ok(target) = Target::new(URL, *protocol, *place) else {
                    continue;
                };
                let request = target.request();
                let places = [
                    request.contains("token=x%2By"),
                    request.contains("\r\nAuthorization: Bearer x+y\r\n"),
                    request.contains(&format!(", {OFFER}\r\n")),
                    target.ticket() == Some(&Token::new("x+y")),
                ];
                let found = places.iter().position(|&is_here| is_here);
                assert_eq!(found, Some(*place as usize), "{request}");
                assert_eq!(places.iter().filter(|&&is_here| is_here).count(), 1);
                assert!(request.contains("a=b") && request.starts_with("GET /p?"));
                assert!(request.ends_with("\r\n\r\n"));
                assert_eq!(
                    request.contains("Upgrade: websocket"),
                    *protocol != Protocol::Sse
                );
                assert!(!target.to_string().contains('?'));
            }
        }
    }

    #[test]
    fn a_place_that_a_protocol_does_not_have_is_refused_without_the_token() {
        use TokenPlace::{Header, Subprotocol, Ticket};
        for (url, protocol, place, part) in [
            (URL, Protocol::Wamp1, Ticket, "only WAMP v2"),
            (URL, Protocol::Sse, Ticket, "only WAMP v2"),
            (URL, Protocol::Sse, Subprotocol, "only a WebSocket"),
            ("ws://h/?a=b", Protocol::Wamp2, Ticket, "no token in"),
            (
                "ws://h/?token=%0Ax%2By",
                Protocol::Wamp1,
                Header,
                "characters",
            ),
        ] {
            let text = Target::new(url, protocol, place).expect_err(part);
            assert!(text.contains(part) && !text.contains("x+y"), "{text}");
        }
    }

    /// Neither a target shows its token, nor the arguments of a command that has one.
    #[test]
    fn no_token_is_shown_to_a_developer() {
        let forms = ["x+y", "x%2By", "eCt5"];
        for protocol in Protocol::value_variants() {
            for place in TokenPlace::value_variants() {
                let Ok(target) = Target::new(URL, *protocol, *place) else {
                    continue;
                };
                let place = place.to_possible_value().expect("it has a name");
                let line = |command: String| {
                    let options = [
                        "--protocol",
                        protocol.name(),
                        "--token-in",
                        place.get_name(),
                    ];
                    let line = format!("newswire {command} {}", options.join(" "));
                    let words: Vec<_> = line.split(' ').map(OsString::from).collect();
                    format!("{:?}", super::super::parse(words).expect("good"))
                };
                for shown in [
                    format!("{target:?}"),
                    line(format!("subscribe {URL} t")),
                    line(format!("load {URL}")),
                ] {
                    let is_hidden = forms.iter().all(|form| !shown.contains(form));
                    assert!(is_hidden && shown.contains("h:1/p"), "{shown}");
                }
            }
        }
    }

    #[test]
    fn topics_stand_in_the_query_of_a_stream() {
        let with = |url, topics: &[&str]| {
            let target = Target::new(url, Protocol::Sse, TokenPlace::Url).expect("good");
            let request =
                stream_request(&target.request(), topics.iter().copied(), Wish::default());
            let line = request.lines().next().map(str::to_owned);
            line.expect("a line")
        };
        assert_eq!(with("http://h", &["a"]), "GET /?topic=a HTTP/1.1");
        assert_eq!(
            with(URL, &["a b", "é&+"]),
            "GET /p?token=x%2By&a=b&topic=a%20b&topic=%C3%A9%26%2B HTTP/1.1"
        );
        let request = target(Protocol::Sse, TokenPlace::Url).request();
        assert!(request.contains("\r\nAccept: text/event-stream\r\n"));
        let wish = Wish {
            since: Some("abcdefgh-7"),
            last: Some(3),
        };
        let request = stream_request(&request, ["a"], wish);
        assert!(request.starts_with("GET /p?token=x%2By&a=b&topic=a&last=3 HTTP/1.1\r\n"));
        assert!(request.ends_with("\r\nLast-Event-ID: abcdefgh-7\r\n\r\n"));
    }
}
