//! `publish`, `subscribe` and `load` against a real server, from one end to the other, in each protocol.

use kit::hostile::books;
use kit::observe::{counted, envelope, publish_all};
use kit::port::Place;
use kit::scratch::File;
use kit::{Server, TOKEN, wait_until};
use serde_json::Value;

use super::process::{Finished, Running, finish, finish_with_input, finished, newswire};

/// What `--protocol` takes.
const PROTOCOLS: [&str; 3] = ["wamp", "wamp2", "sse"];

fn publish(server: &Server, arguments: &[&str], input: &str) -> Finished {
    publish_to(&server.pull, arguments, input)
}

fn publish_to(to: &str, arguments: &[&str], input: &str) -> Finished {
    let mut command = newswire(&["publish", "--to", to]);
    command.args(arguments);
    finish_with_input(command, input)
}

/// A running `subscribe` of the topics `t` and `other`.
struct Subscriber {
    process: Running,
    protocol: &'static str,
}

impl Subscriber {
    /// Starts one that has subscribed for sure, and is told so by events `"warm-up"`.
    fn start(server: &Server, protocol: &'static str) -> Self {
        Self::start_with(server, protocol, &[], TOKEN)
    }

    /// The same with `options` and another token.
    fn start_with(server: &Server, protocol: &'static str, options: &[&str], token: &str) -> Self {
        let mut command = newswire(&["subscribe", "--protocol", protocol]);
        command
            .args(options)
            .args([&url(server, token), "t", "other"]);
        let process = Running::start(command);
        let subscriber = Self { process, protocol };
        let scheme = if protocol == "sse" { "http" } else { "ws" };
        let connected = format!("newswire: connected to {scheme}://{}/", server.address);
        assert_eq!(subscriber.told(), connected);
        subscriber.warm_up(server);
        subscriber
    }

    fn warm_up(&self, server: &Server) {
        if self.protocol == "wamp2" {
            assert_eq!(self.told(), "newswire: subscribed to t");
            assert_eq!(self.told(), "newswire: subscribed to other");
        }
        let warm = "{\"topic\":\"t\",\"data\":\"warm-up\"}";
        let taken_in = || server.metric("newswire_events_total{ingest=\"pull\"}") as u64;
        let before = taken_in();
        let mut sent = 0;
        wait_until("the subscription", || {
            publish_all(&server.pull, [envelope("t", "\"warm-up\"")]);
            sent += 1;
            self.process.line_so_far().is_some_and(|line| line == warm)
        });
        // Each of these came on a connection of its own. What is sent before all of them were taken in could overtake one.
        wait_until("all that was sent", || taken_in() == before + sent);
        publish_all(&server.pull, [envelope("other", "\"warm\"")]);
        while self.line() == warm {
            sent -= 1;
            assert!(sent > 0, "more than were sent");
        }
    }

    fn line(&self) -> String {
        self.process.line()
    }

    /// The next line of what it tells. After a restart nothing can be recovered, and it says so.
    fn told(&self) -> String {
        let told = std::iter::repeat_with(|| self.process.told());
        let mut rest = told.skip_while(|line| line.contains("not recovered ("));
        rest.next().expect("there is an end of that")
    }
}

fn url(server: &Server, token: &str) -> String {
    format!("ws://{}/?token={token}", server.address)
}

#[test]
fn lines_of_standard_input_come_out_as_lines_of_standard_output() {
    for protocol in PROTOCOLS {
        lines_come_out_as_lines(protocol);
    }
}

