//! The stores that check signatures or ask another server: JWTs, APIs, databases.
//!
//! They bring TLS and a database's driver along, most of what the program weighs; a build for a small
//! host leaves them out. Never here: stores that need neither.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use super::Stores;
use crate::auth::agent::{self, Agent, Trust};
use crate::auth::http::{self, HttpOptions, HttpStore};
use crate::auth::jwks::{Known, WatchedSet};
use crate::auth::jwt::{JwtRules, JwtStore};
use crate::auth::keys::{self, JwtKey};
use crate::auth::postgres::{self, PostgresOptions, PostgresStore};
use crate::auth::secret_file::read_secret;
use crate::auth::workers::Bounds;
use crate::config::AuthOptions;
use crate::exposure;
use crate::limits;
use crate::wake::Wake;
use crate::wire::jwt::JwtAlgorithm;

/// The JWK sets that are watched, and what the thread of each was told.
pub(super) type Sets = Vec<(SetOrigin, WatchedSet)>;

/// What a thread that fetches a JWK set was told.
#[derive(Clone, PartialEq)]
pub(super) struct SetOrigin {
    url: String,
    algorithm: JwtAlgorithm,
    /// A file; empty for the usual authorities.
    authorities: String,
    timeout_seconds: u32,
}

/// Adds the stores of `auth`. JWK sets among `sets` go on being watched.
///
/// # Errors
/// As [`super::stores`].
pub(super) fn add(
    auth: &AuthOptions,
    all: &mut Stores,
    sets: &Sets,
    wake: &Wake,
) -> Result<(), String> {
    if let Some(algorithm) = auth.jwt_algorithm {
        let store = jwt_store(auth, algorithm, sets, &mut all.watched.sets, wake)?;
        all.stores.push(Box::new(store));
    }
    let trust = Trust::load(&auth.authorities)?;
    if let Some(exposed) = exposed_authorities(&auth.authorities) {
        log::warn!("{exposed}");
    }
    let settings = api_options(auth, &trust);
    for url in &auth.api_urls {
        let store = HttpStore::new(url, &settings, Arc::clone(wake))?;
        all.stores.push(Box::new(store));
    }
    for options in databases(auth, &trust) {
        let store = PostgresStore::start(&options, Arc::clone(wake))?;
        all.stores.push(Box::new(store));
    }
    Ok(())
}

fn jwt_store(
    auth: &AuthOptions,
    algorithm: JwtAlgorithm,
    watched: &Sets,
    kept: &mut Sets,
    wake: &Wake,
) -> Result<JwtStore, String> {
    let mut keys = Vec::new();
    for path in &auth.jwt_keys {
        keys.extend(key_file(path, algorithm)?);
    }
    // Each is tried with every token.
    let (count, max) = (keys.len(), limits::JWT_KEYS_MAX);
    if count > max {
        return Err(format!(
            "auth-jwt-key: there are {count} keys in the files, and at most {max} are taken, because every JWT is \
             tried with each: take out those that sign no more, or serve them as a JWK set (auth-jwks) and name \
             them (kid)"
        ));
    }
    let mut sets = Vec::new();
    for url in &auth.jwks_urls {
        let origin = SetOrigin {
            url: url.clone(),
            algorithm,
            authorities: auth.authorities.clone(),
            timeout_seconds: auth.timeout_seconds,
        };
        let set = watch_set(&origin, watched, wake)?;
        sets.push(set.clone());
        kept.push((origin, set));
    }
    let rules = JwtRules {
        algorithm,
        audience: non_empty(&auth.jwt_audience),
        issuer: non_empty(&auth.jwt_issuer),
        waiting_max: auth.waiting_max,
    };
    Ok(JwtStore::new(rules, keys, sets))
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn watch_set(origin: &SetOrigin, watched: &Sets, wake: &Wake) -> Result<WatchedSet, String> {
    if let Some((_, set)) = watched.iter().find(|(other, _)| other == origin) {
        return Ok(set.clone());
    }
    let url = agent::parse_url(&origin.url).map_err(|error| format!("auth-jwks: {error}"))?;
    // A fault in the file is told now. Each fetch reads the file again, since it may be replaced.
    Trust::load(&origin.authorities)?;
    let authorities = origin.authorities.clone();
    let timeout = Duration::from_secs(origin.timeout_seconds.into());
    let fetch = move || Agent::new(&Trust::load(&authorities)?, timeout).fetch(&url);
    let wake = Arc::clone(wake);
    WatchedSet::open(&origin.url, origin.algorithm, Box::new(fetch), wake)
}

/// The ways in by these stores, in words.
pub(super) fn entrances(auth: &AuthOptions) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(algorithm) = auth.jwt_algorithm {
        let files = auth.jwt_keys.iter().map(|p| p.display().to_string());
        let sets = auth.jwks_urls.iter().map(|url| host(url));
        let keys: Vec<String> = files.chain(sets).collect();
        all.push(format!(
            "JWT {}, keys from {}",
            algorithm.name(),
            keys.join(", ")
        ));
    }
    let apis = auth.api_urls.iter();
    all.extend(apis.map(|url| format!("those that the API at {} knows", host(url))));
    let databases = auth.postgres_urls.iter();
    all.extend(databases.map(|url| {
        let place = postgres::place(url);
        format!("those that PostgreSQL at {place} knows")
    }));
    all
}

