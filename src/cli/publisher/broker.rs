//! Publishing to a message broker: events wait in a queue for a thread, on which a client of the broker runs.
//!
//! Never here: what is said to a broker.

#![expect(
    clippy::disallowed_methods,
    reason = "a client on its own, whose deadlines are the operator's: no engine to hand the time to"
)]

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::sync::mpsc::{self, Sender};

use super::Publisher;
use crate::cli::Failure;
use crate::limits;

/// How often a full queue is looked at.
const POLL: Duration = Duration::from_millis(limits::BROKER_PUBLISH_LOOK_MILLISECONDS);

/// A connection to a broker, on which is published.
pub(super) trait BrokerLink: Sized + Send + 'static {
    /// Publishes until there are no more events, and all are confirmed.
    ///
    /// # Errors
    /// The reason, for the user.
    fn publish_all(
        &mut self,
        events: &mut mpsc::Receiver<Vec<u8>>,
    ) -> impl Future<Output = Result<(), String>>;

    /// Says goodbye.
    fn close(self) -> impl Future<Output = ()>;
}

/// The thread's other end.
pub(super) struct BrokerPublisher {
    queue: Option<Sender<Vec<u8>>>,
    outcome: Receiver<Result<(), String>>,
}

impl BrokerPublisher {
    /// Connects to the broker `place` with `open`, and starts the thread.
    ///
    /// # Errors
    /// The broker cannot be reached, or refuses.
    pub(super) fn connect<L: BrokerLink>(
        place: &str,
        open: impl Future<Output = Result<L, String>>,
    ) -> Result<Self, Failure> {
        let failed = |what: &dyn std::fmt::Display| Failure::Runtime(format!("{place}: {what}"));
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            // For the look-up of the broker's name.
            .max_blocking_threads(1)
            .build()
            .map_err(|error| failed(&error))?;
        let mut link = runtime.block_on(open).map_err(|trouble| failed(&trouble))?;
        let (queue, mut events) = mpsc::channel(limits::BROKER_PUBLISH_WAITING_MAX);
        let (ends, outcome) = channel();
        thread::Builder::new()
            .name("publish".to_owned())
            .spawn(move || {
                let published = runtime.block_on(link.publish_all(&mut events));
                // Nobody may listen any more.
                let _ = ends.send(published);
                // The broker is told goodbye within the runtime.
                runtime.block_on(link.close());
            })
            .map_err(|error| failed(&format_args!("cannot start a thread: {error}")))?;
        Ok(Self {
            queue: Some(queue),
            outcome,
        })
    }

    /// Waits for the end of the thread.
    fn end(&mut self, patience: Duration) -> Result<(), Failure> {
        self.queue = None;
        match self.outcome.recv_timeout(patience) {
            Ok(outcome) => outcome.map_err(Failure::Runtime),
            Err(RecvTimeoutError::Timeout) => Err(Failure::Runtime(
                "the broker has not confirmed everything in time".to_owned(),
            )),
            Err(RecvTimeoutError::Disconnected) => Err(Failure::Runtime(
                "publishing to the broker has failed".to_owned(),
            )),
        }
    }
}

impl Publisher for BrokerPublisher {
    fn send(&mut self, event: &[u8], deadline: Instant, timeout: Duration) -> Result<(), Failure> {
        while !self.has_room() {
            // The thread has ended, and says why.
            if self.queue.as_ref().is_none_or(Sender::is_closed) {
                return self.end(timeout);
            }
            // A broker that is short of memory takes nothing, and keeps the connection.
            if Instant::now() >= deadline {
                return Err(Failure::Runtime(format!(
                    "the broker took no further event within {} s: it may be short of memory or disk",
                    timeout.as_secs()
                )));
            }
            thread::sleep(POLL);
        }
        match self.try_send(event) {
            true => Ok(()),
            false => self.end(timeout),
        }
    }

    fn try_send(&mut self, event: &[u8]) -> bool {
        let queue = self.queue.as_ref();
        queue.is_some_and(|queue| queue.try_send(event.to_vec()).is_ok())
    }

    fn has_room(&self) -> bool {
        self.queue
            .as_ref()
            .is_some_and(|queue| queue.capacity() > 0)
    }

    fn finish(mut self: Box<Self>, deadline: Instant) -> Result<(), Failure> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.end(left.max(POLL))
    }
}
