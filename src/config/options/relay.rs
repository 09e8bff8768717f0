//! Handing events on to other servers.
//!
//! Never here: where events come from (that is `ingest`).

use super::super::types::WhenNone;
use super::list;
use crate::config::values::{self, EndpointUse};

group! {
    /// Handing events on to other servers.
    RelayOptions at relay, "Handing events on to other servers" {
        /// ZeroMQ endpoint to which newswire binds an XPUB socket, such as tcp://0.0.0.0:5556. It hands every event that
        /// comes in on to the servers that connect there with `--sub`, and asks its own sources for what those servers
        /// want. Whoever reaches the endpoint may read all events. `off` binds none; `newswire relay` binds
        /// tcp://127.0.0.1:5556 when nothing else is given.
        #[option("relay", "ENDPOINT", restart)]
        endpoints: Vec<String> = list(
            |text| values::endpoint(text, EndpointUse::Bind),
            String::clone,
            WhenNone::Off,
            &[],
        ),
    }
}
