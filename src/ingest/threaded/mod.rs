//! A source whose client runs on a thread of its own: clients of brokers, which are written for an asynchronous
//! runtime.
//!
//! ```text
//! broker ─▶ Client (thread) ─ Outlet::push ─▶ queue, bounded in bytes ─ wakes the loop ─▶ Threaded::receive
//!    ◀─ acknowledge, reject ◀─ Outlet::take_settled ◀─ settled in this turn ◀── Threaded::flushed ◀─┘
//!    ◀─ subscribe ◀─────────── Outlet::take_asks ◀──── topics that clients want ◀── Threaded::tell
//! ```
//! While the loop takes no events, the queue fills, the client stops reading, and the broker keeps the messages.
//! The client connects again by itself for as long as the source is there, with a pause that grows.
//!
//! Each connection is a session with a number. A [`Ticket`] names a message by its session and the number that the
//! broker has given it, so an acknowledgement never reaches another connection than the one that has brought the
//! message.
//!
//! Never here: what a broker is, and what is said to it.

mod outlet;
mod reconnect;

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;

pub use outlet::{Delivery, Outlet, Settled, Ticket};
use outlet::{ThreadLink, ThreadShared};

use super::scope::Scope;
use super::subscriptions::Subscriptions;
use super::wanted::{TellBudget, Wanted};
use super::{Host, Received, Settlement, Source, SourceId};
use crate::health::{Health, Upstream};
use crate::limits;
use crate::stats::Ingest;
use crate::wake::Wake;

const GOODBYE: Duration = Duration::from_secs(limits::BROKER_GOODBYE_SECONDS);

/// A client of a broker.
pub trait Client: Send + 'static {
    /// Connects, and serves this connection until it ends or [`Outlet::is_over`]. Returns the reason of the end, for
    /// operators, without a secret.
    fn serve(&mut self, outlet: &Outlet, session: u64) -> impl Future<Output = String>;

    /// Returns true when the broker keeps what was not acknowledged, and sends it again on the next connection.
    fn is_durable(&self) -> bool;

    /// Returns true when the broker is asked for single topics ([`Outlet::take_asks`]), and not for everything.
    fn is_asked_for_topics(&self) -> bool;
}

/// The loop's end of the queue.
pub struct Threaded {
    shared: Arc<ThreadShared>,
    /// What [`Source::receive`] has handed out.
    current: Option<Delivery>,
    /// What this turn has settled.
    settled: Settled,
    link: ThreadLink,
    /// Since when `link` is connected, or is not.
    since: Duration,
    /// Since when a message has waited.
    waiting_since: Option<Duration>,
    is_durable: bool,
    /// What the broker is asked for; `None`: everything, always.
    subscriptions: Option<Subscriptions>,
    /// The end of the thread closes it.
    ended: mpsc::Receiver<()>,
}

impl Threaded {
    /// Starts `client` on a thread. `name` is shown to operators.
    ///
    /// # Errors
    /// The system has no thread or no descriptors left.
    pub fn start(
        kind: Ingest,
        name: String,
        wake: Wake,
        client: impl Client,
    ) -> Result<Self, String> {
        let failed = |error| format!("{} {name}: {error}", kind.name());
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            // For the look-up of the broker's name.
            .max_blocking_threads(1)
            .build()
            .map_err(failed)?;
        let shared = Arc::new(ThreadShared::new(kind, name.clone(), wake));
        let outlet = Outlet(Arc::clone(&shared));
        let is_durable = client.is_durable();
        let subscriptions = client.is_asked_for_topics().then(Subscriptions::default);
        let (ends, ended) = mpsc::channel();
        thread::Builder::new()
            .name(kind.name().to_owned())
            .spawn(move || {
                runtime.block_on(reconnect::run(client, outlet));
                // The look-up of a name may still run, and nobody waits for it.
                runtime.shutdown_background();
                drop::<mpsc::Sender<()>>(ends);
            })
            .map_err(failed)?;
        Ok(Self {
            shared,
            current: None,
            settled: Settled::default(),
            link: ThreadLink::default(),
            since: Duration::ZERO,
            waiting_since: None,
            is_durable,
            subscriptions,
            ended,
        })
    }
}

impl Drop for Threaded {
    /// Waits for a moment: the last acknowledgements are on their way to the broker.
    fn drop(&mut self) {
        self.shared.state().is_over = true;
        self.shared.client.notify_one();
        if self.ended.recv_timeout(GOODBYE) == Err(RecvTimeoutError::Timeout) {
            let ThreadShared { kind, name, .. } = &*self.shared;
            log::warn!("{}: broker={name} took no goodbye", kind.name());
        }
    }
}

impl Source for Threaded {
    fn name(&self) -> &str {
        &self.shared.name
    }

