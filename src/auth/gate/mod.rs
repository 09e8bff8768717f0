//! The gate: which clients may come in, and which may stay.
//!
//! The gate asks stores in their order, and the first store that knows the token decides. An answer is good for a
//! while, so that the herd after a restart causes one question for each token; clients that bring a token about
//! which a store is being asked wait for the same answer. An API may answer about the client as well as about its
//! token, so its answer counts only for clients of the same address and page.
//!
//! Afterwards the gate asks again: when a token ends, and every few minutes. When the stores accept the token anew,
//! its sessions go on, with the new grant; when they refuse it, the sessions end. While no store can tell, the
//! sessions stay, for a time of grace; the gate lets no new client in meanwhile.
//!
//! Some answers cost arithmetic. Only [`Gate::turn`] pays for those, and no more than its budget a turn; the
//! other questions wait in a line.
//!
//! | part | what it owns |
//! |---|---|
//! | `panel` | the stores, the order in which they are asked, and the line |
//! | `load` | what the questions under way take |
//! | `decisions` | what an outcome means for a token and its sessions, with the `ledger` of accepted tokens, the `refused`, the `revoked` and the `sealed` ones, the `walk` after a change of stores, and the `outage` |
//!
//! Time is an argument, and stores answer when they like: all of this runs in memory.
//!
//! Never here: connections (the gate sees a ticket), threads, what a store is, what a token is worth.

mod decisions;
mod ledger;
mod load;
mod outage;
mod panel;
mod refused;
mod revoked;
mod sealed;
#[cfg(test)]
mod tests;
mod walk;

pub use self::revoked::Full;

use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use self::decisions::Decisions;
use self::ledger::{Asking, Caller, Entry, EntryId, VerdictKey};
use self::load::Load;
use self::panel::{Outcome, Panel};
use super::{Answer, Moment, Question, TokenStore};
use crate::limits;
use crate::standing::{Applicant, Verdict};
use crate::stats::{Cause, Judged, Stats, Store};
use crate::wire::token::Digest;

/// In microseconds of a turn that are kept for newcomers: rechecks, which come first, may use the rest.
const NEWCOMERS_SHARE: u32 = limits::TURN_JUDGING_MICROSECONDS / 2;

/// The intervals and bounds in force.
#[derive(Clone, Copy, Debug)]
pub struct GateRules {
    /// For how long the gate does not ask again about an accepted token for newcomers.
    pub cache: Duration,
    /// After how long the gate asks about it again for sessions, a tenth more or less.
    pub recheck: Duration,
    /// For how long sessions stay while no store can tell.
    pub grace: Duration,
    /// For how long a newcomer waits for its verdict; after that its connection is closed.
    pub patience: Duration,
    /// In bytes, what newcomers' questions take that have no answer yet.
    pub asking_bytes_max: usize,
    /// In refused tokens that the gate remembers. When it remembers as many accepted ones, it forgets those without
    /// a session.
    pub remembered_max: usize,
    /// In tokens of open sessions about which the gate begins to ask in one turn.
    pub turn_rechecks_max: usize,
    /// In such tokens whose answer is still to come.
    pub rechecks_max: usize,
}

/// The gate.
pub struct Gate {
    stats: Rc<Stats>,
    panel: Panel,
    load: Load,
    decisions: Decisions,
    /// Verdicts that were not fetched yet.
    verdicts: VecDeque<(u64, Verdict)>,
    /// True exactly when the last turn has left answers with a store.
    has_more: bool,
}

impl Gate {
    /// A gate in front of `stores`. `key` is random and made for this run.
    pub fn new(
        stores: Vec<Box<dyn TokenStore>>,
        rules: GateRules,
        key: [u8; 32],
        stats: Rc<Stats>,
    ) -> Self {
        Self {
            panel: Panel::new(stores, Rc::clone(&stats)),
            stats,
            load: Load::default(),
            decisions: Decisions::new(rules, key),
            verdicts: VecDeque::new(),
            has_more: false,
        }
    }

