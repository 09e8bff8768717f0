//! JWTs that another implementation made: good ones, expired ones, and those that an attacker would try.
//!
//! `tests/jwt/make.py` makes them. `tests/jwt/vectors.json` has those that it made once, so that these tests run without
//! Python. One test runs the script again with new keys, where PyJWT is installed.

#![cfg(feature = "all-stores")]

use std::fs;
use std::process::Command;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::BASE64URL_NOPAD;
use kit::api::{Api, Does};
use kit::observe::counted;
use kit::scratch::File;
use kit::scripts::{interpreter, replaced, snippet};
use kit::{Server, command_without_token, output_of};
use newswire::auth::jwks::WatchedSet;
use newswire::auth::jwt::{JwtRules, JwtStore};
use newswire::auth::{Answer, Moment, TokenStore, keys};
use newswire::wire::jwt::JwtAlgorithm;
use serde_json::Value;

use super::{DENIED, check_topics, ended, question};

fn recorded() -> Value {
    serde_json::from_str(include_str!("../jwt/vectors.json")).expect("JSON")
}

fn algorithm(of: &Value) -> JwtAlgorithm {
    let name = of["algorithm"].as_str().expect("a name");
    let mut all = JwtAlgorithm::ALL.into_iter();
    all.find(|algorithm| algorithm.name() == name).expect(name)
}

fn rules(of: &Value) -> JwtRules {
    let text = |name| of[name].as_str().map(str::to_owned);
    JwtRules {
        algorithm: algorithm(of),
        audience: text("audience"),
        issuer: text("issuer"),
        waiting_max: 1_000,
    }
}

fn with_file(rules: JwtRules, text: &str) -> JwtStore {
    let keys = keys::from_file(text.as_bytes(), rules.algorithm).expect("good keys");
    JwtStore::new(rules, keys, Vec::new())
}

fn ask(store: &mut JwtStore, token: &str, unix: u64) -> Option<Answer> {
    let moment = Moment {
        now: Duration::from_secs(100),
        unix: Duration::from_secs(unix),
    };
    store.ask(&question(token), moment)
}

fn word(answer: &Option<Answer>) -> &'static str {
    match answer {
        Some(Answer::Accepted(_)) => "accepted",
        Some(Answer::Refused(..)) => "refused",
        Some(Answer::Unknown | Answer::Unsigned) => "unknown",
        Some(Answer::Unavailable(_)) => "unavailable",
        Some(Answer::AskAgain) => "again",
        None => "awaited",
    }
}

/// Each token, with the keys in force, is what it is said to be.
fn judge_all(vectors: &Value) {
    let now = vectors["now"].as_u64().expect("a moment");
    let cases = vectors["cases"].as_array().expect("a list");
    assert!(cases.len() > 300);
    for case in cases {
        let shown = format!("{} {}", case["algorithm"], case["name"]);
        let file = &vectors["files"][algorithm(case).name()];
        let mut store = with_file(rules(case), file.as_str().expect("text"));
        let answer = ask(&mut store, case["token"].as_str().expect("text"), now);
        assert_eq!(word(&answer), case["answer"], "{shown}: {answer:?}");
        match answer {
            Some(Answer::Accepted(grant)) => {
                if let Some(who) = case.get("who") {
                    assert_eq!(grant.name, *who, "{shown}");
                }
                if let Some(topics) = case.get("topics") {
                    assert_eq!(*topics, Value::from(grant.topics), "{shown}");
                }
                if let Some(expires) = case.get("expires") {
                    assert_eq!(grant.expires_at, expires.as_u64(), "{shown}");
                }
            }
            Some(Answer::Refused(_, reason)) => {
                let expected = case.get("reason").and_then(Value::as_str);
                assert!(
                    reason.contains(expected.unwrap_or_default()),
                    "{shown}: {reason}"
                );
            }
            _ => {}
        }
    }
}

