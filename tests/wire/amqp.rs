//! Events from RabbitMQ: a real broker, and a publisher that does exactly what Web Publisher's does.

#![cfg(feature = "amqp")]

use std::process::Command;

use kit::observe::{counted, envelope};
use kit::rabbitmq::RabbitMq;
use kit::{QUIET, Server, binary, wait_until};
use serde_json::{Value, json};

/// Web Publisher's exchange.
const EXCHANGE: &str = "swp_websocket_exchange";

const TOPIC: &str = "package_created";

/// A server that takes events from `broker` and from nowhere else, with `options`.
fn serve(broker: &RabbitMq, options: &[&str]) -> Server {
    serve_at(&broker.url(), options)
}

fn serve_at(url: &str, options: &[&str]) -> Server {
    let mut command = Command::new(binary());
    command.env("NEWSWIRE_AMQP", url);
    Server::start_with(command, &[QUIET, options].concat())
}

fn bodies(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|n| envelope(TOPIC, &n.to_string())).collect()
}

fn expected(n: u32) -> String {
    format!("[8,\"{TOPIC}\",{n}]")
}

/// The source as `/readyz` shows it.
fn source(server: &Server) -> Value {
    let body = server.get("/readyz").json();
    let sources = body["sources"].as_array().expect("a list").clone();
    let mut amqp = sources
        .into_iter()
        .filter(|source| source["kind"] == "amqp");
    amqp.next().expect("there is one")
}

fn wait_until_connected(server: &Server, connects: u64) {
    wait_until("newswire is connected", || {
        let source = source(server);
        source["connected"] == true && source["connects"] == connects
    });
}

#[test]
#[ignore = "needs RabbitMQ, and Python with pika"]
fn amqp_web_publisher_needs_nothing_but_the_url() {
    let broker = RabbitMq::start();
    let mut publisher = broker.client();

    // The publisher declares the exchange at its first push, here before newswire is there.
    publisher.order(&json!({"do": "declare_exchange", "exchange": EXCHANGE}));
    let server = serve(&broker, &[]);
    let mut client = server.subscriber(&[TOPIC]);
    wait_until_connected(&server, 1);
    publisher.publish(EXCHANGE, &bodies(0..1_000));
    for n in 0..1_000 {
        assert_eq!(client.text(), expected(n));
    }

    // The heartbeat, in seconds. The broker would do with 60.
    let heartbeats = broker.ctl(&["-q", "list_connections", "timeout"]);
    assert!(heartbeats.lines().any(|line| line == "15"), "{heartbeats}");

    // A second newswire has a queue of its own: both get everything.
    let second = serve(&broker, &["--amqp-exchange", EXCHANGE]);
    let mut other = second.subscriber(&[TOPIC]);
    wait_until_connected(&second, 1);
    publisher.publish(EXCHANGE, &bodies(7..9));
    for n in 7..9 {
        assert_eq!(client.text(), expected(n));
        assert_eq!(other.text(), expected(n));
    }
    drop(second);

    // What is no event is rejected, counted and not seen again.
    publisher.publish(EXCHANGE, &["{".to_owned(), String::new()]);
    publisher.publish(EXCHANGE, &bodies(9..10));
    assert_eq!(client.text(), expected(9));

    // Somebody deletes the exchange: newswire declares and binds it again by itself, at the latest at its next look.
    publisher.order(&json!({"do": "delete_exchange", "exchange": EXCHANGE}));
    wait_until("the exchange is there again", || {
        publisher.order(&json!({"do": "declare_exchange", "exchange": EXCHANGE}));
        publisher.publish(EXCHANGE, &bodies(10..11));
        server.metric("newswire_events_total{ingest=\"amqp\"}") > 1_003.0
    });
    assert_eq!(client.text(), expected(10));

    let summary = server.stop();
    assert_eq!(counted(&summary, "source_gaps"), 0, "{summary}");
    assert!(summary.contains("empty 1, bad_json 1"), "{summary}");
}

#[test]
#[ignore = "needs RabbitMQ, and Python with pika"]
fn amqp_newswire_comes_back_to_a_broker_that_went() {
    let mut broker = RabbitMq::prepare();
    // A broker that is not there is no error.
    let server = serve(&broker, &[]);
    let mut client = server.subscriber(&[TOPIC]);
    server.wait_for_log("is not connected");
    assert_eq!(source(&server)["connected"], false);
    broker.resume();
    wait_until_connected(&server, 1);
    broker.client().publish(EXCHANGE, &bodies(0..1));
    assert_eq!(client.text(), expected(0));

    broker.kill();
    wait_until("newswire sees it", || source(&server)["connected"] == false);
    broker.resume();
    wait_until_connected(&server, 2);
    broker.client().publish(EXCHANGE, &bodies(1..2));
    assert_eq!(client.text(), expected(1));
    let summary = server.stop();
    assert_eq!(counted(&summary, "source_gaps"), 1, "{summary}");
}

