//! Publishing to an exchange of RabbitMQ, as Web Publisher does: not durable, `text/plain`.
//!
//! The broker confirms each message (RabbitMQ's publisher confirms), and returns one for which no queue is bound: then
//! no server would ever see it.
//!
//! Never here: declaring queues, which is the consumer's affair.

#![expect(
    clippy::disallowed_methods,
    reason = "a client on its own, whose deadlines are the operator's: no engine to hand the time to"
)]

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use amqprs::BasicProperties;
use amqprs::channel::{BasicPublishArguments, ConfirmSelectArguments};
use tokio::runtime::Builder;
use tokio::sync::mpsc::{self, Sender};
use tokio::time::timeout;

use super::{AmqpExchange, Publisher};
use crate::cli::Failure;
use crate::net::amqp::{ANSWER, AmqpLink, Connector, ExchangePlace, Notice};
use crate::net::tls;

/// In events that may wait for the broker, and for its confirmation.
const WAITING_MAX: usize = 256;

/// How often a full queue is looked at.
const POLL: Duration = Duration::from_millis(10);

/// The thread's other end.
pub(super) struct AmqpPublisher {
    queue: Option<Sender<Vec<u8>>>,
    outcome: Receiver<Result<(), String>>,
}

impl AmqpPublisher {
    /// Connects, and declares the exchange as Web Publisher does.
    ///
    /// # Errors
    /// The broker cannot be reached, or refuses.
    pub(super) fn connect(exchange: &AmqpExchange) -> Result<Self, Failure> {
        let connector = match exchange.address.scheme.is_tls {
            true => {
                let connector = tls::load("broker-ca", &exchange.authorities);
                Some(Connector(connector.map_err(Failure::Usage)?))
            }
            false => None,
        };
        let place = ExchangePlace {
            address: exchange.address.clone(),
            connector,
            exchange: exchange.name.clone(),
            exchange_type: exchange.kind.clone(),
        };
        let key = exchange.key.clone();
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .max_blocking_threads(1)
            .build()
            .map_err(|error| Failure::Runtime(format!("AMQP: {error}")))?;
        let mut link = runtime
            .block_on(open(&place))
            .map_err(|trouble| Failure::Runtime(format!("{}: {trouble}", place.address.place())))?;
        let (queue, mut events) = mpsc::channel(WAITING_MAX);
        let (ends, outcome) = channel();
        thread::Builder::new()
            .name("amqp".to_owned())
            .spawn(move || {
                let published = runtime.block_on(publish_all(&mut link, &place, &key, &mut events));
                // Nobody may listen any more.
                let _ = ends.send(published);
                // The broker is told goodbye within the runtime.
                let _ = runtime.block_on(timeout(ANSWER, link.connection.close()));
            })
            .map_err(|error| Failure::Runtime(format!("cannot start a thread: {error}")))?;
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
                "publishing over AMQP has failed".to_owned(),
            )),
        }
    }
}

impl Publisher for AmqpPublisher {
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

async fn open(place: &ExchangePlace) -> Result<AmqpLink, String> {
    let mut link = AmqpLink::open(place).await?;
    link.declare_exchange(place).await?;
    let confirms = ConfirmSelectArguments::new(false);
    let asked = link.ask(async |channel| channel.confirm_select(confirms).await);
    asked
        .await
        .map_err(|refused| refused.about("publisher confirms", ""))?;
    Ok(link)
}

/// Publishes until there are no more events and all are confirmed.
async fn publish_all(
    link: &mut AmqpLink,
    place: &ExchangePlace,
    key: &str,
    events: &mut mpsc::Receiver<Vec<u8>>,
) -> Result<(), String> {
    let properties = BasicProperties::default()
        .with_content_type("text/plain")
        .finish();
    let arguments = BasicPublishArguments::new(&place.exchange, key)
        .mandatory(true)
        .finish();
    let (mut sent, mut confirmed, mut is_complete) = (0_u64, 0_u64, false);
    while !is_complete || confirmed < sent {
        let has_room = sent - confirmed < WAITING_MAX as u64 && !is_complete;
        tokio::select! {
            event = events.recv(), if has_room => match event {
                Some(event) => {
                    let (properties, arguments) = (properties.clone(), arguments.clone());
                    link.ask(async |channel| {
                        channel.basic_publish(properties, event, arguments).await
                    })
                    .await
                    .map_err(|refused| refused.about("to publish", ""))?;
                    sent += 1;
                }
                None => is_complete = true,
            },
            notice = link.notices.recv() => match notice {
                Some(Notice::Confirmed { number, are_all: true }) => confirmed = confirmed.max(number),
                Some(Notice::Confirmed { .. }) => confirmed += 1,
                Some(Notice::Unroutable) => return Err(format!(
                    "no queue is bound to the exchange `{}` with the key `{key}`, so nobody would get the event: is \
                     newswire running, and connected to this broker (amqp)?",
                    place.exchange
                )),
                Some(Notice::End(end)) => return Err(end.to_string()),
                None => return Err("the connection to the broker was lost".to_owned()),
            },
        }
    }
    Ok(())
}
