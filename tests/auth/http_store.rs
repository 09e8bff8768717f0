//! The store that asks an API, without a server: what it sends, and what follows from each answer.

#![cfg(feature = "all-stores")]

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use kit::api::{Api, Asked, Does};
use kit::certificate::Certified;
use kit::port::Port;
use kit::scratch::File;
use kit::{PATIENCE, wait_until};
use newswire::auth::agent::Trust;
use newswire::auth::http::{HttpOptions, HttpStore};
use newswire::auth::workers::Bounds;
use newswire::auth::{Answer, Moment, Question, TokenStore};
use newswire::wake::Wake;
use newswire::wire::grant::Grant;
use newswire::wire::token::Token;

/// Long enough for whoever answers, in tests that do not wait for it to pass.
const BOUNDS: Bounds = Bounds {
    threads: 1,
    waiting_max: 10,
    timeout: PATIENCE,
};

/// A store, and whom it wakes.
struct Asker {
    store: HttpStore,
    wakes: Receiver<()>,
}

impl Asker {
    fn with(url: &str, change: impl FnOnce(&mut HttpOptions)) -> Self {
        let mut settings = HttpOptions {
            scheme: String::new(),
            forwards_client: true,
            trust: Trust::load("").expect("is part of it"),
            bounds: BOUNDS,
        };
        change(&mut settings);
        let (woken, wakes) = channel();
        let wake: Wake = Arc::new(move || {
            let _ = woken.send(());
        });
        let store = HttpStore::new(url, &settings, wake).expect("a store");
        Self { store, wakes }
    }

    fn new(url: &str) -> Self {
        Self::with(url, |_| {})
    }

    fn impatient(url: &str) -> Self {
        Self::with(url, |settings| {
            settings.bounds.timeout = Duration::from_secs(1);
        })
    }

    /// What is said about a token. What is said to the operator shows nothing of it.
    fn ask(&mut self, token: impl AsRef<[u8]>) -> Answer {
        let answer = self.ask_for(token.as_ref(), "192.0.2.7", None);
        assert!(!format!("{answer:?}").contains(SECRET), "{answer:?}");
        answer
    }

    fn ask_for(&mut self, token: &[u8], client: &str, origin: Option<&str>) -> Answer {
        let token = Token::new(token);
        let question = Arc::new(Question {
            ticket: 7,
            digest: token.digest(),
            token: Some(token),
            client: client.parse::<IpAddr>().expect("an address"),
            is_recheck: false,
            origin: origin.map(str::to_owned),
        });
        if let Some(answer) = self.store.ask(&question, Moment::default()) {
            return answer;
        }
        self.wakes.recv_timeout(PATIENCE).expect("an answer");
        let (ticket, answer) = self.store.poll_answer().expect("is there when it wakes");
        assert_eq!(ticket, 7);
        answer
    }
}

fn accepted() -> Answer {
    Answer::Accepted(Grant {
        name: "http".to_owned(),
        ..Grant::default()
    })
}

/// The reason of what has to be none of the other answers.
fn reason(answer: Answer) -> String {
    match answer {
        Answer::Unavailable(reason) => reason,
        other => panic!("an answer: {other:?}"),
    }
}

/// A token that nobody else has, for which the log and the reasons are searched.
const SECRET: &str = "s3cr3t+/=";

#[test]
fn a_status_says_whether_the_token_is_known() {
    // Answers with the status that it is asked for.
    let api = Api::start(|asked| Does::status(asked.token()[2..].parse().expect("a status")));
    let mut asker = Asker::new(&api.url());
    for status in [200, 201, 202, 203, 204, 206, 299] {
        assert_eq!(asker.ask(format!("t-{status}")), accepted(), "{status}");
    }
    for status in [401, 403, 404] {
        assert_eq!(asker.ask(format!("t-{status}")), Answer::Unknown);
    }
    for status in [
        300, 301, 304, 307, 400, 402, 405, 410, 418, 429, 500, 501, 502, 503, 599,
    ] {
        let reason = reason(asker.ask(format!("t-{status}")));
        assert!(reason.contains(&status.to_string()), "{reason}");
    }
    // One thread, one connection, kept.
    assert_eq!(api.connections(), 1);
}

