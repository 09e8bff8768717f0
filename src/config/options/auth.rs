//! Which tokens let a client in, and who is asked about them.
//!
//! Never here: tokens of administrators and publishers (those are in `admin` and `publish`).

use std::path::PathBuf;

use super::super::types::{List, WhenNone, Word};
use super::{choice, list, name_of, option};
use crate::config::values;
use crate::limits;
use crate::wire::jwt::JwtAlgorithm;
use crate::wire::token::Token;

/// True where the API is told who brings a token.
const FORWARDS: [(&str, bool); 2] = [("client", true), ("off", false)];

group! {
    /// Which tokens let a client in, and who is asked about them.
    AuthOptions at auth, "Who may subscribe" {
        /// Token that lets a client in, as ?token=TOKEN. Every user of the machine can read a command line: prefer
        /// the variable (a token has no comma then) or the file. When no option of this group names a token or a
        /// store, newswire makes a token for the run and prints it at the start, so that no server is open by
        /// accident.
        #[option("token", "TOKEN", secret, brief("Token that lets a client listen"))]
        tokens: Vec<Token> = list(client_token, Token::reveal, WhenNone::Empty, &[]),

        /// File of tokens, one a line: a token or sha256:HEX of it (`newswire token hash`), then topics=a,b_*,
        /// expires=RFC 3339, name=… where wanted. newswire reads it again when it changes, since an editor is the
        /// quickest way to add somebody. `off` reads none.
        #[option("tokens", "FILE", brief("File of such tokens, one a line"))]
        token_files: Vec<PathBuf> = paths(),

        /// Key of the JWTs that clients may present: a PEM file with a public key, or the secret of HS256. Give
        /// several while one replaces another. `off` takes no JWT.
        #[option("auth-jwt-key", "FILE")]
        jwt_keys: Vec<PathBuf> = paths(),

        /// Address of a JWK set with the keys of the JWTs that clients may present. newswire fetches it at the start,
        /// every ten minutes, and when a token names a key that is not in it. `off` fetches none.
        #[option("auth-jwks", "URL")]
        jwks_urls: Vec<String> = list(values::web_url, String::clone, WhenNone::Off, &[]),

        /// Algorithm of the JWTs: HS256, RS256, ES256 or EdDSA. It has no default and is never taken from a token,
        /// because a token that chooses it chooses its own key.
        #[option("auth-jwt-algorithm", "ALGORITHM")]
        jwt_algorithm: Option<JwtAlgorithm> = Word {
            default: "",
            parse: jwt_algorithm,
            show: |algorithm: &Option<JwtAlgorithm>| algorithm.map_or("", JwtAlgorithm::name).to_owned(),
        },

        /// Audience that a JWT has to name (`aud`). Empty: newswire does not check it, and also accepts a JWT that was
        /// made for another service with the same key.
        #[option("auth-jwt-audience", "TEXT")]
        jwt_audience: String = any_text(),

        /// Issuer that a JWT has to name (`iss`). Empty: newswire does not check it, since the key says who made the
        /// token.
        #[option("auth-jwt-issuer", "TEXT")]
        jwt_issuer: String = any_text(),

        /// Address of the API that is asked about a token: GET with the token as Authorization. 2xx accepts the
        /// token; 401, 403 and 404 say that the API does not know it; anything else is no answer. `off` asks none.
        #[option("auth-url", "URL", brief("API that knows the tokens"))]
        api_urls: Vec<String> = list(values::web_url, String::clone, WhenNone::Off, &[]),

        /// Word before the token in the Authorization that the API gets, such as Bearer. Empty: the token alone, as
        /// Web Publisher's API takes it.
        #[option("auth-scheme", "WORD")]
        api_scheme: String = Word {
            default: "",
            parse: scheme,
            show: String::clone,
        },

        /// What the API is told about who brings a token. `client` sends the client's address (X-Forwarded-For) and
        /// its page's Origin, and an answer counts only for clients of the same address and page. `off` sends
        /// neither, so that each token is one question, whoever brings it.
        #[option("auth-forward", "client|off")]
        api_is_told_client: bool = Word {
            default: "client",
            parse: |text| choice(&FORWARDS, text),
            show: |value| name_of(&FORWARDS, value),
        },

        /// Database that is asked about a token, such as postgres://user:password@host/database. Prefer the variable
        /// or the file, because every user of the machine can read a command line. `off` asks none.
        #[option("auth-postgres", "URL", secret)]
        postgres_urls: Vec<String> = list(postgres_url, String::clone, WhenNone::Off, &[]),

        /// SQL statement with one parameter, $1, which is the token as text. A row accepts the token. newswire uses
        /// these columns where there are: name (text), topics (text[]), expires (seconds since 1970, or timestamptz)
        /// and token_id (text; what to revoke the token by). The default reads Web Publisher's table.
        #[option("auth-postgres-query", "SQL")]
        postgres_query: String = Word {
            default: "SELECT concat('user ', user_id) AS name, \
                      extract(epoch FROM valid_to::timestamptz)::float8 AS expires \
                      FROM swp_api_key WHERE api_key = $1 AND valid_to >= LOCALTIMESTAMP(0)",
            parse: query,
            show: String::clone,
        },

        /// Time zone of the database session. Web Publisher stores valid_to without a time zone, in that of its PHP
        /// (date.timezone), whose own default is UTC.
        #[option("auth-postgres-time-zone", "ZONE")]
        postgres_time_zone: String = Word {
            default: "UTC",
            parse: time_zone,
            show: String::clone,
        },

        /// PEM file with the authorities whose certificates the API, the JWK set and the database may show. Empty:
        /// those that browsers trust, which often do not include a company's own.
        #[option("auth-ca", "FILE")]
        authorities: String = any_text(),

        /// Time in which the API or the database has to answer about one token. It is less than handshake-timeout,
        /// so that a client learns the reason.
        #[option("auth-timeout", "SECONDS")]
        timeout_seconds: u32 = number!(Seconds, limits::AUTH_TIMEOUT_SECONDS, 1, limits::DEADLINE_SECONDS_MAX),

        /// Time for which newswire does not ask again about an accepted token, so that all the clients that connect
        /// again after a restart cause one question for each token. It never goes beyond the token's own end. 0 asks
        /// for each client.
        #[option("auth-cache", "SECONDS")]
        cache_seconds: u32 = number!(Seconds, limits::AUTH_CACHE_SECONDS, 0, 86_400),

        /// Time after which newswire asks again about the token of an open session, a tenth more or less so that not
        /// all questions come at once. The session of a token that was deleted may go on for that long.
        #[option("auth-recheck", "SECONDS")]
        recheck_seconds: u32 = number!(Seconds, limits::AUTH_RECHECK_SECONDS, 1, 86_400),

        /// Time for which an open session stays while no store can say whether its token is still good. The default is
        /// long enough for a restart of the database; newswire lets nobody new in meanwhile.
        #[option("auth-grace", "SECONDS")]
        grace_seconds: u32 = number!(Seconds, limits::AUTH_GRACE_SECONDS, 0, 86_400),

        /// Questions to one API or database at a time; each takes a thread while it waits. The default is small
        /// because more load than that is rarely welcome there.
        #[option("auth-requests-max", "REQUESTS")]
        requests_max: usize = number!(Count, limits::AUTH_REQUESTS_MAX, 1, 256),

        /// Questions that wait for their turn at one API or database; further clients get 503. It also bounds what
        /// the tokens of all clients that wait may take: 1,600 bytes for each question. Ten thousand different
        /// tokens after a restart are a large site.
        #[option("auth-waiting-max", "REQUESTS")]
        waiting_max: usize = number!(Count, limits::AUTH_WAITING_MAX, 1, 1_000_000),
    }
}

