//! Whole conversations, in memory and in virtual time.

use std::time::Duration;

use super::conversation::{Conversation, Sparable};
use super::{AccessRules, AdminRules, Command, Response, Whom};
use crate::limits;
use crate::stats::{Door, HttpStatus, Refusal};
use crate::wire::envelope::Form;
use crate::wire::http::{Acceptance, accept_key};
use crate::wire::publication::Events;
use crate::wire::token::Token;

const ADMIN: &str = "the-admin-token";
const PUBLISH: &str = "the-publish-token";

fn rules(admin: Option<&str>, publish: Option<&str>) -> AdminRules {
    let token = |text: Option<&str>| text.map(Token::new);
    AdminRules {
        access: AccessRules::new(token(admin).as_ref(), token(publish).as_ref()),
        body_bytes_max: 1_000,
    }
}

/// One side of a conversation that answers every command with 200 and the command's name.
struct Stage {
    conversation: Conversation,
    rules: AdminRules,
    now: Duration,
    /// What the peer has got.
    got: Vec<u8>,
    /// What was to be done.
    commands: Vec<Command>,
}

impl Stage {
    fn new(door: Door, rules: AdminRules) -> Self {
        Self {
            conversation: Conversation::new(door, Duration::ZERO),
            rules,
            now: Duration::ZERO,
            got: Vec::new(),
            commands: Vec::new(),
        }
    }

    /// Hands in as many as are wanted at a time, `cut` at the most; what is never wanted stays.
    fn send(&mut self, mut bytes: &[u8], cut: usize) {
        self.settle();
        while !bytes.is_empty() {
            let share = self.conversation.wants().min(cut).min(bytes.len());
            if share == 0 {
                return;
            }
            self.conversation
                .handle_bytes(self.now, &bytes[..share], &self.rules);
            bytes = &bytes[share..];
            self.settle();
        }
    }

    fn settle(&mut self) {
        loop {
            if let Some(command) = self.conversation.poll_command() {
                let name = format!("{command:?}");
                let name = name.split(['(', ' ']).next().unwrap_or_default();
                let response = Response::json(format!("{name:?}"));
                self.commands.push(command);
                self.conversation.answer(self.now, &response);
            }
            // Three bytes at a time: a slow reader.
            let output = self.conversation.output();
            if output.is_empty() {
                return;
            }
            let share = output.len().min(3);
            self.got.extend_from_slice(&output[..share]);
            self.conversation
                .handle_written(self.now, share, &self.rules);
        }
    }

    /// The answers that the peer has got, as status and body.
    fn answers(&self) -> Vec<(u16, String)> {
        let mut rest = std::str::from_utf8(&self.got).expect("text");
        let mut answers = Vec::new();
        while let Some((head, behind)) = rest.split_once("\r\n\r\n") {
            let status = head.split(' ').nth(1).expect("a status");
            let status: u16 = status.parse().expect("a number");
            let length = head
                .lines()
                .find_map(|l| l.strip_prefix("Content-Length: "));
            let length: usize = length.map_or(0, |l| l.parse().expect("a number"));
            answers.push((status, behind[..length].to_owned()));
            rest = &behind[length..];
        }
        assert_eq!(rest, "", "nothing is left over");
        answers
    }

    fn statuses(&self) -> Vec<u16> {
        self.answers().iter().map(|(status, _)| *status).collect()
    }
}

/// What one request is answered, by somebody who needs no token.
fn ask(request: &str) -> (u16, String) {
    ask_with(Door::Admin, rules(None, None), request)
}

fn ask_with(door: Door, rules: AdminRules, request: &str) -> (u16, String) {
    let mut stage = Stage::new(door, rules);
    stage.send(request.as_bytes(), usize::MAX);
    let mut answers = stage.answers();
    assert_eq!(answers.len(), 1, "{request}: {answers:?}");
    answers.remove(0)
}

fn get(path: &str, lines: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:8081\r\n{lines}\r\n")
}

fn post(path: &str, lines: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost:8081\r\nContent-Length: {length}\r\n{lines}\r\n{body}"
    )
}

