//! A relay: one process takes events in, any number of servers hand them to their clients.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;

use kit::observe::{counted, envelope, publish_all};
use kit::past::{Dialect, Peer, Told};
use kit::port::Port;
use kit::stream::Patient;
use kit::{Client, QUIET, Server, binary, wait_until, zmtp};
use serde_json::json;

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

/// A server behind the relay at `endpoint` that keeps events of the topic `news`.
fn keeper(endpoint: &str) -> Server {
    Server::start(&[QUIET, &["--sub", endpoint, "--topic", "news history=100"]].concat())
}

/// What a client is told that comes back with everything up to `since`.
fn come_back(server: &Server, dialect: Dialect, since: &str) -> (Peer, serde_json::Value) {
    Peer::asks(dialect, server.connect(), "news", Some(since), None)
}

/// Publishes to the relay until all servers keep what it publishes; the id of an event from which on they keep all. What
/// comes while their connections are new proves nothing.
fn warm_up(relay: &Server, keepers: &[&Server]) -> String {
    let mut first = String::new();
    wait_until("all servers keep what the relay has", || {
        first = relay.publish("news", [0, 0]).remove(0).0;
        let is_kept = |keeper: &&Server| {
            // What is under way arrives within a few of these.
            let mut tries = 0..20;
            tries.any(|_| {
                let (mut peer, notice) = come_back(keeper, Dialect::Wamp2, &first);
                notice["recovered"] == true && matches!(peer.told(), Told::Event(..))
            })
        };
        keepers.iter().all(is_kept)
    });
    first
}

#[test]
fn servers_behind_one_relay_agree_on_ids() {
    let port = Port::hold();
    let relay = relay(&port.endpoint(), PULL);
    let keepers = [keeper(&port.endpoint()), keeper(&port.endpoint())];
    let since = warm_up(&relay, &[&keepers[0], &keepers[1]]);
    let missed = relay.publish("news", 1..6);
    for keeper in &keepers {
        wait_until("it keeps all of them", || {
            come_back(keeper, Dialect::Wamp2, &missed[4].0).1["recovered"] == true
        });
        for dialect in Dialect::ALL {
            let (mut peer, notice) = come_back(keeper, dialect, &since);
            assert_eq!(notice, json!({"recovered": true, "id": since}));
            assert_eq!(peer.event().1, json!(0));
            peer.expect(&missed);
        }
    }
    for keeper in keepers {
        keeper.stop();
    }
}

#[test]
fn behind_a_relay_that_was_started_again_ids_are_of_another_epoch() {
    let port = Port::hold();
    let first = relay(&port.endpoint(), PULL);
    let keeper = keeper(&port.endpoint());
    let since = warm_up(&first, &[&keeper]);
    let mut peers = Dialect::ALL.map(|dialect| come_back(&keeper, dialect, &since).0);
    drop(first);
    let second = relay(&port.endpoint(), PULL);
    let mut newest = String::new();
    wait_until("the new relay is heard", || {
        newest = second.publish("news", [7]).remove(0).0;
        come_back(&keeper, Dialect::Wamp2, &newest).1["recovered"] == true
    });
    for peer in &mut peers {
        // It is told of the loss before it hears an event of the other run. On a busy machine the connection to the first
        // relay may have been made twice, and then it is told of that, too.
        let mut is_told = false;
        let (id, data) = loop {
            match peer.told() {
                Told::Gap(gap) => {
                    assert_eq!(gap, "upstream");
                    is_told = true;
                }
                Told::Event(_, data) if data == json!(0) => {}
                Told::Event(id, data) => break (id.expect("an id"), data),
                other => panic!("{other:?}"),
            }
        };
        assert!(is_told, "{id} came before the notice");
        assert_eq!(data, json!(7));
        assert_eq!(
            id.split_once('-').map(|it| it.0),
            newest.split_once('-').map(|it| it.0)
        );
    }
    for dialect in Dialect::ALL {
        let (_, notice) = come_back(&keeper, dialect, &since);
        assert_eq!(
            (&notice["recovered"], &notice["reason"]),
            (&json!(false), &json!("epoch"))
        );
    }
    keeper.stop();
}

/// A server that was away while others went on: a client of another one has an id from the middle of what it has missed.
#[test]
fn a_server_that_has_missed_events_promises_nothing_from_their_middle() {
    let port = Port::hold();
    let relay = relay(&port.endpoint(), PULL);
    // Without heartbeats the relay does not take the server for dead.
    let endpoint = port.endpoint();
    let options = [
        "--sub",
        &endpoint,
        "--topic",
        "news history=100",
        "--publisher-timeout",
        "0",
    ];
    let lagging = Server::start(&[QUIET, &options].concat());
    warm_up(&relay, &[&lagging]);
    let relayed = || relay.metric("newswire_relayed_total");
    let before = relayed();
    lagging.signal("STOP");
    let data = format!("\"{}\"", "x".repeat(1_000));
    const EVENTS: usize = 30_000;
    publish_all(&relay.pull, (0..EVENTS).map(|_| envelope("news", &data)));
    wait_until("the relay has handed all of them on", || {
        relayed() - before >= EVENTS as f64
    });
    lagging.signal("CONT");
    wait_until("the loss is noticed", || {
        relay.publish("news", [2]);
        lagging.metric("newswire_missed_total") > 0.0
    });
    // The newest events are kept, and those in whose place some are missing.
    let (mut peer, notice) = Peer::asks(Dialect::Wamp2, lagging.connect(), "news", None, Some(100));
    let newest = notice["id"].as_str().expect("an id").to_owned();
    let (epoch, _) = newest.split_once('-').expect("an id");
    let mut sequences: Vec<u64> = Vec::new();
    while sequences.len() < 100 {
        let id = peer.event().0.expect("an id");
        sequences.push(
            id.split_once('-')
                .expect("an id")
                .1
                .parse()
                .expect("a number"),
        );
    }
    let hole = sequences.windows(2).find(|two| two[0] + 1 < two[1]);
    let &[before, behind] = hole.expect("some are missing") else {
        unreachable!("two");
    };
    for dialect in Dialect::ALL {
        for sequence in [
            before - 1,
            before,
            before + 1,
            (before + behind) / 2,
            behind - 2,
        ] {
            let (_, notice) = come_back(&lagging, dialect, &format!("{epoch}-{sequence}"));
            assert_eq!(
                notice["reason"], "floor",
                "{sequence} of {before} to {behind}"
            );
        }
        let (mut peer, notice) = come_back(&lagging, dialect, &format!("{epoch}-{}", behind - 1));
        assert_eq!(notice["recovered"], true);
        let id = peer.event().0;
        assert_eq!(id, Some(format!("{epoch}-{behind}")));
    }
}
