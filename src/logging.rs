//! Writes log lines on a thread of their own, so that no other thread waits for standard error.
//!
//! A paused terminal, a full pipe or a slow disk blocks the writer, and the writer must not be the loop that serves
//! everybody. So a line is formatted where it is logged and put on a bounded queue. When the queue is full, the line is
//! lost and counted, and the count is logged as soon as there is room again. The time in a line is the time at which it
//! is written.
//!
//! Never here: which lines are logged, and how often one is repeated.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};
use simple_logger::SimpleLogger;

/// In lines, the queue. At some 100 bytes each, a full queue has 100 kB.
const QUEUE_LINES_MAX: usize = 1_024;

/// In bytes of a line that are kept, so that the queue is bounded in bytes too.
const LINE_BYTES_MAX: usize = 4_096;

/// How long the program waits for the last lines before it ends. A standard error that nobody reads must not keep a
/// stopped server alive.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// How often the end of the program tries to put its last entry on a full queue.
const FLUSH_STEP: Duration = Duration::from_millis(10);

/// An entry of the queue.
enum Item {
    Line {
        level: Level,
        target: String,
        text: String,
    },
    /// The last entry.
    End,
}

/// The logger: all threads share it, and it never waits.
struct Queue {
    items: SyncSender<Item>,
    /// How many lines were lost since the last report of lost lines.
    lost: Arc<AtomicU64>,
    /// Stands in front of every line.
    prefix: String,
}

