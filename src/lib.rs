//! newswire: a push server. (map to follow)
pub mod cli;
pub mod config;
pub mod limits;
pub mod logging;
pub mod stats;
pub mod wire;
