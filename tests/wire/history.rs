//! The past of topics: what the server keeps, who gets it, and what clients are told that cannot get it.
//!
//! Never here: what the commands make of it (`tools/recovery`), and several servers (`server/workers`, `server/relay`).

use std::io::{BufRead, BufReader, Write};

use kit::past::{Dialect, Peer, Told};
use kit::port::Place;
use kit::scratch::File;
use kit::{QUIET, Server, TOKEN, wait_until};
use serde_json::{Value, json};

fn start(options: &[&str]) -> Server {
    Server::start(&[QUIET, options].concat())
}

/// What a client is told that comes back to a topic with everything up to `since`.
fn come_back(server: &Server, dialect: Dialect, topic: &str, since: &str) -> (Peer, Value) {
    Peer::asks(dialect, server.connect(), topic, Some(since), None)
}

fn recovered(id: &str) -> Value {
    json!({"recovered": true, "id": id})
}

fn lost(id: &str, reason: &str) -> Value {
    json!({"recovered": false, "id": id, "reason": reason})
}

/// An id with another number.
fn numbered(id: &str, number: &str) -> String {
    let (epoch, _) = id.split_once('-').expect("an id");
    format!("{epoch}-{number}")
}

fn sequence(id: &str) -> u64 {
    let (_, number) = id.split_once('-').expect("an id");
    number.parse().expect("a number")
}

#[test]
fn what_was_published_while_a_client_was_away_comes_once_and_before_what_comes_later() {
    let server = start(&["--topic", "k* history=100"]);
    for dialect in Dialect::ALL {
        let (mut peer, notice) = Peer::asks(dialect, server.connect(), "k", None, None);
        assert_eq!(
            (&notice["recovered"], &notice["reason"]),
            (&json!(false), &json!("none"))
        );
        let mut position = notice["id"].as_str().expect("an id").to_owned();
        for round in 0..3 {
            let heard = server.publish("k", 0..5);
            peer.expect(&heard);
            position.clone_from(&heard[4].0);
            drop(peer);
            // Events of other topics count up too.
            let mut missed = server.publish("k", 10..13);
            server.publish("k2", 0..2);
            missed.extend(server.publish("k", 13..15));
            let notice;
            (peer, notice) = come_back(&server, dialect, "k", &position);
            assert_eq!(notice, recovered(&position), "{dialect:?}, round {round}");
            let later = server.publish("k", 20..22);
            peer.expect(&missed);
            peer.expect(&later);
            assert!(sequence(&later[0].0) == sequence(&missed[4].0) + 1);
        }
        // Who has everything gets nothing.
        let (newest, _) = server.publish("k", [1]).remove(0);
        let (mut peer, notice) = come_back(&server, dialect, "k", &newest);
        assert_eq!(notice, recovered(&newest));
        peer.expect(&server.publish("k", [2]));
    }
    server.stop();
}

