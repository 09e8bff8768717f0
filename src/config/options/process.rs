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

        /// File for the number of the process: written when everything is bound, removed at the end. newswire
        /// replaces a file that a crash left behind; a file whose process is a living newswire is an error. It is
        /// for hosts without a service manager: systemd needs none.
        #[option("pid-file", "FILE", restart, brief("File for the number of the process"))]
        pid_file: String = Word {
            default: "",
            parse: |text| Ok(text.to_owned()),
            show: String::clone,
        },

        /// File for what newswire has bound, as JSON, for scripts that let it choose the ports (`--listen
        /// 127.0.0.1:0`): written when everything is bound, replaced whole, removed at the end. It has `pid`, and lists
        /// of addresses: `listen`, `pull`, `sub`, `admin`, `publish`. Anything else at the path is an error.
        #[option("ready-file", "FILE", restart, brief("File for the addresses that are bound, as JSON"))]
        ready_file: String = Word {
            default: "",
            parse: |text| Ok(text.to_owned()),
            show: String::clone,
        },

        /// Time for a shutdown: newswire takes in the last events, delivers them and ends. Keep it below the patience
        /// of your service manager (systemd: 90 s).
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
