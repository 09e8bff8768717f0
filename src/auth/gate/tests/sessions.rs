//! What happens to open sessions: rechecks, the time of grace, changes of stores.

use super::*;

#[test]
fn a_sessions_token_is_asked_about_again_and_again() {
    let mut world = GateWorld::new(&[Store::Http]);
    world.script(0).now = Some(yes());
    let standing = world.enter("t");
    world.pass(329);
    let asked = world.asked(0);
    assert!(asked >= 2, "within a tenth of 300 s");
    assert_eq!(
        world.script(0).asked[1].1.as_deref(),
        Some("t"),
        "with the token"
    );
    assert_eq!(standing.ending(), None);
    assert!(!world.gate.poll_change(), "nothing has changed");

    // Deleted there.
    world.script(0).now = Some(Answer::Unknown);
    world.pass(330);
    assert_eq!(standing.ending(), Some(Close::TokenEnded));
    assert!(world.gate.poll_change());
    assert!(!world.gate.poll_change(), "once");
    drop(standing);
    assert_eq!(world.gate.entries(), 0, "nothing of it is left");
}

#[test]
fn the_end_of_a_token_is_a_moment_to_ask_again() {
    let mut world = GateWorld::new(&[Store::Http]);
    let end = world.moment().unix.as_secs() + 10;
    world.script(0).now = Some(grant(&[], Some(end)));
    let standing = world.enter("t");
    // Extended meanwhile, as Web Publisher does whenever its API is used.
    world.script(0).now = Some(grant(&[], Some(end + 10)));
    world.pass(10);
    assert_eq!(world.asked(0), 1);
    world.pass(1);
    assert_eq!(world.asked(0), 2);
    assert_eq!(standing.expires_at(), Some(end + 10));
    assert_eq!(standing.ending(), None);
    // Not extended: it says so itself, whatever the store says.
    world.pass(9);
    assert_eq!(standing.ending(), None);
    world.pass(1);
    assert_eq!(standing.ending(), Some(Close::TokenEnded));
}

#[test]
fn other_topics_are_told_to_those_who_have_the_token() {
    let mut world = GateWorld::new(&[Store::Http]);
    world.script(0).now = Some(grant(&["a", "b"], None));
    let standing = world.enter("t");
    world.script(0).now = Some(grant(&["b"], None));
    world.pass(330);
    assert!(world.gate.poll_change());
    assert!(standing.has_changed() && !standing.allows("a") && standing.allows("b"));
    // Who comes now shares it.
    assert!(Rc::ptr_eq(&world.enter("t"), &standing));
}

#[test]
fn sessions_stay_for_a_time_of_grace_when_nobody_can_tell() {
    let mut world = GateWorld::new(&[Store::Http]);
    world.script(0).now = Some(yes());
    let standing = world.enter("t");
    world.script(0).now = Some(Answer::Unavailable("down".to_owned()));
    world.pass(330);
    assert_eq!(standing.ending(), None);
    // Nobody new is let in meanwhile, with the same token neither.
    world.come("t");
    assert!(matches!(world.turn()[..], [(_, Verdict::Unavailable)]));
    // It comes back, and the time begins anew.
    world.script(0).now = Some(yes());
    world.pass(limits::AUTH_RETRY_SECONDS);
    world.script(0).now = Some(Answer::Unavailable("down".to_owned()));
    world.pass(270 + 590);
    assert_eq!(standing.ending(), None);
    world.pass(75);
    assert_eq!(standing.ending(), Some(Close::AuthLost));
    assert!(world.gate.poll_change());
    assert_eq!(world.gate.entries(), 0);
}

/// More ask than may wait: that says nothing about a session's token.
#[test]
fn a_newcomer_who_finds_no_place_brings_no_session_into_doubt() {
    let mut world = GateWorld::new(&[Store::Http]);
    world.script(0).now = Some(yes());
    let token = "t".repeat(2_000);
    let standing = world.enter(&token);
    world.pass(RULES.cache.as_secs());
    world.script(0).now = None;
    for n in 0..1_000 {
        world.come(&format!("{n:01000}"));
    }
    assert!(!world.turn().is_empty(), "some find no place");
    world.come(&token);
    assert!(matches!(world.turn()[..], [(_, Verdict::Unavailable)]));
    let asked = world.asked(0);
    world.pass(2 * limits::AUTH_RETRY_SECONDS);
    assert_eq!(world.asked(0), asked, "it is not due yet");
    assert_eq!(standing.ending(), None);
    world.pass(330);
    assert_eq!(world.asked(0), asked + 1, "it is due");
}

#[test]
fn a_change_while_a_newcomer_is_asked_about_is_not_forgotten() {
    let mut world = GateWorld::new(&[Store::Http]);
    world.script(0).now = Some(yes());
    let standing = world.enter("t");
    world.pass(RULES.cache.as_secs());
    world.script(0).now = None;
    world.come("t");
    world.script(0).has_changed = true;
    world.pass(1);
    world
        .script(0)
        .answer(1, Answer::Unavailable("down".to_owned()));
    assert!(matches!(world.turn()[..], [(_, Verdict::Unavailable)]));
    world.script(0).now = Some(Answer::Unknown);
    world.pass(limits::AUTH_RETRY_SECONDS);
    assert_eq!(standing.ending(), Some(Close::TokenEnded));
}

#[test]
fn a_change_in_the_middle_of_another_one_leaves_nobody_out() {
    let mut world = GateWorld::new(&[Store::Http]);
    world.script(0).now = Some(yes());
    let standings: Vec<_> = (0..1_000).map(|n| world.enter(&n.to_string())).collect();
    for turns in [0, 1, 2, 3] {
        world.script(0).has_changed = true;
        (0..turns).for_each(|_| drop(world.turn()));
        world.script(0).has_changed = true;
        let before = world.asked(0);
        while world.gate.timeout(world.now) == Some(Duration::ZERO) || before == world.asked(0) {
            world.turn();
        }
        let asked = world.script(0).asked[before..].to_vec();
        let tokens: HashSet<_> = asked.into_iter().map(|(_, token)| token).collect();
        assert_eq!(tokens.len(), 1_000, "after {turns} turns");
    }
    drop(standings);
}

#[test]
fn a_new_configuration_drops_nobody_at_once() {
    let mut world = GateWorld::new(&[Store::List, Store::File]);
    world.script(0).now = Some(yes());
    let listed = world.enter("listed");
    world.script(0).now = Some(Answer::Unknown);
    world.script(1).now = Some(yes());
    let filed = world.enter("filed");
    world.script(1).now = Some(Answer::Unknown);
    world.replace(&[Store::List, Store::File]);
    world.pass(1);
    assert_eq!(filed.ending(), Some(Close::TokenEnded), "the file was read");
    assert_eq!(listed.ending(), None);
    world.come("listed");
    assert!(matches!(world.turn()[..], [(_, Verdict::Refused(_))]));
    assert_eq!(listed.ending(), None);
    world.pass(330);
    assert_eq!(listed.ending(), Some(Close::TokenEnded), "it was due");
}
