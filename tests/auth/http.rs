//! Tokens that an API knows, as clients meet them: which clients get in, which events they receive, which sessions stay,
//! and that a silent API delays no other client.

#![cfg(feature = "all-stores")]

use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kit::api::{Api, Asked, Does};
use kit::observe::{answer, counted, upgrade};
use kit::stream::Patient;
use kit::{Client, Server, command_without_token, output_of, wait_until};
use newswire::cli::load::fleet::{Course, Fleet, FleetEvent};
use tungstenite::{ClientRequestBuilder, Error};

/// A token that only the API knows.
const GOOD: &str = "good+b64/==";

/// An API that answers what a test sets, and holds its answers back while it hangs.
struct Moody {
    api: Api,
    mood: Arc<Mood>,
}

struct Mood {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    hangs: bool,
    does: Does,
}

impl Moody {
    fn new(does: Does) -> Self {
        let mood = Arc::new(Mood {
            state: Mutex::new(State { hangs: false, does }),
            changed: Condvar::new(),
        });
        let seen = Arc::clone(&mood);
        let api = Api::start(move |_| {
            let state = seen.state.lock().expect("no panic");
            let state = seen.changed.wait_while(state, |state| state.hangs);
            state.expect("no panic").does.clone()
        });
        Self { api, mood }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.mood.state.lock().expect("no panic")
    }

    fn set(&self, does: Does) {
        self.state().does = does;
    }

    fn hang(&self, hangs: bool) {
        self.state().hangs = hangs;
        self.mood.changed.notify_all();
    }

    fn asked(&self) -> usize {
        self.api.asked().len()
    }
}

/// A server that asks `api` about what its own list does not know.
fn serve(api: &Api, options: &[&str]) -> Server {
    let url = api.url();
    Server::start(&[&["--auth-url", &url], options].concat())
}

fn knock(server: &Server, token: &str) -> (u16, String) {
    server.ask(&upgrade(&format!("/?token={token}"), ""))
}

