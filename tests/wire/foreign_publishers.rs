//! The documentation's own snippets, run as they stand there by the interpreters that their readers have.
//! Only addresses and tokens are replaced.
//!
//! `.ci/run` installs what the interpreters need.

use std::process::Command;

use kit::Server;
use kit::scratch::File;
use kit::scripts::{interpreter, replaced, snippet};
use serde_json::Value;

const PUBLISH: &str = "docs/publish.md";

/// Runs a publisher against a server, and compares what a subscriber hears.
fn publishes(mut interpreter: Command, name: &str, text: &str, data: &str) {
    let server = Server::start(&[]);
    let mut client = server.subscriber(&["package_created"]);
    let script = File::new(name, &replaced(text, "tcp://127.0.0.1:5555", &server.pull));
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
        &snippet(PUBLISH, "php", "ZMQContext"),
        r#"{"headline":"Caf\u00e9 reopens","url":"https:\/\/example.com\/a\/6"}"#,
    );
}

/// As [`publishes`], but over HTTP. `arguments` go before the script's name.
fn posts(mut interpreter: Command, name: &str, text: &str) {
    let server = Server::start(&[]);
    let mut client = server.subscriber(&["package_created", "a", "b"]);
    let admin = server.admin_address().to_string();
    let script = File::new(name, &replaced(text, "127.0.0.1:8081", &admin));
    let output = interpreter.arg(&script.0).output();
    let output = output.unwrap_or_else(|error| panic!("{interpreter:?}: {error}"));
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match name {
        "batch.sh" => {
            let answers = serde_json::Deserializer::from_str(&said).into_iter::<Value>();
            let counts: Vec<String> = answers
                .map(|answer| answer.expect("JSON")["subscribers"].to_string())
                .collect();
            assert_eq!(counts, ["[1,1]", "[1,1,1]"], "{said}");
            for expected in ["[8,\"a\",1]", "[8,\"b\",2]", "[8,\"a\",1]", "[8,\"a\",2]"] {
                assert_eq!(client.text(), expected);
            }
        }
        "one.sh" => {
            let answer: Value = serde_json::from_str(&said).expect("JSON");
            assert_eq!(answer["subscribers"], 1, "{said}");
            assert_eq!(client.text(), r#"[8,"package_created",{"n":1}]"#);
        }
        _ => {
            assert_eq!(said, "");
            let data = r#"{"headline":"Caf\u00e9 reopens","url":"https:\/\/example.com\/a\/6"}"#;
            assert_eq!(client.text(), format!("[8,\"package_created\",{data}]"));
        }
    }
    server.stop();
}

#[test]
#[ignore = "needs PHP, without any extension"]
fn publishing_by_http_from_plain_php() {
    let mut php = interpreter("PHP", "php");
    php.args(["-d", "display_errors=stderr", "-d", "log_errors=0"]);
    let text = snippet(PUBLISH, "php", "stream_context_create");
    posts(php, "post.php", &text);
}

#[test]
#[ignore = "needs curl"]
fn publishing_by_http_from_curl() {
    let one = "  -d '{\"topic\":";
    for (page, name, part) in [
        ("README.md", "one.sh", one),
        (PUBLISH, "one.sh", one),
        (PUBLISH, "batch.sh", "x-ndjson"),
    ] {
        let text = snippet(page, "sh", part).replace("curl ", "curl -sS ");
        posts(Command::new("sh"), name, &text);
    }
}

#[test]
#[ignore = "needs Python with pyzmq"]
fn python_publishes() {
    publishes(
        interpreter("PYTHON", "python3"),
        "publisher.py",
        &snippet(PUBLISH, "python", "import zmq"),
        r#"{"headline": "Caf\u00e9 reopens", "url": "https://example.com/a/6"}"#,
    );
}

#[test]
#[ignore = "needs Node with the package zeromq (NODE_PATH)"]
fn node_publishes() {
    publishes(
        interpreter("NODE", "node"),
        "publisher.cjs",
        &snippet(PUBLISH, "js", "require(\"zeromq\")"),
        r#"{"headline":"Café reopens","url":"https://example.com/a/6"}"#,
    );
}
