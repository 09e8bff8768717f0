//! An answer, and the bytes that it becomes.
//!
//! Never here: which answer a request gets, and anything of the request: a token may be in it.

use std::borrow::Cow;

use serde_json::json;

use crate::limits::PREFLIGHT_SECONDS;
use crate::stats::HttpStatus;

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
        let mut body = json!({"error": error, "hint": hint});
        if let Some((what, number)) = at {
            body[what] = number.into();
        }
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
            body: body.to_string().into_bytes().into(),
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
        // RFC 9110 s. 8.6: none in a 204.
        let content = match self.status {
            HttpStatus::NoContent => String::new(),
            _ => format!(
                "Content-Type: {}\r\nContent-Length: {}\r\n",
                self.content_type,
                self.body.len()
            ),
        };
        let head = format!(
            "HTTP/1.1 {} {}\r\n{}{more}{ALWAYS}Connection: {}\r\n{content}\r\n",
            self.status.name(),
            phrase(self.status),
            self.headers,
            if keeps_alive { "keep-alive" } else { "close" },
        );
        out.extend_from_slice(head.as_bytes());
        if !is_head {
            out.extend_from_slice(&self.body);
        }
    }
}

fn phrase(status: HttpStatus) -> &'static str {
    match status {
        HttpStatus::Ok => "OK",
        HttpStatus::NoContent => "No Content",
        HttpStatus::SwitchingProtocols => "Switching Protocols",
        HttpStatus::BadRequest => "Bad Request",
        HttpStatus::Unauthorized => "Unauthorized",
        HttpStatus::Forbidden => "Forbidden",
        HttpStatus::NotFound => "Not Found",
        HttpStatus::MethodNotAllowed => "Method Not Allowed",
        HttpStatus::RequestTimeout => "Request Timeout",
        HttpStatus::LengthRequired => "Length Required",
        HttpStatus::ContentTooLarge => "Content Too Large",
        HttpStatus::UnsupportedMediaType => "Unsupported Media Type",
        HttpStatus::HeadTooLarge => "Request Header Fields Too Large",
        HttpStatus::NotImplemented => "Not Implemented",
        HttpStatus::ServiceUnavailable => "Service Unavailable",
        HttpStatus::HttpVersion => "HTTP Version Not Supported",
    }
}
