//! The engine, driven through virtual streams and virtual time.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use kit::raw::{Ear, Heard, masked_frame};

use super::{Engine, Farewell, Rules, SessionRules, SlotId, TopicChange, Vacancy};
use crate::limits;
use crate::standing::{Standing, Verdict};
use crate::stats::{Cause, Close, Counter, Dropped, Refusal};
use crate::stream::{FakeStream, Pipe};
use crate::wire::envelope::Event;
use crate::wire::websocket;

struct World {
    engine: Engine<FakeStream>,
    now: Duration,
}

struct Client {
    id: SlotId,
    pipe: Rc<RefCell<Pipe>>,
}

fn rules() -> Rules {
    Rules {
        session: SessionRules {
            message_bytes_max: 1_000,
            ..SessionRules::default()
        },
        connections_max: 5,
        subscriptions_max: 4,
        topic_bytes_max: 50,
        outbox_bytes_max: 10_000,
        outboxes_bytes_max: 25_000,
        pong_seconds: 20,
        tells_topic_changes: true,
        ..Rules::default()
    }
}

const UPGRADE: &str = "GET /?token=t HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: \
    Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n";

fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    masked_frame(0x80 | opcode, payload, [0; 4])
}

impl World {
    fn new(rules: Rules) -> Self {
        Self {
            engine: Engine::new(rules, 7),
            now: Duration::from_millis(300),
        }
    }

    fn connect(&mut self) -> Client {
        self.knock().expect("a place")
    }

    /// Why a newcomer gets no place.
    fn refused(&mut self) -> Refusal {
        match self.knock() {
            Err(refusal) => refusal,
            Ok(client) => panic!("{:?} has a place", client.id),
        }
    }

    fn knock(&mut self) -> Result<Client, Refusal> {
        self.knock_from("10.0.0.1:7")
    }

    fn knock_from(&mut self, peer: &str) -> Result<Client, Refusal> {
        let (stream, pipe) = FakeStream::new();
        let peer = peer.parse().expect("an address");
        let id = self.engine.handle_connection(stream, peer);
        id.map(|id| Client { id, pipe })
            .map_err(|(_, refusal)| refusal)
    }

    fn say(&mut self, client: &Client, bytes: &[u8]) {
        client.pipe.borrow_mut().to_server.extend(bytes);
        self.readable(client, false);
    }

    /// Readiness, and the phase that follows it.
    fn readable(&mut self, client: &Client, ended: bool) {
        self.engine.handle_readable(client.id, ended);
        self.engine.read();
    }

    /// A writable edge, and the phase that follows it.
    fn writable(&mut self, client: &Client) {
        self.engine.handle_writable(client.id);
        self.engine.pay();
    }

    fn open(&mut self) -> Client {
        let client = self.connect();
        self.say(&client, UPGRADE.as_bytes());
        self.accept_all();
        client
    }

    fn subscriber(&mut self, topics: &[&str]) -> Client {
        let client = self.open();
        for topic in topics {
            self.say(&client, &masked(1, format!("[5,{topic:?}]").as_bytes()));
        }
        client.pipe.borrow_mut().from_server.clear();
        client
    }

    fn accept_all(&mut self) {
        while let Some(check) = self.engine.poll_check() {
            let verdict = Verdict::Accepted(Rc::default());
            self.engine.handle_verdict(check.id, verdict);
        }
    }

    fn publish(&mut self, topic: &str, data: &str) {
        self.engine.handle_event(&Event {
            topic: topic.into(),
            data,
        });
    }

    /// A turn without a server around it.
    fn turn(&mut self) {
        self.engine.start_turn(self.now);
        self.engine.take_in();
        self.accept_all();
        self.engine.hand_out();
        self.engine.reap();
    }

    fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            self.turn();
        }
    }

    fn counted(&self, reason: Close) -> u64 {
        self.engine.stats().closes(reason)
    }
}

impl Client {
    fn heard(&self) -> Vec<u8> {
        std::mem::take(&mut self.pipe.borrow_mut().from_server)
    }

    /// The payloads of the text frames heard.
    fn texts(&self) -> Vec<String> {
        let mut ear = Ear::opened();
        ear.push(&self.heard());
        let texts = ear.by_ref().filter_map(|heard| match heard {
            Heard::Frame(0x81, text) => Some(String::from_utf8(text).expect("text")),
            Heard::Frame(..) => None,
            other => panic!("{other}"),
        });
        let texts = texts.collect();
        assert_eq!(ear.rest(), b"", "half of a frame");
        texts
    }

    fn ended(&self) -> bool {
        self.pipe.borrow().server_ended
    }
}

fn close_frame(code: u16, reason: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    websocket::encode_close(Some(code), reason, &mut frame);
    frame
}

