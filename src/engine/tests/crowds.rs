//! Many who leave together, and the end of all.

use std::rc::Rc;

use super::super::{Farewell, Rules};
use super::{Client, UPGRADE, World, masked, rules};
use crate::limits;
use crate::standing::{Standing, Verdict};
use crate::stats::Close;

/// A crowd with many topics leaves at once: each turn takes a part of them out of their topics, and those
/// who are still listed hear nothing and keep their places.
#[test]
fn a_crowd_that_leaves_at_once_is_freed_turn_by_turn() {
    const CLIENTS: usize = 40;
    const TOPICS: usize = 1_000;
    let mut world = World::new(Rules {
        connections_max: CLIENTS,
        subscriptions_max: TOPICS,
        ..rules()
    });
    let clients: Vec<Client> = (0..CLIENTS)
        .map(|n| {
            let client = world.subscriber(&["all"]);
            for topic in 1..TOPICS {
                world.say(
                    &client,
                    &masked(1, format!("[5,\"{n} {topic}\"]").as_bytes()),
                );
            }
            client
        })
        .collect();
    world.turn();
    assert_eq!(world.engine.subscriptions(), CLIENTS * TOPICS);
    for (n, client) in clients.iter().enumerate() {
        match n % 2 {
            0 => client.pipe.borrow_mut().peer_ended = true,
            _ => {
                let close = masked(8, b"");
                client.pipe.borrow_mut().to_server.extend(close);
            }
        }
        world.engine.handle_readable(client.id, true);
    }
    let mut before = (CLIENTS * TOPICS, CLIENTS);
    let mut turns = 0;
    while world.engine.subscriptions() > 0 {
        for client in &clients {
            client.heard();
        }
        world.publish("all", "1");
        world.turn();
        for client in &clients {
            let heard = client.heard();
            assert!(heard.is_empty() || heard == [0x88, 0], "{heard:?}");
            // Whatever the poller says of those who are on their way out changes nothing.
            world.engine.handle_readable(client.id, true);
            world.engine.handle_writable(client.id);
        }
        let after = (world.engine.subscriptions(), world.engine.connections());
        assert!(before.0 - after.0 <= limits::TURN_LEAVES_MAX);
        assert!(before.1 - after.1 <= limits::TURN_LEAVES_MAX / limits::REAP_LEAVES);
        assert_eq!(world.engine.audit(), Ok(()));
        before = after;
        turns += 1;
        assert!(turns < 100);
    }
    assert!(turns >= 5, "{turns}");
    world.turn();
    assert_eq!(
        world.engine.connections(),
        CLIENTS / 2,
        "those wait for their peers"
    );
    world.wait(6);
    assert_eq!(world.engine.connections(), 0);
    assert_eq!(world.counted(Close::PeerGone), CLIENTS as u64 / 2);
    assert_eq!(world.engine.poll_timeout(), None);
}

/// Thousands of sessions whose tokens end together, and thousands that end with the server, end turn by
/// turn.
#[test]
fn those_who_end_together_end_turn_by_turn() {
    const CLIENTS: usize = 2_000;
    for is_shutdown in [false, true] {
        let mut world = World::new(Rules {
            connections_max: CLIENTS,
            ..rules()
        });
        let clients: Vec<Client> = (0..CLIENTS).map(|_| world.connect()).collect();
        let standing = Rc::new(Standing::default());
        for client in &clients {
            world.say(client, UPGRADE.as_bytes());
            let check = world.engine.poll_check().expect("it is to be judged");
            let verdict = Verdict::Accepted(Rc::clone(&standing));
            world.engine.handle_verdict(check.id, verdict);
            world.engine.start_turn(world.now);
        }
        let ended = |world: &World| match is_shutdown {
            true => world.counted(Close::Shutdown),
            false => world.counted(Close::TokenEnded),
        };
        if is_shutdown {
            world.engine.close_all(Farewell::CloseFrame);
        } else {
            standing.end(Close::TokenEnded);
            world.engine.handle_changed_standings();
        }
        let (mut before, mut turns) = (0, 0);
        while ended(&world) < CLIENTS as u64 {
            world.turn();
            let after = ended(&world);
            assert!(after - before <= 2 * 256, "{}", after - before);
            before = after;
            turns += 1;
            assert!(turns < 100);
        }
        assert!(turns >= 7, "{turns}");
        assert!(clients.iter().all(|client| client.ended()));
    }
}

/// A place below a taken one can be free.
#[test]
fn those_whose_tokens_change_are_found_between_free_places() {
    let mut world = World::new(rules());
    let (gone, stays) = (world.open(), world.open());
    gone.pipe.borrow_mut().peer_ended = true;
    world.readable(&gone, true);
    world.turn();
    assert_eq!(world.engine.connections(), 1);
    world.engine.handle_changed_standings();
    world.turn();
    assert_eq!(world.engine.connections(), 1);
    assert!(!stays.ended());
}

#[test]
fn at_a_shutdown_upgrades_end_with_a_status_and_sessions_as_configured() {
    for farewell in [Farewell::Silent, Farewell::CloseFrame] {
        let mut world = World::new(rules());
        let (open, half) = (world.open(), world.connect());
        open.heard();
        world.engine.handle_shutdown();
        world.turn();
        assert!(half.heard().starts_with(b"HTTP/1.1 503 "));
        world.engine.close_all(farewell);
        world.turn();
        match farewell {
            Farewell::Silent => assert!(open.heard().is_empty()),
            Farewell::CloseFrame => assert_eq!(open.heard()[2..4], 1001_u16.to_be_bytes()),
        }
        world.wait(6);
        assert_eq!(world.engine.connections(), 0);
        assert_eq!(
            world.engine.poll_timeout(),
            None,
            "nothing is left to wait for"
        );
    }
}
