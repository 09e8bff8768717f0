//! A file of tokens: newswire reads it at the start, and again whenever it has changed.
//!
//! The list is in memory and answers at once. After the start only a thread touches the disk. It looks at the file
//! twice a second, and reads it when two looks in a row have seen the same change, so that it leaves alone a file
//! that is just being written. It puts the new list where the loop finds it. A file with anything wrong in it
//! changes nothing, and neither does a missing file: the log says so, once, and the list that was in force stays.
//!
//! Never here: the meaning of a line (`wire/token_file.rs`), and the text of the file for longer than it takes to
//! read it.

use std::fmt::Display;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::secret_file::read_secret;
use super::{Answer, Moment, Question, TokenStore};
use crate::exposure;
use crate::limits;
use crate::stats::{Cause, Store};
use crate::wake::Wake;
use crate::wire::token_file::FileTokens;

/// A file that a thread watches for as long as this, or a store of it, exists.
#[derive(Clone, Debug)]
pub struct WatchedFile {
    path: Arc<Path>,
    current: Arc<Current>,
    /// Tells the thread to read the file now, whatever it looks like. Dropping it ends the thread.
    reread: Sender<()>,
}

/// The list in force. The lock is held for as long as it takes to copy a pointer.
#[derive(Debug)]
struct Current(Mutex<Arc<FileTokens>>);

impl Current {
    fn get(&self) -> Arc<FileTokens> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The one before.
    fn set(&self, listing: Arc<FileTokens>) -> Arc<FileTokens> {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut current, listing)
    }
}

impl WatchedFile {
    /// Reads the file, and starts to watch it. The thread calls `wake` when there is a new list.
    ///
    /// # Errors
    /// One line that names the file, the line in it, and what is wrong.
    pub fn open(path: &Path, wake: Wake) -> Result<Self, String> {
        let wrong = |why: ReadError| why.sentence(path);
        let look = Look::at(path).map_err(|error| wrong(error.into()))?;
        let listing = read_file(path).map_err(wrong)?;
        warn_of_exposure(path, &listing);
        let current = Arc::new(Current(Mutex::new(Arc::new(listing))));
        let (reread, orders) = mpsc::channel();
        let watch = Watch {
            path: path.to_owned(),
            read: Some(look),
            seen: None,
            complaint: None,
            retired: Vec::new(),
            current: Arc::clone(&current),
            wake,
        };
        thread::Builder::new()
            .name("auth-file".to_owned())
            .spawn(move || watch.run(&orders))
            .map_err(|error| {
                format!("tokens: cannot start the thread that watches them: {error}")
            })?;
        Ok(Self {
            path: path.into(),
            current,
            reread,
        })
    }

    /// The path as the operator gave it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of tokens in it, and of those that have ended at `unix_seconds`.
    pub fn count(&self, unix_seconds: u64) -> (usize, usize) {
        let listing = self.current.get();
        (listing.len(), listing.expired(unix_seconds))
    }

    /// What is wrong with the rights of the file, and the command that mends it.
    pub fn exposed(&self) -> Option<String> {
        exposed(&self.path, &self.current.get())
    }

    /// Tells the thread to read the file again, even if it looks as it did. A change is reported like any other.
    pub fn reread(&self) {
        // It fails when the thread has ended, and then nothing can be done about it.
        let _ = self.reread.send(());
    }
}

/// The tokens of one file.
#[derive(Debug)]
pub struct TokenFile {
    file: WatchedFile,
    /// The list at the last change that was reported.
    listing: Arc<FileTokens>,
}

impl TokenFile {
    /// A store of the tokens in `file`, now and after each change.
    pub fn new(file: &WatchedFile) -> Self {
        Self {
            file: file.clone(),
            listing: file.current.get(),
        }
    }
}

impl TokenStore for TokenFile {
    fn kind(&self) -> Store {
        Store::File
    }

    fn needs_token(&self) -> bool {
        false
    }

    fn ask(&mut self, question: &Arc<Question>, moment: Moment) -> Option<Answer> {
        Some(match self.listing.find(&question.digest) {
            None => Answer::Unknown,
            Some(grant) if grant.has_ended(moment.unix.as_secs()) => Answer::Refused(
                Cause::Expired,
                format!("it has expired: name={:?}", grant.name),
            ),
            Some(grant) => Answer::Accepted(grant),
        })
    }

