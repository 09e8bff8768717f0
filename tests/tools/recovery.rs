//! What the commands make of the past of topics: ids, events that are sent again, and what is told of those that are lost.
//!
//! Never here: what the server keeps (that is the engine's).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use kit::observe::{envelope, publish_all};
use kit::port::Place;
use kit::{Server, TOKEN};
use serde_json::Value;
use tungstenite::Message;
use tungstenite::handshake::server::{Request, Response};

use super::process::{Finished, Running, finish, finish_with_input, newswire};
use super::proxy::Proxy;

const KEPT: [&str; 2] = ["--topic", "news history=100"];

/// The protocols that know ids.
const PROTOCOLS: [&str; 2] = ["wamp2", "sse"];

/// A running `subscribe --ids` of the topic `news`.
struct Subscriber(Running);

impl Subscriber {
    /// Starts one, and waits until it is subscribed.
    fn start(address: SocketAddr, protocol: &str, options: &[&str]) -> Self {
        let url = format!("ws://{address}/?token={TOKEN}");
        let mut command = newswire(&["subscribe", "--ids", "--protocol", protocol]);
        command.args(options).args([&url, "news"]);
        let subscriber = Self(Running::start(command));
        let first = match protocol {
            "wamp2" => "newswire: subscribed to news",
            _ => "newswire: connected to ",
        };
        subscriber.wait_for(first);
        subscriber
    }

    /// Waits until it tells a line that begins like this, and returns that line.
    fn wait_for(&self, beginning: &str) -> String {
        loop {
            let told = self.0.told();
            assert!(
                told.starts_with(beginning) || !told.contains("recovered"),
                "{told}"
            );
            if told.starts_with(beginning) {
                return told;
            }
        }
    }

    /// The id and the data of the next event.
    fn event(&self) -> (Option<String>, u64) {
        let line = self.0.line();
        let event: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(event["topic"], "news", "{line}");
        let id = event["id"].as_str().map(str::to_owned);
        (id, event["data"].as_u64().expect("a number"))
    }

    /// The ids of events with these data.
    fn ids(&self, data: impl IntoIterator<Item = u64>) -> Vec<String> {
        let next = |n| {
            let (id, data) = self.event();
            assert_eq!(data, n);
            id.expect("an id")
        };
        data.into_iter().map(next).collect()
    }
}

fn publish(server: &Server, data: impl IntoIterator<Item = u64>) {
    let events = data.into_iter().map(|n| envelope("news", &n.to_string()));
    publish_all(&server.pull, events);
}

#[test]
fn events_of_the_past_are_printed_when_the_user_asks_for_them() {
    let server = Server::start(&KEPT);
    let first = Subscriber::start(server.address, "wamp2", &[]);
    publish(&server, 1..=5);
    let ids = first.ids(1..=5);
    for protocol in PROTOCOLS {
        // An id of an event tells a stream where it is, so what is older comes without one.
        let newest = Subscriber::start(server.address, protocol, &["--last", "2"]);
        for n in [4, 5] {
            let id = (protocol == "wamp2").then(|| ids[n - 1].clone());
            assert_eq!(newest.event(), (id, n as u64));
        }
        let since = ["--since", &*ids[1]];
        let rest = Subscriber::start(server.address, protocol, &since);
        let told = rest.wait_for("newswire: recovered everything");
        assert!(told.ends_with(&format!(" since {}", ids[1])), "{told}");
        assert_eq!(rest.ids(3..=5), ids[2..]);
        let since = ["--since", "aaaaaaaa-7", "--last", "1"];
        let foreign = Subscriber::start(server.address, protocol, &since);
        foreign.wait_for("newswire: not recovered (epoch): events");
        assert_eq!(foreign.event().1, 5);
    }
    server.stop();
}

#[test]
fn a_publisher_over_http_is_told_the_ids_of_its_events() {
    let server = Server::start(&KEPT);
    let subscriber = Subscriber::start(server.address, "wamp2", &[]);
    let to = format!("http://{}", server.admin_address());
    let publish = ["publish", "--quiet", "--ids", "--to", &to, "news"];
    let printed = |(code, out, err): Finished| {
        assert_eq!((code, &*err), (Some(0), ""));
        out.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let mut one = newswire(&publish);
    one.arg("0");
    assert_eq!(printed(finish(one)), subscriber.ids(0..=0));
    let lines: String = (1..=300).map(|n| format!("{n}\n")).collect();
    let many = finish_with_input(newswire(&publish), &lines);
    assert_eq!(printed(many), subscriber.ids(1..=300));
    server.stop();
}

#[test]
fn a_publisher_that_is_told_no_ids_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let to = format!("http://{}", listener.local_addr().expect("bound"));
    let stage = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut request = String::new();
        while !request.ends_with("\"data\":1}") {
            let mut piece = [0; 1_000];
            let n = stream.read(&mut piece).expect("a request");
            request.push_str(&String::from_utf8_lossy(&piece[..n]));
        }
        let answer = b"HTTP/1.1 200 OK\r\n\r\n{\"subscribers\":1}";
        stream.write_all(answer).expect("sent");
    });
    let (code, _, err) = finish(newswire(&["publish", "--ids", "--to", &to, "t", "1"]));
    stage.join().expect("the play went well");
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("does not name their ids"), "{err}");
}

