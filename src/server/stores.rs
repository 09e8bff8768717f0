//! The token stores that a configuration names, in the order in which they are asked: those that
//! answer at once first.
//!
//! A store that answers later does so on a thread of its own and wakes the poller. Never here: what
//! is asked and what follows from it.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::TokenStore;
use crate::auth::agent::Trust;
use crate::auth::gate::GateRules;
use crate::auth::http::{self, HttpStore};
use crate::auth::list::TokenList;
use crate::auth::postgres::{self, PostgresOptions, PostgresStore};
use crate::auth::workers::Bounds;
use crate::config::Config;

/// Wakes the loop, from any thread.
pub(super) type Wake = Arc<dyn Fn() + Send + Sync>;

/// The stores of `config`.
///
/// # Errors
/// One line that names the option, the place and what is wrong.
pub(super) fn stores(config: &Config, wake: &Wake) -> Result<Vec<Box<dyn TokenStore>>, String> {
    let mut stores: Vec<Box<dyn TokenStore>> = vec![Box::new(TokenList::new(&config.tokens))];
    let trust = Trust::load(&config.auth_ca)?;
    let settings = http::Settings {
        scheme: config.auth_scheme.clone(),
        trust: trust.clone(),
        bounds: bounds(config),
    };
    for url in &config.auth_urls {
        let store = HttpStore::new(url, &settings, Arc::clone(wake))?;
        stores.push(Box::new(store));
    }
    for options in databases(config, &trust) {
        let store = PostgresStore::start(&options, Arc::clone(wake))?;
        stores.push(Box::new(store));
    }
    Ok(stores)
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
