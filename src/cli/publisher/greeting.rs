//! Finds out whether the peer of a PUSH socket speaks ZeroMQ.
//!
//! libzmq takes any bytes of a peer for a greeting of ZMTP 1 or 2, and its socket is writable then: an SSH or HTTP
//! server "takes" every event. Only ZMTP 3, which every libzmq since 4.0 speaks, has a handshake with a result, and
//! libzmq reports it to the socket's monitor. So a peer has greeted when its handshake succeeded; a peer whose
//! connection is writable without that is something else.
//!
//! libzmq's network thread waits when a monitor does not take an event. So the queue of events has no bound, and
//! [`silence`] has to be called before the [`Greeting`] is dropped.
//!
//! Never here: events to publish, and what to tell the user.

#![expect(
    clippy::disallowed_methods,
    reason = "a client on its own, which measures for itself: no engine to hand the time to"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use zmq::SocketEvent;

/// How long after a connection has become writable libzmq may report the success of its handshake. libzmq does both
/// in one go, so this is for a machine that is very busy.
const GRACE: Duration = Duration::from_secs(1);

/// What is known of the peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Contact {
    /// Nothing yet.
    Pending,
    /// No peer accepts a connection.
    Nobody,
    /// A peer accepted the last connection and ended it before any handshake. A proxy without its server does so
    /// too.
    HungUp,
    /// A peer speaks, and it does not speak ZMTP 3.
    Foreign,
    /// A peer greeted, and is connected.
    Greeted,
}

/// Follows the connection of one socket.
pub(super) struct Greeting {
    events: zmq::Socket,
    contact: Contact,
    /// Since when the connection has been writable without a handshake that succeeded.
    suspected: Option<Instant>,
}

impl Greeting {
    /// Follows `socket`, which must not be connected yet.
    pub(super) fn of(context: &zmq::Context, socket: &zmq::Socket) -> Result<Self, zmq::Error> {
        let watched = [
            SocketEvent::CONNECT_RETRIED,
            SocketEvent::DISCONNECTED,
            SocketEvent::HANDSHAKE_SUCCEEDED,
        ];
        let watched = watched
            .into_iter()
            .fold(0, |all, event| all | i32::from(event.to_raw()));
        let endpoint = unused_endpoint();
        socket.monitor(&endpoint, watched)?;
        let events = context.socket(zmq::PAIR)?;
        events.set_rcvhwm(0)?;
        events.connect(&endpoint)?;
        Ok(Self {
            events,
            contact: Contact::Pending,
            suspected: None,
        })
    }

    /// What is known of the peer of `socket`, which is the socket that this follows.
    pub(super) fn contact(&mut self, socket: &zmq::Socket) -> Result<Contact, zmq::Error> {
        loop {
            // The first frame is the event, the second an address.
            match self.events.recv_multipart(zmq::DONTWAIT) {
                Ok(frames) => {
                    if let Some(&[low, high, ..]) = frames.first().map(Vec::as_slice) {
                        self.handle(u16::from_ne_bytes([low, high]));
                    }
                }
                Err(zmq::Error::EINTR) => {}
                Err(zmq::Error::EAGAIN) => break,
                Err(error) => return Err(error),
            }
        }
        if self.contact != Contact::Greeted && socket.get_events()?.contains(zmq::POLLOUT) {
            let since = self.suspected.get_or_insert_with(Instant::now);
            if since.elapsed() >= GRACE {
                self.contact = Contact::Foreign;
            }
        }
        Ok(self.contact)
    }

    fn handle(&mut self, event: u16) {
        let is = |of: SocketEvent| event == of.to_raw();
        let is_suspected = self.suspected.take().is_some();
        if is(SocketEvent::HANDSHAKE_SUCCEEDED) {
            self.contact = Contact::Greeted;
        } else if is(SocketEvent::DISCONNECTED) {
            self.contact = match self.contact {
                Contact::Greeted => Contact::Pending,
                _ if is_suspected => Contact::Foreign,
                Contact::Foreign => Contact::Foreign,
                _ => Contact::HungUp,
            };
        } else if self.contact == Contact::Pending {
            // libzmq also tries again after a connection has ended; that was reported before.
            self.contact = Contact::Nobody;
        }
    }

    /// What to wait for until [`Greeting::contact`] may have changed. A suspected `socket` stays writable.
    pub(super) fn poll_items<'a>(
        &'a self,
        socket: &'a zmq::Socket,
    ) -> impl Iterator<Item = zmq::PollItem<'a>> {
        let writable = match self.suspected {
            None => Some(socket.as_poll_item(zmq::POLLOUT)),
            Some(_) => None,
        };
        std::iter::once(self.events.as_poll_item(zmq::POLLIN)).chain(writable)
    }

    /// How long to wait at most.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.suspected
            .filter(|_| self.contact != Contact::Foreign)
            .map(|since| GRACE.saturating_sub(since.elapsed()))
    }
}

/// Ends the reports of `socket`. Its [`Greeting`] may be dropped after this.
pub(super) fn silence(socket: &zmq::Socket) {
    // libzmq keeps one monitor a socket; a monitor of no event at all replaces the last one. This fails only when
    // the socket is gone.
    let _ = socket.monitor(&unused_endpoint(), 0);
}

/// An `inproc` endpoint that nothing else in the process has.
fn unused_endpoint() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("inproc://newswire-greeting-{number}")
}
