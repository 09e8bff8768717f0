//! Events from NATS: a real server, and a publisher that writes the protocol's lines itself.

#![cfg(feature = "nats")]

use std::process::Command;

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};
use kit::certificate::Certified;
use kit::nats::{NatsPublisher, NatsServer};
use kit::observe::{counted, envelope, publish_all};
use kit::scratch::File;
use kit::{QUIET, Server, command_without_token, newswire, output_of, wait_until};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};

/// A server that takes events from `url`, with `options`.
fn serve(url: &str, options: &[&str]) -> Server {
    let mut command = newswire();
    command.env("NEWSWIRE_NATS", url);
    Server::start_with(command, &[QUIET, options].concat())
}

/// The source as `/readyz` shows it.
fn source(server: &Server) -> Value {
    let body = server.get("/readyz").json();
    let sources = body["sources"].as_array().expect("a list").clone();
    let mut nats = sources
        .into_iter()
        .filter(|source| source["kind"] == "nats");
    nats.next().expect("there is one")
}

fn wait_until_connected(server: &Server, connects: u64) {
    wait_until("newswire is connected", || {
        let source = source(server);
        source["connected"] == true && source["connects"] == connects
    });
}

#[test]
#[ignore = "needs nats-server"]
fn nats_a_server_is_asked_for_what_clients_want_and_for_nothing_else() {
    let broker = NatsServer::start("");
    let mut publisher = broker.publisher();
    let server = serve(
        &broker.url(),
        &["--event-bytes-max", "1000", "--outbox-bytes-max", "1M"],
    );
    wait_until_connected(&server, 1);
    broker.wait_for_subjects(&[]);
    assert_eq!(source(&server)["asks_for"], "topics");

    let mut client = server.subscriber(&["a", "b.c"]);
    broker.wait_for_subjects(&["newswire.a", "newswire.b.c"]);
    let mut other = server.subscriber(&["a"]);
    for n in 0..1_000 {
        publisher.push("newswire.a", n.to_string());
    }
    for n in 0..1_000 {
        assert_eq!(client.text(), format!("[8,\"a\",{n}]"));
        assert_eq!(other.text(), format!("[8,\"a\",{n}]"));
    }
    // Subjects that nobody wants, and those of others, do not come.
    for subject in ["newswire.b", "newswire.b.c.d", "a", "other.a"] {
        publisher.publish(subject, "0");
    }
    // What is no event is counted.
    publisher.publish("newswire.a", "{");
    publisher.publish("newswire.a", "");
    publisher.publish("newswire.a", format!("\"{}\"", "x".repeat(2_000)));
    publisher.publish("newswire.b.c", "{\"n\": 1}");
    assert_eq!(client.text(), "[8,\"b.c\",{\"n\": 1}]");

    drop(client);
    // The last subscriber has left one of them.
    broker.wait_for_subjects(&["newswire.a"]);
    publisher.publish("newswire.a", "7");
    assert_eq!(other.text(), "[8,\"a\",7]");
    let summary = server.stop();
    assert_eq!(counted(&summary, "events.nats"), 1_002, "{summary}");
    assert_eq!(counted(&summary, "dropped.bad_json"), 2, "{summary}");
    assert_eq!(counted(&summary, "dropped.too_large"), 1, "{summary}");
    assert_eq!(counted(&summary, "dropped.no_subscriber"), 0, "{summary}");
    assert_eq!(counted(&summary, "source_gaps"), 0, "{summary}");
    broker.wait_for_subjects(&[]);
}

#[test]
#[ignore = "needs nats-server"]
fn nats_newswire_comes_back_to_a_server_that_went() {
    let mut broker = NatsServer::prepare("");
    // A server that is not there is no error.
    let server = serve(&broker.url(), &[]);
    let mut client = server.subscriber(&["t"]);
    server.wait_for_log("is not connected");
    assert_eq!(source(&server)["connected"], false);
    broker.resume();
    wait_until_connected(&server, 1);
    broker.wait_for_subjects(&["newswire.t"]);
    broker.publisher().publish("newswire.t", "0");
    assert_eq!(client.text(), "[8,\"t\",0]");

    broker.kill();
    wait_until("newswire sees it", || source(&server)["connected"] == false);
    client.subscribe(&["u"]);
    client.settle();
    broker.resume();
    wait_until_connected(&server, 2);
    broker.wait_for_subjects(&["newswire.t", "newswire.u"]);
    broker.publisher().publish("newswire.u", "1");
    assert_eq!(client.text(), "[8,\"u\",1]");
    let summary = server.stop();
    assert_eq!(counted(&summary, "source_gaps"), 1, "{summary}");
}

