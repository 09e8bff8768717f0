//! `/metrics` as a Prometheus server reads it: its grammar and conventions, and that its figures agree with what
//! happened.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use kit::observe::{envelope, publish_all};
use kit::{Client, Server, wait_until};

/// A sample: its name, its labels, its value.
type Sample = (String, BTreeMap<String, String>, f64);

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The text format 0.0.4, read strictly: families in one piece, HELP and TYPE before their samples,
/// no sample twice.
fn parse(text: &str) -> BTreeMap<String, (String, Vec<Sample>)> {
    assert!(text.ends_with('\n'), "the last line ends too");
    let mut families: BTreeMap<String, (String, Vec<Sample>)> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut lines = text.lines().peekable();
    while let Some(help) = lines.next() {
        let (name, words) = help
            .strip_prefix("# HELP ")
            .and_then(|help| help.split_once(' '))
            .unwrap_or_else(|| panic!("{help}"));
        assert!(is_name(name) && !words.is_empty(), "{help}");
        let kind = lines
            .next()
            .and_then(|l| l.strip_prefix(&format!("# TYPE {name} ")));
        let kind = kind.unwrap_or_else(|| panic!("no TYPE of {name}"));
        assert!(
            ["counter", "gauge", "histogram"].contains(&kind),
            "{name} {kind}"
        );
        let mut samples = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            assert!(
                seen.insert(line.rsplit_once(' ').expect("a value").0),
                "{line}"
            );
            samples.push(sample(line));
        }
        for (sample, _, _) in &samples {
            let suffix = sample
                .strip_prefix(name)
                .unwrap_or_else(|| panic!("{sample}"));
            let suffixes: &[&str] = match kind {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            assert!(suffixes.contains(&suffix), "{sample} in {name}");
        }
        assert!(!samples.is_empty(), "{name} has no sample");
        let before = families.insert(name.to_owned(), (kind.to_owned(), samples));
        assert!(before.is_none(), "{name} twice");
    }
    families
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').expect("a value");
    let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
    let Some((name, labels)) = series.split_once('{') else {
        assert!(is_name(series), "{line}");
        return (series.to_owned(), BTreeMap::new(), value);
    };
    assert!(is_name(name), "{line}");
    let labels = labels.strip_suffix('}').expect("an end");
    let labels = labels.split(',').map(|pair| {
        let (label, value) = pair.split_once('=').expect("a pair");
        let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
        let value = value.unwrap_or_else(|| panic!("{line}"));
        assert!(is_name(label) && !value.contains(['"', '\\']), "{line}");
        (label.to_owned(), value.to_owned())
    });
    (name.to_owned(), labels.collect(), value)
}

