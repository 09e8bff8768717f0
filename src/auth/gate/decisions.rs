//! What is decided about tokens, and for how long: accepted, refused, revoked, or in doubt.
//!
//! An outcome of the stores changes the entry of its token: the sessions that have the token go on, get another
//! grant, or end. An entry without sessions stays while its answer counts for newcomers.
//!
//! Never here: stores, clients that wait for a verdict.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::GateRules;
use super::ledger::{Asking, EntryId, Ledger, VerdictKey};
use super::outage::Outage;
use super::panel::Outcome;
use super::refused::Refused;
use super::revoked::{Full, Revoked};
use super::sealed::Sealer;
use super::walk::LedgerWalk;
use crate::auth::{Moment, Question};
use crate::limits;
use crate::standing::{Standing, Verdict};
use crate::stats::{Cause, Close, Store};
use crate::wire::grant::Grant;
use crate::wire::token::{Digest, Token};

/// A verdict, and when the gate looks at its entry again; `None`: the entry is forgotten.
type Decision = (Verdict, Option<Duration>);

/// The decisions that count now.
pub struct Decisions {
    pub rules: GateRules,
    /// Its entries also hold the questions under way, which the gate begins and ends.
    pub ledger: Ledger,
    refused: Refused,
    /// Tokens that an administrator revoked.
    revoked: Revoked,
    sealer: Sealer,
    /// True exactly when standings of sessions have changed and [`Decisions::poll_change`] has not said so yet.
    has_changed: bool,
    outage: Outage,
    /// How often stores have changed. A token that was accepted before the last change is not fresh.
    changes: u32,
    /// Over entries that were accepted before the last change.
    walk: LedgerWalk,
    /// The place in the ledger at which room is made next.
    hand: u32,
}

impl Decisions {
    /// As [`super::Gate::new`].
    pub fn new(rules: GateRules, key: [u8; 32]) -> Self {
        Self {
            rules,
            ledger: Ledger::default(),
            refused: Refused::new(rules.remembered_max),
            revoked: Revoked::default(),
            sealer: Sealer::new(key),
            has_changed: false,
            outage: Outage::default(),
            changes: 0,
            walk: LedgerWalk::default(),
            hand: 0,
        }
    }

    /// The verdict that counts without a question to a store: about the token for every caller, or about the token
    /// and this caller.
    pub fn recall(
        &mut self,
        digest: &Digest,
        of_token: VerdictKey,
        key: VerdictKey,
        now: Duration,
    ) -> Option<Verdict> {
        let refused = |key| self.refused.find(key, now);
        let is_revoked = self.revoked.has(digest).then_some(Cause::Revoked);
        let cause = is_revoked
            .or_else(|| refused(&of_token))
            .or_else(|| refused(&key));
        if let Some(cause) = cause {
            return Some(Verdict::Refused(cause));
        }
        let changes = self.changes;
        [of_token, key].iter().find_map(|key| {
            let id = self.ledger.find(key)?;
            let entry = self.ledger.entry(id);
            // A client that comes while a store is being asked about the token waits for that answer, which is
            // newer.
            let is_good = entry.asking.is_none() && entry.is_fresh(changes, now);
            let standing = entry.standing.as_ref().filter(|_| is_good)?;
            Some(Verdict::Accepted(standing.clone()))
        })
    }

    /// Returns true once after standings of sessions have changed.
    pub fn poll_change(&mut self) -> bool {
        std::mem::take(&mut self.has_changed)
    }

    /// No answer counts any more: not for newcomers from now on, and for sessions as soon as their tokens can be
    /// asked about again. Tokens that the store `spared` has accepted are asked about when they are due.
    pub fn doubt_everything(&mut self, spared: Option<Store>) {
        self.changes = self.changes.wrapping_add(1);
        self.refused.clear();
        self.walk.begin(self.ledger.places(), spared);
    }

    /// How long it takes until [`Decisions::next_due`] returns an entry.
    pub fn timeout(&self, now: Duration) -> Option<Duration> {
        if self.walk.is_under_way() {
            return Some(Duration::ZERO);
        }
        Some(self.ledger.next_due()?.saturating_sub(now))
    }

    /// The next entry that is due, or else the next one that was accepted before the stores changed. Looks at
    /// `places` places at most for that one.
    pub fn next_due(&mut self, places: &mut u32, now: Duration) -> Option<EntryId> {
        if let Some(id) = self.ledger.pop_due(now) {
            return Some(id);
        }
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

    /// The question about an entry that is due, when the time has come to ask about its sessions.
    pub fn recheck(&mut self, id: EntryId, now: Duration) -> Option<Question> {
        let entry = self.ledger.entry(id);
        // The answer sets the next moment.
        if entry.asking.is_some() {
            return None;
        }
        if entry.sessions() == 0 {
            if entry.is_fresh(self.changes, now) {
                let at = entry.fresh_until;
                self.ledger.wake_at(id, at);
            } else {
                self.forget(id);
            }
            return None;
        }
        if now < entry.recheck_at {
            let at = entry.recheck_at;
            self.ledger.wake_at(id, at);
            return None;
        }
        let sealed = entry.sealed.as_ref();
        let caller = entry.caller.as_deref();
        Some(Question {
            ticket: id.to_bits(),
            digest: entry.token,
            token: sealed.map(|sealed| self.sealer.unseal(sealed)),
            is_recheck: true,
            client: caller.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |caller| caller.client),
            origin: caller.and_then(|caller| caller.origin.as_deref().map(str::to_owned)),
        })
    }

