//! Events from NATS: core subjects, at most once.
//!
//! The topic is what follows the prefix in a message's subject, and the payload is the event's data. newswire subscribes
//! to the topics that clients want (`topics`), and so a server sends nothing that nobody wants. Beyond a bound it
//! subscribes to everything that has the prefix.
//!
//! While the loop takes no events, the connection is not read. The server then keeps what it can, and ends the connection
//! of such a slow consumer after some seconds: that is a gap like that of any other lost connection.
//!
//! Never here: threads and connecting again (that is [`super::threaded`]), what a payload says.

mod topics;

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::threaded::{Client, Delivery, Outlet, Ticket};
use crate::limits;
use crate::net::nats::{NatsLink, NatsPlace};
use crate::stats::Counter;
use crate::wire::nats::{PONG, ServerOp};
use topics::{NatsRefusal, NatsTopics, NotCarried};

const ALIVE: Duration = Duration::from_secs(limits::NATS_PING_SECONDS);
const REPORT: Duration = Duration::from_secs(limits::REPORT_SECONDS);
/// A connection that was not read so lately may have ended because of that.
const LATELY: Duration = Duration::from_secs(limits::REPORT_SECONDS);

/// A client of one server.
pub struct Nats {
    place: NatsPlace,
    /// What subjects begin with.
    prefix: String,
    /// True once the log has said that a topic cannot be asked for.
    has_said: bool,
}

impl Nats {
    /// A client of the server at `place`, for subjects that begin with `prefix`.
    pub fn new(place: NatsPlace, prefix: String) -> Self {
        Self {
            place,
            prefix,
            has_said: false,
        }
    }
}

impl Client for Nats {
    async fn serve(&mut self, outlet: &Outlet, session: u64) -> String {
        let link = match NatsLink::open(&self.place).await {
            Ok(link) => link,
            Err(trouble) => return trouble,
        };
        outlet.connected();
        let connection = NatsConnection {
            topics: NatsTopics::new(&self.prefix),
            link,
            session,
            began: Instant::now(),
            received: 0,
            unread_at: None,
            reported: None,
            place: self.place.address.place(),
            has_said: &mut self.has_said,
        };
        match connection.serve(outlet).await {
            Ok(()) => "the source is gone".to_owned(),
            Err(trouble) => trouble,
        }
    }

    fn is_durable(&self) -> bool {
        false
    }

    fn is_asked_for_topics(&self) -> bool {
        true
    }
}

/// One connection.
struct NatsConnection<'a> {
    link: NatsLink,
    topics: NatsTopics,
    session: u64,
    began: Instant,
    /// In messages that were taken.
    received: u64,
    /// When the connection was last left unread because the loop took no events.
    unread_at: Option<Instant>,
    /// When the log last told what the server refuses.
    reported: Option<Instant>,
    place: String,
    has_said: &'a mut bool,
}

