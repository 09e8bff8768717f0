//! Serving with several processes: the parent takes events in, and its children, the workers, serve clients.
//!
//! PUSH deals events out, so two servers at one source get half of them each. Here one process, the parent, takes all
//! events in and hands each on to every worker that has a subscriber for it, through the relay's socket in a private
//! folder. The workers listen on one port with SO_REUSEPORT, and the kernel spreads the connections. A worker is the
//! server as it is; its source of events is the parent.
//!
//! ```text
//! sources ─▶ parent: intake ─▶ relay ─ipc─▶ worker 1 ─▶ clients
//!            team ◀─ keeper 1 ─────────────▶    │            a pipe: briefing in, address and last figures out
//!            admin ◀─ switchboard ◀──HTTP──▶ workers          listings, orders, figures
//! ```
//! - A [`Team`] is the loop's end: it never waits. It has what the workers' figures add up to.
//! - A *keeper* looks after one worker on a thread: starts it, asks it for its figures each second, starts it again
//!   when it has died. A thread, because starting a process, waiting for one and asking one all take time (`program`).
//! - The *switchboard* is a thread that passes an administrator's question on to all workers and merges their answers.
//!
//! A worker goes down when its standard input ends. That is how the parent has it drain, and it is also what happens
//! when the parent dies in whatever way: no worker outlives its parent. A signal does not do for that: systemd
//! sends SIGTERM to every process of a service, and a second one would cut the drain short.
//!
//! All workers are the program that the parent is, even when the file was replaced since: the figures of two versions
//! could not be added up. An upgrade needs a restart of the parent.
//!
//! Never here: what a worker does differently from another server (`main`), ports (the server's), events.

mod briefing;
mod folder;
mod http;
mod keeper;
mod program;
mod sums;
mod switchboard;

use std::collections::VecDeque;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub use briefing::Briefing;
pub use folder::{Parentage, PrivateFolder};
pub use http::WorkerDesk;
pub use keeper::{Call, Keeper, Launched, Launcher};
pub use switchboard::Errand;

use program::Program;
use sums::Sums;

use crate::admin::Response;
use crate::admin::durations::Durations;
use crate::admin::readings::{ProcessReadings, RuleRow, WorkerRow};
use crate::admin::snapshot::{BusyTopic, Snapshot};
use crate::limits;
use crate::stats::{Counter, Stats};
use crate::wake::Wake;
use crate::wire::token::{Digest, Token};

/// What the workers of one parent have in common.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many there are.
    pub count: usize,
    /// The flags of the parent.
    pub arguments: Vec<OsString>,
    /// Where the parent hands events on.
    pub endpoint: String,
    /// Where clients connect.
    pub addresses: Vec<SocketAddr>,
    /// What the parent shows at the admin listeners of workers.
    pub admin_token: Token,
    /// The token of clients, when the parent made one for the run.
    pub client_token: Option<Token>,
    /// How long a worker may take to go down.
    pub patience: Duration,
}

/// What all threads know.
struct Common {
    plan: Plan,
    /// The admin listener of each worker that serves.
    desks: Mutex<Vec<Option<WorkerDesk>>>,
    /// What was revoked since the start, each once, in that order. The parent's gate bounds how many there are.
    revoked: Mutex<Vec<Digest>>,
    /// In processes.
    started: AtomicU64,
    wake: Wake,
}

impl Common {
    fn desks(&self) -> MutexGuard<'_, Vec<Option<WorkerDesk>>> {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn revoked(&self) -> MutexGuard<'_, Vec<Digest>> {
        self.revoked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps these for workers that are started later, or that do not answer now.
    fn revoke(&self, tokens: &[Digest]) {
        let mut revoked = self.revoked();
        for token in tokens {
            if !revoked.iter().any(|known| known.matches(token)) {
                revoked.push(*token);
            }
        }
    }

    /// The number of the next process.
    fn next_instance(&self) -> u64 {
        self.started.fetch_add(1, Ordering::Relaxed)
    }

    /// What a worker is told at its start.
    fn briefing(&self, worker: usize) -> Briefing {
        let plan = &self.plan;
        Briefing {
            worker,
            count: plan.count,
            endpoint: plan.endpoint.clone(),
            addresses: plan.addresses.clone(),
            admin_token: plan.admin_token.clone(),
            client_token: plan.client_token.clone(),
            revoked: self.revoked().clone(),
        }
    }
}

/// What threads tell the loop.
enum News {
    /// A worker serves.
    Ready,
    /// A worker has died and was started again.
    Restarted,
    /// The figures of a worker.
    Figures {
        worker: usize,
        instance: u64,
        snapshot: Box<Snapshot>,
    },
    /// A worker has ended.
    Ended {
        worker: usize,
        instance: u64,
        last: Option<Box<Snapshot>>,
        how: String,
    },
    /// A rolling restart is done with a worker, or could not be.
    Replaced { is_done: bool },
    /// The answer to a question with this ticket.
    Answer(u64, Response),
}

/// All workers, as the loop sees them.
pub struct Team {
    common: Arc<Common>,
    news: Receiver<News>,
    /// For keepers.
    newsroom: Sender<News>,
    calls: Vec<Sender<Call>>,
    keepers: Vec<JoinHandle<()>>,
    errands: Sender<(u64, Errand)>,
    sums: Sums,
    answers: VecDeque<(u64, Response)>,
    /// The worker that a rolling restart is at, from 0 on.
    rolling: Option<usize>,
}

impl Team {
    /// A team whose keepers and switchboard nobody runs yet. `wake` wakes the loop.
    pub fn new(plan: Plan, wake: Wake) -> Self {
        let (newsroom, news) = channel();
        Self {
            common: Arc::new(Common {
                desks: Mutex::new(vec![None; plan.count]),
                revoked: Mutex::default(),
                started: AtomicU64::new(0),
                plan,
                wake,
            }),
            news,
            newsroom,
            calls: Vec::new(),
            keepers: Vec::new(),
            errands: channel().0,
            sums: Sums::default(),
            answers: VecDeque::new(),
            rolling: None,
        }
    }

