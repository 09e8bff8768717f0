//! How many connections this process can have. Open files are what runs out first.
//!
//! Never here: what happens at the limit.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits;

/// The limits in force, and where they come from.
#[derive(Clone, Debug)]
pub struct Capacity {
    /// In connections.
    pub connections_max: usize,
    /// In connections of strangers to each kind of listener for administrators and publishers.
    pub strangers_max: usize,
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
    // When the system refuses, the limit stays as it was. The one in force is read back.
    let _ = setrlimit(Resource::Nofile, raised);
    let files = getrlimit(Resource::Nofile)
        .current
        .map_or(usize::MAX, |files| {
            usize::try_from(files).unwrap_or(usize::MAX)
        });
    derive(files, asked)
}

/// In connections, the limit of a server that is started here with `asked`.
pub fn connections_max(asked: usize) -> usize {
    raise(asked).connections_max
}

/// The limit of a server that is started here with `asked`, and where it comes from.
pub fn capacity_note(asked: usize) -> String {
    raise(asked).note
}

/// A small host may have fewer files than are usually kept in reserve. Then a quarter of its files is kept, but
/// not less than the program itself and some publishers need.
fn derive(files: usize, asked: usize) -> Capacity {
    let reserved = (files / 4).clamp(limits::RESERVED_FILES_MIN, limits::RESERVED_FILES);
    let reserved = reserved.min(files / 2);
    let possible = (files - reserved).min(u32::MAX as usize);
    if (1..=possible).contains(&asked) {
        return Capacity {
            connections_max: asked,
            strangers_max: strangers_max(files - asked),
            note: format!("{asked} (connections-max)"),
        };
    }
    let reason = match asked {
        0 => String::new(),
        _ => format!("; connections-max asks for {asked}, raise the limit for that"),
    };
    Capacity {
        connections_max: possible,
        strangers_max: strangers_max(files - possible),
        note: format!("{possible} (of {files} open files, ulimit -n, {reserved} are kept{reason})"),
    }
}

/// Of the `kept` files that clients cannot take, the program itself opens some. Of the others, strangers
/// may take a third at the admin listeners and a third at the publish listeners. The last third is for
/// publishers and administrators.
fn strangers_max(kept: usize) -> usize {
    let others = kept.saturating_sub(limits::OWN_FILES);
    (others / 3).clamp(1, limits::ADMIN_STRANGERS_MAX)
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

    #[test]
    fn strangers_leave_files_to_clients_and_publishers() {
        for (files, expected) in [(128, 8), (256, 13), (512, 34), (20_000, 128)] {
            let capacity = derive(files, 0);
            assert_eq!(capacity.strangers_max, expected, "{files}");
            let taken = capacity.connections_max + limits::OWN_FILES + 2 * expected;
            assert!(files - taken >= expected, "{files}");
        }
        // Whatever clients are not allowed to take is kept, too.
        assert_eq!(derive(512, 100).strangers_max, limits::ADMIN_STRANGERS_MAX);
        assert_eq!(derive(16, 0).strangers_max, 1);
    }
}
