//! SIGHUP: the configuration is read again, and what can change while clients are connected does.
//!
//! Tokens (those of administrators and publishers too), origins, limits, intervals and the level of
//! the log take effect for whatever comes next; nobody is dropped but whoever's token is good no more. A configuration with anything wrong in it
//! changes nothing. What was done to sockets when they were made needs a restart, and is named.
//!
//! Never here: reading the configuration (`main` hands it in).

use super::commands::admin_rules;
use super::stores::{Stores, gate_rules, stores};
use super::{Server, admin_standing, capacity, form, rules};
use crate::config::Config;
use crate::stats::Close;

impl Server {
    /// Puts `config` in the place of the present one.
    pub(super) fn reload(&mut self, config: Config) {
        let Stores { stores, watched } = match stores(&config, &self.watched, &self.wake) {
            Ok(all) => all,
            Err(sentence) => {
                return log::error!("reload: nothing is changed: {sentence}");
            }
        };
        let fixed = unchangeable(&self.config, &config);
        if !fixed.is_empty() {
            log::warn!("reload: {} need a restart", fixed.join(", "));
        }
        self.capacity = capacity::raise(config.connections_max);
        self.engine
            .set_rules(rules(&config, self.capacity.connections_max));
        let stats = self.engine.stats_mut();
        self.watched = watched;
        (self.gate).replace(stores, gate_rules(&config), self.moment, stats);
        self.form = form(&config);
        let rules = admin_rules(&config);
        if rules.access.has_other_admin(&self.lobby.rules().access) {
            // Whoever came with the old token comes back with the new one.
            self.admin_standing.end(Close::TokenEnded);
            self.engine.handle_changed_standings();
            self.admin_standing = admin_standing();
        }
        self.lobby.set_rules(rules);
        log::set_max_level(config.log_level);
        log::info!(
            "reload: done tokens={} connections_max={}",
            config.tokens.len(),
            self.capacity.connections_max
        );
        self.config = config;
    }
}

/// The options that differ and cannot be changed.
fn unchangeable(now: &Config, next: &Config) -> Vec<&'static str> {
    [
        ("listen", now.listen != next.listen),
        ("pull", now.pull != next.pull),
        ("sub", now.sub != next.sub),
        ("admin", now.admin != next.admin),
        ("publish", now.publish != next.publish),
        (
            "unsent-bytes-max",
            now.unsent_bytes_max != next.unsent_bytes_max,
        ),
        (
            "unacknowledged-timeout",
            now.unacknowledged_seconds != next.unacknowledged_seconds,
        ),
        (
            "shutdown-timeout",
            now.shutdown_seconds != next.shutdown_seconds,
        ),
        ("shutdown-close", now.shutdown_close != next.shutdown_close),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}
