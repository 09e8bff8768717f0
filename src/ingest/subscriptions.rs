//! What one source asks its publisher for: the topics that clients want, or everything. SUB sockets ask, and clients of
//! brokers that can filter.
//!
//! libzmq keeps one node for each byte of each topic that a SUB socket asks for: about 34 bytes of memory
//! and 80 ns of the loop for each byte of a name. So each turn has a budget, and changes that do not fit wait in
//! a queue. A change says only that a topic may differ from what was told; what is told is decided when the
//! change is dealt with. So a topic that came and went meanwhile costs nothing. When there is too much to tell,
//! the source asks for everything, and events that no client wants are dropped here
//! ([`ScopePolicy`]).
//!
//! **Many topics on a new connection.** A publisher reads what it is asked for when it sends, and up to
//! 1,000 changes at a time. So when more than that are to be told on a new connection, the source asks for
//! everything first, and takes that back when all topics are told. The publisher reads these in order, so it
//! misses no topic in between.
//!
//! Never here: connections, clocks (moments are handed in), and which topics are wanted (the engine's).

use std::collections::{HashSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use super::scope::{Decision, Scope, ScopePolicy};
use super::wanted::{TellBudget, Wanted};
use crate::limits;

/// Asks the publisher: `(topic, true)` is a subscription, `(topic, false)` its end. The empty topic is
/// everything.
pub type Ask<'a> = &'a mut dyn FnMut(&str, bool);

/// What one source has asked for, and has to ask for.
///
/// Invariant: `told` has at most `limits::SUB_TOPICS_MAX` names, and `changed` twice as many.
#[derive(Debug, Default)]
pub struct Subscriptions {
    /// Names that the publisher was asked for, and still is.
    told: NameSet,
    /// Names that may differ from what was told, in the order in which they came.
    changed: VecDeque<Rc<str>>,
    /// The same names, to find one.
    waiting: NameSet,
    /// Names that were told before everything was asked for: their end is to be told.
    leaving: Vec<Rc<str>>,
    /// The place that is looked at next, while all wanted topics are to be told.
    walk: Option<u32>,
    /// True exactly when the publisher was asked for everything.
    has_everything: bool,
    policy: ScopePolicy,
    /// True exactly when the publisher has refused, on this connection, to be asked for everything.
    is_everything_refused: bool,
    /// True exactly when a wanted topic was not told, because everything was refused and there was no room.
    has_left_out: bool,
    /// True exactly when there is a connection to ask on.
    is_connected: bool,
}

/// A set of names, and how long they are together.
#[derive(Debug, Default)]
struct NameSet {
    set: HashSet<Rc<str>>,
    bytes: usize,
}

impl NameSet {
    fn insert(&mut self, name: &Rc<str>) -> bool {
        let is_new = self.set.insert(Rc::clone(name));
        self.bytes += if is_new { name.len() } else { 0 };
        is_new
    }

    fn remove(&mut self, name: &str) -> bool {
        let was_there = self.set.remove(name);
        self.bytes -= if was_there { name.len() } else { 0 };
        was_there
    }

    fn has_room(&self, times: usize) -> bool {
        self.set.len() < times * limits::SUB_TOPICS_MAX
            && self.bytes < times * limits::SUB_TOPIC_BYTES_MAX
    }

    fn is_half_empty(&self) -> bool {
        self.set.len() <= limits::SUB_TOPICS_MAX / 2
            && self.bytes <= limits::SUB_TOPIC_BYTES_MAX / 2
    }
}

impl Subscriptions {
    /// There is a new connection: nothing was asked on it yet.
    pub fn begin(&mut self, now: Duration) {
        self.end();
        self.is_connected = true;
        self.walk = Some(0);
        self.policy.begin(now);
    }

    /// The connection is gone, and what was asked on it.
    pub fn end(&mut self) {
        *self = Self {
            policy: std::mem::take(&mut self.policy),
            ..Self::default()
        };
    }

    /// Returns true when the publisher was asked for everything, and still is: then it also sends events that no
    /// client wants.
    pub fn has_everything(&self) -> bool {
        self.has_everything
    }

    /// The publisher refuses to be asked for everything. Until the end of this connection it is asked for single topics,
    /// up to the bound. Topics beyond the bound are asked for when half of the others have ended.
    pub fn refuse_everything(&mut self) {
        if !self.is_connected || self.is_everything_refused {
            return;
        }
        if self.scope() == Scope::Everything {
            self.walk = Some(0);
        }
        self.is_everything_refused = true;
        self.has_everything = false;
    }

    /// What is to be asked for.
    pub fn scope(&self) -> Scope {
        match self.is_everything_refused {
            true => Scope::Topics,
            false => self.policy.scope(),
        }
    }

    /// A topic has its first subscriber, or the last one has left it.
    pub fn note(&mut self, topic: &Rc<str>) {
        // An empty name is no event's topic, and as a prefix it would ask for everything.
        let is_told_later = !self.is_connected || self.scope() == Scope::Everything;
        if is_told_later || topic.is_empty() {
            return;
        }
        if self.waiting.insert(topic) {
            self.changed.push_back(Rc::clone(topic));
        }
    }

    /// Returns true when [`Subscriptions::tell`] has something left to do.
    fn is_behind(&self) -> bool {
        let has_names = !self.leaving.is_empty() || !self.changed.is_empty();
        let wants_everything = self.scope() == Scope::Everything;
        self.is_connected
            && (has_names || self.walk.is_some() || wants_everything != self.has_everything)
    }

    /// How long [`Subscriptions::decide`] and [`Subscriptions::tell`] have nothing to do; `None` when nothing is due.
    pub fn timeout(&self, now: Duration) -> Option<Duration> {
        if self.is_behind() {
            return Some(Duration::ZERO);
        }
        // A deadline that has passed means that too many topics are still wanted. It takes the end of some to
        // change that, and a topic that ends makes a turn.
        let at = self.policy.deadline().filter(|&at| at > now)?;
        Some(at.saturating_sub(now))
    }

    /// Decides what to ask for. `None` when that stays as it is.
    pub fn decide(&mut self, now: Duration, wanted: &dyn Wanted) -> Option<Decision> {
        let is_full = !self.told.has_room(1) && !self.changed.is_empty();
        let has_backlog = !self.waiting.has_room(2);
        if self.is_everything_refused {
            if has_backlog {
                self.give_up_topics();
                self.walk = Some(0);
            } else if self.has_left_out && self.told.is_half_empty() {
                self.has_left_out = false;
                self.walk = Some(0);
            }
            return None;
        }
        let decision = self.policy.decide(now, wanted, is_full, has_backlog)?;
        match decision {
            Decision::Topics => self.walk = Some(0),
            Decision::UnknownTopics | Decision::TooManyTopics | Decision::TooManyChanges => {
                self.walk = None;
                self.give_up_topics();
            }
        }
        Some(decision)
    }

    /// The end of every topic that was told is to be told.
    fn give_up_topics(&mut self) {
        self.changed = VecDeque::new();
        self.waiting = NameSet::default();
        self.leaving.extend(self.told.set.drain());
        self.told = NameSet::default();
    }

    /// Tells the publisher what differs, as far as the budget goes.
    pub fn tell(&mut self, wanted: &dyn Wanted, budget: &mut TellBudget, ask: Ask<'_>) {
        if !self.is_connected {
            return;
        }
        let are_many = self.walk == Some(0) && wanted.topics() > limits::SUB_UNREAD_MAX;
        let wants_everything = self.scope() == Scope::Everything;
        let needs_everything = !self.is_everything_refused && (wants_everything || are_many);
        if needs_everything && !self.has_everything {
            ask("", true);
            self.has_everything = true;
        }
        if wants_everything {
            self.walk = None;
        }
        while budget.is_left() {
            if let Some(topic) = self.leaving.pop() {
                budget.take_name(&topic);
                ask(&topic, false);
            } else if let Some(place) = self.walk {
                budget.take_place();
                self.walk = (place < wanted.places()).then_some(place + 1);
                if let Some(topic) = wanted.topic_at(place) {
                    self.tell_one(&topic, wanted, budget, ask);
                }
            } else if let Some(topic) = self.changed.pop_front() {
                budget.take_place();
                self.waiting.remove(&topic);
                self.tell_one(&topic, wanted, budget, ask);
            } else {
                break;
            }
        }
        // Only when every topic was asked for, so that no event is missed in between.
        if !wants_everything && self.has_everything && self.is_told() {
            ask("", false);
            self.has_everything = false;
        }
    }

    fn is_told(&self) -> bool {
        self.leaving.is_empty() && self.walk.is_none() && self.changed.is_empty()
    }

    /// Tells the publisher about one topic, if that differs from what was told.
    fn tell_one(
        &mut self,
        topic: &Rc<str>,
        wanted: &dyn Wanted,
        budget: &mut TellBudget,
        ask: Ask<'_>,
    ) {
        let is_wanted = wanted.is_wanted(topic) && !topic.is_empty();
        if is_wanted == self.told.set.contains(topic) {
            return;
        }
        if is_wanted && !self.told.has_room(1) && self.is_everything_refused {
            self.has_left_out = true;
            return;
        }
        if is_wanted && !self.told.has_room(1) {
            // The next decision is for everything.
            if self.waiting.insert(topic) {
                self.changed.push_front(Rc::clone(topic));
            }
            budget.end();
            return;
        }
        match is_wanted {
            true => self.told.insert(topic),
            false => self.told.remove(topic),
        };
        self.policy.note_change();
        budget.take_name(topic);
        ask(topic, is_wanted);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use super::*;
    use crate::ingest::wanted::NAME_COST;

    const MINUTE: Duration = Duration::from_secs(60);
    const ZERO: Duration = Duration::ZERO;

    /// The topics of a hub.
    #[derive(Default)]
    struct Hub {
        names: NameSet,
        places: Vec<Option<Rc<str>>>,
        taken: HashMap<Rc<str>, usize>,
        free: Vec<usize>,
    }

    impl Hub {
        fn come(&mut self, name: &Rc<str>) {
            assert!(self.names.insert(name), "{name} is new");
            let place = self.free.pop().unwrap_or_else(|| {
                self.places.push(None);
                self.places.len() - 1
            });
            self.places[place] = Some(Rc::clone(name));
            self.taken.insert(Rc::clone(name), place);
        }

        fn go(&mut self, name: &str) {
            assert!(self.names.remove(name), "{name} is there");
            let place = self.taken.remove(name).expect("it is there");
            self.places[place] = None;
            self.free.push(place);
        }
    }

    impl Wanted for Hub {
        fn is_wanted(&self, topic: &str) -> bool {
            self.names.set.contains(topic)
        }
        fn topics(&self) -> usize {
            self.names.set.len()
        }
        fn bytes(&self) -> usize {
            self.names.bytes
        }
        fn places(&self) -> u32 {
            self.places.len() as u32
        }
        fn topic_at(&self, place: u32) -> Option<Rc<str>> {
            self.places.get(place as usize)?.clone()
        }
    }

    /// A hub, the subscriptions of one source, and what a publisher has been asked for.
    #[derive(Default)]
    struct World {
        hub: Hub,
        subscriptions: Subscriptions,
        asked: BTreeSet<String>,
        /// In changes, how many were told.
        told: usize,
        most: usize,
    }

    impl World {
        fn connected() -> Self {
            let mut world = Self::default();
            world.subscriptions.begin(ZERO);
            world
        }

        fn come(&mut self, name: &str) {
            let name: Rc<str> = name.into();
            self.hub.come(&name);
            self.subscriptions.note(&name);
        }

        fn go(&mut self, name: &str) {
            self.hub.go(name);
            self.subscriptions.note(&name.into());
        }

        /// One turn; answers what was decided.
        fn turn(&mut self, now: Duration) -> Option<Decision> {
            let Self {
                hub,
                subscriptions,
                asked,
                told,
                most,
            } = self;
            let decided = subscriptions.decide(now, hub);
            let mut bytes = 0;
            subscriptions.tell(
                hub,
                &mut TellBudget::new(limits::TURN_TOPIC_BYTES_MAX),
                &mut |topic, is_wanted| {
                    *told += 1;
                    bytes += topic.len() + NAME_COST;
                    let changed = match is_wanted {
                        true => asked.insert(topic.to_owned()),
                        false => asked.remove(topic),
                    };
                    assert!(changed, "{topic:?} {is_wanted} was told before");
                },
            );
            *most = (*most).max(asked.len());
            let max = limits::TURN_TOPIC_BYTES_MAX + limits::TOPIC_BYTES_MAX + 3 * NAME_COST;
            assert!(bytes <= max, "a turn told {bytes} bytes of names");
            decided
        }

        fn settle(&mut self, now: Duration) -> usize {
            for turns in 0..100_000 {
                if !self.subscriptions.is_behind() {
                    return turns;
                }
                self.turn(now);
            }
            panic!("it never ends");
        }

        fn is_exact(&self) -> bool {
            let wanted = self.hub.names.set.iter();
            wanted.map(|name| name.to_string()).collect::<BTreeSet<_>>() == self.asked
        }
    }

    fn long(n: usize) -> String {
        format!("{n:0width$}", width = limits::TOPIC_BYTES_MAX)
    }

    #[test]
    fn a_topic_that_came_and_went_before_it_was_told_needs_no_telling() {
        let mut world = World::connected();
        world.settle(ZERO);
        world.come("a");
        world.go("a");
        world.come("b");
        world.go("b");
        world.come("b");
        world.settle(ZERO);
        assert_eq!(world.told, 1);
        assert!(world.is_exact());
        world.go("b");
        world.settle(ZERO);
        assert_eq!(world.told, 2);
        assert!(world.asked.is_empty());
    }

    #[test]
    fn a_herd_of_long_names_is_told_over_many_turns_and_leaves_over_many() {
        let mut world = World::connected();
        let count = limits::SUB_TOPIC_BYTES_MAX / limits::TOPIC_BYTES_MAX - 1;
        for n in 0..count {
            world.come(&long(n));
        }
        let turns = world.settle(ZERO);
        let least = count * limits::TOPIC_BYTES_MAX / limits::TURN_TOPIC_BYTES_MAX;
        assert!(turns >= least, "{turns} turns");
        assert!(world.is_exact());
        for n in 0..count {
            world.go(&long(n));
        }
        assert!(world.settle(ZERO) >= least);
        assert!(world.asked.is_empty());
    }

    #[test]
    fn beyond_the_bound_everything_is_asked_for_and_half_of_it_later_topics_again() {
        for name in [
            Box::new(|n: usize| n.to_string()) as Box<dyn Fn(usize) -> String>,
            Box::new(long),
        ] {
            let mut world = World::connected();
            let mut count = 0;
            while world.subscriptions.scope() == Scope::Topics {
                world.come(&name(count));
                count += 1;
                if let Some(decided) = world.turn(ZERO) {
                    assert_eq!(decided, Decision::TooManyTopics);
                }
            }
            assert!(world.hub.topics() <= limits::SUB_TOPICS_MAX + 1);
            assert!(world.most <= limits::SUB_TOPICS_MAX);
            world.settle(ZERO);
            let everything = BTreeSet::from([String::new()]);
            assert_eq!(world.asked, everything, "and the topics are given up");

            // Changes need no telling.
            let told = world.told;
            for n in 0..count / 2 + 1 {
                world.go(&name(n));
            }
            assert_eq!(world.turn(MINUTE / 2), None, "not so soon");
            assert_eq!(world.told, told);
            let until = world.subscriptions.timeout(MINUTE / 2);
            assert_eq!(until, Some(MINUTE / 2));
            assert_eq!(world.turn(MINUTE), Some(Decision::Topics));
            assert!(
                world.asked.contains(""),
                "everything until all topics are told"
            );
            world.settle(MINUTE);
            assert!(world.is_exact());
        }
    }

    #[test]
    fn when_everything_is_refused_topics_are_asked_for_up_to_the_bound() {
        let mut world = World::connected();
        let mut count = 0;
        while world.subscriptions.scope() == Scope::Topics {
            world.come(&count.to_string());
            count += 1;
            world.turn(ZERO);
        }
        world.settle(ZERO);
        for n in count..count + 10 {
            world.come(&n.to_string());
        }
        // The publisher has not asked back: it refuses.
        assert!(world.asked.remove(""));
        world.subscriptions.refuse_everything();
        world.settle(ZERO);
        assert!(!world.asked.contains(""));
        assert_eq!(world.asked.len(), limits::SUB_TOPICS_MAX);

        // All come and go between two turns.
        for n in 0..2 * limits::SUB_TOPICS_MAX {
            let name = format!("x{n}");
            world.come(&name);
            world.go(&name);
        }
        assert_eq!(world.turn(MINUTE), None);
        world.settle(MINUTE);
        assert_eq!(world.asked.len(), limits::SUB_TOPICS_MAX);

        // What had no place gets one when there is room.
        let ending: Vec<String> = world
            .asked
            .iter()
            .take(limits::SUB_TOPICS_MAX / 2)
            .cloned()
            .collect();
        for name in ending {
            world.go(&name);
        }
        world.settle(MINUTE);
        world.turn(MINUTE);
        world.settle(MINUTE);
        assert!(world.is_exact());

        // The next connection is asked for everything again.
        world.subscriptions.end();
        world.asked.clear();
        world.subscriptions.begin(MINUTE);
        assert_eq!(world.subscriptions.scope(), Scope::Everything);
    }

    #[test]
    fn what_is_kept_of_names_is_bounded_when_a_publisher_is_told_slowly() {
        let mut world = World::connected();
        world.settle(ZERO);
        // All of them come and go between two turns.
        for n in 0..2 * limits::SUB_TOPICS_MAX {
            world.come(&n.to_string());
            world.go(&n.to_string());
        }
        assert_eq!(world.turn(ZERO), Some(Decision::TooManyChanges));
        assert!(world.subscriptions.changed.is_empty());
        world.settle(ZERO);
        assert_eq!(world.asked, BTreeSet::from([String::new()]));
    }

    #[test]
    fn more_changes_than_a_publisher_may_leave_unread_are_not_told() {
        let mut world = World::connected();
        let mut now = ZERO;
        while world.subscriptions.scope() == Scope::Topics {
            for n in 0..100 {
                world.come(&n.to_string());
            }
            world.settle(now);
            for n in 0..100 {
                world.go(&n.to_string());
            }
            world.settle(now);
            now += Duration::from_millis(1);
            world.turn(now);
        }
        assert!(world.told <= limits::SUB_CHANGES_MAX + 200);
    }

    #[test]
    fn a_new_connection_brings_everything_until_many_topics_are_told() {
        let mut world = World::default();
        for n in 0..=limits::SUB_UNREAD_MAX {
            world.come(&n.to_string());
        }
        world.subscriptions.begin(ZERO);
        world.turn(ZERO);
        assert!(world.asked.contains("") && world.subscriptions.has_everything());
        assert_eq!(world.subscriptions.scope(), Scope::Topics);
        assert!(
            world.subscriptions.is_behind(),
            "a turn is too short for all"
        );
        world.settle(ZERO);
        assert!(world.is_exact() && !world.subscriptions.has_everything());
    }

    #[test]
    fn a_new_connection_is_told_all_that_is_wanted() {
        let mut world = World::default();
        world.come("a");
        world.come("b");
        world.go("a");
        assert!(!world.subscriptions.is_behind(), "nobody can be told");
        world.subscriptions.begin(ZERO);
        world.settle(ZERO);
        assert!(world.is_exact());
        world.subscriptions.end();
        world.asked.clear();
        world.come("c");
        world.subscriptions.begin(ZERO);
        world.settle(ZERO);
        assert!(world.is_exact());
    }
}
