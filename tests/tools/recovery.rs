//! What the commands make of the past of topics: ids, events that are sent again, and what is told of those that are lost.
//!
//! Never here: what the server keeps (that is the engine's).

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use kit::observe::{envelope, publish_all};
use kit::port::Place;
use kit::{PATIENCE, Server, TOKEN};
use serde_json::Value;
use tungstenite::Message;
use tungstenite::handshake::server::{Request, Response};

use super::proxy::Proxy;

const KEPT: [&str; 2] = ["--topic", "news history=100"];

/// The protocols that know ids.
const PROTOCOLS: [&str; 2] = ["wamp2", "sse"];

fn newswire(arguments: &[&str]) -> Command {
    let mut command = kit::newswire();
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The lines of `stream`, as they come.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        lines.try_for_each(|line| sender.send(line)).ok()
    });
    receiver
}

/// A running `subscribe --ids` of the topic `news`. Dropped, it is killed.
struct Subscriber {
    child: Child,
    lines: Receiver<String>,
    told: Receiver<String>,
}

impl Subscriber {
    /// Starts one, and waits until it is subscribed.
    fn start(address: SocketAddr, protocol: &str, options: &[&str]) -> Self {
        let url = format!("ws://{address}/?token={TOKEN}");
        let mut child = newswire(&["subscribe", "--ids", "--protocol", protocol])
            .args(options)
            .args([&url, "news"])
            .spawn()
            .expect("it starts");
        let out = lines(child.stdout.take().expect("piped"));
        let told = lines(child.stderr.take().expect("piped"));
        let subscriber = Self {
            child,
            lines: out,
            told,
        };
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
            let told = self.told.recv_timeout(PATIENCE).expect("a line");
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
        let line = self.lines.recv_timeout(PATIENCE).expect("an event");
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

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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
    let output = kit::output_of(command);
    stage.join().expect("the play went well");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(0), "{err}");
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
