//! The file of an `ipc://` endpoint: whether newswire may have the path, and who may connect.
//!
//! Before libzmq binds, it deletes what stands at the path, even the socket of a server that runs, or a file
//! that is no socket. So `make_room` looks first. A socket where no process answers was left behind by a process
//! that has ended, and libzmq may replace it.
//!
//! Never here: TCP, and abstract sockets (`ipc://@name`), which have no file: the kernel refuses a name that is
//! taken, and lets everybody of the network namespace connect.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::path::Path;

use nix::unistd::Group;
use rustix::fs::Mode;
use rustix::process::umask;
use socket2::{Domain, SockAddr, Socket, Type};

use super::SetUpError;

/// The mode of a socket file when only its group is configured: owner and group may connect.
const MODE_WITH_GROUP: u32 = 0o660;

/// Who may connect to a socket file. Without a mode and a group, the umask decides.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileAccess {
    mode: Option<u32>,
    group: Option<u32>,
}

impl FileAccess {
    /// `group` is a name or a number. When it is empty, the file has the group of the process.
    ///
    /// # Errors
    /// A sentence, when there is no such group.
    pub fn new(mode: Option<u32>, group: &str) -> Result<Self, String> {
        let group = match (group, group.parse::<u32>()) {
            ("", _) => None,
            (_, Ok(number)) => Some(number),
            (name, Err(_)) => match Group::from_name(name) {
                Ok(Some(found)) => Some(found.gid.as_raw()),
                Ok(None) => {
                    return Err(format!(
                        "pull-group: this machine has no group {name} (`getent group` lists them)"
                    ));
                }
                Err(error) => return Err(format!("pull-group: cannot look up {name}: {error}")),
            },
        };
        let mode = mode.or(group.map(|_| MODE_WITH_GROUP));
        Ok(Self { mode, group })
    }

    /// Calls `bind`, which makes a socket file and answers its endpoint. Then gives the file its group and its
    /// mode. Until the file has both, only the owner can connect.
    pub fn bind(
        self,
        bind: impl FnOnce() -> Result<String, SetUpError>,
    ) -> Result<String, SetUpError> {
        if self.mode.is_none() && self.group.is_none() {
            return bind();
        }
        // The umask is the whole process's: at the start no other thread makes files.
        let before = umask(Mode::from_raw_mode(0o177));
        let bound = bind();
        umask(before);
        let endpoint = bound?;
        if let Some(path) = path(&endpoint) {
            if let Some(group) = self.group {
                let action = "give the socket its group (newswire has to be a member of pull-group, or root)";
                chown(path, None, Some(group)).map_err(|error| SetUpError::File(action, error))?;
            }
            if let Some(mode) = self.mode {
                let mode = fs::Permissions::from_mode(mode);
                fs::set_permissions(path, mode)
                    .map_err(|error| SetUpError::File("give the socket its mode", error))?;
            }
        }
        Ok(endpoint)
    }
}

/// The file that libzmq would make for `endpoint`; `None` when it makes none, or chooses the name itself.
fn path(endpoint: &str) -> Option<&Path> {
    let path = endpoint.strip_prefix("ipc://")?;
    (!path.starts_with(['@', '*'])).then_some(Path::new(path))
}

/// Returns true when something that is no socket stands at the path of `endpoint`.
pub fn is_no_socket(endpoint: &str) -> bool {
    let found = path(endpoint).and_then(|path| fs::symlink_metadata(path).ok());
    found.is_some_and(|found| !found.file_type().is_socket())
}

/// Checks that libzmq may bind `endpoint`, which deletes what stands at its path.
pub fn make_room(endpoint: &str) -> Result<(), SetUpError> {
    let Some(path) = path(endpoint) else {
        // libzmq deletes a file even where the name is one of an abstract socket.
        let name = endpoint.strip_prefix("ipc://@").map(|_| &endpoint[6..]);
        return match name.map(fs::symlink_metadata) {
            Some(Ok(_)) => Err(SetUpError::NoSocket),
            _ => Ok(()),
        };
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(SetUpError::File("look at the path", error)),
        Ok(found) if !found.file_type().is_socket() => return Err(SetUpError::NoSocket),
        Ok(_) => {}
    }
    match connect(path) {
        Ok(()) => Err(SetUpError::Answered),
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused | ErrorKind::NotFound => Ok(()),
            // The queue of connections is full, so a process listens there.
            ErrorKind::WouldBlock => Err(SetUpError::Answered),
            _ => Err(SetUpError::File(
                "find out whether somebody answers there",
                error,
            )),
        },
    }
}

