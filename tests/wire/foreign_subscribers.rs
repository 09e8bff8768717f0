//! The libraries that pages and programs use to subscribe, against the real binary: WAMP v2 with autobahn-js, wampy and
//! autobahn-python, and server-sent events with an `EventSource`.
//!
//! Each script in `tests/subscribers/` does the same and prints a line for each thing that happens: `open`, `denied URI`
//! for the topic that its token does not allow, `subscribed` (to `news`), `heard N` for each 10,000 events of `news` in
//! their order, `flooding` (subscribed to `flood`), `unsubscribed` (from it, in the middle of its events), `closed …` when
//! it stays away. `broken …` is a fault.
//!
//! `.ci/run` installs the packages.

use std::process::Command;
use std::sync::mpsc::Receiver;

use kit::observe::publish_all;
use kit::port::Place;
use kit::scratch::File;
use kit::scripts::{Running, interpreter};
use kit::{PATIENCE, Server};

const TOKEN: &str = "ses+ame/==";

/// In events, how many each client has to hear in their order.
const EVENTS: u64 = 10_000;

/// A library.
struct Library {
    command: fn() -> Command,
    script: &'static str,
    /// False for streams: their topics are in the URL.
    is_wamp: bool,
    /// What it says when an open session's token has ended; `None` where it says nothing by itself.
    killed: Option<&'static str>,
    /// What it says about a wrong ticket.
    wrong: &'static str,
}

/// What a script prints. Lines of two topics may come in any order, so what is not asked for yet is kept.
struct Printed {
    lines: Receiver<String>,
    kept: Vec<String>,
}

impl Printed {
    /// The line that begins so, waited for; no line is a fault.
    fn line(&mut self, start: &str) -> String {
        loop {
            if let Some(at) = self.kept.iter().position(|line| line.starts_with(start)) {
                return self.kept.remove(at);
            }
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|error| {
                panic!("no {start:?} was printed ({error}), but {:?}", self.kept)
            });
            self.keep(line);
        }
    }

    /// Returns true when a line that begins so has come.
    fn has(&mut self, start: &str) -> bool {
        while let Ok(line) = self.lines.try_recv() {
            self.keep(line);
        }
        self.kept.iter().any(|line| line.starts_with(start))
    }

    fn keep(&mut self, line: String) {
        assert!(!line.starts_with("broken"), "{line}");
        self.kept.push(line);
    }
}

/// Publishes `EVENTS` numbers from `first` on.
fn publish_numbers(server: &Server, first: u64) {
    let (_context, socket) = server.publisher();
    for n in first..first + EVENTS {
        let event = format!("{{\"topic\":\"news\",\"data\":{n}}}");
        socket.send(&event, 0).expect("it has a server");
    }
}

fn start(library: &Library, server: &Server, way: &str, token: &str) -> (Running, Printed) {
    let mut command = (library.command)();
    let scheme = if library.is_wamp { "ws" } else { "http" };
    command.arg(format!("tests/subscribers/{}", library.script));
    command.args([&*format!("{scheme}://{}/", server.address), way, token]);
    let mut client = Running::start(command);
    let printed = Printed {
        lines: client.lines(),
        kept: Vec::new(),
    };
    (client, printed)
}

/// The whole life of a client that shows its token in this way.
fn lives(library: &Library, way: &str) {
    let tokens = File::new(
        &format!("{}-{way}", library.script),
        &format!("{TOKEN} topics=news,flood\n"),
    );
    // An interpreter on a busy machine is no slow reader.
    let options = ["--tokens", tokens.path(), "--outbox-bytes-max", "64MiB"];
    let place = Place::hold();
    let server = place.start(&options);
    let (_client, mut printed) = start(library, &server, way, TOKEN);
    printed.line("open");
    if library.is_wamp {
        assert_eq!(printed.line("denied"), "denied wamp.error.not_authorized");
    }
    printed.line("subscribed");
    publish_numbers(&server, 0);
    if library.is_wamp {
        printed.line("flooding");
        leaves_under_load(&server, &mut printed);
    }
    printed.line(&format!("heard {EVENTS}"));

    // It comes back by itself.
    server.signal("KILL");
    server.wait();
    let server = place.start(&options);
    printed.line("open");
    kit::wait_until("its subscription", || {
        server.metric("newswire_subscriptions") >= 1.0
    });
    publish_numbers(&server, EVENTS);
    printed.line(&format!("heard {}", 2 * EVENTS));

    // Its token ends.
    tokens.replace("# nobody\n");
    if let Some(killed) = library.killed {
        printed.line(killed);
    }
    kit::wait_until("the end of its session", || {
        server.signal("USR1");
        server.log().contains("closed.token_ended=1")
    });
    server.stop();
}

