//! A JWK set, which a thread of its own fetches and keeps: the keys of an issuer that replaces them.
//!
//! The thread fetches it at the start, every ten minutes, and when a token names a key that is not in it. While the
//! set cannot be fetched, the last keys stay; before the first fetch succeeds, the store cannot tell. A start does
//! not wait for it, and does not fail without it.
//!
//! Never here: how the set is fetched (that is a closure), which token it is for, the poller.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use log::Level;

use super::keys::{self, SetKey};
use crate::limits;
use crate::wake::Wake;
use crate::wire::jwt::JwtAlgorithm;

/// Fetches the set's bytes, however long that takes.
///
/// # Errors
/// The reason, in one line.
pub type Fetch = Box<dyn FnMut() -> Result<Vec<u8>, String> + Send>;

/// A set that a thread fetches for as long as this exists.
#[derive(Clone, Debug)]
pub struct WatchedSet {
    url: Arc<str>,
    state: Arc<SharedSet>,
    /// Tells the thread to fetch the set now. Dropping it ends the thread.
    orders: Sender<()>,
}

/// The lock is held for as long as it takes to copy a few words.
#[derive(Debug)]
struct SharedSet(Mutex<SetState>);

#[derive(Debug)]
struct SetState {
    /// `None` until the first fetch succeeds. Replaced only when the keys differ from those before.
    keys: Option<Arc<Vec<SetKey>>>,
    /// Why the last fetch failed, if it did.
    failure: Option<String>,
    /// In fetches that were ordered, the first of them by the start.
    ordered: u64,
    /// How many of these are done. Never more than `ordered`.
    served: u64,
    /// When a token last caused a fetch.
    wanted: Option<Duration>,
}

