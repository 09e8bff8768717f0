//! Ring 1: bytes to values and back.
//!
//! No I/O, no clock, and no state beyond one message. The files do not know each other; the session
//! and the command line put them together. A new protocol towards clients is one more file here.

pub mod envelope;
pub mod http;
pub mod token;
pub mod wamp;
pub mod websocket;
