//! What a session has to know of the configuration.
//!
//! Never here: limits that concern more than one session's bytes (the engine's `Rules`).

use std::net::IpAddr;

use ipnet::IpNet;

use crate::limits;
use crate::wire::files::File;

/// What a session has to know of the configuration.
#[derive(Clone, Debug)]
pub struct SessionRules {
    /// In bytes.
    pub head_bytes_max: usize,
    /// In bytes.
    pub message_bytes_max: usize,
    /// The `Origin`s of pages that may connect, in lower case. An empty list allows all. A client without an
    /// `Origin` is no browser and could send any, so the list does not concern it.
    pub origins: Vec<String>,
    /// Proxies whose word on the client's address is taken.
    pub trusted_proxies: Vec<IpNet>,
    /// The answers to plain GETs.
    pub files: Vec<File>,
    /// True exactly when messages are compressed for clients that inflate them.
    pub compresses: bool,
}

impl SessionRules {
    /// Returns true when a page of this origin may connect.
    pub fn allows_origin(&self, origin: &str) -> bool {
        self.origins.is_empty() || self.origins.contains(&origin.to_ascii_lowercase())
    }

    /// Returns true when `address` is that of a trusted proxy.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|network| network.contains(&address))
    }
}

impl Default for SessionRules {
    fn default() -> Self {
        Self {
            head_bytes_max: limits::HEAD_BYTES_MAX,
            message_bytes_max: limits::MESSAGE_BYTES_MAX,
            origins: Vec::new(),
            trusted_proxies: Vec::new(),
            files: Vec::new(),
            compresses: true,
        }
    }
}