#[test]
#[ignore = "needs nats-server"]
fn nats_a_refusal_says_what_was_asked_for_and_what_changes_it() {
    let token = NatsServer::start("authorization { token: \"open sesame\" }");
    let user = NatsServer::start(
        "authorization { users: [{ user: reader, password: secret, permissions: { subscribe: \"newswire.a\" } }] }",
    );
    let (at_token, at_user) = (token.port.address, user.port.address);
    for (url, parts) in [
        (
            format!("nats://{at_token}"),
            ["without a name", "nats-credentials"],
        ),
        (
            format!("nats://simsalabim@{at_token}"),
            ["with a token", "URL of nats"],
        ),
        (
            format!("nats://reader:simsalabim@{at_user}"),
            ["as the user `reader`", "URL of nats"],
        ),
        (format!("tls://{at_user}"), ["offers no TLS", "nats://"]),
    ] {
        let server = serve(&url, &[]);
        server.wait_for_log("is not connected");
        let log = server.log();
        for part in parts {
            assert!(log.contains(part), "{part}: {log}");
        }
        assert!(!log.contains("simsalabim"), "{log}");
        let trouble = source(&server)["trouble"].to_string();
        assert!(trouble.contains(parts[0]), "{trouble}");
    }

    let server = serve(&format!("nats://open%20sesame@{at_token}"), &[]);
    let mut client = server.subscriber(&["t"]);
    token.wait_for_subjects(&["newswire.t"]);
    NatsPublisher::connect(&token, "{\"verbose\":false,\"auth_token\":\"open sesame\"}")
        .publish("newswire.t", "1");
    assert_eq!(client.text(), "[8,\"t\",1]");

    // A topic that the user may not read is said; others come.
    let server = serve(&format!("nats://reader:secret@{at_user}"), &[]);
    let mut client = server.subscriber(&["b", "a"]);
    user.wait_for_subjects(&["newswire.a"]);
    server.wait_for_log("refuses a subscription");
    NatsPublisher::connect(
        &user,
        "{\"verbose\":false,\"user\":\"reader\",\"pass\":\"secret\"}",
    )
    .publish("newswire.a", "1");
    assert_eq!(client.text(), "[8,\"a\",1]");
    assert!(!server.log().contains("secret"));
    let summary = server.stop();
    assert_eq!(counted(&summary, "source_gaps"), 0, "{summary}");
}

#[test]
#[ignore = "needs nats-server"]
fn nats_a_server_with_tls_is_believed_by_its_authority_alone() {
    let certified = Certified::new("localhost");
    let authority = File::new("authority.pem", &certified.authority);
    let certificate = File::new("certificate.pem", &certified.certificate.pem());
    let key = File::new("key.pem", &certified.key.serialize_pem());
    let broker = NatsServer::start(&format!(
        "tls {{ cert_file: {:?}, key_file: {:?} }}",
        certificate.path(),
        key.path()
    ));
    let port = broker.port.address.port();

    let trusting = ["--broker-ca", authority.path()];
    // A server that speaks TLS with everybody does it with those who ask for nothing, too.
    for scheme in ["tls", "nats"] {
        let server = serve(&format!("{scheme}://localhost:{port}"), &trusting);
        let mut client = server.subscriber(&["t"]);
        broker.wait_for_subjects(&["newswire.t"]);
        let mut publish = newswire();
        publish
            .args([
                "publish",
                "--to",
                &format!("{scheme}://localhost:{port}"),
                "t",
                "1",
            ])
            .env("NEWSWIRE_BROKER_CA", authority.path());
        let output = output_of(publish);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(client.text(), "[8,\"t\",1]");
        server.stop();
        broker.wait_for_subjects(&[]);
    }

    let options: [(&str, &[&str]); 2] = [("localhost", &[]), ("127.0.0.1", &trusting)];
    for (host, options) in options {
        let server = serve(&format!("tls://{host}:{port}"), options);
        server.wait_for_log("is not connected");
        let log = server.log();
        assert!(
            log.contains("TLS with the server failed") && log.contains("broker-ca"),
            "{log}"
        );
    }
}

