//! An admin listener for the tests of the dashboard. It serves the same page with the same policy, and any statistics
//! that a test makes up.
#![expect(
    clippy::disallowed_methods,
    reason = "it tells something each second, and waits for the rest of a head"
)]

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use newswire::admin::history::History;
use newswire::web::{DASHBOARD, DASHBOARD_POLICY};
use serde_json::{Value, json};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::Message;

/// What each run of the server has in its history, and tells then. All runs but the last one end behind it;
/// the last one goes on with its last second.
pub type Runs = Vec<Run>;

/// See [`Runs`].
#[derive(Default)]
pub struct Run {
    /// A second each, the oldest first; `null` is a second of which nothing is known.
    pub past: Vec<Value>,
    /// Never empty in the last run.
    pub told: Vec<Value>,
}

/// Starts one, until the tests end.
pub fn start(runs: Runs) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let runs = Arc::new((runs, AtomicUsize::new(0)));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let runs = Arc::clone(&runs);
            thread::spawn(move || serve(stream, &runs.0, &runs.1));
        }
    });
    address
}

fn serve(mut stream: TcpStream, runs: &Runs, served: &AtomicUsize) -> Option<()> {
    let mut head = [0; 8192];
    let head = loop {
        let n = stream.peek(&mut head).ok().filter(|&n| n > 0)?;
        if head[..n].ends_with(b"\r\n\r\n") {
            break String::from_utf8_lossy(&head[..n]).into_owned();
        }
        thread::sleep(Duration::from_millis(1));
    };
    if head.contains("Upgrade: websocket") {
        let number = served.fetch_add(1, Ordering::Relaxed);
        return tell(stream, &runs[number.min(runs.len() - 1)].told, {
            number + 1 >= runs.len()
        });
    }
    let run = served.load(Ordering::Relaxed).min(runs.len() - 1);
    let (kind, body) = match head.split(' ').nth(1)?.split('?').next()? {
        "/" => ("text/html", DASHBOARD.to_owned()),
        "/history" => ("application/json", history(&runs[run].past).to_string()),
        _ => ("application/json", "{}".to_owned()),
    };
    let policy = &*DASHBOARD_POLICY;
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {}\r\n\
         Content-Security-Policy: {policy}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).ok()
}

fn tell(stream: TcpStream, history: &[Value], goes_on: bool) -> Option<()> {
    #[expect(clippy::result_large_err, reason = "tungstenite's signature")]
    let speak = |_: &Request, mut response: Response| {
        let wamp = "wamp".parse().expect("a value");
        response
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", wamp);
        Ok(response)
    };
    let mut socket = tungstenite::accept_hdr(stream, speak).ok()?;
    let mut say = |value: Value| socket.send(Message::text(value.to_string())).ok();
    say(json!([0, "session", 1, "fake"]))?;
    for second in history {
        say(event(second))?;
    }
    if goes_on {
        loop {
            thread::sleep(Duration::from_secs(1));
            say(event(history.last()?))?;
        }
    }
    // What is sent to a peer that has said something unread may be lost: so it is heard to its end.
    let _ = socket.close(None);
    while socket.read().is_ok() {}
    Some(())
}

fn event(vitals: &Value) -> Value {
    json!([8, "$sys/stats", vitals])
}

/// What `GET /history` answers after these seconds.
fn history(past: &[Value]) -> Value {
    let mut lists = serde_json::Map::new();
    let mut list = |name: &str, of: &dyn Fn(&Value) -> Value| {
        lists.insert(name.to_owned(), past.iter().map(of).collect());
    };
    for name in [
        "connections",
        "topics",
        "subscriptions",
        "outbox_bytes",
        "events_per_second",
        "deliveries_per_second",
        "memory_bytes",
        "cpu",
    ] {
        list(name, &|second| second[name].clone());
    }
    for (name, kind) in [("latency", "latency_seconds"), ("turn", "turn_seconds")] {
        for of in ["p50", "p99", "max"] {
            list(&format!("{name}_{of}"), &|second| second[kind][of].clone());
        }
    }
    for kind in ["dropped", "refused", "closed"] {
        let name = format!("{kind}_per_minute");
        list(&name, &|second| second["last_minute"][kind].clone());
    }
    let empty: Value =
        serde_json::from_str(&History::default().encode(Duration::ZERO)).expect("JSON");
    json!({"age_seconds": 0.4, "samples": lists, "reasons": empty["reasons"]})
}

/// What a server at rest tells, with other things in their place.
pub fn vitals(uptime_seconds: u64, others: Value) -> Value {
    let mut vitals = json!({
        "version": "0.1.0", "uptime_seconds": uptime_seconds,
        "connections": 1, "topics": 1, "subscriptions": 1, "outbox_bytes": 0,
        "events": 0, "events_per_second": 0.0, "deliveries": 0, "deliveries_per_second": 0.0,
        "latency_seconds": null, "turn_seconds": null, "dropped": {}, "closed": {}, "refused": {}, "http": {"200": 2, "101": 1},
        "dropped_slow": {}, "gaps": {}, "recoveries": {}, "history_bytes": 0, "history_events": 0,
        "last_minute": {"dropped": 0, "refused": 0, "closed": 0}, "last_ten_minutes": {},
        "memory_bytes": 5_800_000, "open_files": 14, "cpu": 0.001, "top_topics": [],
    });
    for (key, value) in others.as_object().expect("an object") {
        vitals[key] = value.clone();
    }
    vitals
}

