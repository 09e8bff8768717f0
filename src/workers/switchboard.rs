//! A thread that passes what an administrator asks on to all workers at once, and makes one answer of theirs.
//!
//! A worker that does not answer in time is left out, and the answer names it.
//!
//! Never here: the loop, and who may ask.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};
use std::thread;

use serde_json::Value;

use super::http::WorkerDesk;
use super::{Common, News};
use crate::admin::listing::{KeptRow, PageOfRows, PageRequest, TopicRow};
use crate::admin::{Response, Whom};
use crate::limits;
use crate::stats::HttpStatus;
use crate::wire::json;
use crate::wire::token::Digest;

/// In bits, the part of a cursor that is a place within one worker. The rest is the worker.
const PLACE_BITS: u32 = 32;

/// What is passed on.
#[derive(Clone, Debug)]
pub enum Errand {
    /// List topics. The parent's own page is with it.
    Topics(PageRequest, Vec<u8>),
    /// List connections. The parent's own page is with it, if the page begins there.
    Connections(PageRequest, Vec<u8>),
    /// End one connection of a worker: its place, and which tenant of the place.
    DisconnectOne(usize, u32, u32),
    /// End all connections that match.
    Disconnect(Whom),
    /// Accept a token no longer.
    Revoke(Vec<Digest>),
}

impl Errand {
    /// The word for an errand that changes something.
    pub fn order(&self) -> Option<&'static str> {
        match self {
            Self::Topics(..) | Self::Connections(..) => None,
            Self::DisconnectOne(..) | Self::Disconnect(_) => Some("disconnect"),
            Self::Revoke(_) => Some("revoke"),
        }
    }
}

/// Carries errands out until the loop has gone.
pub(super) fn run(common: &Arc<Common>, errands: &Receiver<(u64, Errand)>, news: &Sender<News>) {
    while let Ok((ticket, errand)) = errands.recv() {
        let desks = common.desks().clone();
        let response = carry_out(&desks, &errand);
        let _ = news.send(News::Answer(ticket, response));
        (common.wake)();
    }
}

/// A worker's number and its answer; `None` from a worker that did not answer.
type WorkerAnswer<T> = (usize, Option<T>);

/// Asks all workers at once.
fn ask_all<T: Send>(
    desks: &[Option<WorkerDesk>],
    ask: impl Fn(usize, &WorkerDesk) -> Option<T> + Sync,
) -> Vec<WorkerAnswer<T>> {
    thread::scope(|scope| {
        let asked: Vec<_> = desks
            .iter()
            .enumerate()
            .map(|(at, desk)| {
                let (ask, worker) = (&ask, at + 1);
                let asking = move || ask(worker, desk.as_ref()?);
                (
                    worker,
                    thread::Builder::new().spawn_scoped(scope, asking).ok(),
                )
            })
            .collect();
        let answers = asked.into_iter().map(|(worker, asking)| {
            let answer = asking.and_then(|asking| asking.join().ok()).flatten();
            (worker, answer)
        });
        answers.collect()
    })
}

/// The workers that did not answer.
fn left_out<T>(answers: &[WorkerAnswer<T>]) -> Vec<usize> {
    let silent = answers.iter().filter(|(_, answer)| answer.is_none());
    silent.map(|&(worker, _)| worker).collect()
}

fn carry_out(desks: &[Option<WorkerDesk>], errand: &Errand) -> Response {
    match errand {
        Errand::Topics(page, own) => {
            let answers = ask_all(desks, |_, desk| all_topics(desk, page.is_kept));
            topics(*page, own, &answers)
        }
        Errand::Connections(page, own) => {
            let (first, place) = split(page.after);
            let answers = ask_all(desks, |worker, desk| match worker {
                worker if worker < first => Some(Value::Null),
                worker => connections_of(desk, *page, if worker == first { place } else { 0 }),
            });
            connections(*page, own, &answers)
        }
        Errand::DisconnectOne(worker, place, tenant) => {
            let Some(at) = worker.checked_sub(1).filter(|&at| at < desks.len()) else {
                return counted("disconnected", &[(0, Some(0))]);
            };
            let body = order("id", &format!("{place}-{tenant}"));
            let desk = desks[at].as_ref();
            let answer = desk.and_then(|desk| number(desk, "/disconnect", &body, "disconnected"));
            counted("disconnected", &[(*worker, answer)])
        }
        Errand::Disconnect(whom) => {
            let body = match whom {
                Whom::Name(name) => order("name", name),
                Whom::Address(ip, None) => order("address", &ip.to_string()),
                Whom::Address(ip, Some(port)) => order(
                    "address",
                    &std::net::SocketAddr::new(*ip, *port).to_string(),
                ),
            };
            let ask = |_, desk: &WorkerDesk| number(desk, "/disconnect", &body, "disconnected");
            counted("disconnected", &ask_all(desks, ask))
        }
        Errand::Revoke(tokens) => {
            let bodies = tokens
                .iter()
                .map(|token| order("sha256", &token.to_written()));
            let bodies: Vec<String> = bodies.collect();
            let ask = |_, desk: &WorkerDesk| {
                let each = bodies.iter();
                let numbers = each.map(|body| number(desk, "/revoke", body, "revoked"));
                numbers.sum::<Option<u64>>()
            };
            // A worker that did not answer is told again by its keeper.
            counted("revoked", &ask_all(desks, ask))
        }
    }
}

