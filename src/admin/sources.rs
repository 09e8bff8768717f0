//! The sources of events as operators see them in `/readyz`.
//!
//! A server whose publisher is away still serves its clients. So `/readyz` is 200 then, and its body says which
//! source is not connected. If a load balancer took such a server out, it would take out all servers at once,
//! and clients would lose the events of the other sources.
//!
//! Never here: sockets, and who may see the sources.

use std::time::Duration;

use super::response::Response;
use crate::health::Health;
use crate::stats::Ingest;
use crate::wire::json::{self, ToJson};

/// One source.
#[derive(Clone, Debug)]
pub struct SourceRow<'a> {
    /// What kind of source it is.
    pub ingest: Ingest,
    /// The endpoint: as bound for PULL, as configured for SUB; the broker's address.
    pub endpoint: &'a str,
    /// How it is doing.
    pub health: Health<'a>,
    /// How long the oldest message has waited that the source holds, as far as the source knows.
    pub lag: Option<Duration>,
}

/// Returns the answer of a server that serves. `sources` are `None` for somebody who may not see them.
pub fn readiness(sources: Option<&[SourceRow<'_>]>) -> Response {
    Response::object(|body| {
        if let Some(rows) = sources {
            body.put("sources", rows);
        }
        body.put("status", "ready");
    })
}

impl ToJson for SourceRow<'_> {
    fn to_json(&self, out: &mut String) {
        json::object(out, |source| {
            let Health {
                peers,
                refused,
                upstream,
            } = self.health;
            if let Some(upstream) = upstream {
                let asks_for = match upstream.asks_for_everything {
                    true => "everything",
                    false => "topics",
                };
                source
                    .put("asks_for", asks_for)
                    .put("connected", upstream.is_connected)
                    .put("connects", upstream.connects);
            }
            source
                .put("endpoint", self.endpoint)
                .put("kind", self.ingest.name());
            if let Some(lag) = self.lag {
                source.put("lag_seconds", lag.as_secs_f64());
            }
            source.put("peers", peers).put("refused_peers", refused);
            if let Some(upstream) = upstream {
                source
                    .put("seconds", upstream.lasted.as_secs())
                    .put("state", upstream.state)
                    .put("trouble", upstream.trouble);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::health::Upstream;

    fn row() -> SourceRow<'static> {
        SourceRow {
            ingest: Ingest::Sub,
            endpoint: "tcp://127.0.0.1:5556",
            health: Health {
                peers: 0,
                refused: 3,
                upstream: Some(Upstream {
                    state: "waiting",
                    is_connected: false,
                    lasted: Duration::from_secs(7),
                    trouble: Some("nobody is there"),
                    asks_for_everything: false,
                    connects: 2,
                }),
            },
            lag: Some(Duration::from_millis(1_500)),
        }
    }

    #[test]
    fn a_source_that_is_away_leaves_the_server_ready_and_is_named() {
        let response = readiness(Some(&[row()]));
        assert_eq!(response.status().name(), "200");
        let body: serde_json::Value = serde_json::from_slice(response.body()).expect("JSON");
        assert_eq!(body["status"], "ready");
        let source = &body["sources"][0];
        assert_eq!(source["connected"], false);
        assert_eq!(source["seconds"], 7);
        assert_eq!(source["lag_seconds"], 1.5);
        assert_eq!(source["trouble"], "nobody is there");
    }

    #[test]
    fn a_stranger_sees_no_endpoint() {
        assert_eq!(readiness(None).body(), b"{\"status\":\"ready\"}");
    }
}
