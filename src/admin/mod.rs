//! The HTTP interface for operators, and for publishers without ZeroMQ: metrics, health, listings, orders,
//! events.
//!
//! A [`Conversation`] takes the bytes of one connection and hands out [`Command`]s. The server carries them
//! out and answers each with a [`Response`]. The interface speaks as much HTTP/1.1 as its clients need: one
//! request at a time, bodies of a known length, keep-alive. Every refusal is JSON with `error` and
//! `hint`, like the refusal of an upgrade.
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
pub mod readings;
pub mod response;
pub mod routes;
pub mod snapshot;
pub mod sources;
#[cfg(test)]
mod tests;
pub mod vitals;

use std::net::IpAddr;

pub use access::AccessRules;
pub use conversation::Conversation;
pub use listing::PageRequest;
pub use response::Response;

use crate::stats::Refusal;
use crate::wire::http::Acceptance;
use crate::wire::publication::Publication;
use crate::wire::token::Digest;

/// The rules for all conversations.
#[derive(Clone, Debug)]
pub struct AdminRules {
    /// Who may ask for what.
    pub access: AccessRules,
    /// The largest body of a request that brings events, in bytes.
    pub body_bytes_max: usize,
}

/// What an admitted request asks for.
#[derive(Debug)]
pub enum Command {
    /// Show every counter and gauge.
    Metrics,
    /// Show the last ten minutes.
    History,
    /// Say that the server answers.
    Health,
    /// Say whether the server takes events and clients.
    Readiness {
        /// True exactly when an administrator asks, who may see the sources.
        has_sources: bool,
    },
    /// List topics.
    Topics(PageRequest),
    /// List connections.
    Connections(PageRequest),
    /// End one connection: its place, and which tenant of the place.
    DisconnectOne(u32, u32),
    /// End one connection of a worker: the worker's number, the place, and which tenant of the place.
    DisconnectOfWorker(usize, u32, u32),
    /// Find all connections that match, and end them.
    Disconnect(Whom),
    /// Accept a token no longer. Each digest is a form of it.
    Revoke(Vec<Digest>),
    /// Publish events.
    Publish(Publication),
    /// Replace one worker after the other.
    RestartWorkers,
    /// Show every figure, for the parent of a worker.
    Snapshot,
    /// Tell a browser that a page may publish.
    Preflight,
    /// Send the dashboard's page.
    Dashboard,
    /// Send `newswire.js`.
    Script,
    /// Hand the connection over to the engine as a WebSocket, with the administrator's right.
    WebSocket {
        /// What to say to the upgrade.
        upgrade: Result<Acceptance, Refusal>,
        /// The bytes that came behind its head.
        early: Vec<u8>,
    },
}

/// Which connections are to be ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Whom {
    /// The connections whose token has this name.
    Name(String),
    /// The connections from this address, or from this port of it.
    Address(IpAddr, Option<u16>),
}
