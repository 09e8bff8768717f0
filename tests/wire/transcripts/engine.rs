//! The first stage: the engine in memory, in virtual time. A seed decides how the clients' bytes are cut into pieces, and
//! after which pieces a turn ends.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use newswire::auth::Moment;
use newswire::auth::gate::Gate;
use newswire::auth::list::TokenList;
use newswire::config::{Config, ShutdownClose, option};
use newswire::engine::{Check, Engine, Farewell, SlotId};
use newswire::server::{Budgets, gate_rules, rules};
use newswire::wire::envelope::Form;
use newswire::wire::id::{Epoch, Numbering};
use newswire::wire::token::Token;

use kit::TOKEN;
use kit::dice::Dice;
use kit::raw::{Ear, Heard};

use super::Stage;
use crate::stream::{FakeStream, Pipe};

/// How a client's bytes are cut.
#[derive(Clone, Copy, Debug)]
pub enum Cuts {
    /// As they were sent.
    None,
    /// After every byte.
    Everywhere,
    /// Where the dice say.
    Random(u64),
}

/// In turns, far more than any script needs to come to rest.
const TURNS_MAX: usize = 10_000;

/// A client's end.
struct Peer {
    id: SlotId,
    pipe: Rc<RefCell<Pipe>>,
    ear: Ear,
    /// What it has sent and the engine has not been given.
    sent: VecDeque<u8>,
    has_ended: bool,
}

/// See above.
pub struct EngineStage {
    engine: Engine<FakeStream>,
    gate: Gate,
    form: Form,
    farewell: Farewell,
    now: Duration,
    peers: BTreeMap<String, Peer>,
    cuts: Cuts,
    dice: Dice,
    ids: Numbering,
    /// True exactly when events wait for the turn's end.
    has_events: bool,
}

impl EngineStage {
    /// An engine with the options of a script.
    pub fn new(options: &[(String, String)], cuts: Cuts) -> Self {
        let mut config = Config::default();
        for (name, value) in options {
            set(&mut config, name, value);
        }
        Self {
            engine: Engine::new(
                rules(&config, 100, Budgets::default(), Epoch::new([7; 8])),
                7,
            ),
            ids: Numbering::new(Epoch::new([7; 8])),
            gate: Gate::new(
                vec![Box::new(TokenList::new(&[Token::new(TOKEN)]))],
                gate_rules(&config, Budgets::default()),
                [7; 32],
                Rc::default(),
            ),
            form: Form {
                topic_field: config.ingest.topic_field.clone(),
                event_bytes_max: config.ingest.event_bytes_max,
                topic_bytes_max: config.clients.topic_bytes_max,
            },
            farewell: match config.process.shutdown_close {
                ShutdownClose::Drop => Farewell::Silent,
                ShutdownClose::Frame => Farewell::CloseFrame,
            },
            now: Duration::from_millis(300),
            peers: BTreeMap::new(),
            dice: Dice(match cuts {
                Cuts::Random(seed) => seed,
                _ => 1,
            }),
            cuts,
            has_events: false,
        }
    }

    /// A turn, with the gate that judges tokens.
    fn turn(&mut self) {
        self.engine.start_turn(self.now);
        self.engine.take_in();
        let moment = Moment {
            now: self.now,
            unix: self.now,
        };
        while let Some(Check { id, applicant }) = self.engine.poll_check() {
            self.gate.check(id.to_bits(), applicant, moment);
        }
        while let Some((ticket, verdict)) = self.gate.poll_verdict() {
            let id = SlotId::from_bits(ticket).expect("a connection's");
            self.engine.handle_verdict(id, verdict);
        }
        self.engine.hand_out();
        self.engine.reap();
        self.has_events = false;
    }

    /// Turns until there is nothing left to do.
    fn rest(&mut self) {
        for _ in 0..TURNS_MAX {
            self.turn();
            if self.engine.poll_timeout() != Some(Duration::ZERO) {
                return;
            }
        }
        panic!("the engine does not come to rest");
    }

