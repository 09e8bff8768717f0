//! JSON Web Tokens: the token itself says what it allows, and a signature proves it.
//!
//! The configuration names the algorithm. The store does not look at a token that names another one, so that no
//! token can be checked with `none`, or with a public key for a secret. A signature of no known key belongs to
//! another store, and the gate asks the next one. When the signature is right and the claims are not, the token is
//! refused here.
//!
//! The loop checks signatures, once for each token and not for each client. On an idle core HS256 takes less than 1
//! µs, RS256 with 2,048 bits 28 µs, EdDSA 50 µs, ES256 55 µs, RS256 with 4,096 bits 110 µs; each for every key that
//! is tried. The store says what a question costs, and the gate asks when there is time for that. When a token names
//! a key which is not there, the store orders a fetch of the JWK set and answers after that.
//!
//! Never here: the form of a token (`wire/jwt.rs`), arithmetic of keys (`keys`), the network.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::jwks::WatchedSet;
use super::keys::{JwtKey, PublicKey, SetKey};
use super::{Answer, Moment, Question, TokenStore};
use crate::limits;
use crate::stats::{Cause, Store};
use crate::wire::grant::{self, Flaw, Grant};
use crate::wire::jwt::{Claims, Jwt, JwtAlgorithm};

/// What a token has to have.
#[derive(Clone, Debug)]
pub struct JwtRules {
    /// The algorithm of the signature.
    pub algorithm: JwtAlgorithm,
    /// It has to be one of `aud`; `None`: `aud` is not checked.
    pub audience: Option<String>,
    /// It has to be `iss`; `None`: `iss` is not checked.
    pub issuer: Option<String>,
    /// In tokens that may wait for a JWK set.
    pub waiting_max: usize,
}

/// The store of JWTs: the owner of a key makes tokens.
pub struct JwtStore {
    rules: JwtRules,
    /// Keys of files. Each is for `rules.algorithm`.
    keys: Vec<JwtKey>,
    sets: Vec<WatchedSet>,
    /// The keys of `sets` at the last change that was reported.
    told: Vec<Option<Arc<Vec<SetKey>>>>,
    /// Questions that wait for a fetch.
    waiting: Vec<u64>,
    /// Questions whose fetch is done, and that the gate has to ask again.
    ready: VecDeque<u64>,
    /// How many fetches were done at the last look at `waiting`.
    served: u64,
}

/// In microseconds, reading a token of the usual length.
const READING_MICROSECONDS: u32 = 10;

/// What the keys that are there say about a token.
enum Signature {
    /// One of them signed it.
    Good,
    /// None signed it, and no key that is missing could have.
    Foreign,
    /// A set that may have its key is being fetched.
    Awaited,
    /// A set that may have its key cannot be fetched.
    Unavailable(String),
}

impl JwtStore {
    /// A store with the keys of files, and with sets of keys that change.
    pub fn new(rules: JwtRules, keys: Vec<JwtKey>, sets: Vec<WatchedSet>) -> Self {
        let known = sets.iter().map(WatchedSet::known);
        let (told, served): (Vec<_>, Vec<_>) = known.map(|set| (set.keys, set.served)).unzip();
        Self {
            rules,
            keys,
            sets,
            told,
            waiting: Vec::new(),
            ready: VecDeque::new(),
            served: served.iter().sum(),
        }
    }

    /// The token, if it is a JWT whose header names the algorithm.
    fn read(&self, question: &Question) -> Option<Jwt> {
        let jwt = Jwt::parse(question.presented().bytes())?;
        let algorithm = self.rules.algorithm.name();
        if jwt.algorithm != algorithm {
            log::debug!("auth: jwt: its alg is not {algorithm}");
            return None;
        }
        Some(jwt)
    }

