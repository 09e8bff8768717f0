//! A relay on one host, servers on two others.

use std::process::Command;
use std::time::Duration;

use kit::hosts::Way;
use kit::observe::{counted, envelope};
use kit::{PATIENCE, Server, binary, wait_within};

use super::{BACK, MARGIN, Node, PACKETS_LOST, Site, TOPIC};

/// `--publisher-timeout`: so long a peer may be silent.
const SILENCE: Duration = Duration::from_secs(5);

const SILENCE_OPTION: [&str; 2] = ["--publisher-timeout", "5"];

/// Starts the relay at the site's centre.
fn relay(site: &Site) -> Server {
    let ip = site.centre_ip();
    let (pull, relay) = (format!("tcp://{ip}:5555"), format!("tcp://{ip}:5556"));
    let mut command = Command::new(binary());
    command
        .args(["relay", "--pull", &pull, "--relay", &relay])
        .args(["--admin", "127.0.0.1:0"])
        .args(SILENCE_OPTION);
    site.centre.run(|| Server::launch(command))
}

/// Starts the servers, with clients whose subscriptions have reached the relay.
fn servers(site: &Site, publisher: &mut Publisher) -> [Node; 2] {
    let endpoint = format!("tcp://{}:5556", site.centre_ip());
    let options = [&["--sub", &endpoint][..], &SILENCE_OPTION].concat();
    let mut nodes = [0, 1].map(|place| site.serve(place, None, &options));
    for node in &mut nodes {
        node.listen();
        node.settle(|| publisher.publish(1));
    }
    nodes
}

/// A PUSH socket on a host of its own, and the last number that it has sent.
struct Publisher {
    socket: zmq::Socket,
    last: u32,
}

impl Publisher {
    fn start(site: &Site) -> Self {
        let endpoint = format!("tcp://{}:5555", site.centre_ip());
        let connect = || {
            let socket = zmq::Context::new().socket(zmq::PUSH).expect("a socket");
            socket
                .set_sndtimeo(PATIENCE.as_millis() as i32)
                .expect("set");
            socket.set_linger(0).expect("set");
            socket.connect(&endpoint).expect("an endpoint");
            socket
        };
        Self {
            socket: site.publishers.run(connect),
            last: 0,
        }
    }

    /// Publishes the next `count` numbers.
    fn publish(&mut self, count: u32) {
        for _ in 0..count {
            self.last += 1;
            let event = envelope(TOPIC, &self.last.to_string());
            self.socket.send(&event, 0).expect("taken");
        }
    }
}

fn receivers(site: &Site, relay: &Server) -> f64 {
    site.centre.run(|| relay.metric("newswire_relay_receivers"))
}

