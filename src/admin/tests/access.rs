//! Who may ask for what: by listener, by the tokens that are configured, and by what a request shows.

use super::*;

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
        let mut stage = Talk::new(door, rules(admin));
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
        let mut stage = Talk::new(Door::Admin, rules(None));
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
    let mut stage = Talk::new(Door::Publish, super::rules(None, Some(PUBLISH)));
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
