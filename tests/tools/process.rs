//! newswire as a process: it runs to its end, or beside a test that reads its lines as they come.
//!
//! Never here: what the lines mean.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use kit::{PATIENCE, wait_until};

/// Exit code, standard output, standard error.
pub type Finished = (Option<i32>, String, String);

/// The binary, with these arguments and pipes for what it says.
pub fn newswire(arguments: &[&str]) -> Command {
    let mut command = kit::newswire();
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub fn finished(output: Output) -> Finished {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// Runs it to its end.
pub fn finish(command: Command) -> Finished {
    finished(kit::output_of(command))
}

/// Runs it to its end with this standard input.
pub fn finish_with_input(mut command: Command, input: &str) -> Finished {
    let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    // It may have ended before it has read everything.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    finished(child.wait_with_output().expect("it ends"))
}

/// A command that runs. Dropped, it is killed.
pub struct Running {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.spawn().expect("it starts");
        Self {
            out: lines(child.stdout.take().expect("piped")),
            err: lines(child.stderr.take().expect("piped")),
            child,
        }
    }

    /// The next line of its standard output.
    pub fn line(&self) -> String {
        self.out.recv_timeout(PATIENCE).expect("a line")
    }

    /// The next line of its standard output, if it is there already.
    pub fn line_so_far(&self) -> Option<String> {
        self.out.try_recv().ok()
    }

    /// The next line of its standard error.
    pub fn told(&self) -> String {
        self.err.recv_timeout(PATIENCE).expect("a line")
    }

    /// Returns true once it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// Waits for its end. Of its lines, those that nobody has taken yet come back.
    pub fn end(mut self) -> Finished {
        wait_until("its end", || self.has_ended());
        let status = self.child.wait().expect("it has ended");
        let rest = |lines: &Receiver<String>| lines.iter().map(|line| line + "\n").collect();
        (status.code(), rest(&self.out), rest(&self.err))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of `stream`, as they come.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        lines.try_for_each(|line| sender.send(line)).ok()
    });
    receiver
}
