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
//! Time is an argument, and stores answer when they like: all of this runs in memory.
//!
//! Never here: connections (the gate sees a ticket), threads, what a store is.

mod ledger;
mod refused;
mod revoked;
mod sealed;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use self::ledger::{Asking, Caller, Entry, EntryId, Ledger, VerdictKey};
use self::refused::Refused;
pub use self::revoked::Full;
use self::revoked::Revoked;
use self::sealed::Sealer;
use self::walk::LedgerWalk;
use super::line::Line;
use super::{Answer, Moment, Question, TokenStore};
use crate::limits;
use crate::standing::{Applicant, Standing, Verdict};
use crate::stats::{Cause, Close, Judged, Stats, Store};
use crate::wire::grant::Grant;
use crate::wire::token::{Digest, Token};

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
}

/// The gate.
pub struct Gate {
    stats: Rc<Stats>,
    stores: Vec<Box<dyn TokenStore>>,
    rules: GateRules,
    /// True exactly when one of `stores` answers about the caller too.
    asks_of_callers: bool,
    ledger: Ledger,
    refused: Refused,
    sealer: Sealer,
    /// Verdicts that were not fetched yet.
    verdicts: VecDeque<(u64, Verdict)>,
    /// True exactly when standings of sessions have changed and [`Gate::poll_change`] has not said so yet.
    has_changed: bool,
    /// Tokens that an administrator revoked.
    revoked: Revoked,
    /// How many tokens of sessions a store is being asked about.
    rechecks: usize,
    /// How many entries have `lost_since`. Kept by [`Gate::set_lost`] alone.
    lost: usize,
    /// How often stores have changed. A token that was accepted before the last change is not fresh.
    changes: u32,
    /// Over entries that were accepted before the last change.
    walk: LedgerWalk,
    /// Questions that wait for the time that they cost.
    line: Line<EntryId>,
    /// In microseconds, what is left for this turn. More than zero in [`Gate::turn`] alone.
    budget: u32,
    /// In bytes, what newcomers' questions take that have no answer yet.
    asking_bytes: usize,
    /// When the log last said that `asking_bytes` is too much.
    reported: Option<Duration>,
    /// True exactly when the last turn has left answers with a store.
    has_more: bool,
    /// The place in the ledger at which room is made next.
    hand: u32,
}

/// What the stores say in the end.
enum Outcome {
    Accepted {
        store: Store,
        /// As [`TokenStore::needs_token`] of that one.
        needs_token: bool,
        grant: Grant,
    },
    Refused(Cause),
    Unavailable,
}

