//! Kept events on their way to clients that ask for them: who gets how much in a turn, and what counts meanwhile.

use std::time::Duration;

use super::wamp2::{say, upgraded};
use super::{Client, World, rules};
use crate::engine::Rules;
use crate::limits;
use crate::stats::Counter;
use crate::wire::envelope::Event;
use crate::wire::id::EventId;
use crate::wire::topic_rule::TopicRule;

/// In bytes, the data of each kept event.
const DATA_BYTES: usize = 10_000;

/// A world that keeps all events of topics that begin with `k`, and has `count` of each of `topics`.
fn world(connections_max: usize, topics: &[&str], count: usize) -> World {
    let mut world = World::new(Rules {
        connections_max,
        outbox_bytes_max: 1 << 20,
        outboxes_bytes_max: 1 << 28,
        topics: vec![TopicRule::parse("k* history=1000").expect("a rule")],
        ..rules()
    });
    let data = format!("\"{}\"", "x".repeat(DATA_BYTES));
    for topic in topics {
        (0..count).for_each(|_| publish(&mut world, topic, &data));
    }
    world.turn();
    world
}

impl World {
    /// The newest id that the server has given.
    fn id(&self) -> EventId {
        EventId {
            epoch: Rules::default().epoch,
            sequence: self.sequence,
        }
    }
}

/// Publishes an event with the id that its server gives it.
fn publish(world: &mut World, topic: &str, data: &str) {
    world.sequence += 1;
    let id = Some(world.id());
    let event = Event::new(topic.into(), data);
    world.engine.handle_event(&Event { id, ..event });
}

/// A client of WAMP v2 that is welcome.
fn welcomed(world: &mut World) -> Client {
    let client = upgraded(world, true);
    say(world, &client, "[1,\"r\",{}]");
    client.heard();
    client
}

fn ask_for_all(world: &mut World, client: &Client, topic: &str) {
    let subscribe = format!("[32,1,{{\"x_last\":1000}},{topic:?}]");
    say(world, client, &subscribe);
}

fn turn(world: &mut World) {
    world.turn();
    world.engine.audit().expect("agreement");
}

/// In bytes, what a client has been sent, which is forgotten.
fn heard_bytes(client: &Client) -> usize {
    client.heard().len()
}

/// In bytes, the most that one step can be.
const STEP_MAX: usize = limits::REPLAY_STEP_BYTES + DATA_BYTES + 1_000;

#[test]
fn who_asks_again_and_again_has_no_larger_share() {
    let mut world = world(2, &["k"], 500);
    let [greedy, modest] = [(); 2].map(|()| welcomed(&mut world));
    for n in 0..50 {
        ask_for_all(&mut world, &greedy, "k");
        if n % 2 == 0 {
            say(&mut world, &greedy, "[34,2,1]");
        }
    }
    ask_for_all(&mut world, &modest, "k");
    for client in [&greedy, &modest] {
        client.heard();
    }
    for _ in 0..5 {
        turn(&mut world);
        for client in [&greedy, &modest] {
            let heard = heard_bytes(client);
            assert!(
                (limits::REPLAY_STEP_BYTES..=STEP_MAX).contains(&heard),
                "{heard}"
            );
        }
    }
}

#[test]
fn topics_that_are_still_replayed_count_as_subscriptions() {
    let mut world = world(1, &["k1", "k2", "k3"], 20);
    let client = welcomed(&mut world);
    for topic in ["k1", "k2", "k3"] {
        ask_for_all(&mut world, &client, topic);
    }
    say(&mut world, &client, "[32,1,{},\"t\"]");
    client.heard();
    let refused = "[8,32,7,{},\"newswire.error.too_many_subscriptions\"]";
    for topic in ["k4", "t2"] {
        say(
            &mut world,
            &client,
            &format!("[32,7,{{\"x_last\":9}},{topic:?}]"),
        );
        assert_eq!(client.texts(), [refused]);
    }
    assert_eq!(world.engine.stats().counter(Counter::Subscribes), 4);
    // What it waits for, it may ask for again, and one that it gives up makes room.
    ask_for_all(&mut world, &client, "k1");
    assert_eq!(client.texts().len(), 2, "SUBSCRIBED and the notice");
    say(&mut world, &client, "[34,5,2]");
    assert_eq!(client.texts(), ["[35,5]"]);
    say(&mut world, &client, "[32,7,{},\"t2\"]");
    assert_eq!(client.texts().len(), 1);
    (0..10).for_each(|_| turn(&mut world));
    assert_eq!(world.engine.subscriptions(), 4);
    assert_eq!(client.texts().len(), 40, "of two topics");
}

