//! The README's own snippets, run as they stand there by the interpreters that their readers have.
//! Only addresses and tokens are replaced.
//!
//! The interpreters are `php`, `python3` and `node` of the `PATH`, or what the variables `PHP`,
//! `PYTHON` and `NODE` name. `.ci/run` installs what they need.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use common::{Server, TOKEN, wait_until};

/// The one block of the README in `language` that has `part`.
fn snippet(language: &str, part: &str) -> String {
    let readme = fs::read_to_string("README.md").expect("a README");
    let blocks = readme.split("\n```").skip(1).step_by(2);
    let mut found = blocks
        .filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'))
        .filter(|body| body.contains(part));
    let body = found
        .next()
        .unwrap_or_else(|| panic!("no block in {language} has {part:?}"));
    assert_eq!(found.next(), None, "two blocks in {language} have {part:?}");
    format!("{body}\n")
}

/// `text` with `from`, which it has, replaced.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "no {from:?} in {text}");
    text.replace(from, to)
}

/// A script in a file that is gone when the test ends.
struct Script(PathBuf);

impl Script {
    fn new(name: &str, text: &str) -> Self {
        let name = format!("newswire-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, text).expect("a writable directory");
        Self(path)
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "where the interpreters are is the test machine's affair, not the configuration's"
)]
fn interpreter(variable: &str, default: &str) -> Command {
    Command::new(std::env::var_os(variable).unwrap_or(default.into()))
}

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

/// As [`publishes`], but over HTTP. `arguments` go before the script's name.
fn posts(mut interpreter: Command, name: &str, text: &str) {
    let server = Server::start(&[]);
    let mut client = server.subscriber(&["package_created", "a", "b"]);
    let admin = server.admin_address().to_string();
    let script = Script::new(name, &replaced(text, "127.0.0.1:8081", &admin));
    let output = interpreter.arg(&script.0).output();
    let output = output.unwrap_or_else(|error| panic!("{interpreter:?}: {error}"));
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match name {
        "batch.sh" => {
            let expected = r#"{"events":2,"subscribers":[1,1]}{"events":3,"subscribers":[1,1,1]}"#;
            assert_eq!(said, expected);
            for expected in ["[8,\"a\",1]", "[8,\"b\",2]", "[8,\"a\",1]", "[8,\"a\",2]"] {
                assert_eq!(client.text(), expected);
            }
        }
        "one.sh" => {
            assert_eq!(said, r#"{"subscribers":1}"#);
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
    posts(php, "post.php", &snippet("php", "stream_context_create"));
}

#[test]
#[ignore = "needs curl"]
fn publishing_by_http_from_curl() {
    for (name, part) in [("one.sh", "  -d '{\"topic\":"), ("batch.sh", "x-ndjson")] {
        let text = snippet("sh", part).replace("curl ", "curl -sS ");
        posts(Command::new("sh"), name, &text);
    }
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

/// Something that runs until the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// Its standard output, a line at a time.
    fn lines(&mut self) -> Receiver<String> {
        let (sender, receiver) = channel();
        let stdout = BufReader::new(self.0.stdout.take().expect("piped"));
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        receiver
    }
}

/// WAMP v1 does not acknowledge a SUBSCRIBE, so this publishes until the client has heard one.
fn is_heard(server: &Server, heard: &Receiver<String>, n: u32) {
    let (_context, socket) = server.publisher();
    let envelope = format!("{{\"topic\":\"package_created\",\"data\":{{\"n\":{n}}}}}");
    let expected = format!("package_created {{ n: {n} }}");
    wait_until(&expected, || {
        socket.send(&envelope, 0).expect("it has a server");
        heard.try_iter().any(|line| line == expected)
    });
}

#[test]
#[ignore = "needs Node 20.10 or newer, for its WebSocket"]
fn the_browsers_client_listens_and_comes_back() {
    let server = Server::start(&[]);
    let text = snippet("js", "new WebSocket(");
    let text = replaced(&text, "127.0.0.1:8080", &server.address.to_string());
    let text = replaced(&text, "the token", TOKEN);
    let script = Script::new("client.cjs", &text);
    let mut client = Running(
        interpreter("NODE", "node")
            .arg("--experimental-websocket")
            .arg(&script.0)
            .stdout(Stdio::piped())
            .spawn()
            .expect("node starts"),
    );
    let heard = client.lines();
    is_heard(&server, &heard, 1);

    let address = server.address.to_string();
    server.stop();
    // On top of a free port, the one that the client knows; the last one is what `address` is.
    let server = Server::start(&["--listen", &address]);
    assert_eq!(server.address.to_string(), address);
    is_heard(&server, &heard, 2);
}
