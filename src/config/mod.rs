//! The configuration: what an operator may decide, and where each decision came from.
//!
//! One table ([`options`]) declares each option once; flags, variables, keys of the file, defaults and
//! help follow from it. A flag wins over a variable, a variable over the file, the file over the
//! default. Whatever is wrong is told in one line that names the place, the value (never a secret's)
//! and what is allowed.
//!
//! This is the only place that reads the environment. Never here: sockets, clocks, the command line's
//! syntax (that is `cli`), and values that nobody can set (those are [`crate::limits`]).

mod merge;
mod overlap;
mod show;
mod spec;
mod table;
mod values;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use crate::exposure;
use crate::limits;
use crate::wire::jwt::JwtAlgorithm;
use crate::wire::token::Token;

pub use merge::{FileText, Flags, Source, nearest};
pub use spec::{Kind, OptionSpec, WhenNone};
pub use table::{option, options};
pub use values::{End, Unit, endpoint, number, reachable, rough_bytes, token};

/// What the variables begin with.
pub const ENVIRONMENT_PREFIX: &str = "NEWSWIRE_";

/// The variable that names the file, as `--config` does.
pub const FILE_VARIABLE: &str = "NEWSWIRE_CONFIG";

/// In bytes, a configuration file. A larger one is something else, given by mistake.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The values in force.
///
/// Invariant: each is in the range of its entry in [`options`], and [`Config::check`] holds. Its
/// `Debug` shows no token.
#[derive(Clone, PartialEq)]
pub struct Config {
    /// Addresses to listen on; at least one.
    pub listen: Vec<SocketAddr>,
    /// ZeroMQ endpoints to bind a PULL socket to.
    pub pull: Vec<String>,
    /// Which publishers may push.
    pub pull_zmtp: PullZmtp,
    /// The mode of the file of an `ipc://` endpoint that is bound.
    pub pull_mode: Option<u32>,
    /// Its group, by name or number; empty: the process's own.
    pub pull_group: String,
    /// ZeroMQ endpoints to connect a SUB socket to.
    pub sub: Vec<String>,
    /// Addresses of the admin listener.
    pub admin: Vec<SocketAddr>,
    /// The token that it asks for.
    pub admin_token: Option<Token>,
    /// Addresses where events come in by HTTP, and nothing else is done.
    pub publish: Vec<SocketAddr>,
    /// The token that a publisher shows there.
    pub publish_token: Option<Token>,
    /// Origins whose pages may publish, in lower case.
    pub publish_origins: Vec<String>,
    /// The field that names the topic in a flat object.
    pub topic_field: String,
    /// Tokens that clients may present. Empty: `main` makes one.
    pub tokens: Vec<Token>,
    /// Files of tokens.
    pub token_files: Vec<PathBuf>,
    /// Files with keys of JWTs.
    pub jwt_keys: Vec<PathBuf>,
    /// Addresses of JWK sets.
    pub jwks_urls: Vec<String>,
    /// `None` exactly when no JWT is taken.
    pub jwt_algorithm: Option<JwtAlgorithm>,
    /// Empty: it is not asked.
    pub jwt_audience: String,
    /// Empty: it is not asked.
    pub jwt_issuer: String,
    /// Addresses of APIs that know tokens.
    pub auth_urls: Vec<String>,
    /// What stands before the token there; may be empty.
    pub auth_scheme: String,
    /// True exactly when that API is told who brings a token, so that its answer counts for that caller alone.
    pub auth_forwards_client: bool,
    /// Databases that know tokens; a password may be among them.
    pub postgres_urls: Vec<String>,
    /// With one parameter, the token.
    pub postgres_query: String,
    /// Of the session in which `postgres_query` runs.
    pub postgres_time_zone: String,
    /// A file of authorities; empty: the usual ones.
    pub auth_ca: String,
    /// In seconds, one question about a token.
    pub auth_timeout_seconds: u32,
    /// In seconds that an accepted token is not asked about again.
    pub auth_cache_seconds: u32,
    /// In seconds between two questions about an open session's token.
    pub auth_recheck_seconds: u32,
    /// In seconds that a session stays while nobody can tell.
    pub auth_grace_seconds: u32,
    /// In questions to one store at a time.
    pub auth_requests_max: usize,
    /// In questions that wait for one store.
    pub auth_waiting_max: usize,
    /// Origins that browsers may come from, in lower case, without a default port. Empty: all.
    pub origins: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// In refused tokens a minute and address; 0: no bound.
    pub refused_tokens_max: u32,
    /// In connections; 0: as many as the limit on open files leaves.
    pub connections_max: usize,
    /// In connections; 0: no bound.
    pub connections_per_address_max: usize,
    /// In seconds without an answer after which a ZeroMQ peer is dropped; 0: never.
    pub publisher_seconds: u32,
    /// In seconds, from accept to a complete head, and again to the verdict.
    pub handshake_seconds: u32,
    /// In seconds of silence before a ping.
    pub ping_seconds: u32,
    /// In seconds that a ping may stay unanswered.
    pub pong_seconds: u32,
    /// In seconds that a peer has for its half of a close.
    pub close_seconds: u32,
    /// In seconds, a whole shutdown.
    pub shutdown_seconds: u32,
    /// How connections end at a shutdown.
    pub shutdown_close: ShutdownClose,
    /// In bytes, an upgrade's head.
    pub head_bytes_max: usize,
    /// In bytes, a client's message.
    pub message_bytes_max: usize,
    /// In subscriptions a connection.
    pub subscriptions_max: usize,
    /// In bytes, a topic's name.
    pub topic_bytes_max: usize,
    /// In bytes, a publisher's message, all its parts together.
    pub event_bytes_max: usize,
    /// In bytes, what one connection may owe its socket.
    pub outbox_bytes_max: usize,
    /// In bytes, what all connections together may owe.
    pub outboxes_bytes_max: usize,
    /// In bytes, what the kernel may hold unsent of one connection (`TCP_NOTSENT_LOWAT`).
    pub unsent_bytes_max: usize,
    /// In seconds, how long sent bytes may stay unacknowledged (`TCP_USER_TIMEOUT`).
    pub unacknowledged_seconds: u32,
    /// In events that one turn takes in.
    pub turn_events_max: usize,
    /// Where the process's number is written; empty: nowhere.
    pub pid_file: String,
    /// What is logged.
    pub log_level: log::LevelFilter,
}

