//! A stream, the address of its client, and what it is still owed.
//!
//! These are the only places that write to a stream. What a write does not get rid of goes on in
//! the outbox; a writable edge comes exactly after that, and then [`Link::pay`] goes on.
//!
//! Never here: what the bytes mean (the session's), who else receives an event (the hub's).

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use super::batch::{Batch, Held, Losses};
use super::names::TopicId;
use super::outbox::{Outbox, OutboxRoom};
use crate::stats::{Close, Counter, Stats};

/// What the engine needs of a transport: bytes both ways, and a way to say that no more will come.
///
/// Beyond `read` and `write` there is the half-close, because a socket that is closed while unread
/// bytes arrive answers them with a reset, and the reset destroys a Close frame or a 401 that the
/// peer has not read yet.
pub trait Stream: Read + Write {
    /// Ends the outgoing half.
    ///
    /// # Errors
    /// Those of the socket; the connection is then given up.
    fn finish(&mut self) -> std::io::Result<()>;
}

/// What is known of a stream's unread bytes, and on which of the engine's lists it therefore is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Unread {
    /// There are none: the next byte will be a new edge.
    #[default]
    None,
    /// It became readable, and was not read since: on the list for first shares.
    Some,
    /// As `Some`, and the stream's end may come behind the bytes, for which there is no other edge.
    SomeAndEnd,
    /// It had its first share, and may have more: on the list for the rest.
    Rest,
    /// There may be some, and it is on no list: its peer has to take its own answers first.
    Paused,
    /// The connection is about to be freed: it is neither read nor written any more.
    Gone,
}

/// One accepted stream.
#[derive(Debug)]
pub struct Link<S> {
    /// The transport.
    pub stream: S,
    port: u16,
    /// IPv4 addresses are mapped: 16 bytes are less than an enum of both.
    address: [u8; 16],
    /// Which of the engine's lists for reading it is on.
    pub unread: Unread,
    /// True exactly when it is on the engine's list of those that take bytes and are owed some.
    pub is_payable: bool,
    outbox: Outbox,
}

/// What every write needs beside the link.
#[derive(Debug)]
pub struct Desk {
    /// This turn's time.
    pub now: Duration,
    /// What is counted.
    pub stats: Rc<Stats>,
    /// In bytes, what all outboxes hold.
    pub held: Held,
    /// In bytes, the bound of one outbox.
    pub outbox_bytes_max: usize,
    /// In bytes, what may still leave from outboxes in this turn.
    pub payment_left: usize,
    /// The events that were dropped by the last call on a link, until [`super::gaps`] takes them.
    pub lost: Losses,
}

impl Desk {
    fn outbox_room(&mut self) -> OutboxRoom<'_> {
        OutboxRoom {
            bytes_max: self.outbox_bytes_max,
            held: &mut self.held,
            lost: &mut self.lost,
        }
    }
}

/// What became of a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub enum Sent {
    /// The stream has it, or the outbox keeps it.
    Fine,
    /// The connection has to end.
    Failed(Close),
}

impl<S: Stream> Link<S> {
    /// A stream that is owed nothing.
    pub fn new(stream: S, peer: SocketAddr) -> Self {
        Self {
            stream,
            port: peer.port(),
            address: octets(peer.ip()),
            unread: Unread::None,
            is_payable: false,
            outbox: Outbox::default(),
        }
    }