fn publish(server: &Server, topics: &[&str]) {
    let (_context, publisher) = server.publisher();
    for topic in topics {
        let event = format!(r#"{{"topic":"{topic}","data":1}}"#);
        publisher.send(&event, 0).expect("sent");
    }
}

#[test]
fn the_api_decides_about_what_the_list_does_not_know() {
    let api = Api::start(|asked| match asked.token() {
        "Bearer good+b64/==" => Does::status(200),
        "Bearer broken" => Does::status(500),
        _ => Does::status(401),
    });
    let server = serve(&api, &["--auth-scheme", "Bearer"]);
    for target in [
        "/?token=good+b64/==",
        "/?token=good%2Bb64%2F%3D%3D",
        "/?token=Basic%20good+b64/==",
        "/?token=bad&token=good+b64/==",
    ] {
        let (status, _) = server.ask(&upgrade(target, "Origin: https://news.example\r\n"));
        assert_eq!(status, 101, "{target}");
    }
    let asked = api.asked();
    assert_eq!(asked.len(), 1, "the rest is remembered");
    assert_eq!(asked[0].header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(asked[0].header("origin"), Some("https://news.example"));

    for target in ["/", "/?token=", "/?token=bad", "/?token=good%00"] {
        let (status, head) = server.ask(&upgrade(target, ""));
        assert_eq!(status, 401, "{target}: {head}");
    }
    let (status, head) = knock(&server, "broken");
    assert_eq!(status, 503, "{head}");
    assert!(head.contains("\r\nRetry-After: 5\r\n"), "{head}");
    server.client();
    assert_eq!(api.asked().len(), 3);
    server.wait_for_log("no answer: it answered with status 500");
    let log = server.log();
    assert!(!log.contains(GOOD) && !log.contains("broken"), "{log}");
    let summary = server.stop();
    assert_eq!(counted(&summary, "checked.http.accepted"), 1, "{summary}");
    assert_eq!(counted(&summary, "checked.http.unknown"), 2, "{summary}");
    assert_eq!(
        counted(&summary, "checked.http.unavailable"),
        1,
        "{summary}"
    );
}

/// Knocks as a client that a proxy has passed on from `address`.
fn knock_from(server: &Server, token: &str, address: &str) -> u16 {
    let forwarded = format!("X-Forwarded-For: {address}\r\n");
    server
        .ask(&upgrade(&format!("/?token={token}"), &forwarded))
        .0
}

/// An API whose tokens are good from one address alone, and a server behind a proxy.
fn address_bound(options: &[&str]) -> (Api, Server) {
    let api = Api::start(|asked| match asked.header("x-forwarded-for") {
        Some("192.0.2.1") | None => Does::status(200),
        Some(_) => Does::status(403),
    });
    let server = serve(&api, &[&["--trusted-proxy", "127.0.0.1"], options].concat());
    (api, server)
}

#[test]
fn a_token_that_is_tried_from_another_address_is_good_for_its_owner() {
    let (api, server) = address_bound(&["--auth-cache", "60"]);
    for _ in 0..20 {
        assert_eq!(knock_from(&server, GOOD, "192.0.2.2"), 401);
        assert_eq!(knock_from(&server, GOOD, "192.0.2.1"), 101);
    }
    assert_eq!(api.asked().len(), 2, "once for each address");
}

#[test]
fn a_session_is_asked_about_again_as_it_came() {
    let (api, server) = address_bound(&["--auth-recheck", "1", "--auth-cache", "0"]);
    let request = |address: &str| {
        let uri = format!("ws://{}/?token={GOOD}", server.address);
        ClientRequestBuilder::new(uri.parse().expect("a URI"))
            .with_header("X-Forwarded-For", address)
            .with_header("Origin", "https://news.example")
    };
    // Somebody else comes with it first.
    assert_eq!(knock_from(&server, GOOD, "192.0.2.2"), 401);
    let (socket, _) =
        tungstenite::client(request("192.0.2.1"), Patient(server.connect())).expect("is let in");
    let mut client = Client { socket };
    assert!(client.text().starts_with("[0,"));
    wait_until("it is asked about again", || api.asked().len() > 3);
    for asked in &api.asked()[1..] {
        assert_eq!(asked.header("x-forwarded-for"), Some("192.0.2.1"));
        assert_eq!(asked.header("origin"), Some("https://news.example"));
    }
    client.settle();
}

#[test]
fn an_api_that_is_not_told_about_clients_is_asked_once_a_token() {
    let (api, server) = address_bound(&["--auth-forward", "off"]);
    for n in 1..10 {
        assert_eq!(knock_from(&server, GOOD, &format!("192.0.2.{n}")), 101);
    }
    let asked = api.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].header("x-forwarded-for"), None);
    assert_eq!(asked[0].header("origin"), None);
}