/// An option that names tokens, or a store that knows some.
#[derive(Clone, Copy, Debug)]
pub struct StoreOption {
    /// The option's name.
    pub name: &'static str,
    /// How many tokens or stores it names.
    pub count: usize,
    /// True exactly when the store is in builds with the feature `all-stores` alone. The gate keeps the tokens that
    /// such a store accepts.
    pub is_remote: bool,
}

impl AuthOptions {
    /// The options that name tokens or stores. A client can get in by these alone.
    pub fn stores(&self) -> [StoreOption; 6] {
        let store = |name, count, is_remote| StoreOption {
            name,
            count,
            is_remote,
        };
        [
            store("token", self.tokens.len(), false),
            store("tokens", self.token_files.len(), false),
            store("auth-jwt-key", self.jwt_keys.len(), true),
            store("auth-jwks", self.jwks_urls.len(), true),
            store("auth-url", self.api_urls.len(), true),
            store("auth-postgres", self.postgres_urls.len(), true),
        ]
    }

    /// Those of the remote stores that are given.
    pub fn remote_stores(&self) -> impl Iterator<Item = StoreOption> {
        let all = self.stores().into_iter();
        all.filter(|store| store.is_remote && store.count > 0)
    }
}

/// Files, none by default.
const fn paths() -> List<PathBuf> {
    list(
        values::path,
        |path| path.display().to_string(),
        WhenNone::Off,
        &[],
    )
}

