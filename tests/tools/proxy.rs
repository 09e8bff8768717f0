//! A proxy in front of newswire, as offices have them: it passes plain HTTP on, and refuses WebSockets or lets them
//! through. It remembers what it was asked for, as the log of a proxy does.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// It listens until the tests end.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    refuses: AtomicBool,
    refused: AtomicUsize,
    /// Everything is refused.
    is_shut: AtomicBool,
    /// The first line of each request.
    asked: Mutex<Vec<String>>,
    /// All connections of clients.
    clients: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Lets everything through to `server`.
    pub fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let shared = Arc::new(Shared {
            server,
            refuses: AtomicBool::new(false),
            refused: AtomicUsize::new(0),
            is_shut: AtomicBool::new(false),
            asked: Mutex::default(),
            clients: Mutex::default(),
        });
        let proxy = Self {
            address: listener.local_addr().expect("bound"),
            shared: Arc::clone(&shared),
        };
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&shared);
                // Either side may leave at any time.
                thread::spawn(move || drop(pass_on(client, &shared)));
            }
        });
        proxy
    }

    /// Lets everything through but WebSockets.
    pub fn that_refuses_websockets(server: SocketAddr) -> Self {
        let proxy = Self::to(server);
        proxy.refuse_websockets(true);
        proxy
    }

    /// Whether new WebSockets are refused.
    pub fn refuse_websockets(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::SeqCst);
    }

    /// How many WebSockets it has refused.
    pub fn refused(&self) -> usize {
        self.shared.refused.load(Ordering::SeqCst)
    }

    /// Cuts the connections that there are.
    pub fn cut(&self) {
        for client in self.shared.clients.lock().expect("nobody panics").drain(..) {
            let _ = client.shutdown(Shutdown::Both);
        }
    }

    /// Cuts the connections that there are, and lets nothing through until [`Proxy::open`].
    pub fn shut(&self) {
        self.shared.is_shut.store(true, Ordering::SeqCst);
        self.cut();
    }

    /// Lets through what it let through before it was shut.
    pub fn open(&self) {
        self.shared.is_shut.store(false, Ordering::SeqCst);
    }

    /// The first lines of all requests so far.
    pub fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().expect("nobody panics").clone()
    }
}

fn pass_on(mut client: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let known = client.try_clone()?;
    shared.clients.lock().expect("nobody panics").push(known);
    let mut head = Vec::new();
    let mut piece = [0; 4_096];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        match client.read(&mut piece)? {
            0 => return Ok(()),
            n => head.extend_from_slice(&piece[..n]),
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let first = text.lines().next().unwrap_or_default().to_owned();
    shared.asked.lock().expect("nobody panics").push(first);
    if shared.is_shut.load(Ordering::SeqCst) {
        return answer(&mut client, "502 Bad Gateway");
    }
    let is_upgrade = text.to_ascii_lowercase().contains("\r\nupgrade: websocket");
    if is_upgrade && shared.refuses.load(Ordering::SeqCst) {
        shared.refused.fetch_add(1, Ordering::SeqCst);
        return answer(&mut client, "400 Bad Request");
    }
    let Ok(mut server) = TcpStream::connect(shared.server) else {
        return answer(&mut client, "502 Bad Gateway");
    };
    server.write_all(&head)?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
    });
    let copied = std::io::copy(&mut server, &mut client);
    let _ = client.shutdown(Shutdown::Both);
    copied.map(drop)
}

fn answer(client: &mut TcpStream, status: &str) -> std::io::Result<()> {
    write!(
        client,
        "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
}
