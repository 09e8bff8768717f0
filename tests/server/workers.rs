//! Workers: several processes serve clients on one port, and look like one server from outside.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use kit::observe::{
    Reader, answer, counted, envelope, event_frame, publish_all, read_all, upgrade,
};
use kit::past::{Dialect, Peer, Told};
use kit::scratch::File;
use kit::{Client, PATIENCE, QUIET, Server, TOKEN, newswire, output_of, wait_until};
use serde_json::{Value, json};

const TWO: &[&str] = &["--workers", "2"];

/// More connections than the kernel would ever give to one of two workers.
const MANY: usize = 200;

fn start(options: &[&str]) -> Server {
    Server::start(&[QUIET, TWO, options].concat())
}

/// The numbers of the processes that are children of `parent`.
fn children(parent: u32) -> BTreeSet<u32> {
    let all = fs::read_dir("/proc").expect("Linux");
    let numbers = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    numbers
        .filter(|&pid| parent_of(pid) == Some(parent))
        .collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok()
}

fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    // A process that nobody has waited for yet is a zombie.
    stat.is_ok_and(|stat| {
        stat.rsplit_once(')')
            .is_some_and(|(_, rest)| !rest.starts_with(" Z"))
    })
}

fn kill(pid: u32, signal: &str) {
    let status = Command::new("kill")
        .args(["-s", signal, &pid.to_string()])
        .status();
    assert!(status.expect("kill runs").success());
}

/// A process that stands still. It goes on when this is dropped, so that it can end.
struct Stopped(u32);

impl Stopped {
    fn new(pid: u32) -> Self {
        kill(pid, "STOP");
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        kill(self.0, "CONT");
    }
}

/// The rows of `/connections`, all pages of `limit` rows.
fn connections(server: &Server, limit: usize) -> Vec<Value> {
    let mut rows = Vec::new();
    let mut after = json!(0);
    while !after.is_null() {
        let page = server.get(&format!("/connections?limit={limit}&after={after}"));
        let mut page = page.json();
        assert!(page.get("left_out").is_none(), "{page}");
        let more = page["connections"].as_array_mut().expect("rows");
        assert!(more.len() <= limit);
        rows.append(more);
        after = page["next"].take();
    }
    rows
}

/// The row of a client.
fn row(server: &Server, client: &Client) -> Value {
    let address = client.socket.get_ref().0.local_addr().expect("open");
    let address = json!(address.to_string());
    let mut rows = connections(server, 1_000).into_iter();
    rows.find(|row| row["address"] == address)
        .expect("it is listed")
}

fn worker_of(server: &Server, client: &Client) -> u64 {
    row(server, client)["worker"].as_u64().expect("a number")
}

/// Events of publishers so far.
fn events(server: &Server) -> f64 {
    server.metric("newswire_events_total{ingest=\"pull\"}")
}

/// A client of each worker, subscribed to `topic` so that an event reaches it. Both have read everything.
fn one_of_each(server: &Server, topic: &str) -> [Client; 2] {
    let mut found = [None, None];
    for _ in 0..MANY {
        let client = server.subscriber(&[topic]);
        let at = worker_of(server, &client) as usize - 1;
        found[at].get_or_insert(client);
        if found.iter().all(Option::is_some) {
            let mut clients = found.map(|client| client.expect("just seen"));
            let before = events(server);
            let probes = clients
                .iter_mut()
                .map(|client| settle(server, client, topic));
            let probes: f64 = probes.sum();
            // Each probe had a publisher of its own. The mark comes after all of them.
            wait_until("all probes came in", || events(server) == before + probes);
            publish_all(&server.pull, [envelope(topic, "\"mark\"")]);
            for client in &mut clients {
                while !client.text().contains("mark") {}
            }
            return clients;
        }
    }
    panic!("one worker has all connections");
}

