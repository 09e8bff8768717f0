//! Ring 1: bytes to values and back.
//!
//! The files do not know each other (but what a JSON string says is `json`'s to know for all); the
//! session and the command line put them together. A new protocol towards clients is one more file
//! here.
//!
//! Never here: I/O, clocks, state beyond one message.

pub mod envelope;
pub mod files;
pub mod forwarded;
pub mod grant;
pub mod http;
mod json;
pub mod token;
pub mod wamp;
pub mod websocket;