impl Log for Queue {
    /// Lines of other crates are logged from `warn` up. Below, they show requests byte for byte, and a request has a
    /// token in it.
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Warn || is_ours(metadata.target())
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let mut text = format!("{}{}", self.prefix, record.args());
        if text.len() > LINE_BYTES_MAX {
            let whole = (0..=LINE_BYTES_MAX).rfind(|&end| text.is_char_boundary(end));
            text.truncate(whole.unwrap_or(0));
            text.push('…');
        }
        let line = Item::Line {
            level: record.level(),
            target: record.target().to_owned(),
            text,
        };
        if self.items.try_send(line).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

fn is_ours(target: &str) -> bool {
    target
        .strip_prefix(env!("CARGO_PKG_NAME"))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

/// Keeps the log alive. When it is dropped, the lines logged so far are written, unless standard error does not take
/// them within two seconds.
#[derive(Debug)]
pub struct Logging {
    items: SyncSender<Item>,
    /// Closed when the thread has written everything.
    ended: Receiver<()>,
}

/// Starts the log, once in a process. Each line of a `worker` names it. The level may be changed later with
/// [`log::set_max_level`].
///
/// # Errors
/// There is a logger already, or no thread can be started.
pub fn start(level: LevelFilter, worker: Option<usize>) -> io::Result<Logging> {
    // The queue applies the level; the thread writes every line that it gets.
    let logger = SimpleLogger::new()
        .with_level(LevelFilter::Trace)
        .with_utc_timestamps();
    let (mut queue, logging) = pipe(move |record| logger.log(record))?;
    queue.prefix = worker.map_or(String::new(), |worker| format!("worker={worker} "));
    log::set_boxed_logger(Box::new(queue)).map_err(io::Error::other)?;
    log::set_max_level(level);
    Ok(logging)
}

/// Makes a queue, and starts the thread that hands its lines to `write`.
fn pipe(write: impl Fn(&Record<'_>) + Send + 'static) -> io::Result<(Queue, Logging)> {
    let (items, incoming) = sync_channel(QUEUE_LINES_MAX);
    let (ends, ended) = sync_channel::<()>(0);
    let lost = Arc::new(AtomicU64::new(0));
    let queue = Queue {
        items: items.clone(),
        lost: Arc::clone(&lost),
        prefix: String::new(),
    };
    thread::Builder::new().name("log".into()).spawn(move || {
        drain(&incoming, &lost, &write);
        drop(ends);
    })?;
    Ok((queue, Logging { items, ended }))
}

fn drain(incoming: &Receiver<Item>, lost: &AtomicU64, write: &impl Fn(&Record<'_>)) {
    loop {
        let item = incoming.recv();
        // This stands in the log where the lines are missing: the first line after the gap reports it.
        let missing = lost.swap(0, Ordering::Relaxed);
        if missing > 0 {
            let text = format!("lines lost: count={missing}, standard error took them too slowly");
            write_line(Level::Warn, module_path!(), &text, write);
        }
        match item {
            Ok(Item::Line {
                level,
                target,
                text,
            }) => write_line(level, &target, &text, write),
            Ok(Item::End) | Err(_) => return,
        }
    }
}

fn write_line(level: Level, target: &str, text: &str, write: &impl Fn(&Record<'_>)) {
    // simple_logger writes with `eprintln!`, which panics when it cannot write (the other end of a pipe is gone, a disk
    // is full). The panic loses this line and does not end the log: the disk may have room for the next line.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        write(
            &Record::builder()
                .level(level)
                .target(target)
                .args(format_args!("{text}"))
                .build(),
        );
    }));
}

impl Drop for Logging {
    fn drop(&mut self) {
        let mut told = false;
        let steps = FLUSH_PATIENCE.as_millis() / FLUSH_STEP.as_millis();
        for _ in 0..steps {
            told = told || self.items.try_send(Item::End).is_ok();
            match self.ended.recv_timeout(FLUSH_STEP) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;

    fn log(queue: &Queue, level: Level, target: &str, text: &str) {
        queue.log(
            &Record::builder()
                .level(level)
                .target(target)
                .args(format_args!("{text}"))
                .build(),
        );
    }

    /// A `write` that keeps its lines.
    fn keep() -> (
        Arc<Mutex<Vec<String>>>,
        impl Fn(&Record<'_>) + Send + 'static,
    ) {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&lines);
        (lines, move |record: &Record<'_>| {
            let mut lines = kept.lock().unwrap_or_else(PoisonError::into_inner);
            lines.push(format!("{} {}", record.level(), record.args()));
        })
    }

    #[test]
    fn the_end_writes_what_was_logged() {
        let (lines, write) = keep();
        let (queue, logging) = pipe(write).expect("a thread");
        for n in 0..100 {
            log(&queue, Level::Info, "newswire::engine", &n.to_string());
        }
        drop(logging);
        let lines = lines.lock().expect("not poisoned");
        assert_eq!(lines.len(), 100);
        assert_eq!(lines[99], "INFO 99");
    }

    #[test]
    fn a_full_queue_loses_lines_and_says_how_many() {
        let (lines, keep) = keep();
        let gate = Arc::new(Mutex::new(()));
        let closed = gate.lock().expect("not poisoned");
        let opened = Arc::clone(&gate);
        let (queue, logging) = pipe(move |record| {
            drop(opened.lock());
            keep(record);
        })
        .expect("a thread");
        let logged = 3 * QUEUE_LINES_MAX;
        for n in 0..logged {
            log(&queue, Level::Info, "newswire", &n.to_string());
        }
        drop(closed);
        drop(logging);
        // More than one report, if the thread met the first gap before the last.
        let lines = lines.lock().expect("not poisoned");
        let reports: Vec<usize> = lines
            .iter()
            .filter_map(|line| line.strip_prefix("WARN lines lost: count="))
            .map(|rest| {
                rest.split(',')
                    .next()
                    .unwrap_or(rest)
                    .parse()
                    .expect("a number")
            })
            .collect();
        let lost: usize = reports.iter().sum();
        assert!(lost >= logged - QUEUE_LINES_MAX - 1, "{lost}");
        assert_eq!(lines.len() - reports.len(), logged - lost);
    }

    #[test]
    fn a_line_that_cannot_be_written_does_not_end_the_log() {
        let (lines, keep) = keep();
        let (queue, logging) = pipe(move |record| {
            assert!(record.args().to_string() != "bad", "on purpose");
            keep(record);
        })
        .expect("a thread");
        for text in ["one", "bad", "two"] {
            log(&queue, Level::Info, "newswire", text);
        }
        drop(logging);
        assert_eq!(
            *lines.lock().expect("not poisoned"),
            ["INFO one", "INFO two"]
        );
    }

    #[test]
    fn others_are_heard_from_warn_up_and_long_lines_are_cut() {
        let (lines, write) = keep();
        let (queue, logging) = pipe(write).expect("a thread");
        log(&queue, Level::Info, "tungstenite::protocol", "a request");
        log(&queue, Level::Info, "newswire_other", "not ours");
        log(&queue, Level::Warn, "mio", "a warning");
        log(&queue, Level::Info, "newswire", &"é".repeat(LINE_BYTES_MAX));
        drop(logging);
        let lines = lines.lock().expect("not poisoned");
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0], "WARN a warning");
        assert_eq!(
            lines[1].len(),
            "INFO ".len() + LINE_BYTES_MAX + '…'.len_utf8()
        );
    }
}
