//! `newswire`: arguments become a command, a command becomes an exit code.
//!
//! This is the only place that ends the program or prints an error. Exit codes: 0, the command did what it was asked
//! for; 1, it could not; 2, the arguments or the configuration make no sense. Never here: what a command does, and
//! what the banner and the summary say.

mod banner;
mod crew;
mod memory;
mod ready;
mod role;
mod summary;

use std::path::Path;
use std::process::ExitCode;

use newswire::cli::{self, Action, ConfigFlags, Failure, print, tell};
use newswire::config::Loaded;
use newswire::logging;
use newswire::server::{self, Ended, Server, StartError, Systemd};
use newswire::wire::json;
use newswire::workers::{Briefing, Parentage};

use crew::Crew;
use ready::ReadyFile;
use role::Role;

fn main() -> ExitCode {
    // Arguments need not be text: a file's name may have any bytes.
    let mut arguments = std::env::args_os().peekable();
    let program = arguments.peek().map_or("newswire".into(), |program| {
        program.to_string_lossy().into_owned()
    });
    let outcome = cli::parse(arguments).and_then(|action| match action {
        Action::Serve(flags) => serve(&flags, &program, Role::Server),
        Action::Relay(flags) => serve(&flags, &program, Role::Relay),
        Action::Worker(flags) => {
            // The lock must not be kept: another thread waits for the end.
            let briefing = Briefing::read(&mut std::io::stdin().lock());
            let briefing = briefing.map_err(Failure::Usage)?;
            serve(&flags, &program, Role::Worker(briefing))
        }
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

fn read(given: &ConfigFlags) -> Result<Loaded, Failure> {
    Loaded::read(given.file.as_deref(), &given.flags)
        .map_err(|error| Failure::Usage(error.to_string()))
}

/// Reads the configuration, and prints its warnings.
fn load(given: &ConfigFlags) -> Result<Loaded, Failure> {
    let loaded = read(given)?;
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

fn serve(given: &ConfigFlags, program: &str, role: Role) -> Result<(), Failure> {
    let failed = |error| match error {
        // A file or an address of the configuration is wrong.
        StartError::Store(sentence) => Failure::Usage(sentence),
        error => Failure::Runtime(error.to_string()),
    };
    // This comes first, before the log's thread is there. A service manager talks to a parent, and not to workers.
    let systemd = match role {
        Role::Worker(_) => Systemd::default(),
        _ => Systemd::from_environment().map_err(failed)?,
    };
    let Loaded {
        mut config, file, ..
    } = match role {
        // Its parent has printed the warnings.
        Role::Worker(_) => read(given)?,
        _ => load(given)?,
    };
    let crew = match (&role, config.process.workers.count()) {
        (Role::Server, Some(count)) => {
            Some(Crew::prepare(&config, &systemd, file.as_deref(), count)?)
        }
        _ => None,
    };
    let made = match &role {
        Role::Server if config.needs_a_token() => Some(cli::token::new()?),
        Role::Worker(briefing) => briefing.client_token.clone(),
        _ => None,
    };
    let plan = crew
        .as_ref()
        .map(|crew| crew.plan(given, &config, made.as_ref()));
    let plan = plan.transpose()?;
    let role = match &crew {
        Some(crew) => Role::Parent(crew.endpoint()),
        None => role,
    };
    role.shape(&mut config, made.as_ref())
        .map_err(Failure::Usage)?;
    // It lives until the end of this function: log lines of the shutdown are still written.
    let _logging = logging::start(config.process.log_level, role.worker())
        .map_err(|error| Failure::Runtime(format!("cannot start the log: {error}")))?;
    // A token that was made for this run stays good for all of it.
    let (rerole, remade, flags) = (role.clone(), made.clone(), given.clone());
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
        rerole.shape(&mut config, remade.as_ref())?;
        Ok(config)
    });
    let mut server = Server::start(&config, reread, systemd).map_err(failed)?;
    if let Some(plan) = plan {
        server.start_workers(plan).map_err(Failure::Runtime)?;
    }
    if let Role::Worker(briefing) = &role {
        return work(server, briefing);
    }
    let _ready = match &*config.process.ready_file {
        "" => None,
        path => {
            let file = ReadyFile::write(Path::new(path), &config, &server, crew.as_ref());
            Some(file.map_err(Failure::Runtime)?)
        }
    };
    let shown = made.map(|token| token.reveal());
    print(&banner::text(
        &config,
        &server,
        crew.as_ref(),
        program,
        shown.as_deref(),
    ));
    let ended = run(server)?;
    // The level may have been changed by a reload.
    let has_counters = log::max_level() >= log::LevelFilter::Debug;
    print(&summary::text(&ended.stats, ended.uptime, has_counters));
    Ok(())
}

fn run(server: Server) -> Result<Ended, Failure> {
    server
        .run()
        .map_err(|error| Failure::Runtime(format!("the server failed: {error}")))
}

/// Serves as a worker. It prints two lines for its parent: where its admin listener is, and its last figures.
fn work(mut server: Server, briefing: &Briefing) -> Result<(), Failure> {
    // For `ps`: the parent starts its workers by a path that does not have the program's name.
    let _ = std::fs::write("/proc/self/comm", "newswire");
    let parentage = Parentage::now();
    server.revoke(&briefing.revoked);
    server
        .end_with_stdin()
        .map_err(|error| Failure::Runtime(format!("cannot start a thread: {error}")))?;
    let admin = server.admins().first().map(ToString::to_string);
    print(
        &(json::text(|line| {
            line.put("admin", admin);
        }) + "\n"),
    );
    let ended = run(server)?;
    print(&(ended.snapshot + "\n"));
    parentage.bury(&briefing.endpoint);
    Ok(())
}
