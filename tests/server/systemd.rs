//! newswire as a service: what systemd passes to newswire, and how newswire notifies systemd. The tests play systemd.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::process::{Command, Stdio};

use kit::scratch::File;
use kit::stream::Patient;
use kit::{PATIENCE, Server, TOKEN};
use tungstenite::ClientRequestBuilder;

/// The other end of `NOTIFY_SOCKET`.
struct Notified {
    socket: UnixDatagram,
    name: String,
}

impl Notified {
    /// `name` is this test's own; it begins with `@`, or is a path.
    fn new(name: &str) -> Self {
        let socket = match name.strip_prefix('@') {
            Some(name) => {
                UnixDatagram::bind_addr(&UnixAddress::from_abstract_name(name).expect("a name"))
            }
            None => {
                let _ = std::fs::remove_file(name);
                UnixDatagram::bind(name)
            }
        };
        let socket = socket.expect("bound");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        Self {
            socket,
            name: name.to_owned(),
        }
    }

    fn of(test: &str) -> Self {
        Self::new(&format!("@newswire-{test}-{}", std::process::id()))
    }

    /// The next message.
    fn next(&self) -> String {
        let mut bytes = [0; 4096];
        let n = self.socket.recv(&mut bytes).expect("a message");
        String::from_utf8(bytes[..n].to_vec()).expect("text")
    }

    /// The next message, which has to begin with `word`.
    fn expect(&self, word: &str) -> String {
        let text = self.next();
        assert_eq!(text.lines().next(), Some(word), "{text}");
        text
    }

    /// Passes over what comes before `word`.
    fn wait_for(&self, word: &str) -> String {
        loop {
            let text = self.next();
            if text.lines().next() == Some(word) {
                return text;
            }
        }
    }
}

/// newswire as systemd starts it: `passed` is descriptor 3.
fn activated(passed: impl Into<OwnedFd>) -> Command {
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 </dev/null",
        ])
        .arg(env!("CARGO_BIN_EXE_newswire"))
        .stdin(Stdio::from(passed.into()));
    command
}

/// The same, with a listener that stays with the test.
fn with_listener(listener: &TcpListener, options: &[&str]) -> Command {
    let mut command = activated(listener.try_clone().expect("a clone"));
    command
        .args(["--pull", "tcp://127.0.0.1:*", "--token", TOKEN])
        .args(["--admin", "off"])
        .args(options);
    command
}

fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    (listener, address)
}

