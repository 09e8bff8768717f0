//! A request becomes a [`Command`]: which paths there are, who may ask for them, and what a body must be.
//!
//! `docs/operate.md` lists the routes. A refusal is answered as early as possible: the body of a client that may not
//! send it is never read.
//!
//! Never here: bytes that have not come yet (the conversation has them), and what a command does.

use std::net::{IpAddr, SocketAddr};

use serde_json::Value;
use zeroize::Zeroize;

use super::access::Right;
use super::listing::PageRequest;
use super::response::Response;
use super::{AdminRules, Command, Whom};
use crate::limits;
use crate::stats::{Door, HttpStatus};
use crate::wire::http::{self, Head};
use crate::wire::json;
use crate::wire::publication::{Media, Publication};
use crate::wire::token::{Digest, Token};

/// A path, and what it is for.
#[derive(Debug)]
pub struct Route {
    /// The whole path.
    pub path: &'static str,
    /// True exactly when the method is POST, with a body; otherwise it is GET or HEAD.
    pub is_post: bool,
    right: Right,
    what: RouteTarget,
}

#[derive(Clone, Copy, Debug)]
enum RouteTarget {
    Dashboard,
    Script,
    Metrics,
    History,
    Health,
    Readiness,
    Topics,
    Connections,
    Disconnect,
    Revoke,
    RestartWorkers,
    Snapshot,
    Publish,
}

/// The path that events are posted to.
pub const PUBLISH: &str = "/publish";

/// All routes. The WebSocket is not among them, because it has any path, and neither is the question of
/// browsers whether a page may publish.
pub static ROUTES: &[Route] = &[
    // The page shows nothing until its user gives it a token, and a browser can send none when it loads it.
    get("/", Right::Anybody, RouteTarget::Dashboard),
    get("/newswire.js", Right::Anybody, RouteTarget::Script),
    get("/metrics", Right::Administrator, RouteTarget::Metrics),
    get("/history", Right::Administrator, RouteTarget::History),
    // A container's probe has no token, and learns only that the server answers.
    get("/healthz", Right::Anybody, RouteTarget::Health),
    get("/readyz", Right::Anybody, RouteTarget::Readiness),
    get("/topics", Right::Administrator, RouteTarget::Topics),
    get(
        "/connections",
        Right::Administrator,
        RouteTarget::Connections,
    ),
    post("/disconnect", Right::Administrator, RouteTarget::Disconnect),
    post("/revoke", Right::Administrator, RouteTarget::Revoke),
    post(
        "/workers/restart",
        Right::Administrator,
        RouteTarget::RestartWorkers,
    ),
    get("/snapshot", Right::Administrator, RouteTarget::Snapshot),
    post(PUBLISH, Right::Publisher, RouteTarget::Publish),
];

const fn get(path: &'static str, right: Right, what: RouteTarget) -> Route {
    Route {
        path,
        is_post: false,
        right,
        what,
    }
}

const fn post(path: &'static str, right: Right, what: RouteTarget) -> Route {
    Route {
        path,
        is_post: true,
        right,
        what,
    }
}

/// A request whose head was judged and admitted. Its body may still be to come.
#[derive(Debug)]
pub struct Admitted {
    /// The right that the client has shown.
    pub right: Right,
    /// The length of the body, in bytes.
    pub body_bytes: usize,
    /// True exactly when the answer has no body.
    pub is_head: bool,
    /// True exactly when another request may come on the connection.
    pub keeps_alive: bool,
    /// True exactly when the client waits for `100 Continue` before it sends the body.
    pub awaits_word: bool,
    order: Order,
}

/// What a request asks for, without its body.
#[derive(Debug)]
enum Order {
    Whole(Command),
    Disconnect,
    Revoke,
    RestartWorkers,
    Publish(Media),
}

