//! Checks which other users of this machine can read or write a file of tokens or keys.
//!
//! A user who can read a token can connect with it. A user who can write the file can let anybody in, even when the file
//! has only hashes or public keys. So newswire checks the permissions of each such file when it reads the file.
//!
//! Never here: what is in the file, which option names it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{Gid, getegid, getgroups};

const OTHERS_READ: u32 = 0o004;
const OTHERS_WRITE: u32 = 0o002;
const GROUP_WRITES: u32 = 0o020;

/// Returns what is wrong with the permissions of a regular file, and the command that corrects it, such as `can be read
/// by every user of this machine (mode 644): chmod o-r tokens.txt`. When `is_secret`, nobody else may read the file.
pub fn of(path: &Path, is_secret: bool) -> Option<String> {
    let metadata = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let has_foreign_group = !is_own(Gid::from_raw(metadata.gid()));
    let (who, change) = judge(metadata.mode(), is_secret, has_foreign_group)?;
    let mode = metadata.mode() & 0o777;
    Some(format!(
        "can be {who} (mode {mode:o}): chmod {change} {}",
        path.display()
    ))
}

/// Returns true when the operator has chosen who is in a group: root's, and all that newswire is a member of.
fn is_own(group: Gid) -> bool {
    let members = getgroups().unwrap_or_default();
    group.is_root() || group == getegid() || members.contains(&group)
}

fn judge(
    mode: u32,
    is_secret: bool,
    has_foreign_group: bool,
) -> Option<(&'static str, &'static str)> {
    let is_read = is_secret && mode & OTHERS_READ != 0;
    let is_written = mode & OTHERS_WRITE != 0;
    match (is_read, is_written) {
        (true, true) => Some(("read and written by every user of this machine", "o-rw,g-w")),
        (false, true) => Some(("written by every user of this machine", "o-w,g-w")),
        (true, false) => Some(("read by every user of this machine", "o-r")),
        (false, false) if mode & GROUP_WRITES != 0 && has_foreign_group => {
            Some(("written by a group that newswire is not in", "g-w"))
        }
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_to_be_read_and_nothing_is_to_be_written() {
        let change = |mode, is_secret, has_foreign_group| {
            judge(mode, is_secret, has_foreign_group).map(|(_, change)| change)
        };
        for mode in [0o600, 0o640, 0o400, 0o440, 0o660] {
            assert_eq!(change(mode, true, false), None, "{mode:o}");
        }
        assert_eq!(change(0o660, true, true), Some("g-w"));
        assert_eq!(change(0o644, false, true), None);
        assert_eq!(change(0o644, true, true), Some("o-r"));
        assert_eq!(change(0o666, false, false), Some("o-w,g-w"));
        assert_eq!(change(0o666, true, false), Some("o-rw,g-w"));
        assert_eq!(change(0o602, true, false), Some("o-w,g-w"));
    }

    #[test]
    fn a_group_that_newswire_is_a_member_of_is_its_own() {
        for group in getgroups().expect("the system says") {
            assert!(is_own(group), "{group:?}");
        }
        assert!(is_own(getegid()) && is_own(Gid::ROOT));
        let all = getgroups().expect("the system says");
        let mut others = (50_000..).map(Gid::from_raw);
        let foreign = others.find(|group| *group != getegid() && !all.contains(group));
        assert!(!is_own(foreign.expect("a free number")));
    }

    #[test]
    fn only_files_are_looked_at() {
        assert_eq!(of(Path::new("/dev/null"), true), None);
        assert_eq!(of(Path::new("/tmp"), true), None);
        assert_eq!(of(Path::new("/nowhere"), true), None);
    }
}
