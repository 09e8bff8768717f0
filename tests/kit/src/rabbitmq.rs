//! A RabbitMQ server of a test's own, from Debian's package `rabbitmq-server`: one node in a folder of its own, on ports
//! that it holds. And a client of it that is not newswire's (`tests/brokers/amqp.py`).

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::port::Port;
use super::scripts::interpreter;
use super::wait_within;

/// How long a server may take to start: it is some hundred Erlang modules, and other tests and servers run beside it.
const START_PATIENCE: Duration = Duration::from_secs(120);

/// A server. Dropped, it is killed and gone.
pub struct RabbitMq {
    folder: PathBuf,
    /// Where clients connect.
    pub address: SocketAddr,
    /// In seconds: what it asks of clients that would be silent for longer.
    pub heartbeat: u16,
    _port: Port,
    epmd: Port,
    node: Port,
    /// The directory of nodes, which the node would start itself, and leave behind.
    directory: Option<Child>,
    process: Option<Child>,
}

impl RabbitMq {
    /// One that runs.
    pub fn start() -> Self {
        let mut broker = Self::prepare();
        broker.resume();
        broker
    }

    /// One that does not run yet.
    pub fn prepare() -> Self {
        Self::prepare_at(Ipv4Addr::LOCALHOST)
    }

    /// One that does not run yet, for clients that reach its host at `ip`.
    pub fn prepare_at(ip: Ipv4Addr) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("newswire-rabbitmq-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).expect("a new folder");
        fs::write(folder.join("plugins"), "[].").expect("written");
        let port = Port::hold();
        Self {
            folder,
            address: SocketAddr::from((ip, port.address.port())),
            heartbeat: 60,
            _port: port,
            epmd: Port::hold(),
            node: Port::hold_unconnected(),
            directory: None,
            process: None,
        }
    }

    /// Starts it, with what it held.
    pub fn resume(&mut self) {
        self.directory.get_or_insert_with(|| {
            let mut epmd = Command::new("epmd");
            epmd.args(["-address", "127.0.0.1", "-port"])
                .arg(self.epmd.address.port().to_string())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            epmd.spawn().expect("epmd starts")
        });
        let log = fs::File::create(self.folder.join("log")).expect("a file");
        let errors = log.try_clone().expect("a file");
        let mut command = self.command("rabbitmq-server");
        command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            // The node and what it starts are ended together.
            .process_group(0);
        self.process = Some(command.spawn().expect("rabbitmq-server starts"));
        wait_within(START_PATIENCE, "the broker answers", || {
            let process = self.process.as_mut().expect("just started");
            let ended = process.try_wait().expect("a child");
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(ended.is_none(), "{ended:?}: {log}");
            log.contains("Server startup complete")
        });
    }

    /// Kills it: what is not on its disk is lost.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let group = format!("-{}", process.id());
            let _ = Command::new("kill")
                .args(["-s", "KILL", "--", &group])
                .status();
            let _ = process.wait();
        }
    }

    /// Carries an order of `rabbitmqctl` out, and returns what it prints.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let output = self.command("rabbitmqctl").args(arguments).output();
        let output = output.expect("rabbitmqctl starts");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// The address for newswire.
    pub fn url(&self) -> String {
        format!("amqp://{}", self.address)
    }

    /// A client.
    pub fn client(&self) -> AmqpClient {
        AmqpClient::connect(self)
    }

    fn command(&self, program: &str) -> Command {
        let folder = |name: &str| self.folder.join(name);
        let mut command = Command::new(format!("/usr/lib/rabbitmq/bin/{program}"));
        let port = |port: &Port| port.address.port().to_string();
        command
            .env("HOME", &self.folder)
            .env("ERL_CRASH_DUMP", folder("crash"))
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_PORT", port(&self.epmd))
            .env("RABBITMQ_NODENAME", "newswire@localhost")
            .env("RABBITMQ_NODE_IP_ADDRESS", self.address.ip().to_string())
            .env("RABBITMQ_NODE_PORT", self.address.port().to_string())
            .env("RABBITMQ_DIST_PORT", port(&self.node))
            .env("RABBITMQ_MNESIA_BASE", folder("mnesia"))
            .env("RABBITMQ_LOG_BASE", folder("logs"))
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder("plugins"))
            .env("RABBITMQ_CONFIG_FILE", folder("none"))
            .env("RABBITMQ_CONF_ENV_FILE", folder("none.sh"))
            .env("RABBITMQ_PID_FILE", folder("pid"))
            // The user `guest` may come from other hosts.
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                format!(
                    "+S 1:1 -kernel inet_dist_use_interface {{127,0,0,1}} -rabbit loopback_users [] -rabbit heartbeat {}",
                    self.heartbeat
                ),
            );
        command
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        self.kill();
        if let Some(mut directory) = self.directory.take() {
            let _ = directory.kill();
            let _ = directory.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A client that publishes, declares and deletes.
pub struct AmqpClient {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl AmqpClient {
    fn connect(broker: &RabbitMq) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../brokers/amqp.py");
        let mut process = interpreter("PYTHON", "python3")
            .arg(script)
            .arg(broker.address.ip().to_string())
            .arg(broker.address.port().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        Self {
            orders: process.stdin.take().expect("piped"),
            answers: BufReader::new(process.stdout.take().expect("piped")),
            process,
        }
    }

    /// Carries an order out, and returns the answer.
    pub fn order(&mut self, order: &Value) -> Value {
        writeln!(self.orders, "{order}").expect("it reads");
        let mut answer = String::new();
        let n = self.answers.read_line(&mut answer).expect("an answer");
        assert!(n > 0, "the client ended over {order}");
        serde_json::from_str(&answer).expect("JSON")
    }

    /// Publishes so that nothing is lost: the broker writes messages to its disk, and confirms that it has.
    pub fn publish_safely(&mut self, exchange: &str, bodies: &[String]) {
        let order = json!({"do": "publish", "exchange": exchange, "bodies": bodies, "mode": 2, "confirm": true});
        self.order(&order);
    }

    /// Publishes exactly as Web Publisher's pusher does.
    pub fn publish(&mut self, exchange: &str, bodies: &[String]) {
        self.order(&json!({"do": "publish", "exchange": exchange, "bodies": bodies}));
    }
}

impl Drop for AmqpClient {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