/// Nothing was lost on the way to `node`.
fn assert_complete(node: &Node) {
    assert_eq!((node.missed(), node.repeats()), (0, 0));
    assert_eq!(node.metric("source_gaps_total"), 0.0);
    assert_eq!(node.metric("missed_total"), 0.0);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn what_a_server_misses_while_its_cable_is_cut_is_counted() {
    let site = Site::new();
    let relay = relay(&site);
    let mut publisher = Publisher::start(&site);
    let [mut one, mut two] = servers(&site, &mut publisher);
    publisher.publish(50);
    for node in [&mut one, &mut two] {
        node.hear(publisher.last);
    }

    site.cable(0).cut();
    publisher.publish(100);
    two.hear(publisher.last);
    wait_within(SILENCE + MARGIN, "the server notices", || {
        !one.is_connected()
    });
    wait_within(SILENCE + MARGIN, "the relay notices", || {
        receivers(&site, &relay) == 1.0
    });
    publisher.publish(100);
    two.hear(publisher.last);

    site.cable(0).mend();
    wait_within(BACK, "the server is back", || one.is_connected());
    one.settle(|| publisher.publish(1));
    publisher.publish(50);
    for node in [&mut one, &mut two] {
        node.hear(publisher.last);
    }
    assert_complete(&two);
    assert!(one.missed() >= 100, "{}", one.missed());
    assert_eq!(one.repeats(), 0);
    one.wait_for(PATIENCE, "missed_total", one.missed() as f64);
    one.wait_for(PATIENCE, "source_gaps_total", 1.0);
    one.server.wait_for_log("missed: events=");
    assert_eq!(one.logged("is not connected: the connection was lost"), 1);
    assert_eq!(two.logged("missed:"), 0);
    let missed = one.missed();
    let summary = one.server.stop();
    assert_eq!(counted(&summary, "missed"), missed, "{summary}");
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_cut_that_is_shorter_than_the_timeout_loses_nothing() {
    let site = Site::new();
    let _relay = relay(&site);
    let mut publisher = Publisher::start(&site);
    let [mut one, mut two] = servers(&site, &mut publisher);
    let resent = site.centre.resent();
    site.cable(0).cut();
    publisher.publish(300);
    two.hear(publisher.last);
    wait_within(PATIENCE, "the relay sends in vain", || {
        site.centre.resent() > resent + 2
    });
    site.cable(0).mend();
    one.hear(publisher.last);

    // A host without a carrier sends again more slowly, so the publisher's cable is silent instead.
    let resent = site.publishers.resent();
    site.cables[0].silence(Way::FromHost);
    publisher.publish(300);
    wait_within(PATIENCE, "the publisher sends in vain", || {
        site.publishers.resent() > resent + 2
    });
    site.cables[0].clear();
    one.hear(publisher.last);
    two.hear(publisher.last);
    assert_complete(&one);
    assert_complete(&two);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_cable_that_is_silent_in_one_direction_is_noticed() {
    let site = Site::new();
    let relay = relay(&site);
    let mut publisher = Publisher::start(&site);
    let mut nodes = servers(&site, &mut publisher);

    // Nobody is told: no end of a connection, no reset.
    site.cable(0).silence(Way::ToHost);
    site.cable(1).silence(Way::FromHost);
    publisher.publish(10);
    for node in &nodes {
        wait_within(SILENCE + MARGIN, "the server notices", || {
            !node.is_connected()
        });
    }
    wait_within(SILENCE + MARGIN, "the relay notices", || {
        receivers(&site, &relay) == 0.0
    });
    publisher.publish(10);

    for (place, node) in nodes.iter_mut().enumerate() {
        site.cable(place).clear();
        wait_within(BACK, "the server is back", || node.is_connected());
        node.settle(|| publisher.publish(1));
    }
    publisher.publish(50);
    for node in &mut nodes {
        node.hear(publisher.last);
        assert!(node.missed() >= 10, "{}", node.missed());
        node.wait_for(PATIENCE, "missed_total", node.missed() as f64);
        node.wait_for(PATIENCE, "source_gaps_total", 1.0);
        assert_eq!(node.repeats(), 0);
    }
    assert_eq!(receivers(&site, &relay), 2.0);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_cable_that_loses_and_delays_packets_loses_no_event() {
    // In one burst; fewer than a relay keeps for a server that does not read.
    const EVENTS: u32 = 1_500;
    let site = Site::new();
    let _relay = relay(&site);
    let mut publisher = Publisher::start(&site);
    let [mut one, mut two] = servers(&site, &mut publisher);
    let how = site.cable(0).worsen();
    println!("the cable has: {how}");
    wait_within(PATIENCE, "packets are lost", || {
        publisher.publish(EVENTS);
        two.hear(publisher.last);
        one.hear(publisher.last);
        site.cable(0).lost() >= PACKETS_LOST
    });
    assert_complete(&one);
    assert_complete(&two);
}

#[test]
#[ignore = "needs root and network namespaces"]
fn a_relay_that_is_killed_is_found_again() {
    let site = Site::new();
    let first = relay(&site);
    let mut publisher = Publisher::start(&site);
    let mut nodes = servers(&site, &mut publisher);
    publisher.publish(50);
    for node in &mut nodes {
        node.hear(publisher.last);
    }
    drop(first);
    for node in &nodes {
        wait_within(BACK, "the server notices", || !node.is_connected());
    }
    let _second = relay(&site);
    for node in &mut nodes {
        wait_within(BACK, "the server is back", || node.is_connected());
        node.settle(|| publisher.publish(1));
    }
    publisher.publish(100);
    for node in &mut nodes {
        node.hear(publisher.last);
        node.wait_for(PATIENCE, "source_gaps_total", 1.0);
        assert_eq!(node.repeats(), 0);
        // Everything that the first run had was heard, and the second one counts from 1.
        node.wait_for(PATIENCE, "missed_total", node.missed() as f64);
        assert_eq!(node.logged("is not connected: the connection was lost"), 1);
    }
}
