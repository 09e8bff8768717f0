//! Workers as simulated processes: they start or do not, serve, hang, and end; and what their keepers have to do about
//! that, by when.
//!
//! Never here: what happens when (the world's dice say that), and what a worker serves (`member`).

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use newswire::admin::snapshot::Snapshot;
use newswire::limits;
use newswire::stats::{Counter, Stats};
use newswire::wire::token::Digest;
use newswire::workers::{Briefing, Call, Launched, Launcher, WorkerDesk};
use rustix::process::Signal;
use serde_json::Value;

use super::member::Member;

pub type SharedYard = Rc<RefCell<Yard>>;

/// In seconds, how often a keeper asks.
const INTERVAL: Duration = Duration::from_secs(limits::WORKER_ASK_SECONDS);

/// Longer than a worker takes to go down.
pub const PATIENCE: Duration = Duration::from_secs(10);

const PAUSE_MIN: Duration = Duration::from_secs(limits::WORKER_PAUSE_SECONDS_MIN);
const PAUSE_MAX: Duration = Duration::from_secs(limits::WORKER_PAUSE_SECONDS_MAX);
const LASTING: Duration = Duration::from_secs(limits::WORKER_LASTING_SECONDS);

/// A process.
pub struct Process {
    worker: usize,
    calls: Sender<Call>,
    started: Duration,
    /// `None` until it serves.
    pub member: Option<Member>,
    /// Since when it does nothing.
    pub hangs_since: Option<Duration>,
    /// True exactly when it was started to take the place of another one, and does not serve yet.
    is_successor: bool,
    /// Since when it is to go down.
    released: Option<Duration>,
    is_killed: bool,
    /// In deliveries: as its parent was told last.
    told: u64,
    /// In deliveries: how many it had when, since a second ago.
    history: VecDeque<(Duration, u64)>,
}

impl Process {
    pub fn is_released(&self) -> bool {
        self.released.is_some()
    }

    /// It hangs, or goes on.
    pub fn toggle(&mut self, now: Duration) {
        self.hangs_since = match self.hangs_since {
            Some(_) => None,
            None => Some(now),
        };
        // While it hung, nobody could ask it.
        self.history.clear();
    }
}

/// What has to happen to a worker.
#[derive(Clone)]
struct Fate {
    /// When a process is to be started; `None` while there is one.
    start_at: Option<Duration>,
    /// Before the next start.
    pause: Duration,
}

/// See the module.
pub struct Yard {
    pub now: Duration,
    pub processes: BTreeMap<u64, Process>,
    fates: Vec<Fate>,
    /// True exactly when the next process cannot be started.
    pub is_full: bool,
    /// True once all workers were told to end.
    pub is_over: bool,
    /// In deliveries of processes that have ended, as their parent was told.
    told: u64,
}

impl Yard {
    pub fn new(workers: usize) -> Self {
        let fate = Fate {
            start_at: Some(Duration::ZERO),
            pause: PAUSE_MIN,
        };
        Self {
            now: Duration::ZERO,
            processes: BTreeMap::new(),
            fates: vec![fate; workers],
            is_full: false,
            is_over: false,
            told: 0,
        }
    }

    /// Of all workers.
    pub fn told(&self) -> u64 {
        let living = self.processes.values().map(|process| process.told);
        self.told + living.sum::<u64>()
    }

    /// How many workers have a process that serves.
    pub fn serving(&self) -> usize {
        let is_serving = |process: &&Process| process.member.is_some() && !process.is_released();
        self.processes.values().filter(is_serving).count()
    }

    /// The processes that serve clients and may take more.
    pub fn open(&mut self) -> impl Iterator<Item = &mut Member> {
        let is_open = |process: &&mut Process| {
            process.hangs_since.is_none() && !process.is_released() && !process.is_killed
        };
        let open = self.processes.values_mut().filter(is_open);
        open.filter_map(|process| process.member.as_mut())
    }

    /// The processes that do not hang.
    pub fn awake(&mut self) -> impl Iterator<Item = &mut Member> {
        let awake = self
            .processes
            .values_mut()
            .filter(|process| process.hangs_since.is_none());
        awake.filter_map(|process| process.member.as_mut())
    }

    /// Those who have to be ended. A process that was released and is complete tells its last figures.
    pub fn ended(&mut self) -> Vec<u64> {
        let mut ended = Vec::new();
        for (&instance, process) in &mut self.processes {
            if process.hangs_since.is_none()
                && let Some(member) = &mut process.member
            {
                let is_old = |at: Duration| at + INTERVAL <= self.now;
                while process.history.get(1).is_some_and(|&(at, _)| is_old(at)) {
                    process.history.pop_front();
                }
                process.history.push_back((self.now, member.deliveries()));
                if process.released.is_some() {
                    member.shut_down();
                }
                if member.is_complete() {
                    let last = member.figures();
                    process.told = deliveries(&last);
                    let _ = process.calls.send(Call::Line(instance, last.to_string()));
                    process.is_killed = true;
                }
            }
            if process.is_killed || process.is_released() && process.member.is_none() {
                ended.push(instance);
            }
        }
        ended
    }

    /// A process serves from now on.
    pub fn serve(&mut self, instance: u64, member: Member) {
        let process = self.processes.get_mut(&instance).expect("a process");
        process.member = Some(member);
        process.is_successor = false;
        let address = SocketAddr::from(([127, 0, 0, 1], instance as u16));
        let line = format!("{{\"admin\":\"{address}\"}}");
        let _ = process.calls.send(Call::Line(instance, line));
    }