    /// The address that it comes from.
    pub fn peer(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::from(self.address).to_canonical(), self.port)
    }

    /// It has come through a proxy for this client, whose port is not known.
    pub fn set_client(&mut self, client: IpAddr) {
        let peer = SocketAddr::new(client, 0);
        (self.address, self.port) = (octets(peer.ip()), peer.port());
    }

    /// What it is owed.
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// Sends it the events of `batch` from byte `from` on: one `write`, or none when something is
    /// owed already, since the order is the outbox's.
    #[inline]
    pub fn deliver(&mut self, batch: &Rc<Batch>, from: usize, desk: &mut Desk) -> Sent {
        desk.stats
            .add(Counter::Deliveries, batch.frames_from(from) as u64);
        if !self.outbox.is_empty() {
            return self.owe(batch, from, desk);
        }
        desk.stats.count(Counter::Writes);
        let bytes = &batch.bytes()[from..];
        match write_once(&mut self.stream, bytes) {
            Ok(written) if written == bytes.len() => Sent::Fine,
            Ok(written) => self.owe_rest(batch, from + written, desk),
            Err(_) => Sent::Failed(Close::SocketError),
        }
    }

    /// Sends it one frame, or answer, that is for nobody else.
    pub fn send(&mut self, frame: &[u8], desk: &mut Desk) -> Sent {
        if !self.outbox.is_empty() {
            return self.owe(&Batch::of_frame(frame.to_vec()), 0, desk);
        }
        match write_once(&mut self.stream, frame) {
            Ok(written) if written == frame.len() => Sent::Fine,
            Ok(written) => self.owe_rest(&Batch::of_frame(frame.to_vec()), written, desk),
            Err(_) => Sent::Failed(Close::SocketError),
        }
    }

    /// Sends it what it is answered, in one `write`; or in none when something is owed already.
    pub fn answer(&mut self, mut answers: Batch, desk: &mut Desk) -> Sent {
        let mut written = 0;
        let is_first = self.outbox.is_empty();
        if is_first {
            match write_once(&mut self.stream, answers.bytes()) {
                Ok(all) if all == answers.bytes().len() => return Sent::Fine,
                Ok(some) => written = some,
                Err(_) => return Sent::Failed(Close::SocketError),
            }
        }
        answers.trim();
        let answers = Rc::new(answers);
        let sent = match is_first {
            true => self.owe_rest(&answers, written, desk),
            false => self.owe(&answers, 0, desk),
        };
        self.outbox.note_answers(answers.bytes().len() - written);
        sent
    }

    fn owe_rest(&mut self, batch: &Rc<Batch>, sent: usize, desk: &mut Desk) -> Sent {
        desk.stats.count(Counter::ShortWrites);
        self.owe(batch, sent, desk)
    }

    fn owe(&mut self, batch: &Rc<Batch>, sent: usize, desk: &mut Desk) -> Sent {
        let now = desk.now;
        self.outbox.push(batch, sent, now, &mut desk.outbox_room());
        self.judge_outbox(desk)
    }

    fn judge_outbox(&self, desk: &Desk) -> Sent {
        match self.outbox.owed_bytes() > desk.outbox_bytes_max {
            true => Sent::Failed(Close::SlowConsumer),
            false => Sent::Fine,
        }
    }

    /// Puts the notice that events of a topic were dropped into the place of the first of them. `None` when the client is
    /// not told.
    pub fn fill_notice(
        &mut self,
        topic: TopicId,
        notice: Option<Vec<u8>>,
        desk: &mut Desk,
    ) -> Sent {
        let notice = notice.map(Batch::of_frame);
        self.outbox
            .fill_notice(topic, notice.as_ref(), &mut desk.outbox_room());
        self.judge_outbox(desk)
    }

    /// Owes the answer to a ping in the place of the answer to an earlier one. Something must be owed:
    /// otherwise nothing keeps the answer from being sent.
    pub fn replace_pong(&mut self, frame: Vec<u8>, desk: &mut Desk) {
        self.outbox
            .set_pong(&Batch::of_frame(frame), &mut desk.held);
    }

    /// Goes on with what is owed, as far as the turn's budget goes. Answers how many bytes the stream took.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn pay(&mut self, desk: &mut Desk) -> std::io::Result<usize> {
        let (budget, held) = (&mut desk.payment_left, &mut desk.held);
        self.outbox
            .write_to(&mut self.stream, budget, desk.now, held)
    }

    /// Begins the end: a frame that has begun to leave is finished, `last` follows, then the
    /// half-close.
    pub fn close(&mut self, last: &[u8], desk: &mut Desk) -> Sent {
        self.outbox.keep_begun_frame(&mut desk.held);
        if !last.is_empty()
            && let Sent::Failed(reason) = self.send(last, desk)
        {
            return Sent::Failed(reason);
        }
        if self.outbox.is_empty() {
            return self.finish();
        }
        Sent::Fine
    }

    /// Ends the outgoing half.
    pub fn finish(&mut self) -> Sent {
        match self.stream.finish() {
            Ok(()) => Sent::Fine,
            Err(_) => Sent::Failed(Close::SocketError),
        }
    }

    /// Gives up everything that is owed. Returns true when that was between two frames.
    pub fn clear(&mut self, desk: &mut Desk) -> bool {
        self.outbox.clear(&mut desk.held)
    }
}

/// IPv4 addresses mapped into IPv6.
fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// In bytes, what the stream took; none when it would block.
fn write_once(stream: &mut impl Write, bytes: &[u8]) -> std::io::Result<usize> {
    loop {
        match stream.write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