/// Each key file is taken, and knows the token that its owner made, or refused with a reason.
fn read_all_keys(vectors: &Value) {
    let now = vectors["now"].as_u64().expect("a moment");
    let mut taken = 0;
    for (index, file) in vectors["keys"]
        .as_array()
        .expect("a list")
        .iter()
        .enumerate()
    {
        let algorithm = algorithm(file);
        let text = file["text"].as_str().expect("text");
        match (
            keys::from_file(text.as_bytes(), algorithm),
            file["error"].as_str(),
        ) {
            (Ok(keys), None) => {
                taken += 1;
                let cases = vectors["cases"].as_array().expect("a list");
                let good = cases
                    .iter()
                    .find(|case| case["name"] == "good" && case["algorithm"] == algorithm.name());
                let good = good.expect("there is one");
                let mut store = JwtStore::new(rules(good), keys, Vec::new());
                let answer = ask(&mut store, good["token"].as_str().expect("text"), now);
                assert_eq!(word(&answer), "accepted", "{index}");
            }
            (Err(error), Some(expected)) => {
                assert!(
                    error.contains(expected) && !error.contains('\n'),
                    "{index}: {error}"
                );
            }
            (read, expected) => panic!("{index}: {read:?} and not {expected:?}"),
        }
    }
    assert!(taken >= 8);
}

/// A store with one set, which is there when this returns.
fn with_set(of: &Value, fetches: Vec<Result<Vec<u8>, String>>) -> (JwtStore, mpsc::Receiver<()>) {
    let (woken, wakes) = mpsc::channel();
    let wake = Arc::new(move || {
        let _ = woken.send(());
    });
    let mut fetches = fetches.into_iter();
    let fetch = Box::new(move || fetches.next().expect("no more was to be fetched"));
    let rules = rules(of);
    let set = WatchedSet::open("http://set", rules.algorithm, fetch, wake.clone());
    let store = JwtStore::new(rules, Vec::new(), vec![set.expect("a thread")]);
    wakes.recv_timeout(PATIENCE).expect("it is fetched");
    (store, wakes)
}

const PATIENCE: Duration = Duration::from_secs(30);

/// Each set has the keys that are for us, and no others.
fn use_all_sets(vectors: &Value) {
    let now = vectors["now"].as_u64().expect("a moment");
    for set in vectors["sets"].as_array().expect("a list") {
        let json = serde_json::to_vec(&set["set"]).expect("JSON");
        let (keys, others) = keys::from_set(&json, algorithm(set)).expect("a set");
        assert_eq!(keys.len(), set["used"].as_u64().expect("a number") as usize);
        assert_eq!(
            keys.len() + others,
            set["set"]["keys"].as_array().expect("a list").len()
        );
        for token in set["tokens"].as_array().expect("a list") {
            let (mut store, wakes) = with_set(set, vec![Ok(json.clone()), Ok(json.clone())]);
            let answer = ask(&mut store, token[1].as_str().expect("text"), now);
            assert_eq!(word(&answer), token[2], "{} {}", set["algorithm"], token[0]);
            if token[2] == "awaited" {
                wakes.recv_timeout(PATIENCE).expect("it is fetched again");
                assert_eq!(store.poll_answer(), Some((7, Answer::AskAgain)));
                assert_eq!(store.poll_answer(), None);
                // Once in a while, and not for each.
                let again = ask(&mut store, token[1].as_str().expect("text"), now);
                assert_eq!(again, Some(Answer::Unsigned));
            }
        }
    }
}

#[test]
fn tokens_are_what_their_keys_say() {
    judge_all(&recorded());
}

#[test]
fn keys_that_are_weak_or_for_something_else_are_refused() {
    read_all_keys(&recorded());
}

#[test]
fn of_a_set_the_keys_that_check_our_algorithm_are_used() {
    use_all_sets(&recorded());
}

