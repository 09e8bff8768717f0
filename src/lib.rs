//! newswire: a push server. (map to follow)
pub mod config;
pub mod limits;
pub mod logging;
pub mod stats;
pub mod wire;
