//! A PostgreSQL server of a test's own: a fresh cluster in a directory of its own, on a port that it holds.
//!
//! Its programs are those of the newest version that Debian's package `postgresql` has installed, or
//! those next to the `pg_config` of the `PATH`. They refuse to run as root, and are then run as the user
//! `postgres`.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::port::Port;
use super::wait_until;

/// The password of [`USER`]. In an address it must be encoded.
pub const PASSWORD: &str = "p@ss/word?1";

/// The one role that there is.
pub const USER: &str = "swp";

/// The one database that is used.
pub const DATABASE: &str = "publisher";

/// Web Publisher's table.
pub const TABLE: &str = "
    CREATE TABLE swp_api_key (
        id serial PRIMARY KEY,
        user_id integer,
        api_key varchar(255) NOT NULL,
        valid_to timestamp(0) without time zone DEFAULT NULL,
        created_at timestamp(0) without time zone NOT NULL DEFAULT now(),
        updated_at timestamp(0) without time zone DEFAULT NULL
    )";

/// A server. Dropped, it is stopped and gone.
pub struct Cluster {
    programs: PathBuf,
    folder: PathBuf,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
    _held: Port,
    settings: Vec<String>,
    process: Option<Child>,
}

impl Cluster {
    /// A server that runs, with `settings` (`name=value`), and the table, empty.
    pub fn start(settings: &[&str]) -> Self {
        let mut cluster = Self::prepare(settings);
        cluster.resume();
        cluster
    }

    /// One that does not run yet.
    pub fn prepare(settings: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("newswire-postgres-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).expect("a new folder");
        let held = Port::hold();
        let cluster = Self {
            programs: programs(),
            port: held.address.port(),
            _held: held,
            settings: settings.iter().map(|&text| text.to_owned()).collect(),
            process: None,
            folder,
        };
        cluster.give(&cluster.folder);
        let secret = cluster.file("password", PASSWORD);
        let made = cluster
            .run("initdb")
            .args(["--no-sync", "--encoding=UTF8", "--locale=C"])
            .args(["--auth=scram-sha-256", "--username", USER, "--pwfile"])
            .arg(secret)
            .arg(cluster.folder.join("data"))
            .output();
        succeeded("initdb", &made.expect("initdb starts"));
        cluster
    }

    /// Starts it, with what it held.
    pub fn resume(&mut self) {
        let mut command = self.run("postgres");
        command
            .arg("-D")
            .arg(self.folder.join("data"))
            .args(["-p", &self.port.to_string()])
            .args(["-c", "listen_addresses=127.0.0.1"])
            .args(["-c", "unix_socket_directories="])
            .args(["-c", "fsync=off"]);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        let log = fs::File::create(self.folder.join("log")).expect("a file");
        command.stdout(Stdio::null()).stderr(log);
        self.process = Some(command.spawn().expect("postgres starts"));
        wait_until("the database answers", || {
            let process = self.process.as_mut().expect("just started");
            let ended = process.try_wait().expect("a child");
            assert!(ended.is_none(), "{ended:?}: {}", self.log());
            self.psql("postgres", "SELECT 1").status.success()
        });
        let exists = format!("SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'");
        if self.psql("postgres", &exists).stdout.is_empty() {
            let created = self.psql("postgres", &format!("CREATE DATABASE {DATABASE}"));
            succeeded("CREATE DATABASE", &created);
            self.sql(TABLE);
        }
    }

    /// Stops it; sessions are ended.
    pub fn stop(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        let kill = Command::new("kill")
            .args(["-s", "INT", &process.id().to_string()])
            .status();
        assert!(kill.expect("kill runs").success());
        process.wait().expect("a child");
    }

    /// Its address.
    pub fn url(&self) -> String {
        let port = self.port;
        format!("postgres://{USER}:p%40ss%2Fword%3F1@127.0.0.1:{port}/{DATABASE}")
    }

    /// What a statement says, in `psql`'s plainest form.
    pub fn sql(&self, statement: &str) -> String {
        let output = self.psql(DATABASE, statement);
        succeeded(statement, &output);
        let text = String::from_utf8(output.stdout).expect("text");
        text.trim_end().to_owned()
    }

    /// What it has logged since it was started.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// A file of its own.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, text).expect("written");
        self.give(&path);
        path
    }

    /// Makes `path` its own.
    pub fn give(&self, path: &Path) {
        if let Some((user, group)) = other_user() {
            chown(path, Some(user), Some(group)).expect("root may do that");
        }
    }

    fn psql(&self, database: &str, statement: &str) -> Output {
        Command::new(self.programs.join("psql"))
            .args(["-X", "-q", "-A", "-t", "-w", "-v", "ON_ERROR_STOP=1"])
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-U", USER, "-d", database, "-c", statement])
            .env("PGPASSWORD", PASSWORD)
            .output()
            .expect("psql starts")
    }

    fn run(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(&self.folder).env("LC_ALL", "C");
        if let Some((user, group)) = other_user() {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // At once: nothing of it is needed any more.
            let _ = Command::new("kill")
                .args(["-s", "QUIT", &process.id().to_string()])
                .status();
            let _ = process.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn succeeded(what: &str, output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {said}");
}

/// The user and the group that run it, where that is not who runs the test.
fn other_user() -> Option<(u32, u32)> {
    let number = |arguments: [&str; 2]| {
        let output = Command::new("id")
            .args(arguments)
            .output()
            .expect("id runs");
        let text = String::from_utf8(output.stdout).expect("text");
        text.trim().parse::<u32>().ok()
    };
    if number(["-u", "--"])? != 0 {
        return None;
    }
    Some((number(["-u", "postgres"])?, number(["-g", "postgres"])?))
}

fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let version = path.file_name()?.to_str()?.parse().ok()?;
            Some((version, path.join("bin")))
        })
        .filter(|(_, folder)| folder.join("initdb").exists())
        .collect();
    versions.sort();
    if let Some((_, folder)) = versions.pop() {
        return folder;
    }
    let output = Command::new("pg_config").arg("--bindir").output();
    let output = output.expect("PostgreSQL's server programs are installed");
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}