    /// Makes the keeper of the next worker. Returns it with the receiver of its calls. `launcher` gets the sender of these
    /// calls, and makes what starts processes; what they print goes into that sender.
    pub fn add_keeper<L: Launcher>(
        &mut self,
        launcher: impl FnOnce(Sender<Call>) -> L,
    ) -> (Keeper<L>, Receiver<Call>) {
        let (caller, calls) = channel();
        self.calls.push(caller.clone());
        let common = Arc::clone(&self.common);
        let launcher = launcher(caller);
        let keeper = Keeper::new(self.calls.len(), common, self.newsroom.clone(), launcher);
        (keeper, calls)
    }

    /// Starts all workers, and waits until they serve. `wake` wakes the loop.
    ///
    /// # Errors
    /// A sentence, when a worker cannot be started. What was wrong, the worker has printed itself.
    pub fn start(plan: Plan, wake: Wake) -> Result<Self, String> {
        let failed = |error| format!("workers: cannot start a thread: {error}");
        let mut team = Self::new(plan, wake);
        let (errands, incoming) = channel();
        team.errands = errands;
        let (at_board, to_loop) = (Arc::clone(&team.common), team.newsroom.clone());
        thread::Builder::new()
            .name("switchboard".into())
            .spawn(move || switchboard::run(&at_board, &incoming, &to_loop))
            .map_err(failed)?;
        for worker in 1..=team.common.plan.count {
            let arguments = team.common.plan.arguments.clone();
            let (keeper, calls) = team.add_keeper(|calls| Program { arguments, calls });
            let thread = thread::Builder::new()
                .name(format!("worker {worker}"))
                .spawn(move || program::run(keeper, &calls))
                .map_err(failed)?;
            team.keepers.push(thread);
        }
        team.wait_until_ready()?;
        Ok(team)
    }

    fn wait_until_ready(&mut self) -> Result<(), String> {
        let until = now() + Duration::from_secs(limits::WORKER_READY_SECONDS);
        let mut ready = 0;
        while ready < self.keepers.len() {
            match (self.news).recv_timeout(until.saturating_duration_since(now())) {
                Ok(News::Ready) => ready += 1,
                Ok(News::Ended { worker, how, .. }) => {
                    return Err(format!(
                        "worker {worker} of {} ended at its start ({how}); its own line above says why",
                        self.keepers.len()
                    ));
                }
                Ok(_) => {}
                Err(_) => {
                    return Err(format!(
                        "{ready} of {} workers were ready after {} s",
                        self.keepers.len(),
                        limits::WORKER_READY_SECONDS
                    ));
                }
            }
        }
        Ok(())
    }

    /// Takes in what the threads have told since the last turn. `stats` are the parent's own.
    pub fn take_news(&mut self, stats: &Stats, latency: &mut Durations, turns: &mut Durations) {
        while let Ok(news) = self.news.try_recv() {
            match news {
                News::Ready => {}
                News::Restarted => stats.count(Counter::WorkerRestarts),
                News::Figures {
                    worker,
                    instance,
                    snapshot,
                } => self.sums.take(worker, instance, *snapshot, latency, turns),
                News::Ended {
                    worker,
                    instance,
                    last,
                    ..
                } => {
                    if let Some(last) = last {
                        self.sums.take(worker, instance, *last, latency, turns);
                    }
                    self.sums.end(instance);
                }
                News::Replaced { is_done } => self.roll(is_done),
                News::Answer(ticket, response) => self.answers.push_back((ticket, response)),
            }
        }
    }

    fn call(&self, call: Call) {
        for keeper in &self.calls {
            // A keeper that has ended has nothing to do any more.
            let _ = keeper.send(call.clone());
        }
    }

