//! Ring 3: the files that browsers load from newswire itself, compiled into the binary.
//!
//! Never here: how a file is asked for and answered.

/// The page at the admin listener's `/`.
pub const DASHBOARD: &str = include_str!("dashboard.html");
