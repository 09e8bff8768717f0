//! A request's head: its bytes are parsed once, and everybody who needs something of it asks here.
//!
//! A head that cannot be parsed is a [`HeadFault`]. The listener that received it says what its client is
//! told about the fault.
//!
//! Never here: what a request asks for, whether it may have that, and what it is answered.

use httparse::{EMPTY_HEADER, Error, Header, Request, Status};

use crate::limits::HEADERS_MAX;

/// Room for the lines of one head. [`Head::parse`] fills it.
pub type Lines<'a> = [Header<'a>; HEADERS_MAX];

/// Room in which no line stands yet.
pub const NO_LINES: Lines<'static> = [EMPTY_HEADER; HEADERS_MAX];

/// Why no byte that may still come makes a good head of what has come. All are the client's fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HeadFault {
    /// The head is over its bound, in bytes or in lines.
    TooLarge,
    /// The request line names another version of HTTP than 1.x.
    OtherVersion,
    /// No version of HTTP stands where the request line should name one.
    NoVersion,
    /// Anything else that is not HTTP.
    Syntax,
}

/// Why nobody knows where a request's body ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BodyFault {
    /// The body comes in chunks.
    Chunked,
    /// `Transfer-Encoding` names another coding.
    OtherCoding,
    /// `Content-Length` is not one number.
    NotANumber,
}

/// A header field stands more than once where it may stand once, or its value is not UTF-8.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unclear;

/// A whole head, borrowed from the bytes of the request. It has no `Debug`: a token may be in it.
pub struct Head<'h, 'a> {
    /// The method as it came; case counts.
    pub method: &'a str,
    /// The request target as it came, query included.
    pub target: &'a str,
    /// True exactly when the client speaks HTTP/1.0, and not HTTP/1.1.
    pub is_http_1_0: bool,
    /// In bytes, from the first byte of the request. Empty lines before the request line belong to the head
    /// (RFC 9112 s. 2.2).
    pub len: usize,
    lines: &'h [Header<'a>],
}

impl<'h, 'a> Head<'h, 'a> {
    /// Parses a head of at most `bytes_max` bytes. Returns `Ok(None)` while it has not come whole.
    ///
    /// # Errors
    /// Returns the fault as soon as no byte can mend it.
    pub fn parse(
        bytes: &'a [u8],
        bytes_max: usize,
        lines: &'h mut Lines<'a>,
    ) -> Result<Option<Self>, HeadFault> {
        // What is behind the limit must not count, or the answer would depend on how the bytes came.
        let bytes = &bytes[..bytes.len().min(bytes_max)];
        let mut request = Request::new(lines);
        let len = match request.parse(bytes) {
            Ok(Status::Complete(len)) => len,
            Ok(Status::Partial) if bytes.len() >= bytes_max => return Err(HeadFault::TooLarge),
            Ok(Status::Partial) => return Ok(None),
            Err(Error::TooManyHeaders) => return Err(HeadFault::TooLarge),
            Err(Error::Version) if names_a_version(bytes) => return Err(HeadFault::OtherVersion),
            Err(Error::Version) => return Err(HeadFault::NoVersion),
            Err(_) => return Err(HeadFault::Syntax),
        };
        // A head that is complete has all three.
        let (Some(method), Some(target), Some(version)) =
            (request.method, request.path, request.version)
        else {
            return Err(HeadFault::Syntax);
        };
        Ok(Some(Self {
            method,
            target,
            is_http_1_0: version == 0,
            len,
            lines: request.headers,
        }))
    }