fn lines_come_out_as_lines(protocol: &'static str) {
    const LINES: usize = 3_000;
    let server = Server::start(&[]);
    let subscriber = Subscriber::start(&server, protocol);
    let data = |n: usize| format!("{{\"n\": {n}, \"s\":\"\\/\\u00e9 é\"}}");
    let input: String = (0..LINES).map(|n| data(n) + "\n").collect();
    let (code, out, err) = publish(&server, &["t", "-"], &input);
    assert_eq!((code, out.as_str()), (Some(0), ""), "{err}");
    assert_eq!(err, format!("{LINES} events sent to {}\n", server.pull));
    for n in 0..LINES {
        assert_eq!(
            subscriber.line(),
            format!("{{\"topic\":\"t\",\"data\":{}}}", data(n))
        );
    }
    let (code, _, err) = publish(&server, &["other", "{\"n\":1}"], "");
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(
        subscriber.line(),
        "{\"topic\":\"other\",\"data\":{\"n\":1}}"
    );
    server.stop();
}

#[test]
fn a_count_ends_it_with_code_0() {
    for protocol in PROTOCOLS {
        let server = Server::start(&[]);
        let mut command = newswire(&["subscribe", "--protocol", protocol, "--count", "3"]);
        command.args([&url(&server, TOKEN), "t"]);
        let mut subscriber = Running::start(command);
        let mut n = 0;
        wait_until("its end", || {
            publish_all(&server.pull, [envelope("t", &n.to_string())]);
            n += 1;
            subscriber.has_ended()
        });
        let (code, heard, _) = subscriber.end();
        assert_eq!((code, heard.lines().count()), (Some(0), 3), "{heard}");
        let summary = server.stop();
        // It takes its leave.
        let reason = match protocol {
            "sse" => "closed.peer_gone",
            _ => "closed.peer_closed",
        };
        assert_eq!(counted(&summary, reason), 1, "{protocol}: {summary}");
    }
}

#[test]
fn an_event_that_nobody_hears_is_sent_and_counted() {
    let server = Server::start(&[]);
    let (code, _, err) = publish(&server, &["nobody", "1"], "");
    assert_eq!(code, Some(0), "{err}");
    let summary = server.stop();
    assert_eq!(counted(&summary, "dropped.no_subscriber"), 1, "{summary}");
}

#[test]
fn without_a_server_publish_fails() {
    let server = Server::start(&[]);
    let pull = server.pull.clone();
    server.stop();
    let (code, _, err) = publish_to(&pull, &["--timeout", "1", "t", "1"], "");
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains(&pull), "{err}");
}

#[test]
fn a_wrong_token_ends_it_with_the_hint_and_without_the_token() {
    let server = Server::start(&[]);
    for protocol in PROTOCOLS {
        for (place, url, part) in [
            ("url", url(&server, "wrong-sesame"), " answered 401 "),
            ("header", url(&server, "wrong-sesame"), " answered 401 "),
            (
                "subprotocol",
                url(&server, "wrong-sesame"),
                " answered 401 ",
            ),
            (
                "ticket",
                url(&server, "wrong-sesame"),
                "ABORT: wamp.error.authentication_denied (",
            ),
            ("url", format!("ws://{}", server.address), "a"),
        ] {
            let has_place = match place {
                "ticket" => protocol == "wamp2",
                "subprotocol" => protocol != "sse",
                _ => true,
            };
            let options = ["subscribe", "--protocol", protocol, "--token-in", place];
            let command = newswire(&[&options[..], &[&url, "t"]].concat());
            let (code, out, err) = finish(command);
            assert_eq!(out, "", "{err}");
            assert_eq!(code, Some(if has_place { 1 } else { 2 }), "{err}");
            assert!(!err.contains("sesame"), "{err}");
            assert_eq!(err.lines().count(), 1, "{err}");
            let part = match (has_place, url.contains('?'), protocol) {
                (false, ..) => "--token-in",
                (true, false, "wamp2") => "wamp.error.no_matching_auth_method (",
                (true, false, _) => " answered 401 ",
                (true, true, _) => part,
            };
            assert!(err.contains(part), "{protocol} {place}: {err}");
            assert!(!has_place || err.contains('('), "{err}");
        }
    }
    let summary = server.stop();
    // Of 15 attempts, three make no sense.
    assert_eq!(counted(&summary, "refused.token"), 12, "{summary}");
}

