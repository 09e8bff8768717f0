//! Clients that do not read what they are owed.

use std::time::Duration;

use super::super::Rules;
use super::{Client, World, close_frame, masked, rules};
use crate::limits;
use crate::stats::Close;

#[test]
fn a_slow_consumer_is_closed_between_frames_and_the_others_notice_nothing() {
    let mut world = World::new(rules());
    let (slow, fast) = (world.subscriber(&["t"]), world.subscriber(&["t"]));
    slow.pipe.borrow_mut().room = 25;
    let data = "1".repeat(100);
    let mut sent = 0;
    while world.engine.topics() == 1 && world.counted(Close::SlowConsumer) == 0 {
        world.publish("t", &data);
        sent += 1;
        world.turn();
        assert!(sent < 200, "the bound is 10,000 bytes");
    }
    assert_eq!(fast.texts().len(), sent);
    assert_eq!(world.engine.connections(), 2);
    // It wakes up: the frame that had begun, then the Close frame, and nothing else.
    slow.pipe.borrow_mut().room = usize::MAX;
    world.writable(&slow);
    let mut heard = slow.heard();
    let close = close_frame(1008, "slow consumer");
    assert!(heard.ends_with(&close));
    heard.truncate(heard.len() - close.len());
    assert_eq!(heard.len(), 2 + 108);
    assert!(slow.ended());
    assert_eq!(world.engine.outboxes_bytes(), 0);
}

#[test]
fn all_outboxes_together_are_bounded_and_who_owes_longest_ends_first() {
    let mut world = World::new(Rules {
        outboxes_bytes_max: 10_000,
        ..rules()
    });
    let clients: Vec<Client> = (0..4)
        .map(|n| world.subscriber(&[&format!("t{n}")]))
        .collect();
    let data = "1".repeat(100);
    for (n, client) in clients.iter().enumerate() {
        client.pipe.borrow_mut().room = 10;
        for _ in 0..20 {
            world.publish(&format!("t{n}"), &data);
        }
        world.wait(1);
    }
    assert!(world.engine.outboxes_bytes() <= 10_000);
    assert_eq!(world.counted(Close::OutboxesFull), 2);
    assert_eq!(world.engine.connections(), 2);
    assert!(clients[3].pipe.borrow().from_server.len() == 10);
    assert_eq!(world.engine.subscriptions(), 2);
}

/// A crowd that has stopped to read comes over its bound with the same event, and ends turn by turn.
#[test]
fn those_who_are_too_slow_together_end_turn_by_turn() {
    const CLIENTS: usize = limits::TURN_DISCONNECTS_MAX + 100;
    let mut world = World::new(Rules {
        connections_max: CLIENTS,
        outboxes_bytes_max: 1 << 20,
        ..rules()
    });
    let crowd: Vec<Client> = (0..CLIENTS).map(|_| world.subscriber(&["t"])).collect();
    for client in &crowd {
        client.pipe.borrow_mut().room = 0;
    }
    let event = "1".repeat(11_000);
    world.publish("t", &event);
    world.turn();
    let most = limits::TURN_DISCONNECTS_MAX as u64;
    assert_eq!(world.counted(Close::SlowConsumer), most);
    world.publish("t", &event);
    world.turn();
    assert_eq!(world.counted(Close::SlowConsumer), CLIENTS as u64);
    assert_eq!(world.engine.subscriptions(), 0);
}