/// Which versions of ZMTP a publisher may speak to a PULL socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PullZmtp {
    /// 3.0 and later. libzmq takes everything that is no ZMTP for ZMTP 1.0, an HTTP request of a web page
    /// too, so this is what keeps pages out.
    Three,
    /// 1.0 and 2.0 too.
    Any,
}

impl PullZmtp {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Three, Self::Any];

    /// As an operator writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Three => "3",
            Self::Any => "any",
        }
    }
}

/// How connections end at a shutdown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ShutdownClose {
    /// The TCP connection ends without a Close frame: autobahn.js retries only then.
    Drop,
    /// Close 1001 first.
    Frame,
}

impl ShutdownClose {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Drop, Self::Frame];

    /// As an operator writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Frame => "frame",
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        // Each of these is overwritten from the table, which alone knows the defaults.
        let mut config = Self {
            listen: Vec::new(),
            pull: Vec::new(),
            pull_zmtp: PullZmtp::Three,
            pull_mode: None,
            pull_group: String::new(),
            sub: Vec::new(),
            admin: Vec::new(),
            admin_token: None,
            publish: Vec::new(),
            publish_token: None,
            publish_origins: Vec::new(),
            topic_field: String::new(),
            tokens: Vec::new(),
            token_files: Vec::new(),
            jwt_keys: Vec::new(),
            jwks_urls: Vec::new(),
            jwt_algorithm: None,
            jwt_audience: String::new(),
            jwt_issuer: String::new(),
            auth_urls: Vec::new(),
            auth_scheme: String::new(),
            auth_forwards_client: true,
            postgres_urls: Vec::new(),
            postgres_query: String::new(),
            postgres_time_zone: String::new(),
            auth_ca: String::new(),
            auth_timeout_seconds: 0,
            auth_cache_seconds: 0,
            auth_recheck_seconds: 0,
            auth_grace_seconds: 0,
            auth_requests_max: 0,
            auth_waiting_max: 0,
            origins: Vec::new(),
            trusted_proxies: Vec::new(),
            refused_tokens_max: 0,
            connections_max: 0,
            connections_per_address_max: 0,
            publisher_seconds: 0,
            handshake_seconds: 0,
            ping_seconds: 0,
            pong_seconds: 0,
            close_seconds: 0,
            shutdown_seconds: 0,
            shutdown_close: ShutdownClose::Drop,
            head_bytes_max: 0,
            message_bytes_max: 0,
            subscriptions_max: 0,
            topic_bytes_max: 0,
            event_bytes_max: 0,
            outbox_bytes_max: 0,
            outboxes_bytes_max: 0,
            unsent_bytes_max: 0,
            unacknowledged_seconds: 0,
            turn_events_max: 0,
            pid_file: String::new(),
            log_level: log::LevelFilter::Off,
        };
        for option in options() {
            option.set_default(&mut config);
        }
        config
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Config");
        for option in options() {
            if option.secret {
                fields.field(option.name, &option.texts(self).len());
            } else {
                fields.field(option.name, &option.texts(self));
            }
        }
        fields.finish()
    }
}

