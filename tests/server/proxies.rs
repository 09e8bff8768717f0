//! The example configurations of the proxies, each in front of a real server: wss:// from end to end,
//! clients' own addresses, and logs without tokens.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use kit::port::Port;
use kit::scratch::File;
use kit::stream::Patient;
use kit::{PATIENCE, Server, TOKEN, wait_until};
use tungstenite::protocol::Message;
use tungstenite::{ClientRequestBuilder, Error, WebSocket};

/// A process that ends with the test.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> Self {
        Self(command.spawn().expect("it starts"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // nginx and HAProxy end their workers on SIGTERM, not when they are killed.
        let pid = self.0.id().to_string();
        let _ = Command::new("kill").arg(pid).status();
        let _ = self.0.wait();
    }
}

/// A folder with a certificate for `localhost`.
fn folder(name: &str) -> File {
    let folder = File::folder(name);
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ])
        .args([
            "-nodes",
            "-subj",
            "/CN=localhost",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
        ])
        .current_dir(&folder.0)
        .stderr(Stdio::null())
        .status();
    assert!(made.expect("openssl runs").success());
    folder
}

/// `file` of the packaging folder, with other addresses and paths. Each of them has to be there.
fn example(file: &str, replacements: &[(&str, &str)]) -> String {
    let mut text = fs::read_to_string(Path::new("packaging").join(file)).expect("it is there");
    for (from, to) in replacements {
        assert!(text.contains(from), "{file} has no {from}");
        text = text.replace(from, to);
    }
    text
}

/// A connection from `source`, through TLS.
fn tunnel(folder: &Path, proxy: SocketAddr, source: &str) -> (Process, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    ours.set_read_timeout(Some(PATIENCE)).expect("set");
    let theirs = OwnedFd::from(theirs);
    let tunnel = Process::start(
        Command::new("openssl")
            .args([
                "s_client",
                "-quiet",
                "-verify_return_error",
                "-CAfile",
                "cert.pem",
            ])
            .args(["-connect", &proxy.to_string(), "-servername", "localhost"])
            .args(["-bind", &format!("{source}:0")])
            .current_dir(folder)
            .stdin(Stdio::from(theirs.try_clone().expect("a clone")))
            .stdout(Stdio::from(theirs))
            .stderr(Stdio::null()),
    );
    (tunnel, ours)
}

/// A client from `source`.
fn client(
    folder: &Path,
    proxy: SocketAddr,
    source: &str,
) -> (Process, Result<WebSocket<Patient<UnixStream>>, Error>) {
    let (tunnel, ours) = tunnel(folder, proxy, source);
    let uri = format!("ws://localhost:{}/push/?token={TOKEN}", proxy.port());
    let request = ClientRequestBuilder::new(uri.parse().expect("a URI")).with_sub_protocol("wamp");
    let socket = tungstenite::client(request, Patient(ours))
        .map(|(socket, _)| socket)
        .map_err(|error| match error {
            tungstenite::HandshakeError::Failure(error) => error,
            other => panic!("{other}"),
        });
    (tunnel, socket)
}

fn next_text(socket: &mut WebSocket<Patient<UnixStream>>) -> String {
    loop {
        if let Message::Text(text) = socket.read().expect("a message") {
            return text.to_string();
        }
    }
}

/// A stream of server-sent events, whose token is in a header.
struct Stream {
    _tunnel: Process,
    bytes: Patient<UnixStream>,
    heard: String,
}

impl Stream {
    fn open(folder: &Path, proxy: SocketAddr, source: &str) -> Self {
        let (tunnel, mut ours) = tunnel(folder, proxy, source);
        let request = format!(
            "GET /push/?topic=t HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\
             Authorization: Bearer {TOKEN}\r\n\r\n"
        );
        ours.write_all(request.as_bytes()).expect("open");
        Self {
            _tunnel: tunnel,
            bytes: Patient(ours),
            heard: String::new(),
        }
    }

    /// Reads until `text` has come.
    fn wait_for(&mut self, text: &str) {
        let mut piece = [0; 4_096];
        while !self.heard.contains(text) {
            let n = self.bytes.read(&mut piece).expect("more in time");
            assert!(n > 0, "the stream ended: {}", self.heard);
            self.heard.push_str(&String::from_utf8_lossy(&piece[..n]));
        }
    }
}

