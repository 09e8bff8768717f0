//! From an accepted stream to an open session.

use std::rc::Rc;
use std::time::Duration;

use super::{UPGRADE, World, masked, rules};
use crate::standing::Verdict;
use crate::stats::{Cause, Counter, Refusal};

#[test]
fn the_101_and_welcome_leave_in_one_write_and_ids_differ() {
    let mut world = World::new(rules());
    let (a, b) = (world.open(), world.open());
    assert_eq!(a.pipe.borrow().writes, 1);
    let (a, b) = (a.heard(), b.heard());
    let text = String::from_utf8_lossy(&a).into_owned();
    assert!(text.starts_with("HTTP/1.1 101 "), "{text}");
    assert!(text.contains("[0,\""), "{text}");
    assert_ne!(a, b);
}

#[test]
fn a_verdict_that_comes_late_finds_nobody() {
    let mut world = World::new(rules());
    let client = world.connect();
    world.say(&client, UPGRADE.as_bytes());
    let check = world.engine.poll_check().expect("it is to be judged");
    client.pipe.borrow_mut().peer_ended = true;
    world.readable(&client, true);
    world.turn();
    assert!(client.heard().is_empty());
    // Nothing is read while the verdict is awaited: that the peer has left shows afterwards.
    client.pipe.borrow_mut().is_broken = true;
    world.writable(&client);
    world.wait(20);
    assert_eq!(world.engine.connections(), 0);
    let next = world.connect();
    assert_eq!(next.id.index(), client.id.index());
    let verdict = Verdict::Accepted(Rc::default());
    world.engine.handle_verdict(check.id, verdict);
    assert!(
        next.heard().is_empty(),
        "the place's next tenant is not meant"
    );
    assert_eq!(world.engine.stats().counter(Counter::Stale), 1);
}

#[test]
fn what_comes_during_the_check_is_read_after_it() {
    let mut world = World::new(rules());
    let client = world.connect();
    let mut bytes = UPGRADE.as_bytes().to_vec();
    bytes.extend(masked(1, br#"[5,"early"]"#));
    world.say(&client, &bytes);
    world.say(&client, &masked(1, br#"[5,"later"]"#));
    world.turn();
    assert_eq!(world.engine.poll_timeout(), Some(Duration::ZERO));
    world.turn();
    assert_eq!(world.engine.subscriptions(), 2);
}

#[test]
fn a_refused_token_is_answered_and_what_follows_is_ignored() {
    for (verdict, status) in [
        (Verdict::Refused(Cause::Unknown), "401"),
        (Verdict::Unavailable, "503"),
    ] {
        let mut world = World::new(rules());
        let client = world.connect();
        world.say(&client, UPGRADE.as_bytes());
        let check = world.engine.poll_check().expect("it is to be judged");
        world.engine.handle_verdict(check.id, verdict);
        let answer = String::from_utf8(client.heard()).expect("text");
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(client.ended());
        world.say(&client, &masked(1, br#"[5,"t"]"#));
        world.turn();
        assert_eq!(world.engine.subscriptions(), 0);
        assert_eq!(world.engine.connections(), 1, "it waits for the peer's end");
        world.wait(6);
        assert_eq!(world.engine.connections(), 0);
    }
}

#[test]
fn an_upgrade_that_does_not_come_ends() {
    let mut world = World::new(rules());
    let client = world.connect();
    for byte in UPGRADE.bytes().take(9) {
        world.say(&client, &[byte]);
        world.wait(1);
    }
    assert!(client.heard().is_empty());
    world.wait(2);
    assert!(client.heard().starts_with(b"HTTP/1.1 408 "));
    assert_eq!(world.engine.stats().refusals(Refusal::Timeout), 1);
}
