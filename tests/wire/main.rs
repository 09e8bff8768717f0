//! What clients and publishers send and receive: the wire, event by event and byte by byte.
//!
//! Never here: which clients get in (`auth`), how the process starts, reloads and ends (`server`), the programs
//! and pages that come with the server (`tools`).

mod amqp;
mod delivery;
mod files;
mod foreign_publishers;
mod foreign_subscribers;
mod history;
mod hostile;
mod hosts;
mod laws;
mod limits;
mod nats;
mod properties;
mod publish_http;
mod publishers;
mod simulation;
mod slow_reader;
#[path = "../kit/stream.rs"]
mod stream;
mod sub;
mod table;
mod transcripts;

use newswire::engine::Stream;
