//! A small blocking HTTP client for the admin listeners of workers: one request, one answer, within a time.
//!
//! Never here: names of hosts, TLS, trying again.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::now;
use crate::limits;
use crate::wire::token::Token;

/// A worker's admin listener.
#[derive(Clone, Debug)]
pub(super) struct WorkerDesk {
    pub address: SocketAddr,
    pub token: Token,
}

impl WorkerDesk {
    /// Asks with GET. Returns the JSON of a 200.
    pub fn get(&self, target: &str) -> Option<Value> {
        self.ask(&format!("GET {target}"), "")
    }

    /// Sends JSON with POST. Returns the JSON of a 200.
    pub fn post(&self, target: &str, body: &str) -> Option<Value> {
        let length = body.len();
        let lines =
            format!("Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}");
        self.ask(&format!("POST {target}"), &lines)
    }

    /// `rest` is what follows the common lines of the head: further lines, an empty one, and a body.
    fn ask(&self, what: &str, rest: &str) -> Option<Value> {
        let until = now() + Duration::from_secs(limits::WORKER_ANSWER_SECONDS);
        let (address, token) = (self.address, self.token.reveal());
        let end = if rest.is_empty() { "\r\n" } else { rest };
        let request = format!(
            "{what} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n{end}"
        );
        let left = |until: Instant| {
            let left = until.saturating_duration_since(now());
            (!left.is_zero()).then_some(left)
        };
        let mut stream = TcpStream::connect_timeout(&address, left(until)?).ok()?;
        stream.set_write_timeout(Some(left(until)?)).ok()?;
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = Vec::new();
        let mut piece = [0; 16 * 1024];
        loop {
            stream.set_read_timeout(Some(left(until)?)).ok()?;
            match stream.read(&mut piece).ok()? {
                0 => break,
                n => answer.extend_from_slice(&piece[..n]),
            }
            if answer.len() > limits::WORKER_ANSWER_BYTES_MAX {
                return None;
            }
        }
        understand(&answer)
    }
}

/// The JSON of a 200.
fn understand(answer: &[u8]) -> Option<Value> {
    let text = str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200 ")
        .then(|| serde_json::from_str(body).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_json_of_a_200_is_an_answer() {
        assert_eq!(
            understand(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n{\"n\":1}"),
            Some(serde_json::json!({"n": 1}))
        );
        for answer in [
            &b"HTTP/1.1 503 Service Unavailable\r\n\r\n{}"[..],
            b"HTTP/1.1 200 OK\r\n\r\n{",
            b"HTTP/1.1 200 OK\r\n",
            b"",
        ] {
            assert_eq!(understand(answer), None);
        }
    }
}
