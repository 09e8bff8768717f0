//! Who else on this machine can read or write a file that decides who gets in.
//!
//! Whoever can read a token in it, gets in with it; whoever can write the file, lets in whom they like, also
//! where only hashes or public keys stand in it. So each such file is looked at when it is read.
//!
//! Never here: what is in the file, which option names it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

const OTHERS_READ: u32 = 0o004;
const OTHERS_WRITE: u32 = 0o002;
const GROUP_WRITES: u32 = 0o020;

/// What is wrong with the rights of a regular file, and the command that mends it, such as `can be read by
/// every user of this machine (mode 644): chmod o-r tokens.txt`. `is_secret`: nobody else may read it.
pub fn of(path: &Path, is_secret: bool) -> Option<String> {
    let metadata = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
    // The group of newswire's own user, and root's, are the operator's.
    let group = metadata.gid();
    let is_foreign = group != 0 && group != rustix::process::getegid().as_raw();
    let (who, change) = judge(metadata.mode(), is_secret, is_foreign)?;
    let mode = metadata.mode() & 0o777;
    Some(format!(
        "can be {who} (mode {mode:o}): chmod {change} {}",
        path.display()
    ))
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
    fn only_files_are_looked_at() {
        assert_eq!(of(Path::new("/dev/null"), true), None);
        assert_eq!(of(Path::new("/tmp"), true), None);
        assert_eq!(of(Path::new("/nowhere"), true), None);
    }
}
