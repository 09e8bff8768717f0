//! The door: who may come in, and who may stay.
//!
//! Stores are asked in their order, and the first that knows the token decides. What one has said is
//! good for a while, so that the herd after a restart asks once a token; those who come with a token
//! that is being asked about wait for the same answer.
//!
//! Afterwards the promise is kept: when a token ends, and every now and then, the stores are asked
//! again. Accepted anew, its sessions go on, with the new grant; refused, they end. While nobody can
//! tell they stay, for a time of grace; nobody new is let in meanwhile.
//!
//! Time is an argument, and stores answer when they like: all of this runs in memory.
//!
//! Never here: connections (a ticket is all that is seen of them), threads, what a store is.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::ledger::{Asking, Entry, EntryId, Ledger};
use super::revoked::{Full, Revoked};
use super::sealed::Sealer;
use super::{Answer, Moment, Question, TokenStore};
use crate::limits;
use crate::standing::{Applicant, Standing, Verdict};
use crate::stats::{Cause, Close, Judged, Stats, Store};
use crate::wire::grant::Grant;
use crate::wire::token::{Digest, Token};

/// The intervals in force.
#[derive(Clone, Copy, Debug)]
pub struct GateRules {
    /// For how long an accepted token is not asked about again for newcomers.
    pub cache: Duration,
    /// After how long it is asked about again for sessions, a tenth more or less.
    pub recheck: Duration,
    /// For how long sessions stay while nobody can tell.
    pub grace: Duration,
}

/// The door.
pub struct Gate {
    stores: Vec<Box<dyn TokenStore>>,
    rules: GateRules,
    ledger: Ledger,
    sealer: Sealer,
    /// Answers that were not fetched yet.
    verdicts: VecDeque<(u64, Verdict)>,
    /// True exactly when standings were changed that sessions live by, and it was not told yet.
    has_changed: bool,
    /// Withdrawn by an administrator.
    revoked: Revoked,
    /// How many sessions' tokens are being asked about.
    rechecks: usize,
    /// How many entries have `lost_since`. Kept by [`Gate::set_lost`] alone.
    lost: usize,
}

/// What the stores, in their order, have to say in the end.
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

impl Gate {
    /// A door in front of `stores`. `key` is random and made for this run.
    pub fn new(stores: Vec<Box<dyn TokenStore>>, rules: GateRules, key: [u8; 32]) -> Self {
        Self {
            stores,
            rules,
            ledger: Ledger::default(),
            sealer: Sealer::new(key),
            verdicts: VecDeque::new(),
            has_changed: false,
            revoked: Revoked::default(),
            rechecks: 0,
            lost: 0,
        }
    }

    /// Puts other stores and intervals in the place of the present ones. Everything that was said is
    /// asked again, and so is what the old ones still owe; but a token of the configuration that is
    /// no longer in it is refused from now on, and its sessions end when it is due to be asked about:
    /// to read the configuration again is not to drop anybody.
    pub fn replace(
        &mut self,
        stores: Vec<Box<dyn TokenStore>>,
        rules: GateRules,
        moment: Moment,
        stats: &mut Stats,
    ) {
        self.stores = stores;
        self.rules = rules;
        let owed: Vec<EntryId> = (self.ledger.ids().into_iter())
            .filter(|&id| self.ledger.entry(id).asking.is_some())
            .collect();
        self.doubt_everything(moment, Some(Store::List));
        for id in owed {
            self.ledger.entry(id).asking().had_no_answer = false;
            // The token of a newcomer is gone with the store that was asked, unless it is kept.
            self.ask_from(id, 0, None, moment, stats);
        }
    }

