//! `newswire.js` in Node: each of its promises alone, in a world of the test's own; and against the
//! real binary, which is killed and started again.
//!
//! Pages are in `tests/tools/browser.rs`. `node` and `tsc` are those of the `PATH`, or what the variables
//! `NODE` and `TSC` name.

use std::fs;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;

use kit::observe::{counted, envelope, publish_all};
use kit::port::Place;
use kit::scratch::File;
use kit::scripts::{Running, interpreter, replaced, snippet};
use kit::{PATIENCE, Server, TOKEN, wait_until};

use super::proxy::Proxy;

/// Node with the WebSocket of a browser.
fn node() -> Command {
    let mut node = interpreter("NODE", "node");
    node.arg("--experimental-websocket");
    node.args(["--import", "./tests/client/websocket.mjs"]);
    node
}

/// The module (`.mjs`) or the script (`.js`), as the server hands it out.
fn module(name: &str) -> File {
    let files = newswire::web::files();
    let end = name.rsplit('.').next().expect("an end");
    let mut files = files.iter();
    let file = files.find(|file| file.name == format!("newswire.{end}"));
    File::new(name, &file.expect("it is served").body)
}

#[test]
#[ignore = "needs Node 20.10 or newer"]
fn the_browsers_client_keeps_each_of_its_promises() {
    let served = module("units.js");
    for file in ["src/web/newswire.js", served.path()] {
        let output: Output = node()
            .args(["--test", "tests/client/units.mjs"])
            .env("NEWSWIRE_JS", file)
            .output()
            .expect("node starts");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{file}: {said}");
        // Not that the file was found, and nothing in it.
        assert!(said.contains("pauses double up to a bound"), "{said}");
    }
}

/// Publishes until the client has heard one: it need not be subscribed yet.
fn is_heard(server: &Server, heard: &Receiver<String>, topic: &str, data: &str, expected: &str) {
    let (_context, socket) = server.publisher();
    let envelope = format!("{{\"topic\":\"{topic}\",\"data\":{data}}}");
    wait_until(expected, || {
        socket.send(&envelope, 0).expect("it has a server");
        heard.try_iter().any(|line| line == expected)
    });
}

/// In lines that are passed over: a client that never comes to what is waited for says each of its attempts.
const LINES_MAX: usize = 300;

/// The next line that begins with `start`; others are passed over.
fn next(lines: &Receiver<String>, start: &str) -> String {
    for _ in 0..LINES_MAX {
        let line = lines.recv_timeout(PATIENCE);
        let line = line.unwrap_or_else(|error| panic!("no {start:?}: {error}"));
        if line.starts_with(start) {
            return line;
        }
    }
    panic!("no {start:?} in {LINES_MAX} lines");
}

#[test]
#[ignore = "needs Node 20.10 or newer, for its WebSocket"]
fn the_browsers_client_outlives_its_server() {
    let place = Place::hold();
    let server = place.start(&[]);
    let module = module("outlives.mjs");
    let mut command = node();
    command.arg("tests/client/comeback.mjs");
    command
        .arg(&module.0)
        .args([&*server.address.to_string(), TOKEN]);
    let mut client = Running::start(command);
    let lines = client.lines();
    // A 401 is told as an end without a code of the server's.
    assert_eq!(next(&lines, ""), "waiting 1006 asked 1");
    assert_eq!(next(&lines, ""), "open - asked 2");
    is_heard(&server, &lines, "before", "1", "before 1");
    is_heard(&server, &lines, "after", "2", "after 2");
    wait_until("one of three subscriptions has ended", || {
        server.signal("USR1");
        server.log().contains("subscribes=3 unsubscribes=1")
    });

    server.signal("KILL");
    server.wait();
    assert_eq!(next(&lines, "waiting"), "waiting 1006 asked 2");
    assert_eq!(next(&lines, "waiting"), "waiting 1006 asked 3");
    let server = place.start(&[]);
    next(&lines, "open");
    is_heard(&server, &lines, "before", "3", "before 3");
    is_heard(&server, &lines, "after", "\"close\"", "after \"close\"");
    assert!(next(&lines, "closed").starts_with("closed 1000 "));
    let summary = server.stop();
    assert!(summary.contains(" closed.peer_closed=1"), "{summary}");
    // Two; and the same two where a stream was begun and given up, because the server came back just then.
    assert_eq!(counted(&summary, "subscribes") % 2, 0, "{summary}");
}

/// A client in Node that says what becomes of its subscriptions (`subscriptions.mjs`).
struct Subscriber {
    _module: File,
    _client: Running,
    lines: Receiver<String>,
}

impl Subscriber {
    fn start(address: SocketAddr, token: &str, how: &str, topics: &str) -> Self {
        Self::start_with(address, token, how, topics, 0)
    }