impl Config {
    /// What the values have to keep among each other.
    ///
    /// # Errors
    /// Names the values that do not fit, and what to raise.
    pub fn check(&self) -> Result<(), String> {
        let (event, topic) = (self.event_bytes_max, self.topic_bytes_max);
        if !limits::can_deliver(self.outbox_bytes_max, event, topic) {
            return Err(format!(
                "outbox-bytes-max ({}) cannot hold the largest event, of event-bytes-max ({event}) with a \
                 topic of topic-bytes-max ({topic}) and the frame around it: raise outbox-bytes-max to {} \
                 or lower event-bytes-max",
                self.outbox_bytes_max,
                limits::outbox_needed(event, topic),
            ));
        }
        if self.outboxes_bytes_max / 2 < self.outbox_bytes_max {
            return Err(format!(
                "outboxes-bytes-max ({}) is less than two of outbox-bytes-max ({}), so one slow client \
                 would cost the others their place: raise outboxes-bytes-max to {} or lower \
                 outbox-bytes-max",
                self.outboxes_bytes_max,
                self.outbox_bytes_max,
                self.outbox_bytes_max * 2,
            ));
        }
        let subscribe = topic + SUBSCRIBE_WRAPPING_BYTES;
        if self.message_bytes_max < subscribe {
            return Err(format!(
                "message-bytes-max ({}) cannot hold the SUBSCRIBE of a topic of topic-bytes-max \
                 ({topic}): raise message-bytes-max to {subscribe} or lower topic-bytes-max",
                self.message_bytes_max,
            ));
        }
        // The admin listener takes events too.
        let http = [&self.publish, &self.admin];
        let zeromq = [&self.pull, &self.sub];
        if http.iter().all(|list| list.is_empty()) && zeromq.iter().all(|list| list.is_empty()) {
            return Err(
                "none of pull, sub, publish and admin names an address, so no event could ever come in: set \
                 one of them"
                    .to_owned(),
            );
        }
        // The name of an abstract socket begins with `@`: it has no file.
        let has_file = |endpoint: &String| {
            let path = endpoint.strip_prefix("ipc://");
            path.is_some_and(|path| !path.starts_with('@'))
        };
        let owns_file = self.pull_mode.is_some() || !self.pull_group.is_empty();
        if owns_file && !self.pull.iter().any(has_file) {
            return Err(
                "pull-mode and pull-group are for the file of an ipc:// endpoint, and none of pull is one: \
                 leave them away or add one, such as ipc:///run/newswire/pull.sock"
                    .to_owned(),
            );
        }
        self.check_auth()?;
        self.check_admin()?;
        overlap::check(self)
    }

    /// Whether nothing is named that could let a client in: a token has to be made for the run.
    pub fn needs_a_token(&self) -> bool {
        let paths = [&self.token_files, &self.jwt_keys];
        let asked = [&self.jwks_urls, &self.auth_urls, &self.postgres_urls];
        self.tokens.is_empty()
            && paths.iter().all(|paths| paths.is_empty())
            && asked.iter().all(|urls| urls.is_empty())
    }

