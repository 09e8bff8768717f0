//! The token stores that a configuration names, in the order in which they are asked: those that
//! answer at once first.
//!
//! A store that answers later does so on a thread of its own and wakes the poller. Never here: what
//! is asked and what follows from it.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::TokenStore;
use crate::auth::gate::GateRules;
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
    for options in databases(config) {
        stores.push(Box::new(PostgresStore::start(&options, Arc::clone(wake))?));
    }
    Ok(stores)
}

/// Asks those that must be asked to know whether they can be used, and waits for them.
///
/// # Errors
/// As [`stores`].
pub(super) fn check(config: &Config) -> Result<(), String> {
    databases(config).try_for_each(|options| postgres::check(&options))
}

fn databases(config: &Config) -> impl Iterator<Item = PostgresOptions<'_>> {
    config.postgres_urls.iter().map(|url| PostgresOptions {
        url,
        query: &config.postgres_query,
        time_zone: &config.postgres_time_zone,
        ca: &config.auth_ca,
        bounds: bounds(config),
    })
}

/// How much, and for how long, each store on threads is asked.
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