#[test]
fn a_token_is_taken_wherever_it_travels() {
    let server = Server::start(&[]);
    for (protocol, place) in [
        ("wamp", "header"),
        ("wamp", "subprotocol"),
        ("wamp2", "header"),
        ("wamp2", "subprotocol"),
        ("wamp2", "ticket"),
        ("sse", "header"),
    ] {
        Subscriber::start_with(&server, protocol, &["--token-in", place], TOKEN);
    }
    server.stop();
}

#[test]
fn a_restart_is_survived() {
    for protocol in PROTOCOLS {
        let place = Place::hold();
        let server = place.start(&[]);
        let subscriber = Subscriber::start(&server, protocol);
        server.stop();
        while !subscriber.told().contains("next attempt in") {}
        // On the same ports, at once, as a service manager does.
        let server = place.start(&[]);
        while !subscriber.told().contains("connected to") {}
        subscriber.warm_up(&server);
        publish_all(&server.pull, [envelope("t", "\"after\"")]);
        assert_eq!(subscriber.line(), "{\"topic\":\"t\",\"data\":\"after\"}");
        server.stop();
    }
}

/// A server with these lines in its file of tokens.
fn with_tokens(file: &File) -> Server {
    let mut command = kit::newswire();
    command
        .args(["--listen", "127.0.0.1:0", "--pull", "tcp://127.0.0.1:*"])
        .args(["--admin", "127.0.0.1:0", "--tokens", file.path()]);
    Server::launch(command)
}

#[test]
fn a_token_that_ends_ends_the_subscription() {
    for (protocol, part) in [
        ("wamp", "token no longer valid (3000)"),
        (
            "wamp2",
            "GOODBYE: wamp.close.killed; the server closed: token no longer valid (3000)",
        ),
        ("sse", "the server ended the stream"),
    ] {
        let file = File::new(&format!("ends-{protocol}"), "other\nsesame\n");
        let server = with_tokens(&file);
        let subscriber = Subscriber::start_with(&server, protocol, &[], "sesame");
        file.replace("other\n");
        let (code, _, told) = subscriber.process.end();
        assert_eq!(code, Some(1), "{told}");
        assert!(told.contains(part) && !told.contains("sesame"), "{told}");
        // The client of WAMP v2 does not ask again whether it is welcome.
        let asked_again = told.contains(" answered 401 ");
        assert_eq!(asked_again, protocol != "wamp2", "{told}");
        server.stop();
    }
}

