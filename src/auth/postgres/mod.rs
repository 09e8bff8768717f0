//! A table in PostgreSQL that knows tokens.
//!
//! Each thread keeps one connection, on which the statement is prepared. When a connection that was good for the
//! last question fails at this one, it may have been cut meanwhile, so the thread asks once more on a new one. All
//! of that together takes no longer than the time-out, whatever the database does: the thread counts the time
//! itself, and also tells the database to count, so that the database does not go on with a question that nobody
//! waits for.
//!
//! The driver is asynchronous, because its synchronous interface cannot stop waiting; its runtime runs on these
//! threads alone, while they wait.
//!
//! Never here: the loop's thread, except at the start; passwords and tokens in a text.

mod address;
mod row;
mod session;
mod tls;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use self::address::DatabaseAddress;
use self::session::{DatabaseSession, Fault};
use self::tls::Encryption;
use super::agent::Trust;
use super::workers::{Bounds, Worker, Workers};
use super::{Answer, Moment, Question, TokenStore};
use crate::stats::Store;
use crate::wake::Wake;
use crate::wire::token::Token;

/// The options of one database.
#[derive(Clone)]
pub struct PostgresOptions<'a> {
    /// The address, with the password.
    pub url: &'a str,
    /// The statement, with one parameter: the token.
    pub query: &'a str,
    /// The time zone of the session in which the statement runs.
    pub time_zone: &'a str,
    /// The authorities whose certificates are accepted.
    pub trust: &'a Trust,
    /// How many questions, and for how long.
    pub bounds: Bounds,
}

/// What a session needs.
struct SessionOptions {
    address: DatabaseAddress,
    encryption: Encryption,
    query: String,
    time_zone: String,
    /// The time for one question, with everything that has to be done for it.
    timeout: Duration,
}

impl SessionOptions {
    fn new(options: &PostgresOptions<'_>) -> Result<Self, String> {
        let timeout = options.bounds.timeout;
        Ok(Self {
            address: DatabaseAddress::parse(options.url, timeout)
                .map_err(|wrong| format!("auth-postgres: {wrong}"))?,
            encryption: Encryption::new(options.trust)?,
            query: options.query.to_owned(),
            time_zone: options.time_zone.to_owned(),
            timeout,
        })
    }
}

/// A store that asks a database.
pub struct PostgresStore {
    workers: Workers,
    settings: Arc<SessionOptions>,
}

impl PostgresStore {
    /// Starts the threads; a thread connects for its first question. The store calls `wake` when there is an answer.
    ///
    /// # Errors
    /// Which of the options cannot be used, without the password.
    pub fn start(options: &PostgresOptions<'_>, wake: Wake) -> Result<Self, String> {
        let settings = Arc::new(SessionOptions::new(options)?);
        // The threads own the runtime, and the last one waits for the work that is left.
        let runtime = Arc::new(runtime(options.bounds.threads)?);
        let place = format!("database={}", settings.address.place);
        let theirs = Arc::clone(&settings);
        let make = move || DatabaseWorker::new(&theirs, &runtime);
        let workers = Workers::start(Store::Postgres, &place, options.bounds, wake, make)?;
        Ok(Self { workers, settings })
    }
}

/// Host, port and database of an address, for the operator; never its password.
pub fn place(url: &str) -> String {
    let address = DatabaseAddress::parse(url, Duration::ZERO);
    address.map_or_else(|_| "an address that cannot be used".to_owned(), |a| a.place)
}

/// Connects, prepares the statement and asks about no token. It waits for that as long as one question may take. The
/// start calls it, before there is a client to serve, and so does `newswire check`.
///
/// Returns a warning when the database does not answer: it may come back.
///
/// # Errors
/// The options do not fit that database.
pub fn check(options: &PostgresOptions<'_>) -> Result<Option<String>, String> {
    let settings = Arc::new(SessionOptions::new(options)?);
    let runtime = Arc::new(runtime(1)?);
    let asked = DatabaseWorker::new(&settings, &runtime).ask("");
    // The look-up of a name may still run; the start does not wait for it.
    if let Some(runtime) = Arc::into_inner(runtime) {
        runtime.shutdown_background();
    }
    let place = &settings.address.place;
    match asked {
        Ok(_) => Ok(None),
        Err(Fault::Silent(reason)) => Ok(Some(format!(
            "auth: store=postgres database={place} does not answer: {reason}. Until it does, a client whose \
             token no other store knows gets 503"
        ))),
        Err(fault) => Err(format!("auth-postgres {place}: {fault}")),
    }
}

