//! Tokens that an API knows: newswire asks it with the token itself, as its own clients do.
//!
//! The request is `GET` with `Accept: application/json` and `Authorization: TOKEN`, or `SCHEME TOKEN`.
//! `X-Forwarded-For` is the client's address, and `Origin` the origin of its page, if it has one; so an answer is
//! about a token and its caller. When the operator leaves the two out, it is about the token alone. The status
//! means:
//!
//! | status | |
//! |---|---|
//! | 2xx | the token is good |
//! | 401, 403, 404 | it is not known there |
//! | 3xx | it cannot be told: a redirect is not followed, and may mean that the API has moved |
//! | any other; none | it cannot be told |
//!
//! A 2xx may say more in a body that is a JSON object: `topics`, a list of patterns; `expires`, in RFC 3339 or in
//! seconds of Unix time; `name`, for logs; `token_id`, a text or a whole number, which is the same for all texts
//! that the API takes for one token. Each may be missing or `null`, and then says nothing: all topics, no end. Other
//! fields are ignored. A field of another type, a key that occurs twice, or JSON that is no object, is no answer,
//! because a guess could grant too much. A list without a topic is a refusal. Any other body says nothing, except
//! for a web page: a wrong address answers with one to everybody.
//!
//! Never here: threads and the time-out for all of it (`workers`), connections (`agent`), caching.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use serde_json::{Map, Value};
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};
use zeroize::Zeroizing;

use super::agent::{Agent, Reply, Trust, parse_url};
use super::workers::{Bounds, Worker, Workers};
use super::{Answer, Moment, Question, TokenStore};
use crate::limits;
use crate::stats::{Cause, Store};
use crate::wake::Wake;
use crate::wire::grant::{Flaw, Grant, moment_of_seconds, parse_moment};
use crate::wire::json;
use crate::wire::token::Token;

/// The address of a client.
const CLIENT: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A token that nobody has.
const PROBE: &str = "newswire-check";

/// How newswire asks an API.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// The word before the token; may be empty.
    pub scheme: String,
    /// True exactly when the API is told who brings a token. Its answer may then depend on the caller.
    pub forwards_client: bool,
    /// The authorities whose certificates are accepted.
    pub trust: Trust,
    /// How many questions run, how many wait, and how long.
    pub bounds: Bounds,
}

/// An API that knows tokens.
#[derive(Debug)]
pub struct HttpStore {
    workers: Workers,
    /// As [`HttpOptions::forwards_client`].
    forwards_client: bool,
}

impl HttpStore {
    /// A store that asks `url`. It calls `wake` when there is an answer.
    ///
    /// # Errors
    /// `url` is no address, or the system has no thread left.
    pub fn new(url: &str, settings: &HttpOptions, wake: Wake) -> Result<Self, String> {
        let url = parse(url)?;
        let place = format!("host={}", host(&url));
        let settings = settings.clone();
        let (bounds, forwards_client) = (settings.bounds, settings.forwards_client);
        let make = move || ApiWorker::new(&url, &settings);
        let workers = Workers::start(Store::Http, &place, bounds, wake, make)?;
        Ok(Self {
            workers,
            forwards_client,
        })
    }
}

fn parse(url: &str) -> Result<Uri, String> {
    parse_url(url).map_err(|error| format!("auth-url: {error}"))
}

fn host(url: &Uri) -> &str {
    url.authority().map_or("", |authority| authority.as_str())
}

/// Asks the API at `url` once about a token that nobody has, for `newswire check`. Returns a warning when
/// the API accepts it or cannot tell.
///
/// # Errors
/// `url` is no address.
pub fn check(url: &str, settings: &HttpOptions) -> Result<Option<String>, String> {
    let url = parse(url)?;
    let token = Token::new(PROBE);
    let question = Question {
        ticket: 0,
        digest: token.digest(),
        token: Some(token),
        is_recheck: false,
        client: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        origin: None,
    };
    let warning = match ApiWorker::new(&url, settings).answer(&question) {
        Ok(Answer::Accepted(_)) => {
            format!("accepts any token: it has accepted {PROBE:?}, which nobody has")
        }
        Ok(Answer::Unavailable(reason)) | Err(reason) => format!(
            "cannot be used now: {reason}. Until it can, a client whose token no other store knows gets 503"
        ),
        Ok(_) => return Ok(None),
    };
    Ok(Some(format!(
        "auth-url: the API at {} {warning}",
        host(&url)
    )))
}

