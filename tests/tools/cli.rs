//! The binary as its users meet it: exit codes, what is said and where, which source wins, and the two
//! clients against peers that this file plays itself.
//!
//! Never here: the server. What needs one is tested where the server is.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use kit::port::Port;
use kit::scratch::File;
use kit::scripts::snippet;
use tungstenite::handshake::server::{Request, Response};
use tungstenite::{Message, WebSocket};

use super::process::{Finished, finish, finish_with_input, finished, newswire};

fn run(arguments: &[&str]) -> Finished {
    finish(newswire(arguments))
}

fn run_with_input(arguments: &[&str], input: &str) -> Finished {
    finish_with_input(newswire(arguments), input)
}

#[test]
fn help_and_version_go_to_standard_output() {
    for arguments in [
        &["--help"][..],
        &["serve", "--help"],
        &["publish", "--help"],
        &["subscribe", "--help"],
        &["token", "--help"],
        &["token", "hash", "--help"],
        &["check", "--help"],
        &["--version"],
    ] {
        let (code, out, err) = run(arguments);
        assert_eq!((code, err.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(!out.is_empty(), "{arguments:?}");
    }
}

#[test]
fn nonsense_is_one_line_on_standard_error_and_exit_code_2() {
    let bad = File::new("nonsense.toml", "# a comment\nlisten-addr = 'x'\n");
    let at_line_2 = format!("{}:2: there is no option `listen-addr`", bad.path());
    let bad_file = format!("check --config {}", bad.path());
    for (line, part) in [
        (
            "--listen localhost:80",
            "--listen: \"localhost:80\": an IP address",
        ),
        ("serve --ping-interval 300", "from 1 s to 120 s"),
        ("serve --event-bytes-max 33MiB", "to 32MiB"),
        ("--shutdown-close rude", "`drop` or `frame`"),
        ("--outbox-bytes-max 1MiB", "raise outbox-bytes-max to"),
        ("--nonsense", "there is no option --nonsense"),
        (
            "check --admin 127.0.0.1:8080",
            "listen (127.0.0.1:8080) and admin (127.0.0.1:8080) want the same address",
        ),
        (
            "--publish 0.0.0.0:5555 --publish-token sesame",
            "publish (0.0.0.0:5555) and pull (tcp://127.0.0.1:5555) want the same address",
        ),
        (
            "load ws://a/ --to tcp://a:1 --publish tcp://a:1",
            "cannot be used with",
        ),
        (
            "check --config /nonexistent/newswire.toml",
            "/nonexistent/newswire.toml: No such file",
        ),
        ("check --config /", "configuration file /: Is a directory"),
        (&*bad_file, &at_line_2),
        (
            "publish topic {\"a\":tru}",
            "not JSON: expected ident at line 1 column 9",
        ),
        ("publish topic hello", "quotes: '\"hello\"'"),
        ("publish topic it's", "quotes: '\"hello\"'"),
        ("publish $sys/x 1", "is the server's own"),
        ("load ws://a/ --topic $sys/x", "is the server's own"),
        ("publish topic", "standard input is empty"),
        ("publish --to tcp://*:1 topic 1", "cannot be connected to"),
        (
            "publish --ids --to tcp://127.0.0.1:1 topic 1",
            "--ids: only HTTP is answered with the ids",
        ),
        (
            "publish --timeout 0 topic 1",
            "--timeout: \"0\": it must be from 1 s",
        ),
        ("subscribe wss://a/?token=sesame topic", "needs TLS"),
        (
            "subscribe --protocol sse https://a/?token=sesame t",
            "needs TLS",
        ),
        ("subscribe --count 0 ws://a/ topic", "0"),
        ("subscribe --last -1 ws://a/ topic", "-1"),
        (
            "subscribe --last 1 ws://a/?token=sesame t",
            "--last: WAMP v1 has no ids of events, and no way to ask for past ones: --protocol wamp2 or sse",
        ),
        ("subscribe --ids ws://a/?token=sesame t", "--ids: WAMP v1"),
        (
            "subscribe --since abcdefgh-1 ws://a/?token=sesame t",
            "--since: WAMP v1",
        ),
        (
            "subscribe --protocol wamp2 --since abcdefgh ws://a/?token=sesame t",
            "--since: \"abcdefgh\": the id of an event is needed, such as abcdefgh-17",
        ),
        (
            "load ws://a/?token=sesame --blink 2",
            "--blink: \"2\": SECONDS/EVERY is needed",
        ),
        ("load ws://a/?token=sesame --blink 2/15", "--rate is needed"),
        (
            "load ws://a/?token=sesame --blink 2/15 --rate 10",
            "--protocol wamp2 or sse",
        ),
        (
            "load ws://a/?token=sesame --slow 101",
            "--slow: \"101\": a number from 0 to 100 is needed",
        ),
        (
            "load ws://a/?token=sesame --slow 1 --stalled 1",
            "cannot be used with",
        ),
        (
            "subscribe --protocol wamp3 ws://a/?token=sesame t",
            "[possible values: wamp, wamp2, sse]",
        ),
        (
            "load --protocol= ws://a/?token=sesame",
            "[possible values: wamp, wamp2, sse]",
        ),
        (
            "load --token-in cookie ws://a/?token=sesame",
            "[possible values: url, header, subprotocol, ticket]",
        ),
        (
            "subscribe --token-in ticket ws://a/?token=sesame t",
            "--protocol wamp2",
        ),
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        let (code, out, err) = run(&arguments);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{line}: {err}");
        assert!(err.contains(part), "{line}: {err}");
        assert_eq!(err.lines().count(), 1, "{line}: {err}");
        assert!(
            err.starts_with("newswire: ") && !err.contains("sesame"),
            "{err}"
        );
    }
}

#[test]
fn a_token_is_new_each_time() {
    let (code, first, _) = run(&["token", "new"]);
    let (_, second, _) = run(&["token", "new"]);
    assert_eq!(code, Some(0));
    assert_ne!(first, second);
    let token = first.strip_suffix('\n').expect("a line");
    assert_eq!(token.len(), 43);
    assert!(
        token
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    );
}

#[test]
fn a_token_is_hashed_from_standard_input_or_an_argument() {
    let expected = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n";
    let hash = |input: &str| run_with_input(&["token", "hash"], input);
    for input in ["abc", "abc\n", "abc\r\n"] {
        let (code, out, error) = hash(input);
        assert_eq!((code, &*out, &*error), (Some(0), expected, ""), "{input:?}");
    }
    let (code, out, _) = run(&["token", "hash", "abc"]);
    assert_eq!((code, &*out), (Some(0), expected));
    for input in ["", "sesame one\nsesame two\n"] {
        let (code, out, error) = hash(input);
        assert_eq!((code, &*out), (Some(2), ""));
        assert!(
            error.contains("the token: ") && !error.contains("sesame"),
            "{error}"
        );
    }
}

#[test]
fn check_shows_each_value_and_where_it_came_from() {
    let file = File::new(
        "check.toml",
        "ping-interval = 11\nping-timeout = 12\nclose-timeout = 13\ntoken = ['sesame-1', 'sesame-2']\n",
    );
    let mut command = newswire(&["check", "--ping-interval", "31"]);
    command
        .env("NEWSWIRE_CONFIG", file.path())
        .env("NEWSWIRE_PING_INTERVAL", "21")
        .env("NEWSWIRE_PING_TIMEOUT", "22")
        .env("NEWSWIRE_PINGTIMEOUT", "sesame");
    let (code, out, err) = finish(command);
    assert_eq!(code, Some(0), "{err}");
    for line in [
        "ping-interval = 31  # seconds, flag",
        "ping-timeout = 22  # seconds, environment",
        "close-timeout = 13  # seconds, file, line 3",
        "shutdown-timeout = 10  # seconds, default",
        "# token = (2 given, not shown)  # file, line 4",
    ] {
        assert!(out.lines().any(|shown| shown == line), "{line}: {out}");
    }
    assert!(!out.contains("sesame"));
    assert_eq!(
        err,
        "newswire: warning: variable NEWSWIRE_PINGTIMEOUT is not read: there is no such option; did you mean \
         `NEWSWIRE_PING_TIMEOUT`?\n"
    );

    // What is shown is a file that says the same, and a flag wins over the variable that names a file.
    let shown = File::new("shown.toml", &out);
    let mut command = newswire(&["check", "--config", shown.path()]);
    command.env("NEWSWIRE_CONFIG", "/nonexistent");
    let (code, again, err) = finish(command);
    assert_eq!(code, Some(0), "{err}");
    let values = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines
            .map(|line| line.split("  #").next().unwrap_or(line).to_owned())
            .collect()
    };
    assert_eq!(values(&out), values(&again));
}

#[test]
fn closed_standard_streams_are_no_reason_to_fail() {
    for arguments in [&["check"][..], &["--help"], &["token", "new"]] {
        let mut child = newswire(arguments).spawn().expect("it starts");
        drop(child.stdout.take());
        drop(child.stderr.take());
        let status = child.wait().expect("it ends");
        assert_eq!(status.code(), Some(0), "{arguments:?}");
    }
    let mut child = newswire(&["--nonsense"]).spawn().expect("it starts");
    drop(child.stderr.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(2));
}

/// A PULL socket as a server has it, and its endpoint.
fn pull(prepare: impl FnOnce(&zmq::Socket)) -> (zmq::Socket, String) {
    let socket = zmq::Context::new().socket(zmq::PULL).expect("a socket");
    prepare(&socket);
    socket.set_rcvtimeo(10_000).expect("an option");
    socket.bind("tcp://127.0.0.1:*").expect("a free port");
    let endpoint = socket.get_last_endpoint().expect("bound").expect("UTF-8");
    (socket, endpoint)
}

fn received(socket: &zmq::Socket) -> String {
    socket.recv_string(0).expect("a message").expect("UTF-8")
}

#[test]
fn an_event_arrives_in_the_envelope_byte_for_byte() {
    let (socket, endpoint) = pull(|_| {});
    let json = "{\"n\" : 1.50, \"s\":\"\\/\\u00e9 é\"}";
    let (code, out, err) = run(&["publish", "--to", &endpoint, "a\"b", json]);
    assert_eq!((code, out.as_str()), (Some(0), ""), "{err}");
    assert_eq!(err, format!("1 event sent to {endpoint}\n"));
    assert_eq!(
        received(&socket),
        format!("{{\"topic\":\"a\\\"b\",\"data\":{json}}}")
    );

    let (code, _, err) = run(&["publish", "--quiet", "--to", &endpoint, "t", "-5"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert_eq!(received(&socket), "{\"topic\":\"t\",\"data\":-5}");
}

#[test]
fn an_event_goes_where_the_servers_configuration_says() {
    let (socket, endpoint) = pull(|_| {});
    let file = File::new("pull.toml", &format!("pull = [\"{endpoint}\"]\n"));
    let (_, port) = endpoint.rsplit_once(':').expect("a port");
    let every = format!("tcp://*:{port}");
    let unspecified = format!("tcp://0.0.0.0:{port}");
    let publish = |variable: (&str, &str), arguments: &[&str]| {
        let mut command = newswire(&["publish"]);
        command.args(arguments).args(["t", "1"]);
        command.env(variable.0, variable.1);
        finish(command)
    };
    let off = ("NEWSWIRE_PULL", "off");
    for (variable, arguments) in [
        (("NEWSWIRE_PULL", &*endpoint), &[][..]),
        (("NEWSWIRE_PULL", &*every), &[]),
        (("NEWSWIRE_PULL", &*unspecified), &[]),
        (("NEWSWIRE_CONFIG", file.path()), &[]),
        (
            ("NEWSWIRE_CONFIG", "/nonexistent"),
            &["--config", file.path()],
        ),
        (off, &["--to", &endpoint]),
    ] {
        let (code, _, err) = publish(variable, arguments);
        assert_eq!(code, Some(0), "{variable:?}: {err}");
        assert_eq!(received(&socket), "{\"topic\":\"t\",\"data\":1}");
    }
    for (variable, part) in [
        (off, "pull is off in the configuration"),
        (("NEWSWIRE_PULL", "tcp://*:*"), "pull is tcp://*:* in the"),
    ] {
        let (code, _, err) = publish(variable, &[]);
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains(part) && err.contains("--to"), "{err}");
    }
}

#[test]
fn lines_of_standard_input_are_events_up_to_a_bad_one() {
    let (socket, endpoint) = pull(|_| {});
    let (code, _, err) = run_with_input(
        &["publish", "--to", &endpoint, "t", "-"],
        "1\n\n[2]\r\n\"3\"",
    );
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(err, format!("3 events sent to {endpoint}\n"));
    for data in ["1", "[2]", "\"3\""] {
        assert_eq!(
            received(&socket),
            format!("{{\"topic\":\"t\",\"data\":{data}}}")
        );
    }

    let (code, _, err) = run_with_input(&["publish", "--to", &endpoint, "t"], "1\n\nnope\n4\n");
    assert_eq!(code, Some(2), "{err}");
    assert_eq!(
        err,
        "newswire: standard input, line 3: not JSON: expected ident at column 2; sent 1 event before it\n"
    );
    assert_eq!(received(&socket), "{\"topic\":\"t\",\"data\":1}");

    let arguments = ["publish", "--to", &endpoint, "--event-bytes-max", "30", "t"];
    let (code, _, err) = run_with_input(&arguments, "\"0123456789\"\n");
    assert_eq!(code, Some(2));
    assert!(
        err.contains("line 1: the event has 33 bytes with its envelope"),
        "{err}"
    );
}

#[test]
fn an_event_that_nobody_takes_is_a_failure() {
    // Nobody listens there; and there somebody does who does not speak ZeroMQ.
    let closed = Port::hold();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    for address in [closed.address, silent.local_addr().expect("bound")] {
        let to = format!("tcp://{address}");
        let (code, _, err) = run(&["publish", "--to", &to, "--timeout", "1", "t", "1"]);
        assert_eq!(code, Some(1), "{err}");
        assert!(
            err.contains(&format!(
                "no server answers at {to} within 1 s: is newswire"
            )),
            "{err}"
        );
        assert_eq!(err.lines().count(), 1, "{err}");
    }
}

#[test]
fn an_event_for_somebody_who_does_not_speak_zeromq_is_a_failure() {
    let web = |mut stream: TcpStream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    };
    let shell = |mut stream: TcpStream| {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n");
        // Until the other side goes.
        let _ = stream.read_to_end(&mut Vec::new());
    };
    // As libzmq 2 greets: without a handshake, so that nobody knows what it is.
    let old = |mut stream: TcpStream| {
        let _ = stream.write_all(&[1, 0]);
        let _ = stream.read_to_end(&mut Vec::new());
    };
    let plays: [fn(TcpStream); 4] = [web, shell, old, |_| {}];
    for (n, play) in plays.into_iter().enumerate() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let to = format!("tcp://{}", listener.local_addr().expect("bound"));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || play(stream));
            }
        });
        let url = to.replace("tcp:", "ws:");
        let said = format!("what answers at {to} does not speak ZeroMQ");
        // Whoever says nothing may be a proxy whose server is late.
        let timeout = if n == 3 { "1" } else { "3600" };
        for arguments in [
            &["publish", "--timeout", timeout, "t", "1", "--to", &to][..],
            &["load", &url, "--connections", "1", "--to", &to],
        ] {
            let (code, _, err) = run(arguments);
            assert_eq!(code, Some(1), "{n}: {err}");
            assert!(err.contains(&said), "{n}: {err}");
            assert_eq!(err.lines().count(), 1, "{n}: {err}");
        }
    }
}