#[test]
fn a_lost_connection_loses_no_event_that_is_kept() {
    let server = Server::start(&KEPT);
    let proxy = Proxy::to(server.address);
    let subscribers = PROTOCOLS.map(|protocol| Subscriber::start(proxy.address, protocol, &[]));
    // Before the first event there is a position already.
    for events in [0..100, 100..150, 150..200] {
        proxy.cut();
        publish(&server, events.clone());
        for subscriber in &subscribers {
            subscriber.ids(events.clone());
            subscriber.wait_for("newswire: recovered everything ");
        }
    }
    server.stop();
}

#[test]
fn what_is_lost_is_told() {
    let place = Place::hold();
    for (options, reason) in [(&KEPT[..], "epoch"), (&[], "none")] {
        let server = place.start(options);
        let subscribers =
            PROTOCOLS.map(|protocol| Subscriber::start(place.listen.address, protocol, &[]));
        publish(&server, 1..=1);
        subscribers.iter().for_each(|it| drop(it.ids(1..=1)));
        server.stop();
        let server = place.start(options);
        for subscriber in &subscribers {
            subscriber.wait_for(&format!("newswire: not recovered ({reason}): events"));
        }
        server.stop();
    }
}

#[test]
fn what_the_server_tells_of_the_past_is_no_event() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}", listener.local_addr().expect("bound"));
    #[expect(clippy::result_large_err, reason = "tungstenite's signature")]
    let upgrade = |_: &Request, mut response: Response| {
        let protocol = "wamp.2.json".parse().expect("a header");
        let headers = response.headers_mut();
        headers.insert("Sec-WebSocket-Protocol", protocol);
        Ok(response)
    };
    let stage = thread::spawn(move || {
        for (asked, says) in [
            (
                "{\"x_last\":3,\"x_since\":\"aaaaaaaa-0\"}",
                &[
                    "[33,1,7]",
                    "[36,7,1,{\"x_recovered\":true,\"x_id\":\"aaaaaaaa-0\"}]",
                    "[36,7,2,{\"x_id\":\"aaaaaaaa-2\"},[1]]",
                    "[36,7,1,{\"x_gap\":\"slow\"}]",
                    "[36,7,4,{\"x_id\":\"aaaaaaaa-4\"},[]]",
                ][..],
            ),
            (
                "{\"x_since\":\"aaaaaaaa-2\"}",
                &[
                    "[33,1,7]",
                    "[36,7,1,{\"x_recovered\":false,\"x_reason\":\"floor\\n\"}]",
                    "[36,7,9,{\"x_id\":\"aaaaaaaa-9\"},[2]]",
                ],
            ),
        ] {
            let (stream, _): (TcpStream, _) = listener.accept().expect("a connection");
            let mut socket = tungstenite::accept_hdr(stream, upgrade).expect("an upgrade");
            socket.read().expect("HELLO");
            socket.send(Message::text("[2,1,{}]")).expect("sent");
            let subscribe = socket.read().expect("SUBSCRIBE");
            assert_eq!(subscribe, Message::text(format!("[32,1,{asked},\"a\"]")));
            for text in says {
                socket.send(Message::text(*text)).expect("sent");
            }
        }
    });
    let options = ["--ids", "--count", "2", "--since", "aaaaaaaa-0"];
    let mut command = newswire(&["subscribe", "--protocol", "wamp2", "--last", "3"]);
    command.args(options).args([&url, "a"]);
    let (code, out, err) = finish(command);
    stage.join().expect("the play went well");
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(
        out,
        "{\"id\":\"aaaaaaaa-2\",\"topic\":\"a\",\"data\":1}\n\
         {\"id\":\"aaaaaaaa-9\",\"topic\":\"a\",\"data\":2}\n"
    );
    for line in [
        "newswire: recovered everything of a since aaaaaaaa-0\n",
        "newswire: gap (slow) in a: events were lost\n",
        "newswire: not recovered (floor ): events of a may be missing\n",
    ] {
        assert!(err.contains(line), "{line}: {err}");
    }
}