/// A key of NATS.
struct Nkey {
    pair: Ed25519KeyPair,
    kind: u8,
    seed: [u8; 32],
}

impl Nkey {
    /// One of a kind: 14 is an operator's, 0 an account's, 20 a user's.
    fn new(kind: u8) -> Self {
        let seed = [kind + 1; 32];
        Self {
            pair: Ed25519KeyPair::from_seed_unchecked(&seed).expect("a seed"),
            kind: kind << 3,
            seed,
        }
    }

    fn public(&self) -> String {
        written(&[&[self.kind], self.pair.public_key().as_ref()].concat())
    }

    fn seed(&self) -> String {
        let kind = [(18 << 3) | (self.kind >> 5), (self.kind & 31) << 3];
        written(&[&kind[..], &self.seed].concat())
    }

    /// A JWT about `subject`, signed by this key.
    fn sign(&self, subject: &Self, about: &Value) -> String {
        let head = json!({"typ": "JWT", "alg": "ed25519-nkey"}).to_string();
        let claims = json!({
            "jti": "a", "iat": 1, "iss": self.public(), "sub": subject.public(), "name": "a", "nats": about,
        });
        let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
        let signed = format!("{}.{}", encode(&head), encode(&claims.to_string()));
        let signature = self.pair.sign(signed.as_bytes());
        format!("{signed}.{}", BASE64URL_NOPAD.encode(signature.as_ref()))
    }
}

/// Bytes and their CRC-16/XMODEM, as NATS writes keys.
fn written(bytes: &[u8]) -> String {
    let mut crc = 0_u16;
    for &byte in bytes {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            crc = (crc << 1) ^ (if crc >> 15 == 1 { 0x1021 } else { 0 });
        }
    }
    BASE32_NOPAD.encode(&[bytes, &crc.to_le_bytes()].concat())
}

