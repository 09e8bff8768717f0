//! What a server prints and does when it starts: which clients can get in, which process it is, and what it refuses.
//!
//! Never here: options one by one (`cli.rs`), systemd.

use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::Command;

use kit::port::Port;
use kit::scratch::File;
use kit::{Server, output_of, wait_until};
use serde_json::Value;

/// The binary on free ports, without a token.
fn newswire(arguments: &[&str]) -> Command {
    let mut command = kit::newswire();
    command.args(["serve", "--listen", "127.0.0.1:0", "--admin", "off"]);
    command
        .args(["--pull", "tcp://127.0.0.1:*"])
        .args(arguments);
    command
}

/// The lines of the banner that begin with `name`, without it, from a server that was just started. What
/// follows them is a line that begins with `end`.
fn lines(server: &mut Server, name: &str, end: &str) -> Vec<String> {
    let mut found = Vec::new();
    loop {
        let line = server.next_line();
        if line.starts_with(end) {
            return found;
        }
        if let Some(rest) = line.strip_prefix(name) {
            found.push(rest.trim().to_owned());
        }
    }
}

const TWO: &str = "one expires=2020-01-01T00:00:00Z\ntwo\n";

#[test]
fn the_start_says_who_can_get_in() {
    let tokens = File::new("two", TWO);
    let mut server = Server::launch(newswire(&["--tokens", tokens.path(), "--token", "sesame"]));
    let told = lines(&mut server, "tokens", "Try it");
    let file = format!("2 from {} (1 expired)", tokens.path());
    assert_eq!(told, ["1 of the configuration".to_owned(), file.clone()]);
    assert!(!server.log().contains("no client can get in"));
    server.stop();

    let mut command = kit::newswire();
    command.args(["check", "--tokens", tokens.path()]);
    let output = output_of(command);
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.contains(&format!("\n# {file}\n")), "{text}");
    assert!(text.contains("MiB left unread by clients"), "{text}");
}

#[test]
#[cfg(feature = "all-stores")]
fn the_start_names_stores_without_their_secrets() {
    let key = File::new("secret", &"sesame".repeat(6));
    let mut server = Server::launch(newswire(&[
        "--auth-jwt-algorithm",
        "HS256",
        "--auth-jwt-key",
        key.path(),
        "--auth-url",
        "http://127.0.0.1:1/me?key=sesame",
    ]));
    let told = lines(&mut server, "tokens", "Try it");
    assert_eq!(
        told,
        [
            format!("JWT HS256, keys from {}", key.path()),
            "those that the API at 127.0.0.1:1 knows".to_owned(),
        ]
    );
    server.stop();
}

#[test]
fn a_server_that_lets_nobody_in_says_so() {
    for (name, text) in [("none", ""), ("over", "one expires=2020-01-01T00:00:00Z\n")] {
        let tokens = File::new(name, text);
        let mut server = Server::launch(newswire(&["--tokens", tokens.path()]));
        let told = lines(&mut server, "tokens", "Try it");
        assert_eq!(told[1], "none of them is good: no client can get in");
        server.wait_for_log("WARN");
        server.wait_for_log("tokens: none is good, so no client can get in");
        server.stop();
    }
}

/// Whoever let the server choose its ports finds them there.
#[test]
fn the_ready_file_has_what_is_bound_while_the_server_is() {
    let upstream = Port::hold();
    let server = Server::start(&[
        "--publish",
        "127.0.0.1:0",
        "--publish-token",
        "p",
        "--sub",
        &upstream.endpoint(),
    ]);
    let path = server.ready_file.0.clone();
    let text = fs::read_to_string(&path).expect("it is there");
    let ready: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert_eq!(ready["pid"], server.pid());
    let expected = |name: &str, shown: fn(&str) -> String| {
        let values = ready[name].as_array().expect("a list");
        assert_eq!(values.len(), 1, "{name}: {text}");
        let line = shown(values[0].as_str().expect("a text"));
        let banner = &server.banner;
        assert!(banner.contains(&line), "{line} is not in {banner}");
    };
    expected("listen", |address| format!("listening  ws://{address}/\n"));
    expected("pull", |endpoint| format!("pull       {endpoint}\n"));
    expected("sub", |endpoint| format!("sub        {endpoint}\n"));
    expected("admin", |address| format!("admin      http://{address}/\n"));
    expected("publish", |address| {
        format!("publish    http://{address}/publish\n")
    });
    server.stop();
    assert!(!path.exists(), "it is gone with its server");
}

