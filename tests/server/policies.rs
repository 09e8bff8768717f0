//! What the server promises beyond delivery: it notices dead peers, keeps tokens secret, and says why it cannot start.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use kit::observe::{counted, envelope, publish_all, upgrade};
use kit::stream::Patient;
use kit::{PATIENCE, Server, TOKEN, wait_until};

#[test]
fn who_answers_pings_stays_and_who_does_not_is_gone() {
    let server = Server::start(&["--ping-interval", "1", "--ping-timeout", "5"]);
    let mut alive = server.subscriber(&["t"]);
    let dead = server.raw_subscriber(&["t"]);
    dead.set_read_timeout(Some(Duration::from_millis(50)))
        .expect("set");
    let mut heard = Vec::new();
    let mut pings = 0;
    wait_until("its end", || {
        // The other one reads, and so answers.
        alive
            .socket
            .get_ref()
            .0
            .set_read_timeout(Some(Duration::from_millis(50)))
            .expect("set");
        match alive.socket.read() {
            Ok(message) => pings += u32::from(message.is_ping()),
            Err(tungstenite::Error::Io(error)) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
            }
            Err(error) => panic!("{error}"),
        }
        let _ = alive.socket.flush();
        let mut piece = [0; 64];
        match Patient(&dead).read(&mut piece) {
            Ok(0) => true,
            Ok(n) => {
                heard.extend_from_slice(&piece[..n]);
                false
            }
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");
                false
            }
        }
    });
    assert_eq!(heard, [0x89, 0], "one ping, and no Close frame");
    assert!(pings >= 1);
    alive
        .socket
        .get_ref()
        .0
        .set_read_timeout(Some(PATIENCE))
        .expect("set");
    publish_all(&server.pull, [envelope("t", "1")]);
    assert_eq!(alive.text(), "[8,\"t\",1]");
    let summary = server.stop();
    assert_eq!(counted(&summary, "closed.ping_timeout"), 1, "{summary}");
    assert_eq!(counted(&summary, "closed.shutdown"), 1, "{summary}");
}

/// What somebody logs with everything on, all of it done that a token takes part in.
fn log_of_everything(server: Server, token: &str) -> String {
    let wrong = "wrong-sesame";
    for target in [
        format!("/?token={token}"),
        format!("/?token=Basic%20{token}"),
        format!("/?token={wrong}"),
        format!("/?token={token}&token={wrong}"),
        format!("http://localhost/path?token={wrong}"),
        format!("/?token={wrong}%zz"),
        format!("/?auth_token={wrong}"),
        "/".to_owned(),
    ] {
        server.ask(&upgrade(&target, ""));
        server.ask(&upgrade(&target, "Upgrade: nonsense\r\n"));
        server.ask(&upgrade(
            &target,
            &format!("Authorization: Basic {wrong}\r\n"),
        ));
        server.ask(&format!("GET {target} HTTP/1.0\r\n\r\n"));
        server.ask(&format!("GET {target} nonsense\r\n\r\n"));
    }
    server.wait_for_log("reason=token");
    server.signal("TERM");
    server.wait_for_log("shutdown: complete");
    let log = server.log();
    let (status, rest) = server.wait();
    assert!(status.success());
    let all = log + &rest;
    assert!(!all.contains(wrong), "{all}");
    all
}

#[test]
fn a_token_made_for_the_run_works_and_is_shown_once() {
    let mut command = kit::newswire();
    command.args(["--listen", "127.0.0.1:0", "--pull", "tcp://127.0.0.1:*"]);
    command.args(["--admin", "127.0.0.1:0"]);
    command.args(["--log-level", "trace"]);
    let mut server = Server::launch(command);
    let line = loop {
        let line = server.next_line();
        if line.contains(" subscribe ") {
            break line;
        }
    };
    let publish = server.next_line();
    // As an operator would: copied to a shell.
    let shell = |line: &str| {
        let mut command = Command::new("sh");
        // In the shell's place, so that whoever ends the one ends the other.
        let line = format!("exec {}", line.trim());
        command.args(["-c", &line]).stdin(Stdio::null());
        command
    };
    let subscriber = shell(&line)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell");
    // Until it hears one; then its own end is the pipe's.
    let mut subscriber = KillOnDrop(subscriber);
    server.wait_for_log("to=Open");
    let out = subscriber.0.stdout.take().expect("piped");
    let heard = std::thread::spawn(move || {
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line).expect("a line");
        line
    });
    wait_until("it hears what the printed command publishes", || {
        let output = shell(&publish).output().expect("a shell");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        heard.is_finished()
    });
    let heard = heard.join().expect("no panic");
    assert_eq!(
        heard,
        "{\"topic\":\"package_created\",\"data\":{\"n\":1}}\n"
    );

    let (_, rest) = line.split_once("token=").expect("a URL");
    let token = rest.split(['\'', ' ']).next().expect("a token").to_owned();
    assert!(token.len() >= 40, "{token}");
    let (status, _) = server.ask(&upgrade(&format!("/?token={token}"), ""));
    assert_eq!(status, 101);
    drop(subscriber);
    let all = log_of_everything(server, &token);
    assert!(!all.contains(&token), "{all}");
}