#[test]
fn topics_of_the_answer_are_obeyed() {
    let api = Moody::new(Does::json(r#"{"topics":["a","b_*"],"name":"Ada"}"#));
    let server = serve(&api.api, &[]);
    let mut client = server.client_with(GOOD);
    for topic in ["a", "b_1", "c", "b", "$sys/stats"] {
        client.send(&format!("[5,{topic:?}]"));
    }
    client.settle();
    publish(&server, &["c", "b", "a", "c", "b_1"]);
    assert_eq!(client.text(), r#"[8,"a",1]"#);
    assert_eq!(client.text(), r#"[8,"b_1",1]"#);
    let summary = server.stop();
    assert_eq!(counted(&summary, "subscribes_denied"), 3, "{summary}");
}

#[test]
fn a_long_token_is_asked_about_where_heads_may_be_long() {
    let api = Moody::new(Does::status(200));
    let token = "x+/=".repeat(2_560);
    let server = serve(&api.api, &[]);
    assert_eq!(knock(&server, &token).0, 413);
    assert_eq!(api.asked(), 0);
    let server = serve(&api.api, &["--head-bytes-max", "16k"]);
    assert_eq!(knock(&server, &token).0, 101);
    assert_eq!(api.api.asked()[0].token(), token);
}

#[test]
fn a_token_that_the_api_refuses_at_last_ends_its_session() {
    let api = Moody::new(Does::status(200));
    let server = serve(&api.api, &["--auth-recheck", "1"]);
    let mut client = server.client_with(GOOD);
    wait_until("it is asked again", || api.asked() > 2);
    client.settle();
    api.set(Does::status(403));
    assert_eq!(client.close_code(), 3000);
    assert_eq!(knock(&server, GOOD).0, 401);
    let summary = server.stop();
    assert_eq!(counted(&summary, "closed.token_ended"), 1, "{summary}");
}

#[test]
fn an_end_is_a_moment_to_ask_again() {
    // Extended twice, as Web Publisher extends a token that is used.
    let asked = AtomicUsize::new(0);
    let api = Api::start(move |_| {
        let seconds = match asked.fetch_add(1, Ordering::SeqCst) {
            // It has to last until the client is let in.
            0 => 8,
            1 | 2 => 6,
            _ => return Does::status(401),
        };
        #[expect(clippy::disallowed_methods, reason = "tokens end at times of the day")]
        let now = SystemTime::now();
        let now = now.duration_since(UNIX_EPOCH).expect("after 1970");
        Does::json(&format!(r#"{{"expires":{}}}"#, now.as_secs() + seconds))
    });
    let server = serve(&api, &[]);
    let mut client = server.client_with(GOOD);
    wait_until("it is asked again", || api.asked().len() > 2);
    client.settle();
    assert_eq!(client.close_code(), 3000);
    assert_eq!(api.asked().len(), 4);
}

#[test]
fn an_api_that_is_down_lets_nobody_in_and_nobody_go() {
    let api = Moody::new(Does::status(200));
    let server = serve(&api.api, &["--auth-recheck", "1", "--auth-cache", "0"]);
    let mut client = server.client_with(GOOD);
    client.send(r#"[5,"t"]"#);
    client.settle();
    api.set(Does::End(Vec::new()));
    wait_until("the log says that it is down", || {
        assert_eq!(knock(&server, "other").0, 503);
        let down = format!("auth: store=http host={} is down: ", api.api.address);
        server.log().contains(&down)
    });
    // Those who knock are told at once, and most are not asked about.
    let asked = api.asked();
    for _ in 0..100 {
        assert_eq!(knock(&server, "other").0, 503);
    }
    assert!(api.asked() - asked < 100, "{}", api.asked() - asked);
    publish(&server, &["t"]);
    assert_eq!(client.text(), r#"[8,"t",1]"#);

    api.set(Does::status(200));
    wait_until("it is found again", || knock(&server, "other").0 == 101);
    server.wait_for_log(" answers again");
    publish(&server, &["t"]);
    assert_eq!(client.text(), r#"[8,"t",1]"#);
    let log = server.log();
    assert_eq!(log.matches(" is down: ").count(), 1, "{log}");
    assert!(!log.contains("other") && !log.contains(GOOD), "{log}");
}

#[test]
fn grace_has_an_end() {
    let api = Moody::new(Does::status(200));
    let options = ["--auth-recheck", "1", "--auth-grace", "2"];
    let server = serve(&api.api, &options);
    let mut client = server.client_with(GOOD);
    let mut listed = server.subscriber(&["t"]);
    api.set(Does::status(503));
    // Without a Close frame: clients come back from that.
    let end = std::iter::repeat_with(|| client.socket.read()).find_map(Result::err);
    assert!(
        matches!(end, Some(Error::Protocol(_) | Error::Io(_))),
        "{end:?}"
    );
    // Whom the list knows, the API's silence does not concern.
    publish(&server, &["t"]);
    assert_eq!(listed.text(), r#"[8,"t",1]"#);
    let summary = server.stop();
    assert_eq!(counted(&summary, "closed.auth_lost"), 1, "{summary}");
}

#[test]
fn an_api_that_hangs_delays_no_event() {
    let api = Moody::new(Does::status(200));
    api.hang(true);
    let options = ["--auth-timeout", "119", "--handshake-timeout", "120"];
    let server = serve(&api.api, &options);
    let mut subscriber = server.subscriber(&["t"]);
    let (_context, publisher) = server.publisher();
    let mut newcomers: Vec<_> = (0..20)
        .map(|n| {
            let mut stream = server.connect();
            let head = upgrade(&format!("/?token=n{n}"), "");
            stream.write_all(head.as_bytes()).expect("sent");
            stream
        })
        .collect();
    wait_until("as many are asked about as may be", || api.asked() == 8);
    // While all threads wait for the API, and others for a thread.
    for n in 0..1_000 {
        let event = format!(r#"{{"topic":"t","data":{n}}}"#);
        publisher.send(&event, 0).expect("sent");
        assert_eq!(subscriber.text(), format!(r#"[8,"t",{n}]"#));
    }
    assert_eq!(knock(&server, kit::TOKEN).0, 101);
    assert_eq!(api.asked(), 8);
    for stream in &mut newcomers {
        stream.set_nonblocking(true).expect("set");
        let nothing = stream.read(&mut [0; 1]).expect_err("has no answer");
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        stream.set_nonblocking(false).expect("set");
    }
    api.hang(false);
    for stream in &mut newcomers {
        assert_eq!(answer(stream).0, 101);
    }
    assert_eq!(api.asked(), 20);
}

/// As many as `clients`, who share `tokens`, come at once.
fn crowd(clients: usize, tokens: usize) {
    let api = Moody::new(Does::status(200));
    api.hang(true);
    let options = [
        "--auth-timeout",
        "59",
        "--handshake-timeout",
        "60",
        "--auth-cache",
        "600",
        // They come from as many addresses.
        "--auth-forward",
        "off",
    ];
    let server = serve(&api.api, &options);
    let mut fleets: Vec<Fleet> = (0..tokens)
        .map(|token| {
            let course = Course {
                address: server.address,
                request: upgrade(&format!("/?token=crowd{token}"), "").into(),
                topics: vec!["crowd".to_owned()],
            };
            Fleet::new(course).expect("a poller")
        })
        .collect();
    let (mut added, mut welcomed) = (0, 0);
    let deadline = Duration::from_millis(1);
    wait_until("all are in", || {
        // As many as the kernel's queue holds are under way at a time.
        while added < clients && added < welcomed + 2_000 {
            fleets[added % tokens].add().expect("a socket");
            added += 1;
        }
        if api.asked() == 8 {
            api.hang(false);
        }
        for fleet in &mut fleets {
            fleet
                .poll(Some(deadline), |_, what| match what {
                    FleetEvent::Text(..) => welcomed += 1,
                    FleetEvent::Opened => {}
                    FleetEvent::Ended(status) => panic!("turned away: {status:?}"),
                })
                .expect("polled");
        }
        welcomed == clients
    });
    let mut asked: Vec<Asked> = api.api.asked();
    assert_eq!(asked.len(), tokens);
    asked.sort_by(|a, b| a.token().cmp(b.token()));
    asked.dedup_by(|a, b| a.token() == b.token());
    assert_eq!(asked.len(), tokens);
    assert!(api.api.connections() <= 8, "{}", api.api.connections());
    let summary = server.stop();
    assert_eq!(
        counted(&summary, "checked.http.accepted") as usize,
        tokens,
        "{summary}"
    );
    assert_eq!(
        counted(&summary, "handshakes") as usize,
        clients,
        "{summary}"
    );
}

#[test]
fn a_crowd_with_the_same_tokens_is_asked_about_once_a_token() {
    crowd(1_000, 20);
}

#[test]
#[ignore = "needs 10,000 descriptors on each side; ulimit -n has to allow that"]
fn ten_thousand_with_a_hundred_tokens_are_a_hundred_questions() {
    crowd(10_000, 100);
}

#[test]
fn what_cannot_be_used_is_told_at_the_start() {
    let cases: [(&[&str], &str); 2] = [
        (
            &["--auth-url", "https://h/", "--auth-ca", "/nowhere.pem"],
            "auth-ca (/nowhere.pem)",
        ),
        (&["--auth-url", "http://[::1/"], "auth-url"),
    ];
    for (options, expected) in cases {
        let output = output_of(command_without_token(options));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{options:?}");
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn check_says_when_an_api_cannot_be_used() {
    for (answer, warning) in [
        (Does::status(401), None),
        (Does::json("{}"), Some("accepts any token")),
        (Does::status(500), Some("it answered with status 500")),
    ] {
        let api = Api::start(move |_| answer.clone());
        let url = format!("http://{}/check", api.address);
        let mut command = kit::newswire();
        command.args(["check", "--auth-url", &url]);
        let output = output_of(command);
        let said = String::from_utf8(output.stderr).expect("text");
        assert!(output.status.success(), "{said}");
        let asked = api.asked();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].token(), "newswire-check");
        match warning {
            None => assert_eq!(said, ""),
            Some(part) => {
                let start = format!("newswire: warning: auth-url: the API at {} ", api.address);
                assert!(said.starts_with(&start) && said.contains(part), "{said}");
            }
        }
    }
}
