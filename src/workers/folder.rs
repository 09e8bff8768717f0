//! A folder that only this user can look into: the workers' socket is in it. It goes when the parent ends.
//!
//! Never here: what is in the folder.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, getppid};

/// The folder; it is removed when this is dropped.
#[derive(Debug)]
pub struct PrivateFolder {
    path: PathBuf,
}

impl PrivateFolder {
    /// Makes one below `above`. Nobody can guess its name, and an existing one is not taken.
    ///
    /// # Errors
    /// Those of the system.
    pub fn make(above: &Path) -> io::Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random)?;
        let path = above.join(format!("newswire-{:016x}", u64::from_ne_bytes(random)));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self { path })
    }

    /// A ZeroMQ endpoint in the folder.
    pub fn endpoint(&self) -> String {
        format!("ipc://{}/events", self.path.display())
    }
}

/// Tells a worker whether its parent lives.
#[derive(Debug)]
pub struct Parentage(Option<Pid>);

impl Parentage {
    /// Of this process, whose parent lives.
    pub fn now() -> Self {
        Self(getppid())
    }

    /// Removes the folder with the socket `endpoint` when the parent has died. A parent that was killed removes nothing.
    pub fn bury(&self, endpoint: &str) {
        let socket = endpoint.strip_prefix("ipc://").map(Path::new);
        if getppid() != self.0
            && let Some(folder) = socket.and_then(Path::parent)
        {
            // Another worker may have been faster.
            let _ = fs::remove_dir_all(folder);
        }
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            log::warn!("workers: {}: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn nobody_else_can_look_in_and_nothing_is_left() {
        let folder = PrivateFolder::make(&std::env::temp_dir()).expect("made");
        let path = folder.path.clone();
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        fs::write(path.join("events"), "").expect("written");
        drop(folder);
        assert!(!path.exists());
    }
}