/// What every proxy has to let through, and to hide. `start` starts it in front of an address; `log`
/// is what it has logged.
fn try_proxy(
    folder: &Path,
    start: impl Fn(SocketAddr, SocketAddr) -> Process,
    log: impl Fn() -> String,
) {
    let server = Server::start(&[
        "--trusted-proxy",
        "127.0.0.1",
        "--connections-per-address-max",
        "1",
        "--ping-interval",
        "1",
    ]);
    let held = Port::hold();
    let address = held.address;
    let _proxy = start(address, server.address);
    wait_until("the proxy listens", || TcpStream::connect(address).is_ok());

    let (_tunnel, first) = client(folder, address, "127.0.0.2");
    let mut first = first.expect("an upgrade");
    assert!(next_text(&mut first).starts_with("[0,"));
    first.send(Message::text(r#"[5,"t"]"#)).expect("it is open");
    first
        .send(Message::text(r#"[2,"settle","x"]"#))
        .expect("it is open");
    assert!(next_text(&mut first).starts_with("[4,"));
    let (_context, publisher) = server.publisher();
    publisher
        .send(r#"{"topic":"t","data":1}"#, 0)
        .expect("sent");
    assert_eq!(next_text(&mut first), r#"[8,"t",1]"#);
    loop {
        if let Message::Ping(_) = first.read().expect("a message") {
            break;
        }
    }

    // A stream, whose events and comments are not held back.
    let mut stream = Stream::open(folder, address, "127.0.0.4");
    stream.wait_for("retry: ");
    publisher
        .send(r#"{"topic":"t","data":2}"#, 0)
        .expect("sent");
    stream.wait_for(r#"data: {"topic":"t","data":2}"#);
    assert_eq!(next_text(&mut first), r#"[8,"t",2]"#);
    stream.wait_for("\n:");

    // One for each address, and the address is the client's.
    let (_second_tunnel, second) = client(folder, address, "127.0.0.2");
    match second {
        Err(Error::Http(answer)) => assert_eq!(answer.status(), 503),
        other => panic!("{other:?}"),
    }
    let (_third_tunnel, third) = client(folder, address, "127.0.0.3");
    let third = third.expect("an upgrade");

    drop((first, third, _tunnel, _third_tunnel, stream));
    server.stop();
    let (_last_tunnel, last) = client(folder, address, "127.0.0.2");
    match last {
        Err(Error::Http(answer)) => assert!(answer.status().is_server_error()),
        other => panic!("{other:?}"),
    }
    // All four upgrades and the stream, with their addresses and paths.
    wait_until("all is logged", || log().matches("/push/").count() >= 5);
    let log = log();
    assert!(
        ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
            .iter()
            .all(|address| log.contains(address)),
        "{log}"
    );
    assert!(!log.contains("token"), "{log}");
    assert!(!log.contains(TOKEN), "{log}");
}

#[test]
#[ignore = "needs nginx and openssl"]
fn nginx_is_a_good_proxy() {
    let folder = folder("nginx");
    let text = |name: &str| format!("{}/{name}", folder.path());
    let (access, errors) = (text("access.log"), text("error.log"));
    try_proxy(
        &folder.0,
        |address, server| {
            let site = example(
                "nginx.conf",
                &[
                    ("listen 443 ssl", &format!("listen {address} ssl")),
                    ("/etc/ssl/certs/push.example.com.pem", &text("cert.pem")),
                    ("/etc/ssl/private/push.example.com.key", &text("key.pem")),
                    ("/var/log/nginx/newswire.log", &access),
                    ("/var/log/nginx/newswire-error.log", &errors),
                    ("http://127.0.0.1:8080", &format!("http://{server}")),
                ],
            );
            // What Debian's nginx.conf has around a site. Its own error log hears of the start.
            let main = text("main.log");
            let config = format!(
                "error_log {main} warn;\npid {};\ndaemon off;\nevents {{ worker_connections 768; }}\n\
                 http {{\n{site}\n}}\n",
                text("pid")
            );
            let file = text("nginx.conf");
            fs::write(&file, config).expect("written");
            let nginx = ["nginx", "/usr/sbin/nginx"];
            let nginx = nginx.iter().find(|nginx| {
                let version = Command::new(nginx).arg("-v").stderr(Stdio::null()).status();
                version.is_ok_and(|status| status.success())
            });
            let nginx = nginx.expect("nginx is installed");
            Process::start(Command::new(nginx).args(["-e", &main, "-c", &file]))
        },
        || {
            let files = [&access, &errors, &text("main.log")];
            files
                .iter()
                .filter_map(|file| fs::read_to_string(file).ok())
                .collect()
        },
    );
}

#[test]
#[ignore = "needs HAProxy and openssl"]
fn haproxy_is_a_good_proxy() {
    let folder = folder("haproxy");
    let text = |name: &str| format!("{}/{name}", folder.path());
    let log = text("log");
    let pair = ["cert.pem", "key.pem"].map(|name| fs::read(folder.0.join(name)).expect("made"));
    fs::write(folder.0.join("both.pem"), pair.concat()).expect("written");
    try_proxy(
        &folder.0,
        |address, server| {
            let config = example(
                "haproxy.cfg",
                &[
                    ("bind :443", &format!("bind {address}")),
                    ("/etc/haproxy/push.example.com.pem", &text("both.pem")),
                    // A test may open fewer files than a service.
                    ("maxconn 20000", "maxconn 1000"),
                    ("log /dev/log local0", "log stdout format raw local0"),
                    (
                        "server newswire 127.0.0.1:8080",
                        &format!("server newswire {server}"),
                    ),
                ],
            );
            let file = text("haproxy.cfg");
            fs::write(&file, config).expect("written");
            let haproxy = ["haproxy", "/usr/sbin/haproxy"];
            let haproxy = haproxy.iter().find(|haproxy| {
                let version = Command::new(haproxy)
                    .arg("-v")
                    .stdout(Stdio::null())
                    .status();
                version.is_ok_and(|status| status.success())
            });
            let haproxy = haproxy.expect("HAProxy is installed");
            let log = fs::File::create(&log).expect("made");
            Process::start(
                Command::new(haproxy)
                    .args(["-db", "-f", &file])
                    .stdout(Stdio::from(log.try_clone().expect("a clone")))
                    .stderr(Stdio::from(log)),
            )
        },
        || fs::read_to_string(&log).unwrap_or_default(),
    );
}
