//! Threads for stores that ask another program: the loop hands a question over and goes on.
//!
//! There are as many threads as questions may be under way at a time, and each has a worker of its own, which keeps
//! a connection. Further questions wait in one queue, bounded in number, and no longer than an answer is useful. The
//! [`Breaker`] keeps questions from a store that does not answer; the log says once that it is down, and once that
//! it is back.
//!
//! Never here: the question on the wire (that is the worker's), tokens in a log line, the poller (a closure wakes
//! it).

use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::breaker::{Admission, Breaker, Change};
use super::clock::now;
use super::line::is_oldest_next;
use super::{Answer, Question};
use crate::limits;
use crate::stats::Store;
use crate::wake::Wake;

/// The work of one thread. It never leaves that thread.
pub trait Worker {
    /// Asks, and waits for the answer, no longer than the time-out.
    ///
    /// # Errors
    /// The store could not be reached or did not answer in time: the text gives the reason, without the token. After
    /// some of these in a row the store counts as down. A store that answers something else than what was asked is
    /// an [`Answer::Unavailable`]: that may be the fault of this one token.
    fn answer(&mut self, question: &Question) -> Result<Answer, String>;
}

/// How many questions, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Questions under way at a time.
    pub threads: usize,
    /// Questions that wait for one of these threads.
    pub waiting_max: usize,
    /// How long a question may wait; after that its client is gone.
    pub timeout: Duration,
}

/// The threads of one store. After a drop they end as soon as their questions under way have an answer; nobody waits
/// for that, and answers after the drop are lost.
pub struct Workers {
    shared: Arc<Pool>,
}

struct Pool {
    kind: Store,
    /// The place as the log shows it, `host=…`, which distinguishes it from others of its kind.
    place: String,
    bounds: Bounds,
    wake: Wake,
    state: Mutex<PoolState>,
    /// Notified when there is something in `PoolState::waiting`, and when the threads have to end.
    work: Condvar,
}

#[derive(Default)]
struct PoolState {
    /// At most `Bounds::waiting_max`; while the breaker is open, the probe alone.
    waiting: VecDeque<Waiting>,
    /// Answers that were not fetched yet. There is at most one for each question, so the caller bounds them.
    answers: VecDeque<(u64, Answer)>,
    breaker: Breaker,
    /// When the log last had a line about a question without an answer.
    reported: Option<Duration>,
    /// True exactly when the pool was dropped.
    is_over: bool,
}

struct Waiting {
    question: Arc<Question>,
    since: Duration,
    is_probe: bool,
}

impl Workers {
    /// Starts the threads of a store; `place` (`host=…`) distinguishes it in the log. Each thread makes its worker
    /// for its first question, and a new one if that panics.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start<W: Worker>(
        kind: Store,
        place: &str,
        bounds: Bounds,
        wake: Wake,
        make: impl Fn() -> W + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let shared = Arc::new(Pool {
            kind,
            place: place.to_owned(),
            bounds,
            wake,
            state: Mutex::default(),
            work: Condvar::new(),
        });
        // If one thread cannot be started, the drop ends the others.
        let workers = Self { shared };
        let make = Arc::new(make);
        for _ in 0..bounds.threads {
            let (shared, make) = (Arc::clone(&workers.shared), Arc::clone(&make));
            thread::Builder::new()
                .name(format!("auth-{}", kind.name()))
                .spawn(move || shared.work(&*make))
                .map_err(|error| {
                    format!("cannot start a thread for {} {place}: {error}", kind.name())
                })?;
        }
        Ok(workers)
    }

    /// Takes a question in, whose answer [`Workers::poll_answer`] returns; or answers at once, because too many wait
    /// or the store is down. Never waits.
    pub fn ask(&mut self, question: &Arc<Question>) -> Option<Answer> {
        let now = now();
        let waiting_max = self.shared.bounds.waiting_max;
        let mut state = self.shared.state();
        // The gate itself has only few of those under way.
        if state.waiting.len() >= waiting_max && !question.is_recheck {
            let reason = format!("{waiting_max} questions wait already (auth-waiting-max)");
            self.shared.report(&mut state, now, &reason);
            return Some(Answer::Unavailable(reason));
        }
        let is_probe = match state.breaker.admit(now) {
            Admission::Refuse(reason) => return Some(Answer::Unavailable(reason)),
            Admission::Probe => true,
            Admission::Ask => false,
        };
        let rechecks = state.waiting.iter().take_while(|w| w.question.is_recheck);
        let at = match question.is_recheck {
            true => rechecks.count(),
            false => state.waiting.len(),
        };
        state.waiting.insert(
            at,
            Waiting {
                question: Arc::clone(question),
                since: now,
                is_probe,
            },
        );
        drop(state);
        self.shared.work.notify_one();
        None
    }

    /// The next answer that is there.
    pub fn poll_answer(&mut self) -> Option<(u64, Answer)> {
        self.shared.state().answers.pop_front()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.is_over = true;
        state.waiting.clear();
        drop(state);
        self.shared.work.notify_all();
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bounds = self.shared.bounds;
        write!(f, "Workers({}, {bounds:?})", self.shared.name())
    }
}

