//! Very many subscribers on one thread: they connect, upgrade, subscribe and receive.
//!
//! A load test must not measure itself, so a subscriber is a few words: a socket, a state, and the unfinished part
//! of a message, of which only the beginning is kept. The first [`HEAD_BYTES`] of an event are all that a caller gets
//! of it.
//!
//! Never here: what is published, latencies, what is printed, and what the texts are that subscribers say (`speech`).

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use memchr::memmem;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};

use super::super::event_stream::is_plain_stream;
use super::super::past::Wish;
use super::super::protocol::Protocol;
use super::blocks;
use super::frames::{self, Unfinished};
use super::speech::Speech;
use crate::wire::id::EventId;
use crate::wire::token::Token as ClientToken;

/// In bytes of a message's payload that are kept and shown.
pub const HEAD_BYTES: usize = 160;

/// In bytes of an answer to an upgrade.
const ANSWER_BYTES_MAX: usize = 4_096;

/// In source addresses over which connections to a loopback address are spread: each address has some 28,000 ports.
const SOURCES: usize = 200;

const READ_BUFFER_BYTES: usize = 256 * 1024;

/// In bytes, what the kernel is asked to keep for a slow reader (it takes twice as much). With its usual buffers, the
/// kernel would read what the reader does not.
const SLOW_BUFFER_BYTES: usize = 4_096;

/// Opcodes of frames. RFC 6455 s. 5.2
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Where the subscribers connect, and what they send. There is no `Debug`, which would show the request's token.
#[derive(Clone)]
pub struct Course {
    /// The server.
    pub address: SocketAddr,
    /// The upgrade request, whole; or the one for a stream, which names no topic.
    pub request: Vec<u8>,
    /// Subscriber `i` subscribes to topic `i % topics.len()`.
    pub topics: Vec<String>,
}

/// What happened to a subscriber.
#[derive(Debug)]
pub enum FleetEvent<'a> {
    /// The request was accepted, and the first message sent: SUBSCRIBE, or HELLO of WAMP v2.
    Opened,
    /// A text, or an event of a stream: its beginning, and its length in bytes.
    Text(&'a [u8], usize),
    /// The subscriber has no connection any more: the request was refused with this status (0: the answer was another
    /// one than HTTP, or than a stream), or the connection ended (`None`).
    Ended(Option<u16>),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum SubscriberState {
    Upgrading,
    /// The request was accepted, and the subscriber has more to say before it is subscribed.
    Greeting,
    Open,
    Ended,
}

#[derive(Debug)]
struct Subscriber {
    stream: Option<TcpStream>,
    state: SubscriberState,
    /// True exactly when the client was told to stop reading.
    is_stalled: bool,
    partial: Option<Box<Unfinished>>,
}

// A debug build of mio keeps more in a stream.
const _: () = assert!(cfg!(debug_assertions) || size_of::<Subscriber>() <= 16);

/// All subscribers.
pub struct Fleet {
    script: Script,
    poll: Poll,
    readiness: Events,
    seats: Vec<Subscriber>,
    buffer: Vec<u8>,
    /// Subscribers below this number are slow readers.
    slow: usize,
    /// True exactly when the slow readers read only in [`Fleet::sip`].
    is_sipping: bool,
}

/// What all subscribers have to say.
struct Script {
    course: Course,
    speech: Speech,
    /// The positions that subscribers name, as text; `None` while nobody asks for the past.
    sinces: Option<HashMap<usize, String>>,
}

impl Script {
    /// The part of one subscriber.
    fn cue(&self, seat: usize) -> Cue<'_> {
        let topics = &self.course.topics;
        let since = self.sinces.as_ref().and_then(|sinces| sinces.get(&seat));
        // Without a position, there will be one in the server's answer.
        let asks_for_position = self.sinces.is_some() && since.is_none();
        Cue {
            speech: &self.speech,
            topic: &topics[seat % topics.len()],
            wish: Wish {
                since: since.map(String::as_str),
                last: asks_for_position.then_some(0),
            },
        }
    }
}

impl Fleet {
    /// A fleet without subscribers, which will speak WAMP v1.
    ///
    /// # Errors
    /// Those of the poller.
    pub fn new(course: Course) -> io::Result<Self> {
        Self::speaking(Protocol::Wamp1, None, course)
    }

    /// A fleet without subscribers, which will speak `protocol`, and show `ticket` when the server asks for one.
    ///
    /// # Errors
    /// Those of the poller.
    pub fn speaking(
        protocol: Protocol,
        ticket: Option<ClientToken>,
        course: Course,
    ) -> io::Result<Self> {
        Ok(Self {
            script: Script {
                course,
                speech: Speech { protocol, ticket },
                sinces: None,
            },
            poll: Poll::new()?,
            readiness: Events::with_capacity(1_024),
            seats: Vec::new(),
            buffer: vec![0; READ_BUFFER_BYTES],
            slow: 0,
            is_sipping: false,
        })
    }

