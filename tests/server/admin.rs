//! The admin listener as operators and attackers meet it.

use std::collections::{BTreeSet, VecDeque};
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use kit::hostile::{SetOnDrop, Witness};
use kit::scratch::File;
use kit::web::{Answer, ask, dial};
use kit::{Client, Server, TOKEN, wait_until};
use serde_json::{Value, json};

const JSON: &str = "Content-Type: application/json\r\n";

#[test]
fn health_and_readiness() {
    let server = Server::start(&[]);
    assert_eq!(server.get("/healthz").json(), json!({"status": "ok"}));
    let ready = server.get("/readyz").json();
    assert_eq!(ready["status"], "ready");
    let source = json!({"kind": "pull", "endpoint": server.pull, "peers": 0, "refused_peers": 0});
    assert_eq!(ready["sources"], json!([source]));

    // A reader that takes nothing keeps the way down open.
    let stalled = server.raw_subscriber(&["t"]);
    kit::hostile::narrow(&stalled);
    let event = format!("{{\"topic\":\"t\",\"data\":\"{}\"}}", "x".repeat(1_000_000));
    wait_until("it owes something", || {
        server.post("/publish", &event);
        server.metric("newswire_outbox_bytes") > 0.0
    });
    server.signal("TERM");
    wait_until("it is not ready", || server.get("/readyz").status == 503);
    assert_eq!(server.get("/healthz").status, 200);
    let refused = server.post("/publish", &event);
    assert_eq!(refused.status, 503);
    assert!(refused.head.contains("Retry-After: 5"), "{refused:?}");
    assert_eq!(refused.json()["error"], "the server is going down");
    drop(stalled);
    assert!(server.wait().0.success());
}

#[test]
fn one_connection_serves_many_requests() {
    let server = Server::start(&[]);
    let mut stream = BufReader::new(dial(server.admin_address()));
    let request = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    // One behind the other, and then many at once.
    for _ in 0..3 {
        stream
            .get_mut()
            .write_all(request.as_bytes())
            .expect("open");
        assert_eq!(Answer::read(&mut stream).status, 200);
    }
    let many = request.repeat(500);
    stream.get_mut().write_all(many.as_bytes()).expect("open");
    for _ in 0..500 {
        assert_eq!(Answer::read(&mut stream).status, 200);
    }
    let head = "HEAD /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
    stream.get_mut().write_all(head.as_bytes()).expect("open");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("its end");
    assert!(
        rest.starts_with("HTTP/1.1 200 ") && rest.ends_with("\r\n\r\n"),
        "{rest}"
    );
    server.stop();
}

/// Every entry of a listing, a page at a time.
fn pages(server: &Server, what: &str, limit: usize) -> Vec<Value> {
    let mut all = Vec::new();
    let mut after = json!(0);
    loop {
        let page = server
            .get(&format!("/{what}?limit={limit}&after={after}"))
            .json();
        let entries = page[what].as_array().expect("a list");
        assert!(entries.len() <= limit);
        all.extend(entries.iter().cloned());
        if page["next"].is_null() {
            return all;
        }
        after = page["next"].clone();
    }
}