/// Judges a head.
///
/// # Errors
/// Returns the answer to a request that makes no sense or is not allowed. The connection ends with it when the
/// request has a body, because that is not read.
pub fn admit(head: &Head<'_, '_>, door: Door, rules: &AdminRules) -> Result<Admitted, Response> {
    judge(head, door, rules).map_err(|refusal| match head.announces_body() {
        true => refusal.closing(),
        false => refusal,
    })
}

fn judge(head: &Head<'_, '_>, door: Door, rules: &AdminRules) -> Result<Admitted, Response> {
    if door == Door::Admin && head.method == "GET" && head.lists("upgrade", "websocket") {
        let access = &rules.access;
        // A page can send the token of its WebSocket nowhere else than in the address.
        let right = access.judge(door, Right::Administrator, head, true)?;
        return Ok(Admitted {
            right,
            body_bytes: 0,
            is_head: false,
            keeps_alive: false,
            awaits_word: false,
            order: Order::Whole(Command::WebSocket {
                upgrade: http::judge(head).map(|upgrade| upgrade.acceptance(false)),
                early: Vec::new(),
            }),
        });
    }
    // RFC 9110 s. 9.3.7 and the Fetch standard: a browser asks before a page may publish.
    if head.method == "OPTIONS"
        && head.path() == PUBLISH
        && head.has("access-control-request-method")
    {
        rules.access.judge_preflight(head)?;
        if head.body_bytes()?.is_some_and(|bytes| bytes > 0) {
            return Err(no_body());
        }
        return Ok(Admitted {
            right: Right::Anybody,
            body_bytes: 0,
            is_head: false,
            keeps_alive: head.keeps_alive(),
            awaits_word: false,
            order: Order::Whole(Command::Preflight),
        });
    }
    let route = find(head, door)?;
    let right = rules.access.judge(door, route.right, head, false)?;
    let order = match route.what {
        RouteTarget::Dashboard => Order::Whole(Command::Dashboard),
        RouteTarget::Script => Order::Whole(Command::Script),
        RouteTarget::Metrics => Order::Whole(Command::Metrics),
        RouteTarget::History => Order::Whole(Command::History),
        RouteTarget::Health => Order::Whole(Command::Health),
        RouteTarget::Readiness => {
            let access = &rules.access;
            let has_sources = access
                .judge(door, Right::Administrator, head, false)
                .is_ok();
            Order::Whole(Command::Readiness { has_sources })
        }
        RouteTarget::Topics => Order::Whole(Command::Topics(page(head)?)),
        RouteTarget::Connections => Order::Whole(Command::Connections(page(head)?)),
        RouteTarget::Disconnect => json_alone(head).map(|()| Order::Disconnect)?,
        RouteTarget::Revoke => json_alone(head).map(|()| Order::Revoke)?,
        RouteTarget::RestartWorkers => json_alone(head).map(|()| Order::RestartWorkers)?,
        RouteTarget::Snapshot => Order::Whole(Command::Snapshot),
        RouteTarget::Publish => Order::Publish(media(head)?),
    };
    let max = match order {
        Order::Whole(_) => 0,
        Order::Disconnect | Order::Revoke | Order::RestartWorkers => limits::ADMIN_ORDER_BYTES_MAX,
        Order::Publish(_) => rules.body_bytes_max,
    };
    let body_bytes = match head.body_bytes()? {
        Some(bytes) if bytes <= max => bytes,
        Some(_) if !route.is_post => {
            return Err(no_body());
        }
        Some(_) => {
            return Err(Response::refusal(
                HttpStatus::ContentTooLarge,
                &format!("the body is over {max} bytes"),
                match order {
                    Order::Publish(_) => {
                        "send smaller events or batches, or have event-bytes-max raised"
                    }
                    _ => "send the order alone",
                },
            ));
        }
        None if route.is_post => {
            return Err(Response::refusal(
                HttpStatus::LengthRequired,
                "the body has no length",
                "send a Content-Length",
            )
            .closing());
        }
        None => 0,
    };
    Ok(Admitted {
        right,
        body_bytes,
        is_head: head.method == "HEAD",
        keeps_alive: head.keeps_alive(),
        awaits_word: head.lists("expect", "100-continue"),
        order,
    })
}

