//! A source whose client runs on a thread of its own: clients of brokers, which are written for an asynchronous
//! runtime.
//!
//! ```text
//! broker ─▶ Client (thread) ─ Outlet::push ─▶ queue, bounded in bytes ─ wakes the loop ─▶ Threaded::receive
//!    ◀─ acknowledge, reject ◀─ Outlet::take ◀──────── settled in this turn ◀── Threaded::flushed ◀─┘
//! ```
//! While the loop takes no events, the queue fills, the client stops reading, and the broker keeps the messages.
//! The client connects again by itself for as long as the source is there, with a pause that grows.
//!
//! Each connection is a session with a number. A [`Ticket`] names a message by its session and the number that the
//! broker has given it, so an acknowledgement never reaches another connection than the one that has brought the
//! message.
//!
//! Never here: what a broker is, and what is said to it.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use super::scope::Scope;
use super::subscriptions::Subscriptions;
use super::wanted::{TellBudget, Wanted};
use super::{Host, Parts, Received, Settlement, Source, SourceId};
use crate::health::{Health, Upstream};
use crate::limits;
use crate::stats::Ingest;

/// Wakes the loop, from any thread.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

const REPORT: Duration = Duration::from_secs(limits::REPORT_SECONDS);
const PAUSE_MAX: Duration = Duration::from_secs(limits::BROKER_PAUSE_SECONDS_MAX);
/// A connection that has lasted so long was a good one: the next pause is short again.
const LASTING: Duration = Duration::from_secs(limits::BROKER_LASTING_SECONDS);
const GOODBYE: Duration = Duration::from_secs(limits::BROKER_GOODBYE_SECONDS);

/// A client of a broker.
pub trait Client: Send + 'static {
    /// Connects, and serves this connection until it ends or [`Outlet::is_over`]. Returns the reason of the end, for
    /// operators, without a secret.
    fn serve(&mut self, outlet: &Outlet, session: u64) -> impl Future<Output = String>;

    /// Returns true when the broker keeps what was not acknowledged, and sends it again on the next connection.
    fn is_durable(&self) -> bool;

    /// Returns true when the broker is asked for single topics ([`ThreadOrders::wants`]), and not for everything.
    fn is_asked_for_topics(&self) -> bool;
}

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
    /// The topic, where the broker has one beside the data.
    pub topic: Option<String>,
    /// The data, or the whole envelope.
    pub data: Vec<u8>,
}

impl Delivery {
    fn bytes(&self) -> usize {
        self.data.len() + self.topic.as_ref().map_or(0, String::len)
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
    fn note(&mut self, ticket: Ticket, is_rejected: bool) {
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

    fn is_empty(&self) -> bool {
        self.through.is_none() && self.rejected.is_empty()
    }
}

/// How the connection is doing, as the loop shows it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct ThreadLink {
    is_connected: bool,
    connects: u64,
    /// Why there is no connection.
    trouble: Option<String>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Delivery>,
    /// In bytes, `waiting`.
    bytes: usize,
    settled: Settled,
    link: ThreadLink,
    /// Topics to ask the broker for (true), or no more (false).
    wants: Vec<(String, bool)>,
    /// True exactly when the source is gone.
    is_over: bool,
}

struct ThreadShared {
    name: String,
    kind: Ingest,
    state: Mutex<State>,
    /// True exactly while `State::waiting` may have something.
    has_messages: AtomicBool,
    /// True exactly while `State::link` is news for the loop.
    has_link_news: AtomicBool,
    /// Notified when the client has something to do.
    client: Notify,
    wake: Wake,
}

impl ThreadShared {
    /// No code panics while it holds the lock, and if it did, every field would still be valid.
    fn state(&self) -> MutexGuard<'_, State> {
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
pub struct Outlet(Arc<ThreadShared>);

/// What a client has to do.
#[derive(Debug, Default)]
pub struct ThreadOrders {
    /// To be acknowledged and rejected.
    pub settled: Settled,
    /// Topics to ask for (true), or no more (false).
    pub wants: Vec<(String, bool)>,
}

impl Outlet {
    /// Waits until there is something to do: orders, room, the end.
    pub async fn changed(&self) {
        self.0.client.notified().await;
    }

    /// The orders that have come since the last call.
    pub fn take(&self) -> ThreadOrders {
        let mut state = self.0.state();
        let session = state.settled.session;
        ThreadOrders {
            settled: std::mem::replace(
                &mut state.settled,
                Settled {
                    session,
                    ..Settled::default()
                },
            ),
            wants: std::mem::take(&mut state.wants),
        }
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
        state.link.trouble = None;
        drop(state);
        let ThreadShared { kind, name, .. } = &*self.0;
        log::info!("{}: broker={name} connected", kind.name());
        self.0.tell(&self.0.has_link_news);
    }

