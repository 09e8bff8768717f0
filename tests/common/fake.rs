//! An admin listener that tells the dashboard what a test wants to be told: the same page under the same
//! policy, and statistics that were never counted. In the page's time, which is the test's, ten minutes
//! pass at once.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use newswire::web::{DASHBOARD, DASHBOARD_POLICY};
use serde_json::{Value, json};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::Message;

/// For `Page::before_load`: a clock that was set to ten minutes ago, and goes on a second with each second
/// of statistics, until it is now.
pub const CLOCK: &str = r#"{
    const real = Date.now.bind(Date);
    let behind = 600000;
    Date.now = () => real() - behind;
    window.isUpToDate = () => behind === 0;
    const Plain = window.WebSocket;
    window.WebSocket = class extends Plain {
        constructor(...all) {
            super(...all);
            this.addEventListener("message", ({ data }) => {
                if (/^\[8,"(\$sys\/stats|silence)"/.test(data)) behind = Math.max(0, behind - 1000);
            });
        }
    };
}"#;

/// What each connection is told, one after another. Those of all but the last one end behind it; the last
/// one goes on with its last second.
pub type Histories = Vec<Vec<Value>>;

/// Starts one, until the tests end.
pub fn start(histories: Histories) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let histories = Arc::new((histories, AtomicUsize::new(0)));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let histories = Arc::clone(&histories);
            thread::spawn(move || serve(stream, &histories.0, &histories.1));
        }
    });
    address
}

fn serve(mut stream: TcpStream, histories: &Histories, served: &AtomicUsize) -> Option<()> {
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
        return tell(stream, &histories[number.min(histories.len() - 1)], {
            number + 1 >= histories.len()
        });
    }
    let (kind, body) = match head.split(' ').nth(1)?.split('?').next()? {
        "/" => ("text/html", DASHBOARD),
        _ => ("application/json", "{}"),
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

/// Nothing is told in a second that is `null`.
fn event(second: &Value) -> Value {
    match second {
        Value::Null => json!([8, "silence", 0]),
        vitals => json!([8, "$sys/stats", vitals]),
    }
}

/// What a server at rest tells, with other things in their place.
pub fn vitals(uptime_seconds: u64, others: Value) -> Value {
    let mut vitals = json!({
        "version": "0.1.0", "uptime_seconds": uptime_seconds,
        "connections": 1, "topics": 1, "subscriptions": 1, "outbox_bytes": 0,
        "events": 0, "events_per_second": 0.0, "deliveries": 0, "deliveries_per_second": 0.0,
        "latency_seconds": null, "turn_seconds": null, "dropped": {}, "closed": {}, "refused": {}, "http": {"200": 2, "101": 1},
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
                    json!({"name": name, "subscribers": subscribers, "events": events, "rate": rate})
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
                "dropped": {"no_subscriber": 5_000 + n * 3 / 2, "bad_json": 12 + n / 90},
                "closed": {
                    "peer_closed": 20_000 + n * 2, "peer_gone": 3_100 + n / 3, "refused": 210 + n / 30,
                    "slow_consumer": 40 + n.clamp(300, 340),
                },
                "refused": {"token": 200 + n / 30, "not_upgrade": 10},
                "http": {"200": 5_000 + n, "101": 4, "401": 3, "404": 1},
                "memory_bytes": (9.6e7 + at * 9e3 + 3e6 * wave) as u64,
                "cpu": 0.18 + 0.06 * (at / 40.0).sin() + 0.03 * random() + 0.4 * burst,
                "top_topics": top,
            });
            vitals(273_000 + n, others)
        })
        .collect()
}