fn no_body() -> Response {
    Response::refusal(
        HttpStatus::BadRequest,
        "a request with this method has no body here",
        "ask without one; what is looked for stands behind the ? of the address",
    )
}

fn find(head: &Head<'_, '_>, door: Door) -> Result<&'static Route, Response> {
    let is_here =
        |route: &&Route| door == Door::Admin || matches!(route.what, RouteTarget::Publish);
    let Some(route) = ROUTES
        .iter()
        .filter(is_here)
        .find(|route| route.path == head.path())
    else {
        let there: Vec<_> = ROUTES.iter().filter(is_here).map(|r| r.path).collect();
        return Err(Response::refusal(
            HttpStatus::NotFound,
            "there is nothing at this path",
            &format!("what there is: {}", there.join(", ")),
        ));
    };
    let is_right = match head.method {
        "GET" | "HEAD" => !route.is_post,
        "POST" => route.is_post,
        _ => false,
    };
    if is_right {
        return Ok(route);
    }
    let allowed = if route.is_post { "POST" } else { "GET, HEAD" };
    Err(Response::refusal(
        HttpStatus::MethodNotAllowed,
        "this cannot be done with that method",
        &format!("use {allowed}"),
    )
    .allowing(allowed))
}

/// Returns what `Content-Type` says about the body.
///
/// The head must say it. A page of another site can send a form, or no type at all, without asking the server
/// first; and so does curl unless it is told otherwise.
fn media(head: &Head<'_, '_>) -> Result<Media, Response> {
    let said = head.text("content-type").ok().flatten().unwrap_or_default();
    let essence = said.split(';').next().unwrap_or_default().trim();
    match essence.to_ascii_lowercase().as_str() {
        "application/json" => Ok(Media::Json),
        "application/x-ndjson" | "application/jsonl" => Ok(Media::Lines),
        _ => Err(Response::refusal(
            HttpStatus::UnsupportedMediaType,
            "the body is not said to be JSON",
            "send Content-Type: application/json, or application/x-ndjson for one event a line \
             (curl: -H 'Content-Type: application/json')",
        )),
    }
}

fn json_alone(head: &Head<'_, '_>) -> Result<(), Response> {
    match media(head)? {
        Media::Json => Ok(()),
        Media::Lines => Err(Response::refusal(
            HttpStatus::UnsupportedMediaType,
            "this is one JSON object",
            "send Content-Type: application/json",
        )),
    }
}

/// The last worker's last place.
const AFTER_MAX: usize = (limits::WORKERS_MAX + 1) << 32;

fn page(head: &Head<'_, '_>) -> Result<PageRequest, Response> {
    let number = |key: &str, default: usize, max: usize| match head.query_value(key) {
        None => Ok(default),
        Some(text) => text
            .parse::<usize>()
            .ok()
            .filter(|n| (usize::from(key == "limit")..=max).contains(n))
            .ok_or_else(|| {
                Response::refusal(
                    HttpStatus::BadRequest,
                    &format!("{key} is not a number that it can be"),
                    &format!(
                        "limit is from 1 to {}, and after is the `next` of the page before",
                        limits::ADMIN_PAGE_ENTRIES_MAX
                    ),
                )
            }),
    };
    Ok(PageRequest {
        limit: number(
            "limit",
            limits::ADMIN_PAGE_ENTRIES,
            limits::ADMIN_PAGE_ENTRIES_MAX,
        )?,
        after: number("after", 0, AFTER_MAX)? as u64,
        has_topics: head.query_value("topics") == Some("1"),
        is_kept: head.query_value("kept") == Some("1"),
    })
}