/// The greedy go first: those who take nothing, and of these who is owed most; who reads goes last.
#[test]
fn when_outboxes_are_full_a_steady_reader_goes_last() {
    let mut world = World::new(Rules {
        connections_max: 50,
        outbox_bytes_max: 1 << 20,
        outboxes_bytes_max: 100_000,
        ..rules()
    });
    let reader = world.subscriber(&["reader"]);
    let callers: Vec<Client> = (0..40).map(|_| world.open()).collect();
    let stalled = world.subscriber(&["stalled"]);
    reader.pipe.borrow_mut().room = 10;
    world.publish("reader", &"1".repeat(60_000));
    world.turn();
    stalled.pipe.borrow_mut().room = 10;
    world.publish("stalled", &"1".repeat(20_000));
    world.turn();
    world.wait(10);
    let calls = masked(1, br#"[2,"id","p"]"#).repeat(100);
    for caller in &callers {
        caller.pipe.borrow_mut().room = 0;
        world.say(caller, &calls);
        // It takes a little, and steadily.
        reader.pipe.borrow_mut().room = 500;
        world.writable(&reader);
        world.wait(1);
        assert!(world.engine.outboxes_bytes() <= 100_000);
    }
    assert!(!reader.ended() && world.engine.connection_at(reader.id.index()).is_some());
    assert!(world.counted(Close::OutboxesFull) > 0);
    assert_eq!(
        world.engine.topics(),
        1,
        "the stalled one was owed most, and is gone"
    );
    let state = |client: &Client| world.engine.connection_at(client.id.index());
    assert!(state(&reader).is_some_and(|view| view.state == "open"));
}

/// Nobody is read or served while connections have to give up what they are owed. So one search over all
/// places is enough, however many of them it takes.
#[test]
fn those_who_have_to_give_up_are_looked_for_once() {
    const STRANGERS: usize = 3 * limits::TURN_PLACES_MAX as usize;
    const CLIENTS: usize = 12 * limits::TURN_DISCONNECTS_MAX;
    const BOUND: usize = 1_800_000;
    let mut world = World::new(Rules {
        connections_max: STRANGERS + CLIENTS,
        outbox_bytes_max: 1 << 20,
        outboxes_bytes_max: BOUND,
        ..rules()
    });
    let crowd: Vec<Client> = (0..CLIENTS).map(|_| world.subscriber(&["t"])).collect();
    let _strangers: Vec<Client> = (0..STRANGERS).map(|_| world.connect()).collect();
    for client in &crowd {
        client.pipe.borrow_mut().room = 0;
    }
    while !world.engine.is_congested() {
        world.publish("t", "1");
        world.turn();
    }
    let mut turns = 0;
    while world.engine.is_congested() {
        world.turn();
        turns += 1;
        assert!(turns < 8, "{turns}");
    }
    let ended = world.counted(Close::OutboxesFull);
    assert!(ended > 2 * limits::TURN_DISCONNECTS_MAX as u64, "{ended}");
    assert!(world.engine.outboxes_bytes() < BOUND);
}

/// However many wake up together, a turn is not longer, and who owes nothing hears its events in it.
#[test]
fn those_who_wake_up_together_are_paid_turn_by_turn() {
    const CLIENTS: usize = 30;
    const EVENT_BYTES: usize = 1_000_000;
    let mut world = World::new(Rules {
        connections_max: CLIENTS + 1,
        outbox_bytes_max: 10 * EVENT_BYTES,
        outboxes_bytes_max: 100 * EVENT_BYTES,
        ..rules()
    });
    let other = world.subscriber(&["other"]);
    let sleepers: Vec<Client> = (0..CLIENTS).map(|_| world.subscriber(&["t"])).collect();
    for sleeper in &sleepers {
        sleeper.pipe.borrow_mut().room = 0;
    }
    world.publish("t", &"1".repeat(EVENT_BYTES));
    world.turn();
    world.publish("t", "2");
    world.turn();
    let heard = |sleeper: &Client| sleeper.pipe.borrow().from_server.len();
    for sleeper in &sleepers {
        sleeper.pipe.borrow_mut().room = usize::MAX;
        world.engine.handle_writable(sleeper.id);
        // An edge that comes while it waits changes nothing.
        world.engine.handle_writable(sleeper.id);
    }
    let (mut before, mut turns) = (0, 0);
    loop {
        let after: usize = sleepers.iter().map(heard).sum();
        assert!(after - before <= limits::TURN_PAYMENT_BYTES_MAX + 2 * EVENT_BYTES);
        before = after;
        if world.engine.owes_nothing() {
            break;
        }
        assert_eq!(world.engine.poll_timeout(), Some(Duration::ZERO));
        world.publish("other", "1");
        world.turn();
        assert_eq!(other.texts(), [r#"[8,"other",1]"#]);
        turns += 1;
        assert!(turns < 100);
    }
    assert!(turns >= 3, "{turns}");
    let first = heard(&sleepers[0]);
    assert!(first > EVENT_BYTES && sleepers.iter().all(|sleeper| heard(sleeper) == first));
    assert_ne!(world.engine.poll_timeout(), Some(Duration::ZERO));
}
