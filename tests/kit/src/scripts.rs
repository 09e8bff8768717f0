//! The documentation's snippets, and the interpreters that run them.
//!
//! These are `php`, `python3`, `node` and the like of the `PATH`, or what the variables `PHP`, `PYTHON`,
//! `NODE` and the like name.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

/// The one block of `page` in `language` that has `part`.
pub fn snippet(page: &str, language: &str, part: &str) -> String {
    let text = fs::read_to_string(page).expect("a page");
    let blocks = text.split("\n```").skip(1).step_by(2);
    let mut found = blocks
        .filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n'))
        .filter(|body| body.contains(part));
    let body = found
        .next()
        .unwrap_or_else(|| panic!("{page}: no block in {language} has {part:?}"));
    assert_eq!(
        found.next(),
        None,
        "{page}: two blocks in {language} have {part:?}"
    );
    format!("{body}\n")
}

/// `text` with `from`, which it has, replaced.
pub fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "no {from:?} in {text}");
    text.replace(from, to)
}

/// What `variable` names, or `default`.
#[expect(
    clippy::disallowed_methods,
    reason = "where the interpreters are is the test machine's affair, not the configuration's"
)]
pub fn interpreter(variable: &str, default: &str) -> Command {
    Command::new(std::env::var_os(variable).unwrap_or(default.into()))
}

/// Something that runs until the test ends.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// Starts it.
    pub fn start(mut command: Command) -> Self {
        let child = command.stdout(Stdio::piped()).spawn();
        Self(child.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Its standard output, a line at a time.
    pub fn lines(&mut self) -> Receiver<String> {
        let (sender, receiver) = channel();
        let stdout = BufReader::new(self.0.stdout.take().expect("piped"));
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        receiver
    }
}