#[test]
fn the_token_is_sent_as_it_is_and_the_client_is_named() {
    let api = Api::start(|_| Does::status(200));
    let long = "x+/=".repeat(2_560);
    let tokens = [
        "a",
        "b64+with/every=sign==",
        "a b",
        "a%2Bb",
        "\"quoted\"",
        "a,b;c",
        "=",
        "Basic",
        &long,
    ];
    for scheme in ["", "Bearer"] {
        let mut asker = Asker::with(&api.url(), |settings| {
            scheme.clone_into(&mut settings.scheme)
        });
        for token in tokens {
            assert_eq!(asker.ask(token), accepted());
            let asked = api.asked().pop().expect("was asked");
            let expected = format!("{scheme} {token}");
            assert_eq!(asked.token(), expected.trim_start());
            assert_eq!(asked.line, "GET /check HTTP/1.1");
            assert_eq!(asked.header("x-forwarded-for"), Some("192.0.2.7"));
            assert_eq!(asked.header("accept"), Some("application/json"));
            assert_eq!(asked.header("origin"), None);
        }
    }
    let mut asker = Asker::new(&format!("http://{}?service=push&x=%20", api.address));
    let mut ask = |client, origin| {
        assert_eq!(asker.ask_for(b"a", client, origin), accepted());
        api.asked().pop().expect("was asked")
    };
    let asked = ask("2001:db8::1", Some("https://news.example"));
    assert_eq!(asked.line, "GET /?service=push&x=%20 HTTP/1.1");
    assert_eq!(asked.header("x-forwarded-for"), Some("2001:db8::1"));
    assert_eq!(asked.header("origin"), Some("https://news.example"));
    // One that came over an IPv6 socket.
    let asked = ask("::ffff:192.0.2.7", Some("a\r\nX-Injected: b"));
    assert_eq!(asked.header("x-forwarded-for"), Some("192.0.2.7"));
    assert_eq!(asked.header("origin"), None);
    assert_eq!(asked.header("x-injected"), None);
}

#[test]
fn what_no_header_can_hold_is_not_asked_about() {
    let api = Api::start(|_| Does::status(200));
    let mut asker = Asker::new(&api.url());
    let tokens: [&[u8]; 9] = [
        b"a\r\nX-Injected: b",
        b"a\nb",
        b"a\0b",
        b"a\tb",
        b"a\x7f",
        b" a",
        b"a ",
        b"\xff\xfe",
        "é".as_bytes(),
    ];
    for token in tokens {
        assert_eq!(asker.ask(token), Answer::Unknown, "{token:?}");
    }
    assert_eq!(api.asked(), []);
}

