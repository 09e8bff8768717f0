//! The gate among stores that do as they are told, in virtual time.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::{Gate, GateRules};
use crate::auth::{Answer, Moment, Question, TokenStore};
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
    /// Of whom, in the same order.
    callers: Vec<(IpAddr, Option<String>)>,
    /// What it says of this caller alone.
    of: HashMap<IpAddr, Answer>,
    /// What each question costs.
    cost: u32,
    later: VecDeque<(u64, Answer)>,
    has_changed: bool,
    needs_token: bool,
    asks_of_callers: bool,
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

    fn asks_of_callers(&self) -> bool {
        self.1.borrow().asks_of_callers
    }

    fn cost(&self, _question: &Question) -> u32 {
        self.1.borrow().cost
    }

    fn ask(&mut self, question: &Arc<Question>, _moment: Moment) -> Option<Answer> {
        let mut script = self.1.borrow_mut();
        let caller = (question.client, question.origin.clone());
        script.callers.push(caller);
        let token = question.token.as_ref().map(Token::reveal);
        script.asked.push((question.ticket, token));
        let of_caller = script.of.get(&question.client);
        of_caller.or(script.now.as_ref()).cloned()
    }

    fn poll_answer(&mut self) -> Option<(u64, Answer)> {
        self.1.borrow_mut().later.pop_front()
    }

    fn poll_change(&mut self) -> bool {
        std::mem::take(&mut self.1.borrow_mut().has_changed)
    }
}

/// Where clients are, but for those that are said to be elsewhere.
const OWNER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

struct GateWorld {
    gate: Gate,
    stats: Rc<Stats>,
    now: Duration,
    scripts: Vec<Rc<RefCell<Script>>>,
    next_ticket: u64,
}

const RULES: GateRules = GateRules {
    cache: Duration::from_secs(60),
    recheck: Duration::from_secs(300),
    grace: Duration::from_secs(600),
    patience: Duration::from_secs(10),
    asking_bytes_max: 1_000_000,
    remembered_max: 1_000,
    turn_rechecks_max: limits::TURN_RECHECKS_MAX,
    rechecks_max: limits::AUTH_RECHECKS_MAX,
};

impl GateWorld {
    /// With these stores, in this order.
    fn new(kinds: &[Store]) -> Self {
        let scripts: Vec<Rc<RefCell<Script>>> = kinds.iter().map(|_| Rc::default()).collect();
        for (kind, script) in kinds.iter().zip(&scripts) {
            script.borrow_mut().needs_token = !matches!(kind, Store::List | Store::File);
            script.borrow_mut().asks_of_callers = *kind == Store::Http;
        }
        let stats = Rc::<Stats>::default();
        let mut world = Self {
            gate: Gate::new(Vec::new(), RULES, [1; 32], Rc::clone(&stats)),
            stats,
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
        (self.gate).replace(stores.collect(), RULES, moment);
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
        self.come_from(token, OWNER, None)
    }

    fn come_from(&mut self, token: &str, client: IpAddr, origin: Option<&str>) -> u64 {
        self.next_ticket += 1;
        let applicant = Applicant {
            token: (!token.is_empty()).then(|| Token::new(token)),
            client,
            origin: origin.map(str::to_owned),
        };
        let moment = self.moment();
        (self.gate).check(self.next_ticket, applicant, moment);
        self.next_ticket
    }

    /// A turn; the verdicts of it.
    fn turn(&mut self) -> Vec<(u64, Verdict)> {
        let moment = self.moment();
        self.gate.turn(moment);
        std::iter::from_fn(|| self.gate.poll_verdict()).collect()
    }

    /// Has somebody come, and says whether it is let in at once.
    fn is_let_in(&mut self, token: &str, client: IpAddr) -> bool {
        self.come_from(token, client, None);
        let verdicts = self.turn();
        assert_eq!(verdicts.len(), 1);
        matches!(verdicts[0].1, Verdict::Accepted(_))
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
        token_id: None,
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