impl PoolState {
    /// The next question: first those of open sessions, then those of newcomers ([`is_oldest_next`]).
    fn take(&mut self, now: Duration, timeout: Duration) -> Option<Waiting> {
        let first = self.waiting.front()?;
        let waited = now.saturating_sub(first.since);
        if first.question.is_recheck || is_oldest_next(waited, timeout) {
            return self.waiting.pop_front();
        }
        self.waiting.pop_back()
    }
}

impl Pool {
    /// No code panics while it holds the lock, and if it did, every field would still be valid.
    fn state(&self) -> MutexGuard<'_, PoolState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place as the log shows it.
    fn name(&self) -> String {
        format!("{} {}", self.kind.name(), self.place)
    }

    /// Runs one thread.
    fn work<W: Worker>(&self, make: &impl Fn() -> W) {
        let mut worker = None;
        while let Some(Waiting {
            question,
            since,
            is_probe,
        }) = self.next()
        {
            let waited = now().saturating_sub(since);
            if waited > self.bounds.timeout {
                self.give_up(question.ticket, is_probe);
                continue;
            }
            let asked = catch_unwind(AssertUnwindSafe(|| {
                worker.get_or_insert_with(make).answer(&question)
            }));
            let answer = asked.unwrap_or_else(|_| {
                // The worker may have been in the middle of something.
                worker = None;
                Err("a thread panicked over it; standard error says where".to_owned())
            });
            self.finish(question.ticket, answer, is_probe);
        }
    }

