//! SUB: the server connects to publishers, and subscribes to the topics that its clients want and no others.

use std::collections::BTreeSet;
use std::net::{TcpStream, ToSocketAddrs};

use kit::observe::{counted, envelope};
use kit::past::{Dialect, Peer, Told};
use kit::port::Port;
use kit::{Client, PATIENCE, Server, wait_until};
use newswire::limits;
use serde_json::{Value, json};

/// An XPUB socket, which shows what it is asked for, and a server that is connected to it.
struct Upstream {
    socket: zmq::Socket,
    endpoint: String,
}

impl Upstream {
    fn bind(endpoint: &str) -> Self {
        let mut bound = None;
        // A process that another test starts has this one's sockets for a moment, before its program begins.
        wait_until("the port is free", || {
            bound = Self::try_bind(endpoint);
            bound.is_some()
        });
        bound.expect("just seen")
    }

    /// It goes, and where it was comes back.
    fn leave(self) -> String {
        self.endpoint
    }

    fn try_bind(endpoint: &str) -> Option<Self> {
        let socket = zmq::Context::new().socket(zmq::XPUB).expect("a socket");
        socket
            .set_rcvtimeo(PATIENCE.as_millis() as i32)
            .expect("set");
        socket.set_linger(0).expect("set");
        // Every SUBSCRIBE and UNSUBSCRIBE, and not only what is new to it.
        socket.set_xpub_verbose(true).expect("set");
        socket.set_ipv6(endpoint.contains('[')).expect("set");
        socket.bind(endpoint).ok()?;
        let endpoint = socket.get_last_endpoint().expect("bound").expect("UTF-8");
        Some(Self { socket, endpoint })
    }

    /// The next thing that the server asks for: `+topic` or `-topic`.
    fn asked(&self) -> String {
        let bytes = self.socket.recv_bytes(0).expect("a subscription");
        let (kind, topic) = bytes.split_first().expect("not empty");
        let sign = if *kind == 1 { '+' } else { '-' };
        format!("{sign}{}", String::from_utf8_lossy(topic))
    }

    fn publish(&self, topic: &str, data: &str) {
        self.socket.send_multipart([topic, data], 0).expect("taken");
    }
}

#[test]
fn upstream_subscriptions_come_and_go_with_subscribers() {
    let upstream = Upstream::bind("tcp://127.0.0.1:*");
    let server = Server::start(&["--sub", &upstream.endpoint]);
    // What is asked comes in order: whatever comes next is all there was.
    let mut first = server.subscriber(&["news"]);
    let mut second = server.subscriber(&["news"]);
    second.send("[5,\"other\"]");
    assert_eq!(upstream.asked(), "+news");
    assert_eq!(
        upstream.asked(),
        "+other",
        "the second subscriber of news asks nothing"
    );

    upstream.publish("news", "{\"n\": 1}");
    assert_eq!(first.text(), "[8,\"news\",{\"n\": 1}]");
    assert_eq!(second.text(), "[8,\"news\",{\"n\": 1}]");

    // A longer name with the same beginning comes too, and nobody asked for it.
    upstream.publish("newsletter", "1");
    upstream.publish("unrelated", "1");
    upstream.publish("news", "2");
    assert_eq!(first.text(), "[8,\"news\",2]");

    first.send("[6,\"news\"]");
    first.settle();
    second.send("[6,\"other\"]");
    assert_eq!(upstream.asked(), "-other", "news still has a subscriber");
    // One that is gone asks for nothing any more.
    drop(second);
    assert_eq!(upstream.asked(), "-news");
    first.send("[5,\"news\"]");
    assert_eq!(upstream.asked(), "+news");
    upstream.publish("news", "3");
    assert_eq!(first.text(), "[8,\"news\",3]");

    let summary = server.stop();
    assert_eq!(counted(&summary, "dropped.no_subscriber"), 1, "{summary}");
    assert_eq!(counted(&summary, "ingested"), 4, "{summary}");
}

