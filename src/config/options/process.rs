//! The process: its log, its number, its end.
//!
//! Never here: what is served.

use log::LevelFilter;

use super::super::types::Word;
use super::{choice, name_of};
use crate::limits;

/// How connections end at a shutdown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ShutdownClose {
    /// The TCP connection ends without a Close frame: autobahn.js connects again only then.
    Drop,
    /// A Close frame with code 1001 goes first.
    Frame,
}

const CLOSES: [(&str, ShutdownClose); 2] = [
    ("drop", ShutdownClose::Drop),
    ("frame", ShutdownClose::Frame),
];

/// How many processes serve clients.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WorkerCount {
    /// This one alone.
    Off,
    /// One for each core.
    Auto,
    /// So many; at most [`limits::WORKERS_MAX`].
    Fixed(usize),
}

impl WorkerCount {
    fn parse(text: &str) -> Result<Self, String> {
        let most = limits::WORKERS_MAX;
        let number = || text.parse().ok().filter(|n| (1..=most).contains(n));
        match text {
            "off" => Ok(Self::Off),
            "auto" => Ok(Self::Auto),
            _ => (number().map(Self::Fixed))
                .ok_or_else(|| format!("`off`, `auto` or a number from 1 to {most} is needed")),
        }
    }

    /// How many workers there are to be; `None` when this process serves clients itself.
    pub fn count(self) -> Option<usize> {
        match self {
            Self::Off => None,
            Self::Auto => Some(cores().min(limits::WORKERS_MAX)),
            Self::Fixed(count) => Some(count),
        }
    }
}

/// How many cores this process may use.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get)
}

group! {
    /// The process: its log, its number, its end.
    ProcessOptions at process, "Log and process" {
        /// What is logged to standard error: off, error, warn, info, debug or trace. From debug on, newswire also
        /// logs the mistakes of each client.
        #[option("log-level", "LEVEL", brief("off, error, warn, info, debug or trace"))]
        log_level: LevelFilter = Word {
            default: "info",
            parse: |text| {
                let needed = "off, error, warn, info, debug or trace is needed";
                text.parse().map_err(|_| needed.to_owned())
            },
            show: |level: &LevelFilter| level.to_string().to_ascii_lowercase(),
        },

        /// Processes that serve clients: a number from 1 to 256, `auto` for one for each core, or `off` for none beside
        /// this one. One process is one thread, and has as many clients as its limit of open files allows. With workers
        /// this process takes events in and hands them on; the workers share the port of `listen`, and this process
        /// starts one that dies again. The limits connections-max, connections-per-address-max and refused-tokens-max
        /// are divided among the workers.
        #[option("workers", "N|auto|off", restart, brief("Processes that serve clients; `auto`: one a core"))]
        workers: WorkerCount = Word {
            default: "off",
            parse: WorkerCount::parse,
            show: |count| match count {
                WorkerCount::Off => "off".to_owned(),
                WorkerCount::Auto => "auto".to_owned(),
                WorkerCount::Fixed(count) => count.to_string(),
            },
        },

        /// File for the number of the process: written when everything is bound, removed at the end. newswire
        /// replaces a file that a crash left behind; a file whose process is a living newswire is an error. It is
        /// for hosts without a service manager: systemd needs none.
        #[option("pid-file", "FILE", restart)]
        pid_file: String = Word {
            default: "",
            parse: |text| Ok(text.to_owned()),
            show: String::clone,
        },

        /// File for what newswire has bound, as JSON, for scripts that let it choose the ports (`--listen
        /// 127.0.0.1:0`): written when everything is bound, replaced whole, removed at the end. It has `pid`, and lists
        /// of addresses: `listen`, `pull`, `sub`, `admin`, `publish`. Anything else at the path is an error.
        #[option("ready-file", "FILE", restart)]
        ready_file: String = Word {
            default: "",
            parse: |text| Ok(text.to_owned()),
            show: String::clone,
        },

        /// Time for a shutdown: newswire takes in the last events, delivers them and ends. Keep it below the patience
        /// of your service manager (newswire's unit of systemd: 15 s; Docker: 10 s).
        #[option("shutdown-timeout", "SECONDS", restart)]
        shutdown_seconds: u32 = number!(
            Seconds, limits::SHUTDOWN_SECONDS, 1, limits::SHUTDOWN_SECONDS_CEILING
        ),

        /// How connections end at a shutdown. `drop` ends them without a Close frame, because autobahn.js connects
        /// again only after an unclean end; `frame` sends a Close frame with code 1001 first.
        #[option("shutdown-close", "drop|frame", restart)]
        shutdown_close: ShutdownClose = Word {
            default: "drop",
            parse: |text| choice(&CLOSES, text),
            show: |value| name_of(&CLOSES, value),
        },
    }
}
