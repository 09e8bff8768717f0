//! SUB sockets: newswire connects to publishers that have bound, and asks them for topics.
//!
//! A socket lives for one connection. libzmq would connect again by itself, but not everywhere: it resolves
//! names on the thread that serves all sockets, looks at one address of a name, and after one error of the
//! protocol it never connects again. So a [`Sub`] watches its socket's monitor, and when the connection is
//! lost or does not come, it makes the next socket, for the next address ([`Dialer`]). That socket is asked
//! for all topics anew ([`Interest`]). The old socket stays until its last message was received.
//!
//! Never here: how messages are received (the same for all sources), what they say, and the poller (the
//! server watches the descriptors of each new socket).

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::interest::{Budget, Decision, Interest, Scope, Wanted};
use super::monitor::{Monitor, PeerEvent};
use super::{Cause, PeerRules, SourceError, ZeroMqSource, prepare};
use crate::limits;
use crate::net::dial::{Dialer, Failure, State, Step};
use crate::net::names::{Resolve, Resolver};
use crate::net::{Address, Place};
use crate::stats::PeerRefusal;

/// In milliseconds after which libzmq connects again by itself: so late that it never comes to that.
const RECONNECT_MILLISECONDS: i32 = 3_600_000;

const REPORT: Duration = Duration::from_secs(limits::REPORT_SECONDS);

/// One publisher that newswire connects to: how it is reached, and what it is asked for.
pub struct Sub {
    context: zmq::Context,
    rules: PeerRules,
    /// As it is configured.
    endpoint: String,
    dialer: Dialer,
    /// For a name.
    resolver: Option<Resolver>,
    interest: Interest,
    /// True exactly when the present socket is to be replaced: what its monitor still tells is over.
    is_over: bool,
    /// Since when there is no connection; `None` while there is one.
    down_since: Option<Duration>,
    /// Since when there is a connection, or there was the last one.
    up_since: Duration,
    /// How often a connection was made.
    connects: u64,
    /// Why there is no connection, as far as that is known.
    trouble: Option<String>,
    /// When the log last said so.
    reported: Option<Duration>,
}

/// How a publisher is connected, for operators.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Health<'a> {
    /// What it is doing.
    pub state: State,
    /// How long there has been a connection, or none.
    pub lasted: Duration,
    /// Why there is none.
    pub trouble: Option<&'a str>,
    /// What the publisher is asked for.
    pub scope: Scope,
    /// How often a connection was made.
    pub connects: u64,
}

impl fmt::Debug for Sub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sub")
            .field("endpoint", &self.endpoint)
            .field("dialer", &self.dialer)
            .finish_non_exhaustive()
    }
}