impl TokenStore for HttpStore {
    fn kind(&self) -> Store {
        Store::Http
    }

    fn needs_token(&self) -> bool {
        true
    }

    fn asks_of_callers(&self) -> bool {
        self.forwards_client
    }

    fn ask(&mut self, question: &Arc<Question>, _moment: Moment) -> Option<Answer> {
        // No API can have handed out such a token for a header.
        if !is_sendable(question.presented()) {
            return Some(Answer::Unknown);
        }
        self.workers.ask(question)
    }

    fn poll_answer(&mut self) -> Option<(u64, Answer)> {
        self.workers.poll_answer()
    }
}

/// Returns true when a token arrives unchanged in a header: visible ASCII, and spaces inside (RFC 9110 s. 5.5).
/// Other bytes are possible, but servers read them in different ways.
fn is_sendable(token: &Token) -> bool {
    let text = Zeroizing::new(token.reveal());
    let is_visible = text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    is_visible && text.trim_matches(' ') == text.as_str()
}

/// The worker of one thread.
struct ApiWorker {
    agent: Agent,
    url: Uri,
    scheme: String,
    forwards_client: bool,
}

impl ApiWorker {
    fn new(url: &Uri, settings: &HttpOptions) -> Self {
        Self {
            agent: Agent::new(&settings.trust, settings.bounds.timeout),
            url: url.clone(),
            scheme: settings.scheme.clone(),
            forwards_client: settings.forwards_client,
        }
    }
}

impl Worker for ApiWorker {
    fn answer(&mut self, question: &Question) -> Result<Answer, String> {
        let mut headers = headers(&self.scheme, question)?;
        if self.forwards_client {
            forward_client(&mut headers, question);
        }
        judge(&self.agent.get(&self.url, &headers)?)
    }
}

fn headers(scheme: &str, question: &Question) -> Result<HeaderMap, String> {
    let token = Zeroizing::new(question.presented().reveal());
    let space = if scheme.is_empty() { "" } else { " " };
    let text = Zeroizing::new(format!("{scheme}{space}{}", *token));
    let mut authorization = HeaderValue::from_str(&text)
        .map_err(|_| "the token cannot be sent in a header".to_owned())?;
    authorization.set_sensitive(true);
    let mut headers = HeaderMap::new();
    // Without this header, a framework for pages (Laravel) sends a bad token to its login page.
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::AUTHORIZATION, authorization);
    Ok(headers)
}

/// Adds the headers that say who brings the token.
fn forward_client(headers: &mut HeaderMap, question: &Question) {
    let client = question.client.to_canonical().to_string();
    // The proxy may not have named the address.
    if !question.client.is_unspecified()
        && let Ok(client) = HeaderValue::from_str(&client)
    {
        headers.insert(CLIENT, client);
    }
    // An origin that a header cannot carry unchanged is left out.
    if let Some(Ok(origin)) = question.origin.as_deref().map(HeaderValue::from_str) {
        headers.insert(header::ORIGIN, origin);
    }
}

/// What the answer of the API means.
///
/// # Errors
/// The answer is not from the API: the API itself is not there.
fn judge(reply: &Reply) -> Result<Answer, String> {
    match reply.status {
        _ if reply.is_success() => Ok(match grant(reply) {
            Ok(Ok(grant)) => Answer::Accepted(grant),
            Ok(Err(flaw @ Flaw::NoTopic)) => Answer::Refused(Cause::NoTopics, flaw.to_string()),
            Ok(Err(flaw @ Flaw::Topic { .. })) => {
                Answer::Unavailable(format!("its answer: {flaw}"))
            }
            Err(reason) => Answer::Unavailable(reason),
        }),
        401 | 403 | 404 => Ok(Answer::Unknown),
        // RFC 9110 s. 15.6: a gateway says this of an API that is down, overloaded or slow.
        status @ 502..=504 => Err(format!("it answered with status {status}")),
        status @ 300..=399 => Ok(Answer::Unavailable(format!(
            "it answered with status {status}, and a token is not taken along: if that leads to another \
             address of the API, auth-url has to be that one; if it leads to a login page, the API has to \
             answer a bad token with 401"
        ))),
        status => Ok(Answer::Unavailable(format!(
            "it answered with status {status}"
        ))),
    }
}