#[test]
fn who_cannot_get_everything_is_told_why_and_gets_what_comes_from_then_on() {
    let server = start(&["--topic", "k history=3"]);
    let kept = server.publish("k", 0..5);
    let newest = &kept[4].0;
    let future = numbered(newest, "6");
    let end = numbered(newest, "18446744073709551615");
    let beyond = numbered(newest, "18446744073709551616");
    let zeros = numbered(newest, "05");
    let upper = newest.to_uppercase();
    let none = numbered(newest, "0");
    for dialect in Dialect::ALL {
        for (since, reason) in [
            (&*kept[0].0, "floor"),
            (&*none, "floor"),
            (&*future, "unknown"),
            (&*end, "unknown"),
            (&*beyond, "unknown"),
            (&*zeros, "unknown"),
            (&*upper, "unknown"),
            ("", "unknown"),
            ("-", "unknown"),
            ("nonsense", "unknown"),
            ("aaaaaaaa-1", "epoch"),
            ("aaaaaaaa-0", "epoch"),
        ] {
            let (mut peer, notice) = come_back(&server, dialect, "k", since);
            assert_eq!(notice, lost(newest, reason), "{dialect:?} {since:?}");
            if reason == "floor" {
                // Where everything cannot be had, the last ones count.
                let (mut last, notice) =
                    Peer::asks(dialect, server.connect(), "k", Some(since), Some(2));
                assert_eq!(notice, lost(newest, reason));
                assert_eq!([last.event().1, last.event().1], [json!(3), json!(4)]);
            }
            // Nothing of the past comes before the mark.
            peer.say("[48,9,{},\"x\"]");
            if dialect == Dialect::Wamp2 {
                assert!(matches!(peer.told(), Told::Other(error) if error[0] == 8));
            }
        }
        // The one before the oldest that is kept is good enough.
        for (at, since) in kept.iter().enumerate().skip(1) {
            let (mut peer, notice) = come_back(&server, dialect, "k", &since.0);
            assert_eq!(notice, recovered(&since.0));
            peer.expect(&kept[at + 1..]);
        }
        let (_, notice) = come_back(&server, dialect, "other", newest);
        assert_eq!(notice, lost(newest, "none"), "nothing is kept of it");
    }
    for (result, count) in [
        ("floor", 8.0),
        ("recovered", 8.0),
        ("unknown", 16.0),
        ("epoch", 4.0),
        ("none", 2.0),
    ] {
        let name = format!("newswire_recoveries_total{{result=\"{result}\"}}");
        assert_eq!(server.metric(&name), count, "{result}");
    }
    server.stop();
}

#[test]
fn ids_of_a_run_that_has_ended_are_of_another_epoch() {
    let place = Place::hold();
    let options = [QUIET, &["--topic", "k history=3"]].concat();
    let first = place.start(&options);
    let before = first.publish("k", 0..1);
    first.stop();
    let second = place.start(&options);
    for has_event in [false, true] {
        if has_event {
            second.publish("k", 1..2);
        }
        for dialect in Dialect::ALL {
            let (_, notice) = come_back(&second, dialect, "k", &before[0].0);
            let id = notice["id"].as_str().expect("an id");
            assert_eq!(notice, lost(id, "epoch"), "{dialect:?}");
            assert_eq!(sequence(id), u64::from(has_event));
            // What the notice names is a place to come back to.
            let (_, notice) = come_back(&second, dialect, "k", id);
            assert_eq!(notice, recovered(id));
            let next = Peer::asks(
                dialect,
                second.connect(),
                "k",
                Some(&numbered(id, "0")),
                None,
            )
            .1;
            assert_eq!(next["recovered"], true, "it has forgotten nothing");
        }
    }
    second.stop();
}

#[test]
fn a_stream_has_its_position_from_the_header_and_else_from_the_query() {
    let server = start(&["--topic", "k* history=3"]);
    let ids: Vec<String> = server
        .publish("k", 0..3)
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    let ask = |query: &str, lines: &str| Peer::stream(server.connect(), query, lines).1;
    let query = format!("topic=k&last_event_id={}", ids[0]);
    assert_eq!(ask(&query, ""), recovered(&ids[0]));
    let header = |id: &str| format!("Last-Event-ID: {id}\r\n");
    assert_eq!(ask(&query, &header(&ids[1])), recovered(&ids[1]));
    assert_eq!(ask(&query, &header("nonsense")), lost(&ids[2], "unknown"));
    assert_eq!(
        ask("topic=k&last_event_id=%FF", &header(&ids[1])),
        recovered(&ids[1])
    );
    assert_eq!(
        ask("topic=k&last_event_id=%FF", ""),
        lost(&ids[2], "unknown")
    );
    // One topic without a history is enough.
    assert_eq!(
        ask("topic=k&topic=k2", &header(&ids[1])),
        recovered(&ids[1])
    );
    assert_eq!(
        ask("topic=k&topic=other", &header(&ids[1])),
        lost(&ids[2], "none")
    );
    for last in ["x", "-1", "1.5", "", "%FF", "18446744073709551616"] {
        let head = format!(
            "GET /?token={TOKEN}&topic=k&last={last} HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n"
        );
        assert_eq!(server.ask(&head).0, 400, "{last:?}");
    }
    server.stop();
}

