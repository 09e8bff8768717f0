//! Looks after one worker: has it started, asks for its figures, has it started again when it has died, replaces it, and
//! has it go down.
//!
//! A worker that dies at once, again and again, must not take the machine's time: the pause before the next start
//! grows from 1 s to 60 s, and is 1 s again after a worker has lived for a minute. A worker that answers no more is
//! killed, as systemd's watchdog kills a loop that is stuck.
//!
//! Time and processes are arguments ([`Launcher`]), so a simulation can have workers die in virtual time.
//!
//! Never here: clocks, processes, what several workers add up to, and what an administrator asks.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::http::WorkerDesk;
use super::{Briefing, Common, News};
use crate::admin::snapshot::Snapshot;
use crate::limits;
use crate::wire::token::Digest;

const INTERVAL: Duration = Duration::from_secs(limits::WORKER_ASK_SECONDS);

const PAUSE_MIN: Duration = Duration::from_secs(limits::WORKER_PAUSE_SECONDS_MIN);
const PAUSE_MAX: Duration = Duration::from_secs(limits::WORKER_PAUSE_SECONDS_MAX);
const LASTING: Duration = Duration::from_secs(limits::WORKER_LASTING_SECONDS);

/// Starts workers, and asks them.
pub trait Launcher {
    /// A worker's process.
    type Child: Launched;

    /// Starts a process. What it prints comes as [`Call::Line`] and [`Call::End`] with `instance`.
    ///
    /// # Errors
    /// Those of the system.
    fn start(&mut self, briefing: &Briefing, instance: u64) -> io::Result<Self::Child>;

    /// The worker's figures; `None` when it does not answer.
    fn figures(&mut self, desk: &WorkerDesk) -> Option<Snapshot>;

    /// Has the worker accept a token no longer. False when it does not answer.
    fn revoke(&mut self, desk: &WorkerDesk, token: &Digest) -> bool;
}

/// A worker's process.
pub trait Launched {
    /// Sends a signal.
    fn signal(&self, signal: Signal);

    /// Ends the process's standard input: it is to go down.
    fn release(&mut self);

    /// Waits for the process, which prints nothing more, and says how it has ended.
    fn wait(&mut self) -> String;
}

/// What a keeper is told: by the loop, and by whoever reads what workers print.
#[derive(Clone, Debug)]
pub enum Call {
    /// SIGHUP.
    Reload,
    /// SIGUSR1.
    Summarize,
    /// A new worker is to take the place of the present one.
    Replace,
    /// The worker is to go down, and no other is to come.
    Drain,
    /// At once.
    Kill,
    /// A worker has printed a line.
    Line(u64, String),
    /// A worker prints nothing more: it has ended.
    End(u64),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Aim {
    Serve,
    End,
}

/// One process.
struct Running<C> {
    child: C,
    /// True once it was told to go down.
    is_released: bool,
    /// The number of this process, which no other process of the team has.
    instance: u64,
    /// Its admin listener, once it serves.
    desk: Option<WorkerDesk>,
    started: Duration,
    /// When it is killed, unless it has done by then what it is to do.
    kill_at: Option<Duration>,
    /// How many of the revoked tokens it knows.
    revoked: usize,
    /// When it answered last.
    heard: Duration,
    /// Its last words.
    last: Option<Box<Snapshot>>,
}

impl<C: Launched> Running<C> {
    /// Has it go down by `kill_at`.
    fn release(&mut self, kill_at: Duration) {
        if !self.is_released {
            self.is_released = true;
            self.child.release();
            self.kill_at = Some(kill_at);
        }
    }
}

/// Looks after one worker, which is up to three processes at a time.
pub struct Keeper<L: Launcher> {
    worker: usize,
    common: Arc<Common>,
    news: Sender<News>,
    launcher: L,
    aim: Aim,
    /// The process that serves.
    current: Option<Running<L::Child>>,
    /// The process that is to take the place of `current` once it serves.
    fresh: Option<Running<L::Child>>,
    /// The process that had the place of `current`, and drains.
    leaving: Option<Running<L::Child>>,
    /// When a process is to be started; `None` while one runs.
    start_at: Option<Duration>,
    /// How long the keeper waits when the process ends the next time.
    pause: Duration,
    /// When the process is to be asked for its figures.
    ask_at: Duration,
}

impl<L: Launcher> Keeper<L> {
    pub(super) fn new(worker: usize, common: Arc<Common>, news: Sender<News>, launcher: L) -> Self {
        Self {
            worker,
            common,
            news,
            launcher,
            aim: Aim::Serve,
            current: None,
            fresh: None,
            leaving: None,
            start_at: None,
            pause: PAUSE_MIN,
            ask_at: INTERVAL,
        }
    }

    /// Returns true when the worker has ended for good.
    pub fn has_ended(&self) -> bool {
        self.aim == Aim::End && self.all().next().is_none()
    }