#[test]
#[ignore = "needs nats-server"]
fn nats_a_user_with_credentials_is_let_in() {
    let (operator, account, user) = (Nkey::new(14), Nkey::new(0), Nkey::new(20));
    let of_operator = operator.sign(&operator, &json!({"type": "operator", "version": 2}));
    let of_account = operator.sign(
        &account,
        &json!({"type": "account", "version": 2, "limits": {
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1,
            "leaf": -1,
        }}),
    );
    let of_user = account.sign(
        &user,
        &json!({"type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1}),
    );
    let broker = NatsServer::start(&format!(
        "operator: {of_operator}\nresolver: MEMORY\nresolver_preload: {{ {}: {of_account} }}",
        account.public()
    ));
    let credentials = |seed: &str| {
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        File::new("user.creds", &text)
    };
    let file = credentials(&user.seed());
    let server = serve(&broker.url(), &["--nats-credentials", file.path()]);
    let mut client = server.subscriber(&["t"]);
    wait_until_connected(&server, 1);
    broker.wait_for_subjects(&["newswire.t"]);
    let mut publish = newswire();
    publish
        .args(["publish", "--to", &broker.url(), "t", "1"])
        .env("NEWSWIRE_NATS_CREDENTIALS", file.path());
    let output = output_of(publish);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(client.text(), "[8,\"t\",1]");

    // The key of another user.
    let mut other = Nkey::new(20);
    other.seed = [99; 32];
    let file = credentials(&other.seed());
    let server = serve(&broker.url(), &["--nats-credentials", file.path()]);
    server.wait_for_log("is not connected");
    let log = server.log();
    assert!(log.contains("nats-credentials names another file"), "{log}");

    // A file that is none ends newswire at the start.
    let bad = credentials("SUsesame");
    let nats = ["--nats", &broker.url(), "--nats-credentials", bad.path()];
    let output = output_of(command_without_token(&nats));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && told.contains("nats-credentials ("),
        "{told}"
    );
    assert!(!told.contains("sesame"), "{told}");
}

#[test]
#[ignore = "needs nats-server"]
fn nats_a_topic_that_no_subject_carries_comes_from_other_sources() {
    let broker = NatsServer::start("");
    let server = serve(&broker.url(), &["--nats-prefix", ""]);
    wait_until_connected(&server, 1);
    let topics = ["a b", "a*", "x..y", "good"];
    let mut client = server.subscriber(&topics);
    broker.wait_for_subjects(&["good"]);
    wait_until("they are counted", || {
        server.metric("newswire_topics_not_carried_total") == 3.0
    });
    // The thread of the source counts first, and then logs.
    server.wait_for_log("cannot be asked for topic=");
    publish_all(&server.pull, topics.map(|topic| envelope(topic, "1")));
    for topic in topics {
        assert_eq!(client.text(), format!("[8,\"{topic}\",1]"));
    }
    broker.publisher().publish("good", "2");
    assert_eq!(client.text(), "[8,\"good\",2]");
    let log = server.log();
    assert_eq!(
        log.matches("cannot be asked for topic=").count(),
        1,
        "{log}"
    );
}

#[test]
#[ignore = "needs nats-server"]
fn nats_beyond_a_bound_a_server_is_asked_for_everything() {
    const TOPICS: usize = 10_001;
    let broker = NatsServer::start("");
    let mut publisher = broker.publisher();
    let server = serve(&broker.url(), &["--subscriptions-max", "20000"]);
    wait_until_connected(&server, 1);
    let names: Vec<String> = (0..TOPICS).map(|n| format!("t{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut client = server.subscriber(&names[..2]);
    broker.wait_for_subjects(&["newswire.t0", "newswire.t1"]);
    client.subscribe(&names[2..]);
    client.settle();
    // Whatever is subscribed to on the way, each event comes once.
    let mut n = 0;
    wait_until("single topics are given up", || {
        publisher.publish("newswire.t1", n.to_string());
        assert_eq!(client.text(), format!("[8,\"t1\",{n}]"));
        n += 1;
        broker.subscriptions() == 1
    });
    broker.wait_for_subjects(&["newswire.>"]);
    assert_eq!(source(&server)["asks_for"], "everything");
    publisher.publish("newswire.t10000", "1");
    assert_eq!(client.text(), "[8,\"t10000\",1]");
    publisher.publish("newswire.unknown", "1");
    wait_until("newswire drops what nobody wants", || {
        server.metric(r#"newswire_dropped_total{reason="filtered"}"#) == 1.0
    });
    let summary = server.stop();
    assert_eq!(counted(&summary, "events.nats"), n + 2, "{summary}");
}

#[test]
#[ignore = "needs nats-server"]
fn nats_a_server_that_refuses_everything_is_asked_for_single_topics() {
    const TOPICS: usize = 10_001;
    let names: Vec<String> = (0..TOPICS).map(|n| format!("t{n}")).collect();
    let allowed: Vec<String> = names
        .iter()
        .map(|name| format!("newswire.{name}"))
        .collect();
    let mut broker = NatsServer::prepare(&format!(
        "authorization {{ users: [ \
         {{ user: reader, password: secret, permissions: {{ subscribe: {} }} }}, {{ user: writer, password: secret }} ] }}",
        json!(allowed)
    ));
    broker.resume();
    let url = format!("nats://reader:secret@{}", broker.port.address);
    let writer = "{\"verbose\":false,\"user\":\"writer\",\"pass\":\"secret\"}";
    let mut publisher = NatsPublisher::connect(&broker, writer);
    let server = serve(&url, &["--subscriptions-max", "20000"]);
    wait_until_connected(&server, 1);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut client = server.subscriber(&names[..2]);
    broker.wait_for_subjects(&["newswire.t0", "newswire.t1"]);
    client.subscribe(&names[2..]);
    client.settle();
    // Each event comes once, before the refusal and after it.
    let mut n = 0;
    let mut publish = |client: &mut kit::Client| {
        publisher.publish("newswire.t1", n.to_string());
        assert_eq!(client.text(), format!("[8,\"t1\",{n}]"));
        n += 1;
    };
    wait_until("the refusal is counted", || {
        publish(&mut client);
        server.metric("newswire_subscriptions_refused_total") == 1.0
    });
    wait_until(
        "single topics are asked for, as many as there may be",
        || {
            publish(&mut client);
            broker.subscriptions() == TOPICS as u64 - 1
        },
    );
    assert_eq!(source(&server)["asks_for"], "topics");
    let log = server.log();
    assert!(
        log.contains("permission to subscribe to \"newswire.>\""),
        "{log}"
    );

    // A connection with many topics begins with a question for everything.
    broker.kill();
    wait_until("newswire sees it", || source(&server)["connected"] == false);
    broker.resume();
    wait_until_connected(&server, 2);
    wait_until("the refusal is counted again", || {
        server.metric("newswire_subscriptions_refused_total") == 2.0
    });
    wait_until("single topics are asked for again", || {
        broker.subscriptions() == TOPICS as u64 - 1
    });
    NatsPublisher::connect(&broker, writer).publish("newswire.t1", "\"end\"");
    assert_eq!(client.text(), "[8,\"t1\",\"end\"]");
}

#[test]
#[ignore = "needs nats-server"]
fn nats_while_newswire_does_not_read_the_server_keeps_the_messages() {
    const EVENTS: usize = 400;
    let broker = NatsServer::start("");
    let mut publisher = broker.publisher();
    let server = serve(&broker.url(), &["--outbox-bytes-max", "64M"]);
    let mut client = server.subscriber(&["t"]);
    broker.wait_for_subjects(&["newswire.t"]);
    server.signal("STOP");
    // More than the kernel's buffers hold.
    let data = "x".repeat(50_000);
    for n in 0..EVENTS {
        publisher.push("newswire.t", format!("\"{n} {data}\""));
    }
    publisher.settle();
    server.signal("CONT");
    for n in 0..EVENTS {
        assert_eq!(client.text(), format!("[8,\"t\",\"{n} {data}\"]"));
    }
    let summary = server.stop();
    assert_eq!(counted(&summary, "source_gaps"), 0, "{summary}");
}

#[test]
#[ignore = "needs nats-server"]
fn nats_newswires_own_publisher_hears_of_every_failure() {
    let broker = NatsServer::start(
        "max_payload: 100\nauthorization { users: [{ user: u, password: secret, permissions: { publish: \"newswire.>\" } }] }",
    );
    let address = broker.port.address;
    let publish = |url: &str, prefix: &str, topic: &str, data: &str| {
        let mut command: Command = newswire();
        command
            .args(["publish", "--to", url, topic, data])
            .env("NEWSWIRE_NATS_PREFIX", prefix);
        let output = output_of(command);
        let told = String::from_utf8(output.stderr).expect("text");
        (output.status.code(), told)
    };
    let good = format!("nats://u:secret@{address}");
    let bad = format!("nats://u:sesame@{address}");
    let long = format!("\"{}\"", "x".repeat(100));
    for (url, prefix, topic, data, part) in [
        (&bad, "newswire.", "t", "1", "as the user `u`"),
        (&good, "other.", "t", "1", "nats-prefix"),
        (&good, "newswire.", "a b", "1", "no subject can carry"),
        (&good, "newswire.", "t", &long, "max_payload"),
    ] {
        let (code, told) = publish(url, prefix, topic, data);
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains(part), "{part}: {told}");
        assert!(
            !told.contains("sesame") && !told.contains("secret"),
            "{told}"
        );
    }

    let server = serve(&good, &[]);
    let mut client = server.subscriber(&["t"]);
    broker.wait_for_subjects(&["newswire.t"]);
    let (code, told) = publish(&good, "newswire.", "t", "{\"n\": 1}");
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(client.text(), "[8,\"t\",{\"n\": 1}]");
}
