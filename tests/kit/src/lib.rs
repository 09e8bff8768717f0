//! What the tests share: the real binary on free ports, and peers that speak to it.
//!
//! It is a crate, so that it is compiled once for all test binaries, and not again when newswire changes.
//!
//! Never here: newswire's own code. A peer that shares it would share its faults.
#![expect(
    clippy::disallowed_methods,
    reason = "tests wait for conditions, with deadlines"
)]
pub mod api;
pub mod browser;
pub mod certificate;
pub mod cluster;
pub mod deflate;
pub mod dice;
pub mod hostile;
pub mod hosts;
pub mod nats;
pub mod observe;
pub mod past;
pub mod port;
pub mod rabbitmq;
pub mod raw;
pub mod scratch;
pub mod scripts;
pub mod stream;
pub mod web;
pub mod zmtp;

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use scratch::File;
use serde_json::Value;
use stream::Patient;
use tungstenite::protocol::Message;
use tungstenite::{ClientRequestBuilder, WebSocket};

/// How long a test waits for what has to come. Far more than it takes: two cores run many tests.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The token that every server here accepts, as a real one looks: base64 of bytes.
pub const TOKEN: &str = "b64+with/every=sign==";

/// Options of a server that pings nobody while a test compares every byte, however slow the machine.
pub const QUIET: &[&str] = &["--ping-interval", "120"];

/// The program. Variables of this process that are options of it do not reach it.
pub fn newswire() -> Command {
    let mut command = Command::new(binary());
    keep_options_out(&mut command);
    command
}

/// Lets `command` have no option from the environment but those that it sets itself.
fn keep_options_out(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let is_option = name.as_encoded_bytes().starts_with(b"NEWSWIRE_");
        if is_option && !command.get_envs().any(|(set, _)| set == name) {
            command.env_remove(name);
        }
    }
}

/// The program, which cargo has built beside the test that runs.
pub fn binary() -> &'static Path {
    static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
        let test = std::env::current_exe().expect("a test is a program");
        // `target/debug/deps/wire-…` and `target/debug/newswire`.
        let folder = test.ancestors().nth(2).expect("it is in target/");
        folder.join("newswire")
    });
    &BINARY
}

/// A server with `options` on free ports, without a token and without an admin listener.
pub fn command_without_token(options: &[&str]) -> Command {
    let mut command = newswire();
    command
        .args(["--listen", "127.0.0.1:0", "--pull", "tcp://127.0.0.1:*"])
        .args(["--admin", "off"])
        .args(options);
    command
}

/// A running server. Dropped, it is killed.
pub struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// Where browsers connect.
    pub address: SocketAddr,
    /// Where publishers push to.
    pub pull: String,
    /// Where administrators ask.
    pub admin: Option<SocketAddr>,
    /// Where publishers post to.
    pub publish: Option<SocketAddr>,
    /// What it has printed at the start, up to its capacity.
    pub banner: String,
    /// The file that says what it has bound (`--ready-file`).
    pub ready_file: File,
    /// What it logs. A file, so that a test reads what the server has written by then; a pipe would need a thread
    /// that may lag behind.
    log: File,
}

impl Server {
    /// Starts one with `options` on top of free ports and [`TOKEN`].
    pub fn start(options: &[&str]) -> Self {
        Self::start_with(newswire(), options)
    }