/// The client leaves a topic while its events come one behind the other: some thousand a second, because an interpreter
/// has to get through what is before its answer.
fn leaves_under_load(server: &Server, printed: &mut Printed) {
    let (_context, socket) = server.publisher();
    kit::wait_until("it has left the topic", || {
        for _ in 0..10 {
            let event = r#"{"topic":"flood","data":1}"#;
            socket.send(event, 0).expect("it has a server");
        }
        printed.has("unsubscribed")
    });
}

/// A client with a wrong token is told so.
fn is_refused(library: &Library) {
    let server = Server::start(&[]);
    let (_client, mut printed) = start(library, &server, "ticket", "wrong");
    assert_eq!(printed.line("closed"), library.wrong);
    server.stop();
}

const AUTOBAHN_JS: Library = Library {
    command: || interpreter("NODE", "node"),
    script: "autobahn_js.cjs",
    is_wamp: true,
    killed: Some("closed closed wamp.close.killed"),
    wrong: "closed closed wamp.error.authentication_denied",
};

#[test]
#[ignore = "needs Node with the packages autobahn and ws"]
fn node_subscribes_with_autobahn() {
    lives(&AUTOBAHN_JS, "url");
    lives(&AUTOBAHN_JS, "ticket");
    is_refused(&AUTOBAHN_JS);
}

const WAMPY: Library = Library {
    command: || interpreter("NODE", "node"),
    script: "wampy.cjs",
    is_wamp: true,
    killed: None,
    wrong: "closed refused wamp.error.authentication_denied",
};

#[test]
#[ignore = "needs Node with the packages wampy and ws"]
fn node_subscribes_with_wampy() {
    lives(&WAMPY, "url");
    lives(&WAMPY, "ticket");
    is_refused(&WAMPY);
}

const AUTOBAHN_PYTHON: Library = Library {
    command: || interpreter("PYTHON", "python3"),
    script: "autobahn_python.py",
    is_wamp: true,
    killed: Some("closed left wamp.close.killed"),
    wrong: "closed left wamp.error.authentication_denied",
};

#[test]
#[ignore = "needs Python with the package autobahn"]
fn python_subscribes_with_autobahn() {
    lives(&AUTOBAHN_PYTHON, "url");
    lives(&AUTOBAHN_PYTHON, "ticket");
    is_refused(&AUTOBAHN_PYTHON);
}

const EVENT_SOURCE: Library = Library {
    command: || interpreter("NODE", "node"),
    script: "event_source.cjs",
    is_wamp: false,
    killed: Some("closed refused 401"),
    wrong: "closed refused 401",
};

#[test]
#[ignore = "needs Node with the package eventsource"]
fn node_subscribes_with_an_event_source() {
    lives(&EVENT_SOURCE, "url");
    is_refused(&EVENT_SOURCE);
}

/// zlib itself on the other side: what newswire compresses is inflated there, and the other way round.
#[test]
#[ignore = "needs Node with the package ws"]
fn node_subscribes_with_compression() {
    let server = Server::start(&[]);
    let mut command = interpreter("NODE", "node");
    let url = format!("ws://{}/", server.address);
    command.args(["tests/subscribers/deflate.cjs", &url, kit::TOKEN]);
    let mut client = Running::start(command);
    let mut printed = Printed {
        lines: client.lines(),
        kept: Vec::new(),
    };
    let opened = printed.line("open");
    assert!(opened.starts_with("open permessage-deflate"), "{opened}");
    kit::wait_until("its subscription", || {
        server.metric("newswire_subscriptions") == 1.0
    });
    // Both sides of each level, and what is sent as it is.
    for (n, length) in [
        1, 500, 2_000, 4_000, 5_000, 60_000, 70_000, 400_000, 700_000,
    ]
    .into_iter()
    .enumerate()
    {
        let words = (1..length).map(|word| format!(",\"word {} of {word}\"", word % 7));
        let words: String = words.take(length / 16).collect();
        let count = 1 + words.matches(',').count();
        let event = format!("{{\"topic\":\"news\",\"data\":[{n}{words}]}}");
        let bytes = event.len();
        publish_all(&server.pull, [event]);
        assert_eq!(printed.line("heard"), format!("heard {count} {n}"));
        let came = printed.line("came").replace("came ", "");
        let came: usize = came.parse().expect("a number");
        let is_compressed = (1_024..512 * 1_024).contains(&bytes);
        assert_eq!(came < bytes / 3, is_compressed, "{came} of {bytes} bytes");
    }
    server.stop();
}
