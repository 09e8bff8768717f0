//! The gate among stores that do as they are told, in virtual time.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use super::gate::{Gate, GateRules};
use super::{Answer, Moment, Question, TokenStore};
use crate::limits;
use crate::standing::{Applicant, Standing, Verdict};
use crate::stats::{Cause, Close, Judged, Stats, Store};
use crate::wire::grant::Grant;
use crate::wire::token::Token;

/// A moment in 2026, from which the tests count.
const TODAY: u64 = 1_795_000_000;

/// What a store will say, and what it was asked.
#[derive(Default)]
struct Script {
    /// What it says at once; `None`: later.
    now: Option<Answer>,
    asked: Vec<(u64, Option<String>)>,
    later: VecDeque<(u64, Answer)>,
    has_changed: bool,
    needs_token: bool,
}

impl Script {
    /// Answers the `nth` question, counted from 0.
    fn answer(&mut self, nth: usize, answer: Answer) {
        let (ticket, _) = self.asked[nth];
        self.later.push_back((ticket, answer));
    }
}

struct Scripted(Store, Rc<RefCell<Script>>);

impl TokenStore for Scripted {
    fn kind(&self) -> Store {
        self.0
    }

    fn needs_token(&self) -> bool {
        self.1.borrow().needs_token
    }

    fn ask(&mut self, question: &Question, _moment: Moment) -> Option<Answer> {
        let mut script = self.1.borrow_mut();
        let token = question.token.as_ref().map(Token::reveal);
        script.asked.push((question.ticket, token));
        script.now.clone()
    }

    fn poll_answer(&mut self) -> Option<(u64, Answer)> {
        self.1.borrow_mut().later.pop_front()
    }

    fn poll_change(&mut self) -> bool {
        std::mem::take(&mut self.1.borrow_mut().has_changed)
    }
}

struct World {
    gate: Gate,
    stats: Stats,
    now: Duration,
    scripts: Vec<Rc<RefCell<Script>>>,
    next_ticket: u64,
}

const RULES: GateRules = GateRules {
    cache: Duration::from_secs(60),
    recheck: Duration::from_secs(300),
    grace: Duration::from_secs(600),
};

impl World {
    /// With these stores, in this order.
    fn new(kinds: &[Store]) -> Self {
        let scripts: Vec<Rc<RefCell<Script>>> = kinds.iter().map(|_| Rc::default()).collect();
        for (kind, script) in kinds.iter().zip(&scripts) {
            script.borrow_mut().needs_token = !matches!(kind, Store::List | Store::File);
        }
        let mut world = Self {
            gate: Gate::new(Vec::new(), RULES, [1; 32]),
            stats: Stats::default(),
            now: Duration::from_secs(5),
            scripts,
            next_ticket: 0,
        };
        world.replace(kinds);
        world
    }

    fn replace(&mut self, kinds: &[Store]) {
        let stores = kinds.iter().zip(&self.scripts);
        let stores = stores.map(|(&kind, script)| -> Box<dyn TokenStore> {
            Box::new(Scripted(kind, Rc::clone(script)))
        });
        let moment = self.moment();
        (self.gate).replace(stores.collect(), RULES, moment, &mut self.stats);
    }

    fn moment(&self) -> Moment {
        Moment {
            now: self.now,
            unix: Duration::from_secs(TODAY) + self.now,
        }
    }

    fn script(&self, store: usize) -> std::cell::RefMut<'_, Script> {
        self.scripts[store].borrow_mut()
    }

    fn asked(&self, store: usize) -> usize {
        self.script(store).asked.len()
    }

    fn come(&mut self, token: &str) -> u64 {
        self.next_ticket += 1;
        let applicant = Applicant {
            token: (!token.is_empty()).then(|| Token::new(token)),
            client: Ipv4Addr::LOCALHOST.into(),
            origin: None,
        };
        let moment = self.moment();
        (self.gate).check(self.next_ticket, applicant, moment, &mut self.stats);
        self.next_ticket
    }

    /// A turn; the verdicts of it.
    fn turn(&mut self) -> Vec<(u64, Verdict)> {
        let moment = self.moment();
        self.gate.turn(moment, &mut self.stats);
        std::iter::from_fn(|| self.gate.poll_verdict()).collect()
    }

    /// Somebody who comes and is let in at once.
    fn enter(&mut self, token: &str) -> Rc<Standing> {
        self.come(token);
        accepted(&self.turn())
    }

    /// Passes time second by second, as the loop would.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            assert!(self.turn().is_empty(), "nobody has come");
        }
    }
}

fn accepted(verdicts: &[(u64, Verdict)]) -> Rc<Standing> {
    match verdicts {
        [(_, Verdict::Accepted(standing))] => Rc::clone(standing),
        other => panic!("{other:?}"),
    }
}