impl NatsConnection<'_> {
    /// Hands messages over until the source is gone.
    ///
    /// # Errors
    /// The connection is over, for this reason.
    async fn serve(mut self, outlet: &Outlet) -> Result<(), String> {
        let mut alive = interval(ALIVE);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        alive.tick().await;
        while !outlet.is_over() {
            let is_read = self.receive(outlet)?;
            if !is_read {
                // What is not read shows no answer.
                alive.reset();
            }
            let deadline = self.topics.deadline().map(|at| self.began + at);
            let NatsLink { reader, writer, .. } = &mut self.link;
            tokio::select! {
                read = reader.fill(), if is_read => read.map_err(|why| self.explain_loss(why))?,
                written = writer.flush(), if writer.has_unsent() => {
                    written.map_err(|error| self.explain_loss(format!("the connection was lost: {error}")))?;
                }
                () = sleep_until(deadline.unwrap_or(self.began)), if deadline.is_some() => {
                    self.topics.handle_time(self.began.elapsed(), self.link.writer.out());
                }
                _ = alive.tick(), if is_read => {
                    if !self.topics.ask_alive(self.link.writer.out()) {
                        return Err("the server does not answer any more".to_owned());
                    }
                }
                () = outlet.changed() => {
                    // Nothing is acknowledged here.
                    outlet.take_settled();
                    self.ask(outlet);
                }
            }
            let unsent = self.link.writer.unsent();
            if unsent > limits::NATS_UNSENT_BYTES_MAX {
                return Err(format!(
                    "the server does not read what newswire asks for: {unsent} bytes wait for it"
                ));
            }
        }
        Ok(())
    }

    /// Takes what was read, as far as there is room. Returns true when all of it was taken.
    fn receive(&mut self, outlet: &Outlet) -> Result<bool, String> {
        while outlet.has_room() {
            match self.link.reader.ready()? {
                None => return Ok(true),
                Some(op) => self.handle(op, outlet)?,
            }
        }
        self.unread_at = Some(Instant::now());
        Ok(false)
    }

    fn handle(&mut self, op: ServerOp, outlet: &Outlet) -> Result<(), String> {
        match op {
            ServerOp::Message {
                sid,
                subject,
                payload,
            } => self.deliver(sid, &subject, payload, outlet),
            ServerOp::Ping => self.link.writer.push(PONG),
            ServerOp::Pong => self.topics.handle_pong(self.link.writer.out()),
            ServerOp::Info(info) if info.is_ending => {
                return Err("the server is about to end, and sends its clients away".to_owned());
            }
            ServerOp::Error(text) => self.handle_error(&text, outlet)?,
            ServerOp::Info(_) | ServerOp::Ok => {}
        }
        Ok(())
    }

    /// Hands a message to the loop.
    fn deliver(&mut self, sid: u64, subject: &str, payload: Vec<u8>, outlet: &Outlet) {
        if !self.topics.takes(sid) {
            return;
        }
        let Some(topic) = self.topics.topic(subject) else {
            return;
        };
        self.received += 1;
        outlet.push(Delivery {
            ticket: Ticket {
                session: self.session,
                number: self.received,
            },
            topic: Some(topic.to_owned()),
            body: payload,
        });
    }

    /// The server refuses something. It ends the connection itself where that follows.
    fn handle_error(&mut self, text: &str, outlet: &Outlet) -> Result<(), String> {
        // Only these leave the connection as it is.
        let lower = text.to_ascii_lowercase();
        if !lower.contains("permissions violation") && !lower.contains("maximum subscriptions") {
            return Err(format!("the server ended the connection: {text}"));
        }
        outlet.count(Counter::SubscriptionsRefused, 1);
        if self.topics.handle_refusal(text, self.began.elapsed()) == NatsRefusal::Everything {
            outlet.everything_refused();
            log::warn!(
                "nats: broker={} refuses a subscription to all subjects behind the prefix: {text:?}. newswire goes on \
                 with single topics, at most {} of them; events of further topics, and those that clients want by a \
                 prefix, do not come from there. Give newswire's user the permission to subscribe to \"{}>\", and as \
                 many subscriptions as it needs",
                self.place,
                limits::SUB_TOPICS_MAX,
                self.topics.prefix()
            );
            return Ok(());
        }
        if self.reported.is_none_or(|at| at.elapsed() >= REPORT) {
            self.reported = Some(Instant::now());
            log::warn!(
                "nats: broker={} refuses a subscription: {text:?}. newswire asked for a topic behind the prefix \
                 (nats-prefix); its events do not come from there (subscriptions_refused counts all of them)",
                self.place
            );
        }
        Ok(())
    }

    /// Subscribes to what the loop asks for.
    fn ask(&mut self, outlet: &Outlet) {
        let now = self.began.elapsed();
        for (topic, is_wanted) in outlet.take_asks() {
            let out = self.link.writer.out();
            let Err(NotCarried) = self.topics.ask(&topic, is_wanted, now, out) else {
                continue;
            };
            outlet.count(Counter::TopicsNotCarried, 1);
            if !std::mem::replace(self.has_said, true) {
                log::warn!(
                    "nats: broker={} cannot be asked for topic={topic:?}: subjects have no white space, no `*`, no \
                     `>`, no empty part and at most 4,000 bytes. Its events come from other sources only. Further \
                     such topics are only counted (topics_not_carried)",
                    self.place
                );
            }
        }
    }

    fn explain_loss(&self, why: String) -> String {
        let was_unread = self.unread_at.is_some_and(|at| at.elapsed() < LATELY);
        match was_unread {
            true => format!(
                "{why}. newswire had left it unread, because its clients were slow (slow consumer)"
            ),
            false => why,
        }
    }
}