/// A server on which something of every kind has happened.
fn busy() -> (Server, Client) {
    let server = Server::start(&[]);
    let mut client = server.subscriber(&["t", "$sys/stats"]);
    publish_all(
        &server.pull,
        [
            envelope("t", "1"),
            "nonsense".to_owned(),
            envelope("u", "1"),
        ],
    );
    assert_eq!(client.text(), "[8,\"t\",1]");
    server.post("/publish", r#"{"topic":"t","data":2}"#);
    assert_eq!(client.text(), "[8,\"t\",2]");
    assert_eq!(server.ask("GET / HTTP/1.1\r\nHost: h\r\n\r\n").0, 426);
    wait_until("all is counted", || {
        server.metric("newswire_ingested_total") == 4.0
            && server.metric("newswire_closed_total{reason=\"refused\"}") == 1.0
    });
    (server, client)
}

#[test]
fn it_is_well_formed_and_says_what_happened() {
    let (server, _client) = busy();
    let mut late = server.subscriber(&["t"]);
    let answer = server.get("/metrics");
    assert!(
        answer
            .head
            .contains("Content-Type: text/plain; version=0.0.4"),
        "{answer:?}"
    );
    let families = parse(&answer.body);
    let value = |name: &str, labels: &[(&str, &str)]| {
        let labels: BTreeMap<String, String> = labels
            .iter()
            .map(|(l, v)| ((*l).to_owned(), (*v).to_owned()))
            .collect();
        let all = families.values().flat_map(|(_, samples)| samples);
        let found = all
            .filter(|s| s.0 == name && s.1 == labels)
            .map(|s| s.2)
            .next();
        found.unwrap_or_else(|| panic!("no {name} {labels:?}"))
    };
    for (name, labels, expected) in [
        ("newswire_connections", &[][..], 2.0),
        ("newswire_topics", &[], 1.0),
        ("newswire_subscriptions", &[], 2.0),
        ("newswire_outbox_bytes", &[], 0.0),
        ("newswire_ingested_total", &[], 4.0),
        ("newswire_events_total", &[("ingest", "pull")], 2.0),
        ("newswire_events_total", &[("ingest", "http")], 1.0),
        ("newswire_events_total", &[("ingest", "sub")], 0.0),
        ("newswire_deliveries_total", &[], 2.0),
        ("newswire_dropped_total", &[("reason", "bad_json")], 1.0),
        (
            "newswire_dropped_total",
            &[("reason", "no_subscriber")],
            1.0,
        ),
        ("newswire_dropped_total", &[("reason", "own_topic")], 0.0),
        ("newswire_handshakes_total", &[("result", "accepted")], 2.0),
        (
            "newswire_handshakes_total",
            &[("result", "not_upgrade")],
            1.0,
        ),
        ("newswire_closed_total", &[("reason", "refused")], 1.0),
        ("newswire_closed_total", &[("reason", "disconnected")], 0.0),
        ("newswire_subscribes_denied_total", &[], 1.0),
        ("newswire_ingest_to_socket_seconds_count", &[], 2.0),
        (
            "newswire_ingest_to_socket_seconds_bucket",
            &[("le", "+Inf")],
            2.0,
        ),
        (
            "newswire_build_info",
            &[("version", env!("CARGO_PKG_VERSION"))],
            1.0,
        ),
    ] {
        assert_eq!(value(name, labels), expected, "{name} {labels:?}");
    }
    assert!(value("process_resident_memory_bytes", &[]) > 1e6);
    assert!(value("process_open_fds", &[]) > 5.0);
    assert!(value("process_max_fds", &[]) > value("process_open_fds", &[]));
    assert!(value("process_start_time_seconds", &[]) > 1.7e9);
    assert!(value("newswire_ingest_to_socket_seconds_sum", &[]) > 0.0);

    let (kind, buckets) = &families["newswire_ingest_to_socket_seconds"];
    assert_eq!(kind, "histogram");
    let counts: Vec<f64> = buckets
        .iter()
        .filter(|(name, _, _)| name.ends_with("_bucket"))
        .map(|(_, _, count)| *count)
        .collect();
    assert!(counts.is_sorted() && counts.len() == 15, "{counts:?}");

    // Nothing goes down, and nothing comes or goes.
    server.post("/publish", r#"{"topic":"t","data":3}"#);
    assert_eq!(late.text(), "[8,\"t\",3]");
    let later = parse(&server.get("/metrics").body);
    assert!(families.keys().eq(later.keys()));
    for (name, (kind, samples)) in &families {
        let after = &later[name].1;
        assert_eq!(samples.len(), after.len(), "{name}");
        if kind != "gauge" {
            let fell = samples.iter().zip(after).find(|(a, b)| b.2 < a.2);
            assert!(fell.is_none(), "{fell:?}");
        }
    }
    server.stop();
}

#[test]
#[ignore = "needs promtool"]
fn promtool_finds_nothing_wrong() {
    let (server, _client) = busy();
    let text = server.get("/metrics").body;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    let mut stdin = promtool.stdin.take().expect("piped");
    stdin.write_all(text.as_bytes()).expect("it reads");
    drop(stdin);
    let output = promtool.wait_with_output().expect("it ends");
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    assert!(output.status.success() && told.trim().is_empty(), "{told}");
    server.stop();
}