impl Sub {
    /// Begins to connect to `endpoint` at `now`, and answers the first socket. A name is resolved by
    /// `resolve` on a thread, which calls `wake` with each answer.
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
    ) -> Result<(Self, ZeroMqSource), SourceError> {
        let failed = |cause: zmq::Error| SourceError {
            endpoint: endpoint.to_owned(),
            action: "connect to",
            cause: cause.into(),
        };
        let place = Place::of(endpoint).ok_or_else(|| failed(zmq::Error::EINVAL))?;
        let resolver = match &place {
            Place::Fixed(_) => None,
            Place::Named(name) => {
                let resolver = Resolver::start(name.clone(), resolve, wake);
                Some(resolver.map_err(|sentence| {
                    log::error!("sub: {sentence}");
                    failed(zmq::Error::EMFILE)
                })?)
            }
        };
        let mut sub = Self {
            context: context.clone(),
            rules,
            endpoint: endpoint.to_owned(),
            dialer: Dialer::new(place, now),
            resolver,
            interest: Interest::default(),
            is_over: true,
            down_since: Some(now),
            up_since: now,
            connects: 0,
            trouble: None,
            reported: None,
        };
        let address = match sub.dialer.poll_step() {
            Some(Step::Connect(address)) => Some(address),
            Some(Step::Resolve) => {
                sub.ask();
                None
            }
            None => None,
        };
        let source = sub.connect(address.as_ref())?;
        Ok((sub, source))
    }

    /// The endpoint as it is configured.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Returns true when the publisher was asked for everything, for now or for longer.
    pub fn has_everything(&self) -> bool {
        self.interest.has_everything()
    }

    /// What the publisher is asked for.
    pub fn scope(&self) -> Scope {
        self.interest.scope()
    }

    /// How it is connected.
    pub fn health(&self, now: Duration) -> Health<'_> {
        Health {
            state: self.dialer.state(),
            lasted: now.saturating_sub(self.down_since.unwrap_or(self.up_since)),
            trouble: self.trouble.as_deref(),
            scope: self.scope(),
            connects: self.connects,
        }
    }

    /// How long nothing will be due.
    pub fn timeout(&self, now: Duration) -> Option<Duration> {
        if self.interest.is_behind() {
            return Some(Duration::ZERO);
        }
        let dial = self.dialer.deadline();
        // A deadline that has passed means that too many topics are still wanted. It takes the end of some to
        // change that, and a topic that ends makes a turn.
        let scope = self.interest.deadline().filter(|&at| at > now);
        let next = [dial, scope].into_iter().flatten().min();
        next.map(|at| at.saturating_sub(now))
    }

    /// Something has happened to the connection of the present socket.
    pub fn handle_peer(&mut self, now: Duration, event: PeerEvent) {
        if self.is_over {
            return;
        }
        match event {
            PeerEvent::Joined if self.dialer.state() == State::Connecting => self.joined(now),
            PeerEvent::Joined => {}
            PeerEvent::Left => {
                let why = "the connection was lost".to_owned();
                self.lost(now, Failure::Unreachable, why);
            }
            PeerEvent::Unreachable => {
                let why = format!("nobody takes a connection at {}", self.at());
                self.lost(now, Failure::Unreachable, why);
            }
            PeerEvent::Refused(PeerRefusal::Incomplete) => {
                let why = format!("{} ended the connection before it greeted", self.at());
                self.lost(now, Failure::Unreachable, why);
            }
            PeerEvent::Refused(refusal) => {
                let why = match refusal {
                    PeerRefusal::Mechanism => "wants another security mechanism than NULL",
                    PeerRefusal::Malformed => "breaks the rules of ZMTP",
                    PeerRefusal::Denied => "refuses newswire",
                    PeerRefusal::WrongProtocol | PeerRefusal::Incomplete => {
                        "is not a PUB or XPUB socket that speaks ZMTP 3"
                    }
                };
                let why = format!("what listens at {} {why}", self.at());
                self.lost(now, Failure::Refused, why);
            }
        }
    }

    /// Goes on with connecting. Answers the socket that takes the place of `source`, when there is one.
    pub fn dial(&mut self, now: Duration, source: &ZeroMqSource) -> Option<ZeroMqSource> {
        if let Some(answer) = self.resolver.as_mut().and_then(Resolver::poll_answer) {
            if let Err(reason) = &answer {
                self.trouble(now, format!("the host's name leads nowhere: {reason}"));
            }
            self.dialer.handle_answer(now, answer);
        }
        let at = self.at();
        if self.dialer.handle_time(now) {
            self.is_over = true;
            let seconds = limits::DIAL_ATTEMPT_SECONDS;
            self.trouble(now, format!("no answer from {at} within {seconds} s"));
        }
        match self.dialer.poll_step()? {
            Step::Resolve => {
                self.ask();
                None
            }
            // Its last messages first.
            step @ Step::Connect(_) if source.is_ready() => {
                self.dialer.put_back(step);
                None
            }
            Step::Connect(address) => match self.connect(Some(&address)) {
                Ok(source) => Some(source),
                Err(error) => {
                    self.lost(now, Failure::Unreachable, error.to_string());
                    None
                }
            },
        }
    }

    /// A topic has its first subscriber, or the last one has left it.
    pub fn note_topic(&mut self, topic: &Rc<str>) {
        self.interest.note(topic);
    }

    /// Tells the publisher which topics are wanted, as far as the budget goes.
    pub fn tell(
        &mut self,
        now: Duration,
        source: &mut ZeroMqSource,
        wanted: &impl Wanted,
        budget: &mut Budget,
    ) {
        let endpoint = &self.endpoint;
        match self.interest.decide(now, wanted) {
            Some(Decision::TooManyTopics) => log::warn!(
                "sub: endpoint={endpoint} asks for everything: clients want {} topics, of {} bytes, and over {} \
                 topics or {} bytes ZeroMQ's filter costs more than it saves. Events that nobody wants are \
                 dropped here",
                wanted.topics(),
                wanted.bytes(),
                limits::SUB_TOPICS_MAX,
                limits::SUB_TOPIC_BYTES_MAX
            ),
            Some(Decision::TooManyChanges) => log::warn!(
                "sub: endpoint={endpoint} asks for everything: clients changed their topics more than {} times a \
                 minute. Events that nobody wants are dropped here",
                limits::SUB_CHANGES_MAX
            ),
            Some(Decision::Topics) => log::info!(
                "sub: endpoint={endpoint} asks for {} topics one by one again",
                wanted.topics()
            ),
            None => {}
        }
        self.interest.tell(wanted, budget, &mut |topic, is_wanted| {
            source.ask(topic, is_wanted);
        });
    }

    fn ask(&mut self) {
        if let Some(resolver) = &mut self.resolver {
            resolver.ask();
        }
    }

    /// The address that is tried, for the log.
    fn at(&self) -> String {
        let address = self.dialer.address();
        address.map_or_else(|| self.endpoint.clone(), Address::to_string)
    }

    fn connect(&mut self, address: Option<&Address>) -> Result<ZeroMqSource, SourceError> {
        let source = ZeroMqSource::open_sub(&self.context, &self.endpoint, self.rules, address)?;
        self.is_over = address.is_none();
        Ok(source)
    }

    fn joined(&mut self, now: Duration) {
        self.dialer.handle_connected(now);
        self.interest.begin(now);
        self.connects += 1;
        self.up_since = now;
        let down = now.saturating_sub(self.down_since.take().unwrap_or(now));
        (self.trouble, self.reported) = (None, None);
        log::info!(
            "sub: endpoint={} connected address={} after={:.1} s",
            self.endpoint,
            self.at(),
            down.as_secs_f32()
        );
    }

    fn lost(&mut self, now: Duration, failure: Failure, why: String) {
        self.is_over = true;
        self.interest.end();
        self.down_since.get_or_insert(now);
        self.dialer.handle_failure(now, failure);
        self.trouble(now, why);
    }

    /// Notes why there is no connection. The log says it when it is new, and not too often.
    fn trouble(&mut self, now: Duration, why: String) {
        let is_new = self.trouble.as_ref() != Some(&why);
        let is_due = self.reported.is_none_or(|at| now >= at + REPORT);
        if is_new && is_due {
            self.reported = Some(now);
            log::warn!(
                "sub: endpoint={} is not connected: {why}. newswire tries again",
                self.endpoint
            );
        }
        self.trouble = Some(why);
    }
}

