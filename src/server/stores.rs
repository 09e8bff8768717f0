//! The token stores that a configuration names, in the order in which they are asked: those that
//! answer at once first.
//!
//! A store that answers later does so on a thread of its own and wakes the poller. What is watched (files
//! of tokens, JWK sets) goes on being watched when the configuration is read again, so that the loop does
//! not read a long file, and no set has to be fetched before anybody is let in. Never here: what
//! is asked and what follows from it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::auth::TokenStore;
use crate::auth::agent::{self, Agent, Trust};
use crate::auth::file::{self, TokenFile, WatchedFile};
use crate::auth::gate::GateRules;
use crate::auth::http::{self, HttpStore};
use crate::auth::jwks::WatchedSet;
use crate::auth::jwt::{JwtRules, JwtStore};
use crate::auth::keys::{self, Key};
use crate::auth::list::TokenList;
use crate::auth::postgres::{self, PostgresOptions, PostgresStore};
use crate::auth::workers::Bounds;
use crate::config::{Config, JwtAlgorithm};
use crate::limits;

/// Wakes the loop, from any thread.
pub(super) type Wake = Arc<dyn Fn() + Send + Sync>;

/// The stores of a configuration, and what they watch.
#[derive(Default)]
pub(super) struct Stores {
    /// In the order in which they are asked.
    pub stores: Vec<Box<dyn TokenStore>>,
    pub watched: Watched,
}

/// What is kept when the configuration is read again, as far as it is still named there.
#[derive(Default)]
pub(super) struct Watched {
    files: Vec<WatchedFile>,
    sets: Vec<(SetOrigin, WatchedSet)>,
}

/// What a thread that fetches a JWK set was told.
#[derive(Clone, PartialEq)]
struct SetOrigin {
    url: String,
    algorithm: JwtAlgorithm,
    /// Empty: the usual authorities.
    authorities: String,
    timeout_seconds: u32,
}

/// The stores of `config`; those that watch go on with what is `watched`.
///
/// # Errors
/// One line that names the option, the place and what is wrong.
pub(super) fn stores(config: &Config, watched: &Watched, wake: &Wake) -> Result<Stores, String> {
    let mut all = Stores {
        stores: vec![Box::new(TokenList::new(&config.tokens))],
        watched: Watched::default(),
    };
    for path in &config.token_files {
        let file = watch_file(path, watched, wake)?;
        all.stores.push(Box::new(TokenFile::new(&file)));
        all.watched.files.push(file);
    }
    if let Some(algorithm) = config.jwt_algorithm {
        let store = jwt_store(config, algorithm, watched, &mut all.watched, wake)?;
        all.stores.push(Box::new(store));
    }
    let trust = Trust::load(&config.auth_ca)?;
    let settings = http::Settings {
        scheme: config.auth_scheme.clone(),
        trust: trust.clone(),
        bounds: bounds(config),
    };
    for url in &config.auth_urls {
        let store = HttpStore::new(url, &settings, Arc::clone(wake))?;
        all.stores.push(Box::new(store));
    }
    for options in databases(config, &trust) {
        let store = PostgresStore::start(&options, Arc::clone(wake))?;
        all.stores.push(Box::new(store));
    }
    Ok(all)
}

fn jwt_store(
    config: &Config,
    algorithm: JwtAlgorithm,
    watched: &Watched,
    kept: &mut Watched,
    wake: &Wake,
) -> Result<JwtStore, String> {
    let mut keys = Vec::new();
    for path in &config.jwt_keys {
        keys.extend(key_file(path, algorithm)?);
    }
    let mut sets = Vec::new();
    for url in &config.jwks_urls {
        let origin = SetOrigin {
            url: url.clone(),
            algorithm,
            authorities: config.auth_ca.clone(),
            timeout_seconds: config.auth_timeout_seconds,
        };
        let set = watch_set(&origin, watched, wake)?;
        sets.push(set.clone());
        kept.sets.push((origin, set));
    }
    let rules = JwtRules {
        algorithm,
        audience: non_empty(&config.jwt_audience),
        issuer: non_empty(&config.jwt_issuer),
    };
    Ok(JwtStore::new(rules, keys, sets, Arc::clone(wake)))
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn watch_file(path: &Path, watched: &Watched, wake: &Wake) -> Result<WatchedFile, String> {
    match watched.files.iter().find(|file| file.path() == path) {
        Some(file) => {
            file.reread();
            Ok(file.clone())
        }
        None => WatchedFile::open(path, Arc::clone(wake)),
    }
}

fn watch_set(origin: &SetOrigin, watched: &Watched, wake: &Wake) -> Result<WatchedSet, String> {
    if let Some((_, set)) = watched.sets.iter().find(|(other, _)| other == origin) {
        set.refetch();
        return Ok(set.clone());
    }
    let url = agent::parse_url(&origin.url).map_err(|error| format!("auth-jwks: {error}"))?;
    // What is wrong with it is told now; it is read again with each fetch, since it may be replaced.
    Trust::load(&origin.authorities)?;
    let authorities = origin.authorities.clone();
    let timeout = Duration::from_secs(origin.timeout_seconds.into());
    let fetch = move || Agent::new(&Trust::load(&authorities)?, timeout).fetch(&url);
    let wake = Arc::clone(wake);
    WatchedSet::open(&origin.url, origin.algorithm, Box::new(fetch), wake)
}

fn key_file(path: &Path, algorithm: JwtAlgorithm) -> Result<Vec<Key>, String> {
    let read = file::read_secret(path, limits::JWT_KEY_FILE_BYTES_MAX);
    let keys = read.and_then(|text| keys::from_file(&text, algorithm));
    let keys = keys.map_err(|reason| format!("auth-jwt-key: {}: {reason}", path.display()))?;
    if algorithm == JwtAlgorithm::Hs256 && file::is_open_to_all(path) {
        let path = path.display();
        log::warn!(
            "auth-jwt-key: path={path} can be read by every user of this machine: chmod o-r"
        );
    }
    Ok(keys)
}

/// Asks those that must be asked to know whether they can be used, and waits for them.
///
/// # Errors
/// As [`stores`].
pub(super) fn check(config: &Config) -> Result<(), String> {
    let trust = Trust::load(&config.auth_ca)?;
    databases(config, &trust).try_for_each(|options| postgres::check(&options))
}

fn databases<'a>(
    config: &'a Config,
    trust: &'a Trust,
) -> impl Iterator<Item = PostgresOptions<'a>> {
    config.postgres_urls.iter().map(|url| PostgresOptions {
        url,
        query: &config.postgres_query,
        time_zone: &config.postgres_time_zone,
        trust,
        bounds: bounds(config),
    })
}

/// What those may take that ask somebody.
fn bounds(config: &Config) -> Bounds {
    Bounds {
        threads: config.auth_requests_max,
        waiting_max: config.auth_waiting_max,
        timeout: Duration::from_secs(config.auth_timeout_seconds.into()),
    }
}

/// The gate's intervals.
pub fn gate_rules(config: &Config) -> GateRules {
    let seconds = |n: u32| Duration::from_secs(n.into());
    GateRules {
        cache: seconds(config.auth_cache_seconds),
        recheck: seconds(config.auth_recheck_seconds),
        grace: seconds(config.auth_grace_seconds),
    }
}