    /// Has all workers read their configuration again.
    pub fn reload(&self) {
        self.call(Call::Reload);
    }

    /// Has all workers log how things are.
    pub fn summarize(&self) {
        self.call(Call::Summarize);
    }

    /// Has all workers go down. Nothing is started any more.
    pub fn drain(&mut self) {
        self.rolling = None;
        self.call(Call::Drain);
    }

    /// Returns true when all workers have ended after [`Team::drain`].
    pub fn has_ended(&self) -> bool {
        self.keepers.iter().all(JoinHandle::is_finished)
    }

    /// Replaces one worker after the other: the new one serves before the old one drains. Returns how many there are;
    /// `None` when that is under way already.
    pub fn restart(&mut self) -> Option<usize> {
        if self.rolling.is_some() {
            return None;
        }
        log::info!(
            "workers: rolling restart begins workers={}",
            self.calls.len()
        );
        self.rolling = Some(0);
        let _ = self.calls[0].send(Call::Replace);
        Some(self.calls.len())
    }

    /// Goes on with a rolling restart.
    fn roll(&mut self, is_done: bool) {
        let Some(at) = self.rolling.take() else {
            return;
        };
        if !is_done {
            log::error!("workers: rolling restart stopped at worker={}", at + 1);
        } else if let Some(next) = self.calls.get(at + 1) {
            self.rolling = Some(at + 1);
            let _ = next.send(Call::Replace);
        } else {
            log::info!("workers: rolling restart done");
        }
    }

    /// Passes a question on. Its answer comes with `ticket`.
    pub fn pass(&mut self, ticket: u64, errand: Errand) {
        if let Errand::Revoke(tokens) = &errand {
            self.common.revoke(tokens);
        }
        // The switchboard ends with this sender.
        let _ = self.errands.send((ticket, errand));
    }

    /// The next answer, with its ticket.
    pub fn poll_answer(&mut self) -> Option<(u64, Response)> {
        self.answers.pop_front()
    }

    /// How many workers serve now.
    pub fn ready(&self) -> usize {
        self.common.desks().iter().flatten().count()
    }

    /// How many workers there are to be.
    pub fn count(&self) -> usize {
        self.calls.len()
    }

    /// What workers have counted since the parent's start, and what `own` counts.
    pub fn counted(&self, own: &Stats) -> Stats {
        self.sums.counted(own)
    }

    /// The sums of the workers' gauges; the counters of workers are left out.
    pub fn sum(&self) -> Snapshot {
        self.sums.sum()
    }

    /// What the system says about the parent, and the workers' share.
    pub fn process(&self, own: ProcessReadings) -> ProcessReadings {
        self.sums.process(own)
    }

    /// A row for each worker.
    pub fn rows(&self) -> Vec<WorkerRow> {
        let desks = self.common.desks();
        let rows = desks.iter().enumerate().map(|(at, desk)| WorkerRow {
            worker: at + 1,
            is_ready: desk.is_some(),
            connections: self.sums.connections(at + 1),
        });
        rows.collect()
    }

    /// The rules for topics that drop events, with what all workers and `own` have dropped.
    pub fn rules<'a>(&'a self, own: impl Iterator<Item = RuleRow<'a>>) -> Vec<RuleRow<'a>> {
        self.sums.rules(own)
    }

    /// The busiest topics of all workers, the busiest one first.
    pub fn busiest(&self) -> Vec<BusyTopic> {
        self.sums.busiest()
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.call(Call::Kill);
        for keeper in self.keepers.drain(..) {
            // A keeper that has panicked has said so.
            let _ = keeper.join();
        }
    }
}

/// The time of a thread that waits for processes.
fn now() -> Instant {
    #[expect(
        clippy::disallowed_methods,
        reason = "threads that wait for processes; the loop's clock is the server's"
    )]
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A team of one worker that nobody runs yet.
    pub(super) fn lone_worker() -> Team {
        let plan = Plan {
            count: 1,
            arguments: Vec::new(),
            endpoint: String::new(),
            addresses: Vec::new(),
            admin_token: Token::new("admin"),
            client_token: None,
            patience: Duration::ZERO,
        };
        Team::new(plan, Arc::new(|| {}))
    }

    #[test]
    fn a_token_that_is_revoked_once_more_is_kept_once() {
        let mut team = lone_worker();
        let digest = |token: &str| Token::new(token).digest();
        for tokens in [["a", "b"], ["b", "a"], ["a", "a"], ["b", "c"]] {
            team.pass(0, Errand::Revoke(tokens.map(digest).to_vec()));
        }
        let kept = team.common.briefing(1).revoked;
        assert_eq!(kept.len(), 3);
        for (kept, token) in kept.iter().zip(["a", "b", "c"]) {
            assert!(kept.matches(&digest(token)), "keepers count on the order");
        }
    }
}
