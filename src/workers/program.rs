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
use crate::limits;
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
        let reader = thread::Builder::new()
            .name(format!("worker {} out", briefing.worker))
            .spawn(move || pass_words(BufReader::new(stdout), instance, &calls));
        if let Err(error) = reader {
            // Nobody would hear of its end.
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
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

/// Passes on what a worker has to say to its parent: where it serves, at once, and its last figures, at its end. Whatever
/// it prints beside these, its keeper has three calls of a process at most.
fn pass_words(mut stdout: impl BufRead, instance: u64, calls: &Sender<Call>) {
    let mut has_spoken = false;
    let mut last = None;
    while let Ok(Some(line)) = read_line(&mut stdout) {
        // Other lines are those of a library.
        if !line.starts_with('{') {
            continue;
        }
        if has_spoken {
            last = Some(line);
        } else {
            has_spoken = true;
            let _ = calls.send(Call::Line(instance, line));
        }
    }
    if let Some(line) = last {
        let _ = calls.send(Call::Line(instance, line));
    }
    let _ = calls.send(Call::End(instance));
}

/// Reads a line, and keeps so much of it as a line may have. `None`: there are no more.
fn read_line(stdout: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    loop {
        let bytes = match stdout.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            bytes => bytes?,
        };
        let end = memchr::memchr(b'\n', bytes);
        let piece = &bytes[..end.unwrap_or(bytes.len())];
        let room = limits::WORKER_LINE_BYTES_MAX - line.len();
        line.extend_from_slice(&piece[..room.min(piece.len())]);
        let is_over = bytes.is_empty();
        let taken = piece.len() + usize::from(end.is_some());
        stdout.consume(taken);
        if end.is_some() || is_over && !line.is_empty() {
            return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
        }
        if is_over {
            return Ok(None);
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
            Ok(call) => keeper.step(start.elapsed(), Some(call)),
            Err(RecvTimeoutError::Timeout) => keeper.step(start.elapsed(), None),
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_worker_that_prints_without_end_is_heard_in_three_calls() {
        let long = "x".repeat(2 * limits::WORKER_LINE_BYTES_MAX);
        let noise = "noise\n{\"n\":1}\n".repeat(10_000);
        let text = format!("a library\n{{\"admin\":1}}\n{noise}{{{long}\n{{\"n\":2}}");
        let (sender, calls) = channel();
        pass_words(text.as_bytes(), 7, &sender);
        let heard: Vec<Call> = calls.try_iter().collect();
        let [Call::Line(7, first), Call::Line(7, last), Call::End(7)] = &heard[..] else {
            panic!("{} calls", heard.len());
        };
        assert_eq!((&**first, &**last), ("{\"admin\":1}", "{\"n\":2}"));
    }

    #[test]
    fn a_line_is_bounded() {
        let long = "x".repeat(2 * limits::WORKER_LINE_BYTES_MAX);
        let text = format!("{long}\n\nb");
        let mut bytes = text.as_bytes();
        let mut lines = Vec::new();
        while let Some(line) = read_line(&mut bytes).expect("bytes") {
            lines.push(line.len());
        }
        assert_eq!(lines, [limits::WORKER_LINE_BYTES_MAX, 0, 1]);
    }
}