#[test]
fn a_topic_that_the_token_does_not_allow_is_told() {
    let file = File::new("allows", "sesame topics=t,other\n");
    let server = with_tokens(&file);
    let subscribe = |protocol, topics: &[&str]| {
        let mut command = newswire(&["subscribe", "--protocol", protocol, "--no-reconnect"]);
        command.arg(url(&server, "sesame")).args(topics);
        finish(command)
    };
    let (code, out, told) = subscribe("wamp2", &["secret", "t2", "secret"]);
    assert_eq!((code, &*out), (Some(1), ""), "{told}");
    let expected = format!(
        "newswire: connected to ws://{0}/\n\
         newswire: secret is denied: wamp.error.not_authorized\n\
         newswire: t2 is denied: wamp.error.not_authorized\n\
         newswire: ws://{0}/: the server denies all topics\n",
        server.address
    );
    assert_eq!(told, expected);
    let (code, out, told) = subscribe("sse", &["t", "secret"]);
    assert_eq!((code, &*out), (Some(1), ""), "{told}");
    assert!(told.contains(" answered 403 "), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");

    // One topic is left, and is taken away later.
    let mut command = newswire(&["subscribe", "--protocol", "wamp2"]);
    command.args([&url(&server, "sesame"), "secret", "t"]);
    let subscriber = Running::start(command);
    assert!(subscriber.told().contains("connected to"));
    assert!(subscriber.told().contains("secret is denied"));
    assert_eq!(subscriber.told(), "newswire: subscribed to t");
    publish_all(&server.pull, [envelope("t", "1")]);
    assert_eq!(subscriber.line(), "{\"topic\":\"t\",\"data\":1}");
    file.replace("sesame topics=other\n");
    assert_eq!(
        subscriber.told(),
        "newswire: t is not allowed any more: wamp.error.not_authorized"
    );
    assert!(subscriber.told().ends_with("the server denies all topics"));
    assert_eq!(subscriber.end().0, Some(1));
    server.stop();
}

#[test]
fn a_publisher_that_waits_for_its_server_is_served_when_it_comes() {
    let place = Place::hold();
    let pull = place.pull.endpoint();
    let waiting = newswire(&["publish", "--to", &pull, "--timeout", "30", "t", "1"])
        .spawn()
        .expect("it starts");
    let server = place.start(&[]);
    let (code, _, err) = finished(waiting.wait_with_output().expect("it ends"));
    assert_eq!(code, Some(0), "{err}");
    let summary = server.stop();
    assert_eq!(counted(&summary, "events"), 1, "{summary}");
}

/// Exit code, the report as JSON (null if there is none), and standard error.
fn load(
    server: &Server,
    protocol: &str,
    token: &str,
    options: &[&str],
) -> (Option<i32>, Value, String) {
    let mut command = newswire(&["load", "--protocol", protocol, "--json"]);
    command.args(["--to", &server.pull, &url(server, token)]);
    command.args(options);
    let (code, out, err) = finish(command);
    (code, serde_json::from_str(&out).unwrap_or_default(), err)
}

#[test]
fn a_load_test_counts_what_the_server_counts() {
    // Subscriber i is at topic i modulo 3, and so are the events.
    const CONNECTIONS: u64 = 20;
    const EVENTS: u64 = 300;
    const BYTES: u64 = 300;
    let options = ["--connections", "20", "--topics", "3", "--events", "300"];
    for (protocol, place) in [
        ("wamp", "url"),
        ("wamp2", "ticket"),
        ("wamp2", "url"),
        ("sse", "url"),
        ("sse", "header"),
    ] {
        let server = Server::start(&[]);
        let pid = server.pid().to_string();
        let more = ["--bytes", "300", "--token-in", place, "--pid", &pid];
        let (code, report, err) = load(&server, protocol, TOKEN, &[&options[..], &more].concat());
        assert_eq!((code, &*err), (Some(0), ""), "{protocol}");
        let books = books(&server.stop());
        let of = |name: &str| report[name].as_u64().expect(name);
        for (name, expected) in [
            ("connections", CONNECTIONS),
            ("handshakes", CONNECTIONS),
            ("published", EVENTS),
            ("deliveries", CONNECTIONS * EVENTS / 3),
            ("losses", 0),
            ("doubles", 0),
            ("disorder", 0),
            ("ended", 0),
            ("missed_while_not_connected", 0),
            ("strangers", 0),
        ] {
            assert_eq!(of(name), expected, "{protocol}: {name} {report}");
        }
        assert_eq!(report["protocol"], protocol);
        // What stands around the data.
        let around = of("bytes") - of("deliveries") * BYTES;
        let (least, most) = match protocol {
            "wamp" => ("[8,\"load-0\",]", "[8,\"load-0\",]"),
            "wamp2" => (
                "[36,1,1,{\"x_id\":\"abcdefgh-1\"},[]]",
                "[36,99999,99999,{\"x_id\":\"abcdefgh-99999\"},[]]",
            ),
            _ => (
                "id: abcdefgh-1\ndata: {\"topic\":\"load-0\",\"data\":}\n\n",
                "id: abcdefgh-99999\ndata: {\"topic\":\"load-0\",\"data\":}\n\n",
            ),
        };
        let range = least.len() as u64 * of("deliveries")..=most.len() as u64 * of("deliveries");
        assert!(range.contains(&around), "{protocol}: {report}");
        assert!(report["server"]["cpu_ns_per_delivery"].as_f64() > Some(0.0));
        // The server's probes are deliveries, too.
        assert_eq!(books["handshakes"], CONNECTIONS, "{books:?}");
        assert!(books["deliveries"] >= of("deliveries"), "{books:?}");
        assert!(books["events"] >= EVENTS + 3, "{books:?}");
    }
}

#[test]
fn a_load_test_with_a_wrong_token_has_the_servers_hint() {
    let server = Server::start(&[]);
    for (protocol, place, part) in [
        ("wamp", "url", " answered 401 "),
        ("wamp2", "header", " answered 401 "),
        ("wamp2", "ticket", ": wamp.error.authentication_denied ("),
        ("sse", "url", " answered 401 "),
    ] {
        let options = ["--connections", "1", "--token-in", place];
        let (code, _, err) = load(&server, protocol, "sesame", &options);
        assert_eq!(code, Some(1), "{err}");
        assert!(err.contains(part) && err.contains('('), "{err}");
        assert!(!err.contains("sesame"), "{err}");
        assert_eq!(err.lines().count(), 1, "{err}");
    }
}

#[test]
fn a_load_test_of_a_topic_that_the_token_does_not_allow_says_so() {
    const ADVICE: &str =
        "if the token may not subscribe to it, name with --topic one to which it may\n";
    let file = File::new("load-allows", "sesame topics=load-0\n");
    let server = with_tokens(&file);
    for (protocol, part) in [
        (
            "wamp2",
            "denies the topic load-1: wamp.error.not_authorized",
        ),
        (
            "sse",
            "denies the topic load-1: 403 Forbidden: the token does not allow",
        ),
    ] {
        // Alone, and beside one that the token allows.
        for (connections, topics) in [
            ("1", &["--topic", "load-1"][..]),
            ("3", &["--topic", "load-0", "--topic", "load-1"]),
        ] {
            let options = [&["--connections", connections], topics].concat();
            let (code, _, err) = load(&server, protocol, "sesame", &options);
            assert_eq!(code, Some(1), "{err}");
            assert!(err.contains(part) && !err.contains("sesame"), "{err}");
            assert!(err.ends_with(ADVICE), "{err}");
            assert_eq!(err.lines().count(), 1, "{err}");
        }
    }
}

#[test]
fn publishing_by_http() {
    const EVENTS: usize = 3_000;
    let server = Server::start(&[]);
    let mut client = server.subscriber(&["t"]);
    let to = format!("http://{}", server.admin_address());
    let lines: String = (0..EVENTS).map(|n| format!("{n}\n")).collect();
    let (code, said, told) = publish_to(&to, &["t", "-"], &lines);
    assert_eq!((code, &*said), (Some(0), ""), "{told}");
    assert_eq!(told, format!("{EVENTS} events sent to {to}/publish\n"));
    for n in 0..EVENTS {
        assert_eq!(client.text(), format!("[8,\"t\",{n}]"));
    }
    // What the server refuses is an error of the command.
    let (code, _, told) = publish_to(
        &to,
        &["--event-bytes-max", "3M", "t", "-"],
        &format!("\"{}\"", "x".repeat(2_500_000)),
    );
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("413") && told.lines().count() == 1, "{told}");
    let address = server.admin_address();
    drop(server);
    let (code, _, told) = publish_to(&format!("http://{address}"), &["t", "1"], "");
    assert_eq!(code, Some(1), "{told}");
    assert!(
        told.contains("refused") && told.lines().count() == 1,
        "{told}"
    );
}

#[test]
fn a_destination_that_makes_no_sense_is_named_without_its_password() {
    for (to, part) in [
        ("udp://127.0.0.1:1", "only tcp:// and ipc://"),
        ("https://127.0.0.1:1", "TLS"),
        ("http://127.0.0.1", "a URL such as"),
        ("amqp://user:sesame@:0", "a URL such as amqp://"),
        ("nats://user:sesame@:0", "a URL such as nats://"),
        ("tls://user:sesame@host/path", "nothing may follow"),
    ] {
        let (code, _, told) = publish_to(to, &["t", "1"], "");
        assert_eq!(code, Some(2), "{told}");
        assert!(told.contains(part) && !told.contains("sesame"), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}
