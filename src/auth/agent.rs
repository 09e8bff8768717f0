//! The HTTP client of stores that ask the web: which authorities it trusts, how long it waits, how much it reads.
//!
//! It sends one GET at a time, on a connection that it keeps for the next. It does not follow a redirect, because
//! that would carry the token to another server; a redirect is an answer like any other. It takes no proxy from the
//! environment: a token goes to the address that is configured, and nowhere else.
//!
//! Never here: what is asked, what an answer means, threads.

use std::io;
use std::path::Path;
use std::time::Duration;

use ureq::http::{HeaderMap, HeaderValue, Uri, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Body, Error};

use super::clock::now;
use super::secret_file::read_secret;
use crate::limits;

/// How long the client keeps an idle connection. Many servers close theirs earlier, some after 5 s, which the client
/// notices. A firewall that forgets one after some minutes says nothing, and would cost a time-out.
const IDLE: Duration = Duration::from_secs(15);

/// The authorities whose certificates the client accepts.
#[derive(Clone, Debug)]
pub struct Trust(RootCerts);

impl Trust {
    /// The authorities of the PEM file `path`. When `path` is empty: Mozilla's, which are part of the program.
    ///
    /// # Errors
    /// The file cannot be read or has no certificate.
    pub fn load(path: &str) -> Result<Self, String> {
        if path.is_empty() {
            return Ok(Self(RootCerts::WebPki));
        }
        let text = read_secret(Path::new(path), limits::AUTH_CA_BYTES_MAX)
            .map_err(|error| format!("auth-ca ({path}): {error}"))?;
        let mut certificates = Vec::new();
        for item in parse_pem(&text) {
            match item {
                Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
                Ok(_) => {}
                Err(error) => return Err(format!("auth-ca ({path}) is not PEM: {error}")),
            }
        }
        if certificates.is_empty() {
            return Err(format!("auth-ca ({path}) has no certificate"));
        }
        Ok(Self(certificates.into()))
    }

    /// The certificates as they stand in the file, for another protocol than HTTP; `None`: Mozilla's.
    pub fn certificates(&self) -> Option<impl Iterator<Item = &[u8]>> {
        match &self.0 {
            RootCerts::Specific(certificates) => Some(certificates.iter().map(|c| c.der())),
            _ => None,
        }
    }
}

/// The answer of a server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// True exactly when the body is said to be JSON.
    pub is_json: bool,
    /// `None` when it is longer than `limits::AUTH_BODY_BYTES_MAX`, and when the status is a refusal and the body
    /// did not arrive whole.
    pub body: Option<Vec<u8>>,
}

impl Reply {
    /// Returns true when the status is a success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Parses an address that the client can ask.
///
/// # Errors
/// What is wrong with it.
pub fn parse_url(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|error| format!("{text}: {error}"))?;
    match url.host() {
        Some(host) if !host.is_empty() => Ok(url),
        _ => Err(format!("{text}: it names no host")),
    }
}

/// A client for one thread. It keeps one connection.
#[derive(Debug)]
pub struct Agent {
    agent: ureq::Agent,
    /// The time for all of it, from the look-up of the name to the last byte.
    timeout: Duration,
    /// True exactly when the last question had an answer, so that its connection may be used again.
    has_kept: bool,
}

impl Agent {
    /// A client that accepts the certificates of `trust` and waits for `timeout`.
    pub fn new(trust: &Trust, timeout: Duration) -> Self {
        let tls = TlsConfig::builder().root_certs(trust.0.clone()).build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .user_agent(concat!("newswire/", env!("CARGO_PKG_VERSION")))
            .max_idle_connections(1)
            .max_idle_connections_per_host(1)
            .max_idle_age(IDLE)
            .build();
        Self {
            agent: config.into(),
            timeout,
            has_kept: false,
        }
    }

    /// Fetches the body of `url`. Any status but 200 is an error.
    ///
    /// # Errors
    /// The reason, without `url`.
    pub fn fetch(&mut self, url: &Uri) -> Result<Vec<u8>, String> {
        let max = limits::AUTH_BODY_BYTES_MAX;
        let mut headers = HeaderMap::new();
        // RFC 7517 s. 8.5.1
        let wanted = HeaderValue::from_static("application/jwk-set+json, application/json");
        headers.insert(header::ACCEPT, wanted);
        match self.get(url, &headers)? {
            Reply {
                status: 200, body, ..
            } => body.ok_or_else(|| format!("its answer is longer than {max} bytes")),
            Reply { status, .. } => Err(format!("it answered with status {status}")),
        }
    }

    /// Asks `url`, and reads the answer.
    ///
    /// # Errors
    /// The reason, without a piece of the question.
    pub fn get(&mut self, url: &Uri, headers: &HeaderMap) -> Result<Reply, String> {
        let start = now();
        let mut reply = self.try_once(url, headers, self.timeout);
        // The server may close a kept connection in the moment in which the client uses it again. That says nothing
        // about the store, and the next connection is a new one.
        if self.has_kept && reply.as_ref().is_err_and(is_hang_up) {
            let left = self.timeout.saturating_sub(now().saturating_sub(start));
            reply = self.try_once(url, headers, left);
        }
        self.has_kept = reply.is_ok();
        reply.map_err(|error| self.explain(error))
    }

    fn try_once(&self, url: &Uri, headers: &HeaderMap, left: Duration) -> Result<Reply, Error> {
        let mut request = self.agent.get(url);
        if let Some(all) = request.headers_mut() {
            all.extend(headers.clone());
        }
        let request = request.config().timeout_global(Some(left)).build();
        let response = request.call()?;
        let (head, body) = response.into_parts();
        let is_json = head.headers.get(header::CONTENT_TYPE).is_some_and(is_json);
        let body = match read(body) {
            Ok(body) => Some(body),
            Err(Error::BodyExceedsLimit(_)) => None,
            Err(_) if !head.status.is_success() => None,
            Err(error) => return Err(error),
        };
        Ok(Reply {
            status: head.status.as_u16(),
            is_json,
            body,
        })
    }

    fn explain(&self, error: Error) -> String {
        match error {
            Error::Timeout(_) => format!(
                "no answer within {} s (auth-timeout)",
                self.timeout.as_secs_f32()
            ),
            Error::HostNotFound => "there is no host of that name".to_owned(),
            Error::Io(error) => error.to_string(),
            // These may show what was sent.
            Error::Protocol(_) | Error::Http(_) | Error::BadUri(_) | Error::Other(_) => {
                "what it answers is not HTTP".to_owned()
            }
            error => error.to_string(),
        }
    }
}

/// Reads the whole body, so that the connection can be used again.
fn read(body: Body) -> Result<Vec<u8>, Error> {
    let max = limits::AUTH_BODY_BYTES_MAX as u64;
    body.into_with_config().limit(max).read_to_vec()
}

/// Returns true when the server had closed the connection.
fn is_hang_up(error: &Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let gone = [
        BrokenPipe,
        ConnectionAborted,
        ConnectionReset,
        UnexpectedEof,
    ];
    matches!(error, Error::Io(error) if gone.contains(&error.kind()))
}

/// Returns true when a `Content-Type` is `application/json`, or a type that is built upon it.
fn is_json(content_type: &HeaderValue) -> bool {
    let text = content_type.to_str().unwrap_or_default();
    let kind = text.split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}
