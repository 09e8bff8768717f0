//! Which command, or which refusal, a request becomes.

use super::*;

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
        (
            post("/disconnect", JSON, "{\"id\":\"2-3-1\"}"),
            "\"DisconnectOfWorker\"",
        ),
        (get("/snapshot", ""), "\"Snapshot\""),
        (post("/workers/restart", JSON, "{}"), "\"RestartWorkers\""),
        (post("/revoke", JSON, "{\"token\":\"t\"}"), "\"Revoke\""),
        (post("/publish", JSON, "{}"), "\"Publish\""),
        (
            post("/publish", "Content-Type: application/x-ndjson\r\n", "{}"),
            "\"Publish\"",
        ),
    ] {
        assert_eq!(ask(&request), (200, command.to_owned()), "{request}");
    }
    let mut stage = Talk::new(Door::Admin, rules(None, None));
    stage.send(get("/topics?limit=5&after=7&kept=1", "").as_bytes(), 1);
    let [Command::Topics(page)] = stage.commands[..] else {
        panic!("{:?}", stage.commands);
    };
    assert_eq!((page.limit, page.after, page.is_kept), (5, 7, true));
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
        (400, post("/disconnect", JSON, "{\"id\":\"1-2-3-4\"}")),
        (400, post("/workers/restart", JSON, "[]")),
        (400, post("/workers/restart", JSON, "{\"worker\":1}")),
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
    let mut stage = Talk::new(Door::Admin, rules(None, None));
    stage.send(get("/publish", "").as_bytes(), 100);
    let text = String::from_utf8_lossy(&stage.got).into_owned();
    assert!(text.contains("\r\nAllow: POST\r\n"), "{text}");
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
        let mut stage = Talk::new(Door::Admin, rules(None, None));
        stage.send(request.as_bytes(), usize::MAX);
        let [Command::WebSocket { upgrade, .. }] = &stage.commands[..] else {
            panic!("{:?}", stage.commands);
        };
        assert_eq!(*upgrade, Err(refusal), "{request}");
    }
}
