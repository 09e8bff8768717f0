//! A small blocking HTTP client for the admin listeners of workers: one request, one answer, within a time.
//!
//! Never here: names of hosts, TLS, trying again.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::now;
use crate::limits;
use crate::wire::http::answer;
use crate::wire::token::Token;

/// A worker's admin listener.
#[derive(Clone, Debug)]
pub struct WorkerDesk {
    /// Where it listens.
    pub address: SocketAddr,
    /// What the parent shows there.
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
            match stream.read(&mut piece) {
                Ok(0) => break,
                Ok(n) => answer.extend_from_slice(&piece[..n]),
                // A signal, or a machine that stood still: the time that is left says how long to wait on.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
            if answer.len() > limits::WORKER_ANSWER_BYTES_MAX {
                return None;
            }
        }
        let (status, body) = answer::parse(&answer)?;
        (status == 200).then_some(body)
    }
}