/// Ten minutes of a busy day: waves, a burst of events with slow readers in it, and some bad luck.
pub fn busy_day() -> Vec<Value> {
    let mut noise = 1_u64;
    let mut random = move || {
        noise = noise
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (noise >> 33) as f64 / f64::from(1_u32 << 31) - 0.5
    };
    (0..600_u64)
        .map(|n| {
            let at = n as f64;
            let burst = f64::from(u8::from((300..340).contains(&n)));
            let wave = (at / 70.0).sin();
            let connections = 12_000.0 + 900.0 * wave + at * 2.0 + 40.0 * random();
            let events = 120.0 + 60.0 * (at / 40.0).sin() + 25.0 * random() + 400.0 * burst;
            let spike = random().max(0.0);
            let topics = [
                ("package_created", 8_123, 61.2),
                ("package_updated", 7_901, 32.8),
                ("http://example.com/live/ticker/football", 4_012, 18.4),
                ("weather", 2_210, 4.4),
                ("sport:scores", 912, 0.8),
                ("أخبار عاجلة", 120, 0.1),
                ("archive.rebuild", 12, 0.0),
            ];
            let top: Vec<Value> = topics
                .iter()
                .map(|&(name, subscribers, rate)| {
                    let rate = rate * (1.0 + 0.1 * random());
                    let events = (rate * 20_000.0) as u64 + n;
                    let mut row =
                        json!({"name": name, "subscribers": subscribers, "events": events, "rate": rate});
                    if name.starts_with("package") {
                        row["kept"] = json!({"events": 1_000, "bytes": 1_460_000 + n, "age_seconds": 31 + n % 3});
                    }
                    row
                })
                .collect();
            let others = json!({
                "connections": connections as u64,
                "topics": (340.0 + 10.0 * wave) as u64,
                "subscriptions": (connections * 1.7) as u64,
                "outbox_bytes": (burst * 3.1e6 * (at / 9.0).sin().abs() + 4_000.0 * spike) as u64,
                "events": 4_200_000 + n * 120, "events_per_second": events,
                "deliveries": 98_000_000 + n * 5_100, "deliveries_per_second": events * 42.0,
                "latency_seconds": {
                    "p50": (85.0 + 8.0 * wave + 3.0 * random()) * 1e-6, "p90": 1.5e-4,
                    "p99": (420.0 + 60.0 * random() + 900.0 * burst) * 1e-6,
                    "max": (1_400.0 + 1_600.0 * spike + 9_000.0 * burst) * 1e-6,
                },
                "turn_seconds": {
                    "p50": 9e-5, "p90": 3e-4, "p99": 2e-3 + 4e-3 * burst, "max": 4e-3 + 8e-3 * burst,
                },
                "last_minute": {
                    "dropped": (88.0 + 12.0 * wave) as u64, "refused": 2 + n / 60 % 3,
                    "closed": (140.0 + 20.0 * wave + 40.0 * burst) as u64,
                },
                "last_ten_minutes": {
                    "dropped": {"no_subscriber": 900, "bad_json": 6},
                    "closed": {"peer_closed": 1_200, "peer_gone": 200, "refused": 20, "slow_consumer": 40},
                    "refused": {"token": 20}, "http": {"401": 1},
                    "gaps": {"slow": 38}, "dropped_slow": {"replaced": 310}, "recoveries": {"recovered": 190},
                },
                "dropped": {"no_subscriber": 5_000 + n * 3 / 2, "bad_json": 12 + n / 90},
                "closed": {
                    "peer_closed": 20_000 + n * 2, "peer_gone": 3_100 + n / 3, "refused": 210 + n / 30,
                    "slow_consumer": 40 + n.clamp(300, 340),
                },
                "refused": {"token": 200 + n / 30, "not_upgrade": 10},
                "http": {"200": 5_000 + n, "101": 4, "401": 3, "404": 1},
                "gaps": {"slow": 38 + n / 300}, "dropped_slow": {"replaced": 310 + n / 300},
                "recoveries": {"recovered": 2_900 + n / 4},
                "history_bytes": 2_920_000 + 2 * n, "history_events": 2_000,
                "memory_bytes": (9.6e7 + at * 9e3 + 3e6 * wave) as u64,
                "cpu": 0.18 + 0.06 * (at / 40.0).sin() + 0.03 * random() + 0.4 * burst,
                "top_topics": top,
            });
            vitals(273_000 + n, others)
        })
        .collect()
}
