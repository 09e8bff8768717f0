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
use std::time::Duration;

use super::clock::unix_time;
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
        stores: vec![Box::new(TokenList::new(&config.auth.tokens))],
        watched: Watched::default(),
    };
    for path in &config.auth.token_files {
        let file = watch_file(path, watched, wake)?;
        all.stores.push(Box::new(TokenFile::new(&file)));
        all.watched.files.push(file);
    }
    remote::add(config, &mut all, &watched.sets, wake)?;
    // Only now: where one store cannot be made, nothing is to change, and these are in force.
    let kept = |file: &&WatchedFile| {
        config
            .auth
            .token_files
            .iter()
            .any(|path| file.path() == path)
    };
    watched
        .files
        .iter()
        .filter(kept)
        .for_each(WatchedFile::reread);
    remote::refetch(&watched.sets, &all.watched.sets);
    Ok(all)
}

/// Whether every file that `config` names for a store can be read and makes sense, who could get in now,
/// and who else could read or write those files, a line each. Nobody is asked.
///
/// # Errors
/// As the start would say it.
pub fn check_files(config: &Config) -> Result<(Vec<Entrance>, Vec<String>), String> {
    let wake: Wake = Arc::new(|| {});
    let Stores { watched, .. } = stores(config, &Watched::default(), &wake)?;
    let files = watched.files.iter().filter_map(|file| {
        let exposed = file.exposed()?;
        Some(format!(
            "token file: path={} {exposed}",
            file.path().display()
        ))
    });
    let exposed = files.chain(remote::exposed(config)).collect();
    Ok((entrances(config, &watched, unix_time()), exposed))
}

/// One way in for clients.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entrance {
    /// In words for the operator, such as `2 from tokens.txt (1 expired)`.
    pub text: String,
    /// True exactly when a token may be good there.
    pub is_open: bool,
}

/// Who can get in at `unix`, in the order in which the stores are asked.
pub(super) fn entrances(config: &Config, watched: &Watched, unix: Duration) -> Vec<Entrance> {
    let mut all = Vec::new();
    if !config.auth.tokens.is_empty() {
        all.push(Entrance {
            text: format!("{} of the configuration", config.auth.tokens.len()),
            is_open: true,
        });
    }
    for file in &watched.files {
        let (tokens, expired) = file.count(unix.as_secs());
        let path = file.path().display();
        let note = match expired {
            0 => String::new(),
            n => format!(" ({n} expired)"),
        };
        all.push(Entrance {
            text: format!("{tokens} from {path}{note}"),
            is_open: tokens > expired,
        });
    }
    let remote = remote::entrances(config);
    all.extend(remote.into_iter().map(|text| Entrance {
        text,
        is_open: true,
    }));
    all
}

/// Says so when nobody can get in: the server runs all the same, since a file may change.
pub(super) fn warn_if_closed(entrances: &[Entrance]) {
    if !entrances.iter().any(|entrance| entrance.is_open) {
        let all: Vec<&str> = entrances.iter().map(|e| e.text.as_str()).collect();
        log::warn!(
            "tokens: none is good, so no client can get in: {}; put one into the file (`newswire token new`), \
             or see *Tokens* in the README",
            all.join(", ")
        );
    }
}

fn watch_file(path: &Path, watched: &Watched, wake: &Wake) -> Result<WatchedFile, String> {
    match watched.files.iter().find(|file| file.path() == path) {
        Some(file) => Ok(file.clone()),
        None => WatchedFile::open(path, Arc::clone(wake)),
    }
}
