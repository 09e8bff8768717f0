//! Ring 1: bytes to values and back.
//!
//! The files do not know each other (but `json` knows what a JSON string says and `growth` how a buffer
//! grows, for all of them, a list of tokens is made of tokens and grants, and a publication of events); the session and the command
//! line put them together. A new protocol towards clients is one more file here.
//!
//! Never here: I/O, clocks, state beyond one message.

pub mod envelope;
pub mod files;
pub mod forwarded;
pub mod grant;
pub mod growth;
pub mod http;
pub mod json;
pub mod jwt;
pub mod publication;
pub mod token;
pub mod token_file;
pub mod wamp;
pub mod websocket;
