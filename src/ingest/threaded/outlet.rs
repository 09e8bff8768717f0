//! The queue between a client on its thread and the loop, and the client's end of it.
//!
//! Never here: when the client connects (`reconnect`), what the loop does with a message (`mod`).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::limits;
use crate::stats::{Counter, Ingest};
use crate::wake::Wake;

/// Names a message of a broker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ticket {
    /// The connection.
    pub session: u64,
    /// The broker's number of the message on that connection.
    pub number: u64,
}

/// A message of a broker.
#[derive(Debug)]
pub struct Delivery {
    /// Its name.
    pub ticket: Ticket,
    /// The topic, where the broker has it beside the data.
    pub topic: Option<String>,
    /// The data; or the whole envelope, where there is no topic beside it.
    pub body: Vec<u8>,
}

impl Delivery {
    /// In bytes, what it takes in the queue. Very many very small messages are bounded too.
    pub(super) fn bytes(&self) -> usize {
        limits::BROKER_MESSAGE_BYTES + self.body.len() + self.topic.as_ref().map_or(0, String::len)
    }
}

/// What became of messages of one session.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Settled {
    /// The session.
    pub session: u64,
    /// All messages up to this number were taken, but for those that were rejected.
    pub through: Option<u64>,
    /// Messages that were no events.
    pub rejected: Vec<u64>,
}

impl Settled {
    pub(super) fn note(&mut self, ticket: Ticket, is_rejected: bool) {
        if ticket.session != self.session {
            // What the last connection brought can be acknowledged no more.
            *self = Self {
                session: ticket.session,
                ..Self::default()
            };
        }
        match is_rejected {
            true => self.rejected.push(ticket.number),
            false => self.through = Some(ticket.number),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.through.is_none() && self.rejected.is_empty()
    }
}

/// How the connection is doing, as the loop shows it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct ThreadLink {
    pub is_connected: bool,
    pub connects: u64,
    /// How often the broker has lost what it kept for newswire.
    pub queues_lost: u64,
    /// True exactly when the broker has refused, on the present connection, to send everything.
    pub is_everything_refused: bool,
    /// Why there is no connection.
    pub trouble: Option<String>,
}

#[derive(Default)]
pub(super) struct State {
    pub waiting: VecDeque<Delivery>,
    /// In bytes, `waiting`.
    pub bytes: usize,
    pub settled: Settled,
    pub link: ThreadLink,
    /// What the present connection is to be asked for (true), or no more (false).
    pub asks: Vec<(String, bool)>,
    /// What has happened since the loop last looked.
    pub counted: Vec<(Counter, u64)>,
    /// True exactly when the source is gone.
    pub is_over: bool,
}

/// What both ends share.
pub(super) struct ThreadShared {
    pub name: String,
    pub kind: Ingest,
    state: Mutex<State>,
    /// True exactly while `State::waiting` may have something.
    pub has_messages: AtomicBool,
    /// True exactly while `State::link` or `State::counted` is news for the loop.
    pub has_news: AtomicBool,
    /// Notified when the client has something to do.
    pub client: Notify,
    wake: Wake,
}

impl ThreadShared {
    pub fn new(kind: Ingest, name: String, wake: Wake) -> Self {
        Self {
            name,
            kind,
            state: Mutex::default(),
            has_messages: AtomicBool::new(false),
            has_news: AtomicBool::new(false),
            client: Notify::new(),
            wake,
        }
    }

    /// No code panics while it holds the lock, and if it did, every field would still be valid.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets `news`, and wakes the loop if that is a change.
    fn tell(&self, news: &AtomicBool) {
        if !news.swap(true, Ordering::AcqRel) {
            (self.wake)();
        }
    }
}

/// The client's end of the queue.
#[derive(Clone)]
pub struct Outlet(pub(super) Arc<ThreadShared>);

impl Outlet {
    /// Waits until there is something to do: messages were settled, topics are asked for, there is room, the source is
    /// gone.
    pub async fn changed(&self) {
        self.0.client.notified().await;
    }

    /// What was settled since the last call.
    pub fn take_settled(&self) -> Settled {
        let mut state = self.0.state();
        let next = Settled {
            session: state.settled.session,
            ..Settled::default()
        };
        std::mem::replace(&mut state.settled, next)
    }

    /// What the broker is to be asked for (true), or no more (false), since the last call. The empty topic is
    /// everything.
    pub fn take_asks(&self) -> Vec<(String, bool)> {
        std::mem::take(&mut self.0.state().asks)
    }

    /// Something has happened `n` times, which is counted.
    pub fn count(&self, counter: Counter, n: u64) {
        self.0.state().counted.push((counter, n));
        self.0.tell(&self.0.has_news);
    }

    /// Returns true when a further message may be pushed.
    pub fn has_room(&self) -> bool {
        self.0.state().bytes < limits::BROKER_QUEUE_BYTES_MAX
    }

    /// Returns true when the source is gone: the client says goodbye.
    pub fn is_over(&self) -> bool {
        self.0.state().is_over
    }

    /// Hands a message to the loop.
    pub fn push(&self, delivery: Delivery) {
        let mut state = self.0.state();
        state.bytes += delivery.bytes();
        state.waiting.push_back(delivery);
        drop(state);
        self.0.tell(&self.0.has_messages);
    }

    /// The broker has accepted the connection, and sends messages.
    pub fn connected(&self) {
        let mut state = self.0.state();
        state.link.is_connected = true;
        state.link.connects += 1;
        state.link.is_everything_refused = false;
        state.link.trouble = None;
        drop(state);
        let ThreadShared { kind, name, .. } = &*self.0;
        log::info!("{}: broker={name} connected", kind.name());
        self.0.tell(&self.0.has_news);
    }

    /// The broker refuses, for as long as this connection lasts, to send everything: the loop asks for single topics.
    pub fn everything_refused(&self) {
        self.0.state().link.is_everything_refused = true;
        self.0.tell(&self.0.has_news);
    }

    /// The broker does not keep events for newswire any more: somebody has deleted the queue.
    pub fn queue_lost(&self) {
        self.0.state().link.queues_lost += 1;
    }

    /// The connection is over, or did not come about.
    pub(super) fn lost(&self, trouble: &str, is_durable: bool) {
        let mut state = self.0.state();
        state.link.is_connected = false;
        state.link.trouble = Some(trouble.to_owned());
        state.asks = Vec::new();
        if is_durable {
            // The broker sends them again.
            state.waiting.clear();
            state.bytes = 0;
        }
        drop(state);
        self.0.tell(&self.0.has_news);
    }
}
