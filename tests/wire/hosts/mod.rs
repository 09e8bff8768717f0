//! Several hosts, and what goes wrong between them: cables that are cut, silent or bad, and processes that are killed.
//!
//! Events are numbers on one topic, so what a client has heard tells what it has missed, and whether the order was kept.
//! The waits are those that docs/operate.md names under *When something between hosts fails*.
//!
//! Never here: what happens on one host alone.

#[cfg(feature = "amqp")]
mod amqp;
mod relay;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use kit::hosts::{Cable, Host, Network};
use kit::{Client, PATIENCE, QUIET, Server, binary, wait_within};
use serde_json::Value;

const TOPIC: &str = "package_created";

/// A source that connects out is back so long after the trouble is over.
const BACK: Duration = Duration::from_secs(10);

/// What a busy machine adds.
const MARGIN: Duration = Duration::from_secs(5);

/// As long as it takes to see that nothing comes at the moment.
const MOMENT: Duration = Duration::from_millis(50);

/// The number that no publisher sends: a server's own administrator does.
const PROBE: u32 = 0;

/// When a bad cable has lost so many packets, a test has seen enough.
const PACKETS_LOST: u64 = 5;

/// How many clients listen to a server. It has two workers.
const LISTENERS: usize = 3;

/// The hosts: one of publishers, one of a relay or a broker, two of servers, one of clients. Clients reach the servers
/// through a network of their own, so nothing that is done to `cables` parts them.
struct Site {
    publishers: Host,
    centre: Host,
    servers: [Host; 2],
    clients: Host,
    /// To publishers, centre and servers, in this order.
    cables: Vec<Cable>,
    /// The servers' addresses for clients.
    fronts: [Ipv4Addr; 2],
    _front: Network,
}

impl Site {
    fn new() -> Self {
        let [back, front] = [1, 2].map(Network::new);
        let hosts @ [publishers, centre, one, two, clients] = &[(); 5].map(|()| Host::new());
        let cables = hosts[..4].iter().map(|host| back.join(host)).collect();
        front.join(clients);
        let servers = [one, two].map(Clone::clone);
        Self {
            publishers: publishers.clone(),
            centre: centre.clone(),
            fronts: servers.each_ref().map(|host| front.join(host).address),
            servers,
            clients: clients.clone(),
            cables,
            _front: front,
        }
    }

    /// The address of the relay or the broker.
    fn centre_ip(&self) -> Ipv4Addr {
        self.cables[1].address
    }

    /// The cable between a server and its sources.
    fn cable(&self, place: usize) -> &Cable {
        &self.cables[2 + place]
    }

    /// Starts a server with two workers at `place`. `amqp` is its broker.
    fn serve(&self, place: usize, amqp: Option<&str>, options: &[&str]) -> Node {
        let mut command = Command::new(binary());
        if let Some(url) = amqp {
            command.env("NEWSWIRE_AMQP", url);
        }
        let listen = SocketAddr::from((self.fronts[place], 8_080)).to_string();
        let common = ["--workers", "2", "--listen", &listen];
        let options = [QUIET, &common, options].concat();
        let host = self.servers[place].clone();
        Node {
            server: host.run(|| Server::start_with(command, &options)),
            host,
            clients: self.clients.clone(),
            listeners: Vec::new(),
        }
    }
}

/// A server on a host of its own, and clients that listen to it.
struct Node {
    host: Host,
    clients: Host,
    server: Server,
    listeners: Vec<Listener>,
}

impl Node {
    /// Has clients subscribe. Their worker knows, and so does its parent; whether the source does is another matter.
    fn listen(&mut self) {
        let listener = || Listener {
            client: self.server.subscriber(&[TOPIC]),
            heard: Vec::new(),
            repeats: 0,
        };
        let connect = || (0..LISTENERS).map(|_| listener()).collect();
        self.listeners = self.clients.run(connect);
        let probe = format!("{{\"topic\":{TOPIC:?},\"data\":{PROBE}}}");
        let (host, server) = (&self.host, &self.server);
        for listener in &mut self.listeners {
            wait_within(PATIENCE, "a probe is heard", || {
                host.run(|| server.post("/publish", &probe));
                listener.hears_something()
            });
        }
    }