    /// The subscribers to come ask the server to tell them of the past, and of events that they do not get.
    pub(super) fn ask_for_past(&mut self) {
        self.script.sinces = Some(HashMap::new());
    }

    /// The first `count` of the subscribers to come are slow readers; until [`Fleet::begin_sipping`] they read as all do.
    pub(super) fn have_slow_readers(&mut self, count: usize) {
        self.slow = count;
    }

    /// How many subscribers there are, open or not.
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// Returns true when there is no subscriber.
    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    /// Begins the connection of one more subscriber.
    ///
    /// # Errors
    /// Those of the socket: no descriptor or no port is left.
    pub fn add(&mut self) -> io::Result<()> {
        let seat = self.seats.len();
        let stream = self.dial(seat)?;
        self.seats.push(Subscriber::on(stream));
        Ok(())
    }

    /// Connects a subscriber again whose connection has ended.
    ///
    /// # Errors
    /// As [`Fleet::add`].
    pub fn redial(&mut self, seat: usize) -> io::Result<()> {
        let stream = self.dial(seat)?;
        self.seats[seat] = Subscriber::on(stream);
        Ok(())
    }

    /// The same with the position that the subscriber names, if it has one.
    ///
    /// # Errors
    /// As [`Fleet::add`].
    pub(super) fn redial_since(&mut self, seat: usize, since: Option<EventId>) -> io::Result<()> {
        if let (Some(sinces), Some(since)) = (&mut self.script.sinces, since) {
            sinces.insert(seat, since.to_string());
        }
        self.redial(seat)
    }

