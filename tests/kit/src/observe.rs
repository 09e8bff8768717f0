//! What a test sees of a server from outside: its answers as bytes, its counters, its memory and its
//! processor time; and publishers and subscribers in large numbers.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;

use super::raw::server_frame;
use super::stream::Patient;
use super::web::Answer;
use super::{Client, PATIENCE, Server, TOKEN, binary, wait_until};

/// The head of a good upgrade to `target`, with `headers` (each ended by CRLF) among the others.
pub fn upgrade(target: &str, headers: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
    )
}

/// The status of the answer that is read from `stream`, and the answer itself.
pub fn answer(stream: &mut TcpStream) -> (u16, String) {
    let answer = Answer::read(&mut BufReader::new(Patient(stream)));
    (answer.status, answer.head + &answer.body)
}

/// The value of `name` in a summary; what is not in it has not happened.
pub fn counted(summary: &str, name: &str) -> u64 {
    assert!(summary.contains("\ncounted "), "no counters: {summary}");
    summary
        .split_whitespace()
        .find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        .map_or(0, |value| value.parse().expect("a number"))
}

/// The frame of an event, as the server has to send it.
pub fn event_frame(topic: &str, data: &str) -> Vec<u8> {
    server_frame(0x81, format!("[8,{topic:?},{data}]").as_bytes())
}

/// The envelope of an event.
pub fn envelope(topic: &str, data: &str) -> String {
    format!("{{\"topic\":{topic:?},\"data\":{data}}}")
}

/// Sends every message from a publisher of its own, and returns when all bytes are with the kernel.
pub fn publish_all(endpoint: &str, messages: impl IntoIterator<Item = impl AsRef<[u8]>>) {
    let context = zmq::Context::new();
    let socket = context.socket(zmq::PUSH).expect("a socket");
    socket
        .set_sndtimeo(PATIENCE.as_millis() as i32)
        .expect("set");
    socket.connect(endpoint).expect("an endpoint");
    for message in messages {
        socket.send(message.as_ref(), 0).expect("taken");
    }
    // The context ends when its socket has lingered.
    drop(socket);
    drop(context);
}

/// A subscriber that compares what comes with what has to come, byte for byte.
pub struct Reader<'a> {
    stream: TcpStream,
    expected: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Of a client that is subscribed and has read everything so far.
    pub fn new(client: Client, expected: &'a [u8]) -> Self {
        Self::of(&client.socket.get_ref().0, expected)
    }

    /// Of a subscriber as bytes. From now on its reads do not wait.
    pub fn of(stream: &TcpStream, expected: &'a [u8]) -> Self {
        let stream = stream.try_clone().expect("a clone");
        stream.set_nonblocking(true).expect("set");
        Self {
            stream,
            expected,
            at: 0,
        }
    }

    /// Reads what there is. Answers whether everything expected has come.
    pub fn read(&mut self, buffer: &mut [u8]) -> bool {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => {
                    assert!(self.is_done(), "its end after {} bytes", self.at);
                    return true;
                }
                Ok(mut n) => {
                    let rest = &self.expected[self.at..];
                    while !rest.starts_with(&buffer[..n]) {
                        let at = (0..n)
                            .find(|&i| rest.get(i) != Some(&buffer[i]))
                            .unwrap_or(n);
                        // On a slow machine the server asks whether the reader is still there.
                        if buffer[at..n].starts_with(&PING) {
                            buffer.copy_within(at + PING.len()..n, at);
                            n -= PING.len();
                            continue;
                        }
                        let shown =
                            |bytes: &[u8]| bytes[..bytes.len().min(200)].escape_ascii().to_string();
                        panic!(
                            "at byte {}: {} instead of {}",
                            self.at + at,
                            shown(&buffer[at..n]),
                            shown(&rest[at.min(rest.len())..])
                        );
                    }
                    self.at += n;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.is_done(),
                Err(error) => panic!("{error} after {} bytes", self.at),
            }
        }
    }

    /// Returns true when everything expected has come.
    pub fn is_done(&self) -> bool {
        self.at == self.expected.len()
    }
}

/// A server's ping.
const PING: [u8; 2] = [0x89, 0];

