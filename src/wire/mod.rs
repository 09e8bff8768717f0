//! Ring 1: bytes to values and back.
//!
//! The files do not know each other (but what a JSON string says is `json`'s to know for all, and what
//! a list of tokens says is made of tokens and grants); the session and the command line put them
//! together. A new protocol towards clients is one more file here.
//!
//! Never here: I/O, clocks, state beyond one message.

pub mod envelope;
pub mod files;
pub mod forwarded;
pub mod grant;
pub mod http;
pub mod json;
pub mod jwt;
pub mod token;
pub mod token_file;
pub mod wamp;
pub mod websocket;