#[test]
fn a_publisher_that_comes_back_is_asked_again() {
    let held = Port::hold();
    let upstream = Upstream::bind(&held.endpoint());
    let server = Server::start(&["--sub", &upstream.endpoint]);
    let mut client = server.subscriber(&["a", "b"]);
    assert_eq!([upstream.asked(), upstream.asked()], ["+a", "+b"]);
    let endpoint = upstream.leave();
    // What changes meanwhile counts.
    client.send("[6,\"b\"]");
    client.send("[5,\"c\"]");
    client.settle();
    let upstream = Upstream::bind(&endpoint);
    // By way of what was wanted before, if libzmq noticed the end first.
    let mut wanted = BTreeSet::new();
    while wanted.iter().ne(["a", "c"]) {
        let asked = upstream.asked();
        match asked.split_at(1) {
            ("+", topic) => wanted.insert(topic.to_owned()),
            (_, topic) => wanted.remove(topic),
        };
    }
    upstream.publish("c", "1");
    assert_eq!(client.text(), "[8,\"c\",1]");
    server.stop();
}

#[test]
fn pull_and_several_subs_are_heard_together() {
    let upstreams = [
        Upstream::bind("tcp://127.0.0.1:*"),
        Upstream::bind("tcp://127.0.0.1:*"),
    ];
    let [one, two] = &upstreams;
    let server = Server::start(&["--sub", &one.endpoint, "--sub", &two.endpoint]);
    let mut client = server.subscriber(&["t"]);
    for upstream in &upstreams {
        assert_eq!(upstream.asked(), "+t");
    }
    for (n, upstream) in upstreams.iter().enumerate() {
        upstream.publish("t", &n.to_string());
        assert_eq!(client.text(), format!("[8,\"t\",{n}]"));
    }
    let (_context, socket) = server.publisher();
    socket.send(&envelope("t", "2"), 0).expect("taken");
    assert_eq!(client.text(), "[8,\"t\",2]");
    server.stop();
}

/// What `/readyz` says of the server's SUB source.
fn source(server: &Server) -> Value {
    let answer = server.get("/readyz");
    assert_eq!(answer.status, 200, "a publisher's absence is no reason");
    let body = answer.json();
    assert_eq!(body["status"], "ready");
    let sources = body["sources"].as_array().expect("a list").clone();
    let mut subs = sources.into_iter().filter(|row| row["kind"] == "sub");
    subs.next().expect("a SUB source")
}

#[test]
fn a_push_in_the_publishers_place_is_said_and_the_publisher_is_heard_afterwards() {
    let context = zmq::Context::new();
    let push = context.socket(zmq::PUSH).expect("a socket");
    push.set_linger(0).expect("set");
    let held = Port::hold();
    let endpoint = held.endpoint();
    push.bind(&endpoint).expect("a port of the test's own");
    let server = Server::start(&["--sub", &endpoint]);
    let mut client = server.subscriber(&["t"]);
    wait_until("the trouble is known", || {
        source(&server)["trouble"].is_string()
    });
    let row = source(&server);
    assert_eq!(row["connected"], false, "{row}");
    assert_eq!(row["peers"], 0, "{row}");
    assert_eq!(row["endpoint"], endpoint);
    wait_until("the log says so", || {
        server.log().contains("is not connected: ")
    });
    drop((push, context));

    // The port is free when libzmq's own thread has closed it.
    let upstream = Upstream::bind(&endpoint);
    assert_eq!(upstream.asked(), "+t");
    upstream.publish("t", "1");
    assert_eq!(client.text(), "[8,\"t\",1]");
    let row = source(&server);
    assert_eq!(row["connected"], true, "{row}");
    assert_eq!(row["peers"], 1, "{row}");
    assert_eq!(row["connects"], 1, "{row}");
    assert_eq!(row["trouble"], Value::Null, "{row}");
    let metrics = server.get("/metrics").body;
    for line in [
        format!("newswire_source_peers{{source=\"sub\",endpoint=\"{endpoint}\"}} 1"),
        format!("newswire_source_connects_total{{source=\"sub\",endpoint=\"{endpoint}\"}} 1"),
    ] {
        assert!(metrics.contains(&line), "{line}: {metrics}");
    }
    server.stop();
}