/// A text that may be anything, empty by default.
const fn any_text() -> Word<String> {
    Word {
        default: "",
        parse: |text| Ok(text.to_owned()),
        show: String::clone,
    }
}

/// A token of clients, and no flag whose own token was forgotten: it would become a token that anybody can guess.
fn client_token(text: &str) -> Result<Token, String> {
    let name = text.strip_prefix("--");
    if name.is_some_and(|name| option(name).is_some()) {
        return Err("that is a flag; the token before it is missing".to_owned());
    }
    values::token(text)
}

/// How JWTs are signed; empty is not at all.
fn jwt_algorithm(text: &str) -> Result<Option<JwtAlgorithm>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let named = JwtAlgorithm::ALL.into_iter().find(|a| a.name() == text);
    named
        .map(Some)
        .ok_or_else(|| "HS256, RS256, ES256 or EdDSA is needed".to_owned())
}

/// A scheme of `Authorization` (RFC 9110 s. 11.1); empty is none.
fn scheme(text: &str) -> Result<String, String> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if text.chars().all(is_good) {
        return Ok(text.to_owned());
    }
    Err("one word is needed, such as Bearer".to_owned())
}

/// An address of a database, by its form alone; the driver looks at the rest.
fn postgres_url(text: &str) -> Result<String, String> {
    let is_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
    if is_url || text.contains('=') && !text.contains("://") {
        return Ok(text.to_owned());
    }
    Err(
        "an address such as postgres://user:password@host/database is needed, or key=value pairs \
         such as `host=/run/postgresql user=newswire dbname=publisher`"
            .to_owned(),
    )
}

/// A statement with the one parameter that there is.
fn query(text: &str) -> Result<String, String> {
    if text.contains("$1") && !text.contains("$2") {
        return Ok(text.to_owned());
    }
    Err("an SQL statement with one parameter, $1 (the token), is needed".to_owned())
}

/// A time zone, as PostgreSQL names it.
fn time_zone(text: &str) -> Result<String, String> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || "/_+-:".contains(c);
    if !text.is_empty() && text.chars().all(is_good) {
        return Ok(text.to_owned());
    }
    Err("a time zone is needed, such as UTC or Europe/Berlin".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Takes;

    #[test]
    fn every_list_of_the_group_names_tokens_or_stores() {
        let lists = OPTIONS
            .iter()
            .filter(|option| matches!(option.takes(), Takes::List(_)));
        let lists: Vec<&str> = lists.map(|option| option.name).collect();
        let stores = AuthOptions::default().stores();
        assert_eq!(stores.map(|store| store.name).as_slice(), lists);
    }
}
