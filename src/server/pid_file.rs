//! The file with the number of this process, for scripts that send it signals when there is no service manager. It
//! is written when everything is bound, and removed at the end.
//!
//! A crash or a power cut leaves the file behind, so a file whose process is gone is replaced. A zombie has
//! ended, and only waits until its parent notices. Numbers of processes are used again: a process that started
//! after the file was written, or that is no newswire, is not the one that wrote it.
//!
//! Never here: sending signals, and the lock that keeps a second server out (its addresses do).

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, test_kill_process};

/// In bytes. A longer file is something else, and was named by mistake.
const BYTES_MAX: u64 = 32;

/// In seconds: the kernel counts when a process started from a moment that it knows to a second.
const SLACK_SECONDS: i64 = 2;

/// This process's file. It is removed when this is dropped.
#[derive(Debug)]
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes the file, and replaces one whose process is gone.
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
        // Never through a link, and never over a file that another process has made meanwhile.
        let file = File::create_new(path);
        file.and_then(|mut file| writeln!(file, "{}", own().as_raw_nonzero()))
            .map_err(|error| wrong(&error))?;
        Ok(Self(path.to_owned()))
    }
}

/// Checks that there is a folder for the file that `option` names.
///
/// # Errors
/// One line that names the file and the folder.
pub fn check_folder(option: &str, path: &Path) -> Result<(), String> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    if folder.is_dir() {
        return Ok(());
    }
    Err(format!(
        "{option} {}: there is no folder {}: make it, or name another file",
        path.display(),
        folder.display()
    ))
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Another process may have put its own file there.
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

/// Returns true when process `pid` is a living newswire that may have written a file which was changed last
/// at `mtime`, in seconds of Unix time.
fn has_written(pid: Pid, mtime: i64) -> bool {
    let pid_text = pid.as_raw_nonzero().to_string();
    match Process::read(&pid_text) {
        Some(process) => {
            process.is_alive()
                && process.started <= mtime.saturating_add(SLACK_SECONDS)
                && is_newswire(&process, &pid_text)
        }
        // `/proc` may show no process of another user: then it is asked whether there is one at all.
        None => !matches!(test_kill_process(pid), Err(Errno::SRCH)),
    }
}

/// Returns true when the process is called newswire, or like this process, or runs a file of the same name.
/// An upgrade may have put another file in its place, or a link may have given it another name.
fn is_newswire(process: &Process, pid: &str) -> bool {
    let is_called_so = process.name == env!("CARGO_PKG_NAME")
        || Process::read("self").is_some_and(|own| own.name == process.name);
    let program = program(pid);
    is_called_so || program.is_some() && program == self::program("self")
}

/// The name of the file that process `pid` runs; `None` when the system does not tell.
fn program(pid: &str) -> Option<String> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let name = path.file_name()?.to_string_lossy();
    // The kernel says so when the file was replaced.
    Some(name.trim_end_matches(" (deleted)").to_owned())
}

/// What the kernel tells of a process.
#[derive(Debug)]
struct Process {
    /// Of up to 15 bytes.
    name: String,
    state: char,
    /// In seconds of Unix time.
    started: i64,
}

impl Process {
    /// `pid` is a number or `self`.
    fn read(pid: &str) -> Option<Self> {
        // The name may hold any bytes.
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let system = fs::read_to_string("/proc/stat").ok()?;
        let boot = (system.lines()).find_map(|line| line.strip_prefix("btime "))?;
        Self::parse(&String::from_utf8_lossy(&stat), boot.trim().parse().ok()?)
    }

    /// `PID (NAME) STATE …`, with anything in the name; the 22nd field says when it started.
    fn parse(stat: &str, boot: i64) -> Option<Self> {
        let (head, fields) = stat.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let mut fields = fields.split_whitespace();
        let state = fields.next()?.chars().next()?;
        let ticks: u64 = fields.nth(18)?.parse().ok()?;
        let since_boot = i64::try_from(ticks / clock_ticks_per_second()).ok()?;
        Some(Self {
            name: name.to_owned(),
            state,
            started: boot.checked_add(since_boot)?,
        })
    }