    /// Starts one as `command` says, which may set the environment.
    pub fn start_with(mut command: Command, options: &[&str]) -> Self {
        command
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--pull",
                "tcp://127.0.0.1:*",
                "--admin",
                "127.0.0.1:0",
            ])
            .args(["--token", TOKEN])
            .args(options);
        Self::launch(command)
    }

    /// Starts one with `options`, which say what its tokens are, on free ports and without an admin listener.
    pub fn start_without_token(options: &[&str]) -> Self {
        Self::launch(command_without_token(options))
    }

    /// Starts one exactly as `command` says, which must leave it a listener and a PULL endpoint, and must
    /// not let it take the admin listener's usual port, for which others here are waiting too.
    ///
    /// It logs from `debug` on, unless the command says otherwise: then its last words have all counters.
    pub fn launch(mut command: Command) -> Self {
        const LEVEL: &str = "NEWSWIRE_LOG_LEVEL";
        let mut set = command.get_envs();
        if !set.any(|(name, level)| name == LEVEL && level.is_some()) {
            command.env(LEVEL, "debug");
        }
        Self::launch_as_it_is(command)
    }

    /// The same with the log level of the command's configuration.
    pub fn launch_as_it_is(mut command: Command) -> Self {
        keep_options_out(&mut command);
        let ready_file = File::free("ready");
        let log = File::free("log");
        let mut child = command
            .env("NEWSWIRE_READY_FILE", &ready_file.0)
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log.0).expect("a writable folder"))
            .spawn()
            .expect("the binary starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let (mut line, mut banner) = (String::new(), String::new());
        while !line.starts_with("capacity") {
            line.clear();
            let n = stdout.read_line(&mut line).expect("a banner");
            assert!(n > 0, "no banner: {}", lines_of(&log));
            banner.push_str(&line);
        }
        // It is there before the banner is.
        let ready = std::fs::read(&ready_file.0).expect("a file that says what is bound");
        let ready: Value = serde_json::from_slice(&ready).expect("JSON");
        let last = |name: &str| ready[name].as_array()?.last()?.as_str();
        let bound = |name| last(name).map(|text| text.parse().expect("an address"));
        Self {
            child,
            stdout,
            // A relay has no listener.
            address: bound("listen").unwrap_or(SocketAddr::from(([0; 4], 0))),
            pull: last("pull").unwrap_or_default().to_owned(),
            admin: bound("admin"),
            publish: bound("publish"),
            banner,
            ready_file,
            log,
        }
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        lines_of(&self.log)
    }

    /// Waits until the log has `text`.
    pub fn wait_for_log(&self, text: &str) {
        wait_until(&format!("log has {text:?}"), || self.log().contains(text));
    }

    /// Resident memory, in bytes.
    pub fn resident_bytes(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("it runs");
        let line = status
            .lines()
            .find(|l| l.starts_with("VmRSS:"))
            .expect("a line");
        let kib = line.split_whitespace().nth(1).expect("a number");
        kib.parse::<usize>().expect("a number") * 1024
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let kill = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status();
        assert!(kill.expect("kill runs").success());
    }

    /// Waits for its end: how it ended, and what it printed after the banner.
    pub fn wait(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end: {}", self.log());
            thread::sleep(Duration::from_millis(5));
        };
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("text");
        (status, rest)
    }

    /// SIGTERM, and [`Server::wait`]; the summary of what was counted.
    pub fn stop(self) -> String {
        self.signal("TERM");
        let (status, rest) = self.wait();
        assert!(status.success(), "{status}: {rest}");
        rest
    }

    /// A PUSH socket connected to it, and the context that has to outlive it.
    pub fn publisher(&self) -> (zmq::Context, zmq::Socket) {
        let context = zmq::Context::new();
        let socket = context.socket(zmq::PUSH).expect("a socket");
        socket
            .set_sndtimeo(PATIENCE.as_millis() as i32)
            .expect("set");
        socket.connect(&self.pull).expect("an endpoint");
        (context, socket)
    }

    /// A TCP connection on which nothing was said.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.set_nodelay(true).expect("set");
        stream
    }

    /// A WAMP client that has had its WELCOME.
    pub fn client(&self) -> Client {
        self.client_with(TOKEN)
    }

    /// The same with another token.
    pub fn client_with(&self, token: &str) -> Client {
        let uri = format!("ws://{}/?token={token}", self.address);
        Client::try_on(self.connect(), &uri)
            .unwrap_or_else(|error| panic!("{error}: {}", self.log()))
    }

    /// A client whose token ends soon. `token` makes one that ends after so many seconds. A machine may stand still for
    /// that long before the client is let in, and then the next token lasts longer.
    pub fn client_that_ends(&self, token: impl Fn(u64) -> String) -> Client {
        for seconds in [5, 10, 20, 40, 80] {
            let uri = format!("ws://{}/?token={}", self.address, token(seconds));
            match Client::try_on(self.connect(), &uri) {
                Ok(client) => return client,
                Err(error) => assert!(error.contains("401"), "{error}"),
            }
        }
        panic!("no token was good for long enough");
    }

    /// A client that subscribed to `topics`, and is known to be subscribed.
    pub fn subscriber(&self, topics: &[&str]) -> Client {
        let mut client = self.client();
        client.subscribe(topics);
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The other side of one connection.
pub struct Client {
    /// tungstenite's client.
    pub socket: WebSocket<Patient<TcpStream>>,
}

impl Client {
    /// A WAMP client that has had its WELCOME from `uri`.
    pub fn on(stream: TcpStream, uri: &str) -> Self {
        Self::try_on(stream, uri).expect("an upgrade")
    }

    /// The same, if the server accepts the upgrade.
    ///
    /// # Errors
    /// The upgrade is refused.
    pub fn try_on(stream: TcpStream, uri: &str) -> Result<Self, String> {
        let request =
            ClientRequestBuilder::new(uri.parse().expect("a URI")).with_sub_protocol("wamp");
        let (socket, _) =
            tungstenite::client(request, Patient(stream)).map_err(|error| error.to_string())?;
        let mut client = Self { socket };
        let welcome = client.text();
        assert!(welcome.starts_with("[0,\""), "{welcome}");
        Ok(client)
    }

    /// Subscribes, and waits until that is known to be done.
    pub fn subscribe(&mut self, topics: &[&str]) {
        for topic in topics {
            self.send(&format!("[5,{topic:?}]"));
        }
        self.settle();
    }

    /// Sends a text.
    pub fn send(&mut self, text: &str) {
        self.socket.send(Message::text(text)).expect("it is open");
    }

    /// The next text; pings and pongs are passed over, but do not make the wait any longer.
    pub fn text(&mut self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < deadline, "nothing but pings");
            match self.read("a message") {
                Message::Text(text) => return text.to_string(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("no text: {other:?}"),
            }
        }
    }

    /// Waits until the server has dealt with everything that was sent: what it answers to a CALL
    /// comes after it has read all that came before. What the server tells of itself comes at any time,
    /// and is passed over.
    pub fn settle(&mut self) {
        self.send(r#"[2,"settle","x"]"#);
        let mut answer = self.text();
        while answer.starts_with(r#"[8,"$sys/"#) {
            answer = self.text();
        }
        assert!(answer.starts_with(r#"[4,"settle""#), "{answer}");
    }

    /// The next message.
    fn read(&mut self, what: &str) -> Message {
        self.socket.read().expect(what)
    }

    /// The code with which the server closes.
    pub fn close_code(&mut self) -> u16 {
        loop {
            match self.read("a close") {
                Message::Close(Some(frame)) => return frame.code.into(),
                Message::Close(None) => return 1005,
                _ => {}
            }
        }
    }

    /// The code and the reason with which the server closes, which sends nothing but pings before.
    pub fn close(&mut self) -> (u16, String) {
        loop {
            match self.read("a close") {
                Message::Close(Some(frame)) => {
                    return (frame.code.into(), frame.reason.to_string());
                }
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("no close: {other:?}"),
            }
        }
    }
}

/// The lines that a process has written to a file by now.
fn lines_of(file: &File) -> String {
    let mut bytes = std::fs::read(&file.0).expect("a file");
    let end = bytes.iter().rposition(|&byte| byte == b'\n');
    bytes.truncate(end.map_or(0, |end| end + 1));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What a command says that is to end by itself. One that does not is killed.
pub fn output_of(mut command: Command) -> Output {
    let command = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().expect("a child").is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("it does not end: {:?}", child.wait_with_output());
        }
        thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().expect("it has ended")
}

/// Waits for `condition`, with a deadline.
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    wait_within(PATIENCE, what, condition);
}

/// Waits for `condition`, for as long as the documentation says that it may take.
pub fn wait_within(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
