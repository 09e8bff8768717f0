//! One connection to a database, and the statement that is prepared on it.
//!
//! The driver's own task for a connection is not used: the thread that asks serves the connection while its question
//! is under way. So nothing runs between two questions, and dropping the session is all that ends it.
//!
//! Never here: when to make a new session, how long anything may take, and the words of a database while it runs the
//! statement: a token may be in them.

use std::error::Error as _;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use bytes::BytesMut;
use tokio_postgres::error::{Severity, SqlState};
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Connection, Error, Socket, Statement};

use super::SessionOptions;
use super::row::Columns;
use super::tls::Encrypted;
use crate::auth::Answer;

/// Settings of the session: when one of them cannot be set, nothing else is asked.
const SETUP: &str = "SELECT set_config('TimeZone', $1, false), \
                     set_config('statement_timeout', $2, false), \
                     set_config('default_transaction_read_only', 'on', false)";

/// Why there is no answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The database cannot be reached, or cannot answer now. That may pass.
    Silent(String),
    /// The options do not fit the database: that stays until an operator changes either.
    Mistake(String),
    /// The database answered, and the answer is not understood. That may be the fault of this one token.
    Odd(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Silent(text) | Self::Mistake(text) | Self::Odd(text)) = self;
        f.write_str(text)
    }
}

/// A connection that takes questions.
pub struct DatabaseSession {
    client: Client,
    link: DriverLink,
    statement: Statement,
    columns: Columns,
}

impl DatabaseSession {
    /// Connects and prepares the statement.
    ///
    /// # Errors
    /// The text has neither the password nor a token.
    pub async fn open(settings: &SessionOptions) -> Result<Self, Fault> {
        let SessionOptions {
            address,
            encryption,
            ..
        } = settings;
        let connected = address.config.connect(encryption.clone()).await;
        let (client, connection) = connected.map_err(|error| before(&error))?;
        let mut link = DriverLink(Some(connection));
        let timeout = settings.timeout.as_millis().to_string();
        let values: [(&(dyn ToSql + Sync), Type); 2] =
            [(&settings.time_zone, Type::TEXT), (&timeout, Type::TEXT)];
        let setup = link.serve(client.query_typed(SETUP, &values)).await;
        setup.map_err(|error| before(&error))?;
        let prepared = link.serve(client.prepare(&settings.query)).await;
        let statement = prepared.map_err(|error| before(&error))?;
        let wrong = |text| Fault::Mistake(format!("auth-postgres-query: {text}"));
        let parameters = statement.params().len();
        if parameters != 1 {
            return Err(wrong(format!(
                "it has {parameters} parameters, and one is needed: $1, not in quotes"
            )));
        }
        let columns = Columns::of(statement.columns()).map_err(wrong)?;
        Ok(Self {
            client,
            link,
            statement,
            columns,
        })
    }

    /// Asks about `token`. Of several rows the first counts.
    ///
    /// # Errors
    /// After any but [`Fault::Odd`], the session is of no more use.
    pub async fn ask(&mut self, token: &str) -> Result<Answer, Fault> {
        let parameters: [&(dyn ToSql + Sync); 1] = [&Secret(token)];
        let asked = self.client.query(&self.statement, &parameters);
        match self.link.serve(asked).await {
            Ok(rows) => match rows.first() {
                Some(row) => self.columns.answer(row).map_err(Fault::Odd),
                None => Ok(Answer::Unknown),
            },
            Err(error) if is_no_value(&error) => Ok(Answer::Unknown),
            Err(error) => Err(during(&error)),
        }
    }
}

/// The driver's side of a connection; `None` after its end.
struct DriverLink(Option<Connection<Socket, Encrypted>>);