fn hears_an_event(server: &Server) {
    let mut client = server.subscriber(&["t"]);
    let (_context, publisher) = server.publisher();
    publisher
        .send(r#"{"topic":"t","data":1}"#, 0)
        .expect("sent");
    assert_eq!(client.text(), r#"[8,"t",1]"#);
}

#[test]
fn the_manager_hears_of_the_start_the_reload_and_the_end() {
    let notified = Notified::of("life");
    let mut command = kit::newswire();
    command.env("NOTIFY_SOCKET", &notified.name);
    let server = Server::start_with(command, &[]);
    let ready = notified.expect("READY=1");
    assert!(ready.contains("\nSTATUS=serving"), "{ready}");
    hears_an_event(&server);

    server.signal("HUP");
    let reloading = notified.expect("RELOADING=1");
    let micros = reloading
        .lines()
        .find_map(|l| l.strip_prefix("MONOTONIC_USEC="));
    let micros: u64 = micros.expect("a time").parse().expect("a number");
    let uptime = std::fs::read_to_string("/proc/uptime").expect("Linux");
    let uptime: f64 = uptime
        .split_whitespace()
        .next()
        .and_then(|seconds| seconds.parse().ok())
        .expect("a number");
    assert!(
        micros > 0 && micros as f64 / 1e6 <= uptime + 1.0,
        "{micros}"
    );
    notified.expect("READY=1");

    server.signal("TERM");
    let stopping = notified.expect("STOPPING=1");
    // The shutdown's own 10 s and a margin.
    assert!(
        stopping.contains("\nEXTEND_TIMEOUT_USEC=15000000\n"),
        "{stopping}"
    );
    assert!(server.wait().0.success());
}

#[test]
fn a_reload_that_changes_nothing_ends_too() {
    let path = File::free("notify");
    let notified = Notified::new(path.path());
    let file = File::new("notify.toml", &format!("token = \"{TOKEN}\"\n"));
    let mut command = kit::newswire();
    command
        .env("NOTIFY_SOCKET", &notified.name)
        .args(["--listen", "127.0.0.1:0", "--pull", "tcp://127.0.0.1:*"])
        .args(["--admin", "off"])
        .arg("--config")
        .arg(&file.0);
    let server = Server::launch(command);
    notified.expect("READY=1");
    file.set("nonsense = 1\n");
    server.signal("HUP");
    notified.expect("RELOADING=1");
    notified.expect("READY=1");
    server.wait_for_log("nothing is changed");

    // Nobody hears it any more, which is no reason to do anything else.
    drop(notified);
    std::fs::remove_file(&path.0).expect("it is there");
    server.signal("HUP");
    server.wait_for_log("systemd: not told RELOADING=1");
    hears_an_event(&server);
    server.stop();
}

#[test]
fn the_loop_beats_where_it_is_asked_to() {
    let notified = Notified::of("beat");
    let mut command = kit::newswire();
    command
        .env("NOTIFY_SOCKET", &notified.name)
        .env("WATCHDOG_USEC", "100000");
    let server = Server::start_with(command, &[]);
    notified.expect("READY=1");
    // Nobody connects, so that nothing but the beat itself wakes the loop.
    for _ in 0..3 {
        notified.expect("WATCHDOG=1");
    }
    let _client = server.subscriber(&["t"]);
    while !notified
        .wait_for("WATCHDOG=1")
        .contains("connections: 1, topics: 1")
    {}
    server.signal("TERM");
    notified.wait_for("STOPPING=1");
    assert!(server.wait().0.success());
}

#[test]
fn a_beat_that_is_asked_of_another_process_is_not_given() {
    let notified = Notified::of("other");
    let mut command = kit::newswire();
    command
        .env("NOTIFY_SOCKET", &notified.name)
        .env("WATCHDOG_PID", "1")
        // Every turn would be late.
        .env("WATCHDOG_USEC", "2");
    let server = Server::start_with(command, &[]);
    notified.expect("READY=1");
    hears_an_event(&server);
    server.signal("TERM");
    notified.expect("STOPPING=1");
    assert!(server.wait().0.success());
}

#[test]
fn a_passed_listener_takes_the_place_of_the_one_with_its_address() {
    let (listener, address) = listener();
    let server = Server::launch(with_listener(&listener, &["--listen", &address]));
    assert_eq!(server.address.to_string(), address);
    let expected = format!("listening  ws://{address}/ (from systemd)\n");
    assert!(server.banner.contains(&expected), "{}", server.banner);
    assert_eq!(server.banner.matches("listening").count(), 1);
    hears_an_event(&server);

    // What newswire would start, if it started something, would not have it.
    let info = format!("/proc/{}/fdinfo/3", server.pid());
    let info = std::fs::read_to_string(info).expect("it is there");
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = u32::from_str_radix(flags.expect("flags").trim(), 8).expect("octal");
    assert_ne!(flags & 0o2_000_000, 0, "close on exec: {flags:o}");
    server.stop();
}

#[test]
fn a_passed_listener_that_no_option_names_is_used_as_well() {
    let (listener, address) = listener();
    let server = Server::launch(with_listener(&listener, &["--listen", "127.0.0.1:0"]));
    assert_eq!(server.banner.matches("listening").count(), 2);
    assert_ne!(server.address.to_string(), address);
    hears_an_event(&server);
    let mut stream = TcpStream::connect(&address).expect("it listens");
    std::io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("taken");
    assert_eq!(kit::observe::answer(&mut stream).0, 426);
    server.stop();
}

#[test]
fn a_passed_listener_that_is_in_the_way_is_not_another_newswire() {
    let (listener, address) = listener();
    let mut command = activated(listener.try_clone().expect("a clone"));
    command.args(["--listen", "127.0.0.1:0", "--pull", "tcp://127.0.0.1:*"]);
    let output = command
        .args(["--token", TOKEN, "--admin", &address])
        .output()
        .expect("it starts");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(
        err.contains("by another listener of this newswire"),
        "{err}"
    );
    assert!(!err.contains("is another newswire running"), "{err}");
}

#[test]
fn a_restart_refuses_nobody() {
    let (listener, address) = listener();
    let notified = Notified::of("restart");
    let start = || {
        let mut command = with_listener(&listener, &["--listen", &address]);
        command.env("NOTIFY_SOCKET", &notified.name);
        let server = Server::launch(command);
        notified.expect("READY=1");
        server
    };
    let first = start();
    hears_an_event(&first);
    first.signal("TERM");
    notified.expect("STOPPING=1");
    // Some come while the old one goes down, some while there is none.
    let mut waiting: Vec<TcpStream> = (0..20).map(|_| first.connect()).collect();
    let (status, summary) = first.wait();
    assert!(status.success());
    // The one that heard the event, and nobody of those.
    assert_eq!(
        kit::observe::counted(&summary, "connections"),
        1,
        "{summary}"
    );
    for _ in 0..20 {
        let stream = TcpStream::connect(&address).expect("the kernel takes it");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        waiting.push(stream);
    }

    let second = start();
    for stream in waiting {
        let uri = format!("ws://{address}/?token={TOKEN}");
        let request = ClientRequestBuilder::new(uri.parse().expect("a URI"));
        let (mut socket, _) = tungstenite::client(request, Patient(stream)).expect("an upgrade");
        let welcome = socket.read().expect("a message").into_text();
        assert!(welcome.expect("text").starts_with("[0,"));
    }
    second.stop();
}

#[test]
fn what_was_passed_and_cannot_be_used_ends_the_start() {
    let file = std::fs::File::open("/dev/null").expect("it is there");
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let deaf = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    for (passed, complaint) in [
        (OwnedFd::from(file), "fd 3 is not a socket"),
        (udp.into(), "fd 3 is not a valid tcp socket"),
        (deaf.expect("a socket").into(), "does not listen"),
    ] {
        let output = activated(passed).output().expect("it starts");
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{err}");
        assert!(err.contains("LISTEN_FDS"), "{err}");
        assert!(err.contains(complaint), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
        assert_eq!(output.stdout, b"", "no banner");
    }
}

#[test]
fn what_was_passed_to_another_process_is_left_alone() {
    let mut command = kit::newswire();
    command.env("LISTEN_FDS", "1").env("LISTEN_PID", "1");
    let server = Server::start_with(command, &[]);
    assert!(!server.banner.contains("systemd"), "{}", server.banner);
    hears_an_event(&server);
    server.stop();
}