#[test]
fn a_load_test_without_a_server_at_the_endpoint_says_so_at_once() {
    let closed = Port::hold();
    let port = closed.address.port();
    for host in ["127.0.0.1", "localhost"] {
        let to = format!("tcp://{host}:{port}");
        let (code, _, err) = run(&["load", "ws://127.0.0.1:1/", "--to", &to]);
        assert_eq!(code, Some(1), "{err}");
        // Nothing was waited for, so no time is named.
        let at_once = err.contains(&format!("no server answers at {to}: is newswire"))
            || err.contains(&format!("no server answers at {to} (tried "));
        assert!(at_once, "{err}");
    }
}

#[test]
fn events_that_do_not_leave_in_time_are_a_failure() {
    // It greets, and then takes next to nothing.
    let (_socket, endpoint) = pull(|socket| {
        socket.set_rcvhwm(1).expect("an option");
        socket.set_rcvbuf(4096).expect("an option");
    });
    let line = format!("\"{}\"\n", "x".repeat(1_000_000));
    let (code, _, err) = run_with_input(
        &["publish", "--to", &endpoint, "--timeout", "1", "t"],
        &line.repeat(30),
    );
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("not everything left in time"), "{err}");
}

#[test]
fn the_documentations_example_file_is_a_configuration() {
    let example = snippet("docs/operate.md", "toml", "newswire.toml");
    let file = File::new("example.toml", &example);
    let (code, out, err) = run(&["check", "--config", file.path()]);
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let keys = example.lines().filter(|line| line.contains(" = ")).count();
    assert_eq!(
        out.matches("# file, line").count() + out.matches(", file, line").count(),
        keys
    );
}