#[test]
fn all_topics_of_a_stream_come_in_the_order_of_their_ids() {
    let server = start(&["--topic", "k* history=100"]);
    let first = server.publish("k1", [0]);
    let mut missed = Vec::new();
    for n in 1..20 {
        missed.extend(server.publish(["k1", "k2", "k3"][n as usize % 3], [n]));
    }
    let query = "topic=k1&topic=k2&topic=k3";
    let since = format!("Last-Event-ID: {}\r\n", first[0].0);
    let (mut peer, notice) = Peer::stream(server.connect(), query, &since);
    assert_eq!(notice, recovered(&first[0].0));
    missed.extend(server.publish("k2", [20]));
    peer.expect(&missed);
    server.stop();
}

#[test]
fn the_last_events_come_when_a_client_asks_for_them() {
    let server = start(&["--topic", "k history=3"]);
    let kept = server.publish("k", 0..5);
    let newest = &kept[4].0;
    for dialect in Dialect::ALL {
        for (last, from) in [(0, 5), (1, 4), (2, 3), (3, 2), (4, 2), (u64::MAX, 2)] {
            let (mut peer, notice) = Peer::asks(dialect, server.connect(), "k", None, Some(last));
            assert_eq!(notice, lost(newest, "none"));
            for (id, data) in &kept[from..] {
                // A stream's position is the notice's already.
                let id = (dialect == Dialect::Wamp2).then(|| id.clone());
                assert_eq!(peer.event(), (id, json!(data)), "{dialect:?}, last {last}");
            }
            if dialect == Dialect::Wamp2 {
                peer.say("[48,9,{},\"x\"]");
                assert!(
                    matches!(peer.told(), Told::Other(error) if error[0] == 8),
                    "nothing more"
                );
            }
        }
        // Whoever can have all that it has missed has no use for the last ones.
        let (mut peer, notice) =
            Peer::asks(dialect, server.connect(), "k", Some(&kept[3].0), Some(3));
        assert_eq!(notice, recovered(&kept[3].0));
        peer.expect(&kept[4..]);
    }
    server.stop();
}

#[test]
fn a_malformed_wish_is_an_error_and_a_malformed_position_is_none() {
    let server = start(&["--topic", "k history=3"]);
    server.publish("k", 0..5);
    let mut peer = Peer::wamp2(server.connect(), TOKEN);
    for last in [
        "-1",
        "1.5",
        "\"3\"",
        "true",
        "[]",
        "{}",
        "1e3",
        "18446744073709551616",
    ] {
        peer.say(&format!("[32,7,{{\"x_last\":{last}}},\"k\"]"));
        let refused = json!([8, 32, 7, {}, "wamp.error.invalid_argument"]);
        assert_eq!(peer.told(), Told::Other(refused), "{last}");
    }
    for since in ["5", "[]", "{}", "true", "\"\\u0000\"", "\"\u{e9}\""] {
        let notice = peer.subscribe("k", &format!("{{\"x_since\":{since}}}"));
        assert_eq!(notice["reason"], "unknown", "{since}");
    }
    // It is subscribed by now, and only once.
    let live = server.publish("k", [9]);
    peer.expect(&live);
    server.stop();
}