    /// Returns false when the process has ended and its parent has not noticed yet.
    fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};

    use rustix::process::{WaitId, WaitIdOptions, waitid};

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

    /// A process that is waited for when it is dropped.
    struct Other(Child);

    impl Other {
        /// One that lives, and is called `sleep`.
        fn unrelated() -> Self {
            let child = Command::new("sleep").arg("600").spawn();
            Self(child.expect("sleep starts"))
        }

        /// One that runs `program` and is called newswire: a process has the name of the link that it was
        /// started by.
        fn newswire(program: &str, arguments: &[&str]) -> Self {
            let path = ["/usr/bin", "/bin"]
                .map(|folder| Path::new(folder).join(program))
                .into_iter()
                .find(|path| path.exists());
            let folder = TempPath::new(&format!("{program}-{}", arguments.len()));
            fs::create_dir_all(&folder.0).expect("a folder");
            let link = folder.0.join("newswire");
            let _ = fs::remove_file(&link);
            std::os::unix::fs::symlink(path.expect("it is there"), &link).expect("a link");
            let child = Command::new(&link).arg0(program).args(arguments).spawn();
            fs::remove_dir_all(&folder.0).expect("removed");
            Self(child.expect("it starts"))
        }

        fn number(&self) -> String {
            self.0.id().to_string()
        }
    }

    impl Drop for Other {
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
        let path = TempPath::new("lives");
        let other = Other::newswire("sleep", &["600"]);
        fs::write(&path.0, other.number()).expect("written");
        let error = PidFile::write(&path.0).expect_err("it lives");
        let told = format!("its process lives (pid {})", other.number());
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
        let other = Other::newswire("sleep", &["600", "600"]);
        fs::write(&path.0, other.number()).expect("written");
        let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
        let file = File::options().write(true).open(&path.0).expect("opened");
        file.set_modified(long_ago).expect("set");
        drop(PidFile::write(&path.0).expect("written before that process started"));

        // Or it is the number of a process that started earlier, and is something else.
        let other = Other::unrelated();
        fs::write(&path.0, other.number()).expect("written");
        drop(PidFile::write(&path.0).expect("that process is no newswire"));
    }

    #[test]
    fn a_zombie_is_no_living_process() {
        let path = TempPath::new("zombie");
        let other = Other::newswire("true", &[]);
        let pid = WaitId::Pid(Pid::from_child(&other.0));
        // Waits until it has ended, and leaves it a zombie.
        waitid(pid, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).expect("a child");
        let process = Process::read(&other.number()).expect("not waited for");
        assert_eq!(process.state, 'Z');
        fs::write(&path.0, other.number()).expect("written");
        drop(PidFile::write(&path.0).expect("its process has ended"));
    }

    #[test]
    fn a_process_is_read_whatever_its_name_is() {
        let fields = "1 1 1 0 -1 4194560 1 2 3 4 300 50 0 0 20 0 1 0 700 5";
        let read = |head: &str| Process::parse(&format!("{head} {fields}"), 1_000);
        let process = read("12 (a) (b) S").expect("it is one");
        assert_eq!(process.name, "a) (b");
        assert!(process.is_alive());
        let seconds = i64::try_from(700 / clock_ticks_per_second()).expect("few");
        assert_eq!(process.started, 1_000 + seconds);
        for state in ["Z", "X"] {
            assert!(
                !read(&format!("12 (newswire) {state}"))
                    .expect("one")
                    .is_alive()
            );
        }
        assert!(Process::parse("12 (newswire", 0).is_none());
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
        let error = check_folder("pid-file", &missing).expect_err("no folder");
        assert!(error.contains("there is no folder"), "{error}");
        assert_eq!(check_folder("pid-file", &path.0), Ok(()));
        assert_eq!(check_folder("pid-file", Path::new("newswire.pid")), Ok(()));
    }
}
