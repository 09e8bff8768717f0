//! newswire: a push server. Backends send it events over ZeroMQ, HTTP, RabbitMQ or NATS; browsers receive them over
//! WebSocket (WAMP v1, WAMP v2) or as a stream of server-sent events.
//!
//! One process is one `mio` poll loop on one thread; with `--workers`, several processes share one port, and one of them
//! takes events in. Other threads only do what would make the loop wait:
//! libzmq has two for each 128 sources, each client of a broker (RabbitMQ, NATS) has one, and there are some for log lines,
//! for token stores and the files that they watch, for the names of publishers' hosts, and for memory that is given back.
//!
//! # Three rings, imports pointing inwards
//! | ring | folder | what it is |
//! |---|---|---|
//! | 0 | [`limits`], [`stats`] | numbers and names that everybody may know |
//! | 0 | [`occupant`] | which process has an address, if the system tells |
//! | 0 | [`trim`] | gives memory back to the system |
//! | 0 | [`wake`] | what other threads call when they have something for the loop |
//! | 1 | [`config`], [`wire`] | text and bytes ↔ values: no I/O, no clock |
//! | 1 | [`net`] | the peers that newswire connects to: their names and addresses, and connections to brokers |
//! | 1 | [`exposure`] | who else can read or write a file that decides who gets in |
//! | 1 | [`standing`] | who asks to be let in, and what a token is worth now: written by `auth`, read by `engine` |
//! | 1 | [`health`] | how a source is doing: written by `ingest`, read by `admin` |
//! | 2 | [`engine`] | state and policy: time, bytes, verdicts and streams are arguments |
//! | 3 | [`ingest`], [`auth`] | where events come from; who may subscribe. They know ring 0 and 1 only |
//! | 3 | [`relay`] | hands events on to other servers; it is made of `ingest`'s ZeroMQ sockets |
//! | 3 | [`admin`] | what operators ask over HTTP, and publishers without ZeroMQ |
//! | 3 | [`workers`] | processes that serve clients: started, asked, added up, ended |
//! | 3 | [`web`] | the files that browsers may load |
//! | 3 | [`server`] | the turn, which joins all of them, and the loop around it |
//! | – | [`cli`] | the other commands: clients of a server, built on ring 1 |
//! | – | [`logging`] | the binary's: lines leave through a thread |
//!
//! A new protocol towards clients is a file in `wire/`, one in `engine/session/` and an `Encoding`, and one in
//! `cli/dialect/`, so that it can be tried and measured; a new source of events a file in `ingest/`; a new token store a
//! file in `auth/`.
//!
//! # The way of an event
//! ```text
//! publisher ─PUSH, SUB─▶ ingest/zeromq ──────────────────┐
//!           ─POST─▶ admin ─▶ ingest/http ────────────────┤
//! broker ─▶ ingest/amqp or nats, on a thread ─▶ threaded ─┴▶ ingest/intake
//!    ─▶ wire/envelope ─▶ server/sources: an id (wire/id) ─▶ Engine::handle_event
//!    ─▶ hub: histories, if a rule keeps it; the topic's audiences ─▶ engine/session/encoder ({wamp1,wamp2,sse}), once for each encoding
//!    ─▶ lanes: batch
//!    ┄┄ Engine::hand_out ┄┄▶ flush: each member's link ─▶ write;   what the socket does not take ─▶ outbox
//! ```
//! # The way of an event that is sent again
//! ```text
//! SUBSCRIBE with x_since, GET with Last-Event-ID ─▶ engine/subscribing: hub/past, histories ─▶ notice
//!    ┄┄ Engine::hand_out ┄┄▶ replay: a step of kept events ─▶ link;   nothing left ─▶ a bit in the topic's audience
//! a slow reader's outbox is full ─▶ outbox, shares: the oldest or replaced event ─▶ gaps: a notice in its place
//! ```
//! # The way of a connection
//! ```text
//! accept ─▶ slot ─▶ Upgrading (wire/http) ─▶ Checking (wire/token, auth/)
//!    WAMP v1 ─▶ 101 + WELCOME ─▶ Open ─▶ SUBSCRIBE: a bit in the topic's audience
//!    WAMP v2 ─▶ 101 ─▶ Greeting: HELLO, perhaps a ticket that is checked ─▶ WELCOME ─▶ Open ─▶ SUBSCRIBE
//!    GET     ─▶ 200 + stream ─▶ Open, with the topics of the URL
//!    ┄┄ any reason ┄┄▶ Closing ─▶ reap: bits, outbox, slot
//! ```
//! # The way of a token
//! ```text
//! Checking ─▶ auth/gate ─▶ answered lately? ┄┄ no ┄▶ the stores in their order, now or on a thread ─▶ verdict
//!    later: its end, every few minutes, a file that changes ─▶ asked again ─▶ Standing ─▶ engine/review
//! ```
//! # The way of an admin request
//! ```text
//! accept ─▶ server/lobby: a place ─▶ admin/conversation: head (wire/http), body ─▶ admin/routes: right, command
//!    ─▶ server/orders: carried out on engine, gate or intake, now or over some turns
//!    ─▶ admin/response ─▶ server/lobby: write;   a dashboard's upgrade ─▶ Engine::handle_admitted
//! ```
//! # One turn
//! [`server::Core::turn`] has the phases and why they stand in that order. The loop never waits: not for a
//! peer, not for a token store, not for a log line.
//!
//! # What must never be
//! - Nothing but `reap` frees a slot, so that a slot has one tenant within a turn; whatever outlives
//!   a turn names a connection by its [`engine::SlotId`].
//! - No subscriber receives events out of the order in which they were ingested (`engine/flush.rs`).
//! - No memory grows without a bound in [`limits`], and no message is dropped, no connection closed
//!   without a reason in [`stats`].
//! - No token in a log line, an error, or a counter's name.
//! - No clock but the server's. Whatever happens in a turn has the time at which the turn began; the server
//!   reads the clock again only to measure. (Commands read their own clock, and so do threads that wait for
//!   a store: `auth/clock.rs`.)
//! - No `unsafe` but one line, which gives memory back to the system (`trim.rs`).

pub mod admin;
pub mod auth;
pub mod cli;
pub mod config;
pub mod engine;
pub mod exposure;
pub mod health;
pub mod ingest;
pub mod limits;
pub mod logging;
pub mod net;
pub mod occupant;
pub mod relay;
pub mod server;
pub mod standing;
pub mod stats;
pub mod trim;
pub mod wake;
pub mod web;
pub mod wire;
pub mod workers;

#[cfg(test)]
#[path = "../tests/kit/stream.rs"]
mod stream;
#[cfg(test)]
use engine::Stream;