#[test]
#[ignore = "needs Python with PyJWT"]
fn pyjwt_with_new_keys() {
    #[expect(clippy::disallowed_methods, reason = "which Python has the package")]
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let output = Command::new(python).arg("tests/jwt/make.py").output();
    let output = output.expect("Python runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    let vectors = serde_json::from_slice(&output.stdout).expect("JSON");
    judge_all(&vectors);
    read_all_keys(&vectors);
    use_all_sets(&vectors);
}

#[test]
fn a_key_that_is_new_is_found_and_one_that_is_gone_is_told() {
    let vectors = recorded();
    let now = vectors["now"].as_u64().expect("a moment");
    let of = &vectors["sets"][0];
    let json = |id: &str| {
        let text = of["set"].to_string();
        Ok(text.replace("\"ours\"", &format!("{id:?}")).into_bytes())
    };
    let token = |index: usize| of["tokens"][index][1].as_str().expect("text");
    let (mut store, wakes) = with_set(of, vec![json("before"), json("ours"), json("other")]);
    // The first keys may have been there before the store was.
    let _ = store.poll_change();
    assert!(!store.poll_change());
    assert_eq!(ask(&mut store, token(0), now), None);
    wakes.recv_timeout(PATIENCE).expect("it is fetched again");
    assert!(store.poll_change() && !store.poll_change());
    assert_eq!(store.poll_answer(), Some((7, Answer::AskAgain)));
    assert_eq!(word(&ask(&mut store, token(0), now)), "accepted");
    // The same key under another name cannot be asked for again so soon.
    assert_eq!(word(&ask(&mut store, token(4), now)), "unknown");
}

#[test]
fn without_a_set_nobody_can_tell_and_nobody_is_let_in() {
    let vectors = recorded();
    let now = vectors["now"].as_u64().expect("a moment");
    let of = &vectors["sets"][1];
    let token = of["tokens"][0][1].as_str().expect("text");
    let down = || Err("connection refused".to_owned());
    let (mut store, _wakes) = with_set(of, vec![down(), down(), down(), down()]);
    let answer = ask(&mut store, token, now);
    let Some(Answer::Unavailable(reason)) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(reason, "JWK set http://set: connection refused");
    // What is no JWT of ours is none of its business.
    for other in ["abc", vectors["cases"][0]["token"].as_str().expect("text")] {
        assert_eq!(word(&ask(&mut store, other, now)), "unknown");
    }
}

#[test]
fn tokens_wait_for_the_first_fetch_and_are_asked_about_again() {
    const TOKENS: usize = 300;
    let vectors = recorded();
    let now = vectors["now"].as_u64().expect("a moment");
    let of = &vectors["sets"][2];
    let json = serde_json::to_vec(&of["set"]).expect("JSON");
    let (go, gate) = mpsc::channel::<()>();
    let (woken, wakes) = mpsc::channel();
    let wake = Arc::new(move || {
        let _ = woken.send(());
    });
    let fetch = Box::new(move || {
        gate.recv().expect("it may go on");
        Ok(json.clone())
    });
    let rules = JwtRules {
        waiting_max: TOKENS,
        ..rules(of)
    };
    let set = WatchedSet::open("http://set", rules.algorithm, fetch, wake.clone());
    let mut store = JwtStore::new(rules, Vec::new(), vec![set.expect("a thread")]);
    let token = of["tokens"][0][1].as_str().expect("text");
    for _ in 0..TOKENS {
        assert_eq!(ask(&mut store, token, now), None);
    }
    assert_eq!(word(&ask(&mut store, token, now)), "unavailable");
    assert_eq!(store.poll_answer(), None);
    go.send(()).expect("it waits");
    let mut answers = 0;
    while answers < TOKENS {
        wakes.recv_timeout(PATIENCE).expect("there is something");
        while let Some(answer) = store.poll_answer() {
            assert_eq!(answer, (7, Answer::AskAgain));
            assert_eq!(word(&ask(&mut store, token, now)), "accepted");
            answers += 1;
        }
    }
    assert_eq!(store.poll_answer(), None);
}

const SECRET: &str = "a secret that is at least thirty-two bytes long";

/// As an API makes one.
fn hs256(claims: &str) -> String {
    let part = |text: &[u8]| BASE64URL_NOPAD.encode(text);
    let signed = format!(
        "{}.{}",
        part(br#"{"alg":"HS256","typ":"JWT"}"#),
        part(claims.as_bytes())
    );
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = ring::hmac::sign(&key, signed.as_bytes());
    format!("{signed}.{}", part(signature.as_ref()))
}

fn unix() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "tokens end at times of the day")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_secs()
}