fn grant(topics: &[&str], expires_at: Option<u64>) -> Answer {
    Answer::Accepted(Grant {
        name: "somebody".to_owned(),
        topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
        expires_at,
    })
}

fn yes() -> Answer {
    grant(&[], None)
}

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
        let mut world = World::new(&[Store::File, Store::Http]);
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
    let mut world = World::new(&[]);
    world.come("t");
    let unknown = Verdict::Refused(Cause::Unknown);
    assert_eq!(format!("{:?}", world.turn()[0].1), format!("{unknown:?}"));
    world.come("");
    let missing = Verdict::Refused(Cause::Missing);
    assert_eq!(format!("{:?}", world.turn()[0].1), format!("{missing:?}"));
}

#[test]
fn those_who_come_with_the_same_token_wait_for_one_answer() {
    let mut world = World::new(&[Store::Http]);
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
fn an_answer_is_good_for_a_while_and_never_beyond_the_tokens_end() {
    let mut world = World::new(&[Store::Http]);
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
    let mut world = World::new(&[Store::Http]);
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
    let mut world = World::new(&[Store::Http]);
    world.script(0).now = Some(Answer::Unavailable("down".to_owned()));
    world.come("t");
    assert!(matches!(world.turn()[..], [(_, Verdict::Unavailable)]));
    assert_eq!(world.gate.tokens(), 0);
    world.script(0).now = Some(yes());
    world.enter("t");
}

#[test]
fn a_sessions_token_is_asked_about_again_and_again() {
    let mut world = World::new(&[Store::Http]);
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
    world.pass(limits::AUTH_REFUSED_SECONDS + 1);
    assert_eq!(world.gate.tokens(), 0, "nothing of it is left");
}

#[test]
fn the_end_of_a_token_is_a_moment_to_ask_again() {
    let mut world = World::new(&[Store::Http]);
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
    let mut world = World::new(&[Store::Http]);
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
    let mut world = World::new(&[Store::Http]);
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
    assert_eq!(world.gate.tokens(), 0);
}

#[test]
fn a_token_known_by_its_digest_is_not_kept() {
    let mut world = World::new(&[Store::File, Store::Http]);
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
fn what_is_revoked_stays_out_whatever_stores_say() {
    let mut world = World::new(&[Store::Jwt]);
    let end = world.moment().unix.as_secs() + 100;
    world.script(0).now = Some(grant(&[], Some(end)));
    let standing = world.enter("t");
    let other = world.enter("other");
    let digest = Token::new("t").digest();
    assert_eq!(world.gate.revoke(&digest), Ok(1));
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
    assert_eq!(world.gate.revoke(&Token::new("u").digest()), Ok(0));
    let last = world.asked(0) - 1;
    world.script(0).answer(last, yes());
    assert!(matches!(world.turn()[..], [(_, Verdict::Refused(_))]));
}

#[test]
fn a_full_list_of_revoked_tokens_takes_no_further_order() {
    let mut world = World::new(&[Store::Jwt]);
    world.script(0).now = Some(yes());
    let standing = world.enter("t");
    for n in 0..limits::AUTH_REVOKED_MAX {
        let digest = Token::new(n.to_string()).digest();
        assert_eq!(world.gate.revoke(&digest), Ok(0));
    }
    let refused = world.gate.revoke(&Token::new("t").digest());
    assert_eq!(refused, Err(super::Full));
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
fn a_flood_of_guesses_is_not_remembered_for_ever() {
    let mut world = World::new(&[Store::List]);
    world.script(0).now = Some(Answer::Unknown);
    for n in 0..limits::AUTH_REMEMBERED_MAX + 1_000 {
        world.come(&n.to_string());
    }
    assert_eq!(world.gate.tokens(), limits::AUTH_REMEMBERED_MAX);
    assert_eq!(world.turn().len(), limits::AUTH_REMEMBERED_MAX + 1_000);
    world.now += Duration::from_secs(limits::AUTH_REFUSED_SECONDS);
    while world.gate.tokens() > 0 {
        world.turn();
        let timeout = world.gate.timeout(world.now);
        let is_over = world.gate.tokens() == 0;
        assert_eq!(
            timeout,
            (!is_over).then_some(Duration::ZERO),
            "the rest is due"
        );
    }
}

#[test]
fn rechecks_that_wait_for_an_answer_leave_room_for_newcomers() {
    let mut world = World::new(&[Store::Http]);
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
    let mut world = World::new(&[Store::Http]);
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

#[test]
fn a_new_configuration_drops_nobody_at_once() {
    let mut world = World::new(&[Store::List, Store::File]);
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