/// Publishes until `client` receives it: its subscription has reached the parent. Returns how many it took.
fn settle(server: &Server, client: &mut Client, topic: &str) -> f64 {
    let patience = |client: &Client, time| {
        let stream = &client.socket.get_ref().0;
        stream.set_read_timeout(Some(time)).expect("set");
    };
    patience(client, Duration::from_millis(50));
    let mut probes = 0.0;
    wait_until("the subscription has reached the parent", || {
        publish_all(&server.pull, [envelope(topic, "\"probe\"")]);
        probes += 1.0;
        client.socket.read().is_ok()
    });
    patience(client, PATIENCE);
    probes
}

/// Waits until both workers serve.
fn wait_for_both(server: &Server) {
    wait_until("both workers serve", || {
        server.metric("newswire_workers") == 2.0
    });
}

#[test]
fn events_reach_clients_of_all_workers_in_order() {
    const EVENTS: usize = 2_000;
    let server = start(&[]);
    assert!(
        server.banner.contains("\nworkers    2 processes"),
        "{}",
        server.banner
    );
    assert_eq!(children(server.pid()).len(), 2);
    let mut clients = one_of_each(&server, "t");
    publish_all(
        &server.pull,
        (0..EVENTS).map(|n| envelope("t", &n.to_string())),
    );
    for client in &mut clients {
        for n in 0..EVENTS {
            assert_eq!(client.text(), format!("[8,\"t\",{n}]"));
        }
    }
    let answer = server.post("/publish", &envelope("t", "\"last\"")).json();
    assert_eq!(
        (&answer["events"], answer.get("subscribers")),
        (&json!(1), None)
    );
    for client in &mut clients {
        assert_eq!(client.text(), "[8,\"t\",\"last\"]");
    }
    server.stop();
}

#[test]
fn a_worker_that_dies_takes_only_its_own_clients_along() {
    let server = start(&[]);
    let [mut one, mut two] = one_of_each(&server, "t");
    let before = children(server.pid());
    // Which process is worker 1 shows when its client is lost.
    kill(*before.first().expect("two"), "KILL");
    server.wait_for_log("ended: signal 9; it is started again in 1 s");
    let line = server.log();
    let line = line.lines().find(|line| line.contains("ended: signal 9"));
    let is_first = line.expect("just seen").contains("worker=1 ");
    let (lost, kept) = if is_first {
        (&mut one, &mut two)
    } else {
        (&mut two, &mut one)
    };
    assert!(lost.socket.read().is_err(), "its worker is gone");
    publish_all(&server.pull, [envelope("t", "1")]);
    assert_eq!(kept.text(), "[8,\"t\",1]");

    wait_for_both(&server);
    assert_eq!(server.metric("newswire_worker_restarts_total"), 1.0);
    let after = children(server.pid());
    assert_eq!((after.len(), after.intersection(&before).count()), (2, 1));
    // Its clients come back to the same port, and both workers have some.
    let mut back = one_of_each(&server, "u");
    publish_all(&server.pull, [envelope("u", "2")]);
    for client in &mut back {
        assert_eq!(client.text(), "[8,\"u\",2]");
    }
    server.stop();
}

#[test]
fn what_was_sent_before_the_signal_is_delivered_and_no_process_is_left() {
    const EVENTS: usize = 2_000;
    let data = |n: usize| format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(200));
    let server = start(&[]);
    let clients = one_of_each(&server, "t");
    let workers = children(server.pid());
    let expected: Vec<u8> = (0..EVENTS)
        .flat_map(|n| event_frame("t", &data(n)))
        .collect();
    let before = events(&server) as u64;
    let mut readers: Vec<Reader<'_>> = clients
        .iter()
        .map(|client| Reader::of(&client.socket.get_ref().0, &expected))
        .collect();
    publish_all(&server.pull, (0..EVENTS).map(|n| envelope("t", &data(n))));
    // As systemd does by default: the signal goes to all processes of the service.
    for pid in workers.iter().copied().chain([server.pid()]) {
        kill(pid, "TERM");
    }
    read_all(&mut readers);
    let (status, summary) = server.wait();
    assert_eq!(status.code(), Some(0), "{summary}");
    assert_eq!(
        counted(&summary, "events"),
        before + EVENTS as u64,
        "{summary}"
    );
    assert!(
        counted(&summary, "deliveries") >= 2 * EVENTS as u64,
        "{summary}"
    );
    assert!(workers.iter().all(|&pid| !is_alive(pid)), "an orphan");
}

