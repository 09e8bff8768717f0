//! SIGHUP: the configuration is read again, and everything takes effect that can change while clients are
//! connected.
//!
//! Tokens (those of administrators and publishers too), origins, limits, intervals and the level of
//! the log hold from now on. No connection is closed, except for those whose token is no longer good.
//! A configuration with a fault changes nothing. What was done to sockets when they were
//! made needs a restart, and the log names it.
//!
//! Never here: reading the configuration (`main` hands it in).

use super::rules::admin_rules;
use super::stores::{Stores, stores, warn_if_closed};
use super::{Server, capacity};
use crate::config::Config;
use crate::wire::token::Token;

impl Server {
    /// Puts `config` in the place of the present one.
    pub(super) fn reload(&mut self, mut config: Config) {
        let fixed = self.config.keep_what_needs_restart(&mut config);
        // Old and new together may have a fault that neither has alone: an open listener whose token is gone.
        if let Err(sentence) = config.check() {
            let needs = needs_restart(&fixed);
            return log::error!(
                "reload: nothing is changed: {needs}, and with the value in force: {sentence}"
            );
        }
        let Stores { stores, watched } = match stores(&config.auth, &self.watched, &self.wake) {
            Ok(all) => all,
            Err(sentence) => {
                return log::error!("reload: nothing is changed: {sentence}");
            }
        };
        if !fixed.is_empty() {
            log::warn!("reload: {}", needs_restart(&fixed));
        }
        self.capacity = capacity::raise(config.clients.connections_max);
        self.watched = watched;
        let rules = admin_rules(&config);
        let lobby = &mut self.sockets.lobby;
        let ends_admins = rules.access.has_other_admin(&lobby.rules().access);
        lobby.set_rules(rules, self.capacity.strangers_max);
        self.core
            .reload(&config, self.capacity.connections_max, stores, ends_admins);
        log::set_max_level(config.process.log_level);
        let note = match removes_tokens(&self.config.auth.tokens, &config.auth.tokens) {
            true => ": sessions of removed tokens end at the next --auth-recheck",
            false => "",
        };
        log::info!(
            "reload: done tokens={} connections_max={}{note}",
            config.auth.tokens.len(),
            self.capacity.connections_max
        );
        self.config = config;
        warn_if_closed(&self.entrances());
    }
}

/// `listen needs a restart`, or `listen, pull need a restart`.
fn needs_restart(options: &[&str]) -> String {
    let verb = if options.len() == 1 { "needs" } else { "need" };
    format!("{} {verb} a restart", options.join(", "))
}

/// Returns true when a token of `now` is not in `next`.
fn removes_tokens(now: &[Token], next: &[Token]) -> bool {
    let next: Vec<_> = next.iter().map(Token::digest).collect();
    let is_kept = |token: &Token| next.iter().any(|digest| digest.matches(&token.digest()));
    !now.iter().all(is_kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_option_needs_and_two_need_a_restart() {
        assert_eq!(needs_restart(&["listen"]), "listen needs a restart");
        assert_eq!(
            needs_restart(&["listen", "pull"]),
            "listen, pull need a restart"
        );
    }

    #[test]
    fn a_removed_token_is_noticed_and_an_added_one_is_none() {
        let tokens = ["a", "b"].map(Token::new);
        assert!(removes_tokens(&tokens, &tokens[1..]));
        assert!(!removes_tokens(&tokens[1..], &tokens));
    }
}