    fn check_auth(&self) -> Result<(), String> {
        let has_keys = !self.jwt_keys.is_empty() || !self.jwks_urls.is_empty();
        if has_keys && self.jwt_algorithm.is_none() {
            return Err(
                "auth-jwt-key or auth-jwks is given without auth-jwt-algorithm: say which of HS256, RS256, \
                 ES256 and EdDSA signs your tokens (it is never taken from a token)"
                    .to_owned(),
            );
        }
        if let Some(algorithm) = self.jwt_algorithm.filter(|_| !has_keys) {
            return Err(format!(
                "auth-jwt-algorithm ({}) is given without a key: name one with auth-jwt-key or auth-jwks",
                algorithm.name()
            ));
        }
        if self.jwt_algorithm == Some(JwtAlgorithm::Hs256) && !self.jwks_urls.is_empty() {
            return Err(
                "auth-jwks cannot be used with auth-jwt-algorithm HS256: a set that is fetched holds public \
                 keys, and the secret of HS256 must not be one; name a file with auth-jwt-key"
                    .to_owned(),
            );
        }
        let asks = !self.auth_urls.is_empty() || !self.postgres_urls.is_empty();
        if asks && self.auth_timeout_seconds >= self.handshake_seconds {
            return Err(format!(
                "auth-timeout ({}) is not less than handshake-timeout ({}), so a client would be gone before \
                 it hears why: lower auth-timeout or raise handshake-timeout",
                self.auth_timeout_seconds, self.handshake_seconds
            ));
        }
        Ok(())
    }

    fn check_admin(&self) -> Result<(), String> {
        let open = |list: &[SocketAddr]| list.iter().find(|a| !a.ip().is_loopback()).copied();
        if let Some(address) = open(&self.admin)
            && self.admin_token.is_none()
        {
            return Err(format!(
                "admin ({address}) can be reached from other machines, and there is no admin-token: set one \
                 (`newswire token new`), or listen on 127.0.0.1"
            ));
        }
        if let Some(address) = self.publish.first()
            && self.publish_token.is_none()
        {
            return Err(format!(
                "publish ({address}) is given without publish-token, so whoever reaches it could publish to \
                 everybody: set one (`newswire token new`)"
            ));
        }
        if !self.publish_origins.is_empty()
            && self.publish_token.is_none()
            && self.admin_token.is_none()
        {
            return Err(
                "publish-origin is given without publish-token, and a page of another site always needs a \
                 token to publish: set one (`newswire token new`)"
                    .to_owned(),
            );
        }
        Ok(())
    }
}

/// In bytes, `[5, ""]`.
const SUBSCRIBE_WRAPPING_BYTES: usize = 7;

/// A configuration that cannot be used, in one line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// A configuration and where it came from.
#[derive(Debug)]
pub struct Loaded {
    /// The values in force.
    pub config: Config,
    /// Where each came from, in the order of [`options`].
    pub sources: Vec<Source>,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// What is odd but no error, one line each.
    pub warnings: Vec<String>,
}

impl Loaded {
    /// Reads the file and the environment, and merges them with the flags.
    ///
    /// # Errors
    /// The file cannot be read, or something in one of the three is wrong.
    pub fn read(file_flag: Option<&Path>, flags: &Flags) -> Result<Self, ConfigError> {
        let environment = environment()?;
        let path = match file_flag {
            Some(path) => Some(path.to_owned()),
            None => match environment.get(FILE_VARIABLE) {
                Some(path) if path.is_empty() => {
                    return Err(ConfigError(format!(
                        "variable {FILE_VARIABLE}: it is set but empty; unset it, or name a file"
                    )));
                }
                path => path.map(PathBuf::from),
            },
        };
        let text = path.as_deref().map(read_file).transpose()?;
        let file = path
            .as_ref()
            .zip(text.as_ref())
            .map(|(path, text)| FileText {
                name: path.display().to_string(),
                text,
            });
        let mut loaded = Self::merge(flags, &environment, file.as_ref())?;
        if let Some(path) = &path
            && let Some(exposed) = exposure::of(path, loaded.has_secrets_of_file())
        {
            let path = path.display();
            (loaded.warnings).push(format!("configuration file: path={path} {exposed}"));
        }
        loaded.file = path;
        Ok(loaded)
    }

