//! A file of tokens, as clients and operators meet it: which clients get in, which events they receive, and what happens
//! when the file is changed, broken, emptied or removed.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kit::observe::{counted, upgrade};
use kit::scratch::File;
use kit::{Server, command_without_token, output_of};

use super::{DENIED, check_topics, ended};

/// A server that has no tokens but those of `files`.
fn serve(files: &[&File]) -> Server {
    let options: Vec<&str> = (files.iter())
        .flat_map(|file| ["--tokens", file.path()])
        .collect();
    Server::start_without_token(&options)
}

/// `seconds` from now, as RFC 3339 has it.
fn in_seconds(seconds: u64) -> String {
    #[expect(clippy::disallowed_methods, reason = "tokens end at times of the day")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let end = now.expect("after 1970") + Duration::from_secs(seconds);
    let end = time::OffsetDateTime::from_unix_timestamp(end.as_secs() as i64).expect("a date");
    let ((year, month, day), (hour, minute, second)) = (end.to_calendar_date(), end.to_hms());
    let month = u8::from(month);
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[test]
fn tokens_of_files_are_let_in_as_they_stand_or_by_their_hash() {
    let first = File::new(
        "in-1",
        "plain+b64/==\nsha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n\
         over expires=2020-01-01T00:00:00Z\n# comment-token\nlate expires=2120-01-01T00:00:00Z\n",
    );
    let second = File::new("in-2", "second\nover\n");
    let server = serve(&[&first, &second]);
    for (token, expected) in [
        ("plain+b64/==", 101),
        ("plain%2Bb64/%3D%3D", 101),
        ("Basic%20plain+b64/==", 101),
        ("abc", 101),
        ("late", 101),
        ("second", 101),
        // The first file that knows a token decides.
        ("over", 401),
        ("ab", 401),
        ("", 401),
        ("comment-token", 401),
        (
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            401,
        ),
    ] {
        assert_eq!(server.status_of(token), expected, "{token}");
    }
    let log = server.log();
    for secret in ["plain+b64", "comment-token", "second"] {
        assert!(!log.contains(secret), "{log}");
    }
    let summary = server.stop();
    assert_eq!(counted(&summary, "checked.file.refused"), 1, "{summary}");
}

#[test]
fn topics_of_the_line_are_obeyed() {
    let file = File::new("topics", "token topics=a,b_*\n");
    let server = serve(&[&file]);
    check_topics(&server, "token");
    let summary = server.stop();
    assert_eq!(counted(&summary, "subscribes_denied"), DENIED, "{summary}");
}

#[test]
fn a_token_that_vanishes_ends_its_sessions_and_no_others() {
    let file = File::new("vanishes", "one\ntwo\nthree topics=a,b name=ann\n");
    let server = serve(&[&file]);
    let (mut one, mut two) = (server.client_with("one"), server.client_with("two"));
    let mut three = server.client_with("three");
    three.send(r#"[5,"a"]"#);
    three.send(r#"[5,"b"]"#);
    three.settle();
    file.replace("two\nfour\nthree topics=b name=ann\n");
    assert_eq!(one.close(), ended());
    assert_eq!(server.status_of("one"), 401);
    assert_eq!(server.status_of("four"), 101);
    two.settle();

    // The client is not told, so the log has to say it.
    server.wait_for_log("withdrawn: subscriptions=1 topic=\"a\" name=\"ann\" (1)");

    // What the line allows now is what is heard.
    let (_context, publisher) = server.publisher();
    for event in [r#"{"topic":"a","data":1}"#, r#"{"topic":"b","data":2}"#] {
        publisher.send(event, 0).expect("sent");
    }
    assert_eq!(three.text(), r#"[8,"b",2]"#);
    let summary = server.stop();
    assert_eq!(counted(&summary, "closed.token_ended"), 1, "{summary}");
    assert_eq!(counted(&summary, "subscriptions_withdrawn"), 1, "{summary}");
}

#[test]
fn a_bad_file_and_none_leave_what_was() {
    let file = File::new("bad", "sesame\n");
    let server = serve(&[&file]);
    let mut open = server.client_with("sesame");
    file.set("other\nsesame expirse=2020-01-01T00:00:00Z\n");
    let path = file.path();
    server.wait_for_log(&format!(
        "{path}:2: word 2 is none of topics=, expires= and name="
    ));
    assert_eq!(
        (server.status_of("sesame"), server.status_of("other")),
        (101, 401)
    );

    fs::remove_file(&file.0).expect("it is there");
    server.wait_for_log(&format!("{path}: No such file"));
    assert_eq!(server.status_of("sesame"), 101);
    open.settle();

    file.set("other\n");
    assert_eq!(open.close(), ended());
    assert_eq!(
        (server.status_of("sesame"), server.status_of("other")),
        (401, 101)
    );
    assert!(!server.log().contains("sesame"), "{}", server.log());
    server.stop();
}

#[test]
fn a_token_ends_when_its_line_says_so() {
    let text = |seconds| format!("short expires={} name=ann\nlong\n", in_seconds(seconds));
    let file = File::new("ends", &text(3_600));
    let server = serve(&[&file]);
    let (mut short, mut long) = (server.client_with("short"), server.client_with("long"));
    file.replace(&text(5));
    assert_eq!(short.close(), ended());
    assert_eq!(server.status_of("short"), 401);
    long.settle();
    server.wait_for_log("name=\"ann\"");
    server.stop();
}

#[test]
fn a_file_that_is_emptied_is_told() {
    let file = File::new("emptied", "one\n");
    let server = serve(&[&file]);
    file.replace("# nobody\n");
    server.wait_for_log("has no token in it, so it lets nobody in");
    // The thread that reads the file logs first, and then hands its tokens over.
    kit::wait_until("nobody is let in", || server.status_of("one") == 401);
    server.stop();
}

/// WAMP v1 has no answer to a SUBSCRIBE that is ignored: the log has to say it, at its usual level.
#[test]
fn a_denied_subscription_is_in_the_log_with_topic_and_name() {
    let file = File::new("denied", "sesame topics=a,b_* name=ann\n");
    let server = serve(&[&file]);
    let mut client = server.client_with("sesame");
    client.subscribe(&["a", "b_1", "package_created"]);
    let line = "denied: subscribes=1 topic=\"package_created\" name=\"ann\" (1)";
    server.wait_for_log(line);
    let log = server.log();
    let line = log.lines().find(|l| l.contains(line)).expect("it is there");
    assert!(line.contains("WARN"), "{line}");
    assert!(!log.contains("sesame"), "{log}");
    server.stop();
}

/// The first refusal after a quiet time is reported at once, so each server here reports one.
#[test]
fn a_refused_token_is_in_the_log_with_address_and_cause() {
    let file = File::new(
        "refused",
        "over expires=2020-01-01T00:00:00Z\ngood name=ann\n",
    );
    for (target, cause) in [
        ("/?token=over", "expired"),
        ("/?token=wrong", "unknown"),
        ("/", "missing"),
    ] {
        let server = serve(&[&file]);
        assert_eq!(server.ask(&upgrade(target, "")).0, 401);
        server.wait_for_log(&format!("refused: token=1 from 127.0.0.1 ({cause} 1)"));
        let summary = server.stop();
        let name = format!("refused_token.{cause}");
        assert_eq!(counted(&summary, &name), 1, "{summary}");
    }
}

#[test]
fn sighup_reads_the_file_too_and_other_files() {
    let (first, second) = (File::new("hup-1", "one\n"), File::new("hup-2", "two\n"));
    let base = "listen = \"127.0.0.1:0\"\npull = \"tcp://127.0.0.1:*\"\nadmin = \"off\"\n";
    let config = File::new("hup.toml", &format!("{base}tokens = {:?}\n", first.path()));
    let mut command = kit::newswire();
    command.args(["--config", config.path()]);
    let server = Server::launch(command);
    let mut one = server.client_with("one");

    server.signal("HUP");
    server.wait_for_log(&format!("token file: read path={}", first.path()));
    one.settle();

    // A file that was not there before has to be good, or nothing is changed.
    let both = format!("{base}tokens = [{:?}, {:?}]\n", first.path(), second.path());
    second.set("two two\n");
    config.set(&both);
    server.signal("HUP");
    server.wait_for_log("reload: nothing is changed: tokens: ");
    assert_eq!(server.status_of("two"), 401);

    second.set("two\n");
    server.signal("HUP");
    server.wait_for_log("reload: done");
    kit::wait_until("the second file counts", || server.status_of("two") == 101);
    one.settle();

    config.set(&format!("{base}tokens = {:?}\n", second.path()));
    server.signal("HUP");
    assert_eq!(one.close(), ended());
    // What is not named any more is not watched either.
    first.set("one\n");
    assert_eq!(server.status_of("one"), 401);
    server.stop();
}

#[test]
fn what_is_wrong_at_the_start_is_one_line_and_exit_code_2() {
    let bad = File::new("start", "ok\nsesame topics=a**\n");
    let gone = Path::new(bad.path()).with_extension("gone");
    for (path, expected) in [
        (
            Path::new(bad.path()),
            ":2: topics, pattern 1: a topic may have one `*`, at its end",
        ),
        (&gone, ": No such file"),
        (Path::new("/dev"), ": it is no regular file"),
    ] {
        let mut command = command_without_token(&["--tokens"]);
        command.arg(path);
        let output = output_of(command);
        let error = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        let place = format!("newswire: tokens: {}{expected}", path.display());
        assert!(error.starts_with(&place), "{error}");
        assert!(!error.contains("sesame"), "{error}");
    }
}

#[test]
fn plain_tokens_that_everybody_can_read_are_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let set_mode = |file: &File, mode| {
        let rights = fs::Permissions::from_mode(mode);
        fs::set_permissions(&file.0, rights).expect("set");
    };
    let open = File::new("open", "sesame\n");
    set_mode(&open, 0o644);
    let server = serve(&[&open]);
    let warning = "can be read by every user of this machine (mode 644): chmod o-r ";
    server.wait_for_log(warning);
    server.wait_for_log("1 of its tokens stand in it");
    server.stop();

    let guarded = File::new("guarded", "sesame\n");
    set_mode(&guarded, 0o640);
    let hashed = File::new(
        "hashed",
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n",
    );
    set_mode(&hashed, 0o644);
    let server = serve(&[&guarded, &hashed]);
    assert_eq!(server.status_of("sesame"), 101);
    assert!(!server.log().contains(warning), "{}", server.log());
    server.stop();
}

/// Whoever can write a file lets in whom they like, also where there are only hashes in it.
#[test]
fn files_that_everybody_can_write_are_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    let set_mode = |file: &File, mode| {
        let rights = fs::Permissions::from_mode(mode);
        fs::set_permissions(&file.0, rights).expect("set");
    };
    let hash = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n";
    let hashed = File::new("hashed-open", hash);
    set_mode(&hashed, 0o666);
    let server = serve(&[&hashed]);
    let told = "can be written by every user of this machine (mode 666): chmod o-w,g-w ";
    server.wait_for_log(told);
    server.stop();

    // As `check` says it: of a file of tokens, of a key, of the configuration itself.
    let secret = File::new("secret-open", &"s".repeat(40));
    let config = File::new(
        "configuration-open",
        &format!(
            "tokens = [{:?}]\nauth-jwt-algorithm = \"HS256\"\nauth-jwt-key = [{:?}]\n\
             token = [\"sesame-of-the-file\"]\n",
            hashed.0, secret.0
        ),
    );
    let check = || {
        let output = kit::newswire()
            .args(["check", "--config"])
            .arg(&config.0)
            .output()
            .expect("it starts");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    set_mode(&secret, 0o604);
    set_mode(&config, 0o666);
    let said = check();
    let lines = [
        format!("warning: token file: path={} {told}", hashed.0.display()),
        format!(
            "warning: auth-jwt-key: path={0} can be read by every user of this machine (mode 604): chmod o-r {0}",
            secret.0.display()
        ),
        format!(
            "warning: configuration file: path={0} can be read and written by every user of this machine \
             (mode 666): chmod o-rw,g-w {0}",
            config.0.display()
        ),
    ];
    for line in &lines {
        assert!(said.contains(line), "{line} is not in {said}");
    }
    assert!(!said.contains("sesame"), "{said}");
    for file in [&hashed, &secret, &config] {
        set_mode(file, 0o600);
    }
    assert_eq!(check(), "");
    // Without a secret in it, a configuration may be read by everybody.
    fs::write(&config.0, "connections-max = 10\n").expect("written");
    set_mode(&config, 0o644);
    assert_eq!(check(), "");
}