#[test]
fn an_event_reaches_those_who_subscribed_and_nobody_else() {
    let mut world = World::new(rules());
    let (a, b) = (world.subscriber(&["news"]), world.subscriber(&["other"]));
    world.publish("news", r#"{"n":1}"#);
    world.publish("nobody", "1");
    world.turn();
    assert_eq!(a.texts(), [r#"[8,"news",{"n":1}]"#]);
    assert_eq!(b.texts(), [""; 0]);
    assert_eq!(world.engine.stats().drops(Dropped::NoSubscriber), 1);
}

#[test]
fn the_101_and_welcome_leave_in_one_write_and_ids_differ() {
    let mut world = World::new(rules());
    let (a, b) = (world.open(), world.open());
    assert_eq!(a.pipe.borrow().writes, 1);
    let (a, b) = (a.heard(), b.heard());
    let text = String::from_utf8_lossy(&a).into_owned();
    assert!(text.starts_with("HTTP/1.1 101 "), "{text}");
    assert!(text.contains("[0,\""), "{text}");
    assert_ne!(a, b);
}

#[test]
fn one_write_a_member_and_turn() {
    let mut world = World::new(rules());
    let client = world.subscriber(&["t"]);
    let before = client.pipe.borrow().writes;
    for n in 0..50 {
        world.publish("t", &n.to_string());
    }
    world.turn();
    assert_eq!(client.pipe.borrow().writes, before + 1);
    assert_eq!(client.texts().len(), 50);
}

#[test]
fn a_verdict_that_comes_late_finds_nobody() {
    let mut world = World::new(rules());
    let client = world.connect();
    world.say(&client, UPGRADE.as_bytes());
    let check = world.engine.poll_check().expect("it is to be judged");
    client.pipe.borrow_mut().peer_ended = true;
    world.readable(&client, true);
    world.turn();
    assert!(client.heard().is_empty());
    // Nothing is read while the verdict is awaited: that the peer has left shows afterwards.
    client.pipe.borrow_mut().is_broken = true;
    world.writable(&client);
    world.wait(20);
    assert_eq!(world.engine.connections(), 0);
    let next = world.connect();
    assert_eq!(next.id.index(), client.id.index());
    let verdict = Verdict::Accepted(Rc::default());
    world.engine.handle_verdict(check.id, verdict);
    assert!(
        next.heard().is_empty(),
        "the place's next tenant is not meant"
    );
    assert_eq!(world.engine.stats().counter(Counter::Stale), 1);
}

#[test]
fn what_comes_during_the_check_is_read_after_it() {
    let mut world = World::new(rules());
    let client = world.connect();
    let mut bytes = UPGRADE.as_bytes().to_vec();
    bytes.extend(masked(1, br#"[5,"early"]"#));
    world.say(&client, &bytes);
    world.say(&client, &masked(1, br#"[5,"later"]"#));
    world.turn();
    assert_eq!(world.engine.poll_timeout(), Some(Duration::ZERO));
    world.turn();
    assert_eq!(world.engine.subscriptions(), 2);
}

#[test]
fn a_refused_token_is_answered_and_what_follows_is_ignored() {
    for (verdict, status) in [
        (Verdict::Refused(Cause::Unknown), "401"),
        (Verdict::Unavailable, "503"),
    ] {
        let mut world = World::new(rules());
        let client = world.connect();
        world.say(&client, UPGRADE.as_bytes());
        let check = world.engine.poll_check().expect("it is to be judged");
        world.engine.handle_verdict(check.id, verdict);
        let answer = String::from_utf8(client.heard()).expect("text");
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(client.ended());
        world.say(&client, &masked(1, br#"[5,"t"]"#));
        world.turn();
        assert_eq!(world.engine.subscriptions(), 0);
        assert_eq!(world.engine.connections(), 1, "it waits for the peer's end");
        world.wait(6);
        assert_eq!(world.engine.connections(), 0);
    }
}

#[test]
fn a_silent_peer_is_pinged_and_then_given_up() {
    let mut world = World::new(rules());
    let (silent, alive) = (world.open(), world.open());
    silent.heard();
    alive.heard();
    world.wait(25);
    assert!(silent.heard().is_empty());
    world.wait(1);
    assert_eq!(silent.heard(), [0x89, 0]);
    assert_eq!(alive.heard(), [0x89, 0]);
    world.say(&alive, &masked(10, b""));
    world.wait(20);
    assert_eq!(world.engine.connections(), 2);
    world.wait(1);
    assert_eq!(world.engine.connections(), 1);
    assert!(
        silent.heard().is_empty(),
        "no Close frame: it may come back"
    );
    assert_eq!(world.counted(Close::PingTimeout), 1);
    world.wait(5);
    assert_eq!(alive.heard(), [0x89, 0]);
}

#[test]
fn an_upgrade_that_does_not_come_ends() {
    let mut world = World::new(rules());
    let client = world.connect();
    for byte in UPGRADE.bytes().take(9) {
        world.say(&client, &[byte]);
        world.wait(1);
    }
    assert!(client.heard().is_empty());
    world.wait(2);
    assert!(client.heard().starts_with(b"HTTP/1.1 408 "));
    assert_eq!(world.engine.stats().refusals(Refusal::Timeout), 1);
}

#[test]
fn a_slow_consumer_is_closed_between_frames_and_the_others_notice_nothing() {
    let mut world = World::new(rules());
    let (slow, fast) = (world.subscriber(&["t"]), world.subscriber(&["t"]));
    slow.pipe.borrow_mut().room = 25;
    let data = "1".repeat(100);
    let mut sent = 0;
    while world.engine.topics() == 1 && world.counted(Close::SlowConsumer) == 0 {
        world.publish("t", &data);
        sent += 1;
        world.turn();
        assert!(sent < 200, "the bound is 10,000 bytes");
    }
    assert_eq!(fast.texts().len(), sent);
    assert_eq!(world.engine.connections(), 2);
    // It wakes up: the frame that had begun, then the Close frame, and nothing else.
    slow.pipe.borrow_mut().room = usize::MAX;
    world.writable(&slow);
    let mut heard = slow.heard();
    let close = close_frame(1008, "slow consumer");
    assert!(heard.ends_with(&close));
    heard.truncate(heard.len() - close.len());
    assert_eq!(heard.len(), 2 + 108);
    assert!(slow.ended());
    assert_eq!(world.engine.outboxes_bytes(), 0);
}

#[test]
fn all_outboxes_together_are_bounded_and_who_owes_longest_ends_first() {
    let mut world = World::new(Rules {
        outboxes_bytes_max: 10_000,
        ..rules()
    });
    let clients: Vec<Client> = (0..4)
        .map(|n| world.subscriber(&[&format!("t{n}")]))
        .collect();
    let data = "1".repeat(100);
    for (n, client) in clients.iter().enumerate() {
        client.pipe.borrow_mut().room = 10;
        for _ in 0..20 {
            world.publish(&format!("t{n}"), &data);
        }
        world.wait(1);
    }
    assert!(world.engine.outboxes_bytes() <= 10_000);
    assert_eq!(world.counted(Close::OutboxesFull), 2);
    assert_eq!(world.engine.connections(), 2);
    assert!(clients[3].pipe.borrow().from_server.len() == 10);
    assert_eq!(world.engine.subscriptions(), 2);
}

#[test]
fn of_the_pings_of_a_peer_that_does_not_read_only_the_latest_is_answered() {
    let mut world = World::new(rules());
    let client = world.subscriber(&["t"]);
    world.say(&client, &[masked(9, b"1"), masked(9, b"2")].concat());
    assert_eq!(
        client.heard(),
        b"\x8a\x011\x8a\x012",
        "a reader gets every answer"
    );
    client.pipe.borrow_mut().room = 3;
    world.publish("t", "1");
    world.turn();
    for n in 0..100_u8 {
        world.say(&client, &masked(9, &[n]));
    }
    client.pipe.borrow_mut().room = usize::MAX;
    world.writable(&client);
    assert_eq!(client.heard(), b"\x81\x09[8,\"t\",1]\x8a\x01\x63");
}

#[test]
fn what_one_read_is_answered_leaves_in_one_write() {
    let mut world = World::new(rules());
    let client = world.open();
    client.heard();
    let before = client.pipe.borrow().writes;
    let mut bytes = masked(9, b"a").repeat(100);
    bytes.extend(masked(1, br#"[2,"id","p"]"#));
    bytes.extend(masked(9, b"b"));
    // What ends it comes behind all of that.
    bytes.extend(masked(1, b"nonsense"));
    world.say(&client, &bytes);
    let mut expected = [0x8A, 1, b'a'].repeat(100);
    let answer = br#"[4,"id","p","You are not allowed to make calls"]"#;
    expected.extend([0x81, answer.len() as u8]);
    expected.extend(answer);
    expected.extend([0x8A, 1, b'b']);
    expected.extend(close_frame(1007, "not JSON"));
    assert!(client.heard() == expected);
    assert_eq!(client.pipe.borrow().writes - before, 2);
    assert_eq!(world.engine.stats().counter(Counter::PingsReceived), 101);
}

/// However many never pause, a turn reads no more, and each has its share in the end.
#[test]
fn those_who_never_pause_share_a_part_of_a_turn() {
    const CLIENTS: usize = 30;
    const MESSAGES: usize = 4_000;
    // With the empty frame, the smallest that there is.
    let frames = masked(10, b"").repeat(MESSAGES);
    let mut world = World::new(Rules {
        connections_max: CLIENTS,
        ..rules()
    });
    let clients: Vec<Client> = (0..CLIENTS).map(|_| world.open()).collect();
    let left = |client: &Client| client.pipe.borrow().to_server.len();
    for client in &clients {
        client.pipe.borrow_mut().to_server.extend(&frames);
        world.engine.handle_readable(client.id, false);
        assert_eq!(left(client), frames.len(), "readiness only marks");
    }
    let mut turns = 0;
    let mut before: usize = clients.iter().map(left).sum();
    while before > 0 {
        assert_eq!(world.engine.poll_timeout(), Some(Duration::ZERO));
        world.turn();
        let after: usize = clients.iter().map(left).sum();
        // The last share may pass the budget.
        let most = limits::TURN_READ_COST / limits::MESSAGE_COST + limits::SHARE_BYTES / 6;
        let messages = (before - after) / 6;
        assert!(messages <= most, "{messages} in a turn");
        let least = clients.iter().map(left).min();
        let most = clients.iter().map(left).max();
        assert!(
            most <= least.map(|least| least + limits::SHARE_BYTES),
            "{least:?} {most:?}"
        );
        before = after;
        turns += 1;
        assert!(turns < 1_000);
    }
    assert!(
        turns >= CLIENTS * MESSAGES * limits::MESSAGE_COST / limits::TURN_READ_COST / 2,
        "{turns}"
    );
    world.turn();
    assert_eq!(
        world.engine.poll_timeout(),
        Some(Duration::from_millis(700))
    );
}

/// Who says one thing has said it before those who never pause have had a second share, newcomers
/// included.
#[test]
fn those_who_say_one_thing_do_not_wait_for_those_who_never_pause() {
    const FLOODS: usize = 1_000;
    let mut world = World::new(Rules {
        connections_max: 2 * FLOODS,
        subscriptions_max: 1_000_000,
        ..rules()
    });
    let frames = [masked(1, br#"[5,"x"]"#), masked(1, br#"[6,"x"]"#)].concat();
    let floods: Vec<Client> = (0..FLOODS).map(|_| world.open()).collect();
    let other = world.open();
    let taken = |client: &Client| 200 * 26 - client.pipe.borrow().to_server.len();
    for flood in &floods {
        flood.pipe.borrow_mut().to_server.extend(frames.repeat(200));
        world.engine.handle_readable(flood.id, false);
    }
    // A first share of each is less than 0.1 ms. Meanwhile the rest has a quarter of each turn.
    let mut turns = 0;
    while floods.iter().any(|flood| taken(flood) == 0) {
        world.turn();
        turns += 1;
    }
    assert!(turns <= 40, "{turns}");
    // From now on, one turn is enough for whoever comes.
    let newcomer = world.connect();
    newcomer.pipe.borrow_mut().to_server.extend(UPGRADE.bytes());
    other
        .pipe
        .borrow_mut()
        .to_server
        .extend(masked(1, br#"[5,"news"]"#));
    for client in [&newcomer, &other] {
        world.engine.handle_readable(client.id, false);
    }
    other.heard();
    world.publish("news", "1");
    world.turn();
    world.publish("news", "2");
    world.turn();
    assert_eq!(
        other.texts().last().map(String::as_str),
        Some(r#"[8,"news",2]"#)
    );
    assert!(newcomer.heard().starts_with(b"HTTP/1.1 101 "));
    let behind = floods.iter().filter(|flood| taken(flood) < 200 * 26);
    assert!(behind.count() > FLOODS / 2, "the floods are not over");
}

/// A client that says much behind its head is no way around the budget.
#[test]
fn what_comes_behind_the_heads_is_within_the_budget_too() {
    const CLIENTS: usize = 100;
    let mut world = World::new(Rules {
        connections_max: CLIENTS,
        ..rules()
    });
    let messages = masked(1, br#"[7,"t",1]"#).repeat(400);
    let clients: Vec<Client> = (0..CLIENTS).map(|_| world.connect()).collect();
    for client in &clients {
        let mut pipe = client.pipe.borrow_mut();
        pipe.to_server.extend(UPGRADE.bytes());
        pipe.to_server.extend(&messages);
        world.engine.handle_readable(client.id, false);
    }
    let published = |world: &World| world.engine.stats().counter(Counter::ClientPublishes);
    let mut before = 0;
    let mut turns = 0;
    while published(&world) < 400 * CLIENTS as u64 {
        world.turn();
        let after = published(&world);
        assert!(after - before <= 4_000 + 1_000, "{}", after - before);
        before = after;
        turns += 1;
        assert!(turns < 100);
    }
    world.turn();
    assert_eq!(
        world.engine.poll_timeout(),
        Some(Duration::from_millis(700))
    );
}

/// A crowd with many topics leaves at once: each turn takes a part of them out of their topics, and those
/// who are still listed hear nothing and keep their places.
#[test]
fn a_crowd_that_leaves_at_once_is_freed_turn_by_turn() {
    const CLIENTS: usize = 40;
    const TOPICS: usize = 1_000;
    let mut world = World::new(Rules {
        connections_max: CLIENTS,
        subscriptions_max: TOPICS,
        ..rules()
    });
    let clients: Vec<Client> = (0..CLIENTS)
        .map(|n| {
            let client = world.subscriber(&["all"]);
            for topic in 1..TOPICS {
                world.say(
                    &client,
                    &masked(1, format!("[5,\"{n} {topic}\"]").as_bytes()),
                );
            }
            client
        })
        .collect();
    world.turn();
    assert_eq!(world.engine.subscriptions(), CLIENTS * TOPICS);
    for (n, client) in clients.iter().enumerate() {
        match n % 2 {
            0 => client.pipe.borrow_mut().peer_ended = true,
            _ => {
                let close = masked(8, b"");
                client.pipe.borrow_mut().to_server.extend(close);
            }
        }
        world.engine.handle_readable(client.id, true);
    }
    let mut before = (CLIENTS * TOPICS, CLIENTS);
    let mut turns = 0;
    while world.engine.subscriptions() > 0 {
        for client in &clients {
            client.heard();
        }
        world.publish("all", "1");
        world.turn();
        for client in &clients {
            let heard = client.heard();
            assert!(heard.is_empty() || heard == [0x88, 0], "{heard:?}");
            // Whatever the poller says of those who are on their way out changes nothing.
            world.engine.handle_readable(client.id, true);
            world.engine.handle_writable(client.id);
        }
        let after = (world.engine.subscriptions(), world.engine.connections());
        assert!(before.0 - after.0 <= limits::TURN_LEAVES_MAX);
        assert!(before.1 - after.1 <= limits::TURN_LEAVES_MAX / limits::REAP_LEAVES);
        assert_eq!(world.engine.audit(), Ok(()));
        before = after;
        turns += 1;
        assert!(turns < 100);
    }
    assert!(turns >= 5, "{turns}");
    world.turn();
    assert_eq!(
        world.engine.connections(),
        CLIENTS / 2,
        "those wait for their peers"
    );
    world.wait(6);
    assert_eq!(world.engine.connections(), 0);
    assert_eq!(world.counted(Close::PeerGone), CLIENTS as u64 / 2);
    assert_eq!(world.engine.poll_timeout(), None);
}

/// Thousands of sessions whose tokens end together, and thousands that end with the server, end turn by
/// turn.
#[test]
fn those_who_end_together_end_turn_by_turn() {
    const CLIENTS: usize = 2_000;
    for is_shutdown in [false, true] {
        let mut world = World::new(Rules {
            connections_max: CLIENTS,
            ..rules()
        });
        let clients: Vec<Client> = (0..CLIENTS).map(|_| world.connect()).collect();
        let standing = Rc::new(Standing::default());
        for client in &clients {
            world.say(client, UPGRADE.as_bytes());
            let check = world.engine.poll_check().expect("it is to be judged");
            let verdict = Verdict::Accepted(Rc::clone(&standing));
            world.engine.handle_verdict(check.id, verdict);
            world.engine.start_turn(world.now);
        }
        let ended = |world: &World| match is_shutdown {
            true => world.counted(Close::Shutdown),
            false => world.counted(Close::TokenEnded),
        };
        if is_shutdown {
            world.engine.close_all(Farewell::CloseFrame);
        } else {
            standing.end(Close::TokenEnded);
            world.engine.handle_changed_standings();
        }
        let (mut before, mut turns) = (0, 0);
        while ended(&world) < CLIENTS as u64 {
            world.turn();
            let after = ended(&world);
            assert!(after - before <= 2 * 256, "{}", after - before);
            before = after;
            turns += 1;
            assert!(turns < 100);
        }
        assert!(turns >= 7, "{turns}");
        assert!(clients.iter().all(|client| client.ended()));
    }
}

/// Two megabytes for a client whose network takes 32 kB a second. It is silent, since its answer to a ping
/// would come behind all of that.
#[test]
fn a_slow_client_that_takes_bytes_is_not_taken_for_dead() {
    const EVENT_BYTES: usize = 2_000_000;
    let mut world = World::new(Rules {
        outbox_bytes_max: 8 << 20,
        outboxes_bytes_max: 256 << 20,
        pong_seconds: 25,
        ..rules()
    });
    let (slow, dead) = (world.subscriber(&["t"]), world.subscriber(&["t"]));
    for client in [&slow, &dead] {
        client.pipe.borrow_mut().room = 128 << 10;
    }
    world.publish("t", &"1".repeat(EVENT_BYTES));
    world.turn();
    let mut seconds = 0;
    while slow.pipe.borrow().from_server.len() < EVENT_BYTES {
        slow.pipe.borrow_mut().room = 32_000;
        world.engine.handle_writable(slow.id);
        world.wait(1);
        seconds += 1;
        assert!(seconds < 100 && !slow.pipe.borrow().is_broken);
    }
    assert!(seconds > 50, "{seconds}");
    // The other one took nothing for as long as silence and a ping may last.
    assert_eq!(world.counted(Close::PingTimeout), 1);
    assert_eq!(world.engine.connections(), 1);
    assert!(dead.pipe.borrow().from_server.len() == 128 << 10);
    // With all of it the slow one is pinged, and has the whole time to answer from then on.
    world.wait(26);
    let pipe = slow.pipe.borrow();
    assert_eq!(pipe.from_server[pipe.from_server.len() - 2..], [0x89, 0]);
    drop(pipe);
    world.wait(25);
    assert_eq!(world.engine.connections(), 1);
    world.wait(1);
    assert_eq!(world.engine.connections(), 0);
}

/// A ping that finds the socket full waits in the outbox, and its time with it.
#[test]
fn the_time_of_a_pong_begins_when_the_ping_has_left() {
    let mut world = World::new(rules());
    let client = world.open();
    client.heard();
    client.pipe.borrow_mut().room = 1;
    world.wait(26);
    assert_eq!(client.heard(), [0x89], "half of a ping");
    world.wait(19);
    client.pipe.borrow_mut().room = usize::MAX;
    world.writable(&client);
    assert_eq!(client.heard(), [0]);
    world.wait(20);
    assert_eq!(world.engine.connections(), 1);
    world.say(&client, &masked(10, b""));
    world.wait(25);
    assert_eq!(world.counted(Close::PingTimeout), 0);
}

/// Whoever asks and does not take the answers is not asked what else it wants, and loses nothing by it.
#[test]
fn a_client_that_does_not_take_its_answers_is_not_read() {
    let mut world = World::new(Rules {
        outbox_bytes_max: 1 << 20,
        ..rules()
    });
    let client = world.open();
    client.heard();
    client.pipe.borrow_mut().room = 0;
    let call = masked(1, br#"[2,"id","p"]"#);
    const CALLS: usize = 10_000;
    client
        .pipe
        .borrow_mut()
        .to_server
        .extend(call.repeat(CALLS));
    world.engine.handle_readable(client.id, false);
    for _ in 0..100 {
        world.turn();
        world.engine.handle_readable(client.id, false);
    }
    let answer = br#"[4,"id","p","You are not allowed to make calls"]"#.len() + 2;
    let most = limits::ANSWERS_OWED_BYTES_MAX + limits::READ_PIECE_BYTES / call.len() * answer;
    let held = world.engine.outboxes_bytes();
    assert!(held <= 2 * most, "{held}");
    assert_ne!(
        world.engine.poll_timeout(),
        Some(Duration::ZERO),
        "it is left alone"
    );
    // It takes some, which is not enough, and then all.
    client.pipe.borrow_mut().room = 100;
    world.writable(&client);
    world.turn();
    let unread = client.pipe.borrow().to_server.len();
    assert!(unread > CALLS * call.len() / 2, "{unread}");
    client.pipe.borrow_mut().room = usize::MAX;
    world.engine.handle_writable(client.id);
    let mut turns = 0;
    while client.pipe.borrow().from_server.len() < CALLS * answer {
        world.turn();
        turns += 1;
        assert!(turns < 1_000);
    }
    assert_eq!(world.engine.stats().counter(Counter::Calls), CALLS as u64);
    // If it never takes any, it is taken for dead, whatever it goes on to say.
    client.pipe.borrow_mut().room = 0;
    client
        .pipe
        .borrow_mut()
        .to_server
        .extend(call.repeat(CALLS));
    world.readable(&client, false);
    world.wait(47);
    assert_eq!(world.counted(Close::PingTimeout), 1);
    assert_eq!(world.engine.connections(), 0);
}

/// Whoever is not read because it does not take its answers is read again when its end begins, or its own end
/// would not be seen.
#[test]
fn the_end_of_a_client_that_was_not_read_is_seen() {
    let mut world = World::new(Rules {
        outbox_bytes_max: 1 << 20,
        outboxes_bytes_max: 1 << 20,
        ..rules()
    });
    let client = world.open();
    client.heard();
    client.pipe.borrow_mut().room = 0;
    let calls = masked(1, br#"[2,"id","p"]"#).repeat(1_000);
    world.say(&client, &calls);
    world.turn();
    assert!(!client.pipe.borrow().to_server.is_empty(), "it is not read");
    // There is room again, and the Close frame takes it before a writable edge has come.
    client.pipe.borrow_mut().room = usize::MAX;
    assert!(world.engine.disconnect(client.id));
    assert!(client.ended());
    client.pipe.borrow_mut().peer_ended = true;
    world.engine.handle_readable(client.id, true);
    world.turn();
    world.turn();
    assert_eq!(world.engine.connections(), 0);
}

/// A crowd that has stopped to read comes over its bound with the same event, and ends turn by turn.
#[test]
fn those_who_are_too_slow_together_end_turn_by_turn() {
    const CLIENTS: usize = limits::TURN_DISCONNECTS_MAX + 100;
    let mut world = World::new(Rules {
        connections_max: CLIENTS,
        outboxes_bytes_max: 1 << 20,
        ..rules()
    });
    let crowd: Vec<Client> = (0..CLIENTS).map(|_| world.subscriber(&["t"])).collect();
    for client in &crowd {
        client.pipe.borrow_mut().room = 0;
    }
    let event = "1".repeat(11_000);
    world.publish("t", &event);
    world.turn();
    let most = limits::TURN_DISCONNECTS_MAX as u64;
    assert_eq!(world.counted(Close::SlowConsumer), most);
    world.publish("t", &event);
    world.turn();
    assert_eq!(world.counted(Close::SlowConsumer), CLIENTS as u64);
    assert_eq!(world.engine.subscriptions(), 0);
}

/// The greedy go first: those who take nothing, and of these who is owed most; who reads goes last.
#[test]
fn when_outboxes_are_full_a_steady_reader_goes_last() {
    let mut world = World::new(Rules {
        connections_max: 50,
        outbox_bytes_max: 1 << 20,
        outboxes_bytes_max: 100_000,
        ..rules()
    });
    let reader = world.subscriber(&["reader"]);
    let callers: Vec<Client> = (0..40).map(|_| world.open()).collect();
    let stalled = world.subscriber(&["stalled"]);
    reader.pipe.borrow_mut().room = 10;
    world.publish("reader", &"1".repeat(60_000));
    world.turn();
    stalled.pipe.borrow_mut().room = 10;
    world.publish("stalled", &"1".repeat(20_000));
    world.turn();
    world.wait(10);
    let calls = masked(1, br#"[2,"id","p"]"#).repeat(100);
    for caller in &callers {
        caller.pipe.borrow_mut().room = 0;
        world.say(caller, &calls);
        // It takes a little, and steadily.
        reader.pipe.borrow_mut().room = 500;
        world.writable(&reader);
        world.wait(1);
        assert!(world.engine.outboxes_bytes() <= 100_000);
    }
    assert!(!reader.ended() && world.engine.connection_at(reader.id.index()).is_some());
    assert!(world.counted(Close::OutboxesFull) > 0);
    assert_eq!(
        world.engine.topics(),
        1,
        "the stalled one was owed most, and is gone"
    );
    let state = |client: &Client| world.engine.connection_at(client.id.index());
    assert!(state(&reader).is_some_and(|view| view.state == "open"));
}

/// Nobody is read or served while connections have to give up what they are owed. So one search over all
/// places is enough, however many of them it takes.
#[test]
fn those_who_have_to_give_up_are_looked_for_once() {
    const STRANGERS: usize = 3 * limits::TURN_PLACES_MAX as usize;
    const CLIENTS: usize = 12 * limits::TURN_DISCONNECTS_MAX;
    const BOUND: usize = 1_800_000;
    let mut world = World::new(Rules {
        connections_max: STRANGERS + CLIENTS,
        outbox_bytes_max: 1 << 20,
        outboxes_bytes_max: BOUND,
        ..rules()
    });
    let crowd: Vec<Client> = (0..CLIENTS).map(|_| world.subscriber(&["t"])).collect();
    let _strangers: Vec<Client> = (0..STRANGERS).map(|_| world.connect()).collect();
    for client in &crowd {
        client.pipe.borrow_mut().room = 0;
    }
    while !world.engine.is_congested() {
        world.publish("t", "1");
        world.turn();
    }
    let mut turns = 0;
    while world.engine.is_congested() {
        world.turn();
        turns += 1;
        assert!(turns < 8, "{turns}");
    }
    let ended = world.counted(Close::OutboxesFull);
    assert!(ended > 2 * limits::TURN_DISCONNECTS_MAX as u64, "{ended}");
    assert!(world.engine.outboxes_bytes() < BOUND);
}

/// However many wake up together, a turn is not longer, and who owes nothing hears its events in it.
#[test]
fn those_who_wake_up_together_are_paid_turn_by_turn() {
    const CLIENTS: usize = 30;
    const EVENT_BYTES: usize = 1_000_000;
    let mut world = World::new(Rules {
        connections_max: CLIENTS + 1,
        outbox_bytes_max: 10 * EVENT_BYTES,
        outboxes_bytes_max: 100 * EVENT_BYTES,
        ..rules()
    });
    let other = world.subscriber(&["other"]);
    let sleepers: Vec<Client> = (0..CLIENTS).map(|_| world.subscriber(&["t"])).collect();
    for sleeper in &sleepers {
        sleeper.pipe.borrow_mut().room = 0;
    }
    world.publish("t", &"1".repeat(EVENT_BYTES));
    world.turn();
    world.publish("t", "2");
    world.turn();
    let heard = |sleeper: &Client| sleeper.pipe.borrow().from_server.len();
    for sleeper in &sleepers {
        sleeper.pipe.borrow_mut().room = usize::MAX;
        world.engine.handle_writable(sleeper.id);
        // An edge that comes while it waits changes nothing.
        world.engine.handle_writable(sleeper.id);
    }
    let (mut before, mut turns) = (0, 0);
    loop {
        let after: usize = sleepers.iter().map(heard).sum();
        assert!(after - before <= limits::TURN_PAYMENT_BYTES_MAX + 2 * EVENT_BYTES);
        before = after;
        if world.engine.owes_nothing() {
            break;
        }
        assert_eq!(world.engine.poll_timeout(), Some(Duration::ZERO));
        world.publish("other", "1");
        world.turn();
        assert_eq!(other.texts(), [r#"[8,"other",1]"#]);
        turns += 1;
        assert!(turns < 100);
    }
    assert!(turns >= 3, "{turns}");
    let first = heard(&sleepers[0]);
    assert!(first > EVENT_BYTES && sleepers.iter().all(|sleeper| heard(sleeper) == first));
    assert_ne!(world.engine.poll_timeout(), Some(Duration::ZERO));
}

#[test]
fn rules_broken_end_with_their_code() {
    let long_topic = format!("[5,\"{}\"]", "x".repeat(51));
    let many: Vec<Vec<u8>> = (0..5)
        .map(|n| masked(1, format!("[5,{n}]").as_bytes()))
        .collect();
    let cases = [
        (masked(1, b"null"), 1007, Close::BadMessage),
        (masked(1, b"\xff"), 1007, Close::BadMessage),
        (masked(3, b""), 1002, Close::Protocol),
        (masked(1, long_topic.as_bytes()), 1008, Close::Limit),
        (many.concat(), 1008, Close::Limit),
    ];
    for (bytes, code, reason) in cases {
        let mut world = World::new(rules());
        let client = world.open();
        client.heard();
        world.say(&client, &bytes);
        world.turn();
        let heard = client.heard();
        assert_eq!(heard[0], 0x88, "{bytes:?}");
        assert_eq!(heard[2..4], u16::to_be_bytes(code), "{bytes:?}");
        assert_eq!(world.counted(reason), 1, "{bytes:?}");
        assert_eq!(world.engine.subscriptions(), 0, "it has left its topics");
        assert!(client.ended());
    }
}

#[test]
fn a_close_is_answered_in_kind() {
    let mut world = World::new(rules());
    let client = world.open();
    client.heard();
    world.say(&client, &masked(8, &[3, 232]));
    assert_eq!(client.heard(), [0x88, 2, 3, 232]);
    assert!(client.ended());
    client.pipe.borrow_mut().peer_ended = true;
    world.readable(&client, true);
    world.turn();
    assert_eq!(world.engine.connections(), 0);
    assert_eq!(world.counted(Close::PeerClosed), 1);
    assert_eq!(world.counted(Close::PeerGone), 0, "one reason a connection");
}

#[test]
fn there_is_no_place_beyond_the_limits() {
    let mut world = World::new(Rules {
        connections_per_address_max: 2,
        ..rules()
    });
    let first = world.open();
    world.open();
    let stream = || FakeStream(Rc::clone(&first.pipe));
    let peer = "10.0.0.1:9".parse().expect("an address");
    let refused = world.engine.handle_connection(stream(), peer);
    assert_eq!(refused.expect_err("full").1, Refusal::AddressFull);
    for n in 0..3 {
        let peer = format!("10.0.1.{n}:9").parse().expect("an address");
        assert!(world.engine.handle_connection(stream(), peer).is_ok());
    }
    let other = "10.0.2.1:9".parse().expect("an address");
    let refused = world.engine.handle_connection(stream(), other);
    assert_eq!(refused.expect_err("full").1, Refusal::Full);
    world.say(&first, &masked(8, b""));
    first.pipe.borrow_mut().peer_ended = true;
    world.readable(&first, true);
    world.turn();
    world.open();
}

#[test]
fn sources_hear_of_the_first_subscriber_and_of_the_last_to_leave() {
    let mut world = World::new(rules());
    let (a, b) = (world.subscriber(&["x", "y"]), world.subscriber(&["x"]));
    world.say(&a, &masked(1, br#"[6,"y"]"#));
    for client in [&a, &b] {
        client.pipe.borrow_mut().is_broken = true;
        world.readable(client, true);
    }
    world.turn();
    let changes: Vec<TopicChange> =
        std::iter::from_fn(|| world.engine.poll_topic_change()).collect();
    assert_eq!(
        changes,
        [
            TopicChange::First("x".into()),
            TopicChange::First("y".into()),
            TopicChange::Last("y".into()),
            TopicChange::Last("x".into()),
        ]
    );
    assert_eq!(world.counted(Close::SocketError), 2);
}

#[test]
fn at_a_shutdown_upgrades_end_with_a_status_and_sessions_as_configured() {
    for farewell in [Farewell::Silent, Farewell::CloseFrame] {
        let mut world = World::new(rules());
        let (open, half) = (world.open(), world.connect());
        open.heard();
        world.engine.handle_shutdown();
        world.turn();
        assert!(half.heard().starts_with(b"HTTP/1.1 503 "));
        world.engine.close_all(farewell);
        world.turn();
        match farewell {
            Farewell::Silent => assert!(open.heard().is_empty()),
            Farewell::CloseFrame => assert_eq!(open.heard()[2..4], 1001_u16.to_be_bytes()),
        }
        world.wait(6);
        assert_eq!(world.engine.connections(), 0);
        assert_eq!(
            world.engine.poll_timeout(),
            None,
            "nothing is left to wait for"
        );
    }
}

const ROOM_MIN: Duration = Duration::from_millis(limits::ROOM_MILLISECONDS_MIN);

#[test]
fn strangers_hold_no_places_that_newcomers_need() {
    let mut world = World::new(rules());
    world.turn();
    let strangers: Vec<Client> = (0..5).map(|_| world.connect()).collect();
    // Each has a moment for itself: until then newcomers are better off in the kernel.
    let until = world.now + ROOM_MIN;
    world.turn();
    assert_eq!(world.engine.vacancy(), Vacancy::At(until));
    assert_eq!(world.refused(), Refusal::Full);
    world.now = until;
    world.turn();
    assert_eq!(world.engine.vacancy(), Vacancy::Now);
    let newcomers: Vec<Client> = (0..3).map(|_| world.open()).collect();
    // Nothing but `reap` frees a place.
    assert_eq!(world.engine.connections(), 8);
    world.turn();
    assert_eq!(world.engine.connections(), 5);
    assert_eq!(world.counted(Close::MadeRoom), 3);
    for (n, stranger) in strangers.iter().enumerate() {
        let heard = stranger.heard();
        assert_eq!(heard.starts_with(b"HTTP/1.1 503 "), n < 3, "{n}");
    }
    for newcomer in &newcomers {
        assert!(newcomer.heard().starts_with(b"HTTP/1.1 101 "));
    }
}

#[test]
fn a_flood_of_strangers_is_ended_a_share_a_turn() {
    const MAX: usize = 100;
    let mut world = World::new(Rules {
        connections_max: MAX,
        ..rules()
    });
    let _first: Vec<Client> = (0..MAX).map(|_| world.connect()).collect();
    for turn in 1..=5 {
        world.now += ROOM_MIN;
        world.turn();
        let mut came = Vec::new();
        while world.engine.vacancy() == Vacancy::Now {
            came.push(world.connect());
        }
        assert_eq!(came.len(), limits::TURN_ROOM_MAX);
        assert_eq!(world.engine.vacancy(), Vacancy::At(world.now));
        assert_eq!(world.engine.connections(), MAX + limits::TURN_ROOM_MAX);
        world.turn();
        assert_eq!(world.engine.connections(), MAX);
        let ended = (turn * limits::TURN_ROOM_MAX) as u64;
        assert_eq!(world.counted(Close::MadeRoom), ended);
    }
}

#[test]
fn who_has_shown_something_is_not_ended_for_a_newcomer() {
    let mut world = World::new(rules());
    let open = world.subscriber(&["t"]);
    let checking: Vec<Client> = (0..4)
        .map(|_| {
            let client = world.connect();
            world.say(&client, UPGRADE.as_bytes());
            client
        })
        .collect();
    world.now += 4 * ROOM_MIN;
    world.engine.start_turn(world.now);
    assert_eq!(world.engine.vacancy(), Vacancy::Never);
    assert_eq!(world.refused(), Refusal::Full);
    world.accept_all();
    world.publish("t", "1");
    world.turn();
    assert!(!open.heard().is_empty());
    for client in &checking {
        assert!(client.heard().starts_with(b"HTTP/1.1 101 "));
    }
    assert_eq!(world.counted(Close::MadeRoom), 0);
}

#[test]
fn who_only_waits_for_its_end_goes_first() {
    let mut world = World::new(rules());
    let _stranger = world.connect();
    world.turn();
    let clients: Vec<Client> = (0..4).map(|_| world.open()).collect();
    world.say(&clients[1], &masked(8, &1000_u16.to_be_bytes()));
    world.turn();
    assert_eq!(world.engine.connections(), 5, "its end is awaited");
    world.now += ROOM_MIN;
    world.turn();
    let newcomer = world.open();
    world.turn();
    assert!(newcomer.heard().starts_with(b"HTTP/1.1 101 "));
    assert_eq!(world.engine.connections(), 5);
    assert_eq!(world.counted(Close::PeerClosed), 1);
    assert_eq!(world.counted(Close::MadeRoom), 0, "its end was counted");
    // Now the stranger, and then nobody is left who could be ended.
    let _second = world.open();
    world.turn();
    assert_eq!(world.counted(Close::MadeRoom), 1);
    assert_eq!(world.engine.vacancy(), Vacancy::Never);
}

/// A newcomer whose address has no place left does not cost somebody else's.
#[test]
fn nobody_is_ended_for_a_newcomer_who_may_not_come_in() {
    let mut world = World::new(Rules {
        connections_per_address_max: 5,
        ..rules()
    });
    let _strangers: Vec<Client> = (0..5).map(|_| world.connect()).collect();
    world.now += ROOM_MIN;
    world.turn();
    assert_eq!(world.refused(), Refusal::AddressFull);
    assert_eq!(world.counted(Close::MadeRoom), 0);
}

/// The address of a trusted proxy is no client's, whether a proxy comes from there or names it.
#[test]
fn the_connections_of_trusted_proxies_are_never_counted() {
    let mut rules = rules();
    rules.session.trusted_proxies = vec!["10.0.0.0/24".parse().expect("a network")];
    rules.connections_per_address_max = 1;
    let mut world = World::new(rules.clone());
    let ask = |world: &mut World, client: &Client, address: &str| {
        let header = format!("\r\nX-Forwarded-For: {address}\r\n\r\n");
        world.say(client, UPGRADE.replace("\r\n\r\n", &header).as_bytes());
        world.turn();
    };
    // A proxy that asks for nothing, and another one that names the first as its client.
    let stranger = world.knock_from("10.0.0.2:7").expect("a place");
    let named = world.connect();
    ask(&mut world, &named, "10.0.0.2");
    assert_eq!(world.engine.audit(), Ok(()));
    stranger.pipe.borrow_mut().peer_ended = true;
    world.readable(&stranger, true);
    world.turn();
    assert_eq!(world.engine.audit(), Ok(()));
    // A client behind it is counted once, until it leaves, and also after a reload.
    let client = world.connect();
    ask(&mut world, &client, "192.0.2.7");
    world.engine.set_rules(rules);
    assert_eq!(world.engine.audit(), Ok(()));
    let second = world.connect();
    ask(&mut world, &second, "192.0.2.7");
    assert!(second.heard().starts_with(b"HTTP/1.1 503 "));
    let (_, incidents) = world.engine.stats_and_incidents();
    let told = &incidents.take_refused_addresses(Refusal::AddressFull)[0];
    assert_eq!(told.address.to_string(), "192.0.2.7", "the client's");
    for client in [&named, &client, &second] {
        client.pipe.borrow_mut().is_broken = true;
        world.readable(client, true);
    }
    world.turn();
    assert_eq!(world.engine.connections(), 0);
    assert_eq!(world.engine.audit(), Ok(()));
}