/// A server of one connection after another, each played by the next of `scenes`; answers with its URL.
fn play(scenes: Vec<fn(TcpStream)>) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!(
        "ws://{}?token=ses+ame/==",
        listener.local_addr().expect("bound")
    );
    let stage = thread::spawn(move || {
        for scene in scenes {
            let (stream, _) = listener.accept().expect("a connection");
            scene(stream);
        }
    });
    (url, stage)
}

/// The upgrade of a client that asks for `target` and speaks `protocol`.
fn upgrade(
    stream: TcpStream,
    target: &'static str,
    protocol: &'static str,
) -> WebSocket<TcpStream> {
    #[expect(clippy::result_large_err, reason = "tungstenite's signature")]
    let upgrade = |request: &Request, mut response: Response| {
        assert_eq!(request.uri(), target);
        assert_eq!(request.headers()["Sec-WebSocket-Protocol"], protocol);
        let headers = response.headers_mut();
        headers.insert(
            "Sec-WebSocket-Protocol",
            protocol.parse().expect("a header"),
        );
        Ok(response)
    };
    tungstenite::accept_hdr(stream, upgrade).expect("an upgrade")
}

/// The upgrade, WELCOME, and the subscriptions to `a` and `b`.
fn welcome(stream: TcpStream) -> WebSocket<TcpStream> {
    let mut socket = upgrade(stream, "/?token=ses+ame/==", "wamp");
    socket
        .send(Message::text("[0,\"id\",1,\"test\"]"))
        .expect("sent");
    for topic in ["a", "b"] {
        let message = socket.read().expect("a message");
        assert_eq!(message, Message::text(format!("[5,\"{topic}\"]")));
    }
    socket
}

