//! A request's head, as far as it is needed here.
//!
//! Never here: whether what it asks for exists, or may be had.

use httparse::{EMPTY_HEADER, Error, Header, Request, Status};

use super::response::Response;
use crate::limits::{ADMIN_HEAD_BYTES_MAX, HEADERS_MAX};
use crate::stats::HttpStatus;
use crate::wire::token::Token;

/// A head, borrowed from the bytes of the request.
pub struct Head<'h, 'a> {
    /// As it came.
    pub method: &'a str,
    /// Without query.
    pub path: &'a str,
    /// Behind the `?`, as it came.
    pub query: &'a str,
    /// As it came, query included.
    pub target: &'a str,
    /// In lower case; `None` only from clients of HTTP/1.0.
    pub host: Option<String>,
    is_http_1_0: bool,
    headers: &'h [Header<'a>],
}

fn malformed(error: &str) -> Response {
    let hint =
        "send an HTTP/1.1 request with one Host, without TLS (https:// is a proxy's to speak)";
    Response::refusal(HttpStatus::BadRequest, error, hint).closing()
}

/// Hands a head to `then`, when it has come whole, with its length in bytes; `Ok(None)` until then.
///
/// # Errors
/// The answer to a head that no byte can save.
pub fn read<T>(
    bytes: &[u8],
    then: impl FnOnce(&Head<'_, '_>, usize) -> T,
) -> Result<Option<T>, Response> {
    let bytes = &bytes[..bytes.len().min(ADMIN_HEAD_BYTES_MAX)];
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    let too_large = || {
        let hint =
            format!("send at most {ADMIN_HEAD_BYTES_MAX} bytes of head, in {HEADERS_MAX} lines");
        Response::refusal(
            HttpStatus::HeadTooLarge,
            "the request's head is too large",
            &hint,
        )
        .closing()
    };
    let head_bytes = match request.parse(bytes) {
        Ok(Status::Complete(head_bytes)) => head_bytes,
        Ok(Status::Partial) if bytes.len() >= ADMIN_HEAD_BYTES_MAX => return Err(too_large()),
        Ok(Status::Partial) => return Ok(None),
        Err(Error::TooManyHeaders) => return Err(too_large()),
        Err(Error::Version) => {
            let hint = "speak HTTP/1.1";
            return Err(Response::refusal(
                HttpStatus::HttpVersion,
                "this version of HTTP is not spoken here",
                hint,
            )
            .closing());
        }
        Err(_) => return Err(malformed("the request is malformed")),
    };
    let head = check(&request)?;
    Ok(Some(then(&head, head_bytes)))
}

fn check<'h, 'a>(request: &'h Request<'_, 'a>) -> Result<Head<'h, 'a>, Response> {
    let (Some(method), Some(target), Some(version)) =
        (request.method, request.path, request.version)
    else {
        return Err(malformed("the request is malformed"));
    };
    let is_http_1_0 = version == 0;
    let mut head = Head {
        method,
        path: "",
        query: "",
        target,
        host: None,
        is_http_1_0,
        headers: request.headers,
    };
    // RFC 9112 s. 3.2: exactly one `Host`. One of HTTP/1.0 may have none.
    head.host = match (head.only("host"), is_http_1_0) {
        (Ok(Some(host)), _) => Some(host.to_ascii_lowercase()),
        (Ok(None), true) => None,
        _ => return Err(malformed("there has to be one Host")),
    };
    // RFC 9112 s. 3.2.2: the whole address may stand there.
    let local = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
            rest.find(['/', '?']).map_or("/", |at| &rest[at..])
        }
        _ => target,
    };
    let local = local.split('#').next().unwrap_or_default();
    (head.path, head.query) = local.split_once('?').unwrap_or((local, ""));
    Ok(head)
}

impl<'a> Head<'_, 'a> {
    /// The value of each line with this name, which is in lower case; what is not UTF-8 has none.
    fn values(&self, name: &str) -> impl Iterator<Item = Option<&'a str>> {
        let lines = self
            .headers
            .iter()
            .filter(move |line| line.name.eq_ignore_ascii_case(name));
        lines.map(|line| str::from_utf8(line.value).ok().map(str::trim))
    }

    /// The value of what may stand once; `Err` where it stands more often, or is no text.
    pub fn only(&self, name: &str) -> Result<Option<&'a str>, ()> {
        let mut values = self.values(name);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(Some(value)), None) => Ok(Some(value)),
            _ => Err(()),
        }
    }

    /// Whether a list has this word, in any case.
    pub fn has(&self, name: &str, word: &str) -> bool {
        let lines = self.values(name).flatten();
        lines
            .flat_map(|line| line.split(','))
            .any(|element| element.trim().eq_ignore_ascii_case(word))
    }

    /// Whether there is such a line.
    pub fn is_said(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    /// RFC 9112 s. 9.3
    pub fn keeps_alive(&self) -> bool {
        if self.is_http_1_0 {
            return self.has("connection", "keep-alive");
        }
        !self.has("connection", "close")
    }

    /// The token of `Authorization: Bearer`; RFC 6750 s. 2.1
    pub fn bearer(&self) -> Option<Token> {
        let (scheme, token) = self.only("authorization").ok()??.split_once(' ')?;
        let token = token.trim_start();
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| Token::new(token))
    }

    /// The value of a query's key; the last one counts, as for a client's token.
    pub fn asked(&self, key: &str) -> Option<&'a str> {
        let pairs = self.query.rsplit('&').filter_map(|p| p.split_once('='));
        pairs
            .filter(|&(name, _)| name == key)
            .map(|(_, value)| value)
            .next()
    }

    /// In bytes, how long the body is; `None` where nothing says so.
    ///
    /// # Errors
    /// It is said in a way that is not understood here, or that others may understand otherwise.
    pub fn body_bytes(&self) -> Result<Option<usize>, Response> {
        if self.is_said("transfer-encoding") {
            // RFC 9112 s. 6.1
            if !self.has("transfer-encoding", "chunked") {
                return Err(Response::refusal(
                    HttpStatus::NotImplemented,
                    "this Transfer-Encoding is not known here",
                    "send the body as it is, with a Content-Length",
                )
                .closing());
            }
            return Err(Response::refusal(
                HttpStatus::LengthRequired,
                "the body comes in chunks, without a length",
                "send a Content-Length (curl: --data-binary @FILE, and not -T -)",
            )
            .closing());
        }
        let length = match self.only("content-length") {
            Ok(None) => return Ok(None),
            Ok(Some(length)) if length.bytes().all(|b| b.is_ascii_digit()) => length.parse().ok(),
            _ => None,
        };
        length
            .map(Some)
            .ok_or_else(|| malformed("Content-Length is not one number"))
    }

    /// The same upgrade for the engine's session, with nothing in it that has been judged here already:
    /// the page's origin is not one of those where clients come from, and no token is needed again.
    pub fn upgrade(&self) -> Vec<u8> {
        let mut head = b"GET / HTTP/1.1\r\nHost: admin\r\n".to_vec();
        let kept = |name: &str| {
            name.len() >= 14 && name[..14].eq_ignore_ascii_case("sec-websocket-")
                || ["upgrade", "connection"]
                    .iter()
                    .any(|kept| name.eq_ignore_ascii_case(kept))
        };
        for line in self.headers.iter().filter(|line| kept(line.name)) {
            head.extend_from_slice(line.name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(line.value);
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}
