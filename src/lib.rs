//! newswire: a push server. (map to follow)
pub mod engine;
pub mod limits;
pub mod stats;
pub mod wire;
