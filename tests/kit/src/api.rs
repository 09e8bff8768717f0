//! An API that knows tokens, small enough to answer wrongly in every way.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// One request, as it came.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asked {
    /// On which connection, counted from 0 in the order in which they came.
    pub connection: usize,
    /// How many came on it before.
    pub earlier: usize,
    /// The request line.
    pub line: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
}

impl Asked {
    /// The value of a header, if it came once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut all = self.headers.iter().filter(|(n, _)| n == name);
        let value = all.next().map(|(_, value)| value.as_str());
        assert_eq!(all.next(), None, "{name} came twice");
        value
    }

    /// What came as `Authorization`.
    pub fn token(&self) -> &str {
        self.header("authorization").expect("a token")
    }
}

/// What it does with a request.
#[derive(Clone, Debug)]
pub enum Does {
    /// Sends these bytes, and reads on.
    Answer(Vec<u8>),
    /// Sends these bytes, and ends the connection.
    End(Vec<u8>),
    /// Sends these bytes, and then nothing, until the client has gone.
    Stall(Vec<u8>),
    /// Sends these bytes for as long as they are taken.
    Flood(Vec<u8>),
}

impl Does {
    /// A status, and nothing else.
    pub fn status(status: u16) -> Self {
        let head = format!("HTTP/1.1 {status} S\r\nContent-Length: 0\r\n\r\n");
        Self::Answer(head.into())
    }

    /// A status with a body.
    pub fn body(status: u16, kind: &str, body: &str) -> Self {
        let length = body.len();
        let text = format!(
            "HTTP/1.1 {status} S\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        Self::Answer(text.into())
    }

    /// 200 with JSON.
    pub fn json(body: &str) -> Self {
        Self::body(200, "application/json; charset=utf-8", body)
    }
}

/// The API. It listens until the process ends.
pub struct Api {
    /// Where.
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    connections: Arc<AtomicUsize>,
}

impl Api {
    /// Listens, and does with each request what `respond` says, on a thread for each connection.
    pub fn start(respond: impl Fn(&Asked) -> Does + Send + Sync + 'static) -> Self {
        Self::launch(None, respond)
    }

    /// The same behind TLS.
    pub fn start_tls(
        config: ServerConfig,
        respond: impl Fn(&Asked) -> Does + Send + Sync + 'static,
    ) -> Self {
        Self::launch(Some(Arc::new(config)), respond)
    }

    fn launch(
        tls: Option<Arc<ServerConfig>>,
        respond: impl Fn(&Asked) -> Does + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let api = Self {
            address: listener.local_addr().expect("bound"),
            asked: Arc::default(),
            connections: Arc::default(),
        };
        let (asked, connections) = (Arc::clone(&api.asked), Arc::clone(&api.connections));
        let respond = Arc::new(respond);
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let connection = connections.fetch_add(1, Ordering::SeqCst);
                let (asked, respond) = (Arc::clone(&asked), Arc::clone(&respond));
                let tls = tls.clone();
                thread::spawn(move || {
                    let note = |request: &Asked| {
                        asked.lock().expect("no panic").push(request.clone());
                        respond(request)
                    };
                    match tls {
                        None => serve(stream, connection, note),
                        Some(config) => {
                            let tls = ServerConnection::new(config).expect("a configuration");
                            serve(StreamOwned::new(tls, stream), connection, note);
                        }
                    }
                });
            }
        });
        api
    }

    /// Its address as a URL.
    pub fn url(&self) -> String {
        format!("http://{}/check", self.address)
    }

    /// What it was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// One connection.
fn serve<S: Read + Write>(stream: S, connection: usize, respond: impl Fn(&Asked) -> Does) {
    let mut stream = BufReader::new(stream);
    for earlier in 0.. {
        let Some((line, headers)) = read_head(&mut stream) else {
            return;
        };
        let asked = Asked {
            connection,
            earlier,
            line,
            headers,
        };
        let does = respond(&asked);
        let (Does::Answer(bytes) | Does::End(bytes) | Does::Stall(bytes) | Does::Flood(bytes)) =
            &does;
        loop {
            let written = stream.get_mut().write_all(bytes);
            if written.and_then(|()| stream.get_mut().flush()).is_err() {
                return;
            }
            if !matches!(does, Does::Flood(_)) {
                break;
            }
        }
        match does {
            Does::End(_) => return,
            Does::Stall(_) => {
                // Its end, and nothing else, is what comes.
                let _ = stream.read(&mut [0; 1]);
                return;
            }
            _ => {}
        }
    }
}

/// The request line and the headers of the next request; `None` at the end.
fn read_head(stream: &mut impl BufRead) -> Option<(String, Vec<(String, String)>)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end_matches(['\r', '\n']);
        if line.is_empty() {
            break;
        }
        lines.push(line.to_owned());
    }
    let mut lines = lines.into_iter();
    let first = lines.next()?;
    let headers = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    Some((first, headers.collect()))
}
