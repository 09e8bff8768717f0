//! How stores are asked: their order, the time and the memory that questions take.

use super::*;

#[test]
fn the_first_store_that_knows_a_token_decides() {
    let no = || Answer::Refused(Cause::Expired, "it has expired".to_owned());
    let down = || Answer::Unavailable("down".to_owned());
    for (answers, verdict) in [
        ([yes(), no()], "Accepted"),
        ([no(), yes()], "Refused"),
        ([Answer::Unknown, yes()], "Accepted"),
        ([Answer::Unknown, Answer::Unknown], "Refused(Unknown)"),
        // One that says yes is enough; that nobody says yes is not known while one cannot tell.
        ([down(), yes()], "Accepted"),
        ([down(), Answer::Unknown], "Unavailable"),
        ([Answer::Unknown, down()], "Unavailable"),
        ([down(), no()], "Refused(Expired)"),
        ([Answer::Unsigned, yes()], "Accepted"),
        ([Answer::Unsigned, Answer::Unknown], "Refused(BadSignature)"),
    ] {
        let mut world = GateWorld::new(&[Store::File, Store::Http]);
        let shown = format!("{answers:?}");
        for (store, answer) in answers.into_iter().enumerate() {
            world.script(store).now = Some(answer);
        }
        let ticket = world.come("t");
        let verdicts = world.turn();
        assert_eq!(verdicts[0].0, ticket);
        assert!(
            format!("{:?}", verdicts[0].1).starts_with(verdict),
            "{shown}: {verdicts:?}"
        );
    }
    let mut world = GateWorld::new(&[]);
    world.come("t");
    let unknown = Verdict::Refused(Cause::Unknown);
    assert_eq!(format!("{:?}", world.turn()[0].1), format!("{unknown:?}"));
    world.come("");
    let missing = Verdict::Refused(Cause::Missing);
    assert_eq!(format!("{:?}", world.turn()[0].1), format!("{missing:?}"));
}

#[test]
fn those_who_come_with_the_same_token_wait_for_one_answer() {
    let mut world = GateWorld::new(&[Store::Http]);
    for n in 0..1_000 {
        world.come(&format!("token-{}", n % 10));
    }
    assert!(world.turn().is_empty());
    assert_eq!(world.asked(0), 10);
    for n in 0..10 {
        world.script(0).answer(n, yes());
    }
    let verdicts = world.turn();
    assert_eq!(verdicts.len(), 1_000);
    assert_eq!(world.stats.checks(Store::Http, Judged::Accepted), 10);
    assert_eq!(world.stats.checks(Store::Cache, Judged::Accepted), 990);
    // And those who come a little later have it at once.
    world.come("token-3");
    assert_eq!(world.turn().len(), 1);
    assert_eq!(world.asked(0), 10);
}

#[test]
fn what_costs_time_is_asked_when_there_is_time() {
    let mut world = GateWorld::new(&[Store::List, Store::Jwt]);
    world.script(0).now = Some(Answer::Unknown);
    world.script(1).now = Some(Answer::Unknown);
    world.script(1).cost = 700;
    let mut waiting = 1_024;
    for n in 0..waiting {
        world.come(&n.to_string());
    }
    assert_eq!(world.asked(1), 0);
    while waiting > 0 {
        let before = world.asked(1);
        assert_eq!(world.gate.timeout(world.now), Some(Duration::ZERO));
        waiting -= world.turn().len();
        let spent = (world.asked(1) - before) as u32 * 700;
        assert!(spent < limits::TURN_JUDGING_MICROSECONDS + 700, "{spent}");
        // Whom the list knows, that does not concern.
        world.script(0).now = Some(yes());
        world.come(&format!("listed {waiting}"));
        assert_eq!(
            world.gate.poll_verdict().map(|(t, _)| t),
            Some(world.next_ticket)
        );
        world.script(0).now = Some(Answer::Unknown);
    }
}