    fn all(&self) -> impl Iterator<Item = &Running<L::Child>> {
        [&self.current, &self.fresh, &self.leaving]
            .into_iter()
            .flatten()
    }

    fn all_mut(&mut self) -> impl Iterator<Item = &mut Running<L::Child>> {
        [&mut self.current, &mut self.fresh, &mut self.leaving]
            .into_iter()
            .flatten()
    }

    /// When [`Keeper::step`] has something to do without a call.
    pub fn due(&self) -> Duration {
        let kills = self.all().filter_map(|running| running.kill_at).min();
        let dues = [Some(self.ask_at), self.start_at, kills];
        dues.into_iter().flatten().min().unwrap_or(self.ask_at)
    }

    fn tell(&self, news: News) {
        // The loop ends before its keepers do.
        let _ = self.news.send(news);
        (self.common.wake)();
    }

    /// Does what a call says, and then what is due. So calls without end keep nothing from its time.
    pub fn step(&mut self, now: Duration, call: Option<Call>) {
        if let Some(call) = call {
            self.handle(now, call);
        }
        if self.due() <= now {
            self.handle_time(now);
        }
    }

    /// Does what a call says.
    fn handle(&mut self, now: Duration, call: Call) {
        match call {
            Call::Reload => self.signal(Signal::HUP),
            Call::Summarize => self.signal(Signal::USR1),
            Call::Replace => self.replace(now),
            Call::Drain => {
                self.aim = Aim::End;
                self.start_at = None;
                self.set_desk(None);
                let kill_at = now + self.common.plan.patience;
                self.all_mut().for_each(|one| one.release(kill_at));
            }
            Call::Kill => {
                self.aim = Aim::End;
                self.start_at = None;
                self.set_desk(None);
                self.signal(Signal::KILL);
            }
            Call::Line(instance, line) => self.handle_line(now, instance, &line),
            Call::End(instance) => self.handle_end(now, instance),
        }
    }

    fn signal(&self, signal: Signal) {
        self.all().for_each(|one| one.child.signal(signal));
    }

    /// Does what is due.
    fn handle_time(&mut self, now: Duration) {
        for late in self.all_mut() {
            if late.kill_at.is_some_and(|at| at <= now) {
                late.kill_at = None;
                late.child.signal(Signal::KILL);
            }
        }
        if self.start_at.is_some_and(|at| at <= now) {
            self.start_at = None;
            self.begin(now);
            self.tell(News::Restarted);
        }
        if self.ask_at <= now {
            self.ask_at = now + INTERVAL;
            self.ask(now);
        }
    }

    /// Starts the worker.
    pub fn begin(&mut self, now: Duration) {
        match self.start(now) {
            Ok(running) => self.current = Some(running),
            Err(error) => self.mourn(now, &format!("it cannot be started: {error}")),
        }
    }

    /// Starts a process.
    fn start(&mut self, now: Duration) -> io::Result<Running<L::Child>> {
        let instance = self.common.next_instance();
        let briefing = self.common.briefing(self.worker);
        let child = self.launcher.start(&briefing, instance)?;
        Ok(Running {
            child,
            is_released: false,
            instance,
            desk: None,
            started: now,
            kill_at: Some(now + Duration::from_secs(limits::WORKER_READY_SECONDS)),
            revoked: briefing.revoked.len(),
            heard: now,
            last: None,
        })
    }

    fn set_desk(&self, desk: Option<WorkerDesk>) {
        self.common.desks()[self.worker - 1] = desk;
    }

    /// A worker's first line says that it serves, and where its admin listener is. The other is its last figures.
    fn handle_line(&mut self, now: Duration, instance: u64, line: &str) {
        let token = self.common.plan.admin_token.clone();
        let Some(running) = self.all_mut().find(|one| one.instance == instance) else {
            return;
        };
        let Ok(value) = serde_json::from_str::<Value>(line) else {
            return;
        };
        let address = value["admin"].as_str().and_then(|text| text.parse().ok());
        match address {
            Some(address) => {
                // One that was replaced meanwhile goes down.
                if running.is_released {
                    return;
                }
                let desk = WorkerDesk { address, token };
                running.desk = Some(desk.clone());
                running.kill_at = None;
                running.heard = now;
                self.handle_ready(now, instance, desk);
            }
            None => running.last = Snapshot::read(&value).map(Box::new),
        }
    }

    fn handle_ready(&mut self, now: Duration, instance: u64, desk: WorkerDesk) {
        if self.aim == Aim::End {
            return;
        }
        self.set_desk(Some(desk));
        if self
            .fresh
            .as_ref()
            .is_some_and(|one| one.instance == instance)
        {
            let kill_at = now + self.common.plan.patience;
            self.leaving = std::mem::replace(&mut self.current, self.fresh.take());
            match &mut self.leaving {
                Some(old) => old.release(kill_at),
                None => self.tell(News::Replaced { is_done: true }),
            }
        }
        self.tell(News::Ready);
    }