impl TokenStore for PostgresStore {
    fn kind(&self) -> Store {
        Store::Postgres
    }

    fn needs_token(&self) -> bool {
        true
    }

    fn ask(&mut self, question: &Arc<Question>, _moment: Moment) -> Option<Answer> {
        match text(question.presented()) {
            Some(_) => self.workers.ask(question),
            None => Some(Answer::Unknown),
        }
    }

    fn poll_answer(&mut self) -> Option<(u64, Answer)> {
        self.workers.poll_answer()
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgresStore({})", self.settings.address.place)
    }
}

/// The runtime of the driver, for `threads` threads: a thread that waits drives it for the others.
fn runtime(threads: usize) -> Result<Runtime, String> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        // Threads of the runtime, for the look-ups of hosts' names.
        .max_blocking_threads(threads)
        .build()
        .map_err(|error| format!("auth-postgres: no runtime: {error}"))
}

/// A text that a database could hold: none there has a zero byte.
fn text(token: &Token) -> Option<&str> {
    let text = std::str::from_utf8(token.bytes()).ok()?;
    (!text.contains('\0')).then_some(text)
}

/// The worker of one thread.
struct DatabaseWorker {
    settings: Arc<SessionOptions>,
    runtime: Arc<Runtime>,
    /// The session of the last question, if that had an answer.
    session: Option<DatabaseSession>,
}

impl DatabaseWorker {
    fn new(settings: &Arc<SessionOptions>, runtime: &Arc<Runtime>) -> Self {
        Self {
            settings: Arc::clone(settings),
            runtime: Arc::clone(runtime),
            session: None,
        }
    }

    fn ask(&mut self, token: &str) -> Result<Answer, Fault> {
        let limit = self.settings.timeout;
        // The session is taken out: a question that is stopped in the middle is dropped, and its connection with it.
        let session = self.session.take();
        let asked = async { timeout(limit, ask(&self.settings, session, token)).await };
        let (session, answer) = self.runtime.block_on(asked).unwrap_or_else(|_| {
            let text = format!("no answer within {} s (auth-timeout)", limit.as_secs_f32());
            (None, Err(Fault::Silent(text)))
        });
        self.session = session;
        answer
    }
}

impl Worker for DatabaseWorker {
    fn answer(&mut self, question: &Question) -> Result<Answer, String> {
        // The store has checked it before.
        let token = text(question.presented()).expect("it is a text");
        match self.ask(token) {
            Ok(answer) => Ok(answer),
            Err(Fault::Odd(text)) => Ok(Answer::Unavailable(text)),
            Err(Fault::Silent(text) | Fault::Mistake(text)) => Err(text),
        }
    }
}

/// Asks on `session`, and on a new one when there is none or it has ended. Returns the session that is good for the
/// next question.
async fn ask(
    settings: &SessionOptions,
    session: Option<DatabaseSession>,
    token: &str,
) -> (Option<DatabaseSession>, Result<Answer, Fault>) {
    if let Some(mut session) = session {
        let answer = session.ask(token).await;
        if matches!(answer, Ok(_) | Err(Fault::Odd(_))) {
            return (Some(session), answer);
        }
    }
    let mut session = match DatabaseSession::open(settings).await {
        Ok(session) => session,
        Err(fault) => return (None, Err(fault)),
    };
    let answer = session.ask(token).await;
    let is_good = matches!(answer, Ok(_) | Err(Fault::Odd(_)));
    (is_good.then_some(session), answer)
}
