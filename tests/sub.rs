//! SUB: the server connects to publishers, and asks them for what its clients want and no more.

mod common;

use std::collections::BTreeSet;

use common::observe::{counted, envelope};
use common::{PATIENCE, Server};

/// An XPUB socket, which shows what it is asked for, and a server that is connected to it.
struct Upstream {
    socket: zmq::Socket,
    context: zmq::Context,
    endpoint: String,
}

impl Upstream {
    fn bind(endpoint: &str) -> Self {
        let context = zmq::Context::new();
        let socket = context.socket(zmq::XPUB).expect("a socket");
        socket
            .set_rcvtimeo(PATIENCE.as_millis() as i32)
            .expect("set");
        socket.set_linger(0).expect("set");
        // Every SUBSCRIBE and UNSUBSCRIBE, and not only what is new to it.
        socket.set_xpub_verbose(true).expect("set");
        socket.bind(endpoint).expect("a free port");
        let endpoint = socket.get_last_endpoint().expect("bound").expect("UTF-8");
        Self {
            socket,
            context,
            endpoint,
        }
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
    let upstream = Upstream::bind("tcp://127.0.0.1:*");
    let server = Server::start(&["--sub", &upstream.endpoint]);
    let mut client = server.subscriber(&["a", "b"]);
    assert_eq!([upstream.asked(), upstream.asked()], ["+a", "+b"]);
    let Upstream {
        socket,
        context,
        endpoint,
    } = upstream;
    drop((socket, context));
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
