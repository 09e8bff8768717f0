//! What newcomers get: for how long answers count, for which clients, and what is kept of them.

use super::*;

#[test]
fn an_answer_is_good_for_a_while_and_never_beyond_the_tokens_end() {
    let mut world = GateWorld::new(&[Store::Http]);
    world.script(0).now = Some(yes());
    world.enter("t");
    world.pass(59);
    world.enter("t");
    assert_eq!(world.asked(0), 1);
    world.pass(1);
    world.enter("t");
    assert_eq!(world.asked(0), 2);

    let end = world.moment().unix.as_secs() + 9;
    world.script(0).now = Some(grant(&[], Some(end)));
    world.enter("short");
    world.pass(9);
    world.enter("short");
    assert_eq!(world.asked(0), 3, "its last good second");
    world.pass(1);
    world.come("short");
    // The store says yes to what has ended by its own word.
    assert!(matches!(world.turn()[..], [(_, Verdict::Refused(_))]));
    assert_eq!(world.asked(0), 4);
}

#[test]
fn a_refusal_is_good_for_seconds() {
    let mut world = GateWorld::new(&[Store::Http]);
    world.script(0).now = Some(Answer::Unknown);
    for _ in 0..3 {
        world.come("t");
        assert!(matches!(world.turn()[..], [(_, Verdict::Refused(_))]));
    }
    assert_eq!(world.asked(0), 1);
    world.pass(limits::AUTH_REFUSED_SECONDS);
    world.script(0).now = Some(yes());
    world.enter("t");
    assert_eq!(world.asked(0), 2);
}

#[test]
fn that_nobody_can_tell_is_not_remembered() {
    let mut world = GateWorld::new(&[Store::Http]);
    world.script(0).now = Some(Answer::Unavailable("down".to_owned()));
    world.come("t");
    assert!(matches!(world.turn()[..], [(_, Verdict::Unavailable)]));
    assert_eq!(world.gate.entries(), 0);
    world.script(0).now = Some(yes());
    world.enter("t");
}

#[test]
fn a_token_known_by_its_digest_is_not_kept() {
    let mut world = GateWorld::new(&[Store::File, Store::Http]);
    world.script(0).now = Some(yes());
    let standing = world.enter("t");
    world.script(0).has_changed = true;
    world.pass(1);
    assert_eq!(world.script(0).asked[1].1, None);
    assert_eq!(world.asked(1), 0);

    // It vanishes from the file; the API cannot be asked, since nobody has the token.
    world.script(0).now = Some(Answer::Unknown);
    world.script(0).has_changed = true;
    world.pass(1);
    assert_eq!(standing.ending(), Some(Close::TokenEnded));
    assert_eq!(world.asked(1), 0);
}

#[test]
fn a_flood_of_guesses_leaves_no_entry() {
    let mut world = GateWorld::new(&[Store::List, Store::Http]);
    world.script(0).now = Some(Answer::Unknown);
    world.script(1).now = Some(Answer::Unknown);
    for n in 0..1_000 {
        world.come(&n.to_string());
    }
    assert_eq!(world.turn().len(), 1_000);
    assert_eq!(world.gate.entries(), 0);
    world.come("7");
    assert_eq!(world.turn().len(), 1);
    assert_eq!(world.asked(1), 1_000, "but it is remembered");
}