#[test]
fn workers_do_not_outlive_their_parent() {
    let server = start(&[]);
    let mut clients = one_of_each(&server, "t");
    let workers = children(server.pid());
    let log = server.log();
    let folder = log
        .split("ipc://")
        .nth(1)
        .and_then(|rest| rest.split("/events").next());
    let folder = Path::new(folder.expect("a worker says where its events come from"));
    assert!(folder.join("events").exists());
    server.signal("KILL");
    wait_until("the workers have ended", || {
        workers.iter().all(|&pid| !is_alive(pid))
    });
    assert!(!folder.exists(), "the parent could not remove it");
    for client in &mut clients {
        assert!(client.socket.read().is_err());
    }
}

#[test]
fn a_reload_reaches_all_workers() {
    let tokens = File::new("tokens", "a-first-token-of-some-length name=first\n");
    let options = [QUIET, TWO, &["--tokens", tokens.path()]].concat();
    let server = Server::start_without_token(&options);
    let all = |token: &str, status: u16| {
        // So many connections meet both workers.
        (0..20).all(|_| server.status_of(token) == status)
    };
    assert!(all("a-first-token-of-some-length", 101));
    tokens.replace("a-second-token-of-some-length name=second\n");
    server.signal("HUP");
    wait_until("both workers have the new file", || {
        all("a-second-token-of-some-length", 101) && all("a-first-token-of-some-length", 401)
    });
    server.stop();
}

#[test]
fn a_revoked_token_is_revoked_everywhere_and_stays_so() {
    let server = start(&["--token", "another-token"]);
    let clients: Vec<Client> = (0..20)
        .map(|_| server.client_with("another-token"))
        .collect();
    let workers: BTreeSet<u64> = clients.iter().map(|c| worker_of(&server, c)).collect();
    assert_eq!(workers.len(), 2);
    let answer = server
        .post("/revoke", r#"{"token":"another-token"}"#)
        .json();
    assert_eq!(answer, json!({"revoked": 20}));
    for mut client in clients {
        assert_eq!(client.close_code(), 3000);
    }
    for pid in children(server.pid()) {
        kill(pid, "KILL");
    }
    wait_until("both were started again", || {
        server.metric("newswire_worker_restarts_total") == 2.0
            && server.metric("newswire_workers") == 2.0
    });
    for _ in 0..20 {
        assert_eq!(server.status_of("another-token"), 401);
    }
    assert_eq!(server.status_of(TOKEN), 101);
    server.stop();
}

#[test]
fn what_is_kept_of_topics_is_counted_for_all_workers() {
    let server = start(&["--topic", "k* history=3 slow=oldest"]);
    let mut both = one_of_each(&server, "t");
    publish_all(
        &server.pull,
        [envelope("k1", "1"), envelope("t", "\"end\"")],
    );
    for client in &mut both {
        while !client.text().contains("end") {}
    }
    wait_until("both have told what they keep", || {
        server.metric("newswire_history_events") == 2.0
    });
    let row = json!({"name": "k1", "subscribers": 0, "events": 1, "kept": {"events": 1, "bytes": 640 + 2 + 65}});
    let mut kept = server.get("/topics?kept=1").json()["topics"].clone();
    assert!(kept[0]["kept"]["age_seconds"].is_number(), "{kept}");
    let found = kept[0].as_object_mut().expect("a row");
    found.remove("rate");
    found["kept"]
        .as_object_mut()
        .expect("an object")
        .remove("age_seconds");
    assert_eq!(kept, json!([row]));
    // What happens in a worker is in the sums.
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = server.connect();
        let request = format!(
            "GET /?token={TOKEN}&topic=k1&last_event_id=aaaaaaaa-1 HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n"
        );
        client.write_all(request.as_bytes()).expect("sent");
        clients.push(client);
    }
    wait_until("they came back, and their workers have told", || {
        server.metric("newswire_recoveries_total{result=\"epoch\"}") == 3.0
    });
    let rule = "newswire_topic_rule_dropped_events_total{rule=\"k*\",policy=\"oldest\"}";
    assert_eq!(server.metric(rule), 0.0);
    // The parent itself keeps nothing, and has no such topic.
    let own = server.get("/snapshot").json();
    assert!(
        own["busiest"]
            .as_array()
            .is_some_and(|rows| rows.is_empty()),
        "{own}"
    );
    server.stop();
}