#[test]
fn who_unsubscribes_in_the_middle_gets_no_more() {
    let mut world = world(2, &["k"], 100);
    let [leaver, stayer] = [(); 2].map(|()| welcomed(&mut world));
    for client in [&leaver, &stayer] {
        ask_for_all(&mut world, client, "k");
    }
    turn(&mut world);
    let before = leaver.texts().len();
    assert!((3..50).contains(&before), "{before}");
    say(&mut world, &leaver, "[34,2,1]");
    assert_eq!(leaver.texts(), ["[35,2]"]);
    publish(&mut world, "k", "\"live\"");
    (0..30).for_each(|_| turn(&mut world));
    assert_eq!(leaver.texts(), [""; 0]);
    let stayed = stayer.texts();
    assert_eq!(stayed.len(), 103);
    assert!(stayed.last().is_some_and(|text| text.contains("live")));
    assert_eq!(world.engine.subscriptions(), 1);
}

#[test]
fn however_many_ask_for_everything_a_turn_is_not_longer_and_live_events_leave_in_it() {
    const HERD: usize = 300;
    let mut world = world(HERD + 1, &["k1", "k2", "k3"], 10);
    let live = world.subscriber(&["live"]);
    let herd: Vec<Client> = (0..HERD).map(|_| welcomed(&mut world)).collect();
    for client in &herd {
        for topic in ["k1", "k2", "k3"] {
            ask_for_all(&mut world, client, topic);
        }
        client.heard();
    }
    let whole = HERD * 3 * 10 * DATA_BYTES;
    let (mut heard, mut turns) = (0, 0);
    while heard < whole {
        publish(&mut world, "live", "1");
        turn(&mut world);
        assert_eq!(live.texts(), [r#"[8,"live",1]"#]);
        let of_turn: usize = herd.iter().map(heard_bytes).sum();
        let most = limits::TURN_REPLAY_BYTES_MAX + STEP_MAX;
        assert!((1..=most).contains(&of_turn), "{of_turn} in turn {turns}");
        heard += of_turn;
        turns += 1;
    }
    assert!(
        turns >= whole / (limits::TURN_REPLAY_BYTES_MAX + STEP_MAX),
        "{turns}"
    );
    assert_eq!(world.engine.subscriptions(), 3 * HERD + 1);
}

#[test]
fn who_asks_for_everything_and_reads_nothing_is_owed_a_step_or_two() {
    const HERD: usize = 100;
    let mut world = world(HERD, &["k"], 500);
    let herd: Vec<Client> = (0..HERD).map(|_| welcomed(&mut world)).collect();
    for client in &herd {
        client.pipe.borrow_mut().room = 0;
        ask_for_all(&mut world, client, "k");
    }
    // A step begins only while less than the bound is owed.
    let most = HERD * (limits::REPLAY_OWED_BYTES_MAX + STEP_MAX + 1_000);
    for _ in 0..100 {
        turn(&mut world);
        let held = world.engine.outboxes_bytes();
        assert!(held <= most, "{held}");
    }
    assert_ne!(
        world.engine.poll_timeout(),
        Some(Duration::ZERO),
        "all are left alone"
    );
    assert_eq!(world.engine.connections(), HERD);
    // One of them wakes up, and gets all of it, and what has come meanwhile.
    let first = &herd[0];
    first.pipe.borrow_mut().room = usize::MAX;
    publish(&mut world, "k", "\"live\"");
    world.writable(first);
    (0..200).for_each(|_| turn(&mut world));
    let texts = first.texts();
    assert_eq!(texts.len(), 2 + 500 + 1);
    assert!(texts.last().is_some_and(|text| text.contains("live")));
}

#[test]
fn events_that_become_too_old_together_are_dropped_turn_by_turn() {
    const EVENTS: usize = 3 * limits::TURN_KEPT_DROPS_MAX;
    let mut world = World::new(Rules {
        topics: vec![TopicRule::parse("k* history=100000 age=2").expect("a rule")],
        ..rules()
    });
    let client = world.subscriber(&["live"]);
    for n in 0..EVENTS {
        publish(&mut world, &format!("k{}", n % 10), "1");
    }
    assert_eq!(world.engine.history_events(), EVENTS);
    world.now += Duration::from_secs(5);
    for turns in 1..=3 {
        publish(&mut world, "live", "1");
        turn(&mut world);
        let left = EVENTS - turns * limits::TURN_KEPT_DROPS_MAX;
        assert_eq!(world.engine.history_events(), left);
        assert_eq!(client.texts(), [r#"[8,"live",1]"#]);
    }
}

#[test]
fn an_event_that_becomes_too_old_is_dropped_though_nobody_is_there() {
    let mut world = World::new(Rules {
        topics: vec![TopicRule::parse("k last age=60").expect("a rule")],
        ..rules()
    });
    world.now = Duration::from_millis(1_250);
    world.turn();
    publish(&mut world, "k", "1");
    turn(&mut world);
    let due = Duration::from_millis(59_750);
    assert_eq!(world.engine.poll_timeout(), Some(due));
    world.now += due;
    turn(&mut world);
    assert_eq!(world.engine.history_events(), 0);
    assert_eq!(world.engine.poll_timeout(), None);
}

/// Other rules for topics, and another bound for all kept events, with a number of the server's own.
fn reload(world: &mut World, topics: &[&str], history_bytes_max: usize) {
    let parsed = topics.iter().map(|line| TopicRule::parse(line));
    let has_other_topics = world.engine.set_rules(Rules {
        topics: parsed.collect::<Result<_, _>>().expect("rules"),
        history_bytes_max,
        ..rules()
    });
    if has_other_topics {
        world.sequence += 1;
        let at = world.id();
        world.engine.handle_other_topics(Some(at));
    }
}

#[test]
fn what_other_rules_do_not_keep_goes_turn_by_turn() {
    const EVENTS: usize = 3 * limits::TURN_KEPT_DROPS_MAX;
    const TURN_TOPICS_MAX: usize = limits::TURN_KEPT_DROPS_MAX / limits::TOPIC_RULE_COST;
    const WIDE: usize = 1 << 30;
    let mut world = World::new(rules());
    let client = world.subscriber(&["live"]);
    let go = |world: &mut World, topics: usize, of_turn: usize| {
        reload(world, &["k* history=100000"], WIDE);
        let begin = world.engine.history_events();
        (0..EVENTS).for_each(|n| publish(world, &format!("k{}", n % topics), "1"));
        turn(world);
        assert_eq!(world.engine.history_events(), begin + EVENTS);
        match topics {
            1 => reload(world, &["k* history=100000"], 2_000),
            _ => reload(world, &[], WIDE),
        }
        let mut turns = 0;
        while world.engine.poll_timeout() == Some(Duration::ZERO) {
            let (events, bytes) = (world.engine.history_events(), world.engine.history_bytes());
            publish(world, "live", "1");
            publish(world, "k0", "1");
            assert!(world.engine.history_bytes() <= bytes);
            turn(world);
            assert_eq!(client.texts(), [r#"[8,"live",1]"#]);
            let dropped = events - world.engine.history_events();
            assert!(dropped <= of_turn + topics.min(2), "{dropped}");
            turns += 1;
        }
        assert!(turns >= 3, "{turns}");
        world.engine.history_events()
    };
    // A lower bound, and then no rule.
    let rest = go(&mut world, 1, limits::TURN_KEPT_DROPS_MAX);
    assert!((1..30).contains(&rest), "{rest}");
    assert_eq!(go(&mut world, EVENTS, TURN_TOPICS_MAX), 0);
    assert_eq!(world.engine.topics(), 1);
}

#[test]
fn what_came_while_no_rule_kept_it_is_missing_though_the_rule_is_back_at_once() {
    const TOPICS: usize = 2 * limits::TURN_KEPT_DROPS_MAX / limits::TOPIC_RULE_COST;
    let mut world = World::new(rules());
    let client = welcomed(&mut world);
    let publish_all = |world: &mut World| {
        (0..TOPICS).for_each(|n| publish(world, &format!("k{n}"), "1"));
    };
    reload(&mut world, &["k* history=9"], 1 << 30);
    publish_all(&mut world);
    turn(&mut world);
    let since = world.id();
    // The old rings are still there when the rule comes back, or some of them.
    reload(&mut world, &["other"], 1 << 30);
    publish_all(&mut world);
    reload(&mut world, &["k* history=9"], 1 << 30);
    publish_all(&mut world);
    for n in (0..TOPICS).step_by(TOPICS / 4) {
        let subscribe = format!("[32,1,{{\"x_since\":\"{since}\"}},\"k{n}\"]");
        say(&mut world, &client, &subscribe);
        let told = String::from_utf8_lossy(&client.heard()).into_owned();
        assert!(told.contains("\"x_reason\":\"floor\""), "{told}");
    }
}

/// Whether a client that comes back to topic `k` with this position has missed nothing.
fn is_recovered(world: &mut World, since: EventId) -> bool {
    let client = welcomed(world);
    let subscribe = format!("[32,1,{{\"x_since\":\"{since}\"}},\"k\"]");
    say(world, &client, &subscribe);
    let told = String::from_utf8_lossy(&client.heard()).into_owned();
    let is_recovered = told.contains("\"x_recovered\":true");
    assert!(
        is_recovered || told.contains("\"x_reason\":\"floor\""),
        "{told}"
    );
    is_recovered
}

/// Publishers that filter by topic have perhaps not sent what nobody wanted.
#[test]
fn who_was_away_when_a_topic_began_to_be_kept_may_have_missed_events_of_it() {
    let mut world = World::new(Rules {
        connections_max: 9,
        ..rules()
    });
    publish(&mut world, "m", "1");
    let before = world.id();
    reload(&mut world, &["k history=9"], 1 << 20);
    let since = world.id();
    assert!(!is_recovered(&mut world, before));
    assert!(is_recovered(&mut world, since));
    // A publisher may not have been told yet that the topic is wanted.
    publish(&mut world, "k", "2");
    let newest = world.id();
    assert!(!is_recovered(&mut world, since));
    assert!(is_recovered(&mut world, newest));
    world.now += Duration::from_secs(1);
    world.turn();
    publish(&mut world, "k", "3");
    assert!(is_recovered(&mut world, newest));
}

/// Behind a relay, other servers count on while this one hears nothing.
#[test]
fn behind_a_relay_nothing_is_recovered_of_a_new_topic_before_the_next_event() {
    let mut world = World::new(Rules {
        connections_max: 9,
        ..rules()
    });
    publish(&mut world, "m", "1");
    let before = world.id();
    let has_other_topics = world.engine.set_rules(Rules {
        topics: vec![TopicRule::parse("k history=9").expect("a rule")],
        connections_max: 9,
        ..rules()
    });
    assert!(has_other_topics);
    world.engine.handle_other_topics(None);
    assert!(!is_recovered(&mut world, before));
    world.now += Duration::from_secs(1);
    world.turn();
    world.sequence += 5;
    let last = world.id();
    publish(&mut world, "k", "2");
    assert!(!is_recovered(&mut world, before));
    assert!(is_recovered(&mut world, last));
}

/// The history has perhaps not all of them any more.
#[test]
fn who_subscribes_again_has_no_position_beyond_events_that_are_on_their_way_and_not_kept() {
    let mut world = world(1, &["k"], 2);
    let client = welcomed(&mut world);
    say(&mut world, &client, "[32,1,{\"x_last\":0},\"k\"]");
    client.heard();
    reload(&mut world, &["k history=1"], 1 << 20);
    let before = world.id();
    publish(&mut world, "k", "3");
    publish(&mut world, "k", "4");
    say(&mut world, &client, "[32,2,{\"x_last\":0},\"k\"]");
    let told = String::from_utf8_lossy(&client.heard()).into_owned();
    assert!(told.contains(&format!("\"x_id\":\"{before}\"")), "{told}");
    assert!(!is_recovered(&mut world, before));
}

#[test]
fn who_subscribes_again_gets_nothing_from_before_the_position_that_it_names() {
    let mut world = world(1, &["k"], 2);
    let client = welcomed(&mut world);
    say(&mut world, &client, "[32,1,{\"x_last\":0},\"k\"]");
    publish(&mut world, "k", "\"on its way\"");
    let since = world.id();
    let subscribe = format!("[32,2,{{\"x_since\":\"{since}\"}},\"k\"]");
    say(&mut world, &client, &subscribe);
    publish(&mut world, "k", "\"behind it\"");
    turn(&mut world);
    let told = String::from_utf8_lossy(&client.heard()).into_owned();
    assert!(told.contains("\"x_recovered\":true"), "{told}");
    assert!(!told.contains("on its way"), "{told}");
    assert_eq!(told.matches("behind it").count(), 1, "{told}");
}

#[test]
fn a_topic_without_events_ends_when_no_rule_names_it_any_more() {
    let mut world = World::new(rules());
    reload(&mut world, &["k history=9"], 1 << 20);
    assert_eq!(world.engine.topics(), 1, "its events are wanted");
    // The first of them counts for it.
    reload(&mut world, &["k* history=9", "k history=3"], 1 << 20);
    turn(&mut world);
    assert_eq!(world.engine.topics(), 0);
    publish(&mut world, "k", "1");
    assert_eq!(world.engine.topics(), 1);
}

/// Of more topics than are remembered one by one, each client is told of all its own.
#[test]
fn missed_events_of_very_many_topics_are_told_turn_by_turn() {
    const CLIENTS: usize = 300;
    const TOPICS: usize = limits::GAP_TOPICS_MAX + 36;
    let mut world = World::new(Rules {
        connections_max: CLIENTS,
        subscriptions_max: TOPICS,
        outbox_bytes_max: 1 << 20,
        outboxes_bytes_max: 1 << 28,
        ..rules()
    });
    let clients: Vec<Client> = (0..CLIENTS).map(|_| welcomed(&mut world)).collect();
    for client in &clients {
        for n in 0..TOPICS {
            ask_for_all(&mut world, client, &format!("k{n}"));
        }
        client.heard();
    }
    for n in 0..TOPICS {
        world.engine.handle_missed(&format!("k{n}"), None);
        world.engine.handle_missed("nobody's", None);
    }
    let mut told = 0;
    for turns in 1.. {
        turn(&mut world);
        let of_turn: usize = clients.iter().map(|client| client.texts().len()).sum();
        // The last client may pass the budget.
        let most = (limits::TURN_PLACES_MAX / limits::GAP_PLACES) as usize + TOPICS;
        assert!((1..=most).contains(&of_turn), "{of_turn} in turn {turns}");
        told += of_turn;
        if told == CLIENTS * TOPICS {
            assert!(turns > 6, "{turns}");
            break;
        }
    }
    turn(&mut world);
    assert!(clients.iter().all(|client| client.texts().is_empty()));
    assert_ne!(world.engine.poll_timeout(), Some(Duration::ZERO));
}

#[test]
fn who_subscribes_again_is_told_no_position_beyond_what_is_on_its_way() {
    let mut world = world(1, &["k"], 2);
    let client = welcomed(&mut world);
    say(&mut world, &client, "[32,1,{\"x_last\":0},\"k\"]");
    let told = |client: &Client| String::from_utf8_lossy(&client.heard()).into_owned();
    let notice = |n| {
        format!(
            "{{\"x_recovered\":false,\"x_id\":\"{}-{n}\"",
            Rules::default().epoch
        )
    };
    let first = told(&client);
    assert!(first.contains(&notice(2)), "{first}");
    publish(&mut world, "k", "3");
    say(&mut world, &client, "[32,2,{\"x_last\":0},\"k\"]");
    let second = told(&client);
    assert!(second.contains(&notice(2)), "{second}");
    world.turn();
    assert!(told(&client).contains("},[3]]"));
}