#[test]
fn of_those_who_wait_for_time_nobody_waits_for_ever() {
    let mut world = GateWorld::new(&[Store::Jwt]);
    world.script(0).now = Some(yes());
    world.script(0).cost = limits::TURN_JUDGING_MICROSECONDS;
    for n in 0..10 {
        world.come(&n.to_string());
    }
    assert_eq!(world.turn().len(), 1, "one a turn");
    world.now += RULES.patience + Duration::from_secs(1);
    let verdicts = world.turn();
    assert_eq!(verdicts.len(), 9);
    let all = verdicts
        .iter()
        .all(|(_, v)| matches!(v, Verdict::Unavailable));
    assert!(all, "{verdicts:?}");
    assert_eq!(world.gate.entries(), 1);
}

#[test]
fn rechecks_and_newcomers_share_the_time() {
    let mut world = GateWorld::new(&[Store::Jwt]);
    world.script(0).now = Some(yes());
    let standings: Vec<_> = (0..100).map(|n| world.enter(&n.to_string())).collect();
    world.script(0).cost = 500;
    world.script(0).has_changed = true;
    for n in 0..100 {
        world.come(&format!("new {n}"));
    }
    let asked = world.asked(0);
    let (mut newcomers, mut turns) = (0, 0);
    while newcomers < 90 {
        newcomers += world.turn().len();
        turns += 1;
    }
    let rechecks = world.asked(0) - asked - newcomers;
    assert!(
        (4 * turns..=6 * turns).contains(&rechecks),
        "{rechecks} in {turns}"
    );
    drop(standings);
}

#[test]
fn what_waits_for_an_answer_has_a_bound_in_bytes() {
    let mut world = GateWorld::new(&[Store::Http]);
    let long = "x".repeat(8_000);
    let mut come = 0;
    while world.gate.poll_verdict().is_none() {
        world.come(&format!("{come}{long}"));
        come += 1;
    }
    let bytes = (come - 1) * long.len();
    assert!((900_000..1_000_000).contains(&bytes), "{bytes}");
    assert_eq!(world.stats.checks(Store::Cache, Judged::Unavailable), 1);
    assert_eq!(world.asked(0), come - 1);
    // An answer makes room.
    world.script(0).answer(0, Answer::Unknown);
    assert_eq!(world.turn().len(), 1);
    world.come(&long);
    assert_eq!(world.asked(0), come);
}

#[test]
fn rechecks_that_wait_for_an_answer_leave_room_for_newcomers() {
    let mut world = GateWorld::new(&[Store::Http]);
    world.script(0).now = Some(yes());
    let standings: Vec<_> = (0..200).map(|n| world.enter(&n.to_string())).collect();
    world.script(0).now = None;
    world.script(0).has_changed = true;
    let before = world.asked(0);
    world.pass(3);
    assert_eq!(world.asked(0) - before, limits::AUTH_RECHECKS_MAX);
    assert_eq!(
        world.gate.timeout(world.now),
        None,
        "an answer wakes the loop"
    );
    world.come("new");
    assert_eq!(world.asked(0) - before, limits::AUTH_RECHECKS_MAX + 1);
    let mut answered = before;
    while answered < world.asked(0) {
        world.script(0).answer(answered, yes());
        answered += 1;
        world.turn();
    }
    assert_eq!(answered - before, 201, "everybody was asked about once");
    drop(standings);
}

#[test]
fn other_stores_are_asked_what_the_old_ones_still_owe() {
    let mut world = GateWorld::new(&[Store::Http]);
    let ticket = world.come("t");
    assert!(world.turn().is_empty());
    world.script(0).now = Some(yes());
    world.replace(&[Store::Http]);
    let verdicts = world.turn();
    assert!(matches!(verdicts[..], [(t, Verdict::Accepted(_))] if t == ticket));
    let asked = world.script(0).asked.clone();
    assert_eq!(asked[1].1.as_deref(), Some("t"));
    // The old one's answer comes after all, and means nobody.
    world.script(0).answer(0, Answer::Unknown);
    assert!(world.turn().is_empty());
}
