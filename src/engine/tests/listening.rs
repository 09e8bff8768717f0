//! Who is read, and how the answers leave.

use std::time::Duration;

use super::super::Rules;
use super::{Client, UPGRADE, World, close_frame, masked, rules};
use crate::limits;
use crate::stats::{Close, Counter};

#[test]
fn of_the_pings_of_a_peer_that_does_not_read_only_the_latest_is_answered() {
    let mut world = World::new(rules());
    let client = world.subscriber(&["t"]);
    world.say(&client, &[masked(9, b"1"), masked(9, b"2")].concat());
    assert_eq!(
        client.heard(),
        b"\x8a\x011\x8a\x012",
        "a reader gets every answer"
    );
    client.pipe.borrow_mut().room = 3;
    world.publish("t", "1");
    world.turn();
    for n in 0..100_u8 {
        world.say(&client, &masked(9, &[n]));
    }
    client.pipe.borrow_mut().room = usize::MAX;
    world.writable(&client);
    assert_eq!(client.heard(), b"\x81\x09[8,\"t\",1]\x8a\x01\x63");
}

#[test]
fn what_one_read_is_answered_leaves_in_one_write() {
    let mut world = World::new(rules());
    let client = world.open();
    client.heard();
    let before = client.pipe.borrow().writes;
    let mut bytes = masked(9, b"a").repeat(100);
    bytes.extend(masked(1, br#"[2,"id","p"]"#));
    bytes.extend(masked(9, b"b"));
    // What ends it comes behind all of that.
    bytes.extend(masked(1, b"nonsense"));
    world.say(&client, &bytes);
    let mut expected = [0x8A, 1, b'a'].repeat(100);
    let answer = br#"[4,"id","p","You are not allowed to make calls"]"#;
    expected.extend([0x81, answer.len() as u8]);
    expected.extend(answer);
    expected.extend([0x8A, 1, b'b']);
    expected.extend(close_frame(1007, "not JSON"));
    assert!(client.heard() == expected);
    assert_eq!(client.pipe.borrow().writes - before, 2);
    assert_eq!(world.engine.stats().counter(Counter::PingsReceived), 101);
}

/// However many never pause, a turn reads no more, and each has its share in the end.
#[test]
fn those_who_never_pause_share_a_part_of_a_turn() {
    const CLIENTS: usize = 30;
    const MESSAGES: usize = 4_000;
    // With the empty frame, the smallest that there is.
    let frames = masked(10, b"").repeat(MESSAGES);
    let mut world = World::new(Rules {
        connections_max: CLIENTS,
        ..rules()
    });
    let clients: Vec<Client> = (0..CLIENTS).map(|_| world.open()).collect();
    let left = |client: &Client| client.pipe.borrow().to_server.len();
    for client in &clients {
        client.pipe.borrow_mut().to_server.extend(&frames);
        world.engine.handle_readable(client.id, false);
        assert_eq!(left(client), frames.len(), "readiness only marks");
    }
    let mut turns = 0;
    let mut before: usize = clients.iter().map(left).sum();
    while before > 0 {
        assert_eq!(world.engine.poll_timeout(), Some(Duration::ZERO));
        world.turn();
        let after: usize = clients.iter().map(left).sum();
        // The last share may pass the budget.
        let most = limits::TURN_READ_COST / limits::MESSAGE_COST + limits::SHARE_BYTES / 6;
        let messages = (before - after) / 6;
        assert!(messages <= most, "{messages} in a turn");
        let least = clients.iter().map(left).min();
        let most = clients.iter().map(left).max();
        assert!(
            most <= least.map(|least| least + limits::SHARE_BYTES),
            "{least:?} {most:?}"
        );
        before = after;
        turns += 1;
        assert!(turns < 1_000);
    }
    assert!(
        turns >= CLIENTS * MESSAGES * limits::MESSAGE_COST / limits::TURN_READ_COST / 2,
        "{turns}"
    );
    world.turn();
    assert_eq!(
        world.engine.poll_timeout(),
        Some(Duration::from_millis(700))
    );
}

/// Who says one thing has said it before those who never pause have had a second share, newcomers
/// included.
#[test]
fn those_who_say_one_thing_do_not_wait_for_those_who_never_pause() {
    const FLOODS: usize = 1_000;
    let mut world = World::new(Rules {
        connections_max: 2 * FLOODS,
        subscriptions_max: 1_000_000,
        ..rules()
    });
    let frames = [masked(1, br#"[5,"x"]"#), masked(1, br#"[6,"x"]"#)].concat();
    let floods: Vec<Client> = (0..FLOODS).map(|_| world.open()).collect();
    let other = world.open();
    let taken = |client: &Client| 200 * 26 - client.pipe.borrow().to_server.len();
    for flood in &floods {
        flood.pipe.borrow_mut().to_server.extend(frames.repeat(200));
        world.engine.handle_readable(flood.id, false);
    }
    // A first share of each is less than 0.1 ms. Meanwhile the rest has a quarter of each turn.
    let mut turns = 0;
    while floods.iter().any(|flood| taken(flood) == 0) {
        world.turn();
        turns += 1;
    }
    assert!(turns <= 40, "{turns}");
    // From now on, one turn is enough for whoever comes.
    let newcomer = world.connect();
    newcomer.pipe.borrow_mut().to_server.extend(UPGRADE.bytes());
    other
        .pipe
        .borrow_mut()
        .to_server
        .extend(masked(1, br#"[5,"news"]"#));
    for client in [&newcomer, &other] {
        world.engine.handle_readable(client.id, false);
    }
    other.heard();
    world.publish("news", "1");
    world.turn();
    world.publish("news", "2");
    world.turn();
    assert_eq!(
        other.texts().last().map(String::as_str),
        Some(r#"[8,"news",2]"#)
    );
    assert!(newcomer.heard().starts_with(b"HTTP/1.1 101 "));
    let behind = floods.iter().filter(|flood| taken(flood) < 200 * 26);
    assert!(behind.count() > FLOODS / 2, "the floods are not over");
}

/// A client that says much behind its head is no way around the budget.
#[test]
fn what_comes_behind_the_heads_is_within_the_budget_too() {
    const CLIENTS: usize = 100;
    let mut world = World::new(Rules {
        connections_max: CLIENTS,
        ..rules()
    });
    let messages = masked(1, br#"[7,"t",1]"#).repeat(400);
    let clients: Vec<Client> = (0..CLIENTS).map(|_| world.connect()).collect();
    for client in &clients {
        let mut pipe = client.pipe.borrow_mut();
        pipe.to_server.extend(UPGRADE.bytes());
        pipe.to_server.extend(&messages);
        world.engine.handle_readable(client.id, false);
    }
    let published = |world: &World| world.engine.stats().counter(Counter::ClientPublishes);
    let mut before = 0;
    let mut turns = 0;
    while published(&world) < 400 * CLIENTS as u64 {
        world.turn();
        let after = published(&world);
        assert!(after - before <= 4_000 + 1_000, "{}", after - before);
        before = after;
        turns += 1;
        assert!(turns < 100);
    }
    world.turn();
    assert_eq!(
        world.engine.poll_timeout(),
        Some(Duration::from_millis(700))
    );
}

/// Whoever asks and does not take the answers is not asked what else it wants, and loses nothing by it.
#[test]
fn a_client_that_does_not_take_its_answers_is_not_read() {
    let mut world = World::new(Rules {
        outbox_bytes_max: 1 << 20,
        ..rules()
    });
    let client = world.open();
    client.heard();
    client.pipe.borrow_mut().room = 0;
    let call = masked(1, br#"[2,"id","p"]"#);
    const CALLS: usize = 10_000;
    client
        .pipe
        .borrow_mut()
        .to_server
        .extend(call.repeat(CALLS));
    world.engine.handle_readable(client.id, false);
    for _ in 0..100 {
        world.turn();
        world.engine.handle_readable(client.id, false);
    }
    let answer = br#"[4,"id","p","You are not allowed to make calls"]"#.len() + 2;
    let most = limits::ANSWERS_OWED_BYTES_MAX + limits::READ_PIECE_BYTES / call.len() * answer;
    let held = world.engine.outboxes_bytes();
    assert!(held <= 2 * most, "{held}");
    assert_ne!(
        world.engine.poll_timeout(),
        Some(Duration::ZERO),
        "it is left alone"
    );
    // It takes some, which is not enough, and then all.
    client.pipe.borrow_mut().room = 100;
    world.writable(&client);
    world.turn();
    let unread = client.pipe.borrow().to_server.len();
    assert!(unread > CALLS * call.len() / 2, "{unread}");
    client.pipe.borrow_mut().room = usize::MAX;
    world.engine.handle_writable(client.id);
    let mut turns = 0;
    while client.pipe.borrow().from_server.len() < CALLS * answer {
        world.turn();
        turns += 1;
        assert!(turns < 1_000);
    }
    assert_eq!(world.engine.stats().counter(Counter::Calls), CALLS as u64);
    // If it never takes any, it is taken for dead, whatever it goes on to say.
    client.pipe.borrow_mut().room = 0;
    client
        .pipe
        .borrow_mut()
        .to_server
        .extend(call.repeat(CALLS));
    world.readable(&client, false);
    world.wait(47);
    assert_eq!(world.counted(Close::PingTimeout), 1);
    assert_eq!(world.engine.connections(), 0);
}

/// Whoever is not read because it does not take its answers is read again when its end begins, or its own end
/// would not be seen.
#[test]
fn the_end_of_a_client_that_was_not_read_is_seen() {
    let mut world = World::new(Rules {
        outbox_bytes_max: 1 << 20,
        outboxes_bytes_max: 1 << 20,
        ..rules()
    });
    let client = world.open();
    client.heard();
    client.pipe.borrow_mut().room = 0;
    let calls = masked(1, br#"[2,"id","p"]"#).repeat(1_000);
    world.say(&client, &calls);
    world.turn();
    assert!(!client.pipe.borrow().to_server.is_empty(), "it is not read");
    // There is room again, and the Close frame takes it before a writable edge has come.
    client.pipe.borrow_mut().room = usize::MAX;
    assert!(world.engine.disconnect(client.id));
    assert!(client.ended());
    client.pipe.borrow_mut().peer_ended = true;
    world.engine.handle_readable(client.id, true);
    world.turn();
    world.turn();
    assert_eq!(world.engine.connections(), 0);
}

#[test]
fn rules_broken_end_with_their_code() {
    let long_topic = format!("[5,\"{}\"]", "x".repeat(51));
    let many: Vec<Vec<u8>> = (0..5)
        .map(|n| masked(1, format!("[5,{n}]").as_bytes()))
        .collect();
    let cases = [
        (masked(1, b"null"), 1007, Close::BadMessage),
        (masked(1, b"\xff"), 1007, Close::BadMessage),
        (masked(3, b""), 1002, Close::Protocol),
        (masked(1, long_topic.as_bytes()), 1008, Close::Limit),
        (many.concat(), 1008, Close::Limit),
    ];
    for (bytes, code, reason) in cases {
        let mut world = World::new(rules());
        let client = world.open();
        client.heard();
        world.say(&client, &bytes);
        world.turn();
        let heard = client.heard();
        assert_eq!(heard[0], 0x88, "{bytes:?}");
        assert_eq!(heard[2..4], u16::to_be_bytes(code), "{bytes:?}");
        assert_eq!(world.counted(reason), 1, "{bytes:?}");
        assert_eq!(world.engine.subscriptions(), 0, "it has left its topics");
        assert!(client.ended());
    }
}

#[test]
fn a_close_is_answered_in_kind() {
    let mut world = World::new(rules());
    let client = world.open();
    client.heard();
    world.say(&client, &masked(8, &[3, 232]));
    assert_eq!(client.heard(), [0x88, 2, 3, 232]);
    assert!(client.ended());
    client.pipe.borrow_mut().peer_ended = true;
    world.readable(&client, true);
    world.turn();
    assert_eq!(world.engine.connections(), 0);
    assert_eq!(world.counted(Close::PeerClosed), 1);
    assert_eq!(world.counted(Close::PeerGone), 0, "one reason a connection");
}
