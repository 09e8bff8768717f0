//! The configuration: what an operator may decide, and where each decision came from.
//!
//! Each option is declared once, in `options/`; flags, variables, keys of the file, defaults and help follow from
//! that. A flag wins over a variable, a variable over the file, the file over the default. A complaint is one line
//! that names the place, the value (never a secret) and what is allowed.
//!
//! This is the only place that reads the environment. Never here: sockets, clocks, the command line's
//! syntax (that is `cli`), and values that nobody can set (those are [`crate::limits`]).

mod check;
mod file;
mod load;
mod merge;
mod options;
mod overlap;
mod show;
mod spec;
mod suggest;
mod topic_rules;
mod types;
mod units;
mod values;

use std::fmt;

pub use file::FileText;
pub use load::{ConfigError, Loaded};
pub use merge::{Flags, Layer};
pub use options::{
    AdminOptions, AuthOptions, BrokerOptions, ClientOptions, IngestOptions, ListenOptions,
    ProcessOptions, PublishOptions, RelayOptions, ShutdownClose, StoreOption, TopicOptions,
    WorkerCount, option, options,
};
pub use spec::OptionSpec;
pub use suggest::nearest;
pub use types::{Takes, Unfit, WhenNone};
pub use units::{Unit, number, rough_bytes};
pub use values::{EndpointUse, endpoint, reachable, token};

/// What the variables begin with.
pub const ENVIRONMENT_PREFIX: &str = "NEWSWIRE_";

/// The variable that names the file, as `--config` does.
pub const FILE_VARIABLE: &str = "NEWSWIRE_CONFIG";

/// The values in force, in a group for each part of the program.
///
/// Invariant: each is in the range of its option, and [`Config::check`] holds. `Debug` shows no secret.
#[derive(Clone, Default, PartialEq)]
pub struct Config {
    /// Where clients connect.
    pub listen: ListenOptions,
    /// Where events come from.
    pub ingest: IngestOptions,
    /// Events from message brokers.
    pub brokers: BrokerOptions,
    /// Publishing over HTTP.
    pub publish: PublishOptions,
    /// Handing events on to other servers.
    pub relay: RelayOptions,
    /// The admin listener.
    pub admin: AdminOptions,
    /// Which tokens let a client in.
    pub auth: AuthOptions,
    /// What clients may use.
    pub clients: ClientOptions,
    /// What is kept of topics, and what happens to slow readers.
    pub topics: TopicOptions,
    /// The process.
    pub process: ProcessOptions,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Config");
        for option in options() {
            if option.is_secret {
                fields.field(option.name, &option.texts(self).len());
            } else {
                fields.field(option.name, &option.texts(self));
            }
        }
        fields.finish()
    }
}

impl Config {
    /// Returns true when no option names a token or a store that could let a client in: then a token has to be made
    /// for the run.
    pub fn needs_a_token(&self) -> bool {
        self.auth.stores().iter().all(|store| store.count == 0)
    }

    /// Makes of `next` what a reload can bring about: options that need a restart keep their present values. Returns
    /// the names of those that would have changed.
    pub fn keep_what_needs_restart(&self, next: &mut Self) -> Vec<&'static str> {
        options()
            .filter(|option| option.needs_restart && option.copy(self, next))
            .map(|option| option.name)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits;
    use crate::wire::token::Token;

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
            if let Takes::Number { unit, min, max } = option.takes() {
                let default = number(&option.default_text(), unit, min, max);
                let default = default.expect("the default is in the range");
                assert_eq!(
                    option.texts(&config),
                    [default.to_string()],
                    "{}",
                    option.name
                );
                for end in [min, max].map(|end| [end.to_string()]) {
                    option.set(&mut changed, &end).expect("it is allowed");
                    assert_eq!(option.texts(&changed), end, "{}", option.name);
                }
            }
        }
    }

    #[test]
    fn every_option_says_why() {
        for option in options() {
            assert!(
                option.help.len() > 60 && option.help.ends_with('.'),
                "{}: its help is a sentence of rationale",
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
        let mut config = Config::default();
        config.clients.outbox_bytes_max = 1 << 20;
        let line = config.check().expect_err("too small");
        let needed = limits::outbox_needed(
            config.ingest.event_bytes_max,
            config.clients.topic_bytes_max,
        );
        assert!(
            line.contains(&format!("raise outbox-bytes-max to {needed} ")),
            "{line}"
        );
        config.clients.outbox_bytes_max = needed - 1;
        assert!(config.check().is_err());
        config.clients.outbox_bytes_max = needed;
        assert_eq!(config.check(), Ok(()));

        config.clients.outboxes_bytes_max = 2 * needed - 1;
        let line = config.check().expect_err("too small");
        assert!(line.contains("raise outboxes-bytes-max"), "{line}");

        let mut config = Config::default();
        config.clients.message_bytes_max = 512;
        let line = config.check().expect_err("too small");
        assert!(line.contains("raise message-bytes-max to 558 "), "{line}");

        let mut config = Config::default();
        config.ingest.pull.clear();
        config.admin.addresses.clear();
        assert!(config.check().is_err());
    }

    #[test]
    fn debug_shows_no_token() {
        let mut config = Config::default();
        config.auth.tokens.push(Token::new("sesame"));
        assert!(!format!("{config:?}").contains("sesame"));
    }
}