    /// It asks for the `last` newest events of each topic.
    fn start_with(address: SocketAddr, token: &str, how: &str, topics: &str, last: usize) -> Self {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let module = module(&format!("subscriber-{number}.mjs"));
        let url = format!("ws://{address}/push/?lang=en");
        let mut command = node();
        command.arg("tests/client/subscriptions.mjs");
        command.args([module.path(), &url, token, how, topics, &last.to_string()]);
        let mut client = Running::start(command);
        Self {
            lines: client.lines(),
            _module: module,
            _client: client,
        }
    }

    /// The next lines, which have to be these, in whatever order.
    fn says(&self, expected: &[&str]) {
        let mut said: Vec<String> = (expected.iter()).map(|_| next(&self.lines, "")).collect();
        let mut expected = expected.to_vec();
        said.sort();
        expected.sort_unstable();
        assert_eq!(said, expected);
    }

    /// The next line that is none of another attempt.
    fn says_at_last(&self, expected: &str) {
        for _ in 0..LINES_MAX {
            let line = next(&self.lines, "");
            if line != "waiting 1006" {
                assert_eq!(line, expected);
                return;
            }
        }
        panic!("no {expected:?} in {LINES_MAX} lines");
    }
}

/// Publishes to a topic.
fn publish(server: &Server, topic: &str, data: impl IntoIterator<Item = String>) {
    let envelopes = data.into_iter().map(|data| envelope(topic, &data));
    publish_all(&server.pull, envelopes);
}

const DENIED: &str = "wamp.error.not_authorized";

