//! An answer of the admin and publish listeners: its status, what all of them have in common, and the refusals.
//!
//! Never here: which answer a request gets, the order of the bytes (`wire/http`), and any part of the request,
//! because a token may be in it.

use std::borrow::Cow;

use crate::limits::PREFLIGHT_SECONDS;
use crate::stats::HttpStatus;
use crate::wire::http::{CLOSE, Content, HttpAnswer};
use crate::wire::json::{self, Object};

const JSON: &str = "application/json";

/// The lines of every answer. No cache keeps the answer, no browser guesses at its type, and a page does not
/// tell other servers its address, because a token may be in it.
const ALWAYS: &str = "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
                      Referrer-Policy: no-referrer\r\nCross-Origin-Resource-Policy: same-origin\r\n";

/// One answer.
#[derive(Debug)]
pub struct Response {
    status: HttpStatus,
    content_type: &'static str,
    /// Whole lines that only this answer has.
    headers: Cow<'static, str>,
    body: Cow<'static, [u8]>,
    /// True exactly when the connection ends with this answer.
    closes: bool,
}

impl Response {
    /// A 200 with a JSON object that has the members that `fill` puts into it.
    pub fn object(fill: impl FnOnce(&mut Object<'_>)) -> Self {
        Self::json(json::text(fill))
    }

    /// A 200 with JSON.
    pub fn json(body: String) -> Self {
        Self::with_type(JSON, body.into_bytes().into())
    }

    /// A 204 that tells a browser that a page may publish, and which headers it may send.
    pub fn preflight() -> Self {
        Self {
            status: HttpStatus::NoContent,
            headers: format!(
                "Access-Control-Allow-Methods: POST\r\n\
                 Access-Control-Allow-Headers: Authorization, Content-Type\r\n\
                 Access-Control-Max-Age: {PREFLIGHT_SECONDS}\r\n"
            )
            .into(),
            ..Self::with_type("", (&[][..]).into())
        }
    }

    /// A 200 with a body of this type.
    pub fn with_type(content_type: &'static str, body: Cow<'static, [u8]>) -> Self {
        Self {
            status: HttpStatus::Ok,
            content_type,
            headers: "".into(),
            body,
            closes: false,
        }
    }

    /// A 200 with a page. `policy` says what a browser may do for it (CSP).
    pub fn page(body: &'static str, policy: &str) -> Self {
        Self {
            headers: format!("Content-Security-Policy: {policy}\r\n").into(),
            ..Self::with_type("text/html; charset=utf-8", body.as_bytes().into())
        }
    }

    /// A refusal: what is wrong, and what the client can do.
    pub fn refusal(status: HttpStatus, error: &str, hint: &str) -> Self {
        Self::refusal_at(status, error, hint, None)
    }

    /// A refusal that also says where the fault is, as one more member: its name and its number.
    pub fn refusal_at(
        status: HttpStatus,
        error: &str,
        hint: &str,
        at: Option<(&str, usize)>,
    ) -> Self {
        let body = json::text(|body| {
            body.put("error", error).put("hint", hint);
            if let Some((what, number)) = at {
                body.put(what, number);
            }
        });
        let headers = match status {
            // RFC 9110 s. 15.5.2. `Basic` would make browsers ask for a password.
            HttpStatus::Unauthorized => "WWW-Authenticate: Bearer realm=\"newswire\"\r\n",
            HttpStatus::ServiceUnavailable => "Retry-After: 5\r\n",
            _ => "",
        };
        Self {
            status,
            content_type: JSON,
            headers: headers.into(),
            body: body.into_bytes().into(),
            closes: false,
        }
    }

    /// Adds the methods that are allowed (RFC 9110 s. 15.5.6).
    pub fn allowing(mut self, methods: &str) -> Self {
        self.headers = format!("Allow: {methods}\r\n").into();
        self
    }

    /// Ends the connection with this answer. The rest of the request is not read.
    pub fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    /// Returns the status.
    pub fn status(&self) -> HttpStatus {
        self.status
    }

    /// Returns true when the connection ends with this answer.
    pub fn closes(&self) -> bool {
        self.closes
    }

    /// Returns the body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Appends the answer's bytes. `more` has further whole lines. The answer to a HEAD has no body.
    pub fn encode(&self, more: &str, is_head: bool, keeps_alive: bool, out: &mut Vec<u8>) {
        let connection = match keeps_alive {
            true => "Connection: keep-alive\r\n",
            false => CLOSE,
        };
        let answer = HttpAnswer {
            status: status_line(self.status),
            lines: &[&self.headers, more, ALWAYS, connection],
            // RFC 9110 s. 8.6: none in a 204.
            content: (self.status != HttpStatus::NoContent).then_some(Content {
                media_type: self.content_type,
                body: &self.body,
                lines: "",
            }),
        };
        answer.encode(is_head, out);
    }
}

/// Returns a status as the first line of an answer has it: number and phrase.
fn status_line(status: HttpStatus) -> &'static str {
    match status {
        HttpStatus::Ok => "200 OK",
        HttpStatus::NoContent => "204 No Content",
        HttpStatus::SwitchingProtocols => "101 Switching Protocols",
        HttpStatus::BadRequest => "400 Bad Request",
        HttpStatus::Unauthorized => "401 Unauthorized",
        HttpStatus::Forbidden => "403 Forbidden",
        HttpStatus::NotFound => "404 Not Found",
        HttpStatus::MethodNotAllowed => "405 Method Not Allowed",
        HttpStatus::RequestTimeout => "408 Request Timeout",
        HttpStatus::LengthRequired => "411 Length Required",
        HttpStatus::ContentTooLarge => "413 Content Too Large",
        HttpStatus::UnsupportedMediaType => "415 Unsupported Media Type",
        HttpStatus::HeadTooLarge => "431 Request Header Fields Too Large",
        HttpStatus::NotImplemented => "501 Not Implemented",
        HttpStatus::ServiceUnavailable => "503 Service Unavailable",
        HttpStatus::HttpVersion => "505 HTTP Version Not Supported",
    }
}
