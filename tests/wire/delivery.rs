//! Every subscriber receives every event once, in order, byte for byte.
//!
//! Subscribers compare raw bytes with the stream that has to come. This one comparison shows that no event was lost,
//! came twice, came out of order or was changed.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use kit::observe::{Reader, counted, envelope, event_frame, publish_all, read_all};
use kit::{Client, QUIET, Server};

/// Counts one down when it is dropped.
struct Leaving<'a>(&'a AtomicUsize);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn ten_thousand_events_reach_two_hundred_subscribers() {
    const EVENTS: usize = 10_000;
    const SUBSCRIBERS: usize = 200;
    let server = Server::start(QUIET);
    let data = |n: usize| format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(n % 50));
    let expected: Vec<u8> = (0..EVENTS)
        .flat_map(|n| event_frame("t", &data(n)))
        .collect();
    let mut readers: Vec<Reader<'_>> = (0..SUBSCRIBERS)
        .map(|_| Reader::new(server.subscriber(&["t"]), &expected))
        .collect();
    thread::scope(|scope| {
        scope.spawn(|| publish_all(&server.pull, (0..EVENTS).map(|n| envelope("t", &data(n)))));
        read_all(&mut readers);
    });
    let summary = server.stop();
    assert_eq!(counted(&summary, "events"), EVENTS as u64, "{summary}");
    assert_eq!(
        counted(&summary, "deliveries"),
        (EVENTS * SUBSCRIBERS) as u64,
        "{summary}"
    );
    assert_eq!(
        counted(&summary, "closed.shutdown"),
        SUBSCRIBERS as u64,
        "{summary}"
    );
}

/// Topics change all the time, so most events leave in a walk of their own, and walks are cut.
#[test]
fn order_across_topics_is_that_of_ingestion() {
    const TOPICS: [&str; 4] = ["package_created", "http://example.com/b#c", "c", "d"];
    const EVENTS: usize = 2_000;
    let server = Server::start(QUIET);
    let mut random = 12_345_u32;
    let events: Vec<(usize, String)> = (0..EVENTS)
        .map(|n| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random as usize >> 16 & 3, n.to_string())
        })
        .collect();
    // Every set of topics has its own stream.
    let expected: Vec<Vec<u8>> = (0..16)
        .map(|set| {
            let heard = events.iter().filter(|(topic, _)| set >> topic & 1 == 1);
            heard
                .flat_map(|(topic, data)| event_frame(TOPICS[*topic], data))
                .collect()
        })
        .collect();
    let mut readers: Vec<Reader<'_>> = (0..160)
        .map(|n| {
            let set = n % 16;
            let topics: Vec<&str> = (0..4)
                .filter(|t| set >> t & 1 == 1)
                .map(|t| TOPICS[t])
                .collect();
            Reader::new(server.subscriber(&topics), &expected[set])
        })
        .collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            let messages = events
                .iter()
                .map(|(topic, data)| envelope(TOPICS[*topic], data));
            publish_all(&server.pull, messages);
        });
        read_all(&mut readers);
    });
    let summary = server.stop();
    assert_eq!(
        counted(&summary, "deliveries"),
        EVENTS as u64 * 80,
        "{summary}"
    );
}

/// Who comes, goes and comes again while events flow hears an unbroken run from some event on.
#[test]
fn who_subscribes_under_load_hears_an_unbroken_run() {
    let server = Server::start(QUIET);
    let number = |text: &str| -> usize {
        let number = text
            .strip_prefix("[8,\"t\",")
            .and_then(|text| text.strip_suffix(']'));
        number
            .unwrap_or_else(|| panic!("{text}"))
            .parse()
            .expect("a number")
    };
    // Subscribes, hears fifty events, leaves; answers with the last one.
    let visit = |client: &mut Client| {
        client.send("[5,\"t\"]");
        let first = number(&client.text());
        for n in first + 1..first + 50 {
            assert_eq!(number(&client.text()), n, "began with {first}");
        }
        client.send("[6,\"t\"]");
        first + 49
    };
    let mut steady = server.subscriber(&["t"]);
    let guests_left = AtomicUsize::new(3);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                // Also when a guest fails: the publisher waits for all of them.
                let _leaving = Leaving(&guests_left);
                // In the end the place is somebody else's.
                let last = visit(&mut server.client());
                assert!(visit(&mut server.client()) > last);
            });
        }
        let published = scope.spawn(|| {
            let (context, socket) = server.publisher();
            let mut n = 0;
            while guests_left.load(Ordering::SeqCst) > 0 {
                socket
                    .send(&envelope("t", &n.to_string()), 0)
                    .expect("taken");
                n += 1;
            }
            socket.send(&envelope("t", "\"last\""), 0).expect("taken");
            drop((socket, context));
            n
        });
        let mut heard = 0;
        loop {
            let text = steady.text();
            if text.contains("last") {
                break;
            }
            assert_eq!(number(&text), heard);
            heard += 1;
        }
        assert_eq!(published.join().expect("no panic"), heard);
    });
    server.stop();
}

#[test]
fn a_million_bytes_arrive_as_they_were_sent() {
    let server = Server::start(QUIET);
    // Everything that a re-encoder would change: escapes, spaces, numbers, order and doubles of keys.
    let start = "{ \"z\" : 1.50e+03 ,\t\"a\":\"\\/\\u00e9é☃\\ud83d\\ude00\",\"a\":-0,\"html\":\"";
    let data = format!("{start}{}\"}}", "<p>é\\n".repeat(1_000_000 / 7));
    assert!(
        data.len() > 990_000 && data.len() < 1_100_000,
        "{}",
        data.len()
    );
    let expected = [event_frame("big", &data), event_frame("big", "\"after\"")].concat();
    let mut readers: Vec<Reader<'_>> = (0..50)
        .map(|_| Reader::new(server.subscriber(&["big"]), &expected))
        .collect();
    thread::scope(|scope| {
        scope.spawn(|| {
            publish_all(
                &server.pull,
                [envelope("big", &data), envelope("big", "\"after\"")],
            );
        });
        read_all(&mut readers);
    });
    let summary = server.stop();
    assert_eq!(counted(&summary, "deliveries"), 100, "{summary}");
}

#[test]
fn every_form_of_envelope_is_understood() {
    let server = Server::start(QUIET);
    let mut client = server.subscriber(&["t", "kittens", "http://x/é"]);
    let (_context, socket) = server.publisher();
    let flat = r#"{"category":"kittens","title":"x"}"#;
    socket
        .send(r#"{"topic":"http:\/\/x\/\u00e9","data":{"a":"\u00e9"}}"#, 0)
        .expect("taken");
    socket.send(flat, 0).expect("taken");
    socket.send_multipart(["t", "[1, 2]"], 0).expect("taken");
    assert_eq!(client.text(), r#"[8,"http://x/é",{"a":"\u00e9"}]"#);
    assert_eq!(client.text(), format!("[8,\"kittens\",{flat}]"));
    assert_eq!(client.text(), "[8,\"t\",[1, 2]]");
    server.stop();
}