    /// The connection is over, or did not come about.
    fn lost(&self, trouble: &str, is_durable: bool) {
        let mut state = self.0.state();
        state.link.is_connected = false;
        state.link.trouble = Some(trouble.to_owned());
        state.wants.clear();
        if is_durable {
            // The broker sends them again.
            state.waiting.clear();
            state.bytes = 0;
        }
        drop(state);
        self.0.tell(&self.0.has_link_news);
    }
}

/// Runs `client` until the source is gone.
async fn run(mut client: impl Client, outlet: Outlet) {
    let mut pause = Duration::from_secs(1);
    let (mut reported, mut last): (Option<Instant>, String) = (None, String::new());
    for session in 1.. {
        let began = Instant::now();
        let trouble = survive(client.serve(&outlet, session)).await;
        if outlet.is_over() {
            return;
        }
        let was_connected = outlet.0.state().link.is_connected;
        outlet.lost(&trouble, client.is_durable());
        if was_connected && began.elapsed() >= LASTING {
            pause = Duration::from_secs(1);
        }
        let ThreadShared { kind, name, .. } = &*outlet.0;
        let is_due = reported.is_none_or(|at| at.elapsed() >= REPORT);
        if was_connected || trouble != last && is_due {
            let missed = match client.is_durable() {
                true => "the broker keeps the events",
                false => "events that are published meanwhile are missed",
            };
            log::warn!(
                "{}: broker={name} is not connected: {trouble}. newswire tries again; {missed}",
                kind.name()
            );
            reported = Some(Instant::now());
            last = trouble;
        }
        let deadline = Instant::now() + with_jitter(pause);
        pause = (pause * 2).min(PAUSE_MAX);
        while !outlet.is_over() && Instant::now() < deadline {
            tokio::select! {
                () = sleep(deadline.saturating_duration_since(Instant::now())) => {}
                () = outlet.changed() => {}
            }
        }
    }
}

/// What `serving` comes to. A panic of the client's library is a trouble like any other: the next connection may do
/// better.
async fn survive(serving: impl Future<Output = String>) -> String {
    let mut serving = pin!(serving);
    let survived = poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| serving.as_mut().poll(context)));
        let panicked = |_| Poll::Ready("its client panicked; standard error says where".to_owned());
        polled.unwrap_or_else(panicked)
    });
    survived.await
}

/// `pause`, or up to a quarter less, so that many servers do not come back at the same moment.
fn with_jitter(pause: Duration) -> Duration {
    let mut random = [0; 1];
    // Without a random number there is no jitter.
    let _ = getrandom::fill(&mut random);
    pause - pause * u32::from(random[0]) / (4 * 256)
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
    /// True exactly when the broker is asked for single topics.
    is_asked: bool,
    /// What the broker was asked for, if it is asked.
    subscriptions: Subscriptions,
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
        let shared = Arc::new(ThreadShared {
            name: name.clone(),
            kind,
            state: Mutex::default(),
            has_messages: AtomicBool::new(false),
            has_link_news: AtomicBool::new(false),
            client: Notify::new(),
            wake,
        });
        let outlet = Outlet(Arc::clone(&shared));
        let (is_durable, is_asked) = (client.is_durable(), client.is_asked_for_topics());
        let (ends, ended) = mpsc::channel();
        thread::Builder::new()
            .name(kind.name().to_owned())
            .spawn(move || {
                runtime.block_on(run(client, outlet));
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
            is_asked,
            subscriptions: Subscriptions::default(),
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
        let parts = [
            delivery.topic.as_ref().map(String::as_bytes),
            Some(&*delivery.data),
        ];
        Some(Received::Message {
            from: &self.shared.name,
            parts: Parts::from_iter(parts.into_iter().flatten()),
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
        if !self.shared.has_link_news.swap(false, Ordering::AcqRel) {
            return;
        }
        let link = self.shared.state().link.clone();
        if link.is_connected != self.link.is_connected {
            self.since = now;
        }
        if link.connects > self.link.connects {
            if self.link.connects > 0 && !self.is_durable {
                host.missed_events(self.shared.kind);
            }
            self.subscriptions.begin(now);
        }
        if !link.is_connected {
            self.subscriptions.end();
        }
        self.link = link;
    }

    fn note_topic(&mut self, topic: &Rc<str>) {
        if self.is_asked {
            self.subscriptions.note(topic);
        }
    }

    fn tell(&mut self, now: Duration, wanted: &dyn Wanted, budget: &mut TellBudget) {
        if !self.is_asked {
            return;
        }
        if let Some(decision) = self.subscriptions.decide(now, wanted) {
            decision.log(self.shared.kind, &self.shared.name, wanted);
        }
        let mut wants = Vec::new();
        self.subscriptions
            .tell(wanted, budget, &mut |topic, is_wanted| {
                wants.push((topic.to_owned(), is_wanted));
            });
        if !wants.is_empty() {
            self.shared.state().wants.extend(wants);
            self.shared.client.notify_one();
        }
    }

    fn timeout(&self, now: Duration) -> Option<Duration> {
        self.is_asked.then(|| self.subscriptions.timeout(now))?
    }

    fn asks_for_everything(&self) -> bool {
        !self.is_asked || self.subscriptions.has_everything()
    }

    fn lag(&self, now: Duration) -> Option<Duration> {
        Some(now.saturating_sub(self.waiting_since?))
    }

    fn health(&self, now: Duration) -> Option<Health<'_>> {
        let ThreadLink {
            is_connected,
            connects,
            ref trouble,
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
                asks_for_everything: !self.is_asked
                    || self.subscriptions.scope() == Scope::Everything,
                connects,
            }),
        })
    }
}

#[cfg(test)]
mod tests {
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
                        data: vec![b'x'; self.bytes],
                    });
                    self.delivered.send(number).expect("the test listens");
                }
                outlet.changed().await;
                let settled = outlet.take().settled;
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
}