#[test]
#[ignore = "needs Node 20.10 or newer, for its WebSocket"]
fn the_browsers_client_is_told_what_the_token_allows() {
    for how in ["url", "ticket"] {
        let tokens = File::new(&format!("allows-{how}"), "sesame topics=a,b,c\n");
        let server = Server::start_without_token(&["--tokens", tokens.path()]);
        let proxy = Proxy::to(server.address);
        let client = Subscriber::start(proxy.address, "sesame", how, "a,x,b");
        let (denied, has_not) = (format!("denied x {DENIED}"), format!("has not x {DENIED}"));
        client.says(&["has a", "has b", &denied, &has_not, "open"]);
        let numbers = (1..=50).map(|n| n.to_string());
        publish(&server, "a", numbers.clone());
        for n in numbers {
            client.says(&[&format!("heard a {n}")]);
        }
        publish(&server, "a", [r#"{"subscribe":"c"}"#.to_owned()]);
        client.says(&[r#"heard a {"subscribe":"c"}"#, "has c"]);
        // It may have less from now on.
        tokens.replace("sesame topics=a,c\n");
        client.says(&[&format!("denied b {DENIED}")]);
        publish(&server, "c", [r#"{"subscribe":"b"}"#.to_owned()]);
        let (denied, has_not) = (format!("denied b {DENIED}"), format!("has not b {DENIED}"));
        client.says(&[r#"heard c {"subscribe":"b"}"#, &denied, &has_not]);
        // A token that ends is the end, since there is no other.
        tokens.replace("# nobody\n");
        client.says(&["closed 3000"]);
        let asked = proxy.asked();
        let expected = match how {
            "url" => "GET /push/?lang=en&token=sesame HTTP/1.1",
            _ => "GET /push/?lang=en HTTP/1.1",
        };
        assert_eq!(asked, [expected]);
        server.stop();
    }
}

#[test]
#[ignore = "needs Node 20.10 or newer, for its WebSocket"]
fn the_browsers_client_is_told_that_its_token_is_wrong() {
    // A ticket is refused at once, and a token in the URL with the third request, which is for a stream.
    for (how, requests) in [("ticket", 1), ("url", 3)] {
        let server = Server::start(&[]);
        let proxy = Proxy::to(server.address);
        let client = Subscriber::start(proxy.address, "wrong", how, "a");
        client.says_at_last("closed 3000");
        client.says(&["has not a closed"]);
        assert_eq!(proxy.asked().len(), requests, "{:?}", proxy.asked());
        server.stop();
    }
}

#[test]
#[ignore = "needs Node 20.10 or newer, for its WebSocket"]
fn the_browsers_client_listens_to_a_stream_where_a_proxy_refuses_websockets() {
    for how in ["url", "ticket"] {
        let tokens = File::new(&format!("stream-{how}"), "sesame topics=a,b,c\n");
        let place = Place::hold();
        let options = ["--tokens", tokens.path()];
        let server = place.start(&options);
        let proxy = Proxy::that_refuses_websockets(server.address);
        let client = Subscriber::start(proxy.address, "sesame", how, "a,x,b");
        let (denied, has_not) = (format!("denied x {DENIED}"), format!("has not x {DENIED}"));
        client.says(&["waiting 1006", &denied, &has_not, "has a", "has b", "open"]);
        assert_eq!(proxy.refused(), 3);
        let numbers = (1..=50).map(|n| n.to_string());
        publish(&server, "a", numbers.clone());
        for n in numbers {
            client.says(&[&format!("heard a {n}")]);
        }
        // Another topic is another stream. These topics have no history, so the page hears of a gap, and of none for the
        // new topic.
        publish(&server, "a", [r#"{"subscribe":"c"}"#.to_owned()]);
        let gaps = ["gap a none", "gap b none"];
        client.says(&[
            r#"heard a {"subscribe":"c"}"#,
            gaps[0],
            gaps[1],
            "has c",
            "open",
        ]);
        assert_eq!(proxy.refused(), 3);
        is_heard(&server, &client.lines, "c", "0", "heard c 0");

        server.signal("KILL");
        server.wait();
        assert_eq!(next(&client.lines, "waiting"), "waiting 1006");
        let server = place.start(&options);
        next(&client.lines, "open");
        is_heard(&server, &client.lines, "b", "1", "heard b 1");
        // The end of the token is the end of the stream, and a 401 after that.
        tokens.replace("# nobody\n");
        next(&client.lines, "waiting");
        client.says_at_last("closed 3000");
        let has_token = |line: &&String| line.contains("sesame");
        let (asked, refused) = (proxy.asked(), proxy.refused());
        let shown = asked.iter().filter(has_token).count();
        assert_eq!(
            shown,
            if how == "url" { asked.len() } else { 0 },
            "{asked:?}"
        );
        assert!(refused < asked.len(), "{asked:?}");
        server.stop();
    }
}

#[test]
#[ignore = "needs Node 20.10 or newer, for its WebSocket"]
fn the_browsers_client_is_back_at_its_websocket_when_the_proxy_is_gone() {
    let server = Server::start(&[]);
    let proxy = Proxy::that_refuses_websockets(server.address);
    let client = Subscriber::start(proxy.address, TOKEN, "ticket", "a");
    client.says(&["waiting 1006", "has a", "open"]);
    proxy.refuse_websockets(false);
    proxy.cut();
    client.says(&["waiting 1006"]);
    client.says(&["gap a none", "open"]);
    is_heard(&server, &client.lines, "a", "1", "heard a 1");
    let last = proxy.asked().pop().expect("it has asked");
    assert_eq!(last, "GET /push/?lang=en HTTP/1.1", "no topic is in it");
    server.stop();
}

/// Topics whose events are kept.
const WITH_HISTORY: [&str; 4] = ["--topic", "a history=100", "--topic", "b history=100"];

/// Lines until all of `ends` have been among them.
fn lines_until(lines: &Receiver<String>, ends: &[&str]) -> Vec<String> {
    let mut said = Vec::new();
    while !ends.iter().all(|end| said.iter().any(|line| line == end)) {
        assert!(said.len() < LINES_MAX, "no {ends:?}: {said:?}");
        said.push(next(lines, ""));
    }
    said
}

/// The lines that begin with `start`.
fn those<'a>(said: &'a [String], start: &str) -> Vec<&'a String> {
    said.iter().filter(|line| line.starts_with(start)).collect()
}

/// Publishes numbers, and waits until the server has handed them on to whoever is there.
fn publish_and_wait(server: &Server, topic: &str, numbers: RangeInclusive<usize>) {
    let mut witness = server.subscriber(&[topic]);
    publish(server, topic, numbers.clone().map(|n| n.to_string()));
    for _ in numbers {
        witness.text();
    }
}

#[test]
#[ignore = "needs Node 20.10 or newer, for its WebSocket"]
fn the_browsers_client_misses_nothing_while_its_connection_is_cut() {
    for is_stream in [false, true] {
        let place = Place::hold();
        let server = place.start(&WITH_HISTORY);
        let proxy = Proxy::to(server.address);
        proxy.refuse_websockets(is_stream);
        let client = Subscriber::start(proxy.address, TOKEN, "url", "a,b");
        match is_stream {
            true => client.says(&["waiting 1006", "has a", "has b", "open"]),
            false => client.says(&["has a", "has b", "open"]),
        }
        publish(&server, "a", ["1".to_owned()]);
        client.says(&["heard a 1"]);
        for from in [2, 40] {
            proxy.shut();
            assert_eq!(next(&client.lines, ""), "waiting 1006");
            publish_and_wait(&server, "a", from..=from + 20);
            publish_and_wait(&server, "b", from..=from + 5);
            proxy.open();
            // Everything, each once and in the order of its topic, and no gap.
            let end = |topic| format!("heard {topic} \"end {from}\"");
            for topic in ["a", "b"] {
                publish(&server, topic, [format!("\"end {from}\"")]);
            }
            let said = lines_until(&client.lines, &[&end("a"), &end("b")]);
            for (topic, last) in [("a", from + 20), ("b", from + 5)] {
                let mut expected: Vec<String> = (from..=last)
                    .map(|n| format!("heard {topic} {n}"))
                    .collect();
                expected.push(end(topic));
                let heard = those(&said, &format!("heard {topic} "));
                assert_eq!(heard, expected.iter().collect::<Vec<_>>());
            }
            assert!(those(&said, "gap").is_empty(), "{said:?}");
        }

        // A server that was started anew has none of them.
        server.signal("KILL");
        server.wait();
        let server = place.start(&WITH_HISTORY);
        let said = lines_until(&client.lines, &["open"]);
        assert_eq!(those(&said, "gap"), ["gap a epoch", "gap b epoch"]);
        publish(&server, "b", ["1".to_owned()]);
        client.says(&["heard b 1"]);
        // And from there on nothing is missed again.
        proxy.cut();
        let said = lines_until(&client.lines, &["open"]);
        assert!(those(&said, "gap").is_empty(), "{said:?}");
        server.stop();
    }
}

#[test]
#[ignore = "needs Node 20.10 or newer, for its WebSocket"]
fn the_browsers_client_begins_with_the_newest_events() {
    for is_stream in [false, true] {
        let server = Server::start(&WITH_HISTORY);
        publish_and_wait(&server, "a", 1..=5);
        let proxy = Proxy::to(server.address);
        proxy.refuse_websockets(is_stream);
        let client = Subscriber::start_with(proxy.address, TOKEN, "url", "a,b", 2);
        let said = lines_until(&client.lines, &["open", "has a", "has b", "heard a 5"]);
        assert_eq!(those(&said, "heard"), ["heard a 4", "heard a 5"]);
        assert!(those(&said, "gap").is_empty(), "{said:?}");
        publish(&server, "a", ["6".to_owned()]);
        client.says(&["heard a 6"]);
        server.stop();
    }
}

/// The documentation's `part`, which prints what it hears, before and after a restart.
fn the_documentation_listens(part: &str, comes_back: bool) {
    let place = Place::hold();
    let server = place.start(&[]);
    let module = module(&format!("readme-{comes_back}.mjs"));
    let mut text = snippet("docs/browser.md", "js", part);
    if comes_back {
        let path = module.0.to_str().expect("a path");
        text = replaced(&text, "http://127.0.0.1:8080/newswire.mjs", path);
    }
    let text = replaced(&text, "127.0.0.1:8080", &server.address.to_string());
    let text = replaced(&text, "the token", TOKEN);
    let script = File::new(&format!("client-{comes_back}.mjs"), &text);
    let mut command = node();
    command.arg(&script.0);
    let mut client = Running::start(command);
    let heard = client.lines();
    let expected = |n| format!("package_created {{ n: {n} }}");
    is_heard(
        &server,
        &heard,
        "package_created",
        "{\"n\":1}",
        &expected(1),
    );
    if comes_back {
        server.stop();
        let server = place.start(&[]);
        is_heard(
            &server,
            &heard,
            "package_created",
            "{\"n\":2}",
            &expected(2),
        );
    }
}

#[test]
#[ignore = "needs Node 20.10 or newer, for its WebSocket"]
fn the_browsers_client_of_the_documentation_listens_and_comes_back() {
    the_documentation_listens("newswire.mjs", true);
}

#[test]
#[ignore = "needs Node 20.10 or newer, for its WebSocket"]
fn the_browsers_client_can_be_done_without() {
    the_documentation_listens("new WebSocket(", false);
}

#[test]
#[ignore = "needs TypeScript (TSC)"]
fn typescript_takes_the_types() {
    let folder = std::env::temp_dir().join(format!("newswire-{}-types", std::process::id()));
    fs::create_dir(&folder).expect("a writable directory");
    // As a page's author would have it: beside the module, and named like it.
    for (from, to) in [
        ("src/web/newswire.d.ts", "newswire.d.mts"),
        ("tests/client/types.mts", "types.mts"),
        ("tests/client/globals.ts", "globals.ts"),
    ] {
        fs::copy(from, folder.join(to)).expect("a copy");
    }
    let output = interpreter("TSC", "tsc")
        .args(["--noEmit", "--strict", "--lib", "es2022,dom"])
        .args(["--module", "es2022", "--moduleResolution", "bundler"])
        .args(["--target", "es2022", "types.mts", "globals.ts"])
        .current_dir(&folder)
        .output();
    let _ = fs::remove_dir_all(&folder);
    let output = output.expect("tsc starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}