    fn poll_change(&mut self) -> bool {
        let current = self.file.current.get();
        if Arc::ptr_eq(&current, &self.listing) {
            return false;
        }
        // The thread has this list too, and frees it.
        self.listing = current;
        true
    }
}

/// What distinguishes a file from the one before. Nobody can set the time at which an inode changed, so this also
/// notices a copy that keeps the times of the old file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Look {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Look {
    fn at(path: &Path) -> io::Result<Self> {
        let metadata = path.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// The thread's state.
struct Watch {
    path: PathBuf,
    /// How the file looked when it was last read, whatever the result. `None`: there was no file.
    read: Option<Look>,
    /// How it looked last, if that was something else.
    seen: Option<Look>,
    /// The last complaint in the log, so that it is not repeated twice a second.
    complaint: Option<String>,
    /// Lists that stores may still have. They are freed here, since that takes a while when they are long.
    retired: Vec<Arc<FileTokens>>,
    current: Arc<Current>,
    wake: Wake,
}

impl Watch {
    /// Runs until the file and all of its stores are dropped.
    fn run(mut self, orders: &Receiver<()>) {
        let pause = Duration::from_millis(limits::TOKEN_FILE_LOOK_MILLISECONDS);
        loop {
            match orders.recv_timeout(pause) {
                Ok(()) => self.read(),
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.retired
                .retain(|listing| Arc::strong_count(listing) > 1);
        }
    }

    fn look(&mut self) {
        match Look::at(&self.path) {
            Ok(look) if Some(look) == self.read => self.seen = None,
            Ok(look) if Some(look) == self.seen => self.read(),
            Ok(look) => self.seen = Some(look),
            Err(error) => {
                // When the file is back and looks the same, it is read again: nobody knows what it was meanwhile.
                (self.read, self.seen) = (None, None);
                self.complain(&ReadError::from(error));
            }
        }
    }

    fn read(&mut self) {
        let before = Look::at(&self.path).ok();
        let outcome = read_file(&self.path);
        let after = Look::at(&self.path).ok();
        if before != after {
            // The file was written while it was read. The next two looks decide.
            (self.read, self.seen) = (None, after);
            return;
        }
        (self.read, self.seen) = (after, None);
        match outcome {
            Ok(listing) => {
                self.complaint = None;
                let (path, tokens) = (self.path.display(), listing.len());
                log::info!("token file: read path={path} tokens={tokens}");
                warn_of_exposure(&self.path, &listing);
                if listing.is_empty() {
                    log::warn!("token file: path={path} has no token in it, so it lets nobody in");
                }
                let before = self.current.set(Arc::new(listing));
                self.retired.push(before);
                (self.wake)();
            }
            Err(error) => self.complain(&error),
        }
    }

    fn complain(&mut self, error: &ReadError) {
        let sentence = error.sentence(&self.path);
        if self.complaint.as_ref() != Some(&sentence) {
            log::error!("token file: the tokens that were read before stay in force: {sentence}");
            self.complaint = Some(sentence);
        }
    }
}

/// Why a file of tokens could not be read.
enum ReadError {
    /// This line, counted from 1, is wrong.
    Line(usize, String),
    /// The file as a whole.
    File(String),
}

impl ReadError {
    /// One line of text.
    fn sentence(&self, path: &Path) -> String {
        let path = path.display();
        match self {
            Self::Line(line, reason) => format!("tokens: {path}:{line}: {reason}"),
            Self::File(reason) => format!("tokens: {path}: {reason}"),
        }
    }
}

impl<E: Display> From<E> for ReadError {
    fn from(error: E) -> Self {
        Self::File(error.to_string())
    }
}

/// The tokens in a file.
fn read_file(path: &Path) -> Result<FileTokens, ReadError> {
    let text = read_secret(path, limits::TOKEN_FILE_BYTES_MAX)?;
    FileTokens::parse(&text).map_err(|error| ReadError::Line(error.line, error.reason))
}

/// What is wrong with the rights of the file.
fn exposed(path: &Path, listing: &FileTokens) -> Option<String> {
    let exposed = exposure::of(path, listing.plain() > 0)?;
    let plain = match listing.plain() {
        0 => String::new(),
        plain => format!(
            "; {plain} of its tokens stand in it as they are: their sha256 will do (`newswire token hash`)"
        ),
    };
    Some(format!("{exposed}{plain}"))
}

fn warn_of_exposure(path: &Path, listing: &FileTokens) {
    if let Some(exposed) = exposed(path, listing) {
        log::warn!("token file: path={} {exposed}", path.display());
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "tests wait for conditions, with deadlines"
)]
mod tests {
    use std::fs;
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use super::*;
    use crate::wire::token::Token;

    struct Fixture {
        folder: PathBuf,
        woken: Arc<AtomicUsize>,
    }

    impl Fixture {
        fn new(name: &str, text: &str) -> Self {
            let name = format!("newswire-{}-{name}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            fs::create_dir_all(&folder).expect("a folder");
            let fixture = Self {
                folder,
                woken: Arc::default(),
            };
            fixture.write(text);
            fixture
        }

        fn path(&self) -> PathBuf {
            self.folder.join("tokens")
        }

        fn write(&self, text: &str) {
            fs::write(self.path(), text).expect("written");
        }

        fn wake(&self) -> Wake {
            let woken = Arc::clone(&self.woken);
            Arc::new(move || {
                woken.fetch_add(1, Ordering::SeqCst);
            })
        }

        fn open(&self) -> Result<WatchedFile, String> {
            WatchedFile::open(&self.path(), self.wake())
        }

        /// What the thread would have, without one.
        fn watch(&self) -> Watch {
            let listing = read_file(&self.path()).unwrap_or_default();
            Watch {
                path: self.path(),
                read: Look::at(&self.path()).ok(),
                seen: None,
                complaint: None,
                retired: Vec::new(),
                current: Arc::new(Current(Mutex::new(Arc::new(listing)))),
                wake: self.wake(),
            }
        }
    }

    impl Drop for Fixture {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }

    fn ask(file: &mut TokenFile, token: &str, unix: u64) -> Answer {
        let question = Question {
            ticket: 0,
            digest: Token::new(token).digest(),
            token: None,
            client: Ipv4Addr::LOCALHOST.into(),
            origin: None,
            is_recheck: false,
        };
        let moment = Moment {
            now: Duration::ZERO,
            unix: Duration::from_secs(unix),
        };
        file.ask(&Arc::new(question), moment)
            .expect("answers at once")
    }

    fn knows(file: &mut TokenFile, token: &str) -> bool {
        matches!(ask(file, token, 0), Answer::Accepted(_))
    }

    fn wait_until(mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !condition() {
            assert!(Instant::now() < deadline, "in vain");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_token_is_accepted_until_it_expires() {
        let fixture = Fixture::new("expires", "a expires=1970-01-01T00:01:40Z name=ann\nb");
        let watched = fixture.open().expect("good");
        let mut file = TokenFile::new(&watched);
        for unix in [0, 99, 100] {
            assert!(matches!(ask(&mut file, "a", unix), Answer::Accepted(grant)
                if grant.name == "ann" && grant.expires_at == Some(100)));
        }
        let refused = Answer::Refused(Cause::Expired, "it has expired: name=\"ann\"".to_owned());
        assert_eq!(ask(&mut file, "a", 101), refused);
        assert!(matches!(ask(&mut file, "b", 1 << 40), Answer::Accepted(_)));
        assert_eq!(ask(&mut file, "c", 0), Answer::Unknown);
    }

    #[test]
    fn what_cannot_be_read_at_the_start_is_told_in_one_line() {
        let fixture = Fixture::new("start", "a\nsesame nonsense");
        let path = fixture.path().display().to_string();
        let error = fixture.open().expect_err("bad");
        assert!(
            error.starts_with(&format!("tokens: {path}:2: word 2 is none")),
            "{error}"
        );
        assert!(
            !error.contains("sesame") && !error.contains('\n'),
            "{error}"
        );

        fs::remove_file(fixture.path()).expect("it is there");
        let error = fixture.open().expect_err("gone");
        assert!(
            error.starts_with(&format!("tokens: {path}: No such file")),
            "{error}"
        );

        fs::create_dir(fixture.path()).expect("made");
        let error = fixture.open().expect_err("a folder");
        assert!(error.contains("it is no regular file"), "{error}");
    }

    #[test]
    fn a_change_is_found_and_told_once() {
        let fixture = Fixture::new("change", "a\n");
        let watched = fixture.open().expect("good");
        let mut file = TokenFile::new(&watched);
        assert!(!file.poll_change() && knows(&mut file, "a"));

        fixture.write("b\n");
        wait_until(|| file.poll_change());
        assert!(fixture.woken.load(Ordering::SeqCst) == 1 && !file.poll_change());
        assert!(knows(&mut file, "b") && !knows(&mut file, "a"));

        // As editors do it, with a file of the same size.
        let beside = fixture.folder.join("beside");
        fs::write(&beside, "c\n").expect("written");
        fs::rename(&beside, fixture.path()).expect("moved");
        wait_until(|| file.poll_change());
        assert!(knows(&mut file, "c") && !knows(&mut file, "b"));
    }

    #[test]
    fn a_bad_file_and_none_change_nothing() {
        let fixture = Fixture::new("bad", "a\n");
        let mut watch = fixture.watch();
        let before = watch.current.get();
        fixture.write("b\nb\n");
        for (complaint, then) in [
            (":2: it has the same token as line 1", "a\0\n"),
            (":1: it has a control character", "a"),
        ] {
            watch.read();
            let said = watch.complaint.clone().expect("it was told");
            assert!(said.contains(complaint), "{said}");
            fixture.write(then);
        }
        fs::remove_file(fixture.path()).expect("it is there");
        watch.read();
        assert!(Arc::ptr_eq(&before, &watch.current.get()));
        assert_eq!(fixture.woken.load(Ordering::SeqCst), 0);

        fixture.write("c\nd\n");
        watch.read();
        assert_eq!(watch.current.get().len(), 2);
        assert_eq!(watch.complaint, None);
        assert_eq!(fixture.woken.load(Ordering::SeqCst), 1);
        assert_eq!(watch.retired.len(), 1);
    }

    #[test]
    fn a_reload_reads_at_once_what_looks_the_same() {
        let fixture = Fixture::new("reload", "a\n");
        let watched = fixture.open().expect("good");
        let mut file = TokenFile::new(&watched);
        watched.reread();
        wait_until(|| file.poll_change());
        assert!(knows(&mut file, "a"));
    }

    #[test]
    fn a_file_is_left_alone_while_it_is_written() {
        let fixture = Fixture::new("look", "a\n");
        let mut watch = fixture.watch();
        let current = Arc::clone(&watch.current);
        watch.look();
        for text in ["b", "b\nc", "b\nc\nd"] {
            fixture.write(text);
            watch.look();
            assert_eq!(current.get().len(), 1, "it has just been seen");
        }
        watch.look();
        assert_eq!(current.get().len(), 3);
        let before = current.get();
        watch.look();
        watch.look();
        assert!(Arc::ptr_eq(&before, &current.get()), "nothing new");

        // Gone and back: read, since it may have been anything.
        let away = fixture.folder.join("away");
        fs::rename(fixture.path(), &away).expect("moved");
        watch.look();
        assert!(
            watch
                .complaint
                .as_ref()
                .is_some_and(|c| c.contains("No such file"))
        );
        assert!(Arc::ptr_eq(&before, &current.get()), "it stays");
        fs::rename(&away, fixture.path()).expect("moved");
        watch.look();
        watch.look();
        assert!(!Arc::ptr_eq(&before, &current.get()), "read");
        assert_eq!(watch.complaint, None);
    }

    #[test]
    fn the_thread_ends_with_its_store() {
        let fixture = Fixture::new("end", "a\n");
        let watched = fixture.open().expect("good");
        let store = TokenFile::new(&watched);
        drop(watched);
        fixture.write("b\n");
        wait_until(|| fixture.woken.load(Ordering::SeqCst) == 1);
        drop(store);
        wait_until(|| Arc::strong_count(&fixture.woken) == 1);
    }
}