/// In bytes, what a question takes in memory until it is answered.
fn bytes(question: &Question) -> usize {
    let token = question
        .token
        .as_ref()
        .map_or(0, |token| token.bytes().len());
    let origin = question.origin.as_ref().map_or(0, String::len);
    token + origin + limits::AUTH_QUESTION_OVERHEAD_BYTES
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
            stats,
            asks_of_callers: stores.iter().any(|store| store.asks_of_callers()),
            stores,
            rules,
            ledger: Ledger::default(),
            refused: Refused::new(rules.remembered_max),
            sealer: Sealer::new(key),
            verdicts: VecDeque::new(),
            has_changed: false,
            revoked: Revoked::default(),
            rechecks: 0,
            lost: 0,
            changes: 0,
            walk: LedgerWalk::default(),
            line: Line::default(),
            budget: 0,
            asking_bytes: 0,
            reported: None,
            has_more: false,
            hand: 0,
        }
    }

    /// Replaces the stores and the intervals. The gate asks again about everything that the old stores have said or
    /// still owe. But it refuses a token that is no longer in the configuration from now on, and ends its sessions
    /// only when their recheck is due: reading the configuration again must not drop anybody.
    pub fn replace(&mut self, stores: Vec<Box<dyn TokenStore>>, rules: GateRules, moment: Moment) {
        self.asks_of_callers = stores.iter().any(|store| store.asks_of_callers());
        self.stores = stores;
        self.rules = rules;
        self.doubt_everything(Some(Store::List));
        // Questions that wait in line are among those below.
        self.line.clear();
        for place in 0..self.ledger.places() {
            let Some(id) = self.ledger.at(place) else {
                continue;
            };
            if let Some(asking) = &mut self.ledger.entry(id).asking {
                asking.had_no_answer = false;
                self.ask_from(id, 0, moment);
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
        let of_caller = (self.asks_of_callers)
            .then(|| VerdictKey::of_caller(&digest, client, origin.as_deref()));
        let key = of_caller.unwrap_or(of_token);
        if let Some((judged, verdict)) = self.remembered(&digest, of_token, key, moment.now) {
            self.stats.checked(Store::Cache, judged);
            return self.verdicts.push_back((ticket, verdict));
        }
        let id = self.ledger.find(&key);
        if let Some(asking) = id.and_then(|id| self.ledger.entry(id).asking.as_mut()) {
            return asking.waiting.push(ticket);
        }
        let id = id.unwrap_or_else(|| {
            self.make_room();
            let caller = of_caller.map(|key| Caller {
                key,
                client,
                origin: None,
            });
            self.ledger.insert(Entry::new(digest, caller))
        });
        let question = Question {
            ticket: id.to_bits(),
            digest,
            token: Some(token),
            is_recheck: false,
            client,
            origin,
        };
        self.asking_bytes += bytes(&question);
        let is_too_much = self.asking_bytes > self.rules.asking_bytes_max;
        self.begin(id, question, vec![ticket]);
        if is_too_much {
            self.report(moment.now);
            self.stats.checked(Store::Cache, Judged::Unavailable);
            return self.conclude(id, Outcome::Unavailable, moment);
        }
        self.ask_from(id, 0, moment);
    }

    /// The verdict that the gate knows without asking a store: about the token for every caller, or about the token
    /// and this caller.
    fn remembered(
        &mut self,
        digest: &Digest,
        of_token: VerdictKey,
        key: VerdictKey,
        now: Duration,
    ) -> Option<(Judged, Verdict)> {
        let refused = |key| self.refused.find(key, now);
        let is_revoked = self.revoked.has(digest).then_some(Cause::Revoked);
        let cause = is_revoked
            .or_else(|| refused(&of_token))
            .or_else(|| refused(&key));
        if let Some(cause) = cause {
            return Some((Judged::Refused, Verdict::Refused(cause)));
        }
        let changes = self.changes;
        [of_token, key].iter().find_map(|key| {
            let id = self.ledger.find(key)?;
            let entry = self.ledger.entry(id);
            // A client that comes while a store is being asked about the token waits for that answer, which is
            // newer.
            let is_good = entry.asking.is_none() && entry.is_fresh(changes, now);
            let standing = entry.standing.as_ref().filter(|_| is_good)?;
            Some((Judged::Accepted, Verdict::Accepted(standing.clone())))
        })
    }

    /// Notes a question that the gate is going to ask.
    fn begin(&mut self, id: EntryId, question: Question, waiting: Vec<u64>) {
        self.ledger.entry(id).asking = Some(Box::new(Asking {
            question: Arc::new(question),
            store: 0,
            is_of_caller: false,
            is_partial: false,
            had_no_answer: false,
            is_unsigned: false,
            waiting,
        }));
    }

    /// Logs, once in a while, that too many questions wait.
    fn report(&mut self, now: Duration) {
        let interval = Duration::from_secs(limits::REPORT_SECONDS);
        if self.reported.is_some_and(|last| now < last + interval) {
            return;
        }
        self.reported = Some(now);
        log::warn!(
            "auth: newcomers get 503: the questions that wait for an answer already take {} bytes \
             (auth-waiting-max)",
            self.rules.asking_bytes_max
        );
    }

    /// Makes room for a new entry when there are many: forgets some entries without a session. The hand moves over
    /// more places than entries come, so that entries without a session stay few beside the others.
    fn make_room(&mut self) {
        if self.ledger.len() < self.rules.remembered_max {
            return;
        }
        for _ in 0..8 {
            self.hand = (self.hand + 1) % self.ledger.places();
            if let Some(id) = self.ledger.at(self.hand)
                && self.ledger.entry(id).sessions() == 0
            {
                self.forget(id);
            }
        }
    }

    /// Fetches the answers of stores, asks again about tokens that are due, and goes on with the questions that wait
    /// in line.
    pub fn turn(&mut self, moment: Moment) {
        self.has_more = false;
        for index in 0..self.stores.len() {
            let mut left = limits::TURN_ANSWERS_MAX;
            while left > 0
                && let Some((ticket, answer)) = self.stores[index].poll_answer()
            {
                left -= 1;
                self.handle_answer(index, EntryId::from_bits(ticket), answer, moment);
            }
            self.has_more |= left == 0;
        }
        // It asks all stores, because each says it only once.
        let changed = (self.stores.iter_mut()).fold(false, |any, store| store.poll_change() | any);
        if changed {
            self.doubt_everything(None);
        }
        self.budget = limits::TURN_JUDGING_MICROSECONDS;
        self.recheck(moment);
        while self.budget > 0
            && let Some((id, is_late)) = self.line.take(moment.now, self.rules.patience)
        {
            self.budget -= 1;
            self.resume(id, is_late, moment);
        }
        self.budget = 0;
    }

    /// Asks again about tokens of open sessions.
    fn recheck(&mut self, moment: Moment) {
        let mut places = limits::TURN_DOUBTS_MAX;
        for _ in 0..limits::TURN_RECHECKS_MAX {
            if self.rechecks >= limits::AUTH_RECHECKS_MAX || self.budget <= NEWCOMERS_SHARE {
                return;
            }
            let due = self.ledger.pop_due(moment.now);
            let Some(id) = due.or_else(|| self.next_doubted(&mut places, moment.now)) else {
                return;
            };
            self.handle_due(id, moment);
        }
    }

    /// The next entry that was accepted before the stores changed. Looks at `places` places at most.
    fn next_doubted(&mut self, places: &mut u32, now: Duration) -> Option<EntryId> {
        while *places > 0
            && let Some(place) = self.walk.next(self.ledger.places())
        {
            *places -= 1;
            let Some(id) = self.ledger.at(place) else {
                continue;
            };
            let entry = self.ledger.entry(id);
            let is_old = entry.accepted_in != self.changes;
            if entry.asking.is_none() && is_old && !self.walk.spares(entry.accepted_by) {
                entry.recheck_at = now;
                return Some(id);
            }
        }
        None
    }

    /// How long it takes until something is due.
    pub fn timeout(&self, now: Duration) -> Option<Duration> {
        if !self.verdicts.is_empty() || !self.line.is_empty() || self.has_more {
            return Some(Duration::ZERO);
        }
        // Stores wake the loop when they have an answer.
        if self.rechecks >= limits::AUTH_RECHECKS_MAX {
            return None;
        }
        if self.walk.is_under_way() {
            return Some(Duration::ZERO);
        }
        Some(self.ledger.next_due()?.saturating_sub(now))
    }

    /// The next verdict, with its ticket.
    pub fn poll_verdict(&mut self) -> Option<(u64, Verdict)> {
        self.verdicts.pop_front()
    }

    /// Returns true once after standings of sessions have changed.
    pub fn poll_change(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// Refuses tokens until the next start, whatever stores say about them, and ends their sessions. Returns how
    /// many sessions those are. When a store has a name for a token, the gate refuses that name too, in whatever way
    /// a client writes the token.
    ///
    /// # Errors
    /// Too many tokens are revoked already; nothing has changed.
    pub fn revoke(&mut self, tokens: &[Digest]) -> Result<usize, Full> {
        let mut names: BTreeSet<[u8; 32]> = tokens.iter().map(|token| *token.as_bytes()).collect();
        for id in tokens
            .iter()
            .flat_map(|token| self.ledger.find_all(token))
            .collect::<Vec<_>>()
        {
            let known_as = self.ledger.entry(id).known_as();
            names.extend(known_as.map(|name| *name.as_bytes()));
        }
        self.revoked.add(&names)?;
        let found = names.into_iter().map(Digest::from_bytes);
        let ids: BTreeSet<EntryId> = found.flat_map(|name| self.ledger.find_all(&name)).collect();
        let mut revoked = 0;
        for id in ids {
            let entry = self.ledger.entry(id);
            let sessions = entry.sessions();
            if let Some(standing) = entry.standing.take() {
                standing.end(Close::TokenEnded);
            }
            self.forget(id);
            revoked += sessions;
        }
        self.has_changed |= revoked > 0;
        Ok(revoked)
    }

    /// How many entries there are: tokens that were accepted, or about which a store is being asked.
    pub fn entries(&self) -> usize {
        self.ledger.len()
    }

    /// No answer counts any more: not for newcomers from now on, and for sessions as soon as their tokens can be
    /// asked about again. Tokens that the store `spared` has accepted are asked about when they are due.
    fn doubt_everything(&mut self, spared: Option<Store>) {
        self.changes = self.changes.wrapping_add(1);
        self.refused.clear();
        self.walk.begin(self.ledger.places(), spared);
    }

    fn handle_due(&mut self, id: EntryId, moment: Moment) {
        let changes = self.changes;
        let entry = self.ledger.entry(id);
        // The answer sets the next moment.
        if entry.asking.is_some() {
            return;
        }
        if entry.sessions() == 0 {
            if entry.is_fresh(changes, moment.now) {
                let at = entry.fresh_until;
                self.ledger.wake_at(id, at);
            } else {
                self.forget(id);
            }
            return;
        }
        if moment.now < entry.recheck_at {
            let at = entry.recheck_at;
            return self.ledger.wake_at(id, at);
        }
        let sealed = entry.sealed.as_ref();
        let caller = entry.caller.as_deref();
        let question = Question {
            ticket: id.to_bits(),
            digest: entry.token,
            token: sealed.map(|sealed| self.sealer.unseal(sealed)),
            is_recheck: true,
            client: caller.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |caller| caller.client),
            origin: caller.and_then(|caller| caller.origin.as_deref().map(str::to_owned)),
        };
        self.rechecks += 1;
        self.begin(id, question, Vec::new());
        self.ask_from(id, 0, moment);
    }

    /// Goes on with a question that has waited in line.
    fn resume(&mut self, id: EntryId, is_late: bool, moment: Moment) {
        let Some(asking) = self
            .ledger
            .get_mut(id)
            .and_then(|entry| entry.asking.as_mut())
        else {
            return;
        };
        let store = asking.store;
        if is_late {
            let answer = Answer::Unavailable("it has waited too long for its turn".to_owned());
            weigh(&*self.stores[store], answer, asking, &self.stats);
            return self.conclude(id, Outcome::Unavailable, moment);
        }
        self.ask_from(id, store, moment);
    }

    /// Asks the stores from `first` on, until one knows the token, will answer later, or costs more than is left of
    /// this turn.
    fn ask_from(&mut self, id: EntryId, first: usize, moment: Moment) {
        let entry = self.ledger.entry(id);
        let is_of_caller = entry.caller.is_some();
        let asking = entry.asking();
        let question = Arc::clone(&asking.question);
        for (index, store) in self.stores.iter_mut().enumerate().skip(first) {
            // The gate did not keep the token when a store accepted it that knows it by its digest. And clients with
            // that token came from many places, about none of which the other stores can be asked.
            if question.token.is_none() && store.needs_token()
                || !is_of_caller && store.asks_of_callers()
            {
                asking.is_partial = true;
                continue;
            }
            asking.store = index;
            let cost = store.cost(&question);
            if cost > 0 && self.budget == 0 {
                return self.line.push(id, moment.now);
            }
            self.budget = self.budget.saturating_sub(cost);
            asking.is_of_caller |= store.asks_of_callers();
            let Some(answer) = store.ask(&question, moment) else {
                return;
            };
            if let Some(outcome) = weigh(&**store, answer, asking, &self.stats) {
                return self.conclude(id, outcome, moment);
            }
        }
        let outcome = match (asking.had_no_answer, asking.is_unsigned) {
            (true, _) => Outcome::Unavailable,
            (false, true) => Outcome::Refused(Cause::BadSignature),
            (false, false) => Outcome::Refused(Cause::Unknown),
        };
        self.conclude(id, outcome, moment);
    }

    /// Handles an answer that came later.
    fn handle_answer(&mut self, index: usize, id: EntryId, answer: Answer, moment: Moment) {
        // Only here can an entry be gone, or be part of another question: the answer is of a store that was replaced
        // meanwhile.
        let entry = self.ledger.get_mut(id);
        let asking = entry.and_then(|entry| entry.asking.as_mut());
        let Some(asking) = asking.filter(|asking| asking.store == index) else {
            return;
        };
        if answer == Answer::AskAgain {
            return self.ask_from(id, index, moment);
        }
        match weigh(&*self.stores[index], answer, asking, &self.stats) {
            Some(outcome) => self.conclude(id, outcome, moment),
            None => self.ask_from(id, index + 1, moment),
        }
    }

    /// Concludes a question: tells the waiting clients, and the sessions that have the token.
    fn conclude(&mut self, id: EntryId, outcome: Outcome, moment: Moment) {
        let entry = self.ledger.entry(id);
        let asking = entry.asking.take().expect("it is being asked about");
        match asking.question.is_recheck {
            true => self.rechecks -= 1,
            false => self.asking_bytes -= bytes(&asking.question),
        }
        // An answer about the token alone counts for every caller.
        let is_wider = !asking.is_of_caller && entry.caller.is_some() && entry.standing.is_none();
        let id = match outcome {
            Outcome::Accepted { .. } | Outcome::Refused(_) if is_wider => self.widen(id),
            _ => id,
        };
        let entry = self.ledger.entry(id);
        let (sessions, digest) = (entry.sessions(), entry.token);
        let unix = moment.unix.as_secs();
        let (judged, verdict, wake_at) = match outcome {
            Outcome::Accepted {
                store,
                needs_token,
                mut grant,
            } => {
                let known_as = grant
                    .token_id
                    .take()
                    .map(|text| Token::new(&*text).digest());
                let is_revoked = self.revoked.has(&digest)
                    || known_as.is_some_and(|known_as| self.revoked.has(&known_as));
                // A revocation may have come meanwhile, and a store may accept a token that has ended.
                if is_revoked {
                    self.refuse(id, &asking, Cause::Revoked, moment)
                } else if grant.has_ended(unix) {
                    self.refuse(id, &asking, Cause::Expired, moment)
                } else {
                    self.keep(id, &asking.question, store, needs_token);
                    self.ledger.name(id, known_as);
                    self.accept(id, grant, moment)
                }
            }
            Outcome::Refused(cause) if self.is_spared(id, &asking, moment) => {
                let recheck_at = self.ledger.entry(id).recheck_at;
                (Judged::Refused, Verdict::Refused(cause), Some(recheck_at))
            }
            Outcome::Refused(cause) => self.refuse(id, &asking, cause, moment),
            Outcome::Unavailable if sessions == 0 => {
                (Judged::Unavailable, Verdict::Unavailable, None)
            }
            Outcome::Unavailable if !asking.question.is_recheck => {
                let recheck_at = self.next_recheck(id, moment.now);
                (Judged::Unavailable, Verdict::Unavailable, Some(recheck_at))
            }
            Outcome::Unavailable => self.bear(id, moment),
        };
        // The first client was counted where the store answered.
        for _ in asking.waiting.iter().skip(1) {
            self.stats.checked(Store::Cache, judged);
        }
        for &ticket in &asking.waiting {
            self.verdicts.push_back((ticket, verdict.clone()));
        }
        match wake_at {
            Some(at) => self.ledger.wake_at(id, at),
            None => self.forget(id),
        }
    }

    /// Makes the entry of a caller the entry of the token, or forgets it when the token has an entry already.
    fn widen(&mut self, id: EntryId) -> EntryId {
        let of_token = VerdictKey::of_token(&self.ledger.entry(id).token);
        match self.ledger.find(&of_token) {
            Some(wider) => {
                self.ledger.remove(id);
                wider
            }
            None => {
                self.ledger.widen(id);
                id
            }
        }
    }

    /// Keeps the parts of a question that its store needs to be asked again.
    fn keep(&mut self, id: EntryId, question: &Question, store: Store, needs_token: bool) {
        let entry = self.ledger.entry(id);
        entry.accepted_by = Some(store);
        if let Some(caller) = &mut entry.caller {
            caller.origin = question.origin.as_deref().map(Into::into);
        }
        match (needs_token, &question.token) {
            // The store knows it by its digest: it does not need the token again.
            (false, _) => entry.sealed = None,
            (true, Some(token)) if entry.sealed.is_none() => {
                entry.sealed = Some(self.sealer.seal(token));
            }
            (true, _) => {}
        }
    }

    fn accept(
        &mut self,
        id: EntryId,
        grant: Grant,
        moment: Moment,
    ) -> (Judged, Verdict, Option<Duration>) {
        self.set_lost(id, None);
        let (rules, changes) = (self.rules, self.changes);
        let entry = self.ledger.entry(id);
        // The times are spread out, always in the same way for the same entry.
        let tenths = u32::from(entry.spread()) * 200 / 255;
        let recheck = rules.recheck * (900 + tenths) / 1_000;
        // The moment after the last one at which the token is good.
        let left = grant
            .expires_at
            .map(|end| Duration::from_secs(end.saturating_add(1)).saturating_sub(moment.unix));
        let until = |interval: Duration| moment.now + left.map_or(interval, |l| l.min(interval));
        entry.recheck_at = until(recheck);
        entry.fresh_until = until(rules.cache);
        entry.accepted_in = changes;
        let standing = match &entry.standing {
            Some(standing) => {
                let has_sessions = entry.sessions() > 0;
                let is_other = standing.renew(grant);
                self.has_changed |= is_other && has_sessions;
                standing.clone()
            }
            None => entry.standing.insert(Standing::new(grant)).clone(),
        };
        let wake_at = entry.fresh_until.min(entry.recheck_at);
        (Judged::Accepted, Verdict::Accepted(standing), Some(wake_at))
    }

    /// Returns true when sessions stay although their token was refused to a newcomer: see [`Gate::replace`].
    fn is_spared(&mut self, id: EntryId, asking: &Asking, moment: Moment) -> bool {
        let entry = self.ledger.entry(id);
        let is_listed = entry.accepted_by == Some(Store::List) && entry.sessions() > 0;
        is_listed && !asking.question.is_recheck && moment.now < entry.recheck_at
    }

    fn refuse(
        &mut self,
        id: EntryId,
        asking: &Asking,
        cause: Cause,
        moment: Moment,
    ) -> (Judged, Verdict, Option<Duration>) {
        self.set_lost(id, None);
        let entry = self.ledger.entry(id);
        if let Some(standing) = entry.standing.take() {
            log::info!("auth: token ended: name={:?}", standing.name());
            standing.end(Close::TokenEnded);
            self.has_changed = true;
        }
        // When not every store was asked, a newcomer may get another answer.
        if !asking.is_partial {
            self.refused.add(&entry.key(), cause, moment.now);
        }
        (Judged::Refused, Verdict::Refused(cause), None)
    }

    /// When the gate asks about sessions after no store could tell about a newcomer with their token. The newcomer's
    /// question may have found no place, which says nothing about the sessions, so that is no sooner than without
    /// the newcomer.
    fn next_recheck(&mut self, id: EntryId, now: Duration) -> Duration {
        let changes = self.changes;
        let entry = self.ledger.entry(id);
        // The walk after a change of stores may have skipped the entry, because a store was being asked about it.
        if entry.accepted_in != changes {
            let retry = now + Duration::from_secs(limits::AUTH_RETRY_SECONDS);
            entry.recheck_at = entry.recheck_at.min(retry);
        }
        entry.recheck_at
    }

    /// No store could tell about the token of sessions. The sessions stay for a while.
    fn bear(&mut self, id: EntryId, moment: Moment) -> (Judged, Verdict, Option<Duration>) {
        let answer = |wake_at| (Judged::Unavailable, Verdict::Unavailable, wake_at);
        let grace = self.rules.grace;
        let since = self.ledger.entry(id).lost_since.unwrap_or(moment.now);
        self.set_lost(id, Some(since));
        let entry = self.ledger.entry(id);
        if moment.now >= since + grace {
            if let Some(standing) = entry.standing.take() {
                standing.end(Close::AuthLost);
                self.has_changed = true;
            }
            return answer(None);
        }
        let retry = moment.now + Duration::from_secs(limits::AUTH_RETRY_SECONDS);
        entry.recheck_at = retry.min(since + grace);
        entry.fresh_until = moment.now;
        answer(Some(entry.recheck_at))
    }

    /// Notes since when no store can tell about a token of sessions; `None`: a store could tell, or no session is
    /// left. Logs the first such token, and the end of the last.
    fn set_lost(&mut self, id: EntryId, since: Option<Duration>) {
        let before = std::mem::replace(&mut self.ledger.entry(id).lost_since, since);
        match (before, since) {
            (None, Some(_)) => {
                self.lost += 1;
                if self.lost == 1 {
                    log::error!(
                        "auth: no store can say whether open sessions' tokens are still good; these \
                         sessions end in {} s (auth-grace)",
                        self.rules.grace.as_secs()
                    );
                }
            }
            (Some(_), None) => {
                self.lost -= 1;
                if self.lost == 0 {
                    log::warn!(
                        "auth: the stores answer again about the tokens of all open sessions"
                    );
                }
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    /// Forgets an entry, unless a store is being asked about it: then the answer forgets it.
    fn forget(&mut self, id: EntryId) {
        self.set_lost(id, None);
        if self.ledger.entry(id).asking.is_none() {
            self.ledger.remove(id);
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("rules", &self.rules)
            .field("entries", &self.ledger.len())
            .finish_non_exhaustive()
    }
}

/// The outcome of one store's answer; `None` when the gate has to ask the next one.
fn weigh(
    store: &dyn TokenStore,
    answer: Answer,
    asking: &mut Asking,
    stats: &Stats,
) -> Option<Outcome> {
    let kind = store.kind();
    match answer {
        Answer::Accepted(grant) => {
            stats.checked(kind, Judged::Accepted);
            Some(Outcome::Accepted {
                store: kind,
                needs_token: store.needs_token(),
                grant,
            })
        }
        Answer::Refused(cause, reason) => {
            stats.checked(kind, Judged::Refused);
            log::debug!("auth: refused: store={} reason={reason:?}", kind.name());
            Some(Outcome::Refused(cause))
        }
        Answer::Unknown => {
            stats.checked(kind, Judged::Unknown);
            None
        }
        Answer::Unsigned => {
            stats.checked(kind, Judged::Unknown);
            asking.is_unsigned = true;
            None
        }
        Answer::Unavailable(reason) => {
            stats.checked(kind, Judged::Unavailable);
            log::debug!("auth: no answer: store={} reason={reason:?}", kind.name());
            asking.had_no_answer = true;
            None
        }
        // Only `poll_answer` returns it, and the gate has asked again.
        Answer::AskAgain => None,
    }
}