#[test]
fn a_name_leads_to_a_publisher_that_listens_on_one_of_its_addresses() {
    for host in ["127.0.0.1", "[::1]"] {
        let Some(upstream) = Upstream::try_bind(&format!("tcp://{host}:*")) else {
            assert_ne!(host, "127.0.0.1", "a host has IPv4");
            continue;
        };
        let (_, port) = upstream.endpoint.rsplit_once(':').expect("a port");
        let server = Server::start(&["--sub", &format!("tcp://localhost:{port}")]);
        // A system whose `localhost` has one kind only cannot show the other.
        let known: Vec<_> = ("localhost", 1)
            .to_socket_addrs()
            .expect("is known")
            .collect();
        if known.iter().any(|known| known.is_ipv6()) || host == "127.0.0.1" {
            let mut client = server.subscriber(&["t"]);
            assert_eq!(upstream.asked(), "+t");
            upstream.publish("t", "1");
            assert_eq!(client.text(), "[8,\"t\",1]");
        }
        server.stop();
    }
}

#[test]
fn beyond_the_bound_of_names_everything_comes_and_is_filtered_here() {
    let upstream = Upstream::bind("tcp://127.0.0.1:*");
    let server = Server::start(&["--sub", &upstream.endpoint]);
    let mut client = server.subscriber(&["wanted"]);
    assert_eq!(upstream.asked(), "+wanted");
    // The bound of bytes, with names of the longest kind.
    let name = |n: usize| format!("{n:0width$}", width = limits::TOPIC_BYTES_MAX);
    let count = limits::SUB_TOPIC_BYTES_MAX / limits::TOPIC_BYTES_MAX + 1;
    let mut crowd: Vec<_> = (0..count.div_ceil(limits::SUBSCRIPTIONS_MAX))
        .map(|_| server.subscriber(&[]))
        .collect();
    let crowd_size = crowd.len();
    for n in 0..count {
        crowd[n % crowd_size].send(&format!("[5,\"{}\"]", name(n)));
    }
    wait_until("everything is asked for", || {
        source(&server)["asks_for"] == "everything"
    });
    // Whatever was asked for one by one is given up.
    let mut asked = BTreeSet::from(["wanted".to_owned()]);
    while asked.iter().ne([""]) {
        let change = upstream.asked();
        match change.split_at(1) {
            ("+", topic) => asked.insert(topic.to_owned()),
            (_, topic) => asked.remove(topic),
        };
        assert!(asked.len() <= count + 1);
    }
    upstream.publish("nobody wants this", "1");
    upstream.publish("wanted", "2");
    assert_eq!(client.text(), "[8,\"wanted\",2]");
    wait_until("the log says so", || {
        server.log().contains("asks for everything")
    });
    let summary = server.stop();
    assert_eq!(counted(&summary, "dropped.filtered"), 1, "{summary}");
    assert_eq!(counted(&summary, "dropped.no_subscriber"), 0, "{summary}");
}

#[test]
fn publishers_are_not_asked_for_the_servers_own_topics() {
    let upstream = Upstream::bind("tcp://127.0.0.1:*");
    let server = Server::start(&["--sub", &upstream.endpoint]);
    let address = server.admin_address();
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut admin = Client::on(stream, &format!("ws://{address}/ws"));
    admin.send("[5,\"$sys/stats\"]");
    admin.send("[5,\"t\"]");
    assert_eq!(upstream.asked(), "+t");
    drop(admin);
    assert_eq!(upstream.asked(), "-t");
    server.stop();
}

