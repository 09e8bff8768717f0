//! A thread that looks after one worker: starts it, asks for its figures, starts it again when it has died, replaces
//! it, and has it go down.
//!
//! A worker that dies at once, again and again, must not take the machine's time: the pause before the next start
//! grows from 1 s to 60 s, and is 1 s again after a worker has lived for a minute. A worker that answers no more is
//! killed, as systemd's watchdog kills a loop that is stuck.
//!
//! Never here: what several workers add up to, and what an administrator asks.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::http::WorkerDesk;
use super::{Briefing, Common, News, now};
use crate::admin::snapshot::Snapshot;
use crate::limits;
use crate::wire::json;

/// The program that runs, even when its file was replaced.
const THIS_PROGRAM: &str = "/proc/self/exe";

/// The service manager talks to the parent alone.
const MANAGERS_VARIABLES: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
];

/// How often a worker is asked for its figures.
const INTERVAL: Duration = Duration::from_secs(1);

/// What a keeper is told: by the loop, and by its threads that read what workers print.
#[derive(Clone, Debug)]
pub(super) enum Call {
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
struct Running {
    child: Child,
    /// While it is open, the worker serves.
    stdin: Option<ChildStdin>,
    /// Tells processes apart that had the same place.
    instance: u64,
    /// Its admin listener, once it serves.
    desk: Option<WorkerDesk>,
    started: Instant,
    /// When it is killed, unless it has done by then what it is to do.
    kill_at: Option<Instant>,
    /// How many of the revoked tokens it knows.
    revoked: usize,
    /// When it answered last.
    heard: Instant,
    /// Its last words.
    last: Option<Box<Snapshot>>,
}

impl Running {
    fn signal(&self, signal: Signal) {
        // The process is our child and not waited for yet, so the number is its own.
        if let Err(error) = kill_process(Pid::from_child(&self.child), signal) {
            log::warn!("workers: signal={signal:?} error={error}");
        }
    }

    /// Has it go down.
    fn release(&mut self, patience: Duration) {
        if self.stdin.take().is_some() {
            self.kill_at = Some(now() + patience);
        }
    }
}

/// The thread's state. At most one process of `current`, `fresh` and `leaving` each.
pub(super) struct Keeper {
    worker: usize,
    common: Arc<Common>,
    news: Sender<News>,
    /// For the threads that read.
    calls: Sender<Call>,
    aim: Aim,
    /// The worker.
    current: Option<Running>,
    /// Is to take its place.
    fresh: Option<Running>,
    /// Had its place, and drains.
    leaving: Option<Running>,
    /// When the next one is started, if none runs.
    start_at: Option<Instant>,
    pause: Duration,
    ask_at: Instant,
}

impl Keeper {
    pub fn new(
        worker: usize,
        common: Arc<Common>,
        news: Sender<News>,
        calls: Sender<Call>,
    ) -> Self {
        Self {
            worker,
            common,
            news,
            calls,
            aim: Aim::Serve,
            current: None,
            fresh: None,
            leaving: None,
            start_at: None,
            pause: Duration::from_secs(limits::WORKER_PAUSE_SECONDS_MIN),
            ask_at: now() + INTERVAL,
        }
    }

