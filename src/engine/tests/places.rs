//! Places that are short, and for whom they are.

use std::rc::Rc;
use std::time::Duration;

use super::super::{Rules, Vacancy};
use super::{Client, FakeStream, UPGRADE, World, masked, rules};
use crate::limits;
use crate::stats::{Close, Refusal};

#[test]
fn there_is_no_place_beyond_the_limits() {
    let mut world = World::new(Rules {
        connections_per_address_max: 2,
        ..rules()
    });
    let first = world.open();
    world.open();
    let stream = || FakeStream(Rc::clone(&first.pipe));
    let peer = "10.0.0.1:9".parse().expect("an address");
    let refused = world.engine.handle_connection(stream(), peer);
    assert_eq!(refused.expect_err("full").1, Refusal::AddressFull);
    for n in 0..3 {
        let peer = format!("10.0.1.{n}:9").parse().expect("an address");
        assert!(world.engine.handle_connection(stream(), peer).is_ok());
    }
    let other = "10.0.2.1:9".parse().expect("an address");
    let refused = world.engine.handle_connection(stream(), other);
    assert_eq!(refused.expect_err("full").1, Refusal::Full);
    world.say(&first, &masked(8, b""));
    first.pipe.borrow_mut().peer_ended = true;
    world.readable(&first, true);
    world.turn();
    world.open();
}

const ROOM_MIN: Duration = Duration::from_millis(limits::ROOM_MILLISECONDS_MIN);

#[test]
fn strangers_hold_no_places_that_newcomers_need() {
    let mut world = World::new(rules());
    world.turn();
    let strangers: Vec<Client> = (0..5).map(|_| world.connect()).collect();
    // Each has a moment for itself: until then newcomers are better off in the kernel.
    let until = world.now + ROOM_MIN;
    world.turn();
    assert_eq!(world.engine.vacancy(), Vacancy::At(until));
    assert_eq!(world.refused(), Refusal::Full);
    world.now = until;
    world.turn();
    assert_eq!(world.engine.vacancy(), Vacancy::Now);
    let newcomers: Vec<Client> = (0..3).map(|_| world.open()).collect();
    // Nothing but `reap` frees a place.
    assert_eq!(world.engine.connections(), 8);
    world.turn();
    assert_eq!(world.engine.connections(), 5);
    assert_eq!(world.counted(Close::MadeRoom), 3);
    for (n, stranger) in strangers.iter().enumerate() {
        let heard = stranger.heard();
        assert_eq!(heard.starts_with(b"HTTP/1.1 503 "), n < 3, "{n}");
    }
    for newcomer in &newcomers {
        assert!(newcomer.heard().starts_with(b"HTTP/1.1 101 "));
    }
}

#[test]
fn a_flood_of_strangers_is_ended_a_share_a_turn() {
    const MAX: usize = 100;
    let mut world = World::new(Rules {
        connections_max: MAX,
        ..rules()
    });
    let _first: Vec<Client> = (0..MAX).map(|_| world.connect()).collect();
    for turn in 1..=5 {
        world.now += ROOM_MIN;
        world.turn();
        let mut came = Vec::new();
        while world.engine.vacancy() == Vacancy::Now {
            came.push(world.connect());
        }
        assert_eq!(came.len(), limits::TURN_ROOM_MAX);
        assert_eq!(world.engine.vacancy(), Vacancy::At(world.now));
        assert_eq!(world.engine.connections(), MAX + limits::TURN_ROOM_MAX);
        world.turn();
        assert_eq!(world.engine.connections(), MAX);
        let ended = (turn * limits::TURN_ROOM_MAX) as u64;
        assert_eq!(world.counted(Close::MadeRoom), ended);
    }
}

