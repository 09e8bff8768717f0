//! Where events come from, and what an event may be.
//!
//! Never here: publishing over HTTP (that is `publish`).

use super::super::types::{WhenNone, Word};
use super::{choice, list, name_of};
use crate::config::values::{self, EndpointUse};
use crate::limits;

/// True where versions before 3.0 are taken too.
const ZMTP: [(&str, bool); 2] = [("3", false), ("any", true)];

group! {
    /// Where events come from, and what an event may be.
    IngestOptions at ingest, "Where events come from" {
        /// ZeroMQ endpoint to which newswire binds a PULL socket; publishers connect a PUSH socket to it. Whoever
        /// reaches it may publish, so the default stays on this machine. Names of hosts are not looked up: write
        /// 127.0.0.1 for localhost. `off` binds none.
        #[option("pull", "ENDPOINT", restart, brief("ZeroMQ endpoint for publishers"))]
        pull: Vec<String> = list(
            |text| values::endpoint(text, EndpointUse::Bind),
            String::clone,
            WhenNone::Off,
            &["tcp://127.0.0.1:5555"],
        ),

        /// Versions of ZMTP that publishers may speak to a PULL socket. `3` is libzmq 4.0 and later. `any` lets
        /// older versions in, and with them every web page that reaches the port: an HTTP request looks like
        /// ZMTP 1.0.
        #[option("pull-zmtp", "3|any", restart)]
        takes_old_zmtp: bool = Word {
            default: "3",
            parse: |text| choice(&ZMTP, text),
            show: |value| name_of(&ZMTP, value),
        },

        /// Mode of the socket file of an ipc:// PULL endpoint, in octal, such as 660. Whoever may write to the file
        /// may publish. Empty: the umask decides, or 660 with pull-group.
        #[option("pull-mode", "MODE", restart)]
        pull_mode: Option<u32> = Word {
            default: "",
            parse: mode,
            show: |mode: &Option<u32>| mode.map_or(String::new(), |mode| format!("{mode:o}")),
        },

        /// Group of the socket file of an ipc:// PULL endpoint, by name or number. newswire has to be a member of
        /// it, or root. Empty: the group that newswire runs as.
        #[option("pull-group", "GROUP", restart)]
        pull_group: String = Word {
            default: "",
            parse: group,
            show: String::clone,
        },

        /// ZeroMQ PUB endpoint to which newswire connects a SUB socket. A PUB socket hands each event to every
        /// server that is connected, where a PUSH socket hands it to one. `off` connects to none.
        #[option("sub", "ENDPOINT", restart, brief("ZeroMQ PUB endpoint to connect to"))]
        sub: Vec<String> = list(
            |text| values::endpoint(text, EndpointUse::Connect),
            String::clone,
            WhenNone::Off,
            &[],
        ),

        /// Time without an answer after which newswire drops a ZeroMQ peer, of PULL and of SUB. libzmq asks a silent
        /// peer after a fifth of it. libzmq before 4.2 does not answer, and connects again each time: set 0, which
        /// means never, where that disturbs.
        #[option("publisher-timeout", "SECONDS", restart)]
        publisher_seconds: u32 = number!(
            Seconds, limits::PUBLISHER_SECONDS, 0, limits::PUBLISHER_SECONDS_CEILING
        ),

        /// Field that names the topic in an event which is a flat JSON object. The default is the field of Ratchet's
        /// push tutorial; newswire always understands {"topic":…,"data":…} as well.
        #[option("topic-field", "NAME")]
        topic_field: String = Word {
            default: "category",
            parse: topic_field,
            show: String::clone,
        },

        /// Size of one event as it comes in, all its parts together. newswire drops and counts a larger one. Real
        /// articles reach 500 kB. The maximum is 32 MiB: past 64 MiB ZeroMQ itself cuts the publisher, and nothing
        /// would be counted.
        #[option("event-bytes-max", "BYTES")]
        event_bytes_max: usize = number!(Bytes, limits::EVENT_BYTES_MAX, 64, limits::EVENT_BYTES_CEILING),

        /// Events that newswire takes in before it serves clients again. With more of them more events leave in
        /// one write; with fewer everybody else waits less.
        #[option("turn-events-max", "EVENTS")]
        turn_events_max: usize = number!(Count, limits::TURN_EVENTS_MAX, 1, 1 << 20),
    }
}

/// In bytes, a field's name. It is a word of somebody's code.
const TOPIC_FIELD_BYTES_MAX: usize = 128;

/// The mode of a file, in octal; empty is none.
fn mode(text: &str) -> Result<Option<u32>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let digits = text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| digits);
    // A process that may not write to a socket cannot connect to it, and the owner is the server itself.
    mode.filter(|mode| mode & 0o200 != 0 && *mode <= 0o777)
        .map(Some)
        .ok_or_else(|| {
            "an octal mode that lets the owner write is needed, such as 660 for owner and group"
                .to_owned()
        })
}

/// A group's name or number, by its form alone; empty is none.
fn group(text: &str) -> Result<String, String> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "_-.$@\\".contains(c);
    if text.chars().all(is_good) {
        return Ok(text.to_owned());
    }
    Err("the name or the number of a group is needed, such as www-data".to_owned())
}

/// The name of a field.
fn topic_field(text: &str) -> Result<String, String> {
    match text.len() {
        1..=TOPIC_FIELD_BYTES_MAX => Ok(text.to_owned()),
        _ => Err(format!(
            "the name of a JSON field is needed, of 1 to {TOPIC_FIELD_BYTES_MAX} bytes"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_octal_and_let_the_owner_connect() {
        for (text, expected) in [
            ("", None),
            ("660", Some(0o660)),
            ("0600", Some(0o600)),
            ("777", Some(0o777)),
        ] {
            assert_eq!(mode(text), Ok(expected), "{text}");
        }
        for text in [
            "8",
            "rw-",
            "0o660",
            "+660",
            "1777",
            "060",
            "440",
            "99999999999",
        ] {
            assert!(mode(text).is_err(), "{text}");
        }
    }
}