    /// Judges somebody. The verdict comes out of [`Gate::poll_verdict`] under
    /// `ticket`, in this turn or in a later one.
    pub fn check(&mut self, ticket: u64, applicant: Applicant, moment: Moment, stats: &mut Stats) {
        let Some(token) = applicant.token else {
            let verdict = Verdict::Refused(Cause::Missing);
            return self.verdicts.push_back((ticket, verdict));
        };
        let digest = token.digest();
        if self.revoked.has(&digest) {
            stats.checked(Store::Cache, Judged::Refused);
            let verdict = Verdict::Refused(Cause::Revoked);
            return self.verdicts.push_back((ticket, verdict));
        }
        let id = match self.ledger.find(&digest) {
            Some(id) => id,
            None => self
                .ledger
                .insert(Entry::new(digest, applicant.client, applicant.origin)),
        };
        let entry = self.ledger.entry(id);
        if let Some(asking) = &mut entry.asking {
            return asking.waiting.push(ticket);
        }
        if moment.now < entry.fresh_until {
            let (judged, verdict) = match &entry.standing {
                Some(standing) => (Judged::Accepted, Verdict::Accepted(standing.clone())),
                None => (Judged::Refused, Verdict::Refused(entry.cause)),
            };
            stats.checked(Store::Cache, judged);
            return self.verdicts.push_back((ticket, verdict));
        }
        entry.asking = Some(Box::new(Asking {
            waiting: vec![ticket],
            ..Asking::default()
        }));
        self.ask_from(id, 0, Some(token), moment, stats);
    }

    /// Fetches what stores have answered, and asks again about what is due.
    pub fn turn(&mut self, moment: Moment, stats: &mut Stats) {
        for index in 0..self.stores.len() {
            while let Some((ticket, answer)) = self.stores[index].poll_answer() {
                self.handle_answer(index, EntryId::from_bits(ticket), answer, moment, stats);
            }
        }
        // All of them: each tells it once.
        let changed = (self.stores.iter_mut()).fold(false, |any, store| store.poll_change() | any);
        if changed {
            self.doubt_everything(moment, None);
        }
        for _ in 0..limits::TURN_RECHECKS_MAX {
            if self.rechecks >= limits::AUTH_RECHECKS_MAX {
                return;
            }
            let Some(id) = self.ledger.pop_due(moment.now) else {
                return;
            };
            self.handle_due(id, moment, stats);
        }
    }

    /// How long nothing will be due.
    pub fn timeout(&mut self, now: Duration) -> Option<Duration> {
        if !self.verdicts.is_empty() {
            return Some(Duration::ZERO);
        }
        // Those who wait for an answer wake the loop when they have it.
        if self.rechecks >= limits::AUTH_RECHECKS_MAX {
            return None;
        }
        Some(self.ledger.next_due()?.saturating_sub(now))
    }

    /// The next verdict, and whose it is.
    pub fn poll_verdict(&mut self) -> Option<(u64, Verdict)> {
        self.verdicts.pop_front()
    }

