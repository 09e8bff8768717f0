//! Publishing by HTTP: `POST /publish`, on a thread that waits for the answers.
//!
//! Events that wait while an answer is due go together in the next request.
//!
//! Never here: the request on the wire (that is `cli/http`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Publisher;
use crate::cli::Failure;
use crate::cli::http::Listener;
use crate::wire::token::Token;

/// In events that may wait.
const WAITING_MAX: usize = 256;

/// In bytes: so much of them goes in one request, unless a single event is longer.
const BODY_BYTES: usize = 64 * 1024;

/// The thread's other end.
pub(super) struct Poster {
    queue: Option<SyncSender<Vec<u8>>>,
    /// In events that were not taken out of the queue yet.
    waiting: Arc<AtomicUsize>,
    thread: Option<JoinHandle<Result<(), Failure>>>,
}

impl Poster {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(super) fn start(
        listener: &Listener,
        token: Option<&Token>,
        prints_ids: bool,
    ) -> Result<Self, Failure> {
        let (queue, events) = sync_channel(WAITING_MAX);
        let waiting = Arc::new(AtomicUsize::new(0));
        let (listener, token, count) = (listener.clone(), token.cloned(), Arc::clone(&waiting));
        let thread = thread::Builder::new()
            .name("publish".to_owned())
            .spawn(move || post_all(&listener, token.as_ref(), prints_ids, &events, &count))
            .map_err(|error| Failure::Runtime(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            queue: Some(queue),
            waiting,
            thread: Some(thread),
        })
    }

    /// Why the thread has ended.
    fn outcome(&mut self) -> Result<(), Failure> {
        self.queue = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(outcome)) => outcome,
            _ => Err(Failure::Runtime("publishing by HTTP has failed".to_owned())),
        }
    }
}

impl Publisher for Poster {
    fn send(&mut self, event: &[u8], _: Instant, _: Duration) -> Result<(), Failure> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let sent = self.queue.as_ref().map(|queue| queue.send(event.to_vec()));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => self.outcome(),
        }
    }

    fn try_send(&mut self, event: &[u8]) -> bool {
        let Some(queue) = &self.queue else {
            return false;
        };
        self.waiting.fetch_add(1, Ordering::Relaxed);
        match queue.try_send(event.to_vec()) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                false
            }
        }
    }

    fn has_room(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) < WAITING_MAX
    }

    fn finish(mut self: Box<Self>, _: Instant) -> Result<(), Failure> {
        self.outcome()
    }
}

/// Posts events until there are no more. Each request has a time-out of its own.
fn post_all(
    listener: &Listener,
    token: Option<&Token>,
    prints_ids: bool,
    events: &Receiver<Vec<u8>>,
    waiting: &AtomicUsize,
) -> Result<(), Failure> {
    while let Ok(event) = events.recv() {
        let mut batch = vec![event];
        let mut bytes = batch[0].len();
        while bytes < BODY_BYTES
            && let Ok(event) = events.try_recv()
        {
            bytes += event.len();
            batch.push(event);
        }
        waiting.fetch_sub(batch.len(), Ordering::Relaxed);
        let texts: Vec<_> = batch
            .iter()
            .map(|event| String::from_utf8_lossy(event))
            .collect();
        let body = match &*texts {
            [event] => event.to_string(),
            events => format!("[{}]", events.join(",")),
        };
        let answer = listener
            .post("/publish", token, &body)
            .map_err(Failure::Runtime)?;
        if prints_ids {
            let ids = ids(&answer);
            if ids.len() != batch.len() {
                return Err(Failure::Runtime(format!(
                    "{listener}publish has taken the events, but does not name their ids"
                )));
            }
            let lines: String = ids.iter().map(|id| format!("{id}\n")).collect();
            crate::cli::print(&lines);
        }
    }
    Ok(())
}

/// The ids in an answer: `id` of one event, or `ids` of a batch.
fn ids(answer: &Value) -> Vec<&str> {
    let of_batch = answer["ids"].as_array().into_iter().flatten();
    let all = answer.get("id").into_iter().chain(of_batch);
    all.filter_map(Value::as_str).collect()
}