    fn replace(&mut self, now: Duration) {
        if self.aim == Aim::End || self.fresh.is_some() || self.leaving.is_some() {
            return self.tell(News::Replaced { is_done: false });
        }
        if self.current.is_none() {
            // It is about to be started anyway.
            return self.tell(News::Replaced { is_done: true });
        }
        match self.start(now) {
            Ok(running) => self.fresh = Some(running),
            Err(error) => {
                log::error!("workers: worker={} cannot be started: {error}", self.worker);
                self.tell(News::Replaced { is_done: false });
            }
        }
    }

    fn handle_end(&mut self, now: Duration, instance: u64) {
        let places = [&mut self.current, &mut self.fresh, &mut self.leaving];
        let found = places.into_iter().enumerate().find_map(|(place, one)| {
            let ended = one.take_if(|one| one.instance == instance)?;
            Some((place, ended))
        });
        let Some((place, mut ended)) = found else {
            return;
        };
        let how = ended.child.wait();
        self.tell(News::Ended {
            worker: self.worker,
            instance,
            last: ended.last.take(),
            how: how.clone(),
        });
        match place {
            0 => {
                self.set_desk(None);
                if now.saturating_sub(ended.started) >= LASTING {
                    self.pause = PAUSE_MIN;
                }
                self.mourn(now, &how);
            }
            1 => {
                log::error!("workers: worker={} its successor ended: {how}", self.worker);
                self.tell(News::Replaced { is_done: false });
                if self.current.is_none() {
                    self.mourn(now, &how);
                }
            }
            _ => self.tell(News::Replaced { is_done: true }),
        }
    }

    /// The worker is gone. It is started again after a pause.
    fn mourn(&mut self, now: Duration, how: &str) {
        if self.aim == Aim::End || self.fresh.is_some() {
            return;
        }
        let seconds = self.pause.as_secs();
        log::warn!(
            "workers: worker={} ended: {how}; it is started again in {seconds} s",
            self.worker
        );
        self.start_at = Some(now + self.pause);
        self.pause = (2 * self.pause).min(PAUSE_MAX);
    }

    /// Asks the worker for its figures, and tells it what it does not know.
    fn ask(&mut self, now: Duration) {
        let Some(running) = &mut self.current else {
            return;
        };
        let Some(desk) = running.desk.as_ref().filter(|_| !running.is_released) else {
            return;
        };
        let Some(snapshot) = self.launcher.figures(desk).map(Box::new) else {
            let silence = Duration::from_secs(limits::WORKER_SILENT_SECONDS);
            if now.saturating_sub(running.heard) >= silence {
                log::error!(
                    "workers: worker={} has not answered for {} s: it is killed",
                    self.worker,
                    limits::WORKER_SILENT_SECONDS
                );
                running.child.signal(Signal::KILL);
                // The system may take seconds to end it, and there is nothing more to ask.
                running.desk = None;
                self.set_desk(None);
            }
            return;
        };
        running.heard = now;
        let unknown = self.common.revoked()[running.revoked..].to_vec();
        for token in unknown {
            if !self.launcher.revoke(desk, &token) {
                break;
            }
            running.revoked += 1;
        }
        let (worker, instance) = (self.worker, running.instance);
        self.tell(News::Figures {
            worker,
            instance,
            snapshot,
        });
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;
    use crate::workers::tests::lone_worker;

    /// Starts nothing, and counts kills.
    struct Nothing(Rc<Cell<usize>>);

    impl Launcher for Nothing {
        type Child = Self;

        fn start(&mut self, _: &Briefing, _: u64) -> io::Result<Self> {
            Ok(Self(Rc::clone(&self.0)))
        }

        fn figures(&mut self, _: &WorkerDesk) -> Option<Snapshot> {
            None
        }

        fn revoke(&mut self, _: &WorkerDesk, _: &Digest) -> bool {
            false
        }
    }

    impl Launched for Nothing {
        fn signal(&self, signal: Signal) {
            self.0
                .set(self.0.get() + usize::from(signal == Signal::KILL));
        }

        fn release(&mut self) {}

        fn wait(&mut self) -> String {
            String::new()
        }
    }

    #[test]
    fn calls_without_end_keep_nothing_from_its_time() {
        let kills = Rc::new(Cell::new(0));
        let mut team = lone_worker();
        let (mut keeper, _calls) = team.add_keeper(|_| Nothing(Rc::clone(&kills)));
        keeper.begin(Duration::ZERO);
        for second in 0..=limits::WORKER_READY_SECONDS {
            assert_eq!(kills.get(), 0, "it may still begin to serve");
            let line = Call::Line(0, "noise".to_owned());
            keeper.step(Duration::from_secs(second), Some(line));
        }
        assert_eq!(kills.get(), 1);
    }
}