    /// Runs until the worker has ended for good.
    pub fn run(mut self, calls: &Receiver<Call>) {
        self.begin();
        loop {
            let wait = self.due().saturating_duration_since(now());
            match calls.recv_timeout(wait) {
                Ok(call) => self.handle(call),
                Err(RecvTimeoutError::Timeout) => self.handle_time(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.aim == Aim::End && self.all().next().is_none() {
                return;
            }
        }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Running> {
        [&mut self.current, &mut self.fresh, &mut self.leaving]
            .into_iter()
            .flatten()
    }

    fn due(&mut self) -> Instant {
        let kills = self.all().filter_map(|running| running.kill_at).min();
        let dues = [Some(self.ask_at), self.start_at, kills];
        dues.into_iter().flatten().min().unwrap_or(self.ask_at)
    }

    fn tell(&self, news: News) {
        // The loop ends before its keepers do.
        let _ = self.news.send(news);
        (self.common.wake)();
    }

    fn handle(&mut self, call: Call) {
        let patience = self.common.plan.patience;
        match call {
            Call::Reload => self.all().for_each(|one| one.signal(Signal::HUP)),
            Call::Summarize => self.all().for_each(|one| one.signal(Signal::USR1)),
            Call::Replace => self.replace(),
            Call::Drain => {
                self.aim = Aim::End;
                self.start_at = None;
                self.set_desk(None);
                self.all().for_each(|one| one.release(patience));
            }
            Call::Kill => {
                self.aim = Aim::End;
                self.start_at = None;
                self.set_desk(None);
                self.all().for_each(|one| one.signal(Signal::KILL));
            }
            Call::Line(instance, line) => self.handle_line(instance, &line),
            Call::End(instance) => self.handle_end(instance),
        }
    }

    fn handle_time(&mut self) {
        let now = now();
        for late in self.all() {
            if late.kill_at.is_some_and(|at| at <= now) {
                late.kill_at = None;
                late.signal(Signal::KILL);
            }
        }
        if self.start_at.is_some_and(|at| at <= now) {
            self.start_at = None;
            self.begin();
            self.tell(News::Restarted);
        }
        if self.ask_at <= now {
            self.ask();
            self.ask_at = super::now() + INTERVAL;
        }
    }

    /// Starts the worker.
    fn begin(&mut self) {
        match self.start() {
            Ok(running) => self.current = Some(running),
            Err(error) => self.mourn(&format!("it cannot be started: {error}")),
        }
    }

    /// Starts a process.
    fn start(&self) -> std::io::Result<Running> {
        static STARTED: AtomicU64 = AtomicU64::new(0);
        let instance = STARTED.fetch_add(1, Ordering::Relaxed);
        let plan = &self.common.plan;
        let briefing = Briefing {
            worker: self.worker,
            count: plan.count,
            endpoint: plan.endpoint.clone(),
            addresses: plan.addresses.clone(),
            admin_token: plan.admin_token.clone(),
            client_token: plan.client_token.clone(),
            revoked: self.common.revoked().clone(),
        };
        let mut command = Command::new(THIS_PROGRAM);
        for variable in MANAGERS_VARIABLES {
            command.env_remove(variable);
        }
        let mut child = command
            .arg0("newswire")
            .arg("worker")
            .args(&plan.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A terminal sends its signals to the parent's group: it is the parent that has workers drain.
            .process_group(0)
            .spawn()?;
        let stdout = child.stdout.take().expect("piped");
        let calls = self.calls.clone();
        thread::Builder::new()
            .name(format!("worker {} out", self.worker))
            .spawn(move || {
                let lines = BufReader::new(stdout).lines().map_while(Result::ok);
                for line in lines {
                    let _ = calls.send(Call::Line(instance, line));
                }
                let _ = calls.send(Call::End(instance));
            })?;
        let mut stdin = child.stdin.take().expect("piped");
        // A worker that is gone already shows as such.
        let _ = stdin.write_all(briefing.line().as_bytes());
        let started = now();
        Ok(Running {
            child,
            stdin: Some(stdin),
            instance,
            desk: None,
            started,
            kill_at: Some(started + Duration::from_secs(limits::WORKER_READY_SECONDS)),
            revoked: briefing.revoked.len(),
            heard: started,
            last: None,
        })
    }

    fn set_desk(&self, desk: Option<WorkerDesk>) {
        self.common.desks()[self.worker - 1] = desk;
    }

    /// A worker's first line says that it serves, and where its admin listener is. The other is its last figures.
    fn handle_line(&mut self, instance: u64, line: &str) {
        let token = self.common.plan.admin_token.clone();
        let Some(running) = self.all().find(|one| one.instance == instance) else {
            return;
        };
        let Ok(value) = serde_json::from_str::<Value>(line) else {
            return;
        };
        let address = value["admin"].as_str().and_then(|text| text.parse().ok());
        match address {
            Some(address) => {
                let desk = WorkerDesk { address, token };
                running.desk = Some(desk.clone());
                running.kill_at = running.kill_at.filter(|_| running.stdin.is_none());
                running.heard = now();
                self.handle_ready(instance, desk);
            }
            None => running.last = Snapshot::read(&value).map(Box::new),
        }
    }

    fn handle_ready(&mut self, instance: u64, desk: WorkerDesk) {
        if self.aim == Aim::End {
            return;
        }
        self.set_desk(Some(desk));
        if self
            .fresh
            .as_ref()
            .is_some_and(|one| one.instance == instance)
        {
            let patience = self.common.plan.patience;
            self.leaving = std::mem::replace(&mut self.current, self.fresh.take());
            match &mut self.leaving {
                Some(old) => old.release(patience),
                None => self.tell(News::Replaced { is_done: true }),
            }
        }
        self.tell(News::Ready);
    }

    fn replace(&mut self) {
        if self.aim == Aim::End || self.fresh.is_some() || self.leaving.is_some() {
            return self.tell(News::Replaced { is_done: false });
        }
        if self.current.is_none() {
            // It is about to be started anyway.
            return self.tell(News::Replaced { is_done: true });
        }
        match self.start() {
            Ok(running) => self.fresh = Some(running),
            Err(error) => {
                log::error!("workers: worker={} cannot be started: {error}", self.worker);
                self.tell(News::Replaced { is_done: false });
            }
        }
    }

    fn handle_end(&mut self, instance: u64) {
        let places = [&mut self.current, &mut self.fresh, &mut self.leaving];
        let found = places.into_iter().enumerate().find_map(|(place, one)| {
            let ended = one.take_if(|one| one.instance == instance)?;
            Some((place, ended))
        });
        let Some((place, mut ended)) = found else {
            return;
        };
        let how = match ended.child.wait() {
            Ok(status) => describe(status),
            Err(error) => error.to_string(),
        };
        self.tell(News::Ended {
            worker: self.worker,
            instance,
            last: ended.last.take(),
            how: how.clone(),
        });
        match place {
            0 => {
                if self.fresh.is_none() {
                    self.set_desk(None);
                }
                let long = Duration::from_secs(limits::WORKER_PAUSE_SECONDS_MAX);
                if ended.started.elapsed() >= long {
                    self.pause = Duration::from_secs(limits::WORKER_PAUSE_SECONDS_MIN);
                }
                self.mourn(&how);
            }
            1 => {
                log::error!("workers: worker={} its successor ended: {how}", self.worker);
                self.tell(News::Replaced { is_done: false });
                if self.current.is_none() {
                    self.mourn(&how);
                }
            }
            _ => self.tell(News::Replaced { is_done: true }),
        }
    }

    /// The worker is gone. It is started again after a pause.
    fn mourn(&mut self, how: &str) {
        if self.aim == Aim::End || self.fresh.is_some() {
            return;
        }
        let seconds = self.pause.as_secs();
        log::warn!(
            "workers: worker={} ended: {how}; it is started again in {seconds} s",
            self.worker
        );
        self.start_at = Some(now() + self.pause);
        let most = Duration::from_secs(limits::WORKER_PAUSE_SECONDS_MAX);
        self.pause = (2 * self.pause).min(most);
    }

    /// Asks the worker for its figures, and tells it what it does not know.
    fn ask(&mut self) {
        let Some(running) = &mut self.current else {
            return;
        };
        let Some(desk) = running.desk.clone().filter(|_| running.stdin.is_some()) else {
            return;
        };
        let silence = Duration::from_secs(limits::WORKER_SILENT_SECONDS);
        let snapshot = desk.get("/snapshot").and_then(|all| Snapshot::read(&all));
        let Some(snapshot) = snapshot.map(Box::new) else {
            if running.heard.elapsed() >= silence {
                log::error!(
                    "workers: worker={} has not answered for {} s: it is killed",
                    self.worker,
                    limits::WORKER_SILENT_SECONDS
                );
                running.signal(Signal::KILL);
                // The system may take seconds to end it, and there is nothing more to ask.
                running.desk = None;
                self.set_desk(None);
            }
            return;
        };
        running.heard = now();
        let unknown = self.common.revoked()[running.revoked..].to_vec();
        for digest in unknown {
            let body = json::text(|body| {
                body.put("sha256", &*digest.to_written());
            });
            if desk.post("/revoke", &body).is_none() {
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

/// How a process has ended.
fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => status.to_string(),
    }
}
