//! The files that pages load from newswire, asked of the real binary over plain HTTP.

use std::io::{Read, Write};

use kit::{Server, wait_until};

/// Everything that a server says to `request`, until it ends the connection.
fn ask(server: &Server, request: &str) -> String {
    let mut stream = server.connect();
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an end");
    answer
}

#[test]
fn each_file_comes_whole_and_not_twice() {
    let server = Server::start(&[]);
    let files = newswire::web::files();
    for file in &files {
        let get = format!("GET /{} HTTP/1.1\r\nHost: h\r\n", file.name);
        let answer = ask(&server, &format!("{get}\r\n"));
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert_eq!(body, file.body);

        let answer = ask(
            &server,
            &format!("{get}If-None-Match: {}\r\n\r\n", file.etag),
        );
        assert!(answer.starts_with("HTTP/1.1 304 "), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");

        let answer = ask(&server, &format!("{get}\r\n").replace("GET", "HEAD"));
        assert_eq!(answer, format!("{head}\r\n\r\n"));
    }
    // Whatever comes behind the first request is not answered.
    let twice = "GET /newswire.js HTTP/1.1\r\nHost: h\r\n\r\n".repeat(2);
    assert_eq!(ask(&server, &twice).matches("HTTP/1.1 ").count(), 1);

    let served = 3 * files.len() + 1;
    let summary = server.stop();
    let counted: Vec<&str> = summary.split_whitespace().collect();
    for name in ["connections", "files_served", "closed.served"] {
        let expected = format!("{name}={served}");
        assert!(counted.contains(&&*expected), "{summary}");
    }
    assert!(!summary.contains("refused."), "{summary}");
}

#[test]
fn a_client_that_never_leaves_is_left() {
    let server = Server::start(&["--close-timeout", "1"]);
    let mut stream = server.connect();
    stream
        .write_all(b"GET /newswire.js HTTP/1.1\r\nHost: h\r\n\r\n")
        .expect("sent");
    // It does not read, and it does not end its half.
    wait_until("the server has let go of it", || {
        server.signal("USR1");
        let log = server.log();
        log.lines()
            .any(|line| line.contains("connected=0 ") && line.contains("files_served=1"))
    });
}

#[test]
fn checks_of_load_balancers_are_answered_and_are_no_trouble() {
    let server = Server::start(&[]);
    for (request, body) in [
        (
            "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n",
            "{\"status\":\"ok\"}",
        ),
        ("HEAD /healthz HTTP/1.1\r\nHost: h\r\n\r\n", ""),
        ("GET /healthz HTTP/1.0\r\n\r\n", "{\"status\":\"ok\"}"),
    ] {
        let answer = ask(&server, request);
        let (head, behind) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(
            head.starts_with("HTTP/1.1 200 OK\r\n"),
            "{request}: {answer}"
        );
        assert_eq!(behind, body, "{request}");
    }
    // Those that only see whether somebody accepts.
    for n in 0..4 {
        let stream = server.connect();
        match n % 2 {
            0 => kit::hostile::reset(stream),
            _ => drop(stream),
        }
    }
    wait_until("all have left", || {
        let books = server.now();
        books.get("closed.probe") == Some(&4) && books.get("connected") == Some(&0)
    });
    let log = server.log();
    let books = server.stop_and_balance();
    assert_eq!(books.get("health_checks"), Some(&3), "{books:?}");
    assert_eq!(books.get("closed.served"), Some(&3), "{books:?}");
    let is_trouble = |name: &String| name.starts_with("refused.") || name == "closed.socket_error";
    assert_eq!(
        books.keys().find(|name| is_trouble(name)),
        None,
        "{books:?}"
    );
    assert!(!log.contains("WARN"), "{log}");
}

/// RFC 9110 s. 9.3.2
#[test]
fn a_head_has_no_body_whatever_it_is_answered() {
    let server = Server::start(&["--handshake-timeout", "5", "--connections-max", "2"]);
    let bodiless = |request: &str, status: &str| {
        let answer = ask(&server, request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.ends_with("\r\n\r\n"), "{request}: {answer}");
    };
    bodiless("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", "405");
    bodiless("HEAD / HTTP/9.1\r\nHost: h\r\n\r\n", "505");
    bodiless("HEAD / HTTP/1.1\r\nHost: h\r\nunfinished", "408");
    // Without a place a peer is refused when it is accepted. Whether it asks with HEAD is known only if its
    // request is there by then.
    let (_one, _two) = (server.client(), server.client());
    wait_until("a request came with its connection", || {
        let answer = ask(&server, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        answer.ends_with("\r\n\r\n")
    });
    // The other listener.
    let admin = |request: &str| {
        let mut stream = kit::web::dial(server.admin_address());
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an end");
        answer
    };
    for (lines, status) in [
        (
            "HEAD /nothing HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
            "404",
        ),
        ("HEAD / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
    ] {
        let answer = admin(lines);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    }
    server.stop();
}
