//! The few files that newswire hands out to a plain GET or HEAD, and the answer to a health check.
//!
//! Like a WebSocket, a file is found under any path: only the last segment is its name, so that a
//! proxy which keeps a prefix (`/push/newswire.js`) needs no rule of its own for it. Everybody may
//! have a file, a page of any origin may load it as a script or a module, and the connection ends
//! with the answer. No byte of the request is in the answer.
//!
//! Never here: what is in the files (the caller has them), and the answer to any other request.

use super::http::{CLOSE, Content, Head, HttpAnswer};
use crate::limits::FILE_CACHE_SECONDS;

/// One file, as newswire sends it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct File {
    /// The last segment of its path.
    pub name: &'static str,
    /// The value of `Content-Type`.
    pub content_type: &'static str,
    /// The whole content.
    pub body: String,
    /// The value of `ETag`, quotes included. Another body has another one.
    pub etag: String,
}

/// The last segment of the path that load balancers ask for.
const HEALTH: &str = "healthz";

/// A whole answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Plain {
    /// The answer to a request for a file.
    File(Vec<u8>),
    /// The answer to a health check.
    Health(Vec<u8>),
}

/// Returns the answer to a request for one of `files` (200, or 304 for a client that has the file already) or
/// for `healthz` (200); `None` for every other request.
pub fn answer(head: &Head<'_, '_>, files: &[File]) -> Option<Plain> {
    let is_head = match head.method {
        "GET" => false,
        "HEAD" => true,
        _ => return None,
    };
    let name = head.path().rsplit('/').next()?;
    let mut out = Vec::new();
    if name == HEALTH {
        health().encode(is_head, &mut out);
        return Some(Plain::Health(out));
    }
    let file = files.iter().find(|file| file.name == name)?;
    // RFC 9110 s. 13.1.2: the comparison is the weak one, since a proxy that packs a body weakens its tag.
    let is_known = head.elements("if-none-match").any(|tag| {
        let tag = tag.strip_prefix(b"W/").unwrap_or(tag);
        tag == file.etag.as_bytes()
    });
    encode(file, is_known, is_head, &mut out);
    Some(Plain::File(out))
}

/// The answer that the admin listener gives too.
fn health() -> HttpAnswer<'static> {
    HttpAnswer {
        status: "200 OK",
        lines: &[CLOSE],
        content: Some(Content {
            media_type: "application/json",
            body: b"{\"status\":\"ok\"}",
            lines: "Cache-Control: no-store\r\n",
        }),
    }
}

fn encode(file: &File, is_known: bool, is_head: bool, out: &mut Vec<u8>) {
    // A page that isolates itself (COEP) takes a script of another origin only with the second line
    // for origins; without `nosniff` a browser may guess at a type.
    let caching = format!(
        "Cache-Control: public, max-age={FILE_CACHE_SECONDS}\r\n\
         ETag: {}\r\n\
         Access-Control-Allow-Origin: *\r\n\
         Cross-Origin-Resource-Policy: cross-origin\r\n\
         X-Content-Type-Options: nosniff\r\n",
        file.etag
    );
    let answer = match is_known {
        true => HttpAnswer {
            status: "304 Not Modified",
            lines: &[CLOSE, &caching],
            content: None,
        },
        false => HttpAnswer {
            status: "200 OK",
            lines: &[CLOSE],
            content: Some(Content {
                media_type: file.content_type,
                body: file.body.as_bytes(),
                lines: &caching,
            }),
        },
    };
    answer.encode(is_head, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::http::NO_LINES;

    /// The answer to the request that begins with `bytes`.
    fn answer(bytes: &[u8], files: &[File]) -> Option<Plain> {
        let mut lines = NO_LINES;
        let head = Head::parse(bytes, 1_000, &mut lines).ok()??;
        super::answer(&head, files)
    }

    fn files() -> Vec<File> {
        let file = |name, etag: &str| File {
            name,
            content_type: "text/plain",
            body: "the body".to_owned(),
            etag: etag.to_owned(),
        };
        vec![file("a.js", "\"1\""), file("b.js", "\"2\"")]
    }

    fn asked(request_line: &str, headers: &str) -> Option<String> {
        let head = format!("{request_line} HTTP/1.1\r\nHost: h\r\n{headers}\r\n");
        let answer = answer(head.as_bytes(), &files())?;
        let (Plain::File(bytes) | Plain::Health(bytes)) = answer;
        Some(String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn a_load_balancer_is_told_that_somebody_is_there() {
        for target in ["/healthz", "/push/healthz", "/healthz?from=lb"] {
            let get = asked(&format!("GET {target}"), "").unwrap();
            assert!(get.starts_with("HTTP/1.1 200 OK\r\n"), "{get}");
            assert!(get.ends_with("\r\n\r\n{\"status\":\"ok\"}"), "{get}");
            let head = asked(&format!("HEAD {target}"), "").unwrap();
            assert_eq!(format!("{head}{{\"status\":\"ok\"}}"), get);
        }
        assert_eq!(asked("POST /healthz", ""), None);
        assert_eq!(asked("GET /healthz/", ""), None);
        let old = answer(b"GET /healthz HTTP/1.0\r\n\r\n", &[]);
        assert!(matches!(old, Some(Plain::Health(_))), "{old:?}");
    }

    #[test]
    fn a_file_is_found_under_any_path() {
        for target in [
            "/b.js",
            "/push/b.js",
            "/b.js?token=secret",
            "http://h/b.js#x",
        ] {
            let answer = asked(&format!("GET {target}"), "").unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(answer.contains("\r\nETag: \"2\"\r\n"), "{answer}");
            assert!(answer.contains("\r\nContent-Length: 8\r\n"), "{answer}");
            assert!(answer.ends_with("\r\n\r\nthe body"), "{answer}");
            assert!(!answer.contains("secret"), "{answer}");
        }
    }

    #[test]
    fn nothing_else_is_a_file() {
        for line in [
            "GET /",
            "GET /b.js/",
            "GET /B.js",
            "GET /?b.js",
            "GET /x?/b.js",
            "POST /b.js",
            "get /b.js",
            "OPTIONS *",
        ] {
            assert_eq!(asked(line, ""), None, "{line}");
        }
        assert_eq!(answer(b"GET /b.js HTTP/1.1\r\nHost: h\r\n", &files()), None);
        assert_eq!(answer(b"\x16\x03\x01", &files()), None);
        assert_eq!(answer(b"GET /b.js HTTP/1.1\r\n\r\n", &[]), None);
    }

    #[test]
    fn a_head_has_the_headers_of_a_get_and_no_body() {
        let get = asked("GET /a.js", "").unwrap();
        let head = asked("HEAD /a.js", "").unwrap();
        assert_eq!(format!("{head}the body"), get);
    }

    #[test]
    fn whoever_has_it_is_not_sent_it_again() {
        for tags in ["\"1\"", "W/\"1\"", "\"0\",  W/\"1\" ", "\"0\" ,\"1\""] {
            let answer = asked("GET /a.js", &format!("if-none-match: {tags}\r\n")).unwrap();
            assert!(answer.starts_with("HTTP/1.1 304 "), "{tags}: {answer}");
            assert!(answer.ends_with("\r\n\r\n"), "{answer}");
            assert!(!answer.contains("Content-Length"), "{answer}");
            assert!(answer.contains("\r\nETag: \"1\"\r\n"), "{answer}");
        }
        for tags in ["\"2\"", "1", "\"11\"", ""] {
            let answer = asked("GET /a.js", &format!("If-None-Match: {tags}\r\n")).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{tags}: {answer}");
        }
    }
}