impl DriverLink {
    /// Serves the connection until `work`, which needs it, is done.
    async fn serve<T>(&mut self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        let mut work = pin!(work);
        poll_fn(|context| {
            let mut failure = None;
            while let Some(connection) = &mut self.0 {
                match connection.poll_message(context) {
                    // A notice, which nobody reads: a token may be in it.
                    Poll::Ready(Some(Ok(_))) => {}
                    Poll::Ready(ended) => {
                        failure = ended.and_then(Result::err);
                        self.0 = None;
                    }
                    Poll::Pending => break,
                }
            }
            match (work.as_mut().poll(context), failure) {
                // The server's last message says more than the end of the connection.
                (Poll::Ready(Err(error)), Some(failure)) if error.is_closed() => {
                    Poll::Ready(Err(failure))
                }
                (done, _) => done,
            }
        })
        .await
    }
}

/// A token on its way to the database, as text, whatever type it has there: the database reads it as it reads a
/// literal. The driver shows its parameters to the log; it shows nothing of this one.
struct Secret<'a>(&'a str);

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl ToSql for Secret<'_> {
    fn to_sql(
        &self,
        _kind: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(_kind: &Type) -> bool {
        true
    }

    fn encode_format(&self, _kind: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// Returns true when the text can be no token, because it is no value of the type with which the statement compares
/// it (a UUID, say, or a text in the database's encoding).
fn is_no_value(error: &Error) -> bool {
    [
        SqlState::INVALID_TEXT_REPRESENTATION,
        SqlState::CHARACTER_NOT_IN_REPERTOIRE,
        SqlState::UNTRANSLATABLE_CHARACTER,
        SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
    ]
    .iter()
    .any(|state| error.code() == Some(state))
}

/// The class of an error, as PostgreSQL sorts errors.
fn class(error: &Error) -> &str {
    error.code().map_or("", |state| &state.code()[..2])
}

/// A fault before the database had a token.
fn before(error: &Error) -> Fault {
    let text = describe(error);
    match class(error) {
        // The password or the role, the database, the statement, its time zone or something in it is wrong.
        "28" | "3D" | "42" | "22" | "0A" => Fault::Mistake(text),
        _ => Fault::Silent(text),
    }
}

/// A fault while the database had a token. Its message may quote the token: a function can raise an error of any
/// class, with any text. So only the severity and the SQLSTATE of an error are shown, in our own words.
fn during(error: &Error) -> Fault {
    let Some(said) = error.as_db_error() else {
        return Fault::Silent(describe(error));
    };
    if *said.code() == SqlState::READ_ONLY_SQL_TRANSACTION {
        return Fault::Mistake("auth-postgres-query: it writes, and may only read".to_owned());
    }
    let state = said.code().code();
    let class = class(error);
    let words = match (state, class) {
        ("42501", _) => "permission denied",
        ("57014", _) => "the statement was cancelled, or took too long",
        (_, "08") => "its connection failed",
        (_, "0A") => "it does not support something in the statement",
        (_, "25" | "40") => "the transaction failed",
        (_, "42") => "the statement, or a function in it, is wrong",
        (_, "53") => "it has too few resources",
        (_, "55") => "something is not ready or locked",
        (_, "57") => "an operator intervened",
        (_, "58" | "XX") => "it has an error inside",
        _ => "the statement failed",
    };
    let severity = said.parsed_severity().unwrap_or(Severity::Error);
    let text = format!("{words} ({severity}, SQLSTATE {state}); the database's log says more");
    match class {
        "42" => Fault::Mistake(text),
        // Errors of the connection, the transaction, resources, an operator, the system: not of a value.
        "08" | "0A" | "25" | "40" | "53" | "55" | "57" | "58" | "XX" => Fault::Silent(text),
        _ => Fault::Odd(text),
    }
}

/// The error in one line, in the database's own words: it had no token yet.
fn describe(error: &Error) -> String {
    if let Some(said) = error.as_db_error() {
        let message = said.message().replace(char::is_control, " ");
        return format!("{message} (SQLSTATE {})", said.code().code());
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text.replace(char::is_control, " ")
}