/// The digest of refusals comes even if nothing else ever happens.
#[test]
fn a_refusal_is_reported_though_nothing_follows_it() {
    let server = Server::start(&[]);
    assert_eq!(server.ask(&upgrade("/?token=wrong", "")).0, 401);
    let line = "refused: token=1 from 127.0.0.1 (unknown 1)";
    server.wait_for_log(line);
    // The next one waits for its interval, or for the end.
    assert_eq!(server.ask(&upgrade("/?token=wrong", "")).0, 401);
    server.signal("TERM");
    wait_until("the end tells what was not told", || {
        server.log().matches(line).count() == 2
    });
    assert!(server.wait().0.success());
}

struct KillOnDrop(std::process::Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn configured_tokens_are_shown_nowhere() {
    let other = "other+sesame/==";
    let mut command = kit::newswire();
    command.args(["--listen", "127.0.0.1:0", "--pull", "tcp://127.0.0.1:*"]);
    command.args(["--admin", "127.0.0.1:0"]);
    command.args(["--log-level", "trace"]);
    command.env("NEWSWIRE_TOKEN", format!("{TOKEN},{other}"));
    let server = Server::launch(command);
    for token in [TOKEN, other] {
        assert_eq!(server.ask(&upgrade(&format!("/?token={token}"), "")).0, 101);
    }
    let all = log_of_everything(server, TOKEN);
    assert!(!all.contains(TOKEN) && !all.contains("sesame"), "{all}");
    assert!(all.contains("YOUR_TOKEN"), "{all}");
}

/// Starts what cannot start: its one line on standard error.
fn cannot_start(arguments: &[&str]) -> String {
    let output = kit::newswire()
        .args(["--token", TOKEN, "--admin", "127.0.0.1:0"])
        .args(arguments)
        .output()
        .expect("it starts");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert_eq!(err.lines().count(), 1, "{err}");
    assert_eq!(output.stdout, b"", "no banner");
    err
}

#[test]
fn an_address_that_is_taken_ends_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("bound").to_string();
    let err = cannot_start(&["--listen", &address, "--pull", "tcp://127.0.0.1:*"]);
    assert!(err.contains(&address) && err.contains("in use"), "{err}");
    let this_process = format!("in use by pid {} (", std::process::id());
    assert!(err.contains(&this_process), "{err}");
    assert!(err.contains("--listen takes another address"), "{err}");

    let endpoint = format!("tcp://{address}");
    let err = cannot_start(&["--listen", "127.0.0.1:0", "--pull", &endpoint]);
    assert!(err.contains(&endpoint) && err.contains("in use"), "{err}");
    assert!(err.contains(&this_process), "{err}");
    assert!(err.contains("--pull takes another address"), "{err}");

    // An address that no interface has (RFC 5737).
    let err = cannot_start(&["--listen", "192.0.2.1:8080", "--pull", "tcp://127.0.0.1:*"]);
    assert!(err.contains("192.0.2.1:8080"), "{err}");
    assert!(err.contains("no such address"), "{err}");

    let free = ["--listen", "127.0.0.1:0", "--pull", "tcp://127.0.0.1:*"];
    for option in ["admin", "publish"] {
        let flag = format!("--{option}");
        let err = cannot_start(&[&free[..], &[&flag, &address, "--publish-token", "x"]].concat());
        let expected = format!("{flag} takes another address, or `off`");
        assert!(err.contains(&expected) && err.contains(&address), "{err}");
    }
}

#[test]
fn two_servers_cannot_share_what_one_has() {
    let server = Server::start(&[]);
    let err = cannot_start(&["--listen", "127.0.0.1:0", "--pull", &server.pull]);
    assert!(err.contains(&server.pull), "{err}");
    let owner = format!(
        "in use by pid {} (newswire): is another newswire running?",
        server.pid()
    );
    assert!(err.contains(&owner), "{err}");
    let address = server.address.to_string();
    let err = cannot_start(&["--listen", &address, "--pull", "tcp://127.0.0.1:*"]);
    assert!(err.contains(&address) && err.contains(&owner), "{err}");
    server.client().settle();
    server.stop();
}