    /// Returns the target's path and its query, neither with the `?`. Where the target is a whole URL
    /// (RFC 9112 s. 3.2.2), these are the URL's.
    fn path_and_query(&self) -> (&'a str, &'a str) {
        let local = match self.target.split_once("://") {
            Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
                rest.find(['/', '?']).map_or("/", |at| &rest[at..])
            }
            _ => self.target,
        };
        let local = local.split('#').next().unwrap_or_default();
        local.split_once('?').unwrap_or((local, ""))
    }

    /// Returns the target's path, without the query.
    pub fn path(&self) -> &'a str {
        self.path_and_query().0
    }

    /// Returns the value that the query gives to `key`, as it came. The last one counts, as for a client's
    /// token.
    pub fn query_value(&self, key: &str) -> Option<&'a str> {
        let (_, query) = self.path_and_query();
        let mut pairs = query.rsplit('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|&(name, _)| name == key).map(|(_, value)| value)
    }

    /// Returns each value that the query gives to `key`, as it came and in its order.
    pub fn query_values(&self, key: &'static str) -> impl Iterator<Item = &'a str> + use<'a> {
        let (_, query) = self.path_and_query();
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .filter(move |&(name, _)| name == key)
            .map(|(_, value)| value)
    }

    /// Returns the value of each line with this name, without the white space around it. `name` is in lower
    /// case.
    pub fn values(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> + use<'h, 'a> {
        let lines = self.lines.iter();
        lines
            .filter(move |line| line.name.eq_ignore_ascii_case(name))
            .map(|line| line.value.trim_ascii())
    }

    /// Returns true when there is a line with this name.
    pub fn has(&self, name: &'static str) -> bool {
        self.values(name).next().is_some()
    }

    /// Returns the elements of a list, which may be spread over several lines. Empty elements do not count.
    /// RFC 9110 s. 5.6.1
    pub fn elements(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> + use<'h, 'a> {
        self.values(name)
            .flat_map(|value| value.split(|&byte| byte == b','))
            .map(<[u8]>::trim_ascii)
            .filter(|element| !element.is_empty())
    }

    /// Returns true when a list has this word, in any case.
    pub fn lists(&self, name: &'static str, word: &str) -> bool {
        self.elements(name)
            .any(|element| element.eq_ignore_ascii_case(word.as_bytes()))
    }

    /// Returns the value of a field that may stand once; `None` where it is missing.
    ///
    /// # Errors
    /// The field stands more often, or its value is not UTF-8.
    pub fn text(&self, name: &'static str) -> Result<Option<&'a str>, Unclear> {
        let mut values = self.values(name);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => str::from_utf8(value).map(Some).map_err(|_| Unclear),
            _ => Err(Unclear),
        }
    }

    /// Returns true when another request may follow on the connection. RFC 9112 s. 9.3
    pub fn keeps_alive(&self) -> bool {
        match self.is_http_1_0 {
            true => self.lists("connection", "keep-alive"),
            false => !self.lists("connection", "close"),
        }
    }

    /// Returns true when the head announces a body, of whatever length.
    pub fn announces_body(&self) -> bool {
        self.has("content-length") || self.has("transfer-encoding")
    }

    /// Returns how long the body is, in bytes; `None` where nothing says so.
    ///
    /// # Errors
    /// The length is given in a way that newswire does not understand, or that a proxy may understand
    /// otherwise.
    pub fn body_bytes(&self) -> Result<Option<usize>, BodyFault> {
        // RFC 9112 s. 6.1
        if self.has("transfer-encoding") {
            return Err(match self.lists("transfer-encoding", "chunked") {
                true => BodyFault::Chunked,
                false => BodyFault::OtherCoding,
            });
        }
        let Some(length) = self
            .text("content-length")
            .map_err(|_| BodyFault::NotANumber)?
        else {
            return Ok(None);
        };
        let is_plain = length.bytes().all(|byte| byte.is_ascii_digit());
        let length = length.parse().ok().filter(|_| is_plain);
        length.map(Some).ok_or(BodyFault::NotANumber)
    }
}

/// Returns true when the request line at least says that it is HTTP: `PRI * HTTP/2.0` does, `GET /a b …` and
/// other noise do not.
fn names_a_version(head: &[u8]) -> bool {
    let start = head.trim_ascii_start();
    let line = start.split(|&byte| byte == b'\n').next().unwrap_or(start);
    let mut words = line.split(|&byte| byte == b' ');
    words.nth(2).is_some_and(|word| word.starts_with(b"HTTP/")) && words.next().is_none()
}

/// Returns true when a request, whole or begun, is a HEAD: its answer has no body (RFC 9110 s. 9.3.2).
pub fn is_head(request: &[u8]) -> bool {
    request.trim_ascii_start().starts_with(b"HEAD ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `ask` finds in the head of a request with these lines.
    fn asked<T>(request_line: &str, lines: &str, ask: impl FnOnce(&Head<'_, '_>) -> T) -> T {
        let text = format!("{request_line}\r\n{lines}\r\n");
        let mut lines = NO_LINES;
        let head = Head::parse(text.as_bytes(), 1_000, &mut lines);
        ask(&head.expect("good").expect("whole"))
    }

    #[test]
    fn faults_by_what_is_wrong() {
        for (bytes, fault) in [
            (&b"GET / HTTP/2.0\r\n\r\n"[..], HeadFault::OtherVersion),
            (b"GET / FTP/1.1\r\n\r\n", HeadFault::NoVersion),
            (b"GET /a b HTTP/1.1\r\n\r\n", HeadFault::NoVersion),
            (b"\x16\x03\x01\x02\x00", HeadFault::Syntax),
            (b"GET / HTTP/1.1\r\nHost: 0123456789", HeadFault::TooLarge),
        ] {
            let mut lines = NO_LINES;
            let found = Head::parse(bytes, 30, &mut lines).err();
            assert_eq!(found, Some(fault), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_target_has_a_path_and_a_query() {
        for (target, path, limit) in [
            ("/a/b", "/a/b", None),
            ("/a?limit=1&x&limit=2#limit=3", "/a", Some("2")),
            ("http://h:1?limit=", "", Some("")),
            ("http://h/a", "/a", None),
            ("/a?u=http://h/b", "/a", None),
            ("*", "*", None),
        ] {
            let found = asked(&format!("GET {target} HTTP/1.1"), "", |head| {
                (
                    head.path().to_owned(),
                    head.query_value("limit").map(str::to_owned),
                )
            });
            assert_eq!(
                found,
                (path.to_owned(), limit.map(str::to_owned)),
                "{target}"
            );
        }
    }

    #[test]
    fn a_body_has_one_length_or_none() {
        for (lines, expected) in [
            ("", Ok(None)),
            ("Content-Length: 7\r\n", Ok(Some(7))),
            ("Content-Length: +7\r\n", Err(BodyFault::NotANumber)),
            ("Content-Length: \r\n", Err(BodyFault::NotANumber)),
            (
                "Content-Length: 7\r\nContent-Length: 7\r\n",
                Err(BodyFault::NotANumber),
            ),
            (
                "Content-Length: 99999999999999999999\r\n",
                Err(BodyFault::NotANumber),
            ),
            (
                "Transfer-Encoding: Chunked\r\nContent-Length: 7\r\n",
                Err(BodyFault::Chunked),
            ),
            ("Transfer-Encoding: gzip\r\n", Err(BodyFault::OtherCoding)),
        ] {
            let found = asked("POST / HTTP/1.1", lines, |head| head.body_bytes());
            assert_eq!(found, expected, "{lines}");
        }
    }

    #[test]
    fn a_connection_is_kept_as_its_version_says() {
        for (version, lines, keeps) in [
            ("1.1", "", true),
            ("1.1", "Connection: Upgrade, Close\r\n", false),
            ("1.0", "", false),
            ("1.0", "connection: Keep-Alive\r\n", true),
        ] {
            let line = format!("GET / HTTP/{version}");
            assert_eq!(
                asked(&line, lines, |head| head.keeps_alive()),
                keeps,
                "{line} {lines}"
            );
        }
    }
}