#[test]
fn topics_and_connections_come_in_pages() {
    let server = Server::start(&[]);
    let names: Vec<String> = (0..50).map(|n| format!("topic {n}")).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let _one = server.subscriber(&all);
    let two = server.subscriber(&["topic 7"]);
    for _ in 0..3 {
        server.post("/publish", r#"{"topic":"topic 7","data":1}"#);
    }
    let topics = pages(&server, "topics", 8);
    let found: BTreeSet<&str> = topics
        .iter()
        .map(|t| t["name"].as_str().expect("text"))
        .collect();
    assert_eq!((topics.len(), found), (50, all.iter().copied().collect()));
    let seventh = topics
        .iter()
        .find(|t| t["name"] == "topic 7")
        .expect("it is there");
    assert_eq!(
        (&seventh["subscribers"], &seventh["events"]),
        (&json!(2), &json!(3))
    );
    assert!(
        seventh["rate"].as_f64().is_some_and(|rate| rate > 0.1),
        "{seventh}"
    );

    let connections = pages(&server, "connections", 1);
    assert_eq!(connections.len(), 2);
    let address = two
        .socket
        .get_ref()
        .0
        .local_addr()
        .expect("bound")
        .to_string();
    let second = connections
        .iter()
        .find(|c| c["address"] == address.as_str());
    let second = second.unwrap_or_else(|| panic!("{connections:?}"));
    assert_eq!(
        (
            &second["state"],
            &second["name"],
            &second["topics"],
            &second["outbox_bytes"]
        ),
        (&json!("open"), &json!("list"), &json!(1), &json!(0))
    );
    assert!(second["age_seconds"].as_u64().is_some_and(|age| age < 60));
    let named = server.get("/connections?topics=1").json();
    let lists: BTreeSet<usize> = named["connections"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|c| c["topic_names"].as_array().expect("a list").len())
        .collect();
    assert_eq!(lists, BTreeSet::from([1, 50]));
    server.stop();
}

#[test]
fn connections_are_ended_by_id_name_and_address() {
    let server = Server::start(&[]);
    let end = |order: Value| server.post("/disconnect", &order.to_string()).json();

    let mut client = server.subscriber(&["t"]);
    let id = server.get("/connections").json()["connections"][0]["id"].clone();
    assert_eq!(end(json!({"id": id})), json!({"disconnected": 1}));
    assert_eq!(client.close_code(), 1008);
    assert_eq!(end(json!({"id": id})), json!({"disconnected": 0}));
    assert_eq!(
        end(json!({"id": "4000000000-1"})),
        json!({"disconnected": 0})
    );

    let mut clients: Vec<Client> = (0..600).map(|_| server.client()).collect();
    let third = clients[3].socket.get_ref().0.local_addr().expect("bound");
    assert_eq!(
        end(json!({"address": third.to_string()})),
        json!({"disconnected": 1})
    );
    assert_eq!(clients[3].close_code(), 1008);
    assert_eq!(end(json!({"name": "nobody"})), json!({"disconnected": 0}));
    assert_eq!(
        end(json!({"address": "192.0.2.1"})),
        json!({"disconnected": 0})
    );
    // More than a turn closes.
    assert_eq!(end(json!({"name": "list"})), json!({"disconnected": 599}));
    for (n, client) in clients.iter_mut().enumerate().filter(|(n, _)| *n != 3) {
        assert_eq!(client.close_code(), 1008, "{n}");
    }
    let _silent = server.connect();
    wait_until("it is there", || {
        server.metric("newswire_connections") == 1.0
    });
    assert_eq!(
        end(json!({"address": "127.0.0.1"})),
        json!({"disconnected": 1})
    );
    drop(clients);
    assert_eq!(
        server.metric("newswire_closed_total{reason=\"disconnected\"}"),
        602.0
    );
    server.stop_and_balance();
}

#[test]
fn a_token_is_asked_for_where_it_is_set() {
    let server = Server::start(&["--admin-token", "sesame"]);
    let address = server.admin_address();
    let status = |path: &str, lines: &str| ask(address, "GET", path, lines, "").status;
    for path in ["/metrics", "/topics", "/connections"] {
        assert_eq!(status(path, ""), 401, "{path}");
        assert_eq!(
            status(path, "Authorization: Bearer sesam\r\n"),
            401,
            "{path}"
        );
        assert_eq!(
            status(path, "Authorization: Bearer sesame\r\n"),
            200,
            "{path}"
        );
    }
    // The page asks for it by itself.
    for path in ["/", "/?token=wrong", "/healthz"] {
        assert_eq!(status(path, ""), 200, "{path}");
    }
    let lines = format!("{JSON}Authorization: Bearer sesame\r\n");
    assert_eq!(
        ask(address, "POST", "/disconnect", JSON, "{\"name\":\"x\"}").status,
        401
    );
    assert_eq!(
        ask(address, "POST", "/disconnect", &lines, "{\"name\":\"x\"}").status,
        200
    );
    let all = server.log();
    server.stop();
    assert!(!all.contains("sesame"), "{all}");
}

#[test]
fn an_open_admin_listener_needs_a_token() {
    let output = kit::newswire()
        .args([
            "--admin",
            "0.0.0.0:0",
            "--listen",
            "127.0.0.1:0",
            "--pull",
            "off",
        ])
        .args(["--publish", "127.0.0.1:0"])
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("admin-token"), "{told}");
}