#[test]
fn of_tokens_whose_clients_have_left_no_more_than_a_number_stay() {
    let mut world = GateWorld::new(&[Store::Http]);
    world.script(0).now = Some(yes());
    // One that somebody has, brought from as many pages as he can name.
    let mut kept = Vec::new();
    for n in 0..5_000 {
        world.come_from("t", STRANGER, Some(&n.to_string()));
        match world.gate.poll_verdict() {
            Some((_, Verdict::Accepted(standing))) if n < 500 => kept.push(standing),
            Some((_, Verdict::Accepted(_))) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(world.gate.entries() <= 1_100, "{}", world.gate.entries());
    assert!(kept.iter().all(|standing| Rc::strong_count(standing) == 2));
    assert_eq!(world.gate.revoke(&[Token::new("t").digest()]), Ok(500));
}

#[test]
fn a_verdict_is_about_a_token_and_who_brings_it() {
    let mut world = GateWorld::new(&[Store::Http]);
    world.script(0).now = Some(Answer::Unknown);
    world.script(0).of.insert(OWNER, yes());
    for _ in 0..20 {
        assert!(!world.is_let_in("t", STRANGER));
        assert!(world.is_let_in("t", OWNER));
    }
    assert_eq!(world.asked(0), 2, "each was asked about once");
    // Its page is a part of the question too.
    world.come_from("t", OWNER, Some("https://a.example"));
    let standing = accepted(&world.turn());
    let page = Some("https://a.example".to_owned());
    assert_eq!(world.script(0).callers[2], (OWNER, page.clone()));

    // It is asked about again as it came.
    world.pass(330);
    let callers = world.script(0).callers.clone();
    assert_eq!(callers[3..], [(OWNER, page)]);
    // The stranger's refusal ends nobody's session.
    assert!(!world.is_let_in("t", STRANGER));
    assert_eq!(standing.ending(), None);

    // A revocation ends it, whoever brings it.
    assert_eq!(world.gate.revoke(&[Token::new("t").digest()]), Ok(1));
    assert_eq!(standing.ending(), Some(Close::TokenEnded));
    assert!(!world.is_let_in("t", OWNER));
}

#[test]
fn what_a_store_says_of_the_token_alone_counts_for_everybody() {
    for (first, asked) in [(Store::Jwt, 2), (Store::List, 1)] {
        let mut world = GateWorld::new(&[first, Store::Http]);
        world.script(0).now = Some(yes());
        world.script(1).now = Some(Answer::Unknown);
        world.come_from("t", OWNER, None);
        let one = accepted(&world.turn());
        world.come_from("t", STRANGER, Some("https://a.example"));
        let other = accepted(&world.turn());
        assert!(Rc::ptr_eq(&one, &other), "they share it");
        assert_eq!((world.asked(0), world.gate.entries()), (1, 1));

        // It is known there no more: the sessions end, and newcomers are asked about for themselves.
        world.script(0).now = Some(Answer::Unknown);
        world.script(0).has_changed = true;
        world.script(1).of.insert(OWNER, yes());
        world.pass(1);
        assert_eq!(one.ending(), Some(Close::TokenEnded), "{asked}");
        assert_eq!(world.asked(1), 0, "about which of them?");
        assert!(world.is_let_in("t", OWNER));
        assert!(!world.is_let_in("t", STRANGER));
    }
    // Known, and not good: nobody else is asked about it.
    let mut world = GateWorld::new(&[Store::File, Store::Http]);
    world.script(0).now = Some(Answer::Refused(Cause::Expired, "expired".to_owned()));
    assert!(!world.is_let_in("t", OWNER) && !world.is_let_in("t", STRANGER));
    assert_eq!((world.asked(0), world.asked(1)), (1, 0));
}

#[test]
fn those_who_wait_with_one_token_from_two_places_have_an_answer_each() {
    let mut world = GateWorld::new(&[Store::Http]);
    let tickets = [OWNER, STRANGER, OWNER, STRANGER].map(|from| world.come_from("t", from, None));
    assert_eq!(world.asked(0), 2);
    world.script(0).answer(1, Answer::Unknown);
    world.script(0).answer(0, yes());
    let mut verdicts = world.turn();
    verdicts.sort_by_key(|&(ticket, _)| ticket);
    for (ticket, (whose, verdict)) in tickets.into_iter().zip(verdicts) {
        assert_eq!(ticket, whose);
        assert_eq!(matches!(verdict, Verdict::Accepted(_)), ticket % 2 == 1);
    }
}
