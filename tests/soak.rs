//! A server under load for a given time: many clients, some of which come and go and some of which stall, and events in
//! bursts. At the end the server must use no more than at the beginning.
//!
//! This is a test binary of its own because its clients take nearly all files that a process may open.
//! `NEWSWIRE_SOAK_SECONDS=1800 cargo test --release --test soak -- --ignored` is half an hour.

#![expect(
    clippy::disallowed_methods,
    reason = "it lasts as long as the environment says"
)]

use std::time::{Duration, Instant};

use kit::dice::{Dice, number};
use kit::{PATIENCE, Server, TOKEN};
use newswire::cli::load::fleet::{Course, Fleet, FleetEvent};

const CLIENTS: usize = 19_000;
const TOPICS: usize = 50;
/// Clients that leave and come back in each round, and that stall in each round.
const CHURN: usize = 300;
const STALLED: usize = 20;

fn seconds() -> u64 {
    number("NEWSWIRE_SOAK_SECONDS").unwrap_or(30)
}

struct Soak {
    server: Server,
    fleet: Fleet,
    publisher: zmq::Socket,
    /// How many have had their WELCOME and are still there.
    present: usize,
    events: u64,
    deliveries: u64,
    dice: Dice,
}

impl Soak {
    fn poll(&mut self, wait: Duration) {
        let Self {
            fleet,
            present,
            deliveries,
            ..
        } = self;
        fleet
            .poll(Some(wait), |_, heard| match heard {
                FleetEvent::Text(head, _) if head.starts_with(b"[0,") => *present += 1,
                FleetEvent::Text(..) => *deliveries += 1,
                FleetEvent::Opened => {}
                FleetEvent::Ended(status) => panic!("a client was turned away: {status:?}"),
            })
            .expect("polled");
    }

    fn wait_for_all(&mut self) {
        while self.present < CLIENTS {
            let before = self.present;
            self.poll(PATIENCE);
            assert!(self.present > before || self.deliveries > 0, "nobody comes");
        }
    }

    /// Some leave, without a word and with; some stall, and leave when they have been written to.
    fn round(&mut self) {
        let leaving: Vec<usize> = (0..CHURN).map(|_| self.dice.below(CLIENTS)).collect();
        let stalled: Vec<usize> = leaving[..STALLED].to_vec();
        for &seat in &stalled {
            self.fleet.stall(seat);
        }
        let size = if self.dice.below(10) == 0 {
            20_000
        } else {
            300
        };
        for _ in 0..1 + self.dice.below(20) {
            let topic = self.dice.below(TOPICS);
            let pad = "x".repeat(size);
            let event = format!("{{\"topic\":\"soak-{topic}\",\"data\":\"{pad}\"}}");
            self.publisher.send(&event, 0).expect("sent");
            self.events += 1;
        }
        self.poll(Duration::from_millis(50));
        let mut gone = leaving;
        gone.sort_unstable();
        gone.dedup();
        for &seat in &gone {
            self.fleet.hang_up(seat);
            self.present -= 1;
        }
        for &seat in &gone {
            self.fleet.redial(seat).expect("a socket");
        }
        self.wait_for_all();
    }

    /// Waits until the server holds nobody that has left, and owes nothing; then what it keeps.
    fn at_rest(&mut self) -> (usize, usize) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.poll(Duration::from_millis(20));
            let files = std::fs::read_dir(format!("/proc/{}/fd", self.server.pid()));
            let files = files.expect("it runs").count();
            if files <= CLIENTS + 40 {
                return (self.server.resident_bytes(), files);
            }
            assert!(Instant::now() < deadline, "{files} files are open");
        }
    }

    /// The least and the most of five rests, with some rounds between them: an allocator's pools come
    /// and go by more than two in a hundred of so little, and a leak only comes.
    fn at_rests(&mut self) -> ((usize, usize), (usize, usize)) {
        let rests: Vec<(usize, usize)> = (0..5)
            .map(|_| {
                (0..20).for_each(|_| self.round());
                self.at_rest()
            })
            .collect();
        let least = rests.iter().min().expect("five");
        let most = rests.iter().max().expect("five");
        (*least, *most)
    }
}

#[test]
#[ignore = "takes as long as NEWSWIRE_SOAK_SECONDS says, and 19,000 descriptors on each side"]
fn what_is_kept_at_the_end_is_what_was_kept_at_the_beginning() {
    let server = Server::start(&["--close-timeout", "1"]);
    let (_context, publisher) = server.publisher();
    let request = format!(
        "GET /?token={TOKEN} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    let fleet = Fleet::new(Course {
        address: server.address,
        request: request.into_bytes(),
        topics: (0..TOPICS).map(|n| format!("soak-{n}")).collect(),
    })
    .expect("a poller");
    let mut soak = Soak {
        server,
        fleet,
        publisher,
        present: 0,
        events: 0,
        deliveries: 0,
        dice: Dice(1),
    };
    while soak.present < CLIENTS {
        while soak.fleet.len() < CLIENTS && soak.fleet.len() < soak.present + 500 {
            soak.fleet.add().expect("a socket");
        }
        soak.poll(PATIENCE);
    }
    // The largest batch and the longest queue have been seen once: that memory stays.
    for _ in 0..300 {
        soak.round();
    }
    let (bytes_before, files_before) = soak.at_rests().1;
    let end = Instant::now() + Duration::from_secs(seconds());
    let mut rounds = 0;
    while Instant::now() < end {
        soak.round();
        rounds += 1;
    }
    let (bytes_after, files_after) = soak.at_rests().0;
    println!(
        "{rounds} rounds, {} events, {} deliveries; resident {bytes_before} then {bytes_after} bytes, \
         {files_before} then {files_after} files",
        soak.events, soak.deliveries
    );
    assert!(
        bytes_after <= bytes_before + bytes_before / 50,
        "{bytes_before} bytes resident became {bytes_after}"
    );
    assert!(files_after <= files_before + files_before / 50);
    soak.server.stop();
}
