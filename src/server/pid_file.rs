//! The file with the number of this process, for scripts that send it signals where no service manager
//! does: written when everything is bound, removed at the end.
//!
//! A crash or a power cut leaves the file behind, so one whose process is gone is replaced. Numbers of
//! processes come again: a process that started after the file was written is not the one that wrote it.
//!
//! Never here: sending signals, and the lock that keeps a second server out (its addresses do).

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, test_kill_process};

/// In bytes. A longer file is something else, named by mistake.
const BYTES_MAX: u64 = 32;

/// In seconds: the kernel counts when a process started from a moment that it knows to a second.
const SLACK_SECONDS: i64 = 2;

/// This process's file. Dropped, it is removed.
#[derive(Debug)]
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes the file, in the place of one whose process is gone.
    ///
    /// # Errors
    /// One line that names the file: its process lives, it is no such file, or it cannot be written.
    pub fn write(path: &Path) -> Result<Self, String> {
        let wrong = |why: &dyn std::fmt::Display| format!("pid-file {}: {why}", path.display());
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(wrong(&error)),
            // What a power cut leaves of one that was just written.
            Ok(metadata) if metadata.is_file() && metadata.len() == 0 => {
                fs::remove_file(path).map_err(|error| wrong(&error))?;
            }
            Ok(metadata) => {
                let pid = (metadata.is_file() && metadata.len() <= BYTES_MAX)
                    .then(|| read(path))
                    .flatten();
                let pid = pid.ok_or_else(|| {
                    wrong(&"it is there, and is no pid file: it is not overwritten; name another")
                })?;
                if pid != own() && has_written(pid, metadata.mtime()) {
                    return Err(wrong(&format_args!(
                        "its process lives (pid {}): is another newswire running? If not, delete the \
                         file",
                        pid.as_raw_nonzero()
                    )));
                }
                fs::remove_file(path).map_err(|error| wrong(&error))?;
            }
        }
        // Never through a link, and never over a file that somebody else has made meanwhile.
        let file = File::create_new(path);
        file.and_then(|mut file| writeln!(file, "{}", own().as_raw_nonzero()))
            .map_err(|error| wrong(&error))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Somebody may have put another one in its place.
        if read(&self.0) == Some(own())
            && let Err(error) = fs::remove_file(&self.0)
        {
            log::warn!("pid-file {}: {error}", self.0.display());
        }
    }
}

fn own() -> Pid {
    rustix::process::getpid()
}

/// The number in a file.
fn read(path: &Path) -> Option<Pid> {
    let text = fs::read_to_string(path).ok()?;
    Pid::from_raw(text.trim().parse().ok().filter(|&pid: &i32| pid > 0)?)
}

/// Whether process `pid` lives and may have written a file that was changed last at `mtime`, in seconds of
/// Unix time.
fn has_written(pid: Pid, mtime: i64) -> bool {
    match started(pid) {
        Some(started) => started <= mtime.saturating_add(SLACK_SECONDS),
        // `/proc` may show no process of another user: then it is asked whether there is one at all.
        None => !matches!(test_kill_process(pid), Err(Errno::SRCH)),
    }
}

/// When process `pid` started, in seconds of Unix time.
fn started(pid: Pid) -> Option<i64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The second field is the program's name in parentheses, with anything in it; this is the 22nd.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: u64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    let system = fs::read_to_string("/proc/stat").ok()?;
    let boot = system
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?;
    let since_boot = i64::try_from(ticks / clock_ticks_per_second()).ok()?;
    boot.trim().parse::<i64>().ok()?.checked_add(since_boot)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    /// A path that is free when the test begins and when it ends.
    struct TempPath(PathBuf);

    impl TempPath {
        fn new(name: &str) -> Self {
            let name = format!("newswire-{}-{name}.pid", std::process::id());
            let path = std::env::temp_dir().join(name);
            let _ = fs::remove_file(&path);
            Self(path)
        }
    }

    impl Drop for TempPath {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    /// A process that lives until it is dropped.
    struct Sleeper(Child);

    impl Sleeper {
        fn new() -> Self {
            let child = Command::new("sleep").arg("600").spawn();
            Self(child.expect("sleep starts"))
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn it_is_there_while_it_lives_and_then_gone() {
        let path = TempPath::new("simple");
        let file = PidFile::write(&path.0).expect("written");
        let text = fs::read_to_string(&path.0).expect("it is there");
        assert_eq!(text, format!("{}\n", std::process::id()));
        // Its own number, left behind by a run before: a container's first process is always 1.
        let again = PidFile::write(&path.0).expect("replaced");
        drop(again);
        assert!(!path.0.exists());
        drop(file);
    }

    #[test]
    fn one_whose_process_lives_is_an_error_and_stays() {
        let (path, sleeper) = (TempPath::new("lives"), Sleeper::new());
        fs::write(&path.0, sleeper.0.id().to_string()).expect("written");
        let error = PidFile::write(&path.0).expect_err("it lives");
        let told = format!("its process lives (pid {})", sleeper.0.id());
        assert!(error.contains(&told), "{error}");
        assert!(path.0.exists());
    }

    #[test]
    fn a_stale_one_is_replaced() {
        let path = TempPath::new("stale");
        let mut child = Command::new("true").spawn().expect("true starts");
        child.wait().expect("it ends");
        fs::write(&path.0, child.id().to_string()).expect("written");
        drop(PidFile::write(&path.0).expect("its process is gone"));

        // After a restart of the machine its number may be another process's.
        let sleeper = Sleeper::new();
        fs::write(&path.0, sleeper.0.id().to_string()).expect("written");
        let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        let file = File::options().write(true).open(&path.0).expect("opened");
        file.set_modified(long_ago).expect("set");
        drop(PidFile::write(&path.0).expect("written before that process started"));
    }

    #[test]
    fn an_empty_one_is_replaced() {
        let path = TempPath::new("empty");
        fs::write(&path.0, "").expect("written");
        drop(PidFile::write(&path.0).expect("replaced"));
    }

    #[test]
    fn what_is_no_pid_file_is_not_touched() {
        let path = TempPath::new("other");
        for text in ["precious", "0", "-1", "12 13", &"1".repeat(100)] {
            fs::write(&path.0, text).expect("written");
            let error = PidFile::write(&path.0).expect_err(text);
            assert!(error.contains("is no pid file"), "{error}");
            assert_eq!(fs::read_to_string(&path.0).expect("it stays"), text);
        }
        fs::remove_file(&path.0).expect("removed");
        let target = TempPath::new("target");
        std::os::unix::fs::symlink(&target.0, &path.0).expect("a link");
        assert!(PidFile::write(&path.0).is_err(), "a link");
        let missing = path.0.join("missing");
        assert!(PidFile::write(&missing).is_err());
    }
}