/// The host of a URL. The path and the query may be secret.
fn host(url: &str) -> String {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    rest.split(['/', '?']).next().unwrap_or(rest).to_owned()
}

/// Fetches the sets of `watched` again that are among `kept`.
pub(super) fn refetch(watched: &Sets, kept: &Sets) {
    for (origin, set) in watched {
        if kept.iter().any(|(other, _)| other == origin) {
            set.refetch();
        }
    }
}

/// Waits until each of `sets` was fetched or could not be, which `fetched` tells. Returns a sentence for each set
/// that brought no key.
pub(super) fn unfetched(sets: &Sets, fetched: &Receiver<()>) -> Vec<String> {
    let sentence = |(origin, set): &(SetOrigin, WatchedSet)| {
        // A fetch ends by itself after `timeout_seconds`, but for the system's own time to look up a name.
        let patience = Duration::from_secs(2 * u64::from(origin.timeout_seconds));
        while set.known().is_awaited && fetched.recv_timeout(patience).is_ok() {}
        let reason = match set.known() {
            Known {
                is_awaited: true, ..
            } => "it does not answer".to_owned(),
            Known {
                failure: Some(reason),
                ..
            } => reason,
            Known {
                keys: Some(keys), ..
            } if !keys.is_empty() => return None,
            _ => format!("no key in it is for {}", origin.algorithm.name()),
        };
        Some(format!(
            "auth-jwks: the set of {} cannot be used now: {reason}",
            host(&origin.url)
        ))
    };
    sets.iter().filter_map(sentence).collect()
}

fn key_file(path: &Path, algorithm: JwtAlgorithm) -> Result<Vec<JwtKey>, String> {
    let read = read_secret(path, limits::JWT_KEY_FILE_BYTES_MAX);
    let keys = read.and_then(|text| keys::from_file(&text, algorithm));
    let keys = keys.map_err(|reason| format!("auth-jwt-key: {}: {reason}", path.display()))?;
    if let Some(exposed) = exposed_key(path, algorithm) {
        log::warn!("{exposed}");
    }
    Ok(keys)
}

fn exposed_key(path: &Path, algorithm: JwtAlgorithm) -> Option<String> {
    let exposed = exposure::of(path, algorithm == JwtAlgorithm::Hs256)?;
    Some(format!("auth-jwt-key: path={} {exposed}", path.display()))
}

/// Anybody who can write this file can answer in the place of an API or a database.
fn exposed_authorities(path: &str) -> Option<String> {
    let exposed = exposure::of(Path::new(path), false)?;
    Some(format!("auth-ca: path={path} {exposed}"))
}

/// A line for each file of these stores that others can read or write.
pub(super) fn exposed(auth: &AuthOptions) -> Vec<String> {
    let algorithm = auth.jwt_algorithm;
    let keys = auth.jwt_keys.iter();
    let keys = keys.filter_map(|path| exposed_key(path, algorithm?));
    keys.chain(exposed_authorities(&auth.authorities)).collect()
}

/// Asks the databases of `auth`, and waits for their answers. Returns a warning for each that does not answer.
///
/// # Errors
/// As [`super::stores`].
pub(super) fn check_databases(auth: &AuthOptions) -> Result<Vec<String>, String> {
    let trust = Trust::load(&auth.authorities)?;
    let warnings = databases(auth, &trust).map(|options| postgres::check(&options));
    warnings.filter_map(Result::transpose).collect()
}

/// Asks the APIs of `auth` about a token that nobody has, and waits for their answers. Returns a warning for each that
/// accepts it or cannot tell.
///
/// # Errors
/// As [`super::stores`].
pub(super) fn check_apis(auth: &AuthOptions) -> Result<Vec<String>, String> {
    let settings = api_options(auth, &Trust::load(&auth.authorities)?);
    let warnings = auth.api_urls.iter().map(|url| http::check(url, &settings));
    warnings.filter_map(Result::transpose).collect()
}

fn api_options(auth: &AuthOptions, trust: &Trust) -> HttpOptions {
    HttpOptions {
        scheme: auth.api_scheme.clone(),
        forwards_client: auth.api_is_told_client,
        trust: trust.clone(),
        bounds: bounds(auth),
    }
}

fn databases<'a>(
    auth: &'a AuthOptions,
    trust: &'a Trust,
) -> impl Iterator<Item = PostgresOptions<'a>> {
    auth.postgres_urls.iter().map(|url| PostgresOptions {
        url,
        query: &auth.postgres_query,
        time_zone: &auth.postgres_time_zone,
        trust,
        bounds: bounds(auth),
    })
}

/// The bounds of stores that ask another server.
fn bounds(auth: &AuthOptions) -> Bounds {
    Bounds {
        threads: auth.requests_max,
        waiting_max: auth.waiting_max,
        timeout: Duration::from_secs(auth.timeout_seconds.into()),
    }
}