#[test]
fn a_server_believes_its_key() {
    let key = File::new("believes", &format!("{SECRET}\n"));
    let options = [
        "--auth-jwt-key",
        key.path(),
        "--auth-jwt-algorithm",
        "HS256",
    ];
    let wants = ["--auth-jwt-audience", "push", "--auth-jwt-issuer", "api"];
    let server = Server::start_without_token(&[&options[..], &wants].concat());
    let ours = r#""aud":"push","iss":"api""#;
    let good = hs256(&format!(r#"{{{ours},"sub":"ann","topics":["a","b_*"]}}"#));
    check_topics(&server, &good);

    let unsigned = good.rsplit_once('.').expect("three parts").0.to_owned() + ".";
    for (token, expected) in [
        (good.as_str(), 101),
        (&format!("Basic%20{good}"), 101),
        (&unsigned, 401),
        (&hs256(r#"{"aud":"push"}"#), 401),
        (&hs256(&format!(r#"{{{ours},"exp":{}}}"#, unix() - 1)), 401),
        (
            &hs256(&format!(r#"{{{ours},"nbf":{}}}"#, unix() + 3600)),
            401,
        ),
        ("abc", 401),
    ] {
        assert_eq!(server.status_of(token), expected, "{token}");
    }
    let log = server.log();
    assert!(!log.contains(&good[..30]) && !log.contains(SECRET), "{log}");
    let summary = server.stop();
    assert_eq!(counted(&summary, "subscribes_denied"), DENIED, "{summary}");
    assert_eq!(counted(&summary, "checked.jwt.refused"), 3, "{summary}");
    assert_eq!(counted(&summary, "checked.jwt.unknown"), 2, "{summary}");
}

#[test]
fn a_session_ends_with_its_token() {
    let key = File::new("ends", SECRET);
    let server = Server::start_without_token(&[
        "--auth-jwt-key",
        key.path(),
        "--auth-jwt-algorithm",
        "HS256",
    ]);
    let mut short = server.client_that_ends(|seconds| {
        hs256(&format!(r#"{{"sub":"ann","exp":{}}}"#, unix() + seconds))
    });
    let mut long = server.client_with(&hs256("{}"));
    assert_eq!(short.close(), ended());
    long.settle();

    // Another key: who came with the one before has to go.
    fs::write(
        &key.0,
        "another secret that is at least thirty-two bytes long",
    )
    .expect("written");
    server.signal("HUP");
    assert_eq!(long.close(), ended());
    let summary = server.stop();
    assert_eq!(counted(&summary, "closed.token_ended"), 2, "{summary}");
}

#[test]
fn a_set_is_waited_for_and_its_keys_come_and_go() {
    let vectors = recorded();
    let of = &vectors["sets"][1];
    let (ours, token) = (of["set"].to_string(), &of["tokens"][0][1]);
    let token = token.as_str().expect("text");
    let without = ours.replace("\"ours\"", "\"theirs\"");
    let without = without.replace("\"sig\"", "\"enc\"");
    let does = Arc::new(Mutex::new(Does::status(500)));
    let answer = Arc::clone(&does);
    let api = Api::start(move |_| answer.lock().expect("no panic").clone());
    let set = |to: Does| *does.lock().expect("no panic") = to;

    let server =
        Server::start_without_token(&["--auth-jwks", &api.url(), "--auth-jwt-algorithm", "ES256"]);
    server.wait_for_log("it answered with status 500");
    assert_eq!(server.status_of(token), 503);
    assert_eq!(server.status_of("abc"), 401);
    set(Does::json(&ours));
    kit::wait_until("the set is there", || server.status_of(token) == 101);
    let mut client = server.client_with(token);

    // It cannot be had any more: what is known stays.
    set(Does::body(200, "text/html", "<html>"));
    server.signal("HUP");
    server.wait_for_log("it is no JSON");
    client.settle();
    assert_eq!(server.status_of(token), 101);

    set(Does::json(&without));
    server.signal("HUP");
    assert_eq!(client.close(), ended());
    assert_eq!(server.status_of(token), 401);
    server.stop();
}

#[test]
fn check_says_when_a_set_cannot_be_used() {
    let vectors = recorded();
    let set = vectors["sets"][1]["set"].to_string();
    for (answer, warning) in [
        (Does::json(&set), None),
        (
            Does::json(r#"{"keys":[]}"#),
            Some("no key in it is for ES256"),
        ),
        (Does::status(500), Some("it answered with status 500")),
    ] {
        let api = Api::start(move |_| answer.clone());
        let mut command = kit::newswire();
        let url = api.url();
        command.args([
            "check",
            "--auth-jwks",
            &url,
            "--auth-jwt-algorithm",
            "ES256",
        ]);
        let output = output_of(command);
        let told = String::from_utf8(output.stderr).expect("text");
        assert!(output.status.success(), "{told}");
        assert_eq!(api.asked().len(), 1);
        match warning {
            None => assert_eq!(told, ""),
            Some(part) => {
                let start = "newswire: warning: auth-jwks: the set of 127.0.0.1:";
                assert!(told.starts_with(start) && told.contains(part), "{told}");
            }
        }
    }
}

#[test]
fn a_key_that_cannot_be_right_ends_the_start() {
    let vectors = recorded();
    let public = vectors["files"]["RS256"].as_str().expect("text");
    let public = File::new("public", public);
    let short = File::new("short", "sesame");
    for (path, algorithm, expected) in [
        (public.path(), "HS256", "a key is no secret of HS256"),
        (public.path(), "EdDSA", "EdDSA needs an Ed25519 key"),
        (short.path(), "HS256", "the secret has 6 bytes"),
        (short.path(), "RS256", "there is no key in it"),
        ("/nowhere", "RS256", "No such file"),
    ] {
        let options = ["--auth-jwt-key", path, "--auth-jwt-algorithm", algorithm];
        let output = output_of(command_without_token(&options));
        let error = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        let place = format!("newswire: auth-jwt-key: {path}: ");
        assert!(
            error.starts_with(&place) && error.contains(expected),
            "{error}"
        );
        assert!(!error.contains("sesame"), "{error}");
    }
}

/// The backend's half of the walk-through in docs/tokens.md. Its page is in `tests/tools/browser.rs`.
#[test]
#[ignore = "needs PHP, without any extension"]
fn clients_get_in_with_a_token_from_plain_php() {
    let key = File::new("php", &format!("{SECRET}\n"));
    let options = [
        "--auth-jwt-algorithm",
        "HS256",
        "--auth-jwt-key",
        key.path(),
    ];
    let server = Server::start_without_token(&options);
    let text = snippet("docs/tokens.md", "php", "hash_hmac");
    let text = replaced(&text, "/etc/newswire/secret.txt", key.path());
    let script = File::new("push-token.php", &text);
    let mut php = interpreter("PHP", "php");
    php.args(["-d", "display_errors=stderr", "-d", "log_errors=0"])
        .arg(&script.0);
    let output = output_of(php);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    let token = String::from_utf8(output.stdout).expect("text");
    let mut client = server.client_with(&token);
    client.subscribe(&["another", "package_created"]);
    let (_context, socket) = server.publisher();
    for topic in ["another", "package_created"] {
        let envelope = format!("{{\"topic\":{topic:?},\"data\":1}}");
        socket.send(&envelope, 0).expect("it has a server");
    }
    // It names one of the two topics.
    assert_eq!(client.text(), r#"[8,"package_created",1]"#);
    server.stop();
}