/// An order: an object with one string.
fn order(key: &str, value: &str) -> String {
    json::text(|body| {
        body.put(key, value);
    })
}

/// Has a worker carry out an order, and returns how many it concerned.
fn number(desk: &WorkerDesk, target: &str, body: &str, key: &str) -> Option<u64> {
    desk.post(target, body)?[key].as_u64()
}

/// The sum of what workers answered.
fn counted(what: &str, answers: &[WorkerAnswer<u64>]) -> Response {
    let silent = left_out(answers);
    if silent.len() == answers.len() {
        return nobody();
    }
    Response::object(|body| {
        let counts = answers.iter().filter_map(|(_, count)| *count);
        body.put(what, counts.sum::<u64>());
        put_left_out(&silent, body);
    })
}

fn nobody() -> Response {
    Response::refusal(
        HttpStatus::ServiceUnavailable,
        "no worker answers",
        "try again in some seconds; the log says how the workers are",
    )
}

fn put_left_out(workers: &[usize], body: &mut json::Object<'_>) {
    if !workers.is_empty() {
        body.put("left_out", workers);
    }
}

/// All topics of a worker, or those of which it keeps events.
fn all_topics(desk: &WorkerDesk, is_kept: bool) -> Option<Vec<Value>> {
    let mut rows = Vec::new();
    let mut after = 0;
    loop {
        let limit = limits::ADMIN_PAGE_ENTRIES_MAX;
        let kept = u8::from(is_kept);
        let mut page = desk.get(&format!("/topics?limit={limit}&after={after}&kept={kept}"))?;
        if let Value::Array(more) = page["topics"].take() {
            rows.extend(more);
        }
        match page["next"].as_u64() {
            Some(next) if rows.len() < limits::WORKER_TOPICS_LISTED_MAX => after = next,
            Some(_) => return None,
            None => return Some(rows),
        }
    }
}

/// One page of all topics, in the order of their names. A topic's events and rate are those of the worker where they
/// are highest: each has had the same events since its first subscriber came. What is kept of it is what the worker
/// keeps that keeps most of its events.
fn topics(page: PageRequest, own: &[u8], answers: &[WorkerAnswer<Vec<Value>>]) -> Response {
    let own: Value = serde_json::from_slice(own).unwrap_or_default();
    let own = own["topics"].as_array().into_iter().flatten();
    let theirs = answers.iter().filter_map(|(_, rows)| rows.as_ref());
    let mut all: BTreeMap<&str, TopicRow<'_>> = BTreeMap::new();
    for row in own.chain(theirs.flatten()) {
        let name = row["name"].as_str().unwrap_or_default();
        let topic = all.entry(name).or_insert(TopicRow {
            name,
            subscribers: 0,
            events: 0,
            rate: 0.0,
            kept: None,
        });
        topic.subscribers += row["subscribers"].as_u64().unwrap_or_default() as usize;
        topic.events = topic.events.max(row["events"].as_u64().unwrap_or_default());
        topic.rate = topic
            .rate
            .max(row["rate"].as_f64().unwrap_or_default() as f32);
        topic.kept = topic.kept.max(KeptRow::read(&row["kept"]));
    }
    let mut listing = PageOfRows::new("topics", page);
    let first = usize::try_from(page.after).unwrap_or(usize::MAX);
    let mut next = None;
    for (at, topic) in all.into_values().enumerate().skip(first) {
        if listing.is_full() {
            next = Some(at as u64);
            break;
        }
        listing.push(&topic);
    }
    listing.finish(next, &left_out(answers))
}

/// The worker and the place where a page of connections begins. Worker 0 is the parent.
fn split(after: u64) -> (usize, u64) {
    let place = after % (1 << PLACE_BITS);
    ((after >> PLACE_BITS) as usize, place)
}

fn join(worker: usize, place: u64) -> u64 {
    ((worker as u64) << PLACE_BITS) + place
}

fn connections_of(desk: &WorkerDesk, page: PageRequest, after: u64) -> Option<Value> {
    let (limit, topics) = (page.limit, u8::from(page.has_topics));
    desk.get(&format!(
        "/connections?limit={limit}&after={after}&topics={topics}"
    ))
}