/// A client of that worker that comes back to the topic `news` with everything up to `since`; and what it is told.
fn come_back(server: &Server, worker: u64, dialect: Dialect, since: &str) -> (Peer, Value) {
    for _ in 0..MANY {
        let stream = server.connect();
        let address = json!(stream.local_addr().expect("open").to_string());
        let (peer, notice) = Peer::asks(dialect, stream, "news", Some(since), None);
        let rows = connections(server, 1_000);
        let row = rows.iter().find(|row| row["address"] == address);
        if row.expect("it is listed")["worker"] == worker {
            return (peer, notice);
        }
    }
    panic!("the other worker has all connections");
}

/// Publishes five events, of which both workers keep all: what comes while they are new proves nothing.
fn keep(server: &Server) -> Vec<(String, u64)> {
    let mut kept = Vec::new();
    wait_until("both keep what is published", || {
        kept = server.publish("news", 0..5);
        let newest = &kept[4].0;
        let has_newest = |worker| {
            let mut tries = 0..5;
            tries.any(|_| come_back(server, worker, Dialect::Wamp2, newest).1["recovered"] == true)
        };
        let has_all = |worker| {
            let (_, notice) = come_back(server, worker, Dialect::Wamp2, &kept[0].0);
            notice["recovered"] == true
        };
        [1, 2]
            .into_iter()
            .all(|worker| has_newest(worker) && has_all(worker))
    });
    kept
}

#[test]
fn a_client_that_comes_back_to_the_other_worker_gets_what_it_has_missed() {
    let server = start(&["--topic", "news history=100"]);
    let kept = keep(&server);
    // Of all pairs of workers, with ids that the one has told and the other is asked about.
    let mut peers = Vec::new();
    for (at, dialect) in Dialect::ALL.into_iter().cycle().take(4).enumerate() {
        let (mut peer, notice) = come_back(&server, at as u64 / 2 + 1, dialect, &kept[1].0);
        assert_eq!(notice, json!({"recovered": true, "id": kept[1].0}));
        peer.expect(&kept[2..]);
        peers.push(peer);
    }
    let live = server.publish("news", 5..8);
    for peer in &mut peers {
        peer.expect(&live);
    }
    server.stop();
}