#[test]
fn who_has_shown_something_is_not_ended_for_a_newcomer() {
    let mut world = World::new(rules());
    let open = world.subscriber(&["t"]);
    let checking: Vec<Client> = (0..4)
        .map(|_| {
            let client = world.connect();
            world.say(&client, UPGRADE.as_bytes());
            client
        })
        .collect();
    world.now += 4 * ROOM_MIN;
    world.engine.start_turn(world.now);
    assert_eq!(world.engine.vacancy(), Vacancy::Never);
    assert_eq!(world.refused(), Refusal::Full);
    world.accept_all();
    world.publish("t", "1");
    world.turn();
    assert!(!open.heard().is_empty());
    for client in &checking {
        assert!(client.heard().starts_with(b"HTTP/1.1 101 "));
    }
    assert_eq!(world.counted(Close::MadeRoom), 0);
}

#[test]
fn who_only_waits_for_its_end_goes_first() {
    let mut world = World::new(rules());
    let _stranger = world.connect();
    world.turn();
    let clients: Vec<Client> = (0..4).map(|_| world.open()).collect();
    world.say(&clients[1], &masked(8, &1000_u16.to_be_bytes()));
    world.turn();
    assert_eq!(world.engine.connections(), 5, "its end is awaited");
    world.now += ROOM_MIN;
    world.turn();
    let newcomer = world.open();
    world.turn();
    assert!(newcomer.heard().starts_with(b"HTTP/1.1 101 "));
    assert_eq!(world.engine.connections(), 5);
    assert_eq!(world.counted(Close::PeerClosed), 1);
    assert_eq!(world.counted(Close::MadeRoom), 0, "its end was counted");
    // Now the stranger, and then nobody is left who could be ended.
    let _second = world.open();
    world.turn();
    assert_eq!(world.counted(Close::MadeRoom), 1);
    assert_eq!(world.engine.vacancy(), Vacancy::Never);
}

/// A newcomer whose address has no place left does not cost somebody else's.
#[test]
fn nobody_is_ended_for_a_newcomer_who_may_not_come_in() {
    let mut world = World::new(Rules {
        connections_per_address_max: 5,
        ..rules()
    });
    let _strangers: Vec<Client> = (0..5).map(|_| world.connect()).collect();
    world.now += ROOM_MIN;
    world.turn();
    assert_eq!(world.refused(), Refusal::AddressFull);
    assert_eq!(world.counted(Close::MadeRoom), 0);
}

/// The address of a trusted proxy is no client's, whether a proxy comes from there or names it.
#[test]
fn the_connections_of_trusted_proxies_are_never_counted() {
    let mut rules = rules();
    rules.session.trusted_proxies = vec!["10.0.0.0/24".parse().expect("a network")];
    rules.connections_per_address_max = 1;
    let mut world = World::new(rules.clone());
    let ask = |world: &mut World, client: &Client, address: &str| {
        let header = format!("\r\nX-Forwarded-For: {address}\r\n\r\n");
        world.say(client, UPGRADE.replace("\r\n\r\n", &header).as_bytes());
        world.turn();
    };
    // A proxy that asks for nothing, and another one that names the first as its client.
    let stranger = world.knock_from("10.0.0.2:7").expect("a place");
    let named = world.connect();
    ask(&mut world, &named, "10.0.0.2");
    assert_eq!(world.engine.audit(), Ok(()));
    stranger.pipe.borrow_mut().peer_ended = true;
    world.readable(&stranger, true);
    world.turn();
    assert_eq!(world.engine.audit(), Ok(()));
    // A client behind it is counted once, until it leaves, and also after a reload.
    let client = world.connect();
    ask(&mut world, &client, "192.0.2.7");
    let _ = world.engine.set_rules(rules);
    assert_eq!(world.engine.audit(), Ok(()));
    let second = world.connect();
    ask(&mut world, &second, "192.0.2.7");
    assert!(second.heard().starts_with(b"HTTP/1.1 503 "));
    let incidents = world.engine.incidents();
    let told = &incidents.take_refused_addresses(Refusal::AddressFull)[0];
    assert_eq!(told.address.to_string(), "192.0.2.7", "the client's");
    for client in [&named, &client, &second] {
        client.pipe.borrow_mut().is_broken = true;
        world.readable(client, true);
    }
    world.turn();
    assert_eq!(world.engine.connections(), 0);
    assert_eq!(world.engine.audit(), Ok(()));
}
