//! Ring 1: bytes to values and back.
//!
//! The files do not use each other, with few exceptions. All may use `json` (how JSON is read and written) and
//! `growth` (how a buffer grows). `files` answers heads of `http`, `token` knows `jwt`, `token_file` reads tokens and
//! grants, `topic_rule` has the patterns of `grant`, and `publication` reads events of `envelope`. The engine's session and the commands combine them. A new
//! protocol towards clients is one more file here.
//!
//! Never here: I/O, clocks, state beyond one message.

pub mod envelope;
pub mod files;
pub mod forwarded;
pub mod grant;
pub mod growth;
pub mod http;
pub mod id;
pub mod json;
pub mod jwt;
pub mod nats;
pub mod past;
pub mod protocol;
pub mod publication;
pub mod sse;
pub mod token;
pub mod token_file;
pub mod topic_rule;
pub mod wamp;
pub mod wamp2;
pub mod websocket;