const JSON: &str = "Content-Type: application/json\r\n";

#[test]
fn every_path_is_a_command() {
    for (request, command) in [
        (get("/", ""), "\"Dashboard\""),
        (get("/newswire.js", ""), "\"Script\""),
        (get("/metrics", ""), "\"Metrics\""),
        (get("/healthz?x", ""), "\"Health\""),
        (get("/readyz", ""), "\"Readiness\""),
        (get("/topics?limit=5&after=7", ""), "\"Topics\""),
        (get("/connections", ""), "\"Connections\""),
        (get("http://127.0.0.1:8081/metrics", ""), "\"Metrics\""),
        (
            post("/disconnect", JSON, "{\"id\":\"3-1\"}"),
            "\"DisconnectOne\"",
        ),
        (
            post("/disconnect", JSON, "{\"name\":\"n\"}"),
            "\"Disconnect\"",
        ),
        (post("/revoke", JSON, "{\"token\":\"t\"}"), "\"Revoke\""),
        (post("/publish", JSON, "{}"), "\"Publish\""),
        (
            post("/publish", "Content-Type: application/x-ndjson\r\n", "{}"),
            "\"Publish\"",
        ),
    ] {
        assert_eq!(ask(&request), (200, command.to_owned()), "{request}");
    }
    let mut stage = Stage::new(Door::Admin, rules(None, None));
    stage.send(get("/topics?limit=5&after=7", "").as_bytes(), 1);
    let [Command::Topics(page)] = stage.commands[..] else {
        panic!("{:?}", stage.commands);
    };
    assert_eq!((page.limit, page.after), (5, 7));
}