#[test]
fn what_a_body_says_is_granted() {
    let api = Api::start(|asked| {
        match asked.token() {
        "full" => Does::json(r#"{"topics":["a","b_*"],"expires":"2026-11-24T12:00:00Z","name":"Ada",
            "token_id":7}"#),
        // In pieces.
        "chunked" => Does::Answer(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
              b\r\n{\"topics\":[\r\n6\r\n\"a\",\"b\r\n4\r\n_*\"]\r\n1\r\n}\r\n0\r\n\r\n"
                .to_vec(),
        ),
        "text" => Does::body(200, "text/html", "ok"),
        // Ends with the connection.
        "old" => Does::End(b"HTTP/1.0 200 OK\r\n\r\n{\"name\":\"Bob\"}".to_vec()),
        "half" => Does::End(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec()),
        _ => Does::json(r#"{"topics":"a"}"#),
    }
    });
    let mut asker = Asker::new(&api.url());
    let topics = vec!["a".to_owned(), "b_*".to_owned()];
    let full = Grant {
        name: "Ada".to_owned(),
        topics: topics.clone(),
        expires_at: Some(1_795_521_600),
        token_id: Some("7".into()),
    };
    let chunked = Grant {
        name: "http".to_owned(),
        topics,
        ..Grant::default()
    };
    assert_eq!(asker.ask("full"), Answer::Accepted(full));
    assert_eq!(asker.ask("chunked"), Answer::Accepted(chunked));
    assert_eq!(asker.ask("text"), accepted());
    let Answer::Accepted(Grant { name, .. }) = asker.ask("old") else {
        panic!("it is good");
    };
    assert_eq!(name, "Bob");
    reason(asker.ask("half"));
    let reason = reason(asker.ask("wrong"));
    assert!(reason.contains("`topics`"), "{reason}");
}

#[test]
fn whoever_does_not_answer_in_time_is_not_waited_for() {
    let half: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
    for sent in [&b""[..], b"HTTP/1.1 2", half] {
        let api = Api::start(move |_| Does::Stall(sent.to_vec()));
        let reason = reason(Asker::impatient(&api.url()).ask(SECRET));
        assert!(
            reason.contains("no answer within 1 s (auth-timeout)"),
            "{reason}"
        );
    }
    // An answer without an end ends at the bound.
    let head = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    let flood = [head, vec![b'x'; 100_000]].concat();
    let api = Api::start(move |_| Does::Flood(flood.clone()));
    let reason = reason(Asker::new(&api.url()).ask(SECRET));
    assert!(reason.contains("65536 bytes"), "{reason}");
}

#[test]
fn whoever_answers_something_else_is_not_believed() {
    let garbage: [&[u8]; 8] = [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 999999 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x16\x03\x01\x00\x05hello",
    ];
    for bytes in garbage {
        let api = Api::start(move |_| Does::End(bytes.to_vec()));
        let reason = reason(Asker::new(&api.url()).ask(SECRET));
        assert!(!reason.is_empty(), "{bytes:?}");
    }
    let headers = b"X: y\r\n".repeat(50_000);
    let head = [&b"HTTP/1.1 200 OK\r\n"[..], &headers].concat();
    let api = Api::start(move |_| Does::Flood(head.clone()));
    reason(Asker::new(&api.url()).ask(SECRET));

    let closed = Port::hold();
    reason(Asker::new(&format!("http://{}/", closed.address)).ask(SECRET));
    // RFC 6761: a name that is none.
    reason(Asker::new("http://api.invalid/").ask(SECRET));
}

#[test]
fn a_long_body_is_no_answer_but_a_refusal_stays_one() {
    let api = Api::start(|asked| {
        let long = "x".repeat(1 << 20);
        Does::body(
            asked.token()[2..].parse().expect("a status"),
            "text/plain",
            &long,
        )
    });
    let mut asker = Asker::new(&api.url());
    let reason = reason(asker.ask("t-200"));
    assert!(reason.contains("65536 bytes"), "{reason}");
    assert_eq!(asker.ask("t-404"), Answer::Unknown);
    // What was left of it is not taken for the next answer.
    assert_eq!(asker.ask("t-401"), Answer::Unknown);
}

#[test]
fn a_kept_connection_that_has_ended_costs_no_answer() {
    // Every second request meets an end that it could not know of.
    let ends = |asked: &Asked| match asked.earlier {
        0 => Does::status(200),
        _ => Does::End(Vec::new()),
    };
    let api = Api::start(ends);
    let mut asker = Asker::new(&api.url());
    for n in 1..=5 {
        assert_eq!(asker.ask("a"), accepted());
        assert_eq!(api.connections(), n);
    }
    // Whoever ends every connection is asked twice at most.
    let api = Api::start(|_| Does::End(Vec::new()));
    let mut asker = Asker::new(&api.url());
    reason(asker.ask(SECRET));
    reason(asker.ask(SECRET));
    assert_eq!(api.asked().len(), 2);
}

#[test]
fn a_redirect_does_not_take_the_token_along() {
    let other = Api::start(|_| Does::status(200));
    for location in [
        format!("{}?token={SECRET}", other.url()),
        "/elsewhere".to_owned(),
        format!("http:///{SECRET}\x01"),
        SECRET.to_owned(),
    ] {
        for status in [301, 302, 303, 307, 308] {
            let head =
                format!("HTTP/1.1 {status} S\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
            let api = Api::start(move |_| Does::Answer(head.clone().into()));
            reason(Asker::new(&api.url()).ask(SECRET));
            assert_eq!(api.asked().len(), 1);
        }
    }
    assert_eq!(other.asked(), []);
}

#[test]
fn an_api_that_is_down_is_left_alone_and_found_again() {
    let is_down = Arc::new(AtomicBool::new(true));
    let seen = Arc::clone(&is_down);
    let api = Api::start(move |_| match seen.load(Ordering::SeqCst) {
        true => Does::status(503),
        false => Does::status(200),
    });
    let mut asker = Asker::new(&api.url());
    for _ in 0..100 {
        reason(asker.ask(SECRET));
    }
    let asked = api.asked().len();
    assert!(asked < 100, "{asked} of 100");
    is_down.store(false, Ordering::SeqCst);
    wait_until("it is asked again", || asker.ask(SECRET) == accepted());
    for _ in 0..10 {
        assert_eq!(asker.ask(SECRET), accepted());
    }
}

/// A server's configuration with a new certificate for `name`, and a file with its authority's.
fn certificate(name: &str) -> (rustls::ServerConfig, File) {
    use rustls::pki_types::PrivatePkcs8KeyDer;

    let Certified {
        authority,
        certificate,
        key,
    } = Certified::new(name);
    let file = File::new("authority.pem", &authority);
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .expect("a certificate with its key");
    (config, file)
}

#[test]
fn an_api_behind_tls_is_believed_by_its_authority_alone() {
    let trusting = |url: &str, file: &File| {
        let trust = Trust::load(file.path()).expect("an authority");
        Asker::with(url, |settings| settings.trust = trust)
    };
    let (config, authority) = certificate("127.0.0.1");
    let api = Api::start_tls(config, |_| Does::status(200));
    let url = format!("https://{}/check", api.address);
    let mut asker = trusting(&url, &authority);
    assert_eq!(asker.ask(SECRET), accepted());
    assert_eq!(asker.ask(SECRET), accepted());
    assert_eq!(api.connections(), 1);
    assert_eq!(api.asked()[0].token(), SECRET);

    // Mozilla does not know it; another authority has not signed it; it is for another name.
    let (config, other) = certificate("api.example");
    let reasons = [
        reason(Asker::new(&url).ask(SECRET)),
        reason(trusting(&url, &other).ask(SECRET)),
        {
            let api = Api::start_tls(config, |_| Does::status(200));
            let url = format!("https://{}/check", api.address);
            reason(trusting(&url, &other).ask(SECRET))
        },
    ];
    for reason in reasons {
        assert!(reason.contains("certificate"), "{reason}");
    }
    assert_eq!(api.asked().len(), 2);
    // One side speaks TLS and the other does not.
    reason(Asker::new(&format!("http://{}/", api.address)).ask(SECRET));
    let plain = Api::start(|_| Does::status(200));
    let url = format!("https://{}/", plain.address);
    reason(Asker::impatient(&url).ask(SECRET));
}

#[test]
fn authorities_that_are_none_are_named() {
    for (name, text) in [
        ("empty", Some("")),
        ("words", Some("these are words")),
        ("broken", Some("-----BEGIN CERTIFICATE-----\nAAA\n")),
        (
            "key",
            Some("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
        ),
        ("missing", None),
    ] {
        let file = match text {
            Some(text) => File::new(name, text),
            None => File::free(name),
        };
        let error = Trust::load(file.path()).expect_err(name);
        assert!(error.contains(file.path()), "{error}");
    }
}

#[test]
fn an_address_that_is_none_is_named() {
    for url in ["http://", "https:///path", "http://[::1/", "http://a b/"] {
        let settings = HttpOptions {
            scheme: String::new(),
            forwards_client: true,
            trust: Trust::load("").expect("is part of it"),
            bounds: BOUNDS,
        };
        let wake: Wake = Arc::new(|| {});
        let error = HttpStore::new(url, &settings, wake).expect_err(url);
        assert!(error.contains("auth-url"), "{error}");
    }
}