fn subscribe(arguments: &[&str], url: &str) -> (Option<i32>, String, String) {
    run(&[&["subscribe"], arguments, &[url, "a", "b"]].concat())
}

#[test]
fn events_are_lines_and_pings_are_answered() {
    let (url, stage) = play(vec![|stream| {
        let mut socket = welcome(stream);
        socket
            .send(Message::text("[8,\"a\",{\"n\":1.50}]"))
            .expect("sent");
        socket.send(Message::Ping("hi".into())).expect("sent");
        assert_eq!(socket.read().expect("a pong"), Message::Pong("hi".into()));
        socket
            .send(Message::text("[8,\"b\",[\n1\r\n]]"))
            .expect("sent");
        assert!(socket.read().expect("a close").is_close());
    }]);
    let (code, out, err) = subscribe(&["--count", "2"], &url);
    stage.join().expect("the play went well");
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(
        out,
        "{\"topic\":\"a\",\"data\":{\"n\":1.50}}\n{\"topic\":\"b\",\"data\":[ 1  ]}\n"
    );
    assert!(
        err.contains("connected to ws://127.0.0.1:") && !err.contains("ses+ame"),
        "{err}"
    );
}

/// WAMP v1 has no answer to a SUBSCRIBE, so silence is explained. SIGUSR1 is for servers, and clients have
/// the same name.
#[test]
fn a_silent_subscription_is_explained_and_survives_sigusr1() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let stage = thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        let mut socket = welcome(stream);
        wait.recv().expect("the test goes on");
        socket.send(Message::text("[8,\"a\",1]")).expect("sent");
        let _ = socket.read();
    });
    let url = format!("ws://{address}?token=ses+ame/==");
    let mut child = newswire(&["subscribe", "--count", "1", &url, "a", "b"])
        .spawn()
        .expect("it starts");
    let mut told = BufReader::new(child.stderr.take().expect("a pipe")).lines();
    let mut line = || told.next().expect("a line").expect("text");
    assert!(line().contains("connected to"));
    let quiet = line();
    assert!(quiet.contains("`denied` in the server's log"), "{quiet}");
    let kill = Command::new("kill")
        .args(["-s", "USR1", &child.id().to_string()])
        .status();
    assert!(kill.expect("kill runs").success());
    go.send(()).expect("the stage waits");
    let output = child.wait_with_output().expect("it ends");
    stage.join().expect("the play went well");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"{\"topic\":\"a\",\"data\":1}\n");
}

