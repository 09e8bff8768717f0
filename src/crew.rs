//! What the parent of workers has beside its server: the port where they listen, the folder with their socket, and the
//! plan by which they are started.
//!
//! Never here: the workers themselves.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use newswire::cli::{self, ConfigFlags, Failure};
use newswire::config::Config;
use newswire::server::{self, Entrance, HeldPorts, Systemd};
use newswire::wire::token::Token;
use newswire::workers::{Plan, PrivateFolder};

/// How much longer than its own time a worker may take to go down.
const STOP_MARGIN: Duration = Duration::from_secs(2);

/// See above. Dropped, it gives the port back and removes the folder: after the server.
pub struct Crew {
    ports: HeldPorts,
    folder: PrivateFolder,
    /// How many workers there are to be.
    pub count: usize,
    /// Who can get in.
    pub entrances: Vec<Entrance>,
    /// How many endpoints for other servers the operator has named.
    pub relays: usize,
    /// In connections, the limit of each worker.
    pub connections_max: usize,
    /// That limit, and where it comes from.
    pub capacity_note: String,
}

impl Crew {
    /// Takes the port and makes the folder. `config` is as it was given, and has workers.
    ///
    /// # Errors
    /// Whatever makes workers impossible, found before one is started.
    pub fn prepare(
        config: &Config,
        systemd: &Systemd,
        file: Option<&Path>,
        count: usize,
    ) -> Result<Self, Failure> {
        if systemd.has_listeners() {
            return Err(Failure::Usage(
                "workers listen themselves, and systemd has passed a listener: leave --workers out, or stop the socket \
                 unit (`systemctl disable --now newswire.socket; systemctl mask newswire.socket`)"
                    .to_owned(),
            ));
        }
        if let Some(path) = file.filter(|path| !path.is_file()) {
            return Err(Failure::Usage(format!(
                "{}: it is no regular file, and each worker reads it, too; put one in its place",
                path.display()
            )));
        }
        let (entrances, _) = server::check_stores(&config.auth).map_err(Failure::Usage)?;
        let ports =
            HeldPorts::take(&config.listen).map_err(|error| Failure::Runtime(error.to_string()))?;
        let folder = PrivateFolder::make(&std::env::temp_dir()).map_err(|error| {
            Failure::Runtime(format!("cannot make a folder for the workers: {error}"))
        })?;
        let asked = config.clients.connections_max.div_ceil(count);
        Ok(Self {
            ports,
            folder,
            count,
            entrances,
            relays: config.relay.endpoints.len(),
            connections_max: server::connections_max(asked),
            capacity_note: server::capacity_note(asked),
        })
    }

    /// Where clients connect.
    pub fn listeners(&self) -> &[SocketAddr] {
        self.ports.addresses()
    }

    /// Where the parent hands events on.
    pub fn endpoint(&self) -> String {
        self.folder.endpoint()
    }

    /// How the workers are started. `given` is what the parent was started with.
    ///
    /// # Errors
    /// There are no random numbers.
    pub fn plan(
        &self,
        given: &ConfigFlags,
        config: &Config,
        made: Option<&Token>,
    ) -> Result<Plan, Failure> {
        let seconds = config.process.shutdown_seconds.div_ceil(2);
        Ok(Plan {
            count: self.count,
            arguments: arguments(given),
            endpoint: self.endpoint(),
            addresses: self.listeners().to_vec(),
            admin_token: cli::token::new()?,
            client_token: made.cloned(),
            patience: Duration::from_secs(seconds.into()) + STOP_MARGIN,
        })
    }
}

/// The flags of which `given` was made.
fn arguments(given: &ConfigFlags) -> Vec<OsString> {
    let mut all = Vec::new();
    if let Some(file) = &given.file {
        all.extend(["--config".into(), file.clone().into_os_string()]);
    }
    for (name, texts) in &given.flags {
        all.extend(texts.iter().map(|text| format!("--{name}={text}").into()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_given_the_flags_of_its_parent() {
        let line = ["newswire", "serve", "--config", "a b.toml"];
        let more = ["--token=-x=y", "--token", "z", "--workers", "2"];
        let line = line.iter().chain(&more).map(OsString::from);
        let Ok(cli::Action::Serve(given)) = cli::parse(line) else {
            panic!("serve");
        };
        let arguments = arguments(&given);
        let again = ["newswire", "worker"].iter().map(OsString::from);
        let Ok(cli::Action::Worker(read)) = cli::parse(again.chain(arguments)) else {
            panic!("worker");
        };
        assert_eq!((&read.file, &read.flags), (&given.file, &given.flags));
    }
}
