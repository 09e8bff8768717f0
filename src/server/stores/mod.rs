//! The token stores that a configuration names, in the order in which they are asked: those that
//! answer at once first.
//!
//! A store that answers later does so on a thread of its own and wakes the poller. Files of tokens and JWK sets
//! that are watched go on being watched when the configuration is read again: the loop does not read a long
//! file, and clients do not wait until a set was fetched.
//!
//! A build without the feature `all-stores` has no [`remote`], and refuses a configuration that needs it.
//!
//! Never here: what stores are asked, and what follows from their answers.

#[cfg(feature = "all-stores")]
mod remote;

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::clock::unix_time;
use crate::auth::TokenStore;
use crate::auth::file::{TokenFile, WatchedFile};
use crate::auth::list::TokenList;
use crate::config::AuthOptions;
use crate::wake::Wake;

/// The stores of one configuration, and what they watch.
#[derive(Default)]
pub(super) struct Stores {
    /// In the order in which they are asked.
    pub stores: Vec<Box<dyn TokenStore>>,
    pub watched: Watched,
}

/// What stores watch. It is kept when the configuration is read again and still names it.
#[derive(Default)]
pub(super) struct Watched {
    files: Vec<WatchedFile>,
    #[cfg(feature = "all-stores")]
    sets: remote::Sets,
}

/// Makes the stores of `auth`. Those that watch something go on with what is `watched`.
///
/// # Errors
/// One line that names the option, the place and what is wrong.
pub(super) fn stores(auth: &AuthOptions, watched: &Watched, wake: &Wake) -> Result<Stores, String> {
    let mut all = Stores {
        stores: vec![Box::new(TokenList::new(&auth.tokens))],
        watched: Watched::default(),
    };
    for path in &auth.token_files {
        let file = watch_file(path, watched, wake)?;
        all.stores.push(Box::new(TokenFile::new(&file)));
        all.watched.files.push(file);
    }
    #[cfg(feature = "all-stores")]
    remote::add(auth, &mut all, &watched.sets, wake)?;
    #[cfg(not(feature = "all-stores"))]
    refuse_remote(auth)?;
    // Only now: when one store cannot be made, nothing changes, and these stay in force.
    let kept = |file: &&WatchedFile| auth.token_files.iter().any(|path| file.path() == path);
    watched
        .files
        .iter()
        .filter(kept)
        .for_each(WatchedFile::reread);
    #[cfg(feature = "all-stores")]
    remote::refetch(&watched.sets, &all.watched.sets);
    Ok(all)
}

/// Asks the stores whose options can only be checked by asking them, and waits for their answers. Returns a warning for
/// each that does not answer.
///
/// # Errors
/// As [`stores`].
pub(super) fn check(auth: &AuthOptions) -> Result<Vec<String>, String> {
    #[cfg(feature = "all-stores")]
    return remote::check_databases(auth);
    #[cfg(not(feature = "all-stores"))]
    return refuse_remote(auth).map(|()| Vec::new());
}

/// Looks for an option that needs a store which this build does not have.
///
/// # Errors
/// The option, and what to do about it.
#[cfg(not(feature = "all-stores"))]
fn refuse_remote(auth: &AuthOptions) -> Result<(), String> {
    match auth.remote_stores().next() {
        Some(store) => Err(format!(
            "{}: this newswire was built without that store; build it with the feature all-stores \
             (it is there by default), or use a file of tokens",
            store.name
        )),
        None => Ok(()),
    }
}

/// Checks the stores of `auth` as far as that takes no token: reads the files, fetches the JWK sets, and asks each
/// database and each API once. Returns who could get in now, and warnings: files that others can read or write, and
/// servers that cannot be used now.
///
/// # Errors
/// As the start would say it.
pub fn check_stores(auth: &AuthOptions) -> Result<(Vec<Entrance>, Vec<String>), String> {
    let (sender, fetched) = mpsc::channel();
    let wake: Wake = Arc::new(move || {
        // It fails after the check.
        let _ = sender.send(());
    });
    let Stores { watched, .. } = stores(auth, &Watched::default(), &wake)?;
    let exposed = watched.files.iter().filter_map(|file| {
        let exposed = file.exposed()?;
        Some(format!(
            "token file: path={} {exposed}",
            file.path().display()
        ))
    });
    #[cfg(feature = "all-stores")]
    let exposed = exposed
        .chain(remote::exposed(auth))
        .chain(remote::unfetched(&watched.sets, &fetched))
        .chain(remote::check_databases(auth)?)
        .chain(remote::check_apis(auth)?);
    #[cfg(not(feature = "all-stores"))]
    drop(fetched);
    let warnings = exposed.collect();
    Ok((entrances(auth, &watched, unix_time()), warnings))
}

/// One way in for clients.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entrance {
    /// In words for the operator, such as `2 from tokens.txt (1 expired)`.
    pub text: String,
    /// True exactly when a token may be good there.
    pub is_open: bool,
}

/// The ways in for clients at `unix`, in the order in which the stores are asked.
pub(super) fn entrances(auth: &AuthOptions, watched: &Watched, unix: Duration) -> Vec<Entrance> {
    let mut all = Vec::new();
    if !auth.tokens.is_empty() {
        all.push(Entrance {
            text: format!("{} of the configuration", auth.tokens.len()),
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
    #[cfg(feature = "all-stores")]
    all.extend(remote::entrances(auth).into_iter().map(|text| Entrance {
        text,
        is_open: true,
    }));
    all
}

/// Warns when no client can get in. The server runs all the same, since a file of tokens may change.
pub(super) fn warn_if_closed(entrances: &[Entrance]) {
    if !entrances.iter().any(|entrance| entrance.is_open) {
        let all: Vec<&str> = entrances.iter().map(|e| e.text.as_str()).collect();
        log::warn!(
            "tokens: none is good, so no client can get in: {}; put one into the file (`newswire token new`), \
             or see docs/tokens.md",
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
