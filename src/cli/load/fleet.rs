//! Very many subscribers on one thread: they connect, upgrade, subscribe and receive.
//!
//! A load test must not measure itself, so a subscriber is a few words: a socket, a state, and the unfinished part
//! of a frame, of which only the beginning is kept. The first [`HEAD_BYTES`] of an event are all that a caller gets
//! of it.
//!
//! Never here: how bytes are cut into frames (`frames`), what is published, latencies, what is printed.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::frames::{self, Unfinished};

/// In bytes of a message's payload that are kept and shown.
pub const HEAD_BYTES: usize = 160;

/// In bytes of an answer to an upgrade.
const ANSWER_BYTES_MAX: usize = 4_096;

/// In source addresses over which connections to a loopback address are spread: each address has some 28,000 ports.
const SOURCES: usize = 200;

const READ_BUFFER_BYTES: usize = 256 * 1024;

/// Where the subscribers connect, and what they send.
#[derive(Clone, Debug)]
pub struct Course {
    /// The server.
    pub address: SocketAddr,
    /// The upgrade request, whole.
    pub request: Vec<u8>,
    /// Subscriber `i` subscribes to topic `i % topics.len()`.
    pub topics: Vec<String>,
}

/// What happened to a subscriber.
#[derive(Debug)]
pub enum FleetEvent<'a> {
    /// The upgrade was accepted, and the SUBSCRIBE sent.
    Opened,
    /// A text: its beginning, and its length in bytes.
    Text(&'a [u8], usize),
    /// The subscriber has no connection any more: the upgrade was refused with this status (0: no HTTP), or the
    /// connection ended (`None`).
    Ended(Option<u16>),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum SubscriberState {
    Upgrading,
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
    course: Course,
    poll: Poll,
    readiness: Events,
    seats: Vec<Subscriber>,
    buffer: Vec<u8>,
}

impl Fleet {
    /// A fleet without subscribers.
    ///
    /// # Errors
    /// Those of the poller.
    pub fn new(course: Course) -> io::Result<Self> {
        Ok(Self {
            course,
            poll: Poll::new()?,
            readiness: Events::with_capacity(1_024),
            seats: Vec::new(),
            buffer: vec![0; READ_BUFFER_BYTES],
        })
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
        self.seats.push(Subscriber {
            stream: Some(stream),
            state: SubscriberState::Upgrading,
            is_stalled: false,
            partial: None,
        });
        Ok(())
    }

    /// Connects a subscriber again whose connection has ended.
    ///
    /// # Errors
    /// As [`Fleet::add`].
    pub fn redial(&mut self, seat: usize) -> io::Result<()> {
        let stream = self.dial(seat)?;
        self.seats[seat] = Subscriber {
            stream: Some(stream),
            state: SubscriberState::Upgrading,
            is_stalled: false,
            partial: None,
        };
        Ok(())
    }

    fn dial(&mut self, seat: usize) -> io::Result<TcpStream> {
        let address = self.course.address;
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
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
        let seat = &mut self.seats[seat];
        seat.stream = None;
        seat.partial = None;
        seat.state = SubscriberState::Ended;
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
        let Self {
            course,
            readiness,
            seats,
            buffer,
            ..
        } = self;
        for event in readiness.iter() {
            let index = event.token().0;
            let seat = &mut seats[index];
            if event.is_writable()
                && seat.state == SubscriberState::Upgrading
                && seat.partial.is_none()
            {
                seat.begin(&course.request);
            }
            if event.is_readable() && !seat.is_stalled {
                let topic = &course.topics[index % course.topics.len()];
                seat.read(topic, buffer, |what| heard(index, what));
            }
        }
        Ok(())
    }
}

/// `ErrorKind` has no stable name for it.
const EINPROGRESS: i32 = rustix::io::Errno::INPROGRESS.raw_os_error();

impl Subscriber {
    /// Sends the upgrade on a connection that was just made. Bytes that do not fit into an empty socket buffer are
    /// an error, and an error shows at the read.
    fn begin(&mut self, request: &[u8]) {
        self.partial = Some(Box::default());
        if let Some(stream) = &mut self.stream {
            let _ = stream.write_all(request);
        }
    }

    fn read(&mut self, topic: &str, buffer: &mut [u8], mut heard: impl FnMut(FleetEvent<'_>)) {
        loop {
            let Some(stream) = &mut self.stream else {
                return;
            };
            match stream.read(buffer) {
                Ok(0) => return self.end(None, &mut heard),
                Ok(n) => {
                    if let Err(status) = self.take(&buffer[..n], topic, &mut heard) {
                        return self.end(status, &mut heard);
                    }
                    // The end of a connection is an edge of its own, unless it came together with these bytes. The
                    // Close frame or the next read shows that a server is closing.
                    if n < buffer.len() && self.state == SubscriberState::Open {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.end(None, &mut heard),
            }
        }
    }

    fn end(&mut self, status: Option<u16>, heard: &mut impl FnMut(FleetEvent<'_>)) {
        let was_open = self.state == SubscriberState::Open;
        self.state = SubscriberState::Ended;
        self.stream = None;
        self.partial = None;
        heard(FleetEvent::Ended(match status {
            None if !was_open => Some(0),
            status => status,
        }));
    }

    /// Handles the bytes that were read. `Err` is the end, with the status of a refusal.
    fn take(
        &mut self,
        bytes: &[u8],
        topic: &str,
        heard: &mut impl FnMut(FleetEvent<'_>),
    ) -> Result<(), Option<u16>> {
        if self.state == SubscriberState::Open {
            return self.take_frames(bytes, heard);
        }
        let partial = self.partial.get_or_insert_default();
        partial.kept.extend_from_slice(bytes);
        let Some(end) = partial.kept.windows(4).position(|w| w == b"\r\n\r\n") else {
            if partial.kept.len() > ANSWER_BYTES_MAX {
                return Err(Some(0));
            }
            return Ok(());
        };
        let status = partial
            .kept
            .get(9..12)
            .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
            .unwrap_or(0);
        if status != 101 {
            return Err(Some(status));
        }
        let rest = partial.kept.split_off(end + 4);
        self.partial = None;
        self.state = SubscriberState::Open;
        self.send(1, subscribe(topic).as_bytes());
        heard(FleetEvent::Opened);
        self.take_frames(&rest, heard)
    }

    fn take_frames(
        &mut self,
        bytes: &[u8],
        heard: &mut impl FnMut(FleetEvent<'_>),
    ) -> Result<(), Option<u16>> {
        // What is unfinished is taken out, so that a ping can be answered while frames are read.
        let mut partial = self.partial.take();
        let result = frames::take(&mut partial, bytes, |frame, payload| {
            match frame.opcode {
                1 => heard(FleetEvent::Text(payload, frame.payload_bytes)),
                9 => self.send(10, payload),
                8 => return Err(None),
                _ => {}
            }
            Ok(())
        });
        self.partial = partial;
        result
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

/// `[5,"topic"]`.
fn subscribe(topic: &str) -> String {
    serde_json::json!([5, topic]).to_string()
}