/// Exit code, the report, and standard error of a load test on the topic `news`.
fn load(server: &Server, protocol: &str, options: &[&str]) -> (Option<i32>, Value, String) {
    let mut command = newswire(&["load", "--protocol", protocol, "--json", "--topic", "news"]);
    let url = format!("ws://{}/?token={TOKEN}", server.address);
    command.args(["--to", &server.pull, &url]).args(options);
    let (code, out, err) = finish(command);
    let report = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out} {err}"));
    (code, report, err)
}

const BLINKS: [&str; 8] = [
    "--connections",
    "10",
    "--rate",
    "100",
    "--duration",
    "3",
    "--blink",
    "0.3/1",
];

#[test]
fn subscribers_that_blink_miss_nothing_that_is_kept() {
    let server = Server::start(&KEPT);
    for protocol in PROTOCOLS {
        let (code, report, err) = load(&server, protocol, &BLINKS);
        assert_eq!((code, &*err), (Some(0), ""), "{protocol}: {report}");
        let of = |name: &str| report[name].as_u64().expect(name);
        let blink = &report["blink"];
        // In 3 s, each of them vanishes two or three times.
        let blinks = blink["blinks"].as_u64().expect("a number");
        assert!((10..=30).contains(&blinks), "{report}");
        assert_eq!(blink["recoveries"]["recovered"], blinks, "{report}");
        assert_eq!(blink["expected"], of("published") * 10, "{report}");
        assert_eq!(of("deliveries"), of("published") * 10, "{report}");
        assert!(blink["replayed"].as_u64() > Some(0), "{report}");
        for (name, expected) in [
            ("losses", 0),
            ("doubles", 0),
            ("handshakes", 10),
            ("ended", 0),
        ] {
            assert_eq!(of(name), expected, "{name}: {report}");
        }
        assert_eq!(blink["gaps"], serde_json::json!({}), "{report}");
    }
    server.stop();
}

#[test]
fn without_a_history_a_load_test_shows_what_blinking_loses() {
    let server = Server::start(&[]);
    for protocol in PROTOCOLS {
        let (code, report, err) = load(&server, protocol, &BLINKS);
        assert_eq!(code, Some(1), "{report}");
        assert!(
            err.contains(" deliveries lost, 0 doubled, 0 out of order"),
            "{err}"
        );
        let of = |name: &str| report[name].as_u64().expect(name);
        let blink = &report["blink"];
        assert_eq!(blink["recoveries"]["none"], blink["blinks"], "{report}");
        assert_eq!(
            blink["expected"],
            of("deliveries") + of("losses"),
            "{report}"
        );
        // At 100 events a second, 0.3 s are about 30 events; of that the machine may keep some for itself.
        assert!(
            of("losses") > 10 * blink["blinks"].as_u64().expect("a number"),
            "{report}"
        );
        assert_eq!(of("missed_while_not_connected"), 0, "{report}");
    }
    server.stop();
}

#[test]
fn slow_readers_are_reported_apart() {
    let bounds = ["--outbox-bytes-max", "512KiB", "--event-bytes-max", "64KiB"];
    let options = ["--connections", "10", "--rate", "200", "--duration", "4"];
    let slow = ["--bytes", "5000", "--slow", "20", "--slow-rate", "400000"];
    for (rule, is_closed) in [("news slow=oldest", false), ("news history=1", true)] {
        let server = Server::start(&[&bounds[..], &["--topic", rule]].concat());
        for protocol in PROTOCOLS {
            let (code, report, err) = load(&server, protocol, &[&options[..], &slow].concat());
            assert_eq!((code, &*err), (Some(0), ""), "{protocol}: {report}");
            let of = |name: &str| report[name].as_u64().expect(name);
            // Whatever happens to the slow ones, the others have everything.
            assert_eq!(of("deliveries"), of("published") * 8, "{report}");
            let slow = |name: &str| report["slow"][name].as_u64().expect(name);
            assert_eq!(slow("readers"), 2, "{report}");
            assert_eq!(slow("expected"), of("published") * 2, "{report}");
            assert!(slow("deliveries") < slow("expected"), "{report}");
            // The end comes behind what the kernel has kept for them, so they need not have heard of it yet.
            let closed = server.metric("newswire_closed_total{reason=\"slow_consumer\"}");
            assert_eq!(closed > 0.0, is_closed, "{report}");
            assert!(is_closed || slow("ended") == 0, "{report}");
            assert_eq!(slow("ended"), of("ended"), "{report}");
            let gaps = report["slow"]["gaps"]["slow"].as_u64();
            assert_eq!(gaps.is_some(), !is_closed, "{report}");
        }
        server.stop();
    }
}
