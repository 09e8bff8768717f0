//! `newswire.js` in Node: each of its promises alone, in a world of the test's own; and against the
//! real binary, which is killed and started again.
//!
//! Pages are in `tests/tools/browser.rs`. `node` and `tsc` are those of the `PATH`, or what the variables
//! `NODE` and `TSC` name.

use std::fs;
use std::process::{Command, Output};
use std::sync::mpsc::Receiver;

use kit::port::Place;
use kit::scratch::File;
use kit::scripts::{Running, interpreter, replaced, snippet};
use kit::{PATIENCE, Server, TOKEN, wait_until};

/// Node with the WebSocket of a browser.
fn node() -> Command {
    let mut node = interpreter("NODE", "node");
    node.arg("--experimental-websocket");
    node.args(["--import", "./tests/client/websocket.mjs"]);
    node
}

/// The module, as the server hands it out.
fn module(name: &str) -> File {
    let files = newswire::web::files();
    let file = files.iter().find(|file| file.name == "newswire.mjs");
    File::new(name, &file.expect("it is served").body)
}

#[test]
#[ignore = "needs Node 20.10 or newer"]
fn the_browsers_client_keeps_each_of_its_promises() {
    let output: Output = node()
        .args(["--test", "tests/client/units.mjs"])
        .output()
        .expect("node starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    // Not that the file was found, and nothing in it.
    assert!(said.contains("pauses double up to a bound"), "{said}");
}

/// WAMP v1 does not acknowledge a SUBSCRIBE, so this publishes until the client has heard one.
fn is_heard(server: &Server, heard: &Receiver<String>, topic: &str, data: &str, expected: &str) {
    let (_context, socket) = server.publisher();
    let envelope = format!("{{\"topic\":\"{topic}\",\"data\":{data}}}");
    wait_until(expected, || {
        socket.send(&envelope, 0).expect("it has a server");
        heard.try_iter().any(|line| line == expected)
    });
}

/// The next line that begins with `start`; others are passed over.
fn next(lines: &Receiver<String>, start: &str) -> String {
    loop {
        let line = lines.recv_timeout(PATIENCE);
        let line = line.unwrap_or_else(|error| panic!("no {start:?}: {error}"));
        if line.starts_with(start) {
            return line;
        }
    }
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
    assert!(summary.contains(" subscribes=2 "), "{summary}");
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
