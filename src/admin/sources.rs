//! The ZeroMQ sources of events as operators see them: in `/readyz`, and as labels of metrics.
//!
//! A server whose publisher is away still serves its clients. So `/readyz` is 200 then, and its body says which
//! source is not connected. If a load balancer took such a server out, it would take out all servers at once,
//! and clients would lose the events of the other sources.
//!
//! Never here: sockets, and who may see the sources.

use super::response::Response;
use crate::stats::Ingest;
use crate::wire::json::{self, ToJson};

/// One source.
#[derive(Clone, Debug)]
pub struct SourceRow<'a> {
    /// What kind of source it is.
    pub ingest: Ingest,
    /// The endpoint: as bound for PULL, as configured for SUB.
    pub endpoint: &'a str,
    /// How many peers are connected now.
    pub peers: usize,
    /// How many handshakes were refused since the start.
    pub refused: u64,
    /// The connection to the publisher; `None` for a source that publishers connect to.
    pub dialled: Option<Dialled<'a>>,
}

/// How a source that connects to its publisher is doing.
#[derive(Clone, Debug)]
pub struct Dialled<'a> {
    /// A word for what the source is doing.
    pub state: &'static str,
    /// True exactly when its publisher is connected.
    pub is_connected: bool,
    /// For how many seconds that has been so.
    pub seconds: u64,
    /// Why the publisher is not connected, as far as that is known.
    pub trouble: Option<&'a str>,
    /// True exactly when the publisher is asked for everything, and not for single topics.
    pub asks_for_everything: bool,
    /// How often a connection was made since the start.
    pub connects: u64,
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
            let dialled = self.dialled.as_ref();
            if let Some(dialled) = dialled {
                let asks_for = match dialled.asks_for_everything {
                    true => "everything",
                    false => "topics",
                };
                source
                    .put("asks_for", asks_for)
                    .put("connected", dialled.is_connected)
                    .put("connects", dialled.connects);
            }
            source
                .put("endpoint", self.endpoint)
                .put("kind", self.ingest.name())
                .put("peers", self.peers)
                .put("refused_peers", self.refused);
            if let Some(dialled) = dialled {
                source
                    .put("seconds", dialled.seconds)
                    .put("state", dialled.state)
                    .put("trouble", dialled.trouble);
            }
        });
    }
}

/// Returns the labels of `row`, as Prometheus' text format writes them.
pub fn labels(row: &SourceRow<'_>) -> String {
    let endpoint = row.endpoint.replace('\\', "\\\\").replace('"', "\\\"");
    let source = row.ingest.name();
    format!("source=\"{source}\",endpoint=\"{endpoint}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> SourceRow<'static> {
        SourceRow {
            ingest: Ingest::Sub,
            endpoint: "tcp://a\"b\\c:1",
            peers: 0,
            refused: 3,
            dialled: Some(Dialled {
                state: "waiting",
                is_connected: false,
                seconds: 7,
                trouble: Some("nobody is there"),
                asks_for_everything: false,
                connects: 2,
            }),
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
        assert_eq!(source["trouble"], "nobody is there");
    }

    #[test]
    fn a_stranger_sees_no_endpoint() {
        assert_eq!(readiness(None).body(), b"{\"status\":\"ready\"}");
    }

    #[test]
    fn labels_are_escaped() {
        let expected = r#"source="sub",endpoint="tcp://a\"b\\c:1""#;
        assert_eq!(labels(&row()), expected);
    }
}