#[test]
#[ignore = "needs RabbitMQ, and Python with pika"]
fn amqp_a_durable_queue_loses_nothing() {
    const QUEUE: &str = "newswire";
    let broker = RabbitMq::start();
    let mut publisher = broker.client();
    let options = ["--amqp-queue", QUEUE];

    let server = serve(&broker, &options);
    wait_until_connected(&server, 1);
    server.stop();
    // newswire is away.
    publisher.publish(EXCHANGE, &bodies(0..500));
    let server = serve(&broker, &options);
    wait_until("newswire has what was kept", || {
        server.metric(r#"newswire_events_total{ingest="amqp"}"#) == 500.0
    });
    let mut client = server.subscriber(&[TOPIC]);
    publisher.publish(EXCHANGE, &bodies(500..501));
    assert_eq!(client.text(), expected(500));
    let summary = server.stop();
    assert_eq!(counted(&summary, "events"), 501, "{summary}");
    // Everything was acknowledged before the end.
    let count = publisher.order(&json!({"do": "count", "queue": QUEUE}));
    assert_eq!(count, 0);

    // Somebody deletes the queue under newswire: it comes back by itself.
    let server = serve(&broker, &options);
    let mut client = server.subscriber(&[TOPIC]);
    wait_until_connected(&server, 1);
    publisher.order(&json!({"do": "delete_queue", "queue": QUEUE}));
    wait_until_connected(&server, 2);
    publisher.publish(EXCHANGE, &bodies(0..3));
    for n in 0..3 {
        assert_eq!(client.text(), expected(n));
    }
    server.stop();

    // A queue of another kind is taken as it is.
    let quorum = json!({"x-queue-type": "quorum"});
    publisher.order(&json!({"do": "declare_queue", "queue": "quorum", "arguments": quorum}));
    let server = serve(&broker, &["--amqp-queue", "quorum"]);
    let mut client = server.subscriber(&[TOPIC]);
    wait_until_connected(&server, 1);
    publisher.publish(EXCHANGE, &bodies(5..6));
    assert_eq!(client.text(), expected(5));
}

#[test]
#[ignore = "needs RabbitMQ, and Python with pika"]
fn amqp_a_refusal_says_what_was_asked_for_and_what_changes_it() {
    let broker = RabbitMq::start();
    let mut publisher = broker.client();
    publisher.order(&json!({"do": "declare_exchange", "exchange": "fan", "type": "fanout"}));
    broker.ctl(&["add_user", "reader", "secret"]);
    broker.ctl(&["set_permissions", "reader", "^$", "^$", ".*"]);
    let address = broker.address;
    for (url, options, parts) in [
        (
            format!("amqp://guest:sesame@{address}"),
            &[][..],
            &["logged in as `guest`", "password"][..],
        ),
        (
            format!("amqp://{address}/nowhere"),
            &[],
            &["virtual host `nowhere`"],
        ),
        (
            format!("amqp://{address}"),
            &["--amqp-exchange", "fan"],
            &["`fan`", "type direct", "amqp-exchange-type"],
        ),
        (
            format!("amqp://reader:secret@{address}"),
            &["--amqp-exchange", "fan"],
            &["a queue of its own", "configure"],
        ),
    ] {
        let server = serve_at(&url, options);
        server.wait_for_log("is not connected");
        let log = server.log();
        for part in parts {
            assert!(log.contains(part), "{part}: {log}");
        }
        assert!(!log.contains("sesame") && !log.contains("secret"), "{log}");
        let trouble = source(&server)["trouble"]
            .as_str()
            .expect("a text")
            .to_owned();
        assert!(trouble.contains(parts[0]), "{trouble}");
    }
    // superdesk-core's own.
    let options = [
        "--amqp-exchange",
        "fan",
        "--amqp-exchange-type",
        "fanout",
        "--topic-field",
        "event",
    ];
    let server = serve(&broker, &options);
    let mut client = server.subscriber(&["ingest:update"]);
    wait_until_connected(&server, 1);
    let body = r#"{"event":"ingest:update","extra":{"n":1}}"#;
    publisher.publish("fan", &[body.to_owned()]);
    assert_eq!(client.text(), format!("[8,\"ingest:update\",{body}]"));
}

#[test]
#[ignore = "needs RabbitMQ, and Python with pika"]
fn amqp_while_clients_are_slow_the_broker_keeps_the_messages() {
    const QUEUE: &str = "kept";
    let broker = RabbitMq::start();
    let mut publisher = broker.client();
    let options = [
        "--amqp-queue",
        QUEUE,
        "--outboxes-bytes-max",
        "8M",
        "--outbox-bytes-max",
        "4M",
    ];
    let server = serve(&broker, &options);
    wait_until_connected(&server, 1);
    // Nobody is subscribed: the events pass.
    publisher.publish(EXCHANGE, &bodies(0..2_000));
    wait_until("all are acknowledged", || {
        publisher.order(&json!({"do": "count", "queue": QUEUE})) == 0
    });
    let summary = server.stop();
    assert_eq!(counted(&summary, "events"), 2_000, "{summary}");
}

#[test]
#[ignore = "needs RabbitMQ, and Python with pika"]
fn amqp_newswires_own_publisher_hears_of_every_failure() {
    let broker = RabbitMq::start();
    let publish = |url: &str| {
        let mut command = Command::new(binary());
        command.args(["publish", "--to", url, TOPIC, "1"]);
        let output = command.output().expect("it runs");
        let told = String::from_utf8(output.stderr).expect("text");
        (output.status.code(), told)
    };
    let (code, told) = publish(&broker.url());
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("no queue is bound"), "{told}");
    let (code, told) = publish(&format!("amqp://guest:sesame@{}", broker.address));
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("logged in") && !told.contains("sesame"),
        "{told}"
    );
    let server = serve(&broker, &[]);
    let mut client = server.subscriber(&[TOPIC]);
    wait_until_connected(&server, 1);
    let (code, told) = publish(&broker.url());
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(client.text(), expected(1));
}
