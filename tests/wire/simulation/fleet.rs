//! A parent's workers behind one relay or two: workers die, hang and are replaced; relays end and come back; links drop.
//!
//! The workers are whole servers, and what looks after them is the parent's own team of keepers. The clients of a worker
//! that dies come back to any other. The models are those of one server (`truth`, `subscriber`), relays' logs (`relay`)
//! and what has to become of a process (`yard`).
//!
//! Never here: how a server serves (`member`), and what is around it (`relay`, `yard`).

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use kit::dice::Dice;
use newswire::admin::durations::{Durations, EVENT_BOUNDS, TURN_BOUNDS};
use newswire::stats::{Counter, Stats};
use newswire::wire::token::Token;
use newswire::workers::{Call, Keeper, Plan, Team};

use super::member::Member;
use super::relay::{MemoryRelay, SharedRelay};
use super::yard::{PATIENCE, SharedYard, Yard, YardLauncher};
use super::{World, simulate};

const STEPS: u64 = 3_000;
const STEPS_PER_WORLD: u64 = 500;

const CLIENTS_MAX: usize = 12;

/// In which a process that hangs is killed, and another one serves after the longest pause.
const REPAIRS_MAX: Duration = Duration::from_secs(300);

/// In rounds: keepers and processes that have so much to tell each other have lost their way.
const ROUNDS_MAX: u32 = 100;

struct FleetWorld {
    dice: Dice,
    now: Duration,
    relays: Vec<SharedRelay>,
    yard: SharedYard,
    team: Team,
    keepers: Vec<(Keeper<YardLauncher>, Receiver<Call>)>,
    /// What the parent counts.
    own: Stats,
    latency: Durations,
    turns: Durations,
    topics: usize,
    events: u32,
    /// True exactly when some events come from a relay before this one.
    has_upstream: bool,
    /// The topics of clients without a server.
    homeless: Vec<BTreeSet<usize>>,
}

impl World for FleetWorld {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let count = 1 + dice.below(3);
        let yard: SharedYard = Rc::new(RefCell::new(Yard::new(count)));
        let plan = Plan {
            count,
            arguments: Vec::new(),
            endpoint: String::new(),
            addresses: Vec::new(),
            admin_token: Token::new("admin"),
            client_token: None,
            patience: PATIENCE,
        };
        let mut team = Team::new(plan, Arc::new(|| {}));
        let keepers = (0..count).map(|_| {
            let yard = Rc::clone(&yard);
            team.add_keeper(|calls| YardLauncher { yard, calls })
        });
        let relays = 0..[1, 1, 2][dice.below(3)];
        let relays = relays.map(|number| Rc::new(RefCell::new(MemoryRelay::new(number))));
        let mut world = Self {
            now: Duration::ZERO,
            relays: relays.collect(),
            keepers: keepers.collect(),
            yard,
            team,
            own: Stats::default(),
            latency: Durations::new(EVENT_BOUNDS),
            turns: Durations::new(TURN_BOUNDS),
            topics: [1, 3, 10][dice.below(3)],
            events: 0,
            has_upstream: dice.one_in(3),
            homeless: Vec::new(),
            dice,
        };
        for (keeper, _) in &mut world.keepers {
            keeper.begin(Duration::ZERO);
        }
        world.attend();
        world
    }

    fn step(&mut self) {
        match self.dice.below(100) {
            0..12 => self.connect(),
            12..24 => self.speak(),
            24..28 => self.leave(),
            28..60 => self.publish(),
            60..64 => self.fail(),
            64..67 => self.repair(),
            67 if self.dice.one_in(3) => self.end_relay(),
            68 => self.hang(),
            69 if self.dice.one_in(2) => self.kill(),
            70 if self.dice.one_in(2) => {
                self.team.restart();
            }
            71 if self.dice.one_in(4) => self.yard.borrow_mut().is_full = true,
            72..84 => self.wait(),
            _ => {}
        }
        self.go_on();
    }

    fn end(&mut self) {
        // Everything is repaired, and every worker serves.
        let until = self.now + REPAIRS_MAX;
        while !self.is_whole() {
            assert!(self.now < until, "a worker is left out, or its link");
            self.repair();
            self.sleep(Duration::from_secs(1));
        }
        self.publish();
        self.sleep(Duration::from_secs(2));
        for member in self.yard.borrow_mut().awake() {
            assert!(member.is_quiet(), "an event is left");
        }
        self.yard.borrow_mut().is_over = true;
        self.team.drain();
        self.sleep(PATIENCE);
        let living = self.yard.borrow().processes.len();
        assert_eq!(living, 0, "a process is left");
        assert_eq!(self.team.ready(), 0, "a desk is left");
        for (keeper, _) in &mut self.keepers {
            assert!(keeper.has_ended(), "a keeper is left");
        }
    }
}