    /// A process ends.
    pub fn end(&mut self, instance: u64) -> Option<Member> {
        let process = self.processes.remove(&instance).expect("a process");
        self.told += process.told;
        let is_asked = process.hangs_since.is_none() && !process.is_released();
        if let Some(&(at, deliveries)) = process.history.front()
            && is_asked
            && at + INTERVAL <= self.now
        {
            assert!(deliveries <= process.told, "more than a second is lost");
        }
        let now = self.now;
        let is_left = self.has_process(process.worker);
        let fate = &mut self.fates[process.worker - 1];
        if !process.is_released() && !process.is_successor && now >= process.started + LASTING {
            fate.pause = PAUSE_MIN;
        }
        if !process.is_released() && !is_left && !self.is_over {
            fate.mourn(now);
        }
        let _ = process.calls.send(Call::End(instance));
        process.member
    }

    /// Returns true when a worker has a process that stays.
    fn has_process(&self, worker: usize) -> bool {
        let mut processes = self.processes.values();
        processes.any(|process| process.worker == worker && !process.is_released())
    }

    /// What had to happen by now.
    pub fn check(&self) {
        for (at, fate) in self.fates.iter().enumerate() {
            let is_late = fate.start_at.is_some_and(|start| start <= self.now);
            assert!(!is_late || self.is_over, "worker {} is not started", at + 1);
        }
        let silent = Duration::from_secs(limits::WORKER_SILENT_SECONDS) + 2 * INTERVAL;
        let ready = Duration::from_secs(limits::WORKER_READY_SECONDS) + INTERVAL;
        for (instance, process) in &self.processes {
            let (begin, time, what) = match (process.released, &process.member) {
                (Some(at), _) => (Some(at), PATIENCE, "does not go down"),
                (None, None) => (Some(process.started), ready, "does not begin to serve"),
                (None, Some(_)) => (process.hangs_since, silent, "does not answer"),
            };
            let is_late = begin.is_some_and(|begin| self.now > begin + time);
            assert!(!is_late, "process {instance} {what}, and is not killed");
        }
    }
}

impl Fate {
    /// A process has ended, or could not be started, and there is no other.
    fn mourn(&mut self, now: Duration) {
        self.start_at = Some(now + self.pause);
        self.pause = (2 * self.pause).min(PAUSE_MAX);
    }
}

fn deliveries(figures: &Value) -> u64 {
    let snapshot = Snapshot::read(figures).expect("figures");
    let stats = Stats::default();
    stats.add_values(&snapshot.counters);
    stats.counter(Counter::Deliveries)
}

/// Starts simulated processes for one keeper.
pub struct YardLauncher {
    pub yard: SharedYard,
    pub calls: Sender<Call>,
}

/// A process, to its keeper.
pub struct YardChild {
    yard: SharedYard,
    instance: u64,
}

impl Launcher for YardLauncher {
    type Child = YardChild;

    fn start(&mut self, briefing: &Briefing, instance: u64) -> io::Result<YardChild> {
        let mut yard = self.yard.borrow_mut();
        let (now, worker) = (yard.now, briefing.worker);
        assert!(!yard.is_over, "it is to end");
        let is_successor = yard.has_process(worker);
        let is_full = std::mem::take(&mut yard.is_full);
        let fate = &mut yard.fates[worker - 1];
        let due = fate.start_at.take();
        assert!(
            is_successor || due == Some(now),
            "started at {now:?}, due {due:?}"
        );
        if is_full {
            if !is_successor {
                fate.mourn(now);
            }
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let process = Process {
            worker,
            calls: self.calls.clone(),
            started: now,
            member: None,
            hangs_since: None,
            is_successor,
            released: None,
            is_killed: false,
            told: 0,
            history: VecDeque::new(),
        };
        yard.processes.insert(instance, process);
        Ok(YardChild {
            yard: Rc::clone(&self.yard),
            instance,
        })
    }

    fn figures(&mut self, desk: &WorkerDesk) -> Option<Snapshot> {
        let mut yard = self.yard.borrow_mut();
        let process = yard.processes.get_mut(&desk.address.port().into())?;
        if process.hangs_since.is_some() || process.is_killed {
            return None;
        }
        let figures = process.member.as_mut()?.figures();
        process.told = deliveries(&figures);
        Snapshot::read(&figures)
    }

    fn revoke(&mut self, _desk: &WorkerDesk, _token: &Digest) -> bool {
        unreachable!("nothing is revoked")
    }
}

impl YardChild {
    fn with_process(&self, act: impl FnOnce(&mut Process)) {
        // It may have ended, and its keeper has not heard of it.
        if let Some(process) = self.yard.borrow_mut().processes.get_mut(&self.instance) {
            act(process);
        }
    }
}

impl Launched for YardChild {
    fn signal(&self, signal: Signal) {
        self.with_process(|process| process.is_killed |= signal == Signal::KILL);
    }

    fn release(&mut self) {
        let now = self.yard.borrow().now;
        self.with_process(|process| process.released = Some(now));
    }

    fn wait(&mut self) -> String {
        let yard = self.yard.borrow();
        assert!(!yard.processes.contains_key(&self.instance), "it lives");
        "simulated".to_owned()
    }
}
