//! The engine, driven through virtual streams and virtual time.
//!
//! This file has the world that the tests share; the tests stand in one file for each subject.

mod crowds;
mod delivery;
mod history;
mod listening;
mod opening;
mod places;
mod silence;
mod slowness;
mod wamp2;

mod admitted;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use kit::raw::{Ear, Heard, masked_frame};

use super::{Engine, Rules, SessionRules, SlotId};
use crate::standing::Verdict;
use crate::stats::{Close, Refusal};
use crate::stream::{FakeStream, Pipe};
use crate::wire::envelope::Event;
use crate::wire::websocket;

struct World {
    engine: Engine<FakeStream>,
    now: Duration,
    /// The number of the last event that has an id.
    sequence: u64,
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
            sequence: 0,
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
        self.engine.handle_event(&Event::new(topic.into(), data));
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