impl FleetWorld {
    /// Returns true when every worker serves, and has asked for all that it wants.
    fn is_whole(&self) -> bool {
        let mut yard = self.yard.borrow_mut();
        let settled = yard.open().filter(|member| member.is_settled());
        settled.count() == self.keepers.len()
    }

    /// Every server turns, and everybody hears what there is to hear.
    fn go_on(&mut self) {
        for relay in &self.relays {
            relay.borrow_mut().carry(self.now, &mut self.dice);
        }
        for member in self.yard.borrow_mut().awake() {
            if !member.is_complete() {
                member.turn(self.now);
            }
        }
        self.attend();
    }

    /// Keepers hear of processes, and processes of keepers.
    fn attend(&mut self) {
        for _ in 0..ROUNDS_MAX {
            let mut is_quiet = true;
            for instance in self.starting() {
                let member = Member::new(&self.relays, self.now, &mut self.dice);
                self.yard.borrow_mut().serve(instance, member);
            }
            let ended = self.yard.borrow_mut().ended();
            for instance in ended {
                let member = self.yard.borrow_mut().end(instance);
                self.homeless
                    .extend(member.into_iter().flat_map(Member::end));
            }
            for (keeper, calls) in &mut self.keepers {
                while let Ok(call) = calls.try_recv() {
                    keeper.step(self.now, Some(call));
                    is_quiet = false;
                }
                if keeper.due() <= self.now {
                    keeper.step(self.now, None);
                    is_quiet = false;
                }
            }
            let (latency, turns) = (&mut self.latency, &mut self.turns);
            self.team.take_news(&self.own, latency, turns);
            if is_quiet {
                return self.check();
            }
        }
        panic!("the keepers never rest");
    }

    /// The processes that begin to serve now.
    fn starting(&mut self) -> Vec<u64> {
        let yard = self.yard.borrow();
        let starting = yard.processes.iter();
        let starting = starting.filter(|(_, process)| {
            process.member.is_none() && process.hangs_since.is_none() && !process.is_released()
        });
        let ids = starting.map(|(&instance, _)| instance);
        ids.filter(|_| self.dice.one_in(8)).collect()
    }

    fn check(&self) {
        let yard = self.yard.borrow();
        yard.check();
        assert_eq!(self.team.ready(), yard.serving(), "workers that serve");
        let counted = self.team.counted(&self.own).counter(Counter::Deliveries);
        assert_eq!(counted, yard.told(), "the sum of all deliveries");
    }

