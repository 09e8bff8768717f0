//! SUB sockets: newswire connects to publishers that have bound, and asks them for topics.
//!
//! A socket lives for one connection. When the connection is lost or does not come, the [`Sub`] makes the next
//! socket (`Uplink` says when and for which address), and asks for all topics anew
//! (`Subscriptions`). The old socket stays until its last message was received.
//!
//! Never here: how messages are received (the same for all sockets), and what they say.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::monitor::{Monitor, PeerEvent};
use super::socket::{Socket, prepare};
use super::uplink::Uplink;
use super::{PeerRules, SetUpError, SourceError};
use crate::health::Health;
use crate::ingest::scope::Scope;
use crate::ingest::subscriptions::Subscriptions;
use crate::ingest::wanted::{TellBudget, Wanted};
use crate::ingest::{Descriptor, Host, Received, Source, SourceId};
use crate::limits;
use crate::net::Address;
use crate::net::names::Resolve;
use crate::stats::Ingest;

/// In milliseconds after which libzmq connects again by itself: so late that it never comes to that.
const RECONNECT_MILLISECONDS: i32 = 3_600_000;

/// One publisher that newswire connects to.
pub struct Sub {
    context: zmq::Context,
    rules: PeerRules,
    pub(super) socket: Socket,
    uplink: Uplink,
    subscriptions: Subscriptions,
    /// In peers that were refused since the start.
    refused: u64,
}

impl fmt::Debug for Sub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sub")
            .field("uplink", &self.uplink)
            .finish_non_exhaustive()
    }
}

impl Sub {
    /// Begins to connect to `endpoint` at `now`. A name is resolved by `resolve` on a thread, which calls
    /// `wake` with each answer.
    ///
    /// # Errors
    /// `endpoint` is not one that could be connected to, or there is no thread left.
    pub fn open(
        context: &zmq::Context,
        endpoint: &str,
        rules: PeerRules,
        now: Duration,
        resolve: impl Resolve,
        wake: impl Fn() + Send + 'static,
    ) -> Result<Self, SourceError> {
        let (uplink, address) = Uplink::open(endpoint, now, resolve, wake)?;
        Ok(Self {
            context: context.clone(),
            rules,
            socket: open_socket(context, endpoint, rules, address.as_ref())?,
            uplink,
            subscriptions: Subscriptions::default(),
            refused: 0,
        })
    }
}

impl Source for Sub {
    fn name(&self) -> &str {
        self.uplink.endpoint()
    }

    fn kind(&self) -> Ingest {
        Ingest::Sub
    }

    fn is_ready(&self) -> bool {
        self.socket.is_ready()
    }

    fn receive(&mut self) -> Option<Received<'_>> {
        self.socket.receive()
    }

    fn tend(&mut self, id: SourceId, now: Duration, budget: &mut usize, host: &mut dyn Host) {
        while let Some(event) = self.socket.poll_peer(budget) {
            if let PeerEvent::Refused(refusal) = event {
                self.refused += 1;
                host.refused_peer(Ingest::Sub, self.uplink.endpoint(), refusal);
            }
            self.uplink
                .follow(now, event, &mut self.subscriptions, host);
        }
        // After the peer's end was read.
        let has_messages = self.socket.is_ready();
        let Some(address) = self.uplink.dial(now, has_messages) else {
            return;
        };
        let endpoint = self.uplink.endpoint();
        match open_socket(&self.context, endpoint, self.rules, Some(&address)) {
            Ok(next) => {
                self.socket.unwatch(host);
                if let Err(error) = next.watch(id, host) {
                    log::error!("sub: endpoint={endpoint} error={error}");
                }
                self.socket = next;
            }
            Err(error) => {
                self.uplink.handle_failure(now, &error);
                self.subscriptions.end();
            }
        }
    }

    fn watch(&self, id: SourceId, host: &mut dyn Host) -> io::Result<()> {
        self.socket.watch(id, host)
    }

    fn handle_readiness(&mut self, descriptor: Descriptor) {
        self.socket.handle_readiness(descriptor);
    }

    fn note_topic(&mut self, topic: &Rc<str>) {
        self.subscriptions.note(topic);
    }

    fn tell(&mut self, now: Duration, wanted: &dyn Wanted, budget: &mut TellBudget) {
        if let Some(decision) = self.subscriptions.decide(now, wanted) {
            decision.log(Ingest::Sub, self.uplink.endpoint(), wanted);
        }
        let socket = &mut self.socket;
        self.subscriptions
            .tell(wanted, budget, &mut |topic, is_wanted| {
                socket.ask(topic, is_wanted);
            });
    }

    fn asks_for_everything(&self) -> bool {
        self.subscriptions.has_everything()
    }

    fn timeout(&self, now: Duration) -> Option<Duration> {
        if self.socket.has_peer_events() {
            return Some(Duration::ZERO);
        }
        let dial = self.uplink.deadline().map(|at| at.saturating_sub(now));
        let next = [dial, self.subscriptions.timeout(now)];
        next.into_iter().flatten().min()
    }

    fn health(&self, now: Duration) -> Option<Health<'_>> {
        let asks_for_everything = self.subscriptions.scope() == Scope::Everything;
        let upstream = self.uplink.upstream(now, asks_for_everything);
        Some(Health {
            peers: match upstream.is_connected {
                true => self.socket.peers(),
                false => 0,
            },
            refused: self.refused,
            upstream: Some(upstream),
        })
    }
}