#[test]
fn every_refusal_is_json_with_a_hint() {
    let long = format!("X-Long: {}\r\n", "x".repeat(limits::ADMIN_HEAD_BYTES_MAX));
    let many = "X-A: b\r\n".repeat(100);
    for (status, request) in [
        (400, "nonsense\r\n\r\n".to_owned()),
        (400, "GET / HTTP/1.1\r\n\r\n".to_owned()),
        (
            400,
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(),
        ),
        (400, get("/topics?limit=0", "")),
        (400, get("/topics?limit=1001", "")),
        (400, get("/connections?after=x", "")),
        (400, get("/metrics", "Content-Length: 5\r\n")),
        (400, get("/metrics", "Content-Length: x\r\n")),
        (
            400,
            post(
                "/publish",
                "Content-Type: application/json\r\nContent-Length: 9\r\n",
                "1",
            ),
        ),
        (400, post("/disconnect", JSON, "nonsense")),
        (400, post("/revoke", JSON, r#"{"token":"a","token":"b"}"#)),
        (400, post("/disconnect", JSON, "{}")),
        (400, post("/disconnect", JSON, "{\"id\":5}")),
        (400, post("/disconnect", JSON, "{\"id\":\"5\"}")),
        (400, post("/disconnect", JSON, "{\"who\":\"x\"}")),
        (
            400,
            post("/disconnect", JSON, "{\"address\":\"localhost\"}"),
        ),
        (
            400,
            post("/disconnect", JSON, "{\"name\":\"a\",\"id\":\"3-1\"}"),
        ),
        (400, post("/revoke", JSON, "{\"sha256\":\"12\"}")),
        (400, post("/revoke", JSON, "{\"token\":\"\"}")),
        (
            403,
            "GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(),
        ),
        (
            403,
            "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1.evil.example:8081\r\n\r\n".to_owned(),
        ),
        (403, get("/metrics", "Origin: http://evil.example\r\n")),
        (403, get("/metrics", "Origin: null\r\n")),
        (403, get("/metrics", "Origin: http://127.0.0.1\r\n")),
        (
            403,
            post(
                "/publish",
                "Content-Type: application/json\r\nOrigin: http://localhost:3000\r\n",
                "{}",
            ),
        ),
        (
            403,
            get(
                "/ws",
                "Upgrade: websocket\r\nOrigin: http://evil.example\r\n",
            ),
        ),
        (404, get("/nowhere", "")),
        (404, get("/metrics/", "")),
        (405, get("/publish", "")),
        (405, post("/metrics", "", "")),
        (
            405,
            "OPTIONS /publish HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_owned(),
        ),
        (
            411,
            "POST /publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\r\n"
                .to_owned(),
        ),
        (
            411,
            "POST /publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
             Transfer-Encoding: chunked\r\n\r\n"
                .to_owned(),
        ),
        (413, post("/publish", JSON, &"1".repeat(1_001))),
        (
            413,
            post(
                "/disconnect",
                JSON,
                &"1".repeat(limits::ADMIN_ORDER_BYTES_MAX + 1),
            ),
        ),
        (415, post("/publish", "", "{}")),
        (
            415,
            post(
                "/publish",
                "Content-Type: application/x-www-form-urlencoded\r\n",
                "{}",
            ),
        ),
        (415, post("/publish", "Content-Type: text/plain\r\n", "{}")),
        (
            415,
            post("/revoke", "Content-Type: application/x-ndjson\r\n", "{}"),
        ),
        (431, get("/metrics", &long)),
        (431, get("/metrics", &many)),
        (
            501,
            "POST /publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n\
             Transfer-Encoding: gzip\r\n\r\n"
                .to_owned(),
        ),
        (505, "GET / HTTP/2.0\r\n\r\n".to_owned()),
    ] {
        let (answered, body) = ask(&request);
        assert_eq!(answered, status, "{request}: {body}");
        let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        let is_text = |key: &str| body[key].as_str().is_some_and(|text| !text.is_empty());
        assert!(is_text("error") && is_text("hint"), "{request}: {body}");
    }
    let mut stage = Stage::new(Door::Admin, rules(None, None));
    stage.send(get("/publish", "").as_bytes(), 100);
    let text = String::from_utf8_lossy(&stage.got).into_owned();
    assert!(text.contains("\r\nAllow: POST\r\n"), "{text}");
}

/// What is wanted from whom: by door, by what is set, and by what is shown.
#[test]
fn who_may_do_what() {
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let set = || rules(Some(ADMIN), Some(PUBLISH));
    let ask = |door, rules, request: &str| ask_with(door, rules, request).0;
    let (admin, publish) = (Door::Admin, Door::Publish);

    for path in ["/metrics", "/topics", "/connections"] {
        assert_eq!(ask(admin, set(), &get(path, "")), 401, "{path}");
        for wrong in ["x", PUBLISH, "the-admin-token2"] {
            assert_eq!(ask(admin, set(), &get(path, &bearer(wrong))), 401, "{path}");
        }
        assert_eq!(ask(admin, set(), &get(path, &bearer(ADMIN))), 200, "{path}");
    }
    for path in ["/", "/healthz", "/readyz", "/newswire.js"] {
        assert_eq!(ask(admin, set(), &get(path, "")), 200, "{path}");
    }
    // In the address only where a browser cannot say it otherwise.
    let in_query = |path: &str| get(&format!("{path}?token={ADMIN}"), "");
    assert_eq!(ask(admin, set(), &in_query("/metrics")), 401);
    assert_eq!(
        ask(
            admin,
            set(),
            &get("/metrics", "authorization:  bearer  the-admin-token\r\n")
        ),
        200
    );
    assert_eq!(
        ask(
            admin,
            set(),
            &get("/metrics", "Authorization: Basic the-admin-token\r\n")
        ),
        401
    );
    // With a token, any name may lead here; and a page still may not.
    let named = |lines: &str| format!("GET /metrics HTTP/1.1\r\nHost: push.example\r\n{lines}\r\n");
    assert_eq!(ask(admin, set(), &named(&bearer(ADMIN))), 200);
    let foreign = format!("{}Origin: https://evil.example\r\n", bearer(ADMIN));
    assert_eq!(ask(admin, set(), &named(&foreign)), 403);
    let own = format!("{}Origin: https://PUSH.example\r\n", bearer(ADMIN));
    assert_eq!(ask(admin, set(), &named(&own)), 200);

    let event = |token: &str| {
        let lines = format!("{JSON}{}", bearer(token));
        post("/publish", &lines, "{}")
    };
    for (door, rules, token, status) in [
        (admin, set(), ADMIN, 200),
        (admin, set(), PUBLISH, 200),
        (admin, set(), "x", 401),
        (publish, set(), PUBLISH, 200),
        (publish, set(), ADMIN, 401),
        (publish, set(), "x", 401),
        (admin, rules(None, None), "x", 200),
        (admin, rules(None, Some(PUBLISH)), "x", 200),
        (admin, rules(Some(ADMIN), None), PUBLISH, 401),
        (publish, rules(None, Some(PUBLISH)), PUBLISH, 200),
        (publish, rules(None, None), "x", 401),
    ] {
        assert_eq!(ask(door, rules, &event(token)), status, "{door:?} {token}");
    }
    for path in ["/", "/metrics", "/healthz", "/disconnect"] {
        assert_eq!(
            ask(publish, set(), &get(path, &bearer(PUBLISH))),
            404,
            "{path}"
        );
    }
    // An upgrade is none at the publishers' door.
    let upgrade = get("/", "Upgrade: websocket\r\n");
    assert_eq!(ask(publish, set(), &upgrade), 404);
    assert_eq!(ask(admin, set(), &upgrade), 401);
    for host in [
        "[::1]:8081",
        "127.0.0.1",
        "localhost",
        "LOCALHOST:1",
        "10.0.0.1",
    ] {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(ask(admin, rules(None, None), &request), 200, "{host}");
    }
    let old = "GET /metrics HTTP/1.0\r\n\r\n";
    assert_eq!(ask(admin, rules(None, None), old), 200);
}

#[test]
fn a_refusal_names_no_token() {
    let request = get("/topics?token=sesame", "Authorization: Bearer sesame\r\n");
    let (status, body) = ask_with(Door::Admin, rules(Some(ADMIN), None), &request);
    assert_eq!(status, 401);
    assert!(!body.contains("sesame") && !body.contains(ADMIN), "{body}");
    let access = format!("{:?}", rules(Some(ADMIN), Some(PUBLISH)));
    assert!(!access.contains("token\""), "{access}");
}

/// Bytes may come in any pieces, and requests one behind the other.
#[test]
fn requests_are_the_same_at_every_cut() {
    let event = "{\"topic\":\"t\",\"data\":1}";
    let all = [
        "\r\n".to_owned(),
        get("/healthz", ""),
        post("/publish", JSON, event),
        get("/nowhere", ""),
        post("/disconnect", JSON, "{\"name\":\"n\"}"),
        "HEAD /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".to_owned(),
        get("/readyz", "Connection: close\r\n"),
        get("/healthz", ""),
    ]
    .concat();
    let mut seed = 7_u64;
    for cut in 1..=all.len() {
        let mut stage = Stage::new(Door::Admin, rules(None, None));
        let mut rest = all.as_bytes();
        // Some of them, then others.
        while !rest.is_empty() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let len = ((seed >> 40) as usize % cut + 1).min(rest.len());
            stage.send(&rest[..len], len);
            rest = &rest[len..];
        }
        // HEAD has a length and no body, so what follows it would be its body to `answers`.
        let text = String::from_utf8_lossy(&stage.got);
        let statuses: Vec<&str> = text
            .match_indices("HTTP/1.1 ")
            .map(|(at, _)| &text[at + 9..at + 12])
            .collect();
        assert_eq!(
            statuses,
            ["200", "200", "404", "200", "200", "200"],
            "{cut}"
        );
        assert!(stage.conversation.poll_finish(), "the last one closes");
        let [
            Command::Health,
            Command::Publish(publication),
            Command::Disconnect(whom),
            Command::Metrics,
            Command::Readiness { has_sources: true },
        ] = &stage.commands[..]
        else {
            panic!("{cut}: {:?}", stage.commands);
        };
        assert_eq!(publication.bytes(), event.as_bytes());
        assert_eq!(*whom, Whom::Name("n".to_owned()));
        let form = Form {
            topic_field: "category".to_owned(),
            event_bytes_max: 100,
            topic_bytes_max: 100,
        };
        assert!(matches!(publication.parse(&form), Ok(Events::One(_))));
    }
}

#[test]
fn nothing_is_read_while_an_answer_is_owed() {
    let mut conversation = Conversation::new(Door::Admin, Duration::ZERO);
    let rules = rules(None, None);
    conversation.handle_bytes(Duration::ZERO, get("/healthz", "").as_bytes(), &rules);
    assert!(conversation.poll_command().is_some());
    assert_eq!(conversation.wants(), 0);
    conversation.answer(Duration::ZERO, &Response::json("1".to_owned()));
    assert_eq!(conversation.wants(), 0);
    let bytes = conversation.output().len();
    conversation.handle_written(Duration::ZERO, bytes, &rules);
    assert_eq!(conversation.wants(), limits::ADMIN_HEAD_BYTES_MAX);
    assert_eq!(conversation.poll_answered(), Some(HttpStatus::Ok));
    assert_eq!(conversation.poll_answered(), None);
    // An answer that nobody awaits is none.
    conversation.answer(Duration::ZERO, &Response::json("1".to_owned()));
    assert!(conversation.output().is_empty());
}

#[test]
fn whoever_waits_for_a_word_gets_it() {
    let lines = format!("{JSON}Expect: 100-continue\r\n");
    let request = post("/publish", &lines, "{\"topic\":\"t\",\"data\":1}");
    let (head, body) = request.split_once("\r\n\r\n").expect("both");
    let mut stage = Stage::new(Door::Admin, rules(None, None));
    stage.send(format!("{head}\r\n\r\n").as_bytes(), 50);
    assert_eq!(stage.got, b"HTTP/1.1 100 Continue\r\n\r\n");
    stage.send(body.as_bytes(), 50);
    assert_eq!(stage.statuses(), [100, 200]);
    // Nobody is asked to send what will not be read.
    let (status, _) = ask_with(
        Door::Admin,
        rules(Some(ADMIN), None),
        &format!("{head}\r\n\r\n"),
    );
    assert_eq!(status, 401);
    // Nor where it has come already.
    assert_eq!(ask(&request).0, 200);
}

#[test]
fn every_step_has_its_time() {
    let seconds = Duration::from_secs;
    let slow = |sent: &str, patience: u64| {
        let mut stage = Stage::new(Door::Admin, rules(None, None));
        stage.now = seconds(1);
        stage.send(sent.as_bytes(), usize::MAX);
        // Bytes that trickle do not make it longer.
        stage.now = seconds(1 + patience) - Duration::from_millis(1);
        stage.send(b"1", 1);
        stage.conversation.handle_time(stage.now);
        assert_eq!(stage.got, b"", "{sent}");
        stage.now = seconds(1 + patience);
        stage.conversation.handle_time(stage.now);
        stage.settle();
        assert_eq!(stage.statuses(), [408], "{sent}");
        assert!(stage.conversation.poll_finish());
        assert!(!stage.conversation.poll_finish(), "once");
        // What still comes is forgotten, for a moment.
        stage.send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 100);
        stage.conversation.handle_time(stage.now + seconds(1));
        assert!(!stage.conversation.is_over());
        stage.conversation.handle_time(stage.now + seconds(2));
        assert!(stage.conversation.is_over());
        assert_eq!(stage.statuses(), [408]);
    };
    slow("GET / HTTP/1.1\r\nHost", limits::ADMIN_HEAD_SECONDS);
    slow(
        &post("/publish", JSON, "12345").replace("12345", "1"),
        limits::ADMIN_BODY_SECONDS,
    );
}