    fn dial(&mut self, seat: usize) -> io::Result<TcpStream> {
        let address = self.script.course.address;
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(socket2::Protocol::TCP),
        )?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if seat < self.slow {
            // Before the connection: the window that it begins with cannot be taken back.
            socket.set_recv_buffer_size(SLOW_BUFFER_BYTES)?;
        }
        if address.is_ipv4() && address.ip().is_loopback() {
            let source = Ipv4Addr::new(127, 0, 1, 1 + (seat % SOURCES) as u8);
            let source = SocketAddr::new(IpAddr::V4(source), 0);
            socket.bind(&source.into())?;
        }
        match socket.connect(&address.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        let mut stream = TcpStream::from_std(socket.into());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, Token(seat), interest)?;
        Ok(stream)
    }

    /// Ends the connection of a subscriber, without a word.
    pub fn hang_up(&mut self, seat: usize) {
        self.seats[seat].close();
    }

    /// Returns true when a subscriber is connected, and has said all that it has to say.
    pub(super) fn is_open(&self, seat: usize) -> bool {
        self.seats[seat].state == SubscriberState::Open
    }

    /// From now on the slow readers read only in [`Fleet::sip`].
    pub(super) fn begin_sipping(&mut self) {
        self.is_sipping = true;
    }

    /// Lets each of the slow readers read at most so many bytes.
    pub(super) fn sip(&mut self, bytes: usize, mut heard: impl FnMut(usize, FleetEvent<'_>)) {
        let bytes = bytes.min(self.buffer.len());
        for (index, seat) in self.seats.iter_mut().take(self.slow).enumerate() {
            if seat.state == SubscriberState::Open && !seat.is_stalled {
                let buffer = &mut self.buffer[..bytes];
                seat.read_some(self.script.cue(index), buffer, &mut |what| {
                    heard(index, what)
                });
            }
        }
    }

    /// Makes a subscriber stop reading, as a stalled browser does.
    pub fn stall(&mut self, seat: usize) {
        self.seats[seat].is_stalled = true;
    }

    /// Waits for at most `timeout` until subscribers receive something, and hands it out.
    ///
    /// # Errors
    /// Those of the poller.
    pub fn poll(
        &mut self,
        timeout: Option<Duration>,
        mut heard: impl FnMut(usize, FleetEvent<'_>),
    ) -> io::Result<()> {
        match self.poll.poll(&mut self.readiness, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        for event in self.readiness.iter() {
            let index = event.token().0;
            let seat = &mut self.seats[index];
            let cue = self.script.cue(index);
            if event.is_writable()
                && seat.state == SubscriberState::Upgrading
                && seat.partial.is_none()
            {
                let request = &self.script.course.request;
                seat.begin(&cue.speech.request(request, cue.topic, cue.wish));
            }
            let sips = self.is_sipping && index < self.slow && seat.state == SubscriberState::Open;
            if event.is_readable() && !seat.is_stalled && !sips {
                let is_over = event.is_read_closed();
                seat.read(cue, &mut self.buffer, is_over, |what| heard(index, what));
            }
        }
        Ok(())
    }
}

/// `ErrorKind` has no stable name for it.
const EINPROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();

/// What one subscriber may have to say.
#[derive(Clone, Copy)]
struct Cue<'a> {
    speech: &'a Speech,
    topic: &'a str,
    wish: Wish<'a>,
}

impl Subscriber {
    /// A subscriber whose connection has begun, and on which nothing was said.
    fn on(stream: TcpStream) -> Self {
        Self {
            stream: Some(stream),
            state: SubscriberState::Upgrading,
            is_stalled: false,
            partial: None,
        }
    }

    /// Sends the upgrade on a connection that was just made. Bytes that do not fit into an empty socket buffer are
    /// an error, and an error shows at the read.
    fn begin(&mut self, request: &[u8]) {
        self.partial = Some(Box::default());
        if let Some(stream) = &mut self.stream {
            let _ = stream.write_all(request);
        }
    }

    /// Reads what has come. `is_over` tells whether the server's half of the connection has ended.
    fn read(
        &mut self,
        cue: Cue<'_>,
        buffer: &mut [u8],
        is_over: bool,
        mut heard: impl FnMut(FleetEvent<'_>),
    ) {
        while let Some(n) = self.read_some(cue, buffer, &mut heard) {
            // An end that comes later is an edge of its own.
            if n < buffer.len() && self.state != SubscriberState::Upgrading && !is_over {
                return;
            }
        }
    }

    /// Reads once. Returns how many bytes there were; `None` when there is nothing now, or nothing any more.
    fn read_some(
        &mut self,
        cue: Cue<'_>,
        buffer: &mut [u8],
        heard: &mut impl FnMut(FleetEvent<'_>),
    ) -> Option<usize> {
        let stream = self.stream.as_mut()?;
        let read = loop {
            match stream.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let end = match read {
            Ok(0) => None,
            Ok(n) => match self.take(&buffer[..n], cue, heard) {
                Ok(()) => return Some(n),
                Err(status) => status,
            },
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(_) => None,
        };
        self.end(end, heard);
        None
    }

    fn close(&mut self) {
        self.state = SubscriberState::Ended;
        self.stream = None;
        self.partial = None;
    }

    fn end(&mut self, status: Option<u16>, heard: &mut impl FnMut(FleetEvent<'_>)) {
        let was_open = self.state != SubscriberState::Upgrading;
        self.close();
        heard(FleetEvent::Ended(match status {
            None if !was_open => Some(0),
            status => status,
        }));
    }

    /// Handles the bytes that were read. `Err` is the end, with the status of a refusal.
    fn take(
        &mut self,
        bytes: &[u8],
        cue: Cue<'_>,
        heard: &mut impl FnMut(FleetEvent<'_>),
    ) -> Result<(), Option<u16>> {
        let speech = cue.speech;
        if self.state != SubscriberState::Upgrading {
            return self.take_messages(bytes, cue, heard);
        }
        let partial = self.partial.get_or_insert_default();
        partial.kept.extend_from_slice(bytes);
        let Some(end) = head_end(&partial.kept) else {
            if partial.kept.len() > ANSWER_BYTES_MAX {
                return Err(Some(0));
            }
            return Ok(());
        };
        let rest = partial.kept.split_off(end);
        let status = partial
            .kept
            .get(9..12)
            .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
            .unwrap_or(0);
        match (speech.protocol, status) {
            (Protocol::Wamp1 | Protocol::Wamp2, 101) => {}
            (Protocol::Sse, 200) if is_plain_stream(&partial.kept) => {}
            (Protocol::Wamp1 | Protocol::Wamp2, status) => return Err(Some(status)),
            (Protocol::Sse, 200) => return Err(Some(0)),
            (Protocol::Sse, status) => return Err(Some(status)),
        }
        self.partial = None;
        self.state = match speech.has_more_to_say() {
            true => SubscriberState::Greeting,
            false => SubscriberState::Open,
        };
        if let Some(text) = speech.first(cue.topic) {
            self.send(TEXT, text.as_bytes());
        }
        heard(FleetEvent::Opened);
        self.take_messages(&rest, cue, heard)
    }

    fn take_messages(
        &mut self,
        bytes: &[u8],
        cue: Cue<'_>,
        heard: &mut impl FnMut(FleetEvent<'_>),
    ) -> Result<(), Option<u16>> {
        // What is unfinished is taken out, so that a message can be answered while it is read.
        let mut partial = self.partial.take();
        let result = match cue.speech.protocol {
            Protocol::Wamp1 | Protocol::Wamp2 => {
                frames::take(&mut partial, bytes, |frame, payload| {
                    match frame.opcode {
                        TEXT => {
                            heard(FleetEvent::Text(payload, frame.payload_bytes));
                            if self.state == SubscriberState::Greeting {
                                self.answer(payload, cue);
                            }
                        }
                        PING => self.send(PONG, payload),
                        CLOSE => return Err(None),
                        _ => {}
                    }
                    Ok(())
                })
            }
            Protocol::Sse => {
                blocks::take(&mut partial, bytes, |head, len| {
                    heard(FleetEvent::Text(head, len));
                });
                Ok(())
            }
        };
        self.partial = partial;
        result
    }

    fn answer(&mut self, head: &[u8], cue: Cue<'_>) {
        if let Some((text, is_last)) = cue.speech.answer(head, cue.topic, cue.wish) {
            self.send(TEXT, text.as_bytes());
            if is_last {
                self.state = SubscriberState::Open;
            }
        }
    }

    /// Sends one short frame. The mask is zero: a mask protects proxies from what a page makes a browser send, and
    /// no page controls this client.
    fn send(&mut self, opcode: u8, payload: &[u8]) {
        let mut frame = vec![0x80 | opcode];
        match u8::try_from(payload.len()) {
            Ok(len) if len < 126 => frame.push(0x80 | len),
            _ => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&(payload.len() as u16).to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        if let Some(stream) = &mut self.stream {
            let _ = stream.write_all(&frame);
        }
    }
}

/// Returns where the head of an answer ends.
fn head_end(answer: &[u8]) -> Option<usize> {
    memmem::find(answer, b"\r\n\r\n").map(|at| at + 4)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// What a subscriber is told when a server answers with `answer` and ends at once, before the subscriber has read a
    /// byte of it.
    fn told(protocol: Protocol, answer: &'static str) -> Vec<String> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = Vec::new();
            while head_end(&request).is_none() {
                let mut piece = [0; 1_000];
                let n = stream.read(&mut piece).expect("a request");
                request.extend_from_slice(&piece[..n]);
            }
            stream.write_all(answer.as_bytes()).expect("sent");
            // What the client says next may come too late.
            stream
                .shutdown(std::net::Shutdown::Write)
                .expect("it is open");
            (String::from_utf8(request).expect("text"), stream)
        });
        let course = Course {
            address,
            request: b"GET /?x HTTP/1.1\r\n\r\n".to_vec(),
            topics: vec!["a b".to_owned()],
        };
        let mut fleet = Fleet::speaking(protocol, None, course).expect("a poller");
        fleet.add().expect("a socket");
        let mut told = Vec::new();
        let mut poll = |fleet: &mut Fleet| {
            let polled = fleet.poll(Some(Duration::from_secs(5)), |seat, heard| {
                assert_eq!(seat, 0);
                told.push(match heard {
                    FleetEvent::Text(head, len) => format!("{} {len}", head.escape_ascii()),
                    other => format!("{other:?}"),
                });
            });
            polled.expect("a poll");
            told.last().is_some_and(|last| last.starts_with("Ended"))
        };
        // The connection stands, and the request leaves.
        assert!(!poll(&mut fleet));
        let (request, _stream) = server.join().expect("it went well");
        let query = if protocol == Protocol::Sse {
            "?x&topic=a%20b "
        } else {
            "?x "
        };
        assert!(request.contains(query), "{request}");
        kit::wait_until("its end", || poll(&mut fleet));
        told
    }

    #[test]
    fn an_end_that_comes_together_with_the_last_bytes_is_seen() {
        let stream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n\
                      retry: 3000\n\n:\n\ndata: 1\n\ndata: cut";
        assert_eq!(
            told(Protocol::Sse, stream),
            [
                "Opened",
                "retry: 3000\\n\\n 13",
                "data: 1\\n\\n 9",
                "Ended(None)"
            ]
        );
        let frames = "HTTP/1.1 101 Switching Protocols\r\n\r\n\x01\x02[]";
        for protocol in [Protocol::Wamp1, Protocol::Wamp2] {
            assert_eq!(told(protocol, frames), ["Opened", "[] 2", "Ended(None)"]);
        }
    }

    #[test]
    fn another_answer_than_the_one_hoped_for_is_a_refusal() {
        for (protocol, answer, status) in [
            (Protocol::Wamp1, "HTTP/1.1 401 No\r\n\r\n", 401),
            (Protocol::Wamp2, "HTTP/1.1 200 OK\r\n\r\n", 200),
            (Protocol::Sse, "HTTP/1.1 403 No\r\n\r\n", 403),
            (Protocol::Sse, "HTTP/1.1 200 OK\r\n\r\n", 0),
            (Protocol::Sse, "HTTP/1.1 101 Yes\r\n\r\n", 101),
            (Protocol::Sse, "SSH-2.0\r\n", 0),
        ] {
            let expected = format!("Ended(Some({status}))");
            assert_eq!(told(protocol, answer), [expected], "{answer}");
        }
    }
}
