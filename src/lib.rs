//! newswire: a push server. (map to follow)
pub mod limits;
pub mod stats;
pub mod wire;
