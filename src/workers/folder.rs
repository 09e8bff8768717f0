//! A folder that only this user can look into: the workers' socket is in it. It goes when the parent ends.
//!
//! Never here: what is in the folder.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

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