    fn kind(&self) -> Ingest {
        self.shared.kind
    }

    fn is_ready(&self) -> bool {
        self.shared.has_messages.load(Ordering::Acquire)
    }

    fn receive(&mut self) -> Option<Received<'_>> {
        let mut state = self.shared.state();
        self.current = state.waiting.pop_front();
        let Some(delivery) = &self.current else {
            // A message that comes after this has the loop woken.
            self.shared.has_messages.store(false, Ordering::Release);
            self.waiting_since = None;
            return None;
        };
        let was_full = state.bytes >= limits::BROKER_QUEUE_BYTES_MAX;
        state.bytes -= delivery.bytes();
        if was_full && state.bytes < limits::BROKER_QUEUE_BYTES_MAX {
            self.shared.client.notify_one();
        }
        drop(state);
        let topic = delivery.topic.as_deref().map(str::as_bytes);
        Some(Received::Message {
            from: &self.shared.name,
            parts: topic.into_iter().chain([&*delivery.body]).collect(),
        })
    }

    fn settle(&mut self, settlement: Settlement) {
        if let Some(delivery) = self.current.take() {
            let is_rejected = matches!(settlement, Settlement::Dropped(_));
            self.settled.note(delivery.ticket, is_rejected);
        }
    }

    fn flushed(&mut self, _now: Duration) {
        if self.settled.is_empty() {
            return;
        }
        let settled = std::mem::take(&mut self.settled);
        let mut state = self.shared.state();
        if state.settled.session == settled.session {
            state.settled.through = settled.through.or(state.settled.through);
            state.settled.rejected.extend(settled.rejected);
        } else {
            state.settled = settled;
        }
        drop(state);
        self.shared.client.notify_one();
    }

    fn tend(&mut self, _: SourceId, now: Duration, _: &mut usize, host: &mut dyn Host) {
        if self.is_ready() {
            self.waiting_since.get_or_insert(now);
        }
        if !self.shared.has_news.swap(false, Ordering::AcqRel) {
            return;
        }
        let mut state = self.shared.state();
        let (link, counted) = (state.link.clone(), std::mem::take(&mut state.counted));
        drop(state);
        for (counter, n) in counted {
            host.count(counter, n);
        }
        if link.is_connected != self.link.is_connected {
            self.since = now;
        }
        let is_new = link.connects > self.link.connects;
        let has_gap = match self.is_durable {
            true => link.queues_lost > self.link.queues_lost,
            false => is_new && self.link.connects > 0,
        };
        if has_gap || is_new && !self.is_durable {
            host.note_joined(has_gap);
        }
        match &mut self.subscriptions {
            Some(subscriptions) if !link.is_connected => subscriptions.end(),
            Some(subscriptions) if is_new => subscriptions.begin(now),
            _ => {}
        }
        if let Some(subscriptions) = &mut self.subscriptions
            && link.is_everything_refused
        {
            subscriptions.refuse_everything();
        }
        self.link = link;
    }

    fn note_topic(&mut self, topic: &Rc<str>) {
        if let Some(subscriptions) = &mut self.subscriptions {
            subscriptions.note(topic);
        }
    }

    fn tell(&mut self, now: Duration, wanted: &dyn Wanted, budget: &mut TellBudget) {
        let Some(subscriptions) = &mut self.subscriptions else {
            return;
        };
        if let Some(decision) = subscriptions.decide(now, wanted) {
            decision.log(self.shared.kind, &self.shared.name, wanted);
        }
        let mut asks = Vec::new();
        subscriptions.tell(wanted, budget, &mut |topic, is_wanted| {
            asks.push((topic.to_owned(), is_wanted));
        });
        if asks.is_empty() {
            return;
        }
        let mut state = self.shared.state();
        // What was meant for an earlier connection is of no use to the next: that one is asked for everything anew.
        let is_same = state.link.connects == self.link.connects;
        if is_same && state.link.is_connected {
            state.asks.extend(asks);
            drop(state);
            self.shared.client.notify_one();
        }
    }

    fn asks_for_everything(&self) -> bool {
        let subscriptions = self.subscriptions.as_ref();
        subscriptions.is_none_or(Subscriptions::has_everything)
    }

    fn timeout(&self, now: Duration) -> Option<Duration> {
        self.subscriptions.as_ref()?.timeout(now)
    }

    fn lag(&self, now: Duration) -> Option<Duration> {
        let since = self.waiting_since.unwrap_or(now);
        Some(now.saturating_sub(since))
    }

    fn health(&self, now: Duration) -> Option<Health<'_>> {
        let ThreadLink {
            is_connected,
            connects,
            ref trouble,
            ..
        } = self.link;
        Some(Health {
            peers: usize::from(is_connected),
            refused: 0,
            upstream: Some(Upstream {
                state: match is_connected {
                    true => "connected",
                    false => "connecting",
                },
                is_connected,
                lasted: now.saturating_sub(self.since),
                trouble: trouble.as_deref(),
                asks_for_everything: self
                    .subscriptions
                    .as_ref()
                    .is_none_or(|subscriptions| subscriptions.scope() == Scope::Everything),
                connects,
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{Sender, channel};

    use super::*;
    use crate::ingest::zeromq::socket::tests::Nowhere;
    use crate::stats::Dropped;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Panics in its first session. In the second it delivers bodies of so many bytes, as many as there is room for,
    /// and tells what was settled.
    struct Script {
        bytes: usize,
        delivered: Sender<u64>,
        settled: Sender<Settled>,
    }

    impl Client for Script {
        async fn serve(&mut self, outlet: &Outlet, session: u64) -> String {
            assert_ne!(session, 1, "the first session is to fail");
            outlet.connected();
            let mut number = 0;
            while !outlet.is_over() {
                while outlet.has_room() && number < 5 {
                    number += 1;
                    outlet.push(Delivery {
                        ticket: Ticket { session, number },
                        topic: None,
                        body: vec![b'x'; self.bytes],
                    });
                    self.delivered.send(number).expect("the test listens");
                }
                outlet.changed().await;
                let settled = outlet.take_settled();
                if !settled.is_empty() {
                    self.settled.send(settled).expect("the test listens");
                }
            }
            "the test is over".to_owned()
        }

        fn is_durable(&self) -> bool {
            false
        }

        fn is_asked_for_topics(&self) -> bool {
            false
        }
    }

    /// The next message, for which the loop would be woken.
    fn receive(source: &mut Threaded, woken: &mpsc::Receiver<()>) {
        while source.receive().is_none() {
            woken.recv_timeout(PATIENCE).expect("the loop is woken");
        }
    }

    #[test]
    fn a_client_is_bounded_in_bytes_and_told_what_became_of_its_messages() {
        let ((delivered, deliveries), (settled, settlements)) = (channel(), channel());
        let (wakes, woken) = channel();
        let wakes = Mutex::new(wakes);
        let wake: Wake = Arc::new(move || {
            // It fails at the end of the test.
            let _ = wakes.lock().expect("no panic").send(());
        });
        let script = Script {
            bytes: limits::BROKER_QUEUE_BYTES_MAX,
            delivered,
            settled,
        };
        let source = Threaded::start(Ingest::Amqp, "a broker".to_owned(), wake, script);
        let mut source = source.expect("a thread");
        receive(&mut source, &woken);
        source.tend(SourceId(0), Duration::ZERO, &mut 1, &mut Nowhere);
        let health = source.health(Duration::ZERO).expect("it has a connection");
        assert!(
            health
                .upstream
                .is_some_and(|upstream| upstream.is_connected)
        );
        // A message fills the queue, so there is never more than one.
        assert_eq!(deliveries.recv_timeout(PATIENCE), Ok(1));
        source.settle(Settlement::Taken);
        receive(&mut source, &woken);
        source.settle(Settlement::Dropped(Dropped::BadJson));
        receive(&mut source, &woken);
        source.settle(Settlement::Taken);
        receive(&mut source, &woken);
        source.settle(Settlement::Dropped(Dropped::Empty));
        assert!(settlements.try_recv().is_err(), "not before the flush");
        source.flushed(Duration::ZERO);
        let expected = Settled {
            session: 2,
            through: Some(3),
            rejected: vec![2, 4],
        };
        assert_eq!(settlements.recv_timeout(PATIENCE), Ok(expected));
        assert!(deliveries.try_iter().count() <= 4);
    }

    /// Finds no broker, and tells each time that it has looked for one.
    struct Nobody(Sender<()>);

    impl Client for Nobody {
        async fn serve(&mut self, _: &Outlet, _: u64) -> String {
            self.0.send(()).expect("the test listens");
            "nobody is there".to_owned()
        }

        fn is_durable(&self) -> bool {
            false
        }

        fn is_asked_for_topics(&self) -> bool {
            false
        }
    }

    #[test]
    fn a_source_that_is_gone_looks_for_its_broker_no_more() {
        let ((looked, looks), (woken, wakes)) = (channel(), channel());
        let wake: Wake = Arc::new(move || {
            let _ = woken.send(());
        });
        let source = Threaded::start(Ingest::Nats, "a broker".to_owned(), wake, Nobody(looked));
        let source = source.expect("a thread");
        assert_eq!(looks.recv_timeout(PATIENCE), Ok(()));
        // The loop is told of the loss, and the client pauses.
        assert_eq!(wakes.recv_timeout(PATIENCE), Ok(()));
        drop(source);
        assert_eq!(looks.try_recv().ok(), None);
    }
}
