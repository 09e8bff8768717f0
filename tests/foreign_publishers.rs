//! The README's own snippets, run as they stand there by the interpreters that their readers have.
//! Only addresses and tokens are replaced.
//!
//! `.ci/run` installs what the interpreters need.

mod common;

use std::process::Command;

use common::Server;
use common::scripts::{Script, interpreter, replaced, snippet};

/// Runs a publisher against a server, and compares what a subscriber hears.
fn publishes(mut interpreter: Command, name: &str, text: &str, data: &str) {
    let server = Server::start(&[]);
    let mut client = server.subscriber(&["package_created"]);
    let script = Script::new(name, &replaced(text, "tcp://127.0.0.1:5555", &server.pull));
    let output = interpreter
        .arg(&script.0)
        .output()
        .unwrap_or_else(|error| panic!("{interpreter:?}: {error}"));
    assert!(output.status.success(), "{output:?}");
    let expected = format!("[8,\"package_created\",{data}]");
    assert_eq!(client.text(), expected);
    let summary = server.stop();
    assert!(
        summary.contains(" ingested=1 events=1 deliveries=1 "),
        "{summary}"
    );
}

#[test]
#[ignore = "needs PHP with ext-zmq"]
fn php_publishes() {
    publishes(
        interpreter("PHP", "php"),
        "publisher.php",
        &snippet("php", "ZMQContext"),
        r#"{"headline":"Caf\u00e9 reopens","url":"https:\/\/example.com\/a\/6"}"#,
    );
}

#[test]
#[ignore = "needs Python with pyzmq"]
fn python_publishes() {
    publishes(
        interpreter("PYTHON", "python3"),
        "publisher.py",
        &snippet("python", "import zmq"),
        r#"{"headline": "Caf\u00e9 reopens", "url": "https://example.com/a/6"}"#,
    );
}

#[test]
#[ignore = "needs Node with the package zeromq (NODE_PATH)"]
fn node_publishes() {
    publishes(
        interpreter("NODE", "node"),
        "publisher.cjs",
        &snippet("js", "require(\"zeromq\")"),
        r#"{"headline":"Café reopens","url":"https://example.com/a/6"}"#,
    );
}
