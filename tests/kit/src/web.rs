//! HTTP: requests as they are written, answers as they come.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::{PATIENCE, Server};

/// An answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// All lines of its head, the empty one included.
    pub head: String,
    /// Its body, as long as `Content-Length` said.
    pub body: String,
}

impl Answer {
    /// One without a body. `None` when its first line is not one of HTTP/1.1.
    pub fn of_head(head: String) -> Option<Self> {
        let (status, _) = head.strip_prefix("HTTP/1.1 ")?.split_once(' ')?;
        Some(Self {
            status: status.parse().ok().filter(|_| status.len() == 3)?,
            head,
            body: String::new(),
        })
    }

    /// The values of a header, names being the same in any case.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let headers = self.head.lines().skip(1);
        let headers = headers.filter_map(|line| line.split_once(':'));
        let mine = headers.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        mine.map(|(_, value)| value.trim()).collect()
    }

    /// How long its body is to be; `None` when its head has two lengths, or a bad one.
    pub fn body_bytes(&self) -> Option<usize> {
        match self.values("content-length")[..] {
            [] => Some(0),
            [length] => length.parse().ok(),
            _ => None,
        }
    }

    /// Its body, which is JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The next one of a connection.
    pub fn read(stream: &mut impl BufRead) -> Self {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let n = stream.read_line(&mut head).expect("a line");
            assert!(n > 0, "an end behind {head:?}");
        }
        let mut answer = Self::of_head(head).expect("a status");
        let mut body = vec![0; answer.body_bytes().expect("one length")];
        stream.read_exact(&mut body).expect("a body");
        answer.body = String::from_utf8(body).expect("text");
        answer
    }
}

/// A connection.
pub fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream.set_nodelay(true).expect("set");
    stream
}

/// One request on a connection of its own. `lines` are headers, each ended by CRLF.
pub fn ask(address: SocketAddr, method: &str, path: &str, lines: &str, body: &str) -> Answer {
    let mut stream = dial(address);
    let length = match method {
        "POST" => format!("Content-Length: {}\r\n", body.len()),
        _ => String::new(),
    };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{length}{lines}\r\n{body}"
    );
    // It may be answered before all of it is sent.
    let _ = stream.write_all(request.as_bytes());
    Answer::read(&mut BufReader::new(stream))
}

impl Server {
    /// The admin listener's address.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.expect("there is one")
    }

    /// A GET of the admin listener.
    pub fn get(&self, path: &str) -> Answer {
        ask(self.admin_address(), "GET", path, "", "")
    }

    /// A POST of JSON to the admin listener.
    pub fn post(&self, path: &str, body: &str) -> Answer {
        let lines = "Content-Type: application/json\r\n";
        ask(self.admin_address(), "POST", path, lines, body)
    }

    /// The value of a metric, as it stands in the text.
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").body;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let line = line.unwrap_or_else(|| panic!("no {name}: {text}"));
        line.parse().expect("a number")
    }
}
