//! A plain GET or HEAD for one of the few files that newswire hands out, or for `healthz`: what it is
//! answered.
//!
//! Like a WebSocket, a file is found under any path: only the last segment is its name, so that a
//! proxy which keeps a prefix (`/push/newswire.js`) needs no rule of its own for it. Everybody may
//! have a file, a page of any origin may load it as a script or a module, and the connection ends
//! with it. No byte of the request is in the answer.
//!
//! Never here: the files (they are handed in), and what is answered to any other request (`http`).

use httparse::{EMPTY_HEADER, Request};

use crate::limits::{FILE_CACHE_SECONDS, HEADERS_MAX};

/// One file, as it leaves.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct File {
    /// The last segment of its path.
    pub name: &'static str,
    /// The value of `Content-Type`.
    pub content_type: &'static str,
    /// All of it.
    pub body: String,
    /// `"` and `"` included; another for another body.
    pub etag: String,
}

/// The last segment of the path that load balancers ask for.
const HEALTH: &str = "healthz";

/// A whole answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Plain {
    /// That to a request for a file.
    File(Vec<u8>),
    /// That to a health check.
    Health(Vec<u8>),
}

/// The answer to `head` if it asks for one of `files`: 200, or 304 for whoever has it already; or if it
/// asks for `healthz`: 200. `None` for every other request. A HEAD is answered without a body
/// (RFC 9110 s. 9.3.2).
pub fn answer(head: &[u8], files: &[File]) -> Option<Plain> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    if request.parse(head).ok()?.is_partial() {
        return None;
    }
    let has_body = match request.method? {
        "GET" => true,
        "HEAD" => false,
        _ => return None,
    };
    let path = request.path?.split(['?', '#']).next()?;
    let name = path.rsplit('/').next()?;
    if name == HEALTH {
        return Some(Plain::Health(encode_health(has_body)));
    }
    let file = files.iter().find(|file| file.name == name)?;
    let is_known = request
        .headers
        .iter()
        .filter(|line| line.name.eq_ignore_ascii_case("if-none-match"))
        .any(|line| names(line.value, &file.etag));
    Some(Plain::File(encode(file, is_known, has_body)))
}

/// As the admin listener answers it.
fn encode_health(has_body: bool) -> Vec<u8> {
    let body = "{\"status\":\"ok\"}";
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\n\
         Connection: close\r\n\
         Content-Type: application/json\r\n\
         Content-Length: {}\r\n\
         Cache-Control: no-store\r\n\
         \r\n",
        body.len()
    );
    if has_body {
        answer.push_str(body);
    }
    answer.into_bytes()
}

/// RFC 9110 s. 13.1.2: the comparison is the weak one, since a proxy that packs a body weakens its
/// tag.
fn names(list: &[u8], etag: &str) -> bool {
    list.split(|&byte| byte == b',').any(|tag| {
        let tag = tag.trim_ascii();
        tag.strip_prefix(b"W/").unwrap_or(tag) == etag.as_bytes()
    })
}

fn encode(file: &File, is_known: bool, has_body: bool) -> Vec<u8> {
    let File {
        content_type,
        body,
        etag,
        ..
    } = file;
    let (status, content) = match is_known {
        true => ("304 Not Modified", String::new()),
        false => (
            "200 OK",
            format!(
                "Content-Type: {content_type}\r\nContent-Length: {}\r\n",
                body.len()
            ),
        ),
    };
    // A page that isolates itself (COEP) takes a script of another origin only with the second line
    // for origins; without `nosniff` a browser may guess at a type.
    let mut answer = format!(
        "HTTP/1.1 {status}\r\n\
         Connection: close\r\n\
         {content}\
         Cache-Control: public, max-age={FILE_CACHE_SECONDS}\r\n\
         ETag: {etag}\r\n\
         Access-Control-Allow-Origin: *\r\n\
         Cross-Origin-Resource-Policy: cross-origin\r\n\
         X-Content-Type-Options: nosniff\r\n\
         \r\n"
    );
    if has_body && !is_known {
        answer.push_str(body);
    }
    answer.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

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