#[test]
fn silence_and_unread_answers_end_without_a_word() {
    let seconds = Duration::from_secs;
    let mut stage = Stage::new(Door::Admin, rules(None, None));
    stage
        .conversation
        .handle_time(seconds(limits::ADMIN_HEAD_SECONDS));
    assert!(stage.conversation.is_over() && stage.got.is_empty());

    let mut stage = Stage::new(Door::Admin, rules(None, None));
    stage.send(get("/healthz", "").as_bytes(), 100);
    assert_eq!(
        stage.conversation.sparable(Duration::ZERO),
        Some(Sparable::Silent)
    );
    stage
        .conversation
        .handle_time(seconds(limits::ADMIN_IDLE_SECONDS) - seconds(1));
    assert!(!stage.conversation.is_over());
    stage
        .conversation
        .handle_time(seconds(limits::ADMIN_IDLE_SECONDS));
    assert!(stage.conversation.is_over());

    let mut conversation = Conversation::new(Door::Admin, Duration::ZERO);
    let rules = rules(None, None);
    conversation.handle_bytes(Duration::ZERO, get("/nowhere", "").as_bytes(), &rules);
    let sparable = conversation.sparable(Duration::ZERO);
    assert_eq!(sparable, Some(Sparable::Open), "an answer all may have");
    conversation.handle_time(seconds(limits::ADMIN_ANSWER_SECONDS));
    assert!(conversation.is_over());
}