/// A SUB socket without subscriptions for the publisher at `endpoint`. It connects to `address` in the
/// background, if there is an address yet.
fn open_socket(
    context: &zmq::Context,
    endpoint: &str,
    rules: PeerRules,
    address: Option<&Address>,
) -> Result<Socket, SourceError> {
    let set_up = || {
        let socket = context.socket(zmq::SUB)?;
        let place = address.map(Address::to_string).unwrap_or_default();
        prepare(&socket, &place, rules)?;
        socket.set_sndhwm(limits::SUBSCRIPTIONS_QUEUED_MAX)?;
        socket.set_reconnect_ivl(RECONNECT_MILLISECONDS)?;
        let monitor = Monitor::attach(context, &socket)?;
        if address.is_some() {
            socket.connect(&place)?;
        }
        Ok::<_, SetUpError>((socket, monitor, endpoint.to_owned()))
    };
    Socket::new("connect to", endpoint, set_up())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::health::Upstream;
    use crate::ingest::zeromq::pull::Pull;
    use crate::ingest::zeromq::socket::tests::{Nowhere, RULES};
    use crate::ingest::zeromq::socket_file::FileAccess;
    use crate::net::HostPort;
    use crate::net::names::Answer;

    /// In turns of some milliseconds.
    const TURNS_MAX: usize = 6_000;
    const TURN: Duration = Duration::from_millis(5);

    /// A nameserver that answers with what a test hands to it, when it does.
    struct Nameserver(Receiver<Answer>);

    impl Resolve for Nameserver {
        fn resolve(&mut self, _: &HostPort) -> Answer {
            let answer = self.0.recv();
            answer.unwrap_or_else(|_| Err("the test is over".to_owned()))
        }
    }

    /// The topics that are wanted.
    struct Hub(Vec<Rc<str>>);

    impl Wanted for Hub {
        fn is_wanted(&self, topic: &str) -> bool {
            self.0.iter().any(|name| &**name == topic)
        }
        fn topics(&self) -> usize {
            self.0.len()
        }
        fn bytes(&self) -> usize {
            self.0.iter().map(|name| name.len()).sum()
        }
        fn places(&self) -> u32 {
            self.0.len() as u32
        }
        fn topic_at(&self, place: u32) -> Option<Rc<str>> {
            self.0.get(place as usize).cloned()
        }
    }

    /// A server's part of one SUB.
    struct Rig {
        sub: Sub,
        now: Duration,
        hub: Hub,
        answers: Sender<Answer>,
        received: Vec<String>,
    }

    impl Rig {
        fn open(context: &zmq::Context, endpoint: &str) -> Self {
            let (answers, asked) = channel();
            let now = Duration::ZERO;
            let opened = Sub::open(context, endpoint, RULES, now, Nameserver(asked), || {});
            Self {
                sub: opened.expect("an endpoint"),
                now,
                hub: Hub(vec!["t".into()]),
                answers,
                received: Vec::new(),
            }
        }

        fn turn(&mut self) {
            // Waits for a message, so that the others get on.
            let _ = self.sub.socket.zeromq().poll(zmq::POLLIN, 5);
            self.now += TURN;
            self.sub.handle_readiness(Descriptor::Messages);
            self.sub.handle_readiness(Descriptor::Peers);
            while let Some(received) = self.sub.receive() {
                if let Received::Message { parts, .. } = received {
                    self.received.push(String::from_utf8_lossy(parts[1]).into());
                }
            }
            self.sub
                .tend(SourceId(0), self.now, &mut usize::MAX.clone(), &mut Nowhere);
            let mut budget = TellBudget::new(limits::TURN_TOPIC_BYTES_MAX);
            self.sub.tell(self.now, &self.hub, &mut budget);
        }

        fn until(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> bool) {
            for _ in 0..TURNS_MAX {
                if condition(self) {
                    return;
                }
                self.turn();
            }
            panic!("{what}: {:?}", self.upstream());
        }

        /// Until what `publisher` sends has been received.
        fn receives(&mut self, publisher: &zmq::Socket, data: &str) {
            self.until(data, |rig| {
                publisher.send_multipart(["t", data], 0).expect("sent");
                rig.received.iter().any(|text| text == data)
            });
        }

        fn upstream(&self) -> Upstream<'_> {
            let health = self.sub.health(self.now).expect("it has connections");
            health.upstream.expect("it connects out")
        }
    }

    /// A socket bound to `endpoint`, as soon as that is free, and where that is.
    fn bound(
        context: &zmq::Context,
        kind: zmq::SocketType,
        endpoint: &str,
    ) -> (zmq::Socket, SocketAddr) {
        let socket = context.socket(kind).expect("a socket");
        socket.set_linger(0).expect("set");
        socket.set_ipv6(endpoint.contains('[')).expect("set");
        let mut tries = 0..TURNS_MAX;
        while let Err(error) = socket.bind(endpoint) {
            assert!(tries.next().is_some(), "{endpoint}: {error}");
            // A moment: nothing ever comes.
            let _ = socket.poll(zmq::PollEvents::empty(), 5);
        }
        let last = socket.get_last_endpoint().expect("bound").expect("UTF-8");
        let address = last.strip_prefix("tcp://").expect("TCP").parse();
        (socket, address.expect("an address"))
    }

    #[test]
    fn a_push_in_the_publishers_place_does_not_end_a_sub() {
        let (ours, theirs) = (zmq::Context::new(), zmq::Context::new());
        let (push, address) = bound(&theirs, zmq::PUSH, "tcp://127.0.0.1:*");
        let endpoint = format!("tcp://{address}");
        let mut rig = Rig::open(&ours, &endpoint);
        rig.until("trouble", |rig| rig.upstream().trouble.is_some());
        assert!(!rig.upstream().is_connected);
        drop((push, theirs));
        let theirs = zmq::Context::new();
        let (publisher, _) = bound(&theirs, zmq::PUB, &endpoint);
        rig.receives(&publisher, "1");
        let upstream = rig.upstream();
        assert_eq!((upstream.state, upstream.trouble), ("connected", None));
    }

    #[test]
    fn a_publisher_that_comes_back_is_asked_again_and_its_last_events_are_received() {
        let (ours, theirs) = (zmq::Context::new(), zmq::Context::new());
        let (publisher, address) = bound(&theirs, zmq::PUB, "tcp://127.0.0.1:*");
        let endpoint = format!("tcp://{address}");
        let mut rig = Rig::open(&ours, &endpoint);
        rig.receives(&publisher, "1");
        for n in 0..100 {
            publisher
                .send_multipart(["t", &format!("last {n}")], 0)
                .expect("sent");
        }
        publisher.set_linger(10_000).expect("set");
        // Waits until they have left.
        drop((publisher, theirs));
        rig.until("it is gone", |rig| !rig.upstream().is_connected);
        let theirs = zmq::Context::new();
        let (publisher, _) = bound(&theirs, zmq::PUB, &endpoint);
        rig.receives(&publisher, "2");
        let last = rig.received.iter().filter(|text| text.starts_with("last"));
        assert_eq!(last.count(), 100);
        assert_eq!(rig.upstream().connects, 2);
    }

    #[test]
    fn a_name_with_both_kinds_reaches_a_publisher_on_either() {
        let (ours, theirs) = (zmq::Context::new(), zmq::Context::new());
        let (four, v4) = bound(&theirs, zmq::PUB, "tcp://127.0.0.1:*");
        let six = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], v4.port()));
        let mut rig = Rig::open(&ours, &format!("tcp://publisher.test:{}", v4.port()));
        rig.answers.send(Ok(vec![six, v4])).expect("it asks");
        rig.receives(&four, "4");

        let has_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
        if has_ipv6 {
            let (six, v6) = bound(&theirs, zmq::PUB, "tcp://[::1]:*");
            let four = SocketAddr::from(([127, 0, 0, 1], v6.port()));
            for known in [vec![four, v6], vec![v6]] {
                let mut rig = Rig::open(&ours, &format!("tcp://publisher.test:{}", v6.port()));
                rig.answers.send(Ok(known)).expect("it asks");
                rig.receives(&six, "6");
            }
        }
    }

    #[test]
    fn a_silent_nameserver_stalls_nobody_else() {
        let (ours, theirs) = (zmq::Context::new(), zmq::Context::new());
        let (publisher, address) = bound(&theirs, zmq::PUB, "tcp://127.0.0.1:*");
        let mut silent = Rig::open(&ours, "tcp://publisher.test:1");
        let mut pull =
            Pull::bind(&ours, "tcp://127.0.0.1:*", RULES, FileAccess::default()).expect("bound");
        let mut rig = Rig::open(&ours, &format!("tcp://{address}"));
        rig.receives(&publisher, "1");
        let push = theirs.socket(zmq::PUSH).expect("a socket");
        push.connect(pull.name()).expect("connected");
        push.send("2", 0).expect("sent");
        rig.until("PULL receives it", |_| {
            pull.handle_readiness(Descriptor::Messages);
            pull.receive().is_some()
        });
        silent.turn();
        assert_eq!(silent.upstream().state, "resolving");
        // The answer counts when it comes after all.
        silent.answers.send(Ok(vec![address])).expect("it asks");
        silent.receives(&publisher, "3");
    }
}
