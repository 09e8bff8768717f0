//! The token stores that a configuration names, in the order in which they are asked: those that
//! answer at once first.
//!
//! A store that answers later does so on a thread of its own and wakes the poller. What is watched (files
//! of tokens, JWK sets) goes on being watched when the configuration is read again, so that the loop does
//! not read a long file, and no set has to be fetched before anybody is let in.
//!
//! Never here: what is asked and what follows from it.

#[cfg(feature = "all-stores")]
mod remote;
#[cfg(not(feature = "all-stores"))]
mod without;

use std::path::Path;
use std::sync::Arc;

use crate::auth::file::{TokenFile, WatchedFile};
use crate::auth::list::TokenList;
use crate::auth::{TokenStore, Wake};
use crate::config::Config;

#[cfg(not(feature = "all-stores"))]
use without as remote;

pub(super) use remote::check;

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
    sets: remote::Sets,
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
    remote::add(config, &mut all, &watched.sets, wake)?;
    // Only now: where one store cannot be made, nothing is to change, and these are in force.
    let kept = |file: &&WatchedFile| config.token_files.iter().any(|path| file.path() == path);
    watched
        .files
        .iter()
        .filter(kept)
        .for_each(WatchedFile::reread);
    remote::refetch(&watched.sets, &all.watched.sets);
    Ok(all)
}

/// Whether every file that `config` names for a store can be read and makes sense. Nobody is asked.
///
/// # Errors
/// As the start would say it.
pub fn check_files(config: &Config) -> Result<(), String> {
    let wake: Wake = Arc::new(|| {});
    stores(config, &Watched::default(), &wake).map(drop)
}

fn watch_file(path: &Path, watched: &Watched, wake: &Wake) -> Result<WatchedFile, String> {
    match watched.files.iter().find(|file| file.path() == path) {
        Some(file) => Ok(file.clone()),
        None => WatchedFile::open(path, Arc::clone(wake)),
    }
}