/// Who goes for a newcomer, when, and before whom.
#[test]
fn only_those_at_work_with_a_right_keep_their_place() {
    assert!(Sparable::Silent < Sparable::Lingering && Sparable::Lingering < Sparable::Open);
    assert!(Sparable::Open < Sparable::Guest && Sparable::Guest < Sparable::Stalled);
    let rules = rules(Some(ADMIN), Some(PUBLISH));
    let start = Duration::ZERO;
    let stall = Duration::from_secs(limits::ADMIN_STALL_SECONDS);
    let shown = |token: &str| format!("{JSON}Authorization: Bearer {token}\r\n");
    let after = |door: Door, bytes: &str| {
        let mut conversation = Conversation::new(door, start);
        conversation.handle_bytes(start, bytes.as_bytes(), &rules);
        conversation
    };
    let finish = |conversation: &mut Conversation, now: Duration| {
        let bytes = conversation.output().len();
        conversation.handle_written(now, bytes, &rules);
    };
    for door in [Door::Admin, Door::Publish] {
        assert_eq!(after(door, "").sparable(start), Some(Sparable::Silent));
        let begun = after(door, "POST /publish HTTP/1.1\r\n");
        assert_eq!(begun.sparable(start), Some(Sparable::Silent));
        // A refusal, and the rest of a body that nobody reads.
        let mut refused = after(door, &post("/publish", JSON, "12"));
        assert_eq!(refused.sparable(start), Some(Sparable::Open));
        finish(&mut refused, start);
        assert_eq!(refused.sparable(start), Some(Sparable::Lingering));

        // A body under way, which moves, and does no more.
        let whole = post("/publish", &shown(PUBLISH), "1234");
        let mut body = after(door, &whole[..whole.len() - 2]);
        let (early, late) = match door {
            Door::Admin => (Some(Sparable::Guest), Some(Sparable::Guest)),
            Door::Publish => (None, Some(Sparable::Stalled)),
        };
        assert_eq!(body.sparable(start), early, "{door:?}");
        assert_eq!(body.sparable(stall), late, "{door:?}");
        body.handle_bytes(stall, b"3", &rules);
        assert_eq!(body.sparable(stall), early, "{door:?}");
        // Whole, it waits for the hub as long as that takes.
        body.handle_bytes(stall, b"4", &rules);
        assert!(body.poll_command().is_some());
        assert_eq!(body.sparable(stall * 5), None);
        body.answer(stall * 5, &Response::json("1".to_owned()));
        assert_eq!(body.sparable(stall * 5), early);
        finish(&mut body, stall * 5);
        assert_eq!(body.sparable(stall * 5), Some(Sparable::Idle));
    }
    // Files, and who has read no further.
    let mut file = after(Door::Admin, &get("/newswire.js", ""));
    assert!(file.poll_command().is_some());
    file.answer(start, &Response::json("1".to_owned()));
    assert_eq!(file.sparable(start), Some(Sparable::Open));
    // An administrator's answer, which nobody reads.
    let mut metrics = after(Door::Admin, &get("/metrics", &shown(ADMIN)));
    assert!(metrics.poll_command().is_some());
    assert_eq!(metrics.sparable(stall * 5), None);
    metrics.answer(start, &Response::json("1".to_owned()));
    assert_eq!(metrics.sparable(start), None);
    metrics.handle_written(stall, 1, &rules);
    assert_eq!(metrics.sparable(stall), None);
    assert_eq!(metrics.sparable(stall * 2), Some(Sparable::Stalled));
    // An administrator publishes at the own door undisturbed.
    let whole = post("/publish", &shown(ADMIN), "1234");
    let body = after(Door::Admin, &whole[..whole.len() - 2]);
    assert_eq!(body.sparable(start), None);
}