    /// True once after standings were changed that sessions live by.
    pub fn poll_change(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// Withdraws a token until the next start, whatever stores say of it; how many sessions end.
    ///
    /// # Errors
    /// Too many are withdrawn already, and this one is as good as before.
    pub fn revoke(&mut self, digest: &Digest) -> Result<usize, Full> {
        self.revoked.add(digest)?;
        let Some(entry) = (self.ledger.find(digest)).map(|id| self.ledger.entry(id)) else {
            return Ok(0);
        };
        let sessions = entry.sessions();
        if let Some(standing) = entry.standing.take() {
            standing.end(Close::TokenEnded);
        }
        self.has_changed |= sessions > 0;
        Ok(sessions)
    }

    /// How many tokens are known in any way.
    pub fn tokens(&self) -> usize {
        self.ledger.len()
    }

    /// Nothing that was said counts any more, for newcomers from now on and for sessions, but those that
    /// `spared` has let in, as soon as it can be asked again.
    fn doubt_everything(&mut self, moment: Moment, spared: Option<Store>) {
        for id in self.ledger.ids() {
            let entry = self.ledger.entry(id);
            entry.fresh_until = moment.now;
            if spared.is_none() || entry.accepted_by != spared {
                entry.recheck_at = moment.now;
            }
            self.ledger.wake_at(id, moment.now);
        }
    }

    fn handle_due(&mut self, id: EntryId, moment: Moment, stats: &mut Stats) {
        let entry = self.ledger.entry(id);
        // Whatever comes of it sets the next moment.
        if entry.asking.is_some() {
            return;
        }
        if entry.sessions() == 0 {
            if moment.now < entry.fresh_until {
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
        entry.asking = Some(Box::new(Asking {
            is_recheck: true,
            ..Asking::default()
        }));
        self.rechecks += 1;
        self.ask_from(id, 0, None, moment, stats);
    }

    /// Asks the stores from `first` on, until one knows the token or will answer later. `token` is
    /// there when somebody has just come with it.
    fn ask_from(
        &mut self,
        id: EntryId,
        first: usize,
        token: Option<Token>,
        moment: Moment,
        stats: &mut Stats,
    ) {
        let entry = self.ledger.entry(id);
        let sealed = entry.token.as_ref();
        let question = Question {
            ticket: id.to_bits(),
            digest: entry.digest,
            token: token.or_else(|| sealed.map(|sealed| self.sealer.unseal(sealed))),
            is_recheck: entry.asking.as_ref().is_some_and(|a| a.is_recheck),
            client: entry.client,
            origin: entry.origin.as_deref().map(str::to_owned),
        };
        for (index, store) in self.stores.iter_mut().enumerate().skip(first) {
            // A store that needs the token cannot have let this one in, or it would have been kept.
            if question.token.is_none() && store.needs_token() {
                continue;
            }
            let Some(answer) = store.ask(&question, moment) else {
                // The next store may need it, and this one's answer comes without it.
                if let (None, Some(token)) = (&entry.token, &question.token) {
                    entry.token = Some(self.sealer.seal(token));
                }
                entry.asking().store = index;
                return;
            };
            if let Some(outcome) = weigh(&**store, answer, entry.asking(), stats) {
                if let (
                    Outcome::Accepted {
                        needs_token: true, ..
                    },
                    None,
                    Some(token),
                ) = (&outcome, &entry.token, &question.token)
                {
                    entry.token = Some(self.sealer.seal(token));
                }
                return self.conclude(id, outcome, moment, stats);
            }
        }
        let asking = entry.asking();
        let outcome = match (asking.had_no_answer, asking.is_unsigned) {
            (true, _) => Outcome::Unavailable,
            (false, true) => Outcome::Refused(Cause::BadSignature),
            (false, false) => Outcome::Refused(Cause::Unknown),
        };
        self.conclude(id, outcome, moment, stats);
    }

    /// A store has answered later.
    fn handle_answer(
        &mut self,
        index: usize,
        id: EntryId,
        answer: Answer,
        moment: Moment,
        stats: &mut Stats,
    ) {
        // The one place where an entry may be gone, or be asked about elsewhere: the answer is of a store
        // that was replaced meanwhile.
        let entry = self.ledger.get_mut(id);
        let asking = entry.and_then(|entry| entry.asking.as_mut());
        let Some(asking) = asking.filter(|asking| asking.store == index) else {
            return;
        };
        match weigh(&*self.stores[index], answer, asking, stats) {
            Some(outcome) => self.conclude(id, outcome, moment, stats),
            None => self.ask_from(id, index + 1, None, moment, stats),
        }
    }

    /// The question is answered: tells those who wait, and the sessions that live by the token.
    fn conclude(&mut self, id: EntryId, outcome: Outcome, moment: Moment, stats: &mut Stats) {
        let entry = self.ledger.entry(id);
        let sessions = entry.sessions();
        let asking = entry.asking.take().expect("it is being asked about");
        let digest = entry.digest;
        self.rechecks -= usize::from(asking.is_recheck);
        let unix = moment.unix.as_secs();
        let outcome = match outcome {
            // A revocation may have come meanwhile, and a store may say yes to what has ended.
            Outcome::Accepted { .. } if self.revoked.has(&digest) => {
                Outcome::Refused(Cause::Revoked)
            }
            Outcome::Accepted { grant, .. } if grant.has_ended(unix) => {
                Outcome::Refused(Cause::Expired)
            }
            outcome => outcome,
        };
        let (judged, verdict, wake_at) = match outcome {
            Outcome::Accepted {
                store,
                needs_token,
                grant,
            } => {
                let entry = self.ledger.entry(id);
                entry.accepted_by = Some(store);
                // Known by its digest: the token itself is not needed again.
                if !needs_token {
                    entry.token = None;
                }
                self.accept(id, grant, moment)
            }
            Outcome::Refused(cause) if self.is_spared(id, &asking, moment) => {
                let recheck_at = self.ledger.entry(id).recheck_at;
                (Judged::Refused, Verdict::Refused(cause), Some(recheck_at))
            }
            Outcome::Refused(cause) => self.refuse(id, cause, moment),
            Outcome::Unavailable => self.bear(id, sessions, moment),
        };
        // The first was counted where it was answered.
        for _ in asking.waiting.iter().skip(1) {
            stats.checked(Store::Cache, judged);
        }
        for ticket in asking.waiting {
            self.verdicts.push_back((ticket, verdict.clone()));
        }
        match wake_at {
            Some(at) => self.ledger.wake_at(id, at),
            None => self.forget(id),
        }
    }

    fn accept(
        &mut self,
        id: EntryId,
        grant: Grant,
        moment: Moment,
    ) -> (Judged, Verdict, Option<Duration>) {
        self.set_lost(id, None);
        let rules = self.rules;
        let entry = self.ledger.entry(id);
        // Spread out, always in the same way for the same token.
        let tenths = u32::from(entry.digest.as_bytes()[0]) * 200 / 255;
        let recheck = rules.recheck * (900 + tenths) / 1_000;
        // The moment after its last good one.
        let left = grant
            .expires_at
            .map(|end| Duration::from_secs(end.saturating_add(1)).saturating_sub(moment.unix));
        let until = |interval: Duration| moment.now + left.map_or(interval, |l| l.min(interval));
        entry.recheck_at = until(recheck);
        entry.fresh_until = until(rules.cache);
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

    /// Whether the sessions of a token that was refused to a newcomer stay: see [`Gate::replace`].
    fn is_spared(&mut self, id: EntryId, asking: &Asking, moment: Moment) -> bool {
        let entry = self.ledger.entry(id);
        let is_listed = entry.accepted_by == Some(Store::List) && entry.sessions() > 0;
        is_listed && !asking.is_recheck && moment.now < entry.recheck_at
    }

    fn refuse(
        &mut self,
        id: EntryId,
        cause: Cause,
        moment: Moment,
    ) -> (Judged, Verdict, Option<Duration>) {
        self.set_lost(id, None);
        let is_full = self.ledger.len() > limits::AUTH_REMEMBERED_MAX;
        let entry = self.ledger.entry(id);
        if let Some(standing) = entry.standing.take() {
            log::info!("auth: token ended: name={:?}", standing.name());
            standing.end(Close::TokenEnded);
            self.has_changed = true;
        }
        entry.token = None;
        entry.cause = cause;
        entry.fresh_until = moment.now + Duration::from_secs(limits::AUTH_REFUSED_SECONDS);
        let wake_at = (!is_full).then_some(entry.fresh_until);
        (Judged::Refused, Verdict::Refused(cause), wake_at)
    }

    /// Nobody could tell. Sessions stay for a while.
    fn bear(
        &mut self,
        id: EntryId,
        sessions: usize,
        moment: Moment,
    ) -> (Judged, Verdict, Option<Duration>) {
        let answer = |wake_at| (Judged::Unavailable, Verdict::Unavailable, wake_at);
        if sessions == 0 {
            return answer(None);
        }
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

    /// Since when nobody can tell what a token is worth that sessions live by; `None`: somebody could, or
    /// none do any more. Logs when the first is lost, and when none is.
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
                    log::warn!("auth: no open session's token waits for a store any more");
                }
            }
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    fn forget(&mut self, id: EntryId) {
        self.set_lost(id, None);
        self.ledger.remove(id);
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("rules", &self.rules)
            .field("tokens", &self.ledger.len())
            .finish_non_exhaustive()
    }
}

/// What follows from one store's answer; `None` when the next one is to be asked.
fn weigh(
    store: &dyn TokenStore,
    answer: Answer,
    asking: &mut Asking,
    stats: &mut Stats,
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
    }
}
