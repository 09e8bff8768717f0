//! How many connections this process can have: open files are what runs out first.
//!
//! Never here: what happens at the limit.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits;

/// The limit in force, and where it comes from.
#[derive(Clone, Debug)]
pub struct Capacity {
    /// In connections.
    pub connections_max: usize,
    /// One line for the operator.
    pub note: String,
}

/// Raises the limit of open files as far as it goes, and derives the limit of connections from it;
/// `asked` is the configured one, 0 for as many as possible.
pub fn raise(asked: usize) -> Capacity {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // Refused, it stays as it was; what is in force is read back.
    let _ = setrlimit(Resource::Nofile, raised);
    let files = getrlimit(Resource::Nofile)
        .current
        .map_or(usize::MAX, |files| {
            usize::try_from(files).unwrap_or(usize::MAX)
        });
    derive(files, asked)
}

/// In connections, what a server would have that was started here with `asked`.
pub fn connections_max(asked: usize) -> usize {
    raise(asked).connections_max
}

/// A small host may not even have the files that are usually kept in reserve: then a quarter of what it
/// has is kept, but not less than what the program itself opens and some publishers need.
fn derive(files: usize, asked: usize) -> Capacity {
    let reserved = (files / 4).clamp(limits::RESERVED_FILES_MIN, limits::RESERVED_FILES);
    let reserved = reserved.min(files / 2);
    let possible = (files - reserved).min(u32::MAX as usize);
    if (1..=possible).contains(&asked) {
        return Capacity {
            connections_max: asked,
            note: format!("{asked} (connections-max)"),
        };
    }
    let reason = match asked {
        0 => String::new(),
        _ => format!("; connections-max asks for {asked}, raise the limit for that"),
    };
    Capacity {
        connections_max: possible,
        note: format!("{possible} (of {files} open files, ulimit -n, {reserved} are kept{reason})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smaller_of_what_is_asked_and_what_is_possible_holds() {
        assert_eq!(
            derive(20_000, 0).connections_max,
            20_000 - limits::RESERVED_FILES
        );
        assert_eq!(derive(20_000, 100).connections_max, 100);
        let capped = derive(1_024, 100_000);
        assert_eq!(capped.connections_max, 768);
        assert!(capped.note.contains("100000"), "{}", capped.note);
        assert_eq!(derive(64, 0).connections_max, 32);
        assert_eq!(derive(usize::MAX, 0).connections_max, u32::MAX as usize);
    }
}