#[test]
fn a_client_that_ends_its_half_still_gets_its_answer() {
    let mut conversation = Conversation::new(Door::Admin, Duration::ZERO);
    let rules = rules(None, None);
    conversation.handle_bytes(Duration::ZERO, get("/healthz", "").as_bytes(), &rules);
    assert!(conversation.poll_command().is_some());
    conversation.handle_end();
    conversation.answer(Duration::ZERO, &Response::json("1".to_owned()));
    let text = String::from_utf8_lossy(conversation.output()).into_owned();
    assert!(text.contains("Connection: close"), "{text}");
    let bytes = conversation.output().len();
    conversation.handle_written(Duration::ZERO, bytes, &rules);
    assert!(conversation.poll_finish());
    conversation.handle_end();
    assert!(conversation.is_over());

    let mut conversation = Conversation::new(Door::Admin, Duration::ZERO);
    conversation.handle_bytes(Duration::ZERO, b"GET / HT", &rules);
    conversation.handle_end();
    assert!(conversation.is_over());
}

#[test]
fn a_websocket_is_handed_over_with_all_that_was_read() {
    let mut stage = Stage::new(Door::Admin, rules(Some(ADMIN), None));
    let request = get(
        &format!("/ws?token={ADMIN}"),
        "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nOrigin: http://127.0.0.1:8081\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\nCookie: x\r\n\
         Sec-WebSocket-Protocol: wamp\r\n",
    );
    stage.send(format!("{request}behind").as_bytes(), usize::MAX);
    let [Command::WebSocket { upgrade, early }] = &stage.commands[..] else {
        panic!("{:?}", stage.commands);
    };
    let acceptance = Acceptance {
        accept_key: accept_key("AAAAAAAAAAAAAAAAAAAAAA=="),
        subprotocol: Some("wamp"),
    };
    assert_eq!(*upgrade, Ok(acceptance));
    assert_eq!(early, b"behind");
    let shown = format!("{:?}", stage.commands);
    for hidden in ["Origin", "Cookie", "127.0.0.1", ADMIN] {
        assert!(!shown.contains(hidden), "{hidden}: {shown}");
    }
}

