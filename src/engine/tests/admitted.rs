//! Connections that another part of the program hands over with their upgrade already parsed.

use super::{Client, Rules, UPGRADE, World, masked, rules};
use crate::standing::{Standing, Verdict};
use crate::stats::{Cause, Close, Counter, Refusal};
use crate::stream::FakeStream;
use crate::wire::grant::Grant;
use crate::wire::http::Acceptance;

/// Hands a connection over whose upgrade was judged so.
fn hand_over(world: &mut World, upgrade: Result<Acceptance, Refusal>, early: Vec<u8>) -> Client {
    let (stream, pipe) = FakeStream::new();
    let peer = "10.0.0.1:7".parse().expect("an address");
    let standing = Standing::new(Grant {
        topics: vec!["$sys/*".to_owned()],
        ..Grant::default()
    });
    let id = world
        .engine
        .handle_admitted(stream, peer, upgrade, early, standing)
        .expect("a place");
    Client { id, pipe }
}

fn acceptance() -> Acceptance {
    Acceptance {
        accept_key: "x".to_owned(),
        subprotocol: Some("wamp"),
        deflate: None,
    }
}

#[test]
fn a_connection_that_is_handed_over_is_open_at_once_and_no_token_is_asked_of_it() {
    let mut world = World::new(rules());
    let early = masked(1, br#"[5,"$sys/stats"]"#);
    let client = hand_over(&mut world, Ok(acceptance()), early);
    assert!(world.engine.poll_check().is_none());
    let heard = String::from_utf8_lossy(&client.heard()).into_owned();
    let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: wamp\r\n\r\n";
    assert!(heard.starts_with(head) && heard.contains("[0,"), "{heard}");
    // What came behind the upgrade is read like everything else.
    world.engine.read();
    assert_eq!(world.engine.subscribers("$sys/stats"), 1);
    assert_eq!(world.engine.stats().counter(Counter::Handshakes), 1);
}

#[test]
fn a_connection_that_is_handed_over_with_a_bad_upgrade_is_refused_as_any_other() {
    let mut world = World::new(rules());
    let client = hand_over(&mut world, Err(Refusal::BadKey), b"behind".to_vec());
    assert!(client.heard().starts_with(b"HTTP/1.1 400 Bad Request\r\n"));
    assert!(client.ended());
    assert_eq!(world.engine.stats().refusals(Refusal::BadKey), 1);
    assert_eq!(world.counted(Close::Refused), 1);
}

#[test]
fn an_address_whose_tokens_were_refused_too_often_hands_nothing_over() {
    let mut world = World::new(Rules {
        refused_tokens_max: 1,
        ..rules()
    });
    let stranger = world.connect();
    world.say(&stranger, UPGRADE.as_bytes());
    let check = world.engine.poll_check().expect("a check");
    let verdict = Verdict::Refused(Cause::Unknown);
    world.engine.handle_verdict(check.id, verdict);
    let client = hand_over(&mut world, Ok(acceptance()), Vec::new());
    assert!(client.heard().starts_with(b"HTTP/1.1 429 "));
    assert_eq!(world.engine.stats().refusals(Refusal::TooManyTokens), 1);
    assert_eq!(world.engine.stats().counter(Counter::Handshakes), 0);
}
