//! Clients that give no sign of life, or seem to.

use super::super::Rules;
use super::{World, masked, rules};
use crate::stats::Close;

#[test]
fn a_silent_peer_is_pinged_and_then_given_up() {
    let mut world = World::new(rules());
    let (silent, alive) = (world.open(), world.open());
    silent.heard();
    alive.heard();
    world.wait(25);
    assert!(silent.heard().is_empty());
    world.wait(1);
    assert_eq!(silent.heard(), [0x89, 0]);
    assert_eq!(alive.heard(), [0x89, 0]);
    world.say(&alive, &masked(10, b""));
    world.wait(20);
    assert_eq!(world.engine.connections(), 2);
    world.wait(1);
    assert_eq!(world.engine.connections(), 1);
    assert!(
        silent.heard().is_empty(),
        "no Close frame: it may come back"
    );
    assert_eq!(world.counted(Close::PingTimeout), 1);
    world.wait(5);
    assert_eq!(alive.heard(), [0x89, 0]);
}

/// Two megabytes for a client whose network takes 32 kB a second. It is silent, since its answer to a ping
/// would come behind all of that.
#[test]
fn a_slow_client_that_takes_bytes_is_not_taken_for_dead() {
    const EVENT_BYTES: usize = 2_000_000;
    let mut world = World::new(Rules {
        outbox_bytes_max: 8 << 20,
        outboxes_bytes_max: 256 << 20,
        pong_seconds: 25,
        ..rules()
    });
    let (slow, dead) = (world.subscriber(&["t"]), world.subscriber(&["t"]));
    for client in [&slow, &dead] {
        client.pipe.borrow_mut().room = 128 << 10;
    }
    world.publish("t", &"1".repeat(EVENT_BYTES));
    world.turn();
    let mut seconds = 0;
    while slow.pipe.borrow().from_server.len() < EVENT_BYTES {
        slow.pipe.borrow_mut().room = 32_000;
        world.engine.handle_writable(slow.id);
        world.wait(1);
        seconds += 1;
        assert!(seconds < 100 && !slow.pipe.borrow().is_broken);
    }
    assert!(seconds > 50, "{seconds}");
    // The other one took nothing for as long as silence and a ping may last.
    assert_eq!(world.counted(Close::PingTimeout), 1);
    assert_eq!(world.engine.connections(), 1);
    assert!(dead.pipe.borrow().from_server.len() == 128 << 10);
    // With all of it the slow one is pinged, and has the whole time to answer from then on.
    world.wait(26);
    let pipe = slow.pipe.borrow();
    assert_eq!(pipe.from_server[pipe.from_server.len() - 2..], [0x89, 0]);
    drop(pipe);
    world.wait(25);
    assert_eq!(world.engine.connections(), 1);
    world.wait(1);
    assert_eq!(world.engine.connections(), 0);
}

/// A ping that finds the socket full waits in the outbox, and its time with it.
#[test]
fn the_time_of_a_pong_begins_when_the_ping_has_left() {
    let mut world = World::new(rules());
    let client = world.open();
    client.heard();
    client.pipe.borrow_mut().room = 1;
    world.wait(26);
    assert_eq!(client.heard(), [0x89], "half of a ping");
    world.wait(19);
    client.pipe.borrow_mut().room = usize::MAX;
    world.writable(&client);
    assert_eq!(client.heard(), [0]);
    world.wait(20);
    assert_eq!(world.engine.connections(), 1);
    world.say(&client, &masked(10, b""));
    world.wait(25);
    assert_eq!(world.counted(Close::PingTimeout), 0);
}