fn connect(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // A server that hangs would keep newswire waiting.
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::{UnixDatagram, UnixListener};
    use std::path::PathBuf;
    use std::process;

    use super::*;
    use crate::ingest::zeromq::SourceError;
    use crate::ingest::zeromq::pull::Pull;
    use crate::ingest::zeromq::socket::tests::RULES;

    /// A folder of its own for each test, gone afterwards.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = env::temp_dir().join(format!("newswire-ipc-{}-{name}", process::id()));
            fs::create_dir(&folder).expect("a new folder");
            Self(folder)
        }

        fn path(&self) -> PathBuf {
            self.0.join("pull.sock")
        }

        fn bind(&self, access: FileAccess) -> Result<Pull, SourceError> {
            let endpoint = format!("ipc://{}", self.path().display());
            Pull::bind(&zmq::Context::new(), &endpoint, RULES, access)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_is_no_socket_is_refused_and_stays() {
        let folder = Folder::new("file");
        fs::write(folder.path(), "mine").expect("written");
        let error = folder.bind(FileAccess::default()).expect_err("a file");
        assert!(!error.is_taken());
        assert!(error.to_string().contains("is no socket"), "{error}");
        assert_eq!(
            fs::read_to_string(folder.path()).expect("still there"),
            "mine"
        );
    }

    #[test]
    fn a_socket_where_somebody_answers_is_refused_and_goes_on_answering() {
        let folder = Folder::new("answered");
        let first = folder.bind(FileAccess::default()).expect("bound");
        let error = folder.bind(FileAccess::default()).expect_err("taken");
        assert!(error.is_taken(), "{error}");
        connect(&folder.path()).expect("the first one answers");
        drop(first);
        // A socket of another kind has an owner too.
        fs::remove_file(folder.path()).expect("left behind");
        let _datagram = UnixDatagram::bind(folder.path()).expect("bound");
        folder
            .bind(FileAccess::default())
            .expect_err("another kind");
        assert!(folder.path().exists());
    }

    #[test]
    fn a_socket_that_was_left_behind_is_replaced() {
        let folder = Folder::new("stale");
        drop(UnixListener::bind(folder.path()).expect("bound"));
        assert!(folder.path().exists(), "the file stays");
        let _source = folder.bind(FileAccess::default()).expect("replaced");
        connect(&folder.path()).expect("it answers");
    }

    #[test]
    fn the_file_gets_its_mode_and_its_group() {
        let folder = Folder::new("mode");
        for (mode, group, expected) in [
            (Some(0o600), String::new(), 0o600),
            (Some(0o666), String::new(), 0o666),
            (None, nix::unistd::getgid().to_string(), 0o660),
            (Some(0o620), nix::unistd::getgid().to_string(), 0o620),
        ] {
            let access = FileAccess::new(mode, &group).expect("a group");
            let source = folder.bind(access).expect("bound");
            let found = fs::metadata(folder.path()).expect("a file");
            assert_eq!(found.mode() & 0o7777, expected);
            assert_eq!(found.gid(), nix::unistd::getgid().as_raw());
            drop(source);
        }
        let sentence = FileAccess::new(None, "no-such-group-here").expect_err("no group");
        assert!(sentence.contains("no-such-group-here"), "{sentence}");
    }

    #[test]
    fn a_name_of_an_abstract_socket_that_is_taken_is_refused() {
        let name = format!("ipc://@newswire-test-{}", process::id());
        let context = zmq::Context::new();
        let bind = || Pull::bind(&context, &name, RULES, FileAccess::default());
        let _first = bind().expect("bound");
        assert!(bind().expect_err("taken").is_taken());
    }
}