#[test]
fn a_worker_that_was_started_again_promises_nothing_that_it_does_not_keep() {
    let server = start(&["--topic", "news history=100"]);
    let kept = keep(&server);
    kill(*children(server.pid()).first().expect("two"), "KILL");
    server.wait_for_log("ended: signal 9; it is started again in 1 s");
    let log = server.log();
    let line = log.lines().find(|line| line.contains("ended: signal 9"));
    let worker = if line.expect("just seen").contains("worker=1 ") {
        1
    } else {
        2
    };
    wait_for_both(&server);
    let mut peers = Vec::new();
    for dialect in Dialect::ALL {
        // It has seen no event, so it knows nothing of these ids.
        for (id, _) in &kept {
            let (_, notice) = come_back(&server, worker, dialect, id);
            assert_eq!(notice["recovered"], false, "{notice}");
            assert_eq!(notice["reason"], "epoch", "{notice}");
        }
        // The other one has everything.
        let (mut peer, notice) = come_back(&server, 3 - worker, dialect, &kept[1].0);
        assert_eq!(notice["recovered"], true);
        peer.expect(&kept[2..]);
        peers.push(peer);
    }
    let later = server.publish("news", 5..8);
    for peer in &mut peers {
        peer.expect(&later);
    }
    wait_until("the new one has the new ones", || {
        let (_, notice) = come_back(&server, worker, Dialect::Wamp2, &later[2].0);
        notice["recovered"] == true
    });
    for dialect in Dialect::ALL {
        for (at, (id, _)) in kept.iter().chain(&later).enumerate() {
            let (mut peer, notice) = come_back(&server, worker, dialect, id);
            if at < 4 {
                assert_eq!(notice["reason"], "floor", "{at}: {notice}");
                continue;
            }
            // It may promise what it has seen; what it promises, it sends.
            if notice["recovered"] == true {
                assert_eq!(notice["id"], json!(id));
                peer.expect(&later[at - 4..]);
            } else {
                assert_eq!(notice["reason"], "floor", "{at}: {notice}");
            }
            let ends = at == 7 && dialect == Dialect::Wamp2;
            if ends {
                peer.say("[48,9,{},\"x\"]");
                assert!(matches!(peer.told(), Told::Other(error) if error[0] == 8));
            }
        }
    }
    server.stop();
}

