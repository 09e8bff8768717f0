//! Clients of WAMP v2: what is counted and kept for them, and when they are refused after their upgrade.

use super::{Client, UPGRADE, World, close_frame, masked, rules};
use crate::engine::{Rules, SessionRules};
use crate::stats::{Close, Counter, Refusal};

pub(super) fn say(world: &mut World, client: &Client, text: &str) {
    world.say(client, &masked(1, text.as_bytes()));
}

/// A client whose upgrade is accepted. It has a token in its URL exactly when `has_token`.
pub(super) fn upgraded(world: &mut World, has_token: bool) -> Client {
    upgraded_with(world, has_token, "")
}

/// The same, with further header lines.
fn upgraded_with(world: &mut World, has_token: bool, lines: &str) -> Client {
    let client = world.connect();
    let mut head = UPGRADE.replace(
        "\r\n\r\n",
        &format!("\r\nSec-WebSocket-Protocol: wamp.2.json\r\n{lines}\r\n"),
    );
    if !has_token {
        head = head.replace("token=t", "");
    }
    world.say(&client, head.as_bytes());
    world.accept_all();
    assert!(client.heard().starts_with(b"HTTP/1.1 101 "));
    client
}

#[test]
fn one_subscription_too_many_is_refused_before_it_is_made() {
    let mut world = World::new(rules());
    let client = upgraded(&mut world, true);
    say(&mut world, &client, "[1,\"r\",{}]");
    for topic in 0..4 {
        say(&mut world, &client, &format!("[32,1,{{}},\"t{topic}\"]"));
    }
    while world.engine.poll_topic_change().is_some() {}
    client.heard();
    for _ in 0..3 {
        say(&mut world, &client, "[32,9,{},\"other\"]");
        let refused = "[8,32,9,{},\"newswire.error.too_many_subscriptions\"]";
        assert_eq!(client.texts(), [refused]);
    }
    assert_eq!(world.engine.stats().counter(Counter::Subscribes), 4);
    assert_eq!(world.engine.poll_topic_change(), None);
    say(&mut world, &client, "[32,9,{},\"t1\"]");
    assert_eq!(client.texts(), ["[33,9,2]"], "what it has, it may ask for");
}

#[test]
fn a_session_counts_when_it_is_open() {
    let mut world = World::new(rules());
    for has_token in [true, false] {
        let client = upgraded(&mut world, has_token);
        let before = world.engine.stats().counter(Counter::Handshakes);
        say(
            &mut world,
            &client,
            "[1,\"r\",{\"authmethods\":[\"ticket\"]}]",
        );
        if !has_token {
            assert_eq!(world.engine.stats().counter(Counter::Handshakes), before);
            assert_eq!(client.texts(), ["[4,\"ticket\",{}]"]);
            say(&mut world, &client, "[5,\"t\",{}]");
            world.accept_all();
        }
        let after = world.engine.stats().counter(Counter::Handshakes);
        assert_eq!(after, before + 1);
    }
}

#[test]
fn a_stranger_may_say_no_more_than_a_request_may_hold() {
    let mut world = World::new(Rules {
        session: SessionRules {
            head_bytes_max: 300,
            message_bytes_max: 1_000,
            ..SessionRules::default()
        },
        ..rules()
    });
    let client = upgraded(&mut world, false);
    say(
        &mut world,
        &client,
        "[1,\"r\",{\"authmethods\":[\"ticket\"]}]",
    );
    client.heard();
    let ticket = "t".repeat(300);
    say(&mut world, &client, &format!("[5,\"{ticket}\",{{}}]"));
    let heard = String::from_utf8_lossy(&client.heard()).into_owned();
    assert!(
        heard.contains("wamp.error.authentication_denied"),
        "{heard:?}"
    );
    assert_eq!(world.counted(Close::MessageTooLarge), 1);
    let known = upgraded(&mut world, true);
    say(
        &mut world,
        &known,
        &format!("[1,\"r\",{{\"x\":\"{ticket}\"}}]"),
    );
    assert_eq!(world.engine.stats().counter(Counter::Handshakes), 1);
}

#[test]
fn nobody_is_welcomed_while_the_server_goes_down() {
    let mut world = World::new(Rules {
        connections_max: 1_000,
        ..rules()
    });
    // More than one turn can refuse.
    for _ in 0..400 {
        world.connect();
    }
    let client = upgraded(&mut world, true);
    world.engine.handle_shutdown();
    say(&mut world, &client, "[1,\"r\",{}]");
    assert_eq!(
        client.heard(),
        close_frame(1001, "the server is going down")
    );
    assert!(world.engine.stats().refusals(Refusal::ShuttingDown) > 0);
    assert_eq!(world.engine.stats().counter(Counter::Handshakes), 0);
}

#[test]
fn all_subscribers_know_a_topic_by_one_id_for_as_long_as_it_lives() {
    let mut world = World::new(rules());
    let plain = upgraded(&mut world, true);
    let extension = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    let inflating = upgraded_with(&mut world, true, extension);
    for client in [&plain, &inflating] {
        say(&mut world, client, "[1,\"r\",{}]");
        client.heard();
        say(&mut world, client, "[32,1,{},\"t\"]");
        assert_eq!(client.texts(), ["[33,1,1]"]);
    }
    // One leaves by the id, and the other one stays.
    say(&mut world, &plain, "[34,2,1]");
    assert_eq!(plain.texts(), ["[35,2]"]);
    say(&mut world, &plain, "[34,3,1]");
    let unknown = "[8,34,3,{},\"wamp.error.no_such_subscription\"]";
    assert_eq!(plain.texts(), [unknown]);
    world.publish("t", "7");
    world.turn();
    assert_eq!(inflating.texts(), ["[36,1,1,{},[7]]"]);
    say(&mut world, &plain, "[32,4,{},\"t\"]");
    assert_eq!(plain.texts(), ["[33,4,1]"], "the topic is the same");
    for client in [&plain, &inflating] {
        say(&mut world, client, "[34,5,1]");
        assert_eq!(client.texts(), ["[35,5]"]);
    }
    say(&mut world, &plain, "[32,6,{},\"t\"]");
    assert_eq!(plain.texts(), ["[33,6,2]"], "the topic is another");
}