fn newswire(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = kit::newswire()
        .args(arguments)
        .env_remove("NEWSWIRE_ADMIN_TOKEN")
        .stdin(std::process::Stdio::null())
        .output()
        .expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn a_revoked_token_lets_nobody_in_and_nobody_stay() {
    let other = "another-token";
    let server = Server::start(&["--token", other, "--admin-token", "sesame"]);
    let mut client = server.subscriber(&["t"]);
    let uri = |token: &str| format!("ws://{}/?token={token}", server.address);
    let mut stays = Client::on(server.connect(), &uri(other));
    let admin = format!("http://{}/", server.admin_address());

    let (code, _, told) = newswire(&["token", "revoke", TOKEN, "--admin", &admin]);
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("401: the token is missing or wrong"),
        "{told}"
    );
    let with = ["--admin", &admin, "--admin-token", "sesame"];
    let (code, out, told) = newswire(&[&["token", "revoke", TOKEN][..], &with].concat());
    let done =
        format!("revoked at the server of {admin} until its next start; sessions that end: 1\n");
    assert_eq!((code, out), (Some(0), done), "{told}");
    assert_eq!(client.close_code(), 3000);
    let status = |token: &str| {
        server
            .ask(&kit::observe::upgrade(&format!("/?token={token}"), ""))
            .0
    };
    assert_eq!(status(TOKEN), 401);
    stays.settle();

    // By what stands for it, and over HTTP.
    let (_, hash, _) = newswire(&["token", "hash", other]);
    let lines = format!("{JSON}Authorization: Bearer sesame\r\n");
    let body = json!({"sha256": hash.trim()}).to_string();
    let answer = ask(server.admin_address(), "POST", "/revoke", &lines, &body);
    assert_eq!(answer.json(), json!({"revoked": 1}));
    assert_eq!(stays.close_code(), 3000);
    let again = ask(
        server.admin_address(),
        "POST",
        "/revoke",
        &lines,
        &json!({"token": other}).to_string(),
    );
    assert_eq!(again.json(), json!({"revoked": 0}));

    let log = server.log();
    server.stop();
    for secret in [TOKEN, other, "sesame"] {
        assert!(!log.contains(secret), "{log}");
    }
    let (code, _, told) = newswire(&[&["token", "revoke", "x"][..], &with].concat());
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("refused"), "{told}");
    for (arguments, part) in [
        (
            &["token", "revoke", "sha256:12", "--admin", &admin][..],
            "64 hexadecimal digits",
        ),
        (
            &["token", "revoke", "x", "--admin", "https://a/"],
            "needs TLS",
        ),
        (&["token", "revoke", "--admin", &admin], "it is empty"),
    ] {
        let (code, _, told) = newswire(arguments);
        assert_eq!(code, Some(2), "{told}");
        assert!(told.contains(part), "{told}");
    }
}

/// A dashboard's connection.
fn dashboard(server: &Server, query: &str) -> Client {
    let address = server.admin_address();
    Client::on(dial(address), &format!("ws://{address}/ws{query}"))
}