#[test]
fn topics_whose_events_are_kept_are_asked_for_without_a_subscriber() {
    let upstream = Upstream::bind("tcp://127.0.0.1:*");
    let server = Server::start(&["--sub", &upstream.endpoint, "--topic", "k history=9"]);
    assert_eq!(upstream.asked(), "+k");
    upstream.publish("k", "1");
    wait_until("it is kept", || {
        server.metric("newswire_history_events") == 1.0
    });
    let kept = server.get("/topics?kept=1").json()["topics"].clone();
    assert_eq!(
        (&kept[0]["name"], &kept[0]["subscribers"]),
        (&json!("k"), &json!(0)),
        "{kept}"
    );
    // Who comes and goes asks for nothing more, and ends nothing.
    for dialect in Dialect::ALL {
        let (mut peer, _) = Peer::asks(dialect, server.connect(), "k", None, Some(1));
        assert_eq!(peer.event().1, json!(1));
    }
    drop(server.subscriber(&["k", "other"]));
    assert_eq!([upstream.asked(), upstream.asked()], ["+other", "-other"]);
    server.stop();

    // Names that nobody knows beforehand are asked for all together.
    let upstream = Upstream::bind("tcp://127.0.0.1:*");
    let server = Server::start(&["--sub", &upstream.endpoint, "--topic", "k* last"]);
    assert_eq!(upstream.asked(), "+");
    upstream.publish("x", "1");
    upstream.publish("k1", "2");
    wait_until("one is kept", || {
        server.metric("newswire_history_events") == 1.0
    });
    let mut client = server.client();
    client.send("[5,\"k1\"]");
    assert_eq!(client.text(), "[8,\"k1\",2]");
    server.stop();
}

#[test]
fn clients_are_told_when_the_connection_to_a_publisher_was_cut() {
    let held = Port::hold();
    let upstream = Upstream::bind(&held.endpoint());
    let server = Server::start(&["--sub", &upstream.endpoint, "--topic", "k history=9"]);
    assert_eq!(upstream.asked(), "+k");
    let mut peers =
        Dialect::ALL.map(|dialect| Peer::asks(dialect, server.connect(), "k", None, None).0);
    let mut ids = Vec::new();
    for n in 0..3 {
        upstream.publish("k", &n.to_string());
        for peer in &mut peers {
            let (id, data) = peer.event();
            assert_eq!(data, json!(n));
            ids.push(id.expect("an id"));
        }
    }
    let [first, _, middle, _, newest, _] = &ids[..] else {
        panic!("{ids:?}");
    };
    let endpoint = upstream.leave();
    let upstream = Upstream::bind(&endpoint);
    for peer in &mut peers {
        assert_eq!(peer.told(), Told::Gap("upstream".to_owned()));
    }
    while upstream.asked() != "+k" {}
    let reason = |dialect, since: &str| {
        let (_, notice) = Peer::asks(dialect, server.connect(), "k", Some(since), None);
        notice["reason"].as_str().unwrap_or("recovered").to_owned()
    };
    let come_back = |since: &str| Dialect::ALL.map(|dialect| reason(dialect, since));
    assert_eq!(come_back(first), ["floor", "floor"]);
    assert_eq!(come_back(middle), ["floor", "floor"]);
    // Nobody knows what was published meanwhile, so even who had everything before may miss it.
    assert_eq!(come_back(newest), ["floor", "floor"]);
    upstream.publish("k", "3");
    for peer in &mut peers {
        assert_eq!(peer.event().1, json!(3));
    }
    assert_eq!(come_back(newest), ["floor", "floor"]);
    assert_eq!(come_back(middle), ["floor", "floor"]);
    assert_eq!(
        server.metric("newswire_gaps_total{reason=\"upstream\"}"),
        2.0
    );
    server.stop();
}
