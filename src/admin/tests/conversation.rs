//! What a conversation does with its bytes, over time.

use super::*;

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
        let mut stage = Talk::new(Door::Admin, rules(None, None));
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
    let mut stage = Talk::new(Door::Admin, rules(None, None));
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
        let mut stage = Talk::new(Door::Admin, rules(None, None));
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
    let mut stage = Talk::new(Door::Admin, rules(None, None));
    stage
        .conversation
        .handle_time(seconds(limits::ADMIN_HEAD_SECONDS));
    assert!(stage.conversation.is_over() && stage.got.is_empty());

    let mut stage = Talk::new(Door::Admin, rules(None, None));
    stage.send(get("/healthz", "").as_bytes(), 100);
    assert_eq!(
        stage.conversation.sparable(Duration::ZERO),
        Some(SpareReason::Silent)
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
    assert_eq!(sparable, Some(SpareReason::Open), "an answer all may have");
    conversation.handle_time(seconds(limits::ADMIN_ANSWER_SECONDS));
    assert!(conversation.is_over());
}

/// Who goes for a newcomer, when, and before whom.
#[test]
fn only_those_at_work_with_a_right_keep_their_place() {
    assert!(
        SpareReason::Silent < SpareReason::Lingering && SpareReason::Lingering < SpareReason::Open
    );
    assert!(SpareReason::Open < SpareReason::Guest && SpareReason::Guest < SpareReason::Stalled);
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
        assert_eq!(after(door, "").sparable(start), Some(SpareReason::Silent));
        let begun = after(door, "POST /publish HTTP/1.1\r\n");
        assert_eq!(begun.sparable(start), Some(SpareReason::Silent));
        // A refusal, and the rest of a body that nobody reads.
        let mut refused = after(door, &post("/publish", JSON, "12"));
        assert_eq!(refused.sparable(start), Some(SpareReason::Open));
        finish(&mut refused, start);
        assert_eq!(refused.sparable(start), Some(SpareReason::Lingering));

        // A body under way, which moves, and does no more.
        let whole = post("/publish", &shown(PUBLISH), "1234");
        let mut body = after(door, &whole[..whole.len() - 2]);
        let (early, late) = match door {
            Door::Admin => (Some(SpareReason::Guest), Some(SpareReason::Guest)),
            Door::Publish => (None, Some(SpareReason::Stalled)),
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
        assert_eq!(body.sparable(stall * 5), Some(SpareReason::Idle));
    }
    // Files, and who has read no further.
    let mut file = after(Door::Admin, &get("/newswire.js", ""));
    assert!(file.poll_command().is_some());
    file.answer(start, &Response::json("1".to_owned()));
    assert_eq!(file.sparable(start), Some(SpareReason::Open));
    // An administrator's answer, which nobody reads.
    let mut metrics = after(Door::Admin, &get("/metrics", &shown(ADMIN)));
    assert!(metrics.poll_command().is_some());
    assert_eq!(metrics.sparable(stall * 5), None);
    metrics.answer(start, &Response::json("1".to_owned()));
    assert_eq!(metrics.sparable(start), None);
    metrics.handle_written(stall, 1, &rules);
    assert_eq!(metrics.sparable(stall), None);
    assert_eq!(metrics.sparable(stall * 2), Some(SpareReason::Stalled));
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
    let mut stage = Talk::new(Door::Admin, rules(Some(ADMIN), None));
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
        deflate: None,
    };
    assert_eq!(*upgrade, Ok(acceptance));
    assert_eq!(early, b"behind");
    let shown = format!("{:?}", stage.commands);
    for hidden in ["Origin", "Cookie", "127.0.0.1", ADMIN] {
        assert!(!shown.contains(hidden), "{hidden}: {shown}");
    }
}