/// Whoever may have the WebSocket gets the refusal of an upgrade that is none from the engine.
#[test]
fn an_upgrade_is_judged_like_any_other() {
    let good = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let long = format!("{good}Content-Length: 2\r\n");
    for (request, refusal) in [
        (
            get("/", "Upgrade: websocket\r\n"),
            Refusal::NotConnectionUpgrade,
        ),
        (get("/", &good.replace("AA==", "A")), Refusal::BadKey),
        (
            get("/", &good.replace("13", "8")),
            Refusal::WebSocketVersion,
        ),
        (
            get("/", &format!("{good}Sec-WebSocket-Protocol: mqtt\r\n")),
            Refusal::Subprotocol,
        ),
        (get("/", good).replace("1.1", "1.0"), Refusal::HttpVersion),
        (get("/", &long), Refusal::BadRequest),
    ] {
        let mut stage = Stage::new(Door::Admin, rules(None, None));
        stage.send(request.as_bytes(), usize::MAX);
        let [Command::WebSocket { upgrade, .. }] = &stage.commands[..] else {
            panic!("{:?}", stage.commands);
        };
        assert_eq!(*upgrade, Err(refusal), "{request}");
    }
}

/// Pages of origins that the operator names may publish, with a token; browsers ask first.
#[test]
fn pages_of_named_origins_publish_and_others_do_not() {
    const PAGE: &str = "https://example.com";
    let rules = |admin| {
        let mut rules = rules(admin, Some(PUBLISH));
        let access = rules.access.with_publish_origins(&[PAGE.to_owned()]);
        rules.access = access;
        rules
    };
    let preflight = |path: &str, origin: &str| {
        format!(
            "OPTIONS {path} HTTP/1.1\r\nHost: h\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: POST\r\n\
             Access-Control-Request-Headers: authorization,content-type\r\n\r\n"
        )
    };
    let event = |origin: &str, token: &str| {
        let token = format!("Authorization: Bearer {token}\r\n");
        post(
            "/publish",
            &format!("{JSON}Origin: {origin}\r\n{token}"),
            "{}",
        )
    };
    let told = |door, admin, request: &str| {
        let mut stage = Stage::new(door, rules(admin));
        stage.send(request.as_bytes(), usize::MAX);
        let text = String::from_utf8(stage.got.clone()).expect("text");
        (stage.statuses()[0], text)
    };
    let allowed = format!("\r\nAccess-Control-Allow-Origin: {PAGE}\r\n");
    for door in [Door::Publish, Door::Admin] {
        for (request, status, is_allowed) in [
            (preflight("/publish", PAGE), 200, true),
            (
                preflight("/publish", "https://example.com.evil"),
                403,
                false,
            ),
            (preflight("/publish", "null"), 403, false),
            (event(PAGE, PUBLISH), 200, true),
            // The page is to be able to read why.
            (event(PAGE, "wrong"), 401, true),
            (event("https://evil.example", PUBLISH), 403, false),
            (
                post("/publish", JSON, "{}"),
                if door == Door::Admin { 200 } else { 401 },
                false,
            ),
        ] {
            let (got, text) = told(door, None, &request);
            assert_eq!(got, status, "{door:?} {request}: {text}");
            assert_eq!(text.contains(&allowed), is_allowed, "{request}: {text}");
            assert!(text.contains("\r\nVary: Origin\r\n"), "{text}");
        }
    }
    // What stands behind the question is no request of its own.
    let hidden = get("/healthz", "");
    for length in [
        format!("Content-Length: {}", hidden.len()),
        "Transfer-Encoding: chunked".to_owned(),
    ] {
        let asked =
            preflight("/publish", PAGE).replace("\r\n\r\n", &format!("\r\n{length}\r\n\r\n"));
        let mut stage = Stage::new(Door::Admin, rules(None));
        stage.send(format!("{asked}{hidden}").as_bytes(), usize::MAX);
        let statuses = stage.statuses();
        assert!(
            matches!(statuses[..], [400 | 411]),
            "{length}: {statuses:?}"
        );
    }
    // Nothing else is for such a page, with whatever token.
    let shown = format!("Origin: {PAGE}\r\nAuthorization: Bearer {ADMIN}\r\n");
    for request in [get("/metrics", &shown), preflight("/metrics", PAGE)] {
        let (status, text) = told(Door::Admin, Some(ADMIN), &request);
        assert!(matches!(status, 403 | 405), "{text}");
        assert!(!text.contains("Access-Control"), "{text}");
    }
    // Without any named origin nothing has changed.
    let mut stage = Stage::new(Door::Publish, super::tests::rules(None, Some(PUBLISH)));
    stage.send(preflight("/publish", PAGE).as_bytes(), usize::MAX);
    assert_eq!(stage.statuses(), [403]);
    let answer = Response::preflight();
    let mut bytes = Vec::new();
    answer.encode("", false, true, &mut bytes);
    let text = String::from_utf8(bytes).expect("text");
    assert!(text.starts_with("HTTP/1.1 204 No Content\r\n"), "{text}");
    assert!(
        text.ends_with("\r\n\r\n") && !text.contains("Content-Length"),
        "{text}"
    );
}