    /// The keys of one set that may have signed the token, but no more than the store tries. A key without a name
    /// may fit any token, and a token that names none may fit any key.
    fn candidates<'a>(keys: &'a [SetKey], jwt: &Jwt) -> impl Iterator<Item = &'a PublicKey> {
        let may_be_its =
            move |key: &&SetKey| key.id.is_none() || jwt.key_id.is_none() || key.id == jwt.key_id;
        let keys = keys.iter().filter(may_be_its).map(|key| &key.key);
        keys.take(limits::JWKS_KEYS_TRIED_MAX)
    }

    fn check(&self, jwt: &Jwt, now: Duration) -> Signature {
        let (signed, signature) = (jwt.signed(), jwt.signature());
        if self.keys.iter().any(|key| key.verifies(signed, signature)) {
            return Signature::Good;
        }
        let mut outcome = Signature::Foreign;
        for set in &self.sets {
            let known = set.known();
            let keys = known.keys.as_deref().map_or(&[][..], Vec::as_slice);
            if Self::candidates(keys, jwt).any(|key| key.verifies(signed, signature)) {
                return Signature::Good;
            }
            let is_named = jwt.key_id.is_none() || keys.iter().any(|key| key.id == jwt.key_id);
            if known.keys.is_some() && is_named {
                continue;
            }
            if known.is_awaited || known.keys.is_some() && set.want(now) {
                outcome = Signature::Awaited;
            } else if let Some(reason) = known.failure
                && !matches!(outcome, Signature::Awaited)
            {
                outcome = Signature::Unavailable(format!("JWK set {}: {reason}", set.url()));
            }
        }
        outcome
    }

    /// The grant of claims whose signature is right, at `unix`.
    ///
    /// # Errors
    /// The reason why they grant nothing.
    fn grant(&self, claims: Claims, unix: Duration) -> Result<Grant, (Cause, String)> {
        let no = |cause, reason: &str| Err((cause, reason.to_owned()));
        // RFC 7519 s. 4.1.4: from this moment on the token must not be accepted. A grant has the last good moment.
        let expires_at = claims.expires_at.map(|end| end.saturating_sub(1));
        if grant::has_ended(expires_at, unix.as_secs()) {
            return no(Cause::Expired, "it has expired (exp)");
        }
        let soon = unix.as_secs() + limits::JWT_NOT_BEFORE_LEEWAY_SECONDS;
        if claims.not_before.is_some_and(|start| soon < start) {
            return no(Cause::NotYetValid, "it is not good yet (nbf)");
        }
        if let Some(audience) = &self.rules.audience
            && !claims.audience.contains(audience)
        {
            return no(Cause::WrongAudience, "it is for another audience (aud)");
        }
        if self.rules.issuer.is_some() && claims.issuer != self.rules.issuer {
            return no(Cause::WrongIssuer, "it is of another issuer (iss)");
        }
        Grant::new(
            claims.subject.as_deref(),
            Store::Jwt.name(),
            claims.topics,
            expires_at,
        )
        .map_err(|flaw| {
            let cause = match flaw {
                Flaw::NoTopic => Cause::NoTopics,
                Flaw::Topic { .. } => Cause::Malformed,
            };
            (cause, flaw.to_string())
        })
    }
}

impl TokenStore for JwtStore {
    fn kind(&self) -> Store {
        Store::Jwt
    }

    fn needs_token(&self) -> bool {
        true
    }

    fn cost(&self, question: &Question) -> u32 {
        let Some(jwt) = self.read(question) else {
            return 0;
        };
        let signature = jwt.signature();
        let of_files = self.keys.iter().map(|key| key.cost(signature));
        let of_sets = self.sets.iter().map(|set| {
            let keys = set.known().keys;
            let keys = keys.as_deref().map_or(&[][..], Vec::as_slice);
            Self::candidates(keys, &jwt)
                .map(|key| key.cost(signature))
                .sum::<u32>()
        });
        READING_MICROSECONDS + of_files.chain(of_sets).sum::<u32>()
    }

    fn ask(&mut self, question: &Arc<Question>, moment: Moment) -> Option<Answer> {
        let Some(jwt) = self.read(question) else {
            return Some(Answer::Unknown);
        };
        // RFC 7515 s. 4.1.11
        if jwt.is_critical {
            return Some(Answer::Refused(
                Cause::Malformed,
                "its header has crit, which asks for what is not known here".to_owned(),
            ));
        }
        Some(match self.check(&jwt, moment.now) {
            Signature::Good => match jwt.claims() {
                Ok(claims) => self.grant(claims, moment.unix),
                Err(reason) => Err((Cause::Malformed, reason.to_owned())),
            }
            .map_or_else(
                |(cause, reason)| Answer::Refused(cause, reason),
                Answer::Accepted,
            ),
            Signature::Foreign => {
                log::debug!("auth: jwt: none of the keys has signed it");
                Answer::Unsigned
            }
            Signature::Unavailable(reason) => Answer::Unavailable(reason),
            Signature::Awaited
                if self.waiting.len() + self.ready.len() >= self.rules.waiting_max =>
            {
                let waiting_max = self.rules.waiting_max;
                Answer::Unavailable(format!(
                    "{waiting_max} tokens wait for a JWK set already (auth-waiting-max)"
                ))
            }
            Signature::Awaited => {
                self.waiting.push(question.ticket);
                return None;
            }
        })
    }

    fn poll_answer(&mut self) -> Option<(u64, Answer)> {
        if !self.waiting.is_empty() {
            let served = self.sets.iter().map(|set| set.known().served).sum();
            if served != self.served {
                self.served = served;
                self.ready.extend(self.waiting.drain(..));
            }
        }
        self.ready
            .pop_front()
            .map(|ticket| (ticket, Answer::AskAgain))
    }

    fn poll_change(&mut self) -> bool {
        let mut has_changed = false;
        for (set, told) in self.sets.iter().zip(&mut self.told) {
            let keys = set.known().keys;
            let is_same = match (&keys, &*told) {
                (Some(keys), Some(told)) => Arc::ptr_eq(keys, told),
                (keys, told) => keys.is_none() && told.is_none(),
            };
            if !is_same {
                *told = keys;
                has_changed = true;
            }
        }
        has_changed
    }
}