    /// As [`super::Gate::revoke`].
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

    /// Makes room for a new entry when there are many: forgets some entries without a session. The hand moves over
    /// more places than entries come, so that entries without a session stay few beside the others.
    pub fn make_room(&mut self) {
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

    /// Decides about the token that `asking` was about: for its sessions, and with the verdict for newcomers.
    pub fn decide(
        &mut self,
        id: EntryId,
        asking: &Asking,
        outcome: Outcome,
        moment: Moment,
    ) -> Verdict {
        let entry = self.ledger.entry(id);
        // An answer about the token alone counts for every caller.
        let is_wider = !asking.is_of_caller && entry.caller.is_some() && entry.standing.is_none();
        let id = match outcome {
            Outcome::Accepted { .. } | Outcome::Refused(_) if is_wider => self.widen(id),
            _ => id,
        };
        let has_sessions = self.ledger.entry(id).sessions() > 0;
        let (verdict, wake_at) = match outcome {
            Outcome::Accepted {
                store,
                needs_token,
                mut grant,
            } => {
                let text = grant.token_id.take();
                let known_as = text.map(|text| Token::new(&*text).digest());
                match self.objection(id, known_as.as_ref(), &grant, moment) {
                    Some(cause) => self.refuse(id, asking, cause, moment),
                    None => {
                        self.keep(id, &asking.question, store, needs_token);
                        self.ledger.name(id, known_as);
                        self.accept(id, grant, moment)
                    }
                }
            }
            Outcome::Refused(cause) if self.is_spared(id, asking, moment) => {
                let recheck_at = self.ledger.entry(id).recheck_at;
                (Verdict::Refused(cause), Some(recheck_at))
            }
            Outcome::Refused(cause) => self.refuse(id, asking, cause, moment),
            Outcome::Unavailable if !has_sessions => (Verdict::Unavailable, None),
            Outcome::Unavailable if !asking.question.is_recheck => {
                let recheck_at = self.next_recheck(id, moment.now);
                (Verdict::Unavailable, Some(recheck_at))
            }
            Outcome::Unavailable => self.bear(id, moment),
        };
        match wake_at {
            Some(at) => self.ledger.wake_at(id, at),
            None => self.forget(id),
        }
        verdict
    }

    /// Why a token is refused that a store accepts: a revocation may have come meanwhile, and a store may accept a
    /// token that has ended.
    fn objection(
        &mut self,
        id: EntryId,
        known_as: Option<&Digest>,
        grant: &Grant,
        moment: Moment,
    ) -> Option<Cause> {
        let token = self.ledger.entry(id).token;
        let mut names = [Some(&token), known_as].into_iter().flatten();
        if names.any(|name| self.revoked.has(name)) {
            return Some(Cause::Revoked);
        }
        (grant.has_ended(moment.unix.as_secs())).then_some(Cause::Expired)
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

    fn accept(&mut self, id: EntryId, grant: Grant, moment: Moment) -> Decision {
        let (rules, changes) = (self.rules, self.changes);
        let entry = self.ledger.entry(id);
        self.outage.end(entry);
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
        (Verdict::Accepted(standing), Some(wake_at))
    }

    /// Returns true when sessions stay although their token was refused to a newcomer: see [`super::Gate::replace`].
    fn is_spared(&mut self, id: EntryId, asking: &Asking, moment: Moment) -> bool {
        let entry = self.ledger.entry(id);
        let is_listed = entry.accepted_by == Some(Store::List) && entry.sessions() > 0;
        is_listed && !asking.question.is_recheck && moment.now < entry.recheck_at
    }

    fn refuse(&mut self, id: EntryId, asking: &Asking, cause: Cause, moment: Moment) -> Decision {
        let entry = self.ledger.entry(id);
        self.outage.end(entry);
        if let Some(standing) = entry.standing.take() {
            log::info!("auth: token ended: name={:?}", standing.name());
            standing.end(Close::TokenEnded);
            self.has_changed = true;
        }
        // When not every store was asked, a newcomer may get another answer.
        if !asking.is_partial {
            self.refused.add(&entry.key(), cause, moment.now);
        }
        (Verdict::Refused(cause), None)
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
    fn bear(&mut self, id: EntryId, moment: Moment) -> Decision {
        let grace = self.rules.grace;
        let entry = self.ledger.entry(id);
        let since = self.outage.begin(entry, moment.now, grace);
        if moment.now >= since + grace {
            if let Some(standing) = entry.standing.take() {
                standing.end(Close::AuthLost);
                self.has_changed = true;
            }
            return (Verdict::Unavailable, None);
        }
        let retry = moment.now + Duration::from_secs(limits::AUTH_RETRY_SECONDS);
        entry.recheck_at = retry.min(since + grace);
        entry.fresh_until = moment.now;
        (Verdict::Unavailable, Some(entry.recheck_at))
    }

    /// Forgets an entry, unless a store is being asked about it: then the answer forgets it.
    fn forget(&mut self, id: EntryId) {
        let entry = self.ledger.entry(id);
        self.outage.end(entry);
        if entry.asking.is_none() {
            self.ledger.remove(id);
        }
    }
}
