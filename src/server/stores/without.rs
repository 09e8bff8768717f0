//! In the place of `remote.rs` in a build without the feature `all-stores`: whoever configures such a
//! store is told that it is not there.
//!
//! Never here: anything that needs TLS.

use super::Stores;
use crate::auth::Wake;
use crate::config::Config;

/// Nothing is watched.
pub(super) type Sets = ();

/// Adds none.
///
/// # Errors
/// When `config` names one.
pub(super) fn add(
    config: &Config,
    _all: &mut Stores,
    _sets: &Sets,
    _wake: &Wake,
) -> Result<(), String> {
    check(config)
}

/// Nobody.
pub(super) fn entrances(_config: &Config) -> Vec<String> {
    Vec::new()
}

/// No file.
pub(super) fn exposed(_config: &Config) -> Vec<String> {
    Vec::new()
}

/// There is nothing to be ordered.
pub(super) fn refetch(_watched: &Sets, _kept: &Sets) {}

/// Whether `config` names none.
///
/// # Errors
/// When it does.
pub(in crate::server) fn check(config: &Config) -> Result<(), String> {
    let named = [
        ("auth-jwt-key", config.auth.jwt_keys.is_empty()),
        ("auth-jwks", config.auth.jwks_urls.is_empty()),
        ("auth-url", config.auth.api_urls.is_empty()),
        ("auth-postgres", config.auth.postgres_urls.is_empty()),
    ];
    match named.into_iter().find(|(_, is_empty)| !is_empty) {
        Some((option, _)) => Err(format!(
            "{option}: this newswire was built without that store; build it with the feature all-stores \
             (it is there by default), or use a file of tokens"
        )),
        None => Ok(()),
    }
}
