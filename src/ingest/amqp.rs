//! Events from RabbitMQ, over AMQP 0-9-1: one consumer on one queue, which is bound to one exchange.
//!
//! newswire declares everything that it needs, so nobody has to bind anything by hand: the exchange, as Web
//! Publisher's pusher declares it (durable, not deleted when unused), the queue, and one binding for each routing key.
//!
//! - Without a queue's name the queue is newswire's own. It ends with the connection, and what is published until the
//!   next connection is missed: at most once.
//! - A queue with a name is durable, and keeps events while newswire is away. A message is acknowledged when its event
//!   was handed to the subscribers: at least once. After a lost connection the broker sends again what was not
//!   acknowledged, so duplicates are possible. A queue has one reader at a time, so the order stays.
//!
//! A message that is no event is rejected without being queued again.
//!
//! Exchange and bindings are declared again every half a minute, since a broker does not say when somebody has
//! deleted them.
//!
//! The topics that clients want are not told to the broker: bindings are metadata of the whole cluster, and far too dear
//! for topics that come and go.
//!
//! Never here: threads and reconnecting (that is [`super::threaded`]), what a message says.

use std::time::Duration;

use amqprs::channel::{
    BasicAckArguments, BasicConsumeArguments, BasicQosArguments, BasicRejectArguments,
    ConsumerMessage, QueueBindArguments, QueueDeclareArguments,
};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::threaded::{Client, Delivery, Outlet, Settled, Ticket};
use crate::limits;
use crate::net::amqp::{ACCESS_REFUSED, ANSWER, AmqpLink, End, ExchangePlace, PRECONDITION_FAILED};

const REDECLARE: Duration = Duration::from_secs(limits::AMQP_REDECLARE_SECONDS);

/// Where events come from in a broker.
#[derive(Clone, Debug)]
pub struct AmqpOptions {
    /// The exchange. Without a name the queue is there already, and is bound by others.
    pub place: ExchangePlace,
    /// Routing keys of the bindings; none is the empty key.
    pub keys: Vec<String>,
    /// A durable queue; `None`: a queue of newswire's own.
    pub queue: Option<String>,
    /// In messages that the broker sends ahead of their acknowledgement.
    pub prefetch: u16,
}

/// A client of one broker.
pub struct Amqp {
    options: AmqpOptions,
}

impl Amqp {
    /// A client with `options`.
    pub fn new(options: AmqpOptions) -> Self {
        Self { options }
    }
}

impl Client for Amqp {
    async fn serve(&mut self, outlet: &Outlet, session: u64) -> String {
        let link = match AmqpLink::open(&self.options.place).await {
            Ok(link) => link,
            Err(trouble) => return trouble,
        };
        let options = &self.options;
        let consumer = Consumer {
            link,
            options,
            session,
        };
        consumer.serve(outlet).await
    }

    fn is_durable(&self) -> bool {
        self.options.queue.is_some()
    }

    fn is_asked_for_topics(&self) -> bool {
        // Bindings are metadata of the whole cluster, and far too dear for topics that come and go.
        false
    }
}

/// A connection to a broker, on which events come.
struct Consumer<'a> {
    link: AmqpLink,
    options: &'a AmqpOptions,
    session: u64,
}

