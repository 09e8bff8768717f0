//! Files of a test, all of them in one folder of this process, so that two runs do not meet.
//!
//! A file goes away with its test, unless the test fails. The folder goes away with the last file.
//!
//! Never here: what is in a file.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};
use std::thread;

/// The folder of this process.
static FOLDER: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("newswire-tests-{}", std::process::id())));

/// How many files there have been, and are.
static FILES: Mutex<(usize, usize)> = Mutex::new((0, 0));

/// A file or a folder that goes away with the test.
#[derive(Debug)]
pub struct File(pub PathBuf);

impl File {
    /// A file with `text` that only its owner reads. Its name ends with `name`.
    pub fn new(name: &str, text: &str) -> Self {
        let file = Self::free(name);
        let opened = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&file.0);
        let written = opened.and_then(|mut file| file.write_all(text.as_bytes()));
        written.expect("a writable folder");
        file
    }

    /// A folder.
    pub fn folder(name: &str) -> Self {
        let folder = Self::free(name);
        fs::create_dir(&folder.0).expect("a writable folder");
        folder
    }

    /// A path at which there is nothing.
    pub fn free(name: &str) -> Self {
        let mut files = FILES.lock().expect("no panic");
        fs::create_dir_all(&*FOLDER).expect("a writable folder");
        let (number, there) = *files;
        *files = (number + 1, there + 1);
        Self(FOLDER.join(format!("{number}-{name}")))
    }

    /// Writes over it.
    pub fn set(&self, text: &str) {
        fs::write(&self.0, text).expect("written");
    }

    /// Replaces it as editors do: a reader sees the one or the other.
    pub fn replace(&self, text: &str) {
        let beside = self.0.with_extension("new");
        fs::write(&beside, text).expect("written");
        fs::rename(&beside, &self.0).expect("moved");
    }

    /// Where it is, as text.
    pub fn path(&self) -> &str {
        self.0.to_str().expect("text")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        if !thread::panicking() {
            let _ = match self.0.is_dir() {
                true => fs::remove_dir_all(&self.0),
                false => fs::remove_file(&self.0),
            };
        }
        let mut files = FILES.lock().expect("no panic");
        files.1 -= 1;
        if files.1 == 0 {
            // What a failed test has left keeps it.
            let _ = fs::remove_dir(&*FOLDER);
        }
    }
}
