//! Tokens that an administrator revoked.

use super::*;

#[test]
fn what_is_revoked_stays_out_whatever_stores_say() {
    let mut world = GateWorld::new(&[Store::Jwt]);
    let end = world.moment().unix.as_secs() + 100;
    world.script(0).now = Some(grant(&[], Some(end)));
    let standing = world.enter("t");
    let other = world.enter("other");
    let digest = Token::new("t").digest();
    assert_eq!(world.gate.revoke(&[digest]), Ok(1));
    assert!(world.gate.poll_change());
    assert_eq!(standing.ending(), Some(Close::TokenEnded));
    assert_eq!(other.ending(), None);
    world.come("t");
    assert!(matches!(world.turn()[..], [(_, Verdict::Refused(_))]));
    // Beyond the end that it had, too: the store has moved that.
    world.script(0).now = Some(grant(&[], Some(end + 1_000)));
    world.pass(120);
    world.come("t");
    assert!(matches!(world.turn()[..], [(_, Verdict::Refused(_))]));

    // While it is being asked about, too.
    world.script(0).now = None;
    world.come("u");
    assert_eq!(world.gate.revoke(&[Token::new("u").digest()]), Ok(0));
    let last = world.asked(0) - 1;
    world.script(0).answer(last, yes());
    assert!(matches!(world.turn()[..], [(_, Verdict::Refused(_))]));
}

#[test]
fn a_full_list_of_revoked_tokens_takes_no_further_order() {
    let mut world = GateWorld::new(&[Store::Jwt]);
    world.script(0).now = Some(yes());
    let standing = world.enter("t");
    for n in 0..limits::AUTH_REVOKED_MAX {
        let digest = Token::new(n.to_string()).digest();
        assert_eq!(world.gate.revoke(&[digest]), Ok(0));
    }
    let refused = world.gate.revoke(&[Token::new("t").digest()]);
    assert_eq!(refused, Err(Full));
    assert_eq!(standing.ending(), None, "nothing was done");
    assert!(!world.gate.poll_change());
    // Whichever would have been forgotten is not.
    for n in 0..limits::AUTH_REVOKED_MAX {
        world.come(&n.to_string());
    }
    let verdicts = world.turn();
    assert_eq!(verdicts.len(), limits::AUTH_REVOKED_MAX);
    let all = verdicts
        .iter()
        .all(|(_, v)| matches!(v, Verdict::Refused(_)));
    assert!(all);
}

#[test]
fn a_token_is_revoked_in_every_way_that_its_store_takes_it() {
    let named = |id: &str| {
        Answer::Accepted(Grant {
            token_id: Some(id.into()),
            ..Grant::default()
        })
    };
    let digest = |text: &str| Token::new(text).digest();
    for revoked in ["ab", "AB", "id 7"] {
        let mut world = GateWorld::new(&[Store::Postgres]);
        world.script(0).now = Some(named("id 7"));
        let standings = ["ab", "AB"].map(|token| world.enter(token));
        world.script(0).now = Some(named("id 8"));
        let other = world.enter("cd");
        assert_eq!(world.gate.revoke(&[digest(revoked)]), Ok(2), "{revoked}");
        for standing in &standings {
            assert_eq!(standing.ending(), Some(Close::TokenEnded));
        }
        assert_eq!(other.ending(), None);
        world.script(0).now = Some(named("id 7"));
        for token in ["ab", "AB", "aB"] {
            assert!(!world.is_let_in(token, OWNER), "{revoked}: {token}");
        }
    }
    // Before anybody has come with it, by the name that the store gives it.
    let mut world = GateWorld::new(&[Store::Postgres]);
    assert_eq!(world.gate.revoke(&[digest("ab")]), Ok(0));
    world.script(0).now = Some(named("ab"));
    assert!(!world.is_let_in("AB", OWNER) && !world.is_let_in("ab", OWNER));
}
