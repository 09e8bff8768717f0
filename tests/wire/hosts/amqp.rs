//! A RabbitMQ server on one host, servers on two others, each with a queue of its own.

use std::time::Duration;

use kit::hosts::Way;
use kit::observe::envelope;
use kit::rabbitmq::{AmqpClient, RabbitMq};
use kit::{PATIENCE, wait_within};
use serde_json::json;

use super::{MARGIN, Node, Site, TOPIC};

/// Web Publisher's exchange.
const EXCHANGE: &str = "swp_websocket_exchange";

/// Fewer messages than the broker sends ahead of their acknowledgement.
const AHEAD: u32 = 16;

/// In seconds, a short heartbeat. newswire asks for 15 s (`limits::AMQP_HEARTBEAT_SECONDS`).
const HEARTBEAT: u16 = 4;

/// A server notices within two heartbeats that its broker is silent, and a broker within three.
const SILENCE: Duration = Duration::from_secs(3 * HEARTBEAT as u64);

/// A server that has lost its broker for some seconds is back so long after the trouble is over.
const BACK: Duration = Duration::from_secs(70);

/// Starts a broker at the site's centre.
fn broker(site: &Site) -> RabbitMq {
    let ip = site.centre_ip();
    site.centre.run(|| {
        let mut broker = RabbitMq::prepare_at(ip);
        broker.heartbeat = HEARTBEAT;
        broker.resume();
        broker
    })
}

/// Starts a server with clients. `queue` is that of a durable queue.
fn serve(site: &Site, place: usize, broker: &RabbitMq, queue: Option<&str>) -> Node {
    let options = queue.map(|name| ["--amqp-queue", name]);
    let options = options.as_ref().map_or(&[][..], |options| options);
    let mut node = site.serve(place, Some(&broker.url()), options);
    node.listen();
    wait_within(BACK, "the server is connected", || node.is_connected());
    node
}

/// A client of the broker on a host of its own, and the last number that it has published.
struct Publisher {
    client: AmqpClient,
    last: u32,
}

impl Publisher {
    fn start(site: &Site, broker: &RabbitMq) -> Self {
        Self {
            client: site.publishers.run(|| broker.client()),
            last: 0,
        }
    }

    fn bodies(&mut self, count: u32) -> Vec<String> {
        let numbers = self.last + 1..=self.last + count;
        self.last += count;
        numbers
            .map(|number| envelope(TOPIC, &number.to_string()))
            .collect()
    }

    /// Publishes the next `count` numbers as Web Publisher does.
    fn publish(&mut self, count: u32) {
        let bodies = self.bodies(count);
        self.client.publish(EXCHANGE, &bodies);
    }

    /// Publishes the next `count` numbers, which survive the broker.
    fn publish_safely(&mut self, count: u32) {
        let bodies = self.bodies(count);
        self.client.publish_safely(EXCHANGE, &bodies);
    }

    /// In messages that wait in a queue for a consumer.
    fn waiting(&mut self, queue: &str) -> u64 {
        let count = self.client.order(&json!({"do": "count", "queue": queue}));
        count.as_u64().expect("a number")
    }
}

#[test]
#[ignore = "needs root, network namespaces, RabbitMQ, and Python with pika"]
fn a_durable_queue_keeps_what_is_published_while_the_cable_is_cut() {
    let site = Site::new();
    let broker = broker(&site);
    let mut publisher = Publisher::start(&site, &broker);
    let mut one = serve(&site, 0, &broker, Some("one"));
    let mut two = serve(&site, 1, &broker, Some("two"));
    publisher.publish(50);
    one.hear(publisher.last);
    two.hear(publisher.last);

    // The cable is cut, longer than the heartbeats allow.
    site.cable(0).cut();
    publisher.publish(300);
    two.hear(publisher.last);
    wait_within(SILENCE + MARGIN, "the server notices", || {
        !one.is_connected()
    });
    publisher.publish(300);
    two.hear(publisher.last);
    site.cable(0).mend();
    wait_within(BACK, "the server is back", || one.is_connected());
    publisher.publish(50);
    one.hear(publisher.last);
    two.hear(publisher.last);
    for node in [&one, &two] {
        assert_eq!(node.missed(), 0);
        assert_eq!(node.metric("source_gaps_total"), 0.0);
    }

    // The queue is deleted under the other server. What was in it is lost.
    let connects = two.connects();
    publisher
        .client
        .order(&json!({"do": "delete_queue", "queue": "two"}));
    wait_within(BACK, "the server declares it again", || {
        two.connects() > connects && two.is_connected()
    });
    publisher.publish(50);
    one.hear(publisher.last);
    two.hear(publisher.last);
    two.wait_for(PATIENCE, "source_gaps_total", 1.0);
    assert!(two.logged("events that are published meanwhile are missed") > 0);
    assert_eq!(one.metric("source_gaps_total"), 0.0);
    assert_eq!(
        one.logged("events that are published meanwhile are missed"),
        0
    );
}

