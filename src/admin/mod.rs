//! What operators ask over HTTP, and publishers without ZeroMQ: metrics, health, listings, orders,
//! events.
//!
//! A [`Conversation`] is handed the bytes of one connection and comes out with [`Command`]s; whoever
//! carries them out answers with a [`Response`]. It is HTTP/1.1 as far as its clients need it: one
//! request at a time, bodies of a known length, keep-alive. Every refusal is JSON with `error` and
//! `hint`, like those of an upgrade.
//!
//! Never here: sockets, clocks, the engine, and what a command does.

pub mod access;
pub mod conversation;
pub mod durations;
mod head;
pub mod history;
pub mod listing;
pub mod metrics;
pub mod publication;
pub mod response;
pub mod routes;
pub mod sources;
#[cfg(test)]
mod tests;
pub mod vitals;

use std::net::IpAddr;

pub use access::Access;
pub use conversation::Conversation;
pub use listing::Page;
pub use response::Response;

use crate::stats::Refusal;
use crate::wire::http::Acceptance;
use crate::wire::publication::Publication;
use crate::wire::token::Digest;

/// What is in force for all conversations.
#[derive(Clone, Debug)]
pub struct AdminRules {
    /// Who may do what.
    pub access: Access,
    /// In bytes, the body of a request that brings events.
    pub body_bytes_max: usize,
}

/// What somebody who may do so asks for.
#[derive(Debug)]
pub enum Command {
    /// Every counter and gauge.
    Metrics,
    /// The last ten minutes.
    History,
    /// Whether the loop turns.
    Health,
    /// Whether events and clients are welcome.
    Readiness {
        /// True exactly when an administrator asks, who may see the sources.
        has_sources: bool,
    },
    /// Topics.
    Topics(Page),
    /// Connections.
    Connections(Page),
    /// One connection is to end: its place, and which tenant of it.
    DisconnectOne(u32, u32),
    /// Those that fit are to end, which have to be looked for.
    Disconnect(Whom),
    /// A token is good no more.
    Revoke(Vec<Digest>),
    /// Events.
    Publish(Publication),
    /// Whether a page may publish; it may.
    Preflight,
    /// The page.
    Dashboard,
    /// The client that the page uses.
    Script,
    /// The connection is to become a WebSocket of the engine's, with the administrator's right.
    WebSocket {
        /// What to say to the upgrade.
        upgrade: Result<Acceptance, Refusal>,
        /// The bytes that came behind its head.
        early: Vec<u8>,
    },
}

/// Who is to be looked for, and disconnected.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Whom {
    /// Everybody whose token has this name.
    Name(String),
    /// Everybody who comes from there.
    Address(IpAddr, Option<u16>),
}
