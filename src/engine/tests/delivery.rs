//! Events on their way to subscribers, and what sources are told of these.

use super::super::TopicChange;
use super::{UPGRADE, World, masked, rules};
use crate::limits;
use crate::stats::Close;

#[test]
fn an_event_reaches_those_who_subscribed_and_nobody_else() {
    let mut world = World::new(rules());
    let (a, b) = (world.subscriber(&["news"]), world.subscriber(&["other"]));
    world.publish("news", r#"{"n":1}"#);
    world.publish("nobody", "1");
    world.turn();
    assert_eq!(a.texts(), [r#"[8,"news",{"n":1}]"#]);
    assert_eq!(b.texts(), [""; 0]);
}

#[test]
fn one_write_a_member_and_turn() {
    let mut world = World::new(rules());
    let client = world.subscriber(&["t"]);
    let before = client.pipe.borrow().writes;
    for n in 0..50 {
        world.publish("t", &n.to_string());
    }
    world.turn();
    assert_eq!(client.pipe.borrow().writes, before + 1);
    assert_eq!(client.texts().len(), 50);
}

#[test]
fn sources_hear_of_the_first_subscriber_and_of_the_last_to_leave() {
    let mut world = World::new(rules());
    let (a, b) = (world.subscriber(&["x", "y"]), world.subscriber(&["x"]));
    world.say(&a, &masked(1, br#"[6,"y"]"#));
    for client in [&a, &b] {
        client.pipe.borrow_mut().is_broken = true;
        world.readable(client, true);
    }
    world.turn();
    let changes: Vec<TopicChange> =
        std::iter::from_fn(|| world.engine.poll_topic_change()).collect();
    assert_eq!(
        changes,
        [
            TopicChange::First("x".into()),
            TopicChange::First("y".into()),
            TopicChange::Last("y".into()),
            TopicChange::Last("x".into()),
        ]
    );
    assert_eq!(world.counted(Close::SocketError), 2);
}

/// The budget for compression is one of a turn, even when nothing is left to deliver in it.
#[test]
fn a_topic_that_is_left_right_after_a_large_event_holds_up_no_other() {
    let mut world = World::new(rules());
    let client = world.connect();
    let upgrade = UPGRADE.replace(
        "Host: h\r\n",
        "Host: h\r\nSec-WebSocket-Extensions: permessage-deflate\r\n",
    );
    world.say(&client, upgrade.as_bytes());
    world.accept_all();
    world.say(&client, &masked(1, br#"[5,"t"]"#));
    let data = format!("\"{}\"", "1".repeat(limits::TURN_COMPRESS_BYTES_MAX));
    world.publish("t", &data);
    assert!(world.engine.is_congested(), "the budget is used up");
    world.say(&client, &masked(1, br#"[6,"t"]"#));
    world.engine.hand_out();
    assert!(
        !world.engine.is_congested(),
        "nothing more would be taken in"
    );
}