#[test]
fn administrators_hear_how_things_are_and_others_do_not() {
    let server = Server::start(&["--origin", "https://example.com"]);
    let mut ordinary = server.subscriber(&["$sys/stats", "*", "t"]);
    assert_eq!(server.metric("newswire_subscribes_denied_total"), 1.0);
    // Nobody's business costs nothing.
    server.assert_idle();

    let mut admin = dashboard(&server, "");
    admin.subscribe(&["$sys/stats", "t"]);
    let stats = |text: &str| -> Value {
        let data = text.strip_prefix("[8,\"$sys/stats\",").expect("the topic");
        serde_json::from_str(&data[..data.len() - 1]).expect("JSON")
    };
    // Itself and this topic it leaves out; a monitor is told of everything.
    let first = loop {
        let first = stats(&admin.text());
        if first["subscriptions"] == 3 {
            break first;
        }
    };
    assert_eq!(
        (
            &first["connections"],
            &first["topics"],
            &first["deliveries"]
        ),
        (&json!(1), &json!(2), &json!(0)),
        "{first}"
    );
    assert_eq!(server.metric("newswire_connections"), 2.0);
    assert_eq!(server.metric("newswire_subscriptions"), 4.0);
    assert_eq!(server.metric("newswire_topics"), 3.0);
    for key in [
        "memory_bytes",
        "open_files",
        "cpu",
        "uptime_seconds",
        "events_per_second",
    ] {
        assert!(first[key].is_number(), "{key}: {first}");
    }
    server.post("/publish", r#"{"topic":"t","data":1}"#);
    assert_eq!(ordinary.text(), r#"[8,"t",1]"#);
    let mut heard = false;
    let next = loop {
        let text = admin.text();
        if text == r#"[8,"t",1]"# {
            heard = true;
            continue;
        }
        let next = stats(&text);
        if next["events"] == 1 {
            break next;
        }
    };
    assert!(heard, "an administrator may hear everything");
    let topics = next["top_topics"].as_array().expect("topics");
    let names: Vec<_> = topics.iter().map(|topic| &topic["name"]).collect();
    assert_eq!(names, ["t"]);
    assert_eq!(next["deliveries"], 2);
    assert!(next["latency_seconds"]["p50"].is_number(), "{next}");
    assert!(next["turn_seconds"]["max"].is_number(), "{next}");
    assert_eq!(next["http"]["101"], 1);
    // What the server says of itself is no publisher's event.
    assert_eq!(server.metric("newswire_ingested_total"), 1.0);
    let refused = server.post("/publish", r#"{"topic":"$sys/stats","data":1}"#);
    assert_eq!(refused.status, 400, "{refused:?}");
    drop(admin);
    server.wait_for_connections(1);
    server.assert_idle();
    server.stop();
}

#[test]
fn the_last_minutes_are_there_for_a_dashboard_that_comes_later() {
    let server = Server::start(&["--admin-token", TOKEN]);
    let client = server.subscriber(&["t"]);
    let publish = |event: &str| {
        let head = format!("Authorization: Bearer {TOKEN}\r\n{JSON}");
        let answer = ask(server.admin_address(), "POST", "/publish", &head, event);
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    publish(r#"{"topic":"t","data":1}"#);
    publish(r#"{"topic":"nobody","data":1}"#);
    let history = || {
        let head = format!("Authorization: Bearer {TOKEN}\r\n");
        ask(server.admin_address(), "GET", "/history", &head, "").json()
    };
    let sum = |list: &Value| -> f64 {
        let list = list.as_array().expect("a list").iter();
        list.filter_map(Value::as_f64).sum()
    };
    wait_until("the second is over", || {
        sum(&history()["samples"]["events_per_second"]) == 2.0
    });
    drop(client);
    wait_until("another one is over, without the client", || {
        let history = history();
        let connections = history["samples"]["connections"].as_array();
        connections.and_then(|list| list.last()) == Some(&json!(0))
    });
    let history = history();
    let samples = &history["samples"];
    assert_eq!(sum(&samples["events_per_second"]), 2.0);
    assert_eq!(sum(&samples["deliveries_per_second"]), 1.0);
    assert!(
        samples["connections"]
            .as_array()
            .expect("a list")
            .contains(&json!(1))
    );
    assert!(sum(&samples["latency_max"]) > 0.0 && sum(&samples["turn_max"]) > 0.0);
    let drops = samples["dropped_per_minute"].as_array();
    assert_eq!(drops.and_then(|list| list.last()), Some(&json!(1)));
    assert!(history["age_seconds"].as_f64().is_some_and(|age| age < 1.0));
    let meaning = &history["reasons"]["dropped"]["no_subscriber"];
    assert!(
        meaning
            .as_str()
            .is_some_and(|text| text.contains("subscribe")),
        "{meaning}"
    );

    // By whoever comes later and watches.
    let mut admin = dashboard(&server, &format!("?token={TOKEN}"));
    admin.subscribe(&["$sys/stats"]);
    let text = admin.text();
    let data = text.strip_prefix("[8,\"$sys/stats\",").expect("the topic");
    let told: Value = serde_json::from_str(&data[..data.len() - 1]).expect("JSON");
    assert_eq!(
        told["last_ten_minutes"]["dropped"],
        json!({"no_subscriber": 1})
    );
    assert_eq!(told["last_minute"]["dropped"], 1);
    let refused = ask(server.admin_address(), "GET", "/history", "", "");
    assert_eq!(refused.status, 401);
    server.stop();
}

#[test]
fn what_is_kept_of_topics_is_listed_and_counted() {
    let server = Server::start(&[
        "--topic",
        "k\"* history=3 slow=latest",
        "--topic",
        "last last",
    ]);
    let _client = server.subscriber(&["other"]);
    for topic in ["other", "k\"1", "k\"1", "k\"2"] {
        let event = json!({"topic": topic, "data": 1}).to_string();
        server.post("/publish", &event);
    }
    let topics = |query: &str| server.get(&format!("/topics{query}")).json()["topics"].clone();
    let all = topics("");
    let row = |name: &str| {
        let mut rows = all.as_array().expect("rows").iter();
        rows.find(|row| row["name"] == name)
            .expect("it is there")
            .clone()
    };
    assert!(row("other").get("kept").is_none(), "{all}");
    let row = row("k\"1");
    assert_eq!(
        (&row["subscribers"], &row["events"]),
        (&json!(0), &json!(2))
    );
    // An event of one byte, its price and that of its topic: see `limits::KEPT_EVENT_BYTES`.
    let (events, bytes) = (&row["kept"]["events"], &row["kept"]["bytes"]);
    assert_eq!((events, bytes), (&json!(2), &json!(640 + 3 + 2 * 65)));
    assert!(row["kept"]["age_seconds"].as_u64() < Some(60), "{row}");
    let kept = topics("?kept=1");
    let names: BTreeSet<_> = (kept.as_array().expect("rows").iter())
        .filter_map(|row| row["name"].as_str())
        .collect();
    assert_eq!(names, BTreeSet::from(["k\"1", "k\"2"]));

    assert_eq!(server.metric("newswire_history_events"), 3.0);
    assert_eq!(
        server.metric("newswire_history_bytes"),
        f64::from(2 * (640 + 3) + 3 * 65)
    );
    // A rule that closes slow readers drops nothing.
    let metrics = server.get("/metrics").body;
    let dropped: Vec<&str> = (metrics.lines())
        .filter(|line| line.starts_with("newswire_topic_rule_dropped_events_total"))
        .collect();
    assert_eq!(
        dropped,
        [r#"newswire_topic_rule_dropped_events_total{rule="k\"*",policy="latest"} 0"#]
    );
    server.stop();
}

#[test]
fn a_dashboard_with_a_token_loses_it_with_the_token() {
    let base = format!(
        "listen = \"127.0.0.1:0\"\npull = \"tcp://127.0.0.1:*\"\nadmin = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\n"
    );
    let file = File::new(
        "admin-token.toml",
        &format!("{base}admin-token = \"one\"\n"),
    );
    let mut command = kit::newswire();
    command.arg("--config").arg(&file.0);
    let server = Server::launch(command);
    let mut admin = dashboard(&server, "?token=one");
    admin.subscribe(&["$sys/stats"]);
    let client = server.client();

    file.set(&format!("{base}admin-token = \"two\"\n"));
    server.signal("HUP");
    server.wait_for_log("reload: done");
    assert_eq!(admin.close_code(), 3000);
    let again = ask(
        server.admin_address(),
        "GET",
        "/topics",
        "Authorization: Bearer one\r\n",
        "",
    );
    assert_eq!(again.status, 401);
    dashboard(&server, "?token=two").subscribe(&["$sys/stats"]);
    drop(client);
    server.stop();
}

#[test]
fn the_pages_files_are_served() {
    let server = Server::start(&[]);
    let page = server.get("/");
    assert!(
        page.head.contains("Content-Type: text/html; charset=utf-8"),
        "{page:?}"
    );
    assert!(page.head.contains("frame-ancestors 'none'"), "{page:?}");
    assert!(page.body.starts_with("<!doctype html>"), "{page:?}");
    let script = server.get("/newswire.js");
    assert!(
        script.head.contains("Content-Type: text/javascript"),
        "{script:?}"
    );
    assert!(script.body.contains("ab"), "{script:?}");
    server.stop();
}

/// Bytes of somebody who means no good, and what the server makes of them.
#[test]
fn bad_requests_are_told_and_nobody_else_notices() {
    let server = Server::start(&[]);
    let mut witness = Witness::new(&server);
    let address = server.admin_address();
    let one = |bytes: &[u8]| {
        let mut stream = dial(address);
        let _ = stream.write_all(bytes);
        Answer::read(&mut BufReader::new(stream))
    };
    let long = [b"GET / HTTP/1.1\r\nX: ", &[b'x'; 100_000][..], b"\r\n\r\n"].concat();
    let large = format!(
        "POST /publish HTTP/1.1\r\nHost: 127.0.0.1\r\n{JSON}Content-Length: 999999999999\r\n\r\n"
    );
    for (bytes, status) in [
        (&b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"[..], 400),
        (b"\0\0\0\0\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (&long, 431),
        (large.as_bytes(), 413),
        (b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
        (b"TRACE / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 405),
    ] {
        let answer = one(bytes);
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.json()["hint"].is_string(), "{answer:?}");
        witness.check();
    }
    server.stop();
}

/// More than there are places, who say nothing, or begin and do not end.
#[test]
fn a_crowd_keeps_nobody_out() {
    let server = Server::start(&[]);
    let mut witness = Witness::new(&server);
    let mut crowd: Vec<TcpStream> = Vec::new();
    for n in 0..1_000 {
        let mut stream = dial(server.admin_address());
        let _ = match n % 3 {
            0 => Ok(()),
            1 => stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n"),
            _ => stream.write_all(b"POST /publish HTTP/1.1\r\nHost"),
        };
        crowd.push(stream);
        if n % 100 == 0 {
            witness.check();
            assert_eq!(server.get("/healthz").status, 200);
        }
    }
    assert_eq!(server.get("/metrics").status, 200);
    assert!(server.metric("process_open_fds") < 200.0);
    witness.check();
    drop(crowd);
    server.stop();
}

/// Bodies that never end take places for their time, and then newcomers are told so.
#[test]
fn places_that_are_all_in_use_are_said_to_be() {
    let server = Server::start(&[]);
    let mut witness = Witness::new(&server);
    let body = format!(
        "POST /publish HTTP/1.1\r\nHost: 127.0.0.1\r\n{JSON}Content-Length: 100000\r\n\
         Expect: 100-continue\r\n\r\n"
    );
    let mut crowd: Vec<TcpStream> = (0..64)
        .map(|_| {
            let mut stream = dial(server.admin_address());
            stream.write_all(body.as_bytes()).expect("open");
            // From here on it is known to be at work; until its head was read it could have been let go.
            let mut told = [0; 25];
            stream.read_exact(&mut told).expect("is told to go on");
            assert!(told.starts_with(b"HTTP/1.1 100 "));
            stream
        })
        .collect();
    let mut refused = None;
    wait_until("no place is left", || {
        // Whoever sends nothing for some seconds has no claim.
        for stream in &mut crowd {
            stream.write_all(b" ").expect("its place is its own");
        }
        let answer = server.post("/publish", r#"{"topic":"t","data":1}"#);
        refused = Some(answer).filter(|answer| answer.status == 503);
        refused.is_some()
    });
    // What needs no right is answered all the same.
    assert_eq!(server.get("/healthz").status, 200);
    let mut stream = dial(server.admin_address());
    let head = "HEAD /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("open");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("its end");
    let is_bodiless = answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("\r\n\r\n");
    assert!(is_bodiless, "{answer}");
    let refused = refused.expect("it was told");
    let told = refused.json();
    let hint = told["hint"].as_str().expect("a hint");
    assert!(hint.contains("one of the 64 connections"), "{told}");
    assert!(refused.head.contains("Cache-Control: no-store\r\n"));
    witness.check();
    drop(crowd);
    wait_until("there are places", || server.get("/metrics").status == 200);
    server.stop();
}

/// Crowds at both doors, none of which has the administrators' token.
#[test]
fn who_shows_no_right_keeps_nobody_out() {
    let tokens = ["--admin-token", "sesame", "--publish-token", "open"];
    let server = Server::start(&[&["--publish", "127.0.0.1:0"], &tokens[..]].concat());
    let (admin, publish) = (server.admin_address(), server.publish.expect("it is said"));
    let lines = |token: &str| format!("{JSON}Authorization: Bearer {token}\r\n");
    let check = |publishes: bool| {
        for _ in 0..3 {
            assert_eq!(server.get("/healthz").status, 200);
            let metrics = ask(admin, "GET", "/metrics", &lines("sesame"), "");
            assert_eq!(metrics.status, 200);
            if publishes {
                let event = r#"{"topic":"t","data":1}"#;
                let answer = ask(publish, "POST", "/publish", &lines("open"), event);
                assert_eq!(answer.status, 200, "{answer:?}");
            }
        }
    };
    let head = |lines: &str| {
        format!("POST /publish HTTP/1.1\r\nHost: h\r\n{lines}Content-Length: 100000\r\n\r\n")
    };
    let files = "GET /newswire.js HTTP/1.1\r\nHost: h\r\n\r\n".repeat(1_000);
    let refusals = "POST /publish HTTP/1.1\r\nHost: h\r\n\r\n".repeat(1_000);
    let open = head(&lines("open"));
    for (address, request, publishes) in [
        (admin, &files, true),
        (publish, &refusals, true),
        (publish, &head(JSON), true),
        (admin, &open, true),
        // Publishers may keep publishers out, as long as they send.
        (publish, &open, false),
    ] {
        let crowd: Vec<TcpStream> = (0..200)
            .map(|_| {
                let stream = dial(address);
                kit::hostile::narrow(&stream);
                stream.set_nonblocking(true).expect("set");
                let _ = (&stream).write(request.as_bytes());
                stream
            })
            .collect();
        check(publishes);
        drop(crowd);
        wait_until("it is over", || {
            let event = r#"{"topic":"t","data":1}"#;
            ask(publish, "POST", "/publish", &lines("open"), event).status == 200
        });
    }
    server.stop();
}

/// The server has been held up: a crowd, and somebody behind it, have all come when it goes on.
#[test]
fn who_comes_behind_a_crowd_is_not_refused() {
    let server = Server::start(&["--publish", "127.0.0.1:0", "--publish-token", "open"]);
    let (admin, publish) = (server.admin_address(), server.publish.expect("it is said"));
    let files = "GET /newswire.js HTTP/1.1\r\nHost: h\r\n\r\n".repeat(1_000);
    for _ in 0..3 {
        server.signal("STOP");
        let crowd: Vec<TcpStream> = (0..600)
            .map(|n| {
                let stream = dial(if n % 2 == 0 { admin } else { publish });
                kit::hostile::narrow(&stream);
                stream.set_nonblocking(true).expect("set");
                let _ = (&stream).write(files.as_bytes());
                stream
            })
            .collect();
        let mut waiting: Vec<TcpStream> = Vec::new();
        for (address, method, path) in [(admin, "GET", "/healthz"), (publish, "POST", "/publish")] {
            let event = r#"{"topic":"t","data":1}"#;
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{JSON}\
                 Authorization: Bearer open\r\n{}",
                match method {
                    "POST" => format!("Content-Length: {}\r\n\r\n{event}", event.len()),
                    _ => "\r\n".to_owned(),
                }
            );
            let mut stream = dial(address);
            stream.write_all(request.as_bytes()).expect("taken");
            waiting.push(stream);
        }
        server.signal("CONT");
        for stream in waiting {
            let answer = Answer::read(&mut BufReader::new(stream));
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        drop(crowd);
    }
    server.stop();
}

/// Silent connections of one host that come again as soon as they are ended.
#[test]
fn a_publisher_that_takes_its_time_is_not_ended_for_a_crowd() {
    let server = Server::start(&["--publish", "127.0.0.1:0", "--publish-token", "open"]);
    let publish = server.publish.expect("it is said");
    let is_over = AtomicBool::new(false);
    let came = AtomicU64::new(0);
    thread::scope(|scope| {
        let _end = SetOnDrop(&is_over);
        scope.spawn(|| {
            let mut crowd = VecDeque::new();
            while !is_over.load(Ordering::Relaxed) {
                crowd.push_back(kit::hostile::dial(publish, 7));
                came.fetch_add(1, Ordering::Relaxed);
                if crowd.len() > 300 {
                    crowd.pop_front();
                }
            }
        });
        for _ in 0..25 {
            let mut stream = dial(publish);
            // More have come in the meantime than there are places. They come within the time for a request's head,
            // also on a machine that is busy.
            let before = came.load(Ordering::Relaxed);
            wait_until("a crowd came", || {
                came.load(Ordering::Relaxed) > before + 150
            });
            let event = r#"{"topic":"t","data":1}"#;
            let request = format!(
                "POST /publish HTTP/1.1\r\nHost: h\r\n{JSON}Authorization: Bearer open\r\n\
                 Connection: close\r\nContent-Length: {}\r\n\r\n{event}",
                event.len()
            );
            stream.write_all(request.as_bytes()).expect("it is open");
            let answer = Answer::read(&mut BufReader::new(stream));
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    });
    server.stop();
}

#[test]
fn answers_that_nobody_reads_delay_nobody() {
    let server = Server::start(&[]);
    let mut witness = Witness::new(&server);
    let crowd: Vec<TcpStream> = (0..30)
        .map(|_| {
            let mut stream = dial(server.admin_address());
            kit::hostile::narrow(&stream);
            stream.set_nonblocking(true).expect("set");
            let many = "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".repeat(1_000);
            let _ = stream.write(many.as_bytes());
            stream
        })
        .collect();
    for _ in 0..20 {
        witness.check();
    }
    assert_eq!(server.get("/healthz").status, 200);
    server.assert_idle();
    drop(crowd);
    server.stop();
}
