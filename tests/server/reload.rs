//! SIGHUP: what a new configuration changes, what it leaves, and what a bad one does: nothing.

use std::fs;
use std::process::Command;

use kit::past::{Dialect, Peer};
use kit::scratch::File;
use kit::{Server, wait_until};
use serde_json::json;

const BASE: &str =
    "listen = \"127.0.0.1:0\"\npull = \"tcp://127.0.0.1:*\"\nadmin = \"127.0.0.1:0\"\n";

fn start(file: &File) -> Server {
    let mut command = kit::newswire();
    command.arg("--config").arg(&file.0);
    // The level is the file's.
    Server::launch_as_it_is(command)
}

fn status(server: &Server, token: &str) -> u16 {
    let head = format!(
        "GET /?token={token} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    server.ask(&head).0
}

#[test]
fn tokens_limits_and_the_level_change_and_nobody_is_dropped() {
    let token = kit::TOKEN;
    let file = File::new(
        "changes",
        &format!("{BASE}token = [\"{token}\", \"old\"]\n"),
    );
    let server = start(&file);
    let mut open = server.subscriber(&["t"]);
    assert_eq!(status(&server, "old"), 101);
    assert_eq!(status(&server, "new"), 401);
    assert!(!server.log().contains("DEBUG"));

    file.set(&format!(
        "{BASE}token = [\"new\"]\nsubscriptions-max = 1\nlog-level = \"debug\"\nping-interval = 60\n"
    ));
    server.signal("HUP");
    server.wait_for_log("reload: done tokens=1");
    assert_eq!(status(&server, "old"), 401);
    assert_eq!(status(&server, "new"), 101);
    server.wait_for_log("DEBUG");

    // The session that was open hears on, and the new limit is in force for what it says next.
    let (_context, publisher) = server.publisher();
    publisher
        .send(r#"{"topic":"t","data":1}"#, 0)
        .expect("sent");
    assert_eq!(open.text(), r#"[8,"t",1]"#);
    open.send(r#"[5,"another"]"#);
    assert_eq!(open.close_code(), 1008);
    server.stop();
}

/// What came of a topic while nobody wanted it was not kept, whatever the rules say later.
#[test]
fn a_topic_that_is_kept_from_now_on_promises_nothing_from_before() {
    let publisher = zmq::Context::new().socket(zmq::PUB).expect("a socket");
    publisher.bind("tcp://127.0.0.1:*").expect("bound");
    let endpoint = publisher.get_last_endpoint().expect("bound");
    let endpoint = endpoint.expect("UTF-8");
    let publish = |topic: &str| {
        let sent = publisher.send_multipart([topic, "1"], 0);
        sent.expect("taken");
    };
    let text = |rules: &str| {
        let token = kit::TOKEN;
        format!("{BASE}sub = {endpoint:?}\ntoken = {token:?}\ntopic = [{rules}]\n")
    };
    let file = File::new("kept-from-now-on", &text("\"quiet\", \"* history=9\""));
    let server = start(&file);
    // A rule with `*` asks for everything, so also for what this exception does not keep.
    wait_until("the publisher is heard", || {
        publish("loud");
        server.metric("newswire_history_events") > 0.0
    });
    let ask = |since| Peer::asks(Dialect::Wamp2, server.connect(), "quiet", since, None);
    let (peer, notice) = ask(None);
    let position = notice["id"].as_str().expect("an id").to_owned();
    drop(peer);
    wait_until("nobody is subscribed", || {
        server.metric("newswire_subscriptions") == 0.0
    });
    publish("quiet");
    wait_until("nobody wants it", || {
        server.metric("newswire_dropped_total{reason=\"filtered\"}") == 1.0
    });

    file.set(&text("\"* history=9\""));
    server.signal("HUP");
    server.wait_for_log("reload: done");
    let (_, notice) = ask(Some(&position));
    assert_eq!(notice["recovered"], json!(false), "{notice}");
    assert_eq!(notice["reason"], json!("floor"), "{notice}");
    server.stop();
}

#[test]
fn a_bad_file_changes_nothing_and_is_reported() {
    let token = kit::TOKEN;
    let good = format!("{BASE}token = \"{token}\"\n");
    let file = File::new("reload-bad.toml", &good);
    let server = start(&file);
    let mut open = server.subscriber(&["t"]);
    for (bad, complaint) in [
        ("ping-interval = 0\n", "ping-interval"),
        ("nonsense = 1\n", "nonsense"),
        ("token = [\n", "reload-bad.toml"),
    ] {
        file.set(&format!("{BASE}token = \"other\"\n{bad}"));
        server.signal("HUP");
        server.wait_for_log("reload: nothing is changed");
        wait_until("the log says what is wrong", || {
            server.log().contains(complaint)
        });
        assert_eq!(status(&server, token), 101);
        assert_eq!(status(&server, "other"), 401);
    }
    fs::remove_file(&file.0).expect("it is there");
    server.signal("HUP");
    server.wait_for_log("No such file");
    assert_eq!(status(&server, token), 101);

    file.set(&format!("{good}listen = \"127.0.0.1:1\"\n").replacen("listen", "#", 1));
    server.signal("HUP");
    server.wait_for_log("reload: listen needs a restart");
    let (_context, publisher) = server.publisher();
    publisher
        .send(r#"{"topic":"t","data":1}"#, 0)
        .expect("sent");
    assert_eq!(open.text(), r#"[8,"t",1]"#);
    server.stop();
}

#[test]
fn a_pipe_in_the_files_place_holds_nobody_up() {
    let file = File::new(
        "reload-pipe.toml",
        &format!("{BASE}token = \"{}\"\n", kit::TOKEN),
    );
    let server = start(&file);
    fs::remove_file(&file.0).expect("it is there");
    let made = Command::new("mkfifo").arg(&file.0).status();
    assert!(made.expect("mkfifo is there").success());
    server.signal("HUP");
    server.wait_for_log("reload: nothing is changed");
    server.wait_for_log("reload-pipe.toml: it is no regular file");
    assert_eq!(status(&server, kit::TOKEN), 101);
    server.stop();
}

#[test]
fn what_needs_a_restart_is_named_as_long_as_it_differs() {
    let base = format!("{BASE}token = \"{}\"\n", kit::TOKEN);
    let file = File::new("fixed", &format!("{base}shutdown-timeout = 5\n"));
    let server = start(&file);
    let warning = "reload: shutdown-timeout needs a restart";
    let reload = |text: &str, reloads: usize| {
        file.set(text);
        server.signal("HUP");
        wait_until("it has reloaded", || {
            server.log().matches("reload: done").count() == reloads
        });
        server.log().matches(warning).count()
    };
    let other = format!("{base}shutdown-timeout = 6\n");
    assert_eq!(reload(&other, 1), 1);
    assert_eq!(reload(&other, 2), 2, "it differs still");
    let same = format!("{base}shutdown-timeout = 5\n");
    assert_eq!(reload(&same, 3), 2, "it is what is in force");
    server.signal("TERM");
    server.wait_for_log("shutdown: begins connections=0 seconds_max=5");
    server.stop();
}

#[test]
fn a_listener_that_stays_open_keeps_its_token() {
    let base = BASE.replace("admin = \"127.0.0.1:0\"\n", "token = \"t\"\n");
    let file = File::new(
        "open",
        &format!("{base}admin = \"0.0.0.0:0\"\nadmin-token = \"sesame\"\n"),
    );
    let server = start(&file);
    file.set(&format!("{base}admin = \"127.0.0.1:0\"\n"));
    server.signal("HUP");
    server.wait_for_log("reload: nothing is changed: admin needs a restart");
    server.stop();
}

#[test]
fn a_token_made_for_the_run_survives() {
    let file = File::new("made", BASE);
    let server = start(&file);
    server.signal("HUP");
    server.wait_for_log("reload: done tokens=1");
    server.stop();
}

#[test]
fn sigusr1_tells_what_was_counted() {
    let server = Server::start(&[]);
    let _open = server.subscriber(&["t", "u"]);
    server.signal("USR1");
    server.wait_for_log("summary: connected=1 topics=2 subscriptions=2");
    server.wait_for_log("handshakes=1");
    server.stop();
}