    /// The source that connects out, as `/readyz` shows it.
    fn source(&self) -> Value {
        let answer = self.host.run(|| self.server.get("/readyz")).json();
        let mut sources = answer["sources"].as_array().expect("a list").iter();
        let source = sources.find(|source| !source["connected"].is_null());
        source.expect("there is one").clone()
    }

    fn is_connected(&self) -> bool {
        self.source()["connected"] == true
    }

    /// How often it was connected.
    fn connects(&self) -> u64 {
        self.source()["connects"].as_u64().expect("a number")
    }

    /// The value of a metric, `newswire_` aside.
    fn metric(&self, name: &str) -> f64 {
        let name = format!("newswire_{name}");
        self.host.run(|| self.server.metric(&name))
    }

    /// Waits until a metric is `value`.
    fn wait_for(&self, patience: Duration, name: &str, value: f64) {
        let what = format!("{name} is {value}");
        wait_within(patience, &what, || self.metric(name) == value);
    }

    /// Waits until every client has heard `last`.
    fn hear(&mut self, last: u32) {
        for listener in &mut self.listeners {
            listener.hear(last);
        }
    }

    /// Has `publish` send a number, again and again, until every client hears a new one.
    fn settle(&mut self, mut publish: impl FnMut()) {
        for listener in &mut self.listeners {
            let last = listener.heard.last().copied();
            wait_within(BACK, "a client hears a number", || {
                publish();
                listener.hears_something() && listener.heard.last().copied() > last
            });
        }
    }

    /// What was not heard, of all numbers since the first one that was. All clients have missed the same.
    fn missed(&self) -> u64 {
        let mut all = self.listeners.iter().map(Listener::missed);
        let missed = all.next().expect("a client");
        assert!(all.all(|other| other == missed), "{missed}");
        missed
    }

    /// How often a client has heard what it had heard before.
    fn repeats(&self) -> usize {
        self.listeners.iter().map(|listener| listener.repeats).sum()
    }

    fn logged(&self, text: &str) -> usize {
        self.server.log().matches(text).count()
    }
}

/// A client, and the numbers that it has heard.
struct Listener {
    client: Client,
    /// Each once. They grow.
    heard: Vec<u32>,
    repeats: usize,
}

impl Listener {
    fn hear(&mut self, last: u32) {
        while self.heard.last().is_none_or(|&heard| heard < last) {
            let text = self.client.text();
            self.note(&text);
        }
    }

    /// Returns true when something comes within a moment.
    fn hears_something(&mut self) -> bool {
        let patience = |client: &Client, time| {
            let stream = &client.socket.get_ref().0;
            stream.set_read_timeout(Some(time)).expect("set");
        };
        patience(&self.client, MOMENT);
        let read = self.client.socket.read();
        patience(&self.client, PATIENCE);
        let text = read.ok().and_then(|message| message.into_text().ok());
        text.is_some_and(|text| {
            self.note(&text);
            true
        })
    }

    /// # Panics
    /// A number was passed over and comes after all.
    fn note(&mut self, text: &str) {
        let number = text.strip_prefix(&format!("[8,\"{TOPIC}\","));
        let number = number.and_then(|rest| rest.strip_suffix(']')?.parse().ok());
        let number: u32 = number.unwrap_or_else(|| panic!("no number: {text}"));
        if number == PROBE {
            return;
        }
        match self.heard.last() {
            Some(&last) if number <= last => {
                let was_heard = self.heard.binary_search(&number).is_ok();
                assert!(was_heard, "{number} comes after {last}");
                self.repeats += 1;
            }
            _ => self.heard.push(number),
        }
    }

    fn missed(&self) -> u64 {
        let (first, last) = (self.heard.first(), self.heard.last());
        let all = last.expect("something") - first.expect("something") + 1;
        u64::from(all) - self.heard.len() as u64
    }
}
