//! A NATS server of a test's own, from Debian's package `nats-server`, on ports that it holds. And a publisher that is
//! nobody's library: lines over TCP, as NATS' protocol has them.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::port::Port;
use super::scratch::File;
use super::wait_until;
use super::web::{ask, dial};

/// A server. Dropped, it is killed.
pub struct NatsServer {
    /// Where clients connect.
    pub port: Port,
    monitor: Port,
    /// Its configuration, beside the addresses.
    settings: String,
    folder: File,
    process: Option<Child>,
}

impl NatsServer {
    /// One that runs.
    pub fn start(settings: &str) -> Self {
        let mut server = Self::prepare(settings);
        server.resume();
        server
    }

    /// One that does not run yet.
    pub fn prepare(settings: &str) -> Self {
        Self {
            port: Port::hold(),
            monitor: Port::hold(),
            settings: settings.to_owned(),
            folder: File::folder("nats"),
            process: None,
        }
    }

    /// Starts it.
    pub fn resume(&mut self) {
        let folder = self.folder.path();
        let (config, log) = (format!("{folder}/config"), format!("{folder}/log"));
        let text = format!(
            "listen: \"{}\"\nhttp: \"{}\"\n{}\n",
            self.port.address, self.monitor.address, self.settings
        );
        fs::write(&config, text).expect("written");
        let output = fs::File::create(&log).expect("a file");
        let errors = output.try_clone().expect("a file");
        // Debian has it where only root looks.
        let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("nats-server");
        command
            .env("PATH", path)
            .args(["-c", &config])
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors);
        self.process = Some(command.spawn().expect("nats-server starts"));
        wait_until("the server answers", || {
            let process = self.process.as_mut().expect("just started");
            let ended = process.try_wait().expect("a child");
            let log = fs::read_to_string(&log).unwrap_or_default();
            assert!(ended.is_none(), "{ended:?}: {log}");
            log.contains("Server is ready")
        });
    }

    /// Kills it.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// The address for newswire.
    pub fn url(&self) -> String {
        format!("nats://{}", self.port.address)
    }

    /// All subjects that clients have subscribed to, in order, as its monitoring shows them.
    pub fn subjects(&self) -> Vec<String> {
        let connections = self.connections("?subs=1");
        let lists = connections
            .iter()
            .filter_map(|one| one["subscriptions_list"].as_array());
        let subjects = lists.flatten().filter_map(Value::as_str).map(str::to_owned);
        let mut subjects: Vec<String> = subjects.collect();
        subjects.sort_unstable();
        subjects
    }

    /// How many subscriptions clients have.
    pub fn subscriptions(&self) -> u64 {
        let connections = self.connections("");
        let counts = connections
            .iter()
            .filter_map(|one| one["subscriptions"].as_u64());
        counts.sum()
    }

    fn connections(&self, query: &str) -> Vec<Value> {
        let answer = ask(
            self.monitor.address,
            "GET",
            &format!("/connz{query}"),
            "",
            "",
        );
        let connections = answer.json()["connections"].clone();
        connections.as_array().cloned().unwrap_or_default()
    }

    /// Waits until clients have subscribed to exactly these, which stand in order.
    pub fn wait_for_subjects(&self, expected: &[&str]) {
        wait_until(&format!("the subjects {expected:?}"), || {
            self.subjects() == expected
        });
    }

    /// A publisher.
    pub fn publisher(&self) -> NatsPublisher {
        NatsPublisher::connect(self, "{\"verbose\":false}")
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A publisher.
pub struct NatsPublisher {
    stream: BufReader<TcpStream>,
}

impl NatsPublisher {
    /// Connects with these options, which are JSON.
    pub fn connect(server: &NatsServer, options: &str) -> Self {
        let mut publisher = Self {
            stream: BufReader::new(dial(server.port.address)),
        };
        let info = publisher.line();
        assert!(info.starts_with("INFO "), "{info}");
        publisher.write(format!("CONNECT {options}\r\n").as_bytes());
        publisher.settle();
        publisher
    }

    /// Publishes, and waits until the server has handed it on.
    pub fn publish(&mut self, subject: &str, payload: impl AsRef<[u8]>) {
        self.push(subject, payload);
        self.settle();
    }

    /// Publishes without waiting.
    pub fn push(&mut self, subject: &str, payload: impl AsRef<[u8]>) {
        let payload = payload.as_ref();
        self.write(format!("PUB {subject} {}\r\n", payload.len()).as_bytes());
        self.write(payload);
        self.write(b"\r\n");
    }

    /// Waits until the server has read everything.
    pub fn settle(&mut self) {
        self.write(b"PING\r\n");
        loop {
            match &*self.line() {
                "PONG" => return,
                "PING" => self.write(b"PONG\r\n"),
                other => assert!(other.starts_with("INFO "), "{other}"),
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("it reads");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a line");
        assert!(!line.is_empty(), "the server ended the connection");
        line.trim_end().to_owned()
    }
}