#[test]
fn a_load_test_says_when_the_process_is_not_the_server() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("ws://{}/", listener.local_addr().expect("bound"));
    // Each connection is closed as soon as it comes.
    thread::spawn(move || while listener.accept().is_ok() {});
    let mut other = Command::new("sleep").arg("600").spawn().expect("it starts");
    let pid = other.id().to_string();
    let load = ["load", &url, "--connections", "1", "--reconnect", "1"];
    let (code, _, err) = run(&[&load[..], &["--pid", &pid]].concat());
    let _ = other.kill();
    let _ = other.wait();
    assert_eq!(code, Some(1), "{err}");
    let here = format!("but pid {} (", std::process::id());
    assert!(
        err.contains(&format!(
            "warning: --pid {pid} does not listen on 127.0.0.1:"
        )) && err.contains(&here),
        "{err}"
    );
    // It has ended, and its number is not given out again at once.
    let (code, _, err) = run(&[&load[..], &["--pid", &pid]].concat());
    assert_eq!(code, Some(2), "{err}");
    assert!(
        err.contains(&format!("--pid: {pid}: there is no such process")),
        "{err}"
    );
}

#[test]
fn the_former_name_of_an_option_of_load_works_and_is_told() {
    let closed = Port::hold();
    let url = format!("ws://{}/", closed.address);
    let (_socket, endpoint) = pull(|_| {});
    let (code, _, err) = run(&["load", &url, "--connections", "1", "--publish", &endpoint]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("`load --publish` is called --to now"), "{err}");
    assert!(err.contains("no connection was accepted"), "{err}");
}

#[test]
fn revoking_without_a_server_says_what_to_do() {
    let closed = Port::hold();
    let admin = format!("http://{}/", closed.address);
    let (code, _, err) = run(&["token", "revoke", "sesame", "--admin", &admin]);
    assert_eq!(code, Some(1), "{err}");
    assert!(
        err.contains("is newswire running?") && err.contains("`admin`"),
        "{err}"
    );
    assert!(!err.contains("sesame") && err.lines().count() == 1, "{err}");
}