    /// Merges flags, variables and a file's text, strongest first, over the defaults.
    ///
    /// # Errors
    /// Something in one of the three is wrong.
    pub fn merge(
        flags: &Flags,
        environment: &BTreeMap<String, String>,
        file: Option<&FileText<'_>>,
    ) -> Result<Self, ConfigError> {
        merge::merge(flags, environment, file)
    }

    /// Returns true when a secret stands in the file.
    fn has_secrets_of_file(&self) -> bool {
        let mut all = options().iter().zip(&self.sources);
        all.any(|(option, source)| option.secret && matches!(source, Source::File(_)))
    }

    /// All values in force, as a file that would bring them about again; tokens are only counted.
    pub fn show(&self) -> String {
        show::show(&self.config, &self.sources, self.file.as_deref())
    }
}

/// The variables that are ours.
fn environment() -> Result<BTreeMap<String, String>, ConfigError> {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that reads the environment"
    )]
    let variables = std::env::vars_os();
    variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX))
        .map(|(name, value)| match value.into_string() {
            Ok(value) => Ok((name, value)),
            Err(_) => Err(ConfigError(format!(
                "variable {name}: it is not valid UTF-8"
            ))),
        })
        .collect()
}

fn read_file(path: &Path) -> Result<String, ConfigError> {
    let failed = |why: &dyn fmt::Display| {
        ConfigError(format!("configuration file {}: {why}", path.display()))
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| failed(&error))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(failed(&format_args!(
            "it is larger than {FILE_BYTES_MAX} bytes"
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        failed(&format_args!(
            "it is not valid UTF-8 from byte {} on",
            error.utf8_error().valid_up_to()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_and_every_end_of_a_range_is_taken() {
        let config = Config::default();
        config.check().expect("the defaults fit each other");
        for option in options() {
            let mut changed = config.clone();
            option
                .set(&mut changed, &option.texts(&config))
                .expect("what is read can be written");
            assert!(changed == config, "{}", option.name);
            if let Kind::Number {
                unit,
                default,
                min,
                max,
                get,
                set,
            } = option.kind
            {
                assert_eq!(get(&config), default, "{}", option.name);
                assert!((min..=max).contains(&default), "{}", option.name);
                set(&mut changed, max);
                assert_eq!(get(&changed), max, "{}", option.name);
                assert!(
                    number(&option.default_text(), unit, min, max) == Ok(default),
                    "{}",
                    option.name
                );
            }
        }
    }

    #[test]
    fn every_option_says_why() {
        for option in options() {
            assert!(
                option.help.len() > 60 && !option.help.ends_with('.'),
                "{}: its help is a sentence of rationale, and the list of defaults goes on after it",
                option.name
            );
            assert!(
                option
                    .name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'-')
            );
        }
    }

    #[test]
    fn values_that_do_not_fit_each_other_say_what_to_raise() {
        let mut config = Config {
            outbox_bytes_max: 1 << 20,
            ..Config::default()
        };
        let line = config.check().expect_err("too small");
        let needed = limits::outbox_needed(config.event_bytes_max, config.topic_bytes_max);
        assert!(
            line.contains(&format!("raise outbox-bytes-max to {needed} ")),
            "{line}"
        );
        config.outbox_bytes_max = needed - 1;
        assert!(config.check().is_err());
        config.outbox_bytes_max = needed;
        assert_eq!(config.check(), Ok(()));

        config.outboxes_bytes_max = 2 * needed - 1;
        let line = config.check().expect_err("too small");
        assert!(line.contains("raise outboxes-bytes-max"), "{line}");

        let config = Config {
            message_bytes_max: 512,
            ..Config::default()
        };
        let line = config.check().expect_err("too small");
        assert!(line.contains("raise message-bytes-max to 519 "), "{line}");

        let config = Config {
            pull: Vec::new(),
            admin: Vec::new(),
            ..Config::default()
        };
        assert!(config.check().is_err());
    }

    #[test]
    fn debug_shows_no_token() {
        let config = Config {
            tokens: vec![Token::new("sesame")],
            ..Config::default()
        };
        assert!(!format!("{config:?}").contains("sesame"));
    }
}