    /// Replaces the stores and the intervals. The gate asks again about everything that the old stores have said or
    /// still owe. But it refuses a token that is no longer in the configuration from now on, and ends its sessions
    /// only when their recheck is due: reading the configuration again must not drop anybody.
    pub fn replace(&mut self, stores: Vec<Box<dyn TokenStore>>, rules: GateRules, moment: Moment) {
        // Questions that wait in the old line are among those below.
        self.panel = Panel::new(stores, Rc::clone(&self.stats));
        self.decisions.rules = rules;
        self.decisions.doubt_everything(Some(Store::List));
        for place in 0..self.decisions.ledger.places() {
            let Some(id) = self.decisions.ledger.at(place) else {
                continue;
            };
            if let Some(asking) = &mut self.decisions.ledger.entry(id).asking {
                asking.had_no_answer = false;
                asking.store = 0;
                self.ask(id, &mut 0, moment);
            }
        }
    }

    /// Judges an applicant. [`Gate::poll_verdict`] returns the verdict under `ticket`, in this turn or in a later
    /// one.
    pub fn check(&mut self, ticket: u64, applicant: Applicant, moment: Moment) {
        let Applicant {
            token,
            client,
            origin,
        } = applicant;
        let Some(token) = token else {
            let verdict = Verdict::Refused(Cause::Missing);
            return self.verdicts.push_back((ticket, verdict));
        };
        let digest = token.digest();
        let of_token = VerdictKey::of_token(&digest);
        let of_caller = (self.panel.asks_of_callers())
            .then(|| VerdictKey::of_caller(&digest, client, origin.as_deref()));
        let key = of_caller.unwrap_or(of_token);
        if let Some(verdict) = (self.decisions).recall(&digest, of_token, key, moment.now) {
            self.stats.checked(Store::Cache, judged(&verdict));
            return self.verdicts.push_back((ticket, verdict));
        }
        let ledger = &mut self.decisions.ledger;
        let id = ledger.find(&key);
        if let Some(asking) = id.and_then(|id| ledger.entry(id).asking.as_mut()) {
            return asking.waiting.push(ticket);
        }
        let id = id.unwrap_or_else(|| {
            self.decisions.make_room();
            let caller = of_caller.map(|key| Caller {
                key,
                client,
                origin: None,
            });
            (self.decisions.ledger).insert(Entry::new(digest, caller))
        });
        let question = Question {
            ticket: id.to_bits(),
            digest,
            token: Some(token),
            is_recheck: false,
            client,
            origin,
        };
        self.begin(id, question, vec![ticket]);
        let bytes_max = self.decisions.rules.asking_bytes_max;
        if self.load.is_too_much(bytes_max, moment.now) {
            self.stats.checked(Store::Cache, Judged::Unavailable);
            return self.conclude(id, Outcome::Unavailable, moment);
        }
        self.ask(id, &mut 0, moment);
    }

    /// Fetches the answers of stores, asks again about tokens that are due, and goes on with the questions that wait
    /// in line.
    pub fn turn(&mut self, moment: Moment) {
        self.has_more = false;
        for index in 0..self.panel.len() {
            let mut left = limits::TURN_ANSWERS_MAX;
            while left > 0
                && let Some((id, answer)) = self.panel.poll_answer(index)
            {
                left -= 1;
                self.handle_answer(index, id, answer, moment);
            }
            self.has_more |= left == 0;
        }
        if self.panel.poll_change() {
            self.decisions.doubt_everything(None);
        }
        let mut budget = limits::TURN_JUDGING_MICROSECONDS;
        self.recheck(&mut budget, moment);
        let patience = self.decisions.rules.patience;
        while budget > 0
            && let Some((id, is_late)) = self.panel.next_in_line(moment.now, patience)
        {
            budget -= 1;
            self.resume(id, is_late, &mut budget, moment);
        }
    }

    /// How long it takes until something is due.
    pub fn timeout(&self, now: Duration) -> Option<Duration> {
        if !self.verdicts.is_empty() || self.panel.has_line() || self.has_more {
            return Some(Duration::ZERO);
        }
        // Stores wake the loop when they have an answer.
        if self
            .load
            .is_full_of_rechecks(self.decisions.rules.rechecks_max)
        {
            return None;
        }
        self.decisions.timeout(now)
    }

    /// The next verdict, with its ticket.
    pub fn poll_verdict(&mut self) -> Option<(u64, Verdict)> {
        self.verdicts.pop_front()
    }