impl Consumer<'_> {
    /// Declares what newswire needs, and hands messages over until something ends. Returns the reason.
    async fn serve(mut self, outlet: &Outlet) -> String {
        let (queue, mut messages) = match self.begin().await {
            Ok(begun) => begun,
            Err(trouble) => return trouble,
        };
        outlet.connected();
        let mut redeclare = interval(REDECLARE);
        redeclare.set_missed_tick_behavior(MissedTickBehavior::Delay);
        redeclare.tick().await;
        loop {
            let has_room = outlet.has_room();
            let connection = self.link.connection.clone();
            let done = tokio::select! {
                message = messages.recv(), if has_room => match message {
                    Some(message) => {
                        deliver(message, self.session, outlet);
                        continue;
                    }
                    None => ended(self.link.reason().await, outlet),
                },
                end = self.link.end() => ended(end, outlet),
                _ = connection.listen_network_io_failure() => ended(self.link.reason().await, outlet),
                _ = redeclare.tick() => self.declare(&queue).await,
                () = outlet.changed() => self.settle(outlet.take_settled()).await,
            };
            if outlet.is_over() {
                // Answers that came at last go before the goodbye.
                let _ = self.settle(outlet.take_settled()).await;
                let _ = timeout(ANSWER, self.link.connection.close()).await;
                return "the source is gone".to_owned();
            }
            if let Err(trouble) = done {
                return trouble;
            }
        }
    }

    /// Declares everything, and begins to consume.
    async fn begin(&mut self) -> Result<(String, UnboundedReceiver<ConsumerMessage>), String> {
        self.link.declare_exchange(&self.options.place).await?;
        let queue = self.declare_queue().await?;
        self.declare(&queue).await?;
        let qos = BasicQosArguments::new(0, self.options.prefetch, false);
        let limited = self.link.ask(async |channel| channel.basic_qos(qos).await);
        limited
            .await
            .map_err(|refused| refused.about("for the prefetch of newswire's consumer", ""))?;
        // Two readers would get a part of the events each. One of them may be a connection that is gone, as the broker
        // learns later: what was sent to it would come again behind newer events.
        let consume = BasicConsumeArguments::new(&queue, "")
            .exclusive(true)
            .finish();
        let consumed = self
            .link
            .ask(async |channel| channel.basic_consume_rx(consume).await);
        let (_, messages) = consumed.await.map_err(|refused| {
            let what = format!("to read the queue `{queue}`");
            let advice = "somebody else reads it (give each server a queue of its own), or does so for the broker, \
                          which has not noticed yet that a connection is gone; or the user of amqp needs the \
                          permission `read` for it";
            refused.about(&what, advice)
        })?;
        Ok((queue, messages))
    }

    /// Declares the queue, and returns its name.
    async fn declare_queue(&mut self) -> Result<String, String> {
        let declaration = match &self.options.queue {
            Some(name) => QueueDeclareArguments::durable_client_named(name),
            None => QueueDeclareArguments::exclusive_server_named()
                .auto_delete(true)
                .finish(),
        };
        let declared = self
            .link
            .ask(async |channel| channel.queue_declare(declaration).await);
        let refused = match declared.await {
            Ok(declared) => return Ok(declared.map(|(name, ..)| name).unwrap_or_default()),
            Err(refused) => refused,
        };
        let Some(name) = &self.options.queue else {
            let advice = "the user of amqp needs the permission `configure` for names that begin with amq.gen";
            return Err(refused.about("for a queue of its own", advice));
        };
        let what = format!("for the queue `{name}` (durable)");
        // Its owner has declared it otherwise (a quorum queue, say), or the user may only read it: then it is
        // taken as it is.
        if !matches!(refused.code(), Some(PRECONDITION_FAILED | ACCESS_REFUSED)) {
            return Err(refused.about(&what, ""));
        }
        self.link.reopen().await?;
        let declaration = QueueDeclareArguments::durable_client_named(name)
            .passive(true)
            .finish();
        let found = self
            .link
            .ask(async |channel| channel.queue_declare(declaration).await);
        found.await.map(|_| name.clone()).map_err(|_| {
            let advice =
                "the user of amqp needs the permission `configure` for it; amqp-queue names another";
            refused.about(&what, advice)
        })
    }

    /// Declares the exchange, and binds the queue to it. What is there already stays as it is.
    async fn declare(&mut self, queue: &str) -> Result<(), String> {
        let place = &self.options.place;
        if place.exchange.is_empty() {
            return Ok(());
        }
        self.link.declare_exchange(place).await?;
        let empty = [String::new()];
        let keys: &[String] = match &*self.options.keys {
            [] => &empty,
            keys => keys,
        };
        for key in keys {
            let arguments = QueueBindArguments::new(queue, &place.exchange, key);
            let bound = self
                .link
                .ask(async |channel| channel.queue_bind(arguments).await);
            bound.await.map_err(|refused| {
                let what = format!(
                    "to bind the queue `{queue}` to the exchange `{}` (amqp-exchange) with the key `{key}` \
                     (amqp-key)",
                    place.exchange
                );
                let advice = "the user of amqp needs the permissions `read` for the exchange and `write` for \
                              the queue";
                refused.about(&what, advice)
            })?;
        }
        Ok(())
    }

    /// Tells the broker what became of messages.
    async fn settle(&mut self, settled: Settled) -> Result<(), String> {
        // What an earlier connection has brought is the broker's again.
        if settled.session != self.session {
            return Ok(());
        }
        for number in settled.rejected {
            let reject = BasicRejectArguments::new(number, false);
            let rejected = self
                .link
                .ask(async |channel| channel.basic_reject(reject).await);
            rejected
                .await
                .map_err(|refused| refused.about("to reject a message", ""))?;
        }
        // Afterwards: the broker does not know a rejected message any more, and to acknowledge one is an error.
        let Some(through) = settled.through else {
            return Ok(());
        };
        let acknowledge = BasicAckArguments::new(through, true);
        let acknowledged = self
            .link
            .ask(async |channel| channel.basic_ack(acknowledge).await);
        acknowledged
            .await
            .map_err(|refused| refused.about("to acknowledge messages", ""))
    }
}

/// The broker, or the network, has ended something.
fn ended(end: Option<End>, outlet: &Outlet) -> Result<(), String> {
    let Some(end) = end else {
        return Err("the connection was lost".to_owned());
    };
    if end.is_of_queue() {
        outlet.queue_lost();
    }
    Err(end.to_string())
}

/// Hands a message to the loop.
fn deliver(message: ConsumerMessage, session: u64, outlet: &Outlet) {
    let (Some(deliver), Some(body)) = (message.deliver, message.content) else {
        return;
    };
    outlet.push(Delivery {
        ticket: Ticket {
            session,
            number: deliver.delivery_tag(),
        },
        topic: None,
        body,
    });
}
