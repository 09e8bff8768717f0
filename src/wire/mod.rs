//! Ring 1: bytes to values and back.
//!
//! A file knows no other file, with few exceptions: all of them may use `json` (how JSON is read and written) and
//! `growth` (how a buffer grows); `files` answers heads of `http`, a list of tokens is made of tokens and grants, and
//! a publication of events. The session and the commands put the files together. A new protocol towards clients is
//! one more file here.
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
