//! What other threads call when they have something for the loop.
//!
//! Never here: the poller, which the server has.

use std::sync::Arc;

/// Wakes the loop, from any thread. It must not wait.
pub type Wake = Arc<dyn Fn() + Send + Sync>;