impl Admitted {
    /// Returns the command, now that the body has come.
    ///
    /// # Errors
    /// Returns the answer to a body that makes no sense.
    pub fn with_body(self, body: Vec<u8>) -> Result<Command, Response> {
        match self.order {
            Order::Whole(command) => Ok(command),
            Order::Publish(media) => Ok(Command::Publish(Publication::new(body, media))),
            Order::Disconnect => disconnection(&body),
            Order::RestartWorkers => match json::strict(&body) {
                Ok(Value::Object(entries)) if entries.is_empty() => Ok(Command::RestartWorkers),
                _ => Err(Response::refusal(
                    HttpStatus::BadRequest,
                    "the body is not an empty JSON object",
                    "send {}",
                )),
            },
            Order::Revoke => {
                let mut body = body;
                let digest = revoked(&body);
                body.zeroize();
                digest.map(Command::Revoke)
            }
        }
    }
}

/// Returns the key and the string of a JSON object that has one member.
fn only_string(body: &[u8], hint: &str) -> Result<(String, String), Response> {
    let refused = |error: &str| Response::refusal(HttpStatus::BadRequest, error, hint);
    let Ok(Value::Object(entries)) = json::strict(body) else {
        return Err(refused(
            "the body is not a JSON object in which each key occurs once",
        ));
    };
    let mut entries = entries.into_iter();
    match (entries.next(), entries.next()) {
        (Some((key, Value::String(text))), None) if !text.is_empty() => Ok((key, text)),
        _ => Err(refused("the object does not have one key, with a string")),
    }
}

const WHOM: &str = "send one of {\"id\":\"3-1\"}, {\"name\":\"…\"} and {\"address\":\"192.0.2.1\"}, as \
                    GET /connections lists them";

fn disconnection(body: &[u8]) -> Result<Command, Response> {
    let (key, text) = only_string(body, WHOM)?;
    let command = match key.as_str() {
        "id" => id(&text),
        "name" => Some(Command::Disconnect(Whom::Name(text))),
        "address" => address(&text).map(Command::Disconnect),
        _ => None,
    };
    command
        .ok_or_else(|| Response::refusal(HttpStatus::BadRequest, "this names no connection", WHOM))
}

/// `PLACE-TENANT`, or `WORKER-PLACE-TENANT`.
fn id(text: &str) -> Option<Command> {
    let numbers = text.split('-').map(|number| number.parse().ok());
    match numbers.collect::<Option<Vec<u32>>>()?[..] {
        [place, tenant] => Some(Command::DisconnectOne(place, tenant)),
        [worker, place, tenant] => {
            Some(Command::DisconnectOfWorker(worker as usize, place, tenant))
        }
        _ => None,
    }
}

fn address(text: &str) -> Option<Whom> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(Whom::Address(ip.to_canonical(), None));
    }
    let address: SocketAddr = text.parse().ok()?;
    let ip = address.ip().to_canonical();
    Some(Whom::Address(ip, Some(address.port())))
}

/// Parses a digest, with or without the `sha256:` that `newswire token hash` puts in front.
fn written(text: &str) -> Option<Digest> {
    let digits = text.strip_prefix("sha256:").unwrap_or(text);
    Digest::from_written(&format!("sha256:{digits}"))?.ok()
}

const REVOKED: &str = "send {\"token\":\"…\"}, or {\"sha256\":\"…\"} with the 64 hexadecimal digits that \
                       `newswire token hash` prints";

fn revoked(body: &[u8]) -> Result<Vec<Digest>, Response> {
    let (key, mut text) = only_string(body, REVOKED)?;
    let digests = match key.as_str() {
        "token" => Some(
            Token::new(&text)
                .meanings()
                .iter()
                .map(Token::digest)
                .collect(),
        ),
        "sha256" => written(&text).map(|digest| vec![digest]),
        _ => None,
    };
    text.zeroize();
    digests.ok_or_else(|| Response::refusal(HttpStatus::BadRequest, "this names no token", REVOKED))
}
