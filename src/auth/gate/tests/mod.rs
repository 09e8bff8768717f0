//! The gate among stores that do as they are told, in virtual time.

mod asking;
mod newcomers;
mod revocation;
mod sessions;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::{Full, Gate, GateRules};
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