impl SharedSet {
    /// The state of a set that the start orders to be fetched.
    fn new() -> Self {
        Self(Mutex::new(SetState {
            keys: None,
            failure: None,
            ordered: 1,
            served: 0,
            wanted: None,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, SetState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of a set.
#[derive(Clone, Debug)]
pub struct Known {
    /// `None`: no fetch has succeeded yet.
    pub keys: Option<Arc<Vec<SetKey>>>,
    /// Why the last fetch failed, if it did.
    pub failure: Option<String>,
    /// True exactly while an ordered fetch is under way.
    pub is_awaited: bool,
    /// How many ordered fetches are done.
    pub served: u64,
}

impl WatchedSet {
    /// Starts to fetch the set of keys for `algorithm`. The log and errors call the set `url`; the thread calls
    /// `wake` after each fetch.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn open(
        url: &str,
        algorithm: JwtAlgorithm,
        fetch: Fetch,
        wake: Wake,
    ) -> Result<Self, String> {
        let state = Arc::new(SharedSet::new());
        let (orders, inbox) = mpsc::channel();
        let fetcher = Fetcher {
            url: url.to_owned(),
            algorithm,
            fetch,
            failures: 0,
            complaint: None,
            state: Arc::clone(&state),
            wake,
        };
        thread::Builder::new()
            .name("auth-jwks".to_owned())
            .spawn(move || fetcher.run(&inbox))
            .map_err(|error| {
                format!("auth-jwks: cannot start the thread that fetches it: {error}")
            })?;
        Ok(Self {
            url: url.into(),
            state,
            orders,
        })
    }

    /// The name of the set in the log.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What is known now.
    pub fn known(&self) -> Known {
        let state = self.state.lock();
        Known {
            keys: state.keys.clone(),
            failure: state.failure.clone(),
            is_awaited: state.served < state.ordered,
            served: state.served,
        }
    }

    /// Orders a fetch, whatever is known of the set.
    pub fn refetch(&self) {
        self.state.lock().ordered += 1;
        // It fails when the thread has ended, and then nothing can be done about it.
        let _ = self.orders.send(());
    }

    /// Orders a fetch because a token names a key that is not there. Returns false when that was tried a moment ago:
    /// anybody can make up such tokens.
    pub fn want(&self, now: Duration) -> bool {
        let pause = Duration::from_secs(limits::JWKS_REFETCH_SECONDS);
        let mut state = self.state.lock();
        if state.wanted.is_some_and(|at| now < at + pause) {
            return false;
        }
        state.wanted = Some(now);
        drop(state);
        self.refetch();
        true
    }
}

/// The thread's state.
struct Fetcher {
    url: String,
    algorithm: JwtAlgorithm,
    fetch: Fetch,
    /// In a row.
    failures: u32,
    /// The last complaint in the log, so that it is not repeated at each try.
    complaint: Option<String>,
    state: Arc<SharedSet>,
    wake: Wake,
}

impl Fetcher {
    /// Runs until the set is dropped.
    fn run(mut self, orders: &Receiver<()>) {
        loop {
            let pause = self.fetch();
            match orders.recv_timeout(pause) {
                // The next fetch serves all orders that have come.
                Ok(()) => while orders.try_recv().is_ok() {},
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Fetches once. Returns how long to wait until the next time.
    fn fetch(&mut self) -> Duration {
        let serves = self.state.lock().ordered;
        let outcome = (self.fetch)().and_then(|json| keys::from_set(&json, self.algorithm));
        let url = self.url.clone();
        let before = self.state.lock().keys.clone();
        let pause = match &outcome {
            Ok((keys, others)) => {
                let is_new = before.as_deref() != Some(keys);
                if keys.is_empty() {
                    let algorithm = self.algorithm.name();
                    self.complain(
                        Level::Error,
                        format!("no key in it is for {algorithm} url={url} others={others}"),
                    );
                } else {
                    if is_new || self.complaint.is_some() {
                        log::info!(
                            "JWK set: fetched url={url} keys={} others={others}",
                            keys.len()
                        );
                    }
                    self.complaint = None;
                }
                self.failures = 0;
                limits::JWKS_FETCH_SECONDS
            }
            Err(reason) => {
                let (level, follows) = match before.as_deref().map(Vec::is_empty) {
                    Some(false) => (Level::Warn, "the keys that were fetched before stay"),
                    Some(true) => (Level::Error, "there is still no key that could be used"),
                    None => (
                        Level::Error,
                        "until it is there, a client whose JWT may be signed by one of its keys gets 503",
                    ),
                };
                self.complain(level, format!("{reason}; {follows} url={url}"));
                let pause = 1_u64 << self.failures.min(16);
                self.failures += 1;
                pause.min(limits::JWKS_RETRY_SECONDS_MAX)
            }
        };
        let mut state = self.state.lock();
        state.served = serves;
        match outcome {
            Ok((keys, _)) => {
                state.failure = None;
                if state.keys.as_deref() != Some(&keys) {
                    state.keys = Some(Arc::new(keys));
                }
            }
            Err(reason) => state.failure = Some(reason),
        }
        drop(state);
        (self.wake)();
        Duration::from_secs(pause)
    }

    /// Logs what is wrong, once.
    fn complain(&mut self, level: Level, sentence: String) {
        if self.complaint.as_ref() != Some(&sentence) {
            log::log!(level, "JWK set: {sentence}");
            self.complaint = Some(sentence);
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "tests wait for conditions, with deadlines"
)]
mod tests {
    use std::collections::VecDeque;
    use std::time::Instant;

    use super::*;

    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    /// A set of the key of RFC 8037 s. A.2, called `id`.
    fn set(id: &str) -> Result<Vec<u8>, String> {
        let key = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{X}","kid":"{id}"}}"#);
        Ok(format!(r#"{{"keys":[{key}]}}"#).into_bytes())
    }

    fn ids(known: &Known) -> Option<Vec<String>> {
        let keys = known.keys.as_ref()?.iter();
        Some(keys.filter_map(|key| key.id.clone()).collect())
    }

    fn fetcher(answers: Vec<Result<Vec<u8>, String>>) -> (Fetcher, WatchedSet, Receiver<()>) {
        let mut answers = VecDeque::from(answers);
        let state = Arc::new(SharedSet::new());
        let (orders, inbox) = mpsc::channel();
        let fetcher = Fetcher {
            url: "test".to_owned(),
            algorithm: JwtAlgorithm::EdDsa,
            fetch: Box::new(move || answers.pop_front().expect("no more was to be fetched")),
            failures: 0,
            complaint: None,
            state: Arc::clone(&state),
            wake: Arc::new(|| {}),
        };
        let set = WatchedSet {
            url: "test".into(),
            state,
            orders,
        };
        (fetcher, set, inbox)
    }

    #[test]
    fn keys_stay_while_the_set_cannot_be_had() {
        let down = || Err("down".to_owned());
        let said = |fetcher: &Fetcher| fetcher.complaint.clone().unwrap_or_default();
        let (mut fetcher, watched, _inbox) = fetcher(vec![
            down(),
            down(),
            set("a"),
            set("a"),
            down(),
            Ok(b"<html>".to_vec()),
            set("b"),
        ]);
        assert!(watched.known().is_awaited && ids(&watched.known()).is_none());
        assert_eq!(fetcher.fetch(), Duration::from_secs(1));
        let known = watched.known();
        assert!(!known.is_awaited && ids(&known).is_none());
        assert_eq!(known.failure.as_deref(), Some("down"));
        assert_eq!(fetcher.fetch(), Duration::from_secs(2));
        assert!(said(&fetcher).contains("until it is there"));

        assert_eq!(fetcher.fetch(), Duration::from_secs(600));
        assert_eq!(fetcher.complaint, None);
        let first = watched.known();
        assert_eq!(ids(&first), Some(vec!["a".to_owned()]));
        assert_eq!(first.failure, None);
        fetcher.fetch();
        let again = watched.known();
        assert!(Arc::ptr_eq(
            &first.keys.expect("had"),
            &again.keys.expect("had")
        ));

        assert_eq!(fetcher.fetch(), Duration::from_secs(1));
        assert!(said(&fetcher).contains("down; the keys that were fetched before stay"));
        assert_eq!(fetcher.fetch(), Duration::from_secs(2));
        let known = watched.known();
        assert_eq!(ids(&known), Some(vec!["a".to_owned()]));
        assert_eq!(known.failure.as_deref(), Some("it is no JSON"));
        fetcher.fetch();
        assert_eq!(ids(&watched.known()), Some(vec!["b".to_owned()]));
    }

    #[test]
    fn pauses_after_failures_grow_up_to_a_bound() {
        let (mut fetcher, _watched, _inbox) = fetcher(vec![Err("down".to_owned()); 70]);
        let pauses: Vec<u64> = (0..70).map(|_| fetcher.fetch().as_secs()).collect();
        assert_eq!(pauses[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(pauses[69], 60);
    }

    #[test]
    fn a_token_that_is_made_up_has_the_set_fetched_once_in_a_while() {
        let (mut fetcher, watched, inbox) = fetcher(vec![set("a"), set("a"), set("a")]);
        let seconds = Duration::from_secs;
        fetcher.fetch();
        assert!(watched.want(seconds(7)) && watched.known().is_awaited);
        assert!(!watched.want(seconds(8)));
        fetcher.fetch();
        assert!(!watched.known().is_awaited && watched.known().served == 2);
        assert!(!watched.want(seconds(36)));
        assert!(watched.want(seconds(37)));
        assert_eq!(inbox.try_iter().count(), 2);
    }

    #[test]
    fn an_order_that_comes_during_a_fetch_is_served_by_the_next() {
        let (mut fetcher, watched, _inbox) = fetcher(vec![set("b")]);
        let other = watched.clone();
        let mut is_first = true;
        fetcher.fetch = Box::new(move || {
            if std::mem::take(&mut is_first) {
                other.refetch();
            }
            set("a")
        });
        fetcher.fetch();
        assert!(watched.known().is_awaited);
        fetcher.fetch();
        assert!(!watched.known().is_awaited);
    }

    #[test]
    fn the_thread_fetches_when_it_is_told_to_and_ends_with_the_set() {
        let (fetched, fetches) = mpsc::channel();
        let wake: Wake = Arc::new(|| {});
        let kept = Arc::clone(&wake);
        let fetch = Box::new(move || {
            fetched.send(()).expect("somebody counts");
            set("a")
        });
        let watched = WatchedSet::open("test", JwtAlgorithm::EdDsa, fetch, wake).expect("a thread");
        let deadline = Instant::now() + Duration::from_secs(30);
        let patience = Duration::from_secs(30);
        fetches.recv_timeout(patience).expect("at the start");
        watched.refetch();
        fetches.recv_timeout(patience).expect("when it was told to");
        while watched.known().is_awaited {
            assert!(Instant::now() < deadline, "in vain");
            thread::sleep(Duration::from_millis(2));
        }
        drop(watched);
        while Arc::strong_count(&kept) > 1 {
            assert!(Instant::now() < deadline, "in vain");
            thread::sleep(Duration::from_millis(2));
        }
    }
}