#[test]
fn a_lost_connection_is_made_again() {
    let scenes: Vec<fn(TcpStream)> = vec![
        |stream| drop(welcome(stream)),
        // Its request is read, or the end would be a reset.
        |mut stream| drop(stream.read(&mut [0; 4096])),
        |mut stream| {
            let busy = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(busy.as_bytes()).expect("sent");
        },
        |stream| {
            let mut socket = welcome(stream);
            socket.send(Message::text("[8,\"a\",1]")).expect("sent");
            let _ = socket.read();
        },
    ];
    let (url, stage) = play(scenes);
    let (code, out, err) = subscribe(&["--count", "1"], &url);
    stage.join().expect("the play went well");
    assert_eq!(
        (code, out.as_str()),
        (Some(0), "{\"topic\":\"a\",\"data\":1}\n"),
        "{err}"
    );
    assert_eq!(err.matches("next attempt in").count(), 3, "{err}");
    assert!(!err.contains("ses+ame"), "{err}");

    let (url, stage) = play(vec![|stream| drop(welcome(stream))]);
    let (code, _, err) = subscribe(&["--no-reconnect"], &url);
    stage.join().expect("the play went well");
    assert_eq!(code, Some(1), "{err}");
}

#[test]
fn a_refusal_ends_it_and_shows_what_the_server_said() {
    let (url, stage) = play(vec![|mut stream| {
        let head = BufReader::new(stream.try_clone().expect("a clone")).lines();
        let end = head.map_while(Result::ok).find(String::is_empty);
        assert!(end.is_some());
        let body = "{\"error\":\"unknown token\",\"hint\":\"ask for one\"}";
        let head = format!(
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("sent");
        stream.write_all(body.as_bytes()).expect("sent");
        // Whether it comes in one piece or in two is the network's choice; the end comes late.
        let _ = stream.read(&mut [0]);
    }]);
    let (code, out, err) = subscribe(&[], &url);
    stage.join().expect("the play went well");
    assert_eq!((code, out.as_str()), (Some(1), ""), "{err}");
    assert!(
        err.contains("answered 401 Unauthorized: unknown token (ask for one)"),
        "{err}"
    );
    assert!(!err.contains("ses+ame"), "{err}");
}

#[test]
fn a_reader_that_has_had_enough_ends_it_quietly() {
    let (url, stage) = play(vec![|stream| {
        let mut socket = welcome(stream);
        // Until the client goes: it notices the closed pipe when it writes.
        while socket.send(Message::text("[8,\"a\",1]")).is_ok() {}
    }]);
    let mut child: Child = newswire(&["subscribe", &url, "a", "b"])
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    let mut reader = BufReader::new(child.stdout.take().expect("a pipe"));
    reader.read_line(&mut line).expect("a line");
    drop(reader);
    let output = child.wait_with_output().expect("it ends");
    stage.join().expect("the play went well");
    assert_eq!(line, "{\"topic\":\"a\",\"data\":1}\n");
    let (code, _, err) = finished(output);
    assert_eq!((code, err.lines().count()), (Some(0), 1), "{err}");
}

#[test]
fn wamp2_is_spoken_as_its_specification_has_it() {
    let (url, stage) = play(vec![|stream| {
        let mut socket = upgrade(stream, "/", "wamp.2.json");
        let mut hears = |says: &[&str], expected: &[&str]| {
            for text in says {
                socket.send(Message::text(*text)).expect("sent");
            }
            for text in expected {
                assert_eq!(socket.read().expect("a message"), Message::text(*text));
            }
        };
        let hello = format!(
            "[1,\"realm1\",{{\"agent\":\"newswire/{}\",\"authmethods\":[\"ticket\"],\
             \"roles\":{{\"subscriber\":{{\"features\":{{\"subscription_revocation\":true}}}}}}}}]",
            env!("CARGO_PKG_VERSION")
        );
        hears(&[], &[&hello]);
        hears(&["[4,\"ticket\",{}]"], &["[5,\"ses+ame/==\",{}]"]);
        hears(
            &["[2,9007199254740991,{\"roles\":{\"broker\":{}}}]"],
            &["[32,1,{\"x_last\":0},\"a\"]", "[32,2,{\"x_last\":0},\"b\"]"],
        );
        // Answers may come in any order, and an id may be anything.
        let denied = "[8,32,1,{\"message\":\"not\\u0007you\"},\"com.example.no\"]";
        hears(&["[33,2,7000000000000000]", denied], &[]);
        hears(
            &[
                "[36,7000000000000000,1,{},[{\"n\":1.50}]]",
                "[36,7,1,{},[\"another's\"]]",
                "[36,7000000000000000,2,{\"x\":{}},[[\n1]]]",
            ],
            &["[6,{},\"wamp.close.close_realm\"]"],
        );
        assert!(socket.read().expect("a close").is_close());
    }]);
    let options = ["--protocol", "wamp.2.json", "--token-in", "ticket"];
    let (code, out, err) = subscribe(&[&options[..], &["--count", "2"]].concat(), &url);
    stage.join().expect("the play went well");
    assert_eq!(code, Some(0), "{err}");
    let lines = "{\"topic\":\"b\",\"data\":{\"n\":1.50}}\n{\"topic\":\"b\",\"data\":[ 1]}\n";
    assert_eq!(out, lines);
    assert!(
        err.ends_with(
            "newswire: subscribed to b\nnewswire: a is denied: com.example.no (not you)\n"
        ),
        "{err}"
    );
}

#[test]
fn a_server_of_wamp2_that_says_goodbye_is_left_alone() {
    let (url, stage) = play(vec![|stream| {
        let mut socket = upgrade(stream, "/?token=ses+ame/==", "wamp.2.json");
        assert!(
            socket
                .read()
                .expect("HELLO")
                .to_text()
                .expect("text")
                .starts_with("[1,")
        );
        socket.send(Message::text("[2,1,{}]")).expect("sent");
        socket
            .send(Message::text("[6,{},\"com.example.bye\"]"))
            .expect("sent");
        for _ in ["a", "b"] {
            let subscribe = socket.read().expect("SUBSCRIBE");
            assert!(subscribe.to_text().expect("text").starts_with("[32,"));
        }
        let answer = Message::text("[6,{},\"wamp.close.goodbye_and_out\"]");
        assert_eq!(socket.read().expect("an answer"), answer);
    }]);
    // It would come back.
    let (code, _, err) = subscribe(&["--protocol", "wamp2"], &url);
    stage.join().expect("the play went well");
    assert_eq!(code, Some(1), "{err}");
    assert!(
        err.contains(": the server said GOODBYE: com.example.bye; "),
        "{err}"
    );
    assert!(!err.contains("next attempt"), "{err}");
}

/// Reads the head of a request, and answers with these bytes.
fn answer(stream: &mut TcpStream, answer: &str) -> String {
    let mut head = String::new();
    let mut lines = BufReader::new(stream.try_clone().expect("a clone"));
    while !head.ends_with("\r\n\r\n") {
        assert!(lines.read_line(&mut head).expect("a line") > 0, "{head}");
    }
    stream.write_all(answer.as_bytes()).expect("sent");
    head
}

const STREAM: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n";

/// Sends a byte now and then, for as long as the client is there.
fn drip(stream: &mut TcpStream) {
    let pause = Some(Duration::from_millis(50));
    stream.set_read_timeout(pause).expect("set");
    while stream.write_all(b"x").is_ok() {
        // The end of the client, or the pause.
        if stream.read(&mut [0]).is_ok_and(|n| n == 0) {
            return;
        }
    }
}

#[test]
fn a_server_that_drips_holds_nobody_up() {
    // The status is enough, whatever becomes of the body.
    let refuses: fn(TcpStream) = |mut stream| {
        let _ = answer(
            &mut stream,
            "HTTP/1.1 401 Unauthorized\r\nContent-Length: 4000\r\n\r\n",
        );
        drip(&mut stream);
    };
    for protocol in ["wamp", "sse"] {
        let (url, stage) = play(vec![refuses]);
        let (code, _, err) = subscribe(&["--protocol", protocol], &url);
        stage.join().expect("the play went well");
        assert_eq!(code, Some(1), "{err}");
        assert!(err.contains("answered 401"), "{err}");
    }
    // Pings are no reason to wait for the Close frame that belongs to a GOODBYE.
    let (url, stage) = play(vec![|stream| {
        let mut socket = upgrade(stream, "/?token=ses+ame/==", "wamp.2.json");
        for text in ["[2,1,{}]", "[6,{},\"com.example.bye\"]"] {
            socket.send(Message::text(text)).expect("sent");
        }
        let pause = Some(Duration::from_millis(50));
        socket.get_ref().set_read_timeout(pause).expect("set");
        while socket.send(Message::Ping("x".into())).is_ok() {
            let _ = socket.read();
        }
    }]);
    let (code, _, err) = subscribe(&["--protocol", "wamp2"], &url);
    stage.join().expect("the play went well");
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("GOODBYE: com.example.bye"), "{err}");
}