/// Waits until `frame` has come, and nothing else but pings.
pub fn hear(stream: &mut TcpStream, frame: &[u8]) {
    let mut bytes = vec![0; frame.len()];
    loop {
        stream.read_exact(&mut bytes[..2]).expect("an event");
        if bytes[..2] != PING {
            break;
        }
    }
    stream.read_exact(&mut bytes[2..]).expect("an event");
    let shown = |bytes: &[u8]| bytes[..bytes.len().min(200)].escape_ascii().to_string();
    assert!(
        bytes == frame,
        "{} instead of {}",
        shown(&bytes),
        shown(frame)
    );
}

/// Reads until every reader has everything.
pub fn read_all(readers: &mut [Reader<'_>]) {
    let mut buffer = vec![0; 256 * 1024];
    wait_until("every reader has everything", || {
        let done = readers
            .iter_mut()
            .filter_map(|r| r.read(&mut buffer).then_some(()));
        done.count() == readers.len()
    });
}

impl Server {
    /// Starts one that may open `files` files. It inherits none but the standard ones: libzmq leaves its own open to
    /// children, and other tests of this process have ZeroMQ sockets.
    pub fn start_with_files(files: u32, options: &[&str]) -> Self {
        let close =
            "for fd in /proc/$$/fd/*; do fd=${fd##*/}; [ $fd -le 2 ] || eval \"exec $fd>&-\"; done";
        let mut command = Command::new("bash");
        command
            .args([
                "-c",
                &format!("{close}; ulimit -n {files}; exec \"$0\" \"$@\""),
            ])
            .arg(binary());
        Self::start_with(command, options)
    }

    /// The status that a head gets, and the whole answer.
    pub fn ask(&self, head: &str) -> (u16, String) {
        let mut stream = self.connect();
        // A refusal may come before all is sent.
        let _ = stream.write_all(head.as_bytes());
        answer(&mut stream)
    }

    /// The status of an upgrade with this token.
    pub fn status_of(&self, token: &str) -> u16 {
        self.ask(&upgrade(&format!("/?token={token}"), "")).0
    }

    /// The next line of its standard output.
    pub fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("text");
        assert!(!line.is_empty(), "no more lines");
        line
    }

    /// An upgraded connection as bytes, its WELCOME read.
    pub fn raw_client(&self) -> TcpStream {
        let client = self.client();
        client.socket.get_ref().0.try_clone().expect("a clone")
    }

    /// A subscriber as bytes.
    pub fn raw_subscriber(&self, topics: &[&str]) -> TcpStream {
        let client = self.subscriber(topics);
        client.socket.get_ref().0.try_clone().expect("a clone")
    }

    /// The most resident memory that it has ever had, in bytes.
    pub fn peak_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("it runs");
        let line = status
            .lines()
            .find(|l| l.starts_with("VmHWM:"))
            .expect("a line");
        let kib = line.split_whitespace().nth(1).expect("a number");
        kib.parse::<usize>().expect("a number") * 1024
    }

    /// As [`Server::files_left`], once it stands still: libzmq opens and closes files on its own.
    pub fn files_left_at_rest(&self, limit: usize) -> usize {
        let mut seen = Vec::new();
        wait_until("the file table is at rest", || {
            seen.push(self.files_left(limit));
            seen.len() >= 5
                && seen[seen.len() - 5..]
                    .iter()
                    .all(|n| Some(n) == seen.last())
        });
        self.files_left(limit)
    }

    /// How many files it can still open, of `files` that it may. It may have inherited others, whose
    /// numbers are above.
    pub fn files_left(&self, files: usize) -> usize {
        let folder = format!("/proc/{}/fd", self.pid());
        let open = std::fs::read_dir(folder).expect("it runs");
        let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        files - numbers.filter(|number: &usize| *number < files).count()
    }

    /// The processor time that it has used, in ticks of (on every usual system) 10 ms.
    pub fn processor_ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()));
        let stat = stat.expect("it runs");
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        // `utime` and `stime` are the 14th and 15th field; the name was the second.
        let ticks = fields.split_whitespace().skip(11).take(2);
        ticks.map(|n| n.parse::<u64>().expect("a number")).sum()
    }

    /// A good upgrade's target.
    pub fn target() -> String {
        format!("/?token={TOKEN}")
    }
}
