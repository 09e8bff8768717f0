//! `newswire`: arguments become a command, a command becomes an exit code.
//!
//! This is the only place that ends the program or prints an error. Exit codes: 0, the command did what it was asked
//! for; 1, it could not; 2, the arguments or the configuration make no sense. Never here: what a command does, and
//! what the banner and the summary say.

mod banner;
mod memory;
mod ready;
mod summary;

use std::path::Path;
use std::process::ExitCode;

use newswire::cli::{self, Action, ConfigFlags, Failure, print, tell};
use newswire::config::{AuthOptions, Config, Loaded};
use newswire::logging;
use newswire::server::{self, Server, StartError, Systemd};
use newswire::wire::token::Token;
use ready::ReadyFile;

/// Where a relay listens for other servers when nothing else is given.
const RELAY_ENDPOINT: &str = "tcp://127.0.0.1:5556";

fn main() -> ExitCode {
    // Arguments need not be text: a file's name may have any bytes.
    let mut arguments = std::env::args_os().peekable();
    let program = arguments.peek().map_or("newswire".into(), |program| {
        program.to_string_lossy().into_owned()
    });
    let outcome = cli::parse(arguments).and_then(|action| match action {
        Action::Serve(flags) => serve(&flags, &program, Role::Server),
        Action::Relay(flags) => serve(&flags, &program, Role::Relay),
        Action::Check(flags) => check(&flags),
        Action::Publish(options) => cli::publish::run(&options),
        Action::Subscribe(options) => cli::subscribe::run(&options),
        Action::Load(options) => cli::load::run(&options),
        Action::NewToken => cli::token::new().map(|token| print(&format!("{}\n", token.reveal()))),
        Action::RevokeToken(revocation) => cli::token::revoke(&revocation).map(|text| print(&text)),
        Action::HashToken(token) => {
            cli::token::hash(token.as_ref()).map(|hash| print(&format!("{hash}\n")))
        }
        Action::Print(text) => {
            print(&text);
            Ok(())
        }
    });
    let (code, text) = match outcome {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Runtime(text)) => (1, text),
        Err(Failure::Usage(text)) => (2, text),
    };
    tell(&text);
    ExitCode::from(code)
}

fn load(given: &ConfigFlags) -> Result<Loaded, Failure> {
    let loaded = Loaded::read(given.file.as_deref(), &given.flags)
        .map_err(|error| Failure::Usage(error.to_string()))?;
    for warning in &loaded.warnings {
        tell(&format!("warning: {warning}"));
    }
    Ok(loaded)
}

/// Refuses a file that is no regular one. Reading a pipe waits for its writer, and the loop waits for nobody: at the
/// start the file may be a pipe (`--config <(…)`), later it may not. When there is no file at all, reading it says
/// so.
fn refuse_what_waits(path: &Path) -> Result<(), String> {
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(format!(
            "{}: it is no regular file, and a server at work reads no other; put one in its place, or \
             restart",
            path.display()
        )),
        _ => Ok(()),
    }
}

fn check(given: &ConfigFlags) -> Result<(), Failure> {
    let loaded = load(given)?;
    let config = &loaded.config;
    server::check_paths(config).map_err(Failure::Usage)?;
    let (entrances, warnings) = server::check_stores(&config.auth).map_err(Failure::Usage)?;
    for warning in &warnings {
        tell(&format!("warning: {warning}"));
    }
    let connections = server::connections_max(config.clients.connections_max);
    let mut text = loaded.show();
    text.push_str("\n# Tokens that let clients in\n");
    if config.needs_a_token() {
        text.push_str("# none is given: the start makes one and prints it\n");
    }
    for entrance in &entrances {
        // A line break in a path would end the comment.
        text.push_str(&format!("# {}\n", entrance.text.escape_debug()));
    }
    if !config.needs_a_token() && !entrances.iter().any(|entrance| entrance.is_open) {
        tell("warning: no token is good, so no client can get in");
    }
    text.push_str(&memory::comment(config, connections));
    print(&text);
    Ok(())
}

/// What the process is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Role {
    /// It serves clients.
    Server,
    /// It hands events on to other servers.
    Relay,
}

impl Role {
    /// Makes of what was configured what this role does.
    ///
    /// # Errors
    /// A sentence, when it could do nothing.
    fn shape(self, config: &mut Config) -> Result<(), String> {
        if self == Self::Server {
            return Ok(());
        }
        config.listen.addresses.clear();
        config.auth = AuthOptions::default();
        if config.relay.endpoints.is_empty() {
            config.relay.endpoints.push(RELAY_ENDPOINT.to_owned());
        }
        // The admin listener takes events too, but nobody sets up a relay for that alone.
        let ingest = [&config.ingest.pull, &config.ingest.sub];
        let is_idle = ingest.iter().all(|list| list.is_empty())
            && config.brokers.amqp.is_empty()
            && config.publish.addresses.is_empty();
        match is_idle {
            true => Err(
                "a relay without sources has nothing to hand on: set one of pull, sub, amqp and publish".to_owned(),
            ),
            false => Ok(()),
        }
    }
}

fn serve(given: &ConfigFlags, program: &str, role: Role) -> Result<(), Failure> {
    let failed = |error| match error {
        // A file or an address of the configuration is wrong.
        StartError::Store(sentence) => Failure::Usage(sentence),
        error => Failure::Runtime(error.to_string()),
    };
    // This comes first, before the log's thread is there.
    let systemd = Systemd::from_environment().map_err(failed)?;
    let Loaded {
        mut config, file, ..
    } = load(given)?;
    role.shape(&mut config).map_err(Failure::Usage)?;
    let token = if role == Role::Server && config.needs_a_token() {
        let token = cli::token::new()?;
        let shown = token.reveal();
        config.auth.tokens.push(token);
        Some(shown)
    } else {
        None
    };
    // It lives until the end of this function: log lines of the shutdown are still written.
    let _logging = logging::start(config.process.log_level)
        .map_err(|error| Failure::Runtime(format!("cannot start the log: {error}")))?;
    // A token that was made for this run stays good for all of it.
    let (made, flags) = (token.clone().map(Token::new), given.clone());
    let reread = Box::new(move || {
        if let Some(path) = &file {
            refuse_what_waits(path)?;
        }
        let loaded = Loaded::read(flags.file.as_deref(), &flags.flags);
        let loaded = loaded.map_err(|error| error.to_string())?;
        for warning in &loaded.warnings {
            log::warn!("reload: {warning}");
        }
        let mut config = loaded.config;
        role.shape(&mut config)?;
        if config.needs_a_token() {
            config.auth.tokens.extend(made.clone());
        }
        Ok(config)
    });
    let server = Server::start(&config, reread, systemd).map_err(failed)?;
    let _ready = match &*config.process.ready_file {
        "" => None,
        path => {
            let file = ReadyFile::write(Path::new(path), &config, &server);
            Some(file.map_err(Failure::Runtime)?)
        }
    };
    print(&banner::text(&config, &server, program, token.as_deref()));
    let (stats, uptime) = server
        .run()
        .map_err(|error| Failure::Runtime(format!("the server failed: {error}")))?;
    // The level may have been changed by a reload.
    let has_counters = log::max_level() >= log::LevelFilter::Debug;
    print(&summary::text(&stats, uptime, has_counters));
    Ok(())
}