/// The grant in the body of a 2xx.
///
/// # Errors
/// The reason why there is none, without a piece of the body.
fn grant(reply: &Reply) -> Result<Result<Grant, Flaw>, String> {
    let max = limits::AUTH_BODY_BYTES_MAX;
    let Some(body) = &reply.body else {
        return Err(format!("its answer is longer than {max} bytes"));
    };
    let body = body.trim_ascii();
    // Not every server that sends JSON says so.
    let is_json = reply.is_json || body.starts_with(b"{");
    if !body.is_empty() && is_json {
        return match json::strict(body) {
            Ok(Value::Object(fields)) => fields_grant(&fields),
            Err(json::JsonFlaw::Twice) => Err("a key occurs twice in its answer".to_owned()),
            Ok(_) | Err(json::JsonFlaw::Syntax) => {
                Err("its answer is not a JSON object".to_owned())
            }
        };
    }
    let begins_with = |tag: &[u8]| {
        body.get(..tag.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(tag))
    };
    if begins_with(b"<!doctype") || begins_with(b"<html") {
        return Err("it answered with a web page: is auth-url the address of an API?".to_owned());
    }
    fields_grant(&Map::new())
}

fn fields_grant(fields: &Map<String, Value>) -> Result<Result<Grant, Flaw>, String> {
    let field = |name| fields.get(name).filter(|value| !value.is_null());
    let name = field("name").map(|name| name.as_str().ok_or("`name` in its answer is no text"));
    let mut expires_at = None;
    if let Some(expires) = field("expires") {
        let moment = match expires {
            Value::String(text) => parse_moment(text),
            Value::Number(number) => number.as_f64().and_then(moment_of_seconds),
            _ => None,
        };
        let needed = "`expires` in its answer is neither a time as in 2099-12-31T12:00:00Z nor one \
                      in seconds since 1970";
        expires_at = Some(moment.ok_or(needed)?);
    }
    let mut topics = None;
    if let Some(list) = field("topics") {
        let list = list.as_array().map(|list| list.iter().map(Value::as_str));
        let texts = list.and_then(|list| list.map(|text| text.map(str::to_owned)).collect());
        let texts: Vec<String> = texts.ok_or("`topics` in its answer is no list of texts")?;
        topics = Some(texts);
    }
    let token_id = match field("token_id") {
        None => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) if !number.is_f64() => Some(number.to_string()),
        Some(_) => return Err("`token_id` in its answer is no text and no whole number".to_owned()),
    };
    let nameless = Store::Http.name();
    let grant = Grant::new(name.transpose()?, nameless, topics, expires_at);
    Ok(grant.map(|grant| grant.with_token_id(token_id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, is_json: bool, body: &str) -> Reply {
        Reply {
            status,
            is_json,
            body: Some(body.into()),
        }
    }

    fn judge_json(body: &str) -> Answer {
        judge(&reply(200, true, body)).expect("an answer")
    }

    fn all() -> Grant {
        Grant {
            name: "http".to_owned(),
            ..Grant::default()
        }
    }

    #[test]
    fn a_body_that_says_nothing_grants_everything() {
        for body in [
            "",
            " \r\n",
            "{}",
            r#"{"topics":null,"expires":null,"name":null}"#,
            r#"{"id":7,"Topics":["a"],"roles":[{}]}"#,
        ] {
            assert_eq!(judge_json(body), Answer::Accepted(all()), "{body}");
        }
        for body in ["ok", "true", "[1]", "<ok/>", "null", "é"] {
            let answer = judge(&reply(200, false, body));
            assert_eq!(answer, Ok(Answer::Accepted(all())), "{body}");
        }
    }

    #[test]
    fn what_a_body_says_counts_even_where_it_is_not_said_to_be_json() {
        let body = r#" {"topics":["a","b_*","$sys/stats"],"expires":1795521600,"name":"Ada"}"#;
        let grant = Grant {
            name: "Ada".to_owned(),
            topics: ["a", "b_*", "$sys/stats"].map(str::to_owned).to_vec(),
            expires_at: Some(1_795_521_600),
            ..Grant::default()
        };
        for is_json in [true, false] {
            let answer = judge(&reply(201, is_json, body));
            assert_eq!(answer, Ok(Answer::Accepted(grant.clone())));
        }
    }

    #[test]
    fn an_end_is_a_time_or_a_number_of_seconds() {
        for (expires, at) in [
            (r#""2026-11-24T12:00:00Z""#, 1_795_521_600),
            (r#""2026-11-24T13:00:00+01:00""#, 1_795_521_600),
            ("1795521600", 1_795_521_600),
            ("1795521600.9", 1_795_521_600),
            ("1.7955216e9", 1_795_521_600),
            ("0", 0),
            ("-1", 0),
        ] {
            let answer = judge_json(&format!(r#"{{"expires":{expires}}}"#));
            let grant = Grant {
                expires_at: Some(at),
                ..all()
            };
            assert_eq!(answer, Answer::Accepted(grant), "{expires}");
        }
    }

    #[test]
    fn what_could_grant_too_much_is_no_answer() {
        for body in [
            "{",
            r#"{"topics":["a"]} x"#,
            "[]",
            r#"["a"]"#,
            "true",
            "null",
            r#""ok""#,
            "secret",
            r#"{"topics":"secret"}"#,
            r#"{"topics":["a",7]}"#,
            r#"{"topics":[null]}"#,
            r#"{"topics":[""]}"#,
            r#"{"topics":["*secret"]}"#,
            r#"{"topics":{"secret":true}}"#,
            r#"{"expires":"secret"}"#,
            r#"{"expires":"1795521600"}"#,
            r#"{"expires":""}"#,
            r#"{"expires":true}"#,
            // Milliseconds.
            r#"{"expires":1795521600000}"#,
            r#"{"expires":1e300}"#,
            r#"{"name":7}"#,
            // Which of the two?
            r#"{"topics":["a"],"topics":["secret"]}"#,
            r#"{"expires":1795521600,"secret":{"a":1,"a":2}}"#,
        ] {
            let Answer::Unavailable(reason) = judge_json(body) else {
                panic!("{body}");
            };
            assert!(!reason.contains("secret"), "{reason}");
        }
        for page in ["<!DOCTYPE html><p>Log in", "\n<html>", "<!doctype HTML>"] {
            let answer = judge(&reply(200, false, page));
            assert!(matches!(answer, Ok(Answer::Unavailable(_))), "{page}");
        }
    }

    #[test]
    fn a_token_without_topics_is_refused() {
        let answer = judge_json(r#"{"topics":[]}"#);
        assert!(
            matches!(answer, Answer::Refused(Cause::NoTopics, _)),
            "{answer:?}"
        );
    }

    #[test]
    fn a_name_is_fit_for_a_log_line() {
        let answer = judge_json(r#"{"name":"Ada\nLovelace\u202e"}"#);
        let grant = Grant {
            name: "AdaLovelace".to_owned(),
            ..Grant::default()
        };
        assert_eq!(answer, Answer::Accepted(grant));
    }

    #[test]
    fn only_an_api_that_is_not_there_counts_as_down() {
        for status in [502, 503, 504] {
            assert!(judge(&reply(status, false, "")).is_err(), "{status}");
        }
        for status in [302, 400, 429, 431, 500] {
            let answer = judge(&reply(status, false, ""));
            assert!(matches!(answer, Ok(Answer::Unavailable(_))), "{status}");
        }
    }
}
