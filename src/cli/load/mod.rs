//! `newswire load`.
//!
//! Never here: the server.

pub mod fleet;
