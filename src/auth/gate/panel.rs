//! The stores, which are asked in their order: the first one that knows a token decides.
//!
//! Some answers cost arithmetic. A turn pays for them out of its budget; a question for which nothing is left waits
//! in a line.
//!
//! Never here: what follows from an outcome, clients that wait for it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::ledger::{Asking, Entry, EntryId};
use crate::auth::line::Line;
use crate::auth::{Answer, Moment, TokenStore};
use crate::stats::{Cause, Judged, Stats, Store};
use crate::wire::grant::Grant;

/// What the stores say in the end.
pub enum Outcome {
    Accepted {
        store: Store,
        /// As [`TokenStore::needs_token`] of that one.
        needs_token: bool,
        grant: Grant,
    },
    Refused(Cause),
    Unavailable,
}

/// The stores of a configuration.
pub struct Panel {
    stats: Rc<Stats>,
    stores: Vec<Box<dyn TokenStore>>,
    /// Questions that wait for the time that they cost.
    line: Line<EntryId>,
}

impl Panel {
    /// A panel of `stores`, with an empty line.
    pub fn new(stores: Vec<Box<dyn TokenStore>>, stats: Rc<Stats>) -> Self {
        Self {
            stats,
            stores,
            line: Line::default(),
        }
    }

    /// How many stores there are.
    pub fn len(&self) -> usize {
        self.stores.len()
    }

    /// Returns true when one of the stores answers about the caller too.
    pub fn asks_of_callers(&self) -> bool {
        self.stores.iter().any(|store| store.asks_of_callers())
    }

    /// Returns true once after tokens of stores have changed.
    pub fn poll_change(&mut self) -> bool {
        // It asks all stores, because each says it only once.
        (self.stores.iter_mut()).fold(false, |any, store| store.poll_change() | any)
    }

    /// The next of the answers that the store at `index` gives later.
    pub fn poll_answer(&mut self, index: usize) -> Option<(EntryId, Answer)> {
        let (ticket, answer) = self.stores[index].poll_answer()?;
        Some((EntryId::from_bits(ticket), answer))
    }

    /// The next question that waits in line, and whether it has waited for longer than `patience`.
    pub fn next_in_line(&mut self, now: Duration, patience: Duration) -> Option<(EntryId, bool)> {
        self.line.take(now, patience)
    }

    /// Returns true when a question waits in line.
    pub fn has_line(&self) -> bool {
        !self.line.is_empty()
    }

    /// Asks the stores, from the one on that is asked now, until one knows the token, will answer later, or costs
    /// more than is left of the `budget`, which is in microseconds. `None`: there is no outcome yet.
    pub fn ask(
        &mut self,
        id: EntryId,
        entry: &mut Entry,
        budget: &mut u32,
        moment: Moment,
    ) -> Option<Outcome> {
        let is_of_caller = entry.caller.is_some();
        let asking = entry.asking();
        let question = Arc::clone(&asking.question);
        for index in asking.store..self.stores.len() {
            let store = &mut self.stores[index];
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
            if cost > 0 && *budget == 0 {
                self.line.push(id, moment.now);
                return None;
            }
            *budget = budget.saturating_sub(cost);
            asking.is_of_caller |= store.asks_of_callers();
            let answer = store.ask(&question, moment)?;
            let outcome = self.weigh(answer, asking);
            if outcome.is_some() {
                return outcome;
            }
        }
        Some(match (asking.had_no_answer, asking.is_unsigned) {
            (true, _) => Outcome::Unavailable,
            (false, true) => Outcome::Refused(Cause::BadSignature),
            (false, false) => Outcome::Refused(Cause::Unknown),
        })
    }

    /// The outcome of an answer of the store that is asked now; `None` when the next one has to be asked.
    pub fn weigh(&self, answer: Answer, asking: &mut Asking) -> Option<Outcome> {
        let store = &self.stores[asking.store];
        let kind = store.kind();
        match answer {
            Answer::Accepted(grant) => {
                self.stats.checked(kind, Judged::Accepted);
                Some(Outcome::Accepted {
                    store: kind,
                    needs_token: store.needs_token(),
                    grant,
                })
            }
            Answer::Refused(cause, reason) => {
                self.stats.checked(kind, Judged::Refused);
                log::debug!("auth: refused: store={} reason={reason:?}", kind.name());
                Some(Outcome::Refused(cause))
            }
            Answer::Unknown => {
                self.stats.checked(kind, Judged::Unknown);
                None
            }
            Answer::Unsigned => {
                self.stats.checked(kind, Judged::Unknown);
                asking.is_unsigned = true;
                None
            }
            Answer::Unavailable(reason) => {
                self.stats.checked(kind, Judged::Unavailable);
                log::debug!("auth: no answer: store={} reason={reason:?}", kind.name());
                asking.had_no_answer = true;
                None
            }
            // Only `poll_answer` returns it, and the gate asks again instead.
            Answer::AskAgain => None,
        }
    }
}
