//! A token store in memory: it says what is true now, at once or later.
//!
//! Never here: what is true (`truth`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use kit::dice::Dice;
use newswire::auth::{Answer, Moment, Question, TokenStore};
use newswire::limits;
use newswire::stats::Store;

use super::truth::{CALLERS, LIST, Shared};

/// In milliseconds, how long an answer takes at most.
pub const LATENCY_MAX: u64 = 8_000;

/// See the module.
pub struct MemoryStore {
    truth: Shared,
    dice: Dice,
    number: usize,
    /// True exactly when some answers come later.
    is_slow: bool,
    cost: u32,
    /// Questions, and when they are answered.
    late: VecDeque<(Duration, Arc<Question>)>,
    /// In answers, fetched in a turn.
    fetched: (u64, usize),
}

impl MemoryStore {
    pub fn new(truth: &Shared, number: usize, seed: u64) -> Self {
        let mut dice = Dice(seed);
        Self {
            truth: truth.clone(),
            number,
            is_slow: number == 2,
            cost: [0, 2_000][usize::from(number == 1 && dice.one_in(2))],
            late: VecDeque::new(),
            fetched: (0, 0),
            dice,
        }
    }
}

impl MemoryStore {
    /// The gate asks no more about open sessions than it may. It begins with the first store.
    fn check_budgets(&self, question: &Question) {
        let mut truth = self.truth.borrow_mut();
        if !question.is_recheck {
            return;
        }
        // A reload asks again, outside of all turns.
        if self.number == LIST && truth.is_turning {
            truth.rechecks += 1;
        }
        assert!(truth.rechecks <= truth.budgets.rechecks, "in one turn");
        let waiting = self.late.iter().filter(|(_, late)| late.is_recheck);
        assert!(waiting.count() < truth.budgets.rechecks_waiting, "at once");
    }
}

impl TokenStore for MemoryStore {
    fn kind(&self) -> Store {
        [Store::List, Store::Jwt, Store::Http][self.number]
    }

    fn needs_token(&self) -> bool {
        self.number > 0
    }

    fn asks_of_callers(&self) -> bool {
        self.number == CALLERS && self.truth.borrow().asks_of_callers
    }

    fn cost(&self, _question: &Question) -> u32 {
        self.cost
    }

    fn ask(&mut self, question: &Arc<Question>, moment: Moment) -> Option<Answer> {
        let token = question.token.as_ref().map(|token| token.digest());
        let is_the_same = token.is_none_or(|digest| digest.matches(&question.digest));
        assert!(is_the_same && (token.is_some() || !self.needs_token()));
        self.check_budgets(question);
        if self.is_slow && !self.dice.one_in(4) {
            let late = Duration::from_millis(self.dice.roll() % LATENCY_MAX);
            self.late
                .push_back((moment.now + late, Arc::clone(question)));
            self.truth.borrow_mut().answers_due.push(moment.now + late);
            return None;
        }
        Some(self.truth.borrow_mut().answer(self.number, question))
    }

    fn poll_answer(&mut self) -> Option<(u64, Answer)> {
        let mut truth = self.truth.borrow_mut();
        let place = self.late.iter().position(|(due, _)| *due <= truth.now)?;
        if self.fetched.0 != truth.turn {
            self.fetched = (truth.turn, 0);
        }
        self.fetched.1 += 1;
        assert!(self.fetched.1 <= limits::TURN_ANSWERS_MAX);
        let (_, question) = self.late.remove(place)?;
        let answer = match self.dice.one_in(8) {
            true => Answer::AskAgain,
            false => truth.answer(self.number, &question),
        };
        Some((question.ticket, answer))
    }

    fn poll_change(&mut self) -> bool {
        std::mem::take(&mut self.truth.borrow_mut().changed[self.number])
    }
}