#[test]
#[ignore = "needs root, network namespaces, RabbitMQ, and Python with pika"]
fn a_broker_that_is_killed_has_the_messages_of_a_durable_queue() {
    let site = Site::new();
    let mut broker = broker(&site);
    let mut publisher = Publisher::start(&site, &broker);
    let mut one = serve(&site, 0, &broker, Some("one"));
    let mut two = serve(&site, 1, &broker, Some("two"));

    // A poison message among good ones.
    let mut bodies = publisher.bodies(20);
    bodies.insert(10, "{".to_owned());
    publisher.client.publish(EXCHANGE, &bodies);
    for (node, queue) in [(&mut one, "one"), (&mut two, "two")] {
        node.hear(publisher.last);
        wait_within(PATIENCE, "the broker has forgotten it", || {
            publisher.waiting(queue) == 0
        });
        node.wait_for(PATIENCE, "dropped_total{reason=\"bad_json\"}", 1.0);
    }

    // The broker is killed with messages that one server has not had.
    site.cable(0).cut();
    publisher.publish_safely(100);
    two.hear(publisher.last);
    broker.kill();
    site.cable(0).mend();
    site.centre.run(|| broker.resume());
    publisher.client = site.publishers.run(|| broker.client());
    for node in [&mut one, &mut two] {
        wait_within(BACK, "the server is back", || {
            node.connects() == 2 && node.is_connected()
        });
        node.hear(publisher.last);
    }
    publisher.publish(50);
    for node in [&mut one, &mut two] {
        node.hear(publisher.last);
        assert_eq!(node.missed(), 0);
        assert_eq!(node.metric("source_gaps_total"), 0.0);
        // It did not come again.
        assert_eq!(node.metric("dropped_total{reason=\"bad_json\"}"), 1.0);
    }
}

#[test]
#[ignore = "needs root, network namespaces, RabbitMQ, and Python with pika"]
fn a_server_that_takes_a_queue_over_keeps_the_order() {
    let site = Site::new();
    let broker = broker(&site);
    let mut publisher = Publisher::start(&site, &broker);
    let one = serve(&site, 0, &broker, Some("one"));

    // The server is cut off, and the broker has sent it what it can not acknowledge.
    site.cable(0).cut();
    publisher.publish(AHEAD);
    wait_within(PATIENCE, "the broker has sent them", || {
        publisher.waiting("one") == 0
    });
    let mut two = serve(&site, 1, &broker, Some("one"));
    publisher.publish(50);
    two.hear(publisher.last);
    assert_eq!(two.listeners[0].heard.first(), Some(&1));
    assert_eq!(two.missed(), 0);

    // A queue has one reader at a time.
    site.cable(0).mend();
    one.server.wait_for_log("somebody else reads it");
    publisher.publish(50);
    two.hear(publisher.last);
    assert_eq!(two.missed(), 0);
}

#[test]
#[ignore = "needs root, network namespaces, RabbitMQ, and Python with pika"]
fn a_broker_that_is_silent_is_noticed_and_a_queue_of_the_connection_has_a_gap() {
    let site = Site::new();
    let broker = broker(&site);
    let mut publisher = Publisher::start(&site, &broker);
    let mut one = serve(&site, 0, &broker, None);
    let mut two = serve(&site, 1, &broker, Some("two"));
    publisher.publish(50);
    one.hear(publisher.last);
    two.hear(publisher.last);

    // Nobody is told: no end of a connection, no reset.
    site.cable(0).silence(Way::ToHost);
    site.cable(1).silence(Way::FromHost);
    for node in [&one, &two] {
        wait_within(SILENCE + MARGIN, "it is noticed", || !node.is_connected());
    }
    publisher.publish(100);
    for (place, node) in [&one, &two].into_iter().enumerate() {
        site.cable(place).clear();
        wait_within(BACK, "the server is back", || node.is_connected());
    }
    publisher.publish(50);
    one.hear(publisher.last);
    two.hear(publisher.last);
    assert_eq!(two.missed(), 0);
    assert_eq!(two.metric("source_gaps_total"), 0.0);
    assert!(one.missed() > 0);
    assert_eq!(one.repeats(), 0);
    one.wait_for(PATIENCE, "source_gaps_total", 1.0);
    assert!(one.logged("events that are published meanwhile are missed") > 0);
    assert!(two.logged("the broker keeps the events") > 0);
}