#[test]
fn metrics_and_lists_are_those_of_all_workers() {
    let server = start(&[]);
    let mut both = one_of_each(&server, "t");
    let more: Vec<Client> = (0..10).map(|_| server.subscriber(&["u"])).collect();
    // Of the probes, some came before their subscription.
    let dropped = "newswire_dropped_total{reason=\"no_subscriber\"}";
    let (before, dropped_before) = (events(&server), server.metric(dropped));
    publish_all(&server.pull, (0..5).map(|n| envelope("t", &n.to_string())));
    for client in &mut both {
        for n in 0..5 {
            assert_eq!(client.text(), format!("[8,\"t\",{n}]"));
        }
    }
    // Connections that were tried before may be on their way out.
    let mut rows = Vec::new();
    let listed = |rows: &[Value], worker: u64| {
        let listed = rows.iter().filter(|row| row["worker"] == worker).count();
        listed as f64
    };
    wait_until("the sums are those of now", || {
        rows = connections(&server, 1_000);
        let is_told = |worker: u64| {
            let name = format!("newswire_worker_connections{{worker=\"{worker}\"}}");
            listed(&rows, worker) == server.metric(&name)
        };
        let all = server.metric("newswire_connections") == rows.len() as f64;
        all && rows.len() == 12 && is_told(1) && is_told(2)
    });
    let (one, two) = (listed(&rows, 1), listed(&rows, 2));
    assert_eq!(one + two, 12.0);
    assert!(one > 0.0 && two > 0.0);
    assert_eq!(events(&server), before + 5.0);
    assert_eq!(server.metric("newswire_events_total{ingest=\"sub\"}"), 0.0);
    assert!(server.metric("newswire_deliveries_total") >= 10.0);
    assert!(server.metric("newswire_ingest_to_socket_seconds_count") >= 5.0);
    assert_eq!(server.metric(dropped), dropped_before);

    // Pages of any size meet.
    let ids = |rows: &[Value]| -> Vec<String> {
        let ids = rows.iter().map(|row| row["id"].as_str().expect("an id"));
        ids.map(str::to_owned).collect()
    };
    assert_eq!(ids(&connections(&server, 3)), ids(&rows));
    let topics = server.get("/topics").json();
    let topic = |name: &str| {
        let rows = topics["topics"].as_array().expect("rows").iter();
        rows.clone()
            .find(|row| row["name"] == name)
            .expect("it is listed")
            .clone()
    };
    assert_eq!(topic("u")["subscribers"], 10);
    assert!(topic("t")["events"].as_u64() >= Some(5), "{topics}");

    // One by its id, then all by their name.
    let id = row(&server, &both[0])["id"].clone();
    let body = json!({"id": id}).to_string();
    let ended = |body: &str| server.post("/disconnect", body).json();
    assert_eq!(ended(&body), json!({"disconnected": 1}));
    assert_eq!(both[0].close_code(), 1008);
    assert_eq!(ended(&body), json!({"disconnected": 0}));
    // The one that was ended may be there still.
    let left = connections(&server, 1_000).into_iter();
    let left = left.filter(|row| row["state"] == "open").count();
    assert_eq!(
        ended(r#"{"address":"127.0.0.1"}"#),
        json!({"disconnected": left})
    );
    for mut client in more {
        assert_eq!(client.close_code(), 1008);
    }
    server.stop();
}

#[test]
fn a_worker_that_does_not_answer_is_named() {
    let server = start(&[]);
    let workers = children(server.pid());
    let stopped = Stopped::new(*workers.first().expect("two"));
    let mut left_out = Value::Null;
    wait_until("the answer names it", || {
        left_out = server.get("/connections").json()["left_out"].take();
        left_out.is_array()
    });
    assert_eq!(left_out.as_array().map(Vec::len), Some(1), "{left_out}");
    drop(stopped);
    wait_until("it answers again", || {
        server.get("/connections").json().get("left_out").is_none()
    });
    server.stop();
}

#[test]
fn limits_are_divided_among_the_workers() {
    let server = start(&["--connections-per-address-max", "5"]);
    // Each worker has three places for this address, and so many connections meet both workers often enough.
    let mut held = Vec::new();
    for _ in 0..MANY {
        let mut stream = server.connect();
        let head = upgrade(&Server::target(), "");
        stream.write_all(head.as_bytes()).expect("sent");
        if answer(&mut stream).0 == 101 {
            held.push(stream);
        }
    }
    assert_eq!(held.len(), 6);
    let open = |worker: u64| {
        let rows = connections(&server, 1_000).into_iter();
        rows.filter(|row| row["worker"] == worker && row["state"] == "open")
            .count()
    };
    assert_eq!((open(1), open(2)), (3, 3));
    server.stop();
}

#[test]
fn a_second_parent_on_the_port_is_refused() {
    let server = start(&[]);
    let address = server.address.to_string();
    for more in [TWO, &[]] {
        let mut command = newswire();
        command
            .args(["--listen", &address, "--pull", "tcp://127.0.0.1:*"])
            .args(["--admin", "off", "--token", TOKEN])
            .args(more);
        let output = output_of(command);
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains(&format!("cannot listen on {address}")),
            "{said}"
        );
        assert!(said.contains("in use by pid "), "{said}");
    }
    server.stop();
}

#[test]
fn what_makes_no_workers_ends_the_start_in_one_line() {
    let nothing = File::new("tokens", "nonsense key=value\n");
    for (arguments, part) in [
        (&["--workers", "0"][..], "a number from 1 to 256 is needed"),
        (&["--workers", "257"], "a number from 1 to 256 is needed"),
        (&["--workers", "two"], "a number from 1 to 256 is needed"),
        (
            &["--workers", "2", "--pull", "off", "--admin", "off"],
            "no event could ever come in",
        ),
        (
            &["--workers", "2", "--tokens", nothing.path()],
            nothing.path(),
        ),
    ] {
        let mut command = newswire();
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"])
            .args(["--pull", "tcp://127.0.0.1:*"]);
        // The last flag of a name counts for a word; a list may be given once.
        if arguments.contains(&"--pull") {
            command = newswire();
            command.args(["serve", "--listen", "127.0.0.1:0"]);
        }
        command.args(arguments);
        let output = output_of(command);
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(part), "{said}");
    }
    let mut command = newswire();
    command.arg("worker");
    let output = output_of(command);
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("newswire serve --workers N"), "{said}");
}

