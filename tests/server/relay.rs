//! A relay: one process takes events in, any number of servers hand them to their clients.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;

use kit::observe::{counted, envelope, publish_all};
use kit::port::Port;
use kit::stream::Patient;
use kit::{Client, QUIET, Server, binary, wait_until, zmtp};

/// A relay that binds `endpoint` for servers and takes events from where `source` says.
fn relay(endpoint: &str, source: &[&str]) -> Server {
    let mut command = Command::new(binary());
    command
        .args(["relay", "--relay", endpoint, "--admin", "127.0.0.1:0"])
        .args(source);
    Server::launch(command)
}

/// Publishers push to a relay.
const PULL: &[&str] = &["--pull", "tcp://127.0.0.1:*"];

/// A server that takes events from the relay at `endpoint` and from nowhere else.
fn worker(endpoint: &str) -> Server {
    Server::start(&[QUIET, &["--sub", endpoint]].concat())
}

/// A client of `server` whose subscription to `topic` has reached the relay.
fn subscriber(server: &Server, relay: &Server, topic: &str, receivers: f64) -> Client {
    let client = server.subscriber(&[topic]);
    wait_until("the relay has its receivers", || {
        relay.metric("newswire_relay_receivers") == receivers
    });
    client
}

/// Publishes to the relay until `client` hears it, so that its subscription is known to be there.
fn settle(relay: &Server, client: &mut Client, topic: &str) {
    client
        .socket
        .get_ref()
        .0
        .set_read_timeout(Some(std::time::Duration::from_millis(50)))
        .expect("set");
    wait_until("the subscription has reached the relay", || {
        publish_all(&relay.pull, [envelope(topic, "\"probe\"")]);
        client.socket.read().is_ok()
    });
    client
        .socket
        .get_ref()
        .0
        .set_read_timeout(Some(kit::PATIENCE))
        .expect("set");
}

/// The next event that is no probe.
fn next(client: &mut Client) -> String {
    loop {
        let text = client.text();
        if !text.contains("probe") {
            return text;
        }
    }
}

#[test]
fn every_server_gets_every_event_in_order() {
    const EVENTS: usize = 1_500;
    let port = Port::hold();
    let relay = relay(&port.endpoint(), PULL);
    let workers = [worker(&port.endpoint()), worker(&port.endpoint())];
    let mut clients = workers
        .each_ref()
        .map(|worker| subscriber(worker, &relay, "t", 2.0));
    for client in &mut clients {
        settle(&relay, client, "t");
    }
    for chunk in (0..EVENTS).collect::<Vec<_>>().chunks(500) {
        publish_all(
            &relay.pull,
            chunk.iter().map(|n| envelope("t", &n.to_string())),
        );
        for client in &mut clients {
            for n in chunk {
                assert_eq!(next(client), format!("[8,\"t\",{n}]"));
            }
        }
    }
    drop(clients);
    for worker in workers {
        let summary = worker.stop();
        assert_eq!(counted(&summary, "missed"), 0, "{summary}");
        assert_eq!(counted(&summary, "source_gaps"), 0, "{summary}");
    }
    assert!(counted(&relay.stop(), "relayed") >= EVENTS as u64);
}

#[test]
fn subscriptions_travel_through_relays() {
    let (port, upstream) = (Port::hold(), Port::hold());
    let first = relay(&upstream.endpoint(), PULL);
    let second = relay(
        &port.endpoint(),
        &["--pull", "off", "--sub", &upstream.endpoint()],
    );
    let worker = worker(&port.endpoint());
    let mut client = subscriber(&worker, &second, "wanted", 1.0);
    settle(&first, &mut client, "wanted");
    publish_all(
        &first.pull,
        [
            envelope("unwanted", "1"),
            envelope("wanted", "2"),
            envelope("unwanted", "3"),
            envelope("wanted", "4"),
        ],
    );
    assert_eq!(next(&mut client), "[8,\"wanted\",2]");
    assert_eq!(next(&mut client), "[8,\"wanted\",4]");
    let of_sub = |server: &Server| server.metric("newswire_events_total{ingest=\"sub\"}");
    let (relayed, received) = (of_sub(&second), of_sub(&worker));
    assert_eq!(relayed, received, "nobody asked for more");
    drop(client);
    wait_until("the first relay is asked for nothing any more", || {
        publish_all(&first.pull, [envelope("wanted", "5")]);
        let before = of_sub(&second);
        publish_all(&first.pull, [envelope("wanted", "6")]);
        first.metric("newswire_events_total{ingest=\"pull\"}") > 0.0 && of_sub(&second) == before
    });
}

#[test]
fn a_relay_that_comes_back_finds_its_servers_again() {
    let port = Port::hold();
    let first = relay(&port.endpoint(), PULL);
    let worker = worker(&port.endpoint());
    let mut client = subscriber(&worker, &first, "t", 1.0);
    settle(&first, &mut client, "t");
    drop(first);
    let second = relay(&port.endpoint(), PULL);
    settle(&second, &mut client, "t");
    publish_all(&second.pull, [envelope("t", "1")]);
    assert_eq!(next(&mut client), "[8,\"t\",1]");
    drop(client);
    let summary = worker.stop();
    assert_eq!(counted(&summary, "source_gaps"), 1, "{summary}");
}