#[test]
fn who_subscribes_twice_is_subscribed_once_and_gets_what_it_asks_for_again() {
    let server = start(&["--topic", "k history=9"]);
    let kept = server.publish("k", 0..3);
    let mut peer = Peer::wamp2(server.connect(), TOKEN);
    for round in 0..3 {
        let notice = peer.subscribe("k", &format!("{{\"x_since\":{:?}}}", kept[0].0));
        assert_eq!(notice, recovered(&kept[0].0), "{round}");
        peer.expect(&kept[1..]);
    }
    // In one go, before anything was sent again: the last one counts.
    let ask = |since: &str| format!("[32,1,{{\"x_since\":{since:?}}},\"k\"]");
    peer.say(&ask(&kept[0].0));
    peer.say(&ask(&kept[1].0));
    server.publish("k", [9]);
    let (mut notices, mut events) = (Vec::new(), Vec::new());
    while events.last() != Some(&json!(9)) {
        match peer.told() {
            Told::Notice(notice) => notices.push(notice),
            Told::Event(_, data) => events.push(data),
            Told::Other(subscribed) => assert_eq!(subscribed[0], 33),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(notices, [recovered(&kept[0].0), recovered(&kept[1].0)]);
    assert!(events.ends_with(&[json!(2), json!(9)]), "{events:?}");
    // Not asking for the past changes nothing.
    peer.say("[32,5,{},\"k\"]");
    assert!(matches!(peer.told(), Told::Other(subscribed) if subscribed[0] == 33));
    peer.expect(&server.publish("k", [10]));
    assert_eq!(server.metric("newswire_subscriptions"), 1.0);
    server.stop();
}

#[test]
fn a_rule_sends_the_newest_event_to_new_subscribers_of_every_protocol() {
    let server = start(&["--topic", "k last"]);
    let mut early = server.subscriber(&["k"]);
    server.publish("k", 1..3);
    assert_eq!([early.text(), early.text()], ["[8,\"k\",1]", "[8,\"k\",2]"]);
    let mut old = server.client();
    old.send("[5,\"k\"]");
    assert_eq!(old.text(), "[8,\"k\",2]");
    // One that is subscribed has had it.
    old.send("[5,\"k\"]");
    old.settle();
    let mut plain = Peer::wamp2(server.connect(), TOKEN);
    plain.say("[32,1,{},\"k\"]");
    assert!(matches!(plain.told(), Told::Other(subscribed) if subscribed[0] == 33));
    assert_eq!(plain.event().1, json!(2));
    let (mut stream, _) = Peer::asks(Dialect::Sse, server.connect(), "k", None, None);
    assert_eq!(stream.event(), (None, json!(2)));
    let live = server.publish("k", [3]);
    plain.expect(&live);
    stream.expect(&live);
    assert_eq!([early.text(), old.text()], ["[8,\"k\",3]", "[8,\"k\",3]"]);
    server.stop();
}

#[test]
fn events_that_are_too_old_are_kept_no_more() {
    let server = start(&["--topic", "k history=9 age=1", "--topic", "l history=9"]);
    let old = server.publish("k", 0..3);
    server.publish("l", 0..1);
    wait_until("they are too old", || {
        server.metric("newswire_history_events") == 1.0
    });
    let mut peers = Dialect::ALL.map(|dialect| {
        let (_, notice) = come_back(&server, dialect, "k", &old[1].0);
        assert_eq!(notice["reason"], "floor");
        let (peer, notice) = come_back(&server, dialect, "k", &old[2].0);
        assert_eq!(notice, recovered(&old[2].0));
        peer
    });
    let live = server.publish("k", [7]);
    peers.iter_mut().for_each(|peer| peer.expect(&live));
    server.stop();
}

#[test]
fn all_kept_events_together_are_bounded_and_the_oldest_are_forgotten() {
    const BOUND: f64 = 65_536.0;
    let server = start(&[
        "--topic",
        "k* history=100",
        "--history-bytes-max",
        "64KiB",
        "--event-bytes-max",
        "1KiB",
    ]);
    let mut ids = Vec::new();
    for n in 0..400 {
        ids.extend(server.publish(&format!("k{n}"), [n]));
        if n % 20 == 0 {
            let bytes = server.metric("newswire_history_bytes");
            assert!(bytes > 0.0 && bytes <= BOUND, "{bytes}");
        }
    }
    assert!(server.metric("newswire_history_bytes") > BOUND / 2.0);
    let topics = server.metric("newswire_topics");
    assert!(
        (10.0..300.0).contains(&topics),
        "forgotten topics are gone: {topics}"
    );
    for dialect in Dialect::ALL {
        let (_, notice) = come_back(&server, dialect, "k0", &numbered(&ids[0].0, "0"));
        assert_eq!(notice["reason"], "floor");
        let (mut peer, notice) = come_back(&server, dialect, "k399", &ids[398].0);
        assert_eq!(notice, recovered(&ids[398].0));
        peer.expect(&ids[399..]);
        // Of a topic that was never there nobody knows whether it is one of the forgotten.
        let (_, notice) = come_back(&server, dialect, "knew", &ids[0].0);
        assert_eq!(notice["reason"], "floor");
    }
    server.stop();
}

#[test]
fn a_reload_with_other_rules_keeps_what_they_allow_and_promises_nothing_else() {
    let base = format!(
        "listen = \"127.0.0.1:0\"\npull = \"tcp://127.0.0.1:*\"\nadmin = \"127.0.0.1:0\"\ntoken = {TOKEN:?}\n"
    );
    let rules = |rules: &[&str]| format!("{base}topic = {rules:?}\n");
    let file = File::new("history-reload", &rules(&["a history=9", "b history=9"]));
    let mut command = kit::newswire();
    command.arg("--config").arg(&file.0);
    let server = Server::launch(command);
    let a = server.publish("a", 0..5);
    let b = server.publish("b", 0..5);
    let c = server.publish("c", 0..5);
    let mut reloads = 0;
    let mut reload = |lines: &[&str]| {
        file.set(&rules(lines));
        server.signal("HUP");
        reloads += 1;
        wait_until("it has reloaded", || {
            server.log().matches("reload: done").count() == reloads
        });
    };
    reload(&["a history=2", "c history=9"]);
    let reason = |dialect, topic: &str, since: &str| {
        let (_, notice) = come_back(&server, dialect, topic, since);
        notice["reason"].as_str().unwrap_or("recovered").to_owned()
    };
    for dialect in Dialect::ALL {
        assert_eq!(reason(dialect, "a", &a[1].0), "floor", "it keeps two");
        assert_eq!(reason(dialect, "a", &a[2].0), "recovered");
        assert_eq!(reason(dialect, "b", &b[4].0), "none");
        // What was published before the rule was there was not kept.
        assert_eq!(reason(dialect, "c", &c[1].0), "floor");
        assert_eq!(reason(dialect, "c", &c[4].0), "recovered");
    }
    let later = server.publish("b", 5..6);
    reload(&["a history=2", "b history=9"]);
    for dialect in Dialect::ALL {
        assert_eq!(
            reason(dialect, "b", &b[4].0),
            "floor",
            "one was published without a rule"
        );
        assert_eq!(reason(dialect, "b", &later[0].0), "recovered");
        assert_eq!(
            reason(dialect, "a", &a[2].0),
            "recovered",
            "its rule is the same"
        );
    }
    server.stop();
}

#[test]
fn who_may_not_have_a_topic_gets_nothing_of_its_past() {
    let tokens = File::new("history-tokens", "stranger topics=open* name=ann\n");
    let options = ["--tokens", tokens.path(), "--topic", "* history=9"];
    let server = start(&options);
    let ids = server.publish("secret", 0..3);
    let first = numbered(&ids[0].0, "0");
    let mut peer = Peer::wamp2(server.connect(), "stranger");
    for options in [
        format!("{{\"x_since\":{first:?}}}"),
        "{\"x_last\":9}".to_owned(),
    ] {
        peer.say(&format!("[32,7,{options},\"secret\"]"));
        let refused = json!([8, 32, 7, {}, "wamp.error.not_authorized"]);
        assert_eq!(peer.told(), Told::Other(refused));
    }
    for query in ["topic=secret", "topic=open&topic=secret"] {
        let head = format!(
            "GET /?token=stranger&{query}&last=9 HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\
             Last-Event-ID: {first}\r\nConnection: close\r\n\r\n"
        );
        let mut stream = server.connect();
        stream.write_all(head.as_bytes()).expect("sent");
        let mut line = String::new();
        BufReader::new(stream)
            .read_line(&mut line)
            .expect("an answer");
        assert!(line.starts_with("HTTP/1.1 403 "), "{line}");
    }
    assert_eq!(server.metric("newswire_events_replayed_total"), 0.0);
    // It may have another one, and hears nothing of the first.
    let open = server.publish("open", 0..1);
    assert_eq!(
        peer.subscribe("open", &format!("{{\"x_since\":{first:?}}}")),
        recovered(&first)
    );
    peer.expect(&open);
    server.stop();
}