#[test]
fn a_rolling_restart_keeps_the_port_answering() {
    let server = start(&[]);
    let before = children(server.pid());
    assert_eq!(server.post("/workers/restart", "[]").status, 400);
    let answer = server.post("/workers/restart", "{}");
    assert_eq!(answer.json(), json!({"restarting": 2}));
    let mut let_in = 0;
    wait_until("all workers were replaced", || {
        // Somebody listens at every moment. One that is going down may say so, or may have to reset whom it has not
        // accepted yet; such a client tries again.
        let mut stream = TcpStream::connect(server.address).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let head = upgrade(&Server::target(), "");
        let mut status = [0; 12];
        let asked = stream.write_all(head.as_bytes());
        if asked.is_ok() && std::io::Read::read_exact(&mut stream, &mut status).is_ok() {
            let is_known = [&b"HTTP/1.1 101"[..], b"HTTP/1.1 503"].contains(&&status[..]);
            assert!(is_known, "{}", status.escape_ascii());
            let_in += usize::from(status.ends_with(b"101"));
        }
        server.log().contains("workers: rolling restart done")
    });
    assert!(let_in > 0);
    let after = children(server.pid());
    assert_eq!((after.len(), after.intersection(&before).count()), (2, 0));
    assert_eq!(
        server.metric("newswire_worker_restarts_total"),
        0.0,
        "none has died"
    );
    let mut clients = one_of_each(&server, "t");
    publish_all(&server.pull, [envelope("t", "1")]);
    for client in &mut clients {
        assert_eq!(client.text(), "[8,\"t\",1]");
    }
    server.stop();

    let alone = Server::start(&[]);
    let refused = alone.post("/workers/restart", "{}");
    assert_eq!(refused.status, 404, "{refused:?}");
    alone.stop();
}

#[test]
fn the_manager_sees_one_service() {
    let name = format!("newswire-workers-{}", std::process::id());
    let address = UnixAddress::from_abstract_name(&name).expect("a name");
    let notified = UnixDatagram::bind_addr(&address).expect("bound");
    notified.set_read_timeout(Some(PATIENCE)).expect("set");
    let next = || {
        let mut bytes = [0; 4096];
        let n = notified.recv(&mut bytes).expect("a message");
        String::from_utf8(bytes[..n].to_vec()).expect("text")
    };
    let mut command = newswire();
    command.env("NOTIFY_SOCKET", format!("@{name}"));
    let server = Server::start_with(command, TWO);
    let ready = next();
    assert!(
        ready.starts_with("READY=1\nSTATUS=serving, workers: 2 of 2"),
        "{ready}"
    );
    server.signal("TERM");
    let stopping = next();
    assert!(stopping.starts_with("STOPPING=1"), "{stopping}");
    assert!(server.wait().0.success());
    notified.set_nonblocking(true).expect("set");
    assert!(notified.recv(&mut [0; 1]).is_err(), "only the parent tells");
}

#[test]
fn a_passed_listener_and_workers_do_not_go_together() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 </dev/null",
        ])
        .arg(kit::binary())
        .args([
            "--admin",
            "off",
            "--pull",
            "tcp://127.0.0.1:*",
            "--workers",
            "2",
        ])
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(listener)));
    let output = command.output().expect("it runs");
    let said = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("systemctl mask newswire.socket"), "{said}");
}

#[test]
fn lines_of_the_log_name_their_worker() {
    let server = start(&[]);
    server.signal("USR1");
    for worker in [
        "worker=1 summary: connected=",
        "worker=2 summary: connected=",
    ] {
        server.wait_for_log(worker);
    }
    server.stop();
}