    /// Waits for the next question; `None` when the threads have to end.
    fn next(&self) -> Option<Waiting> {
        let mut state = self.state();
        loop {
            if state.is_over {
                return None;
            }
            if let Some(waiting) = state.take(now(), self.bounds.timeout) {
                return Some(waiting);
            }
            state = self
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// No client waits for the answer any more, so the store is not asked.
    fn give_up(&self, ticket: u64, was_probe: bool) {
        let reason = "it waited longer than auth-timeout for its turn";
        let mut state = self.state();
        if was_probe {
            state.breaker.probe_lost();
        }
        self.report(&mut state, now(), reason);
        let answer = Answer::Unavailable(reason.to_owned());
        state.answers.push_back((ticket, answer));
        drop(state);
        (self.wake)();
    }

    fn finish(&self, ticket: u64, answer: Result<Answer, String>, was_probe: bool) {
        let now = now();
        let mut state = self.state();
        let change = match &answer {
            Ok(_) => state.breaker.answered(),
            Err(reason) => state.breaker.failed(now, reason, was_probe),
        };
        let name = self.name();
        match (&answer, change) {
            (Err(reason), Change::Opened) => log::error!(
                "auth: store={name} is down: {reason}. Until it answers, newswire asks it one question a second"
            ),
            (Ok(_), Change::Closed) => log::warn!("auth: store={name} answers again"),
            (Err(reason) | Ok(Answer::Unavailable(reason)), _) => {
                self.report(&mut state, now, reason);
            }
            _ => {}
        }
        if change == Change::Opened {
            // All of them would fail in the same way.
            let PoolState {
                waiting, answers, ..
            } = &mut *state;
            let reason = answer.as_ref().err().cloned().unwrap_or_default();
            answers.extend(waiting.drain(..).map(|Waiting { question, .. }| {
                (question.ticket, Answer::Unavailable(reason.clone()))
            }));
        }
        let answer = answer.unwrap_or_else(Answer::Unavailable);
        state.answers.push_back((ticket, answer));
        drop(state);
        (self.wake)();
    }

    /// Logs, at most once in a while, that a question has no answer.
    fn report(&self, state: &mut PoolState, now: Duration, reason: &str) {
        let interval = Duration::from_secs(limits::REPORT_SECONDS);
        let is_soon = |last: Duration| now.saturating_sub(last) < interval;
        if !state.reported.is_some_and(is_soon) {
            state.reported = Some(now);
            log::warn!("auth: store={} no answer: {reason}", self.name());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::wire::grant::Grant;
    use crate::wire::token::Token;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// What all workers of a test share.
    #[derive(Default)]
    struct Api {
        /// Questions that were taken up.
        asked: AtomicUsize,
        /// True exactly while it answers nobody.
        hangs: Mutex<bool>,
        resumes: Condvar,
        /// True exactly while it cannot be reached.
        is_down: Mutex<bool>,
    }

    impl Api {
        fn hang(&self, hangs: bool) {
            *self.hangs.lock().unwrap() = hangs;
            self.resumes.notify_all();
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }
    }

    struct Fake(Arc<Api>);

    impl Worker for Fake {
        fn answer(&mut self, question: &Question) -> Result<Answer, String> {
            self.0.asked.fetch_add(1, Ordering::SeqCst);
            let hangs = self.0.hangs.lock().unwrap();
            drop(self.0.resumes.wait_while(hangs, |hangs| *hangs).unwrap());
            if *self.0.is_down.lock().unwrap() {
                return Err("refused".to_owned());
            }
            match question.token.as_ref().unwrap().reveal().as_str() {
                "panic" => panic!("on purpose"),
                "odd" => Ok(Answer::Unavailable("500".to_owned())),
                _ => Ok(Answer::Accepted(Grant::default())),
            }
        }
    }

    fn question(ticket: u64, token: &str) -> Arc<Question> {
        Arc::new(ask(ticket, token, false))
    }

    fn ask(ticket: u64, token: &str, is_recheck: bool) -> Question {
        Question {
            ticket,
            digest: Token::new(token).digest(),
            token: Some(Token::new(token)),
            client: Ipv4Addr::LOCALHOST.into(),
            origin: None,
            is_recheck,
        }
    }

    fn start(api: &Arc<Api>, bounds: Bounds) -> (Workers, Receiver<()>) {
        let (woken, wakes) = channel();
        let api = Arc::clone(api);
        let wake: Wake = Arc::new(move || {
            let _ = woken.send(());
        });
        let workers = Workers::start(Store::Http, "host=fake", bounds, wake, move || {
            Fake(Arc::clone(&api))
        });
        (workers.unwrap(), wakes)
    }

    const BOUNDS: Bounds = Bounds {
        threads: 1,
        waiting_max: 100,
        timeout: PATIENCE,
    };

    /// The next `n` answers, each of which has woken somebody up.
    fn collect(workers: &mut Workers, wakes: &Receiver<()>, n: usize) -> Vec<(u64, Answer)> {
        let mut answers = Vec::new();
        while answers.len() < n {
            wakes.recv_timeout(PATIENCE).expect("is woken up");
            answers.extend(std::iter::from_fn(|| workers.poll_answer()));
        }
        answers.sort_by_key(|&(ticket, _)| ticket);
        answers
    }

    fn wait_until(wakes: &Receiver<()>, mut condition: impl FnMut() -> bool) {
        let deadline = now() + PATIENCE;
        while !condition() {
            assert!(now() < deadline, "in vain");
            let _ = wakes.recv_timeout(Duration::from_millis(5));
        }
    }

    fn unavailable(reason: &str) -> Answer {
        Answer::Unavailable(reason.to_owned())
    }

    #[test]
    fn open_sessions_come_first_and_of_too_many_newcomers_the_newest() {
        let waiting = |ticket, since, is_recheck| Waiting {
            question: Arc::new(ask(ticket, "a", is_recheck)),
            since: Duration::from_secs(since),
            is_probe: false,
        };
        let mut state = PoolState::default();
        for (ticket, since, is_recheck) in
            [(1, 9, true), (2, 0, false), (3, 5, false), (4, 8, false)]
        {
            state.waiting.push_back(waiting(ticket, since, is_recheck));
        }
        let mut turns = Vec::new();
        // Ten seconds is their time: at 9 the second has waited for more than half of it, at 12 for all.
        for now in [9, 9, 12, 12] {
            let taken = state.take(Duration::from_secs(now), Duration::from_secs(10));
            turns.push(taken.expect("there is one").question.ticket);
        }
        assert_eq!(turns, [1, 4, 2, 3]);
        assert!(state.take(Duration::ZERO, Duration::ZERO).is_none());
    }

    #[test]
    fn a_recheck_passes_newcomers_and_finds_room_among_them() {
        let api = Arc::new(Api::default());
        api.hang(true);
        let bounds = Bounds {
            waiting_max: 1,
            ..BOUNDS
        };
        let (mut workers, wakes) = start(&api, bounds);
        assert_eq!(workers.ask(&question(1, "a")), None);
        wait_until(&wakes, || api.asked.load(Ordering::SeqCst) == 1);
        assert_eq!(workers.ask(&question(2, "b")), None);
        assert!(workers.ask(&question(3, "c")).is_some(), "no room");
        let recheck = Arc::new(ask(4, "d", true));
        assert_eq!(workers.ask(&recheck), None);
        let state = workers.shared.state();
        let order = state.waiting.iter().map(|w| w.question.ticket);
        assert!(order.eq([4, 2]));
        drop(state);
        api.hang(false);
        assert_eq!(collect(&mut workers, &wakes, 3).len(), 3);
    }

    #[test]
    fn so_many_are_asked_so_many_wait_and_the_rest_is_told() {
        let api = Arc::new(Api::default());
        api.hang(true);
        let bounds = Bounds {
            threads: 2,
            waiting_max: 3,
            ..BOUNDS
        };
        let (mut workers, wakes) = start(&api, bounds);
        for ticket in 0..2 {
            assert_eq!(workers.ask(&question(ticket, "a")), None);
        }
        wait_until(&wakes, || api.asked() == 2);
        for ticket in 2..5 {
            assert_eq!(workers.ask(&question(ticket, "a")), None);
        }
        let told = workers.ask(&question(5, "a"));
        assert!(matches!(told, Some(Answer::Unavailable(_))), "{told:?}");
        assert_eq!(workers.poll_answer(), None);
        assert_eq!(api.asked(), 2);
        api.hang(false);
        let answers = collect(&mut workers, &wakes, 5);
        let accepted = Answer::Accepted(Grant::default());
        let expected: Vec<_> = (0..5).map(|ticket| (ticket, accepted.clone())).collect();
        assert_eq!(answers, expected);
    }

    #[test]
    fn a_panic_loses_no_question_and_no_thread() {
        let api = Arc::new(Api::default());
        let (mut workers, wakes) = start(&api, BOUNDS);
        for ticket in 0..9 {
            let token = if ticket % 3 == 0 { "panic" } else { "a" };
            assert_eq!(workers.ask(&question(ticket, token)), None);
        }
        for (ticket, answer) in collect(&mut workers, &wakes, 9) {
            let is_accepted = matches!(answer, Answer::Accepted(_));
            assert_eq!(is_accepted, ticket % 3 != 0, "{ticket}: {answer:?}");
        }
    }

    #[test]
    fn who_has_waited_too_long_is_not_asked_about() {
        let api = Arc::new(Api::default());
        let bounds = Bounds {
            timeout: Duration::ZERO,
            ..BOUNDS
        };
        let (mut workers, wakes) = start(&api, bounds);
        for ticket in 0..9 {
            assert_eq!(workers.ask(&question(ticket, "a")), None);
        }
        for (_, answer) in collect(&mut workers, &wakes, 9) {
            let late = "it waited longer than auth-timeout for its turn";
            assert_eq!(answer, unavailable(late));
        }
        assert_eq!(api.asked(), 0);
    }

    #[test]
    fn a_store_that_is_down_is_left_alone_until_it_answers() {
        let api = Arc::new(Api::default());
        *api.is_down.lock().unwrap() = true;
        api.hang(true);
        let (mut workers, wakes) = start(&api, BOUNDS);
        for ticket in 0..10 {
            assert_eq!(workers.ask(&question(ticket, "a")), None);
        }
        api.hang(false);
        // Three have found out; those that waited behind them are told.
        for (_, answer) in collect(&mut workers, &wakes, 10) {
            assert_eq!(answer, unavailable("refused"));
        }
        assert_eq!(api.asked(), limits::AUTH_FAILURES_MAX as usize);

        // While the probe hangs, nobody waits for it.
        api.hang(true);
        let mut told = 0;
        wait_until(&wakes, || match workers.ask(&question(10, "a")) {
            None => true,
            answer => {
                assert_eq!(answer, Some(unavailable("refused")));
                told += 1;
                false
            }
        });
        assert!(told > 0, "none before it is due");
        for ticket in 11..20 {
            let answer = workers.ask(&question(ticket, "a"));
            assert_eq!(answer, Some(unavailable("refused")));
        }
        api.hang(false);
        assert_eq!(
            collect(&mut workers, &wakes, 1),
            [(10, unavailable("refused"))]
        );

        *api.is_down.lock().unwrap() = false;
        wait_until(&wakes, || workers.ask(&question(20, "a")).is_none());
        let accepted = Answer::Accepted(Grant::default());
        assert_eq!(collect(&mut workers, &wakes, 1), [(20, accepted)]);
        assert_eq!(workers.ask(&question(21, "a")), None);
        collect(&mut workers, &wakes, 1);
    }

    #[test]
    fn a_token_that_gets_no_answer_does_not_take_the_store_from_others() {
        let api = Arc::new(Api::default());
        let (mut workers, wakes) = start(&api, BOUNDS);
        for ticket in 0..20 {
            assert_eq!(workers.ask(&question(ticket, "odd")), None);
            let answers = collect(&mut workers, &wakes, 1);
            assert_eq!(answers, [(ticket, unavailable("500"))]);
        }
    }

    #[test]
    fn the_end_waits_for_nobody_and_leaves_no_thread() {
        let api = Arc::new(Api::default());
        api.hang(true);
        let (mut workers, wakes) = start(&api, BOUNDS);
        for ticket in 0..5 {
            assert_eq!(workers.ask(&question(ticket, "a")), None);
        }
        wait_until(&wakes, || api.asked() == 1);
        drop(workers);
        api.hang(false);
        wait_until(&wakes, || Arc::strong_count(&api) == 1);
        assert_eq!(api.asked(), 1);
    }
}