#[test]
fn a_stream_comes_through_a_proxy_that_cuts_it_into_chunks() {
    let (url, stage) = play(vec![|mut stream| {
        let head = format!("{STREAM}Transfer-Encoding: chunked\r\n\r\n");
        let head = answer(&mut stream, &head);
        let line = "GET /?token=ses+ame/==&topic=a&topic=b HTTP/1.1\r\n";
        assert!(head.starts_with(line), "{head}");
        assert!(head.contains("\r\nAccept: text/event-stream\r\n"), "{head}");
        let body = "retry: 3000\n\n:\n\nevent: newswire\ndata: {\"topic\":1,\"data\":2}\n\n\
                    data: {\"topic\":\"a\",\"data\":{\"n\":1.50}}\n\n: comment\n\n\
                    id: E-2\r\ndata: {\"topic\":\"b\",\r\ndata: \"data\":[\"é\"]}\r\n\r\n";
        for piece in body.as_bytes().chunks(7) {
            let size = format!("{:x}\r\n", piece.len());
            let chunk = [size.as_bytes(), piece, b"\r\n"].concat();
            stream.write_all(&chunk).expect("sent");
        }
        // Until the client goes.
        assert_eq!(stream.read(&mut [0]).expect("an end"), 0);
    }]);
    let (code, out, err) = subscribe(&["--protocol", "sse", "--count", "2"], &url);
    stage.join().expect("the play went well");
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(
        out,
        "{\"topic\":\"a\",\"data\":{\"n\":1.50}}\n{\"topic\":\"b\",\"data\":[\"é\"]}\n"
    );
    assert!(err.contains("connected to http://127.0.0.1:"), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    assert!(!err.contains("ses+ame"), "{err}");
}

#[test]
fn a_stream_is_asked_for_again_when_the_server_says() {
    let scenes: Vec<fn(TcpStream)> = vec![
        |mut stream| {
            let head = answer(
                &mut stream,
                "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
            );
            assert!(!head.contains("Last-Event-ID"), "{head}");
        },
        // Whoever is not wanted now gets an empty stream.
        |mut stream| drop(answer(&mut stream, &format!("{STREAM}\r\nretry: 1100\n\n"))),
        |mut stream| {
            let event = "retry: 1300\n\nid: E-1\ndata: {\"topic\":\"a\",\"data\":1}\n\ndata: cut";
            drop(answer(&mut stream, &format!("{STREAM}\r\n{event}")));
        },
        |mut stream| {
            let event = "retry: 1300\n\ndata: {\"topic\":\"a\",\"data\":2}\n\n";
            let head = answer(&mut stream, &format!("{STREAM}\r\n{event}"));
            assert!(head.contains("\r\nLast-Event-ID: E-1\r\n"), "{head}");
            let _ = stream.read(&mut [0]);
        },
    ];
    let (url, stage) = play(scenes);
    let (code, out, err) = subscribe(&["--protocol", "sse", "--count", "2"], &url);
    stage.join().expect("the play went well");
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(
        out,
        "{\"topic\":\"a\",\"data\":1}\n{\"topic\":\"a\",\"data\":2}\n"
    );
    // The first pauses of the command itself are shorter; by the third one they could be longer.
    assert!(
        err.contains("ended the stream; next attempt in 1.1 s\n"),
        "{err}"
    );
    assert_eq!(err.matches("ended the stream; next attempt in ").count(), 2);
    assert!(err.contains(" answered 503 "), "{err}");
}

#[test]
fn what_is_no_stream_is_told() {
    for (says, part) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi",
            "something else than a stream",
        ),
        ("SSH-2.0-OpenSSH_9.2\r\n", "is not an HTTP server"),
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nwhat?",
            "answered 404 Not Found: what?",
        ),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("bound"));
        thread::spawn(move || {
            for stream in listener.incoming() {
                drop(answer(&mut stream.expect("a connection"), says));
            }
        });
        let (code, out, err) = subscribe(&["--protocol", "sse"], &url);
        assert_eq!((code, &*out), (Some(1), ""), "{err}");
        assert!(err.contains(part), "{err}");
        let (_socket, pull) = pull(|_| {});
        let (code, _, err) = run(&[
            "load",
            "--protocol",
            "sse",
            &url,
            "--connections",
            "1",
            "--to",
            &pull,
        ]);
        assert_eq!(code, Some(1), "{err}");
        assert!(err.contains(part), "{err}");
    }
    let (url, _stage) = play(vec![
        |mut stream| {
            answer(
                &mut stream,
                &format!("{STREAM}Transfer-Encoding: chunked\r\n\r\n"),
            );
        };
        2
    ]);
    let (_socket, pull) = pull(|_| {});
    let load = ["load", "--protocol", "sse", &url, "--connections", "1"];
    let (code, _, err) = run(&[&load[..], &["--to", &pull]].concat());
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("a proxy cuts streams into chunks"), "{err}");
}