    fn sleep(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            let mut yard = self.yard.borrow_mut();
            let pauses = yard.awake().filter_map(|member| member.timeout());
            // Links carry something every now and then.
            let pause = pauses.min().unwrap_or(time).min(Duration::from_millis(500));
            drop(yard);
            let keepers = self.keepers.iter().map(|(keeper, _)| keeper.due());
            let due = keepers.min().unwrap_or(until);
            self.now = (self.now + pause.max(Duration::from_millis(1)))
                .min(due)
                .min(until);
            self.yard.borrow_mut().now = self.now;
            self.go_on();
        }
    }

    fn wait(&mut self) {
        let longest = match self.dice.below(40) {
            0 => 100_000,
            _ => 3_000,
        };
        let time = Duration::from_millis(self.dice.roll() % longest);
        self.sleep(time);
    }

    fn connect(&mut self) {
        let topics = match self.homeless.pop() {
            Some(topics) => topics,
            None => {
                let count = self.dice.below(4);
                (0..count).map(|_| self.dice.below(self.topics)).collect()
            }
        };
        let mut yard = self.yard.borrow_mut();
        let clients: usize = yard.awake().map(|member| member.clients()).sum();
        let count = yard.open().count();
        match yard.open().nth(self.dice.below(count)) {
            Some(member) if clients < CLIENTS_MAX => {
                member.connect(self.now, &topics, &mut self.dice);
            }
            _ => self.homeless.push(topics),
        }
    }

    /// Has one of the servers that do not hang do something.
    fn with_one(&mut self, act: impl FnOnce(&mut Member, &mut Dice)) {
        let mut yard = self.yard.borrow_mut();
        let count = yard.awake().count();
        if let Some(member) = yard.awake().nth(self.dice.below(count)) {
            act(member, &mut self.dice);
        }
    }

    fn speak(&mut self) {
        let topic = self.dice.below(self.topics);
        self.with_one(|member, dice| member.speak(topic, dice));
    }

    fn leave(&mut self) {
        self.with_one(|member, dice| member.leave(dice));
    }

    fn publish(&mut self) {
        let relay = Rc::clone(&self.relays[self.dice.below(self.relays.len())]);
        let mut relay = relay.borrow_mut();
        if !relay.is_up() {
            return;
        }
        self.yard
            .borrow_mut()
            .awake()
            .for_each(|member| member.check_asked());
        let burst = match self.dice.below(12) {
            0 => 80,
            1..4 => 5,
            _ => 1,
        };
        for _ in 0..burst {
            self.events += 1;
            let n = self.dice.below(self.topics);
            let is_relayed = self.has_upstream && self.dice.one_in(2);
            let data = self.events.to_string();
            relay.publish(n, &data, is_relayed);
        }
    }

    fn fail(&mut self) {
        let stays_down = self.dice.one_in(2);
        self.with_one(|member, dice| member.cut(stays_down, dice));
    }

    fn repair(&mut self) {
        for member in self.yard.borrow_mut().awake() {
            member.repair();
        }
        for relay in &self.relays {
            if !relay.borrow().is_up() {
                relay.borrow_mut().start();
            }
        }
    }

    fn end_relay(&mut self) {
        let relay = &self.relays[self.dice.below(self.relays.len())];
        relay.borrow_mut().stop(&mut self.dice);
    }

    fn pick(&mut self) -> Option<u64> {
        let yard = self.yard.borrow();
        let count = yard.processes.len();
        let mut processes = yard.processes.keys();
        processes.nth(self.dice.below(count)).copied()
    }

    /// A process hangs, or goes on.
    fn hang(&mut self) {
        let Some(instance) = self.pick() else { return };
        let mut yard = self.yard.borrow_mut();
        if let Some(process) = yard.processes.get_mut(&instance) {
            process.toggle(self.now);
        }
    }

    /// A process ends, or several in a row.
    fn kill(&mut self) {
        let times = 1 + self.dice.below(3);
        for _ in 0..times {
            let Some(instance) = self.pick() else { return };
            let member = self.yard.borrow_mut().end(instance);
            self.homeless
                .extend(member.into_iter().flat_map(Member::end));
            self.attend();
        }
    }
}

#[test]
fn workers_that_die_and_a_relay_that_comes_back_lose_only_what_they_say() {
    simulate::<FleetWorld>(STEPS, STEPS_PER_WORLD);
}