impl ZeroMqSource {
    /// A SUB socket without subscriptions for the publisher at `endpoint`, connected to `address` in the
    /// background; to nobody when there is no address yet.
    fn open_sub(
        context: &zmq::Context,
        endpoint: &str,
        rules: PeerRules,
        address: Option<&Address>,
    ) -> Result<Self, SourceError> {
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
            Ok::<_, Cause>((socket, monitor, endpoint.to_owned()))
        };
        Self::new("connect to", endpoint, set_up())
    }

    /// Asks the publisher for `topic`, or no more. ZeroMQ compares prefixes, so longer names come as well, and
    /// everything for the empty one.
    fn ask(&mut self, topic: &str, is_wanted: bool) {
        let result = match is_wanted {
            true => self.socket.set_subscribe(topic.as_bytes()),
            false => self.socket.set_unsubscribe(topic.as_bytes()),
        };
        self.is_ready = true;
        if let Err(error) = result {
            let (endpoint, action) = (&self.endpoint, ["unsubscribe", "subscribe"]);
            let action = action[usize::from(is_wanted)];
            log::error!("ingest: {action} endpoint={endpoint} topic={topic:?} error={error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::ingest::zeromq::Received;
    use crate::ingest::zeromq::socket_file::Access;
    use crate::ingest::zeromq::tests::RULES;
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
        source: ZeroMqSource,
        now: Duration,
        hub: Hub,
        answers: Sender<Answer>,
        heard: Vec<String>,
    }

    impl Rig {
        fn open(context: &zmq::Context, endpoint: &str) -> Self {
            let (answers, asked) = channel();
            let now = Duration::ZERO;
            let opened = Sub::open(context, endpoint, RULES, now, Nameserver(asked), || {});
            let (sub, source) = opened.expect("an endpoint");
            Self {
                sub,
                source,
                now,
                hub: Hub(vec!["t".into()]),
                answers,
                heard: Vec::new(),
            }
        }

        fn turn(&mut self) {
            // Waits for a message, so that the others get on.
            let _ = self.source.socket.poll(zmq::POLLIN, 5);
            self.now += TURN;
            self.source.handle_readiness();
            self.source.monitor_mut().handle_readiness();
            while let Some(event) = self.source.monitor_mut().poll() {
                if let Some(event) = event {
                    self.sub.handle_peer(self.now, event);
                }
            }
            while let Some(received) = self.source.receive() {
                let Received::Message(message) = received else {
                    continue;
                };
                let mut room = [&[][..]; super::super::PARTS_KEPT];
                let parts = message.parts(&mut room);
                self.heard.push(String::from_utf8_lossy(parts[1]).into());
            }
            if let Some(next) = self.sub.dial(self.now, &self.source) {
                self.source = next;
            }
            let mut budget = Budget::default();
            self.sub
                .tell(self.now, &mut self.source, &self.hub, &mut budget);
        }

        fn until(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> bool) {
            for _ in 0..TURNS_MAX {
                if condition(self) {
                    return;
                }
                self.turn();
            }
            panic!("{what}: {:?}", self.sub.health(self.now));
        }

        /// Until what `publisher` sends is heard.
        fn hears(&mut self, publisher: &zmq::Socket, data: &str) {
            self.until(data, |rig| {
                publisher.send_multipart(["t", data], 0).expect("sent");
                rig.heard.iter().any(|heard| heard == data)
            });
        }

        fn state(&self) -> State {
            self.sub.health(self.now).state
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
        rig.until("trouble", |rig| rig.sub.health(rig.now).trouble.is_some());
        assert_ne!(rig.state(), State::Connected);
        drop((push, theirs));
        let theirs = zmq::Context::new();
        let (publisher, _) = bound(&theirs, zmq::PUB, &endpoint);
        rig.hears(&publisher, "1");
        let health = rig.sub.health(rig.now);
        assert_eq!((health.state, health.trouble), (State::Connected, None));
    }

    #[test]
    fn a_publisher_that_comes_back_is_asked_again_and_its_last_events_are_heard() {
        let (ours, theirs) = (zmq::Context::new(), zmq::Context::new());
        let (publisher, address) = bound(&theirs, zmq::PUB, "tcp://127.0.0.1:*");
        let endpoint = format!("tcp://{address}");
        let mut rig = Rig::open(&ours, &endpoint);
        rig.hears(&publisher, "1");
        for n in 0..100 {
            publisher
                .send_multipart(["t", &format!("last {n}")], 0)
                .expect("sent");
        }
        publisher.set_linger(10_000).expect("set");
        // Waits until they have left.
        drop((publisher, theirs));
        rig.until("it is gone", |rig| rig.state() != State::Connected);
        let theirs = zmq::Context::new();
        let (publisher, _) = bound(&theirs, zmq::PUB, &endpoint);
        rig.hears(&publisher, "2");
        let last = rig.heard.iter().filter(|heard| heard.starts_with("last"));
        assert_eq!(last.count(), 100);
        assert_eq!(rig.sub.health(rig.now).connects, 2);
    }

    #[test]
    fn a_name_with_both_kinds_reaches_a_publisher_on_either() {
        let (ours, theirs) = (zmq::Context::new(), zmq::Context::new());
        let (four, v4) = bound(&theirs, zmq::PUB, "tcp://127.0.0.1:*");
        let six = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], v4.port()));
        let mut rig = Rig::open(&ours, &format!("tcp://publisher.test:{}", v4.port()));
        rig.answers.send(Ok(vec![six, v4])).expect("it asks");
        rig.hears(&four, "4");

        let has_ipv6 = std::net::TcpListener::bind("[::1]:0").is_ok();
        if has_ipv6 {
            let (six, v6) = bound(&theirs, zmq::PUB, "tcp://[::1]:*");
            let four = SocketAddr::from(([127, 0, 0, 1], v6.port()));
            for known in [vec![four, v6], vec![v6]] {
                let mut rig = Rig::open(&ours, &format!("tcp://publisher.test:{}", v6.port()));
                rig.answers.send(Ok(known)).expect("it asks");
                rig.hears(&six, "6");
            }
        }
    }

    #[test]
    fn a_silent_nameserver_stalls_nobody_else() {
        let (ours, theirs) = (zmq::Context::new(), zmq::Context::new());
        let (publisher, address) = bound(&theirs, zmq::PUB, "tcp://127.0.0.1:*");
        let mut silent = Rig::open(&ours, "tcp://publisher.test:1");
        let mut pull =
            ZeroMqSource::bind_pull(&ours, "tcp://127.0.0.1:*", RULES, Access::default())
                .expect("bound");
        let mut rig = Rig::open(&ours, &format!("tcp://{address}"));
        rig.hears(&publisher, "1");
        let push = theirs.socket(zmq::PUSH).expect("a socket");
        push.connect(pull.endpoint()).expect("connected");
        push.send("2", 0).expect("sent");
        rig.until("PULL hears it", |_| {
            pull.handle_readiness();
            pull.receive().is_some()
        });
        silent.turn();
        assert_eq!(silent.state(), State::Resolving);
        // The answer counts when it comes after all.
        silent.answers.send(Ok(vec![address])).expect("it asks");
        silent.hears(&publisher, "3");
    }
}
