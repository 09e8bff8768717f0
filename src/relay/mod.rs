//! Hands events on to other servers: an XPUB socket, to which their SUB sockets connect.
//!
//! A message has four parts: topic, data, the event's id, and the number of the event in its topic, with the run that
//! counts. The number tells a receiver how many events it has missed. Receivers that know only topic and data ignore the
//! rest.
//!
//! Subscriptions travel upstream: what receivers subscribe to is wanted here, and so asked of the sources.
//!
//! A receiver that reads too slowly loses events once [`limits::RELAY_EVENTS_UNREAD_MAX`] of them wait for it (a worker,
//! [`limits::WORKER_EVENTS_UNREAD_MAX`]). libzmq
//! drops them and tells nobody here; the receiver finds it out (`ingest/continuity.rs`). Others are not held back.
//!
//! Never here: where events come from, and clients.

mod numbers;
mod subscribers;

use std::io;
use std::os::fd::RawFd;
use std::rc::Rc;

use crate::ingest::zeromq::monitor::Monitor;
use crate::ingest::zeromq::socket::{prepare, refuse_old_zmtp};
use crate::ingest::zeromq::socket_file::{self, FileAccess};
use crate::ingest::zeromq::{PeerRules, SetUpError, SourceError};
use crate::limits;
use crate::wire::envelope::Event;
use crate::wire::id::{Epoch, EventId, TopicPlace};

pub use numbers::TopicNumbers;
pub use subscribers::Subscribers;

/// The socket, and what is asked on it.
pub struct Relay {
    socket: zmq::Socket,
    monitor: Monitor,
    endpoints: Vec<String>,
    subscribers: Subscribers,
    numbers: TopicNumbers,
    /// True exactly when there may be subscriptions for which no readiness will come.
    is_ready: bool,
    /// The text of ids and numbers.
    text: String,
}

impl Relay {
    /// Binds an XPUB socket to `endpoints`. `access` is for sockets' files. For each receiver that does not read
    /// `unread_max` events may wait.
    ///
    /// # Errors
    /// An endpoint cannot be bound: it is taken, or not an endpoint.
    pub fn bind(
        context: &zmq::Context,
        endpoints: &[String],
        rules: PeerRules,
        access: FileAccess,
        unread_max: i32,
    ) -> Result<Self, SourceError> {
        let failed = |endpoint: &str, cause: SetUpError| SourceError::new(endpoint, "bind", cause);
        let first = endpoints.first().map_or("", String::as_str);
        let set_up = || {
            let socket = context.socket(zmq::XPUB)?;
            let text = endpoints.concat();
            prepare(&socket, &text, rules)?;
            refuse_old_zmtp(&socket)?;
            // A receiver sends nothing but subscriptions, each of which is a name.
            socket.set_maxmsgsize(limits::RELAY_SUBSCRIPTION_BYTES_MAX)?;
            socket.set_sndhwm(unread_max)?;
            let monitor = Monitor::attach(context, &socket)?;
            Ok::<_, SetUpError>((socket, monitor))
        };
        let (socket, monitor) = set_up().map_err(|cause| failed(first, cause))?;
        let mut bound = Vec::new();
        for endpoint in endpoints {
            let bind = || {
                socket_file::make_room(endpoint)?;
                access.bind(|| {
                    socket.bind(endpoint)?;
                    let bound = socket.get_last_endpoint()?;
                    Ok(bound.unwrap_or_else(|_| endpoint.clone()))
                })
            };
            bound.push(bind().map_err(|cause| failed(endpoint, cause))?);
        }
        Ok(Self {
            socket,
            monitor,
            endpoints: bound,
            subscribers: Subscribers::default(),
            numbers: TopicNumbers::default(),
            is_ready: true,
            text: String::new(),
        })
    }

    /// The endpoints, as bound.
    pub fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// In receivers that are connected now.
    pub fn receivers(&self) -> usize {
        self.monitor.peers()
    }

    /// What receivers subscribe to.
    pub fn subscribers(&self) -> &Subscribers {
        &self.subscribers
    }

    /// The descriptors that the loop waits for: subscriptions, and receivers that come and leave.
    ///
    /// # Errors
    /// Those of ZeroMQ.
    pub fn descriptors(&self) -> io::Result<[RawFd; 2]> {
        let descriptors =
            || Ok::<_, zmq::Error>([self.socket.get_fd()?, self.monitor.descriptor()?]);
        descriptors().map_err(io::Error::other)
    }

    /// A descriptor has changed. Which one does not matter: any call on the socket may take the signal.
    pub fn handle_readiness(&mut self) {
        self.is_ready = true;
        self.monitor.handle_readiness();
    }

    /// Returns true when [`Relay::read`] has to be called before the loop may sleep.
    pub fn is_ready(&self) -> bool {
        self.is_ready || self.monitor.is_ready()
    }

    /// Reads subscriptions, as far as `budget` goes. Calls `change` with each topic that is wanted now, or no more.
    pub fn read(&mut self, budget: &mut usize, mut change: impl FnMut(&Rc<str>)) {
        while self.is_ready && *budget > 0 {
            *budget -= 1;
            match self.socket.recv_bytes(zmq::DONTWAIT) {
                Ok(message) => {
                    if let Some(topic) = self.subscribers.handle(&message) {
                        change(&topic);
                    }
                }
                Err(zmq::Error::EINTR) => {}
                Err(zmq::Error::EAGAIN) => self.is_ready = false,
                Err(error) => {
                    log::error!("relay: endpoint={:?} error={error}", self.endpoints);
                    self.is_ready = false;
                }
            }
        }
        while self.monitor.is_ready() && *budget > 0 {
            *budget -= 1;
            // Who has come or left shows in `receivers`.
            let _ = self.monitor.poll();
        }
    }

    /// Hands an event on; the relay counts in this `epoch`. Returns true when a receiver subscribes to it,
    /// as far as that is known.
    pub fn publish(&mut self, event: &Event<'_>, id: EventId, epoch: Epoch) -> bool {
        use std::fmt::Write as _;
        let nth = self.numbers.give(&event.topic);
        let place = TopicPlace { epoch, nth };
        self.text.clear();
        let wrote = write!(self.text, "{id}");
        let at = self.text.len();
        let wrote = wrote.and_then(|()| write!(self.text, "{place}"));
        wrote.expect("a String takes everything");
        let (id, place) = self.text.split_at(at);
        let parts = [&*event.topic, event.data, id, place];
        let sent = self.socket.send_multipart(parts, zmq::DONTWAIT);
        // A send may have taken the signal of a subscription.
        self.is_ready = true;
        if let Err(error) = sent {
            log::error!("relay: endpoint={:?} error={error}", self.endpoints);
        }
        self.subscribers.wants(&event.topic)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // Before the fields: libzmq still reports the ends of this socket's connections.
        self.monitor.silence(&self.socket);
    }
}
