//! An answer, and the bytes that it becomes.
//!
//! Never here: which answer a request gets, and anything of the request: a token may be in it.

use std::borrow::Cow;

use crate::limits::PREFLIGHT_SECONDS;
use crate::stats::HttpStatus;
use crate::wire::http::{Answer, CLOSE, Content};
use crate::wire::json::{self, Object};

const JSON: &str = "application/json";

/// What every answer says. It is never kept, never taken for something else than it says, and a page
/// that it is tells nobody where it came from: a token may be in its address.
const ALWAYS: &str = "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
                      Referrer-Policy: no-referrer\r\nCross-Origin-Resource-Policy: same-origin\r\n";

/// An answer.
#[derive(Debug)]
pub struct Response {
    status: HttpStatus,
    content_type: &'static str,
    /// Whole lines.
    headers: Cow<'static, str>,
    body: Cow<'static, [u8]>,
    /// True exactly when nothing more can be asked on the connection.
    closes: bool,
}

impl Response {
    /// 200 with a JSON object that has the members that `fill` puts into it.
    pub fn object(fill: impl FnOnce(&mut Object<'_>)) -> Self {
        Self::json(json::text(fill))
    }

    /// 200 with JSON.
    pub fn json(body: String) -> Self {
        Self::with_type(JSON, body.into_bytes().into())
    }

    /// 204: a page may publish, with what a page has to send.
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

    /// 200 with a body of a type.
    pub fn with_type(content_type: &'static str, body: Cow<'static, [u8]>) -> Self {
        Self {
            status: HttpStatus::Ok,
            content_type,
            headers: "".into(),
            body,
            closes: false,
        }
    }

    /// 200 with a page, and with what a browser may do for it (CSP).
    pub fn page(body: &'static str, policy: &str) -> Self {
        Self {
            headers: format!("Content-Security-Policy: {policy}\r\n").into(),
            ..Self::with_type("text/html; charset=utf-8", body.as_bytes().into())
        }
    }

    /// Another status: what is wrong, and what to do.
    pub fn refusal(status: HttpStatus, error: &str, hint: &str) -> Self {
        Self::refusal_at(status, error, hint, None)
    }

    /// The same, with one number more: where.
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

    /// With what RFC 9110 s. 15.5.6 asks for.
    pub fn allowing(mut self, methods: &str) -> Self {
        self.headers = format!("Allow: {methods}\r\n").into();
        self
    }

    /// The last one of its connection: the rest of the request is not read.
    pub fn closing(mut self) -> Self {
        self.closes = true;
        self
    }

    /// Its status.
    pub fn status(&self) -> HttpStatus {
        self.status
    }

    /// Whether it is the last one of its connection.
    pub fn closes(&self) -> bool {
        self.closes
    }

    /// Its body.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Appends its bytes, with the whole lines of `more`; without the body, to a HEAD.
    pub fn encode(&self, more: &str, is_head: bool, keeps_alive: bool, out: &mut Vec<u8>) {
        let connection = match keeps_alive {
            true => "Connection: keep-alive\r\n",
            false => CLOSE,
        };
        let answer = Answer {
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

/// A status as the first line of an answer names it: number and phrase.
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