    /// Returns true once after standings of sessions have changed.
    pub fn poll_change(&mut self) -> bool {
        self.decisions.poll_change()
    }

    /// Refuses tokens until the next start, whatever stores say about them, and ends their sessions. Returns how
    /// many sessions those are. When a store has a name for a token, the gate refuses that name too, in whatever way
    /// a client writes the token.
    ///
    /// # Errors
    /// Too many tokens are revoked already; nothing has changed.
    pub fn revoke(&mut self, tokens: &[Digest]) -> Result<usize, Full> {
        self.decisions.revoke(tokens)
    }

    /// How many entries there are: tokens that were accepted, or about which a store is being asked.
    pub fn entries(&self) -> usize {
        self.decisions.ledger.len()
    }

    /// Asks again about tokens of open sessions.
    fn recheck(&mut self, budget: &mut u32, moment: Moment) {
        let mut places = limits::TURN_DOUBTS_MAX;
        for _ in 0..self.decisions.rules.turn_rechecks_max {
            if self
                .load
                .is_full_of_rechecks(self.decisions.rules.rechecks_max)
                || *budget <= NEWCOMERS_SHARE
            {
                return;
            }
            let Some(id) = self.decisions.next_due(&mut places, moment.now) else {
                return;
            };
            if let Some(question) = self.decisions.recheck(id, moment.now) {
                self.begin(id, question, Vec::new());
                self.ask(id, budget, moment);
            }
        }
    }

    /// Goes on with a question that has waited in line.
    fn resume(&mut self, id: EntryId, is_late: bool, budget: &mut u32, moment: Moment) {
        let Some(asking) = self.decisions.ledger.asking(id) else {
            return;
        };
        if is_late {
            let answer = Answer::Unavailable("it has waited too long for its turn".to_owned());
            self.panel.weigh(answer, asking);
            return self.conclude(id, Outcome::Unavailable, moment);
        }
        self.ask(id, budget, moment);
    }

    /// Handles an answer that came later.
    fn handle_answer(&mut self, index: usize, id: EntryId, answer: Answer, moment: Moment) {
        // Only here can an entry be gone, or be part of another question: the answer is of a store that was replaced
        // meanwhile.
        let asking = self.decisions.ledger.asking(id);
        let Some(asking) = asking.filter(|asking| asking.store == index) else {
            return;
        };
        if answer != Answer::AskAgain {
            if let Some(outcome) = self.panel.weigh(answer, asking) {
                return self.conclude(id, outcome, moment);
            }
            asking.store += 1;
        }
        self.ask(id, &mut 0, moment);
    }

    /// Notes a question that the gate is going to ask.
    fn begin(&mut self, id: EntryId, question: Question, waiting: Vec<u64>) {
        self.load.begin(&question);
        self.decisions.ledger.entry(id).asking = Some(Box::new(Asking::new(question, waiting)));
    }

    /// Asks stores; `budget` as in [`Panel::ask`].
    fn ask(&mut self, id: EntryId, budget: &mut u32, moment: Moment) {
        let entry = self.decisions.ledger.entry(id);
        if let Some(outcome) = self.panel.ask(id, entry, budget, moment) {
            self.conclude(id, outcome, moment);
        }
    }

    /// Concludes a question: tells the waiting clients.
    fn conclude(&mut self, id: EntryId, outcome: Outcome, moment: Moment) {
        let asking = self.decisions.ledger.entry(id).asking.take();
        let asking = asking.expect("it is being asked about");
        self.load.end(&asking.question);
        let verdict = self.decisions.decide(id, &asking, outcome, moment);
        // The first client was counted where the store answered.
        for _ in asking.waiting.iter().skip(1) {
            self.stats.checked(Store::Cache, judged(&verdict));
        }
        for &ticket in &asking.waiting {
            self.verdicts.push_back((ticket, verdict.clone()));
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("rules", &self.decisions.rules)
            .field("entries", &self.entries())
            .finish_non_exhaustive()
    }
}

/// The name under which a verdict is counted.
fn judged(verdict: &Verdict) -> Judged {
    match verdict {
        Verdict::Accepted(_) => Judged::Accepted,
        Verdict::Refused(_) => Judged::Refused,
        Verdict::Unavailable => Judged::Unavailable,
    }
}
