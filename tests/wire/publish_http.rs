//! Events by HTTP: what the server answers, which clients receive them, and what it refuses.

use std::io::{BufReader, Write};
use std::process::Command;

use kit::web::{Answer, ask, dial};
use kit::{Server, output_of};
use newswire::wire::id::EventId;
use serde_json::{Value, json};

const LINES: &str = "Content-Type: application/x-ndjson\r\n";

/// The answer to a publication, without the ids of its events: there has to be one for each event, each behind the other.
fn without_ids(answer: &Answer) -> Value {
    let mut body = answer.json();
    let object = body.as_object_mut().expect("an object");
    let one = object.remove("id").map(|id| vec![id]);
    let ids = one.or_else(|| object.remove("ids")?.as_array().cloned());
    let ids = ids.expect("ids of the events");
    assert_eq!(
        ids.len() as u64,
        object
            .get("events")
            .map_or(1, |n| n.as_u64().expect("a number"))
    );
    let sequences: Vec<u64> = ids
        .iter()
        .map(|id| {
            let id = EventId::parse(id.as_str().expect("text").as_bytes());
            id.expect("an id").sequence
        })
        .collect();
    assert!(sequences.is_sorted_by(|a, b| a + 1 == *b), "{sequences:?}");
    body
}

#[test]
fn one_event_an_array_and_lines() {
    let server = Server::start(&[]);
    let mut client = server.subscriber(&["a", "b", "c"]);
    let mut other = server.subscriber(&["a"]);

    let answer = server.post(
        "/publish",
        r#"{"topic":"a","data":{"n": 1.50,"u":"\u00e9\/"}}"#,
    );
    assert_eq!(
        (answer.status, without_ids(&answer)),
        (200, json!({"subscribers": 2}))
    );
    let expected = r#"[8,"a",{"n": 1.50,"u":"\u00e9\/"}]"#;
    assert_eq!(
        (client.text(), other.text()),
        (expected.into(), expected.into())
    );

    let answer = server.post("/publish", r#"{"category":"c","title":"x"}"#);
    assert_eq!(without_ids(&answer), json!({"subscribers": 1}));
    assert_eq!(client.text(), r#"[8,"c",{"category":"c","title":"x"}]"#);

    let answer = server.post("/publish", r#"{"topic":"nobody","data":1}"#);
    assert_eq!(
        (answer.status, without_ids(&answer)),
        (200, json!({"subscribers": 0}))
    );

    let batch = r#"[{"topic":"a","data":1},{"topic":"nobody","data":2},{"topic":"b","data":3}]"#;
    let answer = server.post("/publish", batch);
    assert_eq!(
        without_ids(&answer),
        json!({"events": 3, "subscribers": [2, 0, 1]})
    );
    assert_eq!(
        (client.text(), client.text()),
        ("[8,\"a\",1]".into(), "[8,\"b\",3]".into())
    );

    let lines = "{\"topic\":\"b\",\"data\":4}\r\n\n{\"topic\":\"c\",\"data\":5}";
    let answer = ask(server.admin_address(), "POST", "/publish", LINES, lines);
    assert_eq!(
        without_ids(&answer),
        json!({"events": 2, "subscribers": [1, 1]})
    );
    assert_eq!(
        (client.text(), client.text()),
        ("[8,\"b\",4]".into(), "[8,\"c\",5]".into())
    );

    assert_eq!(server.metric("newswire_events_total{ingest=\"http\"}"), 8.0);
    assert_eq!(server.metric("newswire_events_total{ingest=\"pull\"}"), 0.0);
    assert_eq!(
        server.metric("newswire_dropped_total{reason=\"no_subscriber\"}"),
        2.0
    );
    server.stop_and_balance();
}

#[test]
fn of_a_bad_batch_nothing_is_published() {
    let server = Server::start(&[]);
    let mut client = server.subscriber(&["a"]);
    for (body, lines, status, error, at) in [
        (
            r#"[{"topic":"a","data":1},{"topic":"a"}]"#,
            "Content-Type: application/json\r\n",
            400,
            "the event at index 1 names no topic, or has a topic and no data",
            ("index", json!(1)),
        ),
        (
            "{\"topic\":\"a\",\"data\":1}\n{\"topic\":\"a\",\"data\":}\n",
            LINES,
            400,
            "line 2 is not JSON: expected value at column 21",
            ("line", json!(2)),
        ),
        (
            "[1",
            "Content-Type: application/json\r\n",
            400,
            "the body is not JSON: EOF while parsing a list at line 1 column 2",
            ("line", json!(null)),
        ),
        (
            "",
            LINES,
            400,
            "the body has no event in it",
            ("line", json!(null)),
        ),
    ] {
        let answer = ask(server.admin_address(), "POST", "/publish", lines, body);
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (status, &json!(error))
        );
        assert_eq!(answer.json()[at.0], at.1, "{answer:?}");
    }
    server.post("/publish", r#"{"topic":"a","data":"last"}"#);
    assert_eq!(client.text(), r#"[8,"a","last"]"#, "and nothing before it");
    let books = server.stop_and_balance();
    for (name, count) in [
        ("ingested", 5),
        ("events", 1),
        ("events.http", 1),
        ("dropped.no_topic", 1),
        ("dropped.bad_json", 2),
        ("dropped.empty", 1),
        ("http.400", 4),
    ] {
        assert_eq!(
            kit::hostile::entry(&books, name),
            count,
            "{name}: {books:?}"
        );
    }
}

#[test]
fn a_listener_of_its_own_takes_events_and_nothing_else() {
    let server = Server::start(&["--publish", "127.0.0.1:0", "--publish-token", "sesame"]);
    let address = server.publish.expect("it is said");
    let mut client = server.subscriber(&["t"]);
    let event = r#"{"topic":"t","data":1}"#;
    let json = "Content-Type: application/json\r\n";
    let good = format!("{json}Authorization: Bearer sesame\r\n");
    let wrong = format!("{json}Authorization: Bearer sesam\r\n");
    let post = |lines: &str| ask(address, "POST", "/publish", lines, event);
    assert_eq!(post(json).status, 401);
    assert_eq!(post(&wrong).status, 401);
    assert_eq!(without_ids(&post(&good)), json!({"subscribers": 1}));
    assert_eq!(client.text(), r#"[8,"t",1]"#);
    for path in ["/", "/metrics", "/healthz", "/connections"] {
        assert_eq!(ask(address, "GET", path, &good, "").status, 404, "{path}");
    }
    assert_eq!(ask(address, "GET", "/publish", &good, "").status, 405);
    // Whoever may use the admin listener may publish there, with or without it.
    assert_eq!(server.post("/publish", event).status, 200);
    assert_eq!(
        ask(server.admin_address(), "POST", "/publish", &good, event).status,
        200
    );
    let log = server.log();
    server.stop();
    assert!(!log.contains("sesam"), "{log}");
}

#[test]
fn large_events_come_whole_and_too_large_ones_are_told() {
    let server = Server::start(&["--event-bytes-max", "1MiB"]);
    let mut client = server.subscriber(&["t"]);
    let data = format!("\"{}\"", "x".repeat(1_000_000));
    let event = format!("{{\"topic\":\"t\",\"data\":{data}}}");
    let lines = "Content-Type: application/json\r\nExpect: 100-continue\r\n";
    let mut stream = BufReader::new(dial(server.admin_address()));
    let head = format!(
        "POST /publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n{lines}\r\n",
        event.len()
    );
    stream.get_mut().write_all(head.as_bytes()).expect("open");
    assert_eq!(Answer::read(&mut stream).status, 100);
    stream.get_mut().write_all(event.as_bytes()).expect("open");
    assert_eq!(
        without_ids(&Answer::read(&mut stream)),
        json!({"subscribers": 1})
    );
    assert_eq!(client.text(), format!("[8,\"t\",{data}]"));

    let over = format!("{{\"topic\":\"t\",\"data\":\"{}\"}}", "x".repeat(1 << 20));
    let answer = server.post("/publish", &over);
    assert_eq!(answer.status, 413, "{answer:?}");
    let answer = server.post("/publish", &"x".repeat(2 << 20));
    assert_eq!(answer.status, 413, "{answer:?}");
    let books = server.stop_and_balance();
    // The body of the second was never read, so nobody knows what it was.
    assert_eq!(kit::hostile::entry(&books, "dropped.too_large"), 1);
}

/// Many at once, with more than a turn takes in, in their order for each publisher.
#[test]
fn a_flood_is_taken_in_as_there_is_room() {
    let server = Server::start(&["--outbox-bytes-max", "64MiB"]);
    let mut client = server.subscriber(&["t"]);
    let address = server.admin_address();
    let publishers: Vec<_> = (0..8)
        .map(|publisher| {
            std::thread::spawn(move || {
                let mut stream = BufReader::new(dial(address));
                for n in 0..20 {
                    let pad = "x".repeat(500_000);
                    let event =
                        format!("{{\"topic\":\"t\",\"data\":[{publisher},{n},\"{pad}\"]}}");
                    let head = format!(
                        "POST /publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
                         Content-Length: {}\r\n\r\n{event}",
                        event.len()
                    );
                    stream.get_mut().write_all(head.as_bytes()).expect("open");
                    assert_eq!(without_ids(&Answer::read(&mut stream)), json!({"subscribers": 1}));
                }
            })
        })
        .collect();
    let mut next = [0; 8];
    for _ in 0..160 {
        let text = client.text();
        let text = text.strip_prefix("[8,\"t\",[").expect("an event");
        let (publisher, rest) = text.split_once(',').expect("two numbers");
        let (n, _) = rest.split_once(',').expect("two numbers");
        let next = &mut next[publisher.parse::<usize>().expect("a number")];
        assert_eq!(n.parse(), Ok(*next));
        *next += 1;
    }
    for publisher in publishers {
        publisher.join().expect("it is served");
    }
    server.stop();
}

/// A server without ZeroMQ; nothing is filled in.
fn without_zeromq(options: &[&str]) -> Command {
    let mut command = kit::newswire();
    command.args(["--listen", "127.0.0.1:0", "--pull", "off"]);
    command.args(["--token", kit::TOKEN]).args(options);
    command
}

#[test]
fn it_runs_without_zeromq() {
    let publish = ["--publish", "127.0.0.1:0", "--publish-token", "sesame"];
    for others in [&[][..], &publish] {
        let options = [&["--admin", "127.0.0.1:0"], others].concat();
        let server = Server::launch(without_zeromq(&options));
        assert_eq!(server.get("/readyz").status, 200);
        let mut client = server.subscriber(&["t"]);
        let answer = server.post("/publish", r#"{"topic":"t","data":1}"#);
        assert_eq!(without_ids(&answer), json!({"subscribers": 1}));
        assert_eq!(client.text(), "[8,\"t\",1]");
        server.stop();
    }
    let output = output_of(without_zeromq(&["--admin", "off"]));
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("no event could ever come in"), "{told}");
}
