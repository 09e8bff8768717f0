//! Workers as processes: this program, started again, and the thread on which a keeper looks after one of them.
//!
//! Never here: when a worker is started and ended (`keeper`).

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::http::WorkerDesk;
use super::keeper::{Call, Keeper, Launched, Launcher};
use super::{Briefing, now};
use crate::admin::snapshot::Snapshot;
use crate::wire::json;
use crate::wire::token::Digest;

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

/// Starts this program.
pub(super) struct Program {
    /// The flags of the parent.
    pub arguments: Vec<OsString>,
    /// Where the threads tell what workers print.
    pub calls: Sender<Call>,
}

/// This program as a child.
pub(super) struct ProgramChild {
    child: Child,
    /// While it is open, the worker serves.
    stdin: Option<ChildStdin>,
}

impl Launcher for Program {
    type Child = ProgramChild;

    fn start(&mut self, briefing: &Briefing, instance: u64) -> io::Result<ProgramChild> {
        let mut command = Command::new(THIS_PROGRAM);
        for variable in MANAGERS_VARIABLES {
            command.env_remove(variable);
        }
        let mut child = command
            .arg0("newswire")
            .arg("worker")
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A terminal sends its signals to the parent's group: it is the parent that has workers drain.
            .process_group(0)
            .spawn()?;
        let stdout = child.stdout.take().expect("piped");
        let calls = self.calls.clone();
        thread::Builder::new()
            .name(format!("worker {} out", briefing.worker))
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
        Ok(ProgramChild {
            child,
            stdin: Some(stdin),
        })
    }

    fn figures(&mut self, desk: &WorkerDesk) -> Option<Snapshot> {
        Snapshot::read(&desk.get("/snapshot")?)
    }

    fn revoke(&mut self, desk: &WorkerDesk, token: &Digest) -> bool {
        let body = json::text(|body| {
            body.put("sha256", &*token.to_written());
        });
        desk.post("/revoke", &body).is_some()
    }
}

impl Launched for ProgramChild {
    fn signal(&self, signal: Signal) {
        // The process is our child and not waited for yet, so the number is its own.
        if let Err(error) = kill_process(Pid::from_child(&self.child), signal) {
            log::warn!("workers: signal={signal:?} error={error}");
        }
    }

    fn release(&mut self) {
        self.stdin = None;
    }

    fn wait(&mut self) -> String {
        match self.child.wait() {
            Ok(status) => describe(status),
            Err(error) => error.to_string(),
        }
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

/// Has a keeper look after its worker until that has ended for good.
pub(super) fn run(mut keeper: Keeper<Program>, calls: &Receiver<Call>) {
    let start = now();
    keeper.begin(Duration::ZERO);
    while !keeper.has_ended() {
        let wait = keeper.due().saturating_sub(start.elapsed());
        match calls.recv_timeout(wait) {
            Ok(call) => keeper.handle(start.elapsed(), call),
            Err(RecvTimeoutError::Timeout) => keeper.handle_time(start.elapsed()),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}