/// One page of connections: those of the parent, then those of each worker in turn.
fn connections(page: PageRequest, own: &[u8], answers: &[WorkerAnswer<Value>]) -> Response {
    let own: Value = serde_json::from_slice(own).unwrap_or_default();
    let theirs = answers
        .iter()
        .filter_map(|(worker, page)| Some((*worker, page.as_ref()?)));
    let mut listing = PageOfRows::new("connections", page);
    let mut next = None;
    for (worker, part) in std::iter::once((0, &own)).chain(theirs) {
        for row in part["connections"].as_array().into_iter().flatten() {
            let id = row["id"].as_str().unwrap_or_default();
            let place = id.split('-').next().and_then(|place| place.parse().ok());
            if listing.is_full() {
                next = Some(join(worker, place.unwrap_or_default()));
                break;
            }
            let mut row = row.clone();
            if worker > 0 {
                row["id"] = format!("{worker}-{id}").into();
                row["worker"] = worker.into();
            }
            listing.push(&format_args!("{row}"));
        }
        next = next.or_else(|| Some(join(worker, part["next"].as_u64()?)));
        if next.is_some() {
            break;
        }
    }
    listing.finish(next, &left_out(answers))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn page(limit: usize, after: u64) -> PageRequest {
        PageRequest {
            limit,
            after,
            has_topics: false,
            is_kept: false,
        }
    }

    fn body(response: &Response) -> Value {
        serde_json::from_slice(response.body()).expect("JSON")
    }

    #[test]
    fn topics_are_added_up_by_name() {
        let row = |name: &str, subscribers, events| json!({"name": name, "subscribers": subscribers, "events": events, "rate": 0.5});
        let kept = json!({"events": 4, "bytes": 900, "age_seconds": 7});
        let mut fuller = row("b", 3, 4);
        fuller["kept"] = kept.clone();
        let mut other = row("b", 2, 9);
        other["kept"] = json!({"events": 1, "bytes": 1000, "age_seconds": null});
        let answers = vec![
            (1, Some(vec![other, row("a", 1, 1)])),
            (2, None),
            (3, Some(vec![fuller])),
        ];
        let own = br#"{"topics":[{"name":"$sys/stats","subscribers":1,"events":3,"rate":1.0}],"next":null}"#;
        let first = body(&topics(page(2, 0), own, &answers));
        let names = |page: &Value| {
            let rows = page["topics"].as_array().expect("rows").iter();
            rows.map(|row| row["name"].as_str().expect("a name").to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&first), ["$sys/stats", "a"]);
        assert_eq!(
            (&first["next"], &first["left_out"]),
            (&json!(2), &json!([2]))
        );
        let second = body(&topics(page(2, 2), own, &answers));
        assert_eq!(names(&second), ["b"]);
        assert_eq!(second["topics"][0]["subscribers"], 5);
        assert_eq!(second["topics"][0]["events"], 9);
        assert_eq!(second["topics"][0]["kept"], kept);
        assert!(first["topics"][1].get("kept").is_none());
        assert!(second["next"].is_null());
    }

    #[test]
    fn connections_have_their_worker_and_pages_meet() {
        let part = |ids: &[&str], next: Option<u64>| {
            let rows: Vec<Value> = ids.iter().map(|id| json!({"id": id})).collect();
            json!({"connections": rows, "next": next})
        };
        let own = br#"{"connections":[{"id":"0-1"}],"next":null}"#;
        let answers = vec![
            (1, Some(part(&["3-1", "4-2"], None))),
            (2, Some(part(&["0-7", "9-1"], Some(10)))),
        ];
        let all = body(&connections(page(9, 0), own, &answers));
        let ids = |page: &Value| {
            let rows = page["connections"].as_array().expect("rows").iter();
            rows.map(|row| row["id"].as_str().expect("an id").to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(&all), ["0-1", "1-3-1", "1-4-2", "2-0-7", "2-9-1"]);
        assert_eq!(all["next"], join(2, 10));
        let cut = body(&connections(page(2, 0), own, &answers));
        assert_eq!(ids(&cut), ["0-1", "1-3-1"]);
        assert_eq!(split(cut["next"].as_u64().expect("more")), (1, 4));
        assert!(cut.get("left_out").is_none());
    }

    #[test]
    fn what_workers_count_is_added_and_silence_is_named() {
        let sum = counted("revoked", &[(1, Some(2)), (2, Some(3)), (3, None)]);
        assert_eq!(body(&sum), json!({"revoked": 5, "left_out": [3]}));
        let none = counted("revoked", &[(1, None)]);
        assert_eq!(none.status(), HttpStatus::ServiceUnavailable);
    }
}