#[test]
fn what_makes_no_relay_ends_the_start_in_one_line() {
    for (arguments, part) in [
        (&["--pull", "off"][..], "a relay without sources"),
        (&["--listen", "127.0.0.1:0"], "a relay has no clients"),
        (
            &[
                "--pull",
                "tcp://127.0.0.1:7",
                "--relay",
                "tcp://127.0.0.1:7",
            ],
            "want the same address",
        ),
    ] {
        let output = Command::new(binary())
            .args(["relay", "--admin", "127.0.0.1:0"])
            .args(arguments)
            .output()
            .expect("it runs");
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn what_a_server_misses_because_it_does_not_read_is_counted() {
    const EVENTS: usize = 20_000;
    let port = Port::hold();
    let relay = relay(&port.endpoint(), PULL);
    // Without heartbeats the relay does not take the server for dead.
    let endpoint = port.endpoint();
    let worker = Server::start(&["--sub", &endpoint, "--publisher-timeout", "0"]);
    let mut client = subscriber(&worker, &relay, "t", 1.0);
    settle(&relay, &mut client, "t");
    drop(client);
    let mut client = subscriber(&worker, &relay, "t", 1.0);
    settle(&relay, &mut client, "t");
    let of_sub = |server: &Server| server.metric("newswire_events_total{ingest=\"sub\"}");
    let relayed = |server: &Server| server.metric("newswire_relayed_total");
    let missed = |server: &Server| server.metric("newswire_missed_total");
    let (sent_before, before) = (relayed(&relay), of_sub(&worker));
    worker.signal("STOP");
    let data = "x".repeat(1_000);
    publish_all(
        &relay.pull,
        (0..EVENTS).map(|_| envelope("t", &format!("\"{data}\""))),
    );
    wait_until("the relay has handed all of them on", || {
        relayed(&relay) - sent_before >= EVENTS as f64
    });
    worker.signal("CONT");
    // The next event shows what was lost before it.
    wait_until("every event has arrived, or is known to be missed", || {
        publish_all(&relay.pull, [envelope("t", "1")]);
        let sent = relayed(&relay) - sent_before;
        missed(&worker) > 0.0 && of_sub(&worker) - before + missed(&worker) >= sent - 2.0
    });
    assert!(of_sub(&worker) - before + missed(&worker) <= relayed(&relay) - sent_before);
}

/// A connection to a relay, of which a read waits for a moment only.
struct Stranger {
    stream: Patient<TcpStream>,
    /// What the relay has sent.
    received: Vec<u8>,
}

impl Stranger {
    fn dial(port: &Port) -> Self {
        let stream = TcpStream::connect(port.address).expect("it listens");
        stream
            .set_read_timeout(Some(std::time::Duration::from_millis(50)))
            .expect("set");
        Self {
            stream: Patient(stream),
            received: Vec::new(),
        }
    }

    /// Reads what has come. Returns true when the relay has ended the connection.
    fn has_ended(&mut self) -> bool {
        let mut piece = [0; 4_096];
        match self.stream.read(&mut piece) {
            Ok(0) => true,
            Ok(n) => {
                self.received.extend_from_slice(&piece[..n]);
                false
            }
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn strangers_at_the_relay_are_ended_and_cost_nothing() {
    let port = Port::hold();
    // Without heartbeats nobody is ended because it does not answer them.
    let endpoint = port.endpoint();
    let relay = relay(&endpoint, &[PULL, &["--publisher-timeout", "0"]].concat());
    let worker = worker(&endpoint);
    let mut client = subscriber(&worker, &relay, "t", 1.0);
    settle(&relay, &mut client, "t");

    // What a web page can make a browser send. In ZMTP 1.0, whose frames begin with a length and a byte of flags, it ends
    // with a subscription to everything, in one of the three.
    let mut pages: Vec<Stranger> = (600..603)
        .map(|filling| {
            let body = "\u{2}".repeat(filling) + "\u{2}\0\u{1}";
            let length = body.len();
            let post =
                format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{body}");
            let mut page = Stranger::dial(&port);
            page.stream.write_all(post.as_bytes()).expect("sent");
            page
        })
        .collect();
    wait_until("the pages' connections are ended", || {
        publish_all(&relay.pull, [envelope("t", "\"probe\"")]);
        pages.retain_mut(|page| !page.has_ended());
        for page in &pages {
            let text = String::from_utf8_lossy(&page.received);
            assert!(!text.contains("probe"), "it is told an event: {text}");
        }
        pages.is_empty()
    });

    // A subscription to a name that no topic can have.
    let mut greedy = Stranger::dial(&port);
    let hello = zmtp::hello_as("SUB");
    greedy.stream.write_all(&hello).expect("sent");
    wait_until("it is greeted", || {
        assert!(!greedy.has_ended());
        greedy.received.len() > 64
    });
    let long = [&[1][..], &[b'x'; 100_000]].concat();
    // It may be ended before all is sent.
    let _ = greedy.stream.write_all(&zmtp::part(&long, false));
    wait_until("its connection is ended", || greedy.has_ended());

    publish_all(&relay.pull, [envelope("t", "1")]);
    assert_eq!(next(&mut client), "[8,\"t\",1]");
    assert_eq!(relay.metric("newswire_relay_receivers"), 1.0);
}