#[test]
fn a_ready_file_that_cannot_be_written_ends_the_start() {
    let folder = File::free("ready-folder");
    let path = format!("{}/ready.json", folder.path());
    let output = output_of(newswire(&["--ready-file", &path, "--token", "t"]));
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains(&format!("ready-file {path}: ")), "{err}");
    assert_eq!(output.stdout, b"", "no banner");
}

/// Four hundred sources have more sockets than one ZeroMQ context takes.
#[test]
fn there_may_be_more_endpoints_than_one_zeromq_context_takes() {
    let folder = File::free("endpoints");
    let subs: Vec<String> = (0..400)
        .map(|n| format!("ipc://{}/{n}", folder.path()))
        .collect();
    let mut command = newswire(&["--token", "t"]);
    for endpoint in &subs {
        command.args(["--sub", endpoint]);
    }
    let server = Server::launch(command);
    let text = fs::read_to_string(&server.ready_file.0).expect("it is there");
    let ready: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(ready["sub"], serde_json::json!(subs));
    server.stop();
}

/// A path that was named by mistake: what is there stays as it is, and nothing is written through a link.
#[test]
fn a_ready_file_replaces_nothing_but_a_ready_file() {
    let folder = File::free("ready-mistakes");
    fs::create_dir_all(&folder.0).expect("made");
    let at = |name: &str| folder.0.join(name);
    fs::write(at("precious"), "token = \"t\"\n").expect("written");
    let _ = fs::remove_file(at("link"));
    symlink("precious", at("link")).expect("made");
    let _ = fs::remove_file(at("device"));
    let device = UnixListener::bind(at("device")).expect("bound");
    for name in ["precious", "link", "device", ""] {
        let path = at(name);
        let text = path.to_str().expect("text");
        let output = output_of(newswire(&["--ready-file", text, "--token", "t"]));
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {err}");
        assert!(err.contains("is no ready file"), "{name}: {err}");
        assert_eq!(output.stdout, b"", "no banner");
    }
    drop(device);
    let kept = fs::read_to_string(at("link")).expect("the link still leads there");
    assert_eq!(kept, "token = \"t\"\n");
    let is_socket = |metadata: fs::Metadata| metadata.file_type().is_socket();
    assert!(fs::symlink_metadata(at("device")).is_ok_and(is_socket));
    fs::remove_dir_all(&folder.0).expect("removed");
}

#[test]
fn a_pid_file_is_there_while_the_server_is() {
    let file = File::free("pid");
    let server = Server::launch(newswire(&["--pid-file", file.path(), "--token", "t"]));
    let pid = server.pid().to_string();
    let told = server.banner.lines().find_map(|l| l.strip_prefix("pid "));
    assert_eq!(told.map(str::trim), Some(&*pid));
    let text = fs::read_to_string(&file.0).expect("it is written before the banner");
    assert_eq!(text.trim(), pid);

    // A second one has other addresses, and still is one too many.
    let output = output_of(newswire(&["--pid-file", file.path(), "--token", "t"]));
    let error = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains(&format!("its process lives (pid {pid})")),
        "{error}"
    );

    // What a crash leaves behind is replaced.
    server.signal("KILL");
    let (status, _) = server.wait();
    assert!(!status.success());
    wait_until("the file is left behind", || file.0.exists());
    let server = Server::launch(newswire(&["--pid-file", file.path(), "--token", "t"]));
    let text = fs::read_to_string(&file.0).expect("it is there");
    assert_eq!(text.trim(), server.pid().to_string());
    server.stop();
    assert!(!file.0.exists());
}

#[test]
fn what_cannot_be_bound_is_found_by_check() {
    let file = File::new("regular", "precious");
    let folder = File::free("folder");
    let ipc = format!("ipc://{}", file.path());
    let pid_file = format!("{}/newswire.pid", folder.path());
    let name = ["--pull", "tcp://localhost:5599"];
    for (options, part) in [
        (name, "names are not looked up: localhost is 127.0.0.1"),
        (["--pull", &ipc], "a file that is no socket"),
        (["--pid-file", &pid_file], "there is no folder"),
        (["--ready-file", &pid_file], "there is no folder"),
    ] {
        let mut command = kit::newswire();
        command.arg("check").args(options);
        let output = output_of(command);
        let error = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(part), "{error}");
    }
    let output = output_of(newswire(&name));
    assert_eq!(output.status.code(), Some(2));
}