    /// Gives the engine what clients have sent: each client's bytes in their order, those of
    /// different clients in any.
    fn deliver(&mut self) {
        // An event is for those who had subscribed when it came, and a turn is what keeps that.
        if self.has_events {
            self.turn();
        }
        loop {
            let waiting: Vec<String> = self
                .peers
                .iter()
                .filter(|(_, peer)| !peer.sent.is_empty())
                .map(|(name, _)| name.clone())
                .collect();
            if waiting.is_empty() {
                return;
            }
            let name = &waiting[self.dice.below(waiting.len())];
            let peer = self.peers.get_mut(name).expect("it is waiting");
            let len = match self.cuts {
                Cuts::None => peer.sent.len(),
                Cuts::Everywhere => 1,
                Cuts::Random(_) => {
                    // Small pieces mostly; a large message is not cut into thousands.
                    let most = 1 << self.dice.below(17);
                    1 + self.dice.below(peer.sent.len().min(most))
                }
            };
            let piece = peer.sent.drain(..len);
            peer.pipe.borrow_mut().to_server.extend(piece);
            let id = peer.id;
            self.engine.handle_readable(id, false);
            // What has come is read before events are taken in.
            self.engine.read();
            if matches!(self.cuts, Cuts::Everywhere) || self.dice.below(2) == 0 {
                self.turn();
            }
        }
    }

    fn next(&mut self, who: &str) -> Option<Heard> {
        self.deliver();
        self.rest();
        let peer = self.peers.get_mut(who).expect("it has connected");
        let mut pipe = peer.pipe.borrow_mut();
        peer.ear.push(&std::mem::take(&mut pipe.from_server));
        if let Some(heard) = peer.ear.next() {
            return Some(heard);
        }
        if !peer.ear.rest().is_empty() {
            let rest = peer.ear.rest().escape_ascii();
            return Some(Heard::Nonsense(format!("half of something: {rest}")));
        }
        (pipe.server_ended || pipe.is_dropped).then_some(Heard::End)
    }
}

impl Stage for EngineStage {
    fn connect(&mut self, who: &str) {
        self.deliver();
        let (stream, pipe) = FakeStream::new();
        let peer = "10.0.0.1:7".parse().expect("an address");
        let id = self
            .engine
            .handle_connection(stream, peer)
            .expect("a place");
        let peer = Peer {
            id,
            pipe,
            ear: Ear::default(),
            sent: VecDeque::new(),
            has_ended: false,
        };
        self.peers.insert(who.to_owned(), peer);
    }

    fn send(&mut self, who: &str, bytes: &[u8]) {
        let peer = self.peers.get_mut(who).expect("it has connected");
        peer.sent.extend(bytes);
        if matches!(self.cuts, Cuts::None) {
            self.deliver();
        }
    }

    fn end(&mut self, who: &str) {
        self.deliver();
        let peer = self.peers.get_mut(who).expect("it has connected");
        assert!(!std::mem::replace(&mut peer.has_ended, true), "once");
        peer.pipe.borrow_mut().peer_ended = true;
        let id = peer.id;
        self.engine.handle_readable(id, true);
    }

    fn publish(&mut self, parts: &[Vec<u8>]) {
        let has_news = self.peers.values().any(|peer| !peer.sent.is_empty());
        if has_news {
            self.deliver();
        }
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        if let Ok(mut event) = self.form.parse(&parts) {
            event.id = Some(self.ids.give(event.id));
            self.engine.handle_event(&event);
            self.has_events = true;
        }
        if self.dice.below(2) == 0 {
            self.turn();
        }
    }

    fn wait(&mut self, seconds: u64) {
        self.deliver();
        self.rest();
        for _ in 0..seconds {
            self.now += Duration::from_secs(1);
            self.rest();
        }
    }

    fn shutdown(&mut self) {
        self.deliver();
        self.rest();
        self.engine.handle_shutdown();
        self.rest();
        self.engine.close_all(self.farewell);
        self.engine.reap();
    }

    fn hear(&mut self, who: &str) -> Result<Heard, String> {
        self.next(who).ok_or_else(|| "nothing came".to_owned())
    }

    fn hear_nothing(&mut self, who: &str) -> Result<(), String> {
        match self.next(who) {
            None => Ok(()),
            Some(heard) => Err(heard.to_string()),
        }
    }
}

fn set(config: &mut Config, name: &str, value: &str) {
    let option = option(name).unwrap_or_else(|| panic!("no option --{name}"));
    option
        .set(config, &[value.to_owned()])
        .expect("a good value");
}
